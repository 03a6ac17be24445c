//! What one pass over JSON shares: the MessagePack written so far, the way to where it is, and how scalars are written.

use rmp::encode;
use serde::de;

use crate::contract::{Compiled, Scalar, TypeId};
use crate::value::Mode;
use crate::value::error::{Fault, Step, ValueError, cut};
use crate::value::forms::{
    MAX_SAFE, base64_bytes, duration_nanos, integer, special_float_value, timestamp_nanos,
    uuid_bytes,
};
use crate::value::keys::Places;
use crate::value::read::Reader;
use crate::value::walk::{mismatch, out_of_range};

/// What the whole pass shares.
pub(super) struct Context<'a> {
    pub(super) types: &'a Compiled,
    pub(super) mode: Mode,
    pub(super) out: Vec<u8>,
    /// The way to the value being read. After an error of the parser it still leads to where that happened.
    pub(super) steps: Vec<Step>,
    /// Our own error: serde's carries only text, so it waits here while serde unwinds.
    pub(super) error: Option<ValueError>,
}

impl Context<'_> {
    #[cold]
    pub(super) fn fail<E: de::Error>(&mut self, fault: Fault) -> E {
        self.error = Some(fault.after(self.steps.clone()));
        E::custom("value does not fit its type")
    }

    pub(super) fn ok<T, E: de::Error>(&mut self, result: Result<T, Fault>) -> Result<T, E> {
        result.map_err(|fault| self.fail(fault))
    }

    /// Takes a step, reads what is there, and steps back if that went well.
    pub(super) fn within<T, E>(
        &mut self,
        step: Step,
        read: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.steps.push(step);
        let result = read(self)?;
        self.steps.pop();
        Ok(result)
    }

    // The encoders of `rmp` fail only when the writer does, and a `Vec` never does.

    pub(super) fn put_int(&mut self, value: i128) {
        let written = match u64::try_from(value) {
            Ok(value) => encode::write_uint(&mut self.out, value),
            // Callers have checked the range of the type, which is within i64 below zero.
            Err(_) => encode::write_sint(&mut self.out, i64::try_from(value).unwrap_or(i64::MIN)),
        };
        debug_assert!(written.is_ok());
    }

    pub(super) fn put_str(&mut self, value: &str) {
        let written = encode::write_str(&mut self.out, value);
        debug_assert!(written.is_ok());
    }

    pub(super) fn put_bin(&mut self, value: &[u8]) {
        let written = encode::write_bin(&mut self.out, value);
        debug_assert!(written.is_ok());
    }

    pub(super) fn put_f64(&mut self, value: f64) {
        let written = encode::write_f64(&mut self.out, value);
        debug_assert!(written.is_ok());
    }

    /// Leaves room for the head of an array or map, whose count JSON tells only at the end.
    pub(super) fn open(&mut self) -> usize {
        self.out.push(0);
        self.out.len() - 1
    }

    pub(super) fn close_array(&mut self, start: usize, count: usize) {
        let mut head = Vec::with_capacity(5);
        let written = encode::write_array_len(&mut head, u32::try_from(count).unwrap_or(u32::MAX));
        debug_assert!(written.is_ok());
        self.out.splice(start..=start, head);
    }

    pub(super) fn close_map(&mut self, start: usize, count: usize) {
        let mut head = Vec::with_capacity(5);
        let written = encode::write_map_len(&mut head, u32::try_from(count).unwrap_or(u32::MAX));
        debug_assert!(written.is_ok());
        self.out.splice(start..=start, head);
    }

    /// The place of a value among those written that was written before; `places` were added as [`written`](Self::written).
    pub(super) fn duplicate(&self, places: Places) -> Option<usize> {
        places.duplicate(|at| self.value_at(at))
    }

    /// The bytes written since `from`.
    pub(super) fn written(&self, from: usize) -> &[u8] {
        &self.out[from..]
    }

    /// The one value that was written at `at`. What this module wrote can be read past.
    pub(super) fn value_at(&self, at: usize) -> &[u8] {
        let mut reader = Reader::new(&self.out).again(at);
        let past = reader.skip(0);
        debug_assert!(past.is_ok());
        reader.since(at)
    }

    pub(super) fn string(
        &mut self,
        scalar: Scalar,
        text: &str,
        shown: TypeId,
    ) -> Result<(), Fault> {
        let invalid = |expected: &str| {
            Fault::new(format!(
                "invalid {} `{}`: {expected}",
                scalar.name(),
                cut(text)
            ))
        };
        match scalar {
            Scalar::String | Scalar::Any => self.put_str(text),
            Scalar::Bytes => {
                self.put_bin(&base64_bytes(text).ok_or_else(|| invalid("expected base64"))?)
            }
            Scalar::Uuid => {
                let uuid = uuid_bytes(text.as_bytes());
                self.put_bin(
                    &uuid.ok_or_else(|| invalid("expected 36 characters of hex and hyphens"))?,
                );
            }
            Scalar::Timestamp => self.put_int(timestamp_nanos(text).map_err(invalid)?.into()),
            Scalar::Duration => self.put_int(duration_nanos(text).map_err(invalid)?.into()),
            Scalar::F32 | Scalar::F64 => {
                let value = special_float_value(text);
                self.float(
                    scalar,
                    value
                        .ok_or_else(|| invalid("expected a number, NaN, Infinity or -Infinity"))?,
                )?;
            }
            Scalar::Null | Scalar::Bool => return Err(mismatch(self.types, shown, "string")),
            _ => self.int(
                scalar,
                integer(text).ok_or_else(|| invalid("expected decimal digits"))?,
                shown,
            )?,
        }
        Ok(())
    }

    pub(super) fn int(&mut self, scalar: Scalar, value: i128, shown: TypeId) -> Result<(), Fault> {
        match scalar {
            Scalar::F32 | Scalar::F64 => return self.float(scalar, value as f64),
            Scalar::Any => {}
            // They travel as integers in MessagePack, but are text in JSON.
            Scalar::Timestamp | Scalar::Duration => return Err(mismatch(self.types, shown, "int")),
            _ => match scalar.int_range() {
                Some((min, max)) if value < min.into() || value > max.into() => {
                    return Err(out_of_range(value, scalar, (min, max)));
                }
                Some(_) => {}
                None => return Err(mismatch(self.types, shown, "int")),
            },
        }
        self.put_int(value);
        Ok(())
    }

    pub(super) fn float(&mut self, scalar: Scalar, value: f64) -> Result<(), Fault> {
        if scalar != Scalar::F32 {
            self.put_f64(value);
            return Ok(());
        }
        // The cast rounds to nearest, and gives an infinity where that is beyond the largest f32.
        let narrow = value as f32;
        if narrow.is_infinite() && value.is_finite() {
            return Err(Fault::new(format!("{value} is out of range for f32")));
        }
        let written = encode::write_f32(&mut self.out, narrow);
        debug_assert!(written.is_ok());
        Ok(())
    }

    /// A number with a fraction or exponent.
    pub(super) fn number(
        &mut self,
        scalar: Scalar,
        value: f64,
        shown: TypeId,
    ) -> Result<(), Fault> {
        match scalar {
            Scalar::F32 | Scalar::F64 | Scalar::Any => self.float(scalar, value),
            Scalar::Timestamp | Scalar::Duration => Err(mismatch(self.types, shown, "float")),
            _ if scalar.int_range().is_some() && value.fract() == 0.0 => {
                if value.abs() > MAX_SAFE as f64 {
                    let expected =
                        "write integers beyond 2^53 - 1 with all their digits, or as a string";
                    return Err(Fault::new(format!(
                        "invalid {} `{value:e}`: {expected}",
                        scalar.name()
                    )));
                }
                // Exact: the value is integral and small.
                self.int(scalar, value as i128, shown)
            }
            _ => Err(mismatch(self.types, shown, "float")),
        }
    }
}
