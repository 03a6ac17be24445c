/** What is wrong with the source, gathered so that one run shows all of it. */

import { isAbsolute, relative } from "node:path";

import { SchemaError } from "../errors.js";

/** A place in a file; offsets count UTF-16 units. */
export interface Place {
  readonly file: string;
  readonly text: string;
  readonly offset: number;
}

interface Problem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

/** Lines and columns from 1, as editors count them. */
export function lineAndColumn(text: string, offset: number): { line: number; column: number } {
  let line = 1;
  let start = 0;
  for (let next = text.indexOf("\n"); next !== -1 && next < offset; next = text.indexOf("\n", next + 1)) {
    line++;
    start = next + 1;
  }
  return { line, column: offset - start + 1 };
}

export function showPath(path: string, folder: string): string {
  const short = relative(folder, path);
  return short === "" || short.startsWith("..") || isAbsolute(short) ? path : short;
}

/** `file:line:column`, which terminals make a link of. */
export function showPlace(place: Place, folder: string): string {
  const { line, column } = lineAndColumn(place.text, place.offset);
  return `${showPath(place.file, folder)}:${line}:${column}`;
}

export class Problems {
  readonly #found = new Map<string, Problem>();

  /** Each problem counts once, however many types reach it. */
  add(place: Place, message: string): void {
    const { line, column } = lineAndColumn(place.text, place.offset);
    this.#found.set(`${place.file}\0${place.offset}\0${message}`, { file: place.file, line, column, message });
  }

  get count(): number {
    return this.#found.size;
  }

  /** One line for each, ordered by place. Paths are relative to `folder`. */
  lines(folder: string): string[] {
    const byPlace = (a: Problem, b: Problem) =>
      a.file < b.file ? -1 : a.file > b.file ? 1 : a.line - b.line || a.column - b.column;
    return [...this.#found.values()]
      .sort(byPlace)
      .map((each) => `${showPath(each.file, folder)}:${each.line}:${each.column}: ${each.message}`);
  }
}

/** The source cannot be mapped to a contract. The message has one line per problem. */
export class SourceError extends SchemaError {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.length === 1 ? problems[0] : `${problems.length} problems in the source\n${problems.join("\n")}`);
    this.problems = problems;
  }
}
