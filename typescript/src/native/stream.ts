/** Calls with streams, on the caller's side. */

import type { ClientImpl, MethodImpl } from "./client.js";
import { TAKEN_END, TAKEN_NOTHING } from "./module.js";
import { alreadyRead, CANCELLED, fillInfo, NONE, Pending, statusHere } from "./pending.js";
import { NOTHING } from "./records.js";
import type { CallInfo, ClientCall, Metadata, Status } from "./types.js";

export class ClientCallImpl implements ClientCall {
  readonly #client: ClientImpl;
  readonly #method: MethodImpl;
  readonly #handle: number;
  readonly #info: CallInfo | null;
  readonly #signal: AbortSignal | null;
  readonly #onAbort: (() => void) | null;
  /** The number is given back; what came with the answer is here. */
  #over = false;
  #failure: Status | null = null;
  #answer: CallInfo = { metadata: {}, trailingMetadata: {} };
  #waiting = false;

  constructor(
    client: ClientImpl,
    method: MethodImpl,
    handle: number,
    info: CallInfo | null,
    signal: AbortSignal | null,
  ) {
    this.#client = client;
    this.#method = method;
    this.#handle = handle;
    this.#info = info;
    this.#signal = signal;
    client.streams.add(this);
    if (signal === null) {
      this.#onAbort = null;
    } else {
      this.#onAbort = (): void => this.cancel();
      signal.addEventListener("abort", this.#onAbort, { once: true });
    }
  }

  send(payload: Uint8Array): Promise<void> | undefined {
    const { port } = this.#client;
    if (this.#over) {
      if (this.#failure !== null) throw port.makeError(this.#failure);
      // The call has succeeded, and whoever reads its answer learns of that. An endless source lets its loop run.
      return Promise.resolve();
    }
    let result: number;
    try {
      result = port.native.streamSend(this.#handle, payload);
    } catch (error) {
      throw port.thrown(error, this.#method.place);
    }
    return port.sent(result, this, (ticket) => port.native.streamRoom(this.#handle, ticket));
  }

  flushNow(): void {
    if (!this.#over) this.#client.port.native.streamFlush(this.#handle);
  }

  halfClose(): void {
    if (!this.#over) this.#client.port.native.streamHalfClose(this.#handle);
  }

  take(): Uint8Array | undefined {
    if (this.#over) {
      if (this.#failure !== null) throw this.#client.port.makeError(this.#failure);
      return NOTHING;
    }
    const { port } = this.#client;
    const taken = port.take((room, at) => port.native.streamTake(this.#handle, room, at));
    if (taken instanceof Uint8Array) return taken;
    if (taken === TAKEN_NOTHING) return undefined;
    if (taken === TAKEN_END) {
      this.#end(port.native.streamInfo(this.#handle), null);
      return NOTHING;
    }
    const failure = taken as Status;
    this.#end({ metadata: failure.metadata, trailingMetadata: failure.trailing }, failure);
    throw port.makeError(failure);
  }

  wait(): Promise<Uint8Array> {
    return new Promise<Uint8Array>((resolve, reject) => {
      const taken = this.take();
      if (taken !== undefined) {
        resolve(taken);
        return;
      }
      // What has been sent may be what the answer waits for.
      this.flushNow();
      const { port } = this.#client;
      const pending = new Pending(resolve, reject);
      pending.convert = (): Uint8Array => {
        this.#waiting = false;
        return this.take() ?? NONE;
      };
      port.start(pending, (ticket) => {
        if (!port.native.streamWait(this.#handle, ticket)) throw alreadyRead();
        this.#waiting = true;
      });
    });
  }

  cancel(): void {
    if (this.#over) return;
    const { port } = this.#client;
    if (this.#waiting) {
      // Its reader is told, and takes the end.
      port.native.streamCancel(this.#handle);
      return;
    }
    this.#end(port.native.streamInfo(this.#handle), {
      ...statusHere(CANCELLED, "the caller cancelled the call", this.#method.place),
      mayHaveRun: true,
    });
  }

  /** The client has been closed, and its calls with it. */
  clientClosed(): void {
    this.cancel();
  }

  get metadata(): Metadata {
    return this.#over ? this.#answer.metadata : this.#client.port.native.streamInfo(this.#handle).metadata;
  }

  get trailingMetadata(): Metadata {
    return this.#over
      ? this.#answer.trailingMetadata
      : this.#client.port.native.streamInfo(this.#handle).trailingMetadata;
  }

  #end(answer: CallInfo, failure: Status | null): void {
    this.#over = true;
    this.#answer = answer;
    this.#failure = failure;
    fillInfo(this.#info, answer);
    if (this.#signal !== null && this.#onAbort !== null) this.#signal.removeEventListener("abort", this.#onAbort);
    this.#client.streams.delete(this);
    // A call that has not ended is cancelled by this.
    this.#client.port.native.forgetStream(this.#handle);
  }
}
