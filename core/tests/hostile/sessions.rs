//! Sessions: ids that no caller gives, queues that only grow, closes that do not add up.

use aster::proto::control::{CloseSession, Control};
use aster::proto::frame::{flag, kind};
use aster::{Code, Status};

use crate::Arena;
use crate::common::{as_int, blob, int, reaches, server_options};
use crate::wire_peer::{
    CALL, Dialler, LANE, Raw, closed, control, encoded, frame, header, lane_call, lane_cancel,
    refused, soon,
};

async fn arena() -> Arena {
    Arena::with("session", server_options()).await
}

fn of(session: u64, method: &str) -> Vec<u8> {
    let mut header = header(method);
    header.session = Some(session);
    encoded(&header)
}

async fn close(peer: &mut Dialler, session: u64, calls: u64) {
    let frame = Control::CloseSession(CloseSession { session, calls });
    peer.control().write(&control(&frame)).await;
}

/// Waits until the control frames sent so far have been taken.
async fn settle(peer: &mut Dialler) {
    peer.control().write(&control(&Control::Ping(1))).await;
    while peer.control().frame().await.expect("a Pong").0 != 8 {}
}

async fn once(lane: &mut Raw, id: u64, session: u64) -> (Status, bytes::Bytes) {
    lane.write(&lane_call(id, 0, &of(session, "once"), &int(1)))
        .await;
    lane.reply(id).await
}

#[tokio::test]
async fn c9_calls_that_name_no_session_or_a_wrong_one_are_refused() {
    let arena = arena().await;
    let mut peer = arena.peer().await;
    let mut lane = peer.open(LANE).await;
    lane.write(&lane_call(0, 0, &encoded(&header("once")), &int(1)))
        .await;
    refused(
        &lane.reply(0).await.0,
        Code::FAILED_PRECONDITION,
        &["Probe.once", "names no session"],
    );
    let huge = (1 << 62) - 1;
    assert!(
        once(&mut lane, 1, huge).await.0.is_ok(),
        "the largest id is an id"
    );
    close(&mut peer, huge, 1).await;
    soon("the hook", reaches(&arena.probe.closed_sessions, 1)).await;
    refused(
        &once(&mut lane, 2, huge).await.0,
        Code::FAILED_PRECONDITION,
        &["is closed", "open a new session"],
    );
    // Closed without a call, and closed twice.
    close(&mut peer, 9, 0).await;
    close(&mut peer, 9, 0).await;
    close(&mut peer, huge, 77).await;
    settle(&mut peer).await;
    refused(
        &once(&mut lane, 3, 9).await.0,
        Code::FAILED_PRECONDITION,
        &["session 9 is closed"],
    );
    let mut stream = peer
        .open_with(CALL, &frame(kind::CALL, &of(9, "mirror")))
        .await;
    refused(
        &stream.status().await,
        Code::FAILED_PRECONDITION,
        &["session 9 is closed"],
    );
    assert_eq!(
        *arena.probe.closed_sessions.borrow(),
        1,
        "what was never made is not ended"
    );
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_scattered_session_ids_close_the_connection() {
    let arena = arena().await;
    let mut peer = arena.peer().await;
    let mut frames = Vec::new();
    for number in 0..10_002u64 {
        frames.extend(control(&Control::CloseSession(CloseSession {
            session: 1 + number * 2,
            calls: 0,
        })));
    }
    let quic = peer.quic.clone();
    peer.control().try_write(&frames).await;
    let (code, reason) = closed(&quic).await;
    assert_eq!(code, 1);
    assert!(reason.contains("scattered"), "{reason}");
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_a_sessions_queue_is_bounded_by_name() {
    let mut options = server_options();
    options.endpoint.limits.in_flight = 3_000;
    let arena = Arena::with("session", options).await;
    let peer = arena.peer().await;
    let mut lane = peer.open(LANE).await;
    lane.write(&lane_call(0, 0, &of(1, "hang"), &int(1))).await;
    for id in 1..=1_001 {
        lane.write(&lane_call(id, 0, &of(1, "once"), &int(1))).await;
    }
    refused(
        &lane.reply(1_001).await.0,
        Code::RESOURCE_EXHAUSTED,
        &["session 1", "1000 unary calls waiting"],
    );
    assert!(
        once(&mut lane, 1_002, 2).await.0.is_ok(),
        "another session is not held up"
    );
    lane.write(&lane_cancel(0)).await;
    for id in 1..=1_000 {
        let (status, message) = lane.reply(id).await;
        assert!(status.is_ok(), "{id}: {status}");
        assert_eq!(as_int(&message), id as i64 + 1, "in order");
    }
    arena.others_are_served().await;
}

#[tokio::test]
async fn c9_refused_calls_count_among_those_that_a_close_waits_for() {
    let arena = arena().await;
    let mut peer = arena.peer().await;
    let mut lane = peer.open(LANE).await;
    assert!(once(&mut lane, 0, 1).await.0.is_ok());
    let mut late = header("once");
    (late.session, late.deadline_ms) = (Some(1), Some(0));
    lane.write(&lane_call(1, 0, &encoded(&late), &int(1))).await;
    refused(
        &lane.reply(1).await.0,
        Code::DEADLINE_EXCEEDED,
        &["had passed"],
    );
    let began = std::time::Instant::now();
    close(&mut peer, 1, 2).await;
    soon("the hook", reaches(&arena.probe.closed_sessions, 1)).await;
    assert!(
        began.elapsed() < std::time::Duration::from_secs(3),
        "nothing was waited for"
    );
}

#[tokio::test]
async fn x1_a_stream_that_never_sends_its_message_does_not_keep_a_session_open() {
    let arena = arena().await;
    let mut peer = arena.peer().await;
    let mut count = peer
        .open_with(CALL, &frame(kind::CALL, &of(1, "count")))
        .await;
    count.write(&[9, kind::MESSAGE]).await;
    let mut lane = peer.open(LANE).await;
    assert!(once(&mut lane, 0, 1).await.0.is_ok());
    let mut waits = peer
        .open_with(CALL, &frame(kind::CALL, &of(1, "mirror")))
        .await;
    waits.write(&frame(kind::MESSAGE, &blob(1))).await;
    assert!(waits.frame().await.is_some());
    close(&mut peer, 1, 3).await;
    soon("the hook", reaches(&arena.probe.closed_sessions, 1)).await;
    assert_eq!(count.status().await.code, Code::CANCELLED);
    assert_eq!(waits.status().await.code, Code::CANCELLED);
    arena.others_are_served().await;
}

#[tokio::test]
async fn x1_the_hook_runs_once_however_a_connection_ends() {
    let arena = arena().await;
    for round in 0..20 {
        let mut peer = arena.peer().await;
        let mut lane = peer.open(LANE).await;
        lane.write(&lane_call(0, 0, &of(1, "hang"), &int(1))).await;
        for id in 1..10 {
            lane.write(&lane_call(id, 0, &of(1, "once"), &int(1))).await;
        }
        lane.write(&lane_call(10, flag::BODY, &of(2, "once"), &[]))
            .await;
        assert!(once(&mut lane, 11, 3).await.0.is_ok());
        match round % 4 {
            0 => peer.quic.close(0u32.into(), b""),
            1 => lane.reset(0),
            2 => lane.write(&frame(kind::LANE_CALL, &[])).await,
            _ => {
                close(&mut peer, 1, 10).await;
                close(&mut peer, 3, 1).await;
                peer.control().write(&frame(9, &[])).await;
            }
        }
        let so_far = (round + 1) * 3;
        soon("three hooks", reaches(&arena.probe.closed_sessions, so_far)).await;
        arena.others_are_served().await;
        assert_eq!(
            *arena.probe.closed_sessions.borrow(),
            so_far,
            "round {round}"
        );
    }
}
