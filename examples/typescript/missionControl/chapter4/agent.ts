// agent.ts — opens one session of AgentSession, registers and runs commands in it, as `session AgentSession` does in the
// shell. Prints one line per answer, `← {...}`. Without commands it runs `df -h` and `uptime`, as the guide does.
// Usage: bun run agent.ts <aster1...address> [command ...]
import { AsterClientWrapper } from '@aster-rpc/aster';

function show(answer: unknown) {
  console.log(`← ${JSON.stringify(answer)}`);
}

async function main() {
  const [address, ...given] = process.argv.slice(2);
  if (!address) {
    console.error("Usage: bun run agent.ts <aster1...address> [command ...]");
    process.exit(1);
  }
  await using client = new AsterClientWrapper({ address });
  await using session = client.session("AgentSession");
  // Both calls reach the same instance: a session keeps its state until it is closed.
  show(await session.register({ agent_id: "edge-7", capabilities: ["gpu"] }));

  await using channel = session.runCommand.bidi();
  await channel.open();
  const waiting = given.length > 0 ? given : ["df -h", "uptime"];
  await channel.send({ command: waiting.shift() });
  for await (const result of channel) {
    show(result);
    const command = waiting.shift();
    if (command === undefined) break;
    await channel.send({ command });
  }
}

main();
