/** The server: services on an endpoint, from start to drained. */

import { isMainThread } from "node:worker_threads";
import type { Dispatcher } from "./dispatch.js";
import { ConfigurationError, UsageError } from "./errors.js";
import { log, shown } from "./logs.js";
import type { Server as NativeServer } from "./native/types.js";
import { checkOptions, type EndpointOptions, endpointOptions } from "./options.js";
import { port } from "./port.js";
import { show } from "./service/model.js";
import { prepareServing, SERVING_OPTIONS, type ServingOptions } from "./serving.js";

/** How long a drain waits for running calls, unless told otherwise. */
const DRAIN_MS = 10_000;
/** The same for Ctrl-C, where somebody is waiting at a terminal. */
const INTERRUPT_MS = 500;

/** What servers can be told. */
export interface ServerOptions extends EndpointOptions, ServingOptions {
  /** `true` says that the gate is open on purpose. It is open anyhow, as long as there is no root key. */
  allowAllConsumers?: boolean | undefined;
  /** Later: `{ rootPubkeyFile }`, which closes the gate. A server with it does not start yet, and says so. */
  config?: object | undefined;
}

const OPTIONS: readonly string[] = [
  ...SERVING_OPTIONS,
  "identity",
  "relay",
  "preset",
  "keepAliveMs",
  "idleTimeoutMs",
  "maxMessageBytes",
  "agent",
  "allowAllConsumers",
  "config",
];

/**
 * Serves services on an endpoint of their own.
 *
 * ```ts
 * const server = new AsterServer({ services: [new MissionControl()] });
 * await server.start();
 * console.log(server.address);
 * await server.serve();
 * ```
 */
export class AsterServer implements AsyncDisposable {
  readonly #options: ServerOptions;
  readonly #endpoint: ReturnType<typeof endpointOptions>;
  #dispatcher: Dispatcher | null = null;
  #native: NativeServer | null = null;
  #started = false;
  #closing: Promise<void> | null = null;

  constructor(options: ServerOptions) {
    if (typeof options !== "object" || options === null || !Array.isArray(options.services)) {
      throw new UsageError(
        `new AsterServer() takes an object of options with services, an array of service instances, and got ${show(options)}`,
      );
    }
    checkOptions("AsterServer", options, OPTIONS);
    refuseWhatComesLater(options);
    this.#options = options;
    this.#endpoint = endpointOptions(options);
  }

  // ---------------------------------------------------------------- start

  /** Binds and listens; resolves as soon as the address is usable, without waiting for relays or discovery. */
  async start(): Promise<this> {
    if (this.#started) throw new UsageError("this server was started already; make a new AsterServer to serve again");
    this.#started = true;
    const { served, dispatcher } = prepareServing(this.#options);
    this.#native = await port().serve(served, dispatcher, this.#endpoint);
    dispatcher.attach(this.#native);
    this.#dispatcher = dispatcher;
    return this;
  }

  // ---------------------------------------------------------------- what it is

  #require(): NativeServer {
    if (this.#native === null) throw new UsageError("this server is not started; `await server.start()` first");
    return this.#native;
  }

  /** The `aster1...` address that clients connect to. It does not change after the start. */
  get address(): string {
    return this.#require().address;
  }

  /** The public key that names this endpoint. */
  get endpointId(): string {
    return this.#require().endpointId;
  }

  // ---------------------------------------------------------------- end

  /**
   * Serves until the server is closed or the process is told to stop, then drains and returns. Starts the server if that has
   * not been done.
   *
   * SIGTERM drains with `graceMs`; Ctrl-C (SIGINT) with at most half a second, and pressed again closes at once. Other
   * listeners of these signals run too. In a worker no signals are handled.
   */
  async serve(options: { graceMs?: number } = {}): Promise<void> {
    const graceMs = checkedGrace(options.graceMs);
    if (!this.#started) await this.start();
    const native = this.#require();
    let stopping: Promise<void> | null = null;
    const stop = (signal: NodeJS.Signals): void => {
      const first = stopping === null;
      const grace = signal === "SIGINT" ? Math.min(graceMs, INTERRUPT_MS) : graceMs;
      log("info", first ? `${signal}: draining for at most ${grace} ms` : `${signal} again: closing now`);
      stopping = (first ? this.drain({ graceMs: grace }) : this.close()).catch((error: unknown) => {
        log("error", `stopping failed: ${shown(error)}`);
      });
    };
    const signals: NodeJS.Signals[] = isMainThread ? ["SIGINT", "SIGTERM"] : [];
    for (const signal of signals) process.on(signal, stop);
    try {
      await native.waitClosed();
      await stopping;
    } finally {
      for (const signal of signals) process.off(signal, stop);
    }
    await this.close();
  }

  /**
   * Stops in an orderly way: callers are told, new calls are answered `UNAVAILABLE`, running ones get `graceMs` (0 or more),
   * what is left is cancelled, and the endpoint closes.
   */
  async drain(options: { graceMs?: number } = {}): Promise<void> {
    const graceMs = checkedGrace(options.graceMs);
    await this.#require().drain(graceMs);
    await this.close();
  }

  /** Cancels running calls, closes sessions and the endpoint; the callers see it at once. May be called twice. */
  async close(): Promise<void> {
    const native = this.#native;
    if (native === null) return;
    this.#closing ??= native.close().then(() => this.#dispatcher?.sessionsClosed());
    await this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function checkedGrace(graceMs: number | undefined): number {
  if (graceMs === undefined) return DRAIN_MS;
  if (typeof graceMs !== "number" || !(graceMs >= 0) || !Number.isFinite(graceMs)) {
    throw new ConfigurationError(`graceMs is a number of milliseconds from 0, and got ${show(graceMs)}`);
  }
  return Math.round(graceMs);
}

/** An option that would close the gate must never be taken and do nothing. */
function refuseWhatComesLater(options: ServerOptions): void {
  if (options.config !== undefined) {
    const names = Object.keys(options.config).join(", ") || "nothing";
    throw new ConfigurationError(
      `the server does not start: config has ${names}, and this version of Aster cannot check credentials yet, so the gate would ` +
        "stand open; remove config to serve everybody openly",
    );
  }
  if (options.allowAllConsumers === false) {
    throw new ConfigurationError(
      "the server does not start: allowAllConsumers is false and there is no root key to tell callers apart by; remove it to " +
        "serve everybody openly",
    );
  }
}
