//! Addresses: `aster1` and base58 of where a peer can be reached. Nothing in an address is secret.
//!
//! The bytes are: format version (1), the 32 bytes of the endpoint id, tagged fields (1: relay URL; 2: a socket
//! address, 6 or 18 bytes: IP then port, big-endian), and the first 4 bytes of the BLAKE3 hash of all that under
//! [`CHECKSUM_LABEL`]. At most [`MAX_DIRECT`] socket addresses, sorted, IPv4 first.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use bytes::{BufMut, BytesMut};

use crate::fields::{Reader, Writer};

/// What every address starts with.
pub const PREFIX: &str = "aster1";
/// Domain label of the checksum.
pub const CHECKSUM_LABEL: &str = "aster/1 address checksum";
/// Most socket addresses in an address.
pub const MAX_DIRECT: usize = 4;
/// Longest relay URL in an address, in bytes.
pub const MAX_RELAY: usize = 512;
/// Longest address, in characters. It holds the longest relay URL and the most socket addresses.
pub const MAX_LEN: usize = 1024;

const FORMAT: u8 = 1;
const CHECKSUM: usize = 4;
const TAG_RELAY: u64 = 1;
const TAG_DIRECT: u64 = 2;

/// Where a peer can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// The peer's Ed25519 public key, which is its identity.
    pub endpoint_id: [u8; 32],
    /// The URL of the relay it can be reached through, at most [`MAX_RELAY`] bytes: a longer one can't be read back.
    pub relay: Option<String>,
    /// Socket addresses it can be reached at.
    pub direct: Vec<SocketAddr>,
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressError(String);

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AddressError {}

impl Address {
    /// An address of these parts, with the direct addresses sorted, without duplicates, and cut to [`MAX_DIRECT`].
    pub fn new(
        endpoint_id: [u8; 32],
        relay: Option<String>,
        direct: impl IntoIterator<Item = SocketAddr>,
    ) -> Self {
        // Without the flow and the scope of IPv6, which mean something only on the machine they were read on.
        let mut direct: Vec<SocketAddr> = direct
            .into_iter()
            .map(|at| SocketAddr::new(at.ip(), at.port()))
            .collect();
        direct.sort_unstable();
        direct.dedup();
        direct.truncate(MAX_DIRECT);
        Self {
            endpoint_id,
            relay,
            direct,
        }
    }

    /// An address that is only an identity, for peers that discovery can find.
    pub fn from_id(endpoint_id: [u8; 32]) -> Self {
        Self::new(endpoint_id, None, [])
    }

    fn to_bytes(&self) -> BytesMut {
        let mut out = BytesMut::new();
        out.put_u8(FORMAT);
        out.put_slice(&self.endpoint_id);
        let mut writer = Writer::new(&mut out);
        if let Some(relay) = &self.relay {
            writer.bytes(TAG_RELAY, false, relay.as_bytes());
        }
        for address in &self.direct {
            let mut bytes = BytesMut::new();
            match address.ip() {
                IpAddr::V4(ip) => bytes.put_slice(&ip.octets()),
                IpAddr::V6(ip) => bytes.put_slice(&ip.octets()),
            }
            bytes.put_u16(address.port());
            writer.bytes(TAG_DIRECT, false, &bytes);
        }
        let sum = checksum(&out);
        out.put_slice(&sum);
        out
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let mut hasher = blake3::Hasher::new_derive_key(CHECKSUM_LABEL);
    hasher.update(bytes);
    let mut sum = [0; CHECKSUM];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..CHECKSUM]);
    sum
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        f.write_str(&bs58::encode(self.to_bytes()).into_string())
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Reads an `aster1…` address, or a bare endpoint id of 64 hex digits.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        if text.len() == 64
            && let Some(id) = hex(text)
        {
            return Ok(Self::from_id(id));
        }
        let fail = |why: String| Err(AddressError(why));
        if text.is_empty() {
            return fail(
                "the address is empty: pass the aster1… line that the server printed".into(),
            );
        }
        if text.len() > MAX_LEN {
            return fail(format!(
                "the address has {} characters: the longest has {MAX_LEN}",
                text.len()
            ));
        }
        let Some(body) = text.strip_prefix(PREFIX) else {
            let shown: String = text.chars().take(24).collect();
            let what = if text.contains("://") || text.contains(':') {
                "that looks like a URL or host:port"
            } else if text.starts_with("aster") {
                "its version is not known here, perhaps it is from a newer Aster"
            } else {
                "that is something else"
            };
            return fail(format!(
                "{shown:?} is not an Aster address, which starts with {PREFIX}: {what}; pass the line that the server printed"
            ));
        };
        let bytes = match bs58::decode(body).into_vec() {
            Ok(bytes) => bytes,
            Err(bs58::decode::Error::InvalidCharacter { character, index }) => {
                return fail(format!(
                    "the address has the character {character:?} at position {}, which no address has (0, O, I and l \
                     are left out): copy it again",
                    PREFIX.len() + index + 1
                ));
            }
            Err(_) => {
                return fail(
                    "the address has characters that no address has: copy it again".into(),
                );
            }
        };
        // Version, id and checksum: the shortest address there is.
        if bytes.len() < 1 + 32 + CHECKSUM {
            return fail(format!(
                "the address is cut short ({} characters): copy it again, whole",
                text.len()
            ));
        }
        let (bytes, sum) = bytes.split_at(bytes.len() - CHECKSUM);
        if checksum(bytes) != *sum {
            return fail("the address has a typo or is cut short (its checksum is wrong): copy it again, whole".into());
        }
        if bytes[0] != FORMAT {
            return fail(format!(
                "the address has format {}, from a newer Aster: update this side",
                bytes[0]
            ));
        }
        let mut endpoint_id = [0; 32];
        endpoint_id.copy_from_slice(&bytes[1..33]);
        let (mut relay, mut direct) = (None, Vec::new());
        let mut reader = Reader::new(&bytes[33..], "the address");
        let bad = |error: crate::error::WireError| AddressError(error.to_string());
        while let Some(field) = reader.field().map_err(bad)? {
            match field.tag {
                TAG_RELAY if field.value.len() > MAX_RELAY => {
                    return fail(format!(
                        "the relay URL of the address is over {MAX_RELAY} bytes, the most allowed"
                    ));
                }
                TAG_RELAY => {
                    relay = Some(
                        field
                            .as_str("the relay of the address")
                            .map_err(bad)?
                            .to_owned(),
                    )
                }
                TAG_DIRECT if direct.len() == MAX_DIRECT => {
                    return fail(format!(
                        "the address lists over {MAX_DIRECT} socket addresses, the most allowed"
                    ));
                }
                TAG_DIRECT => direct.push(socket(field.value)?),
                _ => field.unknown("the address").map_err(bad)?,
            }
        }
        Ok(Self::new(endpoint_id, relay, direct))
    }
}

fn socket(bytes: &[u8]) -> Result<SocketAddr, AddressError> {
    let ip = match bytes.len() {
        6 => <[u8; 4]>::try_from(&bytes[..4])
            .map(|ip| IpAddr::V4(Ipv4Addr::from(ip)))
            .ok(),
        18 => <[u8; 16]>::try_from(&bytes[..16])
            .map(|ip| IpAddr::V6(Ipv6Addr::from(ip)))
            .ok(),
        _ => None,
    };
    let Some(ip) = ip else {
        return Err(AddressError(
            "a socket address in the address is neither IPv4 nor IPv6".into(),
        ));
    };
    Ok(SocketAddr::new(
        ip,
        u16::from_be_bytes([bytes[bytes.len() - 2], bytes[bytes.len() - 1]]),
    ))
}

/// 64 hex digits as 32 bytes.
fn hex(text: &str) -> Option<[u8; 32]> {
    // `from_str_radix` takes a sign as well.
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut id = [0; 32];
    for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Address {
        let direct = ["192.168.1.7:4711", "127.0.0.1:4711", "[2001:db8::1]:4711"];
        Address::new(
            [0xab; 32],
            Some("https://relay.example.com/".into()),
            direct.map(|text| text.parse().expect("a socket address")),
        )
    }

    #[test]
    fn a4_addresses_are_read_back_and_short() {
        let address = sample();
        let text = address.to_string();
        assert_eq!(text.parse(), Ok(address));
        let short = Address::new(
            [0xab; 32],
            None,
            ["127.0.0.1:4711".parse().expect("a socket address")],
        );
        assert!(short.to_string().len() < 80, "{short}");
        assert_eq!(
            format!(" {text}\n")
                .parse::<Address>()
                .map(|a| a.to_string()),
            Ok(text)
        );
    }

    #[test]
    fn a4_every_typo_is_found() {
        let text = sample().to_string();
        for at in PREFIX.len()..text.len() {
            let mut typo = text.clone().into_bytes();
            typo[at] = if typo[at] == b'x' { b'y' } else { b'x' };
            let typo = String::from_utf8(typo).expect("ASCII");
            let error = typo
                .parse::<Address>()
                .expect_err("a typo was taken for an address");
            assert!(error.to_string().contains("typo"), "{error}");
        }
    }

    #[test]
    fn a4_a_truncated_and_a_foreign_text_have_messages_of_their_own() {
        let text = sample().to_string();
        let message = |text: &str| {
            text.parse::<Address>()
                .expect_err("not an address")
                .to_string()
        };
        assert!(message(&text[..40]).contains("cut short"));
        assert!(message("http://localhost:8080").contains("URL or host:port"));
        assert!(message("aster2abc").contains("newer Aster"));
        assert!(message("").contains("empty"));
        assert!(message("aster10OIl").contains("position 7"));
        assert!(message(&"x".repeat(5000)).contains("5000 characters"));
    }

    #[test]
    fn a_relay_up_to_the_limit_fits_and_a_longer_one_is_refused() {
        let with = |length: usize| {
            let direct: Vec<SocketAddr> = (1..=4)
                .map(|port| SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port))
                .collect();
            Address::new([0xff; 32], Some("r".repeat(length)), direct)
        };
        let longest = with(MAX_RELAY);
        assert_eq!(longest.to_string().parse(), Ok(longest));
        let error = with(MAX_RELAY + 1)
            .to_string()
            .parse::<Address>()
            .expect_err("over the limit");
        assert!(error.to_string().contains("relay"), "{error}");
    }

    #[test]
    fn a_bare_endpoint_id_is_an_address() {
        assert!(
            "+a".repeat(32).parse::<Address>().is_err(),
            "a sign is not a hex digit"
        );
        let id = "ab".repeat(32);
        assert_eq!(id.parse(), Ok(Address::from_id([0xab; 32])));
    }
}
