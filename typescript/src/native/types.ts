/**
 * What the native layer gives the rest of the package: converts only, every decision is in the core. Durations are in
 * milliseconds. Payloads are MessagePack. Metadata keys that end in `-bin` carry bytes.
 *
 * A port belongs to one JavaScript environment (the main thread, or one worker). Dropping a handle never cancels by
 * itself: `close` and `cancel` are explicit, and the environment's end closes what is left.
 */

/** Metadata of a call: text, or bytes where the key ends in `-bin`. */
export type Metadata = Record<string, string | Uint8Array>;

/** A failed outcome as data, from which the package makes the error to throw. */
export interface Status {
  readonly code: number;
  readonly message: string;
  /** One MessagePack value for programs. */
  readonly details: Uint8Array | null;
  readonly metadata: Metadata;
  readonly trailing: Metadata;
  readonly origin: "handler" | "server" | "client" | "transport";
  readonly mayHaveRun: boolean;
  readonly retryAfterMs: number | null;
  /** Which method at which peer; empty where there is none. */
  readonly context: string;
}

/** A contract: normalised, compiled, immutable. */
export interface Contract {
  /** 64 hex digits. */
  readonly id: string;
  readonly name: string;
  readonly version: number;
  /** The normalised description with the manifest, MessagePack (docs/spec/contract.md). */
  describe(): Uint8Array;
  /** Differences for a client that holds this contract and calls `server`. */
  compare(server: Contract): { readonly breaking: string[]; readonly notes: string[] };
}

/** Unknown options are a TypeError. */
export interface EndpointOptions {
  identity?: string | undefined;
  /** URL of one's own relay; "" for none. */
  relay?: string | undefined;
  preset?: "default" | "local" | undefined;
  keepAliveMs?: number | undefined;
  idleTimeoutMs?: number | undefined;
  maxMessageBytes?: number | undefined;
  agent?: string | undefined;
  /** Clients only. */
  connectTimeoutMs?: number | undefined;
  /** Clients only. */
  compress?: boolean | undefined;
}

export interface CallOptions {
  timeoutMs?: number | undefined;
  /** What is left to the call being served: a bound beside the method's and the client's limits. Not with `timeoutMs`. */
  withinMs?: number | undefined;
  metadata?: Metadata | undefined;
  compress?: boolean | undefined;
  session?: Session | undefined;
  idempotent?: boolean | undefined;
  signal?: AbortSignal | undefined;
  /** Refuse fields that the contract does not know. */
  dynamic?: boolean | undefined;
  /** Emptied when the call begins, and filled with the answer's metadata when it has ended. */
  info?: CallInfo | undefined;
}

export interface CallInfo {
  metadata: Metadata;
  trailingMetadata: Metadata;
}

/** Turns the bytes of one message into a value. The bytes are valid during the call only: copy what is kept. */
export type Decode<T> = (payload: Uint8Array) => T;

export interface Native {
  readonly version: string;
  /** Status codes by name. */
  readonly codes: Readonly<Record<string, number>>;
  /** Limits and defaults by the name of the core's constant. */
  readonly defaults: Readonly<Record<string, number>>;
  /** From a MessagePack description; throws an Error with the path if it is not one. */
  contract(description: Uint8Array): Contract;
  /** Checks a payload of a method's request or response; throws an Error with the path. */
  check(contract: Contract, method: string, which: "request" | "response", payload: Uint8Array, send: boolean): void;
  /** The port of this environment, made at first use. `makeError` turns failed outcomes into what is thrown. */
  port(makeError: (status: Status) => Error): Port;
  /** Has the core's log records handed over in batches; levels are trace, debug, info, warn, error. */
  logsTo(callback: (records: { level: string; target: string; text: string }[]) => void, level: string): void;
}

export interface Port {
  /** `offered`: what this side serves to the server that it dials. Such a client keeps the process alive until it is closed. */
  connect(addresses: string[], options: EndpointOptions, offered?: Offered): Promise<Client>;
  serve(services: ServedService[], handlers: ServerHandlers, options: EndpointOptions): Promise<Server>;
  /** Closes every client and server of the port. Idempotent. */
  close(): void;
}

/** Services, and who takes their calls. */
export interface Offered {
  services: ServedService[];
  handlers: ServerHandlers;
}

export interface ServedService {
  contract: Contract;
  /** Callers see the text of unexpected exceptions. */
  exposeErrors: boolean;
}

export interface ServerHandlers {
  /** One batch of calls that came in, in order. */
  onCalls(calls: InboundCall[]): void;
  /** Runs the hook of a session that has ended and then calls `sessionClosed(sessionKey)` of the server or client. */
  onSessionClose(sessionKey: number, serviceIndex: number, reason: "closed" | "disconnected" | "shutdown"): void;
}

export interface Server {
  readonly address: string;
  readonly endpointId: string;
  /** Tells callers, waits for running calls, cancels the rest and closes. */
  drain(graceMs: number): Promise<void>;
  close(): Promise<void>;
  /** Resolves when the server is closed; does not keep the process alive by itself, an open server does. */
  waitClosed(): Promise<void>;
  sessionClosed(sessionKey: number): void;
}

/** A call that came in. Over when `reply`, `finish`, `fail`, `failInternal` or `end` has been called. */
export interface InboundCall {
  readonly serviceIndex: number;
  /** Index into the contract's methods, which are sorted by name. */
  readonly methodIndex: number;
  /** The engine's number of the call, for logs. */
  readonly id: number;
  /** Endpoint id of the caller. */
  readonly peer: string;
  /** Unique in the process, 0 for none; and the caller's own number of the session. */
  readonly sessionKey: number;
  readonly sessionId: number;
  readonly metadata: Metadata;
  /** The request of unary calls and server streams; valid during `onCalls` only. */
  readonly request: Uint8Array | null;
  /** A client of the services that the caller offers, on the connection of this call, which it neither closes nor opens
   * again. To be asked for before the call is over; it may be kept. */
  caller(): Client;
  timeLeftMs(): number | null;
  readonly cancelled: boolean;
  /** Called at most once, when the caller cancels, time is up or the connection ends; at once if it has happened. */
  onCancel(callback: () => void): void;
  /** Before the first message; throws after. */
  setResponseMetadata(metadata: Metadata): void;
  setTrailingMetadata(metadata: Metadata): void;
  /** The answer of unary calls and client streams. Throws with the path if it does not fit; the call is then open. */
  reply(payload: Uint8Array): void;
  /** One message of a stream; a promise to await when the buffer is full. Throws as `reply` does. */
  send(payload: Uint8Array): Promise<void> | undefined;
  finish(): void;
  fail(code: number, message: string, details: Uint8Array | null, metadata: Metadata | null): void;
  /** For an unexpected error: the caller sees a fixed text, or `text` if exposed. Returns the error id to log under. */
  failInternal(text: string): string;
  /** The handler has ended, whatever was answered. Idempotent. */
  end(): void;
  /** Requests that have arrived, as one MessagePack array valid until the next turn of the event loop; undefined when
   * there are none yet, an empty array of bytes at the end. Throws if the stream failed. */
  take(): Uint8Array | undefined;
  wait(): Promise<Uint8Array>;
}

export interface Client {
  readonly peer: string;
  services(): { name: string; version: number; contractId: string; scope: "shared" | "session" }[];
  /** Fetched by id at most once per process. */
  contract(name: string, version: number | null): Promise<Contract>;
  /** Throws a RangeError if the contract has no such method. */
  method(contract: Contract, name: string, codec: "msgpack" | "json"): Method;
  openSession(service: string, implicit: boolean): Session;
  /** Of the services that this client offers. */
  sessionClosed(sessionKey: number): void;
  /** Milliseconds of a round trip. */
  ping(timeoutMs: number): Promise<number>;
  close(): Promise<void>;
  /** `payload` is copied before this returns. One that does not fit the contract rejects with INVALID_ARGUMENT and the path, and
   * so does what `decode` throws. */
  unary<T>(method: Method, payload: Uint8Array, decode: Decode<T>, options: CallOptions | null): Promise<T>;
  stream(method: Method, options: CallOptions | null): ClientCall;
}

/** A method as calls name it. */
export interface Method {
  readonly name: string;
}

export interface Session {
  /** 0 until its first call. */
  readonly id: number;
  close(): Promise<void>;
}

export interface ClientCall {
  /** Throws INVALID_ARGUMENT with the path if the message does not fit the contract; a promise to await when the buffer is
   * full. */
  send(payload: Uint8Array): Promise<void> | undefined;
  halfClose(): void;
  /** As InboundCall.take and wait. */
  take(): Uint8Array | undefined;
  wait(): Promise<Uint8Array>;
  /** Idempotent. */
  cancel(): void;
  readonly metadata: Metadata;
  readonly trailingMetadata: Metadata;
}
