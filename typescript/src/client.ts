/** The client: one connection to a server, kept up by the core, and the proxies over it. */

import { UsageError } from "./errors.js";
import type { Client as NativeClient } from "./native/types.js";
import { checkOptions, type EndpointOptions, endpointOptions } from "./options.js";
import { contractOf, port } from "./port.js";
import { makeProxy, ServiceLink, type ServiceProxy, type SessionProxy } from "./proxy.js";
import { type ServiceClass, specOfClass } from "./service/decorators.js";
import { type ServiceDefinition, specOfDefinition } from "./service/define.js";
import { type ServiceSpec, show } from "./service/model.js";
import type { TypedClient, TypedSession } from "./typed.js";

/** What clients can be told. */
export interface ClientOptions extends EndpointOptions {
  /** An `aster1...` address, or several to try in order. */
  address: string | readonly string[];
  /** How long connecting may take. */
  connectTimeoutMs?: number | undefined;
  /** Compress large messages unless a call says otherwise. */
  compress?: boolean | undefined;
}

/** A service that the peer offers. */
export interface OfferedService {
  readonly name: string;
  readonly version: number;
  readonly contractId: string;
  readonly scope: "shared" | "session";
}

const OPTIONS: readonly string[] = [
  "address",
  "identity",
  "relay",
  "preset",
  "connectTimeoutMs",
  "keepAliveMs",
  "idleTimeoutMs",
  "compress",
  "maxMessageBytes",
  "agent",
];

const LATER = {
  enrollmentCredentialFile:
    "this version of Aster cannot present credentials yet, so the server would take this client for a stranger; " +
    "leave it out to connect as one",
};

/** What a service is named by: its class, or what `defineService()` gave. */
export type ServiceOf = ServiceClass | ServiceDefinition<any>;

/**
 * A connection to the server at an address.
 *
 * ```ts
 * await using client = new AsterClient({ address: "aster1..." });
 * const mc = client.proxy("MissionControl");
 * console.log(await mc.getStatus({ agent_id: "edge-node-7" }));
 * ```
 *
 * It connects at the first call, or by `connect()`, and reconnects by itself. A process ends when its clients and servers
 * are closed, and nothing else is open.
 */
export class AsterClient implements AsyncDisposable {
  readonly #addresses: string[];
  readonly #options: ReturnType<typeof endpointOptions>;
  #native: NativeClient | null = null;
  #connecting: Promise<this> | null = null;
  #closed = false;
  readonly #proxies = new Map<unknown, ServiceProxy>();

  constructor(options: ClientOptions) {
    if (typeof options !== "object" || options === null) {
      throw new UsageError(
        `new AsterClient() takes an object of options such as { address }, and got ${show(options)}`,
      );
    }
    checkOptions("AsterClient", options, OPTIONS, LATER);
    const { address } = options;
    const addresses = typeof address === "string" ? [address] : Array.isArray(address) ? [...address] : [];
    if (addresses.length === 0 || !addresses.every((each) => typeof each === "string")) {
      throw new UsageError(`address is an aster1... address or several of them, and got ${show(address)}`);
    }
    this.#addresses = addresses;
    this.#options = endpointOptions(options);
  }

  /**
   * Connects; does nothing when connected. Fails with `Unavailable` when no address answers in time, and with what the
   * server refuses with when it does not let this client in.
   */
  connect(): Promise<this> {
    if (this.#closed) return Promise.reject(closedError());
    if (this.#native !== null) return Promise.resolve(this);
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = null;
    });
    return this.#connecting;
  }

  async #connect(): Promise<this> {
    const native = await port().connect(this.#addresses, this.#options);
    if (this.#closed) {
      await native.close();
      throw new UsageError("the client was closed while it was connecting");
    }
    this.#native = native;
    return this;
  }

  /** Ends its sessions and calls and disconnects; the server sees it at once. May be called twice. */
  async close(): Promise<void> {
    this.#closed = true;
    const native = this.#native;
    this.#native = null;
    if (native !== null) await native.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** @internal The native client; a UsageError when there is none. */
  require(): NativeClient {
    if (this.#native === null) {
      throw this.#closed
        ? closedError()
        : new UsageError("this client is not connected; `await client.connect()` first");
    }
    return this.#native;
  }

  /** @internal */
  get connected(): boolean {
    return this.#native !== null;
  }

  /** The endpoint id of the server. */
  get peer(): string {
    return this.require().peer;
  }

  /** What the server offers this client now. */
  services(): OfferedService[] {
    return this.require().services();
  }

  /**
   * Milliseconds of one round trip, answered by the server's I/O thread whatever its handlers do. Fails with `Unavailable`
   * when there is no answer in `timeoutMs`.
   */
  async ping(timeoutMs = 1_500): Promise<number> {
    if (typeof timeoutMs !== "number" || !(timeoutMs > 0)) {
      throw new UsageError(`ping() takes a number of milliseconds above 0, and got ${show(timeoutMs)}`);
    }
    return await this.require().ping(timeoutMs);
  }

  /**
   * The service of this name, called with plain objects, its methods known from its contract.
   *
   * Without a version it is 1 if offered, else the only one, else an error that lists them. The same name and version give the
   * same proxy, which has one session of its own if the service is a session service.
   */
  proxy(name: string, version: number | null = null): ServiceProxy {
    if (typeof name !== "string" || name === "") {
      throw new UsageError(
        `proxy() takes the name of a service, and got ${show(name)}; for a service class use client.client(...)`,
      );
    }
    return this.#kept(`${name} ${version}`, () => new ServiceLink(this, name, version, null, false));
  }

  /**
   * A typed client: the methods of a service class or definition, called with its types and giving instances of them. Stream
   * methods have the forms `.stream(...)` and `.bidi()`. Calls fail with `ContractMismatch`, with the differences, if the
   * server's contract differs in a way that breaks them.
   */
  client<S extends ServiceOf>(service: S): TypedClient<S> {
    const spec = specOf(service);
    contractOf(spec); // so that a class which cannot be sent fails here
    const proxy = this.#kept(service, () => new ServiceLink(this, spec.name, spec.version, spec, false));
    return proxy as unknown as TypedClient<S>;
  }

  /** A new session of a session service, by name (dynamic) or by class or definition (typed). Use it with `await using`. */
  session(service: string, version?: number | null): SessionProxy;
  session<S extends ServiceOf>(service: S): TypedSession<S>;
  session(service: string | ServiceOf, version: number | null = null): unknown {
    if (typeof service === "string") {
      return makeProxy(new ServiceLink(this, service, version, null, true));
    }
    const spec = specOf(service);
    contractOf(spec);
    return makeProxy(new ServiceLink(this, spec.name, spec.version, spec, true));
  }

  #kept(key: unknown, make: () => ServiceLink): ServiceProxy {
    let proxy = this.#proxies.get(key);
    if (proxy === undefined) {
      proxy = makeProxy(make());
      this.#proxies.set(key, proxy);
    }
    return proxy;
  }
}

/** The name that the guide has for the client. */
export const AsterClientWrapper: typeof AsterClient = AsterClient;
export type AsterClientWrapper = AsterClient;

function closedError(): UsageError {
  return new UsageError("this client is closed; make a new AsterClient");
}

export function specOf(service: unknown): ServiceSpec {
  if (typeof service === "function") return specOfClass(service);
  const spec = typeof service === "object" && service !== null ? specOfDefinition(service) : undefined;
  if (spec === undefined) {
    throw new UsageError(`a service class or what defineService() gave is wanted here, and got ${show(service)}`);
  }
  return spec;
}
