/** The guide's TypeScript programs under Node and Bun, against each other and against Python, in separate processes. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { addressOf, generate, inPython, inTypeScript, runtimes } from "./programs.js";

const NODE = "node with the register hook";
before(generate);

test("G1 the programs type-check as printed", () => {
  const root = fileURLToPath(new URL("../", import.meta.url));
  const done = spawnSync(`${root}node_modules/.bin/tsc`, ["-p", "tsconfig.json"], { cwd: root, encoding: "utf8" });
  assert.equal(done.status, 0, done.stdout);
});

for (const runtime of Object.keys(runtimes)) {
  describe(runtime, () => {
    for (const chapter of [1, 2, 3, 4]) {
      test(`G1 chapter ${chapter} answers, and Ctrl-C ends it cleanly`, async () => {
        await using server = inTypeScript(runtime, `chapter${chapter}/control.ts`);
        const address = await addressOf(server);
        const { AsterClient } = await import("@aster-rpc/aster");
        await using client = new AsterClient({ address });
        assert.deepEqual(await client.proxy("MissionControl").getStatus({ agent_id: "edge-node-7" }), {
          agent_id: "edge-node-7",
          status: "running",
          uptime_secs: 3600,
        });
        const began = performance.now();
        server.interrupt();
        assert.equal(await server.exitCode(), 0);
        assert.ok(performance.now() - began < 3_000, "at once, as a person would call it");
        assert.equal(server.errors, "");
        assert.deepEqual(await server.rest(), []);
      });
    }

    test("G1 chapter 2 in three terminals", async () => {
      await using server = inTypeScript(runtime, "chapter2/control.ts");
      const address = await addressOf(server);
      await using tail = inTypeScript(runtime, "chapter2/tail.ts", address, "agent_id=edge-node-7", "level=warn");
      await using logs = inTypeScript(runtime, "chapter2/logs.ts", address);
      const entries = (await tail.take(2)).map((line) => JSON.parse(line.slice(line.indexOf(" "))));
      assert.deepEqual(
        entries.map((each) => [each.level, each.message, each.agent_id]),
        [
          ["warn", "health check failed", "edge-node-7"],
          ["error", "cpu spike detected", "edge-node-7"],
        ],
      );
      assert.deepEqual(await logs.take(3), ["submitted log #1", "submitted log #2", "submitted log #3"]);
      tail.interrupt();
      assert.equal(await tail.exitCode(), 130);
      assert.equal(tail.errors, "");
      assert.equal(await logs.line(), "submitted log #4", "Ctrl-C on one consumer is nothing to the others");
    });

    test("G1 chapter 3: ten thousand metrics", async () => {
      await using server = inTypeScript(runtime, "chapter3/control.ts");
      await using metrics = inTypeScript(runtime, "chapter3/metrics.ts", await addressOf(server));
      assert.deepEqual(await metrics.rest(), ["Accepted: 10000"]);
      assert.equal(await metrics.exitCode(), 0);
      assert.equal(metrics.errors, "");
    });

    test("G1 chapter 4: one session registers and runs commands", async () => {
      await using server = inTypeScript(runtime, "chapter4/control.ts");
      const commands = ["printf one; printf two >&2; exit 3", "true"];
      await using agent = inTypeScript(runtime, "chapter4/agent.ts", await addressOf(server), ...commands);
      const answers = (await agent.rest()).map((line) => JSON.parse(line.replace("← ", "")));
      assert.equal(await agent.exitCode(), 0, agent.errors);
      assert.deepEqual(answers, [
        { task_id: "train-42", command: "python train.py" },
        { stdout: "one", stderr: "two", exit_code: 3 },
        { stdout: "", stderr: "", exit_code: 0 },
      ]);
    });

    test("G1 chapter 6: a TypeScript agent of the Python control plane, which chapters 2 to 4 serve too", async () => {
      await using server = inPython("chapter4/control.py");
      const address = await addressOf(server);
      await using agent = inTypeScript(runtime, "chapter6/ts-agent.ts", address);
      assert.deepEqual(await agent.rest(), ["Status: ts-worker-1 is running", "Accepted: 1000"]);
      assert.equal(await agent.exitCode(), 0);
      await using commands = inTypeScript(runtime, "chapter4/agent.ts", address, "echo from python");
      assert.match((await commands.rest())[1]!, /"stdout":"from python\\n"/);
      await using tail = inTypeScript(runtime, "chapter2/tail.ts", address, "level=error");
      await using logs = inTypeScript(runtime, "chapter2/logs.ts", address);
      assert.match(await tail.line(), /^#0 .*cpu spike detected/);
      assert.equal(await logs.line(), "submitted log #1");
    });

    test("G1 chapter 6: a Python agent of the TypeScript control plane, which chapters 2 to 4 serve too", async () => {
      await using server = inTypeScript(runtime, "chapter4/control.ts");
      const address = await addressOf(server);
      await using agent = inPython("chapter6/py-agent.py", address);
      assert.deepEqual(await agent.rest(), ["Status: py-worker-1 is running", "Accepted: 1000"]);
      assert.equal(await agent.exitCode(), 0);
      await using metrics = inPython("chapter3/metrics.py", address);
      assert.deepEqual(await metrics.rest(), ["Accepted: 10000"]);
      await using commands = inPython("chapter4/agent.py", address, "echo from typescript");
      assert.match((await commands.rest())[1]!, /"stdout": "from typescript\\n"/);
      await using tail = inPython("chapter2/tail.py", address, "level=error");
      await using logs = inPython("chapter2/logs.py", address);
      assert.match(await tail.line(), /^#0 .*cpu spike detected/);
      assert.equal(await logs.line(), "submitted log #1");
    });
  });
}

test("G5 Ctrl-C on a tail ends its handler: only what the guide's own promise had taken is lost", async () => {
  await using server = inTypeScript(NODE, "chapter2/control.ts");
  const address = await addressOf(server);
  const { AsterClient } = await import("@aster-rpc/aster");
  await using client = new AsterClient({ address });
  const mc = client.proxy("MissionControl");
  for (let turn = 0; turn < 3; turn++) {
    await using tail = inTypeScript(NODE, "chapter2/tail.ts", address, "level=debug");
    // An entry may go to the promise of a tail that has left; the ones after it do not.
    let line: string | undefined;
    const printed = tail.line().then((found) => {
      line = found;
    });
    for (let n = 0; line === undefined; n++) {
      await mc.submitLog({ message: `entry ${turn}.${n}`, level: "info" });
      await Promise.race([printed, new Promise((resolve) => setTimeout(resolve, 100))]);
    }
    assert.match(line!, new RegExp(`entry ${turn}\\.`));
    tail.interrupt();
    assert.equal(await tail.exitCode(), 130);
  }
});

for (const script of ["chapter2/logs.ts", "chapter2/tail.ts", "chapter3/metrics.ts", "chapter4/agent.ts", "chapter6/ts-agent.ts"]) {
  test(`G1 ${script} without an address shows its usage`, async () => {
    await using program = inTypeScript(NODE, script);
    assert.equal(await program.exitCode(), 1);
    assert.match(program.errors, /Usage: bun run [\w-]+\.ts <aster1\.\.\.address>/);
  });
}

test("G1 a mistyped address says so", async () => {
  await using server = inTypeScript(NODE, "chapter1/control.ts");
  const address = await addressOf(server);
  const wrong = address.slice(0, -1) + (address.endsWith("2") ? "3" : "2");
  await using metrics = inTypeScript(NODE, "chapter3/metrics.ts", wrong);
  assert.equal(await metrics.exitCode(), 1);
  assert.match(metrics.errors, /checksum|mistyped|typo/);
});
