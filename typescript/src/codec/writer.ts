/**
 * Writes MessagePack into one buffer that is used again and again. What is written is decided by `compile.ts`, from the
 * declared type; this module knows the formats only.
 */

/** A value that cannot be written. The path is found afterwards, by `explain.ts`. */
export class EncodeFault extends Error {}

const INITIAL = 16 * 1024;
/** Larger buffers are not kept: one large message must not hold its memory for ever. */
const KEPT = 1024 * 1024;

let bytes: Buffer = Buffer.allocUnsafeSlow(INITIAL);
let view: DataView = new DataView(bytes.buffer);
let pos = 0;
let busy = false;

/** The bytes that `write` writes, valid until the next call: callers hand them on at once, or copy. */
export function written(write: (value: unknown) => void, value: unknown): Uint8Array {
  if (busy) return writtenInside(write, value);
  busy = true;
  pos = 0;
  try {
    write(value);
    return bytes.subarray(0, pos);
  } finally {
    busy = false;
    if (bytes.length > KEPT) use(Buffer.allocUnsafeSlow(INITIAL));
  }
}

/** For a getter or `toJSON` of a value being written that sends something itself. */
function writtenInside(write: (value: unknown) => void, value: unknown): Uint8Array {
  const outer = bytes;
  const at = pos;
  use(Buffer.allocUnsafeSlow(INITIAL));
  pos = 0;
  try {
    write(value);
    return bytes.subarray(0, pos);
  } finally {
    use(outer);
    pos = at;
  }
}

function use(buffer: Buffer): void {
  bytes = buffer;
  view = new DataView(buffer.buffer);
}

function grow(more: number): void {
  const larger = Buffer.allocUnsafeSlow(Math.max(bytes.length * 2, pos + more));
  larger.set(bytes.subarray(0, pos));
  use(larger);
}

export function writeNil(): void {
  if (pos + 1 > bytes.length) grow(1);
  bytes[pos++] = 0xc0;
}

export function writeBool(value: boolean): void {
  if (pos + 1 > bytes.length) grow(1);
  bytes[pos++] = value ? 0xc3 : 0xc2;
}

/** `value` is a whole number; beyond ±(2^53 - 1) its neighbours would be written the same, so callers refuse those. */
export function writeInteger(value: number): void {
  if (pos + 9 > bytes.length) grow(9);
  if (value >= 0) {
    if (value < 0x80) bytes[pos++] = value;
    else if (value < 0x100) {
      bytes[pos++] = 0xcc;
      bytes[pos++] = value;
    } else if (value < 0x10000) {
      bytes[pos++] = 0xcd;
      bytes[pos++] = value >>> 8;
      bytes[pos++] = value & 0xff;
    } else if (value < 0x100000000) {
      bytes[pos] = 0xce;
      view.setUint32(pos + 1, value);
      pos += 5;
    } else {
      bytes[pos] = 0xcf;
      view.setUint32(pos + 1, Math.floor(value / 0x100000000));
      view.setUint32(pos + 5, value >>> 0);
      pos += 9;
    }
  } else if (value >= -0x20) bytes[pos++] = value + 0x100;
  else if (value >= -0x80) {
    bytes[pos++] = 0xd0;
    bytes[pos++] = value + 0x100;
  } else if (value >= -0x8000) {
    bytes[pos] = 0xd1;
    view.setInt16(pos + 1, value);
    pos += 3;
  } else if (value >= -0x80000000) {
    bytes[pos] = 0xd2;
    view.setInt32(pos + 1, value);
    pos += 5;
  } else {
    bytes[pos] = 0xd3;
    view.setInt32(pos + 1, Math.floor(value / 0x100000000));
    view.setUint32(pos + 5, value >>> 0);
    pos += 9;
  }
}

/** From -2^63 to 2^64 - 1. */
export function writeBigInt(value: bigint): void {
  if (value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER)) {
    writeInteger(Number(value));
    return;
  }
  if (pos + 9 > bytes.length) grow(9);
  if (value > 0n) {
    if (value > 0xffff_ffff_ffff_ffffn) throw new EncodeFault(`${value} does not fit 64 bits`);
    bytes[pos] = 0xcf;
    view.setBigUint64(pos + 1, value);
  } else {
    if (value < -0x8000_0000_0000_0000n) throw new EncodeFault(`${value} does not fit 64 bits`);
    bytes[pos] = 0xd3;
    view.setBigInt64(pos + 1, value);
  }
  pos += 9;
}

export function writeFloat64(value: number): void {
  if (pos + 9 > bytes.length) grow(9);
  bytes[pos] = 0xcb;
  view.setFloat64(pos + 1, value);
  pos += 9;
}

export function writeFloat32(value: number): void {
  if (pos + 5 > bytes.length) grow(5);
  bytes[pos] = 0xca;
  view.setFloat32(pos + 1, value);
  pos += 5;
}

/** Up to here a loop over the characters is faster than a call into the engine. */
const SHORT = 31;

export function writeString(value: string): void {
  const length = value.length;
  if (pos + 5 + length * 3 > bytes.length) grow(5 + length * 3);
  if (length <= SHORT) {
    // Locals: a variable of the module is loaded anew at each step.
    const into = bytes;
    const start = pos;
    let at = start + 1;
    let index = 0;
    for (; index < length; index++) {
      const code = value.charCodeAt(index);
      if (code >= 0x80) break;
      into[at++] = code;
    }
    if (index === length) {
      bytes[start] = 0xa0 | length;
      pos = at;
      return;
    }
  }
  const size = Buffer.byteLength(value);
  // Text of ASCII only has as many bytes as characters, and no surrogates.
  if (size !== length && !value.isWellFormed()) {
    throw new EncodeFault("the string has half of a surrogate pair, which is no Unicode text");
  }
  if (size < 32) bytes[pos++] = 0xa0 | size;
  else if (size < 0x100) {
    bytes[pos++] = 0xd9;
    bytes[pos++] = size;
  } else if (size < 0x10000) {
    bytes[pos] = 0xda;
    view.setUint16(pos + 1, size);
    pos += 3;
  } else {
    bytes[pos] = 0xdb;
    view.setUint32(pos + 1, size);
    pos += 5;
  }
  pos += bytes.write(value, pos, size, "utf8");
}

export function writeBytes(value: Uint8Array): void {
  const size = value.length;
  if (pos + 5 + size > bytes.length) grow(5 + size);
  if (size < 0x100) {
    bytes[pos++] = 0xc4;
    bytes[pos++] = size;
  } else if (size < 0x10000) {
    bytes[pos] = 0xc5;
    view.setUint16(pos + 1, size);
    pos += 3;
  } else {
    bytes[pos] = 0xc6;
    view.setUint32(pos + 1, size);
    pos += 5;
  }
  bytes.set(value, pos);
  pos += size;
}

export function writeArrayHeader(count: number): void {
  writeHeader(count, 0x90, 0xdc);
}

export function writeMapHeader(count: number): void {
  writeHeader(count, 0x80, 0xde);
}

function writeHeader(count: number, short: number, long: number): void {
  if (pos + 5 > bytes.length) grow(5);
  if (count < 16) bytes[pos++] = short | count;
  else if (count < 0x10000) {
    bytes[pos] = long;
    view.setUint16(pos + 1, count);
    pos += 3;
  } else {
    bytes[pos] = long + 1;
    view.setUint32(pos + 1, count);
    pos += 5;
  }
}

/** Leaves room for the header of a map with at most `most` entries; `endMap` fills it in. */
export function beginMap(most: number): number {
  const start = pos;
  if (pos + 3 > bytes.length) grow(3);
  pos += most < 16 ? 1 : 3;
  return start;
}

export function endMap(start: number, most: number, count: number): void {
  if (most < 16) bytes[start] = 0x80 | count;
  else {
    bytes[start] = 0xde;
    view.setUint16(start + 1, count);
  }
}

/** Bytes made before: an encoded key. */
export function writeRaw(raw: Uint8Array): void {
  const size = raw.length;
  if (pos + size > bytes.length) grow(size);
  // A loop beats `set` for the few bytes of a field's name.
  const into = bytes;
  const at = pos;
  for (let index = 0; index < size; index++) into[at + index] = raw[index]!;
  pos = at + size;
}

/** The timestamp extension, for a date where no type is declared. */
export function writeTimestampExtension(date: Date): void {
  const time = date.getTime();
  if (Number.isNaN(time)) throw new EncodeFault("the date is invalid");
  if (pos + 15 > bytes.length) grow(15);
  const seconds = Math.floor(time / 1000);
  bytes[pos] = 0xc7;
  bytes[pos + 1] = 12;
  bytes[pos + 2] = 0xff;
  view.setUint32(pos + 3, (time - seconds * 1000) * 1_000_000);
  view.setBigInt64(pos + 7, BigInt(seconds));
  pos += 15;
}
