//! Plays the steps of the raw peer.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use iroh::Endpoint;
use iroh::endpoint::{Connection, VarInt};
use serde_json::{Value, json};

use super::address;
use super::bytes::{Builder, Contracts};
use super::endpoint::{self, SOON, Stream};
use super::step::RawStep;
use super::wire::{CLOSES, Header, Routes, STREAM_CODES, Status, code_name, lane_parts};
use crate::expect::{fails, one_of, says};
use crate::peer::{Peer, Pending};
use crate::scenario::OneOrMore;
use crate::value::{decode, encode, hex, pack_any};

/// The raw peer in one scenario.
pub struct Raw<'a> {
    endpoint: Endpoint,
    /// Where the server listens, if a server is called.
    server: Option<String>,
    /// Who calls the raw peer, if it is called.
    client: Option<&'a Peer>,
    contracts: &'a Contracts,
    key: String,
    connections: HashMap<String, Connection>,
    streams: HashMap<String, Stream>,
    routes: HashMap<String, Routes>,
    /// Replies that have come and were not asked for yet, by lane and call.
    replies: HashMap<(String, u64), (Vec<u8>, Vec<u8>)>,
    last_call: u64,
    connecting: HashMap<String, (Pending, Instant)>,
    /// The client's connections to the raw peer, which end with the scenario.
    of_client: Vec<String>,
    began: Instant,
}

fn control_of(connection: &str) -> String {
    format!("{connection}.control")
}

fn named(table: &[(&str, u64)], code: u64) -> String {
    table
        .iter()
        .find(|(_, number)| *number == code)
        .map_or_else(|| format!("CODE_{code}"), |(name, _)| (*name).to_owned())
}

impl<'a> Raw<'a> {
    /// A raw peer that calls `server`, or is called by `client`.
    pub async fn new(
        server: Option<String>,
        client: Option<&'a Peer>,
        contracts: &'a Contracts,
        key: String,
    ) -> Result<Self, String> {
        Ok(Self {
            endpoint: endpoint::bind().await?,
            server,
            client,
            contracts,
            key,
            connections: HashMap::new(),
            streams: HashMap::new(),
            routes: HashMap::new(),
            replies: HashMap::new(),
            last_call: 0,
            connecting: HashMap::new(),
            of_client: Vec::new(),
            began: Instant::now(),
        })
    }

    fn build(&self, given: &Value) -> Result<Vec<u8>, String> {
        Builder {
            contracts: self.contracts,
            last_call: self.last_call,
            key: &self.key,
        }
        .build(given)
    }

    fn connection(&self, name: &str) -> Result<&Connection, String> {
        self.connections
            .get(name)
            .ok_or_else(|| format!("there is no connection {name:?}"))
    }

    fn stream(&mut self, name: &str) -> Result<&mut Stream, String> {
        self.streams
            .get_mut(name)
            .ok_or_else(|| format!("there is no stream {name:?}"))
    }

    /// One step.
    pub async fn step(&mut self, step: &RawStep) -> Result<(), String> {
        match step {
            RawStep::Dial(step) => {
                let server = self.server.as_deref().ok_or("there is no server to dial")?;
                let connection = endpoint::dial(&self.endpoint, address::read(server)?).await?;
                self.began = Instant::now();
                self.connections.insert(step.dial.clone(), connection);
            }
            RawStep::Hello(step) => {
                let fields = self.build(&step.bytes)?;
                let mut stream = endpoint::open(self.connection(&step.hello)?, false).await?;
                stream.write(&[1]).await?;
                stream.write(&super::wire::frame(1, &fields)).await?;
                expect_frame(&mut stream, 2).await?;
                self.streams.insert(control_of(&step.hello), stream);
            }
            RawStep::Connecting(step) => {
                let client = self.client.ok_or("there is no client")?;
                let options = if step.options.is_null() {
                    json!({})
                } else {
                    step.options.clone()
                };
                let command = json!({
                    "client": step.connecting,
                    "addresses": [endpoint::address_of(&self.endpoint)?],
                    "options": options,
                });
                let pending = client.send("connect", command).await?;
                self.connecting
                    .insert(step.connecting.clone(), (pending, Instant::now()));
            }
            RawStep::Connected(step) => {
                let (pending, began) = self
                    .connecting
                    .remove(&step.connected)
                    .ok_or_else(|| format!("{:?} is not connecting", step.connected))?;
                let reply = pending.reply().await?;
                if reply.get("ok").is_some() {
                    self.of_client.push(step.connected.clone());
                }
                fails(&reply, step.fails.as_ref())?;
                let took = began.elapsed();
                if let Some(limit) = step.within_ms
                    && took > Duration::from_millis(limit)
                {
                    return Err(format!("connecting took {took:?}"));
                }
            }
            RawStep::Accept(step) => {
                let connection = endpoint::accept(&self.endpoint).await?;
                self.began = Instant::now();
                self.connections.insert(step.accept.clone(), connection);
            }
            RawStep::Greet(step) => {
                let (kind, mut stream) = endpoint::take(self.connection(&step.greet)?).await?;
                if kind != 1 {
                    return Err(format!(
                        "the first stream is of kind {kind}, not the control stream"
                    ));
                }
                expect_frame(&mut stream, 1).await?;
                let answer = match &step.instead {
                    Some(answer) => self.build(answer)?,
                    None => {
                        let offers: Vec<Value> = step
                            .offers
                            .iter()
                            .map(|offer| json!({"offer": offer}))
                            .collect();
                        let mut fields = self.build(&Value::Array(offers))?;
                        fields.extend(self.build(&step.bytes)?);
                        super::wire::frame(2, &fields)
                    }
                };
                stream.write(&answer).await?;
                self.streams.insert(control_of(&step.greet), stream);
            }
            RawStep::OpenStream(step) => {
                let bytes = self.build(&step.bytes)?;
                let mut stream = endpoint::open(self.connection(&step.on)?, step.uni).await?;
                if let Some(kind) = step.kind {
                    stream.write(&[kind]).await?;
                }
                // The other side may have enough of it before all is written; what follows tells.
                if !bytes.is_empty() {
                    let _ = stream.write(&bytes).await;
                }
                self.streams.insert(step.stream.clone(), stream);
            }
            RawStep::Take(step) => {
                let (kind, stream) = endpoint::take(self.connection(&step.on)?).await?;
                if kind != step.kind {
                    return Err(format!(
                        "a stream of kind {} was expected, and {kind} came",
                        step.kind
                    ));
                }
                self.streams.insert(step.take.clone(), stream);
            }
            RawStep::Write(step) => {
                let bytes = self.build(&step.bytes)?;
                // As above.
                let _ = self.stream(&step.write)?.write(&bytes).await;
            }
            RawStep::Dribble(step) => {
                let bytes = self.build(&step.bytes)?;
                let every = Duration::from_millis(step.every_ms);
                let stream = self.stream(&step.dribble)?;
                for byte in bytes {
                    if stream.write(&[byte]).await.is_err() {
                        break;
                    }
                    tokio::time::sleep(every).await;
                }
            }
            RawStep::Fin(step) => self.stream(&step.fin)?.finish()?,
            RawStep::Reset(step) => self.stream(&step.reset)?.reset(step.code)?,
            RawStep::Stop(step) => self.stream(&step.stop)?.stop(step.code)?,
            RawStep::Shut(step) => {
                self.connection(&step.shut)?
                    .close(VarInt::from_u32(step.code), step.reason.as_bytes());
            }
            RawStep::Alive(step) => self.alive(&step.alive).await?,
            other => self.expect(other).await?,
        }
        Ok(())
    }

    async fn expect(&mut self, step: &RawStep) -> Result<(), String> {
        match step {
            RawStep::Called(_) | RawStep::LaneCancelled(_) => self.expect_call(step).await,
            RawStep::Frame(step) => {
                let expected = step
                    .bytes
                    .as_ref()
                    .map(|bytes| self.build(bytes))
                    .transpose()?;
                let payload = expect_frame(self.stream(&step.frame)?, step.kind).await?;
                match expected {
                    Some(expected) if expected != payload => Err(format!(
                        "the frame holds {}, and {} was expected",
                        hex(&payload),
                        hex(&expected)
                    )),
                    _ => Ok(()),
                }
            }
            RawStep::Gets(step) => {
                let payload = expect_frame(self.stream(&step.gets)?, 2).await?;
                same_message(&payload, &step.value)
            }
            RawStep::Status(step) => {
                let stream = self.stream(&step.status)?;
                loop {
                    match stream.frame().await? {
                        Some((4, payload)) => {
                            let status = Status::read(&payload)?;
                            return check_status(
                                &status,
                                &step.code,
                                &step.says,
                                step.may_have_run,
                            );
                        }
                        Some(_) => {}
                        None => return Err("the answer ended without a status".to_owned()),
                    }
                }
            }
            RawStep::Reply(step) => {
                let (block, message) = self.reply(&step.reply, step.id).await?;
                check_status(
                    &Status::read(&block)?,
                    &step.code,
                    &step.says,
                    step.may_have_run,
                )?;
                match &step.value {
                    Some(value) => same_message(&message, value),
                    None => Ok(()),
                }
            }
            RawStep::Closed(step) => {
                let limit = step.within_ms.map_or(SOON, Duration::from_millis);
                let (code, reason) =
                    endpoint::closed(self.connection(&step.closed)?, limit).await?;
                one_of(
                    "the code of the end",
                    &named(&CLOSES, code),
                    step.code.all(),
                )?;
                says("the reason", &reason, step.says.all())?;
                let took = self.began.elapsed();
                match step.after_ms {
                    Some(least) if took < Duration::from_millis(least) => {
                        Err(format!("the connection was closed after {took:?} already"))
                    }
                    _ => Ok(()),
                }
            }
            RawStep::Stopped(step) => {
                let code = self.stream(&step.stopped)?.was_stopped().await?;
                let code = code.ok_or("the stream was read to its end, and not stopped")?;
                one_of(
                    "the code of the stop",
                    &named(&STREAM_CODES, code),
                    step.code.all(),
                )
            }
            RawStep::WasReset(step) => {
                let code = self.stream(&step.was_reset)?.was_reset().await?;
                let code = code.ok_or("the stream ended, and was not reset")?;
                one_of(
                    "the code of the reset",
                    &named(&STREAM_CODES, code),
                    step.code.all(),
                )
            }
            RawStep::Ended(step) => match self.stream(&step.ended)?.frame().await? {
                None => Ok(()),
                Some((byte, payload)) => Err(format!("a frame {byte:#x} came: {}", hex(&payload))),
            },
            other => Err(format!("{other:?} is no step here")),
        }
    }

    /// Status and message of the reply to a call; replies come in any order, and others are kept.
    async fn reply(&mut self, lane: &str, id: u64) -> Result<(Vec<u8>, Vec<u8>), String> {
        loop {
            if let Some(reply) = self.replies.remove(&(lane.to_owned(), id)) {
                return Ok(reply);
            }
            let frame = self.stream(lane)?.frame().await?;
            let (byte, payload) = frame.ok_or("the lane ended without the reply")?;
            if byte & 0x3f == 7 {
                let (of, block, message) = lane_parts(&payload)?;
                let reply = (block.to_vec(), message.to_vec());
                self.replies.insert((lane.to_owned(), of), reply);
            }
        }
    }

    async fn expect_call(&mut self, step: &RawStep) -> Result<(), String> {
        match step {
            RawStep::Called(step) => {
                let stream = self.stream(&step.called)?;
                let (byte, payload) = stream
                    .frame()
                    .await?
                    .ok_or("the stream ended without a call")?;
                let (header, message) = match byte & 0x3f {
                    1 => (Header::read(&payload)?, None),
                    5 => {
                        let (id, block, message) = lane_parts(&payload)?;
                        self.last_call = id;
                        (Header::read(block)?, Some(message))
                    }
                    kind => return Err(format!("a frame of kind {kind} came in place of a call")),
                };
                let routes = self.routes.entry(step.called.clone()).or_default();
                let (service, method) = routes.resolve(&header)?;
                one_of(
                    "the method",
                    &format!("{service}.{method}"),
                    std::slice::from_ref(&step.method),
                )?;
                if step
                    .deadline
                    .is_some_and(|stated| stated != header.deadline.is_some())
                {
                    return Err(format!(
                        "the header states the deadline {:?}",
                        header.deadline
                    ));
                }
                if step.session.is_some() && step.session != header.session {
                    return Err(format!("the header names the session {:?}", header.session));
                }
                match (&step.request, message) {
                    (Some(request), Some(message)) => same_message(message, request),
                    (Some(_), None) => {
                        Err("the request of a call stream is a message of its own".to_owned())
                    }
                    (None, _) => Ok(()),
                }
            }
            RawStep::LaneCancelled(step) => {
                let last = self.last_call;
                let payload = expect_frame(self.stream(&step.lane_cancelled)?, 6).await?;
                match super::wire::read_varint(&payload) {
                    Some((id, _)) if id == last => Ok(()),
                    other => Err(format!("call {last} was to be given up, and {other:?} was")),
                }
            }
            other => Err(format!("{other:?} is no step here")),
        }
    }

    async fn alive(&mut self, connection: &str) -> Result<(), String> {
        let ping = super::wire::frame(7, &super::wire::number(1, true, 77));
        let control = self.stream(&control_of(connection))?;
        control.write(&ping).await?;
        loop {
            match control.frame().await? {
                Some((8, _)) => return Ok(()),
                Some(_) => {}
                None => return Err("the control stream ended".to_owned()),
            }
        }
    }

    /// Ends what is left.
    pub async fn end(self) -> Result<(), String> {
        if let Some(client) = self.client {
            for name in &self.of_client {
                client.ask("disconnect", json!({"client": name})).await?;
            }
        }
        for connection in self.connections.values() {
            connection.close(VarInt::from_u32(0), b"the scenario is over");
        }
        self.endpoint.close().await;
        Ok(())
    }
}

async fn expect_frame(stream: &mut Stream, kind: u8) -> Result<Vec<u8>, String> {
    match stream.frame().await? {
        Some((byte, payload)) if byte == kind => Ok(payload),
        // Frames that mean nothing may come at any time on the control stream.
        Some((byte, _)) if byte >= 0x40 && kind < 9 => Box::pin(expect_frame(stream, kind)).await,
        Some((byte, payload)) => Err(format!(
            "a frame of kind {kind} was expected, and {byte:#x} came: {}",
            hex(&payload)
        )),
        None => Err(format!(
            "a frame of kind {kind} was expected, and the stream ended"
        )),
    }
}

fn same_message(message: &[u8], expected: &Value) -> Result<(), String> {
    let found = decode(message)?;
    // Compared as values: how an integer is written and in which order fields come is free.
    let expected = decode(&encode(&pack_any(expected)?))?;
    if crate::expect::same_pack(&found, &expected) {
        Ok(())
    } else {
        Err(format!(
            "the message is {found}, and {expected} was expected"
        ))
    }
}

fn check_status(
    status: &Status,
    code: &OneOrMore,
    parts: &OneOrMore,
    may_have_run: Option<bool>,
) -> Result<(), String> {
    one_of(
        &format!("the code of {:?}", status.message),
        &code_name(status.code),
        code.all(),
    )?;
    says("the status", &status.message, parts.all())?;
    match may_have_run {
        Some(may) if may == status.did_not_run => Err(format!(
            "the status says that the handler {}: {:?}",
            if may { "did not run" } else { "may have run" },
            status.message
        )),
        _ => Ok(()),
    }
}
