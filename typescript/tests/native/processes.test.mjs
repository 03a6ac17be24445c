import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { CODE, contractOf, decode, encode, LOCAL, messages, pair, port, TEST } from "./support.mjs";

/** How soon the other side must know of an ordinary end. */
const SOON_MS = 200;

/** A program of `programs/`, with its lines. */
function program(name, ...args) {
  const file = fileURLToPath(new URL(`./programs/${name}`, import.meta.url));
  const child = spawn(process.execPath, [file, ...args], { stdio: ["pipe", "pipe", "pipe"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  let errors = "";
  child.stderr.on("data", (data) => (errors += data));
  const ended = once(child, "exit");
  after(() => child.kill("SIGKILL"));
  return {
    child,
    ended,
    errors: () => errors,
    line: async () => {
      const { value, done } = await lines.next();
      if (done) throw new Error(`${name} ended: ${errors}`);
      return value;
    },
  };
}

async function connect(address) {
  const client = await port().connect([address], LOCAL);
  after(() => client.close());
  const contract = contractOf(TEST);
  const method = (name) => client.method(contract, name, "msgpack");
  return {
    client,
    method,
    unary: (name, request) => client.unary(method(name), encode(request), decode, null),
  };
}

/** The milliseconds that a line of a program tells. */
const told = (line) => Number(line.split(" ")[1]);

test("C1 two processes: unary calls and streams", async () => {
  const server = program("server.mjs");
  const { client, method, unary } = await connect(await server.line());
  assert.equal(await unary("add", { a: 40, b: 2 }), 42);
  const echo = client.stream(method("echo"), null);
  for (let i = 0; i < 1000; i++) echo.send(encode(i));
  echo.halfClose();
  let next = 0;
  for await (const i of messages(echo)) assert.equal(i, next++);
  assert.equal(next, 1000);
  server.child.kill();
});

for (const how of ["exit", "throw"]) {
  test(`C7 a server process that ends by ${how} is seen by its clients within ${SOON_MS} ms`, async () => {
    const server = program("server.mjs");
    const { unary } = await connect(await server.line());
    const call = unary("slow", 1).then(assert.fail, (error) => ({ error, at: Date.now() }));
    assert.match(await server.line(), /^entered/);
    // Its answer may be overtaken by the end.
    unary("any", how).catch(() => {});
    const ending = told(await server.line());
    const { error, at } = await call;
    assert.equal(error.code, CODE.UNAVAILABLE);
    assert.equal(error.status.mayHaveRun, true);
    assert.ok(at - ending < SOON_MS, `it took ${at - ending} ms`);
    const [code] = await server.ended;
    assert.equal(code, how === "exit" ? 3 : 1, server.errors());
  });

  test(`C7 a client process that ends by ${how} with open calls is seen by its server within ${SOON_MS} ms`, async () => {
    const server = program("server.mjs");
    const address = await server.line();
    const caller = program("caller.mjs", address, how);
    assert.match(await server.line(), /^entered/);
    caller.child.stdin.write("now\n");
    const ending = told(await caller.line());
    const cancelled = told(await server.line());
    assert.ok(cancelled - ending < SOON_MS, `it took ${cancelled - ending} ms`);
    await caller.ended;
    server.child.kill();
  });
}

test("a process ends by itself when nothing is pending, and not before", async () => {
  const server = program("server.mjs");
  const address = await server.line();
  for (const how of ["done", "wait"]) {
    const caller = program("caller.mjs", address, how);
    assert.equal(await caller.line(), "3");
    const [code] = await caller.ended;
    assert.equal(code, 0, caller.errors());
  }
  // An open server keeps its process; closed, it lets it go.
  const { unary } = await connect(address);
  unary("any", "close").catch(() => {});
  const [code] = await server.ended;
  assert.equal(code, 0, server.errors());
});

test("workers have ports of their own, and their end closes them", async () => {
  const { address } = await pair({ add: (call, { a, b }) => call.reply(encode(a + b)) });
  const workers = await Promise.all(
    [1, 2].map(async () => {
      const worker = new Worker(new URL("./programs/worker.mjs", import.meta.url));
      after(() => worker.terminate());
      const [hello] = await once(worker, "message");
      return { worker, ...(await connect(hello.address)) };
    }),
  );
  for (const { worker, unary } of workers) {
    assert.equal(await unary("add", { a: 1, b: 2 }), 3);
    worker.postMessage({ call: address });
    const [{ answers }] = await once(worker, "message");
    assert.deepEqual(
      answers,
      Array.from({ length: 100 }, (_, i) => i + 1),
    );
  }
  const [first, second] = workers;
  const call = first.unary("slow", 1).then(assert.fail, (error) => ({ error, at: performance.now() }));
  await once(first.worker, "message");
  const begun = performance.now();
  await first.worker.terminate();
  const { error, at } = await call;
  assert.equal(error.code, CODE.UNAVAILABLE);
  assert.ok(at - begun < 2 * SOON_MS, `it took ${at - begun} ms`);
  // The other one goes on, until it ends by itself.
  assert.equal(await second.unary("add", { a: 2, b: 2 }), 4);
  second.worker.postMessage({ end: true });
  await once(second.worker, "exit");
});
