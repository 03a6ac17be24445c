//! Compatibility of contracts: a table of differences, both ways.

// A failed unwrap is a failed test.
#![allow(clippy::unwrap_used)]

use aster_proto::contract::{Compat, Contract, ServiceDescription, compat};
use serde_json::{Value, json};

fn contract(description: &Value) -> Contract {
    ServiceDescription::from_json(&description.to_string())
        .unwrap()
        .normalise()
        .unwrap()
        .0
}

/// A service with one method that takes a `Req` and gives a `Res`, with these fields.
fn service(request: Value, response: Value, more: Value) -> Value {
    let mut types = vec![
        json!({"kind": "struct", "tag": "Req", "fields": request}),
        json!({"kind": "struct", "tag": "Res", "fields": response}),
    ];
    types.extend(more.as_array().unwrap().clone());
    json!({
        "name": "S", "version": 1,
        "methods": [{"name": "get", "pattern": "unary", "request": {"t": "ref", "tag": "Req"}, "response": {"t": "ref", "tag": "Res"}}],
        "types": types
    })
}

fn field(name: &str, ty: Value) -> Value {
    json!({"name": name, "type": ty})
}

fn required(name: &str, ty: Value) -> Value {
    json!({"name": name, "type": ty, "required": true})
}

fn scalar(name: &str) -> Value {
    json!({"t": name})
}

fn texts(found: &[aster_proto::contract::Difference]) -> Vec<String> {
    found.iter().map(ToString::to_string).collect()
}

fn compare(client: &Value, server: &Value) -> (Vec<String>, Vec<String>) {
    let Compat { breaking, notes } = compat(&contract(client), &contract(server));
    (texts(&breaking), texts(&notes))
}

/// A request field of the client against one of the server, then the same as a response field.
fn by_way(client: Value, server: Value, more: Value) -> [(Vec<String>, Vec<String>); 2] {
    let none = || json!([]);
    let request = compare(
        &service(client.clone(), none(), more.clone()),
        &service(server.clone(), none(), more.clone()),
    );
    let response = compare(
        &service(none(), client, more.clone()),
        &service(none(), server, more),
    );
    [request, response]
}

#[derive(Debug, PartialEq)]
enum Weight {
    Same,
    Note,
    Breaking,
}

fn weight((breaking, notes): &(Vec<String>, Vec<String>)) -> Weight {
    match (breaking.is_empty(), notes.is_empty()) {
        (true, true) => Weight::Same,
        (true, false) => Weight::Note,
        (false, _) => Weight::Breaking,
    }
}

#[test]
fn k3_fields_by_the_side_that_sends() {
    use Weight::{Breaking, Note, Same};
    let string = || scalar("string");
    let nullable = || json!({"t": "nullable", "item": {"t": "string"}});
    let list = |item: Value| json!({"t": "list", "item": item});
    let set = |item: Value| json!({"t": "list", "item": item, "unique": true});
    let tuple = |items: Value| json!({"t": "tuple", "items": items});
    let map = |key: Value, value: Value| json!({"t": "map", "key": key, "value": value});
    // What the client has, what the server has, in requests, in responses.
    let table = [
        (
            json!([field("a", string())]),
            json!([field("a", string())]),
            Same,
            Same,
        ),
        (json!([]), json!([field("a", string())]), Note, Note),
        (json!([]), json!([required("a", string())]), Breaking, Note),
        (json!([field("a", string())]), json!([]), Breaking, Breaking),
        (
            json!([required("a", string())]),
            json!([]),
            Breaking,
            Breaking,
        ),
        (
            json!([field("a", string())]),
            json!([field("b", string())]),
            Breaking,
            Breaking,
        ),
        (
            json!([field("a", string())]),
            json!([required("a", string())]),
            Breaking,
            Note,
        ),
        (
            json!([required("a", string())]),
            json!([field("a", string())]),
            Note,
            Breaking,
        ),
        (
            json!([field("a", nullable())]),
            json!([field("a", string())]),
            Breaking,
            Note,
        ),
        (
            json!([field("a", string())]),
            json!([field("a", nullable())]),
            Note,
            Breaking,
        ),
        (
            json!([field("a", scalar("i32"))]),
            json!([field("a", scalar("i64"))]),
            Breaking,
            Breaking,
        ),
        (
            json!([field("a", scalar("i64"))]),
            json!([field("a", scalar("f64"))]),
            Breaking,
            Breaking,
        ),
        (
            json!([field("a", scalar("any"))]),
            json!([field("a", string())]),
            Note,
            Note,
        ),
        (
            json!([field("a", string())]),
            json!([field("a", scalar("any"))]),
            Note,
            Note,
        ),
        (
            json!([field("a", nullable())]),
            json!([field("a", scalar("any"))]),
            Note,
            Note,
        ),
        (
            json!([field("a", scalar("any"))]),
            json!([field("a", scalar("any"))]),
            Same,
            Same,
        ),
        (
            json!([field("a", list(string()))]),
            json!([field("a", list(string()))]),
            Same,
            Same,
        ),
        (
            json!([field("a", list(string()))]),
            json!([field("a", list(scalar("any")))]),
            Note,
            Note,
        ),
        (
            json!([field("a", list(string()))]),
            json!([field("a", list(scalar("i64")))]),
            Breaking,
            Breaking,
        ),
        (
            json!([field("a", list(string()))]),
            json!([field("a", set(string()))]),
            Breaking,
            Breaking,
        ),
        (
            json!([field("a", list(nullable()))]),
            json!([field("a", list(string()))]),
            Breaking,
            Note,
        ),
        (
            json!([field("a", list(string()))]),
            json!([field("a", list(nullable()))]),
            Note,
            Breaking,
        ),
        (
            json!([field("a", tuple(json!([{"t": "i8"}])))]),
            json!([field("a", tuple(json!([{"t": "i8"}, {"t": "i8"}])))]),
            Breaking,
            Breaking,
        ),
        (
            json!([field("a", tuple(json!([{"t": "i8"}])))]),
            json!([field("a", tuple(json!([{"t": "any"}])))]),
            Note,
            Note,
        ),
        (
            json!([field("a", map(string(), scalar("any")))]),
            json!([field("a", map(string(), string()))]),
            Note,
            Note,
        ),
        (
            json!([field("a", map(string(), list(scalar("any"))))]),
            json!([field("a", map(string(), list(list(string()))))]),
            Note,
            Note,
        ),
        (
            json!([field("a", map(string(), string()))]),
            json!([field("a", map(scalar("i64"), string()))]),
            Breaking,
            Breaking,
        ),
        (
            json!([field("a", json!({"t": "ref", "tag": "P"}))]),
            json!([field("a", json!({"t": "ref", "tag": "Q"}))]),
            Breaking,
            Breaking,
        ),
        (
            json!([field("a", json!({"t": "ref", "tag": "P"}))]),
            json!([field("a", scalar("any"))]),
            Note,
            Note,
        ),
        (
            json!([field("a", json!({"t": "ref", "tag": "P"}))]),
            json!([field("a", map(string(), scalar("any")))]),
            Breaking,
            Breaking,
        ),
    ];
    let more = json!([{"kind": "struct", "tag": "P", "fields": []}, {"kind": "struct", "tag": "Q", "fields": []}]);
    for (client, server, request, response) in table {
        let found = by_way(client.clone(), server.clone(), more.clone());
        assert_eq!(
            weight(&found[0]),
            request,
            "request: {client} against {server}: {found:?}"
        );
        assert_eq!(
            weight(&found[1]),
            response,
            "response: {client} against {server}: {found:?}"
        );
    }
}

#[test]
fn k3_enums_and_unions_by_the_side_that_sends() {
    let fields = json!([
        field("e", json!({"t": "ref", "tag": "E"})),
        field("u", json!({"t": "ref", "tag": "U"}))
    ]);
    let types = |values: Value, members: Value| {
        json!([
            {"kind": "enum", "tag": "E", "values": values}, {"kind": "union", "tag": "U", "members": members},
            {"kind": "struct", "tag": "A", "fields": []}, {"kind": "struct", "tag": "B", "fields": []}
        ])
    };
    let small = types(json!(["x"]), json!(["A"]));
    let big = types(json!(["x", "y"]), json!(["A", "B"]));
    let request = |more: &Value| service(fields.clone(), json!([]), more.clone());
    let response = |more: &Value| service(json!([]), fields.clone(), more.clone());

    let more_on_server = (vec![
        "get.request.e: only the server has the value y of E".to_owned(),
        "get.request.u: only the server has the member B of U".to_owned(),
    ],);
    assert_eq!(
        compare(&request(&small), &request(&big)),
        (vec![], more_on_server.0)
    );
    let (breaking, notes) = compare(&response(&small), &response(&big));
    assert_eq!(breaking.len(), 2, "{breaking:?}");
    assert_eq!(notes, Vec::<String>::new());

    let (breaking, _) = compare(&request(&big), &request(&small));
    assert_eq!(
        breaking,
        [
            "get.request.e: only the client has the value y of E",
            "get.request.u: only the client has the member B of U"
        ]
    );
    let (breaking, notes) = compare(&response(&big), &response(&small));
    assert_eq!(breaking, Vec::<String>::new());
    assert_eq!(notes.len(), 2);
}

#[test]
fn k3_a_member_of_a_union_is_compared_too() {
    let types = |field: Value| json!([{"kind": "union", "tag": "U", "members": ["A"]}, {"kind": "struct", "tag": "A", "fields": [field]}]);
    let fields = || json!([field("u", json!({"t": "ref", "tag": "U"}))]);
    let client = service(fields(), json!([]), types(field("n", scalar("i64"))));
    let server = service(fields(), json!([]), types(field("n", scalar("string"))));
    let (breaking, _) = compare(&client, &server);
    assert_eq!(
        breaking,
        ["get.request.u<A>.n: the client sends i64, the server expects string"]
    );
}

#[test]
fn k3_methods_and_the_service_itself() {
    let base = service(json!([]), json!([]), json!([]));
    let with = |change: &dyn Fn(&mut Value)| {
        let mut description = base.clone();
        change(&mut description);
        description
    };
    let extra = with(&|d| {
        let mut method = d["methods"][0].clone();
        method["name"] = json!("got");
        d["methods"].as_array_mut().unwrap().push(method);
    });
    assert_eq!(
        compare(&base, &extra),
        (vec![], vec!["got: only the server has this method".into()])
    );
    let (breaking, _) = compare(&extra, &base);
    assert_eq!(breaking, ["got: the server does not have this method"]);

    let renamed = with(&|d| d["methods"][0]["name"] = json!("gets"));
    let (breaking, notes) = compare(&base, &renamed);
    assert_eq!(
        breaking,
        ["get: the server does not have this method; it has gets"]
    );
    assert_eq!(notes, ["gets: only the server has this method"]);

    let streaming = with(&|d| d["methods"][0]["pattern"] = json!("server_stream"));
    let (breaking, _) = compare(&base, &streaming);
    assert_eq!(
        breaking,
        ["get: the client calls it as unary, the server has it as server_stream"]
    );

    let idempotent = with(&|d| d["methods"][0]["idempotent"] = json!(true));
    let (breaking, notes) = compare(&idempotent, &base);
    assert_eq!(breaking, Vec::<String>::new());
    assert_eq!(
        notes,
        ["get: idempotent only for the client, so it is not retried"]
    );

    for (change, text) in [
        (
            json!({"name": "T"}),
            "S: the client calls service S, the server serves T",
        ),
        (
            json!({"version": 2}),
            "S: the client has version 1, the server version 2",
        ),
        (
            json!({"scope": "session"}),
            "S: the service is shared for the client, per session on the server",
        ),
    ] {
        let changed = with(&|d| {
            d.as_object_mut()
                .unwrap()
                .extend(change.as_object().unwrap().clone())
        });
        let (breaking, _) = compare(&base, &changed);
        assert_eq!(breaking, [text]);
    }
}

#[test]
fn k3_texts_say_who_sends_what_and_suggest_a_renamed_field() {
    let client = service(
        json!([field("agent_id", scalar("string"))]),
        json!([field("uptime", scalar("i64"))]),
        json!([]),
    );
    let server = service(
        json!([field("agentId", scalar("string"))]),
        json!([field("uptime", scalar("string"))]),
        json!([]),
    );
    let found = compat(&contract(&client), &contract(&server));
    assert!(!found.is_compatible());
    assert_eq!(
        found.to_string(),
        "breaking: get.request.agent_id: the client sends this field, the server does not have it; it has agentId\n\
         breaking: get.response.uptime: the client expects i64, the server sends string\n\
         note: get.request.agentId: only the server has this field; it takes its default"
    );
}

#[test]
fn k3_cycles_end_and_are_told_once_per_way() {
    let node = |ty: Value| {
        json!([{"kind": "struct", "tag": "Node", "fields": [
            field("next", json!({"t": "nullable", "item": {"t": "ref", "tag": "Node"}})), field("value", ty)]}])
    };
    let fields = || json!([field("node", json!({"t": "ref", "tag": "Node"}))]);
    let client = service(fields(), fields(), node(scalar("i64")));
    let server = service(fields(), fields(), node(scalar("string")));
    let (breaking, _) = compare(&client, &server);
    assert_eq!(
        breaking,
        [
            "get.request.node.value: the client sends i64, the server expects string",
            "get.response.node.value: the client expects i64, the server sends string"
        ]
    );
}

#[test]
fn k3_equal_contracts_have_no_differences() {
    let description = service(
        json!([field("a", scalar("any"))]),
        json!([required("b", scalar("i64"))]),
        json!([]),
    );
    assert_eq!(
        compat(&contract(&description), &contract(&description)),
        Compat::default()
    );
}

#[test]
fn k3_a_long_chain_of_types_does_not_exhaust_the_stack() {
    let chain = |leaf: Value| {
        let mut types: Vec<Value> = (0..3000)
            .map(|n| json!({"kind": "struct", "tag": format!("T{n}"), "fields": [field("f", json!({"t": "ref", "tag": format!("T{}", n + 1)}))]}))
            .collect();
        types.push(json!({"kind": "struct", "tag": "T3000", "fields": [field("f", leaf)]}));
        service(
            json!([field("f", json!({"t": "ref", "tag": "T0"}))]),
            json!([]),
            Value::Array(types),
        )
    };
    let (breaking, _) = compare(&chain(scalar("i64")), &chain(scalar("string")));
    assert_eq!(breaking.len(), 1);
}

#[test]
fn k3_the_tag_of_a_union_does_not_count_but_that_of_a_struct_does() {
    let types = |tag: &str, members: Value| {
        json!([{"kind": "union", "tag": tag, "members": members},
            {"kind": "struct", "tag": "A", "fields": []}, {"kind": "struct", "tag": "B", "fields": []}])
    };
    let fields = |tag: &str| json!([field("u", json!({"t": "ref", "tag": tag}))]);
    let plain = |tag: &str| service(fields(tag), json!([]), types("Unused", json!(["A"])));
    let union = |tag: &str, members: Value| service(fields(tag), json!([]), types(tag, members));

    let (breaking, _) = compare(&plain("A"), &union("A.or.B", json!(["A", "B"])));
    assert_eq!(
        breaking,
        ["get.request.u: the client sends A, the server expects A.or.B"]
    );
    let (breaking, _) = compare(&plain("A"), &plain("B"));
    assert_eq!(
        breaking,
        ["get.request.u: the client sends A, the server expects B"]
    );
    // Tags made from the members' change when a member is added.
    let (breaking, notes) = compare(
        &union("Mine", json!(["A"])),
        &union("A.or.B", json!(["A", "B"])),
    );
    assert_eq!(breaking, Vec::<String>::new());
    assert_eq!(
        notes,
        ["get.request.u: only the server has the member B of A.or.B"]
    );
}
