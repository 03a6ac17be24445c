/**
 * Types as values, for `defineService()` and for decorators in programs without a build step: `t.struct("demo/Point", {
 * x: t.f64, y: t.f64 })`. TypeScript infers the types of handlers and clients from them.
 */

import { SchemaError } from "../errors.js";
import {
  type EnumShape,
  type FieldShape,
  type ScalarKind,
  type Shape,
  type StructShape,
  scalar,
  type UnionShape,
} from "../shapes.js";
import { shapeOfClass } from "./classes.js";
import { byBytes, show } from "./model.js";

/** A type as a value. `Out` is what programs get, `In` what they may give. */
export class Token<Out, In = Out> {
  /** For the compiler only. */
  declare readonly "~out": Out;
  /** For the compiler only. */
  declare readonly "~in": In;
  readonly #make: () => Shape;
  #shape: Shape | null = null;
  readonly #field: FieldFacts;

  /** @internal */
  constructor(make: () => Shape, field: FieldFacts = { optional: false, makeDefault: null, doc: "" }) {
    this.#make = make;
    this.#field = field;
  }

  /** Null is a value too. */
  nullable(): Token<Out | null, In | null> {
    return new Token(() => ({ shape: "nullable", item: this.shape() }), this.#field);
  }

  /** A field that may be left out, and is then undefined; null counts as left out. */
  optional(): OptionalToken<Out | undefined, In | null | undefined> {
    return new Token(this.#make, { ...this.#field, optional: true }) as OptionalToken<
      Out | undefined,
      In | null | undefined
    >;
  }

  /** A field that may be left out, and then has this value. Of arrays and objects give a function that makes one. */
  default(value: Out | (() => Out)): OptionalToken<Out, In | undefined> {
    if (typeof value === "object" && value !== null) {
      throw new SchemaError("default(): values would share one array or object; give a function, such as () => []");
    }
    const makeDefault = typeof value === "function" ? (value as () => Out) : () => value;
    return new Token(this.#make, { ...this.#field, optional: true, makeDefault }) as OptionalToken<Out, In | undefined>;
  }

  /** What the field means, shown to whoever inspects the service. */
  doc(text: string): this {
    return new Token(this.#make, { ...this.#field, doc: text }) as this;
  }

  /** @internal */
  shape(): Shape {
    this.#shape ??= this.#make();
    return this.#shape;
  }

  /** @internal */
  get field(): FieldFacts {
    return this.#field;
  }
}

/** The token of a field that may be left out. */
export interface OptionalToken<Out, In = Out> extends Token<Out, In> {
  readonly mayBeAbsent: true;
}

/** The token of a struct; unions and fields refer to it. */
export interface StructToken<Tag extends string, Out, In> extends Token<Out, In> {
  readonly tag: Tag;
}

interface FieldFacts {
  readonly optional: boolean;
  readonly makeDefault: (() => unknown) | null;
  readonly doc: string;
}

/** A token, or a class whose fields are known. */
export type AnyType = Token<any, any> | (new (...given: any[]) => object);

/** What programs get for a token or class. */
export type Infer<T> =
  T extends Token<infer Out, unknown> ? Out : T extends new (...given: any[]) => infer Instance ? Instance : never;

/** What programs may give for a token or class. */
export type InferInput<T> =
  T extends Token<any, infer In> ? In : T extends new (...given: any[]) => infer Instance ? Instance : never;

export type Fields = Readonly<Record<string, AnyType>>;
type OptionalKeys<F> = { [K in keyof F]: F[K] extends { readonly mayBeAbsent: true } ? K : never }[keyof F];
type Flat<T> = { [K in keyof T]: T[K] };
type UndefinedKeys<T> = { [K in keyof T]: undefined extends T[K] ? K : never }[keyof T];
type WithOptional<T> = Flat<Omit<T, UndefinedKeys<T>> & Partial<Pick<T, UndefinedKeys<T>>>>;
/** What programs get for the fields of a struct. */
export type FieldsOut<F extends Fields> = WithOptional<{ [K in keyof F]: Infer<F[K]> }>;
/** What programs may give for the fields of a struct. */
export type FieldsIn<F extends Fields> = Flat<
  { [K in Exclude<keyof F, OptionalKeys<F>>]: InferInput<F[K]> } & {
    [K in OptionalKeys<F>]?: InferInput<F[K]> | undefined;
  }
>;

type Tagged<M> = M extends StructToken<infer Tag, infer Out, any> ? Out & { readonly $type: Tag } : Infer<M>;
type TaggedInput<M> = M extends StructToken<infer Tag, any, infer In> ? In & { readonly $type: Tag } : InferInput<M>;

function of<Out>(kind: ScalarKind, integers: "number" | "bigint" = "number"): Token<Out> {
  return new Token<Out>(() => scalar(kind, integers));
}

/** The shape of a token or class. */
export function shapeOf(type: AnyType, where: string): Shape {
  if (type instanceof Token) return type.shape();
  if (typeof type === "function") return shapeOfClass(type);
  throw new SchemaError(`${where}: expected a type such as t.string, or a class, and got ${show(type)}`);
}

/** The fields of a struct from its tokens. */
export function fieldShapes(fields: Fields, where: string): FieldShape[] {
  return Object.entries(fields).map(([name, type]) => {
    const shape = shapeOf(type, `${where}.${name}`);
    const facts = type instanceof Token ? type.field : { optional: false, makeDefault: null, doc: "" };
    const nullable = shape.shape === "nullable";
    // `x?: T` may be null on the wire: an absent value has no other form in some languages.
    const absent = facts.optional && facts.makeDefault === null;
    return {
      name,
      type: nullable ? shape.item : shape,
      required: !facts.optional,
      nullable: nullable || absent,
      makeDefault: facts.makeDefault ?? (absent ? () => undefined : null),
      doc: facts.doc,
    };
  });
}

function struct<const Tag extends string, F extends Fields>(
  tag: Tag,
  fields: F,
): StructToken<Tag, FieldsOut<F>, FieldsIn<F>> {
  const shape: StructShape = { shape: "struct", tag, cls: null, dynamic: false, fields: [], doc: "" };
  let filled = false;
  const token = new Token<FieldsOut<F>, FieldsIn<F>>(() => {
    if (!filled) {
      filled = true; // before its fields: it may contain itself
      shape.fields = fieldShapes(fields, tag);
    }
    return shape;
  });
  return Object.assign(token, { tag });
}

function union<const M extends readonly AnyType[]>(...members: M): Token<Tagged<M[number]>, TaggedInput<M[number]>> {
  return makeUnion(null, members);
}

function namedUnion<const M extends readonly AnyType[]>(
  tag: string,
  ...members: M
): Token<Tagged<M[number]>, TaggedInput<M[number]>> {
  return makeUnion(tag, members);
}

function makeUnion<Out, In>(tag: string | null, members: readonly AnyType[]): Token<Out, In> {
  return new Token<Out, In>(() => {
    const shapes = members.map((member) => shapeOf(member, `t.union(${tag ?? ""})`));
    for (const shape of shapes) {
      if (shape.shape !== "struct") {
        throw new SchemaError(`t.union(): its members are structs or classes, and one of them is ${shape.shape}`);
      }
    }
    return unionOf(tag, shapes as StructShape[]);
  });
}

/** A union; without a tag of its own it goes by those of its members. */
export function unionOf(tag: string | null, members: readonly StructShape[]): UnionShape {
  const made = members.map((member) => member.tag).sort(byBytes);
  return { shape: "union", tag: tag ?? made.join(".or."), members };
}

type EnumValue<V> = V extends readonly (infer Name)[] ? Name : V extends Record<string, infer Value> ? Value : never;

function enumOf<const V extends readonly string[] | Readonly<Record<string, string | number>>>(
  tag: string,
  values: V,
): Token<EnumValue<V>> {
  const entries: EnumShape["values"] = Array.isArray(values)
    ? values.map((name) => ({ name, value: name }))
    : Object.entries(values)
        // A TypeScript enum of numbers has an entry from each number back to its name.
        .filter(([name]) => !/^\d+$/.test(name))
        .map(([name, value]) => ({ name, value }));
  return new Token(() => ({ shape: "enum", tag, values: entries, doc: "" }));
}

/** The types of the contract model. */
export const t: {
  readonly null: Token<null>;
  readonly bool: Token<boolean>;
  readonly i8: Token<number>;
  readonly i16: Token<number>;
  readonly i32: Token<number>;
  /** As a number: exact up to 2^53 - 1, an error beyond. `t.bigint` has all 64 bits. */
  readonly i64: Token<number>;
  readonly u8: Token<number>;
  readonly u16: Token<number>;
  readonly u32: Token<number>;
  readonly u64: Token<bigint, bigint | number>;
  /** i64 as a bigint. */
  readonly bigint: Token<bigint, bigint | number>;
  readonly f32: Token<number>;
  readonly f64: Token<number>;
  readonly string: Token<string>;
  readonly bytes: Token<Uint8Array>;
  readonly timestamp: Token<Date>;
  /** In milliseconds. */
  readonly duration: Token<number>;
  readonly uuid: Token<string>;
  readonly any: Token<any>;
  list<T extends AnyType>(item: T): Token<Infer<T>[], readonly InferInput<T>[]>;
  /** Equal items are refused. */
  set<T extends AnyType>(item: T): Token<Set<Infer<T>>, ReadonlySet<InferInput<T>>>;
  tuple<const T extends readonly AnyType[]>(
    ...items: T
  ): Token<{ -readonly [K in keyof T]: Infer<T[K]> }, { readonly [K in keyof T]: InferInput<T[K]> }>;
  /** Values are Maps. */
  map<K extends AnyType, V extends AnyType>(
    key: K,
    value: V,
  ): Token<Map<Infer<K>, Infer<V>>, ReadonlyMap<InferInput<K>, InferInput<V>>>;
  /** A map with string keys whose values are plain objects. */
  record<V extends AnyType>(value: V): Token<Record<string, Infer<V>>, Readonly<Record<string, InferInput<V>>>>;
  enum: typeof enumOf;
  struct: typeof struct;
  /** One of several structs or classes; `$type` tells plain objects apart. */
  union: typeof union;
  /** A union with a tag of its own. */
  namedUnion: typeof namedUnion;
  /** A type that is declared further down, or contains itself. */
  lazy<Out, In = Out>(type: () => Token<Out, In>): Token<Out, In>;
} = {
  null: of<null>("null"),
  bool: of<boolean>("bool"),
  i8: of<number>("i8"),
  i16: of<number>("i16"),
  i32: of<number>("i32"),
  i64: of<number>("i64"),
  u8: of<number>("u8"),
  u16: of<number>("u16"),
  u32: of<number>("u32"),
  u64: of<bigint>("u64", "bigint") as Token<bigint, bigint | number>,
  bigint: of<bigint>("i64", "bigint") as Token<bigint, bigint | number>,
  f32: of<number>("f32"),
  f64: of<number>("f64"),
  string: of<string>("string"),
  bytes: of<Uint8Array>("bytes"),
  timestamp: of<Date>("timestamp"),
  duration: of<number>("duration"),
  uuid: of<string>("uuid"),
  any: of<any>("any"),
  list: (item) => new Token(() => ({ shape: "list", item: shapeOf(item, "t.list()"), unique: false, asSet: false })),
  set: (item) => new Token(() => ({ shape: "list", item: shapeOf(item, "t.set()"), unique: true, asSet: true })),
  tuple: (...items) => new Token(() => ({ shape: "tuple", items: items.map((item) => shapeOf(item, "t.tuple()")) })),
  map: (key, value) =>
    new Token(() => ({
      shape: "map",
      key: shapeOf(key, "t.map()"),
      value: shapeOf(value, "t.map()"),
      asObject: false,
    })),
  record: (value) =>
    new Token(() => ({ shape: "map", key: scalar("string"), value: shapeOf(value, "t.record()"), asObject: true })),
  enum: enumOf,
  struct,
  union,
  namedUnion,
  lazy: (type) => new Token(() => type().shape()),
};
