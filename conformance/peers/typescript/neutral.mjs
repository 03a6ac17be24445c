/**
 * Values in the neutral form of the line protocol (conformance/README.md), to and from JavaScript's own.
 *
 * The form goes by the declared type, which the runner sends along: the description form of docs/spec/contract.md.
 */

const INTEGERS = new Set(["i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"]);
const view = new DataView(new ArrayBuffer(8));

export function floatOf(bits) {
  view.setBigUint64(0, BigInt(`0x${bits}`));
  return view.getFloat64(0);
}

export function bitsOf(number) {
  view.setFloat64(0, number);
  return view.getBigUint64(0).toString(16).padStart(16, "0");
}

export const unhex = (text) => new Uint8Array(Buffer.from(text, "hex"));
export const hex = (bytes) => Buffer.from(bytes).toString("hex");

const safe = (number) => number >= Number.MIN_SAFE_INTEGER && number <= Number.MAX_SAFE_INTEGER;

/** A text, or `{utf16: [...]}` for one that is not Unicode. */
function textOf(given) {
  return typeof given === "object" ? String.fromCharCode(...given.utf16) : given;
}

function floorDivide(a, b) {
  const quotient = a / b;
  return a % b < 0n ? quotient - 1n : quotient;
}

/** Knows the named types that the runner has told of. */
export class Neutral {
  #types = new Map();

  learn(types) {
    for (const each of types) this.#types.set(each.tag, each);
  }

  #fields(tag) {
    return new Map((this.#types.get(tag)?.fields ?? []).map((field) => [field.name, field.type]));
  }

  /** The JavaScript value. `typed`: as the peer's own tokens have it; otherwise as a dynamic proxy takes it. */
  read(ty, given, typed) {
    if (given === null) return null;
    switch (ty.t) {
      case "i64":
      case "u64": {
        const number = BigInt(given);
        return typed || !safe(number) ? number : Number(number);
      }
      case "f32":
      case "f64":
        return floatOf(given);
      case "string":
        return textOf(given);
      case "bytes":
        return unhex(given);
      case "timestamp":
        return new Date(Number(floorDivide(BigInt(given), 1_000_000n)));
      case "duration":
        return Number(given) / 1e6;
      case "any":
        return readAny(given);
      case "list": {
        const items = given.map((each) => this.read(ty.item, each, typed));
        return typed && ty.unique ? new Set(items) : items;
      }
      case "tuple":
        return given.map((each, at) => this.read(ty.items[at], each, typed));
      case "map": {
        const pairs = given.map(([key, value]) => [this.read(ty.key, key, typed), this.read(ty.value, value, typed)]);
        return ty.key.t === "string" ? objectOf(pairs) : new Map(pairs);
      }
      case "nullable":
        return this.read(ty.item, given, typed);
      case "ref":
        return this.#readNamed(ty.tag, given, typed);
      default:
        return INTEGERS.has(ty.t) ? Number(given) : given;
    }
  }

  #readNamed(tag, given, typed) {
    const definition = this.#types.get(tag);
    if (definition.kind === "enum") return given;
    const fields = this.#fields(definition.kind === "union" ? given.$type : tag);
    // A field that the type does not have goes along as it is: refusing it is what is tested.
    return objectOf(
      Object.entries(given).map(([name, value]) => [
        name,
        fields.has(name) ? this.read(fields.get(name), value, typed) : value,
      ]),
    );
  }

  write(ty, value) {
    if (value === null || value === undefined) return null;
    switch (ty.t) {
      case "f32":
      case "f64":
        if (typeof value !== "number") throw new TypeError(`${value} is no number, and ${ty.t} is declared`);
        return bitsOf(value);
      case "bytes":
        if (!(value instanceof Uint8Array)) throw new TypeError(`${value} is no Uint8Array`);
        return hex(value);
      case "timestamp":
        return String(BigInt(value.getTime()) * 1_000_000n);
      case "duration":
        return String(BigInt(Math.round(value * 1e6)));
      case "any":
        return writeAny(value);
      case "list":
        return [...value].map((each) => this.write(ty.item, each));
      case "tuple":
        return value.map((each, at) => this.write(ty.items[at], each));
      case "map": {
        const pairs = value instanceof Map ? [...value] : Object.entries(value);
        return pairs.map(([key, each]) => [this.write(ty.key, key), this.write(ty.value, each)]);
      }
      case "nullable":
        return this.write(ty.item, value);
      case "ref":
        return this.#writeNamed(ty.tag, value);
      default:
        if (!INTEGERS.has(ty.t)) return value;
        if (typeof value !== "bigint" && !Number.isInteger(value)) {
          throw new TypeError(`${value} is no integer, and ${ty.t} is declared`);
        }
        return String(BigInt(value));
    }
  }

  #writeNamed(tag, value) {
    const definition = this.#types.get(tag);
    if (definition.kind === "enum") return value;
    const fields = this.#fields(definition.kind === "union" ? value.$type : tag);
    const pairs = Object.entries(value).filter(([name]) => fields.has(name));
    const written = pairs.map(([name, each]) => [name, this.write(fields.get(name), each)]);
    return objectOf(definition.kind === "union" ? [["$type", value.$type], ...written] : written);
  }
}

/** An object of any keys, `__proto__` too. */
function objectOf(pairs) {
  const out = {};
  for (const [key, value] of pairs) {
    Object.defineProperty(out, key, { value, enumerable: true, configurable: true, writable: true });
  }
  return out;
}

/** What has no declared type is null, a boolean, or an object with one key that names its kind. */
function readAny(given) {
  if (given === null || typeof given !== "object") return given;
  const [[kind, value]] = Object.entries(given);
  switch (kind) {
    case "$int": {
      const number = BigInt(value);
      return safe(number) ? Number(number) : number;
    }
    case "$float":
      return floatOf(value);
    case "$str":
      return textOf(value);
    case "$bytes":
      return unhex(value);
    case "$list":
      return value.map(readAny);
    case "$map": {
      const pairs = value.map(([key, each]) => [readAny(key), readAny(each)]);
      return pairs.every(([key]) => typeof key === "string") ? objectOf(pairs) : new Map(pairs);
    }
    default:
      throw new TypeError(`no kind of any: ${kind}`);
  }
}

export function writeAny(value) {
  if (value === null || value === undefined || typeof value === "boolean") return value ?? null;
  if (typeof value === "bigint") return { $int: String(value) };
  if (typeof value === "number") {
    const integral = Number.isSafeInteger(value) && !Object.is(value, -0);
    return integral ? { $int: String(value) } : { $float: bitsOf(value) };
  }
  if (typeof value === "string") return { $str: value };
  if (value instanceof Uint8Array) return { $bytes: hex(value) };
  if (Array.isArray(value)) return { $list: value.map(writeAny) };
  const pairs = value instanceof Map ? [...value] : Object.entries(value);
  return { $map: pairs.map(([key, each]) => [writeAny(key), writeAny(each)]) };
}
