/** The TSDoc comment in front of a declaration. */

import type { Class } from "oxc-parser";

import type { Declared, SourceModule } from "./modules.js";

export interface Doc {
  readonly text?: string;
  /** From `@wireType area/Name`: names an interface, enum or union on the wire, which no decorator can. */
  readonly tag?: string;
}

/** The comment of a class, on either side of its decorators. */
export function docOfClass(module: SourceModule, declared: Declared, node: Class): Doc {
  // With decorators in front of `export`, the statement starts after them.
  const starts = [declared.start, node.start, ...node.decorators.flatMap((each) => [each.start, each.end])];
  return docBefore(module, ...starts.sort((a, b) => a - b));
}

/** The comment that ends right before one of `starts`. */
export function docBefore(module: SourceModule, ...starts: readonly number[]): Doc {
  for (const start of starts) {
    const comment = module.comments.findLast((each) => each.end <= start);
    if (comment === undefined || comment.type !== "Block" || !comment.value.startsWith("*")) continue;
    if (module.text.slice(comment.end, start).trim() === "") return parse(comment.value.slice(1));
  }
  return {};
}

function parse(comment: string): Doc {
  const lines = comment.split("\n").map((line) => line.replace(/^\s*\*? ?/, "").trimEnd());
  const tags = lines.findIndex((line) => /^@\w/.test(line));
  const text = (tags === -1 ? lines : lines.slice(0, tags)).join("\n").trim();
  const tag = /^@wireType\s+(\S+)/m.exec(lines.join("\n"))?.[1];
  return { ...(text === "" ? {} : { text }), ...(tag === undefined ? {} : { tag }) };
}
