// ts-agent.ts — TypeScript client calling a Python control plane.
// Usage: bun run ts-agent.ts <aster1...address>
import { AsterClientWrapper } from '@aster-rpc/aster';

async function main() {
  const address = process.argv[2];
  if (!address) {
    console.error("Usage: bun run ts-agent.ts <aster1...address>");
    process.exit(1);
  }
  const client = new AsterClientWrapper({ address });
  await client.connect();
  const mc = client.proxy("MissionControl");
  const status = await mc.getStatus({ agent_id: "ts-worker-1" });
  console.log(`Status: ${status.agent_id} is ${status.status}`);
  // Stream metrics from TypeScript to the Python control plane
  const result = await mc.ingestMetrics(async function*() {
    for (let i = 0; i < 1000; i++) {
      yield { name: "gpu.temp", value: 72 + Math.random() * 10 };
    }
  }());
  console.log(`Accepted: ${result.accepted}`);
  await client.close();
}

main();
