// What the tests of the native layer share: contracts, MessagePack, and a server and client on loopback. No decorators and
// no proxies here: bytes go in and out, as the package above gives them.

import { after } from "node:test";
import * as msgpack from "@msgpack/msgpack";
import { native } from "../../dist/native/index.js";

export const encode = msgpack.encode;

/** The bytes given are valid during the call only, and this library gives views of them. */
export const decode = (payload) => msgpack.decode(payload.slice());

export const CODE = native().codes;

/** What failed outcomes become here. */
export class StatusError extends Error {
  constructor(status) {
    super(status.message);
    this.status = status;
    this.code = status.code;
  }
}

export const LOCAL = { preset: "local", relay: "" };

export const TEST = {
  name: "Test",
  version: 1,
  methods: [
    { name: "add", pattern: "unary", request: { t: "ref", tag: "Pair" }, response: { t: "i64" } },
    { name: "any", pattern: "unary", request: { t: "any" }, response: { t: "any" } },
    { name: "count", pattern: "server_stream", request: { t: "i64" }, response: { t: "i64" } },
    { name: "echo", pattern: "bidi_stream", request: { t: "any" }, response: { t: "any" } },
    { name: "feed", pattern: "server_stream", request: { t: "any" }, response: { t: "bytes" } },
    { name: "slow", pattern: "unary", request: { t: "i64" }, response: { t: "i64" } },
    { name: "total", pattern: "client_stream", request: { t: "any" }, response: { t: "i64" } },
  ],
  types: [
    {
      kind: "struct",
      tag: "Pair",
      fields: [
        { name: "a", type: { t: "i64" }, required: true },
        { name: "b", type: { t: "i64" }, required: true },
      ],
    },
  ],
};

export const SESSION = {
  name: "Diary",
  version: 1,
  scope: "session",
  methods: [{ name: "note", pattern: "unary", request: { t: "any" }, response: { t: "any" } }],
};

export function contractOf(description) {
  return native().contract(encode(description));
}

export function port() {
  return native().port((status) => new StatusError(status));
}

/** Names of the methods of a contract by index. */
export function methodNames(description) {
  return description.methods.map((method) => method.name).sort();
}

/**
 * A server that answers each method by a function of (call, ready-made value of the request). What a handler throws
 * fails its call. The returned object has `stats` of what was seen.
 */
export async function serve(handlers, { description = TEST, options = LOCAL, exposeErrors = true, onSession } = {}) {
  const names = methodNames(description);
  const seen = { calls: 0, open: new Set(), sessions: [] };
  const held = {};
  held.server = await port().serve(
    [{ contract: contractOf(description), exposeErrors }],
    {
      onCalls(calls) {
        for (const call of calls) {
          seen.calls += 1;
          seen.open.add(call);
          const request = call.request === null ? undefined : decode(call.request);
          Promise.resolve()
            .then(() => handlers[names[call.methodIndex]](call, request))
            .catch((error) => {
              if (error?.failWith) call.fail(...error.failWith);
              else call.failInternal(String(error?.message ?? error));
            })
            .finally(() => {
              call.end();
              seen.open.delete(call);
            });
        }
      },
      onSessionClose(key, serviceIndex, reason) {
        seen.sessions.push({ key, serviceIndex, reason });
        if (onSession) onSession(key, reason);
        held.server.sessionClosed(key);
      },
    },
    options,
  );
  return { server: held.server, seen, address: held.server.address };
}

/** A server and a client of it, closed after the test file. */
export async function pair(handlers, given = {}) {
  const served = await serve(handlers, given);
  const client = await port().connect([served.address], { ...LOCAL, ...given.clientOptions });
  const contract = contractOf(given.description ?? TEST);
  const method = (name) => client.method(contract, name, "msgpack");
  const close = async () => {
    await client.close();
    await served.server.close();
  };
  after(close);
  return {
    ...served,
    client,
    contract,
    method,
    close,
    unary: (name, request, options = null) => client.unary(method(name), encode(request), decode, options),
  };
}

/** All messages of a stream. */
export async function* messages(stream) {
  for (;;) {
    const taken = stream.take() ?? (await stream.wait());
    if (taken.length === 0) return;
    yield* decode(taken);
  }
}

/** Resolves when `condition` holds, asking on every turn of the event loop. */
export async function until(condition, what = "the condition") {
  const giveUp = performance.now() + 20_000;
  while (!condition()) {
    if (performance.now() > giveUp) throw new Error(`${what} did not come true in 20 s`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** A promise with its ends. */
export function deferred() {
  let resolve;
  let reject;
  const promise = new Promise((ok, no) => {
    resolve = ok;
    reject = no;
  });
  return { promise, resolve, reject };
}
