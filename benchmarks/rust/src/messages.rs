//! The messages of the benchmark as a user would write them: serde types, MessagePack maps by field name.

use std::collections::HashMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Result;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StatusRequest {
    pub(crate) agent_id: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StatusResponse {
    pub(crate) agent_id: String,
    pub(crate) status: String,
    pub(crate) uptime_secs: i64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MetricPoint {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) timestamp: f64,
    pub(crate) tags: HashMap<String, String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct IngestResult {
    pub(crate) accepted: i64,
    pub(crate) total: f64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TailRequest {
    pub(crate) count: i64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LogEntry {
    pub(crate) timestamp: f64,
    pub(crate) level: String,
    pub(crate) message: String,
    pub(crate) agent_id: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ChatMessage {
    pub(crate) seq: i64,
    pub(crate) text: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Blob {
    #[serde(with = "serde_bytes")]
    pub(crate) data: Vec<u8>,
}

/// `count` messages of `size` bytes each.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DownloadRequest {
    pub(crate) count: i64,
    pub(crate) size: i64,
}

/// A message as payload bytes.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    Ok(rmp_serde::to_vec_named(value)?)
}

/// A message from payload bytes.
pub(crate) fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T> {
    Ok(rmp_serde::from_slice(payload)?)
}
