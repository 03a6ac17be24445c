#!/usr/bin/env node
/** `npx aster-gen`. */

import { main } from "./cli.js";

process.exitCode = await main(process.argv.slice(2), process.cwd(), {
  out: (text) => process.stdout.write(text),
  error: (text) => process.stderr.write(text),
});
