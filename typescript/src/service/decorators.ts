/**
 * `@Service`, `@Rpc`, `@ServerStream`, `@ClientStream`, `@BidiStream` and `@WireType`, as standard decorators and as those
 * of `experimentalDecorators`.
 */

import { SchemaError } from "../errors.js";
import { type Described, type MetadataSource, metadataOfService, noteClass } from "../metadata/registry.js";
import type { SourceMethod, SourceService } from "../metadata/types.js";
import type { FieldShape, Shape, StructShape } from "../shapes.js";
import { scalar } from "../shapes.js";
import { recordWireClass, shapeOfSource } from "./classes.js";
import {
  checkKeys,
  METHOD_OPTIONS,
  type MethodOptions,
  type MethodSpec,
  methodOptions,
  type Pattern,
  SERVICE_OPTIONS,
  type ServiceOptions,
  type ServiceSpec,
  serviceOptions,
  show,
  sortedMethods,
  streamsRequests,
} from "./model.js";
import { type AnyType, type Fields, fieldShapes, shapeOf } from "./tokens.js";

/** A class, whatever its constructor takes. */
export type ServiceClass<T extends object = object> = abstract new (...given: any[]) => T;

/** A method's types, for programs without a build step; otherwise they are read from the source. */
export interface DecoratedMethodOptions extends MethodOptions {
  /** The request, or one message of a stream of requests. */
  request?: AnyType | undefined;
  /** In place of `request`: the handler's plain parameters, in their order. */
  parameters?: Fields | undefined;
  /** The answer, or one message of a stream of answers. Nothing: `t.null`. */
  response?: AnyType | undefined;
}

/** What a class decorator of this package is: standard, or of `experimentalDecorators`. */
export type ClassDecoration = (cls: any, context?: ClassDecoratorContext) => void;

/** What a method decorator of this package is, for handlers of the form `F`. */
export interface MethodDecoration<F extends (...given: any[]) => unknown> {
  (handler: F, context: ClassMethodDecoratorContext): void;
  <T extends F>(prototype: object, name: string | symbol, descriptor: TypedPropertyDescriptor<T>): void;
}

type Answering = (...given: any[]) => unknown;
type Streaming = (...given: any[]) => AsyncIterable<unknown> | Iterable<unknown> | Promise<AsyncIterable<unknown>>;

interface Mark {
  readonly pattern: Pattern;
  readonly options: DecoratedMethodOptions;
  readonly where: string;
}

const marks = new WeakMap<object, Mark>();
const specs = new WeakMap<object, ServiceSpec>();

const DECORATORS: Readonly<Record<Pattern, string>> = {
  unary: "@Rpc",
  server_stream: "@ServerStream",
  client_stream: "@ClientStream",
  bidi_stream: "@BidiStream",
};

const DECORATED_OPTIONS = [...METHOD_OPTIONS, "request", "parameters", "response"];

// ---------------------------------------------------------------- methods

function mark<F extends (...given: any[]) => unknown>(
  pattern: Pattern,
  given: readonly unknown[],
): MethodDecoration<F> {
  const decorator = DECORATORS[pattern];
  const decorate =
    (options: DecoratedMethodOptions) =>
    (target: unknown, context: unknown, descriptor?: PropertyDescriptor): void => {
      // Standard: (handler, context). experimentalDecorators: (prototype, name, descriptor).
      const standard = typeof context === "object" && context !== null;
      const handler = standard ? target : descriptor?.value;
      const name = standard ? (context as ClassMethodDecoratorContext).name : (context as string | symbol);
      const isStatic = standard ? (context as ClassMethodDecoratorContext).static : typeof target === "function";
      const where = `${decorator} ${String(name)}`;
      if (typeof handler !== "function") throw new SchemaError(`${where}: it decorates a method`);
      if (isStatic) throw new SchemaError(`${where}: a handler is a plain method, not a static one`);
      if (typeof name === "symbol" || String(name).startsWith("#")) {
        throw new SchemaError(`${where}: a handler is a public method with a name`);
      }
      checkKeys(where, options, DECORATED_OPTIONS);
      methodOptions(where, options);
      marks.set(handler, { pattern, options, where });
    };
  if (given.length >= 2) {
    decorate({})(given[0], given[1], given[2] as PropertyDescriptor | undefined);
    return undefined as never; // a decorator that replaces nothing
  }
  const options = given[0] ?? {};
  if (typeof options !== "object") {
    throw new SchemaError(`${decorator} takes an object of options, and got ${show(options)}`);
  }
  return decorate(options) as MethodDecoration<F>;
}

/** A method with one request and one answer. */
export function Rpc(handler: Answering, context: ClassMethodDecoratorContext): void;
export function Rpc(prototype: object, name: string | symbol, descriptor: PropertyDescriptor): void;
export function Rpc(options?: DecoratedMethodOptions): MethodDecoration<Answering>;
export function Rpc(...given: unknown[]): unknown {
  return mark("unary", given);
}

/** A method with one request and a stream of answers: an async generator. */
export function ServerStream(handler: Streaming, context: ClassMethodDecoratorContext): void;
export function ServerStream(prototype: object, name: string | symbol, descriptor: PropertyDescriptor): void;
export function ServerStream(options?: DecoratedMethodOptions): MethodDecoration<Streaming>;
export function ServerStream(...given: unknown[]): unknown {
  return mark("server_stream", given);
}

/** A method that takes a stream of requests, as an AsyncIterable, and answers once. */
export function ClientStream(handler: Answering, context: ClassMethodDecoratorContext): void;
export function ClientStream(prototype: object, name: string | symbol, descriptor: PropertyDescriptor): void;
export function ClientStream(options?: DecoratedMethodOptions): MethodDecoration<Answering>;
export function ClientStream(...given: unknown[]): unknown {
  return mark("client_stream", given);
}

/** A method that takes a stream of requests and answers with one, each at its own pace: an async generator. */
export function BidiStream(handler: Streaming, context: ClassMethodDecoratorContext): void;
export function BidiStream(prototype: object, name: string | symbol, descriptor: PropertyDescriptor): void;
export function BidiStream(options?: DecoratedMethodOptions): MethodDecoration<Streaming>;
export function BidiStream(...given: unknown[]): unknown {
  return mark("bidi_stream", given);
}

// ---------------------------------------------------------------- types

/**
 * Names a class on the wire. The tag is part of the contract and must be the same in every language, so it outlives a
 * rename of the class; by habit it is `area/Name`. `fields` gives the types of the fields where no build step reads them.
 */
export function WireType(tag: string, fields?: Fields): ClassDecoration {
  if (typeof tag !== "string" || tag === "" || tag !== tag.trim()) {
    throw new SchemaError(
      `@WireType takes the name of the type on the wire, such as "mission/Status", and got ${show(tag)}`,
    );
  }
  return (cls: unknown): void => {
    if (typeof cls !== "function") throw new SchemaError(`@WireType("${tag}") decorates a class, and got ${show(cls)}`);
    const makeFields =
      fields === undefined
        ? null
        : (where: string): FieldShape[] => {
            const sample = new (cls as new () => object)() as Record<string, unknown>;
            // What a new instance has already is a default: a value without the field is accepted.
            return fieldShapes(fields, where).map((field) => {
              const initial = sample[field.name];
              if (initial === undefined) return { ...field, makeDefault: null };
              return { ...field, required: false, makeDefault: null };
            });
          };
    recordWireClass(cls, { tag, fields: makeFields });
  };
}

// ---------------------------------------------------------------- services

/**
 * Makes a class a service: `@Service`, `@Service("Name")` or `@Service({ name, version, scoped, ... })`. Types that cannot
 * be sent are reported when the service is first served or called.
 */
export function Service(cls: ServiceClass, context?: ClassDecoratorContext): void;
export function Service(name: string, options?: Omit<ServiceOptions, "name">): ClassDecoration;
export function Service(options?: ServiceOptions): ClassDecoration;
export function Service(first?: unknown, second?: unknown): unknown {
  if (typeof first === "function") {
    recordService(first as ServiceClass, {});
    return undefined;
  }
  if (first === "" || (first !== undefined && typeof first !== "string" && typeof first !== "object")) {
    throw new SchemaError(`@Service takes a name that is not empty or an object of options, and got ${show(first)}`);
  }
  const options = { ...(typeof first === "string" ? { ...(second as object), name: first } : (first as object)) };
  return (cls: unknown): void => {
    if (typeof cls !== "function") throw new SchemaError(`@Service decorates a class, and got ${show(cls)}`);
    recordService(cls as ServiceClass, options);
  };
}

function recordService(cls: ServiceClass, options: ServiceOptions): void {
  const name = options.name ?? cls.name;
  const where = `@Service ${name}`;
  checkKeys(where, options, SERVICE_OPTIONS);
  if (typeof name !== "string" || name === "") throw new SchemaError(`${where}: name is a string that is not empty`);
  noteClass(cls);
  let described: Described<SourceService> | undefined | null = null;
  const describe = (): Described<SourceService> | undefined => {
    if (described === null)
      described = metadataOfService(
        cls,
        handlersOf(cls).map(([attribute]) => attribute),
      );
    return described;
  };
  let methods: readonly MethodSpec[] | null = null;
  const spec: ServiceSpec = {
    name,
    where: cls.name,
    cls: cls as unknown as new (...given: never[]) => object,
    ...serviceOptions(where, options),
    doc: () => describe()?.description.doc ?? "",
    methods() {
      methods ??= sortedMethods(
        `${name}: the class ${cls.name}`,
        handlersOf(cls).map(([attribute, found, handler]) =>
          methodSpec(name, cls, attribute, found, handler, describe),
        ),
        "decorate them with @Rpc, @ServerStream, @ClientStream or @BidiStream",
      );
      return methods;
    },
  };
  specs.set(cls, spec);
}

/** The record of a service class; a SchemaError for anything else. */
export function specOfClass(cls: object): ServiceSpec {
  for (let at: object | null = cls; at !== null; at = Object.getPrototypeOf(at) as object | null) {
    const spec = specs.get(at);
    if (spec !== undefined) return spec;
  }
  throw new SchemaError(`${show(cls)} is not a service; decorate the class with @Service, or use defineService()`);
}

/** The decorated methods of a class and of those it extends; an override need not be decorated again. */
function handlersOf(cls: ServiceClass): [string, Mark, (...given: never[]) => unknown][] {
  const found = new Map<string, [string, Mark, (...given: never[]) => unknown]>();
  const prototypes: object[] = [];
  for (let at: unknown = cls.prototype; at !== null && at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    prototypes.unshift(at as object);
  }
  for (const prototype of prototypes) {
    for (const [name, property] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
      const handler = property.value;
      if (typeof handler !== "function") continue;
      const own = marks.get(handler) ?? found.get(name)?.[1];
      if (own !== undefined) found.set(name, [name, own, handler]);
    }
  }
  return [...found.values()];
}

function methodSpec(
  service: string,
  cls: ServiceClass,
  attribute: string,
  found: Mark,
  handler: (...given: never[]) => unknown,
  describe: () => Described<SourceService> | undefined,
): MethodSpec {
  const where = `${cls.name}.${attribute}`;
  const { pattern, options } = found;
  const checked = methodOptions(where, options);
  const name = checked.name ?? attribute;
  const given = typesGiven(where, `${service}.${name}`, pattern, options, handler);
  const types = given ?? typesRead(where, `${service}.${name}`, pattern, attribute, describe);
  return { ...checked, name, attribute, pattern, ...types };
}

type MethodTypes = Pick<MethodSpec, "request" | "response" | "parameters" | "takesContext" | "doc">;

/** From the decorator's options; null if it has none. */
function typesGiven(
  where: string,
  tag: string,
  pattern: Pattern,
  options: DecoratedMethodOptions,
  handler: (...given: never[]) => unknown,
): MethodTypes | null {
  const { request, parameters, response } = options;
  if (request === undefined && parameters === undefined && response === undefined) return null;
  if (response === undefined || (request === undefined) === (parameters === undefined)) {
    throw new SchemaError(
      `${where}: types are given whole: \`request\` or \`parameters\`, and \`response\` (t.null for nothing)`,
    );
  }
  const answer = shapeOf(response, `${where}: response`);
  if (parameters !== undefined) {
    if (streamsRequests(pattern)) {
      throw new SchemaError(
        `${where}: ${DECORATORS[pattern]} takes a stream; give the type of one message as \`request\``,
      );
    }
    const fields = fieldShapes(parameters, where);
    const names = fields.map((field) => field.name);
    return {
      request: parameterStruct(tag, fields),
      response: answer,
      parameters: names,
      takesContext: handler.length > names.length,
      doc: "",
    };
  }
  const shape = shapeOf(request!, `${where}: request`);
  const single = streamsRequests(pattern) || shape.shape === "struct" || shape.shape === "union";
  if (!single) {
    throw new SchemaError(
      `${where}: a request is a struct or a union; give other types as \`parameters\`, by name: { value: ... }`,
    );
  }
  return { request: shape, response: answer, parameters: null, takesContext: handler.length > 1, doc: "" };
}

export function parameterStruct(tag: string, fields: readonly FieldShape[]): StructShape {
  return { shape: "struct", tag, cls: null, dynamic: false, fields, doc: "" };
}

/** From the source. */
function typesRead(
  where: string,
  tag: string,
  pattern: Pattern,
  attribute: string,
  describe: () => Described<SourceService> | undefined,
): MethodTypes {
  const described = describe();
  const method = described?.description.methods.find((each) => each.name === attribute);
  if (described === undefined || method === undefined) {
    throw new SchemaError(
      `${where}: its types are not known, since TypeScript leaves none at run time; run npx aster-gen, or start with ` +
        `node --import @aster-rpc/aster/register, or give them: ${DECORATORS[pattern]}({ request: ..., response: ... })`,
    );
  }
  if (method.pattern !== pattern) {
    throw new SchemaError(
      `${where}: it is decorated with ${DECORATORS[pattern]}, and the metadata has it as ${method.pattern}; run npx aster-gen again`,
    );
  }
  const response = located(`${where}: its answer`, () => shapeOfSource(method.response, described.source));
  return {
    ...requestRead(where, tag, method, described.source),
    response,
    takesContext: method.context,
    doc: method.doc ?? "",
  };
}

function requestRead(
  where: string,
  tag: string,
  method: SourceMethod,
  source: MetadataSource,
): Pick<MethodTypes, "request" | "parameters"> {
  const shapes: [string, Shape, boolean][] = method.parameters.map((each) => [
    each.name,
    located(`${where}: parameter ${each.name}`, () => shapeOfSource(each.type, source)),
    each.optional,
  ]);
  if (streamsRequests(method.pattern)) {
    return { request: shapes[0]?.[1] ?? scalar("any"), parameters: null };
  }
  const first = shapes[0];
  if (shapes.length === 1 && (first?.[1].shape === "struct" || first?.[1].shape === "union")) {
    return { request: first[1], parameters: null };
  }
  const fields = shapes.map(([name, shape, optional]): FieldShape => {
    const nullable = shape.shape === "nullable";
    return {
      name,
      type: nullable ? shape.item : shape,
      required: !optional,
      nullable,
      makeDefault: null,
      doc: "",
    };
  });
  return { request: parameterStruct(tag, fields), parameters: fields.map((field) => field.name) };
}

function located<T>(where: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (error instanceof SchemaError) error.message = `${where}: ${error.message}`;
    throw error;
  }
}
