/** From source files to metadata. */

import { readFileSync } from "node:fs";
import type { Class } from "oxc-parser";

import type { SourceMetadata, SourceNamedType, SourceService, TypeKey } from "../metadata/types.js";
import { type Modules, mayDecorate, placeIn, type SourceModule } from "./modules.js";
import { type Place, Problems, SourceError } from "./problems.js";
import { type Inferred, Reader, type Scope } from "./reader.js";
import { givesAllTypes, readServices } from "./services.js";

export interface Generated {
  readonly metadata: SourceMetadata;
  /** Numbers whose width was inferred, in the order of the source. */
  readonly inferred: readonly Inferred[];
  /** Classes that were left out, since they are inside functions or expressions. */
  readonly skipped: readonly { readonly place: Place; readonly name: string }[];
  /** Modules that declare classes among the types and services, by key. */
  readonly classes: ReadonlyMap<TypeKey, SourceModule>;
}

export interface GenerateOptions {
  /** Paths in error texts are relative to it. */
  readonly folder: string;
  /** The text of a file that differs from what is on disk, by path. */
  readonly texts?: ReadonlyMap<string, string>;
}

/**
 * The metadata of all services and wire types that `files` declare, with everything they reach. Throws a SourceError with all that
 * is wrong.
 */
export function generate(modules: Modules, files: readonly string[], options: GenerateOptions): Generated {
  const reader = new Reader(modules, new Problems());
  const services = new Map<TypeKey, SourceService>();
  const skipped: { place: Place; name: string }[] = [];
  for (const file of files) {
    const text = options.texts?.get(file) ?? readFileSync(file, "utf8");
    if (!mayDecorate(text)) continue;
    const module = modules.read(file, reader.problems, text);
    if (module.declarationFile) continue;
    for (const [key, service] of readServices(reader, module)) {
      services.set(key, service);
      reader.classes.set(key, module);
    }
    readWireTypes(reader, module);
    for (const node of module.nested) {
      if (!needsTypes(reader, module, node)) continue;
      skipped.push({ place: placeIn(module, node), name: node.id?.name ?? "a class without a name" });
    }
  }
  reader.finish();
  if (reader.problems.count > 0) throw new SourceError(reader.problems.lines(options.folder));
  const metadata: SourceMetadata = {
    format: 1,
    types: sorted(Object.entries(reader.types)) as Record<TypeKey, SourceNamedType>,
    services: sorted(services) as Record<TypeKey, SourceService>,
  };
  return { metadata, inferred: [...reader.inferred.values()].sort(byPlace), skipped, classes: reader.classes };
}

/** Whether a class is one of ours without types of its own. */
function needsTypes(reader: Reader, module: SourceModule, node: Class): boolean {
  const scope: Scope = { module, parameters: new Map() };
  if (reader.decoration(node.decorators, scope, "Service") !== undefined) return !givesAllTypes(reader, node, scope);
  return reader.decoration(node.decorators, scope, "WireType")?.fields === false;
}

/** Classes marked `@WireType` that no service of this run may reach: for typed clients, and services elsewhere. */
function readWireTypes(reader: Reader, module: SourceModule): void {
  const scope: Scope = { module, parameters: new Map() };
  for (const [name, declarations] of module.declarations) {
    const declared = declarations.find((each) => each.node.type === "ClassDeclaration");
    if (declared?.node.type !== "ClassDeclaration") continue;
    if (reader.decoration(declared.node.decorators, scope, "WireType") === undefined) continue;
    reader.wireClass({ kind: "declared", module, name, declarations }, name, scope, declared.node);
  }
}

function byPlace(a: { readonly place: Place }, b: { readonly place: Place }): number {
  return a.place.file < b.place.file ? -1 : a.place.file > b.place.file ? 1 : a.place.offset - b.place.offset;
}

function sorted<T>(entries: Iterable<[string, T]>): Record<string, T> {
  return Object.fromEntries([...entries].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
}
