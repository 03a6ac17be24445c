//! Answers on streams of their own that break the protocol, or end in unusual ways, against a client.

use aster::proto::call::put_lane_reply;
use aster::proto::control::Control;
use aster::proto::frame::{flag, kind};
use aster::{CallOptions, Client, Code, Failure, Metadata, Status};
use bytes::{Bytes, BytesMut};
use iroh::endpoint::Connection;

use crate::acceptor::{method, pair, promise, status, unary};
use crate::common::{blob, client_options, contract, int};
use crate::wire_peer::{
    Acceptor, CALL, LANE, LARGE_ANSWER, accept, frame, lane_reply, says, soon, welcome,
};

const PROTOCOL: u64 = 1;

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
