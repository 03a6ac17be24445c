/** The client: one connection to a server, kept up by the core, and the proxies over it. */

import type { Dispatcher } from "./dispatch.js";
import { UsageError } from "./errors.js";
import type { Client as NativeClient } from "./native/types.js";
import { checkOptions, type EndpointOptions, endpointOptions } from "./options.js";
import { PeerServices } from "./peer.js";
import { port } from "./port.js";
import { show } from "./service/model.js";
import { prepareServing, SERVING_OPTIONS, type ServingOptions } from "./serving.js";

/** What clients can be told. */
export interface ClientOptions extends EndpointOptions, Partial<ServingOptions> {
  /** An `aster1...` address, or several to try in order. */
  address: string | readonly string[];
  /** How long connecting may take. */
  connectTimeoutMs?: number | undefined;
  /** Compress large messages unless a call says otherwise. */
  compress?: boolean | undefined;
}

const OPTIONS: readonly string[] = [
  "address",
  ...SERVING_OPTIONS,
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

/**
 * A connection to the server at an address.
 *
 * ```ts
 * await using client = new AsterClient({ address: "aster1..." });
 * const mc = client.proxy("MissionControl");
 * console.log(await mc.getStatus({ agent_id: "edge-node-7" }));
 * ```
 *
 * It connects at the first call, or by `connect()`, and reconnects by itself: with the next call, or at once if it has
 * `services`, which it offers to the server, whose handlers reach them by `CallContext.caller`. A process ends when its
 * clients and servers are closed, and nothing else is open.
 */
export class AsterClient extends PeerServices implements AsyncDisposable {
  readonly #addresses: string[];
  readonly #options: ReturnType<typeof endpointOptions>;
  #native: NativeClient | null = null;
  #connecting: Promise<this> | null = null;
  #closed = false;
  readonly #serving: ServingOptions | null;
  #dispatcher: Dispatcher | null = null;

  constructor(options: ClientOptions) {
    super();
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
    const { services = [] } = options;
    if (!Array.isArray(services))
      throw new UsageError(`services is an array of service instances, and got ${show(services)}`);
    this.#serving = services.length === 0 ? null : { ...options, services };
  }

  /**
   * Connects; does nothing when connected. Fails with `Unavailable` when no address answers in time, and with what the
   * server refuses with when it does not let this client in.
   */
  override connect(): Promise<this> {
    if (this.#closed) return Promise.reject(closedError());
    if (this.#native !== null) return Promise.resolve(this);
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = null;
    });
    return this.#connecting;
  }

  async #connect(): Promise<this> {
    let native: NativeClient;
    if (this.#serving === null) native = await port().connect(this.#addresses, this.#options);
    else {
      const { served, dispatcher } = prepareServing(this.#serving);
      native = await port().connect(this.#addresses, this.#options, { services: served, handlers: dispatcher });
      dispatcher.attach(native);
      this.#dispatcher = dispatcher;
    }
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
    await this.#dispatcher?.sessionsClosed();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** @internal The native client; a UsageError when there is none. */
  override require(): NativeClient {
    if (this.#native === null) {
      throw this.#closed
        ? closedError()
        : new UsageError("this client is not connected; `await client.connect()` first");
    }
    return this.#native;
  }

  /** @internal */
  override get connected(): boolean {
    return this.#native !== null;
  }
}

/** The name that the guide has for the client. */
export const AsterClientWrapper: typeof AsterClient = AsterClient;
export type AsterClientWrapper = AsterClient;

function closedError(): UsageError {
  return new UsageError("this client is closed; make a new AsterClient");
}
