//! Any bytes, in any pieces, against the decoder of frames.

#![no_main]

use aster_proto::frame::{self, Decoder, Frame, MAX_HEADER_LEN};
use aster_proto_fuzz::bounded;
use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;

/// All frames, and the error that ended them.
fn decode(pieces: impl Iterator<Item = Bytes>, max: usize) -> (Vec<Frame>, Option<String>, usize) {
    let mut decoder = Decoder::new(max);
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => {
                    assert!(frame.payload.len() <= max);
                    frames.push(frame);
                }
                Ok(None) => break,
                Err(error) => return (frames, Some(error.to_string()), decoder.held()),
            }
        }
        assert!(
            decoder.held() <= max + MAX_HEADER_LEN,
            "more is held than one frame"
        );
    }
    (frames, None, decoder.held())
}

fuzz_target!(|data: &[u8]| {
    let [size, limit, data @ ..] = data else {
        return;
    };
    let size = usize::from(*size % 32) + 1;
    let max = usize::from(*limit) * 4;
    // A frame costs its entry in the list and at most its bytes twice, when they come in pieces and grow a buffer.
    let memory = 4_096 + data.len() * 160;
    let whole = bounded(memory, || {
        decode(std::iter::once(Bytes::copy_from_slice(data)), max)
    });
    let split = bounded(memory, || {
        decode(data.chunks(size).map(Bytes::copy_from_slice), max)
    });
    assert_eq!(
        (&whole.0, &whole.1),
        (&split.0, &split.1),
        "the pieces of {size} bytes made a difference"
    );
    if whole.1.is_none() {
        assert_eq!(whole.2, split.2);
    }
    let mut out = BytesMut::new();
    for frame in &whole.0 {
        frame::put(&mut out, frame.byte, &frame.payload);
    }
    let again = decode(std::iter::once(out.freeze()), max);
    assert_eq!((again.0, again.1, again.2), (whole.0, None, 0));
});
