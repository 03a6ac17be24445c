/** Every type of the contract to bytes and back, beside another implementation of MessagePack. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { encode } from "@msgpack/msgpack";
import { InvalidArgument } from "../errors.js";
import { type AnyType, shapeOf, t } from "../service/tokens.js";
import type { Shape, StructShape } from "../shapes.js";
import { type Codec, codecOf, decodeAny, encodeAny } from "./codec.js";

function codec(type: AnyType): Codec {
  return codecOf(shapeOf(type, "test"));
}

function bytesOf(type: AnyType, value: unknown): Uint8Array {
  return new Uint8Array(codec(type).encode(value));
}

function roundTrip(type: AnyType, value: unknown): unknown {
  return codec(type).decode(bytesOf(type, value));
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

const Point = t.struct("demo/Point", { x: t.f64, y: t.f64.default(0) });

describe("bytes", () => {
  test("S2 integers are written in the shortest format, as the other implementation does", () => {
    const numbers = [0, 1, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER];
    for (const number of [...numbers, ...numbers.map((each) => -each), -32, -33, -129, -32_769, -(2 ** 31) - 1]) {
      assert.equal(hex(bytesOf(t.i64, number)), hex(encode(number === 0 ? 0 : number)), String(number));
      assert.equal(roundTrip(t.i64, number), number === 0 ? 0 : number);
    }
    for (const big of [2n ** 53n, -(2n ** 53n), 2n ** 63n - 1n, -(2n ** 63n)]) {
      assert.equal(roundTrip(t.bigint, big), big);
      assert.equal(hex(bytesOf(t.bigint, big)), hex(encode(big, { useBigInt64: true })).replace(/^d3(?=[0-7])/, "cf"));
    }
    assert.equal(roundTrip(t.u64, 2n ** 64n - 1n), 2n ** 64n - 1n);
    assert.equal(roundTrip(t.u64, 7), 7n, "declared bigint is always bigint");
  });

  test("S2 floats are floats whatever they look like, and keep the sign of zero", () => {
    assert.equal(hex(bytesOf(t.f64, 1)), "cb3ff0000000000000");
    assert.equal(hex(bytesOf(t.f32, 1.5)), "ca3fc00000");
    for (const value of [0, -0, 0.1, -1.5, Number.NaN, Number.POSITIVE_INFINITY, 5e-324, Number.MAX_VALUE]) {
      assert.ok(Object.is(roundTrip(t.f64, value), value), String(value));
      assert.ok(Object.is(decodeAny(encodeAny(value)), value), `any ${value}`);
    }
    assert.equal(codec(t.f64).decode(encode(3)), 3, "an integer is taken for a float");
    assert.equal(bytesOf(t.f32, 1e300).length, 9, "too big for 32 bits: the core refuses it by name");
  });

  test("S2 strings of every length and script", () => {
    for (const length of [0, 1, 19, 20, 21, 31, 32, 255, 256, 65_535, 65_536]) {
      for (const letter of ["a", "é", "漢", "😀"]) {
        const text = letter.repeat(length);
        assert.equal(roundTrip(t.string, text), text);
        assert.equal(hex(bytesOf(t.string, text)), hex(encode(text)));
      }
    }
    assert.equal(roundTrip(t.string, "ascii, then é"), "ascii, then é");
  });

  test("S2 bytes are copied out of the payload, which is used again", () => {
    const payload = bytesOf(t.bytes, new Uint8Array([1, 2, 3]));
    const value = codec(t.bytes).decode(payload) as Uint8Array;
    payload.fill(0);
    assert.deepEqual(value, new Uint8Array([1, 2, 3]));
    assert.equal(Object.getPrototypeOf(value), Uint8Array.prototype, "no Buffer");
    for (const size of [0, 255, 256, 65_536]) {
      const blob = new Uint8Array(size).fill(7);
      assert.equal(hex(bytesOf(t.bytes, blob)), hex(encode(blob)));
    }
  });

  test("S2 times, durations and UUIDs", () => {
    const at = new Date("2026-11-21T12:34:56.789Z");
    assert.deepEqual(roundTrip(t.timestamp, at), at);
    assert.deepEqual(codec(t.timestamp).decode(encodeAny(-1n)), new Date(-1), "down to the millisecond before");
    assert.equal(decodeAny(bytesOf(t.timestamp, at)), BigInt(at.getTime()) * 1_000_000n);
    for (const each of [0, 1.5, -0.25, 0.000001, 86_400_000]) assert.equal(roundTrip(t.duration, each), each);
    assert.equal(decodeAny(bytesOf(t.duration, 1.5)), 1_500_000);
    const id = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6";
    assert.equal(hex(bytesOf(t.uuid, id.toUpperCase())), `c410${id.replaceAll("-", "")}`);
    assert.equal(roundTrip(t.uuid, id), id);
  });

  test("S2 containers", () => {
    assert.deepEqual(roundTrip(t.list(t.i64), [1, 2]), [1, 2]);
    assert.deepEqual(roundTrip(t.set(t.string), new Set(["a"])), new Set(["a"]));
    assert.deepEqual(roundTrip(t.tuple(t.string, t.i64), ["a", 1]), ["a", 1]);
    assert.deepEqual(roundTrip(t.record(t.i64), { a: 1 }), { a: 1 });
    assert.deepEqual(roundTrip(t.map(t.i64, t.string), new Map([[-5, "x"]])), new Map([[-5, "x"]]));
    assert.deepEqual(roundTrip(t.map(t.u64, t.any), new Map([[2n ** 60n, null]])), new Map([[2n ** 60n, null]]));
    assert.deepEqual(roundTrip(t.map(t.bool, t.f64), { true: 0.5 } as never), new Map([[true, 0.5]]));
    assert.deepEqual(roundTrip(t.i64.nullable(), null), null);
    const uuid = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6";
    assert.deepEqual(roundTrip(t.map(t.uuid, t.null), new Map([[uuid, null]])), new Map([[uuid, null]]));
    for (const size of [15, 16, 65_536]) {
      const list = Array.from({ length: size }, (_, index) => index % 100);
      assert.equal(hex(bytesOf(t.list(t.i64), list)), hex(encode(list)));
    }
  });

  test("S2 enums travel by name, whatever their values are", () => {
    const Level = t.enum("demo/Level", { LOW: 1, HIGH: "hi" } as const);
    assert.equal(decodeAny(bytesOf(Level, "hi")), "HIGH");
    assert.equal(roundTrip(Level, 1), 1);
    assert.deepEqual(roundTrip(t.map(Level, t.i64), { 1: 5 } as never), new Map([[1, 5]]));
    assert.throws(() => bytesOf(Level, "LOW"), /"LOW" is not a value of demo\/Level; its values are: 1, "hi"/);
  });
});

describe("structs", () => {
  class Entry {
    name = "unnamed";
    tags: string[] = [];
    note?: string;
    inner: Entry | null = null;
    readonly hidden = "not declared";
  }
  const entry: StructShape = { shape: "struct", tag: "demo/Entry", cls: Entry, dynamic: false, fields: [], doc: "" };
  const optional = { required: false, nullable: false, makeDefault: null, doc: "" };
  entry.fields = [
    { ...optional, name: "name", type: shapeOf(t.string, "") },
    { ...optional, name: "tags", type: shapeOf(t.list(t.string), "") },
    { ...optional, name: "note", type: shapeOf(t.string, ""), nullable: true },
    { ...optional, name: "inner", type: entry, nullable: true },
  ];

  test("S2 values are instances with the declared fields, also where a type contains itself", () => {
    const value = Object.assign(new Entry(), { name: "a", inner: Object.assign(new Entry(), { tags: ["x"] }) });
    const back = codecOf(entry).decode(new Uint8Array(codecOf(entry).encode(value))) as Entry;
    assert.ok(back instanceof Entry && back.inner instanceof Entry);
    assert.deepEqual(back, value);
    assert.equal((decodeAny(codecOf(entry).encode(value)) as object & { hidden?: string }).hidden, undefined);
  });

  test("S3 a missing optional field keeps what the class gives it, also when null comes for `x?`", () => {
    const back = codecOf(entry).decode(encode({ note: null, inner: null })) as Entry;
    assert.equal(back.name, "unnamed");
    assert.equal(back.note, undefined);
    assert.equal(back.inner, null);
  });

  test("S3 unknown fields and __proto__ are passed over, in any order of the others", () => {
    const payload = encodeAny(
      new Map<string, unknown>([
        ["tags", ["t"]],
        ["unknown", { deep: [1, new Map([["k", 2]])] }],
        ["__proto__", { polluted: true }],
        ["name", "n"],
      ]),
    );
    const back = codecOf(entry).decode(payload) as Entry & { polluted?: boolean };
    assert.deepEqual([back.name, back.tags, back.polluted], ["n", ["t"], undefined]);
    assert.equal(Object.hasOwn(back, "unknown"), false);
  });

  test("S3 a key __proto__ in a map is a key like any other", () => {
    const payload = encodeAny(new Map([["__proto__", 1]]));
    for (const type of [t.record(t.i64), t.any]) {
      const back = codec(type).decode(payload) as object;
      assert.ok(Object.hasOwn(back, "__proto__"));
      assert.equal(Object.getPrototypeOf(back), Object.prototype);
    }
  });

  test("S3 tokens: defaults, optional and required fields", () => {
    const Item = t.struct("demo/Item", {
      id: t.i64,
      label: t.string.default("none"),
      tags: t.list(t.string).default(() => []),
      note: t.string.optional(),
    });
    assert.deepEqual(codec(Item).decode(encode({ id: 1 })), { id: 1, label: "none", tags: [], note: undefined });
    assert.throws(() => codec(Item).decode(encode({ label: "x" })), /`id`: missing required field of demo\/Item/);
    assert.deepEqual(decodeAny(bytesOf(Item, { id: 1, note: null })), { id: 1, note: null });
  });

  test("S2 fields that are named like properties of every object", () => {
    const Odd = t.struct("demo/Odd", { toString: t.string.optional(), constructor: t.i64.default(3) });
    assert.deepEqual(decodeAny(bytesOf(Odd, {})), {});
    const back = roundTrip(Odd, { toString: "text" }) as Record<string, unknown>;
    assert.equal(back.toString, "text");
    assert.equal(back.constructor, 3);
  });

  test("S2 a union has its tag as the first key, and its members come back as what they are", () => {
    const Circle = t.struct("demo/Circle", { r: t.f64 });
    const Shape = t.union(Circle, Point);
    const payload = bytesOf(Shape, { $type: "demo/Circle", r: 2 });
    assert.deepEqual(Object.keys(decodeAny(payload) as object), ["$type", "r"]);
    assert.deepEqual(roundTrip(Shape, { r: 2, $type: "demo/Circle" }), { $type: "demo/Circle", r: 2 });
    assert.equal(
      shapeOf(Shape, "").shape === "union" && (shapeOf(Shape, "") as { tag: string }).tag,
      "demo/Circle.or.demo/Point",
    );
    assert.throws(
      () => bytesOf(Shape, { r: 2 }),
      /is an instance of one of its classes, or has "\$type"; its members are: demo\/Circle, demo\/Point/,
    );
  });
});

describe("faults", () => {
  const Deep = t.struct("demo/Deep", {
    n: t.i64.default(0),
    list: t
      .list(t.struct("demo/Leaf", { at: t.timestamp.optional(), m: t.record(t.i32).default(() => ({})) }))
      .default(() => []),
  });
  const faults: [string, unknown, RegExp][] = [
    ["a fraction", { n: 1.5 }, /^`n` at \$\.n: expected i64, got the number 1\.5$/],
    ["NaN", { n: Number.NaN }, /`n` at \$\.n: expected i64, got the number NaN/],
    ["an inexact integer", { n: 2 ** 53 }, /`n` at \$\.n: .* is beyond 2\^53 - 1 and so not exact; give a bigint/],
    ["too many bits", { n: 2n ** 64n }, /`n` at \$\.n: 18446744073709551616 does not fit 64 bits/],
    [
      "an invalid date",
      { list: [{}, { at: new Date("x") }] },
      /`at` at \$\.list\[1\]\.at: expected timestamp, got an invalid Date/,
    ],
    [
      "a number for a time",
      { list: [{ at: 5 }] },
      /`at` at \$\.list\[0\]\.at: .*give a Date, or nanoseconds as a bigint/,
    ],
    ["a fraction in a map", { list: [{ m: { "a b": 0.5 } }] }, /^value at \$\.list\[0\]\.m\["a b"\]: expected i32/],
    ["a function", { list: [() => 1] }, /value at \$\.list\[0\]: a function cannot be sent/],
    ["a symbol", { n: Symbol("s") }, /a symbol cannot be sent/],
    ["a promise", { n: Promise.resolve(1) }, /a Promise cannot be sent; await it first/],
  ];
  for (const [what, value, text] of faults) {
    test(`S3 ${what} is refused with its path`, () => {
      assert.throws(
        () => codec(Deep).encode(value),
        (error) => error instanceof InvalidArgument && text.test(error.rawMessage),
      );
      assert.equal(hex(bytesOf(Deep, { n: 1 })), hex(encode({ n: 1 })), "the writer is as before");
    });
  }

  test("S3 a value that contains itself is refused", () => {
    const loop: { me?: unknown } = {};
    loop.me = loop;
    assert.throws(() => codec(t.any).encode(loop), /nested more than 64 levels deep/);
    assert.equal(decodeAny(encodeAny("fine")), "fine");
  });

  test("S3 integers that a number cannot hold are refused where numbers are declared", () => {
    const Id = t.struct("demo/Id", { ids: t.list(t.i64) });
    assert.throws(
      () => codec(Id).decode(encodeAny({ ids: [1, 2n ** 60n] })),
      /value at \$\.ids\[1\]: 1152921504606846976 does not fit a number, which is exact up to 2\^53 - 1 only; declare the field as bigint/,
    );
    assert.deepEqual(codec(t.any).decode(encodeAny([2n ** 60n, 1])), [2n ** 60n, 1], "a dynamic value takes what fits");
  });

  test("S3 a payload of another type names path and kinds", () => {
    const wrong: [unknown, RegExp][] = [
      [{ x: "1" }, /`x` at \$\.x: expected f64, got string/],
      [{ x: [1] }, /`x` at \$\.x: expected f64, got list/],
      [[1], /value at \$: expected struct demo\/Point, got list/],
    ];
    for (const [value, text] of wrong) assert.throws(() => codec(Point).decode(encodeAny(value)), text);
    assert.throws(
      () => codec(t.list(Point)).decode(encodeAny([{ x: 1 }, { x: null }])),
      /`x` at \$\[1\]\.x: expected f64, got null/,
    );
  });

  test("C9 no truncated or changed payload hangs, or reads beyond its end", () => {
    const type = t.struct("demo/All", {
      a: t.list(t.string),
      b: t.record(t.any),
      c: t.bytes,
      d: t.f64,
      e: t.map(t.i64, t.timestamp),
    });
    const payload = bytesOf(type, {
      a: ["one", "two"],
      b: { deep: [{ x: 1 }, new Date(5), 2n ** 60n] },
      c: new Uint8Array(40),
      d: 0.1,
      e: new Map([[1, new Date(1)]]),
    });
    for (let at = 0; at < payload.length; at++) {
      assert.throws(() => codec(type).decode(payload.slice(0, at)), InvalidArgument);
      for (const change of [0x00, 0x80, 0xc1, 0xc9, 0xdb, 0xdd, 0xdf, 0xff]) {
        const changed = payload.slice();
        changed[at] = change;
        try {
          codec(type).decode(changed);
        } catch (error) {
          assert.ok(error instanceof InvalidArgument, String(error));
        }
      }
    }
  });
});

describe("re-entry", () => {
  test("a getter may encode, and a constructor may decode, while a value is written or read", () => {
    const outer = codec(Point);
    const value = {
      get x() {
        return (decodeAny(encodeAny({ x: 4 })) as { x: number }).x;
      },
      y: 2,
    };
    assert.deepEqual(outer.decode(new Uint8Array(outer.encode(value))), { x: 4, y: 2 });
    class Reading {
      x = (decodeAny(encodeAny(5)) as number) + 1;
      y = 0;
    }
    const shape: Shape = { ...(shapeOf(Point, "") as StructShape), cls: Reading };
    const items = codecOf(shape).decodeBatch(encodeAny([{ x: 1 }, { y: 2, x: 3 }])) as Reading[];
    assert.deepEqual(
      items.map((each) => [each.x, each.y]),
      [
        [1, 0],
        [3, 2],
      ],
    );
  });

  test("what a getter or a constructor throws comes out as it is, or as its cause", () => {
    const bad = {
      get x(): number {
        throw new RangeError("not today");
      },
    };
    assert.throws(() => codec(Point).encode(bad), /not today|nested/);
    class Refusing {
      constructor() {
        throw new TypeError("no value of mine");
      }
    }
    const shape: Shape = { ...(shapeOf(Point, "") as StructShape), cls: Refusing };
    assert.throws(
      () => codecOf(shape).decode(encode({ x: 1 })),
      /a class refused the value: TypeError: no value of mine/,
    );
  });
});
