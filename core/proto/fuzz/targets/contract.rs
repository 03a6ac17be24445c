//! Contracts from any bytes, and payloads of any bytes against a contract that has every type.

#![no_main]

use std::sync::LazyLock;

use aster_proto::contract::{Compiled, Contract, ContractId, ServiceDescription, TypeId, compat};
use aster_proto::value::{self, Mode, json};
use aster_proto_fuzz::{bounded, damaged};
use libfuzzer_sys::fuzz_target;

const DESCRIPTION: &str = r#"{
    "name": "All", "version": 1, "scope": "session",
    "methods": [
        {"name": "all", "pattern": "unary", "request": {"t": "ref", "tag": "All"}, "response": {"t": "any"}},
        {"name": "watch", "pattern": "server_stream", "request": {"t": "null"}, "response": {"t": "ref", "tag": "Shape"}}
    ],
    "types": [
        {"kind": "struct", "tag": "All", "fields": [
            {"name": "flag", "type": {"t": "bool"}}, {"name": "small", "type": {"t": "i8"}},
            {"name": "big", "type": {"t": "u64"}}, {"name": "long", "type": {"t": "i64"}, "required": true},
            {"name": "single", "type": {"t": "f32"}}, {"name": "double", "type": {"t": "f64"}},
            {"name": "text", "type": {"t": "string"}}, {"name": "raw", "type": {"t": "bytes"}},
            {"name": "at", "type": {"t": "timestamp"}}, {"name": "took", "type": {"t": "duration"}},
            {"name": "id", "type": {"t": "uuid"}}, {"name": "free", "type": {"t": "any"}},
            {"name": "list", "type": {"t": "list", "item": {"t": "nullable", "item": {"t": "i32"}}}},
            {"name": "set", "type": {"t": "list", "item": {"t": "string"}, "unique": true}},
            {"name": "pair", "type": {"t": "tuple", "items": [{"t": "u8"}, {"t": "string"}]}},
            {"name": "map", "type": {"t": "map", "key": {"t": "string"}, "value": {"t": "any"}}},
            {"name": "numbers", "type": {"t": "map", "key": {"t": "u16"}, "value": {"t": "f64"}}},
            {"name": "colour", "type": {"t": "ref", "tag": "Colour"}}, {"name": "shape", "type": {"t": "ref", "tag": "Shape"}},
            {"name": "next", "type": {"t": "ref", "tag": "All"}, "nullable": true}
        ]},
        {"kind": "enum", "tag": "Colour", "values": ["red", "green"]},
        {"kind": "struct", "tag": "Circle", "fields": [{"name": "r", "type": {"t": "f64"}, "required": true}]},
        {"kind": "struct", "tag": "Square", "fields": [{"name": "a", "type": {"t": "i16"}, "required": true}]},
        {"kind": "union", "tag": "Shape", "members": ["Circle", "Square"]}
    ]
}"#;

static ALL: LazyLock<Compiled> = LazyLock::new(|| {
    let description = ServiceDescription::from_json(DESCRIPTION).expect("a description");
    Compiled::new(description.normalise().expect("valid").0)
});

/// `{"long": 1, "text": "x", "id": "…36 characters…", "shape": {"$type": "Circle", "r": 1.5}}` in MessagePack, by way of JSON.
static VALUE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let text = br#"{"long": 1, "text": "x", "at": "2026-01-01T00:00:00Z", "took": "1.5s", "list": [1, null], "set": ["a"],
        "pair": [1, "b"], "map": {"k": [1, {"x": null}]}, "numbers": {"1": 1.5}, "colour": "red", "raw": "AAE=",
        "id": "00112233-4455-6677-8899-aabbccddeeff", "shape": {"$type": "Circle", "r": 1.5}, "next": {"long": 2}}"#;
    json::to_msgpack(&ALL, types()[0], text, Mode::Send).expect("a value")
});

fn types() -> [TypeId; 3] {
    let (all, watch) = (
        ALL.method("all").expect("there"),
        ALL.method("watch").expect("there"),
    );
    [all.request, all.response, watch.response]
}

fn contract(bytes: &[u8]) {
    // Names and types are copied once, and entries of lists are larger than their bytes.
    let Ok(contract) = bounded(512 * bytes.len() + 65_536, || {
        Contract::from_canonical(bytes)
    }) else {
        return;
    };
    assert_eq!(contract.canonical(), bytes, "only canonical bytes are read");
    assert_eq!(contract.id(), ContractId::of_canonical(bytes));
    assert!(compat(&contract, &contract).is_compatible());
    let _ = compat(&contract, ALL.contract());
    let _ = compat(ALL.contract(), &contract);
    let compiled = Compiled::new(contract);
    for index in 0..4 {
        let Some(method) = compiled.method_at(index) else {
            break;
        };
        payload(&compiled, method.request, bytes);
    }
}

fn payload(compiled: &Compiled, ty: TypeId, bytes: &[u8]) {
    for mode in [Mode::Receive, Mode::Send] {
        let checked = bounded(64 * bytes.len() + 16_384, || {
            compiled.check(ty, bytes, mode)
        });
        let native = bounded(256 * bytes.len() + 16_384, || {
            value::normalise(compiled, ty, bytes, mode)
        });
        if let Ok(rewritten) = &native {
            let wire = rewritten.as_deref().unwrap_or(bytes);
            assert_eq!(
                compiled.check(ty, wire, mode),
                Ok(()),
                "what was normalised is not in wire form"
            );
        }
        if checked.is_err() {
            continue;
        }
        assert!(native.is_ok(), "wire form is refused as native form");
        let Ok(text) = json::from_msgpack(compiled, ty, bytes, mode) else {
            continue;
        };
        let back =
            json::to_msgpack(compiled, ty, &text, mode).expect("JSON that was written can be read");
        assert_eq!(
            compiled.check(ty, &back, mode),
            Ok(()),
            "{}",
            String::from_utf8_lossy(&text)
        );
        let again = json::from_msgpack(compiled, ty, &back, mode).expect("and written again");
        assert_eq!(again, text, "JSON changes when it is read and written");
    }
}

fn text(compiled: &Compiled, ty: TypeId, bytes: &[u8]) {
    for mode in [Mode::Receive, Mode::Send] {
        if let Ok(payload) = json::to_msgpack(compiled, ty, bytes, mode) {
            assert_eq!(compiled.check(ty, &payload, mode), Ok(()));
        }
    }
}

fn description(described: ServiceDescription) {
    let Ok((contract, manifest)) = described.normalise() else {
        return;
    };
    let canonical = contract.canonical();
    assert_eq!(Contract::from_canonical(&canonical).as_ref(), Ok(&contract));
    let again = ServiceDescription::of(&contract, &manifest)
        .normalise()
        .expect("its own description is valid");
    assert_eq!(again.0, contract);
}

fuzz_target!(|data: &[u8]| {
    let [choice, rest @ ..] = data else { return };
    let ty = types()[usize::from(choice >> 4) % 3];
    match choice & 0xf {
        0 => contract(rest),
        1 => contract(&damaged(ALL.canonical(), rest)),
        2 => payload(&ALL, ty, rest),
        3 => payload(&ALL, types()[0], &damaged(&VALUE, rest)),
        4 => text(&ALL, ty, rest),
        5 => {
            if let Ok(described) = ServiceDescription::from_msgpack(rest) {
                description(described);
            }
        }
        6 => {
            let bytes = damaged(DESCRIPTION.as_bytes(), rest);
            if let Ok(Ok(described)) =
                std::str::from_utf8(&bytes).map(ServiceDescription::from_json)
            {
                description(described);
            }
        }
        _ => {
            let described = std::str::from_utf8(rest).map(ServiceDescription::from_json);
            if let Ok(Ok(described)) = described {
                description(described);
            }
        }
    }
});
