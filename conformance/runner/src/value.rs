//! Values in the neutral form of the line protocol, and as MessagePack, both by their declared type.
//!
//! Written from docs/spec/values.md; nothing here comes from the core. The neutral form (conformance/README.md):
//! integers are
//! decimal text, floats the hex digits of their 64 bits, bytes hex, times decimal nanoseconds, maps lists of
//! pairs, and what
//! is `any` an object whose one key names the kind.

use std::collections::HashMap;

use rmpv::Value as Pack;
use serde_json::{Map, Value, json};

/// The named types of all services of one side.
#[derive(Debug, Default, Clone)]
pub struct Types(HashMap<String, Value>);

const INTEGERS: [&str; 8] = ["i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"];

fn kind(ty: &Value) -> &str {
    ty["t"].as_str().unwrap_or_default()
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("{value} is no text"))
}

fn items(value: &Value) -> Result<&Vec<Value>, String> {
    value
        .as_array()
        .ok_or_else(|| format!("{value} is no list"))
}

/// Hex digits of bytes.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 0xf)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect()
}

/// Bytes from hex digits; spaces mean nothing.
pub fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len() / 2);
    let mut half = None;
    for digit in text.chars().filter(|digit| !digit.is_ascii_whitespace()) {
        let value = digit
            .to_digit(16)
            .ok_or_else(|| format!("{digit:?} is no hex digit"))? as u8;
        match half.take() {
            None => half = Some(value),
            Some(high) => out.push(high << 4 | value),
        }
    }
    match half {
        None => Ok(out),
        Some(_) => Err(format!(
            "an odd number of hex digits: {} and one",
            out.len() * 2
        )),
    }
}

fn bits(number: f64) -> Value {
    // Which NaN it is means nothing in any of the languages.
    let number = if number.is_nan() { f64::NAN } else { number };
    Value::String(format!("{:016x}", number.to_bits()))
}

fn float(value: &Value) -> Result<f64, String> {
    match value {
        Value::Number(number) => number
            .as_f64()
            .ok_or_else(|| format!("{number} is no float")),
        Value::String(text) => match text.as_str() {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            text => u64::from_str_radix(text, 16)
                .map(f64::from_bits)
                .map_err(|_| format!("{text:?} is not the bits of a float")),
        },
        other => Err(format!("{other} is no float")),
    }
}

fn integer(value: &Value) -> Result<i128, String> {
    match value {
        Value::Number(number) => number
            .as_i64()
            .map(i128::from)
            .or_else(|| number.as_u64().map(i128::from))
            .ok_or_else(|| format!("{number} is no integer")),
        Value::String(text) => text.parse().map_err(|_| format!("{text:?} is no integer")),
        other => Err(format!("{other} is no integer")),
    }
}

fn bytes(value: &Value) -> Result<Vec<u8>, String> {
    if let Some(times) = value["times"].as_u64() {
        return Ok(unhex(text(&value["repeat"])?)?.repeat(times as usize));
    }
    unhex(text(value)?)
}

impl Types {
    /// Learns the named types of a service description.
    pub fn learn(&mut self, description: &Value) {
        for each in description["types"].as_array().into_iter().flatten() {
            if let Some(tag) = each["tag"].as_str() {
                self.0.insert(tag.to_owned(), each.clone());
            }
        }
    }

    /// All of them, as the peers are told.
    pub fn all(&self) -> Vec<&Value> {
        self.0.values().collect()
    }

    fn named(&self, tag: &str) -> Result<&Value, String> {
        self.0
            .get(tag)
            .ok_or_else(|| format!("there is no type {tag}"))
    }

    /// The type of a struct's field.
    pub fn field(&self, tag: &str, name: &str) -> Option<&Value> {
        let definition = self.0.get(tag)?;
        Some(&Self::field_types(definition).get(name)?["type"])
    }

    fn field_types(definition: &Value) -> HashMap<&str, &Value> {
        definition["fields"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|field| Some((field["name"].as_str()?, field)))
            .collect()
    }

    /// The neutral form of a value as it stands in a table or as a peer sent it. With `whole`, optional fields
    /// that are absent
    /// have the defaults of the peers' types, and what has no order is sorted, so that two values can be compared.
    pub fn neutral(&self, ty: &Value, value: &Value, whole: bool) -> Result<Value, String> {
        // What `expect::matches` reads stays.
        if value.is_null() || value == "*" || value.get("~").is_some() {
            return Ok(value.clone());
        }
        let kind = kind(ty);
        Ok(match kind {
            _ if INTEGERS.contains(&kind) => json!(integer(value)?.to_string()),
            "timestamp" | "duration" => json!(integer(value)?.to_string()),
            "f32" | "f64" => bits(float(value)?),
            "bytes" => json!(hex(&bytes(value)?)),
            "any" => any(value)?,
            "string" if value["times"].is_u64() => {
                json!(
                    text(&value["repeat"])?
                        .repeat(value["times"].as_u64().unwrap_or_default() as usize)
                )
            }
            "list" => {
                let mut all = items(value)?
                    .iter()
                    .map(|item| self.neutral(&ty["item"], item, whole))
                    .collect::<Result<Vec<_>, _>>()?;
                if whole && ty["unique"] == true {
                    all.sort_by_key(Value::to_string);
                }
                Value::Array(all)
            }
            "tuple" => {
                let types = items(&ty["items"])?;
                let values = items(value)?;
                if types.len() != values.len() {
                    return Err(format!("{value} is no tuple of {}", types.len()));
                }
                let all = types
                    .iter()
                    .zip(values)
                    .map(|(ty, item)| self.neutral(ty, item, whole));
                Value::Array(all.collect::<Result<_, _>>()?)
            }
            "map" => {
                let mut pairs = Vec::new();
                let one = |key: &Value, value: &Value| -> Result<Value, String> {
                    Ok(json!([
                        self.neutral(&ty["key"], key, whole)?,
                        self.neutral(&ty["value"], value, whole)?
                    ]))
                };
                match value {
                    Value::Object(object) => {
                        for (key, value) in object {
                            pairs.push(one(&json!(key), value)?);
                        }
                    }
                    _ => {
                        for pair in items(value)? {
                            pairs.push(one(&pair[0], &pair[1])?);
                        }
                    }
                }
                if whole {
                    pairs.sort_by_key(Value::to_string);
                }
                Value::Array(pairs)
            }
            "nullable" => self.neutral(&ty["item"], value, whole)?,
            "ref" => self.neutral_named(text(&ty["tag"])?, value, whole)?,
            _ => value.clone(),
        })
    }

    fn neutral_named(&self, tag: &str, value: &Value, whole: bool) -> Result<Value, String> {
        let definition = self.named(tag)?;
        match definition["kind"].as_str() {
            Some("enum") => Ok(value.clone()),
            Some("union") => {
                let member = text(&value["$type"])?;
                let mut rest = value.clone();
                if let Some(rest) = rest.as_object_mut() {
                    rest.remove("$type");
                }
                let mut out = self.neutral_named(member, &rest, whole)?;
                out["$type"] = json!(member);
                Ok(out)
            }
            _ => {
                let given = value
                    .as_object()
                    .ok_or_else(|| format!("{value} is no {tag}"))?;
                let fields = Self::field_types(definition);
                let mut out = Map::new();
                for (name, value) in given {
                    // A field that the type does not have goes along as it is: refusing it is what is tested.
                    let value = match fields.get(name.as_str()) {
                        Some(field) => self.neutral(&field["type"], value, whole)?,
                        None => value.clone(),
                    };
                    out.insert(name.clone(), value);
                }
                if whole && !given.contains_key("...") {
                    for (name, field) in fields {
                        if field["required"] != true && !given.contains_key(name) {
                            out.insert(name.to_owned(), self.default_of(field)?);
                        }
                    }
                }
                Ok(Value::Object(out))
            }
        }
    }

    /// The default that the peers' types have for an optional field: null, zero, empty, the first.
    fn default_of(&self, field: &Value) -> Result<Value, String> {
        if field["nullable"] == true {
            return Ok(Value::Null);
        }
        let ty = &field["type"];
        Ok(match kind(ty) {
            kind if INTEGERS.contains(&kind) => json!("0"),
            "timestamp" | "duration" => json!("0"),
            "f32" | "f64" => bits(0.0),
            "string" | "bytes" => json!(""),
            "bool" => json!(false),
            "list" | "map" => json!([]),
            "ref" => {
                let named = self.named(text(&ty["tag"])?)?;
                match named["values"][0].as_str() {
                    Some(first) => json!(first),
                    None => return Err(format!("{named} has no default")),
                }
            }
            _ => Value::Null,
        })
    }

    /// What an encoder writes for a value: the neutral form as MessagePack.
    pub fn pack(&self, ty: &Value, value: &Value) -> Result<Pack, String> {
        if value.is_null() {
            return Ok(Pack::Nil);
        }
        let kind = kind(ty);
        Ok(match kind {
            _ if INTEGERS.contains(&kind) || kind == "timestamp" || kind == "duration" => {
                pack_integer(integer(value)?)?
            }
            "f32" => Pack::F32(float(value)? as f32),
            "f64" => Pack::F64(float(value)?),
            "bytes" => Pack::Binary(bytes(value)?),
            "uuid" => Pack::Binary(unhex(&text(value)?.replace('-', ""))?),
            "bool" => Pack::Boolean(value == true),
            "any" => pack_any(value)?,
            "list" => Pack::Array(
                items(value)?
                    .iter()
                    .map(|item| self.pack(&ty["item"], item))
                    .collect::<Result<_, _>>()?,
            ),
            "tuple" => Pack::Array(
                items(&ty["items"])?
                    .iter()
                    .zip(items(value)?)
                    .map(|(ty, item)| self.pack(ty, item))
                    .collect::<Result<_, _>>()?,
            ),
            "map" => Pack::Map(
                items(value)?
                    .iter()
                    .map(|pair| {
                        Ok((
                            self.pack(&ty["key"], &pair[0])?,
                            self.pack(&ty["value"], &pair[1])?,
                        ))
                    })
                    .collect::<Result<_, String>>()?,
            ),
            "nullable" => self.pack(&ty["item"], value)?,
            "ref" => self.pack_named(text(&ty["tag"])?, value)?,
            _ => Pack::from(text(value)?),
        })
    }

    fn pack_named(&self, tag: &str, value: &Value) -> Result<Pack, String> {
        let definition = self.named(tag)?;
        match definition["kind"].as_str() {
            Some("enum") => Ok(Pack::from(text(value)?)),
            Some("union") => {
                let member = text(&value["$type"])?;
                let mut pairs = vec![(Pack::from("$type"), Pack::from(member))];
                if let Pack::Map(rest) = self.pack_named(member, value)? {
                    pairs.extend(rest);
                }
                Ok(Pack::Map(pairs))
            }
            _ => {
                let fields = Self::field_types(definition);
                let mut pairs = Vec::new();
                for (name, value) in value
                    .as_object()
                    .ok_or_else(|| format!("{value} is no {tag}"))?
                {
                    if name == "$type" {
                        continue;
                    }
                    let packed = match fields.get(name.as_str()) {
                        Some(field) => self.pack(&field["type"], value)?,
                        None => pack_any(value)?,
                    };
                    pairs.push((Pack::from(name.as_str()), packed));
                }
                Ok(Pack::Map(pairs))
            }
        }
    }

    /// The neutral form of MessagePack that a peer wrote. Fails where it is not what docs/spec/values.md says.
    pub fn unpack(&self, ty: &Value, value: &Pack) -> Result<Value, String> {
        let kind = kind(ty);
        let wrong = || format!("{value} is no {ty}");
        Ok(match (kind, value) {
            ("any", value) => unpack_any(value)?,
            ("nullable", Pack::Nil) | ("null", Pack::Nil) => Value::Null,
            ("nullable", value) => self.unpack(&ty["item"], value)?,
            ("timestamp" | "duration", Pack::Integer(number)) => json!(number.to_string()),
            (kind, Pack::Integer(number)) if INTEGERS.contains(&kind) => json!(number.to_string()),
            ("f32", Pack::F64(number)) => bits(f64::from(*number as f32)),
            ("f32" | "f64", Pack::F32(number)) => bits(f64::from(*number)),
            ("f64", Pack::F64(number)) => bits(*number),
            // An encoder may write a whole float as an integer; a reader takes it.
            ("f32" | "f64", Pack::Integer(number)) => bits(number.as_f64().ok_or_else(wrong)?),
            ("bool", Pack::Boolean(value)) => json!(value),
            ("string", Pack::String(value)) => json!(value.as_str().ok_or_else(wrong)?),
            ("bytes", Pack::Binary(value)) => json!(hex(value)),
            ("uuid", Pack::Binary(value)) if value.len() == 16 => {
                let digits = hex(value);
                json!(
                    [
                        &digits[..8],
                        &digits[8..12],
                        &digits[12..16],
                        &digits[16..20],
                        &digits[20..]
                    ]
                    .join("-")
                )
            }
            ("list", Pack::Array(values)) => Value::Array(
                values
                    .iter()
                    .map(|item| self.unpack(&ty["item"], item))
                    .collect::<Result<_, _>>()?,
            ),
            ("tuple", Pack::Array(values)) if values.len() == items(&ty["items"])?.len() => {
                Value::Array(
                    items(&ty["items"])?
                        .iter()
                        .zip(values)
                        .map(|(ty, item)| self.unpack(ty, item))
                        .collect::<Result<_, _>>()?,
                )
            }
            ("map", Pack::Map(pairs)) => Value::Array(
                pairs
                    .iter()
                    .map(|(key, value)| {
                        Ok(json!([
                            self.unpack(&ty["key"], key)?,
                            self.unpack(&ty["value"], value)?
                        ]))
                    })
                    .collect::<Result<_, String>>()?,
            ),
            ("ref", value) => self.unpack_named(text(&ty["tag"])?, value)?,
            _ => return Err(wrong()),
        })
    }

    fn unpack_named(&self, tag: &str, value: &Pack) -> Result<Value, String> {
        let definition = self.named(tag)?;
        let wrong = || format!("{value} is no {tag}");
        match (definition["kind"].as_str(), value) {
            (Some("enum"), Pack::String(name)) => Ok(json!(name.as_str().ok_or_else(wrong)?)),
            (Some("union"), Pack::Map(pairs)) => match pairs.first() {
                Some((key, member)) if key.as_str() == Some("$type") => {
                    let member = member.as_str().ok_or_else(wrong)?;
                    let mut out = self.unpack_named(member, &Pack::Map(pairs[1..].to_vec()))?;
                    out["$type"] = json!(member);
                    Ok(out)
                }
                _ => Err(format!("{value} has no $type first")),
            },
            (Some("struct"), Pack::Map(pairs)) => {
                let fields = Self::field_types(definition);
                let mut out = Map::new();
                for (key, value) in pairs {
                    let name = key.as_str().ok_or_else(wrong)?;
                    if name == "$type" && value.as_str() == Some(tag) {
                        continue;
                    }
                    let field = fields
                        .get(name)
                        .ok_or_else(|| format!("{tag} has no field {name}"))?;
                    let value = if value.is_nil() {
                        Value::Null
                    } else {
                        self.unpack(&field["type"], value)?
                    };
                    out.insert(name.to_owned(), value);
                }
                Ok(Value::Object(out))
            }
            _ => Err(wrong()),
        }
    }
}

fn pack_integer(number: i128) -> Result<Pack, String> {
    if let Ok(number) = u64::try_from(number) {
        Ok(Pack::from(number))
    } else {
        i64::try_from(number)
            .map(Pack::from)
            .map_err(|_| format!("{number} is no 64-bit integer"))
    }
}

fn any_tag(value: &Value) -> Option<(&str, &Value)> {
    let object = value.as_object()?;
    let (key, value) = object.iter().next()?;
    (object.len() == 1 && key.starts_with('$')).then_some((key.as_str(), value))
}

/// The neutral form of an `any`, from that or from plain JSON taken by its looks.
fn any(value: &Value) -> Result<Value, String> {
    Ok(match (any_tag(value), value) {
        (Some(("$int", number)), _) => json!({"$int": integer(number)?.to_string()}),
        (Some(("$float", number)), _) => json!({"$float": bits(float(number)?)}),
        (Some(("$bytes", given)), _) => json!({"$bytes": hex(&bytes(given)?)}),
        (Some(("$str", given)), _) => json!({"$str": given}),
        (Some(("$list", given)), _) => {
            json!({"$list": items(given)?.iter().map(any).collect::<Result<Vec<_>, _>>()?})
        }
        (Some(("$map", given)), _) => {
            let mut pairs = items(given)?
                .iter()
                .map(|pair| Ok(json!([any(&pair[0])?, any(&pair[1])?])))
                .collect::<Result<Vec<_>, String>>()?;
            pairs.sort_by_key(Value::to_string);
            json!({"$map": pairs})
        }
        (_, Value::Number(number)) if number.is_f64() => json!({"$float": bits(float(value)?)}),
        (_, Value::Number(_)) => json!({"$int": integer(value)?.to_string()}),
        (_, Value::String(given)) => json!({"$str": given}),
        (_, Value::Array(given)) => {
            json!({"$list": given.iter().map(any).collect::<Result<Vec<_>, _>>()?})
        }
        (_, Value::Object(given)) => {
            let pairs: Vec<Value> = given
                .iter()
                .map(|(key, value)| json!([key, value]))
                .collect();
            any(&json!({"$map": pairs}))?
        }
        _ => value.clone(),
    })
}

/// MessagePack of plain JSON, or of the neutral form of an `any`.
pub fn pack_any(value: &Value) -> Result<Pack, String> {
    let value = any(value)?;
    Ok(match any_tag(&value) {
        Some(("$int", number)) => pack_integer(integer(number)?)?,
        Some(("$float", number)) => Pack::F64(float(number)?),
        Some(("$bytes", given)) => Pack::Binary(bytes(given)?),
        Some(("$str", given)) => Pack::from(text(given)?),
        Some(("$list", given)) => Pack::Array(
            items(given)?
                .iter()
                .map(pack_any)
                .collect::<Result<_, _>>()?,
        ),
        Some(("$map", given)) => Pack::Map(
            items(given)?
                .iter()
                .map(|pair| Ok((pack_any(&pair[0])?, pack_any(&pair[1])?)))
                .collect::<Result<_, String>>()?,
        ),
        _ => match value {
            Value::Bool(value) => Pack::Boolean(value),
            _ => Pack::Nil,
        },
    })
}

fn unpack_any(value: &Pack) -> Result<Value, String> {
    Ok(match value {
        Pack::Nil => Value::Null,
        Pack::Boolean(value) => json!(value),
        Pack::Integer(number) => json!({"$int": number.to_string()}),
        Pack::F32(number) => json!({"$float": bits(f64::from(*number))}),
        Pack::F64(number) => json!({"$float": bits(*number)}),
        Pack::String(given) => json!({"$str": given.as_str().ok_or("text that is not UTF-8")?}),
        Pack::Binary(given) => json!({"$bytes": hex(given)}),
        Pack::Array(given) => {
            json!({"$list": given.iter().map(unpack_any).collect::<Result<Vec<_>, _>>()?})
        }
        Pack::Map(pairs) => {
            let mut pairs = pairs
                .iter()
                .map(|(key, value)| Ok(json!([unpack_any(key)?, unpack_any(value)?])))
                .collect::<Result<Vec<_>, String>>()?;
            pairs.sort_by_key(Value::to_string);
            json!({"$map": pairs})
        }
        Pack::Ext(number, _) => return Err(format!("extension {number} in an any")),
    })
}

/// MessagePack bytes of a value.
pub fn encode(value: &Pack) -> Vec<u8> {
    let mut out = Vec::new();
    rmpv::encode::write_value(&mut out, value).expect("a Vec takes everything");
    out
}

/// One value from MessagePack bytes, with nothing after it.
pub fn decode(mut bytes: &[u8]) -> Result<Pack, String> {
    let value =
        rmpv::decode::read_value(&mut bytes).map_err(|error| format!("no MessagePack: {error}"))?;
    if bytes.is_empty() {
        Ok(value)
    } else {
        Err(format!("{} bytes after the value", bytes.len()))
    }
}
