//! Parts of a JSON object that have no type of the contract: `$type`, and the values of unknown fields.

use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};

use super::context::Context;
use crate::value::error::Fault;
use crate::value::read::enter;

/// Reads the value of `$type`.
pub(super) struct Tag<'c, 'a> {
    pub(super) context: &'c mut Context<'a>,
}

impl Tag<'_, '_> {
    fn got<E: de::Error>(self, kind: &str) -> Result<String, E> {
        Err(self
            .context
            .fail(Fault::new(format!("expected string, got {kind}"))))
    }
}

impl<'de> DeserializeSeed<'de> for Tag<'_, '_> {
    type Value = String;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tag<'_, '_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("string")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<String, E> {
        Ok(value.to_owned())
    }

    fn visit_unit<E: de::Error>(self) -> Result<String, E> {
        self.got("null")
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<String, E> {
        self.got("bool")
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<String, E> {
        self.got("int")
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<String, E> {
        self.got("int")
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<String, E> {
        self.got("float")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        self.got("list")
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        self.got("map")
    }
}

/// Reads past the value of an unknown field: well-formed and not too deep, whatever it means.
pub(super) struct Skip<'c, 'a> {
    pub(super) context: &'c mut Context<'a>,
    pub(super) depth: usize,
}

impl<'de> DeserializeSeed<'de> for Skip<'_, '_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skip<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self { context, depth } = self;
        context.ok(enter(depth))?;
        while items
            .next_element_seed(Skip {
                context: &mut *context,
                depth: depth + 1,
            })?
            .is_some()
        {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Self { context, depth } = self;
        context.ok(enter(depth))?;
        while entries.next_key::<de::IgnoredAny>()?.is_some() {
            entries.next_value_seed(Skip {
                context: &mut *context,
                depth: depth + 1,
            })?;
        }
        Ok(())
    }
}
