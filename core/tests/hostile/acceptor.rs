//! Acceptors that break the protocol, against a client.

use std::time::{Duration, Instant};

use aster::proto::control::{Control, Goaway, Hello, Refused, Welcome};
use aster::proto::frame::{flag, kind};
use aster::proto::limits::Limits;
use aster::{CallOptions, Client, Code, Failure, Method, Status};
use bytes::{Bytes, BytesMut};
use iroh::endpoint::Connection;

use crate::common::{blob, client_options, contract, int};
use crate::wire_peer::{
    Acceptor, CALL, CONTROL, LANE, LARGE_ANSWER, Raw, accept, closed, control, field, frame,
    lane_call, lane_reply, says, soon, welcome,
};

const PROTOCOL: u64 = 1;

pub(super) async fn connect(acceptor: &Acceptor) -> Result<Client, Failure> {
    let mut options = client_options();
    options.retries = 0;
    soon(
        "connecting",
        Client::connect(vec![acceptor.address()], options),
    )
    .await
}

/// A client that was welcomed, its connection here and the control stream.
pub(super) async fn pair() -> (Acceptor, Client, Connection, Raw) {
    let acceptor = Acceptor::bind().await;
    let contract = contract("shared");
    let (client, (quic, control)) =
        tokio::join!(connect(&acceptor), acceptor.welcoming(welcome(&contract)));
    (acceptor, client.expect("connected"), quic, control)
}

pub(super) fn method(name: &str) -> Method {
    Method::new(&contract("shared"), name).expect("a method")
}

pub(super) async fn unary(client: &Client, name: &str, request: Bytes) -> Result<Bytes, Failure> {
    let method = method(name);
    let call = client.unary(&method, request, CallOptions::new());
    soon("the outcome", call).await.map(|answer| answer.message)
}

pub(super) fn status(status: &Status) -> Vec<u8> {
    let mut out = BytesMut::new();
    status.encode(&mut out);
    frame(kind::STATUS, &out)
}

pub(super) fn promise(length: u64) -> Vec<u8> {
    let mut out = BytesMut::new();
    aster::proto::varint::put(&mut out, length);
    out.to_vec()
}

#[tokio::test]
async fn c9_an_answer_to_hello_that_is_none_fails_the_connect_and_says_what_came() {
    let acceptor = Acceptor::bind().await;
    let cases: Vec<(Vec<u8>, &[&str])> = vec![
        (control(&Control::Ping(1)), &["Ping(1)", "Welcome"]),
        (
            control(&Control::Hello(Hello::default())),
            &["Hello", "Welcome"],
        ),
        (frame(9, &[]), &["0x09", "newer Aster"]),
        (frame(0x40, &[]), &["Welcome"]),
        (frame(2, &[5]), &["Welcome ends inside a field"]),
        (
            frame(2, &field(99, true, b"")),
            &["Welcome has critical field 99"],
        ),
        (frame(2, &field(4, false, b"")), &["an offer needs"]),
        (frame(3, &[]), &["Refused has no error code"]),
        (promise(4 << 30), &["4294967296 bytes", "262144"]),
    ];
    for (bytes, parts) in cases {
        let bad = async {
            let (quic, mut raw) = acceptor.greeted().await;
            raw.write(&bytes).await;
            closed(&quic).await
        };
        let (error, (code, reason)) = tokio::join!(connect(&acceptor), bad);
        let error = error.expect_err("no client");
        for part in parts {
            assert!(
                error.to_string().contains(part),
                "{error} does not say {part:?}"
            );
            assert!(reason.contains(part), "{reason:?} does not say {part:?}");
        }
        assert_eq!(code, PROTOCOL);
        assert!(!error.status.may_have_run);
    }
    // An end in place of an answer.
    let ended = async {
        let (quic, mut raw) = acceptor.greeted().await;
        raw.fin();
        closed(&quic).await
    };
    let (error, (code, _)) = tokio::join!(connect(&acceptor), ended);
    let error = error.expect_err("no client");
    assert!(
        error.to_string().contains("the control stream ended"),
        "{error}"
    );
    assert_eq!(code, PROTOCOL);
}

#[tokio::test]
async fn c9_a_refusal_reaches_the_user_with_its_code_and_reason() {
    let acceptor = Acceptor::bind().await;
    let refusal = async {
        let (quic, mut raw) = acceptor.greeted().await;
        let reason = "show a credential: aster enroll node".to_owned();
        raw.write(&control(&Control::Refused(Refused { code: 16, reason })))
            .await;
        // The client ends the connection once it has read that.
        closed(&quic).await
    };
    let (error, (code, _)) = tokio::join!(connect(&acceptor), refusal);
    assert_eq!(code, 0, "DONE");
    let error = error.expect_err("refused");
    says(
        &error.status,
        Code::UNAUTHENTICATED,
        &["refused the connection", "aster enroll node"],
    );
    assert!(!error.status.may_have_run);
}

#[tokio::test]
async fn c9_an_acceptor_that_never_answers_hello_is_given_up_in_time() {
    let acceptor = Acceptor::bind().await;
    let began = Instant::now();
    let (error, (code, reason)) = tokio::join!(connect(&acceptor), async {
        let (quic, _raw) = acceptor.greeted().await;
        closed(&quic).await
    });
    let error = error.expect_err("no client");
    says(
        &error.status,
        Code::UNAVAILABLE,
        &["did not answer within 5.0 s"],
    );
    assert_eq!(code, 3, "HANDSHAKE_TIMEOUT");
    assert!(reason.contains("no Welcome in time"), "{reason}");
    assert!(began.elapsed() > Duration::from_secs(4));
}

#[tokio::test]
async fn c9_the_connect_timeout_bounds_the_handshake_too() {
    let acceptor = Acceptor::bind().await;
    let mut options = client_options();
    options.connect_timeout = Duration::from_millis(500);
    let began = Instant::now();
    let (error, _) = tokio::join!(
        Client::connect(vec![acceptor.address()], options),
        acceptor.greeted()
    );
    assert_eq!(error.expect_err("no client").status.code, Code::UNAVAILABLE);
    assert!(began.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn c3_connecting_that_is_given_up_leaves_no_connection_behind() {
    let acceptor = Acceptor::bind().await;
    let dial = tokio::spawn({
        let address = acceptor.address();
        async move { Client::connect(vec![address], client_options()).await }
    });
    let (quic, _raw) = acceptor.greeted().await;
    dial.abort();
    soon("the end of the connection", quic.closed()).await;
    // A call that is cancelled while it connects again.
    let (_acceptor, client, first, _control) = pair().await;
    let started = client.start(&method("count"), CallOptions::new()).await;
    let (_sender, mut receiver) = started.expect("starts");
    first.close(0u32.into(), b"");
    // The client has heard of it once this fails; a call made before that would fail with the connection.
    soon("the end", receiver.next()).await.expect_err("closed");
    let call = tokio::spawn(async move { unary(&client, "echo", blob(1)).await.map(|_| client) });
    let (second, _raw) = _acceptor.greeted().await;
    call.abort();
    soon("the end of the second", second.closed()).await;
}

#[tokio::test]
async fn c9_streams_and_frames_that_no_acceptor_sends_close_the_connection() {
    let cases: Vec<(u8, Vec<u8>, &[&str])> = vec![
        (CONTROL, vec![], &["the acceptor opened a control stream"]),
        (
            LARGE_ANSWER,
            vec![],
            &["a large answer came on a bidirectional stream"],
        ),
        (
            0,
            control(&Control::Welcome(Welcome::default())),
            &["Welcome", "after the handshake"],
        ),
        (0, frame(6, &[]), &["0x06"]),
        (0, promise(4 << 30), &["4294967296 bytes"]),
    ];
    for (kind, bytes, parts) in cases {
        let (_acceptor, client, quic, mut control) = pair().await;
        let mut _held = None;
        if kind == 0 {
            control.write(&bytes).await;
        } else {
            let (mut send, recv) = quic.open_bi().await.expect("opens");
            send.write_all(&[kind]).await.expect("written");
            _held = Some((send, recv));
        }
        let (code, reason) = closed(&quic).await;
        assert_eq!(code, PROTOCOL);
        for part in parts {
            assert!(reason.contains(part), "{reason:?} does not say {part:?}");
        }
        client.close().await;
    }
}

#[tokio::test]
async fn c9_calls_from_an_acceptor_find_nothing_that_was_not_offered_to_it() {
    let (_acceptor, _client, quic, _control) = pair().await;
    let (send, recv) = quic.open_bi().await.expect("opens");
    let mut raw = Raw::new(send, recv);
    raw.write(&[CALL]).await;
    raw.write(&crate::wire_peer::call_frame("echo")).await;
    says(
        &raw.status().await,
        Code::UNIMPLEMENTED,
        &["no service \"Probe\"", "offers none"],
    );
}

// On threads of their own: the reason must not be lost to whoever sees the connection closed first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c9_lane_answers_that_are_none_close_the_connection_and_fail_the_calls() {
    let cases: Vec<(Vec<u8>, bool, &[&str])> = vec![
        (
            frame(kind::LANE_REPLY, &[]),
            false,
            &["a lane reply ends inside a number"],
        ),
        (
            frame(kind::LANE_REPLY, &[0, 9, 1]),
            false,
            &["announces a block of 9 bytes"],
        ),
        (
            frame(kind::LANE_REPLY, &[0, 3, 3, 1, 5, b'x']),
            false,
            &["both an error and a message"],
        ),
        (
            frame(kind::LANE_REPLY | flag::BODY, &[0, 0]),
            false,
            &["flags 0x40"],
        ),
        (
            lane_call(0, 0, b"", b""),
            false,
            &["a call came on the answering side"],
        ),
        (
            promise(4 << 30),
            false,
            &["on the lane", "4294967296 bytes"],
        ),
        (
            vec![9, kind::LANE_REPLY, 0],
            true,
            &["on the lane", "ended inside a frame"],
        ),
    ];
    for (bytes, fin, parts) in cases {
        let (_acceptor, client, quic, _control) = pair().await;
        let bad = async {
            let mut lane = accept(&quic, LANE).await;
            assert!(lane.frame().await.is_some());
            lane.write(&bytes).await;
            if fin {
                lane.fin();
            }
            closed(&quic).await
        };
        let (error, (code, reason)) = tokio::join!(unary(&client, "once", int(1)), bad);
        let error = error.expect_err("no answer");
        assert_eq!(code, PROTOCOL);
        assert!(error.status.may_have_run);
        for part in parts {
            assert!(
                error.to_string().contains(part),
                "{error} does not say {part:?}"
            );
            assert!(reason.contains(part), "{reason:?} does not say {part:?}");
        }
    }
}

#[tokio::test]
async fn c9_answers_to_calls_that_nobody_made_are_dropped() {
    let (_acceptor, client, quic, _control) = pair().await;
    let answer = async {
        let mut lane = accept(&quic, LANE).await;
        assert!(lane.frame().await.is_some());
        for id in [7, 1 << 60] {
            lane.write(&lane_reply(id, &Status::ok(), &int(9))).await;
        }
        // A large answer to nobody is stopped.
        let mut send = quic.open_uni().await.expect("opens");
        send.write_all(&[LARGE_ANSWER, 55]).await.expect("written");
        let code = soon("a stop", send.stopped()).await.expect("stopped");
        assert_eq!(code.map(u64::from), Some(0), "CANCELLED");
        lane.write(&lane_reply(0, &Status::ok(), &int(5))).await;
        lane.write(&lane_reply(0, &Status::ok(), &int(6))).await;
        lane
    };
    let (answer, mut lane) = tokio::join!(unary(&client, "once", int(1)), answer);
    assert_eq!(answer.expect("an answer"), int(5));
    let again = async {
        assert!(lane.frame().await.is_some());
        lane.write(&lane_reply(1, &Status::ok(), &int(7))).await;
    };
    let (answer, ()) = tokio::join!(unary(&client, "once", int(1)), again);
    assert_eq!(answer.expect("an answer"), int(7));
}

#[tokio::test]
async fn c9_a_compressed_answer_that_is_none_fails_its_own_call() {
    let (_acceptor, client, quic, _control) = pair().await;
    let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58];
    for last in [false; 2_000].into_iter().chain([true]) {
        let block = (128 * 1024u32) << 3 | 1 << 1 | u32::from(last);
        bomb.extend_from_slice(&block.to_le_bytes()[..3]);
        bomb.push(0);
    }
    let server = async {
        let mut lane = accept(&quic, LANE).await;
        for (id, message) in [&bomb[..], b"no zstd"].into_iter().enumerate() {
            assert!(lane.frame().await.is_some());
            let payload = [&[id as u8, 0][..], message].concat();
            lane.write(&frame(kind::LANE_REPLY | flag::COMPRESSED, &payload))
                .await;
        }
        lane
    };
    let client = async {
        let error = unary(&client, "once", int(1)).await.expect_err("a bomb");
        says(
            &error.status,
            Code::RESOURCE_EXHAUSTED,
            &["over 16777216 bytes", "max_message"],
        );
        assert!(error.status.may_have_run, "an answer means that it ran");
        let error = unary(&client, "once", int(1)).await.expect_err("no zstd");
        says(&error.status, Code::INVALID_ARGUMENT, &["not valid zstd"]);
        assert!(error.status.may_have_run);
    };
    tokio::join!(server, client);
    assert!(quic.close_reason().is_none());
}

#[tokio::test]
async fn c9_a_lane_that_the_acceptor_ends_fails_its_calls_and_the_next_one_connects_again() {
    let (acceptor, client, quic, _control) = pair().await;
    let end = async {
        let mut lane = accept(&quic, LANE).await;
        assert!(lane.frame().await.is_some());
        lane.fin();
        lane
    };
    let (error, _lane) = tokio::join!(unary(&client, "once", int(1)), end);
    let error = error.expect_err("no answer");
    says(
        &error.status,
        Code::UNAVAILABLE,
        &["the peer ended its answers", "this connection"],
    );
    assert!(error.status.may_have_run);
    let contract = contract("shared");
    let again = async {
        let (quic, control) = acceptor.welcoming(welcome(&contract)).await;
        let mut lane = accept(&quic, LANE).await;
        assert!(lane.frame().await.is_some());
        lane.write(&lane_reply(0, &Status::ok(), &int(7))).await;
        (quic, control, lane)
    };
    let (answer, _held) = tokio::join!(unary(&client, "once", int(1)), again);
    assert_eq!(answer.expect("another connection"), int(7));
}

#[tokio::test]
async fn c9_hostile_limits_are_taken_for_what_they_are() {
    let acceptor = Acceptor::bind().await;
    let contract = contract("shared");
    let mut limits = Limits::default();
    (limits.in_flight, limits.streams, limits.sessions) = (u32::MAX, u32::MAX, u32::MAX);
    let (client, _held) = tokio::join!(
        connect(&acceptor),
        acceptor.welcoming(Welcome {
            limits,
            ..welcome(&contract)
        })
    );
    let client = client.expect("connected");
    let mut limits = Limits::default();
    (limits.in_flight, limits.message) = (0, 4);
    drop(client);
    let (client, (quic, _control)) = tokio::join!(
        connect(&acceptor),
        acceptor.welcoming(Welcome {
            limits,
            ..welcome(&contract)
        })
    );
    let client = client.expect("connected");
    let error = unary(&client, "echo", blob(9))
        .await
        .expect_err("too large for that peer");
    says(
        &error.status,
        Code::RESOURCE_EXHAUSTED,
        &["the peer takes 4", "max_message"],
    );
    let answer = async {
        let mut lane = accept(&quic, LANE).await;
        assert!(lane.frame().await.is_some());
        lane.write(&lane_reply(0, &Status::ok(), &int(7))).await;
        lane
    };
    let (answer, _lane) = tokio::join!(unary(&client, "once", int(1)), answer);
    assert_eq!(answer.expect("one at a time"), int(7));
}

#[tokio::test]
async fn i3_after_goaway_the_next_call_goes_elsewhere() {
    let (acceptor, client, quic, mut first) = pair().await;
    let mut held = Vec::new();
    first
        .write(&control(&Control::Goaway(Goaway {
            reason: "moving".into(),
        })))
        .await;
    // The frame is taken once this ping is answered; the client answers pings whatever it does.
    first.write(&control(&Control::Ping(1))).await;
    while first.frame().await.expect("a Pong").0 != 8 {}
    let contract = contract("shared");
    let again = async {
        let (quic, control) = acceptor.welcoming(welcome(&contract)).await;
        let mut lane = accept(&quic, LANE).await;
        assert!(lane.frame().await.is_some());
        lane.write(&lane_reply(0, &Status::ok(), &int(7))).await;
        held.push((quic, control, lane));
    };
    let (answer, ()) = tokio::join!(unary(&client, "once", int(1)), again);
    assert_eq!(answer.expect("elsewhere"), int(7));
    assert!(
        quic.close_reason().is_none(),
        "calls on it may still be answered"
    );
}
