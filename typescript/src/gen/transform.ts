/** TypeScript to JavaScript, by esbuild: the one transformer that lowers both forms of decorators. */

import { basename } from "node:path";
import { type TransformOptions, transformSync } from "esbuild";

export interface SourceMap {
  sources: string[];
  mappings: string;
}

/** `line` goes in front of the first line. The rest of the options are esbuild's. */
export function toJavaScript(
  path: string,
  text: string,
  line: string | null,
  compilerOptions: object,
  options: TransformOptions,
): { code: string; map: SourceMap } {
  const result = transformSync(text, {
    loader: path.endsWith("x") ? "tsx" : "ts",
    sourcefile: path,
    sourcemap: "external",
    // Services and types are named by their classes where nothing else names them.
    keepNames: true,
    // The decorators' form, class fields and JSX follow the project.
    tsconfigRaw: { compilerOptions } as NonNullable<TransformOptions["tsconfigRaw"]>,
    ...options,
  });
  const map = JSON.parse(result.map) as SourceMap;
  map.sources = [basename(path)];
  const hashbang = /^#!.*\n/.exec(result.code)?.[0];
  if (hashbang !== undefined) {
    // Its place is taken, so that the rest stays where the source map says.
    return { code: `${line ?? ""}\n${result.code.slice(hashbang.length)}`, map };
  }
  if (line === null) return { code: result.code, map };
  map.mappings = `;${map.mappings}`;
  return { code: `${line}\n${result.code}`, map };
}
