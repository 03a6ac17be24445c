/**
 * Runs handlers: from a call that the core hands over to its answer. Everything about a method that does not change from
 * call to call is worked out once, when the server starts.
 */

import { type Codec, codecOf, encodeAny } from "./codec/codec.js";
import { runServed, ServedCall } from "./context.js";
import { InvalidArgument, placed, RpcError } from "./errors.js";
import { log, shown } from "./logs.js";
import { MessageIterator } from "./messages.js";
import type { InboundCall, ServerHandlers } from "./native/types.js";
import type { MethodSpec, ServiceSpec } from "./service/model.js";
import { MESSAGES_PER_TURN, nextTurn } from "./turns.js";

/** Makes the instance of a session service for a peer's endpoint id. */
export type SessionFactory = (peer: string) => object;

/** How long a closing server waits for `onSessionClose` hooks. */
const HOOK_MS = 5_000;

type Function = (...given: unknown[]) => unknown;

/** What is told of close hooks that have ended: the native server or client. */
interface SessionOwner {
  sessionClosed(sessionKey: number): void;
}

/** The handlers of one server, or of a client that offers services. */
export class Dispatcher implements ServerHandlers {
  readonly #tables: ((call: InboundCall) => void)[][] = [];
  readonly #factories: (SessionFactory | null)[] = [];
  readonly #sessions = new Map<number, object>();
  readonly #closing = new Set<Promise<void>>();
  #owner: SessionOwner | null = null;
  readonly #closedEarly: number[] = [];

  /** Adds a service: its one instance, or what makes an instance per session. */
  add(spec: ServiceSpec, instance: object | null, factory: SessionFactory | null): void {
    this.#factories.push(factory);
    // In the order of the contract's methods, which is by name.
    this.#tables.push(spec.methods().map((method) => this.#starter(new Handler(spec, method), instance)));
  }

  /** Says which server or client the calls come from; the first ones may have come before it was known here. */
  attach(owner: SessionOwner): void {
    this.#owner = owner;
    for (const key of this.#closedEarly.splice(0)) owner.sessionClosed(key);
  }

  onCalls(calls: InboundCall[]): void {
    for (const call of calls) this.#tables[call.serviceIndex]![call.methodIndex]!(call);
  }

  onSessionClose(sessionKey: number, _serviceIndex: number, reason: string): void {
    const instance = this.#sessions.get(sessionKey) as { onSessionClose?: unknown } | undefined;
    this.#sessions.delete(sessionKey);
    const hook = instance?.onSessionClose;
    if (typeof hook !== "function") {
      this.#sessionClosed(sessionKey);
      return;
    }
    const closing = this.#runHook(instance!, hook as Function, reason).finally(() => {
      this.#closing.delete(closing);
      this.#sessionClosed(sessionKey);
    });
    this.#closing.add(closing);
  }

  async #runHook(instance: object, hook: Function, reason: string): Promise<void> {
    try {
      await hook.call(instance, reason);
    } catch (error) {
      log(
        "error",
        `onSessionClose of ${instance.constructor.name} failed (session closed: ${reason}): ${shown(error)}`,
      );
    }
  }

  #sessionClosed(key: number): void {
    if (this.#owner === null) this.#closedEarly.push(key);
    else this.#owner.sessionClosed(key);
  }

  /** Waits for the close hooks that are still running, for a while. */
  async sessionsClosed(): Promise<void> {
    if (this.#closing.size === 0) return;
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, HOOK_MS);
    });
    await Promise.race([Promise.all(this.#closing), limit]);
    clearTimeout(timer);
  }

  /** The function that begins one call of a method. It never throws. */
  #starter(handler: Handler, instance: object | null): (call: InboundCall) => void {
    const { attribute } = handler.method;
    const run = RUNNERS[handler.method.pattern](handler);
    return (call) => {
      try {
        const target = instance ?? this.#sessionOf(call);
        const served = new ServedCall(call, handler.spec.name, handler.method.name);
        const work = (target as Record<string, Function>)[attribute]!;
        runServed(served, () => run(served, target, work));
      } catch (error) {
        // The constructor of a session is the user's.
        fail(call, error, handler);
      }
    };
  }

  /** The instance of the call's session, made by the first call that arrives. */
  #sessionOf(call: InboundCall): object {
    let instance = this.#sessions.get(call.sessionKey);
    if (instance === undefined) {
      instance = this.#factories[call.serviceIndex]!(call.peer);
      this.#sessions.set(call.sessionKey, instance);
    }
    return instance;
  }
}

/** What is known about a method before any call. */
class Handler {
  readonly spec: ServiceSpec;
  readonly method: MethodSpec;
  readonly request: Codec;
  readonly response: Codec;
  readonly where: string;

  constructor(spec: ServiceSpec, method: MethodSpec) {
    this.spec = spec;
    this.method = method;
    this.request = codecOf(method.request);
    this.response = codecOf(method.response);
    this.where = `${spec.name}.${method.name}`;
  }

  /** The bytes of an answer. One that cannot be written is the handler's fault, and nothing the caller did. */
  encode(answer: unknown): Uint8Array {
    try {
      return this.response.encode(answer);
    } catch (error) {
      if (error instanceof InvalidArgument) throw new UnfitAnswer(`the answer of ${this.where}: ${error.rawMessage}`);
      throw error;
    }
  }

  /** Calls the handler with the request of a call. */
  invoke(served: ServedCall, target: object, work: Function): unknown {
    let request: unknown;
    try {
      request = this.request.decode(served.native.request!);
    } catch (error) {
      throw error instanceof InvalidArgument ? placed(error, `${this.where}, the request`) : error;
    }
    const { parameters, takesContext } = this.method;
    if (parameters !== null) {
      const values = parameters.map((name) => (request as Record<string, unknown>)[name]);
      if (takesContext) values.push(served.asContext());
      return work.apply(target, values);
    }
    return takesContext ? work.call(target, request, served.asContext()) : work.call(target, request);
  }

  /** Calls a handler that takes a stream. */
  invokeStream(served: ServedCall, target: object, work: Function): unknown {
    const requests = this.requests(served.native);
    return this.method.takesContext ? work.call(target, requests, served.asContext()) : work.call(target, requests);
  }

  /** The messages of a call as they arrive. */
  requests(call: InboundCall): MessageIterator<unknown> {
    const decoded = (batch: Uint8Array | undefined): unknown[] | null | undefined => {
      if (batch === undefined) return undefined;
      if (batch.length === 0) return null;
      try {
        return this.request.decodeBatch(batch);
      } catch (error) {
        throw error instanceof InvalidArgument ? placed(error, `${this.where}, a message of the stream`) : error;
      }
    };
    return new MessageIterator({
      take: () => decoded(call.take()),
      wait: async () => decoded(await call.wait()) ?? null,
      leave: () => undefined, // the handler may well answer without reading on
    });
  }
}

/** A handler's answer that is not of the type it declares. */
class UnfitAnswer extends TypeError {}

/** Answers a call with what its handler threw, which may be anything. */
function fail(call: InboundCall, thrown: unknown, handler: Handler): void {
  if (call.cancelled) {
    // The caller has its answer already. The core still has to know that the handler has ended, since the next call of a
    // session waits for that; and errors of an interrupted handler are worth a line.
    if (!(thrown instanceof RpcError) && (thrown as Error | null)?.name !== "AbortError") {
      log("warn", `${handler.where} failed after its call was cancelled: ${shown(thrown)}`);
    }
    call.end();
    return;
  }
  let unexpected = thrown;
  if (thrown instanceof RpcError) {
    try {
      const details = thrown.details === null ? null : encodeAny(thrown.details);
      call.fail(thrown.codeNumber, thrown.rawMessage, details, thrown.metadata);
      return;
    } catch (broken) {
      unexpected = broken; // details or metadata that cannot be sent
    }
  }
  const text =
    unexpected instanceof Error ? `${unexpected.name}: ${unexpected.message}` : `thrown: ${shown(unexpected)}`;
  try {
    const id = call.failInternal(text);
    log("error", `error ${id} in ${handler.where}, called by ${call.peer}: ${shown(unexpected)}`);
  } catch (ended) {
    log("error", `error in ${handler.where} (${shown(ended)}): ${shown(unexpected)}`);
    call.end();
  }
}

function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === "function";
}

type Runner = (served: ServedCall, target: object, work: Function) => void;

function answering(handler: Handler, invoke: (served: ServedCall, target: object, work: Function) => unknown): Runner {
  const reply = (call: InboundCall, answer: unknown): void => {
    try {
      call.reply(handler.encode(answer));
    } catch (error) {
      fail(call, error, handler);
    }
  };
  return (served, target, work) => {
    const call = served.native;
    let answer: unknown;
    try {
      answer = invoke(served, target, work);
    } catch (error) {
      fail(call, error, handler);
      return;
    }
    if (!isPromise(answer)) {
      reply(call, answer);
      return;
    }
    answer.then(
      (value) => reply(call, value),
      (error) => fail(call, error, handler),
    );
  };
}

function streaming(handler: Handler, invoke: (served: ServedCall, target: object, work: Function) => unknown): Runner {
  return (served, target, work) => {
    sendAll(served, handler, () => invoke(served, target, work)).catch((error) => fail(served.native, error, handler));
  };
}

/** Sends what an iterator gives, then ends the call. The iterator is closed however this ends. */
async function sendAll(served: ServedCall, handler: Handler, invoke: () => unknown): Promise<void> {
  const call = served.native;
  const given = invoke();
  const iterator = iteratorOf(isPromise(given) ? await given : given, handler);
  let closed = false;
  const close = (): unknown => {
    if (closed) return undefined;
    closed = true;
    return iterator.return?.();
  };
  // A body that waits for something of its own runs on until that settles; nothing it yields is sent any more.
  served.onCancel(() => {
    Promise.resolve()
      .then(close)
      .catch((error) => reportLate(error, handler));
  });
  try {
    for (let sent = 1; ; sent++) {
      if (sent % MESSAGES_PER_TURN === 0) await nextTurn();
      const next = iterator.next();
      const { done, value } = isPromise(next) ? await next : next;
      if (call.cancelled) {
        call.end();
        return;
      }
      if (done === true) {
        closed = true;
        call.finish();
        return;
      }
      const pending = call.send(handler.encode(value));
      if (pending !== undefined) await pending;
    }
  } catch (error) {
    const cleanUp = close();
    if (isPromise(cleanUp)) await cleanUp.then(undefined, (late) => reportLate(late, handler));
    throw error;
  }
}

function reportLate(error: unknown, handler: Handler): void {
  log("warn", `${handler.where} failed after its call had ended: ${shown(error)}`);
}

function iteratorOf(answers: unknown, handler: Handler): AsyncIterator<unknown> | Iterator<unknown> {
  const isObject = (typeof answers === "object" && answers !== null) || typeof answers === "function";
  if (isObject && Symbol.asyncIterator in answers) return (answers as AsyncIterable<unknown>)[Symbol.asyncIterator]();
  if (isObject && Symbol.iterator in answers) return (answers as Iterable<unknown>)[Symbol.iterator]();
  throw new UnfitAnswer(
    `${handler.where} answered ${shown(answers)}, and its callers expect a stream; make it an async generator`,
  );
}

const RUNNERS: Readonly<Record<MethodSpec["pattern"], (handler: Handler) => Runner>> = {
  unary: (handler) => answering(handler, (served, target, work) => handler.invoke(served, target, work)),
  client_stream: (handler) => answering(handler, (served, target, work) => handler.invokeStream(served, target, work)),
  server_stream: (handler) => streaming(handler, (served, target, work) => handler.invoke(served, target, work)),
  bidi_stream: (handler) => streaming(handler, (served, target, work) => handler.invokeStream(served, target, work)),
};
