/** The command `aster-gen`. */

import {
  existsSync,
  type FSWatcher,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  watch,
  writeFileSync,
} from "node:fs";
import { dirname, resolve } from "node:path";
import { parseArgs } from "node:util";

import { GENERATED } from "../metadata/generated.js";
import { type Generated, generate } from "./generate.js";
import { Modules } from "./modules.js";
import { SourceError, showPath, showPlace } from "./problems.js";
import { foldersOf, rootOf, sourcesOf } from "./project.js";

const USAGE = `Usage: aster-gen [options] [files...]

Reads the types of services and wire types from TypeScript source, and writes them to .aster/metadata.json beside the
nearest package.json, where the program finds them. Without files, reads what tsconfig.json includes, otherwise all
TypeScript of the project.

Options:
  --out <file>   write to another file, for other tools: programs look for .aster/metadata.json only
  --check        write nothing; fail if the file is not as it would be written
  --watch        run again whenever a source changes
  --quiet        do not print the numbers whose types were inferred
  --version      print the version
  -h, --help     print this

Exit codes: 0 done, 1 something cannot be mapped or --check found a difference, 2 wrong usage.
`;

export interface Output {
  readonly out: (text: string) => void;
  readonly error: (text: string) => void;
}

interface Options {
  readonly files: readonly string[];
  readonly out: string | undefined;
  readonly check: boolean;
  readonly quiet: boolean;
}

/** Runs the command in `folder` and returns its exit code; with `--watch` the promise never settles. */
export async function main(args: readonly string[], folder: string, output: Output): Promise<number> {
  let parsed: ReturnType<typeof parse>;
  try {
    parsed = parse(args);
  } catch (error) {
    output.error(`aster-gen: ${(error as Error).message}\n\n${USAGE}`);
    return 2;
  }
  const { values, positionals } = parsed;
  if (values.help) {
    output.out(USAGE);
    return 0;
  }
  if (values.version) {
    const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
    output.out(`${(JSON.parse(text) as { version: string }).version}\n`);
    return 0;
  }
  if (values.watch && values.check) {
    output.error(`aster-gen: --watch and --check exclude each other\n\n${USAGE}`);
    return 2;
  }
  const files = positionals.map((each) => resolve(folder, each));
  for (const file of files) {
    const problem = cannotRead(file);
    if (problem === undefined) continue;
    output.error(`aster-gen: ${showPath(file, folder)} ${problem}\n\n${USAGE}`);
    return 2;
  }
  const options: Options = { files, out: values.out, check: values.check, quiet: values.quiet };
  const modules = new Modules(rootOf(folder));
  return values.watch ? follow(modules, folder, options, output) : once(modules, folder, options, output);
}

function parse(args: readonly string[]) {
  return parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      out: { type: "string" },
      check: { type: "boolean", default: false },
      watch: { type: "boolean", default: false },
      quiet: { type: "boolean", default: false },
      version: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
}

function cannotRead(file: string): string | undefined {
  const found = statSync(file, { throwIfNoEntry: false });
  if (found === undefined) return "does not exist";
  if (found.isDirectory()) return "is a folder; name files, or none to read the project";
  return /\.[cm]?tsx?$/.test(file) ? undefined : "is not TypeScript";
}

function once(modules: Modules, folder: string, options: Options, output: Output): number {
  const { root } = modules;
  const sources = options.files.length > 0 ? { files: [...options.files], from: "the files given" } : sourcesOf(root);
  let generated: Generated;
  try {
    generated = generate(modules, sources.files, { folder });
  } catch (error) {
    if (!(error instanceof SourceError)) throw error;
    const count = error.problems.length;
    output.error(
      `${error.problems.join("\n")}\naster-gen: ${count} problem${count === 1 ? "" : "s"}; nothing was written\n`,
    );
    return 1;
  }
  if (!options.quiet && !options.check) printInferred(generated, folder, output);
  if (!options.quiet) {
    for (const { place, name } of generated.skipped) {
      output.error(
        `${showPlace(place, folder)}: note: ${name} was not read, since it is not at the top level of its module; move it there, or ` +
          "give its types in the decorators\n",
      );
    }
  }
  const { types, services } = generated.metadata;
  const found = `${plural(Object.keys(services).length, "service")} and ${plural(Object.keys(types).length, "type")}`;
  if (Object.keys(services).length === 0 && Object.keys(types).length === 0) {
    output.error(
      `aster-gen: no class with @Service or @WireType at the top level of ${plural(sources.files.length, "file")} (${sources.from})\n`,
    );
  }
  const target = options.out === undefined ? resolve(root, GENERATED) : resolve(folder, options.out);
  const text = `${JSON.stringify(generated.metadata, null, 1)}\n`;
  const before = existsSync(target) ? readFileSync(target, "utf8") : undefined;
  if (options.check) {
    if (before === text) return 0;
    const what = before === undefined ? "does not exist" : "is not as it would be written now";
    output.error(`aster-gen: ${showPath(target, folder)} ${what}; run npx aster-gen\n`);
    return 1;
  }
  mkdirSync(dirname(target), { recursive: true });
  // Written anew even if nothing changed: its time says that it is not older than the sources. Renamed into place, so
  // that a program that starts meanwhile reads all of it.
  const temporary = `${target}.${process.pid}.tmp`;
  writeFileSync(temporary, text);
  renameSync(temporary, target);
  if (!options.quiet) output.out(`${found} written to ${showPath(target, folder)}\n`);
  return 0;
}

function printInferred(generated: Generated, folder: string, output: Output): void {
  const rows = generated.inferred.map(
    ({ place, what, kind, why }) => [showPlace(place, folder), what, kind, why] as const,
  );
  if (rows.length === 0) return;
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => row[column]!.length)));
  const lines = rows.map(
    ([where, what, kind, why]) => `  ${where.padEnd(widths[0]!)}  ${what.padEnd(widths[1]!)}  ${kind}  (${why})`,
  );
  output.out(`number fields, as inferred (write i32, u64, f32 ... to choose):\n${lines.join("\n")}\n`);
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** Editors write a file in several steps. */
const SETTLE_MS = 50;

function follow(modules: Modules, folder: string, options: Options, output: Output): Promise<never> {
  let timer: NodeJS.Timeout | undefined;
  const watchers = new Map<string, FSWatcher>();
  const changed = (_event: string, name: string | null) => {
    // Sources, settings, and folders that come or go.
    if (name !== null && !/\.[cm]?tsx?$|\.json$|^[^.]+$/.test(name)) return;
    clearTimeout(timer);
    timer = setTimeout(run, SETTLE_MS);
  };
  const run = () => {
    modules.forget();
    // One watcher for each folder of sources: a recursive one would take in all dependencies.
    const folders = new Set([...foldersOf(modules.root), ...options.files.map((each) => dirname(each))]);
    for (const each of folders) {
      if (watchers.has(each)) continue;
      const watcher = watch(each, changed);
      watcher.on("error", () => {}); // a folder that was removed, as the next run sees
      watchers.set(each, watcher);
    }
    for (const [each, watcher] of watchers) {
      if (folders.has(each)) continue;
      watcher.close();
      watchers.delete(each);
    }
    once(modules, folder, options, output);
    output.error(`aster-gen: watching ${modules.root}\n`);
  };
  run();
  return new Promise(() => {});
}
