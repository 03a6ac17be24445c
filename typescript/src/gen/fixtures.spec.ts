/** Small projects for the tests of reading source. Holds no tests itself. */

import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after } from "node:test";

import type { SourceField, SourceMetadata, SourceMethod, SourceNamedType } from "../metadata/types.js";
import { type Generated, generate } from "./generate.js";
import { Modules } from "./modules.js";
import { SourceError } from "./problems.js";

const folders: string[] = [];
after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** A folder with these files and a package.json. */
export function project(files: Readonly<Record<string, string>>): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "aster-gen-")));
  folders.push(folder);
  const all = { "package.json": '{ "type": "module" }', ...files };
  for (const [name, text] of Object.entries(all)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

const IMPORTS =
  'import { Service, Rpc, ServerStream, ClientStream, BidiStream, WireType, type CallContext } from "@aster-rpc/aster";\n' +
  'import type { i8, i32, i64, u16, u64, f32, f64, duration, uuid } from "@aster-rpc/aster";\n';

/** What is generated for `a.ts` with this text, and other files if given. */
export function generated(text: string, others: Readonly<Record<string, string>> = {}): Generated {
  const folder = project({ ...others, "a.ts": IMPORTS + text });
  return generate(new Modules(folder), [join(folder, "a.ts")], { folder });
}

export function metadata(text: string, others: Readonly<Record<string, string>> = {}): SourceMetadata {
  return generated(text, others).metadata;
}

/** What is wrong with `a.ts`, one text for each problem. Lines are counted from the first of `text`. */
export function problems(text: string, others: Readonly<Record<string, string>> = {}): readonly string[] {
  try {
    generated(text, others);
  } catch (error) {
    if (!(error instanceof SourceError)) throw error;
    const before = IMPORTS.split("\n").length - 1;
    return error.problems.map((each) =>
      each.replace(/^a\.ts:(\d+):/, (_all, line: string) => `a.ts:${Number(line) - before}:`),
    );
  }
  return [];
}

/** The fields of a class with this body. */
export function fields(body: string, around = ""): readonly SourceField[] {
  const type = named(metadata(`${around}\n@WireType("t/S") class S {\n${body}\n}`), "a.ts#S");
  return type.kind === "struct" ? type.fields : [];
}

/** The type of one field, as `S.f: <type>` without an initialiser. */
export function fieldType(type: string, around = ""): SourceField["type"] {
  return fields(`f!: ${type};`, around)[0]!.type;
}

export function named(of: SourceMetadata, key: string): SourceNamedType {
  const type = of.types[key];
  if (type === undefined) throw new Error(`no ${key} among ${Object.keys(of.types).join(", ")}`);
  return type;
}

/** A method of a service with this body. */
export function method(body: string, around = ""): SourceMethod {
  const service = metadata(`${around}\n@Service() class S {\n${body}\n}`).services["a.ts#S"];
  return service!.methods[0]!;
}
