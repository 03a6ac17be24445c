//! The four kinds of call, over real connections on loopback.

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use aster::{CallOptions, Client, Code, Contract, Handlers, Metadata, Method, Status};
use common::{Pair, as_int, blob, int, reaches};

#[tokio::test]
async fn c1_a_unary_call_is_answered() {
    let pair = Pair::new().await;
    assert_eq!(
        pair.unary("echo", blob(10)).await.expect("an answer"),
        blob(10)
    );
    assert_eq!(
        as_int(&pair.unary("once", int(5)).await.expect("an answer")),
        5
    );
}

#[tokio::test]
async fn c1_messages_of_every_size_arrive_whole() {
    let pair = Pair::new().await;
    for size in [
        0,
        1,
        63,
        64,
        8_180,
        8_187,
        8_188,
        8_192,
        20_000,
        100_000,
        1 << 20,
        (16 << 20) - 5,
    ] {
        let sent = blob(size);
        let got = pair
            .unary("echo", sent.clone())
            .await
            .unwrap_or_else(|error| panic!("{size} bytes: {error}"));
        assert!(got == sent, "{size} bytes came back changed");
    }
}

#[tokio::test]
async fn c9_a_message_over_the_limit_is_refused_by_name() {
    let pair = Pair::new().await;
    let error = pair
        .unary("echo", blob(16 << 20))
        .await
        .expect_err("over the limit");
    assert_eq!(error.code(), Code::RESOURCE_EXHAUSTED);
    assert!(error.to_string().contains("max_message"), "{error}");
    assert_eq!(
        pair.unary("echo", blob(1))
            .await
            .expect("the connection lives"),
        blob(1)
    );
}

#[tokio::test]
async fn c1_a_server_stream_gives_its_messages_in_order() {
    let pair = Pair::new().await;
    let (sender, mut receiver) = pair
        .client
        .start(&pair.method("count"), CallOptions::new())
        .await
        .expect("starts");
    let mut sender = sender;
    sender.send(int(1000)).await.expect("goes out");
    sender.finish();
    for value in 0..1000 {
        let message = receiver
            .next()
            .await
            .expect("no failure")
            .expect("a message");
        assert_eq!(as_int(&message), value);
    }
    assert_eq!(receiver.next().await.expect("ends OK"), None);
    assert_eq!(receiver.next().await.expect("stays ended"), None);
}

#[tokio::test]
async fn c1_a_client_stream_has_one_answer() {
    let pair = Pair::new().await;
    let (mut sender, mut receiver) = pair
        .client
        .start(&pair.method("sum"), CallOptions::new())
        .await
        .expect("starts");
    for value in 0..10_000 {
        sender.send(int(value)).await.expect("goes out");
    }
    sender.finish();
    assert_eq!(
        as_int(&receiver.next().await.expect("ok").expect("a message")),
        49_995_000
    );
    assert_eq!(receiver.next().await.expect("ends OK"), None);
}

#[tokio::test]
async fn c1_a_client_stream_that_the_server_ends_early_is_answered_all_the_same() {
    let pair = Pair::new().await;
    let (mut sender, mut receiver) = pair
        .client
        .start(&pair.method("sum"), CallOptions::new())
        .await
        .expect("starts");
    sender.send(int(7)).await.expect("goes out");
    sender.send(int(-1)).await.expect("goes out");
    assert_eq!(
        as_int(&receiver.next().await.expect("ok").expect("a message")),
        7
    );
    assert_eq!(receiver.next().await.expect("ends OK"), None);
    let error = loop {
        match sender.send(int(1)).await {
            Ok(()) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), Code::FAILED_PRECONDITION);
}

#[tokio::test]
async fn c1_a_bidirectional_call_goes_both_ways_at_once() {
    let pair = Pair::new().await;
    let (mut sender, mut receiver) = pair
        .client
        .start(&pair.method("mirror"), CallOptions::new())
        .await
        .expect("starts");
    for size in [1, 100, 100_000, 3, 1 << 20] {
        sender.send(blob(size)).await.expect("goes out");
        assert!(receiver.next().await.expect("ok").expect("a message") == blob(size));
    }
    sender.finish();
    assert_eq!(receiver.next().await.expect("ends OK"), None);
}

#[tokio::test]
async fn c5_a_thousand_calls_at_once_get_their_own_answers() {
    let pair = Pair::new().await;
    let method = pair.method("echo");
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..3000usize {
        let (client, method) = (pair.client.clone(), method.clone());
        calls.spawn(async move {
            let sent = blob(number % 200);
            let got = client
                .unary(&method, sent.clone(), CallOptions::new())
                .await
                .expect("an answer")
                .message;
            assert!(got == sent);
        });
    }
    calls.join_all().await;
}

#[tokio::test]
async fn c6_a_handlers_status_reaches_the_caller_with_its_place() {
    let pair = Pair::new().await;
    let error = pair
        .unary("fail", int(5))
        .await
        .expect_err("fails as asked");
    assert_eq!(error.code(), Code::NOT_FOUND);
    assert_eq!(error.status.message, "as asked");
    assert!(error.to_string().starts_with("Probe.fail at "), "{error}");
    assert!(error.status.may_have_run);
}

#[tokio::test]
async fn c2_a_deadline_below_a_second_ends_the_call_on_both_sides() {
    let pair = Pair::new().await;
    let mut options = CallOptions::new();
    options.timeout = Some(Duration::from_millis(80));
    let error = pair
        .client
        .unary(&pair.method("hang"), int(0), options.clone())
        .await
        .expect_err("hangs");
    assert_eq!(error.code(), Code::DEADLINE_EXCEEDED);
    reaches(&pair.probe.dropped, 1).await;
    let (mut sender, mut receiver) = pair
        .client
        .start(&pair.method("sum"), options)
        .await
        .expect("starts");
    sender.send(int(1)).await.expect("goes out");
    let error = receiver.next().await.expect_err("never finished");
    assert_eq!(error.code(), Code::DEADLINE_EXCEEDED);
    reaches(&pair.probe.dropped, 2).await;
}

#[tokio::test]
async fn c3_dropping_a_call_drops_its_handler() {
    let pair = Pair::new().await;
    let method = pair.method("hang");
    let call = tokio::spawn({
        let (client, method) = (pair.client.clone(), method.clone());
        async move { client.unary(&method, int(0), CallOptions::new()).await }
    });
    reaches(&pair.probe.started, 1).await;
    call.abort();
    reaches(&pair.probe.dropped, 1).await;

    let (mut sender, receiver) = pair
        .client
        .start(&pair.method("count"), CallOptions::new())
        .await
        .expect("starts");
    sender.send(int(i64::MAX)).await.expect("goes out");
    sender.finish();
    reaches(&pair.probe.started, 2).await;
    drop(receiver);
    reaches(&pair.probe.dropped, 2).await;

    let (sender, _receiver) = pair
        .client
        .start(&pair.method("mirror"), CallOptions::new())
        .await
        .expect("starts");
    reaches(&pair.probe.started, 3).await;
    drop(sender);
    reaches(&pair.probe.dropped, 3).await;
}

#[tokio::test]
async fn c3_ten_thousand_cancelled_calls_leave_nothing_behind() {
    let pair = Pair::new().await;
    let method = pair.method("hang");
    for round in 1..=100 {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let (client, method) = (pair.client.clone(), method.clone());
            calls.spawn(async move { client.unary(&method, int(0), CallOptions::new()).await });
        }
        reaches(&pair.probe.started, round * 100).await;
        calls.abort_all();
        while calls.join_next().await.is_some() {}
        reaches(&pair.probe.dropped, round * 100).await;
    }
    assert_eq!(
        pair.unary("echo", blob(1))
            .await
            .expect("the connection lives"),
        blob(1)
    );
}

#[tokio::test]
async fn c4_a_slow_reader_holds_the_writer_back() {
    let pair = Pair::new().await;
    let (mut sender, mut receiver) = pair
        .client
        .start(&pair.method("count"), CallOptions::new())
        .await
        .expect("starts");
    sender.send(int(50_000_000)).await.expect("goes out");
    sender.finish();
    // What the handler may be ahead of the reader is what the windows and buffers hold of messages of at most 7 bytes. A
    // handler that is not held back is never interrupted either, and ends before anybody else has a turn.
    let lead = |read: usize| {
        let sent = pair.probe.sent.load(Ordering::SeqCst);
        assert!(
            sent < read + 2_500_000,
            "{sent} went out and {read} were read"
        );
    };
    for read in 0..300_000 {
        let message = receiver.next().await.expect("ok").expect("a message");
        assert_eq!(as_int(&message), read);
        lead(usize::try_from(read).expect("positive"));
        if read == 0 {
            // Nothing of it is read while these are answered.
            for _ in 0..50 {
                pair.unary("echo", blob(100)).await.expect("an answer");
            }
            lead(0);
        }
    }
}

/// A server whose `say` answers with the metadata it was called with: text as initial, bytes as trailing metadata.
async fn metadata_mirror(options: aster::ServerOptions) -> (aster::Server, Contract) {
    let contract = Contract::from_json(
        r#"{"name": "Mirror", "version": 1, "types": [], "methods": [
            {"name": "say", "pattern": "unary", "request": {"t": "null"}, "response": {"t": "null"}}]}"#,
    )
    .expect("a contract");
    let service = Handlers::new(contract.clone())
        .unary("say", |context, request| async move {
            let (mut initial, mut trailing) = (Metadata::new(), Metadata::new());
            for (key, value) in context.metadata().iter() {
                let to = if key.ends_with("-bin") {
                    &mut trailing
                } else {
                    &mut initial
                };
                to.insert(key, value.clone())
                    .expect("valid before, valid now");
            }
            context.call().set_metadata(initial)?;
            context.call().set_trailing(trailing)?;
            Ok(request)
        })
        .build()
        .expect("every method has a handler");
    let server = aster::Server::start(vec![service], options)
        .await
        .expect("a server");
    (server, contract)
}

#[tokio::test]
async fn c1_metadata_goes_both_ways() {
    let (server, contract) = metadata_mirror(common::server_options()).await;
    let client = Client::connect(vec![server.address().clone()], common::client_options());
    let client = client.await.expect("a client");
    let say = Method::new(&contract, "say").expect("a method");
    let mut options = CallOptions::new();
    options.metadata.insert("trace", "abc").expect("valid");
    options
        .metadata
        .insert("raw-bin", vec![0, 255])
        .expect("valid");
    let answer = client
        .unary(&say, vec![0xc0].into(), options)
        .await
        .expect("an answer");
    assert_eq!(answer.metadata.get_str("trace"), Some("abc"));
    assert_eq!(answer.metadata.len(), 1);
    assert_eq!(
        answer.trailing.get("raw-bin").map(|value| &value[..]),
        Some(&[0, 255][..])
    );
    assert_eq!(answer.trailing.len(), 1);
}

#[tokio::test]
async fn c9_metadata_over_a_stated_limit_is_refused_by_name() {
    let mut options = common::server_options();
    options.endpoint.limits.metadata = 20;
    let (server, contract) = metadata_mirror(options).await;
    let mut options = common::client_options();
    options.endpoint.limits.metadata = 10;
    let client = Client::connect(vec![server.address().clone()], options)
        .await
        .expect("a client");
    let say = Method::new(&contract, "say").expect("a method");
    for (key, size, text) in [
        (
            "trace",
            30,
            "the metadata of the call has 35 bytes: the peer takes 20",
        ),
        (
            "trace",
            12,
            "the initial metadata of Mirror.say has 17 bytes: the caller takes 10",
        ),
        (
            "raw-bin",
            12,
            "the trailing metadata of Mirror.say has 19 bytes: the caller takes 10",
        ),
    ] {
        let mut options = CallOptions::new();
        options
            .metadata
            .insert(key, "x".repeat(size))
            .expect("valid");
        // By the lane, and on a stream.
        let unary = client.unary(&say, vec![0xc0].into(), options.clone()).await;
        let streamed = async {
            let (mut sender, mut receiver) = client.start(&say, options).await?;
            sender.send(vec![0xc0].into()).await?;
            sender.finish();
            receiver.next().await
        };
        for error in [unary.expect_err("over"), streamed.await.expect_err("over")] {
            assert_eq!(error.code(), Code::RESOURCE_EXHAUSTED);
            assert!(error.to_string().contains("max_metadata"), "{error}");
            assert!(error.to_string().contains(text), "{error}");
            assert_eq!(error.status.may_have_run, size < 30, "{error}");
        }
    }
}

#[tokio::test]
async fn c9_metadata_of_an_error_and_trailing_metadata_that_do_not_fit_together_fail_the_call() {
    let contract = Contract::from_json(
        r#"{"name": "Both", "version": 1, "types": [], "methods": [
            {"name": "fail", "pattern": "unary", "request": {"t": "i64"}, "response": {"t": "null"}}]}"#,
    )
    .expect("a contract");
    let service = Handlers::new(contract.clone())
        .unary("fail", |context, request| async move {
            let size = usize::try_from(as_int(&request)).expect("small");
            let (mut of_error, mut trailing) = (Metadata::new(), Metadata::new());
            of_error.insert("same", "the error's").expect("valid");
            of_error.insert("error", "e".repeat(4_000)).expect("valid");
            trailing.insert("same", "the handler's").expect("valid");
            trailing
                .insert("trailing", "t".repeat(size))
                .expect("valid");
            context.call().set_trailing(trailing)?;
            Err(Status::handler(Code::NOT_FOUND, "no such agent").with_metadata(of_error))
        })
        .build()
        .expect("complete");
    let server = aster::Server::start(vec![service], common::server_options())
        .await
        .expect("a server");
    let client = Client::connect(vec![server.address().clone()], common::client_options());
    let client = client.await.expect("a client");
    let fail = Method::new(&contract, "fail").expect("a method");
    let error = client.unary(&fail, int(4_000), CallOptions::new()).await;
    let error = error.expect_err("as asked");
    assert_eq!(error.code(), Code::NOT_FOUND, "{error}");
    let metadata = &error.status.metadata;
    assert_eq!(metadata.get_str("same"), Some("the error's"));
    assert_eq!(metadata.len(), 3);
    let error = client.unary(&fail, int(5_000), CallOptions::new()).await;
    let error = error.expect_err("over");
    assert_eq!(error.code(), Code::RESOURCE_EXHAUSTED, "{error}");
    for part in [
        "trailing metadata of Both.fail",
        "takes 8192",
        "max_metadata",
        "no such agent",
    ] {
        assert!(
            error.to_string().contains(part),
            "{error} does not say {part:?}"
        );
    }
}

/// A contract whose method says how long it may take and whether it may be repeated, which is not part of its id.
fn limited(timeout_ms: Option<u64>, idempotent: bool, more: &str) -> Contract {
    let timeout = timeout_ms.map_or_else(|| "null".to_owned(), |time| time.to_string());
    Contract::from_json(&format!(
        r#"{{"name": "Limited", "version": 1, "types": [], "methods": [
            {{"name": "left", "pattern": "unary", "idempotent": {idempotent}, "request": {{"t": "null"}},
                "response": {{"t": "i64"}}}}{more}],
            "manifest": {{"methods": {{"left": {{"timeout_ms": {timeout}}}}}}}}}"#
    ))
    .expect("a contract")
}

#[tokio::test]
async fn c2_the_time_limit_is_the_calls_else_the_methods_else_the_clients() {
    let service = Handlers::new(limited(None, false, ""))
        .unary("left", |context, _| async move {
            let left = context.call().time_left();
            Ok(int(left.map_or(-1, |left| left.as_secs() as i64)))
        })
        .build()
        .expect("complete");
    let server = aster::Server::start(vec![service], common::server_options())
        .await
        .expect("a server");
    for (of_client, of_method, of_call, range) in [
        (Some(400), Some(200_000), Some(100), 90..=100),
        (Some(400), Some(200_000), None, 190..=200),
        (Some(100), Some(200_000), None, 190..=200),
        (Some(400), None, None, 390..=400),
        (None, None, None, -1..=-1),
    ] {
        let mut options = common::client_options();
        options.timeout = of_client.map(Duration::from_secs);
        let client = Client::connect(vec![server.address().clone()], options);
        let client = client.await.expect("a client");
        let left = Method::new(&limited(of_method, false, ""), "left").expect("a method");
        let mut options = CallOptions::new();
        options.timeout = of_call.map(Duration::from_secs);
        let answer = client
            .unary(&left, vec![0xc0].into(), options.clone())
            .await;
        let seconds = as_int(&answer.expect("an answer").message);
        assert!(range.contains(&seconds), "{seconds} s of {range:?}");
        // As a stream too, which looks for its deadline elsewhere.
        let (mut sender, mut receiver) = client.start(&left, options).await.expect("starts");
        sender.send(vec![0xc0].into()).await.expect("goes out");
        let answer = receiver.next().await.expect("OK").expect("an answer");
        assert!(range.contains(&as_int(&answer)), "{range:?}");
    }
}

#[test]
fn c2_what_a_callers_own_contract_says_of_a_method_goes_before_the_servers() {
    let more = r#", {"name": "more", "pattern": "unary", "request": {"t": "null"}, "response": {"t": "null"}}"#;
    for (of_server, of_own, timeout) in [
        (Some(200), Some(100), Some(100)),
        (Some(100), Some(200), Some(200)),
        (Some(100), None, Some(100)),
        (None, None, None),
    ] {
        let served = limited(of_server, true, more);
        let own = limited(of_own, true, "");
        let method = Method::new(&served, "left")
            .expect("a method")
            .called_with(&own);
        assert_eq!(method.timeout(), timeout.map(Duration::from_millis));
    }
}

#[test]
fn c8_a_call_is_repeated_only_if_both_contracts_say_that_it_may_be() {
    for (of_server, of_own) in [(true, true), (true, false), (false, true), (false, false)] {
        let (served, own) = (limited(None, of_server, ""), limited(None, of_own, ""));
        let method = |contract| Method::new(contract, "left").expect("a method");
        let both = of_server && of_own;
        assert_eq!(method(&served).called_with(&own).is_idempotent(), both);
        assert_eq!(method(&own).served_as(&served).is_idempotent(), both);
    }
}

#[tokio::test]
async fn c1_compression_is_asked_for_per_call() {
    let pair = Pair::new().await;
    for size in [100, 5_000, 1 << 20] {
        let mut options = CallOptions::new();
        options.compress = Some(true);
        let answer = pair
            .client
            .unary(&pair.method("echo"), blob(size), options.clone())
            .await
            .expect("an answer");
        assert!(answer.message == blob(size));
        let (mut sender, mut receiver) = pair
            .client
            .start(&pair.method("mirror"), options)
            .await
            .expect("starts");
        sender.send(blob(size)).await.expect("goes out");
        assert!(receiver.next().await.expect("ok").expect("a message") == blob(size));
    }
}

#[tokio::test]
async fn k2_a_contract_is_fetched_by_id() {
    let pair = Pair::new().await;
    let contract = pair
        .client
        .contract("Probe", None)
        .await
        .expect("a contract");
    assert_eq!(contract.id(), pair.contract.id());
    let error = pair
        .client
        .contract("Prob", None)
        .await
        .expect_err("unknown");
    assert_eq!(error.code(), Code::UNIMPLEMENTED);
    assert!(error.to_string().contains("Probe v1"), "{error}");
    let error = pair
        .client
        .contract("Probe", Some(3))
        .await
        .expect_err("unknown version");
    assert!(error.to_string().contains("it has 1"), "{error}");
}
