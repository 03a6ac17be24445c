/** Classes as types: what `@WireType` recorded, joined with what the source says about their fields. */

import { SchemaError } from "../errors.js";
import { type AnyClass, type Described, type MetadataSource, metadataOfType, noteClass } from "../metadata/registry.js";
import type { SourceNamedType, SourceType, TypeKey } from "../metadata/types.js";
import { type FieldShape, type Shape, type StructClass, type StructShape, scalar, type UnionShape } from "../shapes.js";
import { recordTag } from "../tags.js";
import { byBytes } from "./model.js";

interface WireClass {
  readonly tag: string;
  /** Makes the fields that the decorator was given; null if it was given none. */
  readonly fields: ((where: string) => FieldShape[]) | null;
}

const wireClasses = new WeakMap<AnyClass, WireClass>();
const shapes = new WeakMap<AnyClass, StructShape>();

export function recordWireClass(cls: AnyClass, recorded: WireClass): void {
  wireClasses.set(cls, recorded);
  recordTag(cls, recorded.tag);
  noteClass(cls);
}

/** The shape of a class, made once. A SchemaError if nothing says what its fields are. */
export function shapeOfClass(cls: AnyClass): StructShape {
  const made = shapes.get(cls);
  if (made !== undefined) return made;
  const recorded = wireClasses.get(cls);
  const described = recorded?.fields == null ? metadataOfType(cls) : undefined;
  if (recorded?.fields == null && described === undefined) {
    throw new SchemaError(
      `${cls.name}: the types of its fields are not known, since TypeScript leaves none at run time; run npx aster-gen, or ` +
        "start with node --import @aster-rpc/aster/register, or give them: " +
        `@WireType("your-area/${cls.name}", { field: t.string, ... })`,
    );
  }
  const shape: StructShape = {
    shape: "struct",
    tag: recorded?.tag ?? described?.description.tag ?? untagged(cls.name),
    cls: checkedConstructor(cls),
    dynamic: false,
    fields: [],
    doc: described?.description.doc ?? "",
  };
  shapes.set(cls, shape); // before its fields: it may contain itself
  try {
    shape.fields = recorded?.fields != null ? recorded.fields(cls.name) : fieldsOf(described!, cls.name);
  } catch (error) {
    shapes.delete(cls);
    throw error;
  }
  return shape;
}

function checkedConstructor(cls: AnyClass): StructClass {
  try {
    new (cls as StructClass)();
  } catch (error) {
    throw new SchemaError(
      `${cls.name}: values that arrive are made by \`new ${cls.name}()\` before their fields are set, and that throws ` +
        `${String(error)}; let its constructor do without arguments`,
      { cause: error },
    );
  }
  return cls as StructClass;
}

const warned = new Set<string>();

function untagged(name: string): string {
  if (!warned.has(name)) {
    warned.add(name);
    process.emitWarning(
      `${name} has no @WireType, so its name on the wire is "${name}" and renaming it would change the contract; give it ` +
        `one: @WireType("your-area/${name}")`,
      { type: "AsterWarning", code: "ASTER_UNTAGGED_TYPE" },
    );
  }
  return name;
}

// ---------------------------------------------------------------- from the source

/** Named types of one source that have no class: interfaces, enums, unions. */
const named = new WeakMap<MetadataSource, Map<TypeKey, Shape>>();

/** The shape of a type as the source says it. */
export function shapeOfSource(type: SourceType, source: MetadataSource): Shape {
  switch (type.t) {
    case "list":
      return {
        shape: "list",
        item: shapeOfSource(type.item, source),
        unique: type.unique === true,
        asSet: type.unique === true,
      };
    case "tuple":
      return { shape: "tuple", items: type.items.map((item) => shapeOfSource(item, source)) };
    case "map":
      return {
        shape: "map",
        key: shapeOfSource(type.key, source),
        value: shapeOfSource(type.value, source),
        asObject: type.object === true,
      };
    case "nullable":
      return { shape: "nullable", item: shapeOfSource(type.item, source) };
    case "ref":
      return shapeOfKey(type.key, source);
    default:
      return scalar(type.t, type.bigint === true ? "bigint" : "number");
  }
}

function shapeOfKey(key: TypeKey, source: MetadataSource): Shape {
  let made = named.get(source);
  if (made === undefined) {
    made = new Map();
    named.set(source, made);
  }
  const known = made.get(key);
  if (known !== undefined) return known;
  const type = source.type(key);
  if (type.kind === "struct") {
    const cls = source.classOf(key);
    return cls === undefined ? plainStruct(type, key, source, made) : shapeOfClass(cls);
  }
  if (type.kind === "enum") {
    const shape: Shape = {
      shape: "enum",
      tag: type.tag ?? untagged(type.name),
      values: type.values,
      doc: type.doc ?? "",
    };
    made.set(key, shape);
    return shape;
  }
  const union: UnionShape = { shape: "union", tag: type.tag ?? "", members: [] };
  made.set(key, union); // before its members: one may contain the union
  const members = type.members.map((member) => shapeOfKey(member, source) as StructShape);
  const shape = {
    ...union,
    tag:
      type.tag ??
      members
        .map((member) => member.tag)
        .sort(byBytes)
        .join(".or."),
  };
  return Object.assign(union, shape, { members });
}

function plainStruct(
  type: Extract<SourceNamedType, { kind: "struct" }>,
  key: TypeKey,
  source: MetadataSource,
  made: Map<TypeKey, Shape>,
): StructShape {
  const shape: StructShape = {
    shape: "struct",
    tag: type.tag ?? untagged(type.name),
    cls: null,
    dynamic: false,
    fields: [],
    doc: type.doc ?? "",
  };
  made.set(key, shape);
  shape.fields = fieldsOf({ key, description: type, source }, type.name);
  return shape;
}

function fieldsOf(described: Described<Extract<SourceNamedType, { kind: "struct" }>>, where: string): FieldShape[] {
  const { description, source } = described;
  return description.fields.map((field) => {
    const shape = at(`${where}.${field.name}`, () => shapeOfSource(field.type, source));
    const nullable = shape.shape === "nullable";
    return {
      name: field.name,
      type: nullable ? shape.item : shape,
      required: !field.optional,
      nullable: field.nullable || nullable,
      makeDefault: null,
      doc: field.doc ?? "",
    };
  });
}

/** Says which field led to an error of a type further down. */
function at<T>(where: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (error instanceof SchemaError && !error.message.startsWith(where)) error.message = `${where}: ${error.message}`;
    throw error;
  }
}
