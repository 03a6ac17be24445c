/**
 * Runs decorated TypeScript as it is: `node --import @aster-rpc/aster/register control.ts`. Each module is transformed
 * when it is loaded, and what its services and wire types look like is read from it at that moment, so that development needs
 * no build step and no run of aster-gen. Bun transforms TypeScript itself and takes this as `--preload`.
 */

import * as nodeModule from "node:module";

interface SyncHooks {
  resolve(
    specifier: string,
    context: { parentURL?: string },
    next: (specifier: string, context: object) => object,
  ): object;
  load(url: string, context: object, next: (url: string, context: object) => object): object;
}

interface BunPlugins {
  plugin(plugin: {
    name: string;
    setup(build: {
      onLoad(
        filter: { filter: RegExp },
        load: (args: { path: string }) => { contents: string; loader: "ts" | "tsx" },
      ): void;
    }): void;
  }): void;
}

const bun = (globalThis as { Bun?: BunPlugins }).Bun;
// In Node 22.15 and later; there the hooks run in the program's own thread, and serve `require` too.
const { registerHooks } = nodeModule as { registerHooks?: (hooks: SyncHooks) => void };

if (bun !== undefined) {
  await registerInBun(bun);
} else if (registerHooks !== undefined) {
  const { Loader } = await import("./register-loader.js");
  const loader = new Loader();
  registerHooks({
    resolve(specifier, context, next) {
      const url = loader.resolve(specifier, context.parentURL);
      return url === undefined ? next(specifier, context) : { url, shortCircuit: true };
    },
    load(url, context, next) {
      const loaded = loader.load(url);
      return loaded === undefined ? next(url, context) : { ...loaded, shortCircuit: true };
    },
  });
  process.setSourceMapsEnabled(true);
} else {
  nodeModule.register("./register-hooks.js", import.meta.url);
  process.setSourceMapsEnabled(true);
}

async function registerInBun({ plugin }: BunPlugins): Promise<void> {
  const { readFileSync } = await import("node:fs");
  const { asModule, injectionFor } = await import("./gen/inject.js");
  const { Modules } = await import("./gen/modules.js");
  const { rootOf } = await import("./gen/project.js");
  const folder = process.cwd();
  const modules = new Modules(rootOf(folder));
  plugin({
    name: "aster",
    setup(build) {
      build.onLoad({ filter: /^(?!.*[\\/]node_modules[\\/]).*(?<!\.d)\.[cm]?tsx?$/ }, ({ path }) => {
        const text = readFileSync(path, "utf8");
        const injection = injectionFor(modules, path, text, folder);
        const line = injection === null ? "" : asModule(injection);
        const hashbang = /^#!.*\n/.exec(text)?.[0] ?? "";
        return {
          contents: hashbang + line + text.slice(hashbang.length),
          loader: path.endsWith("x") ? "tsx" : "ts",
        };
      });
    },
  });
}
