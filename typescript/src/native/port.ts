/**
 * The port of this JavaScript environment: tickets and the promises that wait for them, the drain, and what keeps the
 * process alive. The native side calls `#wake` once per burst; records are dealt with in order, in one go.
 */

import { setInterval, setTimeout } from "node:timers";
import { ClientImpl } from "./client.js";
import { InboundCallImpl } from "./inbound.js";
import {
  type NativeModule,
  type NativePort,
  SENT_FAILED,
  SENT_FULL,
  SENT_UNFLUSHED,
  TAKEN_END,
  TAKEN_FAILED,
  TAKEN_NOTHING,
} from "./module.js";
import { endpointOptions } from "./options.js";
import { CANCELLED, fillInfo, INVALID_ARGUMENT, ignore, Pending, statusHere } from "./pending.js";
import * as records from "./records.js";
import { ServerImpl } from "./server.js";
import type {
  CallInfo,
  Client,
  Contract,
  EndpointOptions,
  InboundCall,
  Offered,
  Port,
  ServedService,
  Server,
  ServerHandlers,
  Status,
} from "./types.js";

/** Milliseconds after which an interval would fire that exists only to be referenced: about 24 days. */
const NEVER_MS = 0x7fff_ffff;
/** For so long nothing may be pending before the process is let go. */
const LET_GO_MS = 2;
/** Scratch memory is kept up to this size; a larger record gets memory of its own. */
const KEPT = 1024 * 1024;
/** At first, and for the messages of streams. */
const SCRATCH = 64 * 1024;

const resolved: Promise<void> = Promise.resolve();
// Taken now: tests replace the timers of a program.
const interval = setInterval;
const timeout = setTimeout;

/** Whatever has messages that are to be sent when the burst has ended. */
export interface Flushing {
  flushNow(): void;
}

export class PortImpl implements Port {
  readonly module: NativeModule;
  readonly native: NativePort;
  readonly #makeError: (status: Status) => Error;
  readonly #onLogs: () => void;
  #closed = false;

  /** By ticket. */
  readonly #pending: (Pending | null)[] = [];
  readonly #free: number[] = [];
  readonly #submits: records.Submits = new records.Submits();
  readonly #single: records.Submits = new records.Submits();
  #submitting = false;
  readonly #submitNow: () => void;
  readonly #flushing: Flushing[] = [];
  readonly #flushNow: () => void;

  #scratch: records.Views = new records.Views(SCRATCH);
  /** Where messages of streams are taken to: valid until the next turn of the event loop. */
  #room: Uint8Array = new Uint8Array(SCRATCH);
  #roomUsed = 0;

  readonly #servers: Map<number, ServerHandlers> = new Map();
  /** Calls that came in, by number. */
  readonly #calls: (InboundCallImpl | undefined)[] = [];
  #lastPeer = "";
  /** Records are being read, and there are more to be drained after them. */
  #draining = false;
  #again = false;

  /** Tickets that are out. They keep the process alive; one of them stands for each open server. */
  #live = 0;
  readonly #keeper: NodeJS.Timeout;
  #kept = false;
  #lettingGo = false;

  constructor(module: NativeModule, makeError: (status: Status) => Error, onLogs: () => void) {
    this.module = module;
    this.#makeError = makeError;
    this.#onLogs = onLogs;
    this.#submitNow = (): void => this.submit();
    this.#flushNow = (): void => this.#flushAll();
    this.#keeper = interval(ignore, NEVER_MS);
    this.#keeper.unref();
    this.native = new module.Port(() => this.#wake());
  }

  get closed(): boolean {
    return this.#closed;
  }

  // ---------------------------------------------------------------- errors

  makeError(status: Status): Error {
    return this.#makeError(status);
  }

  /** What to throw for something that the native side threw. `context`: where it happened. */
  thrown(error: unknown, context: string): unknown {
    const code = error instanceof Error ? (error as { code?: unknown }).code : undefined;
    if (typeof code !== "string") return error;
    const message = (error as Error).message;
    if (code.startsWith("ASTER_STATUS_")) {
      return this.#makeError(statusHere(Number(code.slice("ASTER_STATUS_".length)), message, context));
    }
    if (code === "ASTER_VALUE") return this.#makeError(statusHere(INVALID_ARGUMENT, message, context));
    if (code === "ASTER_MISUSE") return new Error(message);
    return error;
  }

  /** An error that has no call to fail: as with other callbacks, it is an uncaught exception. */
  report(error: unknown): void {
    queueMicrotask(() => {
      throw error;
    });
  }

  // ---------------------------------------------------------------- what keeps the process alive

  /** One more thing that is waited for. */
  hold(): void {
    this.#live += 1;
    if (!this.#kept) {
      this.#kept = true;
      this.#keeper.ref();
    }
  }

  /** One less; the next turn that brings something looks at it. */
  release(): void {
    this.#live -= 1;
  }

  /** Not at once when the last thing has ended: what has just been resolved most often begins the next. */
  readonly #letGo = (): void => {
    this.#lettingGo = false;
    if (this.#kept && this.#live === 0) {
      this.#kept = false;
      this.#keeper.unref();
    }
  };

  // ---------------------------------------------------------------- tickets

  /** A ticket for what `pending` waits for. */
  ticket(pending: Pending): number {
    const ticket = this.#free.pop() ?? this.#pending.length;
    this.#pending[ticket] = pending;
    this.hold();
    return ticket;
  }

  /** Takes back a ticket that has come, or was never given out. */
  #settle(ticket: number): Pending | null {
    const pending = this.#pending[ticket] ?? null;
    if (pending === null) return null;
    this.#pending[ticket] = null;
    this.#free.push(ticket);
    this.#live -= 1;
    const { signal, onAbort } = pending;
    if (signal !== null && onAbort !== null) signal.removeEventListener("abort", onAbort);
    return pending;
  }

  /** A promise for what `begin` starts with a ticket. What `begin` throws rejects it. */
  waitFor<T>(
    begin: (ticket: number) => void,
    convert: ((value: any) => T) | null = null,
    owner: ClientImpl | null = null,
  ): Promise<T> {
    let pending!: Pending;
    const promise = new Promise<T>((resolve, reject) => {
      pending = new Pending(resolve, reject);
    });
    pending.convert = convert;
    pending.owner = owner;
    pending.promise = promise;
    this.start(pending, begin);
    return promise;
  }

  /** Begins what `pending` waits for; if it can't begin, `pending` is rejected. */
  start(pending: Pending, begin: (ticket: number) => void): number {
    // What was asked for before goes before.
    this.submit();
    const ticket = this.ticket(pending);
    try {
      begin(ticket);
    } catch (error) {
      this.#settle(ticket);
      pending.reject(this.thrown(error, ""));
    }
    return ticket;
  }

  /** Ends what waits for a ticket that the native side has taken back. */
  resolveNow(ticket: number, value: unknown): void {
    this.#settle(ticket)?.resolve(value);
  }

  /** Nobody need hear of the end of what a client is asked for when it closes. */
  excuse(owner: ClientImpl): void {
    for (const pending of this.#pending) {
      if (pending !== null && pending.owner === owner) pending.excuse();
    }
  }

  // ---------------------------------------------------------------- unary calls

  unary(client: number, method: number, payload: Uint8Array, options: records.PackedOptions, pending: Pending): void {
    const ticket = this.ticket(pending);
    if (!this.#submits.add(client, method, ticket, payload, options)) {
      this.submit();
      this.#submits.add(client, method, ticket, payload, options);
    }
    if (!this.#submitting) {
      this.#submitting = true;
      resolved.then(this.#submitNow);
    }
    const signal = pending.signal;
    if (signal !== null) {
      const onAbort = (): void => this.cancel(ticket);
      pending.onAbort = onAbort;
      signal.addEventListener("abort", onAbort, { once: true });
    }
  }

  /** Hands over the calls that have been gathered. */
  submit(): void {
    this.#submitting = false;
    if (this.#submits.empty) return;
    // Some may have ended on the spot; their failures come as all others do.
    if (this.native.submit(this.#submits.take())) this.#drain();
  }

  cancel(ticket: number): void {
    this.submit();
    this.native.cancel(ticket);
  }

  /** The record by which a streaming call begins. */
  streamRecord(client: number, method: number, options: records.PackedOptions): Uint8Array {
    this.#single.add(client, method, 0, records.NOTHING, options);
    return this.#single.take();
  }

  // ---------------------------------------------------------------- streams

  /** What comes of a message that was sent: something to await if there is no room for more. */
  sent(result: number, stream: Flushing, room: (ticket: number) => void): Promise<void> | undefined {
    switch (result) {
      case SENT_UNFLUSHED:
        // When what runs now has run, and all that was resolved by it.
        if (this.#flushing.push(stream) === 1) process.nextTick(this.#flushNow);
        return undefined;
      case SENT_FULL:
        return this.waitFor<void>(room);
      case SENT_FAILED:
        throw this.#makeError(this.native.failure());
      default:
        return undefined;
    }
  }

  #flushAll(): void {
    const flushing = this.#flushing.splice(0);
    for (const stream of flushing) stream.flushNow();
  }

  /** Memory for the messages of a stream, and where in it they go. */
  take(from: (room: Uint8Array, at: number) => number): Uint8Array | number | Status {
    let taken = from(this.#room, this.#roomUsed);
    if (taken < TAKEN_FAILED) {
      const needed = -2 - taken;
      // What was taken in this turn stays where it is.
      const room = new Uint8Array(Math.max(needed, SCRATCH, Math.min(this.#room.length * 2, KEPT)));
      if (room.length <= KEPT) {
        this.#room = room;
        this.#roomUsed = 0;
      }
      taken = from(room, 0);
      if (room.length > KEPT) return room.subarray(0, taken);
    }
    if (taken === TAKEN_FAILED) return this.native.failure();
    if (taken === TAKEN_END || taken === TAKEN_NOTHING) return taken;
    const at = this.#roomUsed;
    this.#roomUsed = at + taken;
    return this.#room.subarray(at, at + taken);
  }

  // ---------------------------------------------------------------- endpoints

  connect(addresses: string[], options: EndpointOptions, offered?: Offered): Promise<Client> {
    const { services = [], handlers = null } = offered ?? {};
    return this.#serving<Client>(
      (contracts, expose, ticket) =>
        this.native.connect(addresses, contracts, expose, endpointOptions("a client", options), ticket),
      services,
      handlers,
      (client, key) => new ClientImpl(this, client, handlers === null ? null : key),
    );
  }

  serve(services: ServedService[], handlers: ServerHandlers, options: EndpointOptions): Promise<Server> {
    return this.#serving<Server>(
      (contracts, expose, ticket) => this.native.serve(contracts, expose, endpointOptions("a server", options), ticket),
      services,
      handlers,
      (server) => new ServerImpl(this, server),
    );
  }

  /** A promise of something whose calls go to `handlers`, from before it is there. */
  #serving<T>(
    begin: (contracts: Contract[], exposeErrors: boolean[], ticket: number) => number,
    services: ServedService[],
    handlers: ServerHandlers | null,
    made: (handle: number, key: number) => T,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      let key = 0;
      const failed = (error: unknown): void => {
        this.#servers.delete(key);
        reject(error);
      };
      const pending = new Pending(resolve, failed);
      pending.convert = (handle: number) => made(handle, key);
      this.start(pending, (ticket) => {
        const contracts = services.map((service) => service.contract);
        key = begin(
          contracts,
          services.map((service) => service.exposeErrors),
          ticket,
        );
        if (handlers !== null) this.#servers.set(key, handlers);
      });
    });
  }

  /** A client that offered services has closed: its handlers are called no more. */
  forgetOffered(key: number): void {
    this.#servers.delete(key);
  }

  /** A server has closed: its handlers are called no more. */
  forgetServer(server: number): void {
    this.#servers.delete(server);
    this.native.forgetServer(server);
  }

  /** A call that came in is over. */
  forgetCall(call: number): void {
    this.#calls[call] = undefined;
  }

  close(): void {
    if (this.#closed) return;
    this.submit();
    this.#flushAll();
    this.#closed = true;
    this.native.close();
    const failure = "the port was closed, with its clients and servers";
    for (let ticket = 0; ticket < this.#pending.length; ticket++) {
      const pending = this.#settle(ticket);
      if (pending === null) continue;
      // Nobody need be waiting any more.
      pending.excuse();
      fillInfo(pending.info, null);
      pending.reject(this.#makeError(statusHere(CANCELLED, failure, "")));
    }
    const calls = this.#calls.splice(0);
    this.#servers.clear();
    clearInterval(this.#keeper);
    for (const call of calls) this.cancelled(call);
  }

  // ---------------------------------------------------------------- the drain

  #wake(): void {
    if (this.#closed) return;
    // A new turn of the event loop: what was taken in those before has been read.
    this.#roomUsed = 0;
    this.#drain();
    if (this.#live === 0 && this.#kept && !this.#lettingGo) {
      this.#lettingGo = true;
      timeout(this.#letGo, LET_GO_MS).unref();
    }
  }

  #drain(): void {
    // What a callback asks for may end on the spot. Its record must not be written over those that are being read.
    this.#again = true;
    if (this.#draining) return;
    this.#draining = true;
    try {
      while (this.#again && !this.#closed) {
        this.#again = false;
        this.#drainOnce();
      }
    } finally {
      this.#draining = false;
    }
  }

  #drainOnce(): void {
    const written = this.native.drain(this.#scratch.bytes);
    if (written >= 0) {
      this.#records(this.#scratch, written & ~7);
      if ((written & 1) !== 0) this.#again = true;
      return;
    }
    this.#again = true;
    const needed = -written;
    const own = new records.Views(Math.max(needed, SCRATCH));
    if (needed <= KEPT) this.#scratch = own;
    else this.#records(own, this.native.drain(own.bytes) & ~7);
  }

  #records(views: records.Views, end: number): void {
    const { bytes, words, numbers } = views;
    let calls: InboundCall[] = [];
    let server = 0;
    // A callback may close the port.
    for (let at = 0; at < end && !this.#closed; ) {
      const word = at >> 2;
      const length = words[word]!;
      const kind = words[word + 1]!;
      const first = words[word + 2]!;
      const second = words[word + 3]!;
      if (kind === records.CALL) {
        const from = numbers[(at >> 3) + 4]!;
        if (from !== server && calls.length > 0) {
          this.#handOver(server, calls);
          calls = [];
        }
        server = from;
        calls.push(this.#call(views, at));
      } else if (kind === records.ANSWER) {
        const start = at + records.ANSWER_HEADER;
        this.#answer(first, bytes.subarray(start, start + second), words[word + 4]!);
      } else {
        // A call that is cancelled may be among those that have not been handed over.
        if (calls.length > 0) {
          this.#handOver(server, calls);
          calls = [];
        }
        try {
          this.#other(kind, first, second, numbers, (at >> 3) + 2);
        } catch (error) {
          this.report(error);
        }
      }
      at += length;
    }
    if (calls.length > 0) this.#handOver(server, calls);
  }

  #answer(ticket: number, payload: Uint8Array, extra: number): void {
    const pending = this.#settle(ticket);
    if (pending === null) return;
    let value: unknown;
    try {
      if (pending.info !== null) fillInfo(pending.info, extra > 0 ? (this.native.extra(extra - 1) as CallInfo) : null);
      value = pending.decode === null ? payload.slice() : pending.decode(payload);
    } catch (error) {
      pending.reject(error);
      return;
    }
    pending.resolve(value);
  }

  #other(kind: number, first: number, second: number, numbers: Float64Array, at: number): void {
    switch (kind) {
      case records.DONE:
        this.#complete(first, undefined);
        break;
      case records.NUMBER:
        this.#complete(first, numbers[at]!);
        break;
      case records.OBJECT:
        this.#complete(first, this.native.extra(second));
        break;
      case records.READY:
        this.#complete(first, undefined);
        break;
      case records.FAILED: {
        const status = this.native.extra(second) as Status;
        const pending = this.#settle(first);
        if (pending === null) break;
        fillInfo(pending.info, { metadata: status.metadata, trailingMetadata: status.trailing });
        pending.reject(this.#makeError(status));
        break;
      }
      case records.CANCELLED:
        this.cancelled(this.#calls[first]);
        break;
      case records.SESSION_CLOSED: {
        const reason = second === 0 ? "closed" : second === 1 ? "disconnected" : "shutdown";
        this.#servers.get(numbers[at]!)?.onSessionClose(numbers[at + 1]!, first, reason);
        break;
      }
      case records.LOGS:
        this.#onLogs();
        break;
      default:
        this.report(new Error(`a record of kind ${kind} is unknown: the native module does not fit this package`));
    }
  }

  /** Tells a call's handler, unless it has been told. */
  cancelled(call: InboundCallImpl | undefined): void {
    try {
      call?.cancel();
    } catch (error) {
      this.report(error);
    }
  }

  #complete(ticket: number, value: unknown): void {
    const pending = this.#settle(ticket);
    if (pending === null) return;
    try {
      pending.resolve(pending.convert === null ? value : pending.convert(value));
    } catch (error) {
      pending.reject(error);
    }
  }

  #call(views: records.Views, at: number): InboundCallImpl {
    const { bytes, words, numbers } = views;
    const word = at >> 2;
    const number = words[word + 2]!;
    const requestLength = words[word + 3]!;
    const flags = words[word + 6]!;
    const peerLength = words[word + 7]!;
    const peerAt = at + records.CALL_HEADER;
    if (peerLength > 0) this.#lastPeer = String.fromCharCode(...bytes.subarray(peerAt, peerAt + peerLength));
    const requestAt = peerAt + ((peerLength + 7) & ~7);
    const hasRequest = (flags & records.HAS_REQUEST) !== 0;
    const float = at >> 3;
    const call = new InboundCallImpl(
      this,
      number,
      words[word + 4]!,
      words[word + 5]!,
      numbers[float + 5]!,
      this.#lastPeer,
      numbers[float + 6]!,
      numbers[float + 7]!,
      numbers[float + 8]!,
      (flags & records.HAS_METADATA) !== 0 ? this.native.callMetadata(number) : null,
      hasRequest ? bytes.subarray(requestAt, requestAt + requestLength) : null,
    );
    this.#calls[number] = call;
    return call;
  }

  #handOver(server: number, calls: InboundCall[]): void {
    const handlers = this.#servers.get(server);
    if (handlers === undefined) {
      // The server is gone, and nobody will answer.
      for (const call of calls) call.end();
      return;
    }
    try {
      handlers.onCalls(calls);
    } catch (error) {
      this.report(error);
    }
  }
}
