/** Memory that does not grow with what passes through: backpressure in every direction. */

import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { Blob, Calls, Gate, Num, Text } from "./services.js";
import { type Both, both, until } from "./support.js";

let b: Both;
before(async () => {
  b = await both();
});
after(() => b.close());
beforeEach(() => {
  b.calls.gate = new Gate();
});

const typed = () => b.client.client(Calls);
const KIB_64 = 64 * 1024;

/** Waits until nothing more is produced for some turns of the event loop. */
async function standstill(count: () => number): Promise<number> {
  let last = -1;
  for (let quiet = 0; quiet < 20; ) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    if (count() === last) quiet++;
    else {
      quiet = 0;
      last = count();
    }
  }
  return last;
}

describe("backpressure", () => {
  test("C4 the producer of a server stream is held back", { timeout: 60_000 }, async () => {
    const stream = typed().endless.stream(new Blob({ data: new Uint8Array(KIB_64) }));
    await stream.next();
    const before = process.memoryUsage().rss;
    const rss = await standstill(() => Math.round((process.memoryUsage().rss - before) / 2 ** 24));
    assert.ok(rss <= 4, `the process has grown by ${rss * 16} MiB while nobody reads`);
    for (let taken = 0; taken < 1_000; taken++) await stream.next();
    stream.cancel();
    await b.calls.gate.finished.promise;
  });

  test("C4 the caller of a client stream is held back", { timeout: 60_000 }, async () => {
    let sent = 0;
    const source = async function* () {
      const blob = new Blob({ data: new Uint8Array(KIB_64) });
      for (; sent < 1_024; sent++) yield blob;
    };
    const answer = typed().absorb(source());
    await b.calls.gate.started.promise;
    const stopped = await standstill(() => sent);
    assert.ok(stopped < 512, `${stopped} of 1,024 messages were sent to a handler that does not read`);
    b.calls.gate.release.happen();
    assert.equal((await answer).n, 1_024 * KIB_64);
  });

  test("C4 the caller of a channel is held back", { timeout: 60_000 }, async () => {
    const channel = typed().chat.bidi();
    await channel.open();
    let sent = 0;
    const message = new Text({ text: "x".repeat(KIB_64) });
    const sending = (async () => {
      for (; sent < 1_024; sent++) await channel.send(message);
    })();
    const stopped = await standstill(() => sent);
    assert.ok(stopped < 512, `${stopped} of 1,024 messages were sent though no answer is read`);
    for (let read = 0; read < 1_024; read++) assert.equal((await channel.next()).value?.text.length, KIB_64);
    await sending;
    await channel.close();
  });

  test("G6 a million items in a client stream", { timeout: 120_000 }, async () => {
    const items = 1_000_000;
    let peak = 0;
    const before = process.memoryUsage().rss;
    const source = function* () {
      const item = new Num({ n: 1 });
      for (let n = 0; n < items; n++) {
        if (n % 50_000 === 0) peak = Math.max(peak, process.memoryUsage().rss - before);
        yield item;
      }
    };
    assert.equal((await typed().total(source())).n, items);
    assert.ok(peak < 300 * 2 ** 20, `with garbage, both sides grew by ${Math.round(peak / 2 ** 20)} MiB`);
    await until(() => true);
  });
});
