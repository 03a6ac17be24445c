/** Which folder is the project, and which files are its sources. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createFilesMatcher, type FileMatcher, getTsconfig, type TsConfigResult } from "get-tsconfig";

/** The nearest folder with a package.json, at or above `folder`; `folder` itself if there is none. */
export function rootOf(folder: string): string {
  for (let at = folder; ; at = dirname(at)) {
    if (existsSync(join(at, "package.json"))) return at;
    if (dirname(at) === at) return folder;
  }
}

/** The name in a project's package.json. */
export function nameOfProject(root: string): string {
  try {
    const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { name?: string };
    return manifest.name ?? "";
  } catch {
    return ""; // none there, or one that every other tool complains of
  }
}

/** The sources of a project: what its tsconfig.json includes, otherwise all TypeScript below its root. */
export function sourcesOf(root: string): { readonly files: string[]; readonly from: string } {
  const tsconfig = existsSync(join(root, "tsconfig.json")) ? getTsconfig(root) : null;
  const includes = tsconfig === null ? null : matcherOf(tsconfig);
  const files: string[] = [];
  collect(root, files, []);
  return {
    files: files.filter((file) => includes === null || includes(file) !== undefined).sort(),
    from: tsconfig === null ? `the folder ${root}` : tsconfig.path,
  };
}

/** Solution files that only refer to other projects list no files of their own. */
function matcherOf(tsconfig: TsConfigResult): FileMatcher | null {
  const { files, include, references } = tsconfig.config;
  const refersOnly = references !== undefined && (files?.length ?? 0) === 0 && (include?.length ?? 0) === 0;
  return refersOnly ? null : createFilesMatcher(tsconfig);
}

/** Folders that hold what others wrote, or what was made from the sources. */
const NOT_SOURCES = new Set(["node_modules", "bower_components", "dist", "build", "out", "coverage"]);

/** The folders that may hold sources of a project. */
export function foldersOf(root: string): string[] {
  const folders: string[] = [];
  collect(root, [], folders);
  return folders;
}

function collect(folder: string, files: string[], folders: string[]): void {
  folders.push(folder);
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.name.startsWith(".")) continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      if (!NOT_SOURCES.has(entry.name)) collect(path, files, folders);
    } else if (/\.[cm]?tsx?$/.test(entry.name) && !/\.d\.[cm]?ts$/.test(entry.name)) {
      files.push(path);
    }
  }
}
