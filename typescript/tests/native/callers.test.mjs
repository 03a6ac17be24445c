import assert from "node:assert/strict";
import { test } from "node:test";
import { CODE, contractOf, decode, deferred, encode, LOCAL, port, SESSION, serve, TEST } from "./support.mjs";

test("a client offers services to the server that it dials, and handlers call them back", async () => {
  let kept;
  const { server, address } = await serve({
    async any(call, n) {
      kept = call.caller();
      assert.equal(kept.peer, call.peer);
      const method = kept.method(contractOf(TEST), "add", "msgpack");
      call.reply(encode(await kept.unary(method, encode({ a: n, b: 1 }), decode, null)));
      assert.throws(() => call.caller(), /ended before/);
    },
  });
  const ended = deferred();
  let client;
  const offered = {
    services: [
      { contract: contractOf(TEST), exposeErrors: true },
      { contract: contractOf(SESSION), exposeErrors: true },
    ],
    handlers: {
      onCalls(calls) {
        for (const call of calls) {
          if (call.serviceIndex === 1) {
            call.reply(encode("noted"));
          } else {
            const { a, b } = decode(call.request);
            call.reply(encode(a + b));
          }
        }
      },
      onSessionClose(key, serviceIndex, reason) {
        client.sessionClosed(key);
        ended.resolve([serviceIndex, reason]);
      },
    },
  };
  client = await port().connect([address], LOCAL, offered);
  const any = client.method(contractOf(TEST), "any", "msgpack");
  assert.deepEqual(await Promise.all([1, 2, 3].map((n) => client.unary(any, encode(n), decode, null))), [2, 3, 4]);
  // A caller may be kept, and has sessions too.
  const session = kept.openSession("Diary", false);
  const note = kept.method(contractOf(SESSION), "note", "msgpack");
  assert.equal(await kept.unary(note, encode("x"), decode, { session }), "noted");
  await session.close();
  assert.deepEqual(await ended.promise, [1, "closed"]);

  const plain = await port().connect([address], LOCAL);
  const refused = await plain.unary(any, encode(1), decode, null).then(assert.fail, (error) => error);
  assert.equal(refused.code, CODE.INTERNAL);
  assert.match(refused.message, /offers no service|does not offer|no service/);
  await plain.close();
  await client.close();
  await server.close();
});
