/** What is known about a service before any call, whether a decorated class or `defineService()` said it. */

import { SchemaError } from "../errors.js";
import type { Shape } from "../shapes.js";

/** How many messages go each way, by the contract's names. */
export type Pattern = "unary" | "server_stream" | "client_stream" | "bidi_stream";

/** Whether the caller sends any number of messages. */
export function streamsRequests(pattern: Pattern): boolean {
  return pattern === "client_stream" || pattern === "bidi_stream";
}

/** Whether the handler sends any number of messages. */
export function streamsResponses(pattern: Pattern): boolean {
  return pattern === "server_stream" || pattern === "bidi_stream";
}

/** Capabilities that a caller must hold; made by `anyOf` and `allOf`. */
export interface AccessRule {
  readonly kind: "any_of" | "all_of";
  readonly capabilities: readonly string[];
}

/** A capability, or a rule about several. */
export type Requirement = string | AccessRule;

/** The caller must hold at least one of these capabilities. */
export function anyOf(...capabilities: string[]): AccessRule {
  return { kind: "any_of", capabilities: checkedCapabilities("anyOf", capabilities) };
}

/** The caller must hold every one of these capabilities. */
export function allOf(...capabilities: string[]): AccessRule {
  return { kind: "all_of", capabilities: checkedCapabilities("allOf", capabilities) };
}

function checkedCapabilities(name: string, given: readonly unknown[]): readonly string[] {
  if (given.length === 0) {
    throw new SchemaError(`${name}() names no capability, so nobody could tell whom it lets in; name at least one`);
  }
  for (const each of given) {
    if (typeof each !== "string" || each === "") {
      throw new SchemaError(`${name}(${show(each)}): a capability is a string that is not empty`);
    }
  }
  return given as readonly string[];
}

/** What the decorators of methods, and `rpc()` and its like, take. */
export interface MethodOptions {
  /** On the wire; the method's own name by default. */
  name?: string | undefined;
  /** Milliseconds after which the server ends a call, and typed clients give up. */
  timeoutMs?: number | undefined;
  /** Calling twice does no more than calling once, so a failed call may be retried. */
  idempotent?: boolean | undefined;
  /** A capability, `anyOf(...)` or `allOf(...)` that callers need, besides the service's own. */
  requires?: Requirement | undefined;
  /** Notes shown to whoever inspects the service. */
  metadata?: Readonly<Record<string, string>> | undefined;
}

/** What `Service` and `defineService` take. */
export interface ServiceOptions {
  /** On the wire; the class's name by default. */
  name?: string | undefined;
  /** From 1; several versions of a name may be served side by side. */
  version?: number | undefined;
  /** `"shared"`: one instance for all callers. `"session"`: one per session of a caller. */
  scoped?: "shared" | "session" | undefined;
  /** A capability, `anyOf(...)` or `allOf(...)` that every caller needs. */
  requires?: Requirement | undefined;
  /** What typed clients of this service send. Both are always served. */
  serialization?: "msgpack" | "json" | undefined;
  /** Around every call of this service. */
  interceptors?: readonly unknown[] | undefined;
  /** Notes shown to whoever inspects the service. */
  metadata?: Readonly<Record<string, string>> | undefined;
}

/** One method, its types known. */
export interface MethodSpec {
  /** On the wire. */
  readonly name: string;
  /** In the class or object that handles it. */
  readonly attribute: string;
  readonly pattern: Pattern;
  readonly request: Shape;
  readonly response: Shape;
  /** The names of plain parameters in their order; null when the handler takes one request, or a stream. */
  readonly parameters: readonly string[] | null;
  /** Whether the handler takes a CallContext after its parameters. */
  readonly takesContext: boolean;
  readonly timeoutMs: number | null;
  readonly idempotent: boolean;
  readonly requires: AccessRule | null;
  readonly metadata: Readonly<Record<string, string>>;
  readonly doc: string;
}

/** One service. `methods` works its types out at first use, since classes may be declared further down a module. */
export interface ServiceSpec {
  readonly name: string;
  /** For error texts: the class, or the call that defined it. */
  readonly where: string;
  readonly version: number;
  readonly session: boolean;
  readonly requires: AccessRule | null;
  readonly serialization: "msgpack" | "json";
  readonly interceptors: readonly unknown[];
  readonly metadata: Readonly<Record<string, string>>;
  /** The class, for decorated services. */
  readonly cls: (new (...given: never[]) => object) | null;
  doc(): string;
  /** Sorted by name, in the order of the contract. */
  methods(): readonly MethodSpec[];
}

export function requirement(where: string, requires: unknown): AccessRule | null {
  if (requires === undefined || requires === null) return null;
  if (typeof requires === "string" && requires !== "") return { kind: "all_of", capabilities: [requires] };
  const rule = requires as Partial<AccessRule>;
  if (typeof requires === "object" && (rule.kind === "any_of" || rule.kind === "all_of")) return requires as AccessRule;
  throw new SchemaError(`${where}: requires takes a capability, anyOf(...) or allOf(...), and got ${show(requires)}`);
}

export function notes(where: string, metadata: unknown): Readonly<Record<string, string>> {
  if (metadata === undefined) return {};
  if (typeof metadata !== "object" || metadata === null) {
    throw new SchemaError(`${where}: metadata maps strings to strings, and got ${show(metadata)}`);
  }
  for (const [key, value] of Object.entries(metadata)) {
    if (typeof value !== "string") {
      throw new SchemaError(`${where}: metadata maps strings to strings, and has ${key}: ${show(value)}`);
    }
  }
  return { ...metadata } as Record<string, string>;
}

/** Refuses keys that an options object does not have, since a mistyped option would do nothing. */
export function checkKeys(where: string, given: object, known: readonly string[]): void {
  for (const key of Object.keys(given)) {
    if (!known.includes(key)) {
      throw new SchemaError(`${where}: there is no option ${show(key)}; there are ${known.join(", ")}`);
    }
  }
}

export const METHOD_OPTIONS: readonly string[] = ["name", "timeoutMs", "idempotent", "requires", "metadata"];
export const SERVICE_OPTIONS: readonly string[] = [
  "name",
  "version",
  "scoped",
  "requires",
  "serialization",
  "interceptors",
  "metadata",
];

/** The options of a method, checked. */
export function methodOptions(
  where: string,
  options: MethodOptions,
): Pick<MethodSpec, "timeoutMs" | "idempotent" | "requires" | "metadata"> & { name: string | null } {
  const { name, timeoutMs } = options;
  if (timeoutMs !== undefined && !(typeof timeoutMs === "number" && timeoutMs > 0 && Number.isFinite(timeoutMs))) {
    throw new SchemaError(`${where}: timeoutMs is a number of milliseconds above 0, and got ${show(timeoutMs)}`);
  }
  if (name !== undefined && (typeof name !== "string" || name === "")) {
    throw new SchemaError(`${where}: name is a string that is not empty, and got ${show(name)}`);
  }
  return {
    name: name ?? null,
    timeoutMs: timeoutMs === undefined ? null : wholeMilliseconds(timeoutMs),
    idempotent: options.idempotent === true,
    requires: requirement(where, options.requires),
    metadata: notes(where, options.metadata),
  };
}

/** Whole milliseconds, at least 1, so that a very short time limit does not become none. */
export function wholeMilliseconds(milliseconds: number): number {
  return Math.max(1, Math.round(milliseconds));
}

/** The options of a service, checked. */
export function serviceOptions(
  where: string,
  options: ServiceOptions,
): Pick<ServiceSpec, "version" | "session" | "requires" | "serialization" | "interceptors" | "metadata"> {
  const { version = 1, scoped = "shared", serialization = "msgpack", interceptors = [] } = options;
  if (!Number.isInteger(version) || version < 1) {
    throw new SchemaError(`${where}: version is a whole number from 1, and got ${show(version)}`);
  }
  if (scoped !== "shared" && scoped !== "session") {
    throw new SchemaError(`${where}: scoped is "shared" or "session", and got ${show(scoped)}`);
  }
  if (serialization !== "msgpack" && serialization !== "json") {
    throw new SchemaError(`${where}: serialization is "msgpack" or "json", and got ${show(serialization)}`);
  }
  if (!Array.isArray(interceptors)) {
    throw new SchemaError(`${where}: interceptors is an array, and got ${show(interceptors)}`);
  }
  return {
    version,
    session: scoped === "session",
    requires: requirement(where, options.requires),
    serialization,
    interceptors,
    metadata: notes(where, options.metadata),
  };
}

/** Methods in the order of the contract; a SchemaError if two have one name, or there are none. */
export function sortedMethods(where: string, methods: readonly MethodSpec[], decorate: string): readonly MethodSpec[] {
  if (methods.length === 0) throw new SchemaError(`${where} has no methods; ${decorate}`);
  const sorted = [...methods].sort((one, two) => byBytes(one.name, two.name));
  for (let index = 1; index < sorted.length; index++) {
    const one = sorted[index - 1]!;
    const two = sorted[index]!;
    if (one.name === two.name) {
      throw new SchemaError(`${where}: ${one.attribute} and ${two.attribute} are both named "${one.name}" on the wire`);
    }
  }
  return sorted;
}

/** The order of names in contracts: by their UTF-8 bytes, which is not that of JavaScript. */
export function byBytes(one: string, two: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(two));
}

/** A value in an error text. */
export function show(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "function") return value.name === "" ? "a function" : value.name;
  if (typeof value === "object" && value !== null) return `an object of ${value.constructor?.name ?? "no class"}`;
  return String(value);
}
