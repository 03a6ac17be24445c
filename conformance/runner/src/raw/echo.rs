//! The values of the table as bytes: to a server that sends them back, and from a client to a raw peer that does.

use serde_json::{Value, json};

use super::bytes::{Builder, Contracts};
use super::endpoint::{self, Stream};
use super::wire::{Header, Routes, Status, field, frame, lane, lane_parts, number};
use super::{address, bytes};
use crate::expect::matches;
use crate::language::Language;
use crate::play::Party;
use crate::scenario::{Method, Suite};
use crate::value::{Types, decode, encode};

/// Messages over this go on a stream of their own.
const MAX_LANE_MESSAGE: usize = 8 << 10;

/// The request of a method of `Values`: the value itself, or the parameters with it.
pub fn given(types: &Types, method: &Method, value: &Value) -> Result<Value, String> {
    let request = match method.request["tag"].as_str() {
        Some(tag) if tag.starts_with("Values.") => json!({"value": value}),
        _ => value.clone(),
    };
    types.neutral(&method.request, &request, false)
}

/// The value in such a request.
pub fn value_of(method: &Method, request: &Value) -> Value {
    match method.request["tag"].as_str() {
        Some(tag) if tag.starts_with("Values.") => request["value"].clone(),
        _ => request.clone(),
    }
}

/// The ids of all contracts of the table.
pub fn contracts(suite: &Suite) -> Result<Contracts, String> {
    let mut out = Contracts::new();
    for service in &suite.services {
        let id = crate::value::unhex(&service.id)?;
        if service.version == 1 {
            out.insert(service.name.clone(), id.clone());
        }
        out.insert(format!("{}/{}", service.name, service.version), id);
    }
    Ok(out)
}

fn same(types: &Types, ty: &Value, found: &Value, expected: &Value) -> Result<(), String> {
    let (found, expected) = (
        types.neutral(ty, found, true)?,
        types.neutral(ty, expected, true)?,
    );
    if matches(&found, &expected) {
        Ok(())
    } else {
        let cut = |value: &Value| value.to_string().chars().take(200).collect::<String>();
        Err(format!(
            "{} came, and {} was expected",
            cut(&found),
            cut(&expected)
        ))
    }
}

fn all(problems: Vec<String>) -> Result<(), String> {
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems.join("; "))
    }
}

/// Sends every value of a group to a server and looks at the bytes that come back.
pub async fn to_server(
    suite: &Suite,
    language: &Language,
    address: &str,
    group: &str,
) -> Result<(), String> {
    let method = suite.method("Values", None, group)?;
    let contracts = contracts(suite)?;
    let endpoint = endpoint::bind().await?;
    let connection = endpoint::dial(&endpoint, address::read(address)?).await?;
    let mut control = endpoint::open(&connection, false).await?;
    control.write(&[1]).await?;
    control.write(&frame(1, &[])).await?;
    match control.frame().await? {
        Some((2, _)) => {}
        other => return Err(format!("no Welcome came, but {other:02x?}")),
    }
    let builder = Builder {
        contracts: &contracts,
        last_call: 0,
        key: "",
    };
    let header = builder.build(
        &json!({"header": {"to": format!("Values.{group}"), "contract": {"contract": "Values"}}}),
    )?;
    let mut problems = Vec::new();
    for row in suite
        .values
        .get(group)
        .into_iter()
        .flatten()
        .filter(|row| row.fails.is_none())
    {
        let one = async {
            let request = given(&suite.types, &method, &row.value)?;
            let message = encode(&suite.types.pack(&method.request, &request)?);
            let mut stream = endpoint::open(&connection, false).await?;
            let mut bytes = vec![2];
            bytes.extend(frame(1, &header));
            bytes.extend(frame(2, &message));
            stream.write(&bytes).await?;
            stream.finish()?;
            let answer = answer(&mut stream).await?;
            let found = suite.types.unpack(&method.response, &decode(&answer)?)?;
            let expected =
                language.holds(&suite.types, &method.response, &value_of(&method, &request));
            same(&suite.types, &method.response, &found, &expected)
        };
        if let Err(problem) = one.await {
            problems.push(format!("{}: {problem}", row.name));
        }
    }
    endpoint.close().await;
    all(problems)
}

/// The one message of a successful answer.
async fn answer(stream: &mut Stream) -> Result<Vec<u8>, String> {
    let mut message = None;
    loop {
        match stream.frame().await? {
            Some((2, payload)) => message = Some(payload),
            Some((4, payload)) => {
                let status = Status::read(&payload)?;
                if status.code != 0 {
                    return Err(format!("it failed: {} {}", status.code, status.message));
                }
                return message.ok_or_else(|| "an OK without a message".to_owned());
            }
            Some((3, _)) => {}
            other => return Err(format!("{other:02x?} came in an answer")),
        }
    }
}

/// A raw peer that sends requests back.
struct EchoServer {
    connection: iroh::endpoint::Connection,
    lane: Option<Stream>,
    routes: Routes,
}

/// Where an answer goes.
enum Way {
    Lane(u64),
    Own(Stream),
}

impl EchoServer {
    /// The next call: its method, its request, where the answer goes.
    async fn next(&mut self) -> Result<(String, Vec<u8>, Way), String> {
        loop {
            let taken = match &mut self.lane {
                Some(lane) => tokio::select! {
                    frame = lane.frame() => {
                        let (byte, payload) = frame?.ok_or("the lane ended")?;
                        if byte != 5 {
                            return Err(format!("a lane frame {byte:#x} came"));
                        }
                        let (id, block, message) = lane_parts(&payload)?;
                        let (_, method) = self.routes.resolve(&Header::read(block)?)?;
                        return Ok((method, message.to_vec(), Way::Lane(id)));
                    }
                    taken = endpoint::take(&self.connection) => taken?,
                },
                None => endpoint::take(&self.connection).await?,
            };
            match taken {
                (3, stream) => self.lane = Some(stream),
                (2, mut stream) => {
                    let header = match stream.frame().await? {
                        Some((1, block)) => Header::read(&block)?,
                        other => return Err(format!("{other:02x?} started a call stream")),
                    };
                    return match stream.frame().await? {
                        Some((2, message)) => Ok((header.method, message, Way::Own(stream))),
                        other => Err(format!("{other:02x?} came in place of the request")),
                    };
                }
                (kind, _) => return Err(format!("a stream of kind {kind} came")),
            }
        }
    }

    async fn reply(&mut self, way: Way, message: &[u8]) -> Result<(), String> {
        match (way, &mut self.lane) {
            (Way::Lane(id), Some(lane_stream)) if message.len() <= MAX_LANE_MESSAGE => {
                lane_stream.write(&lane(7, id, &[], message)).await
            }
            (Way::Lane(id), _) => {
                let mut stream = endpoint::open(&self.connection, true).await?;
                let mut bytes = vec![4];
                bytes.extend(super::wire::varint(id));
                bytes.extend(frame(2, message));
                bytes.extend(frame(4, &[]));
                stream.write(&bytes).await?;
                stream.finish()
            }
            (Way::Own(mut stream), _) => {
                let mut bytes = frame(2, message);
                bytes.extend(frame(4, &[]));
                stream.write(&bytes).await?;
                stream.finish()
            }
        }
    }
}

/// Has a client send every value of a group, looks at the bytes, and sends back what an encoder writes.
pub async fn to_client(
    suite: &Suite,
    client: Party<'_>,
    name: &str,
    form: &str,
    group: &str,
) -> Result<(), String> {
    let method = suite.method("Values", None, group)?;
    let contracts: bytes::Contracts = contracts(suite)?;
    let id = contracts.get("Values").ok_or("the table has no Values")?;
    let endpoint = endpoint::bind().await?;
    let connect =
        json!({"client": name, "addresses": [endpoint::address_of(&endpoint)?], "options": {}});
    let connecting = client.peer.send("connect", connect).await?;
    let connection = endpoint::accept(&endpoint).await?;
    let (_, mut control) = endpoint::take(&connection).await?;
    control.frame().await?;
    let mut offer = field(1, true, b"Values");
    offer.extend(number(2, true, 1));
    offer.extend(field(3, true, id));
    control.write(&frame(2, &field(4, false, &offer))).await?;
    crate::expect::fails(&connecting.reply().await?, None)?;
    let mut server = EchoServer {
        connection,
        lane: None,
        routes: Routes::default(),
    };
    let mut problems = Vec::new();
    for row in suite.values.get(group).into_iter().flatten() {
        if row.fails.is_some() || row.not_in.contains(&client.peer.language) {
            continue;
        }
        let one = async {
            let request = given(&suite.types, &method, &row.value)?;
            let command = json!({
                "client": name, "service": "Values", "method": group, "form": form, "pattern": "unary",
                "request": request, "type": method.request, "gives_type": method.response, "metadata": {},
            });
            let call = client.peer.send("call", command).await?;
            let reply = call.reply();
            tokio::pin!(reply);
            let (called, bytes, way) = tokio::select! {
                next = server.next() => next?,
                reply = &mut reply => return Err(format!("nothing was sent: {}", reply?)),
            };
            if called != group {
                return Err(format!("{called} was called"));
            }
            let found = suite.types.unpack(&method.request, &decode(&bytes)?)?;
            let value = value_of(&method, &request);
            let expected = client
                .language
                .holds(&suite.types, &method.response, &value);
            let found = value_of(&method, &found);
            same(&suite.types, &method.response, &found, &expected)
                .map_err(|problem| format!("sent: {problem}"))?;
            // Back comes the value itself, whatever the client could send of it.
            server
                .reply(way, &encode(&suite.types.pack(&method.response, &value)?))
                .await?;
            let reply = reply.await?;
            crate::expect::fails(&reply, None)?;
            same(
                &suite.types,
                &method.response,
                &reply["ok"]["response"],
                &expected,
            )
        };
        if let Err(problem) = one.await {
            problems.push(format!("{}: {problem}", row.name));
        }
    }
    client
        .peer
        .ask("disconnect", json!({"client": name}))
        .await?;
    endpoint.close().await;
    all(problems)
}
