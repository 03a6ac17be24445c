/** The services of the contract table that nothing calls: they are served, and typed clients are made of them. */

import { bidiStream, clientStream, defineService, rpc, serverStream, t, Unimplemented } from "@aster-rpc/aster";
import {
  Circle,
  Customer,
  DottedItem,
  Egg,
  Flags,
  Größe,
  Hen,
  Level,
  Maybe,
  Node,
  Num,
  Order,
  Point,
  Shape,
  Square,
  Text,
  Wide,
} from "./types.mjs";

/** A method `get` with a parameter `value` and the like for an answer. */
function ofParameter(name, type, parameter = type) {
  return ofStruct(name, t.struct(`${name}.get`, { value: parameter }), type);
}

/** A method `get` from one type to another. */
function ofStruct(name, request, response, options = {}) {
  return defineService({ name, ...options, methods: { get: rpc(request, response) } });
}

const scalars = [t.bool, t.i8, t.i16, t.i32, t.i64, t.u8, t.u16, t.u32, t.u64, t.f32, t.f64, t.string, t.bytes];
scalars.push(t.timestamp, t.duration, t.uuid, t.any);

export const CONTRACTS = [
  defineService({ name: "K01", methods: { ping: rpc(t.struct("K01.ping", {}), t.null) } }),
  ...scalars.map((type, at) => ofParameter(`K${String(at + 2).padStart(2, "0")}`, type)),
  ofParameter("K19", t.list(t.string)),
  ofParameter("K20", t.set(t.string)),
  ofParameter("K21", t.tuple(t.i32, t.string)),
  ofParameter("K22", t.record(t.i32)),
  ofParameter("K23", t.map(t.i32, t.string)),
  ofParameter("K24", t.i32.nullable(), t.i32.optional()),
  ofParameter("K25", t.list(t.list(t.f64))),
  ofParameter("K26", t.map(t.uuid, t.list(t.u8))),
  ofParameter("K27", Level),
  ofStruct("K28", Point, Point),
  ofStruct("K29", Flags, Flags),
  ofStruct("K30", Maybe, Maybe),
  ofStruct("K31", Shape, Shape),
  ofStruct("K32", Node, Node),
  ofStruct("K33", Hen, Egg),
  defineService({ name: "K34", methods: { watch: serverStream(Num, Text) } }),
  defineService({ name: "K35", methods: { push: clientStream(Text, Num) } }),
  defineService({ name: "K36", methods: { chat: bidiStream(Text, Text) } }),
  ofStruct("K37", Num, Num, { scoped: "session" }),
  ofStruct("K38", Num, Num, { version: 7 }),
  defineService({ name: "K39", methods: { get: rpc(Num, Num, { idempotent: true }) } }),
  defineService({
    name: "K40",
    methods: {
      a: rpc(Text, Text, { idempotent: true }),
      b: serverStream(Text, Num),
      c: clientStream(Num, Text),
      d: bidiStream(Num, Num),
    },
  }),
  defineService({ name: "K41", methods: { place: rpc(Order, Customer) } }),
  defineService({ name: "K42", methods: { zähle: rpc(Größe, Größe) } }),
  ofStruct("K43", DottedItem, DottedItem),
  ofParameter("K44", t.map(t.bool, t.i32)),
  ofParameter("K45", t.map(Level, t.string)),
  ofParameter("K46", t.list(t.i32.nullable())),
  ofParameter("K47", t.tuple(t.tuple(t.i32, t.i32), t.list(t.string))),
  ofParameter("K48", t.set(t.i32)),
  ofParameter("K49", t.list(Shape)),
  ofParameter("K50", t.record(t.any)),
  ofParameter("K51", t.list(t.any)),
  defineService({
    name: "K52",
    methods: { mix: rpc(t.struct("K52.mix", { a: t.i32, b: t.string.default(""), c: Point.optional() }), Point) },
  }),
  ofStruct("K53", Wide, Wide),
  ofStruct("K54", t.union(Circle, Square), t.union(Circle, Square)),
];

/** A service of the table with handlers that are never called. */
export function served(definition) {
  const never = () => {
    throw new Unimplemented("services of the contract table are not called");
  };
  const handlers = Object.fromEntries(Object.keys(definition.methods).map((name) => [name, never]));
  return definition.implement(definition.name === "K37" ? () => handlers : handlers);
}
