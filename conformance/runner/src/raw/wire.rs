//! Numbers, frames and tagged fields, docs/spec/wire.md sections 1, 4, 5 and 7 to 11.

use std::collections::HashMap;

/// The shortest form of a number.
pub fn varint(number: u64) -> Vec<u8> {
    match number {
        0..=0x3f => vec![number as u8],
        0x40..=0x3fff => (0x4000 | number as u16).to_be_bytes().to_vec(),
        0x4000..=0x3fff_ffff => (0x8000_0000 | number as u32).to_be_bytes().to_vec(),
        _ => (0xc000_0000_0000_0000 | number).to_be_bytes().to_vec(),
    }
}

/// A number at the start of `bytes`, and what follows it; `None` if it is not all there.
pub fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let length = 1 << (first >> 6);
    let (number, rest) = bytes.split_at_checked(length)?;
    let number = number[1..]
        .iter()
        .fold(u64::from(first & 0x3f), |sum, byte| {
            sum << 8 | u64::from(*byte)
        });
    Some((number, rest))
}

/// A frame.
pub fn frame(byte: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = varint(payload.len() as u64);
    out.push(byte);
    out.extend_from_slice(payload);
    out
}

/// The frame at the start of `bytes` and what follows it; `None` if it is not all there.
pub fn read_frame(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (length, rest) = read_varint(bytes)?;
    let (byte, rest) = rest.split_first()?;
    let (payload, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((*byte, payload, rest))
}

/// A tagged field.
pub fn field(tag: u64, critical: bool, value: &[u8]) -> Vec<u8> {
    let mut out = varint(tag << 1 | u64::from(critical));
    out.extend(varint(value.len() as u64));
    out.extend_from_slice(value);
    out
}

/// A field that holds a number.
pub fn number(tag: u64, critical: bool, value: u64) -> Vec<u8> {
    field(tag, critical, &varint(value))
}

/// Tagged fields in their order: tag, whether critical, value.
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Of a block.
    pub fn new(block: &'a [u8]) -> Self {
        Self(block)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, bool, &'a [u8]), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let one = || {
            let (head, rest) = read_varint(self.0)?;
            let (length, rest) = read_varint(rest)?;
            let (value, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            Some((head >> 1, head & 1 == 1, value, rest))
        };
        match one() {
            Some((tag, critical, value, rest)) => {
                self.0 = rest;
                Some(Ok((tag, critical, value)))
            }
            None => {
                self.0 = &[];
                Some(Err("a tagged field that is not all there".to_owned()))
            }
        }
    }
}

/// The number that fills a field's value.
fn whole(value: &[u8]) -> Result<u64, String> {
    match read_varint(value) {
        Some((number, [])) => Ok(number),
        _ => Err(format!("{value:02x?} is not one number")),
    }
}

fn text(value: &[u8]) -> Result<String, String> {
    String::from_utf8(value.to_vec()).map_err(|_| format!("{value:02x?} is not UTF-8"))
}

/// Metadata: alternating keys and values.
pub fn metadata(block: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut out: Vec<(String, Vec<u8>)> = Vec::new();
    let mut key = None;
    for each in Fields::new(block) {
        match (each?, key.take()) {
            ((1, _, value), None) => key = Some(text(value)?),
            ((2, _, value), Some(name)) => out.push((name, value.to_vec())),
            ((tag, _, _), _) => return Err(format!("tag {tag} at its place in metadata")),
        }
    }
    Ok(out)
}

/// A call header.
#[derive(Debug, Default, Clone)]
#[allow(missing_docs)] // the names are those of the specification
pub struct Header {
    pub service: String,
    pub version: u64,
    pub method: String,
    pub contract: Option<Vec<u8>>,
    pub codec: u64,
    pub deadline: Option<u64>,
    pub session: Option<u64>,
    pub metadata: Vec<(String, Vec<u8>)>,
    pub define: Option<u64>,
    pub route: Option<u64>,
    pub compress: bool,
}

impl Header {
    /// Reads a header; unknown fields are skipped unless they are critical.
    pub fn read(block: &[u8]) -> Result<Self, String> {
        let mut out = Self::default();
        for each in Fields::new(block) {
            let (tag, critical, value) = each?;
            match tag {
                1 => out.service = text(value)?,
                2 => out.version = whole(value)?,
                3 => out.method = text(value)?,
                4 => out.contract = Some(value.to_vec()),
                5 => out.codec = whole(value)?,
                6 => out.deadline = Some(whole(value)?),
                7 => out.session = Some(whole(value)?),
                8 => out.metadata = metadata(value)?,
                9 => out.define = Some(whole(value)?),
                10 => out.route = Some(whole(value)?),
                11 => out.compress = whole(value)? == 1,
                _ if critical => return Err(format!("critical tag {tag} in a call header")),
                _ => {}
            }
        }
        Ok(out)
    }
}

/// The routes of a lane, by their numbers.
#[derive(Debug, Default)]
pub struct Routes(HashMap<u64, (String, String)>);

impl Routes {
    /// Service and method of a header; a definition is kept.
    pub fn resolve(&mut self, header: &Header) -> Result<(String, String), String> {
        if let Some(route) = header.route {
            return self
                .0
                .get(&route)
                .cloned()
                .ok_or_else(|| format!("route {route} is not defined"));
        }
        let target = (header.service.clone(), header.method.clone());
        if let Some(define) = header.define {
            if define != self.0.len() as u64 {
                return Err(format!("route {define} is defined after {}", self.0.len()));
            }
            self.0.insert(define, target.clone());
        }
        Ok(target)
    }
}

/// The three parts of a lane frame: call id, block of fields, message.
pub fn lane_parts(payload: &[u8]) -> Result<(u64, &[u8], &[u8]), String> {
    let parts = || {
        let (id, rest) = read_varint(payload)?;
        let (length, rest) = read_varint(rest)?;
        let (block, message) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        Some((id, block, message))
    };
    parts().ok_or_else(|| format!("a lane frame that is not all there: {payload:02x?}"))
}

/// A lane frame of three parts.
pub fn lane(byte: u8, id: u64, block: &[u8], message: &[u8]) -> Vec<u8> {
    let mut payload = varint(id);
    payload.extend(varint(block.len() as u64));
    payload.extend_from_slice(block);
    payload.extend_from_slice(message);
    frame(byte, &payload)
}

/// A status.
#[derive(Debug, Default, Clone)]
pub struct Status {
    /// 0 for success.
    pub code: u64,
    /// The text.
    pub message: String,
    /// Whether the handler certainly did not run.
    pub did_not_run: bool,
    /// 0 the handler.
    pub origin: u64,
}

impl Status {
    /// Reads a status.
    pub fn read(block: &[u8]) -> Result<Self, String> {
        let mut out = Self::default();
        for each in Fields::new(block) {
            let (tag, critical, value) = each?;
            match tag {
                1 => out.code = whole(value)?,
                2 => out.message = text(value)?,
                5 => out.origin = whole(value)?,
                6 => out.did_not_run = whole(value)? == 1,
                3 | 4 | 7 | 8 => {}
                _ if critical => return Err(format!("critical tag {tag} in a status")),
                _ => {}
            }
        }
        Ok(out)
    }
}

/// The status codes by name.
pub const CODES: [(&str, u64); 18] = [
    ("OK", 0),
    ("CANCELLED", 1),
    ("UNKNOWN", 2),
    ("INVALID_ARGUMENT", 3),
    ("DEADLINE_EXCEEDED", 4),
    ("NOT_FOUND", 5),
    ("ALREADY_EXISTS", 6),
    ("PERMISSION_DENIED", 7),
    ("RESOURCE_EXHAUSTED", 8),
    ("FAILED_PRECONDITION", 9),
    ("ABORTED", 10),
    ("OUT_OF_RANGE", 11),
    ("UNIMPLEMENTED", 12),
    ("INTERNAL", 13),
    ("UNAVAILABLE", 14),
    ("DATA_LOSS", 15),
    ("UNAUTHENTICATED", 16),
    ("CONTRACT_MISMATCH", 101),
];

/// The name of a status code.
pub fn code_name(code: u64) -> String {
    CODES
        .iter()
        .find(|(_, number)| *number == code)
        .map_or_else(|| format!("CODE_{code}"), |(name, _)| (*name).to_owned())
}

/// The number of a status code.
pub fn code_number(name: &str) -> Result<u64, String> {
    CODES
        .iter()
        .find(|(each, _)| *each == name)
        .map(|(_, number)| *number)
        .or_else(|| name.strip_prefix("CODE_")?.parse().ok())
        .ok_or_else(|| format!("there is no status code {name}"))
}

/// The codes of CONNECTION_CLOSE by name.
pub const CLOSES: [(&str, u64); 7] = [
    ("DONE", 0),
    ("PROTOCOL", 1),
    ("REFUSED", 2),
    ("HANDSHAKE_TIMEOUT", 3),
    ("TOO_MANY", 4),
    ("GOING_AWAY", 5),
    ("LANE_STALLED", 6),
];

/// The codes of RESET_STREAM and STOP_SENDING by name.
pub const STREAM_CODES: [(&str, u64); 3] = [("CANCELLED", 0), ("PROTOCOL", 1), ("ENDED", 2)];
