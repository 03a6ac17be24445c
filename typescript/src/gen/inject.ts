/** The statement that the register hook and the Vite plugin put in front of a module. */

import { dirname, relative, sep } from "node:path";

import { REGISTRATIONS } from "../metadata/registrations.js";
import { generate } from "./generate.js";
import { type Modules, mayDecorate, type SourceModule } from "./modules.js";
import { Problems, showPlace } from "./problems.js";

export interface Injection {
  /** One line, without its end. */
  readonly code: string;
  /** Relative specifiers of modules that must be loaded too: those of the classes that its types reach. */
  readonly loads: readonly string[];
}

/**
 * What to put in front of the module; null if it declares neither services nor wire types. `text` is its source as the
 * loader has it, `project` names what its keys belong to. Throws a SourceError with all that is wrong in what it declares.
 *
 * It goes in front because a module may start its server while it runs, before a statement at its end would be reached; the classes
 * are therefore named by functions, called later.
 */
export function injectionFor(
  modules: Modules,
  path: string,
  text: string,
  folder: string,
  project: string = modules.root,
): Injection | null {
  if (!mayDecorate(text)) return null;
  const problems = new Problems();
  const module = modules.read(path, problems, text);
  // The transformer reports syntax errors better, with the text around them.
  if (problems.count > 0) return null;
  if (!hasDecoratedClass(module) && module.nested.length === 0) return null;
  const generated = generate(modules, [path], { folder, texts: new Map([[path, text]]) });
  const { types, services } = generated.metadata;
  const none = Object.keys(types).length === 0 && Object.keys(services).length === 0;
  if (none && generated.skipped.length === 0) return null;
  const own: string[] = [];
  const others = new Set<string>();
  for (const [key, declaring] of generated.classes) {
    const name = key.slice(key.lastIndexOf("#") + 1);
    if (declaring === module) own.push(`${JSON.stringify(key)}:()=>${name}`);
    // A class that is only used as a type is imported by nothing that runs.
    else others.add(declaring.path);
  }
  const skipped = Object.fromEntries(
    generated.skipped.map(({ name, place }) => [name, showPlace(place, modules.root)]),
  );
  const registration =
    `{root:${JSON.stringify(project)},metadata:${literal(generated.metadata)},` +
    `skipped:${literal(skipped)},classes:{${own.join(",")}}}`;
  const array = `globalThis[Symbol.for(${JSON.stringify(REGISTRATIONS)})]`;
  return {
    code: `(${array}??=[]).push(${registration});`,
    loads: [...others].map((each) => specifierFrom(path, each)),
  };
}

/** JSON as JavaScript. A key `__proto__` would set the prototype, and the line separators would end the line. */
function literal(value: unknown): string {
  const json = JSON.stringify(value).replaceAll("\u2028", "\\u2028").replaceAll("\u2029", "\\u2029");
  return json.includes('"__proto__"') ? `JSON.parse(${JSON.stringify(json)})` : json;
}

function hasDecoratedClass(module: SourceModule): boolean {
  for (const declarations of module.declarations.values()) {
    for (const { node } of declarations) {
      if (node.type === "ClassDeclaration" && node.decorators.length > 0) return true;
    }
  }
  return false;
}

function specifierFrom(path: string, other: string): string {
  const short = relative(dirname(path), other).split(sep).join("/");
  return short.startsWith(".") ? short : `./${short}`;
}

/** The whole line for an ES module. */
export function asModule(injection: Injection): string {
  return `${injection.loads.map((each) => `import ${JSON.stringify(each)};`).join("")}${injection.code}`;
}

/** The whole line for a CommonJS module. */
export function asCommonJs(injection: Injection): string {
  return `${injection.loads.map((each) => `require(${JSON.stringify(each)});`).join("")}${injection.code}`;
}
