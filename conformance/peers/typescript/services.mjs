/** What the scenarios call. Handlers tell the runner when they start and end, by the key in their call's metadata. */

import {
  AsterClient,
  bidiStream,
  clientStream,
  defineService,
  NotFound,
  ResourceExhausted,
  RpcError,
  rpc,
  serverStream,
  t,
} from "@aster-rpc/aster";
import {
  About,
  Blob,
  Fault,
  Item,
  Level,
  Node,
  Num,
  Point,
  Record,
  Relay,
  Shape,
  State,
  Stream,
  Talk,
  Text,
} from "./types.mjs";

const KEY = "conf-key";

/** What handlers share with the runner. */
export class Bench {
  #gates = new Map();
  seen = new Map();

  constructor(tell) {
    this.tell = tell;
  }

  #gate(key) {
    let gate = this.#gates.get(key);
    if (gate === undefined) {
      let open;
      const opened = new Promise((resolve) => {
        open = resolve;
      });
      gate = { open, opened };
      this.#gates.set(key, gate);
    }
    return gate;
  }

  release(key) {
    this.#gate(key).open();
  }

  /** Waits for the release, or for the end of the call. */
  async released(key, ctx) {
    await Promise.race([this.#gate(key).opened, aborted(ctx)]);
    ctx.signal.throwIfAborted();
  }

  started(ctx) {
    const key = keyOf(ctx);
    this.tell({ event: "started", key, method: ctx.method });
    return key;
  }

  ended(ctx, how) {
    this.tell({ event: "ended", key: keyOf(ctx), method: ctx.method, how: ctx.signal.aborted ? "cancelled" : how });
  }

  async handling(ctx, work) {
    const key = this.started(ctx);
    let how = "failed";
    try {
      const result = await work(key);
      how = "returned";
      return result;
    } finally {
      this.ended(ctx, how);
    }
  }
}

const keyOf = (ctx) => ctx.metadata[KEY] ?? "";

/** Settles when the call is cancelled. */
function aborted(ctx) {
  return new Promise((resolve) => {
    if (ctx.signal.aborted) resolve();
    else ctx.signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

async function forEver(ctx) {
  await aborted(ctx);
  ctx.signal.throwIfAborted();
}

function about(ctx) {
  const pairs = Object.entries(ctx.metadata).filter(([key]) => key !== KEY);
  return {
    peer: ctx.peer,
    method: `${ctx.service}.${ctx.method}`,
    metadata: Object.fromEntries(pairs.filter(([, value]) => typeof value === "string")),
    binary: Object.fromEntries(pairs.filter(([, value]) => typeof value !== "string")),
    session: ctx.sessionId,
    left_ms: ctx.timeLeftMs,
  };
}

const Nothing = t.struct("Probe.nothing", {});

export const Probe = defineService({
  name: "Probe",
  methods: {
    echo: rpc(Text, Text, { idempotent: true }),
    blob: rpc(Blob, Blob),
    add: rpc(t.struct("Probe.add", { a: t.i32, b: t.i32.default(10) }), t.i32),
    nothing: rpc(Nothing, t.null),
    fail: rpc(Fault, Text),
    crash: rpc(Text, Text),
    about: rpc(Talk, About),
    hang: rpc(Text, Text),
    hold: rpc(Text, Text),
    limited: rpc(Text, Text, { timeoutMs: 300 }),
    nested: rpc(Relay, About),
    count: serverStream(Stream, Item),
    total: clientStream(Num, Num),
    first: clientStream(Num, Num),
    refuse: clientStream(Num, Num),
    weigh: clientStream(Blob, Num),
    chat: bidiStream(Text, Text),
    greet: bidiStream(Text, Text),
  },
});

function probe(bench) {
  return Probe.implement({
    echo: (req) => req,
    blob: (req) => req,
    add: ({ a, b }) => a + b,
    nothing: () => null,
    fail: (req) => {
      throw new RpcError(req.code, req.message, { details: req.details, metadata: req.metadata });
    },
    crash: (req) => {
      throw new TypeError(`secret ${req.text}`);
    },
    about: (req, ctx) => {
      if (Object.keys(req.initial).length > 0) ctx.setResponseMetadata(req.initial);
      if (Object.keys(req.trailing).length > 0) ctx.setTrailingMetadata(req.trailing);
      return about(ctx);
    },
    hang: (_req, ctx) => bench.handling(ctx, () => forEver(ctx)),
    hold: (req, ctx) =>
      bench.handling(ctx, async (key) => {
        await bench.released(key, ctx);
        return req;
      }),
    limited: (_req, ctx) => bench.handling(ctx, () => forEver(ctx)),
    nested: async (req) => {
      const client = new AsterClient({ address: req.address, preset: "local" });
      try {
        return await client.client(Probe).about({});
      } finally {
        await client.close();
      }
    },
    async *count(req, ctx) {
      bench.started(ctx);
      let how = "failed";
      try {
        for (let n = 0; n < req.n; n++) yield { n, data: new Uint8Array(req.size) };
        if (req.fail) throw new NotFound("no more");
        if (req.hang) await forEver(ctx);
        how = "returned";
      } finally {
        bench.ended(ctx, how);
      }
    },
    total: (numbers, ctx) =>
      bench.handling(ctx, async () => {
        let n = 0;
        for await (const number of numbers) n += number.n;
        return { n };
      }),
    first: async (numbers) => {
      for await (const number of numbers) return number;
      return { n: -1 };
    },
    refuse: async () => {
      throw new ResourceExhausted("no room for numbers");
    },
    weigh: (blobs, ctx) =>
      bench.handling(ctx, async (key) => {
        await bench.released(key, ctx);
        let n = 0;
        for await (const blob of blobs) n += blob.data.length;
        return { n };
      }),
    async *chat(texts, ctx) {
      bench.started(ctx);
      let how = "failed";
      try {
        for await (const { text } of texts) yield { text: `re: ${text}` };
        how = "returned";
      } finally {
        bench.ended(ctx, how);
      }
    },
    async *greet(texts) {
      yield { text: "hello" };
      for await (const text of texts) yield text;
    },
  });
}

export const Probe2 = defineService({ name: "Probe", version: 2, methods: { echo: rpc(Text, Text) } });

export const Account = defineService({
  name: "Account",
  scoped: "session",
  methods: {
    increment: rpc(t.struct("Account.increment", { by: t.i32.default(1) }), t.i32),
    state: rpc(t.struct("Account.state", {}), State),
    hold: rpc(t.struct("Account.hold", { n: t.i32 }), t.i32),
    blob: rpc(Blob, t.i32),
    upto: serverStream(Num, Num),
    gather: clientStream(Num, Num),
    gain: bidiStream(Num, Num),
  },
});

function account(bench) {
  return Account.implement((peer) => {
    let count = 0;
    let key = "";
    const order = [];
    const remember = (ctx) => {
      key ||= keyOf(ctx);
    };
    return {
      increment: ({ by }, ctx) => {
        remember(ctx);
        count += by;
        return count;
      },
      state: (_req, ctx) => ({ peer, context: ctx.peer, session: ctx.sessionId ?? 0, count, order }),
      hold: async ({ n }, ctx) => {
        remember(ctx);
        order.push(n);
        await bench.handling(ctx, (own) => bench.released(own, ctx));
        order.push(n);
        return n;
      },
      blob: ({ data }) => {
        order.push(data.length);
        return data.length;
      },
      async *upto({ n }) {
        for (let each = 0; each < n; each++) {
          count++;
          yield { n: each };
        }
      },
      gather: async (numbers) => {
        for await (const { n } of numbers) count += n;
        return { n: count };
      },
      async *gain(numbers, ctx) {
        remember(ctx);
        bench.started(ctx);
        let how = "failed";
        try {
          for await (const { n } of numbers) {
            count += n;
            yield { n: count };
          }
          how = "returned";
        } finally {
          bench.ended(ctx, how);
        }
      },
      onSessionClose: () => bench.tell({ event: "session_closed", key, count }),
    };
  });
}

/** The types of the methods of `Values`: the value comes as a parameter and goes as the answer. */
const values = {
  boolean: t.bool,
  int8: t.i8,
  int16: t.i16,
  int32: t.i32,
  int64: t.bigint,
  uint8: t.u8,
  uint16: t.u16,
  uint32: t.u32,
  uint64: t.u64,
  float32: t.f32,
  float64: t.f64,
  text: t.string,
  raw: t.bytes,
  moment: t.timestamp,
  span: t.duration,
  ident: t.uuid,
  free: t.any,
  words: t.list(t.string),
  matrix: t.list(t.list(t.i32)),
  longs: t.list(t.bigint),
  bag: t.set(t.string),
  codes: t.set(t.i32),
  triple: t.tuple(t.i32, t.string, t.f64),
  scores: t.record(t.i32),
  names: t.map(t.bigint, t.string),
  flags: t.map(t.bool, t.i32),
  owners: t.map(t.uuid, t.string),
  levels: t.map(Level, t.i32),
  level: Level,
  open: t.record(t.any),
  moments: t.list(t.timestamp),
  spans: t.record(t.duration),
  shapes: t.list(Shape),
};
/** Those whose request is the value itself. */
const wholes = { point: Point, shape: Shape, tree: Node, record: Record };

export const Values = defineService({
  name: "Values",
  methods: {
    ...Object.fromEntries(
      Object.entries(values).map(([name, type]) => [name, rpc(t.struct(`Values.${name}`, { value: type }), type)]),
    ),
    ...Object.fromEntries(Object.entries(wholes).map(([name, type]) => [name, rpc(type, type)])),
    maybe: rpc(t.struct("Values.maybe", { value: t.i32.optional() }), t.i32.nullable()),
  },
});

function echoing(bench) {
  const keep = (value, ctx) => {
    bench.seen.set(keyOf(ctx), value);
    return value;
  };
  return Values.implement({
    ...Object.fromEntries(Object.keys(values).map((name) => [name, ({ value }, ctx) => keep(value, ctx)])),
    ...Object.fromEntries(Object.keys(wholes).map((name) => [name, keep])),
    maybe: ({ value }, ctx) => keep(value ?? null, ctx),
  });
}

export const ByJson = defineService({ name: "Text", serialization: "json", methods: { record: rpc(Record, Record) } });

// Where the client was made from another declaration than its server.

const Reading = t.struct("conf/Reading", { value: t.f64, unit: t.string.default("") });
const Drift = defineService({
  name: "Drift",
  methods: { read: rpc(Num, Reading), reset: rpc(t.struct("Drift.reset", {}), t.null) },
});
export const OldDrift = defineService({
  name: "Drift",
  methods: { read: rpc(Num, t.struct("conf/Reading", { value: t.f64 })) },
});
const Clash = defineService({
  name: "Clash",
  methods: { read: rpc(t.struct("conf/Demand", { n: t.i32, unit: t.string }), Num) },
});
export const OldClash = defineService({
  name: "Clash",
  methods: { read: rpc(t.struct("conf/Demand", { n: t.i32 }), Num) },
});

/** Everything that scenarios call, with its handlers. */
export function all(bench) {
  return [
    probe(bench),
    Probe2.implement({ echo: ({ text }) => ({ text: `${text} of version 2` }) }),
    account(bench),
    echoing(bench),
    ByJson.implement({ record: (req) => req }),
    Drift.implement({ read: ({ n }) => ({ value: n, unit: "V" }), reset: () => null }),
    Clash.implement({ read: ({ n }) => ({ n }) }),
  ];
}
