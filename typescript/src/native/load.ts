/**
 * Finds and loads the native module: in a checkout `typescript/native/aster.<target>.node`, otherwise the package for
 * this platform, which is an optional dependency. One error names all that was tried and why it failed.
 */

import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import type { NativeModule } from "./module.js";

/** What a native module is built for. */
export interface Target {
  readonly platform: string;
  readonly arch: string;
  /** Of Linux only. */
  readonly libc: "gnu" | "musl" | null;
}

/** How targets are named in files and packages. */
export function targetName(target: Target): string {
  return [target.platform, target.arch, target.libc].filter((part) => part !== null).join("-");
}

/** The package with the module for a target. */
export function packageName(target: Target): string {
  return `@aster-rpc/aster-${targetName(target)}`;
}

/** What this program runs on. */
export function currentTarget(): Target {
  const { platform, arch } = process;
  return { platform, arch, libc: platform === "linux" ? linuxLibc() : null };
}

function linuxLibc(): "gnu" | "musl" {
  // The script that comes with either of them names it; the report of Node.js is right too, and slow.
  try {
    return readFileSync("/usr/bin/ldd", "latin1").includes("musl") ? "musl" : "gnu";
  } catch {
    return existsSync("/lib/ld-musl-x86_64.so.1") || existsSync("/lib/ld-musl-aarch64.so.1") ? "musl" : "gnu";
  }
}

/** Where a checkout has its modules: beside `src` and `dist`. */
const DEVELOPMENT = new URL("../../native/", import.meta.url);

/** Loads the module for a target. Throws one Error with all that was tried. */
export function loadModule(target: Target, directory: URL = DEVELOPMENT): NativeModule {
  const require = createRequire(import.meta.url);
  const tried: string[] = [];
  const file = fileURLToPath(new URL(`aster.${targetName(target)}.node`, directory));
  const version = packageVersion(require);
  const name = packageName(target);
  if (existsSync(file)) {
    try {
      return fitting(require(file) as NativeModule, version, file);
    } catch (error) {
      tried.push(`${file}: ${reason(error)}`);
    }
  }
  try {
    return fitting(require(name) as NativeModule, version, name);
  } catch (error) {
    const missing = (error as { code?: unknown }).code === "MODULE_NOT_FOUND";
    tried.push(`${name}: ${missing ? "it is not installed" : reason(error)}`);
  }
  throw new Error(loadFailure(target, version, tried));
}

/** What is said when no module could be loaded. */
export function loadFailure(target: Target, version: string, tried: readonly string[]): string {
  const libc = target.libc === null ? "" : ` with ${target.libc === "gnu" ? "glibc" : "musl"}`;
  const name = packageName(target);
  return (
    `Aster's native module for ${target.platform} ${target.arch}${libc} can't be loaded.\n` +
    `${tried.map((line) => `  ${line}\n`).join("")}` +
    `It comes with the package ${name}, an optional dependency of @aster-rpc/aster. If that was left out by ` +
    "--omit=optional, --no-optional, or a lock file made on another platform, install again without it, or run " +
    `\`npm install ${name}@${version}\`. If there is no such package, Aster has not been built for this platform.`
  );
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function packageVersion(require: NodeJS.Require): string {
  return (require("../../package.json") as { version: string }).version;
}

function fitting(module: NativeModule, version: string, where: string): NativeModule {
  const found = module.version();
  if (found !== version) {
    throw new Error(`${where} is version ${found}, and @aster-rpc/aster is version ${version}: install both again`);
  }
  return module;
}
