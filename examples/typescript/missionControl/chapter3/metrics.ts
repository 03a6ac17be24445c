// metrics.ts — streams 10,000 metric points to MissionControl.
// Usage: bun run metrics.ts <aster1...address>
import { AsterClientWrapper } from '@aster-rpc/aster';

async function main() {
  const address = process.argv[2];
  if (!address) {
    console.error("Usage: bun run metrics.ts <aster1...address>");
    process.exit(1);
  }
  const client = new AsterClientWrapper({ address });
  await client.connect();
  const mc = client.proxy("MissionControl");
  async function* metrics() {
    for (let i = 0; i < 10_000; i++) {
      yield { name: "cpu.usage", value: Math.random(), timestamp: Date.now() / 1000 };
    }
  }
  const result = await mc.ingestMetrics(metrics());
  console.log(`Accepted: ${(result as any).accepted}`);
  await client.close();
}

main();
