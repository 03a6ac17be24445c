//! Acceptors that break the protocol, against a client.

use std::time::{Duration, Instant};

use aster::proto::call::put_lane_reply;
use aster::proto::control::{Control, Goaway, Hello, Refused, Welcome};
use aster::proto::frame::{flag, kind};
use aster::proto::limits::Limits;
use aster::{CallOptions, Client, Code, Failure, Metadata, Method, Status};
use bytes::{Bytes, BytesMut};
use iroh::endpoint::Connection;

use crate::common::{blob, client_options, contract, int};
use crate::wire_peer::{
    Acceptor, CALL, CONTROL, LANE, LARGE_ANSWER, Raw, accept, closed, control, field, frame,
    lane_call, lane_reply, says, soon, welcome,
};

const PROTOCOL: u64 = 1;

async fn connect(acceptor: &Acceptor) -> Result<Client, Failure> {
    let mut options = client_options();
    options.retries = 0;
    soon(
        "connecting",
        Client::connect(vec![acceptor.address()], options),
    )
    .await
}

/// A client that was welcomed, its connection here and the control stream.
async fn pair() -> (Acceptor, Client, Connection, Raw) {
    let acceptor = Acceptor::bind().await;
    let contract = contract("shared");
    let (client, (quic, control)) =
        tokio::join!(connect(&acceptor), acceptor.welcoming(welcome(&contract)));
    (acceptor, client.expect("connected"), quic, control)
}

fn method(name: &str) -> Method {
    Method::new(&contract("shared"), name).expect("a method")
}

async fn unary(client: &Client, name: &str, request: Bytes) -> Result<Bytes, Failure> {
    let method = method(name);
    let call = client.unary(&method, request, CallOptions::new());
    soon("the outcome", call).await.map(|answer| answer.message)
}

fn status(status: &Status) -> Vec<u8> {
    let mut out = BytesMut::new();
    status.encode(&mut out);
    frame(kind::STATUS, &out)
}

fn promise(length: u64) -> Vec<u8> {
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
        &["did not answer within 5 s"],
    );
    assert_eq!(code, 3, "HANDSHAKE_TIMEOUT");
    assert!(reason.contains("no Welcome in time"), "{reason}");
    assert!(began.elapsed() > Duration::from_secs(4));
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

/// A method, what it is answered with, whether that ends with FIN or a reset, how many messages come of it, and how it fails.
type Case = (
    &'static str,
    Vec<u8>,
    Option<bool>,
    usize,
    Code,
    &'static [&'static str],
);

/// A server-streaming call that is answered with these bytes: its messages and its end.
async fn streamed(
    client: &Client,
    quic: &Connection,
    name: &str,
    bytes: &[u8],
    fin: Option<bool>,
) -> (Vec<Bytes>, Failure) {
    let answer = async {
        let mut raw = accept(quic, CALL).await;
        raw.write(bytes).await;
        match fin {
            Some(true) => raw.fin(),
            Some(false) => raw.reset(0),
            None => {}
        }
        raw
    };
    let call = async {
        let (mut sender, mut receiver) = client
            .start(&method(name), CallOptions::new())
            .await
            .expect("starts");
        sender.send(int(1)).await.expect("goes out");
        sender.finish();
        let mut messages = Vec::new();
        loop {
            match soon("a message or the end", receiver.next()).await {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => panic!("it ended OK"),
                Err(error) => return (messages, error),
            }
        }
    };
    let (result, _raw) = tokio::join!(call, answer);
    result
}

#[tokio::test]
async fn c9_answers_in_the_wrong_order_end_their_call_and_say_what_came() {
    let (_acceptor, client, quic, _control) = pair().await;
    let message = frame(kind::MESSAGE, &int(1));
    let mut metadata = BytesMut::new();
    let mut pairs = Metadata::new();
    pairs.insert("k", "v").expect("valid");
    pairs.encode(&mut metadata);
    let metadata = frame(kind::METADATA, &metadata);
    let ok = status(&Status::ok());
    let zeros = zstd::bulk::compress(&vec![0; (16 << 20) + 1], 3).expect("compressed");
    let cases: Vec<Case> = vec![
        (
            "count",
            vec![],
            Some(true),
            0,
            Code::INTERNAL,
            &["without a status"],
        ),
        (
            "count",
            message.clone(),
            Some(true),
            1,
            Code::INTERNAL,
            &["without a status"],
        ),
        (
            "count",
            vec![],
            Some(false),
            0,
            Code::UNAVAILABLE,
            &["broke the answer off"],
        ),
        (
            "count",
            vec![9, kind::MESSAGE, 1],
            Some(true),
            0,
            Code::INVALID_ARGUMENT,
            &["ended inside a frame"],
        ),
        (
            "count",
            promise(4 << 30),
            None,
            0,
            Code::RESOURCE_EXHAUSTED,
            &["4294967296 bytes", "16777216"],
        ),
        (
            "count",
            [message.clone(), metadata.clone()].concat(),
            None,
            1,
            Code::INVALID_ARGUMENT,
            &["metadata"],
        ),
        (
            "count",
            [metadata.clone(), metadata].concat(),
            None,
            0,
            Code::INVALID_ARGUMENT,
            &["metadata"],
        ),
        (
            "count",
            frame(kind::CALL, b""),
            None,
            0,
            Code::INVALID_ARGUMENT,
            &["frame kind 1"],
        ),
        (
            "count",
            frame(kind::LANE_REPLY, b""),
            None,
            0,
            Code::INVALID_ARGUMENT,
            &["frame kind 7"],
        ),
        (
            "count",
            frame(kind::MESSAGE | flag::BODY, b""),
            None,
            0,
            Code::INVALID_ARGUMENT,
            &["flags 0x40"],
        ),
        (
            "count",
            frame(kind::STATUS, &[9]),
            None,
            0,
            Code::INVALID_ARGUMENT,
            &["ends inside a field"],
        ),
        (
            "count",
            frame(kind::MESSAGE | flag::COMPRESSED, &zeros),
            None,
            0,
            Code::RESOURCE_EXHAUSTED,
            &["max_message"],
        ),
        (
            "count",
            frame(kind::MESSAGE | flag::COMPRESSED, b"x"),
            None,
            0,
            Code::INVALID_ARGUMENT,
            &["not valid zstd"],
        ),
        (
            "sum",
            [message.clone(), message.clone()].concat(),
            None,
            1,
            Code::INVALID_ARGUMENT,
            &["one"],
        ),
        ("sum", ok, None, 0, Code::INVALID_ARGUMENT, &["without"]),
    ];
    for (name, bytes, fin, messages, code, parts) in cases {
        let (got, error) = streamed(&client, &quic, name, &bytes, fin).await;
        says(&error.status, code, parts);
        assert_eq!(got.len(), messages, "{error}");
        assert!(error.status.may_have_run, "{error}");
        assert!(
            error.to_string().starts_with(&format!("Probe.{name} at ")),
            "{error}"
        );
    }
    assert!(
        quic.close_reason().is_none(),
        "none of it ends the connection"
    );
}

#[tokio::test]
async fn c9_what_comes_after_a_status_ends_the_call_as_malformed() {
    let (_acceptor, client, quic, _control) = pair().await;
    let message = frame(kind::MESSAGE, &int(1));
    let ok = status(&Status::ok());
    let failed = status(&Status::handler(Code::NOT_FOUND, "as asked"));
    let after: [(&[u8], &str); 6] = [
        (&ok, "frame kind 4 came after the status"),
        (&failed, "frame kind 4 came after the status"),
        (&message, "frame kind 2 came after the status"),
        (
            &frame(kind::METADATA, b""),
            "frame kind 3 came after the status",
        ),
        (
            &frame(63, b"a kind of nobody"),
            "frame kind 63 came after the status",
        ),
        (&[9, kind::MESSAGE, 1], "ended inside a frame"),
    ];
    for first in [&ok, &failed] {
        for (second, text) in after {
            let bytes = [&message[..], first, second].concat();
            let (messages, error) = streamed(&client, &quic, "count", &bytes, Some(true)).await;
            says(&error.status, Code::INVALID_ARGUMENT, &[text]);
            assert_eq!(messages.len(), 1, "what came before it was handed over");
            assert!(error.status.may_have_run);
        }
    }
    // On the stream of a large call, and on that of a large answer.
    let large = async {
        let mut raw = accept(&quic, CALL).await;
        raw.write(&[&frame(kind::MESSAGE, &blob(3))[..], &ok, &failed].concat())
            .await;
        // Both directions end with the code for it.
        assert_eq!((raw.stop_code().await, raw.reset_code().await), (1, 1));
        let mut lane = accept(&quic, LANE).await;
        assert!(lane.frame().await.is_some());
        let mut answer = soon("a stream", quic.open_uni()).await.expect("granted");
        let bytes = [
            &[LARGE_ANSWER, 0][..],
            &frame(kind::MESSAGE, &blob(3)),
            &ok,
            &ok,
        ]
        .concat();
        soon("a write", answer.write_all(&bytes))
            .await
            .expect("written");
        let code = soon("a stop", answer.stopped()).await.expect("no loss");
        assert_eq!(code.map(u64::from), Some(PROTOCOL));
        (raw, lane, answer)
    };
    let calls = async {
        // So large that it is still being written when the answer comes.
        for size in [3 << 20, 3] {
            let error = unary(&client, "echo", blob(size))
                .await
                .expect_err("malformed");
            says(&error.status, Code::INVALID_ARGUMENT, &["after the status"]);
            assert!(error.status.may_have_run);
        }
    };
    let (_held, ()) = tokio::join!(large, calls);
    assert!(
        quic.close_reason().is_none(),
        "none of it ends the connection"
    );
}

#[tokio::test]
async fn c8_a_status_that_came_is_the_outcome_though_the_stream_or_connection_breaks_after_it() {
    for breaks_connection in [false, true] {
        let (_acceptor, client, quic, mut control) = pair().await;
        let answer = async {
            let mut raw = accept(&quic, CALL).await;
            let failed = Status::handler(Code::NOT_FOUND, "as asked");
            raw.write(&status(&failed)).await;
            // The status has been read once this ping, which came behind it, is answered.
            control
                .write(&crate::wire_peer::control(&Control::Ping(1)))
                .await;
            while control.frame().await.expect("a Pong").0 != 8 {}
            match breaks_connection {
                true => quic.close(0u32.into(), b""),
                false => raw.reset(0),
            }
            raw
        };
        let call = async {
            let started = client.start(&method("count"), CallOptions::new()).await;
            let (mut sender, mut receiver) = started.expect("starts");
            sender.send(int(1)).await.expect("goes out");
            sender.finish();
            receiver.next().await.expect_err("as asked")
        };
        let (error, _raw) = tokio::join!(call, answer);
        says(&error.status, Code::NOT_FOUND, &["as asked"]);
    }
}

#[tokio::test]
async fn c9_an_answer_with_more_metadata_than_its_caller_takes_fails_the_call() {
    let acceptor = Acceptor::bind().await;
    let contract = contract("shared");
    let mut options = client_options();
    (options.retries, options.endpoint.limits.metadata) = (0, 10);
    let (client, (quic, _control)) = tokio::join!(
        Client::connect(vec![acceptor.address()], options),
        acceptor.welcoming(welcome(&contract))
    );
    let client = client.expect("connected");
    let mut over = Metadata::new();
    over.insert("key", "12345678").expect("valid");
    let mut encoded = BytesMut::new();
    over.encode(&mut encoded);
    let ok = Status::ok().with_metadata(over.clone());
    let refused = Status::rejected(Code::UNAVAILABLE, "later").with_metadata(over.clone());
    let lane = async {
        let mut lane = accept(&quic, LANE).await;
        let mut replies = Vec::new();
        for (id, status) in [(0, &ok), (1, &refused)] {
            replies.extend(lane_reply(
                id,
                status,
                if status.is_ok() { &[1] } else { &[] },
            ));
        }
        let mut initial = BytesMut::new();
        put_lane_reply(&mut initial, 2, 0, &over, &Status::ok(), &[1]);
        replies.extend(initial);
        for _ in 0..3 {
            assert!(lane.frame().await.is_some());
        }
        lane.write(&replies).await;
        lane
    };
    let calls = async {
        let calls = tokio::join!(
            unary(&client, "once", int(1)),
            unary(&client, "once", int(1)),
            unary(&client, "once", int(1))
        );
        for (result, which, ran) in [
            (calls.0, "trailing", true),
            (calls.1, "trailing", false),
            (calls.2, "initial", true),
        ] {
            let error = result.expect_err("over");
            let text =
                format!("the {which} metadata of the answer has 11 bytes: 10 are taken here");
            says(
                &error.status,
                Code::RESOURCE_EXHAUSTED,
                &[&text, "max_metadata"],
            );
            assert_eq!(error.status.may_have_run, ran, "{error}");
        }
    };
    let (_lane, ()) = tokio::join!(lane, calls);
    for (bytes, which) in [
        (frame(kind::METADATA, &encoded), "initial"),
        (status(&ok), "trailing"),
        (status(&refused), "trailing"),
    ] {
        let (_, error) = streamed(&client, &quic, "count", &bytes, Some(true)).await;
        let text = format!("the {which} metadata of the answer has 11 bytes");
        says(
            &error.status,
            Code::RESOURCE_EXHAUSTED,
            &[&text, "max_metadata"],
        );
    }
    assert!(quic.close_reason().is_none(), "only the calls failed");
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
