/** Options of servers, clients and calls, checked, in the form the native layer takes. */

import { defaultMaxListeners, getMaxListeners, setMaxListeners } from "node:events";
import { homedir } from "node:os";
import { join } from "node:path";
import { servedTimeLeftMs } from "./context.js";
import { ConfigurationError, UsageError } from "./errors.js";
import type {
  CallInfo,
  Metadata,
  CallOptions as NativeCallOptions,
  EndpointOptions as NativeEndpointOptions,
} from "./native/types.js";
import { show, wholeMilliseconds } from "./service/model.js";

/** What servers and clients can be told about their endpoint. */
export interface EndpointOptions {
  /** Path of an identity file, made when missing; it keeps the endpoint id and port. Without one they are new each time. */
  identity?: string | undefined;
  /** URL of your own relay, `""` for none; default: `ASTER_RELAY_URL` or `IROH_RELAY_URL`, else the public preset. */
  relay?: string | undefined;
  /** `"local"`: this machine and network only. */
  preset?: "default" | "local" | undefined;
  /** How often a quiet connection is shown to be alive. */
  keepAliveMs?: number | undefined;
  /** After how long a silence a connection is given up. */
  idleTimeoutMs?: number | undefined;
  /** The largest message taken. */
  maxMessageBytes?: number | undefined;
  /** Name and version of the program, for the peer's logs. */
  agent?: string | undefined;
}

/** The options of one call, always last. */
export interface CallOptions {
  /** Cancels the call when it aborts. */
  signal?: AbortSignal | undefined;
  /** The call fails with `DeadlineExceeded` after this long. 0 has passed already. */
  timeoutMs?: number | undefined;
  /** Sent along. Keys ending in `-bin` have bytes. */
  metadata?: Metadata | undefined;
  /** Compress large messages of this call. */
  compress?: boolean | undefined;
  /** Filled with the answer's metadata when the call has ended. */
  info?: CallInfo | undefined;
}

export type { CallInfo, Metadata };

const CALL_OPTIONS: readonly string[] = ["signal", "timeoutMs", "metadata", "compress", "info"];

function milliseconds(name: string, value: number | undefined): number | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== "number" || !(value > 0) || !Number.isFinite(value)) {
    throw new ConfigurationError(`${name} is a number of milliseconds above 0, and got ${show(value)}`);
  }
  return wholeMilliseconds(value);
}

/** What is not given is left to the core: environment, then default. */
export function endpointOptions(
  given: EndpointOptions & { connectTimeoutMs?: number | undefined; compress?: boolean | undefined },
): NativeEndpointOptions {
  const { identity, maxMessageBytes } = given;
  if (maxMessageBytes !== undefined && (!Number.isInteger(maxMessageBytes) || maxMessageBytes < 1)) {
    throw new ConfigurationError(`maxMessageBytes is a whole number of bytes from 1, and got ${show(maxMessageBytes)}`);
  }
  const options: NativeEndpointOptions = {
    identity: identity === undefined ? undefined : expandHome(identity),
    relay: given.relay,
    preset: given.preset,
    keepAliveMs: milliseconds("keepAliveMs", given.keepAliveMs),
    idleTimeoutMs: milliseconds("idleTimeoutMs", given.idleTimeoutMs),
    connectTimeoutMs: milliseconds("connectTimeoutMs", given.connectTimeoutMs),
    maxMessageBytes,
    compress: given.compress,
    agent: given.agent,
  };
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

function expandHome(path: string): string {
  if (typeof path !== "string" || path === "") {
    throw new ConfigurationError(`identity is the path of a file, and got ${show(path)}`);
  }
  return path === "~" || path.startsWith("~/") ? join(homedir(), path.slice(1)) : path;
}

/** Refuses options that there are not, with what there is. */
export function checkOptions(
  where: string,
  given: object,
  known: readonly string[],
  later: Readonly<Record<string, string>> = {},
): void {
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || known.includes(name)) continue;
    const why = later[name];
    if (why !== undefined) throw new ConfigurationError(`${where}: ${name}: ${why}`);
    throw new ConfigurationError(`${where}: there is no option "${name}"; there are ${known.join(", ")}`);
  }
}

/** Whether the last value of a call can only be its options. */
export function looksLikeOptions(value: unknown): value is CallOptions {
  if (typeof value !== "object" || value === null) return false;
  const keys = Object.keys(value);
  return keys.length > 0 && keys.every((key) => CALL_OPTIONS.includes(key));
}

/**
 * `base`, which is in the native form already, with a call's own options on top, and the time that is left to the call being
 * served here, if one is: a nested call inherits its deadline.
 */
export function callOptions(
  where: string,
  base: NativeCallOptions | null,
  given: CallOptions | undefined,
): NativeCallOptions | null {
  const left = servedTimeLeftMs();
  if (given === undefined && left === null) return base;
  const options: NativeCallOptions = { ...base };
  if (given !== undefined) addGiven(where, options, given);
  if (left !== null) {
    const remaining = Math.max(0, Math.floor(left));
    if (options.timeoutMs === undefined) options.withinMs = remaining;
    else options.timeoutMs = Math.min(options.timeoutMs, remaining);
  }
  return options;
}

/** One signal may well end any number of calls: without this, Node.js takes more than ten for a leak. */
function manyListeners(signal: AbortSignal): void {
  if (getMaxListeners(signal) === defaultMaxListeners) setMaxListeners(Number.MAX_SAFE_INTEGER, signal);
}

function addGiven(where: string, options: NativeCallOptions, given: CallOptions): void {
  if (typeof given !== "object" || given === null) {
    throw new UsageError(`${where}: the options of a call are an object, and got ${show(given)}`);
  }
  for (const [name, value] of Object.entries(given)) {
    if (!CALL_OPTIONS.includes(name)) {
      throw new UsageError(`${where}: "${name}" is not an option of a call; there are ${CALL_OPTIONS.join(", ")}`);
    }
    if (value === undefined) continue;
    if (name === "timeoutMs") {
      if (typeof value !== "number" || !(value >= 0)) {
        throw new UsageError(`${where}: timeoutMs is a number of milliseconds from 0, and got ${show(value)}`);
      }
      if (value === Number.POSITIVE_INFINITY) continue;
      options.timeoutMs = value === 0 ? 0 : wholeMilliseconds(value);
    } else if (name === "signal") {
      if (!(value instanceof AbortSignal))
        throw new UsageError(`${where}: signal is an AbortSignal, and got ${show(value)}`);
      options.signal = value;
      manyListeners(value);
    } else if (name === "metadata") options.metadata = { ...options.metadata, ...(value as Metadata) };
    else if (name === "compress") options.compress = value as boolean;
    else options.info = value as CallInfo;
  }
}
