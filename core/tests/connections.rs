//! Connections: how they begin, how they end, and what that does to calls.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use aster::{CallOptions, Client, Code, Server};
use common::{Pair, Probe, blob, client_options, int, reaches, server_options, service};

#[tokio::test]
async fn a1_a_server_starts_and_is_reached_with_no_network_at_all() {
    let began = Instant::now();
    let pair = Pair::new().await;
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "start and connect took {:?}",
        began.elapsed()
    );
    assert!(
        pair.server
            .address()
            .direct
            .iter()
            .any(|address| address.ip().is_loopback())
    );
    assert_eq!(
        pair.unary("echo", blob(1)).await.expect("an answer"),
        blob(1)
    );
}

#[tokio::test]
async fn c7_a_closed_server_is_seen_at_once_and_calls_say_what_happened() {
    let pair = Pair::new().await;
    let client = pair.client.clone();
    let method = pair.method("hang");
    let call = tokio::spawn(async move { client.unary(&method, int(0), CallOptions::new()).await });
    reaches(&pair.probe.started, 1).await;
    pair.server.close().await;
    let error = call.await.expect("ran").expect_err("the server is gone");
    assert_eq!(error.code(), Code::UNAVAILABLE);
    assert!(error.status.may_have_run);
    assert!(error.to_string().contains("shut down"), "{error}");
}

#[tokio::test]
async fn c7_a_closed_client_drops_its_handlers() {
    let pair = Pair::new().await;
    let (client, method) = (pair.client.clone(), pair.method("hang"));
    let call = tokio::spawn(async move { client.unary(&method, int(0), CallOptions::new()).await });
    reaches(&pair.probe.started, 1).await;
    pair.client.close().await;
    reaches(&pair.probe.dropped, 1).await;
    assert_eq!(
        call.await.expect("ran").expect_err("closed").code(),
        Code::CANCELLED
    );
    let error = pair.unary("echo", blob(1)).await.expect_err("closed");
    assert_eq!(error.code(), Code::FAILED_PRECONDITION);
}

#[tokio::test]
async fn c7_a_ping_is_answered_by_the_engine() {
    let pair = Pair::new().await;
    let trip = pair
        .client
        .ping(Duration::from_secs(5))
        .await
        .expect("alive");
    assert!(trip > Duration::ZERO);
}

#[tokio::test]
async fn c8_a_client_connects_again_and_repeats_what_is_safe() {
    let folder = std::env::temp_dir().join(format!("aster-test-{}-c8", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let identity = folder.join("server.identity");
    let mut options = server_options();
    options.endpoint.identity = Some(identity.clone());
    let probe = Arc::new(Probe::default());
    let first = Server::start(vec![service(&probe, "shared")], options.clone())
        .await
        .expect("a server");
    let address = first.address().clone();
    let client = Client::connect(vec![address.clone()], client_options())
        .await
        .expect("a client");
    let echo = aster::Method::new(&common::contract("shared"), "echo").expect("a method");
    client
        .unary(&echo, blob(1), CallOptions::new())
        .await
        .expect("an answer");
    first.close().await;
    let second = Server::start(vec![service(&probe, "shared")], options)
        .await
        .expect("the same server again");
    assert_eq!(
        *second.address(),
        address,
        "A2: the same address after a restart"
    );
    client
        .unary(&echo, blob(2), CallOptions::new())
        .await
        .expect("connected again");
    std::fs::remove_dir_all(&folder).expect("cleaned up");
}

#[tokio::test]
async fn a2_a_second_server_on_one_identity_does_not_start_and_says_why() {
    let folder = std::env::temp_dir().join(format!("aster-test-{}-a2", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut options = server_options();
    options.endpoint.identity = Some(folder.join("server.identity"));
    let probe = Arc::new(Probe::default());
    let first = Server::start(vec![service(&probe, "shared")], options.clone())
        .await
        .expect("a server");
    let error = Server::start(vec![service(&probe, "shared")], options)
        .await
        .expect_err("the port is taken");
    assert!(
        error.message.contains("server.identity") && error.message.contains("another server"),
        "{error}"
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(folder.join("server.identity"))
            .expect("is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    first.close().await;
    std::fs::remove_dir_all(&folder).expect("cleaned up");
}

#[tokio::test]
async fn a4_a_dead_address_fails_within_its_time_and_says_what_was_tried() {
    let pair = Pair::new().await;
    let mut address = pair.server.address().clone();
    pair.server.close().await;
    address.direct.retain(|direct| direct.ip().is_loopback());
    let mut options = client_options();
    options.connect_timeout = Duration::from_millis(300);
    let error = Client::connect(vec![address.clone()], options)
        .await
        .expect_err("nobody there");
    assert_eq!(error.code(), Code::UNAVAILABLE);
    assert!(
        error.to_string().contains(&address.direct[0].to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn c8_the_next_address_is_tried_when_one_is_dead() {
    let dead = Pair::new().await;
    let address = dead.server.address().clone();
    dead.server.close().await;
    let pair = Pair::new().await;
    let mut options = client_options();
    options.connect_timeout = Duration::from_secs(4);
    let client = Client::connect(vec![address, pair.server.address().clone()], options)
        .await
        .expect("the second answers");
    assert_eq!(client.peer(), pair.server.endpoint_id());
}

#[tokio::test]
async fn i3_a_drain_answers_what_it_has_and_refuses_what_is_new() {
    let pair = Pair::new().await;
    let (client, method) = (pair.client.clone(), pair.method("once"));
    let call =
        tokio::spawn(async move { client.unary(&method, int(-1), CallOptions::new()).await });
    reaches(&pair.probe.started, 1).await;
    let server = pair.server.clone();
    let drain = tokio::spawn(async move { server.drain(Duration::from_secs(10)).await });
    // The drain has begun once a new call is refused, whichever side refuses it.
    let error = loop {
        let mut call = CallOptions::new();
        call.timeout = Some(Duration::from_millis(500));
        if let Err(error) = pair.client.unary(&pair.method("once"), int(0), call).await {
            break error;
        }
    };
    assert!(!error.status.may_have_run, "{error}");
    pair.probe.gate.notify_one();
    assert!(
        call.await.expect("ran").is_ok(),
        "an accepted call is answered"
    );
    drain.await.expect("drained");
}

#[tokio::test]
async fn i3_a_drain_ends_in_time_whatever_the_handlers_do() {
    let pair = Pair::new().await;
    let (client, method) = (pair.client.clone(), pair.method("hang"));
    let call = tokio::spawn(async move { client.unary(&method, int(0), CallOptions::new()).await });
    reaches(&pair.probe.started, 1).await;
    pair.server.drain(Duration::from_millis(100)).await;
    let error = call.await.expect("ran").expect_err("cut off");
    assert_eq!(error.code(), Code::UNAVAILABLE);
    reaches(&pair.probe.dropped, 1).await;
}

#[tokio::test]
async fn c9_a_peer_that_speaks_something_else_is_named_as_such() {
    let other = iroh::Endpoint::builder(iroh::endpoint::presets::Minimal)
        .relay_mode(iroh::RelayMode::Disabled)
        .alpns(vec![b"other/1".to_vec()])
        .bind()
        .await
        .expect("an endpoint");
    let accept = {
        let other = other.clone();
        tokio::spawn(async move {
            while let Some(incoming) = other.accept().await {
                // The handshake fails: there is no protocol that both know.
                drop(incoming.accept());
            }
        })
    };
    let port = other.bound_sockets()[0].port();
    let address = aster::Address::new(
        *other.id().as_bytes(),
        None,
        [([127, 0, 0, 1], port).into()],
    );
    let error = Client::connect(vec![address], client_options())
        .await
        .expect_err("another protocol");
    assert!(
        error.to_string().contains("does not speak aster/1"),
        "{error}"
    );
    other.close().await;
    accept.await.expect("ended");
}
