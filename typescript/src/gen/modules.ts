/** Source files as the names they declare, import and export. Nothing here knows what a service is. */

import { readFileSync, statSync } from "node:fs";
import { relative, sep } from "node:path";
import {
  type Class,
  type Comment,
  type ExportSpecifier,
  type ImportDeclaration,
  type ModuleExportName,
  parseSync,
  type Statement,
  type TSEnumDeclaration,
  type TSInterfaceDeclaration,
  type TSTypeAliasDeclaration,
  type VariableDeclarator,
  Visitor,
} from "oxc-parser";

import type { Place, Problems } from "./problems.js";
import { Resolver } from "./resolve.js";

export type Declaration =
  | Class
  | TSInterfaceDeclaration
  | TSTypeAliasDeclaration
  | TSEnumDeclaration
  | VariableDeclarator;

/** A name that a statement declares; `start` is where its comment would end. */
export interface Declared {
  readonly node: Declaration;
  readonly start: number;
}

/** `name` is null for `import * as`. */
interface Import {
  readonly specifier: string;
  readonly name: string | null;
}

type Export = { readonly local: string } | Import;

export interface SourceModule {
  readonly path: string;
  /** Relative to the root, with `/`: the first part of type keys. */
  readonly name: string;
  readonly text: string;
  /** A `.d.ts`: decorators and initialisers are not in it. */
  readonly declarationFile: boolean;
  readonly esm: boolean;
  /** What the module declares at its top level. Interfaces may be declared in several parts. */
  readonly declarations: ReadonlyMap<string, readonly Declared[]>;
  readonly imports: ReadonlyMap<string, Import>;
  readonly exports: ReadonlyMap<string, Export>;
  /** The specifiers of `export * from`. */
  readonly stars: readonly string[];
  readonly comments: readonly Comment[];
  /** Decorated classes that are not declared at the top level. */
  readonly nested: readonly Class[];
  readonly syntaxErrors: readonly { readonly start: number; readonly message: string }[];
}

/** What a name stands for. */
export type Entity =
  | {
      readonly kind: "declared";
      readonly module: SourceModule;
      readonly name: string;
      readonly declarations: readonly Declared[];
    }
  | { readonly kind: "aster"; readonly name: string }
  | { readonly kind: "node"; readonly name: string }
  | { readonly kind: "global"; readonly name: string }
  | { readonly kind: "namespace"; readonly of: SourceModule | "aster" | "node" }
  /** Imported, and not found: why. */
  | { readonly kind: "missing"; readonly why: string };

interface Cached {
  readonly module: SourceModule;
  readonly modifiedMs: number;
}

/** The modules of one project, read when they are asked for and kept until their file changes. */
export class Modules {
  readonly root: string;
  readonly resolver: Resolver = new Resolver();
  readonly #modules = new Map<string, Cached>();

  constructor(root: string) {
    this.root = root;
  }

  /** The module of a file. Syntax errors are added to `problems`. */
  read(path: string, problems: Problems, text?: string): SourceModule {
    const cached = this.#modules.get(path);
    const modifiedMs = statSync(path).mtimeMs;
    const fresh = cached?.modifiedMs === modifiedMs && (text === undefined || cached.module.text === text);
    const module = fresh ? cached.module : this.#parse(path, text ?? readFileSync(path, "utf8"));
    if (!fresh) this.#modules.set(path, { module, modifiedMs });
    // What others published is theirs to mend.
    if (!module.declarationFile) {
      for (const error of module.syntaxErrors) problems.add(placeIn(module, error), error.message);
    }
    return module;
  }

  #parse(path: string, text: string): SourceModule {
    const declarationFile = /\.d\.[cm]?ts$/.test(path);
    const parsed = parseSync(path, text, {
      lang: declarationFile ? "dts" : /\.[cm]?tsx$/.test(path) ? "tsx" : "ts",
      astType: "ts",
      sourceType: path.endsWith(".cts") ? "unambiguous" : "module",
      preserveParens: false,
    });
    const names = new Names();
    for (const statement of parsed.program.body) names.take(statement as Statement);
    const nested: Class[] = [];
    const visit = (node: Class) => {
      const declared = node.id === null ? undefined : names.declarations.get(node.id.name);
      if (node.decorators.length > 0 && !declared?.some((each) => each.node === node)) nested.push(node);
    };
    if (mayDecorate(text)) new Visitor({ ClassDeclaration: visit, ClassExpression: visit }).visit(parsed.program);
    return {
      path,
      name: relative(this.root, path).split(sep).join("/"),
      text,
      declarationFile,
      esm: parsed.module.hasModuleSyntax,
      comments: parsed.comments,
      syntaxErrors: parsed.errors.map((each) => ({ start: each.labels[0]?.start ?? 0, message: each.message })),
      nested,
      ...names,
    };
  }

  /** What a name in a module's text stands for. */
  lookup(module: SourceModule, name: string, problems: Problems): Entity {
    const declarations = module.declarations.get(name);
    if (declarations !== undefined) return { kind: "declared", module, name, declarations };
    const imported = module.imports.get(name);
    if (imported === undefined) return { kind: "global", name };
    return this.#imported(module, imported, problems, new Set());
  }

  /** What a module exports under a name; undefined if it does not. */
  exported(module: SourceModule, name: string, problems: Problems): Entity | undefined {
    return this.#exported(module, name, problems, new Set());
  }

  #exported(module: SourceModule, name: string, problems: Problems, seen: Set<string>): Entity | undefined {
    const key = `${module.path}\0${name}`;
    if (seen.has(key)) return undefined; // modules that re-export each other
    seen.add(key);
    const found = module.exports.get(name);
    if (found !== undefined) {
      if ("specifier" in found) return this.#imported(module, found, problems, seen);
      const declarations = module.declarations.get(found.local);
      if (declarations !== undefined) return { kind: "declared", module, name: found.local, declarations };
      const imported = module.imports.get(found.local);
      return imported === undefined ? undefined : this.#imported(module, imported, problems, seen);
    }
    if (name === "default") return undefined;
    for (const specifier of module.stars) {
      const target = this.resolver.resolve(module.path, specifier);
      // Whether the package has the name is seen where it is used.
      if (target.kind === "aster" && ASTER_NAMES.has(name)) return { kind: "aster", name };
      if (target.kind !== "file") continue;
      const entity = this.#exported(this.read(target.path, problems), name, problems, seen);
      if (entity !== undefined) return entity;
    }
    return undefined;
  }

  #imported(module: SourceModule, imported: Import, problems: Problems, seen: Set<string>): Entity {
    const target = this.resolver.resolve(module.path, imported.specifier);
    switch (target.kind) {
      case "missing":
        return { kind: "missing", why: `\`${imported.specifier}\` cannot be found` };
      case "aster":
      case "node":
        return imported.name === null
          ? { kind: "namespace", of: target.kind }
          : { kind: target.kind, name: imported.name };
      case "file": {
        if (!/\.[cm]?tsx?$/.test(target.path)) {
          return { kind: "missing", why: `\`${imported.specifier}\` is ${target.path}, which has no types` };
        }
        const other = this.read(target.path, problems);
        if (imported.name === null) return { kind: "namespace", of: other };
        const entity = this.#exported(other, imported.name, problems, seen);
        return entity ?? { kind: "missing", why: `\`${imported.specifier}\` does not export \`${imported.name}\`` };
      }
    }
  }

  /** Files may have come or gone. */
  forget(): void {
    this.resolver.forget();
  }
}

/** What this package exports that means something in source, for `export * from "@aster-rpc/aster"`. */
export const ASTER_NAMES: ReadonlySet<string> = new Set(
  (
    "Service Rpc ServerStream ClientStream BidiStream WireType CallContext " +
    "i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 duration uuid"
  ).split(" "),
);

/** Whether there may be a decorator in a text, which is cheaper to see than to parse it. */
export function mayDecorate(text: string): boolean {
  return text.includes("@");
}

export function placeIn(module: SourceModule, at: { readonly start: number }): Place {
  return { file: module.path, text: module.text, offset: at.start };
}

/** The tables of a module, filled statement by statement. */
class Names {
  readonly declarations: Map<string, Declared[]> = new Map();
  readonly imports: Map<string, Import> = new Map();
  readonly exports: Map<string, Export> = new Map();
  readonly stars: string[] = [];

  take(statement: Statement): void {
    switch (statement.type) {
      case "ImportDeclaration":
        this.#import(statement);
        return;
      case "ExportAllDeclaration": {
        const specifier = statement.source.value;
        if (statement.exported === null) this.stars.push(specifier);
        else this.exports.set(nameOf(statement.exported), { specifier, name: null });
        return;
      }
      case "ExportNamedDeclaration": {
        if (statement.declaration !== null) {
          for (const name of this.#declare(statement.declaration, statement.start)) {
            this.exports.set(name, { local: name });
          }
        }
        for (const each of statement.specifiers) this.#export(each, statement.source?.value);
        return;
      }
      case "ExportDefaultDeclaration": {
        const declaration = statement.declaration;
        if (declaration.type === "Identifier") {
          this.exports.set("default", { local: declaration.name });
        } else if (declaration.type === "ClassDeclaration" || declaration.type === "TSInterfaceDeclaration") {
          for (const name of this.#declare(declaration, statement.start)) this.exports.set("default", { local: name });
        }
        return;
      }
      default:
        this.#declare(statement, statement.start);
    }
  }

  #import(statement: ImportDeclaration): void {
    const specifier = statement.source.value;
    for (const each of statement.specifiers) {
      const name =
        each.type === "ImportNamespaceSpecifier"
          ? null
          : each.type === "ImportDefaultSpecifier"
            ? "default"
            : nameOf(each.imported);
      this.imports.set(each.local.name, { specifier, name });
    }
  }

  #export(each: ExportSpecifier, specifier: string | undefined): void {
    const exported = nameOf(each.exported);
    const local = nameOf(each.local);
    this.exports.set(exported, specifier === undefined ? { local } : { specifier, name: local });
  }

  /** Returns the names declared. */
  #declare(node: Statement, start: number): string[] {
    switch (node.type) {
      case "ClassDeclaration":
      case "TSInterfaceDeclaration":
      case "TSTypeAliasDeclaration":
      case "TSEnumDeclaration": {
        if (node.id === null) return [];
        this.#add(node.id.name, { node, start });
        return [node.id.name];
      }
      case "VariableDeclaration": {
        const names: string[] = [];
        for (const each of node.declarations) {
          if (each.id.type !== "Identifier") continue;
          this.#add(each.id.name, { node: each, start });
          names.push(each.id.name);
        }
        return names;
      }
      default:
        return [];
    }
  }

  #add(name: string, declared: Declared): void {
    const already = this.declarations.get(name);
    if (already === undefined) this.declarations.set(name, [declared]);
    else already.push(declared);
  }
}

function nameOf(name: ModuleExportName): string {
  return name.type === "Literal" ? name.value : name.name;
}
