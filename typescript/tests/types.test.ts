/** Values of every type over real calls, from classes whose types were read from the source. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Cat, Dog, Everything, Num, Plain, Types } from "./services.js";
import { all, type Both, both, caught, failure } from "./support.js";

let b: Both;
before(async () => {
  b = await both();
});
after(() => b.close());

function everything(nested: Everything | null = null): Everything {
  return new Everything({
    flag: true,
    small: -128,
    whole: Number.MAX_SAFE_INTEGER,
    big: 2n ** 64n - 1n,
    signed: -(2n ** 63n),
    single: 1.5,
    double: -0,
    text: "漢字 😀",
    raw: new Uint8Array([0, 255]),
    at: new Date("2026-01-31T12:00:00.250Z"),
    took: 1_500.25,
    id: "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
    color: "green",
    list: ["a", ""],
    unique: new Set([0.5, 1]),
    pair: ["p", 2.5],
    byName: { a: 1, __proto__x: 2 },
    byNumber: new Map([[-(2n ** 60n), new Cat({ name: "key" })]]),
    pet: new Dog({ name: "d", friends: [new Cat({ name: "c" }), new Dog({ name: "e" })] }),
    point: { x: 1, y: 2 },
    nested,
    maybe: "there",
    anything: { deep: [1, "two", null, new Uint8Array([3]), { four: 4.5 }] },
  });
}

describe("types", () => {
  test("S2 every type comes back equal, as instances of its classes", async () => {
    const value = everything(everything());
    const back = await b.client.client(Types).same(value);
    assert.deepEqual(back, value);
    assert.ok(back.pet instanceof Dog && back.pet.friends[0] instanceof Cat && back.nested instanceof Everything);
    const empty = await b.client.client(Types).same(new Everything());
    assert.deepEqual(empty, new Everything());
  });

  test("S2 a dynamic proxy gets plain values: numbers where they are exact, otherwise bigints", async () => {
    const back = await b.client.proxy("Types").same({ ...everything(), big: 7, nested: null });
    assert.equal(back.big, 7);
    assert.equal(back.signed, -(2n ** 63n));
    assert.deepEqual(back.pet, {
      $type: "test/Dog",
      name: "d",
      friends: [
        { $type: "test/Cat", name: "c" },
        { $type: "test/Dog", name: "e", friends: [] },
      ],
    });
    assert.deepEqual(back.unique, [0.5, 1]);
    assert.deepEqual(back.byNumber, new Map([[-(2n ** 60n), { name: "key" }]]));
    assert.equal(Object.getPrototypeOf(back), Object.prototype);
    assert.equal(back.color, "green");
  });

  test("S2 unions as messages", async () => {
    assert.deepEqual(await b.client.client(Types).pet(new Cat({ name: "c" })), new Cat({ name: "c" }));
    const pets = await all(b.client.client(Types).pets.stream(new Dog({ name: "d" })));
    assert.deepEqual(pets, [new Dog({ name: "d" }), new Cat({ name: "other" })]);
    assert.deepEqual(await b.client.proxy("Types").pet({ $type: "test/Cat", name: "x" }), {
      $type: "test/Cat",
      name: "x",
    });
    assert.match(
      (await failure(b.client.proxy("Types").pet({ name: "x" }), "INVALID_ARGUMENT")).message,
      /its members are: test\/Cat, test\/Dog/,
    );
    assert.match(
      (await failure(b.client.proxy("Types").pet({ $type: "test/Cow" }), "INVALID_ARGUMENT")).message,
      /`test\/Cow` is not a member of union/,
    );
  });

  const wrong: [string, Partial<Record<keyof Everything, unknown>>, RegExp][] = [
    ["a fraction in an integer", { small: 1.5 }, /`small` at \$\.small: expected i8, got the number 1\.5/],
    ["out of range", { small: 128 }, /`small` at \$\.small: 128 is out of range for i8 \(-128 to 127\)/],
    ["an unsafe number", { whole: 2 ** 53 }, /`whole` at \$\.whole: .*not exact; give a bigint/],
    ["a negative u64", { big: -1n }, /`big` at \$\.big: -1 is out of range for u64/],
    ["a string for bytes", { raw: "text" }, /`raw` at \$\.raw: expected bytes, got string/],
    ["a wrong tuple", { pair: ["a"] }, /`pair` at \$\.pair: expected tuple of 2, got 1 items/],
    [
      "an enum value that there is not",
      { color: "blue" },
      /`color` at \$\.color: "blue" is not a value of test\/Color; its values are: "(red|green)", /,
    ],
    ["a bad item", { list: ["a", 5] }, /value at \$\.list\[1\]: expected string, got int/],
    ["a bad value of a map", { byName: { k: "v" } }, /value at \$\.byName\["k"\]: expected f64, got string/],
    ["a bad UUID", { id: "nonsense" }, /`id` at \$\.id: expected uuid, got string/],
    ["null where it is none", { text: null }, /`text` at \$\.text: expected string, got null/],
    ["a duplicate in a set", { unique: [1, 1] }, /value at \$\.unique\[1\]: duplicate item in a set/],
  ];
  for (const [what, change, text] of wrong) {
    test(`S3 ${what} is refused by path before anything is sent`, async () => {
      for (const call of [
        b.client.client(Types).same(Object.assign(everything(), change)),
        b.client.proxy("Types").same({ ...everything(), ...change }),
      ]) {
        const error = await failure(call, "INVALID_ARGUMENT");
        assert.match(error.message, text);
        assert.equal(error.mayHaveRun, false);
      }
    });
  }
});

describe("plain parameters", () => {
  test("S4 by position, and by name from a proxy", async () => {
    const typed = b.client.client(Plain);
    assert.equal(await typed.add(1.5, 2), 3.5);
    assert.equal(await typed.add(1), 11);
    assert.equal(await typed.add(1, 2, { timeoutMs: 5_000 }), 3);
    assert.equal(await typed.zero(), "nothing needed");
    assert.equal(await typed.zero({ timeoutMs: 5_000 }), "nothing needed");
    assert.equal(await typed.silent("x"), null);
    assert.deepEqual(await typed.mixed([new Num({ n: 1 }), new Num({ n: 2 })], 1), [new Num({ n: 1 })]);
    assert.deepEqual(await typed.mixed([new Num({ n: 1 })], null), [new Num({ n: 1 })]);
    assert.deepEqual(await all(typed.upto.stream(5, 2)), [0, 2, 4]);
    assert.deepEqual(await all(typed.upto.stream(2)), [0, 1]);
    const proxy = b.client.proxy("Plain");
    assert.equal(await proxy.add({ a: 1 }), 11);
    assert.equal(await proxy.add({ a: 1, b: 2 }, { timeoutMs: 5_000 }), 3);
    assert.equal(await proxy.zero(), "nothing needed");
    assert.deepEqual(await all(proxy.upto.stream({ n: 1 })), [0]);
  });

  test("S4 wrong parameters are refused", async () => {
    const typed = b.client.client(Plain) as any;
    assert.match(
      (await caught(typed.add(1, 2, 3))).message,
      /Plain\.add takes 2 parameters \(a, b\) and the options of the call, and got 3 values, the last of them 3/,
    );
    assert.match((await failure(typed.add(), "INVALID_ARGUMENT")).message, /`a` at \$\.a: missing required field/);
    assert.match((await failure(typed.add("x"), "INVALID_ARGUMENT")).message, /`a` at \$\.a: expected f64, got string/);
    assert.match(
      (await failure(b.client.proxy("Plain").add({ a: 1, c: 2 }), "INVALID_ARGUMENT")).message,
      /unknown field of Plain\.add/,
    );
  });
});
