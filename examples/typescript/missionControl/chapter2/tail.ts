// tail.ts — tails the logs of a control plane, as `./tailLogs agent_id=… level=…` does in the shell.
// Usage: bun run tail.ts <aster1...address> [agent_id=edge-node-7] [level=warn]
//
// Prints one line per entry, `#0 {...}`, until Ctrl-C; the handler on the server ends with it.
import { AsterClientWrapper } from '@aster-rpc/aster';

async function main() {
  const [address, ...words] = process.argv.slice(2);
  const fields = words.map(word => word.split("=", 2));
  if (!address || fields.some(([name, value]) => !name || value === undefined)) {
    console.error("Usage: bun run tail.ts <aster1...address> [agent_id=...] [level=...]");
    process.exit(1);
  }
  const stopped = new AbortController();
  process.once("SIGINT", () => stopped.abort());

  await using client = new AsterClientWrapper({ address });
  const mc = client.proxy("MissionControl");
  let number = 0;
  try {
    for await (const entry of mc.tailLogs.stream(Object.fromEntries(fields), { signal: stopped.signal })) {
      console.log(`#${number++} ${JSON.stringify(entry)}`);
    }
  } catch (error) {
    if (!stopped.signal.aborted) throw error;
    process.exitCode = 130;
  }
}

main();
