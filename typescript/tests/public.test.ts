/** What the package shows to the world: exports, types, files. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { StatusCode } from "@aster-rpc/aster";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** The names that a module exports, types among them, from its declarations. */
function exportsOf(declarations: string): string[] {
  const text = readFileSync(join(ROOT, "dist", declarations), "utf8");
  const names: string[] = [];
  for (const [, list] of text.matchAll(/export (?:type )?\{([^}]*)\}/g)) {
    for (const each of list!.split(",")) {
      const name = each.trim().split(/\s+/).at(-1);
      if (name) names.push(name);
    }
  }
  for (const [, name] of text.matchAll(
    /export (?:declare )?(?:async )?(?:function|class|const|interface|type) (\w+)/g,
  )) {
    names.push(name!);
  }
  return [...new Set(names)].sort();
}

describe("the package", () => {
  test("P3 exports are the reviewed list", () => {
    const reviewed = readFileSync(join(ROOT, "tests", "exports.txt"), "utf8")
      .trim()
      .split("\n");
    const found = [
      ...exportsOf("index.d.ts").map((name) => `. ${name}`),
      ...exportsOf("testing.d.ts").map((name) => `./testing ${name}`),
    ];
    assert.deepEqual(found, reviewed);
  });

  test("P3 what the compiler accepts and refuses", () => {
    const file = join(ROOT, "tests", "typing.cases.ts");
    const expected = readFileSync(file, "utf8")
      .split("\n")
      .flatMap((line, index) => {
        const code = /\/\/ error: (TS\d+)/.exec(line)?.[1];
        return code === undefined ? [] : [`${index + 1} ${code}`];
      });
    assert.ok(expected.length > 10);
    for (const legacy of [false, true]) {
      const words = ["-p", "tests/typing.json", "--pretty", "false", "--experimentalDecorators", String(legacy)];
      const done = spawnSync(join(ROOT, "node_modules/.bin/tsc"), words, { cwd: ROOT, encoding: "utf8" });
      const errors = [...done.stdout.matchAll(/typing\.cases\.ts\((\d+),\d+\): error (TS\d+)/g)];
      assert.deepEqual(
        errors.map((each) => `${each[1]} ${each[2]}`),
        expected,
        done.stdout,
      );
      assert.equal([...done.stdout.matchAll(/: error /g)].length, expected.length, done.stdout);
    }
  });

  test("C6 the codes are those of the core", async () => {
    const { native } = (await import(join(ROOT, "dist/native/index.js"))) as { native: () => { codes: object } };
    assert.deepEqual({ ...native().codes }, { ...StatusCode });
  });

  test("files are short", () => {
    for (const folder of ["src", "tests"]) {
      for (const entry of readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })) {
        if (!entry.endsWith(".ts")) continue;
        const lines = readFileSync(join(ROOT, folder, entry), "utf8").split("\n");
        assert.ok(lines.length <= 800, entry);
        if (folder !== "src" || entry.endsWith(".spec.ts")) continue;
        const long = lines.findIndex((line) => line.length > 140);
        assert.equal(long, -1, `${entry}:${long + 1} is a long line`);
      }
    }
  });

  test("P3 the import loads no native module and no tool", () => {
    const script =
      'await import("@aster-rpc/aster"); console.log(process.report.getReport().sharedObjects.join("\\n"))';
    const done = spawnSync(process.execPath, ["--input-type=module", "-e", script], { cwd: ROOT, encoding: "utf8" });
    assert.equal(done.status, 0, done.stderr);
    assert.doesNotMatch(done.stdout, /\.node/);
  });
});
