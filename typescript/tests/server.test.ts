/** The server from start to end: what does not start, draining, signals, contexts. */

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import {
  AsterServer,
  allOf,
  anyOf,
  CallContext,
  ConfigurationError,
  defineService,
  Rpc,
  rpc,
  SchemaError,
  Service,
  setLogger,
  t,
  UsageError,
} from "@aster-rpc/aster";
import { testPair } from "@aster-rpc/aster/testing";
import { Calls, Text } from "./services.js";
import { type Both, both, caught, failure, until } from "./support.js";

const local = { preset: "local", relay: "" } as const;
const Empty = t.struct("s/Empty", {});
const Simple = defineService({ name: "Simple", methods: { get: rpc(Empty, t.string) } });
const simple = Simple.implement({ get: () => "simple" });

describe("what does not start", () => {
  @Service({ name: "Guarded", requires: "ops.admin" })
  class Guarded {
    @Rpc({ parameters: {}, response: t.null })
    get(): null {
      return null;
    }
  }
  @Service("GuardedMethod")
  class GuardedMethod {
    @Rpc({ parameters: {}, response: t.null, requires: anyOf("a", "b") })
    get(): null {
      return null;
    }
  }
  const Intercepted = defineService({
    name: "I",
    interceptors: [() => 1],
    methods: { get: rpc(Empty, t.null, { requires: undefined }) },
  });
  const other = defineService({ name: "Simple", methods: { get: rpc(Empty, t.null) } });

  const cases: [string, () => unknown, RegExp][] = [
    [
      "a service with requires",
      () => [new Guarded()],
      /Guarded does not start: it has requires, .*Guarded\.get and the rest would be open to everybody/,
    ],
    [
      "a method with requires",
      () => [new GuardedMethod()],
      /GuardedMethod\.get has requires, .*remove requires to serve it openly/,
    ],
    [
      "interceptors",
      () => [Intercepted.implement({ get: () => null })],
      /has interceptors, which this version of Aster does not run yet/,
    ],
    [
      "the class of a shared service",
      () => [Calls],
      /the service Calls is shared, so services takes an instance of it: new Calls\(\)/,
    ],
    ["no service", () => [new Text()], /Text is not a service; decorate the class with @Service/],
    [
      "a definition without handlers",
      () => [Simple],
      /services has a definition without handlers; give what its implement/,
    ],
    [
      "one name twice",
      () => [simple, other.implement({ get: () => null })],
      /are both Simple version 1; give one of them another name or version/,
    ],
    ["one service twice", () => [simple, simple], /services has Simple version 1 twice; leave one out/],
    ["nothing", () => [null], /services has instances of service classes, and got null/],
  ];
  for (const [what, services, text] of cases) {
    test(`S1 ${what} does not start and says why`, async () => {
      await assert.rejects(new AsterServer({ ...local, services: services() as never }).start(), text);
    });
  }

  const options: [string, object, RegExp][] = [
    ["an unknown option", { servces: [] }, /there is no option "servces"; there are services, factories/],
    [
      "a root key",
      { config: { rootPubkeyFile: "~/.aster/root.pub" } },
      /config has rootPubkeyFile, and this version of Aster cannot check credentials yet/,
    ],
    [
      "a closed gate without a key",
      { allowAllConsumers: false },
      /allowAllConsumers is false and there is no root key/,
    ],
    ["a wrong time", { keepAliveMs: 0 }, /keepAliveMs is a number of milliseconds above 0, and got 0/],
    ["a wrong size", { maxMessageBytes: 0.5 }, /maxMessageBytes is a whole number of bytes from 1, and got 0\.5/],
    ["no path", { identity: "" }, /identity is the path of a file/],
  ];
  for (const [what, given, text] of options) {
    test(`S1 ${what} is refused`, () => {
      assert.throws(
        () => new AsterServer({ services: [simple], ...given }),
        (error) => error instanceof ConfigurationError && text.test(error.message),
      );
    });
  }

  test("S1 services that are no list", () => {
    for (const given of [undefined, {}, { services: 5 }])
      assert.throws(() => new AsterServer(given as never), UsageError);
  });

  test("S1 an open gate may be said", async () => {
    await using server = await new AsterServer({ ...local, services: [simple], allowAllConsumers: true }).start();
    assert.match(server.address, /^aster1/);
  });

  test("S1 rules that name nobody are refused", () => {
    assert.throws(() => anyOf(), SchemaError);
    assert.throws(() => allOf(""), /a capability is a string that is not empty/);
    assert.deepEqual(allOf("a", "b"), { kind: "all_of", capabilities: ["a", "b"] });
  });
});

describe("serving", () => {
  let b: Both;
  beforeEach(async () => {
    b = await both();
  });
  afterEach(() => b.close());

  test("A1 start and connect are quick without a network", async () => {
    const began = performance.now();
    await using pair = await testPair([simple]);
    assert.equal(await pair.client.proxy("Simple").get(), "simple");
    assert.ok(performance.now() - began < 3_000);
  });

  test("C7 close may be called twice, and a server starts once", async () => {
    assert.match(b.server.address, /^aster1[1-9A-HJ-NP-Za-km-z]+$/);
    await assert.rejects(b.server.start(), /started already/);
    await b.server.close();
    await b.server.close();
    const fresh = new AsterServer({ ...local, services: [simple] });
    assert.throws(() => fresh.address, /not started; `await server\.start\(\)` first/);
    await fresh.close();
  });

  test("C7 pending calls fail UNAVAILABLE when the server closes", async () => {
    const call = caught(b.client.client(Calls).hang(new Text()));
    await b.calls.gate.started.promise;
    await b.server.close();
    const error = await call;
    assert.match(error.name, /Unavailable|Cancelled/);
    await b.calls.gate.cancelled.promise;
  });

  test("C7 a handler that never settles keeps neither its caller nor the server's end waiting", async () => {
    const client = b.client.client(Calls);
    await failure(client.stubborn(new Text(), { timeoutMs: 80 }), "DEADLINE_EXCEEDED");
    assert.equal((await client.echo(new Text({ text: "on" }))).text, "on");
    const began = performance.now();
    await b.server.close();
    assert.ok(performance.now() - began < 3_000);
    assert.equal(b.calls.gate.finished.happened, false, "it is still there, and nobody waits for it");
  });

  test("I3 draining lets running calls finish, and refuses new ones", async () => {
    const call = b.client.client(Calls).stubborn(new Text({ text: "finished" }));
    await b.calls.gate.started.promise;
    const drained = b.server.drain();
    const refused = async (): Promise<void> => {
      // The goaway is on its way: calls are taken until it is known.
      for (;;) {
        try {
          await b.client.client(Calls).echo(new Text());
        } catch (error) {
          assert.match(String(error), /Unavailable/);
          return;
        }
      }
    };
    await refused();
    b.calls.gate.release.happen();
    assert.equal((await call).text, "finished");
    await drained;
  });

  test("I3 draining cancels what outlasts the grace", async () => {
    const call = caught(b.client.client(Calls).hang(new Text()));
    await b.calls.gate.started.promise;
    await b.server.drain({ graceMs: 50 });
    await call;
    await b.calls.gate.cancelled.promise;
    await assert.rejects(b.server.drain({ graceMs: -1 }), ConfigurationError);
  });

  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    test(`C7 serve drains on ${signal}, runs other listeners, and leaves none behind`, async () => {
      let heard = 0;
      const listener = (): void => {
        heard++;
      };
      process.on(signal, listener);
      const before = process.listenerCount(signal);
      const served = b.server.serve({ graceMs: 1_000 });
      assert.equal(process.listenerCount(signal), before + 1);
      process.kill(process.pid, signal);
      await served;
      assert.equal(heard, 1);
      assert.equal(process.listenerCount(signal), before);
      process.off(signal, listener);
    });
  }

  test("C7 serve returns when the server is closed", async () => {
    const served = b.server.serve();
    await b.server.close();
    await served;
  });
});

describe("contexts", () => {
  const seen: Record<string, unknown> = {};
  const Ctx = defineService({
    name: "Ctx",
    methods: {
      parent: rpc(Empty, t.f64),
      hurrying: rpc(Empty, t.f64),
      child: rpc(Empty, t.f64.nullable()),
      hurried: rpc(Empty, t.f64.nullable(), { timeoutMs: 10_000 }),
      later: rpc(Empty, t.bool),
    },
  });
  let b: Both;
  before(async () => {
    b = await both();
  });
  after(() => b.close());

  test("S5 what a handler calls and starts knows its call, and nested calls inherit the time left", async () => {
    await using pair = await testPair([
      Ctx.implement({
        parent: async () => (await pair.client.client(Ctx).child({})) ?? -1,
        hurrying: async () => (await pair.client.client(Ctx).hurried({})) ?? -1,
        child: (_request, context) => context.timeLeftMs,
        hurried: (_request, context) => context.timeLeftMs,
        later: async (_request, context) => {
          await new Promise((resolve) => setTimeout(resolve, 1));
          const inner = CallContext.current();
          seen.peer = inner.peer;
          return inner.callId === context.callId && inner === CallContext.current();
        },
      }),
    ]);
    assert.equal(await pair.client.client(Ctx).later({}), true);
    assert.match(String(seen.peer), /^[0-9a-f]{64}$/);
    assert.equal(await pair.client.client(Ctx).parent({}), -1, "no limit, none to inherit");
    const left = await pair.client.client(Ctx).parent({}, { timeoutMs: 30_000 });
    assert.ok(left > 10_000 && left <= 30_000, String(left));
    const less = await pair.client.client(Ctx).hurrying({}, { timeoutMs: 30_000 });
    assert.ok(less > 0 && less <= 10_000, `a method's own shorter limit holds: ${less}`);
  });

  test("S5 outside of a handler there is no current call", () => {
    assert.throws(() => CallContext.current(), /called outside of a handler/);
  });

  test("S5 a context says who called, and metadata that comes too late is refused", async () => {
    const Late = defineService({ name: "Late", methods: { get: rpc(Empty, t.string) } });
    await using pair = await testPair([
      Late.implement({
        get: (_request, context) => {
          context.setResponseMetadata({ a: "1" });
          return `${context.service}.${context.method} ${context.sessionId} ${context.cancelled} ${context.attributes.x}`;
        },
      }),
    ]);
    assert.equal(await pair.client.client(Late).get({}), "Late.get null false undefined");
  });

  test("C7 a logger that fails ends no call", async () => {
    const lines: string[] = [];
    const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined };
    setLogger(
      {
        ...silent,
        error: () => {
          lines.push("called");
          throw new Error("logger");
        },
      },
      "error",
    );
    try {
      await failure(b.client.client(Calls).crash(new Text()), "INTERNAL");
      await until(() => lines.length > 0);
      assert.equal((await b.client.client(Calls).echo(new Text({ text: "on" }))).text, "on");
    } finally {
      setLogger({ ...silent, error: () => undefined });
    }
    assert.throws(() => setLogger(console, "loud" as never), /the log level is one of trace, debug/);
  });
});
