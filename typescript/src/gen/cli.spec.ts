import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";

import { main } from "./cli.js";
import { project } from "./fixtures.spec.js";

const GOOD = 'import { WireType } from "@aster-rpc/aster";\n@WireType("t/A") export class A { a = 1; b!: number; }\n';
const BAD = 'import { WireType } from "@aster-rpc/aster";\n@WireType("t/B") export class B { f: symbol; }\n';

async function run(folder: string, ...args: string[]): Promise<{ code: number; out: string; error: string }> {
  let out = "";
  let error = "";
  const output = {
    out: (text: string) => {
      out += text;
    },
    error: (text: string) => {
      error += text;
    },
  };
  const code = await main(args, folder, output);
  return { code, out, error };
}

function typesIn(folder: string, path = ".aster/metadata.json"): string[] {
  return Object.keys(JSON.parse(readFileSync(join(folder, path), "utf8")).types);
}

describe("G2 aster-gen", () => {
  it("reads the project, prints what it inferred, and writes .aster/metadata.json beside package.json", async () => {
    const folder = project({ "src/a.ts": GOOD, "src/deep/b.ts": "export {};", "README.md": "" });
    const { code, out, error } = await run(join(folder, "src"));
    assert.equal(
      out,
      "number fields, as inferred (write i32, u64, f32 ... to choose):\n" +
        "  a.ts:2:35  A.a  i64  (= 1)\n" +
        "  a.ts:2:46  A.b  f64  (no initialiser)\n" +
        `0 services and 1 type written to ${join(folder, ".aster/metadata.json")}\n`,
    );
    assert.deepEqual([code, error], [0, ""]);
    assert.deepEqual(typesIn(folder), ["src/a.ts#A"]);
  });

  it("--quiet prints nothing", async () => {
    const folder = project({ "a.ts": GOOD });
    assert.deepEqual(await run(folder, "--quiet"), { code: 0, out: "", error: "" });
    assert.deepEqual(typesIn(folder), ["a.ts#A"]);
  });

  it("reads what tsconfig.json includes", async () => {
    const folder = project({
      "tsconfig.json": '{ "include": ["src"], "exclude": ["src/old"] }',
      "src/a.ts": GOOD,
      "src/old/b.ts": BAD,
      "other.ts": BAD,
    });
    assert.equal((await run(folder, "--quiet")).code, 0);
    assert.deepEqual(typesIn(folder), ["src/a.ts#A"]);
  });

  it("leaves out dependencies, hidden folders, what was built, and declarations", async () => {
    const folder = project({
      "a.ts": GOOD,
      "node_modules/x/b.ts": BAD,
      ".hidden/b.ts": BAD,
      "dist/b.ts": BAD,
      "b.d.ts": "export {};",
    });
    assert.equal((await run(folder, "--quiet")).code, 0);
    assert.deepEqual(typesIn(folder), ["a.ts#A"]);
  });

  it("reads the files given, and writes where --out says", async () => {
    const folder = project({ "a.ts": GOOD, "b.ts": BAD });
    assert.equal((await run(folder, "a.ts", "--out", "here/m.json", "--quiet")).code, 0);
    assert.deepEqual(typesIn(folder, "here/m.json"), ["a.ts#A"]);
    assert.equal(existsSync(join(folder, ".aster")), false);
  });

  it("lists all problems and writes nothing", async () => {
    const folder = project({ "a.ts": GOOD, "b.ts": BAD, "c.ts": BAD.replace("class B", "class C") });
    const { code, error } = await run(folder);
    assert.equal(code, 1);
    assert.equal(
      error,
      "b.ts:2:38: B.f: a symbol cannot be sent; use a string\nc.ts:2:38: C.f: a symbol cannot be sent; use a string\n" +
        "aster-gen: 2 problems; nothing was written\n",
    );
    assert.equal(existsSync(join(folder, ".aster")), false);
  });

  it("--check compares and writes nothing", async () => {
    const folder = project({ "a.ts": GOOD });
    const missing = await run(folder, "--check");
    assert.deepEqual(missing, {
      code: 1,
      out: "",
      error: "aster-gen: .aster/metadata.json does not exist; run npx aster-gen\n",
    });
    await run(folder, "--quiet");
    assert.deepEqual(await run(folder, "--check"), { code: 0, out: "", error: "" });
    writeFileSync(join(folder, "a.ts"), GOOD.replace("a = 1", "a = 1.5"));
    const before = readFileSync(join(folder, ".aster/metadata.json"), "utf8");
    const { code, error } = await run(folder, "--check");
    assert.deepEqual(
      [code, error],
      [1, "aster-gen: .aster/metadata.json is not as it would be written now; run npx aster-gen\n"],
    );
    assert.equal(readFileSync(join(folder, ".aster/metadata.json"), "utf8"), before);
  });

  it("a run that changes nothing still makes the file newer than its sources", async () => {
    const folder = project({ "a.ts": GOOD });
    await run(folder, "--quiet");
    const path = join(folder, ".aster/metadata.json");
    utimesSync(path, 1, 1);
    await run(folder, "--quiet");
    assert.ok(statSync(path).mtimeMs > 1_000);
  });

  it("says so when there is nothing to find", async () => {
    const folder = project({ "a.ts": "export const x = 1;" });
    const { code, error } = await run(folder, "--quiet");
    assert.equal(code, 0);
    assert.equal(
      error,
      `aster-gen: no class with @Service or @WireType at the top level of 1 file (the folder ${folder})\n`,
    );
  });

  it("wrong usage is exit code 2 with the usage", async () => {
    const folder = project({ "a.ts": GOOD, "a.js": "", "src/b.ts": GOOD });
    const cases: [string[], RegExp][] = [
      [["--nope"], /^aster-gen: Unknown option '--nope'/],
      [["none.ts"], /^aster-gen: none\.ts does not exist\n/],
      [["a.js"], /^aster-gen: a\.js is not TypeScript\n/],
      [["src"], /^aster-gen: src is a folder; name files, or none to read the project\n/],
      [["--watch", "--check"], /^aster-gen: --watch and --check exclude each other\n/],
    ];
    for (const [args, expected] of cases) {
      const { code, out, error } = await run(folder, ...args);
      assert.equal(code, 2, args.join(" "));
      assert.match(error, expected);
      assert.match(error, /\nUsage: aster-gen /);
      assert.equal(out, "");
    }
  });

  it("--help and --version", async () => {
    const folder = project({});
    assert.match((await run(folder, "--help")).out, /^Usage: aster-gen /);
    assert.match((await run(folder, "--version")).out, /^\d+\.\d+\.\d+\n$/);
  });

  it("--watch runs again when a source changes, comes or goes", async () => {
    const folder = project({ "a.ts": GOOD });
    const main = fileURLToPath(new URL("main.js", import.meta.url));
    const child = spawn(process.execPath, [main, "--watch", "--quiet"], {
      cwd: folder,
      stdio: ["ignore", "inherit", "pipe"],
    });
    const lines = createInterface({ input: child.stderr })[Symbol.asyncIterator]();
    /** What the next runs say, until one says `wanted` or, without it, nothing but that it watches on. */
    const ran = async (wanted?: RegExp): Promise<void> => {
      for (let said: string[] = []; ; ) {
        const { value, done } = await lines.next();
        assert.ok(!done, "aster-gen ended");
        if (value !== `aster-gen: watching ${folder}`) said.push(value);
        else if (wanted === undefined ? said.length === 0 : said.some((each) => wanted.test(each))) return;
        else said = [];
      }
    };
    try {
      await ran();
      assert.deepEqual(typesIn(folder), ["a.ts#A"]);
      writeFileSync(join(folder, "a.ts"), GOOD.replace("b!: number", "b!: symbol"));
      await ran(/^a\.ts:2:46: A\.b: a symbol cannot be sent/);
      mkdirSync(join(folder, "sub"));
      writeFileSync(join(folder, "sub/b.ts"), GOOD.replace("class A", "class B"));
      rmSync(join(folder, "a.ts"));
      await ran();
      assert.deepEqual(typesIn(folder), ["sub/b.ts#B"]);
    } finally {
      child.kill();
    }
  });

  it("is not disturbed by a reader of its output that stops", async () => {
    const folder = project({ "a.ts": GOOD });
    const child = spawn(process.execPath, [fileURLToPath(new URL("main.js", import.meta.url))], {
      cwd: folder,
      stdio: ["ignore", "pipe", "pipe"],
    });
    child.stdout.destroy();
    let error = "";
    child.stderr.on("data", (data: Buffer) => {
      error += data.toString();
    });
    const code = await new Promise((resolve) => child.on("close", resolve));
    assert.deepEqual([code, error], [0, ""]);
    assert.deepEqual(typesIn(folder), ["a.ts#A"]);
  });

  it("notes classes that it leaves out", async () => {
    const source = `
import { Rpc, Service, WireType, t } from "@aster-rpc/aster";
export function f() {
  @WireType("t/A") class A { a = 1; }
  @WireType("t/B", { b: t.i64 }) class B { b = 1; }
  @Service() class S { @Rpc() m(a: A): void {} }
  @Service() class G { @Rpc({ request: B, response: t.null }) m(b) {} }
  return [A, B, S, G];
}`;
    const folder = project({ "a.ts": source });
    const { code, error } = await run(folder);
    assert.equal(code, 0);
    const note =
      "was not read, since it is not at the top level of its module; move it there, or give its types in the decorators";
    assert.deepEqual(error.split("\n").slice(0, 3), [
      `a.ts:4:3: note: A ${note}`,
      `a.ts:6:3: note: S ${note}`,
      `aster-gen: no class with @Service or @WireType at the top level of 1 file (the folder ${folder})`,
    ]);
  });

  it("is deterministic, whatever the order of files", async () => {
    const files = { "a.ts": GOOD, "b.ts": GOOD.replace("class A", "class B").replace("t/A", "t/B") };
    const folder = project(files);
    await run(folder, "a.ts", "b.ts", "--quiet", "--out", "1.json");
    await run(folder, "b.ts", "a.ts", "--quiet", "--out", "2.json");
    assert.equal(readFileSync(join(folder, "1.json"), "utf8"), readFileSync(join(folder, "2.json"), "utf8"));
  });
});
