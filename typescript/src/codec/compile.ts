/**
 * Compiles a shape into the two functions that write and read its values, once per shape.
 *
 * A value is written by its declared type, never by its looks. The core checks every payload against the contract and
 * names the path, so a value of quite another type is simply written, and refused there. Faults are thrown here only for
 * what the core could not see: a fraction or an inexact integer in an integer field, a Date that is none, a value that
 * has no form on the wire.
 */

import type {
  EnumShape,
  FieldShape,
  ListShape,
  MapShape,
  ScalarShape,
  Shape,
  StructShape,
  UnionShape,
} from "../shapes.js";
import { tagOfInstance } from "../tags.js";
import * as read from "./reader.js";
import { DecodeFault } from "./reader.js";
import * as write from "./writer.js";
import { EncodeFault } from "./writer.js";

/** Writes and reads the values of one shape at the place where writer and reader are. */
export interface Node {
  write(value: unknown): void;
  read(): unknown;
}

const nodes = new WeakMap<Shape, Node>();

/** The node of a shape, compiled at first use. */
export function nodeOf(shape: Shape): Node {
  let node = nodes.get(shape);
  if (node === undefined) {
    if (shape.shape === "struct") {
      const struct = new StructNode(shape);
      nodes.set(shape, struct); // before its fields: it may contain itself
      struct.compile();
      return struct;
    }
    if (shape.shape === "union") {
      const union = new UnionNode(shape);
      nodes.set(shape, union);
      union.compile();
      return union;
    }
    node = compile(shape);
    nodes.set(shape, node);
  }
  return node;
}

function compile(shape: Exclude<Shape, StructShape | UnionShape>): Node {
  switch (shape.shape) {
    case "scalar":
      return scalarNode(shape);
    case "list":
      return listNode(shape);
    case "tuple":
      return tupleNode(shape.items.map(nodeOf));
    case "map":
      return mapNode(shape);
    case "nullable":
      return nullableNode(nodeOf(shape.item));
    case "enum":
      return enumNode(shape);
  }
}

// ---------------------------------------------------------------- scalars

const INTEGERS = new Set<string>(["i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"]);

function scalarNode(shape: ScalarShape): Node {
  const { kind } = shape;
  if (INTEGERS.has(kind)) return integerNode(shape);
  switch (kind) {
    case "null":
      return { write: (value) => (value === undefined ? write.writeNil() : writeAny(value)), read: read.readNil };
    case "bool":
      return {
        write: (value) => (typeof value === "boolean" ? write.writeBool(value) : writeAny(value)),
        read: read.readBool,
      };
    case "f32":
      return { write: writeFloat32, read: () => read.readFloat("f32") };
    case "f64":
      return { write: writeFloat64, read: () => read.readFloat("f64") };
    case "string":
      return {
        write: (value) => (typeof value === "string" ? write.writeString(value) : writeAny(value)),
        read: () => read.readString(),
      };
    case "bytes":
      return { write: writeAny, read: () => read.readBytes() };
    case "timestamp":
      return { write: writeTimestamp, read: readTimestamp };
    case "duration":
      return { write: writeDuration, read: readDuration };
    case "uuid":
      return { write: writeUuid, read: readUuid };
    default:
      return { write: writeAny, read: read.readAny };
  }
}

function writeFloat64(value: unknown): void {
  if (typeof value === "number") write.writeFloat64(value);
  else writeAny(value);
}

function writeFloat32(value: unknown): void {
  if (typeof value !== "number") writeAny(value);
  // A value that is too big for 32 bits goes in 64, so that the core can name it.
  else if (Number.isFinite(value) && !Number.isFinite(Math.fround(value))) write.writeFloat64(value);
  else write.writeFloat32(value);
}

function integerNode(shape: ScalarShape): Node {
  const { kind } = shape;
  const writeInteger = (value: unknown): void => {
    if (typeof value === "number") {
      if (Number.isSafeInteger(value)) write.writeInteger(value);
      else throw new EncodeFault(inexact(kind, value));
    } else if (typeof value === "bigint") write.writeBigInt(value);
    else writeAny(value);
  };
  if (shape.integers === "bigint") return { write: writeInteger, read: () => BigInt(read.readInteger(kind)) };
  if (shape.integers === "either") return { write: writeInteger, read: () => read.readInteger(kind) };
  return {
    write: writeInteger,
    read: () => {
      const at = read.position();
      const value = read.readInteger(kind);
      if (typeof value === "number") return value;
      throw new DecodeFault(
        `${value} does not fit a number, which is exact up to 2^53 - 1 only; declare the field as bigint`,
        at,
      );
    },
  };
}

function inexact(kind: string, value: number): string {
  if (Number.isInteger(value)) {
    return `expected ${kind}, got the number ${value}, which is beyond 2^53 - 1 and so not exact; give a bigint`;
  }
  return `expected ${kind}, got the number ${value}`;
}

const NANOSECONDS = 1_000_000;

/** Whole nanoseconds of a number of milliseconds. */
function nanoseconds(milliseconds: number): bigint {
  const whole = Math.trunc(milliseconds);
  return BigInt(whole) * BigInt(NANOSECONDS) + BigInt(Math.round((milliseconds - whole) * NANOSECONDS));
}

function writeTimestamp(value: unknown): void {
  if (value instanceof Date) {
    const time = value.getTime();
    if (Number.isNaN(time)) throw new EncodeFault("expected timestamp, got an invalid Date");
    writeNanoseconds(BigInt(time) * BigInt(NANOSECONDS), "timestamp");
  } else if (typeof value === "bigint") writeNanoseconds(value, "timestamp");
  else if (typeof value === "number") {
    throw new EncodeFault(`expected timestamp, got the number ${value}; give a Date, or nanoseconds as a bigint`);
  } else writeAny(value);
}

function writeDuration(value: unknown): void {
  if (typeof value === "number") {
    if (!Number.isFinite(value)) throw new EncodeFault(`expected duration, got the number ${value}`);
    writeNanoseconds(nanoseconds(value), "duration");
  } else if (typeof value === "bigint") writeNanoseconds(value, "duration");
  else writeAny(value);
}

function writeNanoseconds(value: bigint, kind: string): void {
  if (value !== BigInt.asIntN(64, value)) {
    throw new EncodeFault(`${value} is out of range for ${kind} (64 bits of nanoseconds)`);
  }
  write.writeBigInt(value);
}

function readTimestamp(): Date {
  const value = read.readInteger("timestamp");
  // Down to the millisecond before, also for times before 1970.
  if (typeof value === "number") return new Date(Math.floor(value / NANOSECONDS));
  const milliseconds = value / BigInt(NANOSECONDS);
  return new Date(Number(value < 0n && value % BigInt(NANOSECONDS) !== 0n ? milliseconds - 1n : milliseconds));
}

function readDuration(): number {
  const value = read.readInteger("duration");
  if (typeof value === "number") return value / NANOSECONDS;
  return Number(value / BigInt(NANOSECONDS)) + Number(value % BigInt(NANOSECONDS)) / NANOSECONDS;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

function writeUuid(value: unknown): void {
  if (typeof value === "string" && UUID.test(value)) {
    write.writeBytes(Buffer.from(value.replaceAll("-", ""), "hex"));
  } else writeAny(value);
}

function readUuid(): string {
  const at = read.position();
  const bytes = read.readBytes("uuid");
  if (bytes.length !== 16) throw new DecodeFault(`expected uuid (16 bytes), got ${bytes.length} bytes`, at);
  const hex = Buffer.from(bytes.buffer).toString("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

function enumNode(shape: EnumShape): Node {
  const byName = new Map(shape.values.map((each) => [each.name, each.value]));
  const byValue = new Map(shape.values.map((each) => [each.value, each.name]));
  const shown = shape.values.slice(0, 16).map((each) => JSON.stringify(each.value));
  return {
    write: (value) => {
      const name = byValue.get(value as string);
      if (name !== undefined) write.writeString(name);
      else if (typeof value === "string" || typeof value === "number") {
        const given = JSON.stringify(value);
        throw new EncodeFault(`${given} is not a value of ${shape.tag}; its values are: ${shown.join(", ")}`);
      } else writeAny(value);
    },
    read: () => {
      const at = read.position();
      const name = read.readString(`enum ${shape.tag}`);
      const value = byName.get(name);
      if (value === undefined) throw new DecodeFault(`\`${name}\` is not a value of ${shape.tag}`, at);
      return value;
    },
  };
}

// ---------------------------------------------------------------- containers

function nullableNode(item: Node): Node {
  return {
    write: (value) => (value === null || value === undefined ? write.writeNil() : item.write(value)),
    read: () => (read.nextIsNil() ? null : item.read()),
  };
}

function listNode(shape: ListShape): Node {
  const item = nodeOf(shape.item);
  const expected = shape.unique ? "set" : "list";
  return {
    write: (value) => {
      if (Array.isArray(value)) {
        write.writeArrayHeader(value.length);
        for (let index = 0; index < value.length; index++) item.write(value[index]);
      } else if (value instanceof Set) {
        write.writeArrayHeader(value.size);
        for (const each of value) item.write(each);
      } else writeAny(value);
    },
    read: () => {
      const count = read.readArrayHeader(expected);
      if (shape.asSet) {
        const set = new Set();
        for (let index = 0; index < count; index++) set.add(item.read());
        return set;
      }
      const items: unknown[] = [];
      for (let index = 0; index < count; index++) items.push(item.read());
      return items;
    },
  };
}

function tupleNode(items: readonly Node[]): Node {
  return {
    write: (value) => {
      // Of another length it is written item by item all the same: the core says which length it has.
      if (!Array.isArray(value) || value.length !== items.length) return writeAny(value);
      write.writeArrayHeader(items.length);
      for (let index = 0; index < items.length; index++) items[index]!.write(value[index]);
    },
    read: () => {
      const at = read.position();
      const count = read.readArrayHeader("tuple");
      if (count !== items.length) throw new DecodeFault(`expected tuple of ${items.length}, got ${count} items`, at);
      return items.map((item) => item.read());
    },
  };
}

function mapNode(shape: MapShape): Node {
  const key = nodeOf(shape.key);
  const value = nodeOf(shape.value);
  const fromText = keyFromText(shape.key);
  return {
    write: (given) => {
      if (given instanceof Map) {
        write.writeMapHeader(given.size);
        for (const [name, item] of given) {
          key.write(name);
          value.write(item);
        }
      } else if (isPlain(given)) {
        const names = Object.keys(given);
        write.writeMapHeader(names.length);
        for (const name of names) {
          key.write(fromText(name));
          value.write(given[name]);
        }
      } else writeAny(given);
    },
    read: () => {
      const count = read.readMapHeader("map");
      if (shape.asObject) {
        const object: Record<string, unknown> = {};
        for (let index = 0; index < count; index++) {
          const name = key.read();
          read.setOwn(object, String(name), value.read());
        }
        return object;
      }
      const map = new Map();
      for (let index = 0; index < count; index++) {
        const name = key.read();
        map.set(name, value.read());
      }
      return map;
    },
  };
}

/** The key that a property name of a plain object stands for. */
function keyFromText(shape: Shape): (text: string) => unknown {
  if (shape.shape === "enum") {
    const values = new Map<string, unknown>(shape.values.map((each) => [String(each.value), each.value]));
    return (text) => values.get(text) ?? text;
  }
  if (shape.shape !== "scalar") return (text) => text;
  if (shape.kind === "bool") return (text) => (text === "true" ? true : text === "false" ? false : text);
  if (INTEGERS.has(shape.kind)) return (text) => (/^-?\d{1,20}$/.test(text) ? BigInt(text) : text);
  return (text) => text;
}

/** Whether a value is an object whose own properties are all there is to it. */
function isPlain(value: unknown): value is Record<string, unknown> {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof Date) &&
    !(value instanceof Set) &&
    !(value instanceof Map) &&
    !ArrayBuffer.isView(value)
  );
}

/** Writes a value by its looks, where no type is declared or the value is not of it. */
export function writeAny(value: unknown): void {
  switch (typeof value) {
    case "undefined":
      return write.writeNil();
    case "boolean":
      return write.writeBool(value);
    case "string":
      return write.writeString(value);
    case "bigint":
      return write.writeBigInt(value);
    case "number":
      // -0 is an integer to JavaScript, and would lose its sign.
      if (Number.isSafeInteger(value) && !Object.is(value, -0)) return write.writeInteger(value);
      return write.writeFloat64(value);
    case "object":
      return value === null ? write.writeNil() : writeAnyObject(value);
    default:
      throw new EncodeFault(`a ${typeof value} cannot be sent`);
  }
}

function writeAnyObject(value: object): void {
  if (Array.isArray(value)) {
    write.writeArrayHeader(value.length);
    for (let index = 0; index < value.length; index++) writeAny(value[index]);
  } else if (value instanceof Uint8Array) write.writeBytes(value);
  else if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) {
    throw new EncodeFault(`a ${value.constructor.name} cannot be sent; give a Uint8Array of its bytes`);
  } else if (value instanceof Map) {
    write.writeMapHeader(value.size);
    for (const [key, item] of value) {
      writeAny(key);
      writeAny(item);
    }
  } else if (value instanceof Set) {
    write.writeArrayHeader(value.size);
    for (const item of value) writeAny(item);
  } else if (value instanceof Date) write.writeTimestampExtension(value);
  else if (value instanceof Promise) throw new EncodeFault("a Promise cannot be sent; await it first");
  else {
    const object = value as Record<string, unknown>;
    const keys = Object.keys(object).filter((key) => object[key] !== undefined);
    write.writeMapHeader(keys.length);
    for (const key of keys) {
      write.writeString(key);
      writeAny(object[key]);
    }
  }
}

// ---------------------------------------------------------------- structs and unions

interface FieldNode {
  readonly name: string;
  readonly key: Uint8Array;
  readonly node: Node;
  readonly nullable: boolean;
  readonly required: boolean;
  readonly makeDefault: (() => unknown) | null;
  /** Every object has a property of this name, so only an own one counts. */
  readonly inherited: boolean;
}

function encodedString(value: string): Uint8Array {
  // A copy: `slice` of a Buffer is none.
  return new Uint8Array(write.written(write.writeString as (value: unknown) => void, value));
}

const TYPE_KEY = encodedString("$type");

class StructNode implements Node {
  readonly shape: StructShape;
  readonly tag: Uint8Array;
  private fields: readonly FieldNode[] = [];
  private names: ReadonlySet<string> = new Set();

  constructor(shape: StructShape) {
    this.shape = shape;
    this.tag = encodedString(shape.tag);
  }

  compile(): void {
    this.fields = this.shape.fields.map((field: FieldShape) => ({
      name: field.name,
      key: encodedString(field.name),
      node: nodeOf(field.type),
      nullable: field.nullable,
      required: field.required,
      makeDefault: field.makeDefault,
      inherited: field.name in Object.prototype,
    }));
    this.names = new Set(this.shape.fields.map((field) => field.name));
  }

  write(value: unknown): void {
    this.writeTagged(value, false);
  }

  writeTagged(value: unknown, tagged: boolean): void {
    if (!isPlain(value)) return writeAny(value);
    const { fields, shape } = this;
    // A dynamic value may say its own type, and may have fields that the core refuses by name.
    const own = shape.dynamic && !tagged && Object.hasOwn(value, "$type");
    const extra = shape.dynamic ? this.extraFields(value) : NONE;
    const most = fields.length + extra.length + (tagged || own ? 1 : 0);
    const start = write.beginMap(most);
    let count = extra.length;
    if (tagged || own) {
      write.writeRaw(TYPE_KEY);
      if (tagged) write.writeRaw(this.tag);
      else writeAny(value.$type);
      count++;
    }
    for (let index = 0; index < fields.length; index++) {
      const field = fields[index]!;
      const item = value[field.name];
      if (item === undefined || (field.inherited && !Object.hasOwn(value, field.name))) continue;
      write.writeRaw(field.key);
      if (item === null) write.writeNil();
      else field.node.write(item);
      count++;
    }
    for (const name of extra) {
      write.writeString(name);
      writeAny(value[name]);
    }
    write.endMap(start, most, count);
  }

  private extraFields(value: Record<string, unknown>): readonly string[] {
    let found: string[] | null = null;
    for (const name of Object.keys(value)) {
      if (this.names.has(name) || name === "$type" || value[name] === undefined) continue;
      found ??= [];
      found.push(name);
    }
    return found ?? NONE;
  }

  read(): unknown {
    const { shape } = this;
    return this.readFields(read.readMapHeader(`struct ${shape.tag}`), false);
  }

  /** The rest of a struct whose map has `left` entries to come. */
  readFields(left: number, tagged: boolean): unknown {
    const { fields, shape } = this;
    const at = read.position();
    const made = (shape.cls === null ? {} : new shape.cls()) as Record<string, unknown>;
    if (tagged && shape.cls === null) made.$type = shape.tag;
    let known = 0;
    let next = 0;
    let seen: Set<FieldNode> | null = null;
    for (let entry = 0; entry < left; entry++) {
      // Senders mostly write fields in the order declared.
      let field = next < fields.length && read.skipKey(fields[next]!.key) ? fields[next++] : undefined;
      if (field === undefined) {
        for (let index = 0; index < fields.length; index++) {
          if (!read.skipKey(fields[index]!.key)) continue;
          if (seen === null) seen = new Set(fields.slice(0, next));
          field = fields[index]!;
          next = index + 1;
          break;
        }
        if (field === undefined) {
          read.skip();
          read.skip();
          continue;
        }
      }
      if (seen !== null) seen.add(field);
      known++;
      if (field.nullable && read.nextIsNil()) {
        // `x?: T` stays undefined, as the class has it; `x: T | null` is null.
        if (shape.cls !== null && !field.required && made[field.name] === undefined) continue;
        assign(made, field, null);
      } else assign(made, field, field.node.read());
    }
    if (known < fields.length) this.fillIn(made, seen ?? new Set(fields.slice(0, next)), at);
    return made;
  }

  private fillIn(made: Record<string, unknown>, seen: ReadonlySet<FieldNode>, at: number): void {
    for (const field of this.fields) {
      if (seen.has(field)) continue;
      if (field.required) {
        throw new DecodeFault(`\`${field.name}\`: missing required field of ${this.shape.tag}`, at);
      }
      if (field.makeDefault !== null) assign(made, field, field.makeDefault());
    }
  }
}

const NONE: readonly string[] = [];

function assign(made: Record<string, unknown>, field: FieldNode, value: unknown): void {
  if (field.inherited) read.setOwn(made, field.name, value);
  else made[field.name] = value;
}

class UnionNode implements Node {
  private readonly shape: UnionShape;
  private members: readonly StructNode[] = [];
  private readonly byTag = new Map<string, StructNode>();
  private readonly byClass = new Map<unknown, StructNode>();

  constructor(shape: UnionShape) {
    this.shape = shape;
  }

  compile(): void {
    this.members = this.shape.members.map((member) => nodeOf(member) as StructNode);
    for (const member of this.members) {
      this.byTag.set(member.shape.tag, member);
      if (member.shape.cls !== null) this.byClass.set(member.shape.cls, member);
    }
  }

  write(value: unknown): void {
    if (!isPlain(value)) return writeAny(value);
    const member = this.memberOf(value);
    if (member !== undefined) return member.writeTagged(value, true);
    if (typeof value.$type === "string") return writeTypeFirst(value);
    const tags = this.members.map((each) => each.shape.tag).join(", ");
    throw new EncodeFault(
      `a value of union ${this.shape.tag} is an instance of one of its classes, or has "$type"; its members are: ${tags}`,
    );
  }

  private memberOf(value: Record<string, unknown>): StructNode | undefined {
    if (this.byClass.size > 0) {
      for (let at: unknown = Object.getPrototypeOf(value); at !== null; at = Object.getPrototypeOf(at)) {
        const found = this.byClass.get((at as { constructor: unknown }).constructor);
        if (found !== undefined) return found;
      }
    }
    const tag = Object.hasOwn(value, "$type") ? value.$type : undefined;
    if (typeof tag === "string") return this.byTag.get(tag);
    const decorated = tagOfInstance(value);
    return decorated === undefined ? undefined : this.byTag.get(decorated);
  }

  read(): unknown {
    const at = read.position();
    const count = read.readMapHeader(`union ${this.shape.tag}`);
    if (count === 0 || !read.skipKey(TYPE_KEY)) {
      throw new DecodeFault(`a value of union ${this.shape.tag} must have "$type" as its first key`, at);
    }
    const tag = read.readString();
    const member = this.byTag.get(tag);
    if (member === undefined) throw new DecodeFault(`\`${tag}\` is not a member of union ${this.shape.tag}`, at);
    return member.readFields(count - 1, true);
  }
}

/** A member that nobody knows is written with its type first, so that the core can say that it is none. */
function writeTypeFirst(value: Record<string, unknown>): void {
  const { $type, ...rest } = value;
  writeAny({ $type, ...rest });
}
