/**
 * Runs the tests that have been built: specs beside their sources, and those of tests/. Node.js 20 finds no files by
 * pattern itself. Arguments are parts of file names; without any, all run.
 */

import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const wanted = process.argv.slice(2);

const files = ["dist", "build/tests", "build/legacy", "tests/native"]
  .flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" }).map((file) => join(folder, file)),
  )
  .filter((file) => /\.(spec|test)\.m?js$/.test(file))
  .filter((file) => wanted.length === 0 || wanted.some((part) => file.includes(part)))
  .sort();
if (files.length === 0) {
  console.error(
    "scripts/test.mjs: no test has that in its name, or nothing was built: npm run build && npm run build:tests",
  );
  process.exit(1);
}
const reporter = process.stdout.isTTY ? [] : ["--test-reporter=spec"];
const done = spawnSync(process.execPath, ["--test", ...reporter, ...files], { cwd: ROOT, stdio: "inherit" });
process.exit(done.status ?? 1);
