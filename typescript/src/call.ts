/** A method bound to a connection: the call forms that proxies and typed clients share. */

import type { Codec } from "./codec/codec.js";
import { AsterError, Cancelled, InvalidArgument, placed, refusal, UsageError } from "./errors.js";
import type {
  ClientCall,
  CallOptions as NativeCallOptions,
  Client as NativeClient,
  Method as NativeMethod,
} from "./native/types.js";
import { type CallOptions, callOptions, looksLikeOptions } from "./options.js";
import { type Pattern, show } from "./service/model.js";
import { BidiChannel, callClientStream, ResponseStream } from "./streams.js";

const RIGHT_FORM: Readonly<Record<Pattern, (name: string) => string>> = {
  unary: (name) => `is unary: \`await ${name}({...})\``,
  server_stream: (name) => `is a server stream: \`for await (const x of ${name}.stream({...}))\``,
  client_stream: (name) => `is a client stream: \`await ${name}(asyncIterable)\``,
  bidi_stream: (name) =>
    `is a bidirectional stream: \`const ch = ${name}.bidi(); await ch.open(); await ch.send(x); for await (const r of ch) ...\``,
};

/** Everything about one method of one client that does not change from call to call. */
export class Binding {
  readonly client: NativeClient;
  readonly native: NativeMethod;
  readonly pattern: Pattern;
  readonly request: Codec;
  readonly response: Codec;
  readonly options: NativeCallOptions | null;
  /** Names of plain parameters, which are given by position; null when there is one request. */
  readonly parameters: readonly string[] | null;
  /** Service and method, for error texts. */
  readonly where: string;
  readonly decode: (payload: Uint8Array) => unknown;

  constructor(
    given: Omit<Binding, "decode" | "refused" | "payload" | "decodeBatch" | "unary" | "startStream" | "send">,
  ) {
    this.client = given.client;
    this.native = given.native;
    this.pattern = given.pattern;
    this.request = given.request;
    this.response = given.response;
    this.options = given.options;
    this.parameters = given.parameters;
    this.where = given.where;
    const { decode } = this.response;
    this.decode = (payload) => {
      try {
        return decode(payload);
      } catch (error) {
        throw error instanceof InvalidArgument ? placed(error, `${this.where}, the answer`) : error;
      }
    };
  }

  /** The error for a request that cannot be encoded or does not fit the contract; nothing was sent. */
  refused(error: unknown): unknown {
    if (error instanceof InvalidArgument) return refusal(error, this.where);
    // The core names the path of what does not fit in a plain Error; all else is the call's own failure, or the user's.
    if (error instanceof AsterError || !(error instanceof Error) || !error.message.includes(" at $")) return error;
    return refusal(new InvalidArgument(error.message, { cause: error }), this.where);
  }

  payload(request: unknown): Uint8Array {
    try {
      return this.request.encode(request);
    } catch (error) {
      throw this.refused(error);
    }
  }

  decodeBatch(batch: Uint8Array): unknown[] {
    try {
      return this.response.decodeBatch(batch);
    } catch (error) {
      throw error instanceof InvalidArgument ? placed(error, `${this.where}, a message of the stream`) : error;
    }
  }

  unary(request: unknown, options: NativeCallOptions | null): Promise<unknown> {
    try {
      return this.client.unary(this.native, this.request.encode(request), this.decode, options);
    } catch (error) {
      return Promise.reject(this.refused(error));
    }
  }

  /** Starts a server stream: one request, then nothing more to send. */
  startStream(request: unknown, options: NativeCallOptions | null): ClientCall {
    const payload = this.payload(request);
    const call = this.client.stream(this.native, options);
    try {
      call.send(payload);
      call.halfClose();
    } catch (error) {
      call.cancel();
      throw this.refused(error);
    }
    return call;
  }

  /** Sends one message; a promise to wait for when the other side is behind. */
  send(call: ClientCall, message: unknown): Promise<void> | undefined {
    try {
      return call.send(this.request.encode(message));
    } catch (error) {
      throw this.refused(error);
    }
  }
}

/** Finds the binding of one method. */
export interface Binder {
  /** The binding, if that takes no waiting. */
  now(): Binding | null;
  /** The binding, after loading the contract if need be. */
  later(): Promise<Binding>;
}

/**
 * One method of a remote service, in all its call forms:
 *
 * - unary: `await proxy.method({...})`
 * - server stream: `for await (const x of proxy.method.stream({...}))`
 * - client stream: `await proxy.method(asyncIterable)`; plain iterables too
 * - bidirectional: `const channel = proxy.method.bidi()`
 *
 * Options of the call come last: `{ signal, timeoutMs, metadata, compress, info }`.
 */
export interface RemoteMethod {
  (...given: any[]): Promise<any>;
  stream(...given: any[]): ResponseStream<any>;
  bidi(options?: CallOptions): BidiChannel<any, any>;
  /** The same method with options for every call made through what is returned. */
  withOptions(options: CallOptions): RemoteMethod;
}

/** The method named `name`, which calls what `binder` finds. */
export function remoteMethod(name: string, binder: Binder, preset: CallOptions | null): RemoteMethod {
  const call = (...given: unknown[]): Promise<unknown> => {
    let binding: Binding | null;
    try {
      binding = binder.now();
      if (binding === null) return binder.later().then((found) => callNow(found, name, given, preset));
    } catch (error) {
      return Promise.reject(error);
    }
    return callNow(binding, name, given, preset);
  };
  return Object.assign(call, {
    stream: (...given: unknown[]): ResponseStream<unknown> =>
      new ResponseStream(binder, (binding) => {
        require(binding, "server_stream", name);
        const [request, options] = argumentsOf(binding, given, preset);
        return [binding.startStream(request, callOptions(binding.where, binding.options, options)), options?.signal];
      }),
    bidi: (options?: CallOptions): BidiChannel<unknown, unknown> =>
      new BidiChannel(binder, (binding) => {
        require(binding, "bidi_stream", name);
        const given = merged(preset, options);
        const native = callOptions(binding.where, binding.options, given);
        return [binding.client.stream(binding.native, native), given?.signal];
      }),
    withOptions: (options: CallOptions): RemoteMethod => remoteMethod(name, binder, merged(preset, options) ?? null),
  }) as RemoteMethod;
}

function callNow(binding: Binding, name: string, given: unknown[], preset: CallOptions | null): Promise<unknown> {
  try {
    if (binding.pattern === "client_stream") return callStreaming(binding, name, given, preset);
    require(binding, "unary", name);
    if (given.length === 1 && preset === null && binding.parameters === null) {
      // The usual case: everything known, one request, no options.
      return binding.unary(given[0], callOptions(binding.where, binding.options, undefined));
    }
    const [request, options] = argumentsOf(binding, given, preset);
    const native = callOptions(binding.where, binding.options, options);
    return abortable(binding.unary(request, native), options?.signal);
  } catch (error) {
    return Promise.reject(error);
  }
}

/**
 * An answer whose caller has a signal: when that has ended the call, what aborted it is the cause, and nobody need await the
 * failure that they have asked for.
 */
function abortable(answer: Promise<unknown>, signal: AbortSignal | undefined): Promise<unknown> {
  if (signal === undefined) return answer;
  const told = answer.catch((error: unknown) => {
    if (explained(error, signal)) told.catch(() => undefined);
    throw error;
  });
  return told;
}

/** Whether a signal has ended a call that failed with `error`, which then gets what aborted it as its cause. */
export function explained(error: unknown, signal: AbortSignal | undefined): boolean {
  if (signal?.aborted !== true || !(error instanceof Cancelled)) return false;
  if (error.cause === undefined) error.cause = signal.reason;
  return true;
}

function callStreaming(binding: Binding, name: string, given: unknown[], preset: CallOptions | null): Promise<unknown> {
  const [source, options, ...rest] = given;
  const streams =
    typeof source === "object" && source !== null && (Symbol.asyncIterator in source || Symbol.iterator in source);
  if (!streams || rest.length > 0) throw new UsageError(wrongForm(binding, name));
  const all = merged(preset, options as CallOptions | undefined);
  const answer = callClientStream(
    binding,
    source as AsyncIterable<unknown> | Iterable<unknown>,
    callOptions(binding.where, binding.options, all),
  );
  return abortable(answer, all?.signal);
}

function require(binding: Binding, pattern: Pattern, name: string): void {
  if (binding.pattern !== pattern) throw new UsageError(wrongForm(binding, name));
}

function wrongForm(binding: Binding, name: string): string {
  return `${binding.where} ${RIGHT_FORM[binding.pattern](name)}`;
}

/** Options of a call on top of those given before. */
export function merged(preset: CallOptions | null, options: CallOptions | undefined): CallOptions | undefined {
  if (preset === null) return options;
  if (options === undefined) return preset;
  if (typeof options !== "object" || options === null) return options; // refused where options are checked
  const metadata =
    preset.metadata !== undefined && options.metadata !== undefined
      ? { metadata: { ...preset.metadata, ...options.metadata } }
      : {};
  return { ...preset, ...options, ...metadata };
}

/** The request and the call's own options, from what the caller wrote. */
function argumentsOf(
  binding: Binding,
  given: readonly unknown[],
  preset: CallOptions | null,
): [unknown, CallOptions | undefined] {
  const names = binding.parameters;
  if (names !== null) return parametersOf(binding, names, given, preset);
  if (given.length > 2) {
    throw new UsageError(
      `${binding.where} takes one request and the options of the call, and got ${given.length} values`,
    );
  }
  return [given.length === 0 ? {} : given[0], merged(preset, given[1] as CallOptions | undefined)];
}

function parametersOf(
  binding: Binding,
  names: readonly string[],
  given: readonly unknown[],
  preset: CallOptions | null,
): [unknown, CallOptions | undefined] {
  const last = given.length - 1;
  const extra = given.length > names.length;
  if (given.length > names.length + 1 || (extra && given[last] !== undefined && !looksLikeOptions(given[last]))) {
    throw new UsageError(
      `${binding.where} takes ${names.length} parameters (${names.join(", ") || "none"}) and the options of the call, and got ` +
        `${given.length} values${extra ? `, the last of them ${show(given[last])}` : ""}`,
    );
  }
  const request: Record<string, unknown> = {};
  for (const [index, name] of names.entries()) if (index < given.length) request[name] = given[index];
  return [request, merged(preset, extra ? (given[last] as CallOptions | undefined) : undefined)];
}
