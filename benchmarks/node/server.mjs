// The Node server of the benchmark, in the form the runner expects.

import { createRequire } from "node:module";
import { join } from "node:path";
import { AsterServer } from "@aster-rpc/aster";
import { Bench } from "./service.mjs";

const require = createRequire(import.meta.url);
const { flags, announce, exitWithParent } = require(join(process.env.BENCH_HARNESS, "node/benchlib.js"));
const { data } = flags();

const bench = Bench.implement({
  async getStatus({ agent_id }) {
    return { agent_id, status: data.status, uptime_secs: data.uptime_secs };
  },
  async ingestMetrics(points) {
    let accepted = 0;
    let total = 0;
    for await (const point of points) {
      accepted += 1;
      total += point.value;
    }
    return { accepted, total };
  },
  async *tailLogs({ count }) {
    const pool = data.logMessages;
    for (let i = 0; i < count; i++) {
      yield {
        timestamp: data.timestamp0 + i,
        level: data.log_level,
        message: pool[i % pool.length],
        agent_id: data.agent_id,
      };
    }
  },
  async *chat(messages) {
    for await (const { seq, text } of messages) yield { seq, text };
  },
  async echo(blob) {
    return { data: blob.data };
  },
});

exitWithParent();
const server = new AsterServer({ services: [bench], preset: "local" });
await server.start();
announce(server.address);
await server.serve();
