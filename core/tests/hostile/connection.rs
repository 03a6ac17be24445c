//! Handshakes, control streams and stream kinds.

use std::time::{Duration, Instant};

use aster::Code;
use aster::proto::control::{CloseSession, Control, Hello};
use aster::proto::limits;
use bytes::Bytes;

use crate::wire_peer::{
    ALPN, BODY, CALL, CONTROL, Dialler, LANE, LARGE_ANSWER, call_frame, closed, control, endpoint,
    field, frame, says, soon, target,
};
use crate::{Arena, common};

const PROTOCOL: u64 = 1;

/// The handshake begins with these bytes: how the connection ends.
async fn after_first(arena: &Arena, bytes: &[u8], fin: bool) -> String {
    let peer = Dialler::silent(&arena.server).await;
    let mut raw = peer.open(CONTROL).await;
    raw.try_write(bytes).await;
    if fin {
        raw.fin();
    }
    let (code, reason) = closed(&peer.quic).await;
    assert_eq!(code, PROTOCOL, "{reason}");
    reason
}

/// These bytes come on the control stream of an admitted peer: how the connection ends.
async fn after_hello(arena: &Arena, bytes: &[u8], fin: bool) -> String {
    let mut peer = arena.peer().await;
    peer.control().try_write(bytes).await;
    if fin {
        peer.control().fin();
    }
    let (code, reason) = closed(&peer.quic).await;
    assert_eq!(code, PROTOCOL, "{reason}");
    reason
}

fn promise(length: u64) -> Vec<u8> {
    let mut out = bytes::BytesMut::new();
    aster::proto::varint::put(&mut out, length);
    out.to_vec()
}

#[tokio::test]
async fn c9_a_handshake_that_begins_wrong_closes_the_connection_and_says_how() {
    let arena = Arena::new().await;
    let cases: Vec<(Vec<u8>, &[&str])> = vec![
        (control(&Control::Ping(1)), &["Ping(1)", "not Hello"]),
        (frame(2, &[]), &["Welcome", "not Hello"]),
        (frame(9, &[]), &["0x09", "newer Aster"]),
        (frame(0x40, &[]), &["not Hello"]),
        (
            frame(1, &vec![0; limits::MAX_HELLO + 1]),
            &["16385 bytes", "at most 16384"],
        ),
        (promise(4 << 30), &["4294967296 bytes", "at most 16384"]),
        (promise(u64::MAX >> 2), &["at most 16384"]),
        (frame(1, &[5]), &["Hello ends inside a field"]),
        (
            frame(1, &field(99, true, b"x")),
            &["Hello has critical field 99", "newer Aster"],
        ),
        (
            frame(1, &field(1, false, b"")),
            &["feature bits is not one varint"],
        ),
        (
            frame(1, &field(2, false, &[0xff])),
            &["agent name is not UTF-8"],
        ),
        (
            frame(1, &field(4, false, b"")),
            &["an offer needs a service name"],
        ),
        (
            frame(1, &field(5, false, &[1])),
            &["limits ends inside a field"],
        ),
    ];
    for (bytes, parts) in cases {
        let reason = after_first(&arena, &bytes, false).await;
        for part in parts {
            assert!(reason.contains(part), "{reason:?} does not say {part:?}");
        }
    }
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_a_control_stream_that_ends_closes_the_connection_at_once() {
    let arena = Arena::new().await;
    let began = Instant::now();
    let hello = control(&Control::Hello(Hello::default()));
    assert!(after_first(&arena, &[], true).await.contains("ended"));
    for bytes in [&[0x40][..], &[0x40, 0x20, 1, 7], &[3, 1]] {
        let reason = after_first(&arena, bytes, true).await;
        assert!(reason.contains("ended inside a frame"), "{reason}");
    }
    let peer = Dialler::silent(&arena.server).await;
    let mut raw = peer.open_with(CONTROL, &[0x40]).await;
    // A reset takes back what has not been read; the server is to know by then which stream this is. It does once it has
    // refused a stream that came behind it.
    let mut unknown = peer.open(99).await;
    assert_eq!(unknown.stop_code().await, PROTOCOL);
    raw.reset(0);
    assert_eq!(closed(&peer.quic).await.0, PROTOCOL);
    let reason = after_first(&arena, &hello, true).await;
    assert!(reason.contains("the control stream ended"), "{reason}");
    let reason = after_hello(&arena, &[9, 7], true).await;
    assert!(reason.contains("ended inside a frame"), "{reason}");
    let mut peer = arena.peer().await;
    peer.control().reset(0);
    assert_eq!(closed(&peer.quic).await.0, PROTOCOL);
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "none of them waits for the handshake's time"
    );
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_control_frames_that_have_no_place_close_the_connection_and_say_which() {
    let arena = Arena::new().await;
    let cases: Vec<(Vec<u8>, &[&str])> = vec![
        (
            control(&Control::Hello(Hello::default())),
            &["Hello", "after the handshake"],
        ),
        (frame(2, &[]), &["Welcome", "after the handshake"]),
        (
            frame(3, &field(1, true, &[7])),
            &["Refused", "after the handshake"],
        ),
        (frame(6, &[]), &["0x06"]),
        (frame(0, &[]), &["0x00"]),
        (frame(0x3f, &[]), &["0x3f"]),
        (frame(5, &[]), &["CloseSession names no session"]),
        (
            frame(5, &field(1, true, &[0])),
            &["CloseSession names no session"],
        ),
        (
            frame(5, &field(1, true, &[1])),
            &["CloseSession has no number of calls"],
        ),
        (frame(5, &field(7, true, &[1])), &["critical field 7"]),
        (frame(7, &[]), &["Ping has no number"]),
        (
            frame(7, &field(1, true, &[0x40])),
            &["Ping is not one varint"],
        ),
        (frame(8, &[]), &["Pong has no number"]),
        (promise(256 * 1024 + 1), &["262145 bytes", "at most 262144"]),
        (promise(4 << 30), &["4294967296 bytes"]),
    ];
    for (bytes, parts) in cases {
        let reason = after_hello(&arena, &bytes, false).await;
        for part in parts {
            assert!(reason.contains(part), "{reason:?} does not say {part:?}");
        }
    }
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_what_may_be_ignored_is_ignored() {
    let arena = Arena::new().await;
    let mut peer = arena.peer().await;
    for kind in 0x40..=0xff {
        peer.control().write(&frame(kind, b"whatever")).await;
    }
    for frame in [
        Control::Pong(77),
        Control::CloseSession(CloseSession {
            session: 5,
            calls: 0,
        }),
        Control::CloseSession(CloseSession {
            session: 5,
            calls: 9,
        }),
        Control::CloseSession(CloseSession {
            session: (1 << 62) - 1,
            calls: (1 << 62) - 1,
        }),
        Control::Ping(3),
    ] {
        peer.control().write(&control(&frame)).await;
    }
    loop {
        let (kind, payload) = peer.control().frame().await.expect("a Pong");
        if kind == 8 {
            assert_eq!(payload, field(1, true, &[3]));
            break;
        }
    }
    let mut call = peer.open_with(CALL, &call_frame("echo")).await;
    call.write(&frame(2, &common::blob(3))).await;
    call.fin();
    assert!(call.status().await.is_ok());
}

#[tokio::test]
async fn c9_a_stream_of_an_unknown_kind_ends_alone() {
    let arena = Arena::new().await;
    let peer = arena.peer().await;
    for kind in [0, 6, 0x40, 0xff] {
        let mut raw = peer.open_with(kind, b"and something").await;
        assert_eq!(raw.reset_code().await, PROTOCOL, "kind {kind}");
        assert_eq!(raw.stop_code().await, PROTOCOL, "kind {kind}");
    }
    for kind in [0, CALL, BODY, LANE, CONTROL, 0xff] {
        let mut send = soon("a stream", peer.quic.open_uni()).await.expect("opens");
        send.write_all(&[kind, 1, 2]).await.expect("written");
        let stopped = soon("a stop", send.stopped()).await.expect("stopped");
        assert_eq!(stopped.map(u64::from), Some(PROTOCOL), "kind {kind}");
    }
    // Ended or reset before the first byte: nothing of it is left, and nothing is said.
    let (mut send, mut recv) = peer.quic.open_bi().await.expect("opens");
    send.finish().expect("once");
    let reset = soon("a reset", recv.received_reset()).await.expect("reset");
    assert_eq!(reset.map(u64::from), Some(PROTOCOL));
    let mut call = peer.open_with(CALL, &call_frame("echo")).await;
    call.write(&frame(2, &common::blob(3))).await;
    assert!(call.status().await.is_ok(), "the connection lives");
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_a_stream_that_can_not_be_there_closes_the_connection() {
    let arena = Arena::new().await;
    let cases = [
        (CONTROL, CONTROL, "a second control stream"),
        (LANE, LANE, "a second lane"),
        (
            LARGE_ANSWER,
            LARGE_ANSWER,
            "a large answer came on a bidirectional stream",
        ),
    ];
    for (first, second, text) in cases {
        let peer = arena.peer().await;
        let _first = peer.open(first).await;
        if peer.quic.close_reason().is_none() {
            // The server may close over the first already.
            if let Ok((mut send, _recv)) = peer.quic.open_bi().await {
                let _ = send.write_all(&[second]).await;
            }
        }
        let (code, reason) = closed(&peer.quic).await;
        assert_eq!(code, PROTOCOL);
        assert!(reason.contains(text), "{reason:?} does not say {text:?}");
    }
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_streams_that_say_nothing_delay_nobody() {
    let arena = Arena::new().await;
    let mut peer = arena.peer().await;
    let mut held = Vec::new();
    for kind in [CALL, BODY, LANE] {
        held.push(peer.open(kind).await);
    }
    for _ in 0..200 {
        held.push(peer.open(CALL).await);
        held.push(peer.open(BODY).await);
    }
    peer.control().write(&control(&Control::Ping(1))).await;
    let mut call = peer.open_with(CALL, &call_frame("echo")).await;
    call.write(&frame(2, &common::blob(3))).await;
    assert!(call.status().await.is_ok());
    arena.others_are_served().await;
    let began = Instant::now();
    arena.server.drain(Duration::from_secs(5)).await;
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "streams that never became calls hold no drain up"
    );
}

#[tokio::test]
async fn c9_before_its_hello_a_peer_has_little_to_spend() {
    let arena = Arena::new().await;
    let peer = Dialler::silent(&arena.server).await;
    let mut held = Vec::new();
    for _ in 0..limits::PRE_ADMISSION_STREAMS {
        held.push(peer.open(CALL).await);
    }
    // What the server had to grant it would have granted before it has answered others.
    tokio::select! {
        biased;
        _ = peer.quic.open_bi() => panic!("a ninth stream was granted"),
        _ = peer.quic.open_uni() => panic!("a unidirectional stream was granted"),
        () = arena.others_are_served() => {}
    }
    let flood = vec![7; 1 << 20];
    let mut sent = 0;
    loop {
        tokio::select! {
            biased;
            count = held[0].send.write(&flood) => sent += count.expect("it is not closed yet"),
            () = arena.others_are_served() => break,
        }
        assert!(sent < flood.len(), "over a megabyte went out before Hello");
    }
    // What the kind byte's task has taken off is granted again, once: never more than two windows.
    assert!(sent <= 2 * limits::PRE_ADMISSION_WINDOW as usize, "{sent}");
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_a_credential_that_nobody_judges_is_refused_and_not_ignored() {
    let arena = Arena::new().await;
    let peer = Dialler::silent(&arena.server).await;
    let hello = Hello {
        credential: Some(Bytes::from_static(b"forged")),
        ..Hello::default()
    };
    let mut raw = peer
        .open_with(CONTROL, &control(&Control::Hello(hello)))
        .await;
    let (kind, _) = raw.frame().await.expect("an answer");
    assert_eq!(kind, 3, "Refused");
    let (code, reason) = closed(&peer.quic).await;
    assert_eq!(code, 2);
    assert!(reason.contains("takes no credentials"), "{reason}");
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_pings_whose_answers_are_left_unread_close_the_connection_by_name() {
    let arena = Arena::new().await;
    let mut peer = arena.peer().await;
    let mut pings = Vec::new();
    for number in 0..10_000u64 {
        pings.extend(control(&Control::Ping((1 << 40) + number)));
    }
    let quic = peer.quic.clone();
    let flood = async {
        // Far more than the windows and the bound hold.
        for _ in 0..200 {
            if !peer.control().try_write(&pings).await {
                break;
            }
        }
    };
    let (_, (code, reason)) = tokio::join!(flood, closed(&quic));
    assert_eq!(code, PROTOCOL);
    assert!(
        reason.contains("pings come faster than their answers are read"),
        "{reason}"
    );
    arena.others_are_served().await;
}

/// The one test that waits for the real time limit of handshakes, for all who overstay it.
#[tokio::test]
async fn c9_a_hello_that_does_not_come_in_time_closes_the_connection_by_name() {
    let arena = Arena::new().await;
    let silent = Dialler::silent(&arena.server).await;
    let opened = Dialler::silent(&arena.server).await;
    let mut calls = opened.open_with(CALL, &call_frame("echo")).await;
    calls.write(&frame(2, &common::blob(3))).await;
    let slow = Dialler::silent(&arena.server).await;
    let hello = control(&Control::Hello(Hello {
        agent: "one byte a second".into(),
        ..Hello::default()
    }));
    let quic = slow.quic.clone();
    let drip = tokio::spawn(async move {
        let mut raw = slow.open(CONTROL).await;
        for byte in hello {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if !raw.try_write(&[byte]).await {
                return;
            }
        }
    });
    let began = Instant::now();
    let ends = tokio::join!(closed(&silent.quic), closed(&opened.quic), closed(&quic));
    for (code, reason) in [ends.0, ends.1, ends.2] {
        assert_eq!(code, 3, "HANDSHAKE_TIMEOUT");
        assert!(reason.contains("no complete Hello in time"), "{reason}");
    }
    assert!(
        began.elapsed() > Duration::from_secs(4),
        "they have their time"
    );
    assert!(
        calls.frame().await.is_none(),
        "an early call is not answered"
    );
    drip.abort();
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_the_seventeenth_connection_of_one_id_is_refused_by_name() {
    let arena = Arena::new().await;
    let endpoint = endpoint().await;
    let dial = || async {
        soon(
            "a connection",
            endpoint.connect(target(arena.server.address()), ALPN),
        )
        .await
        .expect("connects")
    };
    let mut held = Vec::new();
    for _ in 0..limits::MAX_CONNECTIONS_PER_PEER {
        let quic = dial().await;
        let (mut send, recv) = quic.open_bi().await.expect("opens");
        let mut hello = vec![CONTROL];
        hello.extend(control(&Control::Hello(Hello::default())));
        send.write_all(&hello).await.expect("written");
        held.push((quic, send, recv));
    }
    for (_, _, recv) in &mut held {
        let mut byte = [0; 2];
        soon("Welcome", recv.read_exact(&mut byte))
            .await
            .expect("welcome");
    }
    let (code, reason) = closed(&dial().await).await;
    assert_eq!(code, 4, "TOO_MANY");
    assert!(
        reason.contains("16 connections open") && reason.contains("close one"),
        "{reason}"
    );
    held[0].0.close(0u32.into(), b"");
    soon("a place", async {
        loop {
            // Either it is closed, or it is welcome.
            let quic = dial().await;
            let Ok((mut send, mut recv)) = quic.open_bi().await else {
                continue;
            };
            let mut hello = vec![CONTROL];
            hello.extend(control(&Control::Hello(Hello::default())));
            let mut welcome = [0; 2];
            if send.write_all(&hello).await.is_ok() && recv.read_exact(&mut welcome).await.is_ok() {
                return;
            }
        }
    })
    .await;
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_connections_that_wait_for_admission_are_capped_and_others_are_served() {
    let arena = Arena::new().await;
    // 16 of an id, so 300 take 19 ids.
    let mut endpoints = Vec::new();
    for _ in 0..19 {
        endpoints.push(endpoint().await);
    }
    let mut dials = tokio::task::JoinSet::new();
    for endpoint in &endpoints {
        for _ in 0..16 {
            let (endpoint, target) = (endpoint.clone(), target(arena.server.address()));
            dials.spawn(async move { endpoint.connect(target, ALPN).await });
        }
    }
    let (mut held, mut refused) = (Vec::new(), 0);
    while let Some(dial) = soon("a dial ends", dials.join_next()).await {
        match dial.expect("no panic") {
            Ok(quic) => held.push(quic),
            // Too many to be told at the same time.
            Err(_) => refused += 1,
        }
    }
    // The rest is told: 256 have a place, and none of them is closed before its 5 seconds are over.
    let told = held.len() - limits::MAX_UNADMITTED;
    assert_eq!(told + refused, 304 - limits::MAX_UNADMITTED);
    let mut ends = tokio::task::JoinSet::new();
    for quic in held.clone() {
        ends.spawn(async move { closed(&quic).await });
    }
    for _ in 0..told {
        let (code, reason) = ends.join_next().await.expect("an end").expect("no panic");
        assert_eq!(code, 7, "BUSY: {reason}");
        assert!(reason.contains("256 others wait for admission"), "{reason}");
    }
    drop(ends);
    arena.others_are_served().await;
    let connect = || {
        let address = arena.server.address().clone();
        aster::Client::connect(vec![address], common::client_options())
    };
    let error = connect().await.expect_err("there is no place");
    says(
        &error.status,
        Code::UNAVAILABLE,
        &[
            "takes no new connections now",
            "256 others wait for admission",
            "try again in a few",
        ],
    );
    let place = format!("connect at {}", &arena.server.endpoint_id()[..10]);
    assert!(error.to_string().starts_with(&place), "{error}");
    assert!(!error.status.may_have_run);
    drop(held);
    soon("a new peer is admitted", async {
        while aster::Client::connect(
            vec![arena.server.address().clone()],
            common::client_options(),
        )
        .await
        .is_err()
        {}
    })
    .await;
    arena.others_are_served().await;
}
