//! The languages under test: how their peer programs are started, and what their values cannot hold.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::scenario::yaml;

/// One language.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Language {
    /// The peer program. `{bin}` is the folder in which the runner lies; other paths are relative to the repository.
    pub command: Vec<String>,
    /// The resolution of its timestamps in nanoseconds: what is below is cut off, towards the past.
    #[serde(default = "exact")]
    pub timestamp_ns: i128,
    /// The same of its durations.
    #[serde(default = "exact")]
    pub duration_ns: i128,
    /// Whether a float without fraction is an integer where no type is declared, as for a number of JavaScript.
    #[serde(default)]
    pub whole_floats_are_ints: bool,
}

fn exact() -> i128 {
    1
}

/// `conformance/peers.yaml`.
pub type Languages = BTreeMap<String, Language>;

/// Reads the languages.
pub fn read(directory: &Path, bin: &Path) -> Result<Languages, String> {
    let mut languages: Languages = yaml(&directory.join("peers.yaml"))?;
    for language in languages.values_mut() {
        for part in &mut language.command {
            *part = part.replace("{bin}", &bin.display().to_string());
        }
    }
    Ok(languages)
}

impl Language {
    /// What a value in the neutral form is once this language has had it in its own types. The documented losses,
    /// and no
    /// other: `types` gives the declared type of each part.
    pub fn holds(&self, types: &crate::value::Types, ty: &Value, value: &Value) -> Value {
        match ty["t"].as_str().unwrap_or_default() {
            "timestamp" => cut(value, self.timestamp_ns),
            "duration" => cut(value, self.duration_ns),
            "any" if self.whole_floats_are_ints => whole_floats(value),
            "list" => each(value, |item| self.holds(types, &ty["item"], item)),
            "nullable" => self.holds(types, &ty["item"], value),
            "map" => each(value, |pair| {
                json!([pair[0], self.holds(types, &ty["value"], &pair[1])])
            }),
            "tuple" => match value.as_array() {
                Some(values) => values
                    .iter()
                    .enumerate()
                    .map(|(at, item)| self.holds(types, &ty["items"][at], item))
                    .collect(),
                None => value.clone(),
            },
            "ref" => {
                let tag = value["$type"]
                    .as_str()
                    .or(ty["tag"].as_str())
                    .unwrap_or_default();
                let mut out = value.clone();
                for (name, value) in out.as_object_mut().into_iter().flatten() {
                    if let Some(ty) = types.field(tag, name) {
                        *value = self.holds(types, ty, value);
                    }
                }
                out
            }
            _ => value.clone(),
        }
    }
}

/// Nanoseconds cut to a resolution.
fn cut(value: &Value, resolution: i128) -> Value {
    match value.as_str().and_then(|text| text.parse::<i128>().ok()) {
        Some(time) => json!((time.div_euclid(resolution) * resolution).to_string()),
        None => value.clone(),
    }
}

fn each(value: &Value, change: impl Fn(&Value) -> Value) -> Value {
    match value.as_array() {
        Some(values) => values.iter().map(change).collect(),
        None => value.clone(),
    }
}

fn whole_floats(value: &Value) -> Value {
    match value {
        Value::Object(object) => match object.get("$float").and_then(Value::as_str) {
            Some(bits) => {
                let number = u64::from_str_radix(bits, 16).map_or(f64::NAN, f64::from_bits);
                // -0.0 is no integer, and stays.
                if number.fract() == 0.0
                    && number.abs() <= 9_007_199_254_740_991.0
                    && bits != "8000000000000000"
                {
                    json!({"$int": format!("{number:.0}")})
                } else {
                    value.clone()
                }
            }
            None => object
                .iter()
                .map(|(key, value)| (key.clone(), whole_floats(value)))
                .collect(),
        },
        Value::Array(values) => values.iter().map(whole_floats).collect(),
        other => other.clone(),
    }
}
