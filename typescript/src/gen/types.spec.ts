import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { fields, fieldType, generated, metadata, named } from "./fixtures.spec.js";

const POINT = '@WireType("t/Point") class Point { x = 0; }\n@WireType("t/Line") class Line { y = 0; }\n';

describe("S2 types of fields", () => {
  const cases: [string, unknown][] = [
    ["string", { t: "string" }],
    ["boolean", { t: "bool" }],
    ["true | false", { t: "bool" }],
    ["number", { t: "f64" }],
    ["bigint", { t: "i64", bigint: true }],
    ["i8", { t: "i8" }],
    ["i32", { t: "i32" }],
    ["u16", { t: "u16" }],
    ["i64", { t: "i64" }],
    ["i64<bigint>", { t: "i64", bigint: true }],
    ["u64", { t: "u64", bigint: true }],
    ["f32", { t: "f32" }],
    ["f64", { t: "f64" }],
    ["duration", { t: "duration" }],
    ["uuid", { t: "uuid" }],
    ["Date", { t: "timestamp" }],
    ["Uint8Array", { t: "bytes" }],
    ["Uint8Array<ArrayBuffer>", { t: "bytes" }],
    ["Buffer", { t: "bytes" }],
    ["any", { t: "any" }],
    ["unknown", { t: "any" }],
    ["object", { t: "any" }],
    ["string[]", { t: "list", item: { t: "string" } }],
    ["readonly string[]", { t: "list", item: { t: "string" } }],
    ["Array<string>", { t: "list", item: { t: "string" } }],
    ["ReadonlyArray<string | null>", { t: "list", item: { t: "nullable", item: { t: "string" } } }],
    ["number[][]", { t: "list", item: { t: "list", item: { t: "f64" } } }],
    ["Set<string>", { t: "list", item: { t: "string" }, unique: true }],
    ["ReadonlySet<i32>", { t: "list", item: { t: "i32" }, unique: true }],
    ["[string, i32]", { t: "tuple", items: [{ t: "string" }, { t: "i32" }] }],
    ["readonly [a: string, b: Date]", { t: "tuple", items: [{ t: "string" }, { t: "timestamp" }] }],
    ["Record<string, unknown>", { t: "map", key: { t: "string" }, value: { t: "any" }, object: true }],
    ["{ [key: string]: boolean }", { t: "map", key: { t: "string" }, value: { t: "bool" }, object: true }],
    ["{ [K in string]: boolean }", { t: "map", key: { t: "string" }, value: { t: "bool" }, object: true }],
    ["Map<i64, string>", { t: "map", key: { t: "i64" }, value: { t: "string" } }],
    ["Map<bigint, string>", { t: "map", key: { t: "i64", bigint: true }, value: { t: "string" } }],
    ["ReadonlyMap<uuid, boolean>", { t: "map", key: { t: "uuid" }, value: { t: "bool" } }],
    ["Readonly<Record<string, f32>>", { t: "map", key: { t: "string" }, value: { t: "f32" }, object: true }],
    ["Point", { t: "ref", key: "a.ts#Point" }],
    ["Point[]", { t: "list", item: { t: "ref", key: "a.ts#Point" } }],
    ["Point | Line", { t: "ref", key: "a.ts#Line|a.ts#Point" }],
    ["NonNullable<Maybe<string>>", { t: "string" }],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a type
    ["`${string}-${string}`", { t: "string" }],
    ["string & { readonly __brand: 'Id' }", { t: "string" }],
    ["(string)", { t: "string" }],
  ];
  for (const [type, expected] of cases) {
    it(type, () => {
      assert.deepEqual(fieldType(type, `${POINT}type Maybe<T> = T | null;`), expected);
    });
  }

  it("randomUUID's type of node:crypto is a uuid", () => {
    assert.deepEqual(fieldType("UUID", 'import type { UUID } from "node:crypto";'), { t: "uuid" });
  });

  it("Buffer imported from node:buffer is bytes", () => {
    assert.deepEqual(fieldType("Buffer", 'import { Buffer } from "node:buffer";'), { t: "bytes" });
  });
});

describe("optional and nullable fields", () => {
  const cases: [string, boolean, boolean][] = [
    ["f!: string;", false, false],
    ['f: string = "";', true, false],
    ["f?: string;", true, true],
    ["f: string | null = null;", true, true],
    ["f!: string | null;", false, true],
    ["f: string | undefined;", true, true],
    ["f?: string | null;", true, true],
    ["f: null | string = null;", true, true],
  ];
  for (const [declaration, optional, nullable] of cases) {
    it(declaration, () => {
      assert.deepEqual(fields(declaration), [{ name: "f", type: { t: "string" }, optional, nullable }]);
    });
  }
});

describe("numbers", () => {
  const cases: [string, string][] = [
    ["f: number = 0;", "i64"],
    ["f: number = -1;", "i64"],
    ["f: number = +1;", "i64"],
    ["f: number = 1_000;", "i64"],
    ["f: number = 0xff;", "i64"],
    ["f: number = 0b1;", "i64"],
    ["f: number = (3 as number);", "i64"],
    ["f: number = 0.0;", "f64"],
    ["f: number = -0.5;", "f64"],
    ["f: number = .5;", "f64"],
    ["f: number = 1.;", "f64"],
    ["f: number = 1e3;", "f64"],
    ["f!: number;", "f64"],
    ["f?: number;", "f64"],
    ["f: number | null = null;", "f64"],
    ["f: number | null = 1;", "i64"],
    ["f: Count = 1;", "i64"],
    ["f = 0;", "i64"],
    ["f = 0.0;", "f64"],
    ["f: f64 = 0;", "f64"],
    ["f: i32 = LIMIT;", "i32"],
    ["f: number[] = [1];", "list"],
  ];
  for (const [declaration, kind] of cases) {
    it(`${declaration} is ${kind}`, () => {
      assert.equal(fields(declaration, "type Count = number; const LIMIT = 3;")[0]!.type.t, kind);
    });
  }

  it("says what it inferred, and where", () => {
    const { inferred } = generated('@WireType("t/S") class S { a: number = 0; b!: number[]; c: i32 = 1; }');
    assert.deepEqual(
      inferred.map(({ what, kind, why }) => [what, kind, why]),
      [
        ["S.a", "i64", "= 0"],
        ["S.b[]", "f64", "no initialiser"],
      ],
    );
    assert.match(inferred[0]!.place.text.slice(inferred[0]!.place.offset), /^number = 0/);
  });
});

describe("fields without a type", () => {
  const cases: [string, unknown][] = [
    ['f = "x";', { t: "string" }],
    ["f = `x`;", { t: "string" }],
    ["f = true;", { t: "bool" }],
    ["f = !0;", { t: "bool" }],
    ["f = 1n;", { t: "i64", bigint: true }],
    ["f = -1n;", { t: "i64", bigint: true }],
    ["f = new Date();", { t: "timestamp" }],
    ["f = new Uint8Array();", { t: "bytes" }],
    ["f = new Set<string>();", { t: "list", item: { t: "string" }, unique: true }],
    ["f = new Map<string, i32>();", { t: "map", key: { t: "string" }, value: { t: "i32" } }],
    ["f = new Point();", { t: "ref", key: "a.ts#Point" }],
    ["f = Color.Red;", { t: "ref", key: "a.ts#Color" }],
  ];
  for (const [declaration, expected] of cases) {
    it(declaration, () => {
      assert.deepEqual(fields(declaration, `${POINT}enum Color { Red }`)[0]!.type, expected);
    });
  }
});

describe("enums", () => {
  const enumOf = (declaration: string) => {
    const found = metadata(`${declaration}\n@WireType("t/S") class S { f!: Level; }`);
    return named(found, "a.ts#Level");
  };
  const low = { name: "low", value: "low" };
  const high = { name: "high", value: "high" };

  it("an enum goes by the names of its members", () => {
    const found = enumOf('/** How loud. */ enum Level { Low, High = 5, Higher, Top = "top" }');
    assert.deepEqual(found, {
      kind: "enum",
      name: "Level",
      values: [
        { name: "Low", value: 0 },
        { name: "High", value: 5 },
        { name: "Higher", value: 6 },
        { name: "Top", value: "top" },
      ],
      doc: "How loud.",
    });
  });

  it("a union of string literals", () => {
    assert.deepEqual(enumOf('type Level = "low" | "high";'), { kind: "enum", name: "Level", values: [low, high] });
  });

  it("@wireType in the comment names it on the wire", () => {
    const found = enumOf('/** How loud.\n * @wireType demo/Level\n */\nexport type Level = "low" | "high";');
    assert.deepEqual(found, { kind: "enum", name: "Level", tag: "demo/Level", values: [low, high], doc: "How loud." });
  });

  it("a constant object goes by its keys", () => {
    const found = enumOf(
      '/** Who. */ const Level = { LOW: "ops.low", HIGH: "ops.high" } as const;\n' +
        "type Level = (typeof Level)[keyof typeof Level];",
    );
    assert.deepEqual(found, {
      kind: "enum",
      name: "Level",
      values: [
        { name: "LOW", value: "ops.low" },
        { name: "HIGH", value: "ops.high" },
      ],
      doc: "Who.",
    });
  });

  it("a constant array of strings", () => {
    const found = enumOf('const LEVELS = ["low", "high"] as const;\ntype Level = (typeof LEVELS)[number];');
    assert.deepEqual(found, { kind: "enum", name: "Level", values: [low, high] });
  });

  it("may be null, the key of a map, and in a container", () => {
    const declared = 'type Level = "low" | "high";';
    const ref = { t: "ref", key: "a.ts#Level" };
    assert.deepEqual(fields("f!: Level | null;", declared)[0], {
      name: "f",
      type: ref,
      optional: false,
      nullable: true,
    });
    assert.deepEqual(fieldType("Record<Level, string>", declared), {
      t: "map",
      key: ref,
      value: { t: "string" },
      object: true,
    });
    assert.deepEqual(fieldType("Level[]", declared), { t: "list", item: ref });
  });

  it("an alias of a nullable union is a nullable enum", () => {
    const [field] = fields("f!: Maybe;", 'type Maybe = "low" | "high" | null;');
    assert.deepEqual(field, { name: "f", type: { t: "ref", key: "a.ts#Maybe" }, optional: false, nullable: true });
  });
});

describe("unions", () => {
  it("have a key and a name by their alias, and no tag", () => {
    const found = metadata(`${POINT}type Shape = Point | Line;\n@WireType("t/S") class S { f!: Shape | null; }`);
    assert.deepEqual(named(found, "a.ts#Shape"), {
      kind: "union",
      name: "Shape",
      members: ["a.ts#Line", "a.ts#Point"],
    });
  });

  it("take in the members of other unions", () => {
    const found = metadata(
      `${POINT}@WireType("t/Dot") class Dot {}\ntype Shape = Point | Line;\n` +
        '@WireType("t/S") class S { f!: Shape | Dot; }',
    );
    const union = named(found, "a.ts#Dot|a.ts#Shape");
    assert.deepEqual(union, {
      kind: "union",
      name: "Dot | Shape",
      members: ["a.ts#Dot", "a.ts#Line", "a.ts#Point"],
    });
  });

  it("may contain themselves, also within other unions", () => {
    const found = metadata(
      '@WireType("t/Add") class Add { left!: Expr; right!: Expr | Neg; }\n@WireType("t/Lit") class Lit { v = 0; }\n' +
        '@WireType("t/Neg") class Neg { of!: Expr | null; }\ntype Expr = Add | Lit;',
    );
    assert.deepEqual(named(found, "a.ts#Expr"), { kind: "union", name: "Expr", members: ["a.ts#Add", "a.ts#Lit"] });
    assert.deepEqual(named(found, "a.ts#Expr|a.ts#Neg"), {
      kind: "union",
      name: "Expr | Neg",
      members: ["a.ts#Add", "a.ts#Lit", "a.ts#Neg"],
    });
  });

  it("a type that contains itself or null stays nullable inside", () => {
    const found = metadata('type List = { next: List } | null;\n@WireType("t/S") class S { f!: List; }');
    assert.deepEqual((named(found, "a.ts#List") as { fields: unknown }).fields, [
      { name: "next", type: { t: "ref", key: "a.ts#List" }, optional: false, nullable: true },
    ]);
  });

  it("have a tag if their comment has", () => {
    const found = metadata(
      `${POINT}/** @wireType t/Shape */ type Shape = Point | Line;\n@WireType("t/S") class S { f!: Shape; }`,
    );
    assert.equal((named(found, "a.ts#Shape") as { tag?: string }).tag, "t/Shape");
  });

  it("may be of interfaces, which $type names on the wire", () => {
    const found = metadata(
      'interface A { $type: "t/A"; x: string }\ntype B = { readonly $type?: "t/B"; y: string };\n' +
        '@WireType("t/S") class S { f!: A | B; }',
    );
    assert.deepEqual(named(found, "a.ts#A"), {
      kind: "struct",
      name: "A",
      tag: "t/A",
      fields: [{ name: "x", type: { t: "string" }, optional: false, nullable: false }],
    });
    assert.equal((named(found, "a.ts#B") as { tag?: string }).tag, "t/B");
  });

  it("with any are any", () => {
    assert.deepEqual(fieldType("string | unknown"), { t: "any" });
  });
});
