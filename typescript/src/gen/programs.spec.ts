/** Programs that tests run in processes of their own. Holds no tests itself. */

import { spawn } from "node:child_process";
import { existsSync, symlinkSync } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { main } from "./cli.js";
import { project } from "./fixtures.spec.js";

const DIST = fileURLToPath(new URL("..", import.meta.url));
const PACKAGE = dirname(DIST);

/**
 * A project that has this package's decorators without the rest of it, and prints what its services come to:
 * `show(Service)` in place of a server. The native layer is not needed for that.
 */
export function programs(files: Readonly<Record<string, string>>): string {
  const from = (path: string) => JSON.stringify(new URL(`../${path}`, import.meta.url).href);
  const folder = project({
    ...files,
    "node_modules/@aster-rpc/aster/package.json":
      '{ "name": "@aster-rpc/aster", "type": "module", "exports": { ".": { "types": "./index.d.ts", "default": "./index.js" } } }',
    "node_modules/@aster-rpc/aster/index.js": `
      export * from ${from("service/decorators.js")};
      export { t } from ${from("service/tokens.js")};
      import { specOfClass } from ${from("service/decorators.js")};
      import { describeService } from ${from("service/describe.js")};
      import { metadataOfType } from ${from("metadata/registry.js")};
      export class CallContext {}
      export function show(cls) { console.log(JSON.stringify(describeService(specOfClass(cls)))); }
      export function classOf(cls, key) { return metadataOfType(cls).source.classOf(key); }
      export function origin(cls) { return metadataOfType(cls)?.source.origin; }`,
  });
  symlinkSync(join(PACKAGE, "node_modules", "tsx"), join(folder, "node_modules", "tsx"));
  return folder;
}

export interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly error: string;
}

/** Runs a program in `folder` to its end. */
export async function run(folder: string, command: string, ...args: string[]): Promise<Ended> {
  const child = spawn(command, args, { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  let error = "";
  child.stdout.on("data", (data: Buffer) => {
    out += data.toString();
  });
  child.stderr.on("data", (data: Buffer) => {
    error += data.toString();
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  return { code, out, error };
}

/** Runs `npx aster-gen` in a folder; throws if it fails. */
export async function gen(folder: string): Promise<void> {
  let error = "";
  const output = {
    out: () => {},
    error: (text: string) => {
      error += text;
    },
  };
  if ((await main(["--quiet"], folder, output)) !== 0) throw new Error(error);
}

export const REGISTER: string = new URL("../register.js", import.meta.url).href;
export const TSX: string = new URL(
  `file://${join(dirname(createRequire(import.meta.url).resolve("tsx/package.json")), "dist/cli.mjs")}`,
).pathname;
export const TSC: string = join(PACKAGE, "node_modules", ".bin", "tsc");

/** Bun, from `ASTER_BUN`, the tools of the examples or the path; undefined if there is none. */
export const BUN: string | undefined =
  process.env.ASTER_BUN ??
  [join(PACKAGE, "../examples/typescript/node_modules/.bin"), ...(process.env.PATH ?? "").split(delimiter)]
    .map((folder) => join(folder, "bun"))
    .find((path) => existsSync(path));

/** Other releases of Node to try the hook with: paths in `ASTER_NODES`, separated as in PATH. */
export const NODES: readonly string[] = [
  process.execPath,
  ...(process.env.ASTER_NODES ?? "").split(delimiter).filter((path) => path !== ""),
];
