//! The types of the conformance services, as Rust has them: for serde, and as they are declared.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use serde_json::Value;

use crate::declare::{
    any, boolean, bytes, duration, enumeration, f64_, field, i8_, i32_, i64_, list, map, nullable,
    of, optional, set, string, structure, timestamp, tuple, u32_, union, uuid,
};

/// A value that has no declared type.
pub(crate) type Any = rmpv::Value;

fn nil() -> Any {
    Any::Nil
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Text {
    pub(crate) text: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Blob {
    pub(crate) data: ByteBuf,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Number {
    pub(crate) n: i32,
}

#[derive(Deserialize)]
pub(crate) struct Fault {
    pub(crate) code: i32,
    pub(crate) message: String,
    #[serde(default = "nil")]
    pub(crate) details: Any,
    #[serde(default)]
    pub(crate) metadata: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize, Default)]
pub(crate) struct Talk {
    #[serde(default)]
    pub(crate) initial: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) trailing: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) peer: String,
    pub(crate) method: String,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) binary: BTreeMap<String, ByteBuf>,
    #[serde(default)]
    pub(crate) session: Option<i32>,
    #[serde(default)]
    pub(crate) left_ms: Option<f64>,
}

#[derive(Deserialize)]
pub(crate) struct Stream {
    pub(crate) n: i32,
    #[serde(default)]
    pub(crate) size: i32,
    #[serde(default)]
    pub(crate) hang: bool,
    #[serde(default)]
    pub(crate) fail: bool,
}

#[derive(Serialize)]
pub(crate) struct Item {
    pub(crate) n: i32,
    pub(crate) data: ByteBuf,
}

#[derive(Deserialize)]
pub(crate) struct Relay {
    pub(crate) address: String,
}

#[derive(Serialize, Deserialize, Default, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    #[default]
    Low,
    High,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Point {
    x: i32,
    y: i32,
    #[serde(default)]
    label: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Circle {
    center: Point,
    r: f64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Square {
    side: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "$type")]
pub(crate) enum Shape {
    #[serde(rename = "conf/Circle")]
    Circle(Circle),
    #[serde(rename = "conf/Square")]
    Square(Square),
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Node {
    value: i32,
    #[serde(default)]
    children: Vec<Node>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Record {
    id: i64,
    name: String,
    #[serde(default)]
    score: f64,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    level: Level,
    #[serde(default)]
    at: Option<i64>,
    #[serde(default)]
    shape: Option<Shape>,
    #[serde(default = "nil")]
    extra: Any,
    #[serde(default)]
    parts: BTreeMap<String, Vec<Point>>,
    #[serde(default)]
    pair: Option<(i32, i32)>,
    #[serde(default)]
    raw: ByteBuf,
}

#[derive(Serialize)]
pub(crate) struct State {
    pub(crate) peer: String,
    pub(crate) context: String,
    pub(crate) session: i32,
    pub(crate) count: i32,
    pub(crate) order: Vec<i32>,
}

/// The parameter of most methods of `Values`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Param<T> {
    pub(crate) value: T,
}

/// The same where it may be left out.
#[derive(Deserialize)]
pub(crate) struct MaybeParam {
    #[serde(default)]
    pub(crate) value: Option<i32>,
}

pub(crate) type Words = BTreeSet<String>;
pub(crate) type Codes = BTreeSet<i32>;

/// A UUID as it is on the wire.
pub(crate) type Uuid = ByteBuf;

/// Every named type, as declared. A contract keeps those that its methods reach.
pub(crate) fn all() -> Vec<Value> {
    vec![
        structure("conf/Text", vec![field("text", string())]),
        structure("conf/Blob", vec![field("data", bytes())]),
        structure("conf/Number", vec![field("n", i32_())]),
        structure(
            "conf/Fault",
            vec![
                field("code", i32_()),
                field("message", string()),
                optional("details", any()),
                optional("metadata", map(string(), string())),
            ],
        ),
        structure(
            "conf/Talk",
            vec![
                optional("initial", map(string(), string())),
                optional("trailing", map(string(), string())),
            ],
        ),
        structure(
            "conf/About",
            vec![
                field("peer", string()),
                field("method", string()),
                field("metadata", map(string(), string())),
                field("binary", map(string(), bytes())),
                optional("session", nullable(i32_())),
                optional("left_ms", nullable(f64_())),
            ],
        ),
        structure(
            "conf/Stream",
            vec![
                field("n", i32_()),
                optional("size", i32_()),
                optional("hang", boolean()),
                optional("fail", boolean()),
            ],
        ),
        structure(
            "conf/Item",
            vec![field("n", i32_()), optional("data", bytes())],
        ),
        structure("conf/Relay", vec![field("address", string())]),
        enumeration("conf/Level", &["low", "high"]),
        structure(
            "conf/Point",
            vec![
                field("x", i32_()),
                field("y", i32_()),
                optional("label", nullable(string())),
            ],
        ),
        structure(
            "conf/Circle",
            vec![field("center", of("conf/Point")), field("r", f64_())],
        ),
        structure("conf/Square", vec![field("side", f64_())]),
        union("conf/Shape", &["conf/Circle", "conf/Square"]),
        union(
            "conf/Circle.or.conf/Square",
            &["conf/Circle", "conf/Square"],
        ),
        structure(
            "conf/Node",
            vec![
                field("value", i32_()),
                optional("children", list(of("conf/Node"))),
            ],
        ),
        structure(
            "conf/Record",
            vec![
                field("id", i64_()),
                field("name", string()),
                optional("score", f64_()),
                optional("tags", list(string())),
                optional("level", of("conf/Level")),
                optional("at", nullable(timestamp())),
                optional("shape", nullable(of("conf/Shape"))),
                optional("extra", any()),
                optional("parts", map(string(), list(of("conf/Point")))),
                optional("pair", nullable(tuple(&[i32_(), i32_()]))),
                optional("raw", bytes()),
            ],
        ),
        structure(
            "conf/State",
            vec![
                field("peer", string()),
                field("context", string()),
                field("session", i32_()),
                field("count", i32_()),
                field("order", list(i32_())),
            ],
        ),
        structure(
            "conf/Flags",
            vec![
                optional("a", boolean()),
                optional("b", i32_()),
                optional("c", string()),
            ],
        ),
        structure(
            "conf/Maybe",
            vec![
                optional("a", nullable(i32_())),
                field("b", nullable(string())),
                optional("c", nullable(of("conf/Point"))),
            ],
        ),
        structure("conf/Egg", vec![optional("hen", nullable(of("conf/Hen")))]),
        structure("conf/Hen", vec![field("eggs", list(of("conf/Egg")))]),
        structure("conf-test/v2.Item", vec![field("id", string())]),
        structure(
            "conf/Größe",
            vec![field("höhe", f64_()), field("ширина", f64_())],
        ),
        enumeration("conf/Stage", &["open", "closed", "half_open"]),
        structure(
            "conf/Customer",
            vec![
                field("name", string()),
                optional("email", nullable(string())),
                field("tags", set(string())),
            ],
        ),
        structure(
            "conf/Line",
            vec![
                field("sku", string()),
                field("amount", u32_()),
                field("price", f64_()),
                optional("notes", list(nullable(string()))),
            ],
        ),
        structure(
            "conf/Order",
            vec![
                field("id", uuid()),
                field("customer", of("conf/Customer")),
                field("lines", list(of("conf/Line"))),
                field("stage", of("conf/Stage")),
                field("at", timestamp()),
                optional("took", duration()),
                optional("by_stage", map(of("conf/Stage"), list(of("conf/Line")))),
                optional("extra", map(string(), any())),
                optional("where", nullable(tuple(&[f64_(), f64_()]))),
            ],
        ),
        structure(
            "conf/Wide",
            (0..20)
                .map(|n| optional(&format!("f{n:02}"), i8_()))
                .collect(),
        ),
    ]
}
