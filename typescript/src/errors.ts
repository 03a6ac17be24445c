/**
 * The errors of Aster: one root, one class per status code. `instanceof AsterError` recognises everything that Aster
 * throws by itself, `RpcError` is the outcome of a call: a handler throws one to answer with a chosen code, and the
 * caller gets the same class back.
 *
 * They are recognised by a brand, not by the identity of a class, so that two copies of this package in one program
 * understand each other's.
 */

import type { Metadata, Status } from "./native/types.js";

/** How a call ended. 0 to 16 are gRPC's, with their meanings. */
export const StatusCode: {
  /** The call succeeded. */
  readonly OK: 0;
  /** The caller gave up, or the server cancelled the call while closing. */
  readonly CANCELLED: 1;
  /** An outcome that cannot be told, such as a code this version does not know. */
  readonly UNKNOWN: 2;
  /** The request is wrong by itself; sending it again cannot help. */
  readonly INVALID_ARGUMENT: 3;
  /** The time allowed ran out. The handler may have run. */
  readonly DEADLINE_EXCEEDED: 4;
  /** What the request names does not exist. */
  readonly NOT_FOUND: 5;
  /** What the request would create exists. */
  readonly ALREADY_EXISTS: 6;
  /** The caller is known and may not do this. */
  readonly PERMISSION_DENIED: 7;
  /** A limit was met: message size, calls in flight, a rate, memory. Sometimes worth a later retry. */
  readonly RESOURCE_EXHAUSTED: 8;
  /** The state of the server forbids it until somebody changes that state. */
  readonly FAILED_PRECONDITION: 9;
  /** A concurrent change or a lost session; start again from an earlier step. */
  readonly ABORTED: 10;
  /** Past the end of a range that may grow. */
  readonly OUT_OF_RANGE: 11;
  /** The server has no such service, method or call form. */
  readonly UNIMPLEMENTED: 12;
  /** A bug in the handler or in Aster. The server's log has the trace under the error id. */
  readonly INTERNAL: 13;
  /** The peer cannot be reached or is closing. `mayHaveRun` says whether a retry is safe. */
  readonly UNAVAILABLE: 14;
  /** Data that cannot be brought back is gone or corrupt. */
  readonly DATA_LOSS: 15;
  /** The caller presented no credential, or one that is not valid. */
  readonly UNAUTHENTICATED: 16;
  /** The two ends hold different contracts for the service; the handler did not run. */
  readonly CONTRACT_MISMATCH: 101;
} = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
  CONTRACT_MISMATCH: 101,
};
export type StatusCode = (typeof StatusCode)[keyof typeof StatusCode];

const names = new Map<number, string>(Object.entries(StatusCode).map(([name, code]) => [code, name]));

/** The name of a status code, such as `NOT_FOUND`; `UNKNOWN` for one this version does not know. */
export function codeName(code: number): string {
  return names.get(code) ?? "UNKNOWN";
}

const kinds = Symbol.for("@aster-rpc/aster:error-kinds");

/** Makes `instanceof` look at the brand, for the classes of this module; classes derived from them stay ordinary. */
function hasKind(cls: { readonly prototype: object }, value: unknown): boolean {
  const kind = Object.getOwnPropertyDescriptor(cls.prototype, kinds)?.value?.at(-1);
  if (kind === undefined) return Function.prototype[Symbol.hasInstance].call(cls as () => void, value);
  if (typeof value !== "object" || value === null) return false;
  const found: unknown = (value as Record<symbol, unknown>)[kinds];
  return Array.isArray(found) && found.includes(kind);
}

/** The root of every error that Aster throws. */
export class AsterError extends Error {
  static override [Symbol.hasInstance](value: unknown): boolean {
    // biome-ignore lint/complexity/noThisInStatic: the class asked about, which may be a derived one
    return hasKind(this, value);
  }
}

/** The API was used in a way it does not have, such as awaiting a streaming method. */
export class UsageError extends AsterError {}

/** A type or a handler cannot be part of a contract. The text names the class, the field and why. */
export class SchemaError extends AsterError {}

/** An option of a server or client has a value it cannot have, or asks for what is not there yet. */
export class ConfigurationError extends AsterError {}

/** What an `RpcError` may carry beside its code and message. */
export interface RpcErrorOptions {
  /** Any value that MessagePack can hold; the caller finds it in `details`. */
  details?: unknown;
  /** Travels with the answer. Keys ending in `-bin` have bytes. */
  metadata?: Metadata;
  cause?: unknown;
}

/** Who decided how a call ended: the handler, the server, this side, or the connection between. */
export type Origin = Status["origin"];

/** A call that did not succeed. */
export class RpcError extends AsterError {
  /** The status code. A code this version does not know reads `UNKNOWN`; see `codeNumber`. */
  readonly code: StatusCode;
  /** The code as it came over the wire. */
  readonly codeNumber: number;
  /** What happened, in the words of whoever threw it; `message` has the context too. */
  readonly rawMessage: string;
  /** Whatever value the handler attached. */
  readonly details: unknown;
  /** Metadata that came with the failure: the response's own and the trailing one, the latter first. */
  readonly metadata: Metadata;
  /** Who decided. */
  origin: Origin;
  /** False only when the handler certainly did not run, so that a retry is safe. */
  mayHaveRun: boolean;
  /** How long to wait before a retry, when the server said so. */
  retryAfterMs: number | null;
  /** Where: the method and the peer. */
  context: string;

  constructor(code: number, message = "", options: RpcErrorOptions = {}) {
    if (!Number.isInteger(code) || code <= 0) {
      throw new UsageError(`RpcError with code ${code}: a failure has a status code above 0; use StatusCode`);
    }
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = names.has(code) ? (code as StatusCode) : StatusCode.UNKNOWN;
    this.codeNumber = code;
    this.rawMessage = message;
    this.details = options.details ?? null;
    this.metadata = options.metadata ?? {};
    this.origin = "handler";
    this.mayHaveRun = true;
    this.retryAfterMs = null;
    this.context = "";
  }

  /** The code's name, such as `NOT_FOUND`. */
  get codeName(): string {
    return codeName(this.codeNumber);
  }
}

/** The call was cancelled by the other side or by closing; see `StatusCode.CANCELLED`. */
export class Cancelled extends RpcError {
  constructor(message?: string, options?: RpcErrorOptions) {
    super(StatusCode.CANCELLED, message, options);
  }
}

/** An outcome that cannot be told; see `StatusCode.UNKNOWN`. */
export class UnknownError extends RpcError {
  constructor(message?: string, options?: RpcErrorOptions) {
    super(StatusCode.UNKNOWN, message, options);
  }
}

/** The request is wrong by itself; the message names the path. See `StatusCode.INVALID_ARGUMENT`. */
export class InvalidArgument extends RpcError {
  constructor(message?: string, options?: RpcErrorOptions) {
    super(StatusCode.INVALID_ARGUMENT, message, options);
  }
}

/** The time allowed ran out; see `StatusCode.DEADLINE_EXCEEDED`. */
export class DeadlineExceeded extends RpcError {
  constructor(message?: string, options?: RpcErrorOptions) {
    super(StatusCode.DEADLINE_EXCEEDED, message, options);
  }
}

/** What the request names does not exist; see `StatusCode.NOT_FOUND`. */
export class NotFound extends RpcError {
  constructor(message?: string, options?: RpcErrorOptions) {
    super(StatusCode.NOT_FOUND, message, options);
  }
}

/** What the request would create exists; see `StatusCode.ALREADY_EXISTS`. */
export class AlreadyExists extends RpcError {
  constructor(message?: string, options?: RpcErrorOptions) {
    super(StatusCode.ALREADY_EXISTS, message, options);
  }
}

/** The caller may not do this; see `StatusCode.PERMISSION_DENIED`. Also named `AccessDenied`. */
export class PermissionDenied extends RpcError {
  constructor(message?: string, options?: RpcErrorOptions) {
    super(StatusCode.PERMISSION_DENIED, message, options);
  }
}

/** A limit was met; see `StatusCode.RESOURCE_EXHAUSTED`. */
export class ResourceExhausted extends RpcError {
  constructor(message?: string, options?: RpcErrorOptions) {
    super(StatusCode.RESOURCE_EXHAUSTED, message, options);
  }
}

/** The state of the server forbids it; see `StatusCode.FAILED_PRECONDITION`. */
export class FailedPrecondition extends RpcError {
  constructor(message?: string, options?: RpcErrorOptions) {
    super(StatusCode.FAILED_PRECONDITION, message, options);
  }
}

/** A concurrent change or a lost session; see `StatusCode.ABORTED`. */
export class Aborted extends RpcError {
  constructor(message?: string, options?: RpcErrorOptions) {
    super(StatusCode.ABORTED, message, options);
  }
}

/** Past the end of a range that may grow; see `StatusCode.OUT_OF_RANGE`. */
export class OutOfRange extends RpcError {
  constructor(message?: string, options?: RpcErrorOptions) {
    super(StatusCode.OUT_OF_RANGE, message, options);
  }
}

/** The server has no such service or method; see `StatusCode.UNIMPLEMENTED`. */
export class Unimplemented extends RpcError {
  constructor(message?: string, options?: RpcErrorOptions) {
    super(StatusCode.UNIMPLEMENTED, message, options);
  }
}

/** A bug in the handler or in Aster; see `StatusCode.INTERNAL`. */
export class Internal extends RpcError {
  constructor(message?: string, options?: RpcErrorOptions) {
    super(StatusCode.INTERNAL, message, options);
  }
}

/** The peer cannot be reached; see `StatusCode.UNAVAILABLE` and `mayHaveRun`. */
export class Unavailable extends RpcError {
  constructor(message?: string, options?: RpcErrorOptions) {
    super(StatusCode.UNAVAILABLE, message, options);
  }
}

/** Data that cannot be brought back is gone; see `StatusCode.DATA_LOSS`. */
export class DataLoss extends RpcError {
  constructor(message?: string, options?: RpcErrorOptions) {
    super(StatusCode.DATA_LOSS, message, options);
  }
}

/** No credential, or one that is not valid; see `StatusCode.UNAUTHENTICATED`. */
export class Unauthenticated extends RpcError {
  constructor(message?: string, options?: RpcErrorOptions) {
    super(StatusCode.UNAUTHENTICATED, message, options);
  }
}

/** The two ends hold different contracts for the service; see `StatusCode.CONTRACT_MISMATCH`. */
export class ContractMismatch extends RpcError {
  constructor(message?: string, options?: RpcErrorOptions) {
    super(StatusCode.CONTRACT_MISMATCH, message, options);
  }
}

/** A proxy was asked for a method that the contract does not have. The text names the nearest ones. */
export class UnknownMethod extends Unimplemented {}

/** The class of `PERMISSION_DENIED` under the name that programs about access use. */
export const AccessDenied: typeof PermissionDenied = PermissionDenied;
export type AccessDenied = PermissionDenied;

const coded = {
  Cancelled,
  UnknownError,
  InvalidArgument,
  DeadlineExceeded,
  NotFound,
  AlreadyExists,
  PermissionDenied,
  ResourceExhausted,
  FailedPrecondition,
  Aborted,
  OutOfRange,
  Unimplemented,
  Internal,
  Unavailable,
  DataLoss,
  Unauthenticated,
  ContractMismatch,
};

const byCode = new Map<number, new (message?: string, options?: RpcErrorOptions) => RpcError>([
  [StatusCode.CANCELLED, Cancelled],
  [StatusCode.UNKNOWN, UnknownError],
  [StatusCode.INVALID_ARGUMENT, InvalidArgument],
  [StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded],
  [StatusCode.NOT_FOUND, NotFound],
  [StatusCode.ALREADY_EXISTS, AlreadyExists],
  [StatusCode.PERMISSION_DENIED, PermissionDenied],
  [StatusCode.RESOURCE_EXHAUSTED, ResourceExhausted],
  [StatusCode.FAILED_PRECONDITION, FailedPrecondition],
  [StatusCode.ABORTED, Aborted],
  [StatusCode.OUT_OF_RANGE, OutOfRange],
  [StatusCode.UNIMPLEMENTED, Unimplemented],
  [StatusCode.INTERNAL, Internal],
  [StatusCode.UNAVAILABLE, Unavailable],
  [StatusCode.DATA_LOSS, DataLoss],
  [StatusCode.UNAUTHENTICATED, Unauthenticated],
  [StatusCode.CONTRACT_MISMATCH, ContractMismatch],
]);

// By the keys, since a minifier may rename the classes.
const branded = { AsterError, UsageError, SchemaError, ConfigurationError, RpcError, ...coded, UnknownMethod };
for (const [name, cls] of Object.entries(branded)) {
  const inherited: readonly string[] = Object.getPrototypeOf(cls.prototype)[kinds] ?? [];
  Object.defineProperty(cls.prototype, kinds, { value: [...inherited, name] });
  Object.defineProperty(cls.prototype, "name", { value: name, writable: true, configurable: true });
}

/** The error for a status code; an `RpcError` itself for one that this version does not know. */
export function errorOfCode(code: number, message: string, options?: RpcErrorOptions): RpcError {
  const cls = byCode.get(code);
  return cls === undefined ? new RpcError(code, message, options) : new cls(message, options);
}

/** Says where an error happened, unless it says so already. */
export function placed<E extends RpcError>(error: E, context: string): E {
  if (error.context === "" && context !== "") {
    error.context = context;
    error.message = error.rawMessage === "" ? `[${context}]` : `${error.rawMessage} [${context}]`;
  }
  return error;
}

/** What this side refuses before anything is sent. */
export function refusal<E extends RpcError>(error: E, context: string): E {
  error.origin = "client";
  error.mayHaveRun = false;
  return placed(error, context);
}

/** The error for a failed outcome; `decode` reads its details. */
export function errorFromStatus(status: Status, decode: (details: Uint8Array) => unknown): RpcError {
  let details: unknown = null;
  if (status.details !== null) {
    try {
      details = decode(status.details);
    } catch {
      // Details of another implementation's own making: better raw than an error about an error.
      details = new Uint8Array(status.details);
    }
  }
  const error = errorOfCode(status.code, status.message, {
    details,
    metadata: { ...status.metadata, ...status.trailing },
  });
  error.origin = status.origin;
  error.mayHaveRun = status.mayHaveRun;
  error.retryAfterMs = status.retryAfterMs;
  return placed(error, status.context);
}
