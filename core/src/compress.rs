//! Compression of single messages, zstd (RFC 8878).

use std::io::Read;
use std::sync::Arc;

use aster_proto::limits;
use aster_proto::status::{Code, Status};
use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::conn::source::Budget;

/// Level 3: zstd's own default, about 300 MB/s here; higher levels pay back only on data that is kept.
const LEVEL: i32 = 3;
/// Work on messages from this size on takes about a millisecond and leaves the I/O thread.
const AWAY: usize = 128 << 10;

/// A compressed message, or `None` where compressing would not make it smaller.
pub(crate) async fn compress(message: &Bytes) -> Option<Bytes> {
    if message.len() < limits::COMPRESS_THRESHOLD {
        return None;
    }
    let work = |message: &Bytes| {
        zstd::bulk::compress(message, LEVEL)
            .ok()
            .filter(|small| small.len() < message.len())
    };
    let small = if message.len() < AWAY {
        work(message)
    } else {
        let message = message.clone();
        tokio::task::spawn_blocking(move || work(&message))
            .await
            .ok()
            .flatten()
    };
    small.map(Bytes::from)
}

/// A message being decompressed. Waiting for it can be given up and taken up again.
pub(crate) struct Unfolding(Progress);

enum Progress {
    Here(Option<Result<Bytes, Status>>),
    Away(JoinHandle<Result<Bytes, Status>>),
}

impl Unfolding {
    /// Begins to decompress a message, to at most `max` bytes; the limit holds while decompressing. A peer has few of
    /// its messages decompressed at the same time, whatever it sends.
    pub(crate) fn start(message: Bytes, max: usize, budget: &Arc<Budget>) -> Self {
        let announced = zstd::zstd_safe::get_frame_content_size(&message)
            .ok()
            .flatten();
        if let Some(size) = announced.and_then(|size| usize::try_from(size).ok())
            && size < AWAY
        {
            // One that holds more than it announces is not taken at its word, nor worked on for longer.
            let result = unfold(&message, max.min(size), max);
            return Self(Progress::Here(Some(result)));
        }
        let budget = budget.clone();
        Self(Progress::Away(tokio::spawn(async move {
            // It is never closed.
            let _place = budget.unfolding.acquire().await;
            let work = tokio::task::spawn_blocking(move || unfold(&message, max, max));
            work.await.unwrap_or_else(|error| Err(failed(&error)))
        })))
    }

    /// The message. To be asked for once.
    pub(crate) async fn wait(&mut self) -> Result<Bytes, Status> {
        match &mut self.0 {
            Progress::Here(result) => result
                .take()
                .unwrap_or_else(|| Err(failed(&"taken before"))),
            Progress::Away(work) => work.await.unwrap_or_else(|error| Err(failed(&error))),
        }
    }
}

fn failed(error: &dyn std::fmt::Display) -> Status {
    Status::rejected(Code::INTERNAL, format!("decompression failed: {error}"))
}

/// A decompressed message of at most `max` bytes.
pub(crate) async fn decompress(
    message: Bytes,
    max: usize,
    budget: &Arc<Budget>,
) -> Result<Bytes, Status> {
    Unfolding::start(message, max, budget).wait().await
}

/// Decompresses one zstd frame that holds at most `expected` bytes.
fn unfold(message: &[u8], expected: usize, max: usize) -> Result<Bytes, Status> {
    let invalid = |what: &dyn std::fmt::Display| {
        Status::rejected(
            Code::INVALID_ARGUMENT,
            format!("a compressed message is not valid zstd: {what}"),
        )
    };
    let too_large = || {
        Status::rejected(
            Code::RESOURCE_EXHAUSTED,
            format!("a compressed message holds over {max} bytes, the most allowed (max_message)"),
        )
    };
    let reader = zstd::stream::read::Decoder::with_buffer(message);
    let mut reader = reader.map_err(|error| invalid(&error))?.single_frame();
    // A window is memory that the frame asks for. None needs more than the largest message, or than the 8 MiB that
    // RFC 8878 recommends to support.
    let window = max.max(8 << 20).next_power_of_two().ilog2().min(27);
    reader
        .window_log_max(window)
        .map_err(|error| invalid(&error))?;
    let mut out = Vec::new();
    // One byte over the limit tells a message that is too large from one that just fits.
    let mut limited = reader.by_ref().take(expected as u64 + 1);
    limited
        .read_to_end(&mut out)
        .map_err(|error| invalid(&error))?;
    if out.len() > expected {
        return Err(if out.len() > max {
            too_large()
        } else {
            invalid(&"it holds more than it announces")
        });
    }
    if !reader.finish().is_empty() {
        return Err(invalid(&"bytes follow its end"));
    }
    Ok(Bytes::from(out))
}
