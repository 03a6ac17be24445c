//! Bodies: messages of lane calls that come on streams of their own, or do not.

use aster::proto::frame::{flag, kind};
use aster::{Code, Status};
use bytes::BytesMut;

use crate::common::{blob, int, reaches};
use crate::wire_peer::{
    BODY, Dialler, LANE, Raw, closed, encoded, frame, header, lane_call, lane_cancel, refused,
    says, soon,
};
use crate::{Arena, common};

fn number(id: u64) -> Vec<u8> {
    let mut out = BytesMut::new();
    aster::proto::varint::put(&mut out, id);
    out.to_vec()
}

async fn body(peer: &Dialler, id: u64, rest: &[u8]) -> Raw {
    peer.open_with(BODY, &[number(id), rest.to_vec()].concat())
        .await
}

fn promised(id: u64, method: &str) -> Vec<u8> {
    lane_call(id, flag::BODY, &encoded(&header(method)), &[])
}

#[tokio::test]
async fn c9_two_bodies_for_one_call_close_the_connection() {
    let arena = Arena::new().await;
    let peer = arena.peer().await;
    let _first = body(&peer, 3, &[]).await;
    let _second = body(&peer, 3, &[]).await;
    let (code, reason) = closed(&peer.quic).await;
    assert_eq!(code, 1);
    assert!(
        reason.contains("two body streams came for one lane call"),
        "{reason}"
    );
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_bodies_that_are_wrong_end_their_own_calls() {
    let arena = Arena::new().await;
    let peer = arena.peer().await;
    let mut lane = peer.open(LANE).await;
    let message = frame(kind::MESSAGE, &blob(1));
    let mut promise = BytesMut::new();
    aster::proto::varint::put(&mut promise, 4 << 30);
    let cases: Vec<(Vec<u8>, bool, Code, &[&str])> = vec![
        (
            vec![],
            true,
            Code::INVALID_ARGUMENT,
            &["one request message"],
        ),
        (
            promise.to_vec(),
            false,
            Code::RESOURCE_EXHAUSTED,
            &["4294967296 bytes", "16777216"],
        ),
        (
            vec![9, kind::MESSAGE, 1],
            true,
            Code::INVALID_ARGUMENT,
            &["ended inside a frame"],
        ),
        (
            frame(kind::CALL, b""),
            false,
            Code::INVALID_ARGUMENT,
            &["frame kind 1 does not belong"],
        ),
        (
            frame(kind::MESSAGE | flag::COMPRESSED, b"x"),
            false,
            Code::INVALID_ARGUMENT,
            &["not valid zstd"],
        ),
    ];
    for (id, (bytes, fin, code, parts)) in cases.into_iter().enumerate() {
        let id = id as u64;
        lane.write(&promised(id, "echo")).await;
        let mut raw = body(&peer, id, &bytes).await;
        if fin {
            let _ = raw.send.finish();
        }
        refused(&raw.status().await, code, parts);
    }
    // In either order, and a second message after the first.
    let mut raw = body(&peer, 50, &message).await;
    lane.write(&promised(50, "echo")).await;
    assert!(raw.status().await.is_ok());
    lane.write(&promised(51, "hang")).await;
    let mut raw = body(
        &peer,
        51,
        &[frame(kind::MESSAGE, &int(1)), frame(kind::MESSAGE, &int(2))].concat(),
    )
    .await;
    says(
        &raw.status().await,
        Code::INVALID_ARGUMENT,
        &["a second came"],
    );
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_bodies_without_a_call_are_turned_away_or_wait_alone() {
    let arena = Arena::new().await;
    let peer = arena.peer().await;
    let mut lane = peer.open(LANE).await;
    // Without a number.
    let mut raw = peer.open_with(BODY, &[0xc0, 1]).await;
    raw.fin();
    assert_eq!(raw.reset_code().await, 1, "PROTOCOL");
    // For calls that are over: answered, cancelled, refused.
    lane.write(&lane_call(0, 0, &encoded(&header("echo")), &blob(1)))
        .await;
    assert!(lane.reply(0).await.0.is_ok());
    lane.write(&promised(1, "hang")).await;
    lane.write(&lane_cancel(1)).await;
    lane.write(&promised(2, "nope")).await;
    refused(&lane.reply(2).await.0, Code::UNIMPLEMENTED, &["nope"]);
    for id in 0..3 {
        let mut raw = body(&peer, id, &frame(kind::MESSAGE, &blob(1))).await;
        assert_eq!(raw.reset_code().await, 0, "CANCELLED, {id}");
        assert_eq!(raw.stop_code().await, 0, "CANCELLED, {id}");
    }
    // For calls to come, far more than there will ever be: they wait, and cost nobody else anything.
    let mut held = Vec::new();
    for id in 0..500 {
        held.push(body(&peer, 1_000 + id, &[]).await);
    }
    lane.write(&lane_call(3, 0, &encoded(&header("echo")), &blob(1)))
        .await;
    assert!(lane.reply(3).await.0.is_ok());
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_a_body_that_came_before_its_call_was_refused_is_turned_away() {
    let arena = Arena::new().await;
    let peer = arena.peer().await;
    let mut lane = peer.open(LANE).await;
    let mut held = Vec::new();
    for id in 0..20 {
        held.push(body(&peer, id, &frame(kind::MESSAGE, &blob(1))).await);
    }
    // The bodies are read in tasks of their own; one that is answered is behind them.
    for id in 0..20 {
        lane.write(&promised(id, "nope")).await;
        refused(&lane.reply(id).await.0, Code::UNIMPLEMENTED, &["nope"]);
    }
    for mut raw in held {
        assert_eq!(raw.reset_code().await, 0, "CANCELLED");
    }
    arena.others_are_served().await;
}

#[tokio::test]
async fn c2_a_body_that_never_comes_ends_with_the_deadline() {
    let arena = Arena::new().await;
    let peer = arena.peer().await;
    let mut lane = peer.open(LANE).await;
    let mut short = header("echo");
    short.deadline_ms = Some(100);
    lane.write(&lane_call(0, flag::BODY, &encoded(&short), &[]))
        .await;
    says(
        &lane.reply(0).await.0,
        Code::DEADLINE_EXCEEDED,
        &["Probe.echo"],
    );
    // Begun and never ended: the answer comes where the call went on.
    lane.write(&lane_call(1, flag::BODY, &encoded(&short), &[]))
        .await;
    let mut raw = body(&peer, 1, &[0x44, 0x00, kind::MESSAGE, 1, 2]).await;
    says(
        &raw.status().await,
        Code::DEADLINE_EXCEEDED,
        &["Probe.echo"],
    );
    let began = std::time::Instant::now();
    arena.server.drain(std::time::Duration::from_secs(8)).await;
    assert!(
        began.elapsed() < std::time::Duration::from_secs(4),
        "neither holds a drain up"
    );
}

#[tokio::test]
async fn c9_a_body_broken_off_drops_its_handler() {
    let arena = Arena::new().await;
    let peer = arena.peer().await;
    let mut lane = peer.open(LANE).await;
    lane.write(&promised(0, "hang")).await;
    let mut raw = body(&peer, 0, &frame(kind::MESSAGE, &int(1))).await;
    soon("the start", reaches(&arena.probe.started, 1)).await;
    raw.reset(0);
    soon("the drop", reaches(&arena.probe.dropped, 1)).await;
    lane.write(&promised(1, "hang")).await;
    let raw = body(&peer, 1, &[0x44, 0x00, kind::MESSAGE, 1]).await;
    drop(raw.recv);
    lane.write(&lane_cancel(1)).await;
    lane.write(&lane_call(2, 0, &encoded(&header("echo")), &blob(1)))
        .await;
    assert!(lane.reply(2).await.0.is_ok());
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_a_large_call_of_a_session_that_is_refused_says_why_to_a_real_client() {
    let mut options = common::server_options();
    options.endpoint.limits.sessions = 1;
    let arena = Arena::with("session", options).await;
    let client = aster::Client::connect(
        vec![arena.server.address().clone()],
        common::client_options(),
    )
    .await
    .expect("a client");
    let echo = aster::Method::new(&common::contract("session"), "echo").expect("a method");
    let mut failures = Vec::new();
    let sessions: Vec<_> = (0..3)
        .map(|_| client.open_session("Probe", false))
        .collect();
    for session in &sessions {
        let mut options = aster::CallOptions::new();
        options.session = Some(session.clone());
        let call = client.unary(&echo, blob(100_000), options);
        match soon("the outcome", call).await {
            Ok(answer) => assert!(answer.message == blob(100_000)),
            Err(failure) => failures.push(Status::from(failure)),
        }
    }
    assert_eq!(failures.len(), 2);
    for status in failures {
        refused(&status, Code::RESOURCE_EXHAUSTED, &["max_sessions"]);
    }
    arena.others_are_served().await;
}
