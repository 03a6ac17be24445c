/**
 * What the compiler must accept and refuse. `typing.test.ts` compiles this file and compares the errors with the lines that
 * say `// error: code`.
 */

import {
  AsterClient,
  type CallContext,
  ClientStream,
  defineService,
  type Infer,
  type i32,
  type i64,
  NotFound,
  Rpc,
  type RpcError,
  rpc,
  ServerStream,
  Service,
  StatusCode,
  serverStream,
  t,
  type u64,
} from "@aster-rpc/aster";

class Req {
  name = "";
}
class Res {
  size: i32 = 0;
  big: u64 = 5n;
  wide: i64<bigint> = 1n;
  plain: i64 = 3;
}
const literal: i32 = 5;
const sum: number = literal + 1;
// @ts-expect-error a string is no number
const wrongLiteral: i32 = "5";

@Service("Typed")
class Typed {
  @Rpc()
  async get(req: Req): Promise<Res> {
    return { ...new Res(), size: req.name.length };
  }
  @Rpc()
  withContext(_req: Req, _ctx: CallContext): Res {
    return new Res();
  }
  @Rpc()
  async add(a: number, b?: number): Promise<number> {
    return a + (b ?? 0);
  }
  @ServerStream()
  async *list(_req: Req): AsyncGenerator<Res> {
    yield new Res();
  }
  @ClientStream()
  async total(items: AsyncIterable<Req>, _ctx: CallContext): Promise<number> {
    let total = 0;
    for await (const _ of items) total++;
    return total;
  }
  async *talk(words: AsyncIterable<string>): AsyncGenerator<number> {
    for await (const word of words) yield word.length;
  }
}

class WrongForms {
  @ServerStream() // error: TS1241
  async one(_req: Req): Promise<Res> {
    return new Res();
  }
}

const client = new AsterClient({ address: "aster1" });
const typed = client.client(Typed);

export async function accepted(): Promise<void> {
  const res: Res = await typed.get(new Req(), { timeoutMs: 5, metadata: { a: "b", "c-bin": new Uint8Array() } });
  const other: Res = await typed.withContext(new Req());
  const added: number = await typed.add(1);
  await typed.add(1, 2, { signal: AbortSignal.timeout(5) });
  for await (const each of typed.list.stream(new Req())) each.size.toFixed();
  const total: number = await typed.total([new Req()]);
  const patient: Res = await typed.withOptions({ timeoutMs: 60_000 }).get(new Req());
  await typed.method("get")(patient);
  const channel = typed.talk.bidi();
  await channel.send("word");
  for await (const length of channel) length.toFixed();
  await using session = client.session(Typed);
  const same: Res = await session.get(new Req());
  const anything = await client.proxy("Any").whatever({ x: 1 });
  anything.is.any();
  void [res, other, added, total, same, sum];
}

export async function refused(): Promise<void> {
  await typed.get("text"); // error: TS2345
  await typed.get(new Req(), { timeout: 5 }); // error: TS2561
  await typed.list(new Req()); // error: TS2349
  typed.get.stream(new Req()); // error: TS2339
  await typed.nope(new Req()); // error: TS2339
  await typed.total(5); // error: TS2345
  await typed.add("1"); // error: TS2345
  await typed.talk.bidi().send(5); // error: TS2345
  new AsterClient({}); // error: TS2741
}

const Item = t.struct("demo/Item", {
  id: t.i64,
  note: t.string.optional(),
  tags: t.list(t.string).default(() => []),
  pet: t.union(t.struct("demo/Cat", { lives: t.u8 }), t.struct("demo/Dog", { barks: t.bool })),
  level: t.enum("demo/Level", ["low", "high"]),
});
type Item = Infer<typeof Item>;
const Items = defineService({ name: "Items", methods: { get: rpc(Item, t.i64), all: serverStream(Item, Item) } });

Items.implement({
  get: (item, context) => {
    const id: number = item.id;
    const note: string | undefined = item.note;
    const tags: string[] = item.tags;
    const level: "low" | "high" = item.level;
    if (item.pet.$type === "demo/Cat") item.pet.lives.toFixed();
    else item.pet.barks.valueOf();
    context.signal.throwIfAborted();
    void [note, tags, level];
    return id;
  },
  async *all(item) {
    yield item;
    yield { id: 1, pet: { $type: "demo/Dog", barks: true }, level: "low" };
  },
});

Items.implement({
  get: () => "text", // error: TS2322
  async *all(item) {
    yield item;
  },
});

Items.implement({ get: () => 1 }); // error: TS2345

export async function defined(items: ReturnType<typeof client.client<typeof Items>>): Promise<void> {
  const id: number = await items.get({ id: 1, pet: { $type: "demo/Cat", lives: 9 }, level: "high" });
  await items.get({ id: 1, pet: { $type: "demo/Cow" }, level: "high" }); // error: TS2322
  await items.get({ id: "1", pet: { $type: "demo/Cat", lives: 9 }, level: "high" }); // error: TS2322
  await items.get({ pet: { $type: "demo/Cat", lives: 9 }, level: "high" }); // error: TS2741
  for await (const item of items.all.stream({ id, pet: { $type: "demo/Cat", lives: 9 }, level: "low" })) {
    const one: Item = item;
    one.tags.push("x");
  }
}

export function failed(error: unknown): string {
  if (error instanceof NotFound) return error.rawMessage;
  const code: StatusCode = (error as RpcError).code;
  return code === StatusCode.INTERNAL ? "internal" : "other";
}

export { Typed, WrongForms, wrongLiteral };
