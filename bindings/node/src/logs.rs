//! The core's log records.

use aster_bridge::logs;
use napi_derive::napi;

use crate::fault::{Result, misuse};

/// One log record.
#[napi(object, object_from_js = false)]
pub struct Record {
    /// trace, debug, info, warn or error.
    pub level: &'static str,
    /// The part of Aster that speaks.
    pub target: String,
    /// The text.
    pub text: String,
}

const LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];

/// Has records of this level and above kept, until they are taken.
#[napi]
pub fn keep_logs(level: String) -> Result<()> {
    let Some(number) = LEVELS.iter().position(|known| *known == level) else {
        return Err(misuse(format!(
            "level {level:?} does not exist: there are {LEVELS:?}"
        )));
    };
    // Five levels, from 1.
    if logs::keep(number as u8 + 1) {
        Ok(())
    } else {
        Err(misuse(
            "the core's log records go elsewhere in this process already",
        ))
    }
}

/// The records that wait.
#[napi]
pub fn take_logs() -> Vec<Record> {
    let record = |record: logs::Record| Record {
        level: LEVELS[usize::from(record.level.clamp(1, 5)) - 1],
        target: record.target,
        text: record.text,
    };
    logs::take().into_iter().map(record).collect()
}
