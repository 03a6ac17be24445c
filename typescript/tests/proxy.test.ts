/** Proxies and typed clients: how services are found, named, awaited and compared. */

import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { inspect } from "node:util";
import {
  AsterClient,
  ContractMismatch,
  defineService,
  NotFound,
  rpc,
  serverStream,
  t,
  Unavailable,
  UnknownMethod,
  UsageError,
} from "@aster-rpc/aster";
import { testPair } from "@aster-rpc/aster/testing";
import { Calls, Gate, Text } from "./services.js";
import { all, type Both, both, caught, failure } from "./support.js";

let b: Both;
before(async () => {
  b = await both();
});
after(() => b.close());
beforeEach(() => {
  b.calls.gate = new Gate();
});

/** A client of its own, which has loaded nothing yet. */
async function another(): Promise<AsterClient> {
  return await new AsterClient({ address: b.server.address, preset: "local", relay: "" }).connect();
}

describe("proxies", () => {
  test("G3 a proxy needs no await, and awaited is the same proxy", async () => {
    await using client = await another();
    const proxy = client.proxy("Calls");
    assert.equal(typeof proxy.then, "function", "awaiting loads the contract");
    assert.equal(await proxy, proxy);
    assert.equal(proxy.then, undefined, "then removes itself");
    assert.equal(await (async () => proxy)(), proxy);
    assert.equal(client.proxy("Calls"), proxy, "one per name and version");
    assert.deepEqual(await proxy.echo({ text: "x" }), { text: "x" });
  });

  test("G3 a proxy that was never awaited may be returned by an async function", async () => {
    await using client = await another();
    const get = async () => client.proxy("Calls");
    const proxy = await get();
    assert.equal(proxy, client.proxy("Calls"));
    assert.deepEqual(await proxy.echo({ text: "y" }), { text: "y" });
  });

  test("G3 many first calls at once load the contract once", async () => {
    await using client = await another();
    const proxy = client.proxy("Calls");
    const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => proxy.echo({ text: `${n}` })));
    assert.equal(answers.length, 20);
    assert.deepEqual(await all(client.proxy("Calls").count.stream({ n: 1 })), [{ n: 0 }]);
  });

  test("G3 streams and channels work as the first use of a proxy", async () => {
    await using one = await another();
    assert.deepEqual(await all(one.proxy("Calls").count.stream({ n: 2 })), [{ n: 0 }, { n: 1 }]);
    await using two = await another();
    const channel = two.proxy("Calls").chat.bidi();
    await channel.send({ text: "a" });
    assert.deepEqual((await channel.next()).value, { text: "A" });
    await channel.close();
    await using three = await another();
    assert.deepEqual(await three.proxy("Calls").total([{ n: 1 }]), { n: 1 });
    await using four = await another();
    const stream = four.proxy("Calls").tail.stream({});
    stream.cancel();
    assert.deepEqual(await stream.next(), { value: undefined, done: true });
  });

  test("G3 a client connects by itself at its first call", async () => {
    await using client = new AsterClient({ address: b.server.address, preset: "local", relay: "" });
    assert.throws(() => client.peer, /not connected/);
    assert.deepEqual(await client.proxy("Calls").echo({ text: "first" }), { text: "first" });
    assert.equal(client.peer, b.server.endpointId);
    assert.equal((await client.client(Calls).echo(new Text({ text: "t" }))).text, "t");
  });

  test("G3 names of the language are never remote methods, and method() reaches them", async () => {
    const proxy = await b.client.proxy("Calls");
    for (const name of ["then", "catch", "finally", "constructor", "toJSON"])
      assert.equal(proxy[name], undefined, name);
    assert.equal((proxy as unknown as Record<symbol, unknown>)[Symbol.iterator], undefined);
    assert.equal(JSON.stringify({ proxy: { method: 1 } }), '{"proxy":{"method":1}}');
    assert.equal(inspect(proxy), "<proxy of Calls>");
    assert.equal(`${proxy}`, "[proxy of Calls]");
    assert.ok("echo" in proxy && !("nope" in proxy));
    assert.ok(Object.keys(proxy).includes("echo"));
    assert.throws(() => {
      (proxy as Record<string, unknown>).echo = 1;
    }, UsageError);

    const Odd = defineService({
      name: "Odd",
      methods: {
        next: rpc(t.struct("o/Q", {}), t.string, { name: "then" }),
        close: rpc(t.struct("o/Q", {}), t.string),
      },
    });
    await using pair = await testPair([Odd.implement({ next: () => "then!", close: () => "closed!" })]);
    const odd = await pair.client.proxy("Odd");
    assert.equal(await odd.method("then")({}), "then!");
    assert.equal(await odd.method("close")({}), "closed!");
    assert.equal(await pair.client.client(Odd).next({}), "then!");
  });

  const wrong: [string, (proxy: any) => unknown, RegExp][] = [
    [
      "awaiting a server stream",
      (p) => p.count({ n: 1 }),
      /Calls\.count is a server stream: `for await \(const x of count\.stream\(/,
    ],
    ["awaiting a channel", (p) => p.chat({}), /is a bidirectional stream: `const ch = chat\.bidi\(\)/],
    ["a request for a client stream", (p) => p.total({ n: 1 }), /is a client stream: `await total\(asyncIterable\)`/],
    ["a stream of a unary method", (p) => p.echo.stream({}).next(), /is unary: `await echo\(/],
    ["a channel of a server stream", (p) => p.count.bidi().open(), /is a server stream/],
  ];
  for (const [what, use, text] of wrong) {
    test(`G4 ${what} says the right form, before and after the contract is known`, async () => {
      await using client = await another();
      for (const round of ["unknown", "known"]) {
        const error = await caught((async () => use(client.proxy("Calls")))());
        assert.ok(error instanceof UsageError, round);
        assert.match(error.message, text);
        await client.proxy("Calls");
      }
    });
  }

  test("G4 an unknown method names the nearest", async () => {
    const error = await caught(b.client.proxy("Calls").ecko({}));
    assert.ok(error instanceof UnknownMethod);
    assert.match(error.message, /Calls has no method "ecko"; did you mean echo\?/);
    assert.match((await caught(b.client.proxy("Calls").zzz({}))).message, /its methods are: about, absorb, afterwards/);
    assert.throws(() => b.client.proxy("Calls").ecko.stream({}), UnknownMethod);
  });

  test("G4 an unknown service and version list what is offered", async () => {
    const error = await caught(b.client.proxy("Cals").echo({}));
    assert.match(error.message, /Calls/);
    assert.match((await caught(b.client.proxy("Calls", 7).echo({}))).message, /7/);
    assert.deepEqual(
      b.client
        .services()
        .map((each) => each.name)
        .sort(),
      ["Calls", "Counter", "Plain", "Types"],
    );
    assert.throws(
      () => b.client.proxy(Calls as unknown as string),
      /proxy\(\) takes the name of a service, and got Calls; for a service class use client\.client/,
    );
  });

  test("G4 closed and unconnected clients say so", async () => {
    const client = new AsterClient({ address: b.server.address, preset: "local", relay: "" });
    assert.throws(() => client.services(), /not connected; `await client\.connect\(\)` first/);
    await client.close();
    await client.close();
    assert.match((await caught(client.connect())).message, /this client is closed; make a new AsterClient/);
    assert.match((await caught(client.proxy("Calls").echo({}))).message, /this client is closed/);
    for (const address of [undefined, 5, [], [5]]) {
      assert.throws(
        () => new AsterClient({ address: address as unknown as string }),
        /address is an aster1\.\.\. address or several/,
      );
    }
    assert.throws(
      () => new AsterClient({ address: "x", adress: 1 } as never),
      /there is no option "adress"; there are address, services/,
    );
    assert.throws(
      () => new AsterClient({ address: "x", enrollmentCredentialFile: "a.cred" } as never),
      /cannot present credentials yet/,
    );
  });

  test("A4 wrong addresses say what is wrong", async () => {
    for (const address of ["hello", "aster1abc", b.server.address.slice(0, -3)]) {
      const error = await caught(new AsterClient({ address, preset: "local", relay: "" }).connect());
      assert.match(error.message, /address/i, address);
    }
  });

  test("G4 calls in flight end when the client closes", async () => {
    const client = await another();
    const call = client.client(Calls).hang(new Text());
    const stream = client.client(Calls).tail.stream(new Text());
    await stream.next();
    await b.calls.gate.started.promise;
    const [ended] = await Promise.all([caught(call), caught(stream.next()), client.close()]);
    assert.match(ended.name, /Cancelled|Unavailable/);
    await b.calls.gate.cancelled.promise;
  });

  test("C7 a ping is answered by the server's I/O thread", async () => {
    const took = await b.client.ping();
    assert.ok(took > 0 && took < 1_500);
    await assert.rejects(b.client.ping(0), UsageError);
  });
});

describe("typed clients", () => {
  const Q = t.struct("v/Q", { n: t.i64 });
  const one = defineService({ name: "V", version: 1, methods: { get: rpc(Q, t.i64) } });
  const two = defineService({ name: "V", version: 2, methods: { get: rpc(Q, t.string) } });

  test("S1 versions live side by side", async () => {
    await using pair = await testPair([
      one.implement({ get: ({ n }) => n }),
      two.implement({ get: ({ n }) => `two ${n}` }),
    ]);
    assert.equal(await pair.client.client(one).get({ n: 1 }), 1);
    assert.equal(await pair.client.client(two).get({ n: 1 }), "two 1");
    assert.equal(await pair.client.proxy("V").get({ n: 1 }), 1, "version 1 where none is said");
    assert.equal(await pair.client.proxy("V", 2).get({ n: 1 }), "two 1");
  });

  test("S1 JSON as what typed clients send", async () => {
    const J = defineService({
      name: "J",
      serialization: "json",
      methods: {
        get: rpc(t.struct("j/Q", { big: t.u64, raw: t.bytes }), t.u64),
        all: serverStream(t.struct("j/Q", { big: t.u64, raw: t.bytes }), t.u64),
      },
    });
    await using pair = await testPair([
      J.implement({
        get: ({ big }) => big,
        async *all({ big }) {
          yield big;
        },
      }),
    ]);
    const request = { big: 2n ** 63n, raw: new Uint8Array([1]) };
    assert.equal(await pair.client.client(J).get(request), 2n ** 63n);
    assert.deepEqual(await all(pair.client.client(J).all.stream(request)), [2n ** 63n]);
  });

  test("S6 a typed client works with a compatible newer server", async () => {
    const newer = defineService({
      name: "V",
      methods: { get: rpc(t.struct("v/Q", { n: t.i64, more: t.string.optional() }), t.i64), extra: rpc(Q2, t.null) },
    });
    await using pair = await testPair([
      newer.implement({ get: ({ n, more }) => n + (more?.length ?? 0), extra: () => null }),
    ]);
    assert.equal(await pair.client.client(one).get({ n: 4 }), 4);
  });
  const Q2 = t.struct("v/Q2", {});

  test("S6 a breaking difference is readable", async () => {
    const other = defineService({ name: "V", methods: { get: rpc(t.struct("v/Q", { n: t.string }), t.i64) } });
    await using pair = await testPair([other.implement({ get: () => 1 })]);
    const error = await caught(pair.client.client(one).get({ n: 1 }));
    assert.ok(error instanceof ContractMismatch);
    assert.match(
      error.message,
      /defineService V and the service V version 1 at .* differ: .*n.*Use the class that the server was started with/,
    );
  });

  test("S6 a class that is no service is refused", () => {
    assert.throws(() => b.client.client(Text as never), /Text is not a service; decorate the class with @Service/);
    assert.throws(() => b.client.client({} as never), /a service class or what defineService\(\) gave is wanted/);
  });

  test("C8 a proxy notices another contract after a restart", { timeout: 60_000 }, async (context) => {
    const { mkdtempSync, rmSync } = await import("node:fs");
    const { tmpdir } = await import("node:os");
    const { join } = await import("node:path");
    const folder = mkdtempSync(join(tmpdir(), "aster-"));
    context.after(() => rmSync(folder, { recursive: true }));
    const identity = join(folder, "identity");
    const first = await testPair([one.implement({ get: ({ n }) => n })], { server: { identity } });
    const proxy = first.client.proxy("V");
    assert.equal(await proxy.get({ n: 1 }), 1);
    await first.server.close();
    const wider = defineService({
      name: "V",
      methods: { get: rpc(t.struct("v/Q", { n: t.i64, by: t.i64.default(2) }), t.i64) },
    });
    const second = await testPair([wider.implement({ get: ({ n, by }) => n * by })], { server: { identity } });
    const outcomes: unknown[] = [];
    while (outcomes.length === 0) {
      try {
        outcomes.push(await proxy.get({ n: 4 }));
      } catch (error) {
        assert.ok(error instanceof ContractMismatch || error instanceof Unavailable, String(error));
      }
    }
    assert.deepEqual(outcomes, [8]);
    assert.equal(await proxy.get({ n: 4, by: 3 }), 12);
    await first.client.close();
    await second.close();
  });

  test("C6 errors are recognised from another copy of the package", async () => {
    const copy = (await import(`${import.meta.resolve("@aster-rpc/aster")}?copy`)) as typeof import("@aster-rpc/aster");
    const error = await failure(b.client.client(Calls).missing(new Text()), "NOT_FOUND");
    assert.ok(error instanceof copy.AsterError);
    assert.ok(error instanceof NotFound);
    assert.ok(!(error instanceof copy.UsageError));
  });
});
