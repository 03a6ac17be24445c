// Puts the package as a user would have it, built for release, and the programs of the benchmark into a folder:
//
//     node install.mjs FOLDER

import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const home = process.argv[2];
if (home === undefined) throw new Error("usage: node install.mjs FOLDER");
const here = fileURLToPath(new URL(".", import.meta.url));
const typescript = fileURLToPath(new URL("../../typescript", import.meta.url));

function run(command, ...args) {
  const { status, error } = spawnSync(command, args, { cwd: typescript, stdio: "inherit" });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

const place = join(resolve(home), "node_modules", "@aster-rpc", "aster");
rmSync(place, { recursive: true, force: true });
mkdirSync(place, { recursive: true });
run("npm", "run", "--silent", "build");
run("node", "scripts/build-native.mjs", "--release", "--out", join(place, "native"));
for (const name of ["package.json", "dist"]) cpSync(join(typescript, name), join(place, name), { recursive: true });
for (const name of ["service.mjs", "server.mjs", "client.mjs"]) cpSync(join(here, name), join(home, name));
