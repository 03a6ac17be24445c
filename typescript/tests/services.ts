/** The services that the end-to-end tests share. Their types are read from this source by aster-gen. */

import {
  BidiStream,
  CallContext,
  ClientStream,
  type duration,
  type f32,
  type i8,
  NotFound,
  Rpc,
  RpcError,
  ServerStream,
  Service,
  StatusCode,
  type u64,
  type uuid,
  WireType,
} from "@aster-rpc/aster";

@WireType("test/Text")
export class Text {
  text: string = "";
  constructor(init?: Partial<Text>) {
    if (init) Object.assign(this, init);
  }
}

@WireType("test/Number")
export class Num {
  n: number = 0;
  constructor(init?: Partial<Num>) {
    if (init) Object.assign(this, init);
  }
}

@WireType("test/Blob")
export class Blob {
  data: Uint8Array = new Uint8Array(0);
  constructor(init?: Partial<Blob>) {
    if (init) Object.assign(this, init);
  }
}

/** Something that happens once, which tests wait for. */
export class Happening {
  readonly promise: Promise<void>;
  happened = false;
  #resolve!: () => void;

  constructor() {
    this.promise = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  happen(): void {
    this.happened = true;
    this.#resolve();
  }
}

/** Lets tests wait for what handlers do, without sleeping. */
export class Gate {
  readonly started = new Happening();
  readonly cancelled = new Happening();
  readonly release = new Happening();
  readonly finished = new Happening();
}

/** Settles when the signal aborts. */
function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** All four kinds, and handlers that misbehave. */
@Service({ name: "Calls", version: 1 })
export class Calls {
  gate: Gate = new Gate();
  running = 0;
  finished = 0;

  @Rpc()
  async echo(req: Text): Promise<Text> {
    return new Text({ text: req.text });
  }

  @Rpc({ idempotent: true })
  plain(req: Text): Text {
    return new Text({ text: `plain ${req.text}` });
  }

  @Rpc()
  async blob(req: Blob): Promise<Blob> {
    return req;
  }

  @Rpc({ timeoutMs: 200 })
  async limited(_req: Text, ctx: CallContext): Promise<Text> {
    await aborted(ctx.signal);
    this.gate.cancelled.happen();
    return new Text();
  }

  @Rpc()
  async hang(req: Text, ctx: CallContext): Promise<Text> {
    this.running++;
    this.gate.started.happen();
    try {
      await Promise.race([this.gate.release.promise, aborted(ctx.signal)]);
      if (ctx.signal.aborted) this.gate.cancelled.happen();
      return req;
    } finally {
      this.running--;
      this.finished++;
    }
  }

  /** Knows nothing of signals. */
  @Rpc()
  async stubborn(req: Text): Promise<Text> {
    this.gate.started.happen();
    await this.gate.release.promise;
    this.gate.finished.happen();
    return req;
  }

  /** Fails when its caller has long gone. */
  @Rpc()
  async late(_req: Text): Promise<Text> {
    this.gate.started.happen();
    await this.gate.release.promise;
    throw new Error("too late for anybody");
  }

  @ServerStream()
  async *count(req: Num): AsyncGenerator<Num> {
    for (let n = 0; n < req.n; n++) yield new Num({ n });
  }

  /** One message, then nothing until it is cancelled. */
  @ServerStream()
  async *tail(_req: Text, ctx: CallContext): AsyncGenerator<Text> {
    try {
      yield new Text({ text: "first" });
      await aborted(ctx.signal);
      this.gate.cancelled.happen();
    } finally {
      this.gate.finished.happen();
    }
  }

  /** Goes on until it is told to end, and never looks at its signal. */
  @ServerStream()
  async *endless(req: Blob): AsyncGenerator<Blob> {
    try {
      for (;;) yield req;
    } finally {
      this.gate.finished.happen();
    }
  }

  /** Yields after its caller has left. */
  @ServerStream()
  async *afterwards(_req: Text): AsyncGenerator<Text> {
    try {
      yield new Text({ text: "first" });
      this.gate.started.happen();
      await this.gate.release.promise;
      yield new Text({ text: "for nobody" });
      yield new Text({ text: "never reached" });
      this.running = -1;
    } finally {
      this.gate.finished.happen();
    }
  }

  @ClientStream()
  async total(numbers: AsyncIterable<Num>): Promise<Num> {
    let n = 0;
    for await (const each of numbers) n += each.n;
    return new Num({ n });
  }

  /** Answers before the stream ends. */
  @ClientStream()
  async first(numbers: AsyncIterable<Num>): Promise<Num> {
    for await (const each of numbers) return each;
    return new Num({ n: -1 });
  }

  /** Reads as fast as the test lets it. */
  @ClientStream()
  async absorb(blobs: AsyncIterable<Blob>): Promise<Num> {
    let n = 0;
    try {
      for await (const each of blobs) {
        n += each.data.length;
        this.gate.started.happen();
        await this.gate.release.promise;
      }
    } catch (error) {
      this.gate.cancelled.happen();
      throw error;
    }
    return new Num({ n });
  }

  @BidiStream()
  async *chat(messages: AsyncIterable<Text>): AsyncGenerator<Text> {
    try {
      for await (const message of messages) yield new Text({ text: message.text.toUpperCase() });
    } finally {
      this.gate.finished.happen();
    }
  }

  /** Speaks first. */
  @BidiStream()
  async *greet(messages: AsyncIterable<Text>): AsyncGenerator<Text> {
    yield new Text({ text: "hello" });
    yield* messages;
  }

  // ------------------------------------------------------------ failures

  @Rpc()
  async fail(req: Num): Promise<Text> {
    throw new RpcError(req.n, `failed with ${req.n}`, {
      details: { code: req.n, list: [1, null] },
      metadata: { why: "asked" },
    });
  }

  @Rpc()
  async missing(req: Text): Promise<Text> {
    throw new NotFound(`no ${req.text}`);
  }

  @Rpc()
  async crash(_req: Text): Promise<Text> {
    throw new TypeError("secret");
  }

  /** What is thrown may be anything. */
  @Rpc()
  async throwing(req: Text): Promise<Text> {
    const things: Record<string, unknown> = {
      text: "just text",
      undefined,
      null: null,
      object: { a: 1 },
      symbol: Symbol("s"),
    };
    throw things[req.text];
  }

  @Rpc()
  throwingAtOnce(_req: Text): Promise<Text> {
    throw new Error("before any promise");
  }

  @Rpc()
  async wrongType(_req: Text): Promise<Text> {
    return new Text({ text: 5 as unknown as string });
  }

  @Rpc()
  async nothing(_req: Text): Promise<Text> {
    return undefined as unknown as Text;
  }

  @ServerStream()
  async *failLater(req: Num): AsyncGenerator<Num> {
    for (let n = 0; n < req.n; n++) yield new Num({ n });
    throw new NotFound("no more");
  }

  @ServerStream()
  async *wrongItem(_req: Text): AsyncGenerator<Num> {
    yield new Num({ n: 1 });
    yield new Num({ n: 1.5 });
  }

  @ClientStream()
  async refuse(_numbers: AsyncIterable<Num>): Promise<Num> {
    throw new RpcError(StatusCode.RESOURCE_EXHAUSTED, "too many numbers");
  }

  // ------------------------------------------------------------ context

  @Rpc()
  async about(_req: Text, ctx: CallContext): Promise<Record<string, any>> {
    ctx.setResponseMetadata({ initial: "1", "blob-bin": new Uint8Array([0]) });
    ctx.setTrailingMetadata({ trailing: "2" });
    await Promise.resolve();
    return {
      peer: ctx.peer,
      metadata: { ...ctx.metadata },
      timeLeft: ctx.timeLeftMs,
      session: ctx.sessionId,
      method: `${ctx.service}.${ctx.method}`,
      same: CallContext.current().callId === ctx.callId,
      capabilities: ctx.capabilities.size,
    };
  }
}

/** Plain parameters instead of a request object. */
@Service("Plain")
export class Plain {
  @Rpc()
  async add(a: number, b: number = 10): Promise<number> {
    return a + b;
  }

  @Rpc()
  async zero(): Promise<string> {
    return "nothing needed";
  }

  @Rpc()
  async silent(_text: string): Promise<void> {}

  @Rpc()
  async mixed(items: Num[], limit: number | null, ctx: CallContext): Promise<Num[]> {
    if (ctx.peer === "") throw new Error("nobody called");
    return limit === null ? items : items.slice(0, limit);
  }

  @ServerStream()
  async *upto(n: number, step: number = 1): AsyncGenerator<number> {
    for (let at = 0; at < n; at += step) yield at;
  }
}

/** @wireType test/Color */
export type Color = "red" | "green";

/** @wireType test/Level */
export const Level = { LOW: 1, HIGH: 2 } as const;

@WireType("test/Cat")
export class Cat {
  name: string = "";
  constructor(init?: Partial<Cat>) {
    if (init) Object.assign(this, init);
  }
}

@WireType("test/Dog")
export class Dog {
  name: string = "";
  friends: (Cat | Dog)[] = [];
  constructor(init?: Partial<Dog>) {
    if (init) Object.assign(this, init);
  }
}

/** @wireType test/Point */
export interface Point {
  x: number;
  y?: number;
}

@WireType("test/Everything")
export class Everything {
  flag: boolean = false;
  small: i8 = 0;
  whole: number = 0;
  big: u64 = 0n;
  signed: bigint = 0n;
  single: f32 = 0;
  double: number = 0.5;
  text: string = "";
  raw: Uint8Array = new Uint8Array(0);
  at: Date = new Date(0);
  took: duration = 0;
  id: uuid = "00000000-0000-0000-0000-000000000000";
  color: Color = "red";
  list: string[] = [];
  unique: Set<number> = new Set();
  pair: [string, number] = ["", 0.5];
  byName: Record<string, number> = {};
  byNumber: Map<bigint, Cat> = new Map();
  pet: Cat | Dog = new Cat();
  point: Point = { x: 0.5 };
  nested: Everything | null = null;
  maybe?: string;
  anything: any = null;
  constructor(init?: Partial<Everything>) {
    if (init) Object.assign(this, init);
  }
}

@Service("Types")
export class Types {
  @Rpc()
  async same(value: Everything): Promise<Everything> {
    if (!(value instanceof Everything)) throw new Error("the request is no Everything");
    return value;
  }

  @Rpc()
  async pet(pet: Cat | Dog): Promise<Cat | Dog> {
    return pet;
  }

  @ServerStream()
  async *pets(pet: Cat | Dog): AsyncGenerator<Cat | Dog> {
    yield pet;
    yield new Cat({ name: "other" });
  }
}

/** What happened to the sessions of one test. */
export const sessionLog = { opened: [] as string[], closed: [] as string[], onClose: new Map<string, Happening>() };

@Service({ name: "Counter", scoped: "session" })
export class Counter {
  #n = 0;
  readonly #peer: string | null;
  #name = "";
  order: string[] = [];

  constructor(peer: string | null = null) {
    this.#peer = peer;
    if (peer !== null) sessionLog.opened.push(peer);
  }

  @Rpc()
  async add(req: Num): Promise<Num> {
    this.#n += req.n;
    return new Num({ n: this.#n });
  }

  @Rpc()
  async name(req: Text): Promise<Text> {
    this.#name = req.text;
    return new Text({ text: this.#peer ?? "" });
  }

  /** Takes its time, which the call that waits for it sees. */
  @Rpc()
  async slow(req: Text, ctx: CallContext): Promise<Text> {
    this.order.push(`begin ${req.text}`);
    await new Promise((resolve) => setImmediate(resolve));
    if (req.text === "hang") await aborted(ctx.signal);
    this.order.push(`end ${req.text}`);
    return new Text({ text: this.order.join(",") });
  }

  @ServerStream()
  async *upto(req: Num): AsyncGenerator<Num> {
    for (let n = 0; n < req.n; n++) yield new Num({ n: this.#n + n });
  }

  @ClientStream()
  async sum(numbers: AsyncIterable<Num>): Promise<Num> {
    for await (const each of numbers) this.#n += each.n;
    return new Num({ n: this.#n });
  }

  @BidiStream()
  async *talk(messages: AsyncIterable<Text>): AsyncGenerator<Text> {
    for await (const each of messages) yield new Text({ text: `${this.#name}: ${each.text}` });
  }

  onSessionClose(): void {
    sessionLog.closed.push(this.#name);
    closingOf(this.#name).happen();
  }
}

/** The happening of the end of the session that is named so. */
export function closingOf(name: string): Happening {
  let found = sessionLog.onClose.get(name);
  if (found === undefined) {
    found = new Happening();
    sessionLog.onClose.set(name, found);
  }
  return found;
}
