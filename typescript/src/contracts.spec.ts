/** The shared tables of contracts and values: equal services have equal ids in every language. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { codecOf, decodeAny, encodeAny } from "./codec/codec.js";
import { contractOf, native } from "./port.js";
import { defineService, rpc, serverStream, specOfDefinition } from "./service/define.js";
import { describeService, readService } from "./service/describe.js";
import type { MethodSpec, ServiceSpec } from "./service/model.js";
import { type AnyType, type Fields, type Token, t } from "./service/tokens.js";

interface GivenType {
  t: string;
  item: GivenType;
  items: GivenType[];
  key: GivenType;
  value: GivenType;
  unique?: boolean;
  tag: string;
}
interface GivenNamed {
  kind: string;
  tag: string;
  values: string[];
  members: string[];
  fields: { name: string; type: GivenType; required?: boolean; nullable?: boolean }[];
}
interface GivenService {
  name: string;
  version: number;
  scope?: "shared" | "session";
  methods: { name: string; pattern: string; request: GivenType; response: GivenType; idempotent?: boolean }[];
  types?: GivenNamed[];
}

function vectors(name: string): any {
  return JSON.parse(readFileSync(new URL(`../../conformance/vectors/${name}`, import.meta.url), "utf8"));
}

/** The tokens that a TypeScript program would write for the types of a description. */
class Builder {
  readonly #given: Map<string, GivenNamed>;
  readonly #made = new Map<string, Token<any, any>>();

  constructor(given: GivenNamed[]) {
    this.#given = new Map(given.map((each) => [each.tag, each]));
  }

  type(given: GivenType): Token<any, any> {
    switch (given.t) {
      case "list":
        return given.unique === true ? t.set(this.type(given.item)) : t.list(this.type(given.item));
      case "tuple":
        return t.tuple(...given.items.map((item) => this.type(item)));
      case "map":
        return given.key.t === "string"
          ? t.record(this.type(given.value))
          : t.map(this.type(given.key), this.type(given.value));
      case "nullable":
        return this.type(given.item).nullable();
      case "ref":
        return t.lazy(() => this.named(given.tag));
      case "i64":
        return t.bigint;
      default:
        return (t as unknown as Record<string, Token<any, any>>)[given.t]!;
    }
  }

  named(tag: string): Token<any, any> {
    const made = this.#made.get(tag);
    if (made !== undefined) return made;
    const given = this.#given.get(tag)!;
    let token: Token<any, any>;
    if (given.kind === "enum") token = t.enum(tag, given.values);
    else if (given.kind === "union")
      token = t.namedUnion(tag, ...given.members.map((each) => t.lazy(() => this.named(each))));
    else {
      const fields: Record<string, AnyType> = {};
      token = t.struct(tag, fields as Fields);
      this.#made.set(tag, token);
      for (const each of given.fields) {
        const type = each.nullable === true ? this.type(each.type).nullable() : this.type(each.type);
        // The default itself is not part of the contract, only that there is one.
        fields[each.name] = each.required === true ? type : type.default(() => null);
      }
    }
    this.#made.set(tag, token);
    return token;
  }
}

function specOf(given: GivenService): ServiceSpec {
  const builder = new Builder(given.types ?? []);
  const methods = given.methods.map(
    (each): MethodSpec => ({
      name: each.name,
      attribute: each.name,
      pattern: each.pattern as MethodSpec["pattern"],
      request: builder.type(each.request).shape(),
      response: builder.type(each.response).shape(),
      parameters: null,
      takesContext: false,
      timeoutMs: null,
      idempotent: each.idempotent === true,
      requires: null,
      metadata: {},
      doc: "",
    }),
  );
  return {
    name: given.name,
    where: "a test",
    version: given.version,
    session: given.scope === "session",
    requires: null,
    serialization: "msgpack",
    interceptors: [],
    metadata: {},
    cls: null,
    doc: () => "",
    methods: () => methods,
  };
}

describe("contracts", () => {
  const cases: { name: string; description: GivenService; id: string }[] = vectors("contracts.json").contracts;
  assert.ok(cases.length >= 40);
  for (const { name, description, id } of cases) {
    test(`K1 the id of ${name}`, () => {
      assert.equal(contractOf(specOf(description)).id, id);
    });
  }

  test("K1 documentation, time limits and defaults are beside the contract, not in its id", () => {
    const one = defineService({
      name: "Same",
      methods: { m: rpc(t.struct("k/Req", { a: t.i64.default(1) }), t.null) },
    });
    const two = defineService({
      name: "Same",
      metadata: { team: "x" },
      methods: {
        m: rpc(t.struct("k/Req", { a: t.i64.default(2).doc("A number.") }), t.null, {
          timeoutMs: 3_000,
          metadata: { k: "v" },
        }),
      },
    });
    const [first, second] = [one, two].map((each) => contractOf(specOfDefinition(each)!));
    assert.equal(first!.id, second!.id);
    const { manifest } = decodeAny(second!.describe()) as { manifest: any };
    assert.deepEqual(manifest.metadata, { team: "x" });
    assert.deepEqual(manifest.methods.m, { timeout_ms: 3000, metadata: { k: "v" } });
    assert.deepEqual(manifest.types["k/Req"], { fields: { a: { default: 2, doc: "A number." } } });
  });

  test("K1 a contract that cannot be says where", () => {
    const bad = defineService({ name: "Not a name", methods: { m: rpc(t.struct("k/R", {}), t.null) } });
    assert.throws(
      () => contractOf(specOfDefinition(bad)!),
      /the service Not a name \(defineService Not a name\) has no valid contract: .*name/,
    );
  });
});

describe("values", () => {
  const { types, valid } = vectors("values.json") as {
    types: GivenNamed[];
    valid: { name: string; type: GivenType; msgpack: string; mode?: string }[];
  };
  for (const each of valid.filter(({ mode }) => (mode ?? "receive") === "receive")) {
    test(`K1 ${each.name}`, () => {
      const payload = Buffer.from(each.msgpack, "hex");
      const method = { name: "m", pattern: "unary", request: each.type, response: { t: "null" } };
      const contract = native().contract(encodeAny({ name: "S", version: 1, methods: [method], types }));
      const dynamic = codecOf(readService(contract.describe()).methods.get("m")!.request);
      const typed = codecOf(new Builder(types).type(each.type).shape());
      for (const codec of [dynamic, typed]) {
        const value = codec.decode(payload);
        // A Date has milliseconds: what is finer is cut off, and the earliest nanoseconds are before the earliest Date.
        if (each.name.includes("timestamp")) continue;
        const again = new Uint8Array(codec.encode(value));
        native().check(contract, "m", "request", again, true);
        assert.deepEqual(codec.decode(again), value);
        // Durations have the precision of a double; all other values come back as they were.
        if (each.name.includes("duration") || each.name === "entry with everything") continue;
        const [before, after] = [decodeAny(payload), decodeAny(again)];
        if (codec === dynamic && !/float|f32|f64|unknown/.test(each.name)) assert.deepEqual(after, before);
      }
    });
  }

  test("K1 the description of a service is read back as it was given", () => {
    const Item = t.struct("d/Item", { n: t.i64, list: t.list(t.string).default(() => []) });
    const definition = defineService({ name: "D", methods: { get: rpc(Item, t.null), all: serverStream(Item, Item) } });
    const spec = specOfDefinition(definition)!;
    const read = readService(contractOf(spec).describe());
    assert.deepEqual([...read.methods.keys()].sort(), ["all", "get"]);
    assert.equal(read.session, false);
    assert.deepEqual(Object.keys(describeService(spec)), ["name", "version", "scope", "methods", "types", "manifest"]);
  });
});
