//! The check of payload bytes: what it accepts, and what it says of the rest.

// A failed unwrap is a failed test.
#![allow(clippy::unwrap_used)]

use aster_proto::contract::{Compiled, ServiceDescription, TypeId};
use aster_proto::value::{self, Mode};

const LOG: &str = r#"{
    "name": "Logs", "version": 1,
    "methods": [{"name": "submit", "pattern": "unary", "request": {"t": "ref", "tag": "Entry"}, "response": {"t": "null"}}],
    "types": [
        {"kind": "struct", "tag": "Entry", "fields": [
            {"name": "message", "type": {"t": "string"}, "required": true},
            {"name": "count", "type": {"t": "i32"}},
            {"name": "at", "type": {"t": "timestamp"}},
            {"name": "id", "type": {"t": "uuid"}},
            {"name": "weight", "type": {"t": "f64"}, "nullable": true},
            {"name": "tags", "type": {"t": "list", "item": {"t": "string"}, "unique": true}},
            {"name": "by_id", "type": {"t": "map", "key": {"t": "uuid"}, "value": {"t": "ref", "tag": "Entry"}}},
            {"name": "level", "type": {"t": "ref", "tag": "Level"}},
            {"name": "extra", "type": {"t": "any"}}
        ]},
        {"kind": "enum", "tag": "Level", "values": ["info", "error"]}
    ]
}"#;

fn entry() -> (Compiled, TypeId) {
    let (contract, _) = ServiceDescription::from_json(LOG)
        .unwrap()
        .normalise()
        .unwrap();
    let compiled = Compiled::new(contract);
    let request = compiled.method("submit").unwrap().request;
    (compiled, request)
}

/// MessagePack of a JSON value, plus what JSON cannot say: an object with the one key `$hex` is these bytes as they are.
fn pack(json: &serde_json::Value) -> Vec<u8> {
    use serde_json::Value::{Array, Object};
    let mut out = Vec::new();
    match json {
        Object(map) if map.contains_key("$hex") => {
            let hex: String = map["$hex"].as_str().unwrap().split_whitespace().collect();
            out.extend(
                (0..hex.len())
                    .step_by(2)
                    .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()),
            );
        }
        Object(map) => {
            rmp::encode::write_map_len(&mut out, map.len() as u32).unwrap();
            for (key, value) in map {
                rmp::encode::write_str(&mut out, key).unwrap();
                out.extend(pack(value));
            }
        }
        Array(items) => {
            rmp::encode::write_array_len(&mut out, items.len() as u32).unwrap();
            items.iter().for_each(|item| out.extend(pack(item)));
        }
        scalar => out = rmp_serde::to_vec(scalar).unwrap(),
    }
    out
}

macro_rules! packed { ($($json:tt)+) => { pack(&serde_json::json!($($json)+)) } }

fn receive(payload: &[u8]) -> Result<(), String> {
    let (types, ty) = entry();
    types
        .check(ty, payload, Mode::Receive)
        .map_err(|error| error.to_string())
}

fn send(payload: &[u8]) -> Result<(), String> {
    let (types, ty) = entry();
    types
        .check(ty, payload, Mode::Send)
        .map_err(|error| error.to_string())
}

fn says(result: Result<(), String>, text: &str) {
    assert_eq!(result, Err(text.to_owned()));
}

#[test]
fn s3_a_missing_optional_field_is_fine_and_a_missing_required_one_is_named() {
    assert_eq!(receive(&packed!({"message": "hi"})), Ok(()));
    says(
        receive(&packed!({"count": 1})),
        "`message` at $.message: missing required field of Entry",
    );
}

#[test]
fn s3_a_wrong_type_is_named_with_its_path() {
    says(
        receive(&packed!({"message": "hi", "count": "x"})),
        "`count` at $.count: expected i32, got string",
    );
    says(
        receive(&packed!({"message": null})),
        "`message` at $.message: expected string, got null",
    );
    says(
        receive(&packed!({"message": "hi", "weight": "x"})),
        "`weight` at $.weight: expected f64 or null, got string",
    );
    says(
        receive(&packed!({"message": "hi", "count": 1.0})),
        "`count` at $.count: expected i32, got float",
    );
    says(
        receive(&packed!({"message": "hi", "count": 2147483648_u32})),
        "`count` at $.count: 2147483648 is out of range for i32 (-2147483648 to 2147483647)",
    );
    says(
        receive(&packed!({"message": "hi", "tags": ["a", 2]})),
        "value at $.tags[1]: expected string, got int",
    );
    says(
        receive(&packed!([1])),
        "value at $: expected struct Entry, got list",
    );
    says(
        receive(&packed!({"message": "hi", "level": "warn"})),
        "`level` at $.level: `warn` is not a value of Level; its values are: error, info",
    );
}

#[test]
fn an_int_goes_for_a_float_but_never_the_reverse() {
    assert_eq!(receive(&packed!({"message": "hi", "weight": 3})), Ok(()));
    assert_eq!(receive(&packed!({"message": "hi", "weight": -3})), Ok(()));
    assert_eq!(receive(&packed!({"message": "hi", "weight": null})), Ok(()));
}

#[test]
fn a_receiver_ignores_unknown_fields_and_a_sender_refuses_them() {
    let payload = packed!({"mesage": [1, {"x": null}], "message": "hi"});
    assert_eq!(receive(&payload), Ok(()));
    says(
        send(&payload),
        "`mesage` at $.mesage: unknown field of Entry; did you mean `message`?",
    );
    says(
        send(&packed!({"colour of it": 1})),
        "`colour of it` at $[\"colour of it\"]: unknown field of Entry; its fields are: \
         at, by_id, count, extra, id, level, message, tags, weight",
    );
}

#[test]
fn nested_places_are_named() {
    let inner = packed!({"message": "hi", "count": true});
    let payload = [
        &[0x82][..],
        &packed!("message"),
        &packed!("x"),
        &packed!("by_id"),
        &[0x81, 0xc4, 0x10],
        &[7; 16],
        &inner,
    ]
    .concat();
    says(
        receive(&payload),
        "`count` at $.by_id[07070707-0707-0707-0707-070707070707].count: expected i32, got bool",
    );
}

#[test]
fn duplicates_are_refused() {
    let field = [
        &[0x82][..],
        &packed!("message"),
        &packed!("x"),
        &packed!("message"),
        &packed!("y"),
    ]
    .concat();
    says(receive(&field), "`message` at $.message: duplicate field");
    says(
        receive(&packed!({"message": "x", "tags": ["a", "b", "a"]})),
        "value at $.tags[2]: duplicate item in a set",
    );
    let many: Vec<String> = (0..40).map(|index| (index % 39).to_string()).collect();
    says(
        receive(&packed!({"message": "x", "tags": many})),
        "value at $.tags[39]: duplicate item in a set",
    );
    // 1 as a fixint and as a u8 is the same key.
    let extra = packed!({"message": "x", "extra": {"$hex": "82 01 c0 cc01 c0"}});
    says(receive(&extra), "`extra` at $.extra: duplicate map key 1");
}

#[test]
fn c9_bad_bytes_are_named() {
    let good = packed!({"message": "hi", "count": 5});
    says(
        receive(&[]),
        "value at $: truncated: the payload ends inside this value",
    );
    says(
        receive(&good[..good.len() - 1]),
        "`message` at $.message: truncated: the payload ends inside this value",
    );
    says(
        receive(&[&good[..], &[0, 0]].concat()),
        "value at $: 2 bytes after the end of the value",
    );
    says(
        receive(&packed!({"message": {"$hex": "a1ff"}})),
        "`message` at $.message: invalid UTF-8 in string",
    );
    says(
        receive(&packed!({"extra": {"$hex": "c1"}})),
        "`extra` at $.extra: byte 0xc1 is not MessagePack",
    );
    says(
        receive(&packed!({"extra": {"$hex": "d4 05 00"}})),
        "`extra` at $.extra: expected any, got extension 5",
    );
    // A promise of four billion items ends at once.
    says(
        receive(&packed!({"extra": {"$hex": "dd ffffffff"}})),
        "`extra` at $.extra: truncated: the payload ends inside this value",
    );
}

#[test]
fn depth_is_bounded_at_64() {
    // The struct is level 1; 63 arrays inside it reach level 64.
    let nested = |arrays: usize| {
        let mut payload = vec![0x82];
        payload.extend(packed!("message"));
        payload.extend(packed!("x"));
        payload.extend(packed!("extra"));
        payload.extend(vec![0x91; arrays]);
        payload.push(0xc0);
        payload
    };
    assert_eq!(receive(&nested(63)), Ok(()));
    let error = receive(&nested(64)).unwrap_err();
    assert!(
        error.ends_with("nested more than 64 levels deep"),
        "{error}"
    );
    let unknown: Vec<u8> = nested(100_000)
        .iter()
        .map(|byte| if *byte == 0x65 { 0x66 } else { *byte })
        .collect();
    assert!(
        receive(&unknown)
            .unwrap_err()
            .contains("nested more than 64 levels deep")
    );
}

#[test]
fn native_forms_are_rewritten_by_senders_and_refused_by_receivers() {
    let (types, ty) = entry();
    let uuid = "F81D4FAE-7dec-11d0-a765-00a0c91e6bf6";
    let native = packed!({"at": {"$hex": "d6ff 00000001"}, "count": 7, "id": uuid, "message": "x"});
    let wire = packed!({
        "at": 1_000_000_000,
        "count": 7,
        "id": {"$hex": "c410 f81d4fae7dec11d0a76500a0c91e6bf6"},
        "message": "x"
    });
    assert_eq!(
        value::normalise(&types, ty, &native, Mode::Send),
        Ok(Some(wire.clone()))
    );
    assert_eq!(value::normalise(&types, ty, &wire, Mode::Send), Ok(None));
    says(
        receive(&native),
        "`at` at $.at: expected timestamp, got extension -1",
    );
    says(
        receive(&packed!({"message": "x", "id": uuid})),
        "`id` at $.id: expected uuid, got string",
    );
    let iso = packed!({"message": "x", "at": "2026-01-01T00:00:00Z"});
    let error = value::normalise(&types, ty, &iso, Mode::Send).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`at` at $.at: expected timestamp, got string"
    );
}

#[test]
fn c9_many_keys_cost_little_memory_and_time() {
    // 400,000 entries in 2 MB: the worst a peer can put into a message of that size, in an order that helps nobody.
    let (types, ty) = entry();
    let map = |last: u32| {
        let mut payload = packed!({"message": "x"});
        payload[0] = 0x82;
        payload.extend(packed!("extra"));
        rmp::encode::write_map_len(&mut payload, 400_001).unwrap();
        for key in (0..400_000_u32)
            .map(|n| n.wrapping_mul(2_654_435_761))
            .chain([last])
        {
            rmp::encode::write_u32(&mut payload, key).unwrap();
            payload.push(0xc0);
        }
        payload
    };
    // The multiplier is odd, so that no two products are equal; 1 is the product of none of those n.
    assert_eq!(types.check(ty, &map(1), Mode::Receive), Ok(()));
    let twice = 399_999_u32.wrapping_mul(2_654_435_761);
    let error = types.check(ty, &map(twice), Mode::Receive).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("`extra` at $.extra: duplicate map key {twice}")
    );
}
