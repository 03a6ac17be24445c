/** The types of the conformance services, as TypeScript programs declare them without a build step. */

import { t } from "@aster-rpc/aster";

export const Text = t.struct("conf/Text", { text: t.string });
export const Blob = t.struct("conf/Blob", { data: t.bytes });
export const Num = t.struct("conf/Number", { n: t.i32 });
export const Fault = t.struct("conf/Fault", {
  code: t.i32,
  message: t.string,
  details: t.any.default(null),
  metadata: t.record(t.string).default(() => ({})),
});
export const Talk = t.struct("conf/Talk", {
  initial: t.record(t.string).default(() => ({})),
  trailing: t.record(t.string).default(() => ({})),
});
export const About = t.struct("conf/About", {
  peer: t.string,
  method: t.string,
  metadata: t.record(t.string),
  binary: t.record(t.bytes),
  session: t.i32.nullable().default(null),
  left_ms: t.f64.nullable().default(null),
});
export const Stream = t.struct("conf/Stream", {
  n: t.i32,
  size: t.i32.default(0),
  hang: t.bool.default(false),
  fail: t.bool.default(false),
});
export const Item = t.struct("conf/Item", { n: t.i32, data: t.bytes.default(() => new Uint8Array(0)) });
export const Relay = t.struct("conf/Relay", { address: t.string });
export const Level = t.enum("conf/Level", ["low", "high"]);
export const Point = t.struct("conf/Point", { x: t.i32, y: t.i32, label: t.string.nullable().default(null) });
export const Circle = t.struct("conf/Circle", { center: Point, r: t.f64 });
export const Square = t.struct("conf/Square", { side: t.f64 });
export const Shape = t.namedUnion("conf/Shape", Circle, Square);
export const Node = t.struct("conf/Node", { value: t.i32, children: t.lazy(() => t.list(Node)).default(() => []) });
export const Record = t.struct("conf/Record", {
  id: t.bigint,
  name: t.string,
  score: t.f64.default(0),
  tags: t.list(t.string).default(() => []),
  level: Level.default("low"),
  at: t.timestamp.nullable().default(null),
  shape: Shape.nullable().default(null),
  extra: t.any.default(null),
  parts: t.record(t.list(Point)).default(() => ({})),
  pair: t.tuple(t.i32, t.i32).nullable().default(null),
  raw: t.bytes.default(() => new Uint8Array(0)),
});
export const State = t.struct("conf/State", {
  peer: t.string,
  context: t.string,
  session: t.i32,
  count: t.i32,
  order: t.list(t.i32),
});
export const Flags = t.struct("conf/Flags", {
  a: t.bool.default(false),
  b: t.i32.default(0),
  c: t.string.default(""),
});
export const Maybe = t.struct("conf/Maybe", {
  a: t.i32.optional(),
  b: t.string.nullable(),
  c: Point.optional(),
});
export const Egg = t.struct("conf/Egg", { hen: t.lazy(() => Hen).optional() });
export const Hen = t.struct("conf/Hen", { eggs: t.list(Egg) });
export const DottedItem = t.struct("conf-test/v2.Item", { id: t.string });
export const Größe = t.struct("conf/Größe", { höhe: t.f64, ширина: t.f64 });
export const Stage = t.enum("conf/Stage", { open: "open", closed: "closed", half_open: "half_open" });
export const Customer = t.struct("conf/Customer", {
  name: t.string,
  email: t.string.optional(),
  tags: t.set(t.string),
});
export const Line = t.struct("conf/Line", {
  sku: t.string,
  amount: t.u32,
  price: t.f64,
  notes: t.list(t.string.nullable()).default(() => []),
});
export const Order = t.struct("conf/Order", {
  id: t.uuid,
  customer: Customer,
  lines: t.list(Line),
  stage: Stage,
  at: t.timestamp,
  took: t.duration.default(0),
  by_stage: t.map(Stage, t.list(Line)).default(() => new Map()),
  extra: t.record(t.any).default(() => ({})),
  where: t.tuple(t.f64, t.f64).optional(),
});
export const Wide = t.struct(
  "conf/Wide",
  Object.fromEntries(Array.from({ length: 20 }, (_, n) => [`f${String(n).padStart(2, "0")}`, t.i8.default(0)])),
);
