/** Which file an import means: relative paths, tsconfig `paths`, package.json `imports`, and types of packages. */

import { builtinModules } from "node:module";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { createPathsMatcher, getTsconfig, type PathsMatcher, type TsConfigResult } from "get-tsconfig";
import { ResolverFactory } from "oxc-resolver";

/** The name this package is imported by. */
const PACKAGE = "@aster-rpc/aster";

/** This package's own `src` or `dist`, for programs that import it by path. */
const OWN_FOLDER = fileURLToPath(new URL("..", import.meta.url));

export type Target =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "aster" }
  | { readonly kind: "node" }
  | { readonly kind: "missing" };

export class Resolver {
  /** By the conditions that tsconfig.json adds to those of package.json `exports`. */
  readonly #resolvers = new Map<string, ResolverFactory[]>();
  readonly #tsconfigs = new Map<string, TsConfigResult | null>();
  readonly #matchers = new Map<string, PathsMatcher | null>();
  readonly #found = new Map<string, Target>();
  readonly #builtins = new Set(builtinModules);

  /** What `specifier` means in `file`, as TypeScript sees it: sources are preferred to what is compiled from them. */
  resolve(file: string, specifier: string): Target {
    const key = `${dirname(file)}\0${specifier}`;
    let target = this.#found.get(key);
    if (target === undefined) {
      target = this.#resolve(file, specifier);
      this.#found.set(key, target);
    }
    return target;
  }

  #resolve(file: string, specifier: string): Target {
    if (specifier === PACKAGE || specifier.startsWith(`${PACKAGE}/`)) return { kind: "aster" };
    if (specifier.startsWith("node:") || this.#builtins.has(specifier)) return { kind: "node" };
    for (const candidate of [...this.#mapped(file, specifier), specifier]) {
      const path = this.#path(file, candidate);
      if (path === undefined) continue;
      return path.startsWith(OWN_FOLDER) ? { kind: "aster" } : { kind: "file", path };
    }
    return { kind: "missing" };
  }

  /** The file that tsconfig `paths` or `baseUrl` send a bare specifier to, if one is there. */
  mapped(file: string, specifier: string): string | undefined {
    for (const candidate of this.#mapped(file, specifier)) {
      const path = this.#path(file, candidate);
      if (path !== undefined) return path;
    }
    return undefined;
  }

  #path(file: string, specifier: string): string | undefined {
    const custom = this.tsconfig(file)?.config.compilerOptions?.customConditions ?? [];
    const key = custom.join(" ");
    let resolvers = this.#resolvers.get(key);
    if (resolvers === undefined) {
      // Packages for `require` only have types too.
      resolvers = ["import", "require"].map(
        (form) => new ResolverFactory({ conditionNames: [...custom, "types", form, "node"] }),
      );
      this.#resolvers.set(key, resolvers);
    }
    for (const resolver of resolvers) {
      const { path } = resolver.resolveDtsSync(file, specifier);
      if (path !== undefined) return path;
    }
    return undefined;
  }

  /** Where tsconfig `paths` and `baseUrl` send a bare specifier. */
  #mapped(file: string, specifier: string): string[] {
    if (/^(?:\.{1,2}(?:\/|$)|\/|#)/.test(specifier)) return [];
    const tsconfig = this.tsconfig(file);
    if (tsconfig === null) return [];
    let matcher = this.#matchers.get(tsconfig.path);
    if (matcher === undefined) {
      matcher = createPathsMatcher(tsconfig);
      this.#matchers.set(tsconfig.path, matcher);
    }
    return matcher?.(specifier) ?? [];
  }

  /** The nearest tsconfig.json, with what it extends. */
  tsconfig(file: string): TsConfigResult | null {
    const folder = dirname(file);
    let found = this.#tsconfigs.get(folder);
    if (found === undefined) {
      found = getTsconfig(file);
      this.#tsconfigs.set(folder, found);
    }
    return found;
  }

  /** Files may have come or gone. */
  forget(): void {
    this.#resolvers.clear();
    this.#tsconfigs.clear();
    this.#matchers.clear();
    this.#found.clear();
  }
}
