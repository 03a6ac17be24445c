//! Between JavaScript's values and the bridge's flat records.

use aster_bridge::engine::Metadata;
use aster_bridge::{Failure, options};
use napi::Env;
use napi::bindgen_prelude::{Object, Uint8Array};
use napi_derive::napi;

use crate::fault::{Fault, Result, misuse};
use crate::records::{
    COMPRESS, COMPRESS_GIVEN, IDEMPOTENT, IDEMPOTENT_GIVEN, Options, WITHIN, entries,
};

/// A failed outcome; see `Status` in `typescript/src/native/types.ts`.
#[napi(object, object_from_js = false, use_nullable = true)]
pub struct Status<'env> {
    /// The status code's number.
    pub code: u32,
    /// What happened and what to do.
    pub message: String,
    /// One MessagePack value for programs.
    pub details: Option<Uint8Array>,
    /// Initial response metadata.
    pub metadata: Object<'env>,
    /// Trailing metadata.
    pub trailing: Object<'env>,
    /// Who made the status.
    pub origin: &'static str,
    /// Whether the handler may have run.
    pub may_have_run: bool,
    /// When to try again.
    pub retry_after_ms: Option<f64>,
    /// Which method at which peer.
    pub context: String,
}

/// What came with an answer.
#[napi(object, object_from_js = false)]
pub struct Info<'env> {
    /// Initial metadata.
    pub metadata: Object<'env>,
    /// Trailing metadata.
    pub trailing_metadata: Object<'env>,
}

fn made(error: napi::Error) -> Fault {
    misuse(error.reason)
}

pub(crate) fn status_to_js<'env>(env: &'env Env, failure: &Failure) -> Result<Status<'env>> {
    Ok(Status {
        code: failure.code.into(),
        message: failure.message.clone(),
        details: failure
            .details
            .as_ref()
            .map(|details| details.to_vec().into()),
        metadata: metadata_to_js(env, &failure.metadata)?,
        trailing: metadata_to_js(env, &failure.trailing)?,
        origin: failure.origin,
        may_have_run: failure.may_have_run,
        retry_after_ms: failure
            .retry_after_ms
            .map(|milliseconds| milliseconds as f64),
        context: failure.context.clone(),
    })
}

pub(crate) fn info_to_js<'env>(
    env: &'env Env,
    metadata: &Metadata,
    trailing: &Metadata,
) -> Result<Info<'env>> {
    Ok(Info {
        metadata: metadata_to_js(env, metadata)?,
        trailing_metadata: metadata_to_js(env, trailing)?,
    })
}

/// An object of text, or of bytes where the key ends in `-bin`.
pub(crate) fn metadata_to_js<'env>(env: &'env Env, metadata: &Metadata) -> Result<Object<'env>> {
    let mut out = Object::new(env).map_err(made)?;
    for (key, value) in metadata.iter() {
        match std::str::from_utf8(value) {
            Ok(text) if !key.ends_with("-bin") => out.set(key, text),
            _ => out.set(key, Uint8Array::from(value.to_vec())),
        }
        .map_err(made)?;
    }
    Ok(out)
}

/// Metadata as [`entries`] reads it; keys and values were made from JavaScript's strings and bytes.
pub(crate) fn metadata_from(bytes: &[u8]) -> Result<Metadata> {
    let mut out = Metadata::new();
    for (key, value) in entries(bytes) {
        let key = std::str::from_utf8(key).map_err(|error| misuse(error.to_string()))?;
        out.insert(key, value.to_vec())
            .map_err(|error| misuse(error.to_string()))?;
    }
    Ok(out)
}

/// The options of a call but for its session.
pub(crate) fn call_options(given: &Options<'_>) -> Result<options::Call> {
    let mut options = options::Call::default();
    if !given.timeout_ms.is_nan() {
        // JavaScript has seen to it that this is a whole number from 0.
        let time = Some(given.timeout_ms as u64);
        if given.flags & WITHIN == 0 {
            options.timeout_ms = time;
        } else {
            options.within_ms = time;
        }
    }
    if !given.metadata.is_empty() {
        options.metadata = metadata_from(given.metadata)?;
    }
    if given.flags & COMPRESS_GIVEN != 0 {
        options.compress = Some(given.flags & COMPRESS != 0);
    }
    if given.flags & IDEMPOTENT_GIVEN != 0 {
        options.idempotent = Some(given.flags & IDEMPOTENT != 0);
    }
    Ok(options)
}

/// The options of an endpoint; JavaScript refuses unknown ones and numbers that are not whole and positive.
#[napi(object, object_to_js = false)]
#[derive(Default)]
pub struct Endpoint {
    /// A file that keeps the secret key and the UDP port.
    pub identity: Option<String>,
    /// The URL of one's own relay; empty for none.
    pub relay: Option<String>,
    /// `default` or `local`.
    pub preset: Option<String>,
    /// How often a quiet connection is shown to be alive.
    pub keep_alive_ms: Option<f64>,
    /// After how long a silence a connection is given up.
    pub idle_timeout_ms: Option<f64>,
    /// The largest message taken.
    pub max_message_bytes: Option<f64>,
    /// Name and version of the program.
    pub agent: Option<String>,
    /// How long connecting may take. Clients only.
    pub connect_timeout_ms: Option<f64>,
    /// Whether large messages are compressed unless a call says otherwise. Clients only.
    pub compress: Option<bool>,
}

impl From<Endpoint> for options::Endpoint {
    fn from(given: Endpoint) -> Self {
        let whole = |number: Option<f64>| number.map(|number| number as u64);
        Self {
            identity: given.identity.map(Into::into),
            relay: given.relay,
            preset: given.preset,
            keep_alive_ms: whole(given.keep_alive_ms),
            idle_timeout_ms: whole(given.idle_timeout_ms),
            max_message_bytes: whole(given.max_message_bytes),
            agent: given.agent,
            connect_timeout_ms: whole(given.connect_timeout_ms),
            compress: given.compress,
        }
    }
}
