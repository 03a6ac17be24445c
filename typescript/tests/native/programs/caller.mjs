// A client in a process of its own: caller.mjs ADDRESS HOW. It leaves calls open and ends in the way that it is told.

import { contractOf, decode, encode, LOCAL, port, TEST } from "../support.mjs";

const [address, how] = process.argv.slice(2);
const client = await port().connect([address], LOCAL);
const contract = contractOf(TEST);
const unary = (name, request) => client.unary(client.method(contract, name, "msgpack"), encode(request), decode, null);

if (how === "done") {
  // Nothing is pending and the client is open: the process ends by itself.
  process.stdout.write(`${await unary("add", { a: 1, b: 2 })}\n`);
} else if (how === "wait") {
  const keeps = unary("add", { a: 1, b: 2 });
  process.stdout.write(`${await keeps}\n`);
  await client.close();
} else {
  unary("slow", 1);
  const stream = client.stream(client.method(contract, "echo", "msgpack"), null);
  stream.wait();
  stream.send(encode(1));
  process.stdin.once("data", () => {
    process.stdout.write(`ending ${Date.now()}\n`);
    if (how === "exit") process.exit(0);
    throw new Error("as the test wants");
  });
}
