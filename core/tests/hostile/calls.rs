//! Call streams: what may be wrong with a header and with what follows it.

use std::time::Duration;

use aster::proto::call::RouteRef;
use aster::proto::frame::{flag, kind};
use aster::{Code, Codec, Metadata, Status};

use crate::common::{blob, int, reaches};
use crate::wire_peer::{
    CALL, Dialler, LANE, call_frame, encoded, field, frame, header, lane_call, refused, says, soon,
};
use crate::{Arena, common};

/// These bytes come on a call stream, and its end if `fin`: how the call ends.
async fn call(peer: &Dialler, bytes: &[u8], fin: bool) -> Status {
    let mut raw = peer.open(CALL).await;
    raw.try_write(bytes).await;
    if fin {
        // It may have been stopped by now.
        let _ = raw.send.finish();
    }
    raw.status().await
}

fn full(service: &str, version: u32, method: &str) -> Vec<u8> {
    let mut header = header(method);
    if let RouteRef::Full { route, .. } = &mut header.route {
        (route.service, route.version) = (service, version);
        return frame(kind::CALL, &encoded(&header));
    }
    unreachable!("made in full")
}

fn with(extra: &[u8]) -> Vec<u8> {
    let mut out = encoded(&header("echo"));
    out.extend_from_slice(extra);
    frame(kind::CALL, &out)
}

fn pair(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = field(1, true, key);
    out.extend(field(2, true, value));
    out
}

#[tokio::test]
async fn c9_a_header_that_is_wrong_ends_its_call_and_says_what_is_wrong() {
    let arena = Arena::new().await;
    let peer = arena.peer().await;
    let mut promise = bytes::BytesMut::new();
    aster::proto::varint::put(&mut promise, 4 << 30);
    let long = "x".repeat(256);
    let many: Vec<u8> = (0..129)
        .flat_map(|n| pair(format!("k{n}").as_bytes(), b""))
        .collect();
    let cases: Vec<(Vec<u8>, bool, Code, &[&str])> = vec![
        (
            promise.to_vec(),
            false,
            Code::RESOURCE_EXHAUSTED,
            &["4294967296 bytes", "at most 32768"],
        ),
        (
            frame(kind::CALL, &vec![0; 40_000]),
            false,
            Code::RESOURCE_EXHAUSTED,
            &["40000 bytes"],
        ),
        (
            frame(kind::MESSAGE, b"x"),
            false,
            Code::INVALID_ARGUMENT,
            &["begins with frame kind 2", "call header"],
        ),
        (
            frame(kind::STATUS, b""),
            false,
            Code::INVALID_ARGUMENT,
            &["begins with frame kind 4"],
        ),
        (
            frame(kind::CALL | 0x80, &encoded(&header("echo"))),
            false,
            Code::INVALID_ARGUMENT,
            &["flags 0x80"],
        ),
        (
            vec![20, kind::CALL, 1],
            true,
            Code::INVALID_ARGUMENT,
            &["ended inside a frame"],
        ),
        (
            frame(kind::CALL, &[]),
            false,
            Code::INVALID_ARGUMENT,
            &["needs service, version and method"],
        ),
        (
            frame(kind::CALL, &[3]),
            false,
            Code::INVALID_ARGUMENT,
            &["ends inside a field"],
        ),
        (
            frame(kind::CALL, &[3, 9, b'x']),
            false,
            Code::INVALID_ARGUMENT,
            &["ends inside a field"],
        ),
        (
            frame(kind::CALL, &field(10, true, &[0])),
            false,
            Code::INVALID_ARGUMENT,
            &["route by a number", "lane"],
        ),
        (
            with(&field(10, true, &[0])),
            false,
            Code::INVALID_ARGUMENT,
            &["nothing else of a route"],
        ),
        (
            with(&field(1, true, &[0xff])),
            false,
            Code::INVALID_ARGUMENT,
            &["service name is not UTF-8"],
        ),
        (
            with(&field(1, true, b"")),
            false,
            Code::INVALID_ARGUMENT,
            &["a service name is 0 bytes"],
        ),
        (
            with(&field(3, true, long.as_bytes())),
            false,
            Code::INVALID_ARGUMENT,
            &["a method name is 256 bytes"],
        ),
        (
            with(&field(2, true, &[0xc0, 0, 0, 2, 0, 0, 0, 0])),
            false,
            Code::INVALID_ARGUMENT,
            &["service version", "above 4294967295"],
        ),
        (
            with(&field(4, true, &[1; 31])),
            false,
            Code::INVALID_ARGUMENT,
            &["a contract id is 31 bytes"],
        ),
        (
            with(&field(5, true, &[2])),
            false,
            Code::UNIMPLEMENTED,
            &["codec 2", "MessagePack"],
        ),
        (
            with(&field(7, true, &[0])),
            false,
            Code::INVALID_ARGUMENT,
            &["session ids start at 1"],
        ),
        (
            with(&field(7, true, &[9])),
            false,
            Code::INVALID_ARGUMENT,
            &["Probe.echo", "names a session"],
        ),
        (
            with(&field(6, false, &[0])),
            false,
            Code::DEADLINE_EXCEEDED,
            &["Probe.echo", "had passed"],
        ),
        (
            with(&field(77, true, b"new")),
            false,
            Code::UNIMPLEMENTED,
            &["critical field 77", "newer Aster"],
        ),
        (
            with(&field(4, true, &[1; 32])),
            false,
            Code::CONTRACT_MISMATCH,
            &["Probe version 1", "another contract"],
        ),
        (
            full("Nope", 1, "echo"),
            false,
            Code::UNIMPLEMENTED,
            &["no service \"Nope\"", "Probe v1"],
        ),
        (
            full("Probe", 7, "echo"),
            false,
            Code::UNIMPLEMENTED,
            &["no version 7", "it has 1"],
        ),
        (
            full("Probe", 1, "ecko"),
            false,
            Code::UNIMPLEMENTED,
            &["no method \"ecko\"", "did you mean echo?"],
        ),
        (
            with(&field(8, false, &pair(b"Bad Key", b""))),
            false,
            Code::INVALID_ARGUMENT,
            &["metadata key \"Bad Key\"", "use 1 to 128"],
        ),
        (
            with(&field(8, false, &pair(b"", b""))),
            false,
            Code::INVALID_ARGUMENT,
            &["metadata key"],
        ),
        (
            with(&field(8, false, &pair(b"k", &[0xff]))),
            false,
            Code::INVALID_ARGUMENT,
            &["\"k\" is not UTF-8", "-bin"],
        ),
        (
            with(&field(
                8,
                false,
                &[pair(b"k", b"1"), pair(b"k", b"2")].concat(),
            )),
            false,
            Code::INVALID_ARGUMENT,
            &["there twice"],
        ),
        (
            with(&field(8, false, &field(1, true, b"k"))),
            false,
            Code::INVALID_ARGUMENT,
            &["has no value"],
        ),
        (
            with(&field(8, false, &field(2, true, b"v"))),
            false,
            Code::INVALID_ARGUMENT,
            &["do not alternate"],
        ),
        (
            with(&field(8, false, &field(9, true, b"v"))),
            false,
            Code::UNIMPLEMENTED,
            &["critical field 9"],
        ),
        (
            with(&field(8, false, &pair(b"k", &[b'x'; 9_000]))),
            false,
            Code::RESOURCE_EXHAUSTED,
            &["9001 bytes", "8192"],
        ),
        (
            with(&field(8, false, &many)),
            false,
            Code::RESOURCE_EXHAUSTED,
            &["129 pairs", "128"],
        ),
    ];
    for (bytes, fin, code, parts) in cases {
        refused(&call(&peer, &bytes, fin).await, code, parts);
    }
    // What a newer peer may add, an older one skips: an unknown field, an unknown frame, also before the header.
    let mut bytes = frame(0x20, b"new");
    bytes.extend(with(&field(76, false, b"new")));
    bytes.extend(frame(0x3f, b"new"));
    bytes.extend(frame(kind::MESSAGE, &blob(1)));
    bytes.extend(frame(0x08, b"new"));
    assert!(call(&peer, &bytes, true).await.is_ok());
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_what_follows_a_header_wrongly_ends_the_call_and_says_so() {
    let arena = Arena::new().await;
    let peer = arena.peer().await;
    let after = |method: &str, rest: &[Vec<u8>]| [&[call_frame(method)], rest].concat().concat();
    let message = |payload: &[u8]| frame(kind::MESSAGE, payload);
    let mut promise = bytes::BytesMut::new();
    aster::proto::varint::put(&mut promise, (16 << 20) + 1);
    let promise = promise.to_vec();
    let zeros = zstd::bulk::compress(&vec![0; (16 << 20) + 1], 3).expect("compressed");
    let cut = &zstd::bulk::compress(&[7; 10_000], 3).expect("compressed")[..12];
    let compressed = |payload: &[u8]| frame(kind::MESSAGE | flag::COMPRESSED, payload);
    let cases: Vec<(Vec<u8>, bool, Code, &[&str])> = vec![
        (
            after("echo", &[]),
            true,
            Code::INVALID_ARGUMENT,
            &["one request message"],
        ),
        (
            after("count", &[]),
            true,
            Code::INVALID_ARGUMENT,
            &["one request message"],
        ),
        (
            after("echo", std::slice::from_ref(&promise)),
            false,
            Code::RESOURCE_EXHAUSTED,
            &["16777217 bytes", "at most 16777216"],
        ),
        (
            after("echo", &[vec![0x40, 0x64, kind::MESSAGE, 1]]),
            true,
            Code::INVALID_ARGUMENT,
            &["ended inside a frame"],
        ),
        (
            after("echo", &[call_frame("echo")]),
            false,
            Code::INVALID_ARGUMENT,
            &["frame kind 1 does not belong"],
        ),
        (
            after("echo", &[frame(kind::STATUS, b"")]),
            false,
            Code::INVALID_ARGUMENT,
            &["frame kind 4 does not belong"],
        ),
        (
            after("echo", &[frame(kind::METADATA, b"")]),
            false,
            Code::INVALID_ARGUMENT,
            &["frame kind 3 does not belong"],
        ),
        (
            after("echo", &[frame(kind::LANE_CALL, b"")]),
            false,
            Code::INVALID_ARGUMENT,
            &["frame kind 5 does not belong"],
        ),
        (
            after("echo", &[frame(kind::MESSAGE | flag::BODY, b"x")]),
            false,
            Code::INVALID_ARGUMENT,
            &["flags 0x40"],
        ),
        (
            after("echo", &[compressed(b"not zstd")]),
            true,
            Code::INVALID_ARGUMENT,
            &["not valid zstd"],
        ),
        (
            after("echo", &[compressed(b"")]),
            true,
            Code::INVALID_ARGUMENT,
            &["not valid zstd"],
        ),
        (
            after("echo", &[compressed(cut)]),
            true,
            Code::INVALID_ARGUMENT,
            &["not valid zstd"],
        ),
        (
            after("echo", &[compressed(&zeros)]),
            true,
            Code::RESOURCE_EXHAUSTED,
            &["over 16777216 bytes", "max_message"],
        ),
    ];
    for (bytes, fin, code, parts) in cases {
        refused(&call(&peer, &bytes, fin).await, code, parts);
    }
    // Here the handler runs when the fault comes: it is told, and so is the caller.
    let cases: Vec<(Vec<u8>, bool, Code, &[&str])> = vec![
        (
            after("hang", &[message(&int(1)), message(&int(2))]),
            false,
            Code::INVALID_ARGUMENT,
            &["one request message", "a second came"],
        ),
        (
            after("hang", &[message(&int(1)), frame(kind::STATUS, b"")]),
            false,
            Code::INVALID_ARGUMENT,
            &["frame kind 4"],
        ),
        (
            after("sum", &[message(&int(1)), frame(kind::CALL, b"")]),
            false,
            Code::INVALID_ARGUMENT,
            &["frame kind 1"],
        ),
        (
            after("sum", &[message(&int(1)), vec![9, kind::MESSAGE, 1]]),
            true,
            Code::INVALID_ARGUMENT,
            &["ended inside a frame"],
        ),
        (
            after("mirror", &[message(&blob(1)), promise]),
            false,
            Code::RESOURCE_EXHAUSTED,
            &["at most 16777216"],
        ),
        (
            after("mirror", &[compressed(&zeros)]),
            false,
            Code::RESOURCE_EXHAUSTED,
            &["max_message"],
        ),
    ];
    let count = cases.len();
    for (bytes, fin, code, parts) in cases {
        let status = call(&peer, &bytes, fin).await;
        says(&status, code, parts);
        assert!(status.may_have_run);
    }
    soon(
        "the handlers are dropped",
        reaches(&arena.probe.dropped, count),
    )
    .await;
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_a_zstd_frame_that_lies_about_its_size_is_refused() {
    let arena = Arena::new().await;
    let peer = arena.peer().await;
    // Announces 200 bytes and holds 4 MiB: the single-segment flag, a one-byte size, then blocks of one repeated byte.
    let mut lie = vec![0x28, 0xb5, 0x2f, 0xfd, 0x20, 200];
    for last in [false; 31].into_iter().chain([true]) {
        let block = (128 * 1024u32) << 3 | 1 << 1 | u32::from(last);
        lie.extend_from_slice(&block.to_le_bytes()[..3]);
        lie.push(0);
    }
    // Two frames in one message: the specification says one.
    let mut two = zstd::bulk::compress(&blob(100), 3).expect("compressed");
    two.extend(zstd::bulk::compress(&vec![0; 1 << 20], 3).expect("compressed"));
    // A window of 2 GiB for nothing.
    let window = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
    for bytes in [lie, two, window] {
        let mut raw = peer.open_with(CALL, &call_frame("echo")).await;
        raw.write(&frame(kind::MESSAGE | flag::COMPRESSED, &bytes))
            .await;
        refused(
            &raw.status().await,
            Code::INVALID_ARGUMENT,
            &["not valid zstd"],
        );
    }
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_a_call_broken_off_in_the_middle_drops_its_handler_and_nothing_else() {
    let arena = Arena::new().await;
    let peer = arena.peer().await;
    for (number, method) in ["hang", "sum", "mirror", "count"].into_iter().enumerate() {
        let mut raw = peer.open_with(CALL, &call_frame(method)).await;
        let message = if method == "mirror" {
            blob(1)
        } else {
            int(i64::MAX)
        };
        raw.write(&frame(kind::MESSAGE, &message)).await;
        soon("the start", reaches(&arena.probe.started, number + 1)).await;
        raw.reset(0);
        soon("the drop", reaches(&arena.probe.dropped, number + 1)).await;
    }
    // Within a header, within a message, and by a caller that only stops listening.
    peer.open_with(CALL, &[50, kind::CALL, 3]).await.reset(7);
    let mut raw = peer.open_with(CALL, &call_frame("echo")).await;
    raw.write(&[0x44, 0x00, kind::MESSAGE, 1, 2, 3]).await;
    raw.reset(7);
    let mut raw = peer.open_with(CALL, &call_frame("hang")).await;
    raw.write(&frame(kind::MESSAGE, &int(1))).await;
    soon("the start", reaches(&arena.probe.started, 5)).await;
    raw.recv.stop(0u32.into()).expect("open");
    soon("the drop", reaches(&arena.probe.dropped, 5)).await;
    assert!(
        call(
            &peer,
            &[call_frame("echo"), frame(kind::MESSAGE, &blob(1))].concat(),
            true
        )
        .await
        .is_ok()
    );
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_a_caller_that_never_ends_its_side_is_stopped_when_the_call_has_ended() {
    let arena = Arena::new().await;
    let peer = arena.peer().await;
    let mut raw = peer.open_with(CALL, &call_frame("echo")).await;
    raw.write(&frame(kind::MESSAGE, &blob(1))).await;
    assert!(raw.status().await.is_ok());
    assert_eq!(raw.stop_code().await, 2, "ENDED");
    // A handler that ends before it has read everything.
    let mut raw = peer.open_with(CALL, &call_frame("sum")).await;
    raw.write(&frame(kind::MESSAGE, &int(-1))).await;
    assert!(raw.status().await.is_ok());
    assert_eq!(raw.stop_code().await, 2, "ENDED");
    arena.others_are_served().await;
}

#[tokio::test]
async fn c2_a_deadline_ends_a_call_whose_message_never_comes() {
    let arena = Arena::new().await;
    let peer = arena.peer().await;
    let mut short = header("echo");
    short.deadline_ms = Some(100);
    let mut raw = peer
        .open_with(CALL, &frame(kind::CALL, &encoded(&short)))
        .await;
    raw.write(&[0x44, 0x00, kind::MESSAGE, 1, 2, 3]).await;
    says(
        &raw.status().await,
        Code::DEADLINE_EXCEEDED,
        &["Probe.echo"],
    );
    assert_eq!(raw.stop_code().await, 2, "ENDED");
    // It holds no drain up either.
    let began = std::time::Instant::now();
    arena.server.drain(Duration::from_secs(8)).await;
    assert!(began.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn c9_a_call_with_more_metadata_than_the_server_takes_is_refused() {
    let mut options = common::server_options();
    options.endpoint.limits.metadata = 10;
    let arena = Arena::with("shared", options).await;
    let peer = arena.peer().await;
    let mut header = header("echo");
    header.metadata.insert("key", "12345678").expect("valid");
    let header = encoded(&header);
    let mut lane = peer
        .open_with(LANE, &lane_call(0, 0, &header, &blob(1)))
        .await;
    let mut call = peer.open_with(CALL, &frame(kind::CALL, &header)).await;
    for status in [lane.reply(0).await.0, call.status().await] {
        let text = "the metadata of the call has 11 bytes: 10 are taken here";
        refused(&status, Code::RESOURCE_EXHAUSTED, &[text, "max_metadata"]);
    }
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_reserved_metadata_is_not_shown_to_handlers() {
    let contract = common::contract("shared");
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let keys = seen.clone();
    let service = aster::Handlers::new(contract_of_one())
        .unary("look", move |context, request| {
            let found: Vec<String> = context
                .metadata()
                .iter()
                .map(|(key, _)| key.to_owned())
                .collect();
            keys.lock().expect("not poisoned").extend(found);
            async move { Ok(request) }
        })
        .build()
        .expect("a service");
    drop(contract);
    let server = aster::Server::start(vec![service], common::server_options())
        .await
        .expect("a server");
    let peer = Dialler::admitted(&server).await;
    let metadata = [pair(b"aster-capability", b"root"), pair(b"mine", b"1")].concat();
    let mut header = header("look");
    if let RouteRef::Full { route, .. } = &mut header.route {
        route.service = "Look";
        route.codec = Codec::MessagePack;
    }
    header.metadata = Metadata::new();
    let mut bytes = encoded(&header);
    bytes.extend(field(8, false, &metadata));
    let status = call(
        &peer,
        &[frame(kind::CALL, &bytes), frame(kind::MESSAGE, &int(1))].concat(),
        true,
    )
    .await;
    assert!(status.is_ok(), "{status}");
    assert_eq!(*seen.lock().expect("not poisoned"), ["mine"]);
}

fn contract_of_one() -> aster::Contract {
    aster::Contract::from_json(
        r#"{"name": "Look", "version": 1, "types": [], "methods": [
            {"name": "look", "pattern": "unary", "request": {"t": "i64"}, "response": {"t": "i64"}}]}"#,
    )
    .expect("a contract")
}
