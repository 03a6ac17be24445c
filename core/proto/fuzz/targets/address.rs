//! Addresses from any text, and from any bytes with the right checksum.

#![no_main]

use aster_proto::address::{Address, CHECKSUM_LABEL, MAX_DIRECT, MAX_LEN, MAX_RELAY, PREFIX};
use aster_proto_fuzz::bounded;
use libfuzzer_sys::fuzz_target;

fn parse(text: &str) {
    let Ok(address) = bounded(4 * text.len() + 8_192, || text.parse::<Address>()) else {
        return;
    };
    assert!(text.trim().len() <= MAX_LEN && address.direct.len() <= MAX_DIRECT);
    assert!(
        address
            .relay
            .as_ref()
            .is_none_or(|relay| relay.len() <= MAX_RELAY)
    );
    let written = address.to_string();
    assert!(
        written.len() <= MAX_LEN,
        "an address that was read is written too long to be read"
    );
    assert_eq!(written.parse(), Ok(address));
}

fuzz_target!(|data: &[u8]| {
    let [choice, rest @ ..] = data else { return };
    if choice & 1 == 0 {
        if let Ok(text) = std::str::from_utf8(rest) {
            parse(text);
            parse(&format!("{PREFIX}{text}"));
        }
        return;
    }
    let mut bytes = vec![1];
    bytes.extend_from_slice(&[*choice; 32]);
    bytes.extend_from_slice(rest);
    let mut hasher = blake3::Hasher::new_derive_key(CHECKSUM_LABEL);
    hasher.update(&bytes);
    bytes.extend_from_slice(&hasher.finalize().as_bytes()[..4]);
    parse(&format!("{PREFIX}{}", bs58::encode(bytes).into_string()));
});
