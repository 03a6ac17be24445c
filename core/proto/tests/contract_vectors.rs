//! The shared table of contracts (conformance/vectors/contracts.json), and canonical bytes derived by hand.

// A failed unwrap is a failed test.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use aster_proto::contract::{Compiled, Contract, ContractId, ServiceDescription, compat};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Vectors {
    contracts: Vec<Valid>,
    invalid: Vec<Invalid>,
}

#[derive(Deserialize)]
struct Valid {
    name: String,
    same_as: Option<String>,
    description: Value,
    id: String,
}

#[derive(Deserialize)]
struct Invalid {
    name: String,
    description: Value,
    error: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../../conformance/vectors/contracts.json")).unwrap()
}

fn contract(description: &Value) -> Contract {
    let description = ServiceDescription::from_json(&description.to_string()).unwrap();
    description
        .normalise()
        .unwrap_or_else(|error| panic!("{error}"))
        .0
}

#[test]
fn k1_contracts_have_the_ids_of_the_shared_table() {
    let vectors = vectors().contracts;
    assert!(vectors.len() >= 40, "{}", vectors.len());
    for vector in vectors {
        assert_eq!(
            contract(&vector.description).id().to_string(),
            vector.id,
            "{}",
            vector.name
        );
    }
}

#[test]
fn k1_equal_services_have_equal_ids_and_others_differ() {
    let vectors = vectors().contracts;
    let mut by_id: BTreeMap<&str, &str> = BTreeMap::new();
    for vector in vectors.iter().filter(|vector| vector.same_as.is_none()) {
        if let Some(other) = by_id.insert(&vector.id, &vector.name) {
            panic!("{} has the id of {other}", vector.name);
        }
    }
    for vector in &vectors {
        let Some(same_as) = &vector.same_as else {
            continue;
        };
        assert_eq!(
            by_id.get(vector.id.as_str()),
            Some(&same_as.as_str()),
            "{}",
            vector.name
        );
    }
}

#[test]
fn k1_msgpack_and_json_descriptions_are_the_same() {
    for vector in vectors().contracts {
        let from_json = ServiceDescription::from_json(&vector.description.to_string()).unwrap();
        // Packed by another writer than ours, from the JSON as it stands.
        let packed = rmp_serde::to_vec(&vector.description).unwrap();
        assert_eq!(
            ServiceDescription::from_msgpack(&packed).unwrap(),
            from_json,
            "{}",
            vector.name
        );
        let again = ServiceDescription::from_msgpack(&from_json.to_msgpack().unwrap()).unwrap();
        assert_eq!(again, from_json, "{}", vector.name);
        let again = ServiceDescription::from_json(&from_json.to_json().unwrap()).unwrap();
        assert_eq!(again, from_json, "{}", vector.name);
    }
}

#[test]
fn k1_describing_a_contract_gives_the_same_contract() {
    for vector in vectors().contracts {
        let description = ServiceDescription::from_json(&vector.description.to_string()).unwrap();
        let (contract, manifest) = description.normalise().unwrap();
        let described = ServiceDescription::of(&contract, &manifest);
        assert_eq!(
            described.normalise().unwrap(),
            (contract, manifest),
            "{}",
            vector.name
        );
    }
}

#[test]
fn k2_canonical_bytes_read_back_to_the_same_contract() {
    for vector in vectors().contracts {
        let contract = contract(&vector.description);
        let canonical = contract.canonical();
        assert_eq!(
            ContractId::of_canonical(&canonical).to_string(),
            vector.id,
            "{}",
            vector.name
        );
        assert_eq!(
            Contract::from_canonical(&canonical).as_ref(),
            Ok(&contract),
            "{}",
            vector.name
        );
        let compiled = Compiled::new(contract);
        assert_eq!(compiled.canonical(), canonical);
        assert_eq!(compiled.id().to_string(), vector.id);
    }
}

#[test]
fn invalid_descriptions_are_refused_with_their_place() {
    for vector in vectors().invalid {
        let error = match ServiceDescription::from_json(&vector.description.to_string()) {
            Ok(description) => description.normalise().expect_err(&vector.name).to_string(),
            Err(error) => error.to_string(),
        };
        // The JSON parser adds a position of its own.
        let error = error.split(" at line ").next().unwrap_or_default();
        assert_eq!(error, vector.error, "{}", vector.name);
        // The same through MessagePack.
        let packed = rmp_serde::to_vec(&vector.description).unwrap();
        let error = match ServiceDescription::from_msgpack(&packed) {
            Ok(description) => description.normalise().expect_err(&vector.name).to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(error, vector.error, "{}", vector.name);
    }
}

#[test]
fn k3_the_guides_service_in_python_and_typescript_goes_both_ways() {
    let vectors = vectors().contracts;
    let named = |name: &str| {
        contract(
            &vectors
                .iter()
                .find(|vector| vector.name == name)
                .unwrap()
                .description,
        )
    };
    let python = named("MissionControl of the guide's chapter 3");
    let typescript = named("MissionControl of chapter 3 in TypeScript");
    let place = "ingestMetrics.request.tags[value]";
    for (client, server, text) in [
        (
            &python,
            &typescript,
            "any for the client, string on the server: checked per value",
        ),
        (
            &typescript,
            &python,
            "string for the client, any on the server: checked per value",
        ),
    ] {
        assert_eq!(
            compat(client, server).to_string(),
            format!("note: {place}: {text}")
        );
    }
    // Chapter 1's client, whose service had fewer methods, keeps working.
    let old = compat(&named("MissionControl of the guide's chapter 1"), &python);
    assert!(old.is_compatible());
    assert_eq!(old.notes.len(), 3, "{old}");
}

/// The blocks of contract-canonical.txt: a line `== name`, then hex with `#` comments.
fn by_hand() -> Vec<(String, Vec<u8>)> {
    let mut blocks: Vec<(String, Vec<u8>)> = Vec::new();
    for line in include_str!("../../../conformance/vectors/contract-canonical.txt").lines() {
        if let Some(name) = line.strip_prefix("== ") {
            blocks.push((name.to_owned(), Vec::new()));
        } else if let Some((_, bytes)) = blocks.last_mut() {
            let hex: String = line
                .split('#')
                .next()
                .unwrap_or_default()
                .split_whitespace()
                .collect();
            bytes.extend(
                (0..hex.len())
                    .step_by(2)
                    .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()),
            );
        }
    }
    blocks
}

#[test]
fn k1_canonical_bytes_are_those_derived_by_hand() {
    let vectors = vectors().contracts;
    let blocks = by_hand();
    assert!(blocks.len() >= 3);
    for (name, bytes) in blocks {
        let vector = vectors
            .iter()
            .find(|vector| vector.name == name)
            .unwrap_or_else(|| panic!("no contract {name}"));
        let canonical = contract(&vector.description).canonical();
        assert_eq!(hex(&canonical), hex(&bytes), "{name}");
        assert_eq!(
            ContractId::of_canonical(&bytes).to_string(),
            vector.id,
            "{name}"
        );
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn bytes_that_no_encoder_writes_are_refused() {
    let canonical = |hex: &str| -> Vec<u8> {
        let hex: String = hex.split_whitespace().collect();
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect()
    };
    assert!(Contract::from_canonical(&canonical("96 01 a1 53 01 00 90 90")).is_ok());
    for (what, hex, text) in [
        ("nothing", "", "expected a contract at byte 0"),
        (
            "a shorter record",
            "95 01 a1 53 01 00 90",
            "expected a contract at byte 0",
        ),
        (
            "a newer format",
            "96 02 a1 53 01 00 90 90",
            "format 2; this version reads 1: update Aster",
        ),
        (
            "a longer integer",
            "96 01 a1 53 cc01 00 90 90",
            "not in canonical form",
        ),
        (
            "a longer string",
            "96 01 d901 53 01 00 90 90",
            "not in canonical form",
        ),
        (
            "a longer array",
            "dc0006 01 a1 53 01 00 90 90",
            "not in canonical form",
        ),
        (
            "a float",
            "96 01 a1 53 ca3f800000 00 90 90",
            "expected a version at byte 4",
        ),
        (
            "version 0",
            "96 01 a1 53 00 00 90 90",
            "versions start at 1",
        ),
        (
            "another scope",
            "96 01 a1 53 01 02 90 90",
            "expected a scope at byte 5",
        ),
        (
            "more bytes",
            "96 01 a1 53 01 00 90 90 c0",
            "expected end of the contract at byte 8",
        ),
        (
            "fewer bytes",
            "96 01 a1 53 01 00 90",
            "expected the types at byte 7",
        ),
        (
            "a name that is not UTF-8",
            "96 01 a1 ff 01 00 90 90",
            "expected the service's name at byte 2",
        ),
        (
            "an unreachable type",
            "96 01 a1 53 01 00 90 91 93 01 a1 45 91 a1 78",
            "not in canonical form",
        ),
        (
            "methods out of order",
            "96 01 a1 53 01 00 92 95 a1 62 00 00 00 c2 95 a1 61 00 00 00 c2 90",
            "not in canonical form",
        ),
        (
            "a nullable any",
            "96 01 a1 53 01 00 91 95 a1 61 00 92 24 11 00 c2 90",
            "not in canonical form",
        ),
        (
            "an unknown type code",
            "96 01 a1 53 01 00 91 95 a1 61 00 12 00 c2 90",
            "expected a type at byte 11",
        ),
        (
            "an unknown reference",
            "96 01 a1 53 01 00 91 95 a1 61 00 92 25 a1 54 00 c2 90",
            "unknown type T",
        ),
        (
            "four billion methods",
            "96 01 a1 53 01 00 dd ffffffff",
            "expected a method at byte 11",
        ),
    ] {
        let error = Contract::from_canonical(&canonical(hex))
            .expect_err(what)
            .to_string();
        assert!(error.contains(text), "{what}: {error}");
    }
    // Deep nesting ends at the limit of types, not of the stack.
    let mut deep = canonical("96 01 a1 53 01 00 91 95 a1 61 00");
    deep.extend(std::iter::repeat_n([0x92, 0x20], 100_000).flatten());
    assert!(
        Contract::from_canonical(&deep)
            .unwrap_err()
            .to_string()
            .contains("expected a type at byte 77")
    );
    assert!(
        Contract::from_canonical(&vec![0x90; (1 << 20) + 1])
            .unwrap_err()
            .to_string()
            .contains("at most 1048576")
    );
}

#[test]
fn ids_are_read_as_they_are_shown() {
    let id = contract(&vectors().contracts[0].description).id();
    assert_eq!(id.to_string().parse(), Ok(id));
    assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
    for bad in [
        "",
        "00",
        &"0".repeat(63),
        &"0".repeat(65),
        &"g".repeat(64),
        &"é".repeat(32),
        &format!("+{}", "0".repeat(63)),
    ] {
        assert!(bad.parse::<ContractId>().is_err(), "{bad}");
    }
}

#[test]
fn a_description_says_where_it_is_wrong() {
    let error = |json: &str| ServiceDescription::from_json(json).unwrap_err().to_string();
    assert_eq!(
        error(r#"{"name": "S", "version": 1, "methods": [{"name": "a", "pattern": "unary", "request": {"t": "list", "item": {"t": "lst"}}, "response": {"t": "null"}}]}"#)
            .split(';').next(),
        Some("contract: methods[0].request.item: unknown type \"lst\"")
    );
    assert!(
        error(r#"{"name": "S", "version": "1", "methods": []}"#)
            .starts_with("contract: version: invalid type: string")
    );
    assert!(
        error(r#"{"name": "S", "version": 1, "methods": [], "more": 1}"#)
            .contains("unknown field `more`")
    );
    assert!(error(r#"{"name": "S", "version": 1}"#).contains("missing field `methods`"));
    let nested = format!(
        r#"{{"name": "S", "version": 1, "methods": [{{"name": "a", "pattern": "unary", "response": {{"t": "null"}}, "request": {}"#,
        r#"{"t": "list", "item": "#.repeat(10_000)
    );
    assert!(error(&nested).contains("recursion limit exceeded"));

    let mut packed =
        rmp_serde::to_vec(&serde_json::json!({"name": "S", "version": 1, "methods": []})).unwrap();
    assert!(ServiceDescription::from_msgpack(&packed).is_ok());
    packed.push(0);
    let error = ServiceDescription::from_msgpack(&packed).unwrap_err();
    assert_eq!(
        error.to_string(),
        "contract: 1 bytes after the end of the description"
    );
}

#[test]
fn a_manifest_survives_and_does_not_count() {
    let json = serde_json::json!({
        "name": "S", "version": 1,
        "methods": [{"name": "a", "pattern": "unary", "request": {"t": "ref", "tag": "R"}, "response": {"t": "null"}}],
        "types": [
            {"kind": "struct", "tag": "R", "fields": [{"name": "x", "type": {"t": "any"}}, {"name": "y", "type": {"t": "any"}}]},
            {"kind": "struct", "tag": "Unused", "fields": []}
        ],
        "manifest": {
            "doc": "What it does.", "from_a_newer_version": 1,
            "requires": {"any_of": ["a", "b"]},
            "methods": {"a": {"timeout_ms": 5, "requires": "admin", "metadata": {"k": "v"}}},
            "types": {"R": {"fields": {"x": {"default": null}, "y": {"default": [1, "a", 1.5]}}}, "Unused": {"doc": "dropped"}}
        }
    });
    let description = ServiceDescription::from_msgpack(&rmp_serde::to_vec(&json).unwrap()).unwrap();
    let (with, manifest) = description.normalise().unwrap();
    let fields = &manifest.types["R"].fields;
    assert_eq!(fields["x"].default, Some(rmpv::Value::Nil));
    assert_eq!(
        fields["y"].default,
        Some(rmpv::Value::Array(vec![1.into(), "a".into(), 1.5.into()]))
    );
    assert!(!manifest.types.contains_key("Unused"));
    let described = ServiceDescription::of(&with, &manifest)
        .to_msgpack()
        .unwrap();
    assert_eq!(
        ServiceDescription::from_msgpack(&described)
            .unwrap()
            .manifest,
        manifest
    );

    let mut plain = json.clone();
    plain.as_object_mut().unwrap().remove("manifest");
    assert_eq!(contract(&plain).id(), with.id());
}
