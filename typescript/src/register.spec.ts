import assert from "node:assert/strict";
import { readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";

import { BUN, type Ended, gen, NODES, programs, REGISTER, run, TSC, TSX } from "./gen/programs.spec.js";

const CONTROL = `
import { Service, Rpc, WireType, show } from "@aster-rpc/aster";

@WireType("t/Request")
class Request {
  id: string = "";
  constructor(init?: Partial<Request>) { if (init) Object.assign(this, init); }
}

@WireType("t/Answer")
class Answer {
  count: number = 0;
  rest: Record<string, number> = {};
}

@Service({ name: "Control", version: 1 })
class Control {
  private state: string[] = [];

  /** Counts. */
  @Rpc()
  async count(request: Request): Promise<Answer> {
    return new Answer();
  }
}

function main(): void {
  show(Control); // while the module still runs
}
main();
`;

const EXPECTED = {
  name: "Control",
  version: 1,
  scope: "shared",
  methods: [
    {
      name: "count",
      pattern: "unary",
      request: { t: "ref", tag: "t/Request" },
      response: { t: "ref", tag: "t/Answer" },
      idempotent: false,
    },
  ],
  types: [
    {
      kind: "struct",
      tag: "t/Request",
      fields: [{ name: "id", type: { t: "string" }, required: false, nullable: false }],
    },
    {
      kind: "struct",
      tag: "t/Answer",
      fields: [
        { name: "count", type: { t: "i64" }, required: false, nullable: false },
        {
          name: "rest",
          type: { t: "map", key: { t: "string" }, value: { t: "f64" } },
          required: false,
          nullable: false,
        },
      ],
    },
  ],
};

function assertShown(ended: Ended, expected: object = EXPECTED): void {
  assert.equal(ended.error, "");
  assert.equal(ended.code, 0);
  const { manifest: _, ...shown } = JSON.parse(ended.out);
  assert.deepEqual(shown, expected);
}

const LEGACY = { "tsconfig.json": '{ "compilerOptions": { "experimentalDecorators": true } }' };

/** As a program spread over files has it: types in one that nothing imports at run time, but for their types. */
const SPREAD = {
  "types.ts": `
    import { WireType } from "@aster-rpc/aster";
    import type { Inner } from "./inner.js";
    @WireType("t/Outer") export class Outer { inner: Inner | null = null; }`,
  "inner.ts":
    'import { WireType } from "@aster-rpc/aster";\n@WireType("t/Inner") export class Inner { x: number = 1; }',
  "main.ts": `
    import { Service, Rpc, show } from "@aster-rpc/aster";
    import type { Outer } from "./types.js";
    @Service() class S { @Rpc() m(request: Outer): void {} }
    show(S);`,
};

for (const node of NODES) {
  const hook = (folder: string, file: string) => run(folder, node, "--import", REGISTER, file);

  describe(`G1 node --import @aster-rpc/aster/register (${node})`, () => {
    it("runs decorated TypeScript with no build step", async () => {
      assertShown(await hook(programs({ "control.ts": CONTROL }), "control.ts"));
    });

    it("with experimentalDecorators", async () => {
      assertShown(await hook(programs({ "control.ts": CONTROL, ...LEGACY }), "control.ts"));
    });

    it("without a package.json that says module, and as .mts", async () => {
      const plain = { "package.json": "{}" };
      assertShown(await hook(programs({ "control.ts": CONTROL, ...plain }), "control.ts"));
      assertShown(await hook(programs({ "control.mts": CONTROL, ...plain }), "control.mts"));
    });

    it("loads the classes that types of other modules name", async () => {
      const ended = await hook(programs(SPREAD), "main.ts");
      assert.equal(ended.error, "");
      const tags = JSON.parse(ended.out).types.map((each: { tag: string }) => each.tag);
      assert.deepEqual(tags, ["t/Outer", "t/Inner"]);
    });

    it("finds modules as TypeScript does", async () => {
      const folder = programs({
        "tsconfig.json":
          '{ "compilerOptions": { "paths": { "@lib/*": ["./lib/*"] }, "jsx": "react", "jsxFactory": "h" } }',
        "lib/one.ts": "export const one: number = 1;",
        "lib/index.ts": 'export { one } from "@lib/one";\nexport * from "./two";\nexport * from "./three.cjs";',
        "lib/two.tsx": "const h = (tag: string) => tag.length;\nexport const two: number = <a1 /> as never;",
        "lib/three.cts": "const three: number = 3;\nmodule.exports = { three };",
        "lib/js.js": "export const four = 4;",
        "lib/js.d.ts": "export declare const four: number;",
        "main.ts": `
          import * as lib from "./lib";
          import { four } from "./lib/js.js";
          import { readFileSync } from "node:fs";
          const { five } = await import("./five.ts");
          console.log(lib.one, lib.two, (lib as any).three, four, five, typeof readFileSync);`,
        "five.ts": "enum E { Five = 5 }\nexport const five = E.Five;",
      });
      assert.deepEqual(await hook(folder, "main.ts"), { code: 0, out: "1 2 3 4 5 function\n", error: "" });
    });

    it("stack traces are of the source", async () => {
      const folder = programs({
        "main.ts": `#!/usr/bin/env node
import { WireType } from "@aster-rpc/aster";
interface Gone { a: string }
@WireType("t/A") class A { a: number = 1; }
function fail(): never {
  throw new Error("here");
}
try { fail(); } catch (error) { console.log((error as Error).stack!.split("\\n")[1]); }`,
      });
      assert.match((await hook(folder, "main.ts")).out, /at fail \(.*main\.ts:6:9\)/);
    });

    it("says what cannot be mapped, by file, line and column", async () => {
      const folder = programs({ "main.ts": CONTROL.replace("id: string", "id: symbol") });
      const { code, error } = await hook(folder, "main.ts");
      assert.equal(code, 1);
      assert.match(error, /main\.ts:6:7: Request\.id: a symbol cannot be sent; use a string\n/);
    });

    it("says which classes it does not read", async () => {
      const folder = programs({
        "main.ts": `
import { Service, Rpc, show } from "@aster-rpc/aster";
function make() {
  @Service() class Inner { @Rpc() m(): void {} }
  return Inner;
}
show(make());`,
      });
      const { code, error } = await hook(folder, "main.ts");
      assert.equal(code, 1);
      assert.match(
        error,
        /Inner: it was not read from source \(main\.ts:4:3\), since it is not at the top level of its module; move it there, or/,
      );
    });

    it("says that emitDecoratorMetadata has no effect", async () => {
      const options = { experimentalDecorators: true, emitDecoratorMetadata: true };
      const folder = programs({ "control.ts": CONTROL, "tsconfig.json": JSON.stringify({ compilerOptions: options }) });
      const { code, error } = await hook(folder, "control.ts");
      assert.equal(code, 0);
      assert.match(
        error,
        /\[ASTER_DECORATOR_METADATA\] AsterWarning: emitDecoratorMetadata of tsconfig\.json has no effect/,
      );
    });

    it("types that decorators give need no reading", async () => {
      const folder = programs({
        "main.ts": `
          import { Service, Rpc, WireType, show, t } from "@aster-rpc/aster";
          @WireType("t/A", { when: t.timestamp }) class A { when = someDate(); }
          function someDate() { return new Date(0); }
          @Service() class S {
            @Rpc({ request: A, response: t.null }) async given(request) {}
            @Rpc() async read(request: A): Promise<void> {}
          }
          show(S);`,
      });
      const { out, error } = await hook(folder, "main.ts");
      assert.equal(error, "");
      assert.deepEqual(
        JSON.parse(out).methods.map((each: { name: string; request: unknown }) => [each.name, each.request]),
        [
          ["given", { t: "ref", tag: "t/A" }],
          ["read", { t: "ref", tag: "t/A" }],
        ],
      );
    });
  });
}

/** Ways to run TypeScript that know nothing of Aster: the file of aster-gen says what the types are. */
const RUNNERS: [string, ((folder: string, file: string) => Promise<Ended>) | undefined][] = [
  ["tsx", (folder, file) => run(folder, process.execPath, TSX, file)],
  ["bun", BUN === undefined ? undefined : (folder, file) => run(folder, BUN!, "run", file)],
];

for (const [name, start] of RUNNERS) {
  describe(`G1 npx aster-gen, then ${name}`, { skip: start === undefined && `${name} is not installed` }, () => {
    for (const [form, more] of [
      ["standard decorators", {}],
      ["experimentalDecorators", LEGACY],
    ] as const) {
      it(form, async () => {
        const folder = programs({ "control.ts": CONTROL, ...more });
        await gen(folder);
        assertShown(await start!(folder, "control.ts"));
      });
    }

    it("two classes of one name are told apart by their modules", async () => {
      const folder = programs({
        "a.ts": 'import { WireType } from "@aster-rpc/aster";\n@WireType("t/A1") export class A { x: number = 1; }',
        "b.ts": 'import { WireType } from "@aster-rpc/aster";\n@WireType("t/A2") export class A { x: number = 1.5; }',
        "main.ts": `
          import { Service, Rpc, show } from "@aster-rpc/aster";
          import { A as A1 } from "./a.js"; import { A as A2 } from "./b.js";
          @Service() class S { @Rpc() m(request: A1): A2 { return new A2(); } @Rpc() n(a: A2): A1 { return new A1(); } }
          show(S);`,
      });
      await gen(folder);
      const { out, error } = await start!(folder, "main.ts");
      assert.equal(error, "");
      assert.deepEqual(
        JSON.parse(out).types.map((each: { tag: string; fields: { type: { t: string } }[] }) => [
          each.tag,
          each.fields[0]!.type.t,
        ]),
        [
          ["t/A1", "i64"],
          ["t/A2", "f64"],
        ],
      );
    });
  });
}

const ENVIRONMENT =
  'declare module "@aster-rpc/aster" { export const Service: any, Rpc: any, WireType: any, show: any; }';
const COMPILED =
  '{ "compilerOptions": { "outDir": "out", "rootDir": "src", "module": "NodeNext", "target": "ES2022", "types": [] } }';

describe("the generated file", () => {
  const tsx = (folder: string, file: string) => run(folder, process.execPath, TSX, file);

  it("is found by compiled code, by name and fields", async () => {
    const folder = programs({
      "src/control.ts": CONTROL,
      "src/env.d.ts": ENVIRONMENT,
      "tsconfig.json": COMPILED,
    });
    await gen(folder);
    const compiled = await run(folder, TSC);
    assert.equal(compiled.code, 0, compiled.out);
    rmSync(join(folder, "src"), { recursive: true });
    assertShown(await run(folder, process.execPath, "out/control.js"));
  });

  it("tells classes of one name apart by where compiled code lies", async () => {
    const types = (tag: string, value: string) =>
      `import { WireType } from "@aster-rpc/aster";\n@WireType("${tag}") export class A { x: number = ${value}; }`;
    const folder = programs({
      "src/one/types.ts": types("t/A1", "1"),
      "src/two/types.ts": types("t/A2", "1.5"),
      "src/main.ts": `
        import { Service, Rpc, show } from "@aster-rpc/aster";
        import { A as A1 } from "./one/types.js"; import { A as A2 } from "./two/types.js";
        @Service() export class S { @Rpc() m(a: A1): A2 { return new A2(); } @Rpc() n(a: A2): A1 { return new A1(); } }
        show(S);`,
      "src/env.d.ts": ENVIRONMENT,
      "tsconfig.json": COMPILED,
    });
    await gen(folder);
    assert.equal((await run(folder, TSC)).code, 0);
    rmSync(join(folder, "src"), { recursive: true });
    const { out, error } = await run(folder, process.execPath, "out/main.js");
    assert.equal(error, "");
    const shown = JSON.parse(out).types.map((each: { tag: string; fields: { type: { t: string } }[] }) => [
      each.tag,
      each.fields[0]!.type.t,
    ]);
    assert.deepEqual(shown, [
      ["t/A1", "i64"],
      ["t/A2", "f64"],
    ]);
  });

  it("of the folder above is looked into too, and interfaces of the name of a class are not taken for it", async () => {
    const folder = programs({
      "control.ts": CONTROL,
      "part/package.json": '{ "type": "module" }',
      "part/control.ts": CONTROL,
      "other.ts": "export interface Request { a: symbol }",
    });
    await gen(folder);
    writeFileSync(
      join(folder, "part/types.ts"),
      'import { WireType } from "@aster-rpc/aster";\n@WireType("t/B") class B {}',
    );
    await gen(join(folder, "part"));
    const path = join(folder, "part/.aster/metadata.json");
    const metadata = JSON.parse(readFileSync(path, "utf8"));
    const request = { kind: "struct", name: "Request", fields: [] };
    const types = { "part/types.ts#B": metadata.types["types.ts#B"], "other.ts#Request": request };
    writeFileSync(path, JSON.stringify({ format: 1, types, services: {} }));
    assertShown(await tsx(folder, "part/control.ts"));
  });

  it("none: the error says what to do", async () => {
    const { code, error } = await tsx(programs({ "control.ts": CONTROL }), "control.ts");
    assert.equal(code, 1);
    assert.match(error, /run npx aster-gen, or start with node --import @aster-rpc\/aster\/register, or give them/);
  });

  it("that lacks a method or a field is refused", async () => {
    const cases: [RegExp, string, string][] = [
      [
        /count\(/,
        "counted(",
        "Control: .aster/metadata.json does not describe this class as it is (it has no method `count` now)",
      ],
      [/private state/, "@Rpc() async more(): Promise<void> {}\n  private state", "(`more` is missing there)"],
      [
        /id: string/,
        "id2: string = ''; id: string",
        "Request: .aster/metadata.json does not describe this class as it is (`id2` is missing there)",
      ],
      [/count: number = 0;/, "", "(it has no field `count` now)"],
    ];
    for (const [from, to, expected] of cases) {
      const folder = programs({ "control.ts": CONTROL });
      await gen(folder);
      writeFileSync(join(folder, "control.ts"), CONTROL.replace(from, to));
      const { code, error } = await tsx(folder, "control.ts");
      assert.equal(code, 1);
      assert.ok(error.includes(expected), error);
      assert.match(error, /it was generated from control\.ts: run npx aster-gen again/);
    }
  });

  it("that is older than the source warns", async () => {
    const folder = programs({ "control.ts": CONTROL });
    await gen(folder);
    const past = Date.now() / 1000 - 60;
    utimesSync(join(folder, ".aster", "metadata.json"), past, past);
    const { code, error } = await tsx(folder, "control.ts");
    assert.equal(code, 0);
    assert.match(
      error,
      /\[ASTER_STALE_METADATA\] AsterWarning: control\.ts is newer than \.aster\/metadata\.json: if types or methods changed, run npx aster-gen again/,
    );
    assert.equal(error.match(/AsterWarning/g)!.length, 1);
  });

  it("of another form, or damaged, is refused", async () => {
    const folder = programs({ "control.ts": CONTROL, ".aster/metadata.json": '{ "format": 2 }' });
    assert.match(
      (await tsx(folder, "control.ts")).error,
      /was written by another version of aster-gen; run npx aster-gen again/,
    );
    writeFileSync(join(folder, ".aster/metadata.json"), "{");
    assert.match((await tsx(folder, "control.ts")).error, /is not JSON .*; run npx aster-gen again/);
  });

  it("a class whose module is not loaded is an error that says how to load it", async () => {
    const folder = programs(SPREAD);
    await gen(folder);
    const { code, error } = await tsx(folder, "main.ts");
    assert.equal(code, 1);
    assert.match(
      error,
      /Outer: the class is declared in types\.ts, which has not been loaded.*add `import "…\/types\.ts"`/,
    );
  });

  it("classes of one name that nothing tells apart are an error", async () => {
    const same = 'import { WireType } from "@aster-rpc/aster";\n@WireType("t/A") export class A { x: number = 1; }';
    const folder = programs({
      "a.ts": same,
      "b.ts": same,
      "main.js": `
        import { WireType, origin } from "@aster-rpc/aster";
        class A { x = 1; }
        WireType("t/A")(A);
        origin(A);`,
    });
    await gen(folder);
    const { error } = await run(folder, process.execPath, "main.js");
    assert.match(error, /A: a\.ts and b\.ts each declare a class of this name, and nothing says which one this is/);
  });
});

describe("Bun", { skip: BUN === undefined && "bun is not installed" }, () => {
  it("--preload @aster-rpc/aster/register needs no aster-gen", async () => {
    const folder = programs({ "control.ts": CONTROL, ...SPREAD });
    assertShown(await run(folder, BUN!, "--preload", new URL("register.js", import.meta.url).pathname, "control.ts"));
  });
});
