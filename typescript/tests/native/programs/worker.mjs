// A server in a worker: posts its address; told to, it calls another server, or ends.

import { parentPort } from "node:worker_threads";
import { contractOf, decode, encode, LOCAL, port, serve, TEST } from "../support.mjs";

const { server } = await serve({
  add: (call, { a, b }) => call.reply(encode(a + b)),
  slow: () => new Promise(() => parentPort.postMessage({ entered: true })),
});
parentPort.postMessage({ address: server.address });
parentPort.on("message", async ({ call, end }) => {
  if (end) {
    await server.close();
    parentPort.close();
    return;
  }
  const client = await port().connect([call], LOCAL);
  const method = client.method(contractOf(TEST), "add", "msgpack");
  const answers = await Promise.all(
    Array.from({ length: 100 }, (_, i) => client.unary(method, encode({ a: i, b: 1 }), decode, null)),
  );
  parentPort.postMessage({ answers });
});
