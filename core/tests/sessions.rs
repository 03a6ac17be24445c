//! Sessions, over real connections on loopback.

mod common;

use aster::{CallOptions, Client, Code, Method, Session};
use common::{Pair, as_int, blob, client_options, int, reaches};

async fn once(
    client: &Client,
    method: &Method,
    session: &Session,
    value: i64,
) -> Result<i64, aster::Failure> {
    let mut options = CallOptions::new();
    options.session = Some(session.clone());
    client
        .unary(method, int(value), options)
        .await
        .map(|answer| as_int(&answer.message))
}

#[tokio::test]
async fn x1_a_session_opens_with_its_first_call_and_its_hook_runs_once() {
    let pair = Pair::of_scope("session").await;
    let method = pair.method("once");
    let session = pair.client.open_session("Probe", false);
    assert_eq!(
        once(&pair.client, &method, &session, 1)
            .await
            .expect("an answer"),
        1
    );
    assert_eq!(
        once(&pair.client, &method, &session, 2)
            .await
            .expect("an answer"),
        3
    );
    session.close();
    session.close();
    reaches(&pair.probe.closed_sessions, 1).await;
    let error = once(&pair.client, &method, &session, 3)
        .await
        .expect_err("closed");
    assert_eq!(error.code(), Code::FAILED_PRECONDITION);
    pair.server.close().await;
    assert_eq!(*pair.probe.closed_sessions.borrow(), 1);
}

#[tokio::test]
async fn x1_the_hook_runs_when_the_client_goes_away() {
    let pair = Pair::of_scope("session").await;
    let method = pair.method("once");
    for _ in 0..3 {
        let session = pair.client.open_session("Probe", false);
        once(&pair.client, &method, &session, 1)
            .await
            .expect("an answer");
        std::mem::forget(session);
    }
    pair.client.close().await;
    reaches(&pair.probe.closed_sessions, 3).await;
}

#[tokio::test]
async fn x1_the_hook_runs_when_the_server_shuts_down() {
    let pair = Pair::of_scope("session").await;
    let session = pair.client.open_session("Probe", false);
    once(&pair.client, &pair.method("once"), &session, 1)
        .await
        .expect("an answer");
    pair.server.close().await;
    assert_eq!(
        *pair.probe.closed_sessions.borrow(),
        1,
        "before close() returns"
    );
}

#[tokio::test]
async fn x3_unary_calls_run_in_the_order_issued_also_large_ones() {
    let pair = Pair::of_scope("session").await;
    let (once_method, echo) = (pair.method("once"), pair.method("echo"));
    let session = pair.client.open_session("Probe", false);
    let mut calls = tokio::task::JoinSet::new();
    for value in 0..100 {
        let (client, session) = (pair.client.clone(), session.clone());
        let (once_method, echo) = (once_method.clone(), echo.clone());
        calls.spawn(async move {
            let mut options = CallOptions::new();
            options.session = Some(session);
            if value % 10 == 9 {
                drop(
                    client
                        .unary(&echo, blob(50_000), options)
                        .await
                        .expect("an answer"),
                );
            } else {
                drop(
                    client
                        .unary(&once_method, int(value), options)
                        .await
                        .expect("an answer"),
                );
            }
        });
    }
    calls.join_all().await;
    let order = pair.probe.order.lock().expect("not poisoned").clone();
    let expected: Vec<i64> = (0..100).filter(|value| value % 10 != 9).collect();
    assert_eq!(order, expected);
}

#[tokio::test]
async fn x3_neither_a_small_call_nor_the_close_overtakes_a_large_call() {
    let pair = Pair::of_scope("session").await;
    let session = pair.client.open_session("Probe", false);
    let mut options = CallOptions::new();
    options.session = Some(session.clone());
    options.compress = Some(true);
    // Polled in order: the large call is made first, and takes a while to be ready.
    let echo = pair.method("echo");
    let (large, ()) = tokio::join!(
        pair.client.unary(&echo, blob(500_000), options.clone()),
        async { session.close() }
    );
    large.expect("made before the close");
    let late = pair
        .client
        .unary(&pair.method("once"), int(1), options)
        .await;
    let late = late.expect_err("made after the close");
    assert_eq!(late.status.code, Code::FAILED_PRECONDITION, "{late}");
}

#[tokio::test]
async fn x3_a_cancelled_call_leaves_the_queue_and_the_next_runs() {
    let pair = Pair::of_scope("session").await;
    let method = pair.method("once");
    let session = pair.client.open_session("Probe", false);
    let call = |value: i64| {
        let (client, method, session) = (pair.client.clone(), method.clone(), session.clone());
        tokio::spawn(async move { once(&client, &method, &session, value).await })
    };
    let first = call(-1);
    reaches(&pair.probe.started, 1).await;
    let second = call(10);
    let third = call(20);
    tokio::task::yield_now().await;
    second.abort();
    assert!(second.await.expect_err("aborted").is_cancelled());
    // The lane is in order: once this is answered the cancellation has arrived.
    once(
        &pair.client,
        &method,
        &pair.client.open_session("Probe", false),
        0,
    )
    .await
    .expect("an answer");
    pair.probe.gate.notify_one();
    first.await.expect("ran").expect("an answer");
    third.await.expect("ran").expect("an answer");
    assert_eq!(*pair.probe.order.lock().expect("not poisoned"), [0, -1, 20]);
}

#[tokio::test]
async fn x3_ten_thousand_sessions_on_one_connection() {
    let pair = Pair::of_scope("session").await;
    let method = pair.method("once");
    for round in 1..=20 {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..500 {
            let (client, method) = (pair.client.clone(), method.clone());
            calls.spawn(async move {
                let session = client.open_session("Probe", false);
                once(&client, &method, &session, 1)
                    .await
                    .expect("an answer");
                session.close();
            });
        }
        calls.join_all().await;
        reaches(&pair.probe.closed_sessions, round * 500).await;
    }
}

#[tokio::test]
async fn x3_the_cap_of_sessions_is_an_error_with_a_name() {
    let probe = std::sync::Arc::new(common::Probe::default());
    let mut options = common::server_options();
    options.endpoint.limits.sessions = 2;
    let server = aster::Server::start(vec![common::service(&probe, "session")], options)
        .await
        .expect("a server");
    let client = Client::connect(vec![server.address().clone()], client_options())
        .await
        .expect("a client");
    let method = Method::new(&common::contract("session"), "once").expect("a method");
    let sessions: Vec<Session> = (0..3)
        .map(|_| client.open_session("Probe", false))
        .collect();
    for session in &sessions[..2] {
        once(&client, &method, session, 1).await.expect("an answer");
    }
    let error = once(&client, &method, &sessions[2], 1)
        .await
        .expect_err("over the cap");
    assert_eq!(error.code(), Code::RESOURCE_EXHAUSTED);
    assert!(error.to_string().contains("max_sessions"), "{error}");
    assert!(!error.status.may_have_run);
}

#[tokio::test]
async fn x2_streaming_calls_run_beside_the_unary_ones_and_end_with_the_session() {
    let pair = Pair::of_scope("session").await;
    let session = pair.client.open_session("Probe", false);
    let mut options = CallOptions::new();
    options.session = Some(session.clone());
    let (mut sender, mut receiver) = pair
        .client
        .start(&pair.method("mirror"), options)
        .await
        .expect("starts");
    sender.send(blob(3)).await.expect("goes out");
    assert_eq!(
        receiver.next().await.expect("ok").expect("a message"),
        blob(3)
    );
    once(&pair.client, &pair.method("once"), &session, 4)
        .await
        .expect("an answer beside the stream");
    session.close();
    let error = receiver.next().await.expect_err("the session is closed");
    assert_eq!(error.code(), Code::CANCELLED);
    reaches(&pair.probe.closed_sessions, 1).await;
}

#[tokio::test]
async fn x1_a_call_without_a_session_to_a_session_service_says_so() {
    let pair = Pair::of_scope("session").await;
    let error = pair.unary("once", int(1)).await.expect_err("no session");
    assert_eq!(error.code(), Code::FAILED_PRECONDITION);
    assert!(error.to_string().contains("names no session"), "{error}");
}

#[tokio::test]
async fn x3_a_session_is_lost_with_its_connection_and_says_so_at_once() {
    let pair = Pair::of_scope("session").await;
    let method = pair.method("once");
    let explicit = pair.client.open_session("Probe", false);
    let implicit = pair.client.open_session("Probe", true);
    once(&pair.client, &method, &explicit, 1)
        .await
        .expect("an answer");
    once(&pair.client, &method, &implicit, 1)
        .await
        .expect("an answer");
    pair.server.close().await;
    for session in [&explicit, &implicit] {
        let error = loop {
            // The end of the connection is on its way.
            match once(&pair.client, &method, session, 1).await {
                Err(error) if error.code() == Code::ABORTED => break error,
                other => assert!(other.is_err(), "the server is gone"),
            }
        };
        assert!(
            error.to_string().contains("was lost with its connection"),
            "{error}"
        );
        assert!(!error.status.may_have_run);
    }
    let error = once(&pair.client, &method, &explicit, 1)
        .await
        .expect_err("it stays dead");
    assert_eq!(error.code(), Code::ABORTED);
}
