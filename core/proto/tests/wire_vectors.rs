//! The byte vectors of `conformance/vectors/frames`, read as any implementation reads them (`conformance/README.md`).

use std::collections::BTreeSet;
use std::path::Path;

use aster_proto::address::{Address, PREFIX};
use aster_proto::call::{
    AnswerMachine, CallHeader, Codec, Event, LaneFrame, RouteRef, put_lane_call, put_lane_cancel,
    put_lane_reply,
};
use aster_proto::contract::{Pattern, Scope};
use aster_proto::control::{Control, Offer};
use aster_proto::frame::{self, Decoder, Frame, flag, kind};
use aster_proto::limits::{self, Limits};
use aster_proto::metadata::Metadata;
use aster_proto::status::Status;
use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

#[derive(Debug, Clone)]
enum Expected {
    Gives(Value),
    Reads(Value),
    Fails(String),
}

#[derive(Debug)]
struct Vector {
    name: String,
    place: String,
    expected: Expected,
    bytes: Vec<u8>,
}

/// Reads a vector file; anything that is not of its form is a mistake in the file.
fn vectors(file: &str) -> Vec<Vector> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../conformance/vectors/frames")
        .join(file);
    let text = std::fs::read_to_string(&path).expect("the vector file is in the repository");
    let mut blocks: Vec<(String, Vec<&str>)> = Vec::new();
    for line in text.lines().map(str::trim) {
        match line.strip_prefix("vector ") {
            Some(name) => blocks.push((name.to_owned(), Vec::new())),
            None if line.is_empty() || line.starts_with('#') => {}
            None => blocks
                .last_mut()
                .expect("a vector line comes first")
                .1
                .push(line),
        }
    }
    let names: BTreeSet<&String> = blocks.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), blocks.len(), "{file}: a name comes twice");
    blocks
        .into_iter()
        .map(|(name, lines)| vector(name, &lines))
        .collect()
}

fn vector(name: String, lines: &[&str]) -> Vector {
    let (mut place, mut expected, mut bytes) = (None, None, Vec::new());
    let json = |text: &str| {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"))
    };
    for line in lines {
        match line.split_once(' ') {
            Some(("place", text)) => place = Some(text.to_owned()),
            Some(("gives", text)) => expected = Some(Expected::Gives(json(text))),
            Some(("reads", text)) => expected = Some(Expected::Reads(json(text))),
            Some(("fails", text)) => expected = Some(Expected::Fails(text.to_owned())),
            _ => {
                let hex = line.split('#').next().unwrap_or_default();
                for pair in hex.split_whitespace() {
                    assert_eq!(pair.len(), 2, "{name}: {pair} is not two hex digits");
                    bytes.push(
                        u8::from_str_radix(pair, 16)
                            .unwrap_or_else(|_| panic!("{name}: {pair} is not hex")),
                    );
                }
            }
        }
    }
    let place = place.unwrap_or_else(|| panic!("{name} has no place"));
    let expected = expected.unwrap_or_else(|| panic!("{name} expects nothing"));
    Vector {
        name,
        place,
        expected,
        bytes,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn metadata_json(metadata: &Metadata) -> Value {
    metadata
        .iter()
        .map(|(key, value)| (key.to_owned(), Value::String(hex(value))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn offers_json(offers: &[Offer]) -> Value {
    let offer = |offer: &Offer| {
        let scope = match offer.scope {
            Scope::Shared => "shared",
            Scope::Session => "session",
        };
        json!({"service": offer.service, "version": offer.version, "contract": hex(&offer.contract), "scope": scope})
    };
    offers.iter().map(offer).collect()
}

fn limits_json(limits: &Limits) -> Value {
    json!({
        "message": limits.message, "metadata": limits.metadata, "in_flight": limits.in_flight,
        "streams": limits.streams, "sessions": limits.sessions,
    })
}

fn control_json(control: &Control) -> Value {
    match control {
        Control::Hello(hello) => json!({
            "frame": "Hello", "features": hello.features, "agent": hello.agent,
            "credential": hello.credential.as_deref().map(hex), "offers": offers_json(&hello.offers),
            "limits": limits_json(&hello.limits),
        }),
        Control::Welcome(welcome) => json!({
            "frame": "Welcome", "features": welcome.features, "agent": welcome.agent,
            "credential": welcome.credential.as_deref().map(hex), "offers": offers_json(&welcome.offers),
            "limits": limits_json(&welcome.limits), "capabilities": welcome.capabilities,
            "expires_ms": welcome.expires_ms,
        }),
        Control::Refused(refused) => {
            json!({"frame": "Refused", "code": refused.code, "reason": refused.reason})
        }
        Control::Goaway(goaway) => json!({"frame": "Goaway", "reason": goaway.reason}),
        Control::CloseSession(close) => {
            json!({"frame": "CloseSession", "session": close.session, "calls": close.calls})
        }
        Control::Ping(number) => json!({"frame": "Ping", "number": number}),
        Control::Pong(number) => json!({"frame": "Pong", "number": number}),
        Control::Ignored(kind) => json!({"frame": "Ignored", "kind": kind}),
    }
}

fn header_json(header: &CallHeader<'_>) -> Value {
    let route = match &header.route {
        RouteRef::Defined(number) => json!(number),
        RouteRef::Full { route, define } => json!({
            "service": route.service, "version": route.version, "method": route.method,
            "contract": route.contract.as_ref().map(|id| hex(id)),
            "codec": if route.codec == Codec::Json { 1 } else { 0 }, "define": define,
        }),
    };
    json!({
        "route": route, "session": header.session, "deadline_ms": header.deadline_ms,
        "compress": header.compress, "metadata": metadata_json(&header.metadata),
    })
}

fn status_json(status: &Status) -> Value {
    json!({
        "code": status.code.0, "message": status.message, "details": status.details.as_deref().map(hex),
        "origin": status.origin.name(), "may_have_run": status.may_have_run,
        "retry_after_ms": status.retry_after_ms, "metadata": metadata_json(&status.metadata),
    })
}

/// What the bytes mean, and the bytes that an encoder writes for it.
type Decoded = Result<(Value, Vec<u8>), String>;

fn one_frame(bytes: &[u8], max: usize) -> Result<Frame, String> {
    let mut decoder = Decoder::new(max);
    decoder.push(Bytes::copy_from_slice(bytes));
    let frame = decoder
        .next_frame()
        .map_err(|error| error.to_string())?
        .ok_or("the stream ends inside a frame")?;
    assert!(decoder.is_empty(), "a vector is one frame");
    Ok(frame)
}

fn control(bytes: &[u8]) -> Decoded {
    let frame = one_frame(bytes, limits::MAX_CONTROL_FRAME)?;
    let control = Control::parse(&frame).map_err(|error| error.to_string())?;
    let mut out = BytesMut::new();
    control.encode(&mut out);
    Ok((control_json(&control), out.to_vec()))
}

fn call(bytes: &[u8]) -> Decoded {
    let frame = one_frame(bytes, limits::MAX_HEADER)?;
    assert_eq!(frame.byte, kind::CALL, "a call stream begins with Call");
    let header = CallHeader::decode(&frame.payload).map_err(|error| error.to_string())?;
    let (mut body, mut out) = (BytesMut::new(), BytesMut::new());
    header.encode(&mut body);
    frame::put(&mut out, kind::CALL, &body);
    Ok((header_json(&header), out.to_vec()))
}

fn lane(bytes: &[u8]) -> Decoded {
    let frame = one_frame(bytes, limits::MAX_LANE_FRAME)?;
    let lane = LaneFrame::parse(frame).map_err(|error| error.to_string())?;
    let compressed_flag = |compressed: bool| if compressed { flag::COMPRESSED } else { 0 };
    let mut out = BytesMut::new();
    let value = match &lane {
        LaneFrame::Call {
            id,
            header,
            message,
            compressed,
        } => {
            let parsed = CallHeader::decode(header).map_err(|error| error.to_string())?;
            let mut encoded = BytesMut::new();
            parsed.encode(&mut encoded);
            let body = if message.is_none() { flag::BODY } else { 0 };
            let flags = compressed_flag(*compressed) | body;
            put_lane_call(
                &mut out,
                *id,
                flags,
                &encoded,
                message.as_deref().unwrap_or_default(),
            );
            json!({
                "frame": "Call", "id": id, "compressed": compressed, "message": message.as_deref().map(hex),
                "header": header_json(&parsed),
            })
        }
        LaneFrame::Cancel { id } => {
            put_lane_cancel(&mut out, *id);
            json!({"frame": "Cancel", "id": id})
        }
        LaneFrame::Reply {
            id,
            status,
            initial,
            message,
            compressed,
        } => {
            put_lane_reply(
                &mut out,
                *id,
                compressed_flag(*compressed),
                initial,
                status,
                message,
            );
            json!({
                "frame": "Reply", "id": id, "compressed": compressed, "message": hex(message),
                "status": status_json(status), "initial": metadata_json(initial),
            })
        }
        LaneFrame::Unknown => json!({"frame": "Unknown"}),
    };
    Ok((value, out.to_vec()))
}

fn answer(bytes: &[u8]) -> Decoded {
    let frame = one_frame(bytes, limits::MAX_MESSAGE)?;
    let event = AnswerMachine::new(Pattern::BidiStream)
        .frame(frame)
        .map_err(|error| error.to_string())?;
    let (mut body, mut out) = (BytesMut::new(), BytesMut::new());
    let value = match &event {
        Event::Metadata(metadata) => {
            metadata.encode(&mut body);
            frame::put(&mut out, kind::METADATA, &body);
            json!({"frame": "Metadata", "metadata": metadata_json(metadata)})
        }
        Event::Message(message, compressed) => {
            frame::put(
                &mut out,
                kind::MESSAGE | if *compressed { flag::COMPRESSED } else { 0 },
                message,
            );
            json!({"frame": "Message", "message": hex(message), "compressed": compressed})
        }
        Event::Status(status) => {
            status.encode(&mut body);
            frame::put(&mut out, kind::STATUS, &body);
            json!({"frame": "Status", "status": status_json(status)})
        }
        Event::Ignore => json!({"frame": "Ignored"}),
    };
    Ok((value, out.to_vec()))
}

fn address(bytes: &[u8]) -> Decoded {
    let text = format!("{PREFIX}{}", bs58::encode(bytes).into_string());
    let address: Address = text.parse().map_err(|error| format!("{error}"))?;
    let written = address.to_string();
    let back = bs58::decode(written.strip_prefix(PREFIX).expect("the prefix"))
        .into_vec()
        .expect("base58");
    let direct: Vec<String> = address.direct.iter().map(ToString::to_string).collect();
    let id = hex(&address.endpoint_id);
    Ok((
        json!({"endpoint_id": id, "relay": address.relay, "direct": direct, "text": text}),
        back,
    ))
}

fn run(file: &str) {
    let vectors = vectors(file);
    assert!(
        vectors.len() >= 10,
        "{file} holds {} vectors",
        vectors.len()
    );
    for Vector {
        name,
        place,
        expected,
        bytes,
    } in vectors
    {
        let decoded = match place.as_str() {
            "control" => control(&bytes),
            "call" => call(&bytes),
            "lane" => lane(&bytes),
            "answer" => answer(&bytes),
            "address" => address(&bytes),
            other => panic!("{file}, {name}: no place {other}"),
        };
        match (expected, decoded) {
            (Expected::Gives(value), Ok((decoded, encoded))) => {
                assert_eq!(decoded, value, "{file}, {name}");
                assert_eq!(hex(&encoded), hex(&bytes), "{file}, {name}: encoded");
            }
            (Expected::Reads(value), Ok((decoded, encoded))) => {
                assert_eq!(decoded, value, "{file}, {name}");
                assert_ne!(
                    encoded, bytes,
                    "{file}, {name}: an encoder does write this, so it should say gives"
                );
            }
            (Expected::Fails(text), Err(error)) => {
                assert!(error.contains(&text), "{file}, {name}: {error}")
            }
            (expected, decoded) => panic!("{file}, {name}: expected {expected:?}, got {decoded:?}"),
        }
    }
}

#[test]
fn c9_control_frames_are_as_derived_by_hand() {
    run("control.txt");
}

#[test]
fn c9_call_headers_are_as_derived_by_hand() {
    run("call.txt");
}

#[test]
fn c9_lane_frames_are_as_derived_by_hand() {
    run("lane.txt");
}

#[test]
fn c9_answers_are_as_derived_by_hand() {
    run("answer.txt");
}

#[test]
fn a4_addresses_are_as_derived_by_hand() {
    run("address.txt");
}

#[test]
fn every_file_of_vectors_is_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/vectors/frames");
    let found: BTreeSet<String> = std::fs::read_dir(folder)
        .expect("the folder is in the repository")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    let read = [
        "address.txt",
        "answer.txt",
        "call.txt",
        "control.txt",
        "lane.txt",
    ];
    assert_eq!(found, read.map(String::from).into());
}
