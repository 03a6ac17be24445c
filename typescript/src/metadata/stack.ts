/** Which source files are on a call stack. */

import { fileURLToPath } from "node:url";

/** Deep enough for a decorator helper or two of a compiler between a decorator and the module that uses it. */
const DEPTH = 16;

/** Remembers the stack; formatting it waits until the files are asked for. */
export function here(): Error {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = DEPTH;
  const error = new Error();
  Error.stackTraceLimit = limit;
  return error;
}

/** The files of a stack, innermost first, each once. With source maps on, those are the sources. */
export function filesOf(stack: string | undefined): string[] {
  const files = new Set<string>();
  for (const line of (stack ?? "").split("\n")) {
    // V8: `at f (file:///a.ts:1:2)`, `at file:///a.ts:1:2`; JavaScriptCore: `f@/a.ts:1:2`.
    const found = /(?:\(|\bat (?:async )?|@)((?:file:\/\/|\/|[A-Za-z]:[\\/])[^()]*?):\d+(?::\d+)?\)?\s*$/.exec(line);
    const file = found?.[1]?.replace(/[?#].*$/, "");
    if (file === undefined) continue;
    try {
      files.add(file.startsWith("file:") ? fileURLToPath(file) : file);
    } catch {
      // Not a path of this system: an eval or a virtual module, which no metadata names.
    }
  }
  return [...files];
}
