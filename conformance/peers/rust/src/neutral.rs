//! Values in the neutral form of the line protocol (conformance/README.md), to and from MessagePack.
//!
//! The form goes by the declared type, which the runner sends along: the description form of docs/spec/contract.md.

use std::collections::HashMap;

use rmpv::Value as Pack;
use serde_json::{Map, Value, json};

type Result<T> = std::result::Result<T, String>;

/// The named types that the runner has told of.
#[derive(Default)]
pub(crate) struct Neutral(HashMap<String, Value>);

fn text(value: &Value) -> Result<&str> {
    value.as_str().ok_or_else(|| format!("{value} is no text"))
}

fn array(value: &Value) -> Result<&Vec<Value>> {
    value
        .as_array()
        .ok_or_else(|| format!("{value} is no list"))
}

pub(crate) fn unhex(text: &str) -> Result<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|value| value as u8);
    text.as_bytes()
        .chunks(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?))
        .collect::<Option<_>>()
        .ok_or_else(|| format!("{} characters that are not pairs of hex digits", text.len()))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value & 0xf), 16).unwrap_or_default();
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect()
}

fn integer(value: &Value) -> Result<Pack> {
    let text = text(value)?;
    if let Ok(number) = text.parse::<u64>() {
        return Ok(Pack::from(number));
    }
    text.parse::<i64>()
        .map(Pack::from)
        .map_err(|_| format!("{text:?} is no integer of 64 bits"))
}

fn float(value: &Value) -> Result<f64> {
    u64::from_str_radix(text(value)?, 16)
        .map(f64::from_bits)
        .map_err(|error| error.to_string())
}

fn bits(number: f64) -> Value {
    json!(format!("{:016x}", number.to_bits()))
}

impl Neutral {
    pub(crate) fn learn(&mut self, types: &Value) {
        for each in types.as_array().into_iter().flatten() {
            self.0.insert(
                each["tag"].as_str().unwrap_or_default().to_owned(),
                each.clone(),
            );
        }
    }

    fn field(&self, tag: &str, name: &str) -> Option<&Value> {
        let fields = self.0.get(tag)?["fields"].as_array()?;
        fields
            .iter()
            .find(|field| field["name"] == name)
            .map(|field| &field["type"])
    }

    /// MessagePack of a neutral value.
    pub(crate) fn pack(&self, ty: &Value, value: &Value) -> Result<Pack> {
        if value.is_null() {
            return Ok(Pack::Nil);
        }
        let list = |items: &Value, ty: &Value| -> Result<Pack> {
            Ok(Pack::Array(
                array(items)?
                    .iter()
                    .map(|item| self.pack(ty, item))
                    .collect::<Result<_>>()?,
            ))
        };
        Ok(match ty["t"].as_str().unwrap_or_default() {
            "f32" => Pack::F32(float(value)? as f32),
            "f64" => Pack::F64(float(value)?),
            "string" => Pack::from(text(value)?),
            "bytes" => Pack::Binary(unhex(text(value)?)?),
            "uuid" => Pack::Binary(unhex(&text(value)?.replace('-', ""))?),
            "bool" => Pack::Boolean(
                value
                    .as_bool()
                    .ok_or_else(|| format!("{value} is no bool"))?,
            ),
            "any" => pack_any(value)?,
            "list" => list(value, &ty["item"])?,
            "tuple" => Pack::Array(
                array(&ty["items"])?
                    .iter()
                    .zip(array(value)?)
                    .map(|(ty, item)| self.pack(ty, item))
                    .collect::<Result<_>>()?,
            ),
            "map" => Pack::Map(
                array(value)?
                    .iter()
                    .map(|pair| {
                        Ok((
                            self.pack(&ty["key"], &pair[0])?,
                            self.pack(&ty["value"], &pair[1])?,
                        ))
                    })
                    .collect::<Result<_>>()?,
            ),
            "nullable" => self.pack(&ty["item"], value)?,
            "ref" => self.pack_named(text(&ty["tag"])?, value)?,
            _ => integer(value)?,
        })
    }

    fn pack_named(&self, tag: &str, value: &Value) -> Result<Pack> {
        let Some(given) = value.as_object() else {
            return Ok(Pack::from(text(value)?)); // an enum
        };
        let member = given.get("$type").map(text).transpose()?;
        let mut pairs: Vec<(Pack, Pack)> = member
            .iter()
            .map(|member| (Pack::from("$type"), Pack::from(*member)))
            .collect();
        for (name, value) in given.iter().filter(|(name, _)| *name != "$type") {
            let packed = match self.field(member.unwrap_or(tag), name) {
                Some(ty) => self.pack(ty, value)?,
                // Refusing a field that the type does not have is what is tested.
                None => pack_any(value)?,
            };
            pairs.push((Pack::from(name.as_str()), packed));
        }
        Ok(Pack::Map(pairs))
    }

    /// The neutral form of MessagePack.
    pub(crate) fn unpack(&self, ty: &Value, value: &Pack) -> Result<Value> {
        if value.is_nil() {
            return Ok(Value::Null);
        }
        let kind = ty["t"].as_str().unwrap_or_default();
        Ok(match (kind, value) {
            ("any", value) => unpack_any(value)?,
            ("nullable", value) => self.unpack(&ty["item"], value)?,
            ("f32" | "f64", Pack::F32(number)) => bits(f64::from(*number)),
            ("f32" | "f64", Pack::F64(number)) => bits(*number),
            ("f32" | "f64", Pack::Integer(number)) => bits(number.as_f64().unwrap_or(f64::NAN)),
            ("uuid", Pack::Binary(bytes)) => {
                let all = hex(bytes);
                let part = |from: usize, to: usize| all.get(from..to).unwrap_or_default();
                json!(
                    [
                        part(0, 8),
                        part(8, 12),
                        part(12, 16),
                        part(16, 20),
                        part(20, 32)
                    ]
                    .join("-")
                )
            }
            ("list", Pack::Array(items)) => items
                .iter()
                .map(|item| self.unpack(&ty["item"], item))
                .collect::<Result<_>>()?,
            ("tuple", Pack::Array(items)) => array(&ty["items"])?
                .iter()
                .zip(items)
                .map(|(ty, item)| self.unpack(ty, item))
                .collect::<Result<_>>()?,
            ("map", Pack::Map(pairs)) => pairs
                .iter()
                .map(|(key, value)| {
                    Ok(json!([
                        self.unpack(&ty["key"], key)?,
                        self.unpack(&ty["value"], value)?
                    ]))
                })
                .collect::<Result<_>>()?,
            ("ref", Pack::Map(pairs)) => {
                let mut tag = text(&ty["tag"])?.to_owned();
                let mut out = Map::new();
                for (name, value) in pairs {
                    let name = name.as_str().unwrap_or_default();
                    if name == "$type" {
                        tag = value.as_str().unwrap_or_default().to_owned();
                        out.insert(name.to_owned(), json!(tag));
                        continue;
                    }
                    // A field of a later version is nothing to a receiver.
                    if let Some(ty) = self.field(&tag, name) {
                        out.insert(name.to_owned(), self.unpack(ty, value)?);
                    }
                }
                Value::Object(out)
            }
            (_, Pack::Boolean(value)) => json!(value),
            (_, Pack::Integer(number)) => json!(number.to_string()),
            (_, Pack::String(text)) => json!(text.as_str().unwrap_or_default()),
            (_, Pack::Binary(bytes)) => json!(hex(bytes)),
            (kind, value) => return Err(format!("{value} is no {kind}")),
        })
    }
}

fn pack_any(value: &Value) -> Result<Pack> {
    let Some((kind, given)) = value.as_object().and_then(|object| object.iter().next()) else {
        return Ok(match value {
            Value::Bool(value) => Pack::Boolean(*value),
            Value::String(text) => Pack::from(text.as_str()),
            Value::Number(number) => number.as_i64().map_or(Pack::Nil, Pack::from),
            _ => Pack::Nil,
        });
    };
    Ok(match kind.as_str() {
        "$int" => integer(given)?,
        "$float" => Pack::F64(float(given)?),
        "$str" => Pack::from(text(given)?),
        "$bytes" => Pack::Binary(unhex(text(given)?)?),
        "$list" => Pack::Array(array(given)?.iter().map(pack_any).collect::<Result<_>>()?),
        "$map" => Pack::Map(
            array(given)?
                .iter()
                .map(|pair| Ok((pack_any(&pair[0])?, pack_any(&pair[1])?)))
                .collect::<Result<_>>()?,
        ),
        other => return Err(format!("{other} is no kind of any")),
    })
}

/// The neutral form of what has no declared type.
pub(crate) fn unpack_any(value: &Pack) -> Result<Value> {
    Ok(match value {
        Pack::Boolean(value) => json!(value),
        Pack::Integer(number) => json!({"$int": number.to_string()}),
        Pack::F32(number) => json!({"$float": bits(f64::from(*number))}),
        Pack::F64(number) => json!({"$float": bits(*number)}),
        Pack::String(text) => json!({"$str": text.as_str().unwrap_or_default()}),
        Pack::Binary(bytes) => json!({"$bytes": hex(bytes)}),
        Pack::Array(items) => {
            json!({"$list": items.iter().map(unpack_any).collect::<Result<Vec<_>>>()?})
        }
        Pack::Map(pairs) => {
            let pairs = pairs
                .iter()
                .map(|(key, value)| Ok(json!([unpack_any(key)?, unpack_any(value)?])));
            json!({"$map": pairs.collect::<Result<Vec<_>>>()?})
        }
        Pack::Nil => Value::Null,
        Pack::Ext(number, _) => return Err(format!("extension {number} in an any")),
    })
}
