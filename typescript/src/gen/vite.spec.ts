import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { build } from "vite";

import { programs, run } from "./programs.spec.js";
import aster from "./vite.js";

const FILES = {
  "package.json": '{ "name": "app", "type": "module" }',
  "types.ts": 'import { WireType } from "@aster-rpc/aster";\n@WireType("t/A") export class A { x: number = 1; }',
  "main.ts": `
    import { Service, Rpc, WireType, show } from "@aster-rpc/aster";
    import type { A } from "./types.js";
    interface Gone { x: A }
    @WireType("t/B") class B { a: A | null = null; }
    @Service() class S { @Rpc() async m(request: A): Promise<B> { return new B(); } }
    show(S);`,
};

async function built(folder: string): Promise<void> {
  await build({
    root: folder,
    configFile: false,
    logLevel: "silent",
    plugins: [aster()],
    ssr: { external: ["@aster-rpc/aster"] },
    build: { ssr: join(folder, "main.ts"), outDir: "out", minify: true },
  });
}

describe("the Vite plugin", () => {
  for (const [form, options] of [
    ["standard decorators", {}],
    ["experimentalDecorators", { experimentalDecorators: true }],
  ] as const) {
    it(`a minified build knows its types, with ${form}`, async () => {
      const folder = programs({ ...FILES, "tsconfig.json": JSON.stringify({ compilerOptions: options }) });
      await built(folder);
      const { code, out, error } = await run(folder, process.execPath, "out/main.js");
      assert.deepEqual([code, error], [0, ""]);
      const types = JSON.parse(out).types.map(
        (each: { tag: string; fields: { name: string; type: { t: string } }[] }) => [
          each.tag,
          ...each.fields.map((field) => `${field.name} ${field.type.t}`),
        ],
      );
      assert.deepEqual(types, [
        ["t/A", "x i64"],
        ["t/B", "a ref"],
      ]);
    });
  }

  it("a build fails with what cannot be mapped, by file, line and column", async () => {
    const folder = programs({ ...FILES, "types.ts": FILES["types.ts"].replace("x: number", "x: symbol") });
    await assert.rejects(built(folder), /types\.ts:2:38: A\.x: a symbol cannot be sent; use a string/);
  });

  it("leaves other modules, and dependencies, as they are", () => {
    const folder = programs(FILES);
    const plugin = aster();
    plugin.configResolved({ root: folder });
    const context = {
      error(message: string): never {
        throw new Error(message);
      },
    };
    const transform = (id: string, code: string) => plugin.transform.call(context, code, id);
    assert.equal(transform(join(folder, "plain.js"), FILES["types.ts"]), null);
    assert.equal(transform(join(folder, "node_modules/x/types.ts"), FILES["types.ts"]), null);
    assert.equal(transform(join(folder, "types.d.ts"), FILES["types.ts"]), null);
    assert.equal(transform("\0virtual.ts", FILES["types.ts"]), null);
    assert.equal(transform(join(folder, "types.ts"), "export const at = '@';"), null);
    const made = transform(`${join(folder, "types.ts")}?v=1`, FILES["types.ts"]);
    assert.match(made!.code.split("\n")[0]!, /^\(globalThis\[Symbol\.for\(/);
    assert.doesNotMatch(made!.code, new RegExp(folder), "a build does not say where it was made");
  });
});
