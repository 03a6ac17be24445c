/**
 * For tests: a server and a connected client in one process, over real endpoints on this machine.
 *
 * ```ts
 * await using pair = await testPair([new MissionControl()]);
 * const status = await pair.client.client(MissionControl).getStatus(new StatusRequest({ agent_id: "a" }));
 * ```
 */

import { AsterClient, type ClientOptions } from "./client.js";
import { AsterServer, type ServerOptions } from "./server.js";

/** A connected client and its server. */
export interface TestPair extends AsyncDisposable {
  readonly client: AsterClient;
  readonly server: AsterServer;
  /** Closes both. */
  close(): Promise<void>;
}

/** What differs from the defaults of a test. */
export interface TestPairOptions {
  client?: Partial<ClientOptions>;
  server?: Partial<ServerOptions>;
}

/**
 * Serves `services` and connects a client to them. Nothing leaves this machine, and unexpected errors of handlers reach the
 * client with their text, unless the options say otherwise.
 */
export async function testPair(services: ServerOptions["services"], options: TestPairOptions = {}): Promise<TestPair> {
  const local = { preset: "local", relay: "" } as const;
  const server = new AsterServer({ ...local, exposeErrors: true, ...options.server, services });
  await server.start();
  const client = new AsterClient({ ...local, ...options.client, address: server.address });
  const close = async (): Promise<void> => {
    await client.close();
    await server.close();
  };
  try {
    await client.connect();
  } catch (error) {
    await close();
    throw error;
  }
  return { client, server, close, [Symbol.asyncDispose]: close };
}
