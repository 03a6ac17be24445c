/** A remote service as an object: dynamic ones know methods from the server's contract, typed ones from a class. */

import { inspect } from "node:util";
import { type Binder, Binding, merged, type RemoteMethod, remoteMethod } from "./call.js";
import { type Codec, codecOf } from "./codec/codec.js";
import { ContractMismatch, placed, refusal, UnknownMethod, UsageError } from "./errors.js";
import type { Contract, CallOptions as NativeCallOptions, Session as NativeSession } from "./native/types.js";
import { nearest } from "./nearest.js";
import type { CallOptions } from "./options.js";
import type { PeerServices } from "./peer.js";
import { contractEpoch, contractOf } from "./port.js";
import { type RemoteService, readService } from "./service/describe.js";
import { type Pattern, type ServiceSpec, show } from "./service/model.js";

/** One method with what a binding needs, from either source. */
interface KnownMethod {
  readonly name: string;
  readonly pattern: Pattern;
  readonly request: Codec;
  readonly response: Codec;
  readonly parameters: readonly string[] | null;
}

type KnownMethods = ReadonlyMap<string, KnownMethod>;

/** Methods read from contracts, by contract id. Contracts never change, so this is read once per process. */
const ofContracts = new Map<string, { session: boolean; methods: KnownMethods }>();

function methodsOfContract(contract: Contract): { session: boolean; methods: KnownMethods } {
  let found = ofContracts.get(contract.id);
  if (found === undefined) {
    const service: RemoteService = readService(contract.describe());
    const methods = new Map<string, KnownMethod>();
    for (const method of service.methods.values()) {
      methods.set(method.name, {
        name: method.name,
        pattern: method.pattern,
        request: codecOf(method.request),
        response: codecOf(method.response),
        parameters: null,
      });
    }
    found = { session: service.session, methods };
    ofContracts.set(contract.id, found);
  }
  return found;
}

const ofSpecs = new WeakMap<ServiceSpec, KnownMethods>();

/** By the names that the class has for them. */
function methodsOfSpec(spec: ServiceSpec): KnownMethods {
  let found = ofSpecs.get(spec);
  if (found === undefined) {
    found = new Map(
      spec.methods().map((method) => [
        method.attribute,
        {
          name: method.name,
          pattern: method.pattern,
          request: codecOf(method.request),
          response: codecOf(method.response),
          parameters: method.parameters,
        },
      ]),
    );
    ofSpecs.set(spec, found);
  }
  return found;
}

/** What the methods of one proxy share: contract, session, bindings. Everything is looked up when first needed. */
export class ServiceLink {
  readonly client: PeerServices;
  readonly name: string;
  readonly version: number | null;
  readonly spec: ServiceSpec | null;
  /** A session that was asked for by itself, and stays dead when it has ended. */
  readonly explicit: boolean;
  session: NativeSession | null = null;
  #methods: KnownMethods | null = null;
  #contract: Contract | null = null;
  readonly #bindings = new Map<string, Binding>();
  #loading: Promise<void> | null = null;
  #over = false;
  #epoch = contractEpoch();

  constructor(client: PeerServices, name: string, version: number | null, spec: ServiceSpec | null, explicit: boolean) {
    this.client = client;
    this.name = name;
    this.version = version;
    this.spec = spec;
    this.explicit = explicit;
  }

  get loaded(): boolean {
    return this.#methods !== null;
  }

  /** Makes the methods known. Asked for by many at once, it is done once; a failure is tried again next time. */
  load(): Promise<void> {
    try {
      if (this.loaded || this.#loadNow()) return Promise.resolve();
    } catch (error) {
      return Promise.reject(error);
    }
    this.#loading ??= this.#load().finally(() => {
      this.#loading = null;
    });
    return this.#loading;
  }

  /** A typed client whose contract is the one that the server announced needs to ask nothing. */
  #loadNow(): boolean {
    if (this.spec === null || !this.client.connected) return false;
    const mine = contractOf(this.spec);
    const offered = this.client.require().services();
    if (!offered.some((each) => each.contractId === mine.id && each.version === mine.version)) return false;
    this.#use(mine, this.spec.session, methodsOfSpec(this.spec));
    return true;
  }

  async #load(): Promise<void> {
    await this.client.connect();
    if (this.#loadNow()) return;
    const native = this.client.require();
    const contract = await native.contract(this.name, this.version);
    if (this.spec === null) {
      const { session, methods } = methodsOfContract(contract);
      this.#use(contract, session, methods);
      return;
    }
    const mine = contractOf(this.spec);
    if (mine.id !== contract.id) {
      const { breaking } = mine.compare(contract);
      if (breaking.length > 0) {
        const differences = breaking.join("; ");
        const message =
          `${this.spec.where} and the service ${contract.name} version ${contract.version} at ${native.peer} differ: ` +
          `${differences}. Use the class that the server was started with`;
        throw refusal(new ContractMismatch(message), "");
      }
    }
    // The server's contract goes with each call, since the server runs only what matches its own.
    this.#use(contract, this.spec.session, methodsOfSpec(this.spec));
  }

  #use(contract: Contract, session: boolean, methods: KnownMethods): void {
    if (this.explicit && !session) {
      throw new UsageError(
        `${contract.name} is a shared service, so it has no sessions: use client.proxy("${contract.name}") or client.client(...)`,
      );
    }
    if (this.#over) {
      throw new UsageError(`this session of ${contract.name} is closed; open another with client.session(...)`);
    }
    this.#contract = contract;
    if (session && this.session === null) {
      this.session = this.client.require().openSession(contract.name, !this.explicit);
    }
    this.#methods = methods;
  }

  /** Looks at the contract again before the next call; the session, if any, stays. */
  forget(): void {
    this.#contract = null;
    this.#methods = null;
    this.#bindings.clear();
    this.#epoch = contractEpoch();
  }

  /** Ends the session. A proxy's next call begins a new one; an explicit session stays closed. */
  async close(): Promise<void> {
    const { session } = this;
    this.session = null;
    this.forget();
    this.#over = this.explicit;
    if (session !== null) await session.close();
  }

  /** The names of the methods, as far as they are known. */
  names(): string[] {
    const known = this.#methods ?? (this.spec === null ? null : methodsOfSpec(this.spec));
    return known === null ? [] : [...known.keys()].sort();
  }

  binder(name: string): Binder {
    return {
      now: () => {
        if (this.#epoch !== contractEpoch()) this.forget();
        const bound = this.#bindings.get(name);
        if (bound !== undefined) return bound;
        return this.loaded || this.#loadNow() ? this.#bind(name) : null;
      },
      later: async () => {
        await this.load();
        return this.#bindings.get(name) ?? this.#bind(name);
      },
    };
  }

  #bind(name: string): Binding {
    const method = this.#methods?.get(name);
    if (method === undefined || this.#contract === null) throw this.#unknown(name);
    const client = this.client.require();
    const options: NativeCallOptions = {};
    if (this.spec === null) options.dynamic = true;
    if (this.session !== null) options.session = this.session;
    const binding = new Binding({
      client,
      native: client.method(this.#contract, method.name, this.spec?.serialization ?? "msgpack"),
      pattern: method.pattern,
      request: method.request,
      response: method.response,
      options: Object.keys(options).length > 0 ? options : null,
      parameters: method.parameters,
      where: `${this.name}.${method.name}`,
    });
    this.#bindings.set(name, binding);
    return binding;
  }

  #unknown(name: string): UnknownMethod {
    const known = this.names();
    const near = nearest(name, known);
    const hint = near.length > 0 ? `did you mean ${near.join(" or ")}?` : `its methods are: ${known.join(", ")}`;
    const error = refusal(new UnknownMethod(`${this.name} has no method "${name}"; ${hint}`), "");
    return placed(error, this.name);
  }
}

/**
 * A remote service. Its properties are the remote methods; see `RemoteMethod` for the call forms.
 *
 * It needs no `await`: the contract is fetched by the first call, at the cost of one round trip. `await proxy` fetches it at
 * once and gives the same proxy. A method whose name is taken here is reached by `proxy.method(name)`.
 */
export interface ServiceProxy extends AsyncDisposable {
  readonly [method: string]: any;
  /** The remote method of this name, whatever it is. */
  method(name: string): RemoteMethod;
  /** The same service, and the same session, with options for every call made through what is returned. */
  withOptions(options: CallOptions): ServiceProxy;
  /**
   * Ends the session that this proxy has with a session service; the next call would begin a new one. Nothing happens for a
   * shared service.
   */
  close(): Promise<void>;
}

/**
 * One session of a session service, opened by `client.session(...)` and ended by `close()` or `await using`. All its calls
 * reach the same instance on the server, unary ones one after another in the order they are made. It does not survive its
 * connection: the next call then fails with `Aborted`.
 */
export interface SessionProxy extends ServiceProxy {
  /** This client's number of the session; 0 before its first call. */
  readonly sessionId: number;
}

/** Never remote methods: what the language and its libraries look for on every object. */
const RESERVED = new Set(["then", "catch", "finally", "constructor", "toJSON", "toString", "valueOf", "prototype"]);

/** The proxy of a link. */
export function makeProxy(link: ServiceLink, preset: CallOptions | null = null): ServiceProxy {
  const methods = new Map<string, RemoteMethod>();
  const method = (name: string): RemoteMethod => {
    let found = methods.get(name);
    if (found === undefined) {
      if (typeof name !== "string" || name === "") {
        throw new UsageError(`method() takes the name of a method, and got ${show(name)}`);
      }
      found = remoteMethod(name, link.binder(name), preset);
      methods.set(name, found);
    }
    return found;
  };
  const own: Record<string | symbol, unknown> = {
    method,
    withOptions: (options: CallOptions) => makeProxy(link, merged(preset, options) ?? null),
    close: () => link.close(),
    [Symbol.asyncDispose]: () => link.close(),
    [inspect.custom]: () => `<${link.explicit ? "session" : "proxy"} of ${link.name}>`,
  };
  const proxy: ServiceProxy = new Proxy(own as unknown as ServiceProxy, {
    get(_, key): unknown {
      if (Object.hasOwn(own, key)) return own[key];
      if (key === "sessionId" && link.explicit) return sessionId(link);
      // Awaiting loads the contract. Once it is loaded there is no `then`, so that promises resolve to the proxy itself.
      if (key === "then" && link.spec === null && !link.loaded) return then;
      if (typeof key === "symbol" || RESERVED.has(key)) {
        return key === "toString" ? () => `[${link.explicit ? "session" : "proxy"} of ${link.name}]` : undefined;
      }
      return method(key);
    },
    set(_, key): boolean {
      throw new UsageError(
        `a proxy of ${link.name} stands for a remote service, and ${String(key)} cannot be set on it`,
      );
    },
    has: (_, key) => Object.hasOwn(own, key) || (typeof key === "string" && link.names().includes(key)),
    // For completion in shells and debuggers. The target does not have them, so they have to be configurable.
    ownKeys: () => [...new Set([...Reflect.ownKeys(own), ...link.names()])],
    getOwnPropertyDescriptor: (_, key) =>
      Object.hasOwn(own, key)
        ? Object.getOwnPropertyDescriptor(own, key)
        : typeof key === "string" && link.names().includes(key)
          ? { value: method(key), enumerable: true, configurable: true, writable: false }
          : undefined,
  });
  const then = (resolve: (value: ServiceProxy) => void, reject: (error: unknown) => void): void => {
    link.load().then(() => resolve(proxy), reject);
  };
  return proxy;
}

function sessionId(link: ServiceLink): number {
  if (link.session === null) {
    throw new UsageError("the session is not open yet: `await` it, or make its first call, before asking its number");
  }
  return link.session.id;
}
