//! Peers that break the protocol, on purpose and byte by byte, against the engine.
//!
//! Each of them gets an error that says what it did, ends at most its own connection, and disturbs nobody else: every
//! test has a bystander, a client of the same server that behaves and is served throughout.

#[path = "../common/mod.rs"]
mod common;
#[path = "../wire_peer/mod.rs"]
mod wire_peer;

mod acceptor;
mod answers;
mod bodies;
mod calls;
mod connection;
mod lane;
mod sessions;

use std::sync::Arc;

use aster::{CallOptions, Client, Method, Server, ServerOptions};
use common::{Probe, blob, client_options, server_options, service};
use wire_peer::{Dialler, soon};

/// A server, and a client of it that behaves.
pub(crate) struct Arena {
    pub(crate) probe: Arc<Probe>,
    pub(crate) server: Server,
    bystander: Client,
    echo: Method,
}

impl Arena {
    pub(crate) async fn new() -> Self {
        Self::with("shared", server_options()).await
    }

    pub(crate) async fn with(scope: &str, options: ServerOptions) -> Self {
        let probe = Arc::new(Probe::default());
        // The bystander's service is always a shared one, whatever the hostile peer calls.
        let bystanders = bystanders_contract();
        let echo = aster::Handlers::new(bystanders.clone())
            .unary("echo", |_, request| async move { Ok(request) })
            .build()
            .expect("a service");
        let server = Server::start(vec![service(&probe, scope), echo], options)
            .await
            .expect("a server");
        let bystander = Client::connect(vec![server.address().clone()], client_options())
            .await
            .expect("a client");
        let echo = Method::new(&bystanders, "echo").expect("a method");
        let arena = Self {
            probe,
            server,
            bystander,
            echo,
        };
        arena.others_are_served().await;
        arena
    }

    pub(crate) async fn peer(&self) -> Dialler {
        Dialler::admitted(&self.server).await
    }

    /// The bystander's connection lives, and is answered on the lane and on a stream of its own.
    pub(crate) async fn others_are_served(&self) {
        for size in [10, 20_000] {
            let call = self
                .bystander
                .unary(&self.echo, blob(size), CallOptions::new());
            let answer = soon("the bystander's answer", call)
                .await
                .expect("an answer");
            assert!(answer.message == blob(size));
        }
    }
}

fn bystanders_contract() -> aster::Contract {
    aster::Contract::from_json(
        r#"{"name": "Bystander", "version": 1, "types": [], "methods": [
            {"name": "echo", "pattern": "unary", "request": {"t": "bytes"}, "response": {"t": "bytes"}}]}"#,
    )
    .expect("a contract")
}
