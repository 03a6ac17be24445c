/** Decorators in both of their forms, and types that are given instead of read. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  BidiStream,
  type CallContext,
  ClientStream,
  defineService,
  Rpc,
  rpc,
  SchemaError,
  ServerStream,
  Service,
  t,
  WireType,
} from "@aster-rpc/aster";
import { testPair } from "@aster-rpc/aster/testing";
import { all, caught } from "./support.js";

@WireType("deco/Item", { id: t.i64, label: t.string, tags: t.list(t.string) })
class Item {
  id!: number;
  label = "none";
  tags: string[] = [];
}

@Service
class Bare {
  @Rpc({ request: Item, response: Item })
  async same(item: Item): Promise<Item> {
    if (!(item instanceof Item)) throw new Error("no Item");
    return item;
  }

  @Rpc({ parameters: { a: t.i64, b: t.i64.default(5) }, response: t.i64, name: "plus", timeoutMs: 5_000 })
  add(a: number, b: number, ctx: CallContext): number {
    return a + b + (ctx.peer === "" ? 1 : 0);
  }

  @ServerStream({ request: Item, response: t.string })
  async *labels(item: Item): AsyncGenerator<string> {
    yield* item.tags;
  }

  @ClientStream({ request: t.i64, response: t.i64 })
  async sum(numbers: AsyncIterable<number>): Promise<number> {
    let sum = 0;
    for await (const each of numbers) sum += each;
    return sum;
  }

  @BidiStream({ request: t.string, response: t.string })
  async *upper(texts: AsyncIterable<string>): AsyncGenerator<string> {
    for await (const text of texts) yield text.toUpperCase();
  }

  helper(): string {
    return "not a method";
  }
}

class Derived extends Bare {
  // An override need not be decorated again.
  override async same(item: Item): Promise<Item> {
    return Object.assign(await super.same(item), { label: "derived" });
  }
}

function item(id: number): Item {
  return Object.assign(new Item(), { id, tags: ["a", "b"] });
}

describe("decorators", () => {
  test("S1 bare, with types given, in all four kinds", async () => {
    await using pair = await testPair([new Bare()]);
    const bare = pair.client.client(Bare);
    assert.deepEqual(await bare.same(item(7)), item(7));
    assert.equal(await bare.add(1, 2), 3);
    assert.deepEqual(await all(bare.labels.stream(item(1))), ["a", "b"]);
    assert.equal(await bare.sum([1, 2, 3]), 6);
    const channel = bare.upper.bidi();
    await channel.send("x");
    assert.equal((await channel.next()).value, "X");
    await channel.close();
    const proxy = pair.client.proxy("Bare");
    assert.equal(await proxy.plus({ a: 1 }), 6, "name renames, defaults are taken");
    assert.match((await caught(proxy.add({ a: 1 }))).message, /Bare has no method "add"/);
    assert.match((await caught(proxy.helper({}))).message, /has no method "helper"/);
    assert.match((await caught(proxy.same({}))).message, /`id` at \$\.id: missing required field of deco\/Item/);
  });

  test("S1 methods are inherited and may be overridden", async () => {
    await using pair = await testPair([new Derived()]);
    assert.equal((await pair.client.client(Bare).same(item(1))).label, "derived");
  });

  test("S1 the forms of @Service", async () => {
    const method = { parameters: {}, response: t.string } as const;
    @Service("Named", { version: 3 })
    class One {
      @Rpc(method)
      get(): string {
        return "one";
      }
    }
    @Service({ name: "Options", metadata: { team: "x" } })
    class Two {
      @Rpc(method)
      get(): string {
        return "two";
      }
    }
    @Service()
    class Three {
      @Rpc(method)
      get(): string {
        return "three";
      }
    }
    await using pair = await testPair([new One(), new Two(), new Three()]);
    const offered = pair.client.services().map((each) => `${each.name} ${each.version} ${each.scope}`);
    assert.deepEqual(offered.sort(), ["Named 3 shared", "Options 1 shared", "Three 1 shared"]);
    assert.equal(await pair.client.proxy("Named").get(), "one", "the only version");
  });

  const refused: [string, () => unknown, RegExp][] = [
    ["an empty name", () => Service(""), /takes a name that is not empty/],
    [
      "a wrong version",
      () => Service({ version: 0 })(class X {}),
      /@Service X: version is a whole number from 1, and got 0/,
    ],
    [
      "a wrong scope",
      () => Service({ scoped: "peer" as never })(class X {}),
      /scoped is "shared" or "session", and got "peer"/,
    ],
    [
      "a wrong serialization",
      () => Service({ serialization: "xml" as never })(class X {}),
      /serialization is "msgpack" or "json"/,
    ],
    [
      "an unknown option",
      () => Service({ versoin: 1 } as object)(class X {}),
      /there is no option "versoin"; there are name, version/,
    ],
    [
      "wrong metadata",
      () => Service({ metadata: { a: 1 } as never })(class X {}),
      /metadata maps strings to strings, and has a: 1/,
    ],
    ["wrong requires", () => Service({ requires: 5 as never })(class X {}), /requires takes a capability, anyOf/],
    ["no class", () => Service("X")(5), /@Service decorates a class, and got 5/],
    ["an empty tag", () => WireType(" x"), /@WireType takes the name of the type on the wire/],
    ["a tag on no class", () => WireType("a/B")(5), /@WireType\("a\/B"\) decorates a class/],
  ];
  for (const [what, use, text] of refused) {
    test(`S1 ${what} is refused`, () => {
      assert.throws(use, (error) => error instanceof SchemaError && text.test(error.message));
    });
  }

  test("S1 wrong options of methods are refused where they are written", () => {
    for (const timeoutMs of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, "1"]) {
      assert.throws(() => {
        class X {
          @Rpc({ timeoutMs: timeoutMs as number })
          get(): void {}
        }
        return X;
      }, /@Rpc get: timeoutMs is a number of milliseconds above 0/);
    }
    assert.throws(() => {
      class X {
        @Rpc({ timeout: 1 } as never)
        get(): void {}
      }
      return X;
    }, /there is no option "timeout"; there are name, timeoutMs/);
  });

  test("S2 what nobody says the types of is refused, with what to do", async () => {
    class Unknown {
      field = "";
    }
    @Service("Untyped")
    class Untyped {
      @Rpc()
      get(unknown: Unknown): Unknown {
        return unknown;
      }
    }
    await assert.rejects(
      testPair([new Untyped()]),
      /Untyped\.get: its types are not known, .* run npx aster-gen, or start with node --import @aster-rpc\/aster\/register, or give them: @Rpc\({ request: /,
    );
    @Service("Half")
    class Half {
      @Rpc({ request: Unknown, response: t.null })
      get(): null {
        return null;
      }
    }
    await assert.rejects(testPair([new Half()]), /Unknown: the types of its fields are not known/);
    @Service("NoMethods")
    class NoMethods {}
    await assert.rejects(testPair([new NoMethods()]), /the class NoMethods has no methods; decorate them with @Rpc/);
  });

  test("S2 values are made without arguments, so a constructor that needs some is refused", async () => {
    @WireType("deco/Needy", { a: t.string })
    class Needy {
      a: string;
      constructor(init: { a: string }) {
        this.a = init.a;
      }
    }
    @Service("Needs")
    class Needs {
      @Rpc({ request: Needy, response: t.null })
      get(): null {
        return null;
      }
    }
    await assert.rejects(testPair([new Needs()]), /Needy: values that arrive are made by `new Needy\(\)`/);
  });

  test("S2 defineService refuses what cannot be", () => {
    const Q = t.struct("d/Q", {});
    assert.throws(() => defineService({ name: "", methods: { a: rpc(Q, Q) } }), /name is a string that is not empty/);
    assert.throws(() => defineService({ name: "D", methods: {} }), /defineService D has no methods; give it some/);
    assert.throws(
      () => defineService({ name: "D", methods: { a: rpc(t.string, Q) } }),
      /D\.a: a request is a struct or a union/,
    );
    assert.throws(
      () => defineService({ name: "D", methods: { a: rpc(Q, 5 as never) } }),
      /D\.a: response: expected a type such as t\.string, or a class, and got 5/,
    );
    assert.throws(() => defineService({ name: "D", methods: { a: {} as never } }), /a method is made by rpc\(\)/);
    assert.throws(
      () => defineService({ name: "D", methods: { a: rpc(Q, Q, { name: "b" }), b: rpc(Q, Q) } }),
      /a and b are both named "b" on the wire/,
    );
    const D = defineService({ name: "D", methods: { a: rpc(Q, Q) } });
    assert.throws(() => D.implement({} as never), /there is no handler for a/);
    assert.throws(() => D.implement((() => ({})) as never), /this service is shared; give the handlers/);
    assert.throws(() => t.list(t.string).default([] as never), /give a function, such as \(\) => \[\]/);
  });
});
