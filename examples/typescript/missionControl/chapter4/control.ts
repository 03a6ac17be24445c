// control.ts
import {
  AsterServer, Service, Rpc, ServerStream, ClientStream, BidiStream, WireType,
} from '@aster-rpc/aster';

// ─────────────── Wire types ───────────────
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

@WireType("mission/LogEntry")
class LogEntry {
  timestamp: number = 0.0;
  level: string = "info";
  message: string = "";
  agent_id: string = "";
  constructor(init?: Partial<LogEntry>) { if (init) Object.assign(this, init); }
}

@WireType("mission/SubmitLogResult")
class SubmitLogResult {
  accepted: boolean = true;
  constructor(init?: Partial<SubmitLogResult>) { if (init) Object.assign(this, init); }
}

@WireType("mission/TailRequest")
class TailRequest {
  agent_id: string = "";
  level: string = "info"; // minimum level filter
  constructor(init?: Partial<TailRequest>) { if (init) Object.assign(this, init); }
}

@WireType("mission/MetricPoint")
class MetricPoint {
  name: string = "";
  value: number = 0.0;
  timestamp: number = 0.0;
  tags: Record<string, string> = {};
  constructor(init?: Partial<MetricPoint>) { if (init) Object.assign(this, init); }
}

@WireType("mission/IngestResult")
class IngestResult {
  accepted: number = 0;
  dropped: number = 0;
  constructor(init?: Partial<IngestResult>) { if (init) Object.assign(this, init); }
}

@WireType("mission/Heartbeat")
class Heartbeat {
  agent_id: string = "";
  capabilities: string[] = [];
  load_avg: number = 0.0;
  constructor(init?: Partial<Heartbeat>) { if (init) Object.assign(this, init); }
}

@WireType("mission/Assignment")
class Assignment {
  task_id: string = "";
  command: string = "";
  constructor(init?: Partial<Assignment>) { if (init) Object.assign(this, init); }
}

@WireType("mission/Command")
class Command {
  command: string = "";
  constructor(init?: Partial<Command>) { if (init) Object.assign(this, init); }
}

@WireType("mission/CommandResult")
class CommandResult {
  stdout: string = "";
  stderr: string = "";
  exit_code: number = -1;
  constructor(init?: Partial<CommandResult>) { if (init) Object.assign(this, init); }
}

// ─────────────── Helpers ───────────────
const LEVEL_ORDER: Record<string, number> = {
  debug: 0, info: 1, warn: 2, error: 3, fatal: 4,
};

function levelRank(level: string): number {
  return LEVEL_ORDER[level.toLowerCase()] ?? 0;
}

// ─────────────── Services ───────────────
@Service({ name: "MissionControl", version: 1 })
class MissionControl {
  private _logBuffer: LogEntry[] = [];
  private _logResolve: ((entry: LogEntry) => void) | null = null;

  @Rpc()
  async getStatus(req: StatusRequest): Promise<StatusResponse> {
    return new StatusResponse({
      agent_id: req.agent_id,
      status: "running",
      uptime_secs: 3600,
    });
  }

  @Rpc()
  async submitLog(entry: LogEntry): Promise<SubmitLogResult> {
    if (this._logResolve) {
      this._logResolve(entry);
      this._logResolve = null;
    } else {
      this._logBuffer.push(entry);
    }
    return new SubmitLogResult();
  }

  @ServerStream()
  async *tailLogs(req: TailRequest): AsyncGenerator<LogEntry> {
    while (true) {
      const entry = this._logBuffer.length > 0
        ? this._logBuffer.shift()!
        : await new Promise<LogEntry>(resolve => { this._logResolve = resolve; });
      if (req.agent_id && entry.agent_id !== req.agent_id) continue;
      if (levelRank(entry.level) < levelRank(req.level)) continue;
      yield entry;
    }
  }

  @ClientStream()
  async ingestMetrics(stream: AsyncIterable<MetricPoint>): Promise<IngestResult> {
    let accepted = 0;
    for await (const point of stream) {
      accepted += 1;
    }
    return new IngestResult({ accepted });
  }
}

@Service({ name: "AgentSession", version: 1, scoped: "session" })
class AgentSession {
  private _agent_id: string = "";
  private _capabilities: string[] = [];

  @Rpc()
  async register(hb: Heartbeat): Promise<Assignment> {
    this._agent_id = hb.agent_id;
    this._capabilities = hb.capabilities;
    if (hb.capabilities.includes("gpu")) {
      return new Assignment({ task_id: "train-42", command: "python train.py" });
    }
    return new Assignment({ task_id: "idle", command: "sleep 60" });
  }

  @BidiStream()
  async *runCommand(commands: AsyncIterable<Command>): AsyncGenerator<CommandResult> {
    const { execFile } = await import('node:child_process');
    const { promisify } = await import('node:util');
    const exec = promisify(execFile);
    for await (const cmd of commands) {
      try {
        const { stdout, stderr } = await exec("sh", ["-c", cmd.command]);
        yield new CommandResult({ stdout, stderr, exit_code: 0 });
      } catch (e: any) {
        yield new CommandResult({
          stdout: e.stdout ?? "",
          stderr: e.stderr ?? e.message,
          exit_code: e.code ?? 1,
        });
      }
    }
  }
}

// ─────────────── Main ───────────────
async function main() {
  const server = new AsterServer({
    services: [new MissionControl(), new AgentSession()],
    //         ^^^^^^^^^^^^^^^^^^^^   ^^^^^^^^^^^^^^^^^^
    //         shared                 session-scoped
  });
  await server.start();
  console.log(server.address); // compact aster1... address
  await server.serve();
}

main();
