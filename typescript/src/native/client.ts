/** Clients, their methods, sessions and calls. */

import { CANCELLED, closedStatus, fillInfo, Pending, statusHere } from "./pending.js";
import type { PortImpl } from "./port.js";
import { NO_OPTIONS, type PackedOptions, packOptions, wholeMs } from "./records.js";
import { ClientCallImpl } from "./stream.js";
import type { CallOptions, Client, ClientCall, Contract, Decode, Method, Session } from "./types.js";

/** A method as calls name it. */
export class MethodImpl implements Method {
  readonly client: ClientImpl;
  readonly handle: number;
  readonly name: string;
  #place: string | null = null;

  constructor(client: ClientImpl, handle: number, name: string) {
    this.client = client;
    this.handle = handle;
    this.name = name;
  }

  /** Which method at which peer. */
  get place(): string {
    this.#place ??= this.client.port.native.methodPlace(this.handle);
    return this.#place;
  }
}

/** A session with a service. */
export class SessionImpl implements Session {
  readonly client: ClientImpl;
  readonly handle: number;
  #closing: Promise<void> | null = null;

  constructor(client: ClientImpl, handle: number) {
    this.client = client;
    this.handle = handle;
  }

  get open(): boolean {
    return this.#closing === null && !this.client.closing;
  }

  get id(): number {
    return this.open ? this.client.port.native.sessionId(this.handle) : 0;
  }

  close(): Promise<void> {
    if (this.#closing === null) {
      const { port, closing } = this.client;
      // The end of the client has ended its sessions.
      this.#closing = closing
        ? Promise.resolve()
        : port.waitFor<void>((ticket) => port.native.closeSession(this.handle, ticket));
    }
    return this.#closing;
  }
}

/** Clients of callers belong to nobody who would close them: their numbers are given back when they are collected. */
const callers: FinalizationRegistry<{ port: PortImpl; handle: number }> = new FinalizationRegistry(
  ({ port, handle }) => {
    if (!port.closed) port.native.forgetClient(handle);
  },
);

/** A client of a caller, which nobody need close. */
export function callerClient(port: PortImpl, handle: number): ClientImpl {
  const client = new ClientImpl(port, handle, null);
  callers.register(client, { port, handle }, client);
  return client;
}

export class ClientImpl implements Client {
  readonly port: PortImpl;
  readonly handle: number;
  readonly peer: string;
  /** Calls with streams that have not ended. */
  readonly streams: Set<ClientCallImpl> = new Set();
  readonly #methods: WeakMap<Contract, Map<string, MethodImpl>> = new WeakMap();
  /** By which calls name it that come for the services it offers. */
  readonly #offering: number | null;
  #closing: Promise<void> | null = null;

  constructor(port: PortImpl, handle: number, offering: number | null) {
    this.port = port;
    this.handle = handle;
    this.#offering = offering;
    if (offering !== null) port.hold();
    this.peer = port.native.clientPeer(handle);
  }

  /** Whether this side has closed it, which ends its calls with CANCELLED. */
  get closing(): boolean {
    return this.#closing !== null;
  }

  #check(): void {
    if (this.#closing !== null || this.port.closed) {
      throw this.port.makeError(closedStatus(`this client of ${this.peer}`));
    }
  }

  services(): { name: string; version: number; contractId: string; scope: "shared" | "session" }[] {
    this.#check();
    return this.port.native.clientServices(this.handle);
  }

  async contract(name: string, version: number | null): Promise<Contract> {
    this.#check();
    return this.port.waitFor<Contract>(
      (ticket) => this.port.native.clientContract(this.handle, name, version, ticket),
      null,
      this,
    );
  }

  method(contract: Contract, name: string, codec: "msgpack" | "json"): Method {
    this.#check();
    let methods = this.#methods.get(contract);
    if (methods === undefined) {
      methods = new Map();
      this.#methods.set(contract, methods);
    }
    const key = `${codec} ${name}`;
    let method = methods.get(key);
    if (method === undefined) {
      if (codec !== "msgpack" && codec !== "json") {
        throw new RangeError(`codec ${JSON.stringify(codec)} does not exist: there are "msgpack" and "json"`);
      }
      const handle = this.port.native.clientMethod(this.handle, contract, name, codec === "json");
      if (handle === null) throw new RangeError(`${contract.name} has no method ${JSON.stringify(name)}`);
      method = new MethodImpl(this, handle, name);
      methods.set(key, method);
    }
    return method;
  }

  openSession(service: string, implicit: boolean): Session {
    this.#check();
    return new SessionImpl(this, this.port.native.openSession(this.handle, service, implicit));
  }

  async ping(timeoutMs: number): Promise<number> {
    this.#check();
    const timeout = wholeMs("timeoutMs", timeoutMs);
    return this.port.waitFor<number>((ticket) => this.port.native.clientPing(this.handle, timeout, ticket), null, this);
  }

  close(): Promise<void> {
    if (this.#closing === null) {
      this.#closing = this.port.closed
        ? Promise.resolve()
        : this.port.waitFor<void>(
            (ticket) => this.port.native.closeClient(this.handle, ticket),
            () => this.#closed(),
          );
      // The program that closes a client knows that its calls end.
      this.port.excuse(this);
    }
    return this.#closing;
  }

  #closed(): void {
    callers.unregister(this);
    for (const stream of [...this.streams]) stream.clientClosed();
    if (this.#offering !== null) {
      this.port.forgetOffered(this.#offering);
      this.port.release();
    }
    this.port.native.forgetClient(this.handle);
  }

  sessionClosed(sessionKey: number): void {
    if (this.#offering !== null) this.port.native.sessionClosed(this.#offering, sessionKey);
  }

  /** The options of a call as they are packed. Throws if they are wrong. */
  pack(options: CallOptions | null): PackedOptions {
    if (options === null) return NO_OPTIONS;
    const packed = packOptions(options);
    const session = options.session as SessionImpl | undefined;
    if (session !== undefined) {
      if (session.client !== this) {
        throw new TypeError("the session belongs to another client: open a session with this one");
      }
      if (!session.open) throw this.port.makeError(closedStatus("this session"));
      packed.session = session.handle + 1;
    }
    return packed;
  }

  /** A call whose signal was aborted before it was made. */
  cancelledBefore(method: MethodImpl): Error {
    return this.port.makeError(statusHere(CANCELLED, "the caller cancelled the call", method.place));
  }

  unary<T>(method: Method, payload: Uint8Array, decode: Decode<T>, options: CallOptions | null): Promise<T> {
    let pending!: Pending;
    const promise = new Promise<T>((resolve, reject) => {
      pending = new Pending(resolve, reject);
      // For calls that end before they begin.
      fillInfo(options?.info, null);
      this.#check();
      const implementation = method as MethodImpl;
      const packed = this.pack(options);
      if (options !== null) {
        const signal = options.signal;
        if (signal !== undefined) {
          if (signal.aborted) throw this.cancelledBefore(implementation);
          pending.signal = signal;
        }
        pending.info = options.info ?? null;
      }
      pending.decode = decode;
      pending.owner = this;
      this.port.unary(this.handle, implementation.handle, payload, packed, pending);
    });
    pending.promise = promise;
    return promise;
  }

  stream(method: Method, options: CallOptions | null): ClientCall {
    fillInfo(options?.info, null);
    this.#check();
    const implementation = method as MethodImpl;
    const packed = this.pack(options);
    const signal = options?.signal ?? null;
    if (signal?.aborted) throw this.cancelledBefore(implementation);
    this.port.submit();
    let handle: number;
    try {
      handle = this.port.native.stream(this.port.streamRecord(this.handle, implementation.handle, packed));
    } catch (error) {
      throw this.port.thrown(error, implementation.place);
    }
    return new ClientCallImpl(this, implementation, handle, options?.info ?? null, signal);
  }
}
