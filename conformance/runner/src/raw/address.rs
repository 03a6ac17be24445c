//! Addresses, docs/spec/wire.md section 17.

use std::net::{IpAddr, SocketAddr};

use iroh::{EndpointAddr, EndpointId, TransportAddr};

use super::wire::{Fields, field};

const PREFIX: &str = "aster1";
const CONTEXT: &str = "aster/1 address checksum";
const CHECKSUM: usize = 4;

/// Where an address leads.
pub fn read(text: &str) -> Result<EndpointAddr, String> {
    let rest = text
        .strip_prefix(PREFIX)
        .ok_or_else(|| format!("{text:?} does not start with {PREFIX}"))?;
    let all = bs58::decode(rest)
        .into_vec()
        .map_err(|error| format!("{text:?} is not base58: {error}"))?;
    let (bytes, checksum) = all
        .split_at_checked(all.len().wrapping_sub(CHECKSUM))
        .ok_or_else(|| format!("{text:?} is too short"))?;
    if blake3::derive_key(CONTEXT, bytes)[..CHECKSUM] != *checksum {
        return Err(format!("{text:?} has a wrong checksum"));
    }
    if bytes.first() != Some(&1) || bytes.len() < 33 {
        return Err(format!("{text:?} is not of format 1"));
    }
    let id: [u8; 32] = bytes[1..33]
        .try_into()
        .map_err(|_| "an id of another length")?;
    let id = EndpointId::from_bytes(&id).map_err(|error| format!("{text:?}: {error}"))?;
    let mut direct = Vec::new();
    for each in Fields::new(&bytes[33..]) {
        let (tag, _, value) = each?;
        if tag == 2 {
            direct.push(TransportAddr::Ip(socket(value)?));
        }
    }
    Ok(EndpointAddr::from_parts(id, direct))
}

fn socket(value: &[u8]) -> Result<SocketAddr, String> {
    let (ip, port) = value
        .split_at_checked(value.len().wrapping_sub(2))
        .ok_or("a socket address without a port")?;
    let port = u16::from_be_bytes([port[0], port[1]]);
    let ip = match ip.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(ip).map_err(|error| error.to_string())?),
        16 => IpAddr::from(<[u8; 16]>::try_from(ip).map_err(|error| error.to_string())?),
        n => return Err(format!("a socket address with an IP of {n} bytes")),
    };
    Ok(SocketAddr::new(ip, port))
}

/// The address of an endpoint on loopback.
pub fn write(id: &EndpointId, port: u16) -> String {
    let mut bytes = vec![1];
    bytes.extend_from_slice(id.as_bytes());
    let mut at = vec![127, 0, 0, 1];
    at.extend_from_slice(&port.to_be_bytes());
    bytes.extend(field(2, false, &at));
    let checksum = blake3::derive_key(CONTEXT, &bytes);
    bytes.extend_from_slice(&checksum[..CHECKSUM]);
    format!("{PREFIX}{}", bs58::encode(bytes).into_string())
}
