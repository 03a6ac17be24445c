//! Services that a dialling client offers: the server calls back, on the connection of the client's own calls.

mod common;
mod wire_peer;

use std::sync::Arc;

use aster::proto::control::{Control, Welcome};
use aster::proto::frame::Frame;
use aster::{
    Answer, CallOptions, Caller, Client, Code, Contract, Failure, Handlers, Method, Server,
    Service, Status,
};
use bytes::Bytes;
use common::{
    Probe, as_int, blob, client_options, contract, int, reaches, server_options, service,
};
use tokio::sync::mpsc;
use wire_peer::{Acceptor, CONTROL, LANE, accept, control, says, soon};

fn front_contract() -> Contract {
    Contract::from_json(
        r#"{"name": "Front", "version": 1, "types": [], "methods": [
            {"name": "enter", "pattern": "unary", "request": {"t": "null"}, "response": {"t": "null"}},
            {"name": "relay", "pattern": "unary", "request": {"t": "bytes"}, "response": {"t": "bytes"}}]}"#,
    )
    .expect("a contract")
}

/// A service that hands its callers out, and one method of which asks the caller for its answer.
fn front() -> (Service, mpsc::UnboundedReceiver<Caller>) {
    let (hand_out, callers) = mpsc::unbounded_channel();
    let service = Handlers::new(front_contract())
        .unary("enter", move |context, request| {
            let handed = hand_out.send(context.caller());
            async move {
                handed.map_err(|_| Status::handler(Code::INTERNAL, "nobody asks"))?;
                Ok(request)
            }
        })
        .unary("relay", |context, request| async move {
            let client = context.caller().client();
            let answer = ask(&client, probe("shared", "echo"), request).await?;
            Ok(answer.message)
        })
        .build()
        .expect("complete");
    (service, callers)
}

fn probe(scope: &str, name: &str) -> Method {
    Method::new(&contract(scope), name).expect("a method")
}

fn front_method(name: &str) -> Method {
    Method::new(&front_contract(), name).expect("a method")
}

/// A server, a client that offers `Probe`, and the client as the server sees it.
struct Both {
    server: Server,
    client: Client,
    caller: Caller,
    /// What the handlers of the client tell.
    probe: Arc<Probe>,
    /// The further callers.
    _callers: mpsc::UnboundedReceiver<Caller>,
}

async fn ask(client: &Client, method: Method, request: Bytes) -> Result<Answer, Failure> {
    client.unary(&method, request, CallOptions::new()).await
}

async fn enter(client: &Client) {
    let entered = ask(client, front_method("enter"), vec![0xc0].into());
    soon("entering", entered).await.expect("entered");
}

async fn both(scope: &str) -> Both {
    let (service_of_server, mut callers) = front();
    let server = Server::start(vec![service_of_server], server_options())
        .await
        .expect("a server");
    let probe = Arc::new(Probe::default());
    let mut options = client_options();
    options.services = vec![service(&probe, scope)];
    let client = Client::connect(vec![server.address().clone()], options)
        .await
        .expect("a client");
    enter(&client).await;
    let caller = callers.recv().await.expect("a caller");
    Both {
        server,
        client,
        caller,
        probe,
        _callers: callers,
    }
}

async fn echoes(caller: &Client) {
    for size in [1, 20_000] {
        let call = ask(caller, probe("shared", "echo"), blob(size));
        let answer = soon("an answer", call).await.expect("an answer");
        assert!(answer.message == blob(size));
    }
}

#[tokio::test]
async fn c1_a_server_makes_calls_of_all_four_kinds_to_its_caller() {
    let both = both("shared").await;
    let caller = both.caller.client();
    echoes(&caller).await;
    let start = async |name: &str, first: Bytes| {
        let started = caller
            .start(&probe("shared", name), CallOptions::new())
            .await;
        let (mut sender, receiver) = started.expect("starts");
        sender.send(first).await.expect("goes out");
        (sender, receiver)
    };
    let (sender, mut receiver) = start("count", int(3)).await;
    sender.finish();
    for expected in 0..3 {
        let message = soon("a message", receiver.next()).await.expect("OK");
        assert_eq!(as_int(&message.expect("a message")), expected);
    }
    assert_eq!(soon("the end", receiver.next()).await.expect("OK"), None);
    let (mut sender, mut receiver) = start("sum", int(3)).await;
    sender.send(int(4)).await.expect("goes out");
    sender.finish();
    let sum = soon("the sum", receiver.next()).await.expect("OK");
    assert_eq!(as_int(&sum.expect("a sum")), 7);
    let (mut sender, mut receiver) = start("mirror", blob(1)).await;
    for size in 1..4 {
        let message = soon("a message", receiver.next()).await.expect("OK");
        assert!(message.expect("a message") == blob(size));
        sender.send(blob(size + 1)).await.expect("goes out");
    }
    // Errors have their place, which is the caller's service at the caller.
    let failed = ask(&caller, probe("shared", "fail"), int(5));
    let error = soon("the failure", failed).await.expect_err("as asked");
    says(&error.status, Code::NOT_FOUND, &["as asked"]);
    let place = format!("Probe.fail at {}", &both.caller.peer()[..10]);
    assert!(error.to_string().starts_with(&place), "{error}");
}

#[tokio::test]
async fn c5_calls_go_both_ways_at_once_and_within_each_other() {
    let both = both("shared").await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..200 {
        let client = both.client.clone();
        calls.spawn(async move {
            let size = number * 100;
            let relayed = ask(&client, front_method("relay"), blob(size));
            assert!(relayed.await.expect("an answer").message == blob(size));
        });
        let caller = both.caller.client();
        calls.spawn(async move { echoes(&caller).await });
    }
    soon("the calls", calls.join_all()).await;
    // Cancelling reaches the handler on the other side of either.
    let caller = both.caller.client();
    let hang = tokio::spawn(async move {
        let hang = probe("shared", "hang");
        caller.unary(&hang, int(1), CallOptions::new()).await
    });
    reaches(&both.probe.started, 1).await;
    hang.abort();
    soon("the handler's end", reaches(&both.probe.dropped, 1)).await;
}

#[tokio::test]
async fn k2_a_callers_contracts_are_fetched_as_a_servers_are() {
    let both = both("shared").await;
    let caller = both.caller.client();
    let offers: Vec<_> = both
        .caller
        .offers()
        .into_iter()
        .map(|o| o.service)
        .collect();
    assert_eq!(offers, ["Probe"]);
    let fetched = caller.contract("Probe", None).await.expect("a contract");
    assert_eq!(fetched.id(), contract("shared").id());
    let error = caller.contract("Prob", None).await.expect_err("unknown");
    assert!(
        error.to_string().contains("this peer offers Probe v1"),
        "{error}"
    );
}

#[tokio::test]
async fn x1_a_server_has_sessions_with_its_caller() {
    let both = both("session").await;
    let caller = both.caller.client();
    let (first, second) = (
        caller.open_session("Probe", false),
        caller.open_session("Probe", false),
    );
    for session in [&first, &second, &first] {
        let mut options = CallOptions::new();
        options.session = Some(session.clone());
        let echo = probe("session", "echo");
        let call = caller.unary(&echo, blob(1), options);
        soon("an answer", call).await.expect("an answer");
    }
    first.close();
    soon("the hook", reaches(&both.probe.closed_sessions, 1)).await;
    // The other one ends with the connection, on the side where it is.
    both.server.close().await;
    soon("the hook", reaches(&both.probe.closed_sessions, 2)).await;
    let mut options = CallOptions::new();
    options.session = Some(second);
    let error = caller
        .unary(&probe("session", "echo"), blob(1), options)
        .await;
    assert_eq!(error.expect_err("lost").code(), Code::ABORTED);
}

#[tokio::test]
async fn c7_a_callers_end_fails_the_calls_to_it_and_says_so() {
    let both = both("shared").await;
    let caller = both.caller.client();
    let pending = tokio::spawn({
        let caller = caller.clone();
        async move {
            let hang = probe("shared", "hang");
            caller.unary(&hang, int(1), CallOptions::new()).await
        }
    });
    reaches(&both.probe.started, 1).await;
    both.client.close().await;
    let error = soon("the failure", pending).await.expect("no panic");
    let error = error.expect_err("the caller has closed");
    says(
        &error.status,
        Code::UNAVAILABLE,
        &["the peer closed the connection"],
    );
    assert!(error.status.may_have_run);
    soon("its handler's end", reaches(&both.probe.dropped, 1)).await;
    let call = ask(&caller, probe("shared", "echo"), blob(1));
    let error = soon("the failure", call).await.expect_err("gone");
    says(
        &error.status,
        Code::UNAVAILABLE,
        &["the caller is gone", "its next call"],
    );
    assert!(!error.status.may_have_run);
}

#[tokio::test]
async fn c7_a_servers_end_cancels_the_handlers_of_its_callers() {
    let both = both("shared").await;
    let caller = both.caller.client();
    let _pending = tokio::spawn(async move {
        let hang = probe("shared", "hang");
        caller.unary(&hang, int(1), CallOptions::new()).await
    });
    reaches(&both.probe.started, 1).await;
    both.server.close().await;
    soon("the handler's end", reaches(&both.probe.dropped, 1)).await;
}

#[tokio::test]
async fn c7_closing_the_client_of_a_caller_leaves_the_connection_to_it() {
    let both = both("shared").await;
    let first = both.caller.client();
    echoes(&first).await;
    first.close().await;
    let closed = ask(&first, probe("shared", "echo"), blob(1));
    let error = closed.await.expect_err("closed");
    says(
        &error.status,
        Code::FAILED_PRECONDITION,
        &["the client is closed"],
    );
    drop(first);
    echoes(&both.caller.client()).await;
    enter(&both.client).await;
}

/// A connection that is kept would keep the server's socket, and its port with it.
#[tokio::test]
async fn a2_a_caller_that_is_kept_does_not_keep_the_port_of_its_server() {
    let folder = std::env::temp_dir().join(format!("aster-test-{}-callers", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut options = server_options();
    options.endpoint.identity = Some(folder.join("server.identity"));
    let (service_of_server, mut callers) = front();
    let started = Server::start(vec![service_of_server], options.clone()).await;
    let first = started.expect("a server");
    let mut of_client = client_options();
    of_client.services = vec![service(&Arc::new(Probe::default()), "session")];
    let client = Client::connect(vec![first.address().clone()], of_client).await;
    let client = client.expect("a client");
    enter(&client).await;
    let caller = callers.recv().await.expect("a caller");
    let kept = caller.client();
    let session = kept.open_session("Probe", false);
    let mut in_session = CallOptions::new();
    in_session.session = Some(session);
    let echo = probe("session", "echo");
    let call = kept.unary(&echo, blob(1), in_session.clone());
    soon("an answer", call).await.expect("an answer");
    first.close().await;
    let (service_of_server, mut callers) = front();
    let again = Server::start(vec![service_of_server], options).await;
    let again = again.expect("the port is free");
    assert_eq!(again.endpoint_id(), first.endpoint_id());
    // The client comes back, as another caller.
    enter(&client).await;
    let other = callers.recv().await.expect("a caller");
    assert_eq!(other.peer(), caller.peer());
    assert_ne!(other.connection(), caller.connection());
    assert_eq!(other.offers().len(), 1);
    assert!(kept.unary(&echo, blob(1), in_session).await.is_err());
    std::fs::remove_dir_all(&folder).expect("cleaned up");
}

#[tokio::test]
async fn c9_a_caller_that_offers_nothing_is_not_called() {
    let (service_of_server, mut callers) = front();
    let server = Server::start(vec![service_of_server], server_options())
        .await
        .expect("a server");
    let client = Client::connect(vec![server.address().clone()], client_options())
        .await
        .expect("a client");
    enter(&client).await;
    let caller = callers.recv().await.expect("a caller").client();
    for error in [
        caller.contract("Probe", None).await.map(drop),
        ask(&caller, probe("shared", "echo"), blob(1))
            .await
            .map(drop),
    ] {
        let error = error.expect_err("nothing there");
        says(
            &error.status,
            Code::UNIMPLEMENTED,
            &["no service \"Probe\"", "offers none"],
        );
        assert!(!error.status.may_have_run);
    }
    enter(&client).await;
}

#[tokio::test]
async fn c9_more_services_than_a_server_reads_of_are_refused_at_the_start() {
    let many = (0..400).map(|number| {
        let text = format!(
            r#"{{"name": "Service{number}", "version": 1, "types": [], "methods": [
                {{"name": "m", "pattern": "unary", "request": {{"t": "null"}}, "response": {{"t": "null"}}}}]}}"#
        );
        Handlers::new(Contract::from_json(&text).expect("a contract"))
            .unary("m", |_, request| async move { Ok(request) })
            .build()
            .expect("complete")
    });
    let (service_of_server, _callers) = front();
    let server = Server::start(vec![service_of_server], server_options())
        .await
        .expect("a server");
    let mut options = client_options();
    options.services = many.collect();
    let connected = Client::connect(vec![server.address().clone()], options).await;
    let error = connected.expect_err("too many");
    says(
        &error.status,
        Code::RESOURCE_EXHAUSTED,
        &["400 services", "16384", "fewer services"],
    );
}

#[tokio::test]
async fn c8_a_client_with_services_connects_again_without_being_asked() {
    let acceptor = Acceptor::bind().await;
    let mut options = client_options();
    options.services = vec![service(&Arc::new(Probe::default()), "shared")];
    let welcomed = async || {
        let quic = acceptor.silent().await;
        let mut raw = accept(&quic, CONTROL).await;
        let (byte, payload) = raw.frame().await.expect("Hello");
        let Ok(Control::Hello(hello)) = Control::parse(&Frame { byte, payload }) else {
            panic!("no Hello")
        };
        let offered: Vec<_> = hello
            .offers
            .into_iter()
            .map(|offer| offer.service)
            .collect();
        assert_eq!(offered, ["Probe"], "each connection offers them");
        raw.write(&control(&Control::Welcome(Welcome::default())))
            .await;
        (quic, raw)
    };
    let (client, (first, _control)) = tokio::join!(
        Client::connect(vec![acceptor.address()], options),
        welcomed()
    );
    let client = client.expect("connected");
    first.close(0u32.into(), b"");
    let (second, _control) = soon("the second connection", welcomed()).await;
    // Its calls go by the new connection.
    let call = tokio::spawn({
        let client = client.clone();
        async move { ask(&client, front_method("enter"), vec![0xc0].into()).await }
    });
    let mut lane = accept(&second, LANE).await;
    assert!(lane.frame().await.is_some());
    call.abort();
    drop(client);
    soon("its end", second.closed()).await;
    // It does not come back: the next to connect is another.
    let connecting = Client::connect(vec![acceptor.address()], client_options());
    let (other, (third, _control)) =
        tokio::join!(connecting, acceptor.welcoming(Welcome::default()));
    other.expect("connected");
    assert_ne!(third.remote_id(), second.remote_id());
}
