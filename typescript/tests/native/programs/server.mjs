// A server in a process of its own: prints its address, then what happens, one line each.

import { encode, messages, serve } from "../support.mjs";

const say = (text) => process.stdout.write(`${text}\n`);

const { server } = await serve({
  add: (call, { a, b }) => call.reply(encode(a + b)),
  slow: (call) =>
    new Promise((resolve) => {
      say(`entered ${call.id}`);
      call.onCancel(() => {
        say(`cancelled ${Date.now()}`);
        resolve();
      });
    }),
  async echo(call) {
    for await (const message of messages(call)) await call.send(encode(message));
    call.finish();
  },
  // Ends this process in the way that it is told.
  any(call, how) {
    call.reply(encode(null));
    setImmediate(() => {
      say(`ending ${Date.now()}`);
      if (how === "exit") process.exit(3);
      if (how === "throw") throw new Error("as the test wants");
      if (how === "close") server.close();
    });
  },
});
say(server.address);
