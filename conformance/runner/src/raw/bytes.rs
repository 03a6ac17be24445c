//! Bytes as scenarios write them: hex digits, and the few forms that are too long to write out.

use serde_json::Value;

use super::wire::{code_number, field, frame, lane, number, varint};
use crate::value::{encode, pack_any, unhex};

/// Ids of contracts by `Service` or `Service/version`.
pub type Contracts = std::collections::HashMap<String, Vec<u8>>;

fn whole(value: &Value) -> Result<u64, String> {
    value
        .as_u64()
        .ok_or_else(|| format!("{value} is no number"))
}

fn word(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("{value} is no text"))
}

/// What `contracts` are known, and the call id that answers are for.
pub struct Builder<'a> {
    /// Ids of contracts.
    pub contracts: &'a Contracts,
    /// The id of the call that was taken last, for `{call_id: last}`.
    pub last_call: u64,
    /// The key of the scenario, for handlers to tell of.
    pub key: &'a str,
}

impl Builder<'_> {
    /// The bytes that a text or a list stands for.
    pub fn build(&self, given: &Value) -> Result<Vec<u8>, String> {
        match given {
            Value::Null => Ok(Vec::new()),
            Value::String(digits) => unhex(digits),
            Value::Array(parts) => {
                let parts = parts.iter().map(|part| self.build(part));
                Ok(parts.collect::<Result<Vec<_>, _>>()?.concat())
            }
            Value::Object(_) => self.form(given),
            other => Err(format!("{other} stands for no bytes")),
        }
    }

    fn form(&self, given: &Value) -> Result<Vec<u8>, String> {
        let has = |key: &str| given.get(key).is_some();
        let of = || self.build(&given["of"]);
        if has("text") {
            return Ok(word(&given["text"])?.as_bytes().to_vec());
        }
        if has("varint") {
            return Ok(varint(whole(&given["varint"])?));
        }
        if has("call_id") {
            return Ok(varint(self.last_call));
        }
        if has("repeat") {
            return Ok(self
                .build(&given["repeat"])?
                .repeat(whole(&given["times"])? as usize));
        }
        // What the frame says of its length, and nothing of its payload but what is there.
        if has("announce") {
            let mut out = varint(whole(&given["announce"])?);
            out.push(whole(&given["kind"])? as u8);
            out.extend(of()?);
            return Ok(out);
        }
        if has("frame") {
            return Ok(frame(whole(&given["frame"])? as u8, &of()?));
        }
        if has("field") {
            let critical = given["critical"] == true;
            return Ok(field(whole(&given["field"])?, critical, &of()?));
        }
        if has("pack") {
            return Ok(encode(&pack_any(&given["pack"])?));
        }
        // A message frame of one value.
        if has("message") {
            return Ok(frame(2, &encode(&pack_any(&given["message"])?)));
        }
        if has("header") {
            return self.header(&given["header"]);
        }
        // The frame that starts a call stream.
        if has("call") {
            return Ok(frame(1, &self.header(&given["call"])?));
        }
        if has("lane_call") {
            let call = &given["lane_call"];
            let header = match call.get("header_bytes") {
                Some(bytes) => self.build(bytes)?,
                None => self.header(&call["header"])?,
            };
            let flags = call["flags"].as_u64().unwrap_or_default() as u8;
            let message = match call.get("message") {
                Some(message) => encode(&pack_any(message)?),
                None => self.build(&call["bytes"])?,
            };
            return Ok(lane(5 | flags, whole(&call["id"])?, &header, &message));
        }
        if has("lane_reply") {
            let reply = &given["lane_reply"];
            let id = reply["id"].as_u64().unwrap_or(self.last_call);
            let message = match reply.get("message") {
                Some(message) => encode(&pack_any(message)?),
                None => self.build(&reply["bytes"])?,
            };
            return Ok(lane(7, id, &self.status(&reply["status"])?, &message));
        }
        if has("status") {
            return Ok(frame(4, &self.status(&given["status"])?));
        }
        if has("contract") {
            let name = word(&given["contract"])?;
            let id = self.contracts.get(name);
            return id
                .cloned()
                .ok_or_else(|| format!("no contract {name} in the table"));
        }
        if has("offer") {
            return self.offer(&given["offer"]);
        }
        if has("zstd") {
            let plain = self.build(&given["zstd"])?;
            return zstd::bulk::compress(&plain, 3).map_err(|error| format!("zstd: {error}"));
        }
        Err(format!("{given} stands for no bytes"))
    }

    /// The fields of a call header. `extra` are bytes put behind them.
    fn header(&self, given: &Value) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        if let Some(route) = given["route"].as_u64() {
            out.extend(number(10, true, route));
        } else {
            let target = given["to"].as_str().unwrap_or("Probe.echo");
            let (service, method) = target
                .rsplit_once('.')
                .ok_or_else(|| format!("{target:?} is no Service.method"))?;
            out.extend(field(1, true, service.as_bytes()));
            out.extend(number(2, true, given["version"].as_u64().unwrap_or(1)));
            out.extend(field(3, true, method.as_bytes()));
        }
        if let Some(contract) = given.get("contract") {
            out.extend(field(4, true, &self.build(contract)?));
        }
        for (name, tag, critical) in [
            ("codec", 5, true),
            ("deadline", 6, false),
            ("session", 7, true),
            ("define", 9, true),
            ("compress", 11, false),
        ] {
            if let Some(value) = given[name].as_u64() {
                out.extend(number(tag, critical, value));
            }
        }
        let mut metadata = Vec::new();
        if given["keyed"] == true {
            metadata.extend(field(1, true, b"conf-key"));
            metadata.extend(field(2, true, self.key.as_bytes()));
        }
        metadata.extend(self.build(&given["metadata"])?);
        if !metadata.is_empty() {
            out.extend(field(8, false, &metadata));
        }
        out.extend(self.build(&given["extra"])?);
        Ok(out)
    }

    /// The fields of a status.
    fn status(&self, given: &Value) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        if let Some(code) = given["code"].as_str() {
            out.extend(number(1, true, code_number(code)?));
        }
        if let Some(message) = given["message"].as_str() {
            out.extend(field(2, false, message.as_bytes()));
        }
        out.extend(self.build(&given["extra"])?);
        Ok(out)
    }

    /// The field of a `Welcome` or `Hello` that offers a service of the table.
    fn offer(&self, given: &Value) -> Result<Vec<u8>, String> {
        let name = word(given)?;
        let (service, version) = name.split_once('/').unwrap_or((name, "1"));
        let version: u64 = version
            .parse()
            .map_err(|_| format!("{name} has no version"))?;
        let id = self
            .contracts
            .get(name)
            .ok_or_else(|| format!("no contract {name} in the table"))?;
        let mut out = field(1, true, service.as_bytes());
        out.extend(number(2, true, version));
        out.extend(field(3, true, id));
        if service == "Account" {
            out.extend(number(4, false, 1));
        }
        Ok(field(4, false, &out))
    }
}
