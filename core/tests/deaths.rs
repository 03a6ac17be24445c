//! A peer that is killed in the middle of calls of every kind: the other side notices by keep-alive, and says so.
//!
//! The peers that die are processes of their own: this test binary again, asked for one of the ignored tests.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aster::{Address, CallOptions, Client, ClientOptions, Code, Failure, Method, Server};
use bytes::Bytes;
use common::{Pair, Probe, blob, client_options, contract, int, reaches, server_options, service};
use tokio::sync::{Semaphore, watch};

const KEEP_ALIVE: Duration = Duration::from_millis(300);
const IDLE: Duration = Duration::from_millis(1_200);
/// Idle time, and generously what a busy machine adds.
const NOTICED: Duration = Duration::from_secs(5);
const ADDRESS: &str = "ASTER_TEST_ADDRESS";
const SCOPE: &str = "ASTER_TEST_SCOPE";

fn quick(mut options: ClientOptions) -> ClientOptions {
    (options.endpoint.keep_alive, options.endpoint.idle_timeout) = (KEEP_ALIVE, IDLE);
    options.retries = 0;
    options
}

/// A process that is killed when it goes out of scope, if not before.
struct Process(Child);

impl Process {
    fn start(test: &str, scope: &str, address: &str) -> Self {
        let child = Command::new(std::env::current_exe().expect("a path"))
            .args(["--ignored", "--exact", test, "--nocapture"])
            .env(SCOPE, scope)
            .env(ADDRESS, address)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("this binary starts again");
        Self(child)
    }

    /// The address that a serving process prints.
    fn address(&mut self) -> Address {
        let out = self.0.stdout.take().expect("piped");
        for line in BufReader::new(out).lines() {
            let line = line.expect("text");
            if let Some(at) = line.find("aster1") {
                return line[at..].trim().parse().expect("an address");
            }
        }
        panic!("the server printed no address");
    }

    /// SIGKILL: nothing is said to anybody.
    fn kill(&mut self) {
        self.0.kill().expect("it ran until now");
        self.0.wait().expect("it ends");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
#[ignore = "the server that dies, run by the tests below in a process of its own"]
async fn serving() {
    let scope = std::env::var(SCOPE).expect("run by a test below");
    let probe = Arc::new(Probe::default());
    let server = Server::start(vec![service(&probe, &scope)], server_options())
        .await
        .expect("a server");
    println!("\n{}", server.address());
    tokio::time::sleep(Duration::from_secs(60)).await;
}

#[tokio::test]
#[ignore = "the client that dies, run by the tests below in a process of its own"]
async fn calling() {
    let scope = std::env::var(SCOPE).expect("run by a test below");
    let address: Address = std::env::var(ADDRESS)
        .expect("run by a test below")
        .parse()
        .expect("an address");
    let client = Client::connect(vec![address], client_options())
        .await
        .expect("a client");
    let calls = every_kind(&client, &scope);
    tokio::time::sleep(Duration::from_secs(60)).await;
    drop(calls);
}

type Outcome = tokio::task::JoinHandle<(&'static str, Failure)>;

/// Calls under way.
struct Calls {
    outcomes: Vec<Outcome>,
    /// One for each streaming call whose first message has gone out, and has been answered where it is.
    begun: Arc<Semaphore>,
    /// From when on the answers that come are read again.
    killed: watch::Sender<bool>,
}

/// Calls of every kind that do not end by themselves: five of them start a handler that says so.
fn every_kind(client: &Client, scope: &str) -> Calls {
    let (begun, killed) = (Arc::new(Semaphore::new(0)), watch::channel(false).0);
    let contract = contract(scope);
    let method = |name: &str| Method::new(&contract, name).expect("a method");
    let session = (scope == "session").then(|| client.open_session("Probe", false));
    let options = || {
        let mut options = CallOptions::new();
        options.session = session.clone();
        options
    };
    let mut calls = Vec::new();
    let unary = |kind, request: Bytes| {
        let (client, method, options) = (client.clone(), method("hang"), options());
        tokio::spawn(async move {
            let outcome = client.unary(&method, request, options).await;
            (kind, outcome.expect_err("it hangs"))
        })
    };
    calls.push(unary("unary", int(1)));
    // On a stream of its own, or with a body: in a session it waits behind the first.
    calls.push(unary("large unary", blob(100_000)));
    for kind in ["count", "sum", "mirror"] {
        let (client, method, options) = (client.clone(), method(kind), options());
        let (begun, mut killed) = (begun.clone(), killed.subscribe());
        calls.push(tokio::spawn(async move {
            let (mut sender, mut receiver) = client.start(&method, options).await.expect("starts");
            let first = match kind {
                "mirror" => blob(1),
                "count" => int(i64::MAX),
                _ => int(1),
            };
            sender.send(first).await.expect("goes out");
            if kind != "sum" {
                let first = receiver.next().await.expect("it lives");
                assert!(first.is_some(), "{kind} has a message");
            }
            begun.add_permits(1);
            // What comes meanwhile waits in the buffers, and there is more when the peer dies.
            killed.wait_for(|killed| *killed).await.expect("it is told");
            loop {
                match receiver.next().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("{kind} ended OK"),
                    Err(error) => {
                        drop(sender);
                        return (kind, error);
                    }
                }
            }
        }));
    }
    Calls {
        outcomes: calls,
        begun,
        killed,
    }
}

async fn a_killed_server_is_noticed(scope: &str) {
    let bystanders = Pair::new().await;
    let mut process = Process::start("serving", scope, "");
    let address = process.address();
    let client = Client::connect(vec![address], quick(client_options()))
        .await
        .expect("a client");
    let calls = every_kind(&client, scope);
    let begun = tokio::time::timeout(NOTICED, calls.begun.acquire_many(3)).await;
    drop(begun.expect("the streams begin"));
    // All of the others are on their way once a later call has been answered.
    let echo = Method::new(&contract(scope), "echo").expect("a method");
    let mut options = CallOptions::new();
    options.session = (scope == "session").then(|| client.open_session("Probe", false));
    client
        .unary(&echo, blob(1), options)
        .await
        .expect("it lives");
    let killed = Instant::now();
    process.kill();
    calls.killed.send_replace(true);
    for call in calls.outcomes {
        let (kind, error) = tokio::time::timeout(2 * NOTICED, call)
            .await
            .expect("noticed")
            .expect("no panic");
        assert_eq!(error.code(), Code::UNAVAILABLE, "{kind}: {error}");
        assert!(error.status.may_have_run, "{kind}: {error}");
        assert!(
            error.to_string().contains("does not answer any more"),
            "{kind}: {error}"
        );
    }
    let took = killed.elapsed();
    assert!(took < NOTICED, "noticed after {took:?}");
    bystanders
        .unary("echo", blob(1))
        .await
        .expect("others are served");
}

#[tokio::test]
async fn c7_a_server_killed_in_the_middle_of_every_kind_of_call_is_noticed() {
    a_killed_server_is_noticed("shared").await;
}

#[tokio::test]
async fn c7_a_server_killed_in_the_middle_of_a_session_is_noticed() {
    a_killed_server_is_noticed("session").await;
}

async fn a_killed_client_is_noticed(scope: &str, handlers: usize) {
    let probe = Arc::new(Probe::default());
    let mut options = server_options();
    (options.endpoint.keep_alive, options.endpoint.idle_timeout) = (KEEP_ALIVE, IDLE);
    let server = Server::start(vec![service(&probe, scope)], options)
        .await
        .expect("a server");
    let bystander = Client::connect(vec![server.address().clone()], client_options())
        .await
        .expect("a client");
    let mut process = Process::start("calling", scope, &server.address().to_string());
    tokio::time::timeout(2 * NOTICED, reaches(&probe.started, handlers))
        .await
        .expect("its calls arrive");
    assert_eq!(server.connections(), 2);
    let killed = Instant::now();
    process.kill();
    tokio::time::timeout(2 * NOTICED, reaches(&probe.dropped, handlers))
        .await
        .expect("its handlers are dropped");
    if scope == "session" {
        tokio::time::timeout(2 * NOTICED, reaches(&probe.closed_sessions, 1))
            .await
            .expect("the close hook runs");
    }
    let took = killed.elapsed();
    assert!(took < NOTICED, "noticed after {took:?}");
    assert_eq!(server.connections(), 1, "the bystander's");
    let echo = Method::new(&contract(scope), "echo").expect("a method");
    let mut options = CallOptions::new();
    options.session = (scope == "session").then(|| bystander.open_session("Probe", false));
    bystander
        .unary(&echo, blob(1), options)
        .await
        .expect("others are served");
    let expected = usize::from(scope == "session");
    assert_eq!(*probe.closed_sessions.borrow(), expected, "X1: once");
    let began = Instant::now();
    server.drain(Duration::from_secs(10)).await;
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "nothing is left of it"
    );
}

#[tokio::test]
async fn c7_a_client_killed_in_the_middle_of_every_kind_of_call_is_noticed() {
    a_killed_client_is_noticed("shared", 5).await;
}

#[tokio::test]
async fn x1_the_hook_runs_once_when_the_client_is_killed_in_the_middle_of_calls() {
    // The large call waits behind the first one.
    a_killed_client_is_noticed("session", 4).await;
}
