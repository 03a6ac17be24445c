//! What peers can make the engine hold: tasks, connections and memory.
//!
//! The tests count what the whole process has, so they run one after another.

mod common;
mod wire_peer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use aster::proto::frame::{flag, kind};
use aster::{CallOptions, Client, Code, Method, Server, Status};
use common::{Pair, Probe, blob, client_options, contract, int, reaches, server_options, service};
use tokio::sync::Mutex;
use wire_peer::{
    BODY, CALL, Dialler, LANE, call_frame, encoded, frame, header, lane_call, refused, soon,
};

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

fn alive() -> usize {
    tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks()
}

/// Waits until no more tasks are alive than that.
async fn settles_at(most: usize) {
    let end = Instant::now() + Duration::from_secs(8);
    while alive() > most {
        assert!(
            Instant::now() < end,
            "{} tasks are alive, {most} expected",
            alive()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Resident memory of this process, in bytes.
#[cfg(target_os = "linux")]
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("readable");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("there");
    let kib: usize = line
        .split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .expect("a number");
    kib << 10
}

#[tokio::test]
async fn c9_a_thousand_connections_leave_no_task_behind() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let pair = Pair::new().await;
    pair.unary("echo", blob(1)).await.expect("an answer");
    let endpoint = wire_peer::endpoint().await;
    let mut before = usize::MAX;
    for round in 0..100 {
        let mut held = Vec::new();
        for number in 0..10 {
            let dial = endpoint.connect(wire_peer::target(pair.server.address()), wire_peer::ALPN);
            let quic = soon("a connection", dial).await.expect("connects");
            let (mut send, mut recv) = quic.open_bi().await.expect("opens");
            let mut hello = vec![wire_peer::CONTROL];
            hello.extend(wire_peer::control(&aster::proto::control::Control::Hello(
                Default::default(),
            )));
            send.write_all(&hello).await.expect("written");
            let mut byte = [0];
            soon("Welcome", recv.read_exact(&mut byte))
                .await
                .expect("welcome");
            if number % 2 == 0 {
                let (mut send, recv) = quic.open_bi().await.expect("opens");
                let call = lane_call(0, 0, &encoded(&header("hang")), &int(1));
                send.write_all(&[&[LANE][..], &call].concat())
                    .await
                    .expect("written");
                held.push((quic.clone(), send, recv));
            }
            held.push((quic, send, recv));
        }
        for (quic, ..) in &held {
            quic.close(0u32.into(), b"");
        }
        drop(held);
        soon("they end", async {
            while pair.server.connections() > 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        if round < 5 {
            before = before.min(alive());
        }
    }
    // The endpoints keep a few of their own for a while; one task for each connection would be a thousand.
    settles_at(before + 10).await;
    pair.unary("echo", blob(1))
        .await
        .expect("the bystander is served");
}

async fn cancelled_of(kind: &str) {
    let _alone = ONE_AT_A_TIME.lock().await;
    let pair = Pair::new().await;
    pair.unary("echo", blob(1)).await.expect("an answer");
    let before = alive();
    let method = pair.method(if kind == "large" { "hang" } else { kind });
    let request = match kind {
        "large" => blob(20_000),
        "mirror" => blob(1),
        "count" => int(-1),
        _ => int(1),
    };
    for round in 1..=100 {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let (client, method, request) = (pair.client.clone(), method.clone(), request.clone());
            let streams = !matches!(kind, "hang" | "large");
            calls.spawn(async move {
                if !streams {
                    let _ = client.unary(&method, request, CallOptions::new()).await;
                    return;
                }
                let started = client.start(&method, CallOptions::new()).await;
                let (mut sender, mut receiver) = started.expect("starts");
                sender.send(request).await.expect("goes out");
                while let Ok(Some(_)) = receiver.next().await {}
            });
        }
        reaches(&pair.probe.started, round * 100).await;
        calls.abort_all();
        while calls.join_next().await.is_some() {}
        soon("the drops", reaches(&pair.probe.dropped, round * 100)).await;
    }
    settles_at(before + 5).await;
    pair.unary("echo", blob(1))
        .await
        .expect("the connection lives");
    pair.client.close().await;
    pair.server.close().await;
}

#[tokio::test]
async fn c3_ten_thousand_cancelled_unary_calls_leave_no_task_behind() {
    cancelled_of("hang").await;
}

#[tokio::test]
async fn c3_ten_thousand_cancelled_large_calls_leave_no_task_behind() {
    cancelled_of("large").await;
}

#[tokio::test]
async fn c3_ten_thousand_cancelled_server_streams_leave_no_task_behind() {
    cancelled_of("count").await;
}

#[tokio::test]
async fn c3_ten_thousand_cancelled_client_streams_leave_no_task_behind() {
    cancelled_of("sum").await;
}

#[tokio::test]
async fn c3_ten_thousand_cancelled_bidirectional_calls_leave_no_task_behind() {
    cancelled_of("mirror").await;
}

#[tokio::test]
async fn i3_a_drain_waits_until_what_was_answered_has_arrived() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let pair = Pair::new().await;
    let method = pair.method("mirror");
    let started = pair.client.start(&method, CallOptions::new()).await;
    let (mut sender, mut receiver) = started.expect("starts");
    // A little more than the window of a stream: the handler ends while the last of it waits to be sent.
    let count = 20;
    for _ in 0..count {
        sender.send(blob(64_000)).await.expect("goes out");
    }
    sender.finish();
    soon("the handler's end", reaches(&pair.probe.dropped, 1)).await;
    let server = pair.server.clone();
    let mut witness = Dialler::admitted(&pair.server).await;
    let drain = tokio::spawn(async move { server.drain(Duration::from_secs(8)).await });
    // It has begun once this comes, and goes on for all that is still to arrive.
    while witness.control().frame().await.expect("Goaway").0 != 4 {}
    assert!(!drain.is_finished());
    for number in 0..count {
        let message = soon("a message", receiver.next())
            .await
            .unwrap_or_else(|error| panic!("message {number}: {error}"));
        assert!(message.expect("not the end") == blob(64_000));
    }
    assert_eq!(soon("the end", receiver.next()).await.expect("OK"), None);
    let began = Instant::now();
    drain.await.expect("no panic");
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "no longer than that"
    );
}

#[tokio::test]
async fn c8_a_thousand_calls_that_wait_for_a_dead_server_fail_together() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let pair = Pair::new().await;
    let mut options = client_options();
    options.connect_timeout = Duration::from_millis(500);
    let client = Client::connect(vec![pair.server.address().clone()], options)
        .await
        .expect("a client");
    pair.server.close().await;
    let method = pair.method("once");
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let (client, method) = (client.clone(), method.clone());
        calls.spawn(async move { client.unary(&method, int(1), CallOptions::new()).await });
    }
    let began = Instant::now();
    while let Some(outcome) = calls.join_next().await {
        let error = outcome.expect("no panic").expect_err("nobody there");
        assert_eq!(error.code(), Code::UNAVAILABLE, "{error}");
    }
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn c3_a_wait_for_a_compressed_message_can_be_given_up_and_taken_up_again() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let handlers = aster::Handlers::new(contract("shared"));
    let handlers = handlers
        .unary("echo", |_, request| async move { Ok(request) })
        .unary("once", |_, request| async move { Ok(request) })
        .unary("hang", |_, request| async move { Ok(request) })
        .unary("fail", |_, request| async move { Ok(request) })
        .server_stream("count", |_, _, _| async move { Ok(()) })
        .client_stream("sum", |_, mut requests| async move {
            let mut count = 0;
            loop {
                // Polled once and dropped, again and again.
                tokio::select! {
                    biased;
                    request = requests.next() => match request? {
                        Some(_) => count += 1,
                        None => return Ok(int(count)),
                    },
                    () = tokio::task::yield_now() => {}
                }
            }
        })
        .bidi_stream("mirror", |_, mut requests, out| async move {
            while let Some(request) = requests.next().await? {
                out.send(request).await?;
            }
            Ok(())
        });
    let server = Server::start(vec![handlers.build().expect("complete")], server_options())
        .await
        .expect("a server");
    let client = Client::connect(vec![server.address().clone()], client_options())
        .await
        .expect("a client");
    let method = |name: &str| Method::new(&contract("shared"), name).expect("a method");
    let mut options = CallOptions::new();
    options.compress = Some(true);
    let (mut sender, mut receiver) = client
        .start(&method("sum"), options.clone())
        .await
        .expect("starts");
    for _ in 0..20 {
        sender.send(blob(1 << 20)).await.expect("goes out");
    }
    sender.finish();
    let answer = soon("the count", receiver.next()).await.expect("OK");
    assert_eq!(answer.expect("a count"), int(20));
    let (mut sender, mut receiver) = client
        .start(&method("mirror"), options)
        .await
        .expect("starts");
    let send = tokio::spawn(async move {
        for _ in 0..20 {
            sender.send(blob(1 << 20)).await.expect("goes out");
        }
        sender.finish();
    });
    let mut count = 0;
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        assert!(Instant::now() < end, "{count} messages came of 20");
        tokio::select! {
            biased;
            message = receiver.next() => match message.expect("OK") {
                Some(message) => {
                    assert!(message == blob(1 << 20));
                    count += 1;
                }
                None => break,
            },
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(count, 20);
    send.await.expect("no panic");
}

#[tokio::test]
async fn c3_every_task_that_waits_for_a_cancellation_hears_it() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let heard = Arc::new(tokio::sync::Semaphore::new(0));
    let waiting = Arc::new(tokio::sync::Semaphore::new(0));
    let (hear, wait) = (heard.clone(), waiting.clone());
    let contract = aster::Contract::from_json(
        r#"{"name": "Many", "version": 1, "types": [], "methods": [
            {"name": "wait", "pattern": "unary", "request": {"t": "i64"}, "response": {"t": "i64"}}]}"#,
    )
    .expect("a contract");
    let service = aster::Handlers::new(contract.clone())
        .unary("wait", move |context, _| {
            for _ in 0..3 {
                let (context, hear, wait) = (context.clone(), hear.clone(), wait.clone());
                tokio::spawn(async move {
                    wait.add_permits(1);
                    context.call().cancelled().await;
                    hear.add_permits(1);
                });
            }
            std::future::pending::<Result<bytes::Bytes, Status>>()
        })
        .build()
        .expect("complete");
    let server = Server::start(vec![service], server_options())
        .await
        .expect("a server");
    let client = Client::connect(vec![server.address().clone()], client_options())
        .await
        .expect("a client");
    let method = Method::new(&contract, "wait").expect("a method");
    let call = tokio::spawn(async move { client.unary(&method, int(1), CallOptions::new()).await });
    drop(soon("they wait", waiting.acquire_many(3)).await);
    call.abort();
    drop(soon("all three hear it", heard.acquire_many(3)).await);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn c9_promises_cost_no_memory() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let pair = Pair::new().await;
    let peer = Dialler::admitted(&pair.server).await;
    let before = resident();
    let mut held = Vec::new();
    // 16 MiB promised on each of 1,000 streams, and ten bytes sent: 16 GiB of promises.
    for id in 0..500u64 {
        let promise = [0x80, 0xff, 0xff, 0xff, kind::MESSAGE, 1, 2, 3, 4, 5];
        held.push(
            peer.open_with(CALL, &[&call_frame("echo")[..], &promise].concat())
                .await,
        );
        let mut number = bytes::BytesMut::new();
        aster::proto::varint::put(&mut number, id);
        held.push(
            peer.open_with(BODY, &[&number[..], &promise].concat())
                .await,
        );
    }
    pair.unary("echo", blob(1))
        .await
        .expect("the bystander is served");
    let grown = resident().saturating_sub(before);
    assert!(grown < 48 << 20, "{} MiB for promises", grown >> 20);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn c9_partly_sent_messages_share_one_budget_over_all_connections_of_a_peer() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let pair = Pair::new().await;
    let endpoint = wire_peer::endpoint().await;
    let before = resident();
    let mut exhausted = 0;
    let mut held = Vec::new();
    for _ in 0..3 {
        let dial = endpoint.connect(wire_peer::target(pair.server.address()), wire_peer::ALPN);
        let quic = soon("a connection", dial).await.expect("connects");
        let mut peer = Dialler {
            endpoint: endpoint.clone(),
            quic,
            control: None,
        };
        let hello = wire_peer::control(&aster::proto::control::Control::Hello(Default::default()));
        let mut control = peer.open_with(wire_peer::CONTROL, &hello).await;
        assert!(control.frame().await.is_some());
        peer.control = Some(control);
        // 8 messages of 16 MiB, all but the last byte of each: 128 MiB per connection.
        for _ in 0..8 {
            let mut raw = peer.open_with(CALL, &call_frame("echo")).await;
            let mut head = bytes::BytesMut::new();
            aster::proto::varint::put(&mut head, 16 << 20);
            raw.write(&[&head[..], &[kind::MESSAGE]].concat()).await;
            let piece = vec![7; 1 << 20];
            let mut whole = true;
            for _ in 0..15 {
                if !raw.try_write(&piece).await {
                    whole = false;
                    break;
                }
            }
            if !whole {
                let status = raw.status().await;
                refused(
                    &status,
                    Code::RESOURCE_EXHAUSTED,
                    &["64 MiB of partly received", "fewer large messages"],
                );
                exhausted += 1;
            }
            held.push(raw);
        }
        held.push(peer.control.take().expect("admitted"));
    }
    assert!(exhausted >= 15, "{exhausted} of 24 were refused");
    let grown = resident().saturating_sub(before);
    assert!(
        grown < 256 << 20,
        "{} MiB for partly sent messages",
        grown >> 20
    );
    pair.unary("echo", blob(1))
        .await
        .expect("the bystander is served");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn c9_a_gibibyte_of_zeros_costs_no_gibibyte() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let pair = Pair::new().await;
    let peer = Dialler::admitted(&pair.server).await;
    let mut lane = peer.open(LANE).await;
    let before = resident();
    // What zstd itself makes of a gibibyte of zeros, about 32 KiB.
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).expect("an encoder");
    let zeros = vec![0; 1 << 20];
    for _ in 0..1024 {
        std::io::Write::write_all(&mut encoder, &zeros).expect("compressed");
    }
    let bomb = encoder.finish().expect("compressed");
    let mut raw = peer.open_with(CALL, &call_frame("echo")).await;
    raw.write(&frame(kind::MESSAGE | flag::COMPRESSED, &bomb))
        .await;
    refused(
        &raw.status().await,
        Code::RESOURCE_EXHAUSTED,
        &["max_message"],
    );
    // Each of these is just small enough: 1,000 of them would be 15 GiB of requests to handlers that never end.
    let small = zstd::bulk::compress(&vec![0; 15 << 20], 19).expect("compressed");
    assert!(small.len() <= 8_192);
    let hang = encoded(&header("hang"));
    for id in 0..1_000 {
        lane.write(&lane_call(id, flag::COMPRESSED, &hang, &small))
            .await;
    }
    for _ in 0..980 {
        let (byte, payload) = lane.frame().await.expect("a reply");
        let reply = aster::proto::frame::Frame { byte, payload };
        match aster::proto::call::LaneFrame::parse(reply).expect("a reply") {
            aster::proto::call::LaneFrame::Reply { status, .. } => {
                refused(
                    &status,
                    Code::RESOURCE_EXHAUSTED,
                    &["compressed requests", "256 MiB", "await answers"],
                );
            }
            other => panic!("{other:?}"),
        }
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 512 << 20, "{} MiB", grown >> 20);
    pair.unary("echo", blob(1))
        .await
        .expect("the bystander is served");
}

const MIB: usize = 1 << 20;

/// A server whose handlers make large answers, of which it holds 40 MiB for a peer.
async fn maker() -> (Server, aster::Contract) {
    let contract = aster::Contract::from_json(
        r#"{"name": "Maker", "version": 1, "types": [], "methods": [
            {"name": "make", "pattern": "unary", "request": {"t": "i64"}, "response": {"t": "bytes"}},
            {"name": "many", "pattern": "server_stream", "request": {"t": "i64"}, "response": {"t": "bytes"}}]}"#,
    )
    .expect("a contract");
    let size = |request: &[u8]| usize::try_from(common::as_int(request)).expect("a size");
    let service = aster::Handlers::new(contract.clone())
        .unary(
            "make",
            move |_, request| async move { Ok(blob(size(&request))) },
        )
        .server_stream("many", move |_, request, out| async move {
            for _ in 0..100 {
                out.send(blob(size(&request))).await?;
            }
            Ok(())
        })
        .build()
        .expect("complete");
    let mut options = server_options();
    options.endpoint.max_unsent = 40 * MIB;
    let server = Server::start(vec![service], options).await;
    (server.expect("a server"), contract)
}

/// A header of a call to `Maker.<method>`.
fn making(method: &str) -> Vec<u8> {
    let mut header = header(method);
    if let aster::proto::call::RouteRef::Full { route, .. } = &mut header.route {
        route.service = "Maker";
    }
    encoded(&header)
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn c9_large_answers_that_are_left_unread_are_bounded_by_name() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let (server, _) = maker().await;
    let peer = Dialler::admitted(&server).await;
    let mut lane = peer.open(LANE).await;
    let before = resident();
    for id in 0..600 {
        lane.write(&lane_call(id, 0, &making("make"), &int(MIB as i64)))
            .await;
    }
    let mut streams = Vec::new();
    let mut failed = 0;
    // Each is answered: by an error on the lane, or by a stream that stays unread.
    while streams.len() + failed < 600 {
        tokio::select! {
            reply = lane.frame() => {
                let (byte, payload) = reply.expect("a reply");
                let reply = aster::proto::call::LaneFrame::parse(aster::proto::frame::Frame { byte, payload });
                let Ok(aster::proto::call::LaneFrame::Reply { status, .. }) = reply else {
                    panic!("{reply:?}")
                };
                let parts = ["the answer of Maker.make has 1048581 bytes", "max_unsent", "read answers"];
                wire_peer::says(&status, Code::RESOURCE_EXHAUSTED, &parts);
                assert!(status.may_have_run);
                failed += 1;
            }
            stream = peer.quic.accept_uni() => streams.push(stream.expect("a stream")),
        }
    }
    // 40 MiB held here, and what the windows of the peer take.
    assert!(
        streams.len() < 80,
        "{} large answers are held",
        streams.len()
    );
    let grown = resident().saturating_sub(before);
    assert!(grown < 200 * MIB, "{} MiB", grown / MIB);
    // Reading them makes room.
    for mut stream in streams {
        let answer = soon("an answer", stream.read_to_end(2 * MIB))
            .await
            .expect("whole");
        assert!(answer.len() > MIB);
    }
    lane.write(&lane_call(600, 0, &making("make"), &int(MIB as i64)))
        .await;
    let mut stream = soon("a stream", peer.quic.accept_uni())
        .await
        .expect("a stream");
    soon("an answer", stream.read_to_end(2 * MIB))
        .await
        .expect("whole");
}

#[tokio::test]
async fn c9_large_messages_of_many_unread_streams_are_bounded_by_name() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let (server, contract) = maker().await;
    let peer = Dialler::admitted(&server).await;
    let bystander = Client::connect(vec![server.address().clone()], client_options())
        .await
        .expect("a client");
    let request = frame(kind::MESSAGE, &int(4 * MIB as i64));
    let call = [frame(kind::CALL, &making("many")), request].concat();
    let mut held = Vec::new();
    for _ in 0..30 {
        held.push(peer.open_with(CALL, &call).await);
    }
    // What each begins with: a message that stays in its stream, or the failure once those of ten streams do.
    let mut failed = 0;
    for raw in &mut held {
        let mut head = [0; 4];
        soon("the head of an answer", raw.recv.read_exact(&mut head))
            .await
            .expect("an answer");
        if head[0] >= 0x80 {
            continue;
        }
        let rest = soon("its end", raw.recv.read_to_end(MIB)).await;
        let mut decoder = aster::proto::frame::Decoder::new(MIB);
        decoder.push([&head[..], &rest.expect("whole")].concat().into());
        let frame = decoder.next_frame().expect("valid").expect("a frame");
        let status = Status::decode(&frame.payload).expect("a status");
        let parts = [
            "the answer of Maker.many has 4194309 bytes",
            "max_unsent",
            "read answers",
        ];
        wire_peer::says(&status, Code::RESOURCE_EXHAUSTED, &parts);
        failed += 1;
    }
    assert!(failed >= 20, "{failed} of 30 streams failed");
    let many = Method::new(&contract, "many").expect("a method");
    // Another peer has its own budget, and one stream that is read slowly is held back rather than failed.
    let started = bystander.start(&many, CallOptions::new()).await;
    let (mut sender, mut receiver) = started.expect("starts");
    sender.send(int(4 * MIB as i64)).await.expect("goes out");
    sender.finish();
    for number in 0..100 {
        let message = soon("a message", receiver.next()).await;
        let message = message.unwrap_or_else(|error| panic!("message {number}: {error}"));
        assert_eq!(message.expect("not the end").len(), 4 * MIB + 5);
    }
    assert_eq!(soon("the end", receiver.next()).await.expect("OK"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn x1_hooks_run_once_each_while_threads_race() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let probe = Arc::new(Probe::default());
    let server = Server::start(vec![service(&probe, "session")], server_options())
        .await
        .expect("a server");
    let method = Method::new(&contract("session"), "once").expect("a method");
    let echo = Method::new(&contract("session"), "echo").expect("a method");
    let mut opened = 0;
    for round in 0..30 {
        let client = Client::connect(vec![server.address().clone()], client_options())
            .await
            .expect("a client");
        let sessions: Vec<_> = (0..40)
            .map(|_| client.open_session("Probe", false))
            .collect();
        let mut calls = tokio::task::JoinSet::new();
        for (number, session) in sessions.iter().enumerate() {
            let mut options = CallOptions::new();
            options.session = Some(session.clone());
            let first = client.unary(&method, int(1), options.clone()).await;
            first.expect("the session is open");
            opened += 1;
            for call in 0..4 {
                let (client, session, options) = (client.clone(), session.clone(), options.clone());
                let (method, echo) = (method.clone(), echo.clone());
                calls.spawn(async move {
                    match (number + call) % 4 {
                        0 => session.close(),
                        1 => drop(client.unary(&echo, blob(20_000), options).await),
                        2 => {
                            let call = client.unary(&method, int(1), options);
                            let _ = tokio::time::timeout(Duration::from_micros(200), call).await;
                        }
                        _ => drop(client.unary(&method, int(1), options).await),
                    }
                });
            }
        }
        if round % 2 == 0 {
            client.close().await;
        }
        soon("the calls end", async {
            while calls.join_next().await.is_some() {}
        })
        .await;
        drop(sessions);
        client.close().await;
        soon("the hooks", reaches(&probe.closed_sessions, opened)).await;
        assert_eq!(*probe.closed_sessions.borrow(), opened, "round {round}");
    }
    let began = Instant::now();
    server.drain(Duration::from_secs(5)).await;
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "nothing counts as busy any more"
    );
    assert_eq!(*probe.closed_sessions.borrow(), opened);
}
