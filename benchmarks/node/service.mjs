// The service of the benchmark as a user without a build step would write it, shared by server and client.

import { bidiStream, clientStream, defineService, rpc, serverStream, t } from "@aster-rpc/aster";

const StatusRequest = t.struct("bench/StatusRequest", { agent_id: t.string });
const StatusResponse = t.struct("bench/StatusResponse", { agent_id: t.string, status: t.string, uptime_secs: t.i64 });
const MetricPoint = t.struct("bench/MetricPoint", {
  name: t.string,
  value: t.f64,
  timestamp: t.f64,
  tags: t.record(t.string).optional(),
});
const IngestResult = t.struct("bench/IngestResult", { accepted: t.i64, total: t.f64 });
const TailRequest = t.struct("bench/TailRequest", { count: t.i64 });
const LogEntry = t.struct("bench/LogEntry", {
  timestamp: t.f64,
  level: t.string,
  message: t.string,
  agent_id: t.string,
});
const ChatMessage = t.struct("bench/ChatMessage", { seq: t.i64, text: t.string });
const Blob = t.struct("bench/Blob", { data: t.bytes });

export const Bench = defineService({
  name: "Bench",
  version: 1,
  methods: {
    getStatus: rpc(StatusRequest, StatusResponse),
    ingestMetrics: clientStream(MetricPoint, IngestResult),
    tailLogs: serverStream(TailRequest, LogEntry),
    chat: bidiStream(ChatMessage, ChatMessage),
    echo: rpc(Blob, Blob),
  },
});
