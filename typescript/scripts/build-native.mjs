// Builds the native module and puts it where the package finds it in a checkout: typescript/native/aster.<target>.node.
//
//     node scripts/build-native.mjs [--release] [--out FOLDER]
//
// `--out` puts it into another folder than typescript/native, for a copy of the package that is used elsewhere.
// CARGO_TARGET_DIR is respected. The file is put in place by renaming: one that is loaded must never be written over.

import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = fileURLToPath(new URL("../..", import.meta.url));
const { values: given } = parseArgs({ options: { release: { type: "boolean" }, out: { type: "string" } } });

function cargo(...args) {
  const run = spawnSync("cargo", args, { cwd: root, stdio: ["ignore", "pipe", "inherit"], maxBuffer: 64 << 20 });
  if (run.error)
    throw new Error(`cargo could not be started: ${run.error.message}; install Rust from https://rustup.rs`);
  if (run.status !== 0) process.exit(run.status ?? 1);
  return run.stdout.toString();
}

function libc() {
  if (process.platform !== "linux") return [];
  try {
    return [readFileSync("/usr/bin/ldd", "latin1").includes("musl") ? "musl" : "gnu"];
  } catch {
    return ["gnu"];
  }
}

// The whole workspace, as for Python (tools/native.py): asked for one crate, cargo would choose other features for some
// dependencies, and build nearly everything again.
const profile = given.release ? ["--release"] : [];
const messages = cargo("build", "--workspace", ...profile, "--message-format=json-render-diagnostics");
const built = messages
  .split("\n")
  .filter((line) => line.startsWith("{"))
  .map((line) => JSON.parse(line))
  .filter((message) => message.reason === "compiler-artifact" && message.target.name === "aster_node")
  .flatMap((message) => message.filenames)
  .find((file) => /\.(so|dylib|dll)$/.test(file));
if (built === undefined) throw new Error("cargo built no library for aster-node");

const target = [process.platform, process.arch, ...libc()].join("-");
const folder = given.out ?? join(root, "typescript", "native");
const file = join(folder, `aster.${target}.node`);
mkdirSync(folder, { recursive: true });
const temporary = `${file}.${process.pid}.new`;
copyFileSync(built, temporary);
renameSync(temporary, file);
console.log(`${built} -> ${file}`);
