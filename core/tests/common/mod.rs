//! What the engine's tests share: one service with all four kinds of call, served and called on loopback.
#![allow(dead_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use aster::{
    CallOptions, Client, ClientOptions, Code, Contract, Handlers, Method, Network, Server,
    ServerOptions, Service, Status,
};
use bytes::Bytes;
use tokio::sync::{Notify, watch};

/// A service whose methods the tests need. All payloads are strings or integers.
pub(crate) const SERVICE: &str = r#"{
    "name": "Probe", "version": 1,
    "methods": [
        {"name": "echo", "pattern": "unary", "idempotent": true, "request": {"t": "bytes"}, "response": {"t": "bytes"}},
        {"name": "once", "pattern": "unary", "request": {"t": "i64"}, "response": {"t": "i64"}},
        {"name": "hang", "pattern": "unary", "request": {"t": "i64"}, "response": {"t": "i64"}},
        {"name": "fail", "pattern": "unary", "request": {"t": "i64"}, "response": {"t": "i64"}},
        {"name": "count", "pattern": "server_stream", "request": {"t": "i64"}, "response": {"t": "i64"}},
        {"name": "sum", "pattern": "client_stream", "request": {"t": "i64"}, "response": {"t": "i64"}},
        {"name": "mirror", "pattern": "bidi_stream", "request": {"t": "bytes"}, "response": {"t": "bytes"}}
    ],
    "types": []
}"#;

/// What the handlers tell the tests.
pub(crate) struct Probe {
    pub(crate) started: watch::Sender<usize>,
    pub(crate) dropped: watch::Sender<usize>,
    pub(crate) ran: AtomicI64,
    pub(crate) closed_sessions: watch::Sender<usize>,
    pub(crate) order: std::sync::Mutex<Vec<i64>>,
    pub(crate) gate: Notify,
    pub(crate) sent: AtomicUsize,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            started: watch::channel(0).0,
            dropped: watch::channel(0).0,
            ran: AtomicI64::new(0),
            closed_sessions: watch::channel(0).0,
            order: std::sync::Mutex::default(),
            gate: Notify::new(),
            sent: AtomicUsize::new(0),
        }
    }
}

struct Dropped(Arc<Probe>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.dropped.send_modify(|count| *count += 1);
    }
}

pub(crate) fn int(value: i64) -> Bytes {
    rmp_serde::to_vec(&value).expect("an integer").into()
}

pub(crate) fn as_int(bytes: &[u8]) -> i64 {
    rmp_serde::from_slice(bytes).expect("an integer")
}

/// A MessagePack bin of `size` bytes.
pub(crate) fn blob(size: usize) -> Bytes {
    let mut out = Vec::with_capacity(size + 5);
    out.push(0xc6);
    out.extend_from_slice(&(size as u32).to_be_bytes());
    out.resize(size + 5, 7);
    out.into()
}

pub(crate) fn contract(scope: &str) -> Contract {
    let text = SERVICE.replacen(
        "\"version\": 1,",
        &format!("\"version\": 1, \"scope\": \"{scope}\","),
        1,
    );
    Contract::from_json(&text).expect("a contract")
}

pub(crate) fn service(probe: &Arc<Probe>, scope: &str) -> Service {
    let (p, q, r, s, t, u) = (
        probe.clone(),
        probe.clone(),
        probe.clone(),
        probe.clone(),
        probe.clone(),
        probe.clone(),
    );
    Handlers::new(contract(scope))
        .unary("echo", |_, request| async move { Ok(request) })
        .unary("once", move |_, request| {
            let p = p.clone();
            async move {
                let value = as_int(&request);
                p.started.send_modify(|count| *count += 1);
                let guard = Dropped(p.clone());
                if value < 0 {
                    p.gate.notified().await;
                }
                p.order.lock().expect("not poisoned").push(value);
                p.ran.fetch_add(value, Ordering::SeqCst);
                drop(guard);
                Ok(int(p.ran.load(Ordering::SeqCst)))
            }
        })
        .unary("hang", move |_, _| {
            let q = q.clone();
            async move {
                let _guard = Dropped(q.clone());
                q.started.send_modify(|count| *count += 1);
                std::future::pending::<Result<Bytes, Status>>().await
            }
        })
        .unary("fail", |_, request| async move {
            Err(Status::handler(Code(as_int(&request) as u16), "as asked"))
        })
        .server_stream("count", move |_, request, out| {
            let r = r.clone();
            async move {
                let _guard = Dropped(r.clone());
                r.started.send_modify(|count| *count += 1);
                if as_int(&request) < 0 {
                    return std::future::pending().await;
                }
                for value in 0..as_int(&request) {
                    r.sent.store(value as usize, Ordering::SeqCst);
                    out.send(int(value)).await?;
                }
                Ok(())
            }
        })
        .client_stream("sum", move |_, mut requests| {
            let s = s.clone();
            async move {
                let _guard = Dropped(s.clone());
                s.started.send_modify(|count| *count += 1);
                let mut sum = 0;
                while let Some(request) = requests.next().await? {
                    let value = as_int(&request);
                    if value < 0 {
                        return Ok(int(sum));
                    }
                    sum += value;
                }
                Ok(int(sum))
            }
        })
        .bidi_stream("mirror", move |_, mut requests, out| {
            let t = t.clone();
            async move {
                let _guard = Dropped(t.clone());
                t.started.send_modify(|count| *count += 1);
                while let Some(request) = requests.next().await? {
                    out.send(request).await?;
                }
                Ok(())
            }
        })
        .on_session_close(move |_| u.closed_sessions.send_modify(|count| *count += 1))
        .build()
        .expect("every method has a handler")
}

pub(crate) fn server_options() -> ServerOptions {
    let mut options = ServerOptions::default();
    options.endpoint.network = Network::Local;
    options
}

pub(crate) fn client_options() -> ClientOptions {
    let mut options = ClientOptions::default();
    options.endpoint.network = Network::Local;
    options
}

pub(crate) struct Pair {
    pub(crate) probe: Arc<Probe>,
    pub(crate) server: Server,
    pub(crate) client: Client,
    pub(crate) contract: Contract,
}

impl Pair {
    pub(crate) async fn of_scope(scope: &str) -> Self {
        let probe = Arc::new(Probe::default());
        let server = Server::start(vec![service(&probe, scope)], server_options())
            .await
            .expect("a server");
        let client = Client::connect(vec![server.address().clone()], client_options())
            .await
            .expect("a client");
        Self {
            probe,
            server,
            client,
            contract: contract(scope),
        }
    }

    pub(crate) async fn new() -> Self {
        Self::of_scope("shared").await
    }

    pub(crate) fn method(&self, name: &str) -> Method {
        Method::new(&self.contract, name).expect("a method")
    }

    pub(crate) async fn unary(&self, name: &str, request: Bytes) -> Result<Bytes, aster::Failure> {
        self.client
            .unary(&self.method(name), request, CallOptions::new())
            .await
            .map(|answer| answer.message)
    }
}

pub(crate) async fn reaches(sender: &watch::Sender<usize>, count: usize) {
    sender
        .subscribe()
        .wait_for(|now| *now >= count)
        .await
        .expect("the sender lives");
}
