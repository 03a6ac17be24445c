// control.ts
import {
  AsterServer, Service, Rpc, WireType,
} from '@aster-rpc/aster';

@WireType("mission/StatusRequest")
class StatusRequest {
  agent_id: string = "";
  constructor(init?: Partial<StatusRequest>) { if (init) Object.assign(this, init); }
}

@WireType("mission/StatusResponse")
class StatusResponse {
  agent_id: string = "";
  status: string = "idle";
  uptime_secs: number = 0;
  constructor(init?: Partial<StatusResponse>) { if (init) Object.assign(this, init); }
}

@Service({ name: "MissionControl", version: 1 })
class MissionControl {
  @Rpc()
  async getStatus(req: StatusRequest): Promise<StatusResponse> {
    return new StatusResponse({
      agent_id: req.agent_id,
      status: "running",
      uptime_secs: 3600,
    });
  }
}

async function main() {
  const server = new AsterServer({ services: [new MissionControl()] });
  await server.start();
  console.log(server.address); // compact aster1... address
  await server.serve();
}

main();
