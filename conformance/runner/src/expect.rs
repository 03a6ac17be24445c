//! What is expected against what came, in texts that say both.

use rmpv::Value as Pack;
use serde_json::Value;

use crate::scenario::Fails;

/// Whether `found` is one of `allowed`.
pub fn one_of(what: &str, found: &str, allowed: &[String]) -> Result<(), String> {
    if allowed.iter().any(|each| each == found) {
        Ok(())
    } else {
        Err(format!(
            "{what} is {found}, and {} was expected",
            allowed.join(" or ")
        ))
    }
}

/// Whether a text says all of `parts`.
pub fn says(what: &str, text: &str, parts: &[String]) -> Result<(), String> {
    match parts.iter().find(|part| !text.contains(part.as_str())) {
        None => Ok(()),
        Some(part) => Err(format!("{what} is {text:?}, and does not say {part:?}")),
    }
}

/// Whether a reply of a peer is the failure that is expected, or a success if none is.
pub fn fails(reply: &Value, expected: Option<&Fails>) -> Result<(), String> {
    if let Some(fault) = reply["fault"].as_str() {
        return Err(format!("the peer has a fault of its own: {fault}"));
    }
    match (expected, &reply["error"]) {
        (None, Value::Null) => Ok(()),
        (None, error) => Err(format!("it failed: {error}")),
        (Some(expected), Value::Null) => Err(format!(
            "it was to fail with {}, and gave {}",
            expected.code.all().join(" or "),
            reply["ok"]
        )),
        (Some(expected), error) => failure(error, expected),
    }
}

/// Whether an error is the one that is expected.
pub fn failure(error: &Value, expected: &Fails) -> Result<(), String> {
    let whole = |problem: String| format!("{problem}; the error is {error}");
    let code = error["code"].as_str().unwrap_or_default();
    let message = error["message"].as_str().unwrap_or_default();
    one_of("the code", code, expected.code.all()).map_err(whole)?;
    says("the message", message, expected.says.all()).map_err(whole)?;
    if let Some(hidden) = expected
        .hides
        .all()
        .iter()
        .find(|part| message.contains(part.as_str()))
    {
        return Err(whole(format!(
            "the message says {hidden:?}, which is nobody's business"
        )));
    }
    if let Some(origin) = &expected.origin {
        one_of(
            "the origin",
            error["origin"].as_str().unwrap_or_default(),
            std::slice::from_ref(origin),
        )
        .map_err(whole)?;
    }
    if let Some(may) = expected.may_have_run
        && error["may_have_run"] != may
    {
        return Err(whole(format!("may_have_run is not {may}")));
    }
    if let Some(details) = &expected.details
        && &error["details"] != details
    {
        return Err(whole(format!("the details are not {details}")));
    }
    for (key, value) in expected.metadata.iter().flatten() {
        if &error["metadata"][key] != value {
            return Err(whole(format!("its metadata has {key} not as {value}")));
        }
    }
    Ok(())
}

/// Whether a value is what a scenario says of it: `"*"` is anything, an object with `~` a range, and an object
/// that has the key
/// `"..."` may have more keys than are named.
pub fn matches(found: &Value, expected: &Value) -> bool {
    match expected {
        Value::String(text) if text == "*" => true,
        Value::Object(keys) if keys.contains_key("~") => {
            // A float is 16 hex digits of its bits, an integer decimal text.
            let number = found.as_f64().or_else(|| match found.as_str()? {
                bits if bits.len() == 16 => u64::from_str_radix(bits, 16).ok().map(f64::from_bits),
                text => text.parse().ok(),
            });
            let range = &keys["~"];
            number.is_some_and(|number| {
                range["min"].as_f64().is_none_or(|min| number >= min)
                    && range["max"].as_f64().is_none_or(|max| number <= max)
            })
        }
        Value::Object(keys) => {
            let Some(found) = found.as_object() else {
                return false;
            };
            let open = keys.contains_key("...");
            keys.iter()
                .filter(|(key, _)| *key != "...")
                .all(|(key, value)| found.get(key).is_some_and(|found| matches(found, value)))
                && (open || found.keys().all(|key| keys.contains_key(key)))
        }
        Value::Array(values) => found.as_array().is_some_and(|found| {
            found.len() == values.len()
                && found
                    .iter()
                    .zip(values)
                    .all(|(found, value)| matches(found, value))
        }),
        other => found == other,
    }
}

/// Whether two MessagePack values are equal where the order of map entries is free.
pub fn same_pack(a: &Pack, b: &Pack) -> bool {
    match (a, b) {
        (Pack::Map(a), Pack::Map(b)) => {
            a.len() == b.len()
                && a.iter().all(|(key, value)| {
                    b.iter()
                        .any(|(k, v)| same_pack(key, k) && same_pack(value, v))
                })
        }
        (Pack::Array(a), Pack::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_pack(a, b))
        }
        (Pack::F64(a), Pack::F64(b)) => a.to_bits() == b.to_bits(),
        (a, b) => a == b,
    }
}
