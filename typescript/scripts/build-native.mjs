// Builds the native module and puts it where the package finds it in a checkout: typescript/native/aster.<target>.node.
//
//     node scripts/build-native.mjs [--release]
//
// CARGO_TARGET_DIR is respected. The file is put in place by renaming: one that is loaded must never be written over.

import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const release = process.argv.includes("--release");

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

// In development the whole workspace, as for Python (tools/native.py): asked for one crate, cargo would choose other features
// for some dependencies, and build nearly everything again.
const selection = release ? ["-p", "aster-node", "--release"] : ["--workspace"];
const messages = cargo("build", ...selection, "--message-format=json-render-diagnostics");
const built = messages
  .split("\n")
  .filter((line) => line.startsWith("{"))
  .map((line) => JSON.parse(line))
  .filter((message) => message.reason === "compiler-artifact" && message.target.name === "aster_node")
  .flatMap((message) => message.filenames)
  .find((file) => /\.(so|dylib|dll)$/.test(file));
if (built === undefined) throw new Error("cargo built no library for aster-node");

const target = [process.platform, process.arch, ...libc()].join("-");
const file = join(root, "typescript", "native", `aster.${target}.node`);
mkdirSync(dirname(file), { recursive: true });
const temporary = `${file}.${process.pid}.new`;
copyFileSync(built, temporary);
renameSync(temporary, file);
console.log(`${built} -> ${file}`);
