#!/usr/bin/env node
/** `npx aster-gen`. */

import { main } from "./cli.js";

for (const stream of [process.stdout, process.stderr]) {
  // Whoever reads may stop, as `head` does; the file is written all the same.
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
}

process.exitCode = await main(process.argv.slice(2), process.cwd(), {
  out: (text) => process.stdout.write(text),
  error: (text) => process.stderr.write(text),
});
