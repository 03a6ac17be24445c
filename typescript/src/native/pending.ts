/** What waits for a ticket, and the statuses that are made on this side. */

import type { ClientImpl } from "./client.js";
import type { CallInfo, Decode, Status } from "./types.js";

/** Nobody need hear of it. */
export function ignore(): void {}

/** What waits for a ticket. */
export class Pending {
  readonly resolve: (value: any) => void;
  readonly reject: (error: unknown) => void;
  /** Of unary calls. */
  decode: Decode<unknown> | null = null;
  info: CallInfo | null = null;
  signal: AbortSignal | null = null;
  onAbort: (() => void) | null = null;
  /** What becomes of a number, an object, or of something to take. */
  convert: ((value: any) => unknown) | null = null;
  /** Whose close ends it, without anybody having to hear of it. */
  owner: ClientImpl | null = null;
  promise: Promise<unknown> | null = null;

  constructor(resolve: (value: any) => void, reject: (error: unknown) => void) {
    this.resolve = resolve;
    this.reject = reject;
  }

  /** Its failure is nobody's fault: it is no unhandled rejection if nobody waits. */
  excuse(): void {
    this.promise?.catch(ignore);
  }
}

/** A call has ended: its info says what came with the end, and nothing of a call before that had the same object. */
export function fillInfo(info: CallInfo | null | undefined, answer: CallInfo | null): void {
  if (info) Object.assign(info, answer ?? { metadata: {}, trailingMetadata: {} });
}

/** The numbers of the codes that are made here. */
export const CANCELLED = 1;
export const INVALID_ARGUMENT = 3;
export const FAILED_PRECONDITION = 9;

/** A status that this side makes before anything ran. */
export function statusHere(code: number, message: string, context: string): Status {
  return {
    code,
    message,
    details: null,
    metadata: {},
    trailing: {},
    origin: "client",
    mayHaveRun: false,
    retryAfterMs: null,
    context,
  };
}

/** The status for what can't be done since `what` is closed. */
export function closedStatus(what: string): Status {
  return statusHere(FAILED_PRECONDITION, `${what} is already closed: open a new one`, "");
}

/** An empty MessagePack array. */
export const NONE: Uint8Array = Uint8Array.of(0x90);

/** For whoever reads a stream that somebody reads. */
export function alreadyRead(): Error {
  return new Error("this stream is being read already: a stream has one reader");
}
