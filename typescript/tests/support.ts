/** What several test files need. */

import assert from "node:assert/strict";
import { type AsterError, RpcError, setLogger } from "@aster-rpc/aster";
import { type TestPair, type TestPairOptions, testPair } from "@aster-rpc/aster/testing";
import { Calls, Counter, Plain, Types } from "./services.js";

/** What was logged since the file began; errors of handlers are expected in many tests. */
export const logged: string[] = [];
setLogger(
  {
    debug: () => undefined,
    info: () => undefined,
    warn: (text) => logged.push(`warn ${text}`),
    error: (text) => logged.push(`error ${text}`),
  },
  "warn",
);

export interface Both extends TestPair {
  readonly calls: Calls;
}

/** All test services, and a client of them. */
export async function both(options: TestPairOptions = {}): Promise<Both> {
  const calls = new Calls();
  const pair = await testPair([calls, new Plain(), new Types(), Counter], options);
  return Object.assign(pair, { calls });
}

/** The error that a promise ends with, which has to be an RpcError of `code`. */
export async function failure(promise: Promise<unknown>, code: string): Promise<RpcError> {
  const error = await caught(promise);
  assert.ok(error instanceof RpcError, `expected an RpcError, got ${String(error)}`);
  assert.equal(error.codeName, code, String(error));
  return error;
}

/** What a promise rejects with. */
export async function caught(promise: Promise<unknown>): Promise<AsterError> {
  try {
    await promise;
  } catch (error) {
    return error as AsterError;
  }
  assert.fail("the promise did not reject");
}

/** All that an iterable gives. */
export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

/** Resolves when `condition` holds, looked at once per turn of the event loop. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}
