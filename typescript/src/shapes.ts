/**
 * The shapes a value on the wire can have: what classes, tokens and contract descriptions are read into, and codecs
 * are compiled from. Knows nothing of decorators, contracts or encoders.
 */

export type ScalarKind =
  | "null"
  | "bool"
  | "i8"
  | "i16"
  | "i32"
  | "i64"
  | "u8"
  | "u16"
  | "u32"
  | "u64"
  | "f32"
  | "f64"
  | "string"
  | "bytes"
  | "timestamp"
  | "duration"
  | "uuid"
  | "any";

/** How integers are given to the program: as numbers (unsafe ones are an error), always bigint, or whichever fits. */
export type IntegerForm = "number" | "bigint" | "either";

export interface ScalarShape {
  readonly shape: "scalar";
  readonly kind: ScalarKind;
  readonly integers: IntegerForm;
}

export interface ListShape {
  readonly shape: "list";
  readonly item: Shape;
  /** Equal items are refused. */
  readonly unique: boolean;
  /** Values are `Set`s; otherwise arrays. */
  readonly asSet: boolean;
}

export interface TupleShape {
  readonly shape: "tuple";
  readonly items: readonly Shape[];
}

export interface MapShape {
  readonly shape: "map";
  readonly key: Shape;
  readonly value: Shape;
  /** Values are plain objects; otherwise `Map`s. */
  readonly asObject: boolean;
}

export interface NullableShape {
  readonly shape: "nullable";
  readonly item: Shape;
}

export interface FieldShape {
  readonly name: string;
  /** Never nullable at the top: see `nullable`. */
  readonly type: Shape;
  readonly required: boolean;
  readonly nullable: boolean;
  /** Makes the value of a missing field, where the class does not. */
  readonly makeDefault: (() => unknown) | null;
  readonly doc: string;
}

/** Called without arguments, before the declared fields are assigned. */
export type StructClass = new () => object;

/** Compared by identity, because it may contain itself: its fields are filled in after it is made. */
export interface StructShape {
  readonly shape: "struct";
  readonly tag: string;
  /** What values are instances of; null for plain objects. */
  readonly cls: StructClass | null;
  /** Known from a contract only: fields it does not have are sent too, so that they can be refused by name. */
  readonly dynamic: boolean;
  fields: readonly FieldShape[];
  doc: string;
}

export interface EnumShape {
  readonly shape: "enum";
  readonly tag: string;
  /** The name on the wire and the value in the program. */
  readonly values: readonly { readonly name: string; readonly value: string | number }[];
  readonly doc: string;
}

/** Compared by identity, as its members are. */
export interface UnionShape {
  readonly shape: "union";
  readonly tag: string;
  members: readonly StructShape[];
}

export type Shape =
  | ScalarShape
  | ListShape
  | TupleShape
  | MapShape
  | NullableShape
  | StructShape
  | EnumShape
  | UnionShape;

const scalars = new Map<string, ScalarShape>();

export function scalar(kind: ScalarKind, integers: IntegerForm = "number"): ScalarShape {
  const key = `${kind} ${integers}`;
  let shape = scalars.get(key);
  if (shape === undefined) {
    shape = { shape: "scalar", kind, integers };
    scalars.set(key, shape);
  }
  return shape;
}

/** The shape of a field with `nullable` folded back in. */
export function fullShape(field: FieldShape): Shape {
  return field.nullable ? { shape: "nullable", item: field.type } : field.type;
}

/** The shapes directly inside `shape`. */
function children(shape: Shape): readonly Shape[] {
  switch (shape.shape) {
    case "list":
    case "nullable":
      return [shape.item];
    case "tuple":
      return shape.items;
    case "map":
      return [shape.key, shape.value];
    case "struct":
      return shape.fields.map((field) => field.type);
    case "union":
      return shape.members;
    default:
      return [];
  }
}

/** Every named shape reachable from `roots`, each once, in the order met. */
export function namedShapes(roots: readonly Shape[]): (StructShape | EnumShape | UnionShape)[] {
  const seen = new Set<Shape>();
  const found: (StructShape | EnumShape | UnionShape)[] = [];
  const waiting = [...roots].reverse();
  for (let shape = waiting.pop(); shape !== undefined; shape = waiting.pop()) {
    if (seen.has(shape)) continue;
    seen.add(shape);
    if (shape.shape === "struct" || shape.shape === "enum" || shape.shape === "union") found.push(shape);
    waiting.push(...[...children(shape)].reverse());
  }
  return found;
}

/** The name of a shape in error texts. */
export function nameOf(shape: Shape): string {
  switch (shape.shape) {
    case "scalar":
      return shape.kind;
    case "list":
      return `${shape.unique ? "set" : "list"}<${nameOf(shape.item)}>`;
    case "tuple":
      return `tuple of ${shape.items.length}`;
    case "map":
      return `map<${nameOf(shape.key)}, ${nameOf(shape.value)}>`;
    case "nullable":
      return `${nameOf(shape.item)} or null`;
    default:
      return `${shape.shape} ${shape.tag}`;
  }
}
