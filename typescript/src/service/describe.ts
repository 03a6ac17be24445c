/** Shapes to the core's contract description, and a contract description to shapes for dynamic proxies. */

import { decodeAny } from "../codec/codec.js";
import type { EnumShape, FieldShape, Shape, StructShape, UnionShape } from "../shapes.js";
import { namedShapes, type ScalarKind, scalar } from "../shapes.js";
import type { AccessRule, MethodSpec, Pattern, ServiceSpec } from "./model.js";

type Described = Record<string, unknown>;

/** The description to hand to the core, which validates, normalises and hashes it. */
export function describeService(spec: ServiceSpec): Described {
  const methods = spec.methods();
  const named = namedShapes(methods.flatMap((method) => [method.request, method.response]));
  return {
    name: spec.name,
    version: spec.version,
    scope: spec.session ? "session" : "shared",
    methods: methods.map((method) => ({
      name: method.name,
      pattern: method.pattern,
      request: describeType(method.request),
      response: describeType(method.response),
      idempotent: method.idempotent,
    })),
    types: named.map(describeNamed),
    manifest: describeManifest(spec, methods, named),
  };
}

function describeType(shape: Shape): Described {
  switch (shape.shape) {
    case "scalar":
      return { t: shape.kind };
    case "list":
      return { t: "list", item: describeType(shape.item), unique: shape.unique };
    case "tuple":
      return { t: "tuple", items: shape.items.map(describeType) };
    case "map":
      return { t: "map", key: describeType(shape.key), value: describeType(shape.value) };
    case "nullable":
      return { t: "nullable", item: describeType(shape.item) };
    default:
      return { t: "ref", tag: shape.tag };
  }
}

function describeNamed(shape: StructShape | EnumShape | UnionShape): Described {
  if (shape.shape === "enum") return { kind: "enum", tag: shape.tag, values: shape.values.map((each) => each.name) };
  if (shape.shape === "union") return { kind: "union", tag: shape.tag, members: shape.members.map((each) => each.tag) };
  const fields = shape.fields.map((field) => ({
    name: field.name,
    type: describeType(field.type),
    required: field.required,
    nullable: field.nullable,
  }));
  return { kind: "struct", tag: shape.tag, fields };
}

function describeManifest(
  spec: ServiceSpec,
  methods: readonly MethodSpec[],
  named: readonly (StructShape | EnumShape | UnionShape)[],
): Described {
  const ofMethods: Record<string, Described> = {};
  for (const method of methods) {
    const entry: Described = {};
    if (method.doc !== "") entry.doc = method.doc;
    if (method.timeoutMs !== null) entry.timeout_ms = method.timeoutMs;
    if (Object.keys(method.metadata).length > 0) entry.metadata = method.metadata;
    if (method.requires !== null) entry.requires = describeRule(method.requires);
    if (Object.keys(entry).length > 0) ofMethods[method.name] = entry;
  }
  const ofTypes: Record<string, Described> = {};
  for (const shape of named) {
    const entry: Described = {};
    if (shape.shape !== "union" && shape.doc !== "") entry.doc = shape.doc;
    if (shape.shape === "struct") {
      const fields = describeFields(shape);
      if (Object.keys(fields).length > 0) entry.fields = fields;
    }
    if (Object.keys(entry).length > 0) ofTypes[shape.tag] = entry;
  }
  const manifest: Described = { methods: ofMethods, types: ofTypes };
  if (spec.doc() !== "") manifest.doc = spec.doc();
  if (Object.keys(spec.metadata).length > 0) manifest.metadata = spec.metadata;
  if (spec.requires !== null) manifest.requires = describeRule(spec.requires);
  return manifest;
}

function describeFields(shape: StructShape): Record<string, Described> {
  // What a class puts into a new instance is the default of its fields.
  const sample = shape.cls === null ? null : (new shape.cls() as Described);
  const found: Record<string, Described> = {};
  for (const field of shape.fields) {
    const entry: Described = {};
    if (field.doc !== "") entry.doc = field.doc;
    const value = field.makeDefault !== null ? field.makeDefault() : sample?.[field.name];
    if (!field.required && canShow(value)) entry.default = shownDefault(field.type, value);
    if (Object.keys(entry).length > 0) found[field.name] = entry;
  }
  return found;
}

function canShow(value: unknown): boolean {
  return value === null || ["string", "boolean", "number", "bigint"].includes(typeof value);
}

function shownDefault(type: Shape, value: unknown): unknown {
  return type.shape === "enum" ? (type.values.find((each) => each.value === value)?.name ?? value) : value;
}

function describeRule(rule: AccessRule): unknown {
  return rule.capabilities.length === 1 ? rule.capabilities[0] : { [rule.kind]: rule.capabilities };
}

// ---------------------------------------------------------------- reading

/** One method as a contract that came over the wire describes it. */
export interface RemoteMethodSpec {
  readonly name: string;
  readonly pattern: Pattern;
  readonly request: Shape;
  readonly response: Shape;
}

export interface RemoteService {
  readonly session: boolean;
  readonly methods: ReadonlyMap<string, RemoteMethodSpec>;
}

interface GivenType {
  readonly t: ScalarKind | "list" | "tuple" | "map" | "nullable" | "ref";
  readonly item: GivenType;
  readonly items: readonly GivenType[];
  readonly key: GivenType;
  readonly value: GivenType;
  readonly unique?: boolean;
  readonly tag: string;
}

interface GivenNamed {
  readonly kind: "struct" | "enum" | "union";
  readonly tag: string;
  readonly fields: readonly { name: string; type: GivenType; required?: boolean; nullable?: boolean }[];
  readonly values: readonly string[];
  readonly members: readonly string[];
}

interface GivenService {
  readonly scope: "shared" | "session";
  readonly methods: readonly {
    name: string;
    pattern: Pattern;
    request: GivenType;
    response: GivenType;
  }[];
  readonly types: readonly GivenNamed[];
}

/** What a description says, its values as a program without the classes sees them. */
export function readService(description: Uint8Array): RemoteService {
  const given = decodeAny(description) as GivenService;
  const reader = new TypeReader(given.types);
  const methods = new Map<string, RemoteMethodSpec>();
  for (const method of given.methods) {
    methods.set(method.name, {
      name: method.name,
      pattern: method.pattern,
      request: reader.type(method.request),
      response: reader.type(method.response),
    });
  }
  return { session: given.scope === "session", methods };
}

class TypeReader {
  private readonly given: ReadonlyMap<string, GivenNamed>;
  private readonly made = new Map<string, StructShape | EnumShape | UnionShape>();

  constructor(given: readonly GivenNamed[]) {
    this.given = new Map(given.map((each) => [each.tag, each]));
  }

  type(given: GivenType): Shape {
    switch (given.t) {
      case "list":
        return { shape: "list", item: this.type(given.item), unique: given.unique === true, asSet: false };
      case "tuple":
        return { shape: "tuple", items: given.items.map((item) => this.type(item)) };
      case "map": {
        const key = this.type(given.key);
        const text = key.shape === "enum" || (key.shape === "scalar" && (key.kind === "string" || key.kind === "uuid"));
        return { shape: "map", key, value: this.type(given.value), asObject: text };
      }
      case "nullable":
        return { shape: "nullable", item: this.type(given.item) };
      case "ref":
        return this.named(given.tag);
      default:
        return scalar(given.t, "either");
    }
  }

  private named(tag: string): StructShape | EnumShape | UnionShape {
    const made = this.made.get(tag);
    if (made !== undefined) return made;
    const given = this.given.get(tag)!; // the core has checked the references
    if (given.kind === "enum") {
      const values = given.values.map((name) => ({ name, value: name }));
      const shape: EnumShape = { shape: "enum", tag, values, doc: "" };
      this.made.set(tag, shape);
      return shape;
    }
    if (given.kind === "union") {
      const shape: UnionShape = { shape: "union", tag, members: [] };
      this.made.set(tag, shape);
      shape.members = given.members.map((member) => this.named(member) as StructShape);
      return shape;
    }
    const shape: StructShape = { shape: "struct", tag, cls: null, dynamic: true, fields: [], doc: "" };
    this.made.set(tag, shape); // before its fields: it may contain itself
    shape.fields = given.fields.map(
      (field): FieldShape => ({
        name: field.name,
        type: this.type(field.type),
        required: field.required === true,
        nullable: field.nullable === true,
        makeDefault: null,
        doc: "",
      }),
    );
    return shape;
  }
}
