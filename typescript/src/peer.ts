/** The services of another side: of the server that a client has dialled, or of a caller that offers some. */

import { UsageError } from "./errors.js";
import type { InboundCall, Client as NativeClient } from "./native/types.js";
import { contractOf } from "./port.js";
import { makeProxy, ServiceLink, type ServiceProxy, type SessionProxy } from "./proxy.js";
import { type ServiceClass, specOfClass } from "./service/decorators.js";
import { type ServiceDefinition, specOfDefinition } from "./service/define.js";
import { type ServiceSpec, show } from "./service/model.js";
import type { TypedClient, TypedSession } from "./typed.js";

/** A service that the peer offers. */
export interface OfferedService {
  readonly name: string;
  readonly version: number;
  readonly contractId: string;
  readonly scope: "shared" | "session";
}

/** What a service is named by: its class, or what `defineService()` gave. */
export type ServiceOf = ServiceClass | ServiceDefinition<any>;

/** Proxies of one other side. */
export abstract class PeerServices {
  readonly #proxies = new Map<unknown, ServiceProxy>();

  /** @internal The native client; a UsageError when there is none. */
  abstract require(): NativeClient;

  /** @internal Whether there is a native client. */
  abstract get connected(): boolean;

  /** @internal Makes sure that there is one. */
  abstract connect(): Promise<unknown>;

  /** The endpoint id of the other side. */
  get peer(): string {
    return this.require().peer;
  }

  /** What the other side offers now. */
  services(): OfferedService[] {
    return this.require().services();
  }

  /**
   * Milliseconds of one round trip, answered by the other side's I/O thread whatever its handlers do. Fails with `Unavailable`
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
   * other side's contract differs in a way that breaks them.
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

  /** Ends the sessions that the proxies have. */
  protected async closeProxies(): Promise<void> {
    await Promise.all([...this.#proxies.values()].map((proxy) => proxy.close()));
  }
}

/**
 * The peer that called, as `CallContext.caller` gives it: the services that it offers (`new AsterClient({ services })`).
 *
 * It is good for as long as the connection of that call, also after the call: a server may keep it to call its clients
 * later. Once that connection has ended, calls fail with `Unavailable`; a client that connects again is another caller.
 */
export class Caller extends PeerServices implements AsyncDisposable {
  readonly #native: NativeClient;

  /** @internal */
  constructor(native: NativeClient) {
    super();
    this.#native = native;
  }

  override require(): NativeClient {
    return this.#native;
  }

  override get connected(): boolean {
    return true;
  }

  override connect(): Promise<this> {
    return Promise.resolve(this);
  }

  /** Ends the sessions that its proxies have with the caller's services. The connection is the caller's and stays. */
  close(): Promise<void> {
    return this.closeProxies();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

const callers = new WeakMap<NativeClient, Caller>();

/** The caller of a call. */
export function callerOf(call: InboundCall): Caller {
  const native = call.caller();
  let caller = callers.get(native);
  if (caller === undefined) {
    caller = new Caller(native);
    callers.set(native, caller);
  }
  return caller;
}

function specOf(service: unknown): ServiceSpec {
  if (typeof service === "function") return specOfClass(service);
  const spec = typeof service === "object" && service !== null ? specOfDefinition(service) : undefined;
  if (spec === undefined) {
    throw new UsageError(`a service class or what defineService() gave is wanted here, and got ${show(service)}`);
  }
  return spec;
}
