/** Session services: one instance per session, order, and the end. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Aborted, AsterClient, defineService, Rpc, rpc, Service, t, UsageError } from "@aster-rpc/aster";
import { testPair } from "@aster-rpc/aster/testing";
import { Calls, Counter, closingOf, Num, sessionLog, Text } from "./services.js";
import { all, type Both, both, caught, failure, logged, until } from "./support.js";

let b: Both;
before(async () => {
  b = await both();
});
after(() => b.close());

const num = (n: number) => new Num({ n });
const text = (value: string) => new Text({ text: value });

describe("sessions", () => {
  test("X1 state persists, and sessions are independent", async () => {
    await using one = b.client.session(Counter);
    await using two = b.client.session("Counter");
    assert.equal((await one.add(num(1))).n, 1);
    assert.equal((await one.add(num(2))).n, 3);
    assert.deepEqual(await two.add({ n: 10 }), { n: 10 });
    assert.equal((await one.add(num(0))).n, 3);
    assert.notEqual(one.sessionId, two.sessionId);
  });

  test("X1 a proxy and a typed client have one implicit session each", async () => {
    const proxy = b.client.proxy("Counter");
    const typed = b.client.client(Counter);
    await proxy.add({ n: 1 });
    assert.deepEqual(await b.client.proxy("Counter").add({ n: 1 }), { n: 2 });
    assert.equal((await typed.add(num(1))).n, 1);
    await proxy.close();
    assert.deepEqual(await proxy.add({ n: 5 }), { n: 5 }, "a new session after close");
    await proxy.close();
    await typed.close();
  });

  test("X1 the peer is passed to the constructor, and is the caller's endpoint id", async () => {
    await using session = b.client.session(Counter);
    const peer = (await session.name(text("who"))).text;
    assert.match(peer, /^[0-9a-f]{64}$/);
    assert.equal(peer, (await b.client.proxy("Calls").about({})).peer);
  });

  test("X1 the close hook runs once on every kind of end", async () => {
    const count = (name: string) => sessionLog.closed.filter((each) => each === name).length;
    const session = b.client.session(Counter);
    await session.name(text("closed"));
    await session.close();
    await session.close();
    await closingOf("closed").promise;

    const client = await new AsterClient({ address: b.server.address, preset: "local", relay: "" }).connect();
    await client.session(Counter).name(text("left"));
    await client.close();
    await closingOf("left").promise;

    const pair = await testPair([Counter]);
    await pair.client.session(Counter).name(text("shutdown"));
    await pair.server.close();
    assert.equal(count("shutdown"), 1, "close waits for the hooks");
    await pair.close();
    for (const name of ["closed", "left"]) assert.equal(count(name), 1, name);
  });

  test("X2 all four kinds in a session", async () => {
    await using session = b.client.session(Counter);
    await session.add(num(100));
    await session.name(text("me"));
    assert.deepEqual(
      (await all(session.upto.stream(num(2)))).map((each) => each.n),
      [100, 101],
    );
    assert.equal((await session.sum([num(1), num(2)])).n, 103);
    await using channel = session.talk.bidi();
    await channel.open();
    await channel.send(text("hi"));
    assert.equal((await channel.next()).value?.text, "me: hi");
  });

  test("X3 unary calls run in the order issued, also when some are cancelled", async () => {
    await using session = b.client.session(Counter);
    await session.slow(text("0"));
    const [running, waiting] = [new AbortController(), new AbortController()];
    const first = session.slow(text("1"));
    const hanging = caught(session.slow(text("hang"), { signal: running.signal }));
    const queued = caught(session.slow(text("never"), { signal: waiting.signal }));
    const last = session.slow(text("3"));
    await first;
    waiting.abort();
    await queued;
    await b.client.proxy("Calls").echo({}); // goes the way of the cancellation, behind it
    running.abort();
    await hanging;
    const order = (await last).text.split(",");
    assert.deepEqual(order, ["begin 0", "end 0", "begin 1", "end 1", "begin hang", "end hang", "begin 3", "end 3"]);
  });

  test("X3 waiting counts against the deadline", async () => {
    await using session = b.client.session(Counter);
    await session.slow(text("0"));
    const controller = new AbortController();
    const hanging = caught(session.slow(text("hang"), { signal: controller.signal }));
    await failure(session.slow(text("late"), { timeoutMs: 100 }), "DEADLINE_EXCEEDED");
    controller.abort();
    await hanging;
    assert.doesNotMatch((await session.slow(text("end"))).text, /late/);
  });

  test("X3 many sessions on one connection", async () => {
    for (let round = 0; round < 10; round++) {
      await Promise.all(
        Array.from({ length: 100 }, async (_, n) => {
          await using session = b.client.session(Counter);
          assert.equal((await session.add(num(n))).n, n);
        }),
      );
    }
  });

  test("X1 a session is lost with its connection: explicit ones stay dead, implicit ones begin anew", async (context) => {
    const { mkdtempSync, rmSync } = await import("node:fs");
    const { tmpdir } = await import("node:os");
    const { join } = await import("node:path");
    const folder = mkdtempSync(join(tmpdir(), "aster-"));
    context.after(() => rmSync(folder, { recursive: true }));
    const identity = join(folder, "identity");
    const first = await testPair([Counter], { server: { identity } });
    const explicit = first.client.session(Counter);
    const proxy = first.client.proxy("Counter");
    await explicit.add(num(1));
    await proxy.add({ n: 1 });
    await first.server.close();
    const second = await testPair([Counter], { server: { identity } });
    for (const call of [() => explicit.add(num(1)), () => proxy.add({ n: 1 })]) {
      let error = await caught(call());
      // The first call may be the one that finds the connection gone.
      while (!(error instanceof Aborted)) {
        assert.match(error.name, /Unavailable|Cancelled/);
        error = await caught(call());
      }
      assert.equal(error.mayHaveRun, false);
    }
    assert.deepEqual(await proxy.add({ n: 7 }), { n: 7 });
    assert.ok((await caught(explicit.add(num(1)))) instanceof Aborted);
    await first.client.close();
    await second.close();
  });

  test("X1 a closed session says so, and a shared service has none", async () => {
    const session = b.client.session(Counter);
    await session.add(num(1));
    await session.close();
    assert.match((await caught(session.add(num(1)))).message, /this session of Counter is closed; open another/);
    for (const shared of [b.client.session(Calls), b.client.session("Calls")]) {
      assert.match(
        (await caught((shared as any).echo({}))).message,
        /Calls is a shared service, so it has no sessions/,
      );
    }
  });

  test("X1 factories make instances whose constructor takes more", async () => {
    const Store = defineService({
      name: "Store",
      scoped: "session",
      methods: { get: rpc(t.struct("s/Q", {}), t.string) },
    });
    let closed = 0;
    await using pair = await testPair([
      Store.implement((peer) => ({ get: () => `${peer.length}`, onSessionClose: () => void closed++ })),
    ]);
    await using session = pair.client.session(Store);
    assert.equal(await session.get({}), "64");
    await session.close();
    await until(() => closed === 1);
    assert.throws(
      () => Store.implement({ get: () => "" }),
      /a session service needs handlers of its own for each session/,
    );
  });

  test("X1 a constructor that takes more needs a factory, and one that throws fails the call", async () => {
    @Service({ name: "Picky", scoped: "session" })
    class Picky {
      readonly answer: string;
      constructor(peer: string, prefix: string) {
        if (prefix === "") throw new Error("no prefix");
        this.answer = `${prefix} ${peer.length}`;
      }
      @Rpc({ parameters: {}, response: t.string })
      get(): string {
        return this.answer;
      }
    }
    await assert.rejects(
      testPair([Picky]),
      /its constructor takes 2 parameters where there is the peer alone; give factories: new Map\(\[\[Picky/,
    );
    const factories = new Map([[Picky, (peer: string) => new Picky(peer, "made")]]);
    await using good = await testPair([Picky], { server: { factories } });
    assert.equal(await good.client.client(Picky).get(), "made 64");
    const broken = new Map([[Picky, (peer: string) => new Picky(peer, "")]]);
    await using bad = await testPair([Picky], { server: { factories: broken } });
    assert.match((await failure(bad.client.client(Picky).get(), "INTERNAL")).message, /no prefix/);
    await assert.rejects(
      testPair([new Calls()], { server: { factories } }),
      /factories names Picky, which is not a session service in services/,
    );
  });

  test("X1 a close hook that fails is logged, and the session is over all the same", async () => {
    const Bad = defineService({ name: "Bad", scoped: "session", methods: { get: rpc(t.struct("s/Q", {}), t.null) } });
    await using pair = await testPair([
      Bad.implement(() => ({
        get: () => null,
        onSessionClose: () => {
          throw new Error("hook trouble");
        },
      })),
    ]);
    const session = pair.client.session(Bad);
    await session.get({});
    await session.close();
    await until(() => logged.some((line) => line.includes("hook trouble")));
    assert.throws(() => (b.client.session(Counter) as { sessionId: number }).sessionId, UsageError);
  });
});
