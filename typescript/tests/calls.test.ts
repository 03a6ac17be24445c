/** Calls of all four kinds over real endpoints: options, deadlines, cancellation, errors. */

import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import {
  AsterError,
  type CallInfo,
  Cancelled,
  DeadlineExceeded,
  InvalidArgument,
  NotFound,
  ResourceExhausted,
  RpcError,
  StatusCode,
  UsageError,
} from "@aster-rpc/aster";
import { Blob, Calls, Gate, Num, Text } from "./services.js";
import { all, type Both, both, caught, failure, logged, until } from "./support.js";

let b: Both;
before(async () => {
  b = await both();
});
after(() => b.close());
beforeEach(() => {
  b.calls.gate = new Gate();
});

const typed = () => b.client.client(Calls);
const dynamic = () => b.client.proxy("Calls");

describe("the four kinds", () => {
  test("C1 unary, typed and dynamic", async () => {
    const answer = await typed().echo(new Text({ text: "hello" }));
    assert.ok(answer instanceof Text);
    assert.equal(answer.text, "hello");
    assert.deepEqual(await dynamic().echo({ text: "hello" }), { text: "hello" });
    assert.equal((await typed().plain(new Text({ text: "x" }))).text, "plain x");
    assert.deepEqual(await dynamic().echo(), { text: "" }, "no request is one of defaults");
  });

  test("C1 unary of every size up to large", async () => {
    for (const size of [0, 1, 31, 32, 255, 256, 8_000, 9_000, 70_000, 3_000_000]) {
      const data = new Uint8Array(size).fill(size % 251);
      const answer = await typed().blob(new Blob({ data }));
      assert.ok(Buffer.from(data).equals(answer.data), `${size} bytes`);
    }
  });

  test("C1 what is decoded is a copy, which later calls leave alone", async () => {
    const first = await typed().blob(new Blob({ data: new Uint8Array([1, 2, 3]) }));
    await Promise.all(Array.from({ length: 50 }, () => typed().blob(new Blob({ data: new Uint8Array(64).fill(9) }))));
    assert.deepEqual(first.data, new Uint8Array([1, 2, 3]));
  });

  test("C1 server stream", async () => {
    assert.deepEqual(
      (await all(typed().count.stream(new Num({ n: 3 })))).map((each) => each.n),
      [0, 1, 2],
    );
    assert.deepEqual(await all(dynamic().count.stream({ n: 2 })), [{ n: 0 }, { n: 1 }]);
    assert.deepEqual(await all(dynamic().count.stream({ n: 0 })), []);
    const batches = typed().count.stream(new Num({ n: 1000 }));
    let taken = 0;
    for (let batch = await batches.nextBatch(); batch !== null; batch = await batches.nextBatch())
      taken += batch.length;
    assert.equal(taken, 1000);
  });

  test("C1 several calls of next at once get one message each, in order", async () => {
    const stream = typed().count.stream(new Num({ n: 4 }));
    const taken = await Promise.all([stream.next(), stream.next(), stream.next(), stream.next(), stream.next()]);
    assert.deepEqual(
      taken.map((each) => each.value?.n),
      [0, 1, 2, 3, undefined],
    );
  });

  test("C1 client stream from async and plain iterables", async () => {
    const numbers = [1, 2, 3].map((n) => new Num({ n }));
    assert.equal((await typed().total(numbers)).n, 6);
    const source = async function* () {
      yield* numbers;
    };
    assert.equal((await typed().total(source())).n, 6);
    assert.deepEqual(await dynamic().total([{ n: 4 }, { n: 5 }]), { n: 9 });
    assert.deepEqual(await dynamic().total([]), { n: 0 });
  });

  test("C1 bidirectional ping-pong and half-close", async () => {
    const channel = dynamic().chat.bidi();
    await channel.open();
    for (const text of ["a", "b"]) {
      await channel.send({ text });
      assert.deepEqual(await channel.next(), { value: { text: text.toUpperCase() }, done: false });
    }
    await channel.halfClose();
    assert.deepEqual(await channel.next(), { value: undefined, done: true });
    await channel.close();
    await channel.close();
    await assert.rejects(channel.send({ text: "late" }), UsageError);
  });

  test("C1 leaving a loop over a channel keeps it open", async () => {
    const channel = typed().chat.bidi();
    await channel.open();
    await channel.send(new Text({ text: "one" }));
    for await (const each of channel) {
      assert.equal(each.text, "ONE");
      break;
    }
    await channel.send(new Text({ text: "two" }));
    assert.equal((await channel.next()).value?.text, "TWO");
    await channel.close();
    assert.ok(b.calls.gate.finished.happened, "close waits for the handler");
  });

  test("C1 bidirectional where the handler speaks first", async () => {
    await using channel = typed().greet.bidi();
    await channel.open();
    assert.equal((await channel.next()).value?.text, "hello");
    await channel.send(new Text({ text: "back" }));
    assert.equal((await channel.next()).value?.text, "back");
  });
});

describe("options", () => {
  test("C1 metadata in every direction", async () => {
    const info: CallInfo = { metadata: {}, trailingMetadata: {} };
    const about = await typed().about(new Text(), { metadata: { asked: "yes", "raw-bin": new Uint8Array([1]) }, info });
    assert.equal(about.metadata.asked, "yes");
    assert.deepEqual(about.metadata["raw-bin"], new Uint8Array([1]));
    assert.equal(about.method, "Calls.about");
    assert.equal(about.same, true);
    assert.equal(about.session, null);
    assert.equal(info.metadata.initial, "1");
    assert.deepEqual(new Uint8Array(info.metadata["blob-bin"] as Uint8Array), new Uint8Array([0]));
    assert.equal(info.trailingMetadata.trailing, "2");
  });

  test("C1 options are last, or are given to withOptions", async () => {
    const preset = dynamic().withOptions({ metadata: { one: "1" }, timeoutMs: 60_000 });
    const more = preset.withOptions({ metadata: { more: "yes" } });
    const about = await more.about({}, { metadata: { two: "2" } });
    assert.deepEqual(about.metadata, { one: "1", more: "yes", two: "2" });
    assert.ok(about.timeLeft > 0 && about.timeLeft <= 60_000);
    const method = await typed().about.withOptions({ metadata: { three: "3" } })(new Text());
    assert.deepEqual(method.metadata, { three: "3" });
  });

  test("C1 options that there are not are refused by name", async () => {
    await assert.rejects(
      dynamic().echo({}, { timeout: 1 }),
      /"timeout" is not an option of a call; there are signal, timeoutMs/,
    );
    await assert.rejects(
      dynamic().echo({}, { timeoutMs: -1 }),
      /timeoutMs is a number of milliseconds from 0, and got -1/,
    );
    await assert.rejects(dynamic().echo({}, { signal: {} }), /signal is an AbortSignal/);
    await assert.rejects(dynamic().echo({}, {}, {}), /takes one request and the options of the call, and got 3 values/);
  });

  test("C1 compression per call", async () => {
    const text = "compressible ".repeat(20_000);
    assert.equal((await typed().echo(new Text({ text }), { compress: true })).text, text);
    assert.equal((await typed().echo(new Text({ text }), { compress: false })).text, text);
  });
});

describe("deadlines", () => {
  test("C2 a deadline below a second", async () => {
    const began = performance.now();
    const error = await failure(typed().hang(new Text(), { timeoutMs: 80 }), "DEADLINE_EXCEEDED");
    assert.ok(error instanceof DeadlineExceeded);
    assert.ok(performance.now() - began < 2_000);
    await b.calls.gate.cancelled.promise;
  });

  test("C2 it is enforced though the handler ignores it", async () => {
    await failure(typed().stubborn(new Text(), { timeoutMs: 80 }), "DEADLINE_EXCEEDED");
    b.calls.gate.release.happen();
    await b.calls.gate.finished.promise;
  });

  test("C2 the method's own limit binds callers who allow more", async () => {
    await failure(typed().limited(new Text()), "DEADLINE_EXCEEDED");
    await failure(dynamic().limited({}, { timeoutMs: 60_000 }), "DEADLINE_EXCEEDED");
    await b.calls.gate.cancelled.promise;
  });

  test("C2 an expired deadline does not run the handler", async () => {
    await failure(typed().hang(new Text(), { timeoutMs: 0 }), "DEADLINE_EXCEEDED");
    await typed().echo(new Text());
    assert.equal(b.calls.gate.started.happened, false);
  });

  test("C2 the deadline of a stream", async () => {
    const stream = typed().tail.stream(new Text(), { timeoutMs: 150 });
    assert.equal((await stream.next()).value?.text, "first");
    await failure(stream.next(), "DEADLINE_EXCEEDED");
    await b.calls.gate.finished.promise;
  });
});

describe("cancellation", () => {
  test("C3 aborting the caller's signal aborts the handler's", async () => {
    const controller = new AbortController();
    const call = typed().hang(new Text(), { signal: controller.signal });
    await b.calls.gate.started.promise;
    const began = performance.now();
    controller.abort(new Error("no longer wanted"));
    const error = await failure(call, "CANCELLED");
    assert.ok(error instanceof Cancelled);
    assert.equal((error.cause as Error).message, "no longer wanted");
    await b.calls.gate.cancelled.promise;
    assert.ok(performance.now() - began < 1_000);
    await until(() => b.calls.running === 0);
  });

  test("C3 a signal that has aborted sends nothing", async () => {
    await failure(typed().hang(new Text(), { signal: AbortSignal.abort() }), "CANCELLED");
    await typed().echo(new Text());
    assert.equal(b.calls.gate.started.happened, false);
  });

  test("C3 a cancelled call that nobody awaits is no unhandled rejection", async () => {
    const controller = new AbortController();
    typed().hang(new Text(), { signal: controller.signal });
    await b.calls.gate.started.promise;
    controller.abort();
    await b.calls.gate.cancelled.promise;
    await typed().echo(new Text());
  });

  const endings: Record<string, () => Promise<void>> = {
    break: async () => {
      for await (const _ of typed().tail.stream(new Text())) break;
    },
    return: async () => {
      const stream = dynamic().tail.stream({});
      await stream.next();
      await stream.return();
    },
    "await using": async () => {
      await using stream = typed().tail.stream(new Text());
      await stream.next();
    },
    "an error in the loop": async () => {
      await assert.rejects(async () => {
        for await (const _ of typed().tail.stream(new Text())) throw new Error("enough");
      }, /enough/);
    },
    "cancel()": async () => {
      const stream = typed().tail.stream(new Text());
      await stream.next();
      stream.cancel();
      stream.cancel();
      assert.deepEqual(await stream.next(), { value: undefined, done: true });
    },
    "its signal": async () => {
      const controller = new AbortController();
      const stream = typed().tail.stream(new Text(), { signal: controller.signal });
      await stream.next();
      controller.abort("seen enough");
      assert.equal((await failure(stream.next(), "CANCELLED")).cause, "seen enough");
    },
  };
  for (const [how, end] of Object.entries(endings)) {
    test(`C3 a stream ended by ${how} cancels the handler, whose iterator is closed`, async () => {
      await end();
      await b.calls.gate.cancelled.promise;
      await b.calls.gate.finished.promise;
    });
  }

  test("C3 a generator that never looks at its signal is ended by return()", async () => {
    for await (const _ of typed().endless.stream(new Blob({ data: new Uint8Array(100) }))) break;
    await b.calls.gate.finished.promise;
  });

  test("C3 what a handler yields after its caller left is dropped, and it ends", async () => {
    for await (const _ of typed().afterwards.stream(new Text())) break;
    await b.calls.gate.started.promise;
    await typed().echo(new Text()); // the cancellation was sent before this call
    b.calls.gate.release.happen();
    await b.calls.gate.finished.promise;
    assert.equal(b.calls.running, 0, "nothing after the yield runs");
  });

  test("C3 a handler that rejects late is logged, and nothing else suffers", async () => {
    const controller = new AbortController();
    const call = typed().late(new Text(), { signal: controller.signal });
    await b.calls.gate.started.promise;
    controller.abort();
    await failure(call, "CANCELLED");
    await typed().echo(new Text());
    b.calls.gate.release.happen();
    await until(() => logged.some((text) => text.includes("Calls.late failed after its call was cancelled")));
    assert.equal((await typed().echo(new Text({ text: "still" }))).text, "still");
  });

  test("C3 cancelling a client stream ends the handler's iteration and closes the source", async () => {
    const controller = new AbortController();
    let closed = false;
    const source = async function* () {
      try {
        for (;;) yield new Blob({ data: new Uint8Array(10) });
      } finally {
        closed = true;
      }
    };
    const call = typed().absorb(source(), { signal: controller.signal });
    await b.calls.gate.started.promise;
    controller.abort();
    await failure(call, "CANCELLED");
    b.calls.gate.release.happen();
    await b.calls.gate.cancelled.promise;
    await until(() => closed);
  });

  test("C3 cancelling a channel cancels the handler", async () => {
    const channel = typed().chat.bidi();
    await channel.open();
    await channel.send(new Text({ text: "x" }));
    await channel.next();
    channel.cancel();
    await b.calls.gate.finished.promise;
  });

  test("C3 ten thousand cancelled calls leave nothing behind", { timeout: 120_000 }, async () => {
    const before = b.calls.finished;
    let started = 0;
    for (let round = 0; round < 20; round++) {
      const controller = new AbortController();
      const calls = Array.from({ length: 500 }, () => caught(typed().hang(new Text(), { signal: controller.signal })));
      started += 500;
      await until(() => b.calls.running === 500);
      controller.abort();
      for (const error of await Promise.all(calls)) assert.ok(error instanceof Cancelled, String(error));
      await until(() => b.calls.running === 0);
    }
    assert.equal(b.calls.finished - before, started);
    assert.equal((await typed().echo(new Text({ text: "fine" }))).text, "fine");
  });
});

describe("many at once", () => {
  test("C5 a thousand calls each get their own answer", async () => {
    const answers = await Promise.all(
      Array.from({ length: 1000 }, (_, index) => typed().echo(new Text({ text: `${index}` }))),
    );
    assert.deepEqual(
      answers.map((each) => each.text),
      Array.from({ length: 1000 }, (_, index) => `${index}`),
    );
  });

  test("C5 a stalled stream does not delay others", async () => {
    const stalled = typed().endless.stream(new Blob({ data: new Uint8Array(60_000) }));
    await stalled.next();
    assert.equal((await typed().echo(new Text({ text: "quick" }), { timeoutMs: 5_000 })).text, "quick");
    assert.equal((await all(typed().count.stream(new Num({ n: 100 })))).length, 100);
    stalled.cancel();
  });
});

describe("errors", () => {
  for (const [name, code] of Object.entries(StatusCode)) {
    if (code === StatusCode.OK) continue;
    test(`C6 code, message, details and metadata survive: ${name}`, async () => {
      const error = await failure(typed().fail(new Num({ n: code })), name);
      assert.equal(error.code, code);
      assert.equal(error.rawMessage, `failed with ${code}`);
      assert.match(error.message, /Calls\.fail at /);
      assert.deepEqual(error.details, { code, list: [1, null] });
      assert.equal(error.metadata.why, "asked");
      assert.equal(error.origin, "handler");
      assert.ok(error instanceof AsterError);
    });
  }

  test("C6 a code that nobody knows is kept as a number", async () => {
    const error = await failure(typed().fail(new Num({ n: 77 })), "UNKNOWN");
    assert.equal(error.code, StatusCode.UNKNOWN);
    assert.equal(error.codeNumber, 77);
  });

  test("C6 the class of a code on every kind", async () => {
    assert.ok((await failure(typed().missing(new Text({ text: "x" })), "NOT_FOUND")) instanceof NotFound);
    const stream = typed().failLater.stream(new Num({ n: 2 }));
    assert.equal((await stream.next()).value?.n, 0);
    assert.equal((await stream.next()).value?.n, 1);
    assert.ok((await failure(stream.next(), "NOT_FOUND")) instanceof NotFound);
    assert.deepEqual(await stream.next(), { value: undefined, done: true });
    const endless = function* () {
      for (;;) yield new Num({ n: 1 });
    };
    assert.ok((await failure(typed().refuse(endless()), "RESOURCE_EXHAUSTED")) instanceof ResourceExhausted);
  });

  test("C6 an unexpected error is INTERNAL, with its text only where that is exposed", async () => {
    assert.match((await failure(typed().crash(new Text()), "INTERNAL")).rawMessage, /TypeError: secret/);
    await using hidden = await both({ server: { exposeErrors: false } });
    const error = await failure(hidden.client.client(Calls).crash(new Text()), "INTERNAL");
    assert.doesNotMatch(error.message, /secret/);
    const id = /[0-9a-f]{8,}/.exec(error.rawMessage)?.[0];
    assert.ok(id !== undefined, error.rawMessage);
    assert.ok(
      logged.some((text) => text.includes(id) && text.includes("secret")),
      "the log has the trace under the id",
    );
  });

  for (const what of ["text", "undefined", "null", "object", "symbol"]) {
    test(`C6 a handler that throws ${what} answers INTERNAL`, async () => {
      await failure(typed().throwing(new Text({ text: what })), "INTERNAL");
    });
  }

  test("C6 a handler that throws before it returns a promise answers too", async () => {
    assert.match((await failure(typed().throwingAtOnce(new Text()), "INTERNAL")).message, /before any promise/);
  });

  test("C6 an answer that does not fit is an error of the server", async () => {
    for (const method of ["wrongType", "nothing"] as const) await failure(typed()[method](new Text()), "INTERNAL");
    const stream = typed().wrongItem.stream(new Text());
    assert.equal((await stream.next()).value?.n, 1);
    await failure(stream.next(), "INTERNAL");
  });

  test("C6 an early answer ends a client stream, whose source is closed", async () => {
    let closed = false;
    const endless = async function* () {
      try {
        for (let n = 7; ; n++) yield new Num({ n });
      } finally {
        closed = true;
      }
    };
    assert.equal((await typed().first(endless())).n, 7);
    await until(() => closed);
  });

  test("C6 an early answer does not wait for a source that has nothing to give", async () => {
    const source = async function* () {
      yield new Num({ n: 3 });
      await new Promise(() => undefined);
    };
    assert.equal((await typed().first(source())).n, 3);
  });

  test("C6 the failure of a source is the caller's own", async () => {
    const source = async function* () {
      yield new Num({ n: 1 });
      throw new RangeError("the source failed");
    };
    await assert.rejects(typed().total(source()), (error) => error instanceof RangeError);
    assert.equal((await typed().total([new Num({ n: 1 })])).n, 1);
  });
});

describe("requests that are wrong", () => {
  const wrong: [string, unknown, RegExp][] = [
    ["a wrong type", { text: 5 }, /`text` at \$\.text: expected string, got int/],
    ["a field that there is not", { txt: "x" }, /`txt` at \$\.txt: unknown field of test\/Text; did you mean `text`\?/],
    ["no object", "text", /\$: expected struct test\/Text, got string/],
    ["a value that has no form", { text: () => 1 }, /`text` at \$\.text: a function cannot be sent/],
    ["half a character", { text: "\ud800" }, /`text` at \$\.text: the string has half of a surrogate pair/],
  ];
  for (const [what, request, text] of wrong) {
    test(`S3 ${what} is refused with its path before anything is sent`, async () => {
      const error = await failure(dynamic().echo(request), "INVALID_ARGUMENT");
      assert.ok(error instanceof InvalidArgument);
      assert.match(error.message, text);
      assert.equal(error.mayHaveRun, false);
      assert.equal(error.origin, "client");
    });
  }

  test("S3 so is one in a stream, and in a typed call", async () => {
    await failure(typed().total([new Num({ n: 1 }), new Num({ n: 1.5 })]), "INVALID_ARGUMENT");
    assert.throws(
      () => typed().count.stream(new Num({ n: 2 ** 60 })),
      /`n` at \$\.n: expected i64, got the number 1152/,
    );
    const channel = dynamic().chat.bidi();
    await channel.open();
    assert.match((await failure(channel.send({ text: 1 }), "INVALID_ARGUMENT")).message, /\$\.text/);
    channel.cancel();
    assert.ok((await caught(typed().echo({ text: 1 } as unknown as Text))) instanceof RpcError);
  });
});
