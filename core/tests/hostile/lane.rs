//! The lane: frames that close the connection, and faults that end one call.

use std::time::Duration;

use aster::proto::call::{LaneFrame, RouteRef};
use aster::proto::control::Control;
use aster::proto::frame::{Frame, flag, kind};
use aster::{Code, Status};

use crate::Arena;
use crate::common::{blob, int, reaches, server_options};
use crate::wire_peer::{
    LANE, Raw, closed, control as aster_control, encoded, field, frame, header, lane_call,
    lane_cancel, lane_reply, refused, says, soon,
};

const PROTOCOL: u64 = 1;

/// A header that defines a route by a number.
fn defining(method: &str, number: u64) -> Vec<u8> {
    let mut header = header(method);
    if let RouteRef::Full { define, .. } = &mut header.route {
        *define = Some(number);
    }
    encoded(&header)
}

fn by_number(number: u8) -> Vec<u8> {
    field(10, true, &[number])
}

fn echo(id: u64) -> Vec<u8> {
    lane_call(id, 0, &encoded(&header("echo")), &blob(1))
}

fn hang(id: u64) -> Vec<u8> {
    lane_call(id, 0, &encoded(&header("hang")), &int(1))
}

#[tokio::test]
async fn c9_lane_frames_that_no_caller_sends_close_the_connection_and_say_which() {
    let arena = Arena::new().await;
    let mut promise = bytes::BytesMut::new();
    aster::proto::varint::put(&mut promise, 4 << 30);
    let cases: Vec<(Vec<u8>, bool, &[&str])> = vec![
        (
            promise.to_vec(),
            false,
            &["on the lane", "4294967296 bytes"],
        ),
        (
            vec![20, kind::LANE_CALL, 0],
            true,
            &["on the lane", "ended inside a frame"],
        ),
        (
            frame(kind::LANE_CALL, &[]),
            false,
            &["a lane call ends inside a number"],
        ),
        (
            frame(kind::LANE_CALL, &[0, 9, 1]),
            false,
            &["announces a block of 9 bytes and holds 1"],
        ),
        (
            frame(kind::LANE_CALL | 0xc0, &[0, 0]),
            false,
            &["a lane call has the flags 0xc0"],
        ),
        (
            lane_call(0, flag::BODY, &defining("echo", 0), b"x"),
            false,
            &["holds a message and says it follows elsewhere"],
        ),
        (
            frame(kind::LANE_CANCEL | 0x40, &[0]),
            false,
            &["a lane cancel has the flags 0x40"],
        ),
        (
            frame(kind::LANE_CANCEL, &[]),
            false,
            &["a lane cancel ends inside a number"],
        ),
        (
            frame(
                kind::LANE_CANCEL,
                &[&[0][..], &field(3, true, b"")].concat(),
            ),
            false,
            &["critical field 3"],
        ),
        (
            lane_reply(0, &Status::ok(), b"x"),
            false,
            &["an answer came on the calling side"],
        ),
        (
            [echo(5), echo(5)].concat(),
            false,
            &["lane call id 5 came out of order"],
        ),
        (
            [echo(5), lane_cancel(5), echo(4)].concat(),
            false,
            &["lane call id 4 came out of order"],
        ),
        (
            lane_call(0, 0, &by_number(0), b"x"),
            false,
            &["route 0 is not defined on this lane"],
        ),
        (
            lane_call(0, 0, &defining("echo", 1), b"x"),
            false,
            &["route 1 was defined where 0 was due"],
        ),
        (
            [
                lane_call(0, 0, &defining("echo", 0), &blob(1)),
                lane_call(1, 0, &defining("echo", 0), &blob(1)),
            ]
            .concat(),
            false,
            &["route 0 was defined where 1 was due"],
        ),
        (
            frame(kind::LANE_CALL, &vec![0; 41_100]),
            false,
            &["on the lane", "41100 bytes"],
        ),
    ];
    for (bytes, fin, parts) in cases {
        let peer = arena.peer().await;
        let mut lane = peer.open(LANE).await;
        lane.try_write(&bytes).await;
        if fin {
            lane.fin();
        }
        let (code, reason) = closed(&peer.quic).await;
        assert_eq!(code, PROTOCOL, "{reason}");
        for part in parts {
            assert!(reason.contains(part), "{reason:?} does not say {part:?}");
        }
    }
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_too_many_routes_close_the_connection() {
    let arena = Arena::new().await;
    let peer = arena.peer().await;
    let mut lane = peer.open(LANE).await;
    for number in 0..=1024u64 {
        lane.try_write(&lane_call(number, 0, &defining("nope", number), b""))
            .await;
    }
    let (code, reason) = closed(&peer.quic).await;
    assert_eq!(code, PROTOCOL);
    assert!(
        reason.contains("route 1024") && reason.contains("1024 routes"),
        "{reason}"
    );
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_a_lane_that_is_reset_closes_the_connection() {
    let arena = Arena::new().await;
    let peer = arena.peer().await;
    let mut lane = peer.open(LANE).await;
    lane.write(&hang(0)).await;
    soon("the start", reaches(&arena.probe.started, 1)).await;
    lane.reset(0);
    assert_eq!(closed(&peer.quic).await.0, PROTOCOL);
    soon("the drop", reaches(&arena.probe.dropped, 1)).await;
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_a_caller_that_stops_listening_to_its_lane_closes_the_connection() {
    let arena = Arena::new().await;
    let peer = arena.peer().await;
    let mut lane = peer.open(LANE).await;
    lane.write(&hang(0)).await;
    soon("the start", reaches(&arena.probe.started, 1)).await;
    lane.recv.stop(0u32.into()).expect("open");
    lane.write(&echo(1)).await;
    let (code, reason) = closed(&peer.quic).await;
    assert_eq!(code, PROTOCOL);
    assert!(
        reason.contains("lane") && reason.contains("stopped"),
        "{reason}"
    );
    soon("the drop", reaches(&arena.probe.dropped, 1)).await;
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_faults_of_one_lane_call_are_answered_and_the_lane_goes_on() {
    let arena = Arena::new().await;
    let peer = arena.peer().await;
    let mut lane = peer.open(LANE).await;
    let with = |extra: &[u8]| [&encoded(&header("echo"))[..], extra].concat();
    let bad_key = field(
        8,
        false,
        &[field(1, true, b"Bad Key"), field(2, true, b"")].concat(),
    );
    let cases: Vec<(Vec<u8>, Code, &[&str])> = vec![
        (
            encoded(&header("ecko")),
            Code::UNIMPLEMENTED,
            &["did you mean echo?"],
        ),
        (
            encoded(&header("count")),
            Code::INVALID_ARGUMENT,
            &["Probe.count", "a stream of its own"],
        ),
        (with(&bad_key), Code::INVALID_ARGUMENT, &["Bad Key"]),
        (
            with(&field(77, true, b"")),
            Code::UNIMPLEMENTED,
            &["critical field 77"],
        ),
        (
            with(&field(6, false, &[0])),
            Code::DEADLINE_EXCEEDED,
            &["had passed"],
        ),
        (
            with(&field(7, true, &[0])),
            Code::INVALID_ARGUMENT,
            &["session ids start at 1"],
        ),
        (
            with(&field(5, true, &[9])),
            Code::UNIMPLEMENTED,
            &["codec 9"],
        ),
        (vec![1], Code::INVALID_ARGUMENT, &["ends inside a field"]),
        (
            vec![],
            Code::INVALID_ARGUMENT,
            &["needs service, version and method"],
        ),
        (
            vec![1; 33_000],
            Code::RESOURCE_EXHAUSTED,
            &["33000 bytes", "32768"],
        ),
    ];
    for (id, (header, code, parts)) in cases.into_iter().enumerate() {
        let id = id as u64;
        lane.write(&lane_call(id, 0, &header, &blob(1))).await;
        refused(&lane.reply(id).await.0, code, parts);
    }
    // Unknown kinds, and cancellations of calls that are not there, are nothing.
    lane.write(
        &[
            frame(0, b"x"),
            frame(0x3f, b"x"),
            frame(2, b"x"),
            lane_cancel(3),
            lane_cancel(1 << 60),
        ]
        .concat(),
    )
    .await;
    lane.write(&echo(1000)).await;
    assert!(lane.reply(1000).await.0.is_ok());
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_a_route_is_defined_by_its_header_whatever_is_answered() {
    let mut options = server_options();
    options.endpoint.limits.in_flight = 1;
    let arena = Arena::with("shared", options).await;
    let peer = arena.peer().await;
    let mut lane = peer.open(LANE).await;
    // The metadata is wrong, the route is not.
    let bad_key = field(
        8,
        false,
        &[field(1, true, b"Bad Key"), field(2, true, b"")].concat(),
    );
    lane.write(&lane_call(
        0,
        0,
        &[defining("echo", 0), bad_key].concat(),
        &blob(1),
    ))
    .await;
    refused(&lane.reply(0).await.0, Code::INVALID_ARGUMENT, &["Bad Key"]);
    lane.write(&lane_call(1, 0, &by_number(0), &blob(1))).await;
    assert!(lane.reply(1).await.0.is_ok());
    // Over the limit of calls in flight.
    lane.write(&hang(2)).await;
    lane.write(&lane_call(3, 0, &defining("once", 1), &int(1)))
        .await;
    refused(
        &lane.reply(3).await.0,
        Code::RESOURCE_EXHAUSTED,
        &["max_in_flight"],
    );
    lane.write(&lane_cancel(2)).await;
    lane.write(&lane_call(4, 0, &by_number(1), &int(1))).await;
    assert!(lane.reply(4).await.0.is_ok());
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_the_thousand_and_first_call_in_flight_is_answered_by_name() {
    let arena = Arena::new().await;
    let peer = arena.peer().await;
    let mut lane = peer.open(LANE).await;
    for id in 0..1001 {
        lane.write(&hang(id)).await;
    }
    refused(
        &lane.reply(1000).await.0,
        Code::RESOURCE_EXHAUSTED,
        &["1000 calls", "max_in_flight", "await answers"],
    );
    lane.write(&lane_cancel(7)).await;
    lane.write(&echo(1001)).await;
    assert!(
        lane.reply(1001).await.0.is_ok(),
        "a cancelled call gives its place back"
    );
    arena.others_are_served().await;
    peer.quic.close(0u32.into(), b"");
    soon(
        "every handler is dropped",
        reaches(&arena.probe.dropped, 1000),
    )
    .await;
}

#[tokio::test]
async fn c9_cancelled_calls_whose_handlers_do_not_end_are_bounded() {
    let mut options = server_options();
    options.endpoint.limits.in_flight = 5;
    options.endpoint.limits.streams = 10;
    let held = std::sync::Arc::new(Stubborn::default());
    let service = aster::Service::new(crate::common::contract("shared"), held.clone());
    let server = aster::Server::start(vec![service], options)
        .await
        .expect("a server");
    let peer = crate::wire_peer::Dialler::admitted(&server).await;
    let mut lane = peer.open(LANE).await;
    for id in 0..200 {
        lane.write(&hang(id)).await;
        lane.write(&lane_cancel(id)).await;
    }
    lane.write(&hang(200)).await;
    refused(
        &lane.reply(200).await.0,
        Code::RESOURCE_EXHAUSTED,
        &["have not ended", "cancelled ones included"],
    );
    assert!(held.0.lock().expect("not poisoned").len() <= 8 * 15);
    held.0.lock().expect("not poisoned").clear();
    lane.write(&hang(201)).await;
    lane.write(&lane_call(202, 0, &encoded(&header("nope")), b""))
        .await;
    lane.reply(202).await;
    assert_eq!(
        held.0.lock().expect("not poisoned").len(),
        1,
        "handlers that ended made room"
    );
}

/// Keeps every call, and never ends one.
#[derive(Default)]
struct Stubborn(std::sync::Mutex<Vec<aster::Inbound>>);

impl aster::Dispatch for Stubborn {
    fn call(&self, call: aster::Inbound) {
        self.0.lock().expect("not poisoned").push(call);
    }
}

#[tokio::test]
async fn c9_bombs_on_the_lane_end_their_own_calls() {
    let arena = Arena::new().await;
    let peer = arena.peer().await;
    let mut lane = peer.open(LANE).await;
    // A gibibyte of zeros: 256 frames of one repeated byte, 4 MiB each, would be many; one frame of blocks does it.
    let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58];
    for last in [false; 2_000].into_iter().chain([true]) {
        let block = (128 * 1024u32) << 3 | 1 << 1 | u32::from(last);
        bomb.extend_from_slice(&block.to_le_bytes()[..3]);
        bomb.push(0);
    }
    assert!(
        bomb.len() <= 8192,
        "it fits the lane and unfolds to 250 MiB"
    );
    for id in 0..20 {
        lane.write(&lane_call(
            id,
            flag::COMPRESSED,
            &encoded(&header("echo")),
            &bomb,
        ))
        .await;
    }
    for id in 20..30 {
        lane.write(&lane_call(
            id,
            flag::COMPRESSED,
            &encoded(&header("echo")),
            b"no zstd at all",
        ))
        .await;
    }
    let mut left = 30;
    while left > 0 {
        let (byte, payload) = lane.frame().await.expect("a reply");
        let reply =
            aster::proto::call::LaneFrame::parse(aster::proto::frame::Frame { byte, payload });
        let Ok(aster::proto::call::LaneFrame::Reply { id, status, .. }) = reply else {
            panic!("{reply:?}")
        };
        match id {
            0..20 => refused(
                &status,
                Code::RESOURCE_EXHAUSTED,
                &["over 16777216 bytes", "max_message"],
            ),
            _ => refused(&status, Code::INVALID_ARGUMENT, &["not valid zstd"]),
        }
        left -= 1;
    }
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_answers_left_unread_pause_the_lane_and_nobody_elses() {
    let arena = Arena::new().await;
    let mut peer = arena.peer().await;
    let mut lane = peer.open(LANE).await;
    let mut control = peer.control.take().expect("admitted");
    let mut id = 0;
    // Nothing is read: after the windows and the backlog are full, the server takes no more calls, and is not so busy
    // either that it would not answer pings.
    loop {
        let mut batch = Vec::new();
        for _ in 0..8 {
            batch.extend(lane_call(id, 0, &encoded(&header("echo")), &blob(8_000)));
            id += 1;
        }
        let pings = async {
            for number in 0..50 {
                control.write(&aster_control(&Control::Ping(number))).await;
                while control.frame().await.expect("a Pong").0 != 8 {}
            }
        };
        tokio::select! {
            biased;
            written = lane.send.write_all(&batch) => written.expect("it is not closed yet"),
            () = pings => break,
        }
        assert!(
            id < 2_000,
            "16 MB of answers were taken in with none of them read"
        );
    }
    assert!(
        id > 130,
        "{id} calls: the pause begins after a megabyte of answers"
    );
    arena.others_are_served().await;
    assert!(peer.quic.close_reason().is_none(), "it has its 30 seconds");
    // Once they are read it goes on where it stopped; the last frame may have been cut by the pause.
    for _ in 0..id - 8 {
        let (byte, payload) = lane.frame().await.expect("a reply");
        let reply = LaneFrame::parse(Frame { byte, payload }).expect("a reply");
        assert!(
            matches!(&reply, LaneFrame::Reply { status, .. } if status.is_ok()),
            "{reply:?}"
        );
    }
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_answers_left_unread_for_too_long_close_the_connection_by_name() {
    let mut options = server_options();
    options.endpoint.lane_stall = Duration::from_millis(400);
    let arena = Arena::with("shared", options).await;
    let peer = arena.peer().await;
    let mut lane = peer.open(LANE).await;
    let flood = async {
        let mut id = 0;
        loop {
            let call = lane_call(id, 0, &encoded(&header("echo")), &blob(8_000));
            // Written until the connection ends; after the windows and the backlog are full, this waits for that.
            if !lane.try_write(&call).await {
                return id;
            }
            id += 1;
        }
    };
    let (taken, (code, reason)) = tokio::join!(flood, closed(&peer.quic));
    assert_eq!(code, 6, "LANE_STALLED");
    assert!(
        reason.contains("left unread for 0.4 s") && reason.contains("read answers"),
        "{reason}"
    );
    assert!(
        taken < 2_000,
        "{taken} calls were taken with no answer read"
    );
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_a_handler_that_panics_before_its_first_await_ends_its_own_call() {
    let service = aster::Handlers::new(crate::bystanders_contract())
        .unary("echo", |_, request: bytes::Bytes| {
            assert!(request.len() < 100, "a fault in the user's code");
            async move { Ok(request) }
        })
        .build()
        .expect("a service");
    let server = aster::Server::start(vec![service], server_options())
        .await
        .expect("a server");
    let peer = crate::wire_peer::Dialler::admitted(&server).await;
    let mut lane: Raw = peer.open(LANE).await;
    let mut header = header("echo");
    if let RouteRef::Full { route, .. } = &mut header.route {
        route.service = "Bystander";
    }
    let header = encoded(&header);
    lane.write(&lane_call(0, 0, &header, &blob(1_000))).await;
    says(
        &lane.reply(0).await.0,
        Code::INTERNAL,
        &["Bystander.echo", "without an answer"],
    );
    lane.write(&lane_call(1, 0, &header, &blob(1))).await;
    assert!(lane.reply(1).await.0.is_ok());
}
