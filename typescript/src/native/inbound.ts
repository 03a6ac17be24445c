/** Calls that came in. */

import { performance } from "node:perf_hooks";
import { callerClient } from "./client.js";
import { TAKEN_END, TAKEN_NOTHING } from "./module.js";
import { alreadyRead, CANCELLED, NONE, Pending } from "./pending.js";
import type { PortImpl } from "./port.js";
import { NOTHING, packMetadata } from "./records.js";
import type { Client, InboundCall, Metadata, Status } from "./types.js";

const NO_METADATA: Metadata = Object.freeze({});

export class InboundCallImpl implements InboundCall {
  readonly #port: PortImpl;
  readonly #handle: number;
  readonly serviceIndex: number;
  readonly methodIndex: number;
  readonly id: number;
  readonly peer: string;
  readonly sessionKey: number;
  readonly sessionId: number;
  readonly metadata: Metadata;
  readonly request: Uint8Array | null;
  /** By `performance.now()`; NaN without a deadline. */
  readonly #deadline: number;
  #cancelled = false;
  #onCancel: (() => void) | null = null;
  #over = false;

  constructor(
    port: PortImpl,
    handle: number,
    serviceIndex: number,
    methodIndex: number,
    id: number,
    peer: string,
    sessionKey: number,
    sessionId: number,
    timeLeftMs: number,
    metadata: Metadata | null,
    request: Uint8Array | null,
  ) {
    this.#port = port;
    this.#handle = handle;
    this.serviceIndex = serviceIndex;
    this.methodIndex = methodIndex;
    this.id = id;
    this.peer = peer;
    this.sessionKey = sessionKey;
    this.sessionId = sessionId;
    this.metadata = metadata ?? NO_METADATA;
    this.request = request;
    this.#deadline = Number.isNaN(timeLeftMs) ? timeLeftMs : performance.now() + timeLeftMs;
  }

  caller(): Client {
    return callerClient(
      this.#port,
      this.#ask(() => this.#port.native.callCaller(this.#handle)),
    );
  }

  timeLeftMs(): number | null {
    return Number.isNaN(this.#deadline) ? null : Math.max(0, this.#deadline - performance.now());
  }

  get cancelled(): boolean {
    return this.#cancelled;
  }

  onCancel(callback: () => void): void {
    if (this.#cancelled) callback();
    else this.#onCancel = callback;
  }

  /** The caller hears no answer any more. */
  cancel(): void {
    if (this.#cancelled || this.#over) return;
    this.#cancelled = true;
    const callback = this.#onCancel;
    this.#onCancel = null;
    callback?.();
  }

  // ---------------------------------------------------------------- the answer

  /** What the native side says of a call that is open. */
  #ask<T>(what: () => T): T {
    if (this.#over) throw new Error("this call has been ended before: a call has one end");
    try {
      return what();
    } catch (error) {
      throw this.#explained(error);
    }
  }

  /** A payload that does not fit is a mistake of the handler, and no outcome of a call. */
  #explained(error: unknown): unknown {
    if (error instanceof Error && (error as { code?: unknown }).code === "ASTER_VALUE") return new Error(error.message);
    return this.#port.thrown(error, "");
  }

  #ended(): void {
    this.#over = true;
    this.#onCancel = null;
    this.#port.forgetCall(this.#handle);
  }

  setResponseMetadata(metadata: Metadata): void {
    const packed = packMetadata(metadata);
    this.#ask(() => this.#port.native.callSetMetadata(this.#handle, packed));
  }

  setTrailingMetadata(metadata: Metadata): void {
    const packed = packMetadata(metadata);
    this.#ask(() => this.#port.native.callSetTrailing(this.#handle, packed));
  }

  reply(payload: Uint8Array): void {
    if (this.#over) throw new Error("this call has been ended before: a call has one end");
    try {
      this.#port.native.callReply(this.#handle, payload);
    } catch (error) {
      throw this.#explained(error);
    }
    this.#ended();
  }

  send(payload: Uint8Array): Promise<void> | undefined {
    if (this.#over) throw new Error("this call has been ended before: a call has one end");
    const port = this.#port;
    let result: number;
    try {
      result = port.native.callSend(this.#handle, payload);
    } catch (error) {
      throw this.#explained(error);
    }
    return port.sent(result, this, (ticket) => port.native.callRoom(this.#handle, ticket));
  }

  flushNow(): void {
    if (!this.#over) this.#port.native.callFlush(this.#handle);
  }

  finish(): void {
    this.#ask(() => this.#port.native.callFinish(this.#handle));
    this.#ended();
  }

  fail(code: number, message: string, details: Uint8Array | null, metadata: Metadata | null): void {
    const packed = metadata === null ? null : packMetadata(metadata);
    this.#ask(() => this.#port.native.callFail(this.#handle, code, message, details, packed));
    this.#ended();
  }

  failInternal(text: string): string {
    const id = this.#ask(() => this.#port.native.callFailInternal(this.#handle, text));
    this.#ended();
    return id;
  }

  end(): void {
    if (this.#over) return;
    this.#ended();
    this.#port.native.callEnd(this.#handle);
  }

  // ---------------------------------------------------------------- the requests

  take(): Uint8Array | undefined {
    const port = this.#port;
    const taken = this.#ask(() => port.take((room, at) => port.native.callTake(this.#handle, room, at)));
    if (taken instanceof Uint8Array) return taken;
    if (taken === TAKEN_NOTHING) return undefined;
    if (taken === TAKEN_END) return NOTHING;
    const failure = taken as Status;
    // The requests of a call fail so when it was cancelled, and what says that to the handler may not have been drained
    // yet: whoever meets this failure has to find the call cancelled.
    if (failure.code === CANCELLED) port.cancelled(this);
    throw port.makeError(failure);
  }

  wait(): Promise<Uint8Array> {
    return new Promise<Uint8Array>((resolve, reject) => {
      const taken = this.take();
      if (taken !== undefined) {
        resolve(taken);
        return;
      }
      // What has been answered may be what the next request waits for.
      this.flushNow();
      const port = this.#port;
      const pending = new Pending(resolve, reject);
      // Once the call is over no more requests come.
      pending.convert = (): Uint8Array => (this.#over ? NOTHING : (this.take() ?? NONE));
      port.start(pending, (ticket) => {
        if (!port.native.callWait(this.#handle, ticket)) throw alreadyRead();
      });
    });
  }
}
