/**
 * The Vite plugin, which also serves Vitest and Rollup: programs that are built or tested need no run of aster-gen.
 *
 * ```ts
 * import aster from "@aster-rpc/aster/vite";
 * export default defineConfig({ plugins: [aster()] });
 * ```
 */

import { resolve } from "node:path";

import { asModule, injectionFor } from "./inject.js";
import { Modules } from "./modules.js";
import { SourceError } from "./problems.js";
import { nameOfProject, rootOf } from "./project.js";
import { type SourceMap, toJavaScript } from "./transform.js";

/** As much of a plugin as is used here, so that types need no Vite. */
export interface AsterPlugin {
  readonly name: string;
  /** Types must be read before they are stripped. */
  readonly enforce: "pre";
  configResolved(config: { readonly root: string }): void;
  transform(this: PluginContext, code: string, id: string): { code: string; map: SourceMap | null } | null;
  watchChange(): void;
}

interface PluginContext {
  error(message: string): never;
}

/** Puts into each module what its services and wire types look like. */
export default function aster(): AsterPlugin {
  let modules = new Modules(rootOf(process.cwd()));
  return {
    name: "aster",
    enforce: "pre",
    configResolved(config) {
      modules = new Modules(rootOf(resolve(config.root)));
    },
    transform(code, id) {
      const path = id.replace(/[?#].*$/, "");
      if (!isSource(path)) return null;
      try {
        return transform(modules, path, code);
      } catch (error) {
        if (error instanceof SourceError) this.error(error.message);
        throw error;
      }
    },
    watchChange() {
      modules.forget();
    },
  };
}

function transform(modules: Modules, path: string, code: string): { code: string; map: SourceMap | null } | null {
  // What is built runs anywhere, so the folder is not in it.
  const injection = injectionFor(modules, path, code, modules.root, nameOfProject(modules.root));
  if (injection === null) return null;
  const compilerOptions = modules.resolver.tsconfig(path)?.config.compilerOptions ?? {};
  if (compilerOptions.experimentalDecorators === true) {
    // On the first line, so that the lines of the source keep their numbers.
    const hashbang = /^#!.*\n/.exec(code)?.[0] ?? "";
    return { code: hashbang + asModule(injection) + code.slice(hashbang.length), map: null };
  }
  // Vite 8 leaves standard decorators as they are, which no engine runs yet.
  return toJavaScript(path, code, asModule(injection), compilerOptions, {
    target: "esnext",
    supported: { decorators: false },
    jsx: "preserve",
  });
}

function isSource(path: string): boolean {
  return (
    !path.startsWith("\0") &&
    /\.[cm]?tsx?$/.test(path) &&
    !/\.d\.[cm]?ts$/.test(path) &&
    !/[\\/]node_modules[\\/]/.test(path)
  );
}
