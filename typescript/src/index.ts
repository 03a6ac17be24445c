/**
 * Aster: typed RPC between programs, peer to peer.
 *
 * A service is a class with decorators, or what `defineService()` makes:
 *
 * ```ts
 * @Service({ name: "MissionControl", version: 1 })
 * class MissionControl {
 *   @Rpc()
 *   async getStatus(req: StatusRequest): Promise<StatusResponse> { ... }
 * }
 * ```
 *
 * `AsterServer` serves it at an `aster1...` address, and `AsterClient` calls it, typed by the class
 * (`client.client(MissionControl)`) or dynamically (`client.proxy("MissionControl")`), without the class. Every error of the
 * package is an `AsterError`; a failed call is an `RpcError`, of a class per status code.
 */

export type { RemoteMethod } from "./call.js";
export {
  AsterClient,
  AsterClientWrapper,
  type ClientOptions,
} from "./client.js";
export { CallContext } from "./context.js";
export type { SessionFactory } from "./dispatch.js";
export {
  Aborted,
  AccessDenied,
  AlreadyExists,
  AsterError,
  Cancelled,
  ConfigurationError,
  ContractMismatch,
  DataLoss,
  DeadlineExceeded,
  FailedPrecondition,
  Internal,
  InvalidArgument,
  NotFound,
  type Origin,
  OutOfRange,
  PermissionDenied,
  ResourceExhausted,
  RpcError,
  type RpcErrorOptions,
  SchemaError,
  StatusCode,
  Unauthenticated,
  Unavailable,
  Unimplemented,
  UnknownError,
  UnknownMethod,
  UsageError,
} from "./errors.js";
export { type Logger, type LogLevel, setLogger } from "./logs.js";
export type { duration, f32, f64, i8, i16, i32, i64, u8, u16, u32, u64, uuid } from "./numbers.js";
export type { CallInfo, CallOptions, EndpointOptions, Metadata } from "./options.js";
export type { Caller, OfferedService, ServiceOf } from "./peer.js";
export type { ServiceProxy, SessionProxy } from "./proxy.js";
export { AsterServer, type ServerOptions } from "./server.js";
export {
  BidiStream,
  type ClassDecoration,
  ClientStream,
  type DecoratedMethodOptions,
  type MethodDecoration,
  Rpc,
  ServerStream,
  Service,
  type ServiceClass,
  WireType,
} from "./service/decorators.js";
export {
  bidiStream,
  clientStream,
  defineService,
  type Handlers,
  type MethodDefinition,
  type Methods,
  rpc,
  type ServiceDefinition,
  type ServiceImplementation,
  serverStream,
} from "./service/define.js";
export {
  type AccessRule,
  allOf,
  anyOf,
  type MethodOptions,
  type Pattern,
  type Requirement,
  type ServiceOptions,
} from "./service/model.js";
export {
  type AnyType,
  type Infer,
  type InferInput,
  type OptionalToken,
  type StructToken,
  type Token,
  t,
} from "./service/tokens.js";
export type { ServingOptions } from "./serving.js";
export type { BidiChannel, ResponseStream } from "./streams.js";
export type {
  BidiStreamMethod,
  ClientStreamMethod,
  ServerStreamMethod,
  TypedClient,
  TypedSession,
  UnaryMethod,
} from "./typed.js";
