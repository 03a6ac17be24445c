import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { problems } from "./fixtures.spec.js";

/** The body of a wire type, or of a service that has one. */
const W = (body: string) => `@WireType("t/S") class S { ${body} }`;
const R = (body: string) => `@WireType("t/Q") class Q {}\n@Service() class S { ${body} }`;

const OTHERS = {
  "b.ts": "",
  "node_modules/pkg/package.json": '{ "types": "./i.d.ts" }',
  "node_modules/pkg/i.d.ts": "export declare class C { a: string }",
};

/** Source, and what is said of it. */
const CASES: readonly [string, ...string[]][] = [
  [
    W("f: number = LIMIT;"),
    "a.ts:1:31: S.f: `number` with the initialiser `LIMIT` may be an integer or a float; write i64 or f64 (or i32, u32, f32 …) from @aster-rpc/aster instead of number",
  ],
  [
    W("f: number = NaN;"),
    "a.ts:1:31: S.f: `number` with the initialiser `NaN` may be an integer or a float; write i64 or f64 (or i32, u32, f32 …) from @aster-rpc/aster instead of number",
  ],
  [W("f: () => void = () => {};"), "a.ts:1:31: S.f: a function cannot be sent; remove it, or send what it returns"],
  [W("f!: symbol;"), "a.ts:1:32: S.f: a symbol cannot be sent; use a string"],
  [W("f!: never;"), "a.ts:1:32: S.f: `never` has no values; remove it"],
  [W("f!: this;"), "a.ts:1:32: S.f: `this` has no name on the wire; write the name of the type"],
  [W("f!: keyof Q;"), "a.ts:1:32: S.f: `keyof` cannot be sent; declare a union of string literals"],
  [W("f!: Missing;"), "a.ts:1:32: S.f: `Missing` is not declared or imported here"],
  [W("f!: Promise<string>;"), "a.ts:1:32: S.f: `Promise` cannot be sent; write the type that it resolves to"],
  [W("f!: Array;"), "a.ts:1:32: S.f: `Array` needs to say of what; write Array<T>"],
  [W("f!: Map<string>;"), "a.ts:1:32: S.f: `Map` needs to say of what; write Map<K, V>"],
  [W("f!: URL;"), "a.ts:1:32: S.f: `URL` cannot be sent; use a string"],
  [W("f!: String;"), "a.ts:1:32: S.f: `String` cannot be sent; write string"],
  [W("f!: ReturnType<typeof x>;"), "a.ts:1:32: S.f: `ReturnType` cannot be sent; write the type out"],
  [
    W("f!: T extends string ? 1 : 2;"),
    "a.ts:1:32: S.f: `T extends string ? 1 : 2` is computed by the compiler; write the type out",
  ],
  [
    W("f!: Map<number, string>;"),
    "a.ts:1:36: S.f key: a float cannot be the key of a map; write i64 (or i32, u32 …) from @aster-rpc/aster instead of number",
  ],
  [
    W("f!: Map<Date, string>;"),
    "a.ts:1:36: S.f key: `Date` cannot be the key of a map; use string, an integer type, boolean, uuid or an enum",
  ],
  [
    W("f!: Record<i32, string>;"),
    "a.ts:1:39: S.f: the keys of an object are text, so `i32` cannot be its key; use Map<i32, …>",
  ],
  [
    W("f!: string | number;"),
    "a.ts:1:32: S.f: `string | number` cannot be sent: a union is `T | null`, of string literals, or of classes and interfaces; use unknown for a value of any type",
  ],
  [
    W('f!: "a" | "b";'),
    'a.ts:1:32: S.f: an enum needs a name on the wire; declare `type Name = "a" | "b"` and use it here',
  ],
  [
    W('f!: "a";'),
    'a.ts:1:32: S.f: a field that is always "a" carries nothing; remove it (members of a union are told apart by their wire type), or write string',
  ],
  [
    W('f!: "a" | number;'),
    "a.ts:1:32: S.f: string literals and other types in one union cannot be told apart on the wire; use unknown for a value of any type",
  ],
  [
    W("f!: 1 | 2;"),
    "a.ts:1:32: S.f: a literal number has no type on the wire; use i64 or f64, or an enum whose values are numbers",
    "a.ts:1:36: S.f: a literal number has no type on the wire; use i64 or f64, or an enum whose values are numbers",
  ],
  [
    W("f!: { a: string };"),
    "a.ts:1:32: S.f: a type with fields needs a name on the wire; declare it as an interface, a type or a class and use its name here",
  ],
  [
    W("f!: [string, ...number[]];"),
    "a.ts:1:41: S.f[1]: a tuple has a fixed length; use an array instead of a rest element",
  ],
  [W("f!: [string?];"), "a.ts:1:33: S.f[0]: an item of a tuple cannot be left out; use `T | null`"],
  [
    W("f!: AsyncIterable<string>;"),
    "a.ts:1:32: S.f: `AsyncIterable` cannot be sent; a stream is the parameter or the result of a streaming method",
  ],
  [W("f!: CallContext;"), "a.ts:1:32: S.f: a CallContext is the last parameter of a method, and is not sent"],
  [
    `${W("f!: Plain;")}\nclass Plain { x = 1 }`,
    'a.ts:1:32: S.f: the class Plain is not decorated, so its values could not be made; decorate it with @WireType("area/Plain"), or make it an interface',
  ],
  [
    `${W("f!: P<string>;")}\ninterface P<T> { a: T }`,
    "a.ts:1:32: S.f: each form of the generic type P needs a name on the wire; declare `type Name = P<string>` and use it here",
  ],
  [
    `${W("f!: G;")}\n@WireType("t/G") class G<T> { a!: T }`,
    "a.ts:1:32: S.f: G is a generic class, whose forms have no names on the wire; make a class without type parameters that extends it",
    "a.ts:2:1: G: G is a generic class, whose forms have no names on the wire; make a class without type parameters that extends it",
  ],
  [`${W("f!: V;")}\nconst V = 1;`, "a.ts:1:32: S.f: `V` is a value, not a type"],
  [
    `${W("f!: J;")}\ntype J = J[];`,
    "a.ts:2:10: S.f[]: `J` contains itself without a name of its own; use an interface, or unknown",
  ],
  [
    `${W("f!: L;")}\ntype L = "a-b" | "c";`,
    'a.ts:2:10: L: "a-b" cannot be the name of a value on the wire, which is an identifier; declare `const L = { NAME: "a-b" } as const` and `type L = (typeof L)[keyof typeof L]`',
  ],
  [`${W("f!: E;")}\nenum E { A = f() }`, "a.ts:2:10: E: the value of this member is not a literal; write it out"],
  [`${W("f!: E;")}\nenum E {}`, "a.ts:2:1: E: an enum without values cannot be sent"],
  [
    `${W("f!: (typeof X)[keyof typeof X];")}\nconst X = { A: 1 } as const;`,
    "a.ts:1:32: S.f: an enum needs a name on the wire; declare `type X = (typeof X)[keyof typeof X]` and use it here",
  ],
  [
    `${W("f!: X;")}\nconst X = { A: 1 }; type X = (typeof X)[keyof typeof X];`,
    "a.ts:2:30: S.f: `X` must be a constant of literals with `as const` to be an enum",
  ],
  [W("f = make();"), "a.ts:1:28: S.f: nothing says what type it has; write `f: Type`"],
  [W("f = [];"), "a.ts:1:28: S.f: nothing says what type it has; write `f: Type`"],
  [W("f;"), "a.ts:1:28: S.f: nothing says what type it has; write `f: Type`"],
  [W("f = null;"), "a.ts:1:28: S.f: nothing says what type it has; write `f: Type`"],
  [
    W("private f = 1;"),
    "a.ts:1:36: S.f: a private field of a wire type would be sent like any other; write `#f` for one that stays here, or make it public",
  ],
  [
    W("protected f = 1;"),
    "a.ts:1:38: S.f: a protected field of a wire type would be sent like any other; write `#f` for one that stays here, or make it public",
  ],
  [W("accessor f = 1;"), "a.ts:1:37: S.f: an accessor is not a field; remove `accessor`"],
  [W("[key] = 1;"), "a.ts:1:28: S: a field with a computed name cannot be read from the source; name it"],
  [
    W("[k: string]: number;"),
    "a.ts:1:28: S: a struct has no fields but its declared ones; use a field of type Record<string, …>",
  ],
  [W("f!: null;"), "a.ts:1:28: S.f: a field that is always null carries nothing; remove it, or give it a type"],
  [W("$f = 1;"), "a.ts:1:28: S.$f: the name of a field is an identifier; rename it"],
  [
    W("constructor(a: string, b?: string) {}"),
    "a.ts:1:40: S: values are made by `new S()`, so its constructor must accept no arguments; give `a: string` a default or a `?`",
  ],
  [
    'class B { constructor(a: string) {} }\n@WireType("t/S") class S extends B {}',
    "a.ts:1:23: S: values are made by `new S()`, so its constructor must accept no arguments; give `a: string` a default or a `?`",
  ],
  [
    '@WireType("t/S") abstract class S {}',
    "a.ts:1:1: S: an abstract class has no values of its own; remove `abstract`",
  ],
  [
    '@WireType("t/S") class S extends Map {}',
    "a.ts:1:34: S: `Map` is not a class of this project, so its fields are not known",
  ],
  [
    '@WireType("t/S") class S extends mix(A) {}',
    "a.ts:1:34: S: `mix(A)` is not a class of this project, so its fields are not known",
  ],
  [
    W("constructor(private a = 1) {}"),
    "a.ts:1:40: S.a: a private field of a wire type would be sent like any other; make it public",
  ],
  [
    `${W("f!: I;")}\ninterface I { m(): void }`,
    "a.ts:2:15: I.m: a function cannot be sent; remove it, or send what it returns",
  ],
  [
    `${W("f!: I;")}\ninterface I { (): void }`,
    "a.ts:2:15: I: a function cannot be sent; remove it, or send what it returns",
  ],
  [
    `${W("f!: I;")}\ninterface I { a: string; [k: string]: string }`,
    "a.ts:2:26: I: a struct has no fields but its declared ones; use a field of type Record<string, …>",
  ],
  [
    `${W("f!: I;")}\ninterface I { $type: string }`,
    'a.ts:2:15: I: `$type` names the type on the wire; write $type: "area/I"',
  ],
  [`${W("f!: I;")}\ninterface I extends Q {}`, "a.ts:2:21: I: `Q` is not declared or imported here"],
  [
    `${W("f!: I;")}\ninterface B { a: string }; type I = Omit<B, K>;`,
    "a.ts:2:45: I: the names in Omit<…> must be string literals",
  ],
  [
    'import { X } from "./none.js";\n@WireType("t/S") class S { f!: X; }',
    "a.ts:2:32: S.f: `X` is not known, because `./none.js` cannot be found",
  ],
  [
    'import { X } from "./b.js";\n@WireType("t/S") class S { f!: X; }',
    "a.ts:2:32: S.f: `X` is not known, because `./b.js` does not export `X`",
  ],
  [
    'import { C } from "pkg";\n@WireType("t/S") class S { f!: C; }',
    "a.ts:2:32: S.f: C is declared in node_modules/pkg/i.d.ts, where decorators and defaults of a class are not to be seen; use an interface, or import the class from its source",
  ],
  [
    'import { C } from "pkg";\n@WireType("t/S") class S extends C {}',
    "a.ts:2:34: S: C is declared in node_modules/pkg/i.d.ts, where defaults of a class are not to be seen",
  ],
  [
    R("@Rpc() m(req: Q) {}"),
    "a.ts:2:29: S.m: nothing says what it returns; write `: Promise<Answer>` after its parameters",
  ],
  [R("@Rpc() m(req): Q {}"), "a.ts:2:31: S.m: nothing says what type `req` has; write `req: Type`"],
  [R("@Rpc() m(...q: Q[]): Q {}"), "a.ts:2:31: S.m: a rest parameter has no fixed fields; take an array instead"],
  [
    R("@Rpc() m(q: AsyncIterable<Q>): Q {}"),
    "a.ts:2:34: S.m(q): only @ClientStream and @BidiStream methods take a stream; use one of them, or an array",
  ],
  [
    R("@Rpc() async *m(q: Q): AsyncGenerator<Q> {}"),
    "a.ts:2:45: S.m: a @Rpc method returns one answer; use @ServerStream for a stream",
  ],
  [
    R("@ServerStream() async m(q: Q): Promise<Q> {}"),
    "a.ts:2:53: S.m: a @ServerStream method returns a stream; write `: AsyncGenerator<Item>`, or use @Rpc for one answer",
  ],
  [
    R("@ClientStream() async m(q: Q): Promise<Q> {}"),
    "a.ts:2:49: S.m(q): a @ClientStream method takes a stream; write `q: AsyncIterable<Item>`",
  ],
  [
    R("@ClientStream() async m(): Promise<Q> {}"),
    "a.ts:2:44: S.m: a @ClientStream method takes one stream, such as `items: AsyncIterable<Item>`, and perhaps a CallContext",
  ],
  [
    R("@BidiStream() async *m(a: AsyncIterable<Q>, b: Q): AsyncGenerator<Q> {}"),
    "a.ts:2:66: S.m: a @BidiStream method takes one stream, such as `items: AsyncIterable<Item>`, and perhaps a CallContext",
    "a.ts:2:69: S.m(b): a @BidiStream method takes a stream; write `b: AsyncIterable<Item>`",
  ],
  [
    R("@BidiStream() async m(a: AsyncIterable<Q>): Promise<Q> {}"),
    "a.ts:2:66: S.m: a @BidiStream method returns a stream; write `: AsyncGenerator<Item>`, or use @ClientStream for one answer",
  ],
  [
    R("@ClientStream() m(a: AsyncIterable<Q>): AsyncIterable<Q> {}"),
    "a.ts:2:62: S.m: a @ClientStream method returns one answer; use @BidiStream for a stream",
  ],
  [R("@Rpc() static m(q: Q): Q {}"), "a.ts:2:36: S.m: @Rpc marks a method of instances; make it one"],
  [R("@Rpc() #m(q: Q): Q {}"), "a.ts:2:29: S: a method with a computed or private name cannot be called; name it"],
  [R("@Rpc() m = () => 1;"), "a.ts:2:29: S.m: @Rpc marks a method of instances; make it one"],
  [
    R("@Rpc() m(q: { a: string }): Promise<{ b: string }> {}"),
    "a.ts:2:34: S.m(q): a type with fields needs a name on the wire; declare it as an interface, a type or a class and use its name here",
    "a.ts:2:58: S.m result: a type with fields needs a name on the wire; declare it as an interface, a type or a class and use its name here",
  ],
  [R("@Rpc() $m(q: Q): Q {}"), "a.ts:2:29: S.$m: the name of a method is an identifier; rename it"],
  [
    R("@Rpc() m(q: number = LIMIT): Q {}"),
    "a.ts:2:34: S.m(q): `number` with the initialiser `LIMIT` may be an integer or a float; write i64 or f64 (or i32, u32, f32 …) from @aster-rpc/aster instead of number",
  ],
  ["class {", "a.ts:1:8: Expected `}` but found `EOF`"],
];

describe("S2 what cannot be mapped fails by file, line and column, and says what to write", () => {
  for (const [source, ...expected] of CASES) {
    it(source.replaceAll("\n", " "), () => assert.deepEqual(problems(source, OTHERS), expected));
  }

  it("all problems of all files are reported at once, in order", () => {
    const found = problems(`import { B } from "./bad.js";\n${W("a!: URL; b!: B; c!: symbol;")}`, {
      "bad.ts": 'import { WireType } from "@aster-rpc/aster";\n@WireType("t/B") export class B { x: number = f(); }',
    });
    assert.deepEqual(
      found.map((each) => each.replace(/: .*/, "")),
      ["a.ts:2:32", "a.ts:2:48", "bad.ts:2:38"],
    );
  });

  it("source that refers to itself without end", () => {
    const sources = [
      `${W("f!: I;")}\ninterface I extends I {}`,
      `${W("f!: A;")}\ntype A = A & { x: string };`,
      `${W("f!: P;")}\ntype P<T = T> = T[];`,
      W("f!: string;").replace("class S", "class S extends S"),
      R("@Rpc() m(q: Q): Q {}").replace("class S", "class S extends S"),
      `${R("@Rpc() m(q: Q): L {}")}\ntype L = L;`,
      `${W("f!: X;")}\ntype X = Partial<X>;`,
      `${W("f!: G<string>;")}\ntype G<T> = G<T[]>;`,
    ];
    for (const source of sources) {
      const found = problems(source);
      assert.notEqual(found.length, 0, source);
      for (const each of found)
        assert.match(each, /refers to itself without end, or is nested too deep|contains itself/);
    }
  });

  it("a problem that several types reach is reported once", () => {
    assert.equal(problems(`${W("a!: I; b!: I;")}\ninterface I { f: symbol }`).length, 1);
  });
});
