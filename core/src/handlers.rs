//! Services made of async functions that take and give bytes: the dynamic handlers.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use aster_proto::contract::Pattern;
use aster_proto::metadata::Metadata;
use aster_proto::status::{Code, Status};
use bytes::Bytes;

use crate::call::inbound::{Inbound, Responder};
use crate::call::requests::Requests;
use crate::call::session::{SessionClosed, SessionRef};
use crate::client::Caller;
use crate::contract::Contract;
use crate::service::{Dispatch, Service};

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;
type Handler = Box<dyn Fn(Inbound) -> Work + Send + Sync>;

/// What a handler knows of its call, and what it may say beside its answer.
#[derive(Clone)]
pub struct Context(Arc<Responder>);

impl Context {
    /// The call itself.
    pub fn call(&self) -> &Responder {
        &self.0
    }

    /// Who called, to be called back: see [`Caller::client`].
    pub fn caller(&self) -> Caller {
        self.0.caller()
    }

    /// The session the call belongs to.
    pub fn session(&self) -> Option<SessionRef> {
        self.0.session()
    }

    /// The caller's metadata.
    pub fn metadata(&self) -> &Metadata {
        self.0.metadata()
    }
}

/// The outgoing messages of a server-streaming or bidirectional handler.
pub struct Outgoing(Arc<Responder>);

impl Outgoing {
    /// Sends a message, waiting while the caller reads slower than that. Fails when the caller is gone.
    pub async fn send(&self, message: impl Into<Bytes>) -> Result<(), Status> {
        self.0.send(message.into()).await
    }
}

/// Makes a [`Service`] of async functions.
///
/// A handler's future is dropped when its call is cancelled, its deadline passes or its caller is gone.
pub struct Handlers {
    contract: Contract,
    handlers: HashMap<usize, Handler>,
    fault: Option<Status>,
    on_session_close: Option<Box<dyn Fn(SessionRef) + Send + Sync>>,
}

impl Handlers {
    /// Handlers for the methods of this contract.
    pub fn new(contract: Contract) -> Self {
        Self {
            contract,
            handlers: HashMap::new(),
            fault: None,
            on_session_close: None,
        }
    }

    fn add(mut self, name: &str, pattern: Pattern, handler: Handler) -> Self {
        match self.contract.compiled().method(name) {
            Some(method) if method.pattern == pattern => {
                self.handlers.insert(method.index, handler);
            }
            found => {
                let what = match found {
                    Some(method) => format!("is {}, not {}", method.pattern.name(), pattern.name()),
                    None => "is not in the contract".to_owned(),
                };
                let text = format!("{}.{name} {what}", self.contract.name());
                self.fault
                    .get_or_insert(Status::unsent(Code::INVALID_ARGUMENT, text));
            }
        }
        self
    }

    /// One request, one answer.
    #[must_use]
    pub fn unary<F, W>(self, name: &str, handler: F) -> Self
    where
        F: Fn(Context, Bytes) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Bytes, Status>> + Send + 'static,
    {
        self.add(
            name,
            Pattern::Unary,
            Box::new(move |call| {
                let (request, _, context) = parts(call);
                let work = handler(context.clone(), request);
                Box::pin(async move { answer(&context, work).await })
            }),
        )
    }

    /// One request, many answers.
    #[must_use]
    pub fn server_stream<F, W>(self, name: &str, handler: F) -> Self
    where
        F: Fn(Context, Bytes, Outgoing) -> W + Send + Sync + 'static,
        W: Future<Output = Result<(), Status>> + Send + 'static,
    {
        self.add(
            name,
            Pattern::ServerStream,
            Box::new(move |call| {
                let (request, _, context) = parts(call);
                let work = handler(context.clone(), request, Outgoing(context.0.clone()));
                Box::pin(async move { finish(&context, work).await })
            }),
        )
    }

    /// Many requests, one answer.
    #[must_use]
    pub fn client_stream<F, W>(self, name: &str, handler: F) -> Self
    where
        F: Fn(Context, Requests) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Bytes, Status>> + Send + 'static,
    {
        self.add(
            name,
            Pattern::ClientStream,
            Box::new(move |call| {
                let (_, requests, context) = parts(call);
                let Some(requests) = requests else {
                    return Box::pin(std::future::ready(()));
                };
                let work = handler(context.clone(), requests);
                Box::pin(async move { answer(&context, work).await })
            }),
        )
    }

    /// Many requests, many answers, independent of each other.
    #[must_use]
    pub fn bidi_stream<F, W>(self, name: &str, handler: F) -> Self
    where
        F: Fn(Context, Requests, Outgoing) -> W + Send + Sync + 'static,
        W: Future<Output = Result<(), Status>> + Send + 'static,
    {
        self.add(
            name,
            Pattern::BidiStream,
            Box::new(move |call| {
                let (_, requests, context) = parts(call);
                let Some(requests) = requests else {
                    return Box::pin(std::future::ready(()));
                };
                let work = handler(context.clone(), requests, Outgoing(context.0.clone()));
                Box::pin(async move { finish(&context, work).await })
            }),
        )
    }

    /// Runs once for each session that ends.
    #[must_use]
    pub fn on_session_close(mut self, hook: impl Fn(SessionRef) + Send + Sync + 'static) -> Self {
        self.on_session_close = Some(Box::new(hook));
        self
    }

    /// The service. Fails where a handler has no method or another pattern, and where a method has no handler.
    pub fn build(self) -> Result<Service, Status> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        for (index, method) in self
            .contract
            .compiled()
            .contract()
            .methods()
            .iter()
            .enumerate()
        {
            if !self.handlers.contains_key(&index) {
                let text = format!("{}.{} has no handler", self.contract.name(), method.name);
                return Err(Status::unsent(Code::UNIMPLEMENTED, text));
            }
        }
        let dispatch = Functions {
            handlers: self.handlers,
            on_session_close: self.on_session_close,
        };
        Ok(Service::new(self.contract, Arc::new(dispatch)))
    }
}

fn parts(call: Inbound) -> (Bytes, Option<Requests>, Context) {
    let (request, requests, responder) = call.into_parts();
    (
        request.unwrap_or_default(),
        requests,
        Context(Arc::new(responder)),
    )
}

/// A clone of the responder in a task keeps the call open, so a cancelled call is ended before it is dropped.
async fn answer(context: &Context, work: impl Future<Output = Result<Bytes, Status>>) {
    tokio::select! {
        biased;
        result = work => match result {
            Ok(message) => context.0.reply(message),
            Err(status) => context.0.finish(status),
        },
        _ = context.0.cancelled() => context.0.finish(cancelled()),
    }
}

async fn finish(context: &Context, work: impl Future<Output = Result<(), Status>>) {
    tokio::select! {
        biased;
        result = work => context.0.finish(result.err().unwrap_or_else(Status::ok)),
        _ = context.0.cancelled() => context.0.finish(cancelled()),
    }
}

fn cancelled() -> Status {
    Status::server(Code::CANCELLED, "the call was cancelled")
}

struct Functions {
    handlers: HashMap<usize, Handler>,
    on_session_close: Option<Box<dyn Fn(SessionRef) + Send + Sync>>,
}

impl Dispatch for Functions {
    fn call(&self, call: Inbound) {
        if let Some(handler) = self.handlers.get(&call.method_index()) {
            tokio::spawn(handler(call));
        }
    }

    fn session_closed(&self, closed: SessionClosed) {
        if let Some(hook) = &self.on_session_close {
            hook(closed.session());
        }
    }
}
