/** Types as they are written, read into types of the contract. Structs' fields are read by `structs.ts`. */

import type {
  Expression,
  TSImportType,
  TSType,
  TSTypeName,
  TSTypeParameterDeclaration,
  TSTypeParameterInstantiation,
  TSTypeReference,
} from "oxc-parser";

import type { SourceNamedType, SourceType, TypeKey } from "../metadata/types.js";
import { docBefore, docOfClass } from "./docs.js";
import { enumValues, numberKind } from "./literals.js";
import { type Declared, type Entity, type Modules, placeIn, type SourceModule } from "./modules.js";
import { type Place, Problems } from "./problems.js";
import { fieldsOfClass, fieldsOfInterface, fieldsOfType } from "./structs.js";
import { admitsNull, enumType, flattenUnions, indexedType, unionType } from "./unions.js";
import { HINTS, shorten } from "./words.js";

/** Where names are looked up: a module, and the type parameters in force. */
export interface Scope {
  readonly module: SourceModule;
  readonly parameters: ReadonlyMap<string, Bound>;
}

/** A type argument, with the scope it was written in. */
export interface Bound {
  readonly node: TSType;
  readonly scope: Scope;
}

/** The name that an alias gives to a type which has none of its own. */
export interface Naming {
  readonly key: TypeKey;
  readonly name: string;
  readonly doc?: string;
  readonly tag?: string;
}

/** What surrounds a type: what to call it in messages, and what may say more of it. */
export interface About {
  /** Such as `StatusRequest.when`. */
  readonly what: string;
  readonly naming?: Naming | undefined;
  /** Of a field or parameter; null for none. */
  readonly initialiser?: Expression | null | undefined;
}

/** A `number` whose width was not written. */
export interface Inferred {
  readonly place: Place;
  readonly what: string;
  readonly kind: "i64" | "f64";
  readonly why: string;
}

/** Of types in types, aliases and base classes. The contract itself allows 32 levels of containers. */
const MAX_DEPTH = 200;

/** Stands in where a problem was found, so that the rest is read too. */
const UNREADABLE: SourceType = { t: "any" };

type TypeEntity = Extract<Entity, { kind: "declared" }>;

export class Reader {
  readonly types: Record<TypeKey, SourceNamedType> = {};
  readonly inferred: Map<string, Inferred> = new Map();
  readonly problems: Problems;
  readonly modules: Modules;
  /** Modules whose decorated classes are among `types`. */
  readonly classes: Map<TypeKey, SourceModule> = new Map();
  readonly #aliases = new Set<Declared>();
  readonly #unread: (() => void)[] = [];
  #depth = 0;

  constructor(modules: Modules, problems: Problems = new Problems()) {
    this.modules = modules;
    this.problems = problems;
  }

  problem(scope: Scope, at: { readonly start: number }, message: string): SourceType {
    this.problems.add(placeIn(scope.module, at), message);
    return UNREADABLE;
  }

  type(node: TSType, scope: Scope, about: About): SourceType {
    return this.within(node, scope, about.what, UNREADABLE, () => this.#type(node, scope, about));
  }

  /** Reads one level deeper; source that refers to itself without end, which the compiler refuses, ends here. */
  within<T>(node: { readonly start: number }, scope: Scope, what: string, otherwise: T, read: () => T): T {
    if (this.#depth >= MAX_DEPTH) {
      this.problem(scope, node, `${what}: its type refers to itself without end, or is nested too deep`);
      return otherwise;
    }
    this.#depth++;
    try {
      return read();
    } finally {
      this.#depth--;
    }
  }

  #type(node: TSType, scope: Scope, about: About): SourceType {
    const { what } = about;
    const inside = (part: string): About => ({ what: `${what}${part}` });
    switch (node.type) {
      case "TSStringKeyword":
      case "TSTemplateLiteralType":
        return { t: "string" };
      case "TSBooleanKeyword":
        return { t: "bool" };
      case "TSNumberKeyword":
        return this.#number(node, scope, about);
      case "TSBigIntKeyword":
        return { t: "i64", bigint: true };
      case "TSAnyKeyword":
      case "TSUnknownKeyword":
      case "TSObjectKeyword":
        return { t: "any" };
      case "TSNullKeyword":
      case "TSUndefinedKeyword":
      case "TSVoidKeyword":
        return { t: "null" };
      case "TSParenthesizedType":
        return this.type(node.typeAnnotation, scope, about);
      case "TSArrayType":
        return { t: "list", item: this.type(node.elementType, scope, inside("[]")) };
      case "TSTupleType":
        return this.#tuple(node.elementTypes as TSType[], scope, what);
      case "TSTypeOperator":
        if (node.operator === "readonly") return this.type(node.typeAnnotation, scope, about);
        if (node.operator === "unique") return this.problem(scope, node, `${what}: a symbol cannot be sent`);
        return this.problem(scope, node, `${what}: \`keyof\` cannot be sent; declare a union of string literals`);
      case "TSUnionType":
      case "TSLiteralType":
        return unionType(this, node, scope, about);
      case "TSTypeReference":
        return this.#reference(node, scope, about);
      case "TSImportType":
        return this.#importType(node, scope, about);
      case "TSIndexedAccessType":
        return indexedType(this, node, scope, about);
      case "TSTypeLiteral":
        if (node.members.length === 1 && node.members[0]?.type === "TSIndexSignature") {
          const signature = node.members[0];
          const key = signature.parameters[0]!.typeAnnotation.typeAnnotation;
          return this.#record(key, signature.typeAnnotation.typeAnnotation, scope, what);
        }
        return this.#object(node, scope, about);
      case "TSIntersectionType": {
        // `string & { readonly __brand: "x" }`: a primitive under a name that only the compiler knows.
        const primitive = node.types.find((each) => /^TS(?:String|Number|BigInt|Boolean)Keyword$/.test(each.type));
        return primitive === undefined ? this.#object(node, scope, about) : this.type(primitive, scope, about);
      }
      case "TSMappedType":
        if (node.nameType === null && node.typeAnnotation !== null) {
          return this.#record(node.constraint, node.typeAnnotation, scope, what);
        }
        break;
      case "TSFunctionType":
      case "TSConstructorType":
        return this.problem(scope, node, `${what}: a function cannot be sent; remove it, or send what it returns`);
      case "TSSymbolKeyword":
        return this.problem(scope, node, `${what}: a symbol cannot be sent; use a string`);
      case "TSNeverKeyword":
        return this.problem(scope, node, `${what}: \`never\` has no values; remove it`);
      case "TSThisType":
        return this.problem(scope, node, `${what}: \`this\` has no name on the wire; write the name of the type`);
    }
    const text = shorten(scope.module.text.slice(node.start, node.end));
    return this.problem(scope, node, `${what}: \`${text}\` is computed by the compiler; write the type out`);
  }

  // ---- scalars and containers

  #number(node: TSType, scope: Scope, about: About): SourceType {
    const found = numberKind(about.initialiser ?? null);
    if (found === undefined) {
      const text = shorten(scope.module.text.slice(about.initialiser!.start, about.initialiser!.end));
      return this.problem(
        scope,
        node,
        `${about.what}: \`number\` with the initialiser \`${text}\` may be an integer or a float; write i64 or f64 ` +
          "(or i32, u32, f32 …) from @aster-rpc/aster instead of number",
      );
    }
    const place = placeIn(scope.module, node);
    this.inferred.set(`${place.file}\0${place.offset}\0${about.what}`, { place, what: about.what, ...found });
    return { t: found.kind };
  }

  #tuple(nodes: readonly TSType[], scope: Scope, what: string): SourceType {
    const items = nodes.map((each, index): SourceType => {
      const part = `${what}[${index}]`;
      const named = each.type === "TSNamedTupleMember";
      const item = (named ? each.elementType : each) as
        | TSType
        | { type: "TSRestType" | "TSOptionalType"; start: number };
      if (item.type === "TSRestType") {
        return this.problem(scope, item, `${part}: a tuple has a fixed length; use an array instead of a rest element`);
      }
      if (item.type === "TSOptionalType" || (named && each.optional)) {
        return this.problem(scope, item, `${part}: an item of a tuple cannot be left out; use \`T | null\``);
      }
      return this.type(item as TSType, scope, { what: part });
    });
    return { t: "tuple", items };
  }

  #record(keyNode: TSType, valueNode: TSType, scope: Scope, what: string): SourceType {
    const key = this.#key(keyNode, scope, what);
    const value = this.type(valueNode, scope, { what: `${what} value` });
    if (key.t !== "string" && key.t !== "ref" && key.t !== "uuid" && key !== UNREADABLE) {
      const text = scope.module.text.slice(keyNode.start, keyNode.end);
      return this.problem(
        scope,
        keyNode,
        `${what}: the keys of an object are text, so \`${text}\` cannot be its key; use Map<${text}, …>`,
      );
    }
    return { t: "map", key, value, object: true };
  }

  #map(keyNode: TSType, valueNode: TSType, scope: Scope, what: string): SourceType {
    const key = this.#key(keyNode, scope, what);
    return { t: "map", key, value: this.type(valueNode, scope, { what: `${what} value` }) };
  }

  #key(node: TSType, scope: Scope, what: string): SourceType {
    if (node.type === "TSNumberKeyword") {
      return this.problem(
        scope,
        node,
        `${what} key: a float cannot be the key of a map; write i64 (or i32, u32 …) from @aster-rpc/aster instead of number`,
      );
    }
    const key = this.type(node, scope, { what: `${what} key` });
    const fits =
      key === UNREADABLE ||
      /^(?:string|bool|uuid|[iu]\d+)$/.test(key.t) ||
      (key.t === "ref" && this.types[key.key]?.kind === "enum");
    if (fits) return key;
    return this.problem(
      scope,
      node,
      `${what} key: \`${shorten(scope.module.text.slice(node.start, node.end))}\` cannot be the key of a map; use string, ` +
        "an integer type, boolean, uuid or an enum",
    );
  }

  // ---- names

  /** What a possibly qualified name stands for. */
  entity(name: TSTypeName | TSImportType["qualifier"], scope: Scope): Entity | undefined {
    if (name === null || name.type === "ThisExpression") return undefined;
    if (name.type === "Identifier") return this.modules.lookup(scope.module, name.name, this.problems);
    const left = this.entity(name.left, scope);
    if (left?.kind !== "namespace") return undefined;
    if (left.of === "aster" || left.of === "node") return { kind: left.of, name: name.right.name };
    return this.modules.exported(left.of, name.right.name, this.problems);
  }

  #reference(node: TSTypeReference, scope: Scope, about: About): SourceType {
    const name = node.typeName;
    if (name.type === "Identifier") {
      const bound = scope.parameters.get(name.name);
      if (bound !== undefined) return this.type(bound.node, bound.scope, about);
    }
    const text = scope.module.text.slice(name.start, name.end);
    return this.#entityType(this.entity(name, scope), node.typeArguments, text, node, scope, about);
  }

  #importType(node: TSImportType, scope: Scope, about: About): SourceType {
    const text = shorten(scope.module.text.slice(node.start, node.end));
    const target = this.modules.resolver.resolve(scope.module.path, node.source.value);
    let entity: Entity | undefined;
    if (target.kind === "file" && node.qualifier?.type === "Identifier") {
      const module = this.modules.read(target.path, this.problems);
      entity = this.modules.exported(module, node.qualifier.name, this.problems);
    } else if (target.kind === "aster" && node.qualifier?.type === "Identifier") {
      entity = { kind: "aster", name: node.qualifier.name };
    }
    return this.#entityType(entity, node.typeArguments, text, node, scope, about);
  }

  #entityType(
    entity: Entity | undefined,
    given: TSTypeParameterInstantiation | null,
    text: string,
    node: TSType,
    scope: Scope,
    about: About,
  ): SourceType {
    const args = given?.params ?? [];
    switch (entity?.kind) {
      case "global":
        return this.#global(entity.name, args, node, scope, about);
      case "aster":
        return this.#brand(entity.name, args, node, scope, about);
      case "node":
        if (entity.name === "Buffer") return { t: "bytes" };
        if (entity.name === "UUID") return { t: "uuid" };
        break;
      case "missing":
        return this.problem(scope, node, `${about.what}: \`${text}\` is not known, because ${entity.why}`);
      case "declared":
        return this.#declared(entity, args, text, node, scope, about);
    }
    return this.problem(scope, node, `${about.what}: \`${text}\` cannot be sent; use a class, an interface or an enum`);
  }

  #brand(name: string, args: readonly TSType[], node: TSType, scope: Scope, about: About): SourceType {
    if (name === "u64") return { t: "u64", bigint: true };
    if (name === "i64" && args[0]?.type === "TSBigIntKeyword") return { t: "i64", bigint: true };
    if (/^(?:[iu](?:8|16|32)|i64|f32|f64|duration|uuid)$/.test(name)) return { t: name as "i64" };
    if (name === "CallContext") {
      return this.problem(
        scope,
        node,
        `${about.what}: a CallContext is the last parameter of a method, and is not sent`,
      );
    }
    return this.problem(scope, node, `${about.what}: \`${name}\` of @aster-rpc/aster cannot be sent`);
  }

  #global(name: string, args: readonly TSType[], node: TSType, scope: Scope, about: About): SourceType {
    const { what } = about;
    const wanted = { Array: 1, ReadonlyArray: 1, Set: 1, ReadonlySet: 1, Map: 2, ReadonlyMap: 2, Record: 2 }[name];
    if (wanted !== undefined && args.length !== wanted) {
      const form = wanted === 1 ? `${name}<T>` : `${name}<K, V>`;
      return this.problem(scope, node, `${what}: \`${name}\` needs to say of what; write ${form}`);
    }
    switch (name) {
      case "Array":
      case "ReadonlyArray":
        return { t: "list", item: this.type(args[0]!, scope, { what: `${what}[]` }) };
      case "Set":
      case "ReadonlySet":
        return { t: "list", item: this.type(args[0]!, scope, { what: `${what}[]` }), unique: true };
      case "Map":
      case "ReadonlyMap":
        return this.#map(args[0]!, args[1]!, scope, what);
      case "Record":
        return this.#record(args[0]!, args[1]!, scope, what);
      case "Date":
        return { t: "timestamp" };
      case "Uint8Array":
      case "Buffer":
        return { t: "bytes" };
      case "Readonly":
      case "NonNullable":
        if (args.length !== 1) break;
        if (name === "Readonly") return this.type(args[0]!, scope, about);
        {
          const type = this.type(args[0]!, scope, about);
          return type.t === "nullable" ? type.item : type;
        }
      case "Partial":
      case "Pick":
      case "Omit":
        return this.#object(node, scope, about);
    }
    const hint = HINTS[name];
    const why = hint === undefined ? "is not declared or imported here" : `cannot be sent; ${hint}`;
    return this.problem(scope, node, `${what}: \`${name}\` ${why}`);
  }

  // ---- declared types

  /** The type arguments in force inside a declaration. */
  bind(
    parameters: TSTypeParameterDeclaration | null | undefined,
    args: readonly TSType[],
    declaring: SourceModule,
    scope: Scope,
  ): Scope {
    const bound = new Map<string, Bound>();
    const inner: Scope = { module: declaring, parameters: bound };
    (parameters?.params ?? []).forEach((parameter, index) => {
      const given = args[index];
      if (given !== undefined) bound.set(parameter.name.name, { node: given, scope });
      else if (parameter.default !== null) bound.set(parameter.name.name, { node: parameter.default, scope: inner });
    });
    return inner;
  }

  #declared(
    entity: TypeEntity,
    args: readonly TSType[],
    text: string,
    node: TSType,
    scope: Scope,
    about: About,
  ): SourceType {
    const { module, name } = entity;
    const declared = entity.declarations.find((each) => each.node.type !== "VariableDeclarator");
    if (declared === undefined) {
      return this.problem(scope, node, `${about.what}: \`${text}\` is a value, not a type`);
    }
    const key = `${module.name}#${name}`;
    const own = docBefore(module, declared.start, declared.node.start);
    const naming: Naming = {
      key,
      name,
      ...(own.text === undefined ? {} : { doc: own.text }),
      ...(own.tag === undefined ? {} : { tag: own.tag }),
    };
    const made = declared.node;
    switch (made.type) {
      case "TSEnumDeclaration": {
        const values = enumValues(made);
        const inner: Scope = { module, parameters: new Map() };
        if (Array.isArray(values)) return enumType(this, naming, values, made, inner);
        return this.problem(inner, values, `${name}: the value of this member is not a literal; write it out`);
      }
      case "TSTypeAliasDeclaration": {
        const generic = made.typeParameters !== null && made.typeParameters.params.length > 0;
        if (this.#aliases.has(declared)) {
          if (this.types[key] !== undefined) {
            const ref: SourceType = { t: "ref", key };
            return admitsNull(made.typeAnnotation) ? { t: "nullable", item: ref } : ref;
          }
          return this.problem(
            scope,
            node,
            `${about.what}: \`${name}\` contains itself without a name of its own; use an interface, or unknown`,
          );
        }
        this.#aliases.add(declared);
        try {
          const inner = this.bind(made.typeParameters, args, module, scope);
          return this.type(made.typeAnnotation, inner, { ...about, naming: generic ? about.naming : naming });
        } finally {
          this.#aliases.delete(declared);
        }
      }
      case "TSInterfaceDeclaration": {
        const generic = made.typeParameters !== null && made.typeParameters.params.length > 0;
        if (generic && about.naming === undefined) return this.#unnamedGeneric(name, node, scope, about);
        const inner = this.bind(made.typeParameters, args, module, scope);
        const parts = entity.declarations.map((each) => each.node).filter((each) => each.type === made.type);
        const index = parts[0]!.body.body[0];
        if (parts.length === 1 && parts[0]!.body.body.length === 1 && index?.type === "TSIndexSignature") {
          const keyType = index.parameters[0]!.typeAnnotation.typeAnnotation;
          return this.#record(keyType, index.typeAnnotation.typeAnnotation, inner, about.what);
        }
        const given = generic ? about.naming! : naming;
        return this.struct(given, false, () => fieldsOfInterface(this, parts, inner, given.name));
      }
      case "ClassDeclaration":
      case "ClassExpression":
        return this.wireClass(entity, about.what, scope, node);
      default:
        return this.problem(scope, node, `${about.what}: \`${text}\` is a value, not a type`);
    }
  }

  #unnamedGeneric(name: string, node: TSType, scope: Scope, about: About): SourceType {
    const text = shorten(scope.module.text.slice(node.start, node.end));
    return this.problem(
      scope,
      node,
      `${about.what}: each form of the generic type ${name} needs a name on the wire; declare ` +
        `\`type Name = ${text}\` and use it here`,
    );
  }

  /** A class that `@WireType` marks. `from` is where it is used. */
  wireClass(entity: TypeEntity, what: string, scope: Scope, from: { readonly start: number }): SourceType {
    const { module, name } = entity;
    const key = `${module.name}#${name}`;
    const declared = entity.declarations.find((each) => each.node.type === "ClassDeclaration")!;
    const node = declared.node as Extract<Declared["node"], { type: "ClassDeclaration" | "ClassExpression" }>;
    const inner: Scope = { module, parameters: new Map() };
    if (module.declarationFile) {
      return this.problem(
        scope,
        from,
        `${what}: ${name} is declared in ${module.name}, where decorators and defaults of a class are not to be seen; ` +
          "use an interface, or import the class from its source",
      );
    }
    if (node.typeParameters !== null && node.typeParameters !== undefined) {
      return this.problem(
        scope,
        from,
        `${what}: ${name} is a generic class, whose forms have no names on the wire; make a class without type parameters ` +
          "that extends it",
      );
    }
    const decorator = this.decoration(node.decorators, inner, "WireType");
    if (decorator === undefined) {
      return this.problem(
        scope,
        from,
        `${what}: the class ${name} is not decorated, so its values could not be made; decorate it with ` +
          `@WireType("area/${name}"), or make it an interface`,
      );
    }
    const doc = docOfClass(module, declared, node).text;
    const tag = decorator.tag;
    const naming: Naming = {
      key,
      name,
      ...(doc === undefined ? {} : { doc }),
      ...(tag === undefined ? {} : { tag }),
    };
    this.classes.set(key, module);
    if (decorator.fields) {
      const { doc, tag } = naming;
      this.types[key] = {
        kind: "struct",
        name,
        class: true,
        given: true,
        fields: [],
        ...(tag && { tag }),
        ...(doc && { doc }),
      };
      return { t: "ref", key };
    }
    return this.struct(naming, true, () => fieldsOfClass(this, node, inner, name, true));
  }

  /** The decorator of that name from this package: its tag, and whether it was given the types of fields. */
  decoration(
    decorators: readonly { readonly expression: Expression }[],
    scope: Scope,
    wanted: string,
  ): { readonly tag?: string; readonly fields: boolean } | undefined {
    for (const { expression } of decorators) {
      const callee = expression.type === "CallExpression" ? expression.callee : expression;
      if (this.asterName(callee, scope) !== wanted) continue;
      if (expression.type !== "CallExpression") return { fields: false };
      const first = expression.arguments[0];
      const fields = expression.arguments.length > 1;
      if (first?.type === "Literal" && typeof first.value === "string") return { tag: first.value, fields };
      return { fields };
    }
    return undefined;
  }

  /** The name that an expression has in this package, if it comes from it. */
  asterName(expression: Expression, scope: Scope): string | undefined {
    if (expression.type === "Identifier") {
      const entity = this.modules.lookup(scope.module, expression.name, this.problems);
      return entity.kind === "aster" ? entity.name : undefined;
    }
    if (expression.type !== "MemberExpression" || expression.computed) return undefined;
    if (expression.object.type !== "Identifier" || expression.property.type !== "Identifier") return undefined;
    const entity = this.modules.lookup(scope.module, expression.object.name, this.problems);
    return entity.kind === "namespace" && entity.of === "aster" ? expression.property.name : undefined;
  }

  #object(node: TSType, scope: Scope, about: About): SourceType {
    const { naming } = about;
    if (naming === undefined) {
      return this.problem(
        scope,
        node,
        `${about.what}: a type with fields needs a name on the wire; declare it as an interface, a type or a class and use ` +
          "its name here",
      );
    }
    return this.struct(naming, false, () => fieldsOfType(this, node, scope, naming.name));
  }

  /** Enters a struct under its key. Its fields are read when `finish` comes to it: types refer to each other in long chains. */
  struct(naming: Naming, isClass: boolean, read: () => ReturnType<typeof fieldsOfClass>): SourceType {
    const { key, name, doc } = naming;
    if (this.types[key] === undefined) {
      const rest = { ...(isClass ? { class: true as const } : {}) };
      this.types[key] = { kind: "struct", name, ...rest, fields: [] };
      this.#unread.push(() => {
        const { fields, tag } = read();
        const wireTag = naming.tag ?? tag;
        this.types[key] = {
          kind: "struct",
          name,
          ...(wireTag === undefined ? {} : { tag: wireTag }),
          ...rest,
          fields,
          ...(doc === undefined ? {} : { doc }),
        };
      });
    }
    return { t: "ref", key };
  }

  /** Reads the fields of all structs met, and of those they lead to. */
  finish(): void {
    for (let read = this.#unread.pop(); read !== undefined; read = this.#unread.pop()) read();
    flattenUnions(this);
  }
}
