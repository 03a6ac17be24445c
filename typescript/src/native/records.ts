/**
 * The flat records in which what is frequent crosses. `bindings/node/src/records.rs` is the other end of this file, and
 * describes each record. Words are 32 bits in the machine's order; a record begins at a multiple of 8 bytes.
 */

import type { CallOptions, Metadata } from "./types.js";

/** What a record is: its second word. */
export const ANSWER = 1;
export const DONE = 2;
export const FAILED = 3;
export const OBJECT = 4;
export const NUMBER = 5;
export const READY = 6;
export const CALL = 7;
export const CANCELLED = 8;
export const SESSION_CLOSED = 9;
export const LOGS = 10;

/** Where the payload of an answer, and what varies of a call, begins. */
export const ANSWER_HEADER = 24;
export const CALL_HEADER = 72;
/** Flags of a call. */
export const HAS_REQUEST = 1;
export const HAS_METADATA = 2;

const SUBMIT_HEADER = 40;
const DYNAMIC = 1;
const COMPRESS_GIVEN = 2;
const COMPRESS = 4;
const IDEMPOTENT_GIVEN = 8;
const IDEMPOTENT = 16;
const WITHIN = 32;

/** The largest buffer that is kept; a larger record gets one of its own. */
const KEPT = 256 * 1024;

/** No bytes. */
export const NOTHING: Uint8Array = new Uint8Array(0);
const encoder = new TextEncoder();

/** Memory that is seen as bytes, words and numbers. */
export class Views {
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
  readonly numbers: Float64Array;

  constructor(length: number) {
    const buffer = new ArrayBuffer(length);
    this.bytes = new Uint8Array(buffer);
    this.words = new Uint32Array(buffer);
    this.numbers = new Float64Array(buffer);
  }
}

/** What of the options of a call goes into a record. */
export class PackedOptions {
  timeoutMs: number = Number.NaN;
  session: number = 0;
  flags: number = 0;
  metadata: Uint8Array = NOTHING;
}

/** The options of most calls. */
export const NO_OPTIONS: PackedOptions = new PackedOptions();

/** Packs what `options` says, but for its session, its signal and its info. Throws TypeError and RangeError. */
export function packOptions(options: CallOptions): PackedOptions {
  const packed = new PackedOptions();
  for (const key in options) {
    switch (key) {
      case "timeoutMs": {
        const timeout = options.timeoutMs;
        if (timeout === undefined) break;
        packed.timeoutMs = wholeMs("timeoutMs", timeout);
        break;
      }
      case "withinMs":
        if (options.withinMs === undefined) break;
        packed.timeoutMs = wholeMs("withinMs", options.withinMs);
        packed.flags |= WITHIN;
        break;
      case "dynamic":
        if (options.dynamic) packed.flags |= DYNAMIC;
        break;
      case "compress":
        if (options.compress !== undefined)
          packed.flags |= options.compress ? COMPRESS_GIVEN | COMPRESS : COMPRESS_GIVEN;
        break;
      case "idempotent":
        if (options.idempotent !== undefined) {
          packed.flags |= options.idempotent ? IDEMPOTENT_GIVEN | IDEMPOTENT : IDEMPOTENT_GIVEN;
        }
        break;
      case "metadata":
        if (options.metadata !== undefined) packed.metadata = packMetadata(options.metadata);
        break;
      case "session":
      case "signal":
      case "info":
        break;
      default:
        throw new TypeError(`"${key}" is not an option of a call`);
    }
  }
  return packed;
}

/** Whole milliseconds from 0, rounded up. Throws TypeError and RangeError. */
export function wholeMs(name: string, value: number): number {
  if (typeof value !== "number") throw new TypeError(`${name} is a number of milliseconds, and got ${typeof value}`);
  const whole = Math.ceil(value);
  if (!(whole >= 0 && whole <= Number.MAX_SAFE_INTEGER)) {
    throw new RangeError(`${name} is ${value}: give milliseconds from 0, or leave it out`);
  }
  return whole;
}

/** Metadata as entries: the lengths of key and value as words, then both. Throws TypeError with the key. */
export function packMetadata(metadata: Metadata): Uint8Array {
  const parts: Uint8Array[] = [];
  let length = 0;
  for (const key of Object.keys(metadata)) {
    const value = metadata[key];
    const binary = key.endsWith("-bin");
    let bytes: Uint8Array;
    if (binary && value instanceof Uint8Array) bytes = value;
    else if (!binary && typeof value === "string") bytes = encoder.encode(value);
    else {
      const wanted = binary ? "bytes, since its key ends in -bin" : "a string; end the key in -bin to send bytes";
      const got = value instanceof Uint8Array ? "bytes" : value === null ? "null" : typeof value;
      throw new TypeError(`metadata[${JSON.stringify(key)}] is ${wanted}, and got ${got}`);
    }
    const name = encoder.encode(key);
    parts.push(new Uint8Array(new Uint32Array([name.length, bytes.length]).buffer), name, bytes);
    length += 8 + name.length + bytes.length;
  }
  const packed = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    packed.set(part, at);
    at += part.length;
  }
  return packed;
}

/** Gathers unary calls until they are submitted together. */
export class Submits {
  #views: Views = new Views(16 * 1024);
  #used = 0;

  /** Whether nothing has been gathered. */
  get empty(): boolean {
    return this.#used === 0;
  }

  /** Adds a call, or returns false if what is there must be submitted before. */
  add(client: number, method: number, ticket: number, payload: Uint8Array, options: PackedOptions): boolean {
    const metadata = options.metadata.length;
    const length = (SUBMIT_HEADER + payload.length + metadata + 7) & ~7;
    // Behind the last record stands a word 0.
    if (this.#used + length + 8 > this.#views.bytes.length) {
      if (this.#used > 0) return false;
      this.#views = new Views(Math.max(KEPT, length + 8));
    }
    const { bytes, words, numbers } = this.#views;
    const at = this.#used;
    const word = at >> 2;
    words[word] = length;
    words[word + 1] = client;
    words[word + 2] = method;
    words[word + 3] = ticket;
    numbers[(at >> 3) + 2] = options.timeoutMs;
    words[word + 6] = options.session;
    words[word + 7] = options.flags;
    words[word + 8] = metadata;
    words[word + 9] = payload.length;
    bytes.set(payload, at + SUBMIT_HEADER);
    if (metadata > 0) bytes.set(options.metadata, at + SUBMIT_HEADER + payload.length);
    this.#used = at + length;
    return true;
  }

  /** The buffer to submit; what is added next is written over it. */
  take(): Uint8Array {
    const { bytes, words } = this.#views;
    words[this.#used >> 2] = 0;
    this.#used = 0;
    if (bytes.length > KEPT) this.#views = new Views(KEPT);
    return bytes;
  }
}
