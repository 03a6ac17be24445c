/** The types of typed clients, worked out from a service class or definition. */

import type { RemoteMethod } from "./call.js";
import type { CallContext } from "./context.js";
import type { CallOptions } from "./options.js";
import type { MethodDefinition, Methods, ServiceDefinition } from "./service/define.js";
import type { Infer, InferInput } from "./service/tokens.js";
import type { BidiChannel, ResponseStream } from "./streams.js";

/** A method with one request and one answer. */
export interface UnaryMethod<A extends unknown[], R> {
  (...given: [...A, options?: CallOptions]): Promise<R>;
  withOptions(options: CallOptions): UnaryMethod<A, R>;
}

/** A method with a stream of answers. */
export interface ServerStreamMethod<A extends unknown[], T> {
  stream(...given: [...A, options?: CallOptions]): ResponseStream<T>;
  withOptions(options: CallOptions): ServerStreamMethod<A, T>;
}

/** A method with a stream of requests and one answer. */
export interface ClientStreamMethod<M, R> {
  (requests: AsyncIterable<M> | Iterable<M>, options?: CallOptions): Promise<R>;
  withOptions(options: CallOptions): ClientStreamMethod<M, R>;
}

/** A method with a stream each way. */
export interface BidiStreamMethod<M, T> {
  bidi(options?: CallOptions): BidiChannel<M, T>;
  withOptions(options: CallOptions): BidiStreamMethod<M, T>;
}

type IsAny<T> = 0 extends 1 & T ? true : false;
type IsContext<T> = IsAny<T> extends true ? false : [Exclude<T, undefined>] extends [CallContext] ? true : false;

/** A handler's parameters without the context, which the server adds. */
type Sent<A extends unknown[]> = number extends A["length"]
  ? A
  : A extends []
    ? []
    : A extends [infer First, ...infer Rest]
      ? IsContext<First> extends true
        ? []
        : [First, ...Sent<Rest>]
      : A extends [(infer First)?, ...infer Rest]
        ? IsContext<First> extends true
          ? []
          : [First?, ...Sent<Rest>]
        : A;

type Remote<F> = F extends (...given: infer A) => infer R
  ? Awaited<R> extends AsyncIterable<infer T>
    ? A extends [AsyncIterable<infer M>, ...unknown[]]
      ? BidiStreamMethod<M, T>
      : ServerStreamMethod<Sent<A>, T>
    : A extends [AsyncIterable<infer M>, ...unknown[]]
      ? ClientStreamMethod<M, Awaited<R>>
      : UnaryMethod<Sent<A>, Awaited<R>>
  : never;

type OfClass<T> = { readonly [K in keyof T as T[K] extends (...given: any[]) => unknown ? K : never]: Remote<T[K]> };

type OfMethod<M> =
  M extends MethodDefinition<infer P, infer Q, infer R>
    ? P extends "unary"
      ? UnaryMethod<[request: InferInput<Q>], Infer<R>>
      : P extends "server_stream"
        ? ServerStreamMethod<[request: InferInput<Q>], Infer<R>>
        : P extends "client_stream"
          ? ClientStreamMethod<InferInput<Q>, Infer<R>>
          : BidiStreamMethod<InferInput<Q>, Infer<R>>
    : never;

type OfDefinition<M extends Methods> = { readonly [K in keyof M]: OfMethod<M[K]> };

/** The typed client of a service class or definition. */
export type TypedClient<S> = (S extends ServiceDefinition<infer M>
  ? OfDefinition<M>
  : S extends abstract new (
        ...given: any[]
      ) => infer Instance
    ? OfClass<Instance>
    : never) &
  ClientExtras<S>;

/** The typed client of one session. */
export type TypedSession<S> = TypedClient<S> & {
  /** This client's number of the session; 0 before its first call. */
  readonly sessionId: number;
};

interface ClientExtras<S> extends AsyncDisposable {
  /** Ends the session with a session service; nothing happens for a shared one. */
  close(): Promise<void>;
  /** The same service, and the same session, with options for every call made through what is returned. */
  withOptions(options: CallOptions): TypedClient<S>;
  /** The method that the class has under this name, also where it is one of these. */
  method(name: string): RemoteMethod;
}
