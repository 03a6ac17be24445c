/**
 * What the source says about a class, at run time: from the module's own registration where the register hook or the
 * Vite plugin made one, otherwise from the file that aster-gen wrote.
 *
 * A registration names classes directly. The file can only name them by module and name, so a class is looked for by
 * the module it was decorated in, and where that is not a source file (compiled code without source maps) by its name
 * and the names of its fields or methods.
 */

import { statSync } from "node:fs";
import { relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { SchemaError } from "../errors.js";
import { type GeneratedFile, generatedFor } from "./generated.js";
import { type Registration, registrations } from "./registrations.js";
import { filesOf, here } from "./stack.js";
import type { SourceMetadata, SourceNamedType, SourceService, TypeKey } from "./types.js";

/** A class as it is known here. */
// biome-ignore lint/complexity/noBannedTypes: any constructor, whatever its parameters, private ones included
export type AnyClass = Function;

/** One set of metadata, in which keys have their meaning. */
export interface MetadataSource {
  /** For error texts: the register hook's module, or the path of the generated file. */
  readonly origin: string;
  /** What a key stands for. Throws a SchemaError if nothing has it. */
  type(key: TypeKey): SourceNamedType;
  /**
   * The class that values of a struct are instances of; undefined for interfaces and type literals, whose values are plain
   * objects. Throws a SchemaError if the class has not been loaded.
   */
  classOf(key: TypeKey): AnyClass | undefined;
}

/** What the source says about one class. */
export interface Described<T> {
  readonly key: TypeKey;
  readonly description: T;
  readonly source: MetadataSource;
}

type SourceStruct = Extract<SourceNamedType, { kind: "struct" }>;

/** Remembers that a class was decorated, and by which module. `@Service` and `@WireType` call it. */
export function noteClass(cls: AnyClass): void {
  if (!notes.has(cls)) notes.set(cls, here());
}

/**
 * The methods of a service class. `decorated`: the names of its decorated methods, to see that the metadata is of this very
 * class. Undefined if no metadata has the class; throws a SchemaError if it is out of date or ambiguous.
 */
export function metadataOfService(
  cls: AnyClass,
  decorated: readonly string[] = [],
): Described<SourceService> | undefined {
  const registered = registeredFor(cls, "services");
  const found = registered ?? generatedFrom(cls, "services", (service) => methodsDiffer(cls, service, decorated));
  if (found === undefined) refuseSkipped(cls);
  return found;
}

/** The fields of a struct class. Undefined and errors as for services. */
export function metadataOfType(cls: AnyClass): Described<SourceStruct> | undefined {
  const registered = registeredFor(cls, "types");
  const found = registered ?? generatedFrom(cls, "types", (type) => fieldsDiffer(cls, type as SourceStruct));
  if (found === undefined) refuseSkipped(cls);
  return found as Described<SourceStruct> | undefined;
}

/** Classes that were decorated, with the stack of the decorator. */
const notes = new Map<AnyClass, Error>();

// ---- registrations

class RegisteredSource implements MetadataSource {
  constructor(root: string, metadata: SourceMetadata) {
    this.#root = root;
    this.#metadata = metadata;
    this.origin = root;
  }
  readonly origin: string;
  readonly #root: string;
  readonly #metadata: SourceMetadata;

  type(key: TypeKey): SourceNamedType {
    return typeIn(this.#metadata, key, this.origin);
  }

  classOf(key: TypeKey): AnyClass | undefined {
    const type = this.type(key);
    if (!isClass(type)) return undefined;
    takeRegistrations();
    const cls = classesByKey.get(`${this.#root}\0${key}`);
    if (cls === undefined) throw notLoaded(type.name, key);
    return cls;
  }
}

const skippedClasses = new Map<string, string>();

/** Says why a class is not known that was seen, and not read. */
function refuseSkipped(cls: AnyClass): void {
  const place = skippedClasses.get(cls.name);
  if (place === undefined) return;
  throw new SchemaError(
    `${cls.name}: it was not read from source (${place}), since it is not at the top level of its module; move it there, or ` +
      "give its types in the decorators",
  );
}

interface Registered {
  readonly key: TypeKey;
  readonly source: RegisteredSource;
  readonly metadata: SourceMetadata;
}

const registeredClasses = new Map<AnyClass, Registered>();
const classesByKey = new Map<string, AnyClass>();
/** Classes whose module has not run to its declaration yet. */
let pending: (Registered & { readonly root: string; readonly get: () => unknown })[] = [];
let taken = 0;

function takeRegistrations(): void {
  const all: Registration[] = registrations();
  for (; taken < all.length; taken++) {
    const { root, metadata, classes, skipped } = all[taken]!;
    for (const [name, place] of Object.entries(skipped)) skippedClasses.set(name, place);
    const source = new RegisteredSource(root, metadata);
    for (const [key, get] of Object.entries(classes)) pending.push({ key, source, metadata, root, get });
  }
  pending = pending.filter((each) => {
    let cls: unknown;
    try {
      cls = each.get();
    } catch (error) {
      if (error instanceof ReferenceError) return true; // its declaration has not run yet
      throw error;
    }
    if (typeof cls !== "function") return cls === undefined; // a `var` that has no value yet
    registeredClasses.set(cls, each);
    classesByKey.set(`${each.root}\0${each.key}`, cls);
    return false;
  });
}

function registeredFor<Part extends "types" | "services">(
  cls: AnyClass,
  part: Part,
): Described<SourceMetadata[Part][TypeKey]> | undefined {
  takeRegistrations();
  const registered = registeredClasses.get(cls);
  const description = registered?.metadata[part][registered.key];
  if (registered === undefined || description === undefined) return undefined;
  return { key: registered.key, description: description as SourceMetadata[Part][TypeKey], source: registered.source };
}

// ---- the generated file

class GeneratedSource implements MetadataSource {
  constructor(file: GeneratedFile) {
    this.#file = file;
    this.origin = file.path;
  }
  readonly origin: string;
  readonly #file: GeneratedFile;

  type(key: TypeKey): SourceNamedType {
    return typeIn(this.#file.metadata, key, this.origin);
  }

  classOf(key: TypeKey): AnyClass | undefined {
    const type = this.type(key);
    if (!isClass(type)) return undefined;
    for (const cls of notes.keys()) {
      if (cls.name !== type.name) continue;
      const described = metadataOfType(cls);
      if (described?.key === key && described.source === this) return cls;
    }
    throw notLoaded(type.name, key);
  }
}

const generatedSources = new Map<GeneratedFile, GeneratedSource>();

interface Candidate<T> {
  readonly file: GeneratedFile;
  readonly key: TypeKey;
  readonly entry: T;
}

/** The one entry of a generated file that is `cls`. `differs` says in words how an entry differs from it. */
function generatedFrom<Part extends "types" | "services">(
  cls: AnyClass,
  part: Part,
  differs: (description: SourceMetadata[Part][TypeKey]) => string | null,
): Described<SourceMetadata[Part][TypeKey]> | undefined {
  const paths = filesOf(notes.get(cls)?.stack).filter((path) => !path.startsWith(OWN_FOLDER));
  const named: Candidate<SourceMetadata[Part][TypeKey]>[] = [];
  for (const file of generatedFor(paths)) {
    for (const [key, entry] of Object.entries(file.metadata[part]) as [TypeKey, SourceMetadata[Part][TypeKey]][]) {
      if (nameOf(key) === cls.name && (!("kind" in entry) || isClass(entry))) named.push({ file, key, entry });
    }
  }
  const exact = named.filter(({ file, key }) => paths.includes(resolve(file.root, moduleOf(key))));
  const candidates = exact.length > 0 ? exact : named;
  const fitting = candidates.filter(({ entry }) => differs(entry) === null);
  // The nearest file that knows the class speaks for it.
  const nearest = fitting.filter(({ file }) => file === fitting[0]?.file);
  const found = closest(nearest, paths);
  if (found.length > 1) {
    const modules = found.map(({ key }) => moduleOf(key)).join(" and ");
    throw new SchemaError(
      `${cls.name}: ${modules} each declare a class of this name, and nothing says which one this is; run with ` +
        "--enable-source-maps and source maps beside the compiled files, or rename one of them",
    );
  }
  const only = found[0];
  if (only === undefined) {
    const other = candidates[0];
    if (other === undefined) return undefined;
    throw new SchemaError(
      `${cls.name}: ${show(other.file.path)} does not describe this class as it is (${differs(other.entry)}); ` +
        `it was generated from ${moduleOf(other.key)}: run npx aster-gen again`,
    );
  }
  warnIfOlder(only.file, moduleOf(only.key));
  let source = generatedSources.get(only.file);
  if (source === undefined) {
    source = new GeneratedSource(only.file);
    generatedSources.set(only.file, source);
  }
  return { key: only.key, description: only.entry, source };
}

/** Of several entries those whose module's path ends most like a file on the stack: `dist/a/types.js` for `src/a/types.ts`. */
function closest<T>(entries: readonly Candidate<T>[], paths: readonly string[]): readonly Candidate<T>[] {
  if (entries.length < 2) return entries;
  const parts = (path: string) =>
    path
      .replace(/\.[cm]?[jt]sx?$/, "")
      .split(/[\\/]/)
      .reverse();
  const scores = entries.map(({ key }) => {
    const module = parts(moduleOf(key));
    const lengths = paths.map((path) => {
      const file = parts(path);
      const different = module.findIndex((part, index) => part !== file[index]);
      return different === -1 ? module.length : different;
    });
    return Math.max(0, ...lengths);
  });
  const best = Math.max(...scores);
  return entries.filter((_, index) => scores[index] === best);
}

/** This package's own compiled files, which are on every stack. */
const OWN_FOLDER = fileURLToPath(new URL("..", import.meta.url));

const warned = new Set<string>();

/** Writing a file takes a moment, and so does checking out a repository. */
const CLOCK_TOLERANCE_MS = 2_000;

function warnIfOlder(file: GeneratedFile, module: string): void {
  const path = resolve(file.root, module);
  if (warned.has(path)) return;
  warned.add(path);
  const modified = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
  if (modified === undefined || modified <= file.writtenMs + CLOCK_TOLERANCE_MS) return;
  process.emitWarning(
    `${show(path)} is newer than ${show(file.path)}: if types or methods changed, run npx aster-gen again`,
    { type: "AsterWarning", code: "ASTER_STALE_METADATA" },
  );
}

// ---- comparing

function methodsDiffer(cls: AnyClass, service: SourceService, decorated: readonly string[]): string | null {
  const described = service.methods.map((method) => method.name);
  const prototype = cls.prototype as Record<string, unknown>;
  const gone = described.find((name) => typeof prototype[name] !== "function");
  if (gone !== undefined) return `it has no method \`${gone}\` now`;
  const added = decorated.find((name) => !described.includes(name));
  if (added !== undefined) return `\`${added}\` is missing there`;
  if (decorated.length === 0) return null;
  const bare = described.find((name) => !decorated.includes(name));
  return bare === undefined ? null : `\`${bare}\` is not decorated now`;
}

function fieldsDiffer(cls: AnyClass, type: SourceStruct): string | null {
  if (type.given === true) return null;
  let value: object;
  try {
    value = Reflect.construct(cls as new () => object, []) as object;
  } catch (error) {
    throw new SchemaError(`${cls.name}: its constructor must accept no arguments, and threw ${String(error)}`, {
      cause: error,
    });
  }
  const names = new Set(type.fields.map((field) => field.name));
  const added = Object.keys(value).find((name) => !names.has(name));
  if (added !== undefined) return `\`${added}\` is missing there`;
  // A field with an initialiser is always there; one that is only declared need not be.
  const gone = type.fields.find((field) => field.optional && !field.nullable && !Object.hasOwn(value, field.name));
  return gone === undefined ? null : `it has no field \`${gone.name}\` now`;
}

function isClass(type: SourceNamedType): type is SourceStruct {
  return type.kind === "struct" && type.class === true;
}

function typeIn(metadata: SourceMetadata, key: TypeKey, origin: string): SourceNamedType {
  const type = metadata.types[key];
  if (type === undefined) throw new SchemaError(`${origin}: nothing there describes ${key}; run npx aster-gen again`);
  return type;
}

function notLoaded(name: string, key: TypeKey): SchemaError {
  const module = moduleOf(key);
  return new SchemaError(
    `${name}: the class is declared in ${module}, which has not been loaded, so its values cannot be made; an import that ` +
      `is only used for types is left out of the compiled code: add \`import "…/${module.replace(/^.*\//, "")}"\``,
  );
}

function moduleOf(key: TypeKey): string {
  return key.slice(0, key.lastIndexOf("#"));
}

function nameOf(key: TypeKey): string {
  return key.slice(key.lastIndexOf("#") + 1);
}

function show(path: string): string {
  const short = relative(process.cwd(), path);
  return short.startsWith("..") ? path : short;
}
