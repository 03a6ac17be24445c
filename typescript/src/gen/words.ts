/** Words for messages, and what may be a name. */

export function isIdentifier(name: string): boolean {
  return /^[\p{ID_Start}_][\p{ID_Continue}]*$/u.test(name);
}

export function shorten(text: string): string {
  const line = text.replace(/\s+/g, " ");
  return line.length > 60 ? `${line.slice(0, 57)}…` : line;
}

/** What to write instead of global types that cannot be sent. */
export const HINTS: Readonly<Record<string, string>> = {
  Promise: "write the type that it resolves to",
  Function: "remove it, or send what it returns",
  Symbol: "use a string",
  Object: "write unknown for a value of any type",
  String: "write string",
  Number: "write number",
  Boolean: "write boolean",
  BigInt: "write bigint",
  Error: "send its message as a string",
  URL: "use a string",
  RegExp: "use a string",
  ArrayBuffer: "use Uint8Array",
  SharedArrayBuffer: "use Uint8Array",
  DataView: "use Uint8Array",
  Int8Array: "use Uint8Array, or an array of i8",
  Int16Array: "use an array of i16",
  Int32Array: "use an array of i32",
  Uint16Array: "use an array of u16",
  Uint32Array: "use an array of u32",
  Float32Array: "use an array of f32",
  Float64Array: "use an array of numbers",
  BigInt64Array: "use an array of bigint",
  BigUint64Array: "use an array of u64",
  WeakMap: "use Map",
  WeakSet: "use Set",
  Iterable: "use an array",
  Iterator: "use an array",
  IterableIterator: "use an array",
  Generator: "use an array",
  AsyncIterable: "a stream is the parameter or the result of a streaming method",
  AsyncIterator: "a stream is the parameter or the result of a streaming method",
  AsyncIterableIterator: "a stream is the parameter or the result of a streaming method",
  AsyncGenerator: "a stream is the parameter or the result of a streaming method",
  ReadableStream: "use Uint8Array, or a streaming method",
  Required: "write the type out",
  Extract: "write the type out",
  Exclude: "write the type out",
  ReturnType: "write the type out",
  Parameters: "write the type out",
  Awaited: "write the type out",
};
