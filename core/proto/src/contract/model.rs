//! The contract model: what a language package describes, and the normalised contract made from it.

use serde::{Deserialize, Serialize};

use super::error::ContractError;
use super::limits::MAX_DESCRIPTION_DEPTH;
use super::manifest::Manifest;

/// Whether all callers share one instance of a service, or each session has its own.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One instance for everybody.
    #[default]
    Shared,
    /// One instance per session.
    Session,
}

/// How many messages a method takes and gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// One request, one response.
    Unary,
    /// One request, any number of responses.
    ServerStream,
    /// Any number of requests, one response.
    ClientStream,
    /// Any number of both, independently.
    BidiStream,
}

impl Pattern {
    /// Its name in descriptions: `unary`, `server_stream`, `client_stream`, `bidi_stream`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::ServerStream => "server_stream",
            Self::ClientStream => "client_stream",
            Self::BidiStream => "bidi_stream",
        }
    }

    /// Whether the caller sends any number of messages.
    pub fn streams_requests(self) -> bool {
        matches!(self, Self::ClientStream | Self::BidiStream)
    }

    /// Whether the handler sends any number of messages.
    pub fn streams_responses(self) -> bool {
        matches!(self, Self::ServerStream | Self::BidiStream)
    }
}

/// A type without parts. The discriminant is its code in canonical bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Scalar {
    /// The unit type; its only value is null.
    Null = 0,
    /// True or false.
    Bool = 1,
    /// 8-bit signed integer.
    I8 = 2,
    /// 16-bit signed integer.
    I16 = 3,
    /// 32-bit signed integer.
    I32 = 4,
    /// 64-bit signed integer.
    I64 = 5,
    /// 8-bit unsigned integer.
    U8 = 6,
    /// 16-bit unsigned integer.
    U16 = 7,
    /// 32-bit unsigned integer.
    U32 = 8,
    /// 64-bit unsigned integer.
    U64 = 9,
    /// 32-bit float.
    F32 = 10,
    /// 64-bit float.
    F64 = 11,
    /// Unicode text.
    String = 12,
    /// Any bytes.
    Bytes = 13,
    /// A moment: nanoseconds since 1970 in UTC, as `i64`.
    Timestamp = 14,
    /// A span of time: nanoseconds, as `i64`.
    Duration = 15,
    /// 16 bytes that name something.
    Uuid = 16,
    /// Any value; checked only for being well-formed.
    Any = 17,
}

impl Scalar {
    /// All scalars, by code.
    pub const ALL: [Self; 18] = [
        Self::Null,
        Self::Bool,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::F32,
        Self::F64,
        Self::String,
        Self::Bytes,
        Self::Timestamp,
        Self::Duration,
        Self::Uuid,
        Self::Any,
    ];

    /// Its name in descriptions and error texts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "bool",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Timestamp => "timestamp",
            Self::Duration => "duration",
            Self::Uuid => "uuid",
            Self::Any => "any",
        }
    }

    /// The smallest and largest value, for the types that travel as integers.
    pub const fn int_range(self) -> Option<(i64, u64)> {
        Some(match self {
            Self::I8 => (i8::MIN as i64, i8::MAX as u64),
            Self::I16 => (i16::MIN as i64, i16::MAX as u64),
            Self::I32 => (i32::MIN as i64, i32::MAX as u64),
            Self::I64 | Self::Timestamp | Self::Duration => (i64::MIN, i64::MAX as u64),
            Self::U8 => (0, u8::MAX as u64),
            Self::U16 => (0, u16::MAX as u64),
            Self::U32 => (0, u32::MAX as u64),
            Self::U64 => (0, u64::MAX),
            _ => return None,
        })
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scalar| scalar.name() == name)
    }
}

/// The type of a message, field, item, key or value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "RawType", try_from = "RawType")]
pub enum Type {
    /// A type without parts.
    Scalar(Scalar),
    /// Any number of items; a set when `unique`.
    List {
        /// The items' type.
        item: Box<Type>,
        /// Whether equal items are refused.
        unique: bool,
    },
    /// A fixed number of items, each with its own type.
    Tuple(Vec<Type>),
    /// Keys with values.
    Map {
        /// The keys' type: string, an integer, bool, uuid or an enum.
        key: Box<Type>,
        /// The values' type.
        value: Box<Type>,
    },
    /// Null, or a value of the type inside.
    Nullable(Box<Type>),
    /// A named type, by its wire tag.
    Ref(String),
}

/// The serialised form of [`Type`]. One flat struct, so that serde reports the path inside nested types (a tagged enum would
/// buffer the content and lose it).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawType {
    t: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    item: Option<Box<Type>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unique: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    items: Option<Vec<Type>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Box<Type>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<Box<Type>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
}

impl RawType {
    fn of(t: &str) -> Self {
        Self {
            t: t.into(),
            item: None,
            unique: None,
            items: None,
            key: None,
            value: None,
            tag: None,
        }
    }

    /// Which of the optional keys are present.
    fn keys(&self) -> Vec<&'static str> {
        [
            ("item", self.item.is_some()),
            ("unique", self.unique.is_some()),
            ("items", self.items.is_some()),
            ("key", self.key.is_some()),
            ("value", self.value.is_some()),
            ("tag", self.tag.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, present)| present.then_some(key))
        .collect()
    }
}

impl From<Type> for RawType {
    fn from(ty: Type) -> Self {
        match ty {
            Type::Scalar(scalar) => Self::of(scalar.name()),
            Type::List { item, unique } => Self {
                item: Some(item),
                unique: unique.then_some(true),
                ..Self::of("list")
            },
            Type::Tuple(items) => Self {
                items: Some(items),
                ..Self::of("tuple")
            },
            Type::Map { key, value } => Self {
                key: Some(key),
                value: Some(value),
                ..Self::of("map")
            },
            Type::Nullable(item) => Self {
                item: Some(item),
                ..Self::of("nullable")
            },
            Type::Ref(tag) => Self {
                tag: Some(tag),
                ..Self::of("ref")
            },
        }
    }
}

impl TryFrom<RawType> for Type {
    type Error = String;

    fn try_from(raw: RawType) -> Result<Self, String> {
        let allowed: &[&str] = match raw.t.as_str() {
            "list" => &["item", "unique"],
            "nullable" => &["item"],
            "tuple" => &["items"],
            "map" => &["key", "value"],
            "ref" => &["tag"],
            _ => &[],
        };
        let known = !allowed.is_empty() || Scalar::from_name(&raw.t).is_some();
        if let Some(extra) = raw
            .keys()
            .into_iter()
            .find(|key| known && !allowed.contains(key))
        {
            return Err(format!("type \"{}\" has no key `{extra}`", raw.t));
        }
        let missing = |key: &str| format!("type \"{}\" needs the key `{key}`", raw.t);
        Ok(match raw.t.as_str() {
            "list" => Self::List {
                item: raw.item.ok_or_else(|| missing("item"))?,
                unique: raw.unique.unwrap_or(false),
            },
            "nullable" => Self::Nullable(raw.item.ok_or_else(|| missing("item"))?),
            "tuple" => Self::Tuple(raw.items.ok_or_else(|| missing("items"))?),
            "map" => Self::Map {
                key: raw.key.ok_or_else(|| missing("key"))?,
                value: raw.value.ok_or_else(|| missing("value"))?,
            },
            "ref" => Self::Ref(raw.tag.ok_or_else(|| missing("tag"))?),
            name => Self::Scalar(Scalar::from_name(name).ok_or_else(|| {
                format!(
                    "unknown type \"{name}\"; known are {}, list, tuple, map, nullable and ref",
                    Scalar::ALL.map(Scalar::name).join(", ")
                )
            })?),
        })
    }
}

/// One method of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Method {
    /// Its name, an identifier.
    pub name: String,
    /// How many messages it takes and gives.
    pub pattern: Pattern,
    /// Type of one request message.
    pub request: Type,
    /// Type of one response message.
    pub response: Type,
    /// Whether calling it twice has the effect of calling it once, so that it may be retried.
    #[serde(default)]
    pub idempotent: bool,
}

/// One field of a struct.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its name, an identifier.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: Type,
    /// Whether a value without it is an error; otherwise the receiver's default is used.
    #[serde(default)]
    pub required: bool,
    /// Whether null is a value of it.
    #[serde(default)]
    pub nullable: bool,
}

/// A named type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "RawTypeDef", try_from = "RawTypeDef")]
pub enum TypeDef {
    /// Named fields.
    Struct {
        /// Its wire tag.
        tag: String,
        /// Its fields.
        fields: Vec<Field>,
    },
    /// One of several names.
    Enum {
        /// Its wire tag.
        tag: String,
        /// The names.
        values: Vec<String>,
    },
    /// One of several structs, told apart by their tags.
    Union {
        /// Its own wire tag.
        tag: String,
        /// The tags of the structs.
        members: Vec<String>,
    },
}

impl TypeDef {
    /// Its wire tag.
    pub fn tag(&self) -> &str {
        match self {
            Self::Struct { tag, .. } | Self::Enum { tag, .. } | Self::Union { tag, .. } => tag,
        }
    }

    /// `struct`, `enum` or `union`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Struct { .. } => "struct",
            Self::Enum { .. } => "enum",
            Self::Union { .. } => "union",
        }
    }
}

/// The serialised form of [`TypeDef`]; flat for the same reason as [`RawType`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTypeDef {
    kind: String,
    tag: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fields: Option<Vec<Field>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    values: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    members: Option<Vec<String>>,
}

impl From<TypeDef> for RawTypeDef {
    fn from(def: TypeDef) -> Self {
        let kind = def.kind().into();
        let raw = |tag| Self {
            kind,
            tag,
            fields: None,
            values: None,
            members: None,
        };
        match def {
            TypeDef::Struct { tag, fields } => Self {
                fields: Some(fields),
                ..raw(tag)
            },
            TypeDef::Enum { tag, values } => Self {
                values: Some(values),
                ..raw(tag)
            },
            TypeDef::Union { tag, members } => Self {
                members: Some(members),
                ..raw(tag)
            },
        }
    }
}

impl TryFrom<RawTypeDef> for TypeDef {
    type Error = String;

    fn try_from(raw: RawTypeDef) -> Result<Self, String> {
        let RawTypeDef {
            kind,
            tag,
            fields,
            values,
            members,
        } = raw;
        match (kind.as_str(), fields, values, members) {
            ("struct", Some(fields), None, None) => Ok(Self::Struct { tag, fields }),
            ("enum", None, Some(values), None) => Ok(Self::Enum { tag, values }),
            ("union", None, None, Some(members)) => Ok(Self::Union { tag, members }),
            ("struct", ..) => Err(format!(
                "struct {tag} needs the key `fields` and neither `values` nor `members`"
            )),
            ("enum", ..) => Err(format!(
                "enum {tag} needs the key `values` and neither `fields` nor `members`"
            )),
            ("union", ..) => Err(format!(
                "union {tag} needs the key `members` and neither `fields` nor `values`"
            )),
            (kind, ..) => Err(format!(
                "type {tag} has kind \"{kind}\"; known are struct, enum and union"
            )),
        }
    }
}

/// A service as a language package describes it. Nothing is checked yet: see [`ServiceDescription::normalise`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceDescription {
    /// The service's name, an identifier.
    pub name: String,
    /// Its version, from 1.
    pub version: u32,
    /// Shared or per session. Default: shared.
    #[serde(default)]
    pub scope: Scope,
    /// Its methods, in any order.
    pub methods: Vec<Method>,
    /// The named types that the methods reach, in any order; more do no harm.
    #[serde(default)]
    pub types: Vec<TypeDef>,
    /// What belongs to the service but not to the contract.
    #[serde(default, skip_serializing_if = "Manifest::is_empty")]
    pub manifest: Manifest,
}

impl ServiceDescription {
    /// Reads a MessagePack map. The error's path is the place in the map.
    pub fn from_msgpack(bytes: &[u8]) -> Result<Self, ContractError> {
        let mut de = rmp_serde::Deserializer::new(std::io::Cursor::new(bytes));
        de.set_max_depth(MAX_DESCRIPTION_DEPTH);
        let description =
            serde_path_to_error::deserialize(&mut de).map_err(|error| parse_error(&error))?;
        let rest = (bytes.len() as u64).saturating_sub(de.position());
        if rest > 0 {
            return Err(ContractError::new(
                "",
                format!("{rest} bytes after the end of the description"),
            ));
        }
        Ok(description)
    }

    /// Reads a JSON object. The error's path is the place in the object.
    pub fn from_json(text: &str) -> Result<Self, ContractError> {
        let mut de = serde_json::Deserializer::from_str(text);
        let description =
            serde_path_to_error::deserialize(&mut de).map_err(|error| parse_error(&error))?;
        de.end()
            .map_err(|error| ContractError::new("", error.to_string()))?;
        Ok(description)
    }

    /// Writes a MessagePack map that [`from_msgpack`](Self::from_msgpack) reads.
    pub fn to_msgpack(&self) -> Result<Vec<u8>, ContractError> {
        rmp_serde::to_vec_named(self).map_err(|error| ContractError::new("", error.to_string()))
    }

    /// Writes a JSON object that [`from_json`](Self::from_json) reads.
    pub fn to_json(&self) -> Result<String, ContractError> {
        serde_json::to_string_pretty(self)
            .map_err(|error| ContractError::new("", error.to_string()))
    }

    /// The description of a contract with its manifest, in canonical order: what `describe` shows.
    pub fn of(contract: &Contract, manifest: &Manifest) -> Self {
        Self {
            name: contract.name.clone(),
            version: contract.version,
            scope: contract.scope,
            methods: contract.methods.clone(),
            types: contract.types.clone(),
            manifest: manifest.clone(),
        }
    }
}

fn parse_error<E: std::error::Error>(error: &serde_path_to_error::Error<E>) -> ContractError {
    let path = error.path().to_string();
    ContractError::new(
        if path == "." { String::new() } else { path },
        error.inner().to_string(),
    )
}

/// A normalised contract: valid, sorted by name, with exactly the types its methods reach.
///
/// Made by [`ServiceDescription::normalise`] or [`Contract::from_canonical`]; two are equal when their ids are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contract {
    pub(super) name: String,
    pub(super) version: u32,
    pub(super) scope: Scope,
    pub(super) methods: Vec<Method>,
    pub(super) types: Vec<TypeDef>,
}

impl Contract {
    /// The service's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The service's version.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Shared or per session.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Its methods, sorted by name.
    pub fn methods(&self) -> &[Method] {
        &self.methods
    }

    /// The method of this name.
    pub fn method(&self, name: &str) -> Option<&Method> {
        let found = self
            .methods
            .binary_search_by(|method| method.name.as_str().cmp(name));
        found.ok().map(|index| &self.methods[index])
    }

    /// The named types that the methods reach, sorted by tag.
    pub fn types(&self) -> &[TypeDef] {
        &self.types
    }

    /// The named type of this tag.
    pub fn type_def(&self, tag: &str) -> Option<&TypeDef> {
        let found = self.types.binary_search_by(|def| def.tag().cmp(tag));
        found.ok().map(|index| &self.types[index])
    }
}
