//! Variable-length integers of QUIC (RFC 9000, section 16): 62 bits in 1, 2, 4 or 8 bytes, big-endian, the two highest
//! bits of the first byte giving the length. Longer encodings than needed are accepted, as QUIC does; we write the shortest.

use bytes::BufMut;

/// The largest value a varint holds: 2^62 - 1.
pub const MAX: u64 = (1 << 62) - 1;

/// The longest encoding, in bytes.
pub const MAX_LEN: usize = 8;

/// How many bytes [`put`] writes for `value`.
///
/// Values above [`MAX`] count as eight bytes; [`put`] caps them.
pub const fn len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Appends `value`, capped at [`MAX`].
///
/// Every value that Aster writes is a length, a count, an id or a duration far below the cap.
#[inline]
pub fn put(out: &mut impl BufMut, value: u64) {
    match len(value) {
        1 => out.put_u8(value as u8),
        2 => out.put_u16(value as u16 | 0x4000),
        4 => out.put_u32(value as u32 | 0x8000_0000),
        _ => out.put_u64(value.min(MAX) | 0xc000_0000_0000_0000),
    }
}

/// Reads a varint at the start of `bytes`: its value and its length in bytes, or `None` if `bytes` ends before it does.
#[inline]
pub fn get(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = 1usize << (first >> 6);
    if length == 1 {
        return Some((u64::from(first), 1));
    }
    let rest = bytes.get(1..length)?;
    let mut value = u64::from(first & 0x3f);
    for byte in rest {
        value = value << 8 | u64::from(*byte);
    }
    Some((value, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 9000, appendix A.1.
    #[test]
    fn rfc_9000_examples() {
        let eight = [0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c];
        assert_eq!(get(&eight), Some((151_288_809_941_952_652, 8)));
        assert_eq!(get(&[0x9d, 0x7f, 0x3e, 0x7d]), Some((494_878_333, 4)));
        assert_eq!(get(&[0x7b, 0xbd]), Some((15_293, 2)));
        assert_eq!(get(&[0x25]), Some((37, 1)));
        assert_eq!(
            get(&[0x40, 0x25]),
            Some((37, 2)),
            "longer than needed is legal"
        );
    }

    #[test]
    fn writes_the_shortest_form_and_reads_it_back() {
        for value in [
            0,
            1,
            0x3f,
            0x40,
            0x3fff,
            0x4000,
            0x3fff_ffff,
            0x4000_0000,
            MAX,
        ] {
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(out.len(), len(value));
            assert_eq!(get(&out), Some((value, out.len())));
            assert_eq!(
                get(&out[..out.len() - 1]),
                None,
                "a truncated varint is not a value"
            );
        }
    }
}
