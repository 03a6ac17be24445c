/** Types that were read from source, in real calls: what handlers and callers get is what the source says. */

import assert from "node:assert/strict";
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";

import { project } from "./gen/fixtures.spec.js";
import { gen, REGISTER, run, TSX } from "./gen/programs.spec.js";

const TYPES = `
import { WireType, type i64, type u64, type duration } from "@aster-rpc/aster";

export interface Circle { $type: "t/Circle"; radius: number }
export interface Square { $type: "t/Square"; side: number }
export type Shape = Circle | Square;

/** @wireType t/Level */
export type Level = "low" | "high";
export const Role = { ADMIN: "ops.admin", GUEST: "ops.guest" } as const;
/** @wireType t/Role */
export type Role = (typeof Role)[keyof typeof Role];

@WireType("t/Node")
export class Node {
  name: string = "unnamed";
  next: Node | null = null;
  describe(): string { return this.name + (this.next === null ? "" : ">" + this.next.describe()); }
}

@WireType("t/All")
export class All {
  level: Level = "low";
  role: Role = Role.GUEST;
  shape: Shape = { $type: "t/Circle", radius: 1 };
  when: Date = new Date(0);
  raw: Uint8Array = new Uint8Array();
  big: u64 = 0n;
  count: i64 = 0;
  took: duration = 0;
  tags: Set<string> = new Set();
  byId: Map<bigint, Node> = new Map();
  pair: [string, number] = ["", 0];
  node?: Node;
}
`;

const MAIN = `
import assert from "node:assert/strict";
import { Rpc, ServerStream, Service, type CallContext } from "@aster-rpc/aster";
import { testPair } from "@aster-rpc/aster/testing";
import type { Circle, Level } from "./types.js";
import { All, Node, Role } from "./types.js";

@Service({ name: "Types", version: 1 })
class Types {
  @Rpc() async echo(all: All): Promise<All> {
    assert.ok(all instanceof All);
    return all;
  }
  @Rpc() async describe(node: Node): Promise<string> { return node.describe(); }
  @Rpc() async area(circle: Circle, level: Level = "high", scale: number = 1): Promise<number> {
    return circle.radius * scale * (level === "high" ? 10 : 1);
  }
  @ServerStream() async *count(to: number, ctx: CallContext): AsyncGenerator<Node> {
    for (let i = 0; i < to; i++) yield Object.assign(new Node(), { name: String(i) });
  }
}

const pair = await testPair([new Types()]);
const typed = pair.client.client(Types);
const all = Object.assign(new All(), {
  level: "high", role: Role.ADMIN, shape: { $type: "t/Square", side: 2.5 }, when: new Date(1e12), raw: new Uint8Array([1, 2]),
  big: 2n ** 63n, count: 5, took: 1.5, tags: new Set(["a", "b"]), byId: new Map([[1n, new Node()]]), pair: ["x", 0.5],
  node: Object.assign(new Node(), { name: "a", next: new Node() }),
});
const back = await typed.echo(all);
assert.ok(back instanceof All);
assert.deepEqual(back, all);
assert.equal(back.node!.describe(), "a>unnamed");
assert.equal(await typed.describe(all.node!), "a>unnamed");
const proxy = pair.client.proxy("Types");
assert.equal(await proxy.area({ circle: { radius: 2 } }), 20);
assert.equal(await proxy.area({ circle: { radius: 2 }, level: "low", scale: 3 }), 6);
const names: string[] = [];
for await (const node of typed.count.stream(3)) names.push(node.describe());
assert.deepEqual(names, ["0", "1", "2"]);
await assert.rejects(async () => proxy.echo({ level: "loud" }), /level.* is not a value of t\\/Level/);
await assert.rejects(async () => proxy.echo({ count: 1.5 }), /count/);
await pair.close();
console.log("done");
`;

function real(files: Readonly<Record<string, string>>): string {
  const folder = project(files);
  const here = fileURLToPath(new URL("../", import.meta.url));
  mkdirSync(join(folder, "node_modules/@aster-rpc"), { recursive: true });
  symlinkSync(here, join(folder, "node_modules/@aster-rpc/aster"));
  return folder;
}

const LEGACY = { "tsconfig.json": '{ "compilerOptions": { "experimentalDecorators": true } }' };

describe("S2 types read from source, in calls", () => {
  for (const [form, more] of [
    ["standard decorators", {}],
    ["experimentalDecorators", LEGACY],
  ] as const) {
    it(`under the register hook, ${form}`, async () => {
      const folder = real({ "types.ts": TYPES, "main.ts": MAIN, ...more });
      const ended = await run(folder, process.execPath, "--import", REGISTER, "main.ts");
      assert.deepEqual(ended, { code: 0, out: "done\n", error: "" });
    });

    it(`under tsx with the generated file, ${form}`, async () => {
      const folder = real({ "types.ts": TYPES, "main.ts": MAIN, ...more });
      await gen(folder);
      assert.deepEqual(await run(folder, process.execPath, TSX, "main.ts"), { code: 0, out: "done\n", error: "" });
    });
  }
});
