/** The server: services on an endpoint, from start to drained. */

import { isMainThread } from "node:worker_threads";
import { Dispatcher, type SessionFactory } from "./dispatch.js";
import { ConfigurationError, UsageError } from "./errors.js";
import { log, shown } from "./logs.js";
import type { Server as NativeServer, ServedService } from "./native/types.js";
import { checkOptions, type EndpointOptions, endpointOptions } from "./options.js";
import { contractOf, port } from "./port.js";
import { type ServiceClass, specOfClass } from "./service/decorators.js";
import { asImplementation, checkHandlers, type ServiceImplementation, specOfDefinition } from "./service/define.js";
import { type ServiceSpec, show } from "./service/model.js";

/** How long a drain waits for running calls, unless told otherwise. */
const DRAIN_MS = 10_000;
/** The same for Ctrl-C, where somebody is waiting at a terminal. */
const INTERRUPT_MS = 500;

/** What servers can be told. */
export interface ServerOptions extends EndpointOptions {
  /**
   * Instances of service classes, and what `implement()` gives. Of a session service the instance is a template, or give the
   * class itself: each session gets an instance made by the class, whose constructor is given the caller's endpoint id.
   */
  services: readonly (object | ServiceClass | ServiceImplementation)[];
  /** For session services whose constructor takes more: `new Map([[AgentSession, (peer) => new AgentSession(peer, db)]])`. */
  factories?: ReadonlyMap<ServiceClass, SessionFactory> | undefined;
  /** Callers see the text of unexpected errors, for development. Otherwise they see an error id only. */
  exposeErrors?: boolean | undefined;
  /** `true` says that the gate is open on purpose. It is open anyhow, as long as there is no root key. */
  allowAllConsumers?: boolean | undefined;
  /** Later: `{ rootPubkeyFile }`, which closes the gate. A server with it does not start yet, and says so. */
  config?: object | undefined;
}

const OPTIONS: readonly string[] = [
  "services",
  "factories",
  "identity",
  "relay",
  "preset",
  "keepAliveMs",
  "idleTimeoutMs",
  "maxMessageBytes",
  "agent",
  "exposeErrors",
  "allowAllConsumers",
  "config",
];

interface Prepared {
  readonly spec: ServiceSpec;
  readonly instance: object | null;
  readonly factory: SessionFactory | null;
  /** What the service was given as, to say twice of. */
  readonly given: object;
}

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
  readonly #dispatcher = new Dispatcher();
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
    const prepared = this.#options.services.map((service) => this.#prepare(service));
    checkNames(prepared, this.#options.factories);
    const exposeErrors = this.#options.exposeErrors === true;
    const served: ServedService[] = prepared.map(({ spec }) => ({ contract: contractOf(spec), exposeErrors }));
    for (const { spec, instance, factory } of prepared) this.#dispatcher.add(spec, instance, factory);
    this.#native = await port().serve(served, this.#dispatcher, this.#endpoint);
    this.#dispatcher.attach(this.#native);
    return this;
  }

  #prepare(service: object | ServiceClass): Prepared {
    if ((typeof service !== "object" && typeof service !== "function") || service === null) {
      throw new UsageError(`services has instances of service classes, and got ${show(service)}`);
    }
    const implementation = asImplementation(service);
    if (implementation !== undefined) {
      const spec = specOfDefinition(implementation.definition)!;
      refuseUnchecked(spec);
      const { handlers, factory } = implementation;
      const checked =
        factory === null
          ? null
          : (peer: string): object => {
              const made = factory(peer);
              checkHandlers(spec.where, spec.methods(), made);
              return made;
            };
      return { spec, instance: handlers, factory: checked, given: implementation.definition };
    }
    const isClass = typeof service === "function";
    const cls = isClass ? service : service.constructor;
    if (!isClass && specOfDefinition(service) !== undefined) {
      throw new ConfigurationError(
        "services has a definition without handlers; give what its implement({ ... }) returns",
      );
    }
    const spec = specOfClass(cls);
    spec.methods(); // so that a type that cannot be sent is named before anything is served
    refuseUnchecked(spec);
    if (spec.session) {
      return { spec, instance: null, factory: this.#sessionFactory(cls as ServiceClass, spec), given: spec };
    }
    if (isClass) {
      throw new ConfigurationError(
        `the service ${spec.name} is shared, so services takes an instance of it: new ${spec.where}()`,
      );
    }
    return { spec, instance: service, factory: null, given: spec };
  }

  #sessionFactory(cls: ServiceClass, spec: ServiceSpec): SessionFactory {
    const given = this.#options.factories?.get(cls);
    if (given !== undefined) return given;
    if (cls.length > 1) {
      throw new ConfigurationError(
        `the service ${spec.name} makes an instance of ${cls.name} for each session, and its constructor takes ${cls.length} ` +
          `parameters where there is the peer alone; give factories: new Map([[${cls.name}, (peer) => new ${cls.name}(...)]])`,
      );
    }
    const Session = cls as unknown as new (peer: string) => object;
    return (peer) => new Session(peer);
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
    this.#closing ??= native.close().then(() => this.#dispatcher.sessionsClosed());
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

function refuseUnchecked(spec: ServiceSpec): void {
  const where = `the service ${spec.name}`;
  const method = spec.methods().find((each) => each.requires !== null);
  if (method !== undefined) {
    throw new ConfigurationError(
      `${where} does not start: ${spec.name}.${method.name} has requires, and this version of Aster cannot check ` +
        "capabilities yet, so it would be open to everybody; remove requires to serve it openly",
    );
  }
  if (spec.requires !== null) {
    throw new ConfigurationError(
      `${where} does not start: it has requires, and this version of Aster cannot check capabilities yet, so ` +
        `${spec.name}.${spec.methods()[0]!.name} and the rest would be open to everybody; remove requires to serve it openly`,
    );
  }
  if (spec.interceptors.length > 0) {
    throw new ConfigurationError(
      `${where} does not start: it has interceptors, which this version of Aster does not run yet; remove interceptors`,
    );
  }
}

function checkNames(
  prepared: readonly Prepared[],
  factories: ReadonlyMap<ServiceClass, SessionFactory> | undefined,
): void {
  const seen = new Map<string, Prepared>();
  for (const each of prepared) {
    const key = `${each.spec.name} version ${each.spec.version}`;
    const other = seen.get(key);
    if (other !== undefined) {
      throw new ConfigurationError(
        other.given === each.given
          ? `services has ${key} twice; leave one out`
          : `${other.spec.where} and ${each.spec.where} are both ${key}; give one of them another name or version`,
      );
    }
    seen.set(key, each);
  }
  const sessions = new Set(prepared.filter(({ spec }) => spec.session).map(({ spec }) => spec.cls));
  for (const cls of factories?.keys() ?? []) {
    if (!sessions.has(cls as never)) {
      throw new ConfigurationError(`factories names ${cls.name}, which is not a session service in services`);
    }
  }
}
