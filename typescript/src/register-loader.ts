/** How TypeScript modules are found and made into JavaScript while a program runs. */

import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

import { asCommonJs, asModule, injectionFor } from "./gen/inject.js";
import { Modules } from "./gen/modules.js";
import { Problems } from "./gen/problems.js";
import { rootOf } from "./gen/project.js";
import { toJavaScript } from "./gen/transform.js";

export interface Loaded {
  readonly format: "module" | "commonjs";
  readonly source: string;
}

export class Loader {
  readonly #folder = process.cwd();
  readonly #modules = new Modules(rootOf(this.#folder));
  readonly #packageTypes = new Map<string, string>();
  #warned = false;

  /**
   * The URL of the TypeScript source that `specifier` means in a TypeScript module: `./a.js` and `./a` for `a.ts`, and what
   * tsconfig `paths` map. Undefined to leave it to Node.
   */
  resolve(specifier: string, parentUrl: string | undefined): string | undefined {
    const parent = sourcePath(parentUrl);
    if (parent === undefined || /[?#:]/.test(specifier.replace(/^#/, ""))) return undefined;
    const { resolver } = this.#modules;
    if (/^\.{1,2}(?:\/|$)/.test(specifier)) {
      const target = resolver.resolve(parent, specifier);
      // What has only declarations is JavaScript, which Node finds by itself.
      return target.kind === "file" && isSource(target.path) ? pathToFileURL(target.path).href : undefined;
    }
    const path = resolver.mapped(parent, specifier);
    if (path === undefined) return undefined;
    const script = path.replace(/\.d\.([cm]?)ts$/, ".$1js");
    return existsSync(script) ? pathToFileURL(script).href : undefined;
  }

  /** The JavaScript of a TypeScript module; undefined if it is not one. */
  load(url: string): Loaded | undefined {
    const path = sourcePath(url);
    if (path === undefined) return undefined;
    const text = readFileSync(path, "utf8");
    const format = this.#format(path, text);
    // Before the transformer, since what cannot be mapped is the rarer and the harder mistake.
    const injection = injectionFor(this.#modules, path, text, this.#folder);
    const line = injection === null ? null : format === "module" ? asModule(injection) : asCommonJs(injection);
    return { format, source: this.#transform(path, text, format, line) };
  }

  #format(path: string, text: string): Loaded["format"] {
    if (/\.mtsx?$/.test(path)) return "module";
    if (/\.ctsx?$/.test(path)) return "commonjs";
    // Without `type` in package.json the syntax decides, as Node does for JavaScript.
    if (this.#modules.read(path, new Problems(), text).esm) return "module";
    return this.#packageType(dirname(path)) === "module" ? "module" : "commonjs";
  }

  #packageType(folder: string): string {
    let type = this.#packageTypes.get(folder);
    if (type !== undefined) return type;
    try {
      const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { type?: string };
      type = manifest.type ?? "commonjs";
    } catch {
      // None here, or one that Node itself will complain of.
      type = dirname(folder) === folder ? "commonjs" : this.#packageType(dirname(folder));
    }
    this.#packageTypes.set(folder, type);
    return type;
  }

  #transform(path: string, text: string, format: Loaded["format"], line: string | null): string {
    const compilerOptions = this.#modules.resolver.tsconfig(path)?.config.compilerOptions ?? {};
    if (compilerOptions.emitDecoratorMetadata === true && text.includes("@") && !this.#warned) {
      this.#warned = true;
      process.emitWarning(
        "emitDecoratorMetadata of tsconfig.json has no effect under @aster-rpc/aster/register: Aster needs none, and other " +
          "packages that do find none",
        { type: "AsterWarning", code: "ASTER_DECORATOR_METADATA" },
      );
    }
    const { code, map } = toJavaScript(path, text, line, compilerOptions, {
      format: format === "module" ? "esm" : "cjs",
      target: `node${process.versions.node}`,
    });
    const encoded = Buffer.from(JSON.stringify(map)).toString("base64");
    return `${code}\n//# sourceMappingURL=data:application/json;base64,${encoded}\n`;
  }
}

/** The path of a URL that names a TypeScript source. */
function sourcePath(url: string | undefined): string | undefined {
  if (url === undefined || !url.startsWith("file:")) return undefined;
  const plain = url.replace(/[?#].*$/, "");
  return isSource(plain) ? fileURLToPath(plain) : undefined;
}

function isSource(path: string): boolean {
  return /\.[cm]?tsx?$/.test(path) && !/\.d\.[cm]?ts$/.test(path);
}
