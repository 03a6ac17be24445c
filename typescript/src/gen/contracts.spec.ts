/** Services as TypeScript declares them have the ids of the shared table, which the other languages are held to as well. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { encode } from "@msgpack/msgpack";

import { native } from "../native/index.js";
import { programs, REGISTER, run } from "./programs.spec.js";

const table = JSON.parse(
  readFileSync(new URL("../../../conformance/vectors/contracts.json", import.meta.url), "utf8"),
) as { contracts: { name: string; id: string }[] };

const IMPORTS =
  'import { BidiStream, ClientStream, Rpc, ServerStream, Service, WireType, show, type CallContext } from "@aster-rpc/aster";\n' +
  'import type { i32, i64, f64 } from "@aster-rpc/aster";\n';

const PING = (type: string) =>
  `@Service({ name: "S" }) export default class S { @Rpc() ping(req: ${type}): void {} }\n`;

const CIRCLE = (area: string) =>
  `@WireType("${area}Circle") class Circle { r!: number }\n@WireType("${area}Square") class Square { a!: number }\n`;

const CYCLE = `
  @WireType("A") class A { b: B | null = null }
  @WireType("B") class B { cs: C[] = [] }
  @WireType("C") class C { a: Record<string, A> = {} }\n`;

const WIDE = Array.from({ length: 70 }, (_, i) => (i % 3 === 0 ? `f${i}!: i32;` : `f${i}: i32 = 0;`));

const GUIDE_1 = `
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
  }\n`;

const GUIDE_3 = `${GUIDE_1}
  @WireType("mission/LogEntry")
  class LogEntry { timestamp: number = 0.0; level: string = "info"; message: string = ""; agent_id: string = ""; }
  @WireType("mission/SubmitLogResult")
  class SubmitLogResult { accepted: boolean = true; }
  @WireType("mission/TailRequest")
  class TailRequest { agent_id: string = ""; level: string = "info"; /* minimum level filter */ }
  @WireType("mission/MetricPoint")
  class MetricPoint { name: string = ""; value: number = 0.0; timestamp: number = 0.0; tags: TAGS = {}; }
  @WireType("mission/IngestResult")
  class IngestResult { accepted: number = 0; dropped: number = 0; }

  @Service({ name: "MissionControl", version: 1 })
  export default class MissionControl {
    private _logBuffer: LogEntry[] = [];
    private _logResolve: ((entry: LogEntry) => void) | null = null;
    @Rpc() async getStatus(req: StatusRequest): Promise<StatusResponse> { return new StatusResponse(); }
    @Rpc() async submitLog(entry: LogEntry): Promise<SubmitLogResult> { return new SubmitLogResult(); }
    @ServerStream() async *tailLogs(req: TailRequest): AsyncGenerator<LogEntry> {}
    @ClientStream() async ingestMetrics(stream: AsyncIterable<MetricPoint>): Promise<IngestResult> {
      return new IngestResult();
    }
  }\n`;

/** The source of a module whose default export is the service, by the name of the contract in the table. */
const SOURCES: Readonly<Record<string, string>> = {
  "empty struct": '@Service("S") export default class X { @Rpc() ping(ctx: CallContext): void {} }',
  "struct with all kinds of fields": `@WireType("Req") class Req { a: number = 0; b!: string; c?: Uint8Array; d!: number | null }\n${PING("Req")}`,
  "struct under another tag": `@WireType("demo/Req") class Base { a = 1; b!: string; c: Uint8Array | null = null; d!: f64 | null }\n${PING("Base")}`,
  "any field": `@WireType("Req") class Req { a: unknown = null }\n${PING("Req")}`,
  union: `${CIRCLE("")}/** @wireType Shape */ type Shape = Circle | Square;\n${PING("Shape")}`,
  "union named by its members": `${CIRCLE("demo/")}type Figure = Square | Circle;\n${PING("Figure")}`,
  "struct that refers to itself": `@WireType("Node") class Node { next?: Node; value!: i64 }\n${PING("Node")}`,
  "cycle of three structs": CYCLE + PING("B"),
  "cycle entered elsewhere": CYCLE + PING("A"),
  "recursive union": `
    @WireType("Add") class Add { left!: Expr; right!: Expr }
    @WireType("Lit") class Lit { value!: number }
    @WireType("Neg") class Neg { of!: Expr }
    /** @wireType Expr */ type Expr = Add | Lit | Neg;
    @Service() export default class Calculator { @Rpc({ idempotent: true }) evaluate(e: Expr): number { return 0; } }`,
  "unicode names in NFC":
    '@WireType("größe/Anfrage") class Anfrage { länge = 0.5 }\n' +
    "@Service() export default class Größe { @Rpc() 測る(anfrage: Anfrage): void {} }",
  "struct of 70 fields": `@WireType("Wide") class Wide { ${WIDE.join(" ")} }\n${PING("Wide")}`,
  "plain parameters":
    "@Service() export default class Adder { @Rpc() add(a: i64, b: i64, ctx: CallContext): i64 { return a; } }",
  "MissionControl of the guide's chapter 1":
    `${GUIDE_1}@Service({ name: "MissionControl", version: 1 })\nexport default class MissionControl {\n` +
    "  @Rpc() async getStatus(req: StatusRequest): Promise<StatusResponse> { return new StatusResponse(); }\n}",
  "MissionControl of the guide's chapter 3": GUIDE_3.replace("TAGS", "Record<string, any>"),
  "MissionControl of chapter 3 in TypeScript": GUIDE_3.replace("TAGS", "Record<string, string>"),
  "AgentSession of the guide's chapter 4": `
    @WireType("mission/Heartbeat")
    class Heartbeat { agent_id: string = ""; capabilities: any[] = []; load_avg: number = 0.0; }
    @WireType("mission/Assignment") class Assignment { task_id: string = ""; command: string = ""; }
    @WireType("mission/Command") class Command { command: string = ""; }
    @WireType("mission/CommandResult")
    class CommandResult { stdout: string = ""; stderr: string = ""; exit_code: number = -1; }
    @Service({ name: "AgentSession", version: 1, scoped: "session" })
    export default class AgentSession {
      private _agent_id: string = "";
      @Rpc() async register(hb: Heartbeat): Promise<Assignment> { return new Assignment(); }
      @BidiStream() async *runCommand(commands: AsyncIterable<Command>): AsyncGenerator<CommandResult> {}
    }`,
};

describe("K1 TypeScript services have the ids of the shared table", async () => {
  const names = Object.keys(SOURCES);
  const files = Object.fromEntries(names.map((name, index) => [`s${index}.ts`, IMPORTS + SOURCES[name]]));
  const loads = names.map((_, index) => `show((await import("./s${index}.ts")).default);`);
  const folder = programs({ ...files, "main.ts": `import { show } from "@aster-rpc/aster";\n${loads.join("\n")}` });
  const { code, out, error } = await run(folder, process.execPath, "--no-warnings", "--import", REGISTER, "main.ts");
  assert.deepEqual([code, error], [0, ""]);
  const shown = out.trimEnd().split("\n");
  names.forEach((name, index) => {
    it(name, () => {
      const expected = table.contracts.find((each) => each.name === name)!.id;
      assert.equal(native().contract(encode(JSON.parse(shown[index]!))).id, expected, shown[index]);
    });
  });
});
