//! The shared table of values (conformance/vectors/values.json), in both codecs and both directions.

// A failed unwrap is a failed test.
#![allow(clippy::unwrap_used)]

use aster_proto::contract::{Compiled, ServiceDescription, TypeId};
use aster_proto::value::{self, Mode, json};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Vectors {
    types: Value,
    valid: Vec<Valid>,
    invalid: Vec<Invalid>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Valid {
    name: String,
    r#type: Value,
    msgpack: String,
    json: String,
    #[serde(default)]
    also_msgpack: Vec<String>,
    #[serde(default)]
    also_json: Vec<String>,
    #[serde(default)]
    native: Vec<String>,
    back: Option<String>,
    mode: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Invalid {
    name: String,
    r#type: Value,
    msgpack: Option<String>,
    json: Option<String>,
    mode: Option<String>,
    error: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../../conformance/vectors/values.json")).unwrap()
}

/// A contract whose only method takes values of this type.
fn compile(types: &Value, ty: &Value) -> (Compiled, TypeId) {
    let description = serde_json::json!({
        "name": "Vectors", "version": 1, "types": types,
        "methods": [{"name": "take", "pattern": "unary", "request": ty, "response": {"t": "null"}}]
    });
    let description = ServiceDescription::from_json(&description.to_string()).unwrap();
    let compiled = Compiled::new(description.normalise().unwrap().0);
    let ty = compiled.method("take").unwrap().request;
    (compiled, ty)
}

fn modes(mode: Option<&str>) -> &'static [Mode] {
    match mode {
        None => &[Mode::Receive, Mode::Send],
        Some("receive") => &[Mode::Receive],
        Some("send") => &[Mode::Send],
        Some(other) => panic!("no mode {other}"),
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn valid_values_pass_and_convert_both_ways() {
    let vectors = vectors();
    assert!(vectors.valid.len() >= 60);
    for vector in &vectors.valid {
        let (types, ty) = compile(&vectors.types, &vector.r#type);
        let name = &vector.name;
        let payload = bytes(&vector.msgpack);
        for mode in modes(vector.mode.as_deref()) {
            for msgpack in std::iter::once(&vector.msgpack).chain(&vector.also_msgpack) {
                let payload = bytes(msgpack);
                types
                    .check(ty, &payload, *mode)
                    .unwrap_or_else(|error| panic!("{name}: {msgpack}: {error}"));
                assert_eq!(
                    value::normalise(&types, ty, &payload, *mode),
                    Ok(None),
                    "{name}: {msgpack}"
                );
                let text = json::from_msgpack(&types, ty, &payload, *mode);
                let text = text.unwrap_or_else(|error| panic!("{name}: {msgpack}: {error}"));
                assert_eq!(
                    String::from_utf8(text).unwrap(),
                    vector.json,
                    "{name}: {msgpack}"
                );
            }
            for text in std::iter::once(&vector.json).chain(&vector.also_json) {
                let read = json::to_msgpack(&types, ty, text.as_bytes(), *mode);
                let read = read.unwrap_or_else(|error| panic!("{name}: {text}: {error}"));
                assert_eq!(
                    &hex(&read),
                    vector.back.as_ref().unwrap_or(&vector.msgpack),
                    "{name}: {text}"
                );
                types
                    .check(ty, &read, *mode)
                    .unwrap_or_else(|error| panic!("{name}: {text}: {error}"));
            }
            for native in &vector.native {
                let rewritten = value::normalise(&types, ty, &bytes(native), *mode);
                assert_eq!(rewritten, Ok(Some(payload.clone())), "{name}: {native}");
                assert!(
                    types.check(ty, &bytes(native), *mode).is_err(),
                    "{name}: {native}"
                );
            }
        }
    }
}

#[test]
fn s3_invalid_values_are_refused_with_their_path() {
    let vectors = vectors();
    for vector in &vectors.invalid {
        let (types, ty) = compile(&vectors.types, &vector.r#type);
        let name = &vector.name;
        assert!(vector.msgpack.is_some() || vector.json.is_some(), "{name}");
        for mode in modes(vector.mode.as_deref()) {
            if let Some(payload) = vector.msgpack.as_deref().map(bytes) {
                // What is unknown only to a sender must pass a receiver's check, and the other way round.
                let error = types.check(ty, &payload, *mode).expect_err(name);
                assert_eq!(error.to_string(), vector.error, "{name}");
                let error = json::from_msgpack(&types, ty, &payload, *mode).expect_err(name);
                assert_eq!(error.to_string(), vector.error, "{name}");
            }
            if let Some(text) = &vector.json {
                let error = json::to_msgpack(&types, ty, text.as_bytes(), *mode).expect_err(name);
                assert_eq!(error.to_string(), vector.error, "{name}: {text}");
            }
        }
    }
}

#[test]
fn keys_that_json_cannot_tell_apart_are_refused_on_the_way_there() {
    let (types, ty) = compile(&serde_json::json!([]), &serde_json::json!({"t": "any"}));
    let payload = bytes("918201c0a131c0");
    types.check(ty, &payload, Mode::Receive).unwrap();
    let error = json::from_msgpack(&types, ty, &payload, Mode::Receive).unwrap_err();
    assert_eq!(error.to_string(), "value at $[0]: duplicate map key \"1\"");
}
