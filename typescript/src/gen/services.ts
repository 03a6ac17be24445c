/** Service classes: their methods, parameters and results. */

import type { Class, Expression, MethodDefinition, ParamPattern, PropertyDefinition, TSType } from "oxc-parser";

import type { SourceMethod, SourceService, SourceType, TypeKey } from "../metadata/types.js";
import { docBefore, docOfClass } from "./docs.js";
import type { Declared, SourceModule } from "./modules.js";
import type { Reader, Scope } from "./reader.js";
import { isOptional } from "./structs.js";
import { isIdentifier } from "./words.js";

const PATTERNS: Readonly<Record<string, SourceMethod["pattern"]>> = {
  Rpc: "unary",
  ServerStream: "server_stream",
  ClientStream: "client_stream",
  BidiStream: "bidi_stream",
};

/** What may stand for a stream that a method takes. */
const STREAMS: ReadonlySet<string> = new Set(["AsyncIterable", "AsyncIterableIterator", "AsyncGenerator"]);
/** What may stand for a stream that a method gives. */
const RESULTS: ReadonlySet<string> = new Set([...STREAMS, "Iterable", "IterableIterator", "Generator"]);
const PROMISES: ReadonlySet<string> = new Set(["Promise", "PromiseLike"]);

/** The services of a module, by key. */
export function readServices(reader: Reader, module: SourceModule): Map<TypeKey, SourceService> {
  const services = new Map<TypeKey, SourceService>();
  const scope: Scope = { module, parameters: new Map() };
  for (const [name, declarations] of module.declarations) {
    for (const declared of declarations) {
      const { node } = declared;
      if (node.type !== "ClassDeclaration") continue;
      if (reader.decoration(node.decorators, scope, "Service") === undefined) continue;
      services.set(`${module.name}#${name}`, readService(reader, declared, node, scope, name));
    }
  }
  return services;
}

function readService(reader: Reader, declared: Declared, node: Class, scope: Scope, name: string): SourceService {
  const methods = new Map<string, SourceMethod>();
  readMethods(reader, node, scope, name, methods);
  const doc = docOfClass(scope.module, declared, node).text;
  return { name, methods: [...methods.values()], ...(doc === undefined ? {} : { doc }) };
}

/** Inherited methods first; a method that is declared again replaces the inherited one. */
function readMethods(
  reader: Reader,
  node: Class,
  scope: Scope,
  owner: string,
  methods: Map<string, SourceMethod>,
): void {
  const parent = node.superClass;
  if (parent?.type === "Identifier") {
    const entity = reader.modules.lookup(scope.module, parent.name, reader.problems);
    const base =
      entity.kind === "declared"
        ? entity.declarations.map((each) => each.node).find((each): each is Class => each.type === "ClassDeclaration")
        : undefined;
    if (entity.kind === "declared" && base !== undefined) {
      const inner = reader.bind(base.typeParameters, node.superTypeArguments?.params ?? [], entity.module, scope);
      reader.within(parent, scope, owner, undefined, () => readMethods(reader, base, inner, owner, methods));
    }
  }
  for (const member of node.body.body) {
    if (member.type !== "MethodDefinition" && member.type !== "PropertyDefinition") continue;
    for (const decorator of member.decorators) {
      const callee =
        decorator.expression.type === "CallExpression" ? decorator.expression.callee : decorator.expression;
      const decoratorName = reader.asterName(callee, scope) ?? "";
      const pattern = PATTERNS[decoratorName];
      if (pattern === undefined) continue;
      const key = member.key;
      const name = key.type === "Identifier" && !member.computed ? key.name : key.type === "Literal" ? key.value : null;
      if (typeof name !== "string") {
        reader.problem(scope, key, `${owner}: a method with a computed or private name cannot be called; name it`);
      } else if (!isMethod(member) || member.kind !== "method" || member.static) {
        reader.problem(scope, key, `${owner}.${name}: @${decoratorName} marks a method of instances; make it one`);
      } else {
        const method = givesTypes(decorator.expression)
          ? givenMethod(reader, member, scope, name, pattern)
          : readMethod(reader, member, scope, owner, name, pattern, decoratorName);
        methods.set(name, method);
      }
    }
  }
}

/** Whether a decorator has the types itself. */
function givesTypes(expression: Expression): boolean {
  const options = expression.type === "CallExpression" ? expression.arguments[0] : undefined;
  if (options?.type !== "ObjectExpression") return false;
  return options.properties.some(
    (each) =>
      each.type === "Property" &&
      each.key.type === "Identifier" &&
      ["request", "parameters", "response"].includes(each.key.name),
  );
}

/** Whether the decorators of all methods have their types. */
export function givesAllTypes(reader: Reader, node: Class, scope: Scope): boolean {
  return node.body.body.every((member) => {
    if (member.type !== "MethodDefinition") return true;
    return member.decorators.every(({ expression }) => {
      const callee = expression.type === "CallExpression" ? expression.callee : expression;
      return PATTERNS[reader.asterName(callee, scope) ?? ""] === undefined || givesTypes(expression);
    });
  });
}

function givenMethod(
  reader: Reader,
  member: MethodDefinition,
  scope: Scope,
  name: string,
  pattern: SourceMethod["pattern"],
): SourceMethod {
  const last = member.value.params.at(-1);
  const context = last !== undefined && isContext(reader, last, scope);
  return { name, pattern, parameters: [], context, response: { t: "any" }, given: true };
}

function readMethod(
  reader: Reader,
  member: MethodDefinition,
  scope: Scope,
  owner: string,
  name: string,
  pattern: SourceMethod["pattern"],
  decorator: string,
): SourceMethod {
  const what = `${owner}.${name}`;
  if (!isIdentifier(name))
    reader.problem(scope, member.key, `${what}: the name of a method is an identifier; rename it`);
  const streams = pattern === "client_stream" || pattern === "bidi_stream";
  const params = member.value.params.filter((each) => !(each.type === "Identifier" && each.name === "this"));
  const last = params.at(-1);
  const context = last !== undefined && isContext(reader, last, scope);
  const given = context ? params.slice(0, -1) : params;
  const parameters: SourceMethod["parameters"][number][] = [];
  given.forEach((each, index) => {
    const parameter = readParameter(reader, each, scope, what, index, streams ? decorator : null);
    if (parameter !== undefined) parameters.push(parameter);
  });
  if (streams && given.length !== 1) {
    reader.problem(
      scope,
      given[1] ?? member.key,
      `${what}: a @${decorator} method takes one stream, such as \`items: AsyncIterable<Item>\`, and perhaps a CallContext`,
    );
  }
  const end = member.decorators.at(-1)?.end ?? member.start;
  const doc = docBefore(scope.module, member.start, end, member.key.start).text;
  return {
    name,
    pattern,
    parameters,
    context,
    response: readResponse(reader, member, scope, what, pattern, decorator),
    ...(doc === undefined ? {} : { doc }),
  };
}

function isMethod(member: MethodDefinition | PropertyDefinition): member is MethodDefinition {
  return member.type === "MethodDefinition";
}

function typeOf(param: ParamPattern): TSType | null {
  const pattern = param.type === "AssignmentPattern" ? param.left : param;
  if (!("typeAnnotation" in pattern)) return null;
  return pattern.typeAnnotation?.typeAnnotation ?? null;
}

function isContext(reader: Reader, param: ParamPattern, scope: Scope): boolean {
  const visit = (type: TSType | null): boolean => {
    if (type?.type === "TSUnionType") return type.types.some(visit);
    if (type?.type !== "TSTypeReference") return false;
    const entity = reader.entity(type.typeName, scope);
    return entity?.kind === "aster" && entity.name === "CallContext";
  };
  return visit(typeOf(param));
}

function readParameter(
  reader: Reader,
  param: ParamPattern,
  scope: Scope,
  method: string,
  index: number,
  stream: string | null,
): SourceMethod["parameters"][number] | undefined {
  if (param.type === "RestElement") {
    reader.problem(scope, param, `${method}: a rest parameter has no fixed fields; take an array instead`);
    return undefined;
  }
  const pattern = param.type === "AssignmentPattern" ? param.left : param;
  // A destructured request object has no name of its own, and needs none: its type is the request.
  const name = pattern.type === "Identifier" ? pattern.name : index === 0 ? "request" : `request${index}`;
  const node = typeOf(param);
  if (node === null) {
    reader.problem(scope, param, `${method}: nothing says what type \`${name}\` has; write \`${name}: Type\``);
    return undefined;
  }
  const what = `${method}(${name})`;
  if (stream !== null) {
    const item = argumentOf(reader, node, scope, STREAMS);
    if (item === undefined) {
      reader.problem(
        scope,
        node,
        `${what}: a @${stream} method takes a stream; write \`${name}: AsyncIterable<Item>\``,
      );
      return undefined;
    }
    return { name, type: reader.type(item.node, item.scope, { what }), optional: false };
  }
  if (argumentOf(reader, node, scope, STREAMS) !== undefined) {
    reader.problem(
      scope,
      node,
      `${what}: only @ClientStream and @BidiStream methods take a stream; use one of them, or an array`,
    );
    return undefined;
  }
  const initialiser = param.type === "AssignmentPattern" ? param.right : null;
  const type = reader.type(node, scope, { what, initialiser });
  const optional = initialiser !== null || ("optional" in pattern && isOptional(pattern));
  return { name, type, optional };
}

function readResponse(
  reader: Reader,
  member: MethodDefinition,
  scope: Scope,
  what: string,
  pattern: SourceMethod["pattern"],
  decorator: string,
): SourceType {
  const node = member.value.returnType?.typeAnnotation;
  const streams = pattern === "server_stream" || pattern === "bidi_stream";
  const form = streams ? "AsyncGenerator<Item>" : "Promise<Answer>";
  if (node === undefined) {
    return reader.problem(
      scope,
      member.key,
      `${what}: nothing says what it returns; write \`: ${form}\` after its parameters`,
    );
  }
  const about = { what: `${what} result` };
  const item = argumentOf(reader, node, scope, streams ? RESULTS : STREAMS);
  const awaited = argumentOf(reader, node, scope, PROMISES);
  if (streams) {
    const promised = awaited === undefined ? undefined : argumentOf(reader, awaited.node, awaited.scope, STREAMS);
    if (promised !== undefined) return reader.type(promised.node, promised.scope, about);
    if (item !== undefined) return reader.type(item.node, item.scope, about);
    return reader.problem(
      scope,
      node,
      `${what}: a @${decorator} method returns a stream; write \`: ${form}\`, or use ` +
        `${pattern === "bidi_stream" ? "@ClientStream" : "@Rpc"} for one answer`,
    );
  }
  if (item !== undefined) {
    return reader.problem(
      scope,
      node,
      `${what}: a @${decorator} method returns one answer; use ` +
        `${pattern === "client_stream" ? "@BidiStream" : "@ServerStream"} for a stream`,
    );
  }
  return awaited === undefined ? reader.type(node, scope, about) : reader.type(awaited.node, awaited.scope, about);
}

/** The first type argument of a reference to one of the global `names`, also through aliases. */
function argumentOf(
  reader: Reader,
  node: TSType,
  scope: Scope,
  names: ReadonlySet<string>,
): { readonly node: TSType; readonly scope: Scope } | undefined {
  return reader.within(node, scope, "a stream or promise", undefined, () => findArgument(reader, node, scope, names));
}

function findArgument(
  reader: Reader,
  node: TSType,
  scope: Scope,
  names: ReadonlySet<string>,
): { readonly node: TSType; readonly scope: Scope } | undefined {
  if (node.type === "TSParenthesizedType") return argumentOf(reader, node.typeAnnotation, scope, names);
  if (node.type !== "TSTypeReference") return undefined;
  if (node.typeName.type === "Identifier") {
    const bound = scope.parameters.get(node.typeName.name);
    if (bound !== undefined) return argumentOf(reader, bound.node, bound.scope, names);
  }
  const args = node.typeArguments?.params ?? [];
  const entity = reader.entity(node.typeName, scope);
  if (entity?.kind === "global") {
    return names.has(entity.name) && args[0] !== undefined ? { node: args[0], scope } : undefined;
  }
  if (entity?.kind !== "declared") return undefined;
  const alias = entity.declarations.find((each) => each.node.type === "TSTypeAliasDeclaration")?.node;
  if (alias?.type !== "TSTypeAliasDeclaration" || alias.typeAnnotation.type === "TSUnionType") return undefined;
  return argumentOf(reader, alias.typeAnnotation, reader.bind(alias.typeParameters, args, entity.module, scope), names);
}
