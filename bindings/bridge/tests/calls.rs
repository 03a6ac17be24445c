//! All kinds of calls between two ports of one process, over real endpoints on loopback, as a language would make them.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aster_bridge::engine::{Codec, Contract, Metadata};
use aster_bridge::{
    Client, Event, Failure, InboundCall, Method, Outcome, Port, Push, Served, Server, Taken,
    Ticket, options,
};

const CONTRACT: &str = r#"{
    "name": "Test", "version": 1,
    "methods": [
        {"name": "add", "pattern": "unary", "request": {"t": "ref", "tag": "Pair"}, "response": {"t": "i64"}},
        {"name": "count", "pattern": "server_stream", "request": {"t": "i64"}, "response": {"t": "i64"}},
        {"name": "echo", "pattern": "bidi_stream", "request": {"t": "any"}, "response": {"t": "any"}},
        {"name": "slow", "pattern": "unary", "request": {"t": "i64"}, "response": {"t": "i64"}},
        {"name": "total", "pattern": "client_stream", "request": {"t": "i64"}, "response": {"t": "i64"}}
    ],
    "types": [{"kind": "struct", "tag": "Pair", "fields": [
        {"name": "a", "type": {"t": "i64"}, "required": true}, {"name": "b", "type": {"t": "i64"}, "required": true}]}]
}"#;

/// `{"a": 1, "b": 2}`.
const PAIR: &[u8] = b"\x82\xa1a\x01\xa1b\x02";

fn local() -> options::Endpoint {
    options::Endpoint {
        preset: Some("local".to_owned()),
        relay: Some(String::new()),
        ..Default::default()
    }
}

/// A port with what an event loop keeps about it.
struct Loop {
    port: Port,
    completed: HashMap<Ticket, Outcome>,
    ready: Vec<Ticket>,
    calls: Vec<Arc<InboundCall>>,
    cancelled: Vec<u64>,
    next: Ticket,
}

impl Loop {
    fn new() -> Self {
        let port = Port::new().unwrap();
        Self {
            port,
            completed: HashMap::new(),
            ready: vec![],
            calls: vec![],
            cancelled: vec![],
            next: 1,
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.next += 1;
        self.next
    }

    fn drain(&mut self) {
        let mut events = Vec::new();
        self.port.drain_into(&mut events);
        for event in events {
            match event {
                Event::Completed { ticket, outcome } => {
                    assert!(
                        self.completed.insert(ticket, outcome).is_none(),
                        "a ticket completes once"
                    );
                }
                Event::Ready { ticket, .. } => self.ready.push(ticket),
                Event::Call { call, .. } => self.calls.push(call),
                Event::Cancelled { call } => self.cancelled.push(call),
                Event::SessionClosed { .. } | Event::Logs => {}
            }
        }
    }

    /// Lets events come until `found` finds something.
    fn until<T>(&mut self, what: &str, mut found: impl FnMut(&mut Self) -> Option<T>) -> T {
        let give_up = Instant::now() + Duration::from_secs(20);
        loop {
            self.drain();
            if let Some(found) = found(self) {
                return found;
            }
            assert!(Instant::now() < give_up, "waited too long for {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn outcome(&mut self, ticket: Ticket) -> Outcome {
        self.until("a completion", |this| this.completed.remove(&ticket))
    }

    fn failure(&mut self, ticket: Ticket) -> Failure {
        match self.outcome(ticket) {
            Outcome::Failed(failure) => *failure,
            _ => panic!("it succeeded"),
        }
    }

    fn call(&mut self) -> Arc<InboundCall> {
        self.until("a call", |this| this.calls.pop())
    }
}

struct Pair {
    server: Loop,
    client: Loop,
    served: Server,
    connected: Client,
    contract: Contract,
}

fn pair(served: impl FnOnce(Contract) -> Served) -> Pair {
    let contract = Contract::from_json(CONTRACT).unwrap();
    let (mut server, mut client) = (Loop::new(), Loop::new());
    let ticket = server.ticket();
    server
        .port
        .serve(vec![served(contract.clone())], &local(), ticket)
        .unwrap();
    let Outcome::Server(served) = server.outcome(ticket) else {
        panic!("it did not start")
    };
    let ticket = client.ticket();
    client
        .port
        .connect(&[served.address()], &local(), ticket)
        .unwrap();
    let Outcome::Client(connected) = client.outcome(ticket) else {
        panic!("it did not connect")
    };
    Pair {
        server,
        client,
        served,
        connected,
        contract,
    }
}

fn plain(contract: Contract) -> Served {
    Served::new(contract, false)
}

impl Pair {
    fn method(&self, name: &str) -> Method {
        self.connected
            .method(&self.contract, name, Codec::MessagePack)
            .unwrap()
    }

    fn unary(&mut self, name: &str, payload: &[u8]) -> Ticket {
        let method = self.method(name);
        let ticket = self.client.ticket();
        let request = method.request(payload, true).unwrap();
        self.connected
            .unary(&method, request, options::Call::default(), ticket)
            .unwrap();
        ticket
    }
}

#[test]
fn c1_unary_calls_carry_metadata_and_errors_both_ways() {
    let mut pair = pair(plain);
    let method = pair.method("add");
    let mut metadata = Metadata::new();
    metadata.insert("who", "me").unwrap();
    let ticket = pair.client.ticket();
    let options = options::Call {
        metadata,
        timeout_ms: Some(60_000),
        ..Default::default()
    };
    pair.connected
        .unary(
            &method,
            method.request(PAIR, true).unwrap(),
            options,
            ticket,
        )
        .unwrap();
    let call = pair.server.call();
    assert_eq!(call.request().unwrap()[..], *PAIR);
    assert_eq!(call.metadata().get_str("who"), Some("me"));
    assert!(call.time_left_ms().unwrap() > 1_000.0);
    assert_eq!(
        (
            call.name().as_str(),
            call.service_index(),
            call.method_index()
        ),
        ("Test.add", 0, 0)
    );
    let text = call.reply(b"\xa1x").unwrap_err().to_string();
    assert!(text.contains("expected i64"), "{text}");
    let mut trailing = Metadata::new();
    trailing.insert("took-bin", b"\x01".as_slice()).unwrap();
    call.set_trailing(trailing).unwrap();
    call.reply(b"\x03").unwrap();
    assert!(
        call.reply(b"\x03")
            .unwrap_err()
            .to_string()
            .contains("ended before")
    );
    let Outcome::Answer(answer) = pair.client.outcome(ticket) else {
        panic!("it failed")
    };
    assert_eq!(answer.message[..], *b"\x03");
    assert_eq!(answer.trailing.get("took-bin").unwrap()[..], *b"\x01");

    let ticket = pair.unary("add", PAIR);
    pair.server
        .call()
        .fail(
            5,
            "no such pair",
            Some(b"\xc0".as_slice().into()),
            Metadata::new(),
        )
        .unwrap();
    let failure = pair.client.failure(ticket);
    assert_eq!(
        (failure.code, failure.message.as_str(), failure.origin),
        (5, "no such pair", "handler")
    );
    assert_eq!(failure.details.unwrap()[..], *b"\xc0");
    assert!(
        failure.context.starts_with("Test.add at "),
        "{}",
        failure.context
    );

    let ticket = pair.unary("add", PAIR);
    let id = pair.server.call().fail_internal("secret").unwrap();
    let failure = pair.client.failure(ticket);
    assert!(
        failure.message.contains(&id) && !failure.message.contains("secret"),
        "{}",
        failure.message
    );

    let ticket = pair.unary("add", PAIR);
    drop(pair.server.call());
    assert_eq!(
        pair.client.failure(ticket).code,
        13,
        "a handler that goes away does not leave its caller waiting"
    );

    let wrong = method
        .request(b"\x81\xa1a\x01", true)
        .unwrap_err()
        .to_string();
    assert!(wrong.contains('b'), "{wrong}");
}

#[test]
fn c3_cancelling_reaches_the_handler_and_completes_the_ticket() {
    let mut pair = pair(plain);
    let ticket = pair.unary("slow", b"\x01");
    let call = pair.server.call();
    assert!(!call.is_cancelled());
    pair.client.port.cancel(ticket).unwrap();
    assert_eq!(pair.client.failure(ticket).code, 1);
    let key = call.key();
    pair.server.until("the cancellation", |server| {
        server.cancelled.contains(&key).then_some(())
    });
    assert!(call.is_cancelled());
    call.reply(b"\x01").unwrap();

    let method = pair.method("echo");
    let stream = pair
        .connected
        .stream(&method, options::Call::default())
        .unwrap();
    stream.send(stream.request(b"\x01", true).unwrap()).unwrap();
    stream.flush();
    let call = pair.server.call();
    drop(stream);
    let key = call.key();
    pair.server.until("the cancellation", |server| {
        server.cancelled.contains(&key).then_some(())
    });
    let inbox = call.inbox().unwrap().clone();
    let code = pair
        .server
        .until("the end of the stream", |_| match inbox.take() {
            Taken::Failed(failure) => Some(failure.code),
            _ => None,
        });
    assert_eq!(code, 1);
}

/// The contract with a limit of 50 ms in its manifest for this method, which the callers' copy does not have.
fn limited(method: &str) -> Served {
    let manifest = format!(r#""manifest": {{"methods": {{"{method}": {{"timeout_ms": 50}}}}}},"#);
    let contract = CONTRACT.replacen('{', &format!("{{{manifest}"), 1);
    Served::new(Contract::from_json(&contract).unwrap(), false)
}

#[test]
fn c2_the_contracts_limit_of_a_method_ends_the_call_and_cancels_its_handler() {
    let mut pair = pair(|_| limited("slow"));
    let ticket = pair.unary("slow", b"\x01");
    let call = pair.server.call();
    assert!(call.time_left_ms().unwrap() <= 50.0);
    let failure = pair.client.failure(ticket);
    assert_eq!(failure.code, 4, "{failure:?}");
    let key = call.key();
    pair.server.until("the cancellation", |server| {
        server.cancelled.contains(&key).then_some(())
    });
}

#[test]
fn c2_the_contracts_limit_of_a_method_ends_a_stream_that_has_begun() {
    let mut pair = pair(|_| limited("count"));
    let method = pair.method("count");
    let stream = pair
        .connected
        .stream(&method, options::Call::default())
        .unwrap();
    stream.send(stream.request(b"\x01", true).unwrap()).unwrap();
    stream.half_close().unwrap();
    let call = pair.server.call();
    call.send(b"\x01").unwrap();
    call.flush();
    let failure = pair
        .client
        .until("the end of the stream", |_| match stream.take() {
            Taken::Failed(failure) => Some(failure),
            Taken::End => panic!("it ended well"),
            Taken::Batch(_) | Taken::Nothing => None,
        });
    assert_eq!(failure.code, 4, "{failure:?}");
    let key = call.key();
    pair.server.until("the cancellation", |server| {
        server.cancelled.contains(&key).then_some(())
    });
    pair.server.until("a send that says so", |_| {
        let push = call.send(b"\x02").unwrap();
        call.flush();
        matches!(push, Push::Failed(_)).then_some(())
    });
}

#[test]
fn c1_streams_carry_batches_and_their_ends() {
    let mut pair = pair(plain);

    let method = pair.method("total");
    let sending = pair
        .connected
        .stream(&method, options::Call::default())
        .unwrap();
    for number in 0..100u8 {
        let push = sending
            .send(sending.request(&[number], true).unwrap())
            .unwrap();
        assert!(matches!(push, Push::Room | Push::Unflushed));
    }
    sending.flush();
    sending.half_close().unwrap();
    assert_eq!(
        sending
            .send(sending.request(b"\x01", true).unwrap())
            .unwrap(),
        Push::Ended
    );
    let call = pair.server.call();
    let inbox = call.inbox().unwrap().clone();
    let mut count = 0;
    pair.server.until("the messages", |_| match inbox.take() {
        Taken::Batch(batch) => {
            count += batch.count();
            None
        }
        Taken::End => Some(()),
        Taken::Nothing => None,
        Taken::Failed(failure) => panic!("{failure:?}"),
    });
    assert_eq!(count, 100);
    call.reply(b"\x63").unwrap();
    let answers = pair.client.until("the answer", |_| match sending.take() {
        Taken::Batch(batch) => Some(batch.to_vec()),
        Taken::Failed(failure) => panic!("{failure:?}"),
        _ => None,
    });
    assert_eq!(answers, b"\x91\x63");
    pair.client.until("the end", |_| {
        matches!(sending.take(), Taken::End).then_some(())
    });

    let method = pair.method("count");
    let receiving = pair
        .connected
        .stream(&method, options::Call::default())
        .unwrap();
    receiving
        .send(receiving.request(b"\x03", true).unwrap())
        .unwrap();
    receiving.half_close().unwrap();
    let call = pair.server.call();
    assert_eq!(call.request().unwrap()[..], *b"\x03");
    let mut initial = Metadata::new();
    initial.insert("first", "yes").unwrap();
    call.set_metadata(initial).unwrap();
    call.send(b"\x01").unwrap();
    call.flush();
    assert!(
        call.set_metadata(Metadata::new())
            .unwrap_err()
            .to_string()
            .contains("trailing")
    );
    call.fail(9, "enough", None, Metadata::new()).unwrap();
    let ticket = pair.client.ticket();
    assert!(receiving.inbox().wait(ticket));
    pair.client.until("the message", |client| {
        client.ready.contains(&ticket).then_some(())
    });
    assert!(matches!(receiving.take(), Taken::Batch(batch) if batch.to_vec() == b"\x91\x01"));
    assert_eq!(receiving.metadata().get_str("first"), Some("yes"));
    let failure = pair.client.until("the end", |_| match receiving.take() {
        Taken::Failed(failure) => Some(failure),
        _ => None,
    });
    assert_eq!((failure.code, failure.message.as_str()), (9, "enough"));
}

/// 64 MiB towards a reader that reads nothing: the sender is held back at once, and the rest comes when it reads.
#[test]
fn c4_a_slow_reader_holds_the_sender_back() {
    let mut pair = pair(plain);
    let method = pair.method("echo");
    let stream = pair
        .connected
        .stream(&method, options::Call::default())
        .unwrap();
    let mut message = vec![0xc6, 0, 1, 0, 0];
    message.resize(5 + 65_536, 7);
    let mut sent = 0;
    let mut held = None;
    while sent < 1024 && held.is_none() {
        let message = stream.request(&message, true).unwrap();
        sent += 1;
        if stream.send(message).unwrap() == Push::Full {
            let ticket = pair.client.ticket();
            stream.wait_for_room(ticket).unwrap();
            // Held back, while other calls are answered on the same connection.
            for _ in 0..30 {
                let add = pair.unary("add", PAIR);
                let call = pair.server.until("the other call", |server| {
                    let at = server
                        .calls
                        .iter()
                        .position(|call| call.method_index() == 0)?;
                    Some(server.calls.remove(at))
                });
                call.reply(b"\x03").unwrap();
                assert!(matches!(pair.client.outcome(add), Outcome::Answer(_)));
            }
            if !pair.client.completed.contains_key(&ticket) {
                held = Some(ticket);
            }
        }
    }
    let held = held.expect("64 MiB went to a reader that reads nothing");
    assert!(sent < 256, "{sent} messages of 64 KiB were taken");
    assert!(sent > 16, "{sent} messages of 64 KiB fill no window");
    let call = pair.server.call();
    let inbox = call.inbox().unwrap().clone();
    let mut received = 0;
    pair.server.until("all messages", |_| {
        if let Taken::Batch(batch) = inbox.take() {
            received += batch.count();
        }
        (received == sent).then_some(())
    });
    assert!(matches!(pair.client.outcome(held), Outcome::Done));
}

#[test]
fn c7_closing_tells_the_other_side_and_can_be_done_twice() {
    let mut pair = pair(plain);
    let waiting = pair.unary("slow", b"\x01");
    let call = pair.server.call();
    for _ in 0..2 {
        let ticket = pair.server.ticket();
        pair.served.close(ticket).unwrap();
        assert!(matches!(pair.server.outcome(ticket), Outcome::Done));
    }
    assert!(pair.client.failure(waiting).may_have_run);
    let key = call.key();
    pair.server.until("the cancellation", |server| {
        server.cancelled.contains(&key).then_some(())
    });
    for _ in 0..2 {
        let ticket = pair.client.ticket();
        pair.connected.close(ticket).unwrap();
        assert!(matches!(pair.client.outcome(ticket), Outcome::Done));
    }
    let method = pair.method("slow");
    let request = method.request(b"\x01", true).unwrap();
    let error = pair
        .connected
        .unary(&method, request, options::Call::default(), 1)
        .unwrap_err();
    assert!(error.to_string().contains("already closed"), "{error}");
}

#[test]
fn a4_a_mistyped_address_is_refused_by_name() {
    let client = Loop::new();
    let error = client
        .port
        .connect(&["aster1nonsense".to_owned()], &local(), 1)
        .unwrap_err();
    assert!(error.to_string().contains("address"), "{error}");
}

#[test]
fn a_good_end_before_the_last_message_stays_the_end() {
    let mut pair = pair(plain);
    for name in ["total", "echo"] {
        let method = pair.method(name);
        let stream = pair
            .connected
            .stream(&method, options::Call::default())
            .unwrap();
        let message = stream.request(b"\x01", true).unwrap();
        stream.send(message.clone()).unwrap();
        stream.flush();
        let call = pair.server.call();
        if name == "total" {
            call.reply(b"\x01").unwrap();
        } else {
            call.finish().unwrap();
        }
        pair.client.until("the end", |_| {
            matches!(stream.take(), Taken::End).then_some(())
        });
        // What keeps the call on the I/O thread goes after its end has been told.
        for round in 0..50 {
            if round == 25 {
                stream.cancel();
            }
            assert_eq!(stream.send(message.clone()).unwrap(), Push::Full, "{name}");
            std::thread::sleep(Duration::from_millis(1));
        }
        let ticket = pair.client.ticket();
        stream.wait_for_room(ticket).unwrap();
        assert!(matches!(pair.client.outcome(ticket), Outcome::Done));
        stream.half_close().unwrap();
    }
}

#[test]
fn sessions_belong_to_their_port() {
    let first = pair(plain);
    let second = pair(plain);
    let session = first.connected.open_session("Test", false).unwrap();
    let method = second.method("add");
    let options = options::Call {
        session: Some(session.for_call()),
        ..Default::default()
    };
    let error = second
        .connected
        .unary(&method, method.request(PAIR, true).unwrap(), options, 1)
        .unwrap_err();
    assert!(error.to_string().contains("belongs to port"), "{error}");
}
