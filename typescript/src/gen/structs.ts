/** The fields of classes, interfaces and type literals. */

import type {
  Class,
  Expression,
  ParamPattern,
  PropertyKey,
  TSInterfaceDeclaration,
  TSSignature,
  TSType,
} from "oxc-parser";

import type { SourceField, SourceType } from "../metadata/types.js";
import { docBefore } from "./docs.js";
import { bare, isNothing } from "./literals.js";
import type { Reader, Scope } from "./reader.js";
import { isIdentifier, shorten } from "./words.js";

/** `tag`: from a property `$type`, by which interfaces name themselves on the wire. */
export interface Fields {
  readonly fields: readonly SourceField[];
  readonly tag?: string;
}

/** Fields by name, in the order of their first declaration. */
class Table {
  readonly #fields = new Map<string, SourceField>();
  tag: string | undefined;

  add(field: SourceField): void {
    this.#fields.set(field.name, field);
  }

  /** What is inherited. A tag is a type's own. */
  addAll(fields: Fields): void {
    for (const each of fields.fields) this.add(each);
  }

  get(): Fields {
    return { fields: [...this.#fields.values()], ...(this.tag === undefined ? {} : { tag: this.tag }) };
  }
}

interface FieldSource {
  readonly name: string;
  readonly type: TSType | null;
  /** Null for none. */
  readonly initialiser: Expression | null;
  /** Marked with `?`. */
  readonly optional: boolean;
  readonly at: { readonly start: number };
  readonly commentEnds: readonly number[];
}

function field(reader: Reader, scope: Scope, owner: string, source: FieldSource): SourceField {
  const { name, initialiser } = source;
  const what = `${owner}.${name}`;
  if (!isIdentifier(name)) {
    reader.problem(scope, source.at, `${what}: the name of a field is an identifier; rename it`);
  }
  const full =
    source.type === null
      ? inferred(reader, scope, what, source)
      : reader.type(source.type, scope, { what, initialiser: initialiser });
  if (full.t === "null") {
    reader.problem(
      scope,
      source.at,
      `${what}: a field that is always null carries nothing; remove it, or give it a type`,
    );
  }
  const doc = docBefore(scope.module, ...source.commentEnds).text;
  return {
    name,
    type: full.t === "nullable" ? full.item : full,
    optional: source.optional || initialiser !== null || (source.type !== null && allowsUndefined(source.type)),
    nullable: full.t === "nullable" || source.optional,
    ...(doc === undefined ? {} : { doc }),
  };
}

function allowsUndefined(type: TSType): boolean {
  if (type.type === "TSParenthesizedType") return allowsUndefined(type.typeAnnotation);
  if (type.type === "TSUnionType") return type.types.some(allowsUndefined);
  return type.type === "TSUndefinedKeyword";
}

/** The type of a field that is only initialised. */
function inferred(reader: Reader, scope: Scope, what: string, source: FieldSource): SourceType {
  const { initialiser, at } = source;
  if (initialiser !== null && !isNothing(initialiser)) {
    const inner = bare(initialiser);
    const keyword = (type: string): SourceType =>
      reader.type({ type, start: at.start, end: at.start } as TSType, scope, { what, initialiser });
    switch (inner.type) {
      case "Literal":
        if (typeof inner.value === "string") return { t: "string" };
        if (typeof inner.value === "boolean") return { t: "bool" };
        if (typeof inner.value === "number") return keyword("TSNumberKeyword");
        if (typeof inner.value === "bigint") return keyword("TSBigIntKeyword");
        break;
      case "UnaryExpression":
        if (inner.operator === "!") return { t: "bool" };
        if (inner.operator === "-" && bare(inner.argument).type === "Literal") {
          const value = (bare(inner.argument) as { value?: unknown }).value;
          if (typeof value === "bigint") return keyword("TSBigIntKeyword");
          if (typeof value === "number") return keyword("TSNumberKeyword");
        }
        break;
      case "TemplateLiteral":
        return { t: "string" };
      case "NewExpression":
        if (inner.callee.type === "Identifier") {
          const reference = {
            type: "TSTypeReference",
            typeName: inner.callee,
            typeArguments: inner.typeArguments ?? null,
            start: inner.start,
            end: inner.end,
          } as TSType;
          return reader.type(reference, scope, { what });
        }
        break;
      case "MemberExpression":
        if (!inner.computed && inner.object.type === "Identifier") {
          const entity = reader.modules.lookup(scope.module, inner.object.name, reader.problems);
          const isEnum =
            entity.kind === "declared" && entity.declarations.some((each) => each.node.type === "TSEnumDeclaration");
          if (isEnum) {
            const reference = { type: "TSTypeReference", typeName: inner.object, typeArguments: null };
            return reader.type({ ...reference, start: inner.start, end: inner.end } as TSType, scope, { what });
          }
        }
        break;
    }
  }
  return reader.problem(scope, at, `${what}: nothing says what type it has; write \`${what.split(".").at(-1)}: Type\``);
}

/** The name of a property, if it is known without running the program. */
function nameOf(key: PropertyKey, computed: boolean): string | undefined {
  if (key.type === "Identifier" && !computed) return key.name;
  if (key.type === "Literal" && typeof key.value === "string") return key.value;
  if (key.type === "Literal" && !computed) return String(key.value);
  return undefined;
}

// ---- classes

/** `made`: values are made of this very class, so that its constructor counts; bases only lend their fields. */
export function fieldsOfClass(reader: Reader, node: Class, scope: Scope, owner: string, made: boolean): Fields {
  return reader.within(node, scope, owner, { fields: [] }, () => readClass(reader, node, scope, owner, made));
}

function readClass(reader: Reader, node: Class, scope: Scope, owner: string, made: boolean): Fields {
  const table = new Table();
  if (made && node.abstract === true) {
    reader.problem(scope, node, `${owner}: an abstract class has no values of its own; remove \`abstract\``);
  }
  const base = baseOf(reader, node, scope, owner);
  if (base !== undefined) table.addAll(fieldsOfClass(reader, base.node, base.scope, owner, false));
  for (const member of node.body.body) {
    switch (member.type) {
      case "PropertyDefinition":
      case "TSAbstractPropertyDefinition":
      case "AccessorProperty":
      case "TSAbstractAccessorProperty": {
        if (member.static || member.key.type === "PrivateIdentifier") break;
        const name = nameOf(member.key, member.computed);
        if (name === undefined) {
          reader.problem(
            scope,
            member,
            `${owner}: a field with a computed name cannot be read from the source; name it`,
          );
          break;
        }
        if (member.accessibility === "private" || member.accessibility === "protected") {
          reader.problem(
            scope,
            member.key,
            `${owner}.${name}: a ${member.accessibility} field of a wire type would be sent like any other; write \`#${name}\` ` +
              "for one that stays here, or make it public",
          );
          break;
        }
        if (member.type === "AccessorProperty" || member.type === "TSAbstractAccessorProperty") {
          reader.problem(scope, member.key, `${owner}.${name}: an accessor is not a field; remove \`accessor\``);
          break;
        }
        table.add(
          field(reader, scope, owner, {
            name,
            type: member.typeAnnotation?.typeAnnotation ?? null,
            initialiser: member.value,
            optional: member.optional === true,
            at: member.key,
            commentEnds: [member.start, ...starts(member.decorators), member.key.start],
          }),
        );
        break;
      }
      case "TSIndexSignature":
        reader.problem(
          scope,
          member,
          `${owner}: a struct has no fields but its declared ones; use a field of type Record<string, …>`,
        );
        break;
      case "MethodDefinition":
        if (member.kind !== "constructor" || member.value.body === null) break;
        for (const each of parameterFields(reader, scope, owner, member.value.params)) table.add(each);
        break;
    }
  }
  if (made) checkConstructor(reader, node, scope, owner);
  return table.get();
}

function starts(decorators: readonly { readonly end: number }[] | undefined): number[] {
  // A comment may also stand between decorators and what they decorate.
  const last = decorators?.at(-1);
  return last === undefined ? [] : [last.end];
}

/** The class that a class extends. */
function baseOf(
  reader: Reader,
  node: Class,
  scope: Scope,
  owner: string,
): { node: Class; scope: Scope; name: string } | undefined {
  const parent = node.superClass;
  if (parent === null) return undefined;
  const text = shorten(scope.module.text.slice(parent.start, parent.end));
  if (parent.type === "Identifier") {
    const entity = reader.modules.lookup(scope.module, parent.name, reader.problems);
    const found =
      entity.kind === "declared"
        ? entity.declarations.find((each) => each.node.type === "ClassDeclaration")
        : undefined;
    if (entity.kind === "declared" && found !== undefined) {
      if (entity.module.declarationFile) {
        reader.problem(
          scope,
          parent,
          `${owner}: ${text} is declared in ${entity.module.name}, where defaults of a class are not to be seen`,
        );
        return undefined;
      }
      const base = found.node as Class;
      const args = node.superTypeArguments?.params ?? [];
      const inner = reader.bind(base.typeParameters, args, entity.module, scope);
      return { node: base, scope: inner, name: entity.name };
    }
    if (entity.kind === "missing") {
      reader.problem(scope, parent, `${owner}: \`${text}\` is not known, because ${entity.why}`);
      return undefined;
    }
  }
  reader.problem(scope, parent, `${owner}: \`${text}\` is not a class of this project, so its fields are not known`);
  return undefined;
}

function constructorOf(node: Class): readonly ParamPattern[] | undefined {
  for (const member of node.body.body) {
    if (member.type === "MethodDefinition" && member.kind === "constructor" && member.value.body !== null) {
      return member.value.params;
    }
  }
  return undefined;
}

/** Values are made by `new Cls()`, then given their fields. */
function checkConstructor(reader: Reader, node: Class, scope: Scope, owner: string): void {
  const seen = new Set<Class>();
  let at: { node: Class; scope: Scope } | undefined = { node, scope };
  while (at !== undefined && !seen.has(at.node)) {
    seen.add(at.node);
    const parameters = constructorOf(at.node);
    if (parameters === undefined) {
      at = baseOf(reader, at.node, at.scope, owner);
      continue;
    }
    for (const each of parameters) {
      const pattern = each.type === "TSParameterProperty" ? each.parameter : each;
      if (pattern.type === "AssignmentPattern" || pattern.type === "RestElement") continue;
      if (isOptional(pattern)) continue;
      const text = shorten(at.scope.module.text.slice(pattern.start, pattern.end));
      reader.problem(
        at.scope,
        pattern,
        `${owner}: values are made by \`new ${owner}()\`, so its constructor must accept no arguments; give \`${text}\` a ` +
          "default or a `?`",
      );
    }
    return;
  }
}

/** Marked with `?`. The parser's types say that a binding never is; parameters are. */
export function isOptional(pattern: { readonly optional?: unknown }): boolean {
  return pattern.optional === true;
}

/** `constructor(public id: string = "")` declares fields too. */
function parameterFields(
  reader: Reader,
  scope: Scope,
  owner: string,
  parameters: readonly ParamPattern[],
): SourceField[] {
  const fields: SourceField[] = [];
  for (const each of parameters) {
    if (each.type !== "TSParameterProperty") continue;
    const pattern = each.parameter;
    const left = pattern.type === "AssignmentPattern" ? pattern.left : pattern;
    if (left.type !== "Identifier") continue; // the compiler refuses it
    if (each.accessibility === "private" || each.accessibility === "protected") {
      reader.problem(
        scope,
        each,
        `${owner}.${left.name}: a ${each.accessibility} field of a wire type would be sent like any other; make it public`,
      );
      continue;
    }
    fields.push(
      field(reader, scope, owner, {
        name: left.name,
        type: left.typeAnnotation?.typeAnnotation ?? null,
        initialiser: pattern.type === "AssignmentPattern" ? pattern.right : null,
        optional: isOptional(left),
        at: left,
        commentEnds: [each.start],
      }),
    );
  }
  return fields;
}

// ---- interfaces and type literals

/** All parts of an interface, with what it extends. */
export function fieldsOfInterface(
  reader: Reader,
  parts: readonly TSInterfaceDeclaration[],
  scope: Scope,
  owner: string,
): Fields {
  const table = new Table();
  for (const part of parts) {
    for (const heritage of part.extends) {
      const { expression } = heritage;
      const reference = {
        type: "TSTypeReference",
        typeName: expression,
        typeArguments: heritage.typeArguments,
        start: heritage.start,
        end: heritage.end,
      } as TSType;
      table.addAll(fieldsOfType(reader, reference, scope, owner));
    }
  }
  for (const part of parts) members(reader, part.body.body, scope, owner, table);
  return table.get();
}

/** The fields of any type that has some. */
export function fieldsOfType(reader: Reader, node: TSType, scope: Scope, owner: string): Fields {
  return reader.within(node, scope, owner, { fields: [] }, () => readType(reader, node, scope, owner));
}

function readType(reader: Reader, node: TSType, scope: Scope, owner: string): Fields {
  const table = new Table();
  switch (node.type) {
    case "TSParenthesizedType":
      return fieldsOfType(reader, node.typeAnnotation, scope, owner);
    case "TSTypeLiteral":
      members(reader, node.members, scope, owner, table);
      return table.get();
    case "TSIntersectionType":
      for (const each of node.types) {
        const fields = fieldsOfType(reader, each, scope, owner);
        table.addAll(fields);
        table.tag ??= each.type === "TSTypeLiteral" ? fields.tag : undefined;
      }
      return table.get();
    case "TSTypeReference": {
      const name = node.typeName;
      const args = node.typeArguments?.params ?? [];
      const bound = name.type === "Identifier" ? scope.parameters.get(name.name) : undefined;
      if (bound !== undefined) return fieldsOfType(reader, bound.node, bound.scope, owner);
      const entity = reader.entity(name, scope);
      if (entity?.kind === "global") {
        const changed = utility(reader, entity.name, args, scope, owner);
        if (changed !== undefined) return changed;
        reader.problem(scope, node, `${owner}: \`${entity.name}\` is not declared or imported here`);
        return table.get();
      } else if (entity?.kind === "declared") {
        const interfaces = entity.declarations
          .map((each) => each.node)
          .filter((each): each is TSInterfaceDeclaration => each.type === "TSInterfaceDeclaration");
        const other = entity.declarations.find((each) => each.node.type !== "VariableDeclarator")?.node;
        if (interfaces.length > 0) {
          const inner = reader.bind(interfaces[0]!.typeParameters, args, entity.module, scope);
          return fieldsOfInterface(reader, interfaces, inner, owner);
        }
        if (other?.type === "TSTypeAliasDeclaration") {
          const inner = reader.bind(other.typeParameters, args, entity.module, scope);
          return fieldsOfType(reader, other.typeAnnotation, inner, owner);
        }
        if (other?.type === "ClassDeclaration" && !entity.module.declarationFile) {
          const inner = reader.bind(other.typeParameters, args, entity.module, scope);
          return fieldsOfClass(reader, other, inner, owner, false);
        }
      } else if (entity?.kind === "missing") {
        const text = scope.module.text.slice(name.start, name.end);
        reader.problem(scope, node, `${owner}: \`${text}\` is not known, because ${entity.why}`);
        return table.get();
      }
    }
  }
  const text = shorten(scope.module.text.slice(node.start, node.end));
  reader.problem(scope, node, `${owner}: \`${text}\` is not a type with fields that can be read from the source`);
  return table.get();
}

/** Partial, Readonly, Pick and Omit of a type with fields. */
function utility(
  reader: Reader,
  name: string,
  args: readonly TSType[],
  scope: Scope,
  owner: string,
): Fields | undefined {
  const [of, names] = args;
  if (of === undefined || !/^(?:Partial|Readonly|Pick|Omit)$/.test(name)) return undefined;
  const { fields } = fieldsOfType(reader, of, scope, owner);
  if (name === "Readonly") return { fields };
  if (name === "Partial") return { fields: fields.map((each) => ({ ...each, optional: true, nullable: true })) };
  if (names === undefined) return undefined;
  const listed = literalNames(names);
  if (listed === undefined) {
    reader.problem(scope, names, `${owner}: the names in ${name}<…> must be string literals`);
    return { fields };
  }
  return { fields: fields.filter((each) => listed.has(each.name) === (name === "Pick")) };
}

function literalNames(node: TSType): Set<string> | undefined {
  const nodes = node.type === "TSUnionType" ? node.types : [node];
  const names = new Set<string>();
  for (const each of nodes) {
    const value = each.type === "TSLiteralType" && each.literal.type === "Literal" ? each.literal.value : undefined;
    if (typeof value !== "string") return undefined;
    names.add(value);
  }
  return names;
}

function members(reader: Reader, signatures: readonly TSSignature[], scope: Scope, owner: string, table: Table): void {
  for (const member of signatures) {
    switch (member.type) {
      case "TSPropertySignature": {
        const name = nameOf(member.key, member.computed);
        const type = member.typeAnnotation?.typeAnnotation ?? null;
        if (name === undefined) {
          reader.problem(
            scope,
            member,
            `${owner}: a field with a computed name cannot be read from the source; name it`,
          );
        } else if (name === "$type") {
          const literal = type?.type === "TSLiteralType" && type.literal.type === "Literal" ? type.literal.value : null;
          if (typeof literal === "string") table.tag = literal;
          else
            reader.problem(
              scope,
              member,
              `${owner}: \`$type\` names the type on the wire; write $type: "area/${owner}"`,
            );
        } else {
          table.add(
            field(reader, scope, owner, {
              name,
              type,
              initialiser: null,
              optional: member.optional,
              at: member.key,
              commentEnds: [member.start],
            }),
          );
        }
        break;
      }
      case "TSMethodSignature": {
        if (member.kind === "get" || member.kind === "set") break;
        const name = nameOf(member.key, member.computed) ?? "a method";
        reader.problem(
          scope,
          member,
          `${owner}.${name}: a function cannot be sent; remove it, or send what it returns`,
        );
        break;
      }
      case "TSIndexSignature":
        reader.problem(
          scope,
          member,
          `${owner}: a struct has no fields but its declared ones; use a field of type Record<string, …>`,
        );
        break;
      default:
        reader.problem(scope, member, `${owner}: a function cannot be sent; remove it, or send what it returns`);
    }
  }
}
