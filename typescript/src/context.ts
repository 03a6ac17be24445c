/** What a handler may know about the call it serves. */

import { AsyncLocalStorage } from "node:async_hooks";
import { UsageError } from "./errors.js";
import type { InboundCall, Metadata } from "./native/types.js";
import { type Caller, callerOf } from "./peer.js";

const storage = new AsyncLocalStorage<ServedCall>();
let serving = false;

/** One call being served: what a context is made from, kept by the dispatcher. */
export class ServedCall {
  readonly native: InboundCall;
  readonly service: string;
  readonly method: string;
  #controller: AbortController | null = null;
  #context: CallContext | null = null;
  #callbacks: (() => void)[] | null = null;

  constructor(native: InboundCall, service: string, method: string) {
    this.native = native;
    this.service = service;
    this.method = method;
  }

  /** Made when it is first asked for: most handlers never do. */
  get signal(): AbortSignal {
    if (this.#controller === null) {
      const controller = new AbortController();
      this.#controller = controller;
      this.onCancel(() =>
        controller.abort(new DOMException("the caller has gone, cancelled, or run out of time", "AbortError")),
      );
    }
    return this.#controller.signal;
  }

  /** Called when the call is cancelled, at once if it has been. */
  onCancel(callback: () => void): void {
    if (this.#callbacks !== null) {
      if (this.native.cancelled) callback();
      else this.#callbacks.push(callback);
      return;
    }
    this.#callbacks = [callback];
    // The native layer takes one callback per call.
    this.native.onCancel(() => {
      for (const each of this.#callbacks!.splice(0)) each();
    });
  }

  asContext(): CallContext {
    this.#context ??= new CallContext(this);
    return this.#context;
  }
}

/** Runs a handler so that `CallContext.current()` knows its call. */
export function runServed<T>(served: ServedCall, work: () => T): T {
  serving = true;
  return storage.run(served, work);
}

/** Milliseconds that the call being served here has left; null without one, or without a limit. */
export function servedTimeLeftMs(): number | null {
  return serving ? (storage.getStore()?.native.timeLeftMs() ?? null) : null;
}

/**
 * The call a handler is serving: who called, with what, for how long. Take one as the last parameter, or ask
 * `CallContext.current()` in a handler and in what it calls or starts. It is valid while the handler runs.
 */
export class CallContext {
  readonly #served: ServedCall;

  /** @internal */
  constructor(served: ServedCall) {
    this.#served = served;
  }

  /** The context of the call being served here; a UsageError outside of a handler. */
  static current(): CallContext {
    const served = storage.getStore();
    if (served === undefined) {
      throw new UsageError(
        "CallContext.current() was called outside of a handler; it works in a handler and in what the handler calls or starts",
      );
    }
    return served.asContext();
  }

  /** Aborts when the caller cancels or leaves, or time is up. Hand it to whatever the handler waits for. */
  get signal(): AbortSignal {
    return this.#served.signal;
  }

  /** The endpoint id of the caller, proven by its key. */
  get peer(): string {
    return this.#served.native.peer;
  }

  /**
   * The services that the caller offers (`new AsterClient({ services })`), to be called back on its own connection. Keep it to
   * call the caller later, after this call too.
   */
  get caller(): Caller {
    return callerOf(this.#served.native);
  }

  /** The service called. */
  get service(): string {
    return this.#served.service;
  }

  /** The method called. */
  get method(): string {
    return this.#served.method;
  }

  /** A number for this call, unique in the process; use it in logs. */
  get callId(): number {
    return this.#served.native.id;
  }

  /** The caller's number of the session, null when the service is shared. */
  get sessionId(): number | null {
    const id = this.#served.native.sessionId;
    return id === 0 ? null : id;
  }

  /** What the caller sent along; keys ending in `-bin` have bytes. */
  get metadata(): Metadata {
    return this.#served.native.metadata;
  }

  /** Capabilities granted to the caller. An open gate grants none. */
  get capabilities(): ReadonlySet<string> {
    return new Set();
  }

  /** Attributes of the caller's credential; empty when the gate is open. */
  get attributes(): Readonly<Record<string, string>> {
    return {};
  }

  /**
   * Milliseconds until the call is ended: at the caller's deadline or the method's own `timeoutMs`, whichever comes first. 0
   * from then on; null if there is neither.
   */
  get timeLeftMs(): number | null {
    return this.#served.native.timeLeftMs();
  }

  /** Whether the caller has gone, cancelled, or run out of time. */
  get cancelled(): boolean {
    return this.#served.native.cancelled;
  }

  /** Metadata sent before the first message of the response. A UsageError if that has left already. */
  setResponseMetadata(metadata: Metadata): void {
    try {
      this.#served.native.setResponseMetadata(metadata);
    } catch (error) {
      throw new UsageError(
        `${(error as Error).message}; use setTrailingMetadata, which travels with the end of the call`,
        {
          cause: error,
        },
      );
    }
  }

  /** Metadata sent with the end of the call, whether it succeeds or fails. */
  setTrailingMetadata(metadata: Metadata): void {
    this.#served.native.setTrailingMetadata(metadata);
  }
}
