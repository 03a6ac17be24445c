/** Servers. */

import { Pending } from "./pending.js";
import type { PortImpl } from "./port.js";
import { wholeMs } from "./records.js";
import type { Server } from "./types.js";

/** An open server keeps the process alive. */
export class ServerImpl implements Server {
  readonly #port: PortImpl;
  readonly #handle: number;
  readonly address: string;
  readonly endpointId: string;
  readonly #closed: Promise<void>;
  #isClosed = false;
  #closing: Promise<void> | null = null;

  constructor(port: PortImpl, handle: number) {
    this.#port = port;
    this.#handle = handle;
    this.address = port.native.serverAddress(handle);
    this.endpointId = port.native.serverEndpointId(handle);
    // It is pending as long as the server is open, and counts as long.
    this.#closed = new Promise<void>((resolve) => {
      const over = (): void => {
        this.#isClosed = true;
        resolve();
      };
      const pending = new Pending(over, over);
      port.start(pending, (ticket) => port.native.waitServer(handle, ticket));
    });
  }

  async drain(graceMs: number): Promise<void> {
    const grace = wholeMs("graceMs", graceMs);
    if (this.#isClosed) return;
    await this.#port.waitFor<void>((ticket) => this.#port.native.drainServer(this.#handle, grace, ticket));
    await this.close();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (!this.#port.closed) {
      await this.#port.waitFor<void>((ticket) => this.#port.native.closeServer(this.#handle, ticket));
      await this.#closed;
    }
    // Not before: it has been closed as soon as it takes no more calls, and close hooks that still run are to be told of.
    this.#port.forgetServer(this.#handle);
  }

  waitClosed(): Promise<void> {
    return this.#closed;
  }

  sessionClosed(sessionKey: number): void {
    this.#port.native.sessionClosed(this.#handle, sessionKey);
  }
}
