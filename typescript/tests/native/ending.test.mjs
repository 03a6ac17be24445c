import assert from "node:assert/strict";
import { test } from "node:test";
import { ServedCall } from "../../dist/context.js";
import {
  CODE,
  contractOf,
  decode,
  deferred,
  encode,
  LOCAL,
  messages,
  pair,
  port,
  serve,
  TEST,
  until,
} from "./support.mjs";

const GIVEN = encode(1);

/** A handler that never answers and tells of its cancellation. */
function hanging() {
  const state = { entered: 0, cancelled: 0, at: 0 };
  const slow = (call) =>
    new Promise((resolve) => {
      state.entered += 1;
      call.onCancel(() => {
        assert.equal(call.cancelled, true);
        state.cancelled += 1;
        state.at = performance.now();
        resolve();
      });
    });
  return { state, slow };
}

test("C3 a signal cancels the call here and its handler there", async () => {
  const { state, slow } = hanging();
  const { unary } = await pair({ slow });
  const controller = new AbortController();
  const call = unary("slow", 1, { signal: controller.signal });
  await until(() => state.entered === 1, "the handler's start");
  const aborted = performance.now();
  controller.abort();
  const error = await call.then(assert.fail, (error) => error);
  assert.equal(error.code, CODE.CANCELLED);
  await until(() => state.cancelled === 1, "the handler's cancellation");
  assert.ok(state.at - aborted < 100, `it took ${state.at - aborted} ms`);
});

test("C3 a signal that was aborted before sends nothing", async () => {
  const { unary, client, method, seen } = await pair({ slow: hanging().slow, add: (call) => call.reply(encode(0)) });
  const options = { signal: AbortSignal.abort() };
  const error = await unary("slow", 1, options).then(assert.fail, (error) => error);
  assert.equal(error.code, CODE.CANCELLED);
  assert.equal(error.status.mayHaveRun, false);
  assert.throws(() => client.stream(method("echo"), options), { code: CODE.CANCELLED });
  await unary("add", { a: 1, b: 1 });
  assert.equal(seen.calls, 1);
});

test("C3 aborting in the same turn in which the call was made cancels it too", async () => {
  const { slow } = hanging();
  const { unary, seen } = await pair({ slow });
  const controller = new AbortController();
  const call = unary("slow", 1, { signal: controller.signal });
  controller.abort();
  await assert.rejects(call, { code: CODE.CANCELLED });
  await until(() => seen.open.size === 0);
});

test("listeners of a signal are removed when calls end", async () => {
  const { getEventListeners } = await import("node:events");
  const { unary, client, method } = await pair({
    add: (call, { a, b }) => call.reply(encode(a + b)),
    count(call) {
      call.finish();
    },
  });
  const { signal } = new AbortController();
  for (let i = 0; i < 20; i++) await unary("add", { a: i, b: i }, { signal });
  const stream = client.stream(method("count"), { signal });
  stream.send(GIVEN);
  stream.halfClose();
  for await (const _ of messages(stream)) assert.fail();
  assert.equal(getEventListeners(signal, "abort").length, 0);
});

test("C3 cancelling a stream reaches the handler, whoever waits and whoever does not", async () => {
  const cancelled = [];
  const { client, method } = await pair({
    async echo(call) {
      call.onCancel(() => cancelled.push(call.id));
      for await (const _ of messages(call)) await call.send(encode(1));
      await new Promise((resolve) => call.onCancel(resolve));
    },
  });
  const waited = client.stream(method("echo"), null);
  const waiting = waited.wait();
  waited.send(GIVEN);
  await waiting;
  const again = waited.wait();
  waited.cancel();
  waited.cancel();
  await assert.rejects(again, { code: CODE.CANCELLED });
  assert.throws(() => waited.take(), { code: CODE.CANCELLED });
  assert.throws(() => waited.send(GIVEN), { code: CODE.CANCELLED });

  const quiet = client.stream(method("echo"), null);
  quiet.send(GIVEN);
  await quiet.wait();
  quiet.cancel();
  assert.throws(() => quiet.take(), { code: CODE.CANCELLED });
  await until(() => cancelled.length === 2, "both cancellations");
});

test("C3 whoever meets the failure of a cancelled call's requests finds its signal aborted", async () => {
  const seen = deferred();
  let stream;
  const { client, method } = await pair({
    async total(call) {
      let told = 0;
      call.onCancel(() => told++);
      await call.wait();
      stream.cancel();
      // The turn does not end until the requests have failed: nothing that the I/O thread says is drained before.
      let failure;
      for (const giveUp = performance.now() + 20_000; failure === undefined && performance.now() < giveUp; ) {
        try {
          call.take();
        } catch (error) {
          failure = error;
        }
      }
      // Read for the first time here.
      const { signal } = new ServedCall(call, "Test", "total");
      const at = { code: failure?.code, cancelled: call.cancelled, aborted: signal.aborted, told };
      await unary("add", { a: 1, b: 2 }); // what was to be drained has been
      seen.resolve([at, told]);
    },
    add: (call, { a, b }) => call.reply(encode(a + b)),
  });
  const unary = (name, request) => client.unary(method(name), encode(request), decode, null);
  stream = client.stream(method("total"), null);
  stream.send(GIVEN);
  const [at, told] = await seen.promise;
  assert.deepEqual(at, { code: CODE.CANCELLED, cancelled: true, aborted: true, told: 1 });
  assert.equal(told, 1, "once");
});

test("C2 a deadline ends the call here, cancels the handler there, and is told to it", async () => {
  let left;
  const { state, slow } = hanging();
  const { unary } = await pair({
    slow(call) {
      left = call.timeLeftMs();
      return slow(call);
    },
    add(call) {
      assert.equal(call.timeLeftMs(), null);
      call.reply(encode(0));
    },
  });
  const begun = performance.now();
  const error = await unary("slow", 1, { timeoutMs: 150 }).then(assert.fail, (error) => error);
  const took = performance.now() - begun;
  assert.equal(error.code, CODE.DEADLINE_EXCEEDED);
  assert.ok(took >= 145 && took < 1000, `it took ${took} ms`);
  assert.ok(left > 0 && left <= 150, `${left} ms were left`);
  await until(() => state.cancelled === 1);
  await unary("add", { a: 1, b: 1 });
  const none = await unary("slow", 1, { timeoutMs: 0 }).then(assert.fail, (error) => error);
  assert.equal(none.code, CODE.DEADLINE_EXCEEDED);
});

test("C3 10,000 cancelled calls leave nothing", async () => {
  const { state, slow } = hanging();
  const { unary, seen } = await pair({ slow, any: (call, value) => call.reply(encode(value)) });
  const round = async (count) => {
    const before = state.entered;
    const controllers = Array.from({ length: count }, () => new AbortController());
    const calls = controllers.map((controller) =>
      unary("slow", 1, { signal: controller.signal }).catch((error) => error.code),
    );
    await until(() => state.entered === before + count, "the handlers' start");
    for (const controller of controllers) controller.abort();
    const codes = new Set(await Promise.all(calls));
    assert.deepEqual([...codes], [CODE.CANCELLED]);
    await until(() => seen.open.size === 0, "the handlers' end");
  };
  // What stays after the first rounds is what the runtime keeps for the next ones.
  for (let i = 0; i < 4; i++) await round(500);
  const before = process.memoryUsage().rss;
  for (let i = 0; i < 20; i++) await round(500);
  const grown = process.memoryUsage().rss - before;
  assert.equal(state.cancelled, state.entered);
  assert.equal(await unary("any", 5), 5);
  assert.ok(grown < 48 * 1024 * 1024, `memory grew by ${grown} bytes`);
});

test("C4 a reader that does not read holds the sender back, in both directions", async () => {
  const LIMIT = 24 * 1024 * 1024;
  const CHUNK = encode(new Uint8Array(64 * 1024));
  const state = { sent: 0, stop: false, taken: 0 };
  const gate = deferred();
  const { client, method } = await pair({
    async feed(call) {
      call.onCancel(() => (state.stop = true));
      while (!state.stop && state.sent < LIMIT) {
        const full = call.send(CHUNK);
        state.sent += CHUNK.length;
        if (full !== undefined) await full.catch(() => (state.stop = true));
      }
    },
    async total(call) {
      await gate.promise;
      for await (const bytes of messages(call)) state.taken += bytes.length;
      call.reply(encode(state.taken));
    },
  });
  const feed = client.stream(method("feed"), null);
  feed.send(encode(null));
  feed.halfClose();
  // It has stopped when a while of turns brings nothing more.
  let last = -1;
  for (let quiet = 0; quiet < 50; quiet++) {
    await new Promise((resolve) => setTimeout(resolve, 2));
    if (state.sent !== last) quiet = 0;
    last = state.sent;
  }
  assert.ok(state.sent < 8 * 1024 * 1024, `${state.sent} bytes were sent to nobody`);
  feed.cancel();
  await until(() => state.stop, "the end of the sender");

  const total = client.stream(method("total"), null);
  let sent = 0;
  let wait;
  while (wait === undefined && sent < LIMIT) {
    wait = total.send(CHUNK);
    sent += CHUNK.length;
  }
  assert.ok(sent < 8 * 1024 * 1024, `${sent} bytes were taken by nobody`);
  gate.resolve();
  await wait;
  total.halfClose();
  const answers = [];
  for await (const answer of messages(total)) answers.push(answer);
  assert.deepEqual(answers, [state.taken]);
});

test("C7 closing a client ends its calls and is seen by the server; closing twice is fine", async () => {
  const { state, slow } = hanging();
  const { client, method, unary } = await pair({ slow, echo: slow });
  const call = unary("slow", 1).then(assert.fail, (error) => error);
  const nobodyWaits = unary("slow", 1);
  const slowMethod = method("slow");
  const stream = client.stream(method("echo"), null);
  const waiting = stream.wait().then(assert.fail, (error) => error);
  const unread = client.stream(method("echo"), null);
  await until(() => state.entered === 4, "the handlers' start");
  assert.equal(client.close(), client.close());
  await client.close();
  assert.equal((await call).code, CODE.CANCELLED);
  assert.equal((await waiting).code, CODE.CANCELLED);
  assert.throws(() => unread.take(), { code: CODE.CANCELLED });
  await until(() => state.cancelled === 4, "the handlers' cancellation");
  const after = await client.unary(slowMethod, GIVEN, decode, null).then(assert.fail, (error) => error);
  assert.equal(after.code, CODE.FAILED_PRECONDITION);
  assert.match(after.message, new RegExp(`client of ${client.peer} is already closed`));
  void nobodyWaits;
});

test("C7 closing a server ends the calls of its clients and its waiters", async () => {
  const { slow, state } = hanging();
  const { server, unary } = await pair({ slow });
  const closed = server.waitClosed();
  const call = unary("slow", 1).then(assert.fail, (error) => error);
  await until(() => state.entered === 1);
  const begun = performance.now();
  await Promise.all([server.close(), server.close()]);
  await closed;
  assert.equal((await call).code, CODE.UNAVAILABLE);
  assert.equal((await call).status.mayHaveRun, true);
  assert.ok(performance.now() - begun < 1000);
});

test("I3 draining lets running calls end and refuses new ones", async () => {
  const gate = deferred();
  const entered = deferred();
  const { server, unary } = await pair({
    async slow(call, n) {
      entered.resolve();
      await gate.promise;
      call.reply(encode(n));
    },
  });
  const running = unary("slow", 7);
  await entered.promise;
  const drained = server.drain(10_000);
  const refused = await unary("slow", 8).then(assert.fail, (error) => error);
  assert.equal(refused.code, CODE.UNAVAILABLE);
  assert.equal(refused.status.mayHaveRun, false);
  gate.resolve();
  assert.equal(await running, 7);
  await drained;
  await server.waitClosed();
});

test("connecting to nobody and serving wrongly fail with what to do", async () => {
  await assert.rejects(port().connect(["nonsense"], LOCAL), (error) => error.code === CODE.INVALID_ARGUMENT);
  const served = await serve({});
  await served.server.close();
  const error = await port()
    .connect([served.address], { ...LOCAL, connectTimeoutMs: 300 })
    .then(assert.fail, (error) => error);
  assert.equal(error.code, CODE.UNAVAILABLE);
  await assert.rejects(port().connect([served.address], { nonsense: 1 }), { name: "TypeError", message: /"nonsense"/ });
  await assert.rejects(port().connect([served.address], { keepAliveMs: 1.5 }), { name: "RangeError" });
  await assert.rejects(port().connect([served.address], { agent: 5 }), { name: "TypeError", message: /agent/ });
  const handlers = { onCalls() {}, onSessionClose() {} };
  const services = [{ contract: contractOf(TEST), exposeErrors: false }];
  await assert.rejects(
    port().serve(services, handlers, { ...LOCAL, connectTimeoutMs: 1 }),
    (error) => error.code === CODE.INVALID_ARGUMENT && /clients/.test(error.message),
  );
});

test("an error of a callback is an uncaught exception and ends nothing else", async (context) => {
  const { unary } = await pair({ add: (call, { a, b }) => call.reply(encode(a + b)) });
  const broken = new Error("of the program");
  const uncaught = deferred();
  const listeners = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  process.once("uncaughtException", uncaught.resolve);
  context.after(() => {
    for (const listener of listeners) process.on("uncaughtException", listener);
  });
  const handlers = {
    onCalls() {
      throw broken;
    },
    onSessionClose() {},
  };
  const server = await port().serve([{ contract: contractOf(TEST), exposeErrors: false }], handlers, LOCAL);
  const other = await port().connect([server.address], LOCAL);
  const controller = new AbortController();
  const call = other.unary(other.method(contractOf(TEST), "slow", "msgpack"), GIVEN, decode, {
    signal: controller.signal,
  });
  assert.equal(await uncaught.promise, broken);
  controller.abort();
  await assert.rejects(call, { code: CODE.CANCELLED });
  assert.equal(await unary("add", { a: 1, b: 2 }), 3);
  await other.close();
  await server.close();
});

test("what a callback asks for and fails at once does not disturb what is being handed over", async () => {
  const failures = [];
  const seen = [];
  let client;
  const handlers = {
    onCalls(calls) {
      for (const call of calls) {
        const n = decode(call.request);
        // It does not fit, and cancelling another call submits it here and now.
        const options = { signal: new AbortController().signal };
        const misfit = client.unary(client.method(contract, "add", "msgpack"), encode({ a: n }), decode, options);
        failures.push(misfit.catch((error) => error.code));
        const controller = new AbortController();
        const method = client.method(contract, "slow", "msgpack");
        client.unary(method, GIVEN, decode, { signal: controller.signal }).catch(() => {});
        controller.abort();
        seen.push(decode(call.request));
        call.reply(encode(n));
      }
    },
    onSessionClose() {},
  };
  const contract = contractOf(TEST);
  const server = await port().serve([{ contract, exposeErrors: false }], handlers, LOCAL);
  const idle = await serve({ slow: hanging().slow });
  client = await port().connect([idle.address], LOCAL);
  const caller = await port().connect([server.address], LOCAL);
  const any = caller.method(contract, "any", "msgpack");
  const numbers = Array.from({ length: 300 }, (_, n) => n);
  const answers = await Promise.all(numbers.map((n) => caller.unary(any, encode(n), decode, null)));
  assert.deepEqual(answers, numbers);
  assert.deepEqual(
    seen.toSorted((a, b) => a - b),
    numbers,
  );
  assert.deepEqual(new Set(await Promise.all(failures)), new Set([CODE.INVALID_ARGUMENT]));
  await Promise.all([caller.close(), client.close()]);
  await Promise.all([server.close(), idle.server.close()]);
});

test("closing the port from a callback ends everything, once, and a new port works", async () => {
  const handed = deferred();
  const first = port();
  const handlers = {
    onCalls(calls) {
      const cancelled = [];
      for (const call of calls) call.onCancel(() => cancelled.push(call.id));
      first.close();
      first.close();
      handed.resolve([calls.length, cancelled.length]);
    },
    onSessionClose() {},
  };
  const server = await first.serve([{ contract: contractOf(TEST), exposeErrors: false }], handlers, LOCAL);
  const client = await first.connect([server.address], LOCAL);
  const method = client.method(contractOf(TEST), "any", "msgpack");
  const calls = Array.from({ length: 10 }, () => client.unary(method, GIVEN, decode, null));
  const codes = new Set((await Promise.allSettled(calls)).map((call) => call.reason.code));
  assert.deepEqual(codes, new Set([CODE.CANCELLED]));
  const [given, cancelled] = await handed.promise;
  assert.ok(given > 0 && cancelled === given, `${cancelled} of ${given} were cancelled`);
  await Promise.all([client.close(), server.close(), server.waitClosed()]);
  assert.throws(() => client.services(), { code: CODE.FAILED_PRECONDITION });

  assert.notEqual(port(), first);
  const { unary } = await pair({ add: (call, { a, b }) => call.reply(encode(a + b)) });
  assert.equal(await unary("add", { a: 1, b: 2 }), 3);
});
