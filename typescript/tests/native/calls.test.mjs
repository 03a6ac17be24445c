import assert from "node:assert/strict";
import { test } from "node:test";
import { CODE, contractOf, decode, deferred, encode, messages, pair, TEST } from "./support.mjs";

const add = (call, { a, b }) => call.reply(encode(a + b));

test("C1 a unary call goes to a server of JavaScript and back", async () => {
  const { unary } = await pair({ add });
  assert.equal(await unary("add", { a: 1, b: 2 }), 3);
});

test("C1 metadata goes both ways, text and bytes, on answers and on failures", async () => {
  const bytes = Uint8Array.of(0, 255, 1);
  const { unary } = await pair({
    add(call, { a, b }) {
      assert.deepEqual({ ...call.metadata }, { trace: "ümlaut", "blob-bin": bytes });
      call.setResponseMetadata({ first: "1" });
      call.setTrailingMetadata({ "last-bin": bytes });
      call.reply(encode(a + b));
    },
    slow(call) {
      call.setResponseMetadata({ first: "2" });
      call.fail(CODE.NOT_FOUND, "no such thing", encode({ id: 7 }), { why: "gone" });
    },
  });
  const info = { metadata: {}, trailingMetadata: {} };
  const metadata = { trace: "ümlaut", "blob-bin": bytes };
  assert.equal(await unary("add", { a: 1, b: 2 }, { metadata, info }), 3);
  assert.deepEqual(info, { metadata: { first: "1" }, trailingMetadata: { "last-bin": bytes } });

  const error = await unary("slow", 1, { info }).then(assert.fail, (error) => error);
  assert.deepEqual(info.metadata, { first: "2" });
  assert.deepEqual(info.trailingMetadata, { why: "gone" });
  const { context, details, ...status } = error.status;
  assert.deepEqual(status, {
    code: CODE.NOT_FOUND,
    message: "no such thing",
    metadata: { first: "2" },
    trailing: { why: "gone" },
    origin: "handler",
    mayHaveRun: true,
    retryAfterMs: null,
  });
  assert.deepEqual(decode(details), { id: 7 });
  assert.match(context, /^Test\.slow at [0-9a-f]{10}/);
});

test("C1 an info that is used again says nothing of the call before", async () => {
  const { client, method, unary } = await pair({
    add(call, { a, b }) {
      if (a === 0) call.setResponseMetadata({ first: "1" });
      if (a === 0) call.setTrailingMetadata({ last: "2" });
      call.reply(encode(a + b));
    },
    count: (call) => call.finish(),
  });
  const info = { metadata: {}, trailingMetadata: {} };
  const nothing = { metadata: {}, trailingMetadata: {} };
  const fill = async () => {
    await unary("add", { a: 0, b: 2 }, { info });
    assert.deepEqual(info, { metadata: { first: "1" }, trailingMetadata: { last: "2" } });
  };
  await fill();
  await unary("add", { a: 1, b: 2 }, { info });
  assert.deepEqual(info, nothing, "an answer without metadata");

  await fill();
  const stream = client.stream(method("count"), { info });
  stream.send(encode(1));
  stream.halfClose();
  assert.equal((await stream.wait()).length, 0);
  assert.deepEqual(info, nothing, "a stream without metadata");

  await fill();
  await assert.rejects(unary("add", { a: 1, b: 2 }, { info, signal: AbortSignal.abort() }), { code: CODE.CANCELLED });
  assert.deepEqual(info, nothing, "a call that did not begin");
});

test("C6 an unexpected error is INTERNAL, with its text only if the service exposes it, and an id for the log", async () => {
  for (const exposeErrors of [true, false]) {
    let id;
    const { unary } = await pair({ add: (call) => (id = call.failInternal("boom")) }, { exposeErrors });
    const error = await unary("add", { a: 1, b: 2 }).then(assert.fail, (error) => error);
    assert.equal(error.code, CODE.INTERNAL);
    assert.equal(error.message.includes("boom"), exposeErrors);
    assert.ok(error.message.includes(id));
    assert.equal(error.status.origin, "server");
  }
});

test("a payload that does not fit is refused with its path, on both sides", async () => {
  let refused;
  const { unary, client, method } = await pair({
    add(call) {
      try {
        call.reply(encode("three"));
      } catch (error) {
        refused = error;
        call.reply(encode(3));
      }
    },
  });
  const error = await unary("add", { a: 1 }).then(assert.fail, (error) => error);
  assert.equal(error.code, CODE.INVALID_ARGUMENT);
  assert.match(error.message, /\bb\b/);
  assert.match(error.status.context, /Test\.add/);
  // With `dynamic` also what the contract does not know.
  const unknown = await unary("add", { a: 1, b: 2, c: 3 }, { dynamic: true }).then(assert.fail, (error) => error);
  assert.equal(unknown.code, CODE.INVALID_ARGUMENT);
  assert.match(unknown.message, /\bc\b/);
  assert.equal(await unary("add", { a: 1, b: 2, c: 3 }), 3);
  assert.match(refused.message, /i64|integer|int/);
  const stream = client.stream(method("add"), null);
  assert.throws(
    () => stream.send(encode({ a: 1 })),
    (error) => error.code === CODE.INVALID_ARGUMENT && /\bb\b/.test(error.message),
  );
  stream.cancel();
});

test("what decode throws rejects the call, and others go on", async () => {
  const { client, method, unary } = await pair({ add });
  const broken = new Error("can't read that");
  const call = client.unary(
    method("add"),
    encode({ a: 1, b: 1 }),
    () => {
      throw broken;
    },
    null,
  );
  const other = unary("add", { a: 2, b: 2 });
  await assert.rejects(call, broken);
  assert.equal(await other, 4);
});

test("unknown and wrong options are refused by name", async () => {
  const { unary } = await pair({ add });
  const given = { a: 1, b: 2 };
  await assert.rejects(unary("add", given, { timeout: 1 }), { name: "TypeError", message: /"timeout".*call/ });
  await assert.rejects(unary("add", given, { timeoutMs: -1 }), { name: "RangeError", message: /timeoutMs is -1/ });
  await assert.rejects(unary("add", given, { timeoutMs: "5" }), { name: "TypeError", message: /timeoutMs/ });
  await assert.rejects(unary("add", given, { metadata: { a: 5 } }), { name: "TypeError", message: /metadata\["a"\]/ });
  await assert.rejects(unary("add", given, { metadata: { "a-bin": "x" } }), { name: "TypeError", message: /-bin/ });
  assert.equal(await unary("add", given, { timeoutMs: undefined, metadata: undefined, signal: undefined }), 3);
});

test("C5 a thousand calls at once each get their own answer, in any order", async () => {
  const waiting = [];
  const { unary } = await pair({
    async any(call, n) {
      const turn = deferred();
      waiting.push(turn);
      if (waiting.length === 1000) for (const next of waiting.reverse()) next.resolve();
      await turn.promise;
      call.reply(encode(n));
    },
  });
  const calls = Array.from({ length: 1000 }, (_, n) => unary("any", n));
  assert.deepEqual(
    await Promise.all(calls),
    Array.from({ length: 1000 }, (_, n) => n),
  );
});

test("answers and requests larger than the buffers of the crossing arrive whole", async () => {
  const { unary } = await pair({ any: (call, value) => call.reply(encode(value)) });
  const sizes = [0, 1, 8 * 1024, 64 * 1024 + 1, 300 * 1024, 1_500_000, 5_000_000];
  const values = sizes.map((size) => new Uint8Array(size).map((_, i) => i * 7 + size));
  for (const value of values) assert.deepEqual(await unary("any", value), value);
  const together = await Promise.all(values.map((value) => unary("any", value)));
  for (const [i, value] of values.entries()) assert.deepEqual(together[i], value);
});

test("C1 server stream, client stream, both at once", async () => {
  const { client, method } = await pair({
    async count(call, n) {
      for (let i = 0; i < n; i++) await call.send(encode(i));
      call.setTrailingMetadata({ done: "yes" });
      call.finish();
    },
    async total(call) {
      let sum = 0;
      for await (const n of messages(call)) sum += n;
      call.reply(encode(sum));
    },
    async echo(call) {
      for await (const message of messages(call)) await call.send(encode(message));
      call.finish();
    },
  });
  const N = 20_000;
  const count = client.stream(method("count"), null);
  await count.send(encode(N));
  count.halfClose();
  let next = 0;
  for await (const i of messages(count)) assert.equal(i, next++);
  assert.equal(next, N);
  assert.deepEqual(count.trailingMetadata, { done: "yes" });
  assert.equal(count.take().length, 0, "the end stays the end");

  const total = client.stream(method("total"), null);
  for (let i = 0; i < N; i++) await total.send(encode(i));
  total.halfClose();
  const sums = [];
  for await (const sum of messages(total)) sums.push(sum);
  assert.deepEqual(sums, [(N * (N - 1)) / 2]);

  const echo = client.stream(method("echo"), null);
  const answers = messages(echo);
  for (let i = 0; i < 200; i++) {
    await echo.send(encode({ i }));
    assert.deepEqual((await answers.next()).value, { i });
  }
  echo.halfClose();
  assert.equal((await answers.next()).done, true);
});

test("large messages of streams arrive whole and in order", async () => {
  const { client, method } = await pair({
    async feed(call, sizes) {
      for (const size of sizes) await call.send(encode(new Uint8Array(size).fill(size & 0xff)));
      call.finish();
    },
  });
  const sizes = [10, 300_000, 5, 2_000_000, 70_000, 1, 3_000_000];
  const feed = client.stream(method("feed"), null);
  feed.send(encode(sizes));
  feed.halfClose();
  const seen = [];
  for await (const bytes of messages(feed)) {
    seen.push(bytes.length);
    assert.ok(bytes.every((byte) => byte === (bytes.length & 0xff)));
  }
  assert.deepEqual(seen, sizes);
});

test("a stream has one reader, and sending after the end is refused", async () => {
  const held = deferred();
  const reading = deferred();
  const { client, method } = await pair({
    async echo(call) {
      const first = call.wait();
      await assert.rejects(call.wait(), /one reader/);
      reading.resolve();
      await first;
      await held.promise;
      call.finish();
      assert.throws(() => call.send(encode(1)), /ended before/);
      assert.throws(() => call.finish(), /ended before/);
      call.end();
    },
  });
  const echo = client.stream(method("echo"), null);
  const waiting = echo.wait();
  await assert.rejects(echo.wait(), /one reader/);
  await reading.promise;
  echo.send(encode(1));
  echo.halfClose();
  assert.throws(() => echo.send(encode(2)), /halfClose/);
  held.resolve();
  assert.equal((await waiting).length, 0);
});

test("whoever waits for requests of a call that has ended gets their end", async () => {
  const seen = deferred();
  const { client, method } = await pair({
    echo(call) {
      call.wait().then(seen.resolve, seen.reject);
      call.fail(CODE.ABORTED, "enough", null, null);
    },
  });
  const echo = client.stream(method("echo"), null);
  await assert.rejects(echo.wait(), { code: CODE.ABORTED, message: "enough" });
  assert.equal((await seen.promise).length, 0);
});

test("a contract, its description and its comparison", () => {
  const contract = contractOf(TEST);
  assert.match(contract.id, /^[0-9a-f]{64}$/);
  assert.equal(contract.name, "Test");
  assert.equal(contract.version, 1);
  assert.equal(contractOf(decode(contract.describe())).id, contract.id);
  const less = contractOf({ ...TEST, methods: TEST.methods.slice(1) });
  assert.deepEqual(less.compare(contract).breaking, []);
  assert.equal(contract.compare(less).breaking.length, 1);
  assert.throws(() => contractOf({ ...TEST, version: 0 }), /version/);
});

test("a client tells what is offered, fetches contracts, pings, and has no methods that are not there", async () => {
  const { client, contract, server } = await pair({ add });
  assert.equal(client.peer, server.endpointId);
  assert.deepEqual(
    client.services().filter((service) => service.name === "Test"),
    [{ name: "Test", version: 1, contractId: contract.id, scope: "shared" }],
  );
  assert.equal((await client.contract("Test", null)).id, contract.id);
  await assert.rejects(client.contract("Nothing", 1), { code: CODE.UNIMPLEMENTED });
  assert.ok((await client.ping(5000)) > 0);
  assert.throws(() => client.method(contract, "nothing", "msgpack"), { name: "RangeError", message: /"nothing"/ });
  const json = client.method(contract, "add", "json");
  assert.equal(await client.unary(json, encode({ a: 20, b: 22 }), decode, null), 42);
});
