//! The calling side.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aster::proto::value::Mode;
use aster::{
    Address, CallOptions, CallReceiver, CallSender, Client, ClientOptions, Code, Contract, Failure,
    Metadata, Method, Network, Session, Status,
};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::neutral::{Neutral, hex, unpack_any};
use crate::services::lock;

/// How a command ends: what it gives, the SDK's failure, or a fault of the peer itself.
pub(crate) enum Trouble {
    Failed(Box<Failure>),
    Refused(Box<Status>),
    Usage(String),
    Fault(String),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

impl From<String> for Trouble {
    fn from(fault: String) -> Self {
        Self::Fault(fault)
    }
}

pub(crate) type Outcome = Result<Value, Trouble>;

struct Stream {
    sender: tokio::sync::Mutex<Option<CallSender>>,
    receiver: tokio::sync::Mutex<CallReceiver>,
    method: Method,
    takes: Value,
    gives: Value,
    dynamic: bool,
    /// Ends what waits for messages, and with it the call.
    waiting: Mutex<Vec<oneshot::Sender<()>>>,
    given_up: AtomicBool,
}

#[derive(Default)]
pub(crate) struct Side {
    pub(crate) neutral: Mutex<Neutral>,
    contracts: Vec<Contract>,
    clients: Mutex<HashMap<String, Client>>,
    sessions: Mutex<HashMap<String, (Client, Session, String)>>,
    calls: Mutex<HashMap<String, oneshot::Sender<()>>>,
    streams: Mutex<HashMap<String, Arc<Stream>>>,
}

fn text<'a>(command: &'a Value, key: &str) -> Result<&'a str, String> {
    command[key]
        .as_str()
        .ok_or_else(|| format!("the command has no {key}"))
}

fn milliseconds(value: &Value) -> Option<Duration> {
    value.as_u64().map(Duration::from_millis)
}

fn metadata_in(given: &Value) -> Result<Metadata, Trouble> {
    let mut out = Metadata::new();
    for (key, value) in given.as_object().into_iter().flatten() {
        let bytes = match value["hex"].as_str() {
            Some(digits) => (0..digits.len() / 2)
                .map(|at| {
                    u8::from_str_radix(&digits[at * 2..at * 2 + 2], 16)
                        .map_err(|error| error.to_string())
                })
                .collect::<Result<Vec<u8>, _>>()?,
            None => value.as_str().unwrap_or_default().as_bytes().to_vec(),
        };
        out.insert(key, bytes).map_err(|error| {
            Trouble::Refused(Box::new(Status::unsent(
                Code::INVALID_ARGUMENT,
                error.to_string(),
            )))
        })?;
    }
    Ok(out)
}

fn metadata_out<'a>(all: impl IntoIterator<Item = &'a Metadata>) -> Value {
    let mut out = serde_json::Map::new();
    for (key, value) in all.into_iter().flat_map(Metadata::iter) {
        let value = if key.ends_with("-bin") {
            json!({"hex": hex(value)})
        } else {
            json!(String::from_utf8_lossy(value))
        };
        out.insert(key.to_owned(), value);
    }
    Value::Object(out)
}

/// An error of the SDK as the runner compares it.
pub(crate) fn failure(status: &Status, initial: Option<&Metadata>) -> Value {
    let details = status.details.as_ref().map(|details| {
        rmp_serde::from_slice::<rmpv::Value>(details)
            .map_err(|error| error.to_string())
            .and_then(|details| unpack_any(&details))
            .unwrap_or_else(|error| json!(error))
    });
    json!({
        "code": status.code.name(),
        "message": status.message,
        "details": details,
        "metadata": metadata_out(initial.into_iter().chain([&status.metadata])),
        "origin": status.origin.name(),
        "may_have_run": status.may_have_run,
        "retry_after_ms": status.retry_after_ms,
        "class": "Failure",
    })
}

fn failure_of(failure_: &Failure) -> Value {
    failure(&failure_.status, Some(&failure_.metadata))
}

impl Side {
    /// `contracts` are those that this program declares.
    pub(crate) fn new(contracts: Vec<Contract>) -> Self {
        Self {
            contracts,
            ..Self::default()
        }
    }

    fn client(&self, command: &Value) -> Result<Client, String> {
        let name = text(command, "client")?;
        lock(&self.clients)
            .get(name)
            .cloned()
            .ok_or_else(|| format!("there is no client {name}"))
    }

    pub(crate) async fn connect(&self, command: &Value) -> Outcome {
        let mut addresses: Vec<Address> = Vec::new();
        for each in command["addresses"].as_array().into_iter().flatten() {
            let address = each.as_str().unwrap_or_default();
            addresses.push(
                address
                    .parse()
                    .map_err(|error: aster::AddressError| Trouble::Usage(error.to_string()))?,
            );
        }
        let given = &command["options"];
        let mut options = ClientOptions::default();
        options.endpoint.network = Network::Local;
        let set = |option: &mut Duration, key: &str| {
            if let Some(value) = milliseconds(&given[key]) {
                *option = value;
            }
        };
        set(&mut options.connect_timeout, "connect_timeout_ms");
        set(&mut options.endpoint.keep_alive, "keep_alive_ms");
        set(&mut options.endpoint.idle_timeout, "idle_timeout_ms");
        if let Some(bytes) = given["max_message_bytes"].as_u64() {
            options.endpoint.limits.message = bytes as usize;
        }
        let client = Client::connect(addresses, options).await?;
        let peer = client.peer();
        lock(&self.clients).insert(text(command, "client")?.to_owned(), client);
        Ok(json!({"peer": peer}))
    }

    /// Ends what is open, as a program does before it returns.
    pub(crate) async fn close(&self) {
        let clients: Vec<Client> = lock(&self.clients)
            .drain()
            .map(|(_, client)| client)
            .collect();
        for client in clients {
            client.close().await;
        }
    }

    pub(crate) async fn disconnect(&self, command: &Value) -> Outcome {
        let client = self.client(command)?;
        let name = text(command, "client")?;
        lock(&self.clients).remove(name);
        // Sessions of the client end with it.
        lock(&self.sessions).retain(|session, _| !session.starts_with(&format!("{name}/")));
        client.close().await;
        Ok(json!({}))
    }

    pub(crate) async fn ping(&self, command: &Value) -> Outcome {
        let limit = milliseconds(&command["timeout_ms"]).unwrap_or(Duration::from_millis(1500));
        self.client(command)?.ping(limit).await?;
        Ok(json!({}))
    }

    pub(crate) fn services(&self, command: &Value) -> Outcome {
        let offers = self.client(command)?.offers();
        let all: Vec<Value> = offers
            .iter()
            .map(|offer| {
                let scope = if offer.scope == aster::Scope::Session {
                    "session"
                } else {
                    "shared"
                };
                json!([offer.service, offer.version, hex(&offer.contract), scope])
            })
            .collect();
        Ok(json!({"services": all}))
    }

    /// What becomes of a client of each service that is declared here.
    pub(crate) async fn contracts(&self, command: &Value) -> Outcome {
        let client = self.client(command)?;
        let mut outcomes = Vec::new();
        for mine in &self.contracts {
            let outcome = match self.served(&client, mine).await {
                Ok(_) => "ok".to_owned(),
                Err(Trouble::Refused(status)) => {
                    format!("{}: {}", status.code.name(), status.message)
                }
                Err(Trouble::Failed(failure)) => failure.to_string(),
                Err(trouble) => return Err(trouble),
            };
            outcomes.push(json!([mine.name(), mine.version(), outcome]));
        }
        Ok(json!({"contracts": outcomes}))
    }

    /// The contract that the server serves in the place of one declared here, if the two get on with each other.
    async fn served(&self, client: &Client, mine: &Contract) -> Result<Option<Contract>, Trouble> {
        let offered = client
            .offers()
            .into_iter()
            .find(|offer| (offer.service.as_str(), offer.version) == (mine.name(), mine.version()));
        if offered.is_some_and(|offer| offer.contract == *mine.id().as_bytes()) {
            return Ok(None);
        }
        let theirs = client.contract(mine.name(), Some(mine.version())).await?;
        let compat = mine.compare(&theirs);
        if compat.is_compatible() {
            return Ok(Some(theirs));
        }
        let differences: Vec<String> = compat.breaking.iter().map(ToString::to_string).collect();
        Err(Status::unsent(Code::CONTRACT_MISMATCH, differences.join("; ")).into())
    }

    async fn method(&self, client: &Client, command: &Value) -> Result<Method, Trouble> {
        let (service, name) = (text(command, "service")?, text(command, "method")?);
        let version = command["version"].as_u64().map(|version| version as u32);
        let json_codec = service == "Text";
        let (contract, served) = if command["form"] == "typed" {
            let mine = self
                .contracts
                .iter()
                .find(|each| (each.name(), each.version()) == (service, version.unwrap_or(1)))
                .ok_or_else(|| format!("{service} is not declared here"))?;
            (mine.clone(), self.served(client, mine).await?)
        } else {
            (client.contract(service, version).await?, None)
        };
        let Some(mut method) = Method::new(&contract, name) else {
            let hint = contract.compiled().nearest_method(name).unwrap_or_default();
            let text = format!("{service} has no method {name:?}; did you mean {hint}?");
            return Err(Status::unsent(Code::UNIMPLEMENTED, text).into());
        };
        if let Some(served) = served {
            method = method.served_as(&served);
        }
        if json_codec {
            method = method.with_codec(aster::Codec::Json);
        }
        Ok(method.with_checks(true))
    }

    fn options(
        &self,
        client: &Client,
        command: &Value,
        method: &Method,
    ) -> Result<CallOptions, Trouble> {
        let mut options = CallOptions::new();
        options.timeout = milliseconds(&command["timeout_ms"]);
        options.metadata = metadata_in(&command["metadata"])?;
        options.compress = command["compress"].as_bool();
        if let Some(name) = command["session"].as_str() {
            let sessions = lock(&self.sessions);
            let (_, session, _) = sessions
                .get(name)
                .ok_or_else(|| format!("there is no session {name}"))?;
            options.session = Some(session.clone());
        } else if method.contract().compiled().contract().scope() == aster::Scope::Session {
            // A proxy's own session, one for each service.
            let service = method.contract().name();
            let name = format!(
                "{}/{service}/{}",
                text(command, "client")?,
                text(command, "form")?
            );
            let session = lock(&self.sessions)
                .entry(name)
                .or_insert_with(|| {
                    (
                        client.clone(),
                        client.open_session(service, true),
                        service.to_owned(),
                    )
                })
                .1
                .clone();
            options.session = Some(session);
        }
        Ok(options)
    }

    /// A message for a method, checked before anything is sent.
    fn message(
        &self,
        method: &Method,
        ty: &Value,
        value: &Value,
        dynamic: bool,
    ) -> Result<Bytes, Trouble> {
        let packed = lock(&self.neutral).pack(ty, value)?;
        let bytes = rmp_serde::to_vec_named(&packed).map_err(|error| error.to_string())?;
        let mode = if dynamic { Mode::Send } else { Mode::Receive };
        method
            .contract()
            .compiled()
            .check(method.types().request, &bytes, mode)
            .map_err(|error| Status::unsent(Code::INVALID_ARGUMENT, error.to_string()))?;
        Ok(bytes.into())
    }

    fn value(&self, ty: &Value, message: &[u8]) -> Result<Value, String> {
        let value: rmpv::Value =
            rmp_serde::from_slice(message).map_err(|error| error.to_string())?;
        lock(&self.neutral).unpack(ty, &value)
    }

    /// The client and, for a session, the service that goes without saying.
    fn target(&self, command: &Value) -> Result<Client, String> {
        match command["session"].as_str() {
            Some(name) => lock(&self.sessions)
                .get(name)
                .map(|(client, _, _)| client.clone())
                .ok_or_else(|| format!("there is no session {name}")),
            None => self.client(command),
        }
    }

    /// Dropping what waits for the answer gives the call up.
    pub(crate) async fn call(&self, command: &Value) -> Outcome {
        let (give_up, given_up) = oneshot::channel();
        match command["call"].as_str() {
            Some(name) => {
                lock(&self.calls).insert(name.to_owned(), give_up);
            }
            None => return self.unary(command).await,
        }
        tokio::select! {
            outcome = self.unary(command) => outcome,
            Ok(()) = given_up => Ok(json!({"cancelled": true})),
        }
    }

    async fn unary(&self, command: &Value) -> Outcome {
        let client = self.target(command)?;
        let method = self.method(&client, command).await?;
        let dynamic = command["form"] != "typed";
        let request = self.message(&method, &command["type"], &command["request"], dynamic)?;
        let options = self.options(&client, command, &method)?;
        let answer = client.unary(&method, request, options).await?;
        Ok(json!({
            "response": self.value(&command["gives_type"], &answer.message)?,
            "metadata": metadata_out([&answer.metadata]),
            "trailing": metadata_out([&answer.trailing]),
        }))
    }

    pub(crate) fn cancel(&self, command: &Value) -> Outcome {
        let name = text(command, "call")?;
        let give_up = lock(&self.calls)
            .remove(name)
            .ok_or_else(|| format!("there is no call {name}"))?;
        // One that has ended can't be given up any more.
        let _ = give_up.send(());
        Ok(json!({}))
    }

    /// Many calls at once: how many got the answer that is theirs.
    pub(crate) async fn burst(&self, command: &Value) -> Outcome {
        let client = self.client(command)?;
        let mut command = command.clone();
        command["method"] = json!("add");
        let method = self.method(&client, &command).await?;
        let calls: Vec<_> = (0..command["n"].as_i64().unwrap_or_default())
            .map(|n| {
                let (client, method) = (client.clone(), method.clone());
                tokio::spawn(async move {
                    let request =
                        rmpv::Value::Map(vec![("a".into(), n.into()), ("b".into(), 1.into())]);
                    let request =
                        rmp_serde::to_vec_named(&request).map_err(|error| error.to_string())?;
                    let answer = client
                        .unary(&method, request.into(), CallOptions::new())
                        .await?;
                    let sum: i64 = rmp_serde::from_slice(&answer.message)
                        .map_err(|error| error.to_string())?;
                    Ok::<bool, Trouble>(sum == n + 1)
                })
            })
            .collect();
        let mut right = 0;
        for call in calls {
            right += u64::from(call.await.map_err(|error| error.to_string())??);
        }
        Ok(json!({"right": right}))
    }

    // ------------------------------------------------------------ streams

    fn stream(&self, command: &Value) -> Result<Arc<Stream>, String> {
        let name = text(command, "stream")?;
        lock(&self.streams)
            .get(name)
            .cloned()
            .ok_or_else(|| format!("there is no stream {name}"))
    }

    pub(crate) async fn open(&self, command: &Value) -> Outcome {
        let client = self.target(command)?;
        let method = self.method(&client, command).await?;
        let dynamic = command["form"] != "typed";
        let request = match command["pattern"] == "server_stream" {
            true => Some(self.message(&method, &command["type"], &command["request"], dynamic)?),
            false => None,
        };
        let options = self.options(&client, command, &method)?;
        let (mut sender, receiver) = client.start(&method, options).await?;
        let sender = match request {
            Some(request) => {
                sender.send(request).await?;
                sender.finish();
                None
            }
            None => Some(sender),
        };
        let stream = Stream {
            sender: sender.into(),
            receiver: receiver.into(),
            method,
            takes: command["type"].clone(),
            gives: command["gives_type"].clone(),
            dynamic,
            waiting: Mutex::default(),
            given_up: AtomicBool::new(false),
        };
        lock(&self.streams).insert(text(command, "stream")?.to_owned(), Arc::new(stream));
        Ok(json!({}))
    }

    pub(crate) async fn send(&self, command: &Value) -> Outcome {
        let stream = self.stream(command)?;
        let message = self.message(
            &stream.method,
            &stream.takes,
            &command["message"],
            stream.dynamic,
        )?;
        let mut sender = stream.sender.lock().await;
        let Some(sender) = sender.as_mut() else {
            return Err(Trouble::Fault(
                "nothing can be sent on this stream any more".to_owned(),
            ));
        };
        match sender.send(message).await {
            // The other side needs no more: the answer says how it ended.
            Err(failure) if failure.code() == Code::FAILED_PRECONDITION => Ok(json!({})),
            Err(failure) => Err(failure.into()),
            Ok(()) => Ok(json!({})),
        }
    }

    pub(crate) async fn half_close(&self, command: &Value) -> Outcome {
        let stream = self.stream(command)?;
        if let Some(sender) = stream.sender.lock().await.take() {
            sender.finish();
        }
        Ok(json!({}))
    }

    /// At most `most` messages, or those until the end.
    pub(crate) async fn next(&self, command: &Value) -> Outcome {
        let stream = self.stream(command)?;
        let most = command["most"].as_u64().unwrap_or_default() as usize;
        let mut receiver = stream.receiver.lock().await;
        let mut messages = Vec::new();
        while messages.len() < most {
            match receiver.next().await {
                Ok(Some(message)) => messages.push(self.value(&stream.gives, &message)?),
                Ok(None) => {
                    return Ok(json!({
                        "messages": messages,
                        "end": true,
                        "metadata": metadata_out([receiver.metadata()]),
                        "trailing": metadata_out([receiver.trailing()]),
                    }));
                }
                Err(failure) => {
                    return Ok(json!({"messages": messages, "error": failure_of(&failure)}));
                }
            }
        }
        Ok(json!({"messages": messages, "end": false}))
    }

    /// The one answer of a client stream.
    pub(crate) async fn answer(&self, command: &Value) -> Outcome {
        let stream = self.stream(command)?;
        if stream.given_up.load(Ordering::SeqCst) {
            return Ok(json!({"cancelled": true}));
        }
        let (give_up, given_up) = oneshot::channel();
        lock(&stream.waiting).push(give_up);
        let answer = async {
            let mut receiver = stream.receiver.lock().await;
            let message = receiver
                .next()
                .await?
                .ok_or("the answer has no message".to_owned())?;
            receiver.next().await?;
            Ok(json!({
                "response": self.value(&stream.gives, &message)?,
                "metadata": metadata_out([receiver.metadata()]),
                "trailing": metadata_out([receiver.trailing()]),
            }))
        };
        tokio::select! {
            outcome = answer => outcome,
            Ok(()) = given_up => Ok(json!({"cancelled": true})),
        }
    }

    pub(crate) async fn cancel_stream(&self, command: &Value) -> Outcome {
        let stream = self.stream(command)?;
        stream.given_up.store(true, Ordering::SeqCst);
        for waiting in lock(&stream.waiting).drain(..) {
            // What has ended does not wait any more.
            let _ = waiting.send(());
        }
        stream.receiver.lock().await.cancel();
        Ok(json!({}))
    }

    // ------------------------------------------------------------ sessions

    pub(crate) async fn open_session(&self, command: &Value) -> Outcome {
        let client = self.client(command)?;
        let service = text(command, "service")?;
        let contract = client.contract(service, None).await?;
        if contract.compiled().contract().scope() != aster::Scope::Session {
            return Ok(json!({"not a session service": service}));
        }
        let session = client.open_session(service, false);
        lock(&self.sessions).insert(
            text(command, "session")?.to_owned(),
            (client, session, service.to_owned()),
        );
        Ok(json!({}))
    }

    pub(crate) fn close_session(&self, command: &Value) -> Outcome {
        let name = text(command, "session")?;
        match lock(&self.sessions).get(name) {
            Some((_, session, _)) => session.close(),
            None => return Err(Trouble::Fault(format!("there is no session {name}"))),
        }
        Ok(json!({}))
    }
}
