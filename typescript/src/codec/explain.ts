/**
 * Finds the path of a value that could not be written or read. Compiled nodes keep no path, since that would cost every
 * message; it is worked out when it is needed.
 */

import { fullShape, type Shape, type StructShape } from "../shapes.js";
import { nodeOf } from "./compile.js";
import type { DecodeFault } from "./reader.js";
import * as read from "./reader.js";
import { written } from "./writer.js";

const DEPTH = 64;

/** `.name` for a field, `[3]` for an item, `["key"]` for a value of a map. */
function keyed(key: unknown): string {
  const text = typeof key === "string" ? JSON.stringify(key) : String(key);
  return `[${text.length > 64 ? `${text.slice(0, 64)}…` : text}]`;
}

/** "`count` at $.count: message" or "value at $.tags[3]: message", as the core writes it. */
function located(path: string, message: string): string {
  const name = /\.([^.[\]]+)$/.exec(path)?.[1];
  return `${name === undefined ? "value" : `\`${name}\``} at ${path}: ${message}`;
}

/** What is wrong with `value`, with its path. */
export function explainEncode(shape: Shape, value: unknown, error: Error): string {
  // A value that contains itself is written until the stack ends.
  if (error instanceof RangeError) return located("$", `nested more than ${DEPTH} levels deep`);
  const [path, message] = innermost(shape, value, "$", error.message);
  return located(path, message);
}

function innermost(shape: Shape, value: unknown, path: string, message: string): [string, string] {
  for (const [part, partShape, partPath] of parts(shape, value, path)) {
    const node = nodeOf(partShape);
    try {
      written((each) => node.write(each), part);
    } catch (error) {
      return innermost(partShape, part, partPath, (error as Error).message);
    }
  }
  return [path, message];
}

const ANY: Shape = { shape: "scalar", kind: "any", integers: "either" };

/** The parts of a value, with the shape and the path of each. */
function* parts(shape: Shape, value: unknown, path: string): Generator<[unknown, Shape, string]> {
  if (typeof value !== "object" || value === null) return;
  switch (shape.shape) {
    case "nullable":
      yield* parts(shape.item, value, path);
      return;
    case "struct":
      yield* fieldsOf(shape, value, path);
      return;
    case "union":
      for (const member of shape.members) {
        const isMember =
          (member.cls !== null && value instanceof member.cls) || (value as { $type?: unknown }).$type === member.tag;
        if (isMember) yield* fieldsOf(member, value, path);
      }
      return;
    case "tuple":
      if (Array.isArray(value))
        for (const [at, item] of shape.items.entries()) yield [value[at], item, `${path}[${at}]`];
      return;
    default:
      yield* entriesOf(shape, value, path);
  }
}

function* fieldsOf(shape: StructShape, value: object, path: string): Generator<[unknown, Shape, string]> {
  const object = value as Record<string, unknown>;
  const declared = new Set<string>();
  for (const field of shape.fields) {
    declared.add(field.name);
    if (object[field.name] !== undefined) yield [object[field.name], fullShape(field), `${path}.${field.name}`];
  }
  if (!shape.dynamic) return;
  for (const name of Object.keys(object)) if (!declared.has(name)) yield [object[name], ANY, `${path}.${name}`];
}

function* entriesOf(shape: Shape, value: object, path: string): Generator<[unknown, Shape, string]> {
  const item = shape.shape === "list" ? shape.item : shape.shape === "map" ? shape.value : ANY;
  if (Array.isArray(value) || value instanceof Set) {
    for (const [at, each] of [...value].entries()) yield [each, item, `${path}[${at}]`];
  } else {
    const entries = value instanceof Map ? value.entries() : Object.entries(value);
    for (const [key, each] of entries) yield [each, item, `${path}${keyed(key)}`];
  }
}

/** What is wrong with `payload`, with the path of the value that `fault` found. */
export function explainDecode(shape: Shape, payload: Uint8Array, fault: DecodeFault): string {
  let path = "$";
  try {
    read.readWhole(payload, () => {
      path = pathTo(shape, fault.position, "$") ?? "$";
    });
  } catch {
    // The walk stops where the fault is; the path is known by then.
  }
  return located(path, fault.message);
}

/** The path of the value at `target`, which is at or after the value at hand; passes over that value otherwise. */
function pathTo(shape: Shape | null, target: number, path: string): string | null {
  const start = read.position();
  if (start === target) return path;
  read.skip();
  const after = read.position();
  if (target >= after) return null;
  return read.revisit(start, () => inside(shape, target, path)) ?? path;
}

function inside(shape: Shape | null, target: number, path: string): string | null {
  const kind = shape?.shape === "nullable" ? shape.item : shape;
  const map = read.mapCount();
  if (map !== null) {
    for (let entry = 0; entry < map; entry++) {
      const key = read.readAny();
      const field = fieldNamed(kind, key);
      const below = field !== null ? field : kind?.shape === "map" ? kind.value : null;
      const found = pathTo(below, target, field !== null ? `${path}.${key}` : `${path}${keyed(key)}`);
      if (found !== null) return found;
    }
    return null;
  }
  const list = read.listCount() ?? 0;
  for (let at = 0; at < list; at++) {
    const below = kind?.shape === "list" ? kind.item : kind?.shape === "tuple" ? (kind.items[at] ?? null) : null;
    const found = pathTo(below, target, `${path}[${at}]`);
    if (found !== null) return found;
  }
  return null;
}

function fieldNamed(shape: Shape | null, key: unknown): Shape | null {
  const structs = shape?.shape === "struct" ? [shape] : shape?.shape === "union" ? shape.members : [];
  for (const struct of structs) {
    const field = struct.fields.find((each) => each.name === key);
    if (field !== undefined) return field.type;
  }
  return null;
}
