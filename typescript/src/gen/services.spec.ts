import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { metadata, method } from "./fixtures.spec.js";

const TYPES = '@WireType("t/Q") class Q {}\n@WireType("t/A") class A {}\n';
const Q = { t: "ref", key: "a.ts#Q" };
const A = { t: "ref", key: "a.ts#A" };
const req = { name: "req", type: Q, optional: false };

describe("S1 the four kinds of methods", () => {
  const cases: [string, Record<string, unknown>][] = [
    ["@Rpc() async m(req: Q): Promise<A> {}", { pattern: "unary", parameters: [req], response: A }],
    ["@Rpc async m(req: Q): Promise<A> {}", { pattern: "unary", parameters: [req], response: A }],
    ["@Rpc({ idempotent: true }) m(req: Q): A {}", { pattern: "unary", parameters: [req], response: A }],
    ["@Rpc() async m(req: Q): Promise<void> {}", { pattern: "unary", parameters: [req], response: { t: "null" } }],
    [
      "@Rpc() async m(req: Q): Promise<A | null> {}",
      { pattern: "unary", parameters: [req], response: { t: "nullable", item: A } },
    ],
    [
      "@Rpc() async m({ a, b }: Q): Promise<A> {}",
      { pattern: "unary", parameters: [{ ...req, name: "request" }], response: A },
    ],
    [
      "@ServerStream() async *m(req: Q): AsyncGenerator<A> {}",
      { pattern: "server_stream", parameters: [req], response: A },
    ],
    [
      "@ServerStream() async *m(req: Q): AsyncGenerator<A, void, unknown> {}",
      { pattern: "server_stream", parameters: [req], response: A },
    ],
    ["@ServerStream() m(req: Q): AsyncIterable<A> {}", { pattern: "server_stream", parameters: [req], response: A }],
    [
      "@ServerStream() m(req: Q): Promise<AsyncIterable<A>> {}",
      { pattern: "server_stream", parameters: [req], response: A },
    ],
    ["@ServerStream() *m(req: Q): Generator<A> {}", { pattern: "server_stream", parameters: [req], response: A }],
    ["@ServerStream() m(req: Q): Answers {}", { pattern: "server_stream", parameters: [req], response: A }],
    [
      "@ClientStream() async m(req: AsyncIterable<Q>): Promise<A> {}",
      { pattern: "client_stream", parameters: [req], response: A },
    ],
    [
      "@BidiStream() async *m(req: AsyncIterable<Q>): AsyncGenerator<A> {}",
      { pattern: "bidi_stream", parameters: [req], response: A },
    ],
  ];
  for (const [source, expected] of cases) {
    it(source, () => {
      assert.deepEqual(method(source, `${TYPES}type Answers = AsyncIterable<A>;`), {
        name: "m",
        context: false,
        ...expected,
      });
    });
  }
});

describe("S4 parameters", () => {
  it("plain ones, with defaults", () => {
    const found = method('@Rpc() add(a: number, b: number = 1, c?: string, d: string = ""): number { return 1; }');
    assert.deepEqual(found.parameters, [
      { name: "a", type: { t: "f64" }, optional: false },
      { name: "b", type: { t: "i64" }, optional: true },
      { name: "c", type: { t: "string" }, optional: true },
      { name: "d", type: { t: "string" }, optional: true },
    ]);
    assert.deepEqual(found.response, { t: "f64" });
  });

  it("none", () => {
    assert.deepEqual(method("@Rpc() m(): void {}").parameters, []);
  });

  it("S5 a CallContext comes last and is not sent", () => {
    for (const last of ["ctx: CallContext", "ctx?: CallContext", "ctx: CallContext | undefined"]) {
      const found = method(`@Rpc() m(this: S, req: Q, ${last}): A {}`, TYPES);
      assert.equal(found.context, true);
      assert.deepEqual(found.parameters, [req]);
    }
    const stream = method(
      "@BidiStream() async *m(req: AsyncIterable<Q>, ctx: CallContext): AsyncIterable<A> {}",
      TYPES,
    );
    assert.equal(stream.context, true);
    assert.deepEqual(stream.parameters, [req]);
  });
});

describe("service classes", () => {
  it("have comments, and only their decorated methods", () => {
    const found = metadata(
      `${TYPES}/** Serves. */\n@Service({ name: "X", version: 2 })\nexport default class S {\n` +
        "  private state = () => 1;\n  /** Says.\n   * @param req asked */\n  @Rpc() m(req: Q): A { return new A(); }\n" +
        "  helper(f: () => void) {}\n}",
    );
    assert.deepEqual(found.services, {
      "a.ts#S": {
        name: "S",
        methods: [{ name: "m", pattern: "unary", parameters: [req], context: false, response: A, doc: "Says." }],
        doc: "Serves.",
      },
    });
  });

  it("inherit methods, also generic ones", () => {
    const found = metadata(
      `${TYPES}class Base<T> { @Rpc() a(req: T): T { return req; } @Rpc() b(req: T): A { return new A(); } }\n` +
        "@Service() class S extends Base<Q> { @Rpc() b(req: A): A { return req; } }",
    );
    const methods = found.services["a.ts#S"]!.methods;
    assert.deepEqual(
      methods.map((each) => [each.name, each.parameters[0]!.type, each.response]),
      [
        ["a", Q, Q],
        ["b", A, A],
      ],
    );
  });

  it("methods with types in their decorator are not read", () => {
    const found = method("@Rpc({ request: X, response: t.null }) m(req, ctx: CallContext) {}");
    assert.deepEqual(found, {
      name: "m",
      pattern: "unary",
      parameters: [],
      context: true,
      response: { t: "any" },
      given: true,
    });
  });

  it("classes inside functions are left out", () => {
    assert.deepEqual(metadata(`${TYPES}function f() { @Service() class S { @Rpc() m(req: Q): A {} } }`).services, {});
  });
});
