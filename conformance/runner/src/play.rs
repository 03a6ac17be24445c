//! Plays a scenario between a client and a server.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::expect::{fails, failure, matches, one_of};
use crate::language::Language;
use crate::peer::{Peer, Pending};
use crate::raw::play::Raw;
use crate::raw::step::RawStep;
use crate::scenario::{Call, Event, Finish, Method, Outcome, Send, Step, Suite};

/// Nothing takes longer unless a scenario says so.
const SOON: Duration = Duration::from_secs(10);
/// The metadata key by which handlers tell of themselves.
const KEY: &str = "conf-key";

/// One of the two sides.
#[derive(Clone, Copy)]
pub struct Party<'a> {
    /// The program.
    pub peer: &'a Peer,
    /// Its language.
    pub language: &'a Language,
}

/// A call that goes on.
struct Going {
    pending: Pending,
    method: Method,
    began: Instant,
}

/// One scenario being played in one form.
pub struct Play<'a> {
    pub(crate) suite: &'a Suite,
    client: Option<Party<'a>>,
    server: Option<Party<'a>>,
    /// The client's connection to the server.
    main: String,
    pub(crate) form: String,
    key: String,
    calls: HashMap<String, Going>,
    streams: HashMap<String, Method>,
    /// Messages that are being sent.
    sending: Vec<Pending>,
    /// What is to be ended with the scenario.
    connections: Vec<String>,
    sessions: Vec<String>,
    draining: Option<(Pending, Instant)>,
    /// Whether the client's process was told to end.
    client_gone: bool,
    raw: Option<Raw<'a>>,
}

impl<'a> Play<'a> {
    /// `main` is the client's connection to the server, `key` is unique.
    pub fn new(
        suite: &'a Suite,
        client: Option<Party<'a>>,
        server: Option<Party<'a>>,
        raw: Option<Raw<'a>>,
        main: &str,
        form: &str,
        key: String,
    ) -> Self {
        Self {
            suite,
            client,
            server,
            main: main.to_owned(),
            form: form.to_owned(),
            key,
            calls: HashMap::new(),
            streams: HashMap::new(),
            sending: Vec::new(),
            connections: Vec::new(),
            sessions: Vec::new(),
            draining: None,
            client_gone: false,
            raw,
        }
    }

    pub(crate) fn client(&self) -> Result<Party<'a>, String> {
        self.client
            .ok_or_else(|| "this scenario has no client".to_owned())
    }

    pub(crate) fn server(&self) -> Result<Party<'a>, String> {
        self.server
            .ok_or_else(|| "this scenario has no server".to_owned())
    }

    pub(crate) fn key_of(&self, end: Option<&String>) -> String {
        match end {
            Some(end) => format!("{}.{end}", self.key),
            None => self.key.clone(),
        }
    }

    pub(crate) fn named(&self, name: &str) -> String {
        format!("{}:{name}", self.key)
    }

    /// All steps; the error says at which one it went wrong.
    pub async fn all(&mut self, steps: &[Value]) -> Result<(), String> {
        for (at, value) in steps.iter().enumerate() {
            let step = Step::read(value)?;
            self.step(&step)
                .await
                .map_err(|error| format!("step {}, {value}: {error}", at + 1))?;
        }
        Ok(())
    }

    /// Ends what the scenario has left open. A failure here is one of the scenario.
    pub async fn end(self) -> Result<(), String> {
        if let Some(raw) = self.raw {
            raw.end().await?;
        }
        let Some(client) = self.client else {
            return Ok(());
        };
        if self.client_gone {
            return Ok(());
        }
        for session in &self.sessions {
            let command = json!({"session": session});
            client.peer.ask("close_session", command).await?;
        }
        for connection in &self.connections {
            let command = json!({"client": connection});
            client.peer.ask("disconnect", command).await?;
        }
        Ok(())
    }

    /// Whether the client's process was told to end, and everything of it with it.
    pub fn client_is_gone(&self) -> bool {
        self.client_gone
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Call(call) => self.call(call).await,
            Step::Finish(step) => self.finish(step).await,
            Step::Send(step) => self.send(step).await,
            Step::Event(step) => self.event(step).await,
            Step::Values(step) => self.values(&step.values).await,
            Step::Raw(RawStep::Echo(step)) => self.echo(&step.echo, step.values.as_deref()).await,
            Step::Raw(step) => match &mut self.raw {
                Some(raw) => raw.step(step).await,
                None => Err("this scenario has no raw peer".to_owned()),
            },
            Step::Cancel(step) => {
                let name = self.named(&step.cancel);
                let client = self.client()?;
                if self.streams.contains_key(&step.cancel) {
                    client
                        .peer
                        .must("cancel_stream", json!({"stream": name}))
                        .await?;
                } else {
                    client.peer.must("cancel", json!({"call": name})).await?;
                }
                Ok(())
            }
            Step::HalfClose(step) => {
                let stream = self.named(&step.half_close);
                self.client()?
                    .peer
                    .must("half_close", json!({"stream": stream}))
                    .await?;
                Ok(())
            }
            Step::Session(step) => {
                let name = self.named(&step.session);
                let command = json!({
                    "session": name,
                    "client": self.connection(step.client.as_ref()),
                    "service": step.service,
                    "form": self.form,
                });
                let reply = self.client()?.peer.ask("open_session", command).await?;
                if reply.get("ok").is_some() {
                    self.sessions.push(name);
                }
                fails(&reply, step.fails.as_ref())
            }
            Step::CloseSession(step) => {
                let name = self.named(&step.close_session);
                self.client()?
                    .peer
                    .must("close_session", json!({"session": name}))
                    .await?;
                Ok(())
            }
            Step::Quiet(step) => {
                let key = self.key_of(step.key.as_ref());
                if self.server()?.peer.has_event(|event| {
                    event["event"] == step.quiet.as_str() && event["key"] == key.as_str()
                }) {
                    return Err("there was such an event".to_owned());
                }
                Ok(())
            }
            Step::Release(step) => {
                let end = Some(&step.release).filter(|end| !end.is_empty());
                let key = self.key_of(end);
                self.server()?
                    .peer
                    .must("release", json!({"key": key}))
                    .await?;
                Ok(())
            }
            _ => self.around(step).await,
        }
    }

    /// Steps about connections and processes.
    async fn around(&mut self, step: &Step) -> Result<(), String> {
        let client = self.client()?;
        match step {
            Step::Connect(step) => {
                let name = self.named(&step.connect);
                let command = json!({
                    "client": name, "options": step.options,
                    "addresses": [self.another(step.address.as_deref()).await?],
                });
                let began = Instant::now();
                let reply = client.peer.ask("connect", command).await?;
                in_time(began, step.within_ms, None)?;
                if reply.get("ok").is_some() {
                    self.connections.push(name);
                }
                fails(&reply, step.fails.as_ref())
            }
            Step::Disconnect(step) => {
                let name = self.named(&step.disconnect);
                self.connections.retain(|each| *each != name);
                client
                    .peer
                    .must("disconnect", json!({"client": name}))
                    .await?;
                Ok(())
            }
            Step::Ping(step) => {
                let command = json!({"client": self.main, "timeout_ms": step.ping});
                fails(
                    &client.peer.ask("ping", command).await?,
                    step.fails.as_ref(),
                )
            }
            Step::Burst(step) => {
                let command = json!({
                    "client": self.main, "service": "Probe", "form": self.form, "n": step.burst,
                });
                let answer = client.peer.must("burst", command).await?;
                if answer["right"] == step.burst {
                    Ok(())
                } else {
                    Err(format!(
                        "{} of {} calls got their own answer",
                        answer["right"], step.burst
                    ))
                }
            }
            Step::Services(_) => {
                let offered = client
                    .peer
                    .must("services", json!({"client": self.main}))
                    .await?;
                self.same_services(&offered["services"])
            }
            Step::Contracts(step) => {
                let answer = client
                    .peer
                    .must("contracts", json!({"client": self.main}))
                    .await?;
                self.same_contracts(&answer["contracts"], &step.contracts)
            }
            Step::Exit(step) => {
                let party = if step.exit == "client" {
                    client
                } else {
                    self.server()?
                };
                self.client_gone |= step.exit == "client";
                // It may be gone before it has answered.
                let _ = party.peer.send("exit", json!({"how": step.how})).await?;
                Ok(())
            }
            Step::Drain(step) => {
                let began = Instant::now();
                let command = json!({"grace_ms": step.drain});
                self.draining = Some((self.server()?.peer.send("drain", command).await?, began));
                Ok(())
            }
            Step::Drained(step) => {
                let (pending, began) = self.draining.take().ok_or("nothing is being drained")?;
                fails(&pending.reply().await?, None)?;
                in_time(began, Some(step.drained), None)
            }
            other => Err(format!("{other:?} is no step here")),
        }
    }

    pub(crate) async fn address(&self) -> Result<String, String> {
        let address = self.server()?.peer.must("address", json!({})).await?;
        address["address"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| "the server has no address".to_owned())
    }

    async fn another(&self, kind: Option<&str>) -> Result<String, String> {
        match kind {
            None => self.address().await,
            Some("nobody") => {
                let endpoint = crate::raw::endpoint::bind().await?;
                let address = crate::raw::endpoint::address_of(&endpoint)?;
                endpoint.close().await;
                Ok(address)
            }
            Some("typo") => {
                let address = self.address().await?;
                let (start, last) = address.split_at(address.len() - 1);
                Ok(format!("{start}{}", if last == "2" { "3" } else { "2" }))
            }
            Some(other) => Err(format!("there is no address {other:?}")),
        }
    }

    fn connection(&self, name: Option<&String>) -> String {
        name.map_or_else(|| self.main.clone(), |name| self.named(name))
    }

    // ------------------------------------------------------------ calls

    pub(crate) fn command(
        &self,
        call: &Call,
        target: &str,
        method: &Method,
    ) -> Result<Value, String> {
        let (service, name) = split(target)?;
        let mut metadata: HashMap<&str, Value> = call
            .sends
            .iter()
            .map(|(key, value)| (key.as_str(), repeated(value)))
            .collect();
        metadata.insert(KEY, json!(self.key_of(call.key.as_ref())));
        let request = if method.pattern == "unary" || method.pattern == "server_stream" {
            self.suite
                .types
                .neutral(&method.request, &call.request, false)?
        } else {
            Value::Null
        };
        // A connection to the raw peer has the name that its step gave it.
        let client = match &call.client {
            Some(name) if self.raw.is_some() => name.clone(),
            name => self.connection(name.as_ref()),
        };
        let mut command = json!({
            "client": client,
            "service": service,
            "method": name,
            "form": self.form,
            "pattern": method.pattern,
            "request": request,
            "type": method.request,
            "gives_type": method.response,
            "metadata": metadata,
        });
        for (key, value) in [
            ("version", call.version.map(|version| json!(version))),
            (
                "session",
                call.session.as_ref().map(|name| json!(self.named(name))),
            ),
            ("timeout_ms", call.timeout_ms.map(|timeout| json!(timeout))),
            ("compress", call.compress.map(|compress| json!(compress))),
        ] {
            if let Some(value) = value {
                command[key] = value;
            }
        }
        Ok(command)
    }

    async fn call(&mut self, call: &Call) -> Result<(), String> {
        let client = self.client()?;
        let target = call.call.as_deref().ok_or("the step names no method")?;
        let (service, name) = split(target)?;
        let method = self
            .suite
            .method(service, call.version, name)
            .or_else(|error| {
                // What does not exist is asked for too.
                if call.outcome.fails.is_some() {
                    Ok(Method {
                        pattern: "unary".to_owned(),
                        request: json!({"t": "any"}),
                        response: json!({"t": "any"}),
                    })
                } else {
                    Err(error)
                }
            })?;
        let mut command = self.command(call, target, &method)?;
        // A handler that calls in turn calls the server it is on.
        if command["request"]["address"] == "$address" {
            command["request"]["address"] = json!(self.address().await?);
        }
        command["beforehand"] = json!(call.beforehand);
        let began = Instant::now();
        if let Some(name) = &call.open {
            command["stream"] = json!(self.named(name));
            let reply = client.peer.ask("open", command).await?;
            self.streams.insert(name.clone(), method);
            return fails(&reply, call.outcome.fails.as_ref());
        }
        if let Some(name) = &call.start {
            command["call"] = json!(self.named(name));
            let pending = client.peer.send("call", command).await?;
            let going = Going {
                pending,
                method,
                began,
            };
            self.calls.insert(name.clone(), going);
            return Ok(());
        }
        let reply = client.peer.ask("call", command).await?;
        in_time(began, call.outcome.within_ms, call.outcome.after_ms)?;
        self.outcome(&reply, &method.response, &call.outcome)
    }

    /// Whether a call ended as it was to.
    fn outcome(&self, reply: &Value, response: &Value, expected: &Outcome) -> Result<(), String> {
        if expected.cancelled {
            return match reply["ok"]["cancelled"] == true {
                true => Ok(()),
                false => Err(format!("it was cancelled, and ended with {reply}")),
            };
        }
        fails(reply, expected.fails.as_ref())?;
        let answer = &reply["ok"];
        if let Some(gives) = &expected.gives {
            self.same(response, &answer["response"], gives)?;
        }
        for (key, expected) in [
            ("metadata", &expected.metadata),
            ("trailing", &expected.trailing),
        ] {
            if let Some(expected) = expected
                && !matches(&answer[key], expected)
            {
                return Err(format!(
                    "its {key} is {}, and {expected} was expected",
                    answer[key]
                ));
            }
        }
        Ok(())
    }

    pub(crate) fn same(&self, ty: &Value, found: &Value, expected: &Value) -> Result<(), String> {
        let found = self.suite.types.neutral(ty, found, true)?;
        let expected = self.suite.types.neutral(ty, expected, true)?;
        if matches(&found, &expected) {
            Ok(())
        } else {
            Err(format!(
                "it gave {}, and {} was expected",
                short(&found),
                short(&expected)
            ))
        }
    }

    async fn finish(&mut self, step: &Finish) -> Result<(), String> {
        let client = self.client()?;
        if let Some(name) = &step.finish {
            let going = self
                .calls
                .remove(name)
                .ok_or_else(|| format!("there is no call {name:?}"))?;
            let asked = Instant::now();
            let reply = going.pending.reply().await?;
            // The shortest time counts from the call, the longest from the step: what came before may have waited.
            in_time(asked, step.outcome.within_ms, None)?;
            in_time(going.began, None, step.outcome.after_ms)?;
            return self.outcome(&reply, &going.method.response, &step.outcome);
        }
        if let Some(name) = &step.answer {
            let method = self.method_of(name)?;
            let began = Instant::now();
            for pending in self.sending.drain(..) {
                fails(&pending.reply().await?, None)?;
            }
            let reply = client
                .peer
                .ask("answer", json!({"stream": self.named(name)}))
                .await?;
            in_time(began, step.outcome.within_ms, None)?;
            return self.outcome(&reply, &method.response, &step.outcome);
        }
        let name = step
            .next
            .as_ref()
            .or(step.rest.as_ref())
            .ok_or("the step names no stream")?;
        self.messages(name, step).await
    }

    fn method_of(&self, stream: &str) -> Result<Method, String> {
        self.streams
            .get(stream)
            .cloned()
            .ok_or_else(|| format!("there is no stream {stream:?}"))
    }

    /// Messages of a stream: the next ones, or the rest and its end.
    async fn messages(&mut self, name: &str, step: &Finish) -> Result<(), String> {
        let method = self.method_of(name)?;
        let wanted = step.outcome.gives.as_ref().and_then(Value::as_array);
        let most = match (&step.next, step.count, wanted) {
            (Some(_), Some(count), _) => count,
            (Some(_), None, Some(wanted)) => wanted.len(),
            _ => usize::MAX >> 12,
        };
        let command = json!({"stream": self.named(name), "most": most});
        let began = Instant::now();
        let got = self.client()?.peer.must("next", command).await?;
        in_time(began, step.outcome.within_ms, None)?;
        let messages = got["messages"].as_array().cloned().unwrap_or_default();
        if let (None, Some(error)) = (&step.outcome.fails, got.get("error")) {
            return Err(format!("it failed: {error}"));
        }
        if let Some(count) = step.count
            && messages.len() != count
        {
            return Err(format!(
                "{} messages came, and {count} were expected",
                messages.len()
            ));
        }
        if let Some(wanted) = wanted {
            let list = json!({"t": "list", "item": method.response});
            self.same(
                &list,
                &Value::Array(messages),
                &Value::Array(wanted.clone()),
            )?;
        }
        match (&step.outcome.fails, got.get("error")) {
            (Some(expected), Some(error)) => return failure(error, expected),
            (Some(expected), None) => {
                return Err(format!(
                    "it was to fail with {:?}, and did not",
                    expected.code
                ));
            }
            (None, _) => {}
        }
        if step.rest.is_some() && got["end"] != true {
            return Err("it did not end".to_owned());
        }
        for (key, expected) in [
            ("metadata", &step.outcome.metadata),
            ("trailing", &step.outcome.trailing),
        ] {
            if let Some(expected) = expected
                && !matches(&got[key], expected)
            {
                return Err(format!(
                    "its {key} is {}, and {expected} was expected",
                    got[key]
                ));
            }
        }
        Ok(())
    }

    async fn send(&mut self, step: &Send) -> Result<(), String> {
        let client = self.client()?;
        let method = self.method_of(&step.send)?;
        let stream = self.named(&step.send);
        let messages = step.message.iter().chain(&step.messages);
        for message in messages {
            let message = self.suite.types.neutral(&method.request, message, false)?;
            for _ in 0..step.times {
                let command = json!({"stream": stream, "message": message});
                let pending = client.peer.send("send", command).await?;
                if step.ahead {
                    self.sending.push(pending);
                    continue;
                }
                let reply = pending.reply().await?;
                fails(&reply, step.fails.as_ref())?;
            }
        }
        Ok(())
    }

    async fn event(&mut self, step: &Event) -> Result<(), String> {
        let key = self.key_of(step.key.as_ref());
        let limit = step.within_ms.map_or(SOON, Duration::from_millis);
        let event = self
            .server()?
            .peer
            .event(limit, |event| {
                event["event"] == step.event.as_str() && event["key"] == key.as_str()
            })
            .await?;
        if !step.how.all().is_empty() {
            one_of(
                "how the handler ended",
                event["how"].as_str().unwrap_or_default(),
                step.how.all(),
            )?;
        }
        match step.count {
            Some(count) if event["count"] != count => Err(format!("the event is {event}")),
            _ => Ok(()),
        }
    }
}

fn split(target: &str) -> Result<(&str, &str), String> {
    target
        .rsplit_once('.')
        .ok_or_else(|| format!("{target:?} is no Service.method"))
}

/// A text, which may be given as one that is repeated.
fn repeated(value: &Value) -> Value {
    match (value["repeat"].as_str(), value["times"].as_u64()) {
        (Some(text), Some(times)) => json!(text.repeat(times as usize)),
        _ => value.clone(),
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(300) {
        Some((at, _)) => format!("{}… ({} characters)", &text[..at], text.len()),
        None => text,
    }
}

fn in_time(began: Instant, within_ms: Option<u64>, after_ms: Option<u64>) -> Result<(), String> {
    let took = began.elapsed();
    match (within_ms, after_ms) {
        (Some(limit), _) if took > Duration::from_millis(limit) => Err(format!(
            "it took {took:?}, at most {limit} ms were expected"
        )),
        (_, Some(least)) if took < Duration::from_millis(least) => Err(format!(
            "it took {took:?}, at least {least} ms were expected"
        )),
        _ => Ok(()),
    }
}
