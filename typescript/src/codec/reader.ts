/**
 * Reads MessagePack. The core has checked the payload by then, so what is looked for here is not hostile bytes but a type
 * that differs from the one declared, which two contracts that agree by way of `any` can lead to.
 */

/** A value that is not what was declared; `position` is where it begins. */
export class DecodeFault extends Error {
  readonly position: number;

  constructor(message: string, position: number) {
    super(message);
    this.position = position;
  }
}

let bytes: Uint8Array = new Uint8Array(0);
let pos = 0;
let end = 0;

/** Reads one value that fills `payload`. */
export function readWhole<T>(payload: Uint8Array, read: () => T): T {
  // Constructors run while a value is read, and may read or send something themselves.
  const outer = bytes;
  const outerPos = pos;
  const outerEnd = end;
  bytes = payload;
  pos = 0;
  end = payload.length;
  try {
    const value = read();
    if (pos !== end) throw new DecodeFault(`the value has ${pos} bytes of ${end}`, 0);
    return value;
  } finally {
    bytes = outer;
    pos = outerPos;
    end = outerEnd;
  }
}

/** Where the next value begins. */
export function position(): number {
  return pos;
}

const eight = new Uint8Array(8);
const asDouble = new Float64Array(eight.buffer);
const asFloat = new Float32Array(eight.buffer);
asDouble[0] = 1;
const littleEndian = eight[7] !== 0;

function readDouble(): number {
  const from = bytes;
  const base = pos;
  pos += 8;
  if (littleEndian) for (let index = 0; index < 8; index++) eight[7 - index] = from[base + index]!;
  else for (let index = 0; index < 8; index++) eight[index] = from[base + index]!;
  return asDouble[0]!;
}

function readSingle(): number {
  const base = pos;
  pos += 4;
  if (littleEndian) for (let index = 0; index < 4; index++) eight[3 - index] = bytes[base + index]!;
  else for (let index = 0; index < 4; index++) eight[index] = bytes[base + index]!;
  return asFloat[0]!;
}

function unsigned16(): number {
  const value = (bytes[pos]! << 8) | bytes[pos + 1]!;
  pos += 2;
  return value;
}

function unsigned32(): number {
  const value = bytes[pos]! * 0x1000000 + ((bytes[pos + 1]! << 16) | (bytes[pos + 2]! << 8) | bytes[pos + 3]!);
  pos += 4;
  return value;
}

/** The kind of the value at `at`, in the words of docs/spec/values.md. */
function kindAt(at: number): string {
  const byte = bytes[at];
  if (byte === undefined) return "nothing";
  if (byte <= 0x7f || byte >= 0xe0 || (byte >= 0xcc && byte <= 0xd3)) return "int";
  if (byte <= 0x8f || byte === 0xde || byte === 0xdf) return "map";
  if (byte <= 0x9f || byte === 0xdc || byte === 0xdd) return "list";
  if (byte <= 0xbf || (byte >= 0xd9 && byte <= 0xdb)) return "string";
  if (byte === 0xc0) return "null";
  if (byte === 0xc2 || byte === 0xc3) return "bool";
  if (byte >= 0xc4 && byte <= 0xc6) return "bytes";
  if (byte === 0xca || byte === 0xcb) return "float";
  return "an extension";
}

function mismatch(expected: string, at: number): DecodeFault {
  return new DecodeFault(`expected ${expected}, got ${kindAt(at)}`, at);
}

/** Refuses the value at hand, of which another kind was expected. */
export function refuse(expected: string): never {
  throw mismatch(expected, pos);
}

export function nextIsNil(): boolean {
  if (bytes[pos] !== 0xc0) return false;
  pos++;
  return true;
}

export function readNil(): null {
  if (bytes[pos] !== 0xc0) refuse("null");
  pos++;
  return null;
}

export function readBool(): boolean {
  const byte = bytes[pos];
  if (byte !== 0xc2 && byte !== 0xc3) refuse("bool");
  pos++;
  return byte === 0xc3;
}

/** A number where it is exact, otherwise a bigint. */
export function readInteger(expected: string): number | bigint {
  const at = pos;
  const byte = bytes[pos++]!;
  if (byte <= 0x7f) return byte;
  if (byte >= 0xe0) return byte - 0x100;
  switch (byte) {
    case 0xcc:
      return bytes[pos++]!;
    case 0xcd:
      return unsigned16();
    case 0xce:
      return unsigned32();
    case 0xcf: {
      const high = unsigned32();
      const low = unsigned32();
      return high < 0x200000 ? high * 0x100000000 + low : (BigInt(high) << 32n) | BigInt(low);
    }
    case 0xd0:
      return (bytes[pos++]! << 24) >> 24;
    case 0xd1:
      return (unsigned16() << 16) >> 16;
    case 0xd2:
      return unsigned32() | 0;
    case 0xd3: {
      const high = unsigned32() | 0;
      const low = unsigned32();
      const value = high * 0x100000000 + low;
      return Number.isSafeInteger(value) ? value : BigInt.asIntN(64, (BigInt(high) << 32n) | BigInt(low));
    }
    default:
      pos = at;
      throw mismatch(expected, at);
  }
}

/** A float; an integer is taken too. */
export function readFloat(expected: string): number {
  const byte = bytes[pos];
  if (byte === 0xcb) {
    pos++;
    return readDouble();
  }
  if (byte === 0xca) {
    pos++;
    return readSingle();
  }
  return Number(readInteger(expected));
}

/** The length of a str, or -1; consumes its header. */
function stringHeader(): number {
  const byte = bytes[pos]!;
  if ((byte & 0xe0) === 0xa0) {
    pos++;
    return byte & 0x1f;
  }
  switch (byte) {
    case 0xd9:
      pos += 2;
      return bytes[pos - 1]!;
    case 0xda:
      pos++;
      return unsigned16();
    case 0xdb:
      pos++;
      return unsigned32();
    default:
      return -1;
  }
}

export function readString(expected = "string"): string {
  const length = stringHeader();
  if (length < 0) refuse(expected);
  return text(length);
}

/** Up to here a loop over the bytes is faster than a call into the engine. */
const SHORT = 20;

function text(length: number): string {
  const start = pos;
  pos += length;
  if (pos > end) throw new DecodeFault("truncated: the payload ends inside this value", start);
  if (length <= SHORT) {
    // Locals: a variable of the module is loaded anew at each step.
    const from = bytes;
    const after = start + length;
    let made = "";
    let index = start;
    for (; index < after; index++) {
      const byte = from[index]!;
      if (byte >= 0x80) break;
      made += String.fromCharCode(byte);
    }
    if (index === after) return made;
  }
  return asBuffer().toString("utf8", start, pos);
}

let wrapped: Buffer = Buffer.alloc(0);

/** The payload as a Buffer, which has the fastest way from UTF-8 to text. */
function asBuffer(): Buffer {
  if (Buffer.isBuffer(bytes)) return bytes;
  if (wrapped.buffer !== bytes.buffer || wrapped.byteOffset !== bytes.byteOffset || wrapped.length !== bytes.length) {
    wrapped = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }
  return wrapped;
}

/** Whether the key at hand is the encoded `key`; consumes it if so. */
export function skipKey(key: Uint8Array): boolean {
  const size = key.length;
  const from = bytes;
  const at = pos;
  for (let index = 0; index < size; index++) if (from[at + index] !== key[index]) return false;
  pos = at + size;
  return true;
}

/** A copy: the payload is used again. */
export function readBytes(expected = "bytes"): Uint8Array {
  const at = pos;
  const byte = bytes[pos++]!;
  const length =
    byte === 0xc4 ? bytes[pos++]! : byte === 0xc5 ? unsigned16() : byte === 0xc6 ? unsigned32() : Number.NaN;
  if (!(pos + length <= end)) {
    pos = at;
    throw Number.isNaN(length) ? mismatch(expected, at) : new DecodeFault("truncated: the payload ends here", at);
  }
  const copy = new Uint8Array(bytes.subarray(pos, pos + length));
  pos += length;
  return copy;
}

export function readArrayHeader(expected: string): number {
  return header(0x90, 0xdc, expected);
}

export function readMapHeader(expected: string): number {
  return header(0x80, 0xde, expected);
}

function header(short: number, long: number, expected: string): number {
  const at = pos;
  const byte = bytes[pos]!;
  let count: number;
  if ((byte & 0xf0) === short) {
    pos++;
    count = byte & 0x0f;
  } else if (byte === long) {
    pos++;
    count = unsigned16();
  } else if (byte === long + 1) {
    pos++;
    count = unsigned32();
  } else throw mismatch(expected, at);
  if (count > end - pos) throw new DecodeFault("truncated: the payload ends inside this value", at);
  return count;
}

/** A value whose type nobody declared. */
export function readAny(): unknown {
  const byte = bytes[pos]!;
  if (byte <= 0x7f || byte >= 0xe0 || (byte >= 0xcc && byte <= 0xd3)) return readInteger("any");
  if (byte <= 0x8f || byte === 0xde || byte === 0xdf) return readAnyMap();
  if (byte <= 0x9f || byte === 0xdc || byte === 0xdd) {
    const count = readArrayHeader("list");
    const items: unknown[] = [];
    for (let index = 0; index < count; index++) items.push(readAny());
    return items;
  }
  if (byte <= 0xbf || (byte >= 0xd9 && byte <= 0xdb)) return readString();
  switch (byte) {
    case 0xc0:
      pos++;
      return null;
    case 0xc2:
    case 0xc3:
      pos++;
      return byte === 0xc3;
    case 0xc4:
    case 0xc5:
    case 0xc6:
      return readBytes();
    case 0xca:
    case 0xcb:
      return readFloat("any");
    default:
      return readExtension();
  }
}

/** A plain object where all keys are text, otherwise a Map. */
function readAnyMap(): Record<string, unknown> | Map<unknown, unknown> {
  const count = readMapHeader("map");
  const object: Record<string, unknown> = {};
  let map: Map<unknown, unknown> | null = null;
  for (let index = 0; index < count; index++) {
    const key = readAny();
    if (map === null && typeof key !== "string") map = new Map(Object.entries(object));
    if (map === null) setOwn(object, key as string, readAny());
    else map.set(key, readAny());
  }
  return map ?? object;
}

/** `object[key] = value`, also where the key would be a setter of every object. */
export function setOwn(object: Record<string, unknown>, key: string, value: unknown): void {
  if (key === "__proto__") {
    Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
  } else object[key] = value;
}

function readExtension(): Date {
  const at = pos;
  const byte = bytes[pos++]!;
  const length = byte === 0xd6 ? 4 : byte === 0xd7 ? 8 : byte === 0xc7 ? bytes[pos++]! : 0;
  if (bytes[pos++] !== 0xff || (length !== 4 && length !== 8 && length !== 12)) {
    pos = at;
    throw mismatch("any", at);
  }
  if (length === 4) return new Date(unsigned32() * 1000);
  let nanoseconds: number;
  let seconds: number;
  if (length === 8) {
    const first = unsigned32();
    nanoseconds = first >>> 2;
    seconds = (first & 3) * 0x100000000 + unsigned32();
  } else {
    nanoseconds = unsigned32();
    seconds = (unsigned32() | 0) * 0x100000000 + unsigned32();
  }
  return new Date(seconds * 1000 + Math.floor(nanoseconds / 1_000_000));
}

/** Passes over a value without looking at it. */
export function skip(): void {
  for (let left = 1; left > 0; left--) {
    const byte = bytes[pos++];
    if (byte === undefined || byte === 0xc1) {
      throw new DecodeFault("truncated: the payload ends inside this value", Math.min(pos - 1, end));
    }
    if (byte <= 0x7f || byte >= 0xe0 || byte === 0xc0 || byte === 0xc2 || byte === 0xc3) continue;
    if (byte <= 0x8f) left += (byte & 0x0f) * 2;
    else if (byte <= 0x9f) left += byte & 0x0f;
    else if (byte <= 0xbf) pos += byte & 0x1f;
    else if (byte === 0xc4 || byte === 0xd9) pos += 1 + bytes[pos]!;
    else if (byte === 0xc5 || byte === 0xda) advance(unsigned16());
    else if (byte === 0xc6 || byte === 0xdb) advance(unsigned32());
    else if (byte === 0xc7) pos += 2 + bytes[pos]!;
    else if (byte === 0xc8) advance(1 + unsigned16());
    else if (byte === 0xc9) advance(1 + unsigned32());
    else if (byte === 0xca || byte === 0xce || byte === 0xd2) pos += 4;
    else if (byte === 0xcb || byte === 0xcf || byte === 0xd3) pos += 8;
    else if (byte === 0xcc || byte === 0xd0) pos += 1;
    else if (byte === 0xcd || byte === 0xd1) pos += 2;
    else if (byte >= 0xd4 && byte <= 0xd8) pos += 1 + (1 << (byte - 0xd4));
    else if (byte === 0xdc) left += unsigned16();
    else if (byte === 0xdd) left += unsigned32();
    else if (byte === 0xde) left += unsigned16() * 2;
    else left += unsigned32() * 2;
  }
}

/** `pos += f()` would forget what `f` itself has read. */
function advance(count: number): void {
  pos += count;
}

/** Reads again from an earlier place, and comes back. */
export function revisit<T>(from: number, look: () => T): T {
  const back = pos;
  pos = from;
  try {
    return look();
  } finally {
    pos = back;
  }
}

/** The number of entries if a map is at hand, whose header is then consumed. */
export function mapCount(): number | null {
  return kindAt(pos) === "map" ? readMapHeader("map") : null;
}

/** The number of items if a list is at hand, whose header is then consumed. */
export function listCount(): number | null {
  return kindAt(pos) === "list" ? readArrayHeader("list") : null;
}
