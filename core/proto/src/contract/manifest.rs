//! The manifest: what belongs to a service but not to its contract, and so never to its id.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::ContractError;
use super::model::{Contract, TypeDef};
use super::name::nearest;

/// Documentation, deadlines, access rules and defaults of a service.
///
/// Keys that this version does not know are ignored, since a newer peer may send them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Manifest {
    /// What the service is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    /// Why it should not be used any more, and what instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<String>,
    /// Free notes of the service's author.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// What every caller must hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requires: Option<AccessRule>,
    /// By method name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub methods: BTreeMap<String, MethodManifest>,
    /// By wire tag.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<String, TypeManifest>,
}

/// What belongs to a method but not to the contract.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MethodManifest {
    /// What it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    /// Why it should not be used any more, and what instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<String>,
    /// Default deadline of a call, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Free notes of the service's author.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// What its callers must hold, besides what the service requires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requires: Option<AccessRule>,
}

/// What belongs to a named type but not to the contract.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TypeManifest {
    /// What it stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    /// Why it should not be used any more, and what instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<String>,
    /// By field name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, FieldManifest>,
    /// By enum value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, ValueManifest>,
}

/// What belongs to a field but not to the contract.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FieldManifest {
    /// What it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    /// Why it should not be used any more, and what instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<String>,
    /// The describing side's default, to show; each receiver uses its own. An explicit null is kept.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub default: Option<rmpv::Value>,
}

/// What belongs to an enum value but not to the contract.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ValueManifest {
    /// What it means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    /// Why it should not be used any more, and what instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<String>,
}

/// Capabilities a caller must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessRule {
    /// At least one of these.
    AnyOf(Vec<String>),
    /// All of these.
    AllOf(Vec<String>),
    /// This one.
    #[serde(untagged)]
    Capability(String),
}

/// Serde gives a missing key to `default`, so whatever arrives here was written, null included.
fn present<'de, D: serde::Deserializer<'de>>(de: D) -> Result<Option<rmpv::Value>, D::Error> {
    rmpv::Value::deserialize(de).map(Some)
}

impl Manifest {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Checks that every entry names something the contract has, and drops entries of `dropped` types.
    pub(super) fn fitted(
        &self,
        contract: &Contract,
        dropped: &[&str],
    ) -> Result<Self, ContractError> {
        let mut fitted = self.clone();
        fitted
            .types
            .retain(|tag, _| !dropped.contains(&tag.as_str()));
        check_rule(self.requires.as_ref(), "manifest.requires")?;
        for (name, method) in &fitted.methods {
            if contract.method(name).is_none() {
                let known = contract.methods().iter().map(|method| method.name.as_str());
                return Err(unknown(
                    format!("manifest.methods.{name}"),
                    "method",
                    name,
                    known,
                ));
            }
            if method.timeout_ms == Some(0) {
                let path = format!("manifest.methods.{name}.timeout_ms");
                return Err(ContractError::new(
                    path,
                    "no call ends within 0 ms; leave it out for no limit",
                ));
            }
            check_rule(
                method.requires.as_ref(),
                &format!("manifest.methods.{name}.requires"),
            )?;
        }
        for (tag, entry) in &fitted.types {
            let path = format!("manifest.types[{tag:?}]");
            let Some(def) = contract.type_def(tag) else {
                return Err(unknown(
                    path,
                    "type",
                    tag,
                    contract.types().iter().map(TypeDef::tag),
                ));
            };
            let (fields, values): (Vec<&str>, Vec<&str>) = match def {
                TypeDef::Struct { fields, .. } => (
                    fields.iter().map(|field| field.name.as_str()).collect(),
                    vec![],
                ),
                TypeDef::Enum { values, .. } => {
                    (vec![], values.iter().map(String::as_str).collect())
                }
                TypeDef::Union { .. } => (vec![], vec![]),
            };
            if let Some(name) = entry
                .fields
                .keys()
                .find(|name| !fields.contains(&name.as_str()))
            {
                return Err(unknown(
                    format!("{path}.fields.{name}"),
                    "field",
                    name,
                    fields,
                ));
            }
            if let Some(name) = entry
                .values
                .keys()
                .find(|name| !values.contains(&name.as_str()))
            {
                return Err(unknown(
                    format!("{path}.values.{name}"),
                    "enum value",
                    name,
                    values,
                ));
            }
        }
        Ok(fitted)
    }
}

fn check_rule(rule: Option<&AccessRule>, path: &str) -> Result<(), ContractError> {
    let capabilities = match rule {
        None => return Ok(()),
        Some(AccessRule::Capability(one)) => std::slice::from_ref(one),
        Some(AccessRule::AnyOf(many) | AccessRule::AllOf(many)) => many,
    };
    // An empty rule has no safe reading: nobody would pass `any_of`, everybody would pass `all_of`.
    if capabilities.is_empty() || capabilities.iter().any(String::is_empty) {
        return Err(ContractError::new(
            path,
            "name at least one capability, and none that is empty",
        ));
    }
    Ok(())
}

fn unknown<'a>(
    path: String,
    what: &str,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> ContractError {
    let hint = nearest(name, known)
        .map(|near| format!("; did you mean {near}?"))
        .unwrap_or_default();
    ContractError::new(path, format!("the contract has no {what} {name}{hint}"))
}
