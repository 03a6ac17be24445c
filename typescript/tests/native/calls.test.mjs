import assert from "node:assert/strict";
import { test } from "node:test";
import { CODE, decode, deferred, encode, messages, pair, until } from "./support.mjs";

const add = (call, { a, b }) => call.reply(encode(a + b));

test("C1 a unary call goes to a server of JavaScript and back", async () => {
  const { unary } = await pair({ add });
  assert.equal(await unary("add", { a: 1, b: 2 }), 3);
});
