import assert from "node:assert/strict";
import { test } from "node:test";
import { CODE, encode, pair, SESSION, until } from "./support.mjs";

test("X1 X3 calls of a session run in the order issued, and its end is told once", async () => {
  const notes = new Map();
  const { client, unary, seen } = await pair(
    {
      async note(call, text) {
        const diary = notes.get(call.sessionKey) ?? [];
        notes.set(call.sessionKey, diary);
        diary.push(text);
        await new Promise((resolve) => setImmediate(resolve));
        call.reply(encode([call.sessionId, diary.length]));
      },
    },
    { description: SESSION },
  );
  const first = client.openSession("Diary", false);
  const second = client.openSession("Diary", false);
  assert.equal(first.id, 0);
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, i) => unary("note", `${i}`, { session: i % 2 ? second : first })),
  );
  assert.ok(first.id > 0 && second.id > 0 && first.id !== second.id);
  assert.deepEqual(answers[49], [second.id, 25]);
  const diaries = [...notes.values()];
  assert.equal(diaries.length, 2);
  for (const diary of diaries)
    assert.deepEqual(
      diary,
      [...diary].sort((a, b) => a - b),
    );
  assert.ok([...notes.keys()].every((key) => key > 0));

  // What has been issued before the close is answered, although it may be under way still.
  const last = unary("note", "last", { session: first });
  const closed = first.close();
  assert.equal(closed, first.close());
  await closed;
  assert.equal((await last)[1], 26);
  await until(() => seen.sessions.length === 1, "the end of the session");
  assert.equal(seen.sessions[0].reason, "closed");
  await assert.rejects(unary("note", "late", { session: first }), { code: CODE.FAILED_PRECONDITION });

  await client.close();
  await until(() => seen.sessions.length === 2, "the end of the other session");
  assert.deepEqual(new Set(seen.sessions.map((session) => session.key)), new Set(notes.keys()));
  assert.equal(second.id, 0);
  await second.close();
});

test("a session is of its client, and sessions closed with the server are told of it", async () => {
  const handlers = { note: (call) => call.reply(encode(null)) };
  const one = await pair(handlers, { description: SESSION });
  const other = await pair(handlers, { description: SESSION });
  const session = one.client.openSession("Diary", false);
  await assert.rejects(other.unary("note", "x", { session }), { name: "TypeError", message: /another client/ });
  await one.unary("note", "x", { session });
  await one.server.close();
  await until(() => one.seen.sessions.length === 1);
  assert.ok(["shutdown", "disconnected"].includes(one.seen.sessions[0].reason));
});
