// logs.ts — submits one log entry per second so tailLogs has something to stream.
// Usage: bun run logs.ts <aster1...address>
import { AsterClientWrapper } from '@aster-rpc/aster';

async function main() {
  const address = process.argv[2];
  if (!address) {
    console.error("Usage: bun run logs.ts <aster1...address>");
    process.exit(1);
  }
  const client = new AsterClientWrapper({ address });
  await client.connect();
  const mc = client.proxy("MissionControl");
  const levels = ["info", "warn", "error"];
  const messages = ["disk 92% full", "health check failed", "cpu spike detected"];
  let i = 0;
  while (true) {
    await mc.submitLog({
      timestamp: Date.now() / 1000,
      level: levels[i % levels.length],
      message: messages[i % messages.length],
      agent_id: "edge-node-7",
    });
    console.log(`submitted log #${i + 1}`);
    i++;
    await new Promise(resolve => setTimeout(resolve, 1000));
  }
}

main();
