//! Memory for large messages, used again.
//!
//! A message of a megabyte that is received into fresh memory costs a page fault for every four kilobytes, about as much
//! as the copy itself. A few buffers are therefore kept for the whole process, whatever connection they were filled by.

use std::sync::{Mutex, PoisonError};

use bytes::BytesMut;

/// Buffers that are kept.
const BUFFERS: usize = 4;
/// The largest message whose buffer is kept: with [`BUFFERS`] it bounds what stays allocated.
const LARGEST: usize = 2 << 20;

/// The emptied handles of buffers. Those whose messages are still held can't be filled again yet.
static KEPT: Mutex<Vec<BytesMut>> = Mutex::new(Vec::new());

/// A buffer for `size` bytes, if one that was kept is free and large enough.
pub(super) fn take(size: usize) -> Option<BytesMut> {
    if size > LARGEST {
        return None;
    }
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let free = kept
        .iter_mut()
        .position(|memory| memory.try_reclaim(size))?;
    Some(kept.swap_remove(free))
}

/// Keeps the memory of a message of `size` bytes, to be filled again once nobody holds the message.
pub(super) fn keep(mut memory: BytesMut, size: usize) {
    if size > LARGEST {
        return;
    }
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() == BUFFERS {
        // One whose message somebody keeps for long must not take the place of one in use.
        let Some(held) = kept.iter_mut().position(|memory| !memory.try_reclaim(1)) else {
            return;
        };
        std::mem::swap(&mut kept[held], &mut memory);
    } else {
        kept.push(memory);
    }
}
