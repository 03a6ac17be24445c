/**
 * The native module as it is loaded: what `bindings/node` exports. Clients, servers, methods, sessions and calls are
 * numbers; `ticket`s are chosen on this side, and come back in a record exactly once. Errors thrown here carry a `code`:
 * `ASTER_STATUS_n`, `ASTER_VALUE` (a payload that does not fit) or `ASTER_MISUSE`.
 */

import type { CallInfo, Contract, Metadata, Status } from "./types.js";

/** `EndpointOptions` of types.ts, checked. */
export type NativeEndpoint = Record<string, string | number | boolean>;

/** See `bindings/node/src/port.rs` and its neighbours. */
export interface NativePort {
  drain(scratch: Uint8Array): number;
  extra(index: number): Status | Contract | CallInfo;
  failure(): Status;
  cancel(ticket: number): void;
  close(): void;

  connect(
    addresses: string[],
    contracts: Contract[],
    exposeErrors: boolean[],
    options: NativeEndpoint,
    ticket: number,
  ): number;
  submit(buffer: Uint8Array): boolean;
  clientPeer(client: number): string;
  clientServices(client: number): { name: string; version: number; contractId: string; scope: "shared" | "session" }[];
  clientContract(client: number, name: string, version: number | null, ticket: number): void;
  clientMethod(client: number, contract: Contract, name: string, json: boolean): number | null;
  methodPlace(method: number): string;
  openSession(client: number, service: string, implicit: boolean): number;
  sessionId(session: number): number;
  closeSession(session: number, ticket: number): void;
  clientPing(client: number, timeoutMs: number, ticket: number): void;
  closeClient(client: number, ticket: number): void;
  forgetClient(client: number): void;

  stream(buffer: Uint8Array): number;
  streamSend(stream: number, payload: Uint8Array): number;
  streamFlush(stream: number): void;
  streamRoom(stream: number, ticket: number): void;
  streamHalfClose(stream: number): void;
  streamTake(stream: number, out: Uint8Array, at: number): number;
  streamWait(stream: number, ticket: number): boolean;
  streamCancel(stream: number): void;
  streamInfo(stream: number): CallInfo;
  forgetStream(stream: number): void;

  serve(contracts: Contract[], exposeErrors: boolean[], options: NativeEndpoint, ticket: number): number;
  serverAddress(server: number): string;
  serverEndpointId(server: number): string;
  drainServer(server: number, graceMs: number, ticket: number): void;
  closeServer(server: number, ticket: number): void;
  waitServer(server: number, ticket: number): void;
  sessionClosed(owner: number, session: number): void;
  forgetServer(server: number): void;

  callMetadata(call: number): Metadata;
  callCaller(call: number): number;
  callName(call: number): string;
  callSetMetadata(call: number, metadata: Uint8Array): void;
  callSetTrailing(call: number, metadata: Uint8Array): void;
  callReply(call: number, payload: Uint8Array): void;
  callSend(call: number, payload: Uint8Array): number;
  callFlush(call: number): void;
  callRoom(call: number, ticket: number): void;
  callFinish(call: number): void;
  callFail(call: number, code: number, message: string, details: Uint8Array | null, metadata: Uint8Array | null): void;
  callFailInternal(call: number, text: string): string;
  callEnd(call: number): void;
  callTake(call: number, out: Uint8Array, at: number): number;
  callWait(call: number, ticket: number): boolean;
}

/** What the `.node` file exports. */
export interface NativeModule {
  version(): string;
  codes(): Record<string, number>;
  defaults(): Record<string, number>;
  exit(): void;
  check(contract: Contract, method: string, response: boolean, payload: Uint8Array, send: boolean): void;
  keepLogs(level: string): void;
  takeLogs(): { level: string; target: string; text: string }[];
  readonly Contract: new (description: Uint8Array) => Contract;
  readonly Port: new (wake: () => void) => NativePort;
}

/** What sending did: there is room, or a flush is due, or wait for room, or `failure()` says why it failed. */
export const SENT_UNFLUSHED = 1;
export const SENT_FULL = 2;
export const SENT_FAILED = 3;

/** What taking found where it is no length; below -2 it is -2 less the room that is needed. */
export const TAKEN_NOTHING = 0;
export const TAKEN_END = -1;
export const TAKEN_FAILED = -2;
