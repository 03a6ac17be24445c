/** The native layer: `native()` loads the module at first use and gives the interface of types.ts. */

import { isMainThread } from "node:worker_threads";
import { currentTarget, loadModule } from "./load.js";
import type { NativeModule } from "./module.js";
import { PortImpl } from "./port.js";
import type { Contract, Native, Port, Status } from "./types.js";

type Records = { level: string; target: string; text: string }[];

class NativeImpl implements Native {
  readonly version: string;
  readonly codes: Readonly<Record<string, number>>;
  readonly defaults: Readonly<Record<string, number>>;
  readonly #module: NativeModule;
  #port: PortImpl | null = null;
  #onLogs: ((records: Records) => void) | null = null;

  constructor(module: NativeModule) {
    this.#module = module;
    this.version = module.version();
    this.codes = Object.freeze(module.codes());
    this.defaults = Object.freeze(module.defaults());
    // The peers are told also when a program ends without closing. A worker's end closes its port, from the native side.
    if (isMainThread) process.once("exit", () => module.exit());
  }

  contract(description: Uint8Array): Contract {
    return explained(() => new this.#module.Contract(description));
  }

  check(contract: Contract, method: string, which: "request" | "response", payload: Uint8Array, send: boolean): void {
    explained(() => this.#module.check(contract, method, which === "response", payload, send));
  }

  port(makeError: (status: Status) => Error): Port {
    if (this.#port === null || this.#port.closed) {
      this.#port = new PortImpl(this.#module, makeError, () => this.#deliverLogs());
    }
    return this.#port;
  }

  logsTo(callback: (records: Records) => void, level: string): void {
    this.#onLogs = callback;
    explained(() => this.#module.keepLogs(level));
  }

  #deliverLogs(): void {
    this.#onLogs?.(this.#module.takeLogs());
  }
}

/** What the native side says, without its own codes. */
function explained<T>(what: () => T): T {
  try {
    return what();
  } catch (error) {
    throw error instanceof Error ? new Error(error.message) : error;
  }
}

let loaded: Native | null = null;

/** The native layer of this environment. Throws if the module can't be loaded, saying why. */
export function native(): Native {
  loaded ??= new NativeImpl(loadModule(currentTarget()));
  return loaded;
}
