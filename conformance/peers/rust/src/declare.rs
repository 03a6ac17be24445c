//! Declares services in Rust: types and methods as functions, which give the description that the SDK takes.
//!
//! It stands where `#[aster::service]` will stand.

use serde_json::{Value, json};

macro_rules! scalars {
    ($($name:ident = $text:literal),* $(,)?) => {
        $(pub(crate) fn $name() -> Value { json!({"t": $text}) })*
    };
}

scalars! {
    null = "null", boolean = "bool", i8_ = "i8", i16_ = "i16", i32_ = "i32", i64_ = "i64", u8_ = "u8", u16_ = "u16",
    u32_ = "u32", u64_ = "u64", f32_ = "f32", f64_ = "f64", string = "string", bytes = "bytes", timestamp = "timestamp",
    duration = "duration", uuid = "uuid", any = "any",
}

pub(crate) fn list(item: Value) -> Value {
    json!({"t": "list", "item": item})
}

pub(crate) fn set(item: Value) -> Value {
    json!({"t": "list", "item": item, "unique": true})
}

pub(crate) fn tuple(items: &[Value]) -> Value {
    json!({"t": "tuple", "items": items})
}

pub(crate) fn map(key: Value, value: Value) -> Value {
    json!({"t": "map", "key": key, "value": value})
}

pub(crate) fn nullable(item: Value) -> Value {
    json!({"t": "nullable", "item": item})
}

pub(crate) fn of(tag: &str) -> Value {
    json!({"t": "ref", "tag": tag})
}

/// A required field.
pub(crate) fn field(name: &str, ty: Value) -> Value {
    json!({"name": name, "type": ty, "required": true})
}

/// A field with a default.
pub(crate) fn optional(name: &str, ty: Value) -> Value {
    json!({"name": name, "type": ty})
}

pub(crate) fn structure(tag: &str, fields: Vec<Value>) -> Value {
    json!({"kind": "struct", "tag": tag, "fields": fields})
}

pub(crate) fn enumeration(tag: &str, values: &[&str]) -> Value {
    json!({"kind": "enum", "tag": tag, "values": values})
}

pub(crate) fn union(tag: &str, members: &[&str]) -> Value {
    json!({"kind": "union", "tag": tag, "members": members})
}

/// A service under construction.
pub(crate) struct Declared(Value);

pub(crate) fn service(name: &str) -> Declared {
    Declared(json!({
        "name": name, "version": 1, "methods": [], "types": crate::types::all(), "manifest": {"methods": {}},
    }))
}

impl Declared {
    pub(crate) fn version(mut self, version: u32) -> Self {
        self.0["version"] = json!(version);
        self
    }

    pub(crate) fn sessions(mut self) -> Self {
        self.0["scope"] = json!("session");
        self
    }

    /// A type of this service alone.
    pub(crate) fn with(mut self, ty: Value) -> Self {
        if let Some(types) = self.0["types"].as_array_mut() {
            types.retain(|each| each["tag"] != ty["tag"]);
            types.push(ty);
        }
        self
    }

    fn method(mut self, pattern: &str, name: &str, request: Value, response: Value) -> Self {
        if let Some(methods) = self.0["methods"].as_array_mut() {
            methods.push(
                json!({"name": name, "pattern": pattern, "request": request, "response": response}),
            );
        }
        self
    }

    pub(crate) fn unary(self, name: &str, request: Value, response: Value) -> Self {
        self.method("unary", name, request, response)
    }

    pub(crate) fn server_stream(self, name: &str, request: Value, response: Value) -> Self {
        self.method("server_stream", name, request, response)
    }

    pub(crate) fn client_stream(self, name: &str, request: Value, response: Value) -> Self {
        self.method("client_stream", name, request, response)
    }

    pub(crate) fn bidi_stream(self, name: &str, request: Value, response: Value) -> Self {
        self.method("bidi_stream", name, request, response)
    }

    /// A unary method of plain parameters.
    pub(crate) fn parameters(self, name: &str, parameters: Vec<Value>, response: Value) -> Self {
        let tag = format!("{}.{name}", self.0["name"].as_str().unwrap_or_default());
        self.with(structure(&tag, parameters))
            .unary(name, of(&tag), response)
    }

    /// The method declared last may be repeated.
    pub(crate) fn idempotent(mut self) -> Self {
        if let Some(last) = self.0["methods"]
            .as_array_mut()
            .and_then(|all| all.last_mut())
        {
            last["idempotent"] = json!(true);
        }
        self
    }

    /// The method declared last may take no longer.
    pub(crate) fn timeout_ms(mut self, timeout: u64) -> Self {
        let methods = self.0["methods"].as_array();
        let last = methods
            .and_then(|all| all.last())
            .map(|last| last["name"].clone());
        if let Some(Value::String(name)) = last {
            self.0["manifest"]["methods"][name] = json!({"timeout_ms": timeout});
        }
        self
    }

    pub(crate) fn contract(self) -> Result<aster::Contract, String> {
        aster::Contract::from_json(&self.0.to_string())
            .map_err(|error| format!("{}: {error}", self.0["name"]))
    }
}
