//! Compression of single messages, zstd (RFC 8878).

use aster_proto::limits;
use aster_proto::status::{Code, Status};
use bytes::Bytes;

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

/// A decompressed message of at most `max` bytes; the limit holds while decompressing.
pub(crate) async fn decompress(message: Bytes, max: usize) -> Result<Bytes, Status> {
    let work = move |message: Bytes| {
        use std::io::Read;
        let failed = |error: std::io::Error| {
            Status::rejected(
                Code::INVALID_ARGUMENT,
                format!("a compressed message is not valid zstd: {error}"),
            )
        };
        let reader = zstd::stream::read::Decoder::with_buffer(&message[..]).map_err(failed)?;
        let mut out = Vec::new();
        // One byte over the limit tells a message that is too large from one that just fits.
        reader
            .take(max as u64 + 1)
            .read_to_end(&mut out)
            .map_err(failed)?;
        if out.len() > max {
            return Err(Status::rejected(
                Code::RESOURCE_EXHAUSTED,
                format!(
                    "a compressed message holds over {max} bytes, the most allowed (max_message)"
                ),
            ));
        }
        Ok(Bytes::from(out))
    };
    // The announced size only decides where the work is done; the limit above holds whatever it says.
    let announced = zstd::zstd_safe::get_frame_content_size(&message)
        .ok()
        .flatten();
    if announced.is_some_and(|size| size < AWAY as u64) {
        return work(message);
    }
    match tokio::task::spawn_blocking(move || work(message)).await {
        Ok(result) => result,
        Err(error) => Err(Status::rejected(
            Code::INTERNAL,
            format!("decompression failed: {error}"),
        )),
    }
}
