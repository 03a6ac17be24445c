/** Options of endpoints, checked before they cross: the native side takes what it is given. */

import type { NativeEndpoint } from "./module.js";
import type { EndpointOptions } from "./types.js";

const TYPES: Readonly<Record<keyof EndpointOptions, "string" | "number" | "boolean">> = {
  identity: "string",
  relay: "string",
  preset: "string",
  keepAliveMs: "number",
  idleTimeoutMs: "number",
  maxMessageBytes: "number",
  agent: "string",
  connectTimeoutMs: "number",
  compress: "boolean",
};

/** The options given. Throws TypeError and RangeError, naming the option. */
export function endpointOptions(what: string, options: EndpointOptions): NativeEndpoint {
  const checked: NativeEndpoint = {};
  for (const [key, value] of Object.entries(options) as [keyof EndpointOptions, unknown][]) {
    const type = TYPES[key];
    if (type === undefined || !Object.hasOwn(TYPES, key)) throw new TypeError(`"${key}" is not an option of ${what}`);
    if (value === undefined) continue;
    if (typeof value !== type) {
      throw new TypeError(`option ${key} is a ${type}, and got ${value === null ? "null" : typeof value}`);
    }
    if (typeof value === "number" && !(Number.isSafeInteger(value) && value >= 0)) {
      throw new RangeError(`option ${key} is ${value}: give a whole number from 0`);
    }
    checked[key] = value as string | number | boolean;
  }
  return checked;
}
