import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { fields, metadata, named } from "./fixtures.spec.js";

const text = (name: string, optional = false, nullable = false) => ({
  name,
  type: { t: "string" },
  optional,
  nullable,
});

function struct(source: string, key = "a.ts#T") {
  return named(metadata(`${source}\n@WireType("t/Uses") class Uses { f!: T; }`), key);
}

describe("classes", () => {
  it("have their tag, their comment and those of their fields", () => {
    const found = metadata(
      '/** A point. */\n@WireType("demo/Point")\nexport class Point {\n  /** Across.\n   * @deprecated */\n  x = "";\n' +
        "  // not this\n  y = '';\n}",
    );
    assert.deepEqual(named(found, "a.ts#Point"), {
      kind: "struct",
      name: "Point",
      tag: "demo/Point",
      class: true,
      fields: [{ ...text("x", true), doc: "Across." }, text("y", true)],
      doc: "A point.",
    });
  });

  it("a comment may stand between decorators and class", () => {
    const found = metadata('@WireType("demo/Point")\n/** A point. */\nexport class Point {}');
    assert.equal((named(found, "a.ts#Point") as { doc?: string }).doc, "A point.");
  });

  it("have inherited fields first, and an overridden one in its place", () => {
    const found = fields('b = ""; own = "";', "class Base<T> { a!: T; b!: T; }").map((each) => each.name);
    assert.deepEqual(found, ["b", "own"]);
    const source =
      'class Base<T> { a!: T; b!: T; }\n@WireType("t/T") class T extends Base<string> { c!: i32; b = ""; }';
    assert.deepEqual((struct(source) as { fields: unknown }).fields, [
      text("a"),
      text("b", true),
      { name: "c", type: { t: "i32" }, optional: false, nullable: false },
    ]);
  });

  it("leave out static, #private and computed members", () => {
    const found = fields('static s = 1; #p = 1; get g() { return 1; } set g(v) {} m() {} "quoted": string = "";');
    assert.deepEqual(found, [text("quoted", true)]);
  });

  it("have fields by parameters of their constructor", () => {
    const found = fields('constructor(public a: string = "", readonly b?: string, plain = 1) {}');
    assert.deepEqual(found, [text("a", true), text("b", true, true)]);
  });

  it("may contain themselves and each other", () => {
    const found = metadata(
      '@WireType("t/A") class A { next?: A; b: B[] = []; }\n@WireType("t/B") class B { a: A | null = null; }',
    );
    assert.deepEqual((named(found, "a.ts#A") as { fields: unknown }).fields, [
      { name: "next", type: { t: "ref", key: "a.ts#A" }, optional: true, nullable: true },
      { name: "b", type: { t: "list", item: { t: "ref", key: "a.ts#B" } }, optional: true, nullable: false },
    ]);
  });

  it("with types in their decorator are not read", () => {
    const found = metadata('@WireType("t/T", { when: t.timestamp }) class T { when: Temporal.Instant = now(); }');
    assert.deepEqual(named(found, "a.ts#T"), {
      kind: "struct",
      name: "T",
      class: true,
      given: true,
      fields: [],
      tag: "t/T",
    });
  });

  it("under a decorator of another package are none of ours", () => {
    const other = 'import { WireType as Other } from "./other.js";\n@Other("x") class T { f!: () => void; }';
    assert.deepEqual(metadata(other, { "other.ts": "export const WireType = (x: string) => () => {};" }).types, {});
  });
});

describe("interfaces and type literals", () => {
  it("an interface", () => {
    const found = struct("/** It. */ interface T { a: string; readonly b?: string; /** Sea. */ c: string | null }");
    assert.deepEqual(found, {
      kind: "struct",
      name: "T",
      fields: [text("a"), text("b", true, true), { ...text("c", false, true), doc: "Sea." }],
      doc: "It.",
    });
  });

  const cases: [string, string, unknown][] = [
    ["a type literal", "type T = { a: string };", [text("a")]],
    ["inheritance", "interface B { a: string } interface T extends B { b: string }", [text("a"), text("b")]],
    ["several declarations", "interface T { a: string } interface T { b: string }", [text("a"), text("b")]],
    ["an intersection", "type B = { a: string }; type T = B & { b: string };", [text("a"), text("b")]],
    ["a form of a generic interface", "interface P<X> { a: X } type T = P<string>;", [text("a")]],
    [
      "a form of a generic alias",
      "type P<X, Y = string> = { a: X; b: Y }; type T = P<string>;",
      [text("a"), text("b")],
    ],
    ["extending a form of one", "interface P<X> { a: X } interface T extends P<string> {}", [text("a")]],
    ["Partial", "interface B { a: string } type T = Partial<B>;", [text("a", true, true)]],
    ["Pick", 'interface B { a: string; b: string } type T = Pick<B, "a">;', [text("a")]],
    ["Omit", 'interface B { a: string; b: string; c: string } type T = Omit<B, "b" | "c">;', [text("a")]],
    ["Partial of a class", 'class B { a = ""; } type T = Partial<B>;', [text("a", true, true)]],
  ];
  for (const [name, source, expected] of cases) {
    it(name, () => {
      assert.deepEqual((struct(source) as { fields: unknown }).fields, expected);
    });
  }

  it("an index signature alone is a map", () => {
    const source = 'interface Tags { [key: string]: string }\n@WireType("t/S") class S { f!: Tags; }';
    const found = named(metadata(source), "a.ts#S") as { fields: readonly { type: unknown }[] };
    assert.deepEqual(found.fields[0]!.type, { t: "map", key: { t: "string" }, value: { t: "string" }, object: true });
  });

  it("a long chain of types", () => {
    const chain = Array.from({ length: 4_000 }, (_, i) => `interface I${i} { next: I${i + 1}[] }`).join("\n");
    const found = metadata(`${chain}\ninterface I4000 { end: string }\n@WireType("t/S") class S { f!: I0; }`);
    assert.equal(Object.keys(found.types).length, 4_002);
  });

  it("the alias of an interface is that interface", () => {
    const found = metadata('interface B { a: string } type T = B;\n@WireType("t/S") class S { f!: T; }');
    assert.deepEqual(Object.keys(found.types), ["a.ts#B", "a.ts#S"]);
  });
});

describe("modules", () => {
  const shapes = {
    "shapes.ts":
      'import { WireType } from "@aster-rpc/aster";\n@WireType("t/P") export class P { x = ""; }\n' +
      "export default interface D { d: string }\nexport interface Q { q: string }\nclass R {}\nexport { R as Renamed };",
    "index.ts":
      'export * from "./shapes.js";\nexport { default as D2 } from "./shapes.js";\nexport * as ns from "./shapes.js";',
    "lib/deep.ts": "export interface Deep { a: string }",
  };
  const use = (imports: string, type: string, others: Record<string, string> = shapes) => {
    const found = named(metadata(`${imports}\n@WireType("t/S") class S { f!: ${type}; }`, others), "a.ts#S");
    return (found as { fields: readonly { type: unknown }[] }).fields[0]!.type;
  };
  const cases: [string, string, string, string][] = [
    ["a relative import", 'import { P } from "./shapes.js";', "P", "shapes.ts#P"],
    ["without extension", 'import { P } from "./shapes";', "P", "shapes.ts#P"],
    ["with .ts", 'import { P } from "./shapes.ts";', "P", "shapes.ts#P"],
    ["import type", 'import type { P } from "./shapes.js";', "P", "shapes.ts#P"],
    ["a renamed import", 'import { P as X } from "./shapes.js";', "X", "shapes.ts#P"],
    ["a default import", 'import Z from "./shapes.js";', "Z", "shapes.ts#D"],
    ["a namespace", 'import * as all from "./shapes.js";', "all.Q", "shapes.ts#Q"],
    ["export *", 'import { Q } from "./index.js";', "Q", "shapes.ts#Q"],
    ["a renamed re-export", 'import { D2 } from "./index.js";', "D2", "shapes.ts#D"],
    ["export * as", 'import { ns } from "./index.js";', "ns.Q", "shapes.ts#Q"],
    ["a folder", 'import { Q } from ".";', "Q", "shapes.ts#Q"],
    ["an import type", "", 'import("./shapes.js").Q', "shapes.ts#Q"],
  ];
  for (const [name, imports, type, key] of cases) {
    it(name, () => assert.deepEqual(use(imports, type), { t: "ref", key }));
  }

  it("tsconfig paths, with extends", () => {
    const others = {
      ...shapes,
      "base.json": '{ "compilerOptions": { "paths": { "@lib/*": ["./lib/*"] } } }',
      "tsconfig.json": '{ /* mine */ "extends": "./base.json", }',
    };
    assert.deepEqual(use('import { Deep } from "@lib/deep";', "Deep", others), { t: "ref", key: "lib/deep.ts#Deep" });
  });

  it("package.json imports", () => {
    const others = { ...shapes, "package.json": '{ "type": "module", "imports": { "#deep": "./lib/deep.ts" } }' };
    assert.deepEqual(use('import { Deep } from "#deep";', "Deep", others), { t: "ref", key: "lib/deep.ts#Deep" });
  });

  it("declarations of packages of all forms, and conditions of tsconfig.json", () => {
    const exports = (conditions: object) => JSON.stringify({ name: "x", exports: { ".": conditions } });
    const others = {
      "tsconfig.json": '{ "compilerOptions": { "customConditions": ["source"] } }',
      "node_modules/esm/package.json": exports({ import: { types: "./e.d.mts" }, require: { types: "./c.d.cts" } }),
      "node_modules/esm/e.d.mts": "export interface T { a: string }",
      "node_modules/cjs/package.json": exports({ require: { types: "./c.d.cts" } }),
      "node_modules/cjs/c.d.cts": "export interface T { a: string }",
      "node_modules/ours/package.json": exports({ source: "./src.ts", types: "./d.d.ts" }),
      "node_modules/ours/src.ts": "export interface T { a: string }",
    };
    const from = (name: string) => use(`import { T } from "${name}";`, "T", others);
    assert.deepEqual(from("esm"), { t: "ref", key: "node_modules/esm/e.d.mts#T" });
    assert.deepEqual(from("cjs"), { t: "ref", key: "node_modules/cjs/c.d.cts#T" });
    assert.deepEqual(from("ours"), { t: "ref", key: "node_modules/ours/src.ts#T" });
  });

  it("declarations of a package", () => {
    const others = {
      "node_modules/pkg/package.json":
        '{ "name": "pkg", "exports": { ".": { "types": "./index.d.ts", "default": "./index.js" } } }',
      "node_modules/pkg/index.d.ts":
        "export interface Theirs { a: string }\nexport declare enum Color { Red = 0 }\nexport declare class Cls { b: string }",
    };
    const from = "node_modules/pkg/index.d.ts";
    assert.deepEqual(use('import { Theirs } from "pkg";', "Theirs", others), { t: "ref", key: `${from}#Theirs` });
    assert.deepEqual(use('import { Color } from "pkg";', "Color", others), { t: "ref", key: `${from}#Color` });
  });

  it("this package under other names, and through a module that passes it on", () => {
    const source =
      'import * as aster from "@aster-rpc/aster";\nimport { WireType as W, i32 as int } from "./mine.js";\n' +
      '@W("t/A") class A { f!: int; g!: aster.u16; }\n@aster.Service() class S { @aster.Rpc() m(a: A): A { return a; } }';
    const found = metadata(source, { "mine.ts": 'export * from "@aster-rpc/aster";' });
    assert.deepEqual(
      (named(found, "a.ts#A") as { fields: readonly { type: unknown }[] }).fields.map((f) => f.type),
      [{ t: "i32" }, { t: "u16" }],
    );
    assert.equal(found.services["a.ts#S"]!.methods.length, 1);
  });

  it("modules that import each other", () => {
    const others = {
      "b.ts":
        'import { WireType } from "@aster-rpc/aster"; import type { A } from "./a.js";\n' +
        '@WireType("t/B") export class B { a?: A; }',
    };
    const found = metadata('import { B } from "./b.js";\n@WireType("t/A") export class A { b?: B; }', others);
    assert.deepEqual(Object.keys(found.types), ["a.ts#A", "b.ts#B"]);
  });
});
