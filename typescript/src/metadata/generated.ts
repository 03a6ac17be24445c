/** Finds and reads the file that aster-gen writes. */

import { readFileSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";

import { SchemaError } from "../errors.js";
import type { SourceMetadata } from "./types.js";

/** Where aster-gen writes, relative to the root of the project. */
export const GENERATED: string = join(".aster", "metadata.json");

export interface GeneratedFile {
  readonly path: string;
  /** The folder that type keys are relative to. */
  readonly root: string;
  readonly metadata: SourceMetadata;
  readonly writtenMs: number;
}

const files = new Map<string, GeneratedFile | null>();

/** The generated file in `folder` itself. */
function readIn(folder: string): GeneratedFile | null {
  const path = join(folder, GENERATED);
  let file = files.get(path);
  if (file === undefined) {
    file = read(path, folder);
    files.set(path, file);
  }
  return file;
}

function read(path: string, root: string): GeneratedFile | null {
  let text: string;
  let writtenMs: number;
  try {
    text = readFileSync(path, "utf8");
    writtenMs = statSync(path).mtimeMs;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR") return null;
    throw new SchemaError(`${path} cannot be read (${(error as Error).message})`, { cause: error });
  }
  let metadata: SourceMetadata;
  try {
    metadata = JSON.parse(text) as SourceMetadata;
  } catch (error) {
    throw new SchemaError(`${path} is not JSON (${(error as Error).message}); run npx aster-gen again`, {
      cause: error,
    });
  }
  if (metadata?.format !== 1) {
    throw new SchemaError(`${path} was written by another version of aster-gen; run npx aster-gen again`);
  }
  return { path, root, metadata, writtenMs };
}

/** The generated files in the folders of `paths` and above them, nearest first, then those of the program. */
export function generatedFor(paths: readonly string[]): GeneratedFile[] {
  const found = new Set<GeneratedFile>();
  const starts = paths.map((path) => dirname(path));
  starts.push(process.cwd());
  if (process.argv[1] !== undefined) starts.push(dirname(resolve(process.argv[1])));
  for (const start of starts) {
    for (let folder = start; ; folder = dirname(folder)) {
      const file = readIn(folder);
      if (file !== null) found.add(file);
      if (dirname(folder) === folder) break;
    }
  }
  return [...found];
}
