/** Unions and enums: literals, members, and what `null` among them means. */

import type { TSIndexedAccessType, TSType } from "oxc-parser";

import type { SourceType, TypeKey } from "../metadata/types.js";
import { docBefore } from "./docs.js";
import { constValues, type NamedValue } from "./literals.js";
import type { About, Naming, Reader, Scope } from "./reader.js";
import { isIdentifier, shorten } from "./words.js";

/** The type of a union or of a literal. */
export function unionType(reader: Reader, node: TSType, scope: Scope, about: About): SourceType {
  const { what, naming } = about;
  const literals: string[] = [];
  const members: TSType[] = [];
  let nullable = false;
  let boolean = false;
  const visit = (each: TSType): void => {
    if (each.type === "TSUnionType") {
      for (const part of each.types) visit(part);
    } else if (each.type === "TSParenthesizedType") {
      visit(each.typeAnnotation);
    } else if (each.type === "TSNullKeyword" || each.type === "TSUndefinedKeyword" || each.type === "TSVoidKeyword") {
      nullable = true;
    } else if (each.type === "TSLiteralType") {
      const literal = each.literal;
      const value = literal.type === "Literal" ? literal.value : undefined;
      if (typeof value === "string") literals.push(value);
      else if (typeof value === "boolean") boolean = true;
      else if (literal.type === "TemplateLiteral") members.push(each);
      else {
        reader.problem(
          scope,
          each,
          `${what}: a literal number has no type on the wire; use i64 or f64, or an enum whose values are numbers`,
        );
        members.push({ ...each, type: "TSUnknownKeyword" } as TSType);
      }
    } else {
      members.push(each);
    }
  };
  visit(node);

  const wrap = (type: SourceType): SourceType =>
    nullable && type.t !== "nullable" && type.t !== "any" && type.t !== "null" ? { t: "nullable", item: type } : type;

  if (members.length === 0 && !boolean && literals.length > 0) {
    return wrap(literalUnion(reader, literals, node, scope, about));
  }
  const found: SourceType[] = boolean ? [{ t: "bool" }] : [];
  if (literals.length > 0) {
    return reader.problem(
      scope,
      node,
      `${what}: string literals and other types in one union cannot be told apart on the wire; use unknown for a value ` +
        "of any type",
    );
  }
  // Before its members are read: one of them may contain the union.
  const early = naming !== undefined && members.length > 1 && reader.types[naming.key] === undefined;
  if (early) reader.types[naming.key] = { kind: "union", name: naming.name, members: [] };
  const notUnion = (type: SourceType): SourceType => {
    if (early) delete reader.types[naming.key];
    return type;
  };
  for (const each of members) {
    const type: SourceType =
      each.type === "TSLiteralType"
        ? { t: "string" }
        : reader.type(each, scope, members.length === 1 ? about : { what });
    if (type.t === "nullable") {
      nullable = true;
      found.push(type.item);
    } else if (type.t === "null") {
      nullable = true;
    } else {
      found.push(type);
    }
  }
  const distinct = [...new Map(found.map((each) => [JSON.stringify(each), each])).values()];
  if (distinct.length === 0) return notUnion({ t: "null" });
  const isStruct = (each: SourceType) => each.t === "ref" && reader.types[each.key]?.kind === "struct";
  // `A | A`: a union still, if something inside `A` knows it as one.
  if (distinct.length === 1 && !(early && isStruct(distinct[0]!))) return notUnion(wrap(distinct[0]!));
  if (distinct.some((each) => each.t === "any")) return notUnion({ t: "any" });
  const keys: TypeKey[] = [];
  for (const each of distinct) {
    const kind = each.t === "ref" ? reader.types[each.key]?.kind : undefined;
    // The members of other unions are taken in when all are known.
    if (each.t === "ref" && (kind === "struct" || kind === "union")) {
      keys.push(each.key);
    } else {
      notUnion(each);
      const text = shorten(scope.module.text.slice(node.start, node.end));
      return reader.problem(
        scope,
        node,
        `${what}: \`${text}\` cannot be sent: a union is \`T | null\`, of string literals, or of classes and interfaces; ` +
          "use unknown for a value of any type",
      );
    }
  }
  const unique = [...new Set(keys)].sort();
  const key = naming?.key ?? unique.join("|");
  reader.types[key] = {
    kind: "union",
    name: naming?.name ?? unique.map((each) => reader.types[each]!.name).join(" | "),
    ...(naming?.tag === undefined ? {} : { tag: naming.tag }),
    members: unique,
  };
  return wrap({ t: "ref", key });
}

function literalUnion(
  reader: Reader,
  literals: readonly string[],
  node: TSType,
  scope: Scope,
  about: About,
): SourceType {
  const { what, naming } = about;
  if (naming === undefined) {
    const text = literals.map((each) => JSON.stringify(each));
    if (literals.length === 1) {
      return reader.problem(
        scope,
        node,
        `${what}: a field that is always ${text[0]} carries nothing; remove it (members of a union are told apart by ` +
          "their wire type), or write string",
      );
    }
    return reader.problem(
      scope,
      node,
      `${what}: an enum needs a name on the wire; declare \`type Name = ${shorten(text.join(" | "))}\` and use it here`,
    );
  }
  return enumType(
    reader,
    naming,
    [...new Set(literals)].map((value) => ({ name: value, value })),
    node,
    scope,
    true,
  );
}

/** Enters an enum under its key. `literals`: its names are values written in the source. */
export function enumType(
  reader: Reader,
  naming: Naming,
  values: readonly NamedValue[],
  at: { readonly start: number },
  scope: Scope,
  literals = false,
): SourceType {
  for (const { name } of values) {
    if (isIdentifier(name)) continue;
    const hint = literals
      ? `declare \`const ${naming.name} = { NAME: ${JSON.stringify(name)} } as const\` and ` +
        `\`type ${naming.name} = (typeof ${naming.name})[keyof typeof ${naming.name}]\``
      : "rename it";
    reader.problem(
      scope,
      at,
      `${naming.name}: ${JSON.stringify(name)} cannot be the name of a value on the wire, which is an identifier; ${hint}`,
    );
  }
  if (values.length === 0) reader.problem(scope, at, `${naming.name}: an enum without values cannot be sent`);
  reader.types[naming.key] ??= {
    kind: "enum",
    name: naming.name,
    ...(naming.tag === undefined ? {} : { tag: naming.tag }),
    values,
    ...(naming.doc === undefined ? {} : { doc: naming.doc }),
  };
  return { t: "ref", key: naming.key };
}

/** `(typeof Role)[keyof typeof Role]` and `(typeof LEVELS)[number]`. */
export function indexedType(reader: Reader, node: TSIndexedAccessType, scope: Scope, about: About): SourceType {
  const unwrap = (type: TSType): TSType => (type.type === "TSParenthesizedType" ? unwrap(type.typeAnnotation) : type);
  const object = unwrap(node.objectType);
  const index = unwrap(node.indexType);
  const list = index.type === "TSNumberKeyword";
  const ofItself =
    index.type === "TSTypeOperator" &&
    index.operator === "keyof" &&
    unwrap(index.typeAnnotation).type === "TSTypeQuery";
  if (object.type === "TSTypeQuery" && object.exprName.type === "Identifier" && (list || ofItself)) {
    const entity = reader.modules.lookup(scope.module, object.exprName.name, reader.problems);
    const found =
      entity.kind === "declared"
        ? entity.declarations.find((each) => each.node.type === "VariableDeclarator")
        : undefined;
    const constant = found === undefined ? undefined : constValues(found.node as Parameters<typeof constValues>[0]);
    if (entity.kind === "declared" && constant?.list === list) {
      if (about.naming === undefined) {
        const text = scope.module.text.slice(node.start, node.end);
        return reader.problem(
          scope,
          node,
          `${about.what}: an enum needs a name on the wire; declare \`type ${entity.name} = ${text}\` and use it here`,
        );
      }
      const doc = docBefore(entity.module, found!.start).text;
      const naming = { ...(doc === undefined ? {} : { doc }), ...about.naming };
      return enumType(reader, naming, constant.values, node, scope, list);
    }
    if (entity.kind === "declared" && constant === undefined) {
      return reader.problem(
        scope,
        node,
        `${about.what}: \`${entity.name}\` must be a constant of literals with \`as const\` to be an enum`,
      );
    }
  }
  const text = shorten(scope.module.text.slice(node.start, node.end));
  return reader.problem(scope, node, `${about.what}: \`${text}\` is computed by the compiler; write the type out`);
}

/** Replaces the unions among the members of unions by their members. To be called when everything is read. */
export function flattenUnions(reader: Reader): void {
  const membersOf = (key: TypeKey, within: ReadonlySet<TypeKey>): TypeKey[] => {
    const type = reader.types[key];
    if (type?.kind !== "union") return [key];
    if (within.has(key)) return [];
    return type.members.flatMap((each) => membersOf(each, new Set([...within, key])));
  };
  for (const [key, type] of Object.entries(reader.types)) {
    if (type.kind !== "union") continue;
    reader.types[key] = { ...type, members: [...new Set(membersOf(key, new Set()))].sort() };
  }
}

/** Whether null is one of the alternatives written. */
export function admitsNull(type: TSType): boolean {
  if (type.type === "TSParenthesizedType") return admitsNull(type.typeAnnotation);
  if (type.type === "TSUnionType") return type.types.some(admitsNull);
  return type.type === "TSNullKeyword" || type.type === "TSUndefinedKeyword";
}
