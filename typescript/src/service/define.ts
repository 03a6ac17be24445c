/**
 * Services without decorators and without a build step:
 *
 * ```ts
 * const Greeter = defineService({
 *   name: "Greeter",
 *   methods: { greet: rpc(t.struct("demo/Name", { name: t.string }), t.struct("demo/Text", { text: t.string })) },
 * });
 * const service = Greeter.implement({ greet: async ({ name }) => ({ text: `Hello, ${name}` }) });
 * ```
 */

import type { CallContext } from "../context.js";
import { SchemaError } from "../errors.js";
import {
  checkKeys,
  METHOD_OPTIONS,
  type MethodOptions,
  type MethodSpec,
  methodOptions,
  type Pattern,
  SERVICE_OPTIONS,
  type ServiceOptions,
  type ServiceSpec,
  serviceOptions,
  show,
  sortedMethods,
  streamsRequests,
} from "./model.js";
import { type AnyType, type Infer, type InferInput, shapeOf } from "./tokens.js";

/** One method of a defined service, as a value. */
export interface MethodDefinition<P extends Pattern = Pattern, Request = any, Response = any> {
  readonly pattern: P;
  readonly request: Request;
  readonly response: Response;
  readonly options: MethodOptions;
}

function define<P extends Pattern, Q, R>(
  pattern: P,
  request: Q,
  response: R,
  options: MethodOptions = {},
): MethodDefinition<P, Q, R> {
  return { pattern, request, response, options };
}

/** A method with one request and one answer. */
export function rpc<Q extends AnyType, R extends AnyType>(
  request: Q,
  response: R,
  options?: MethodOptions,
): MethodDefinition<"unary", Q, R> {
  return define("unary", request, response, options);
}

/** A method with one request and a stream of answers. */
export function serverStream<Q extends AnyType, R extends AnyType>(
  request: Q,
  response: R,
  options?: MethodOptions,
): MethodDefinition<"server_stream", Q, R> {
  return define("server_stream", request, response, options);
}

/** A method with a stream of requests and one answer; `request` is the type of one message. */
export function clientStream<Q extends AnyType, R extends AnyType>(
  request: Q,
  response: R,
  options?: MethodOptions,
): MethodDefinition<"client_stream", Q, R> {
  return define("client_stream", request, response, options);
}

/** A method with a stream each way; the types are those of one message. */
export function bidiStream<Q extends AnyType, R extends AnyType>(
  request: Q,
  response: R,
  options?: MethodOptions,
): MethodDefinition<"bidi_stream", Q, R> {
  return define("bidi_stream", request, response, options);
}

export type Methods = Readonly<Record<string, MethodDefinition>>;

type Handler<M> =
  M extends MethodDefinition<infer P, infer Q, infer R>
    ? P extends "unary"
      ? (request: Infer<Q>, context: CallContext) => InferInput<R> | Promise<InferInput<R>>
      : P extends "server_stream"
        ? (
            request: Infer<Q>,
            context: CallContext,
          ) => AsyncIterable<InferInput<R>> | Promise<AsyncIterable<InferInput<R>>>
        : P extends "client_stream"
          ? (requests: AsyncIterable<Infer<Q>>, context: CallContext) => InferInput<R> | Promise<InferInput<R>>
          : (
              requests: AsyncIterable<Infer<Q>>,
              context: CallContext,
            ) => AsyncIterable<InferInput<R>> | Promise<AsyncIterable<InferInput<R>>>
    : never;

/** What implements a defined service: a function per method, and what runs when a session ends. */
export type Handlers<M extends Methods> = { readonly [K in keyof M]: Handler<M[K]> } & {
  readonly onSessionClose?: () => void | Promise<void>;
};

/** A service as a value: implement it to serve it, or give it to `client.client()`. */
export interface ServiceDefinition<M extends Methods = Methods> {
  readonly name: string;
  readonly version: number;
  readonly methods: M;
  /**
   * What `AsterServer({ services })` takes. Of a session service give a function that makes the handlers of one session;
   * it is given the caller's endpoint id.
   */
  implement(handlers: Handlers<M> | ((peer: string) => Handlers<M>)): ServiceImplementation;
}

/** A defined service with its handlers. */
export interface ServiceImplementation {
  readonly definition: ServiceDefinition<any>;
}

interface Implemented extends ServiceImplementation {
  readonly handlers: object | null;
  readonly factory: ((peer: string) => object) | null;
}

const specs = new WeakMap<object, ServiceSpec>();
const implementations = new WeakSet<object>();

/** Defines a service by the types of its methods. A SchemaError names what cannot be sent. */
export function defineService<const M extends Methods>(
  options: ServiceOptions & { name: string; methods: M },
): ServiceDefinition<M> {
  const { methods, ...rest } = options;
  const where = `defineService ${rest.name}`;
  if (typeof rest.name !== "string" || rest.name === "")
    throw new SchemaError("defineService: name is a string that is not empty");
  checkKeys(where, rest, SERVICE_OPTIONS);
  const checked = serviceOptions(where, rest);
  const made = sortedMethods(
    where,
    Object.entries(methods).map(([attribute, method]) => methodSpec(`${rest.name}.${attribute}`, attribute, method)),
    "give it some, such as methods: { get: rpc(Request, Response) }",
  );
  const spec: ServiceSpec = {
    name: rest.name,
    where,
    cls: null,
    ...checked,
    doc: () => "",
    methods: () => made,
  };
  const definition: ServiceDefinition<M> = {
    name: rest.name,
    version: checked.version,
    methods,
    implement(handlers) {
      const factory = typeof handlers === "function" ? (handlers as (peer: string) => object) : null;
      if (factory !== null && !checked.session) {
        throw new SchemaError(
          `${where}: a function makes the handlers of one session, and this service is shared; give the handlers`,
        );
      }
      if (factory === null && checked.session) {
        throw new SchemaError(
          `${where}: a session service needs handlers of its own for each session; give a function: implement((peer) => ({ ... }))`,
        );
      }
      if (factory === null) checkHandlers(where, made, handlers as object);
      const implementation: Implemented = {
        definition,
        handlers: factory === null ? (handlers as object) : null,
        factory,
      };
      implementations.add(implementation);
      return implementation;
    },
  };
  specs.set(definition, spec);
  return definition;
}

function methodSpec(where: string, attribute: string, method: MethodDefinition): MethodSpec {
  if (typeof method?.pattern !== "string") {
    throw new SchemaError(
      `${where}: a method is made by rpc(), serverStream(), clientStream() or bidiStream(), and got ${show(method)}`,
    );
  }
  checkKeys(where, method.options, METHOD_OPTIONS);
  const checked = methodOptions(where, method.options);
  const request = shapeOf(method.request, `${where}: request`);
  if (!streamsRequests(method.pattern) && request.shape !== "struct" && request.shape !== "union") {
    throw new SchemaError(
      `${where}: a request is a struct or a union; wrap other types in one, by name: t.struct(...)`,
    );
  }
  return {
    ...checked,
    name: checked.name ?? attribute,
    attribute,
    pattern: method.pattern,
    request,
    response: shapeOf(method.response, `${where}: response`),
    parameters: null,
    takesContext: true,
    doc: "",
  };
}

/** A SchemaError that names a method without a handler. */
export function checkHandlers(where: string, methods: readonly MethodSpec[], handlers: object): void {
  for (const method of methods) {
    if (typeof (handlers as Record<string, unknown>)[method.attribute] !== "function") {
      throw new SchemaError(`${where}: there is no handler for ${method.attribute}`);
    }
  }
}

export function specOfDefinition(definition: object): ServiceSpec | undefined {
  return specs.get(definition);
}

export function asImplementation(value: object): Implemented | undefined {
  return implementations.has(value) ? (value as Implemented) : undefined;
}
