/** Services of clients, which servers call back. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  AsterClient,
  type Caller,
  defineService,
  rpc,
  serverStream,
  t,
  Unavailable,
  UsageError,
} from "@aster-rpc/aster";
import { testPair } from "@aster-rpc/aster/testing";
import { all, caught, failure, until } from "./support.js";

const Text = t.struct("c/Text", { text: t.string.default("") });
const Agent = defineService({
  name: "Agent",
  methods: { ask: rpc(Text, Text), count: serverStream(Text, t.i64) },
});
const Notes = defineService({ name: "Notes", scoped: "session", methods: { add: rpc(Text, t.i64) } });
const Hub = defineService({
  name: "Hub",
  methods: { hello: rpc(Text, Text), keep: rpc(Text, t.null), stream: rpc(Text, t.i64), notes: rpc(Text, t.i64) },
});

const agent = (name: string) =>
  Agent.implement({
    ask: ({ text }, context) => ({ text: `${name} heard ${text} of ${context.service}` }),
    async *count() {
      yield* [1, 2, 3];
    },
  });

function hub(kept: Caller[]) {
  return Hub.implement({
    hello: async ({ text }, context) => await context.caller.client(Agent).ask({ text }),
    keep: (_request, context) => {
      kept.push(context.caller);
      return null;
    },
    stream: async (_request, context) => (await all(context.caller.proxy("Agent").count.stream({}))).length,
    notes: async (_request, context) => {
      await using session = context.caller.session(Notes);
      await session.add({ text: "one" });
      return await session.add({ text: "two" });
    },
  });
}

describe("callers", () => {
  test("C1 a handler calls its caller back, in all forms, on the same connection", async () => {
    let closed = 0;
    const notes = Notes.implement(() => {
      let count = 0;
      return { add: () => ++count, onSessionClose: () => void closed++ };
    });
    const kept: Caller[] = [];
    await using pair = await testPair([hub(kept)], { client: { services: [agent("one"), notes] } });
    const server = pair.client.client(Hub);
    assert.equal((await server.hello({ text: "hi" })).text, "one heard hi of Agent");
    assert.equal(await server.stream({}), 3);
    assert.equal(await server.notes({}), 2);
    await until(() => closed === 1);
    await server.keep({});
    assert.deepEqual(
      kept[0]!
        .services()
        .map((each) => `${each.name} ${each.scope}`)
        .sort(),
      ["Agent shared", "Notes session"],
    );
    assert.ok((await kept[0]!.ping()) > 0);
  });

  test("C1 a kept caller is called after its call, each client its own, until its connection ends", async () => {
    const kept: Caller[] = [];
    await using pair = await testPair([hub(kept)], { client: { services: [agent("one")] } });
    const second = new AsterClient({
      address: pair.server.address,
      preset: "local",
      relay: "",
      services: [agent("two")],
    });
    await pair.client.client(Hub).keep({});
    await second.client(Hub).keep({});
    const [one, two] = kept;
    assert.equal((await one!.proxy("Agent").ask({ text: "a" })).text, "one heard a of Agent");
    assert.equal((await two!.client(Agent).ask({ text: "b" })).text, "two heard b of Agent");
    assert.notEqual(one!.peer, two!.peer);
    await second.close();
    for (;;) {
      const error = await caught(two!.client(Agent).ask({ text: "gone" }));
      if (error instanceof Unavailable) break;
    }
    assert.equal((await one!.client(Agent).ask({ text: "still" })).text, "one heard still of Agent");
  });

  test("C1 a caller that offers nothing says so", async () => {
    await using pair = await testPair([hub([])]);
    const error = await failure(pair.client.client(Hub).hello({ text: "x" }), "UNIMPLEMENTED");
    assert.match(error.message, /Agent/);
  });

  test("C6 the failure of a caller's handler comes through as any other", async () => {
    const broken = Agent.implement({
      ask: () => {
        throw new TypeError("agent trouble");
      },
      async *count() {},
    });
    await using pair = await testPair([hub([])], { client: { services: [broken], exposeErrors: true } });
    assert.match((await failure(pair.client.client(Hub).hello({}), "INTERNAL")).message, /agent trouble/);
  });

  test("S1 services that cannot be served are refused when the client connects", async () => {
    assert.throws(() => new AsterClient({ address: "x", services: 5 as never }), UsageError);
    const client = new AsterClient({ address: "aster1", services: [Agent] });
    await assert.rejects(client.connect(), /services has a definition without handlers/);
  });
});
