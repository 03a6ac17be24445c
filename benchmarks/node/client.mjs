// The Node client of the benchmark: a typed client of `Bench`.

import { createRequire } from "node:module";
import { join } from "node:path";
import { AsterClient } from "@aster-rpc/aster";
import { Bench } from "./service.mjs";

const require = createRequire(import.meta.url);
const { runClient } = require(join(process.env.BENCH_HARNESS, "node/benchlib.js"));

class Chat {
  #channel;
  #replies;
  constructor(channel) {
    this.#channel = channel;
    this.#replies = channel[Symbol.asyncIterator]();
  }
  async trip(seq, text) {
    await this.#channel.send({ seq, text });
    return (await this.#replies.next()).value;
  }
  async close() {
    await this.#channel.close();
  }
}

class Connection {
  #client;
  #bench;
  #data;
  constructor(client, data) {
    this.#client = client;
    this.#bench = client.client(Bench);
    this.#data = data;
  }
  status(agentId) {
    return this.#bench.getStatus({ agent_id: agentId });
  }
  metric(i) {
    const d = this.#data;
    return { name: d.metric_name, value: i * d.metric_value_step, timestamp: d.timestamp0 + i, tags: d.tags };
  }
  async ingest(points) {
    return (await this.#bench.ingestMetrics(points)).accepted;
  }
  async tail(count, onEntry) {
    for await (const entry of this.#bench.tailLogs.stream({ count })) if (!onEntry(entry)) return;
  }
  async chat() {
    const channel = this.#bench.chat.bidi();
    await channel.open();
    return new Chat(channel);
  }
  async echo(payload) {
    const { data } = await this.#bench.echo({ data: payload });
    // What is compared is a Buffer, and this makes one without a copy.
    return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  }
  close() {
    return this.#client.close();
  }
}

runClient((args) => async () => {
  // A client of its own for every connection: nothing is shared with those before it.
  const client = new AsterClient({ address: args.address, preset: "local" });
  await client.connect();
  return new Connection(client, args.data);
});
