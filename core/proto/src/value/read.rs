//! Reads MessagePack one token at a time from a slice, without copying.

use rmp::Marker;

use super::error::Fault;
use super::{MAX_BYTES, MAX_DEPTH};

/// One MessagePack value, or the head of an array or map whose items follow.
#[derive(Debug, Clone, Copy)]
pub(super) enum Token<'a> {
    Nil,
    Bool(bool),
    /// An integer that is not negative, whatever its format.
    Uint(u64),
    /// A negative integer.
    Int(i64),
    F32(f32),
    F64(f64),
    /// Not yet checked to be UTF-8.
    Str(&'a [u8]),
    Bin(&'a [u8]),
    Array(usize),
    Map(usize),
    Ext(i8, &'a [u8]),
}

impl Token<'_> {
    /// What error texts call it.
    pub(super) fn kind(&self) -> String {
        match self {
            Self::Nil => "null".into(),
            Self::Bool(_) => "bool".into(),
            Self::Uint(_) | Self::Int(_) => "int".into(),
            Self::F32(_) | Self::F64(_) => "float".into(),
            Self::Str(_) => "string".into(),
            Self::Bin(_) => "bytes".into(),
            Self::Array(_) => "list".into(),
            Self::Map(_) => "map".into(),
            Self::Ext(code, _) => format!("extension {code}"),
        }
    }
}

/// A position in MessagePack bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The same bytes at another place.
    pub(super) fn again(&self, at: usize) -> Self {
        Self {
            bytes: self.bytes,
            at,
        }
    }

    /// How many values there are from here to `place`, where one of them starts.
    #[cold]
    pub(super) fn items_before(mut self, place: usize) -> usize {
        let mut count = 0;
        while self.at < place && self.skip(0).is_ok() {
            count += 1;
        }
        count
    }

    /// Bytes not read yet.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The bytes read since `start`.
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    /// Reads nil if that is next.
    #[inline]
    pub(super) fn nil(&mut self) -> bool {
        let is_nil = self.bytes.get(self.at) == Some(&0xc0);
        self.at += usize::from(is_nil);
        is_nil
    }

    /// Reads the next token. An array or map is refused when its promised items cannot all be there.
    #[inline]
    pub(super) fn token(&mut self) -> Result<Token<'a>, Fault> {
        let Some(&byte) = self.bytes.get(self.at) else {
            return Err(truncated());
        };
        self.at += 1;
        Ok(match Marker::from_u8(byte) {
            Marker::FixPos(value) => Token::Uint(value.into()),
            Marker::FixNeg(value) => Token::Int(value.into()),
            Marker::FixStr(len) => Token::Str(self.take(len.into())?),
            Marker::FixMap(len) => self.map(len.into())?,
            Marker::FixArray(len) => self.array(len.into())?,
            Marker::Null => Token::Nil,
            Marker::False => Token::Bool(false),
            Marker::True => Token::Bool(true),
            Marker::U8 => Token::Uint(u8::from_be_bytes(self.fixed()?).into()),
            Marker::U16 => Token::Uint(u16::from_be_bytes(self.fixed()?).into()),
            Marker::U32 => Token::Uint(u32::from_be_bytes(self.fixed()?).into()),
            Marker::U64 => Token::Uint(u64::from_be_bytes(self.fixed()?)),
            Marker::I8 => signed(i8::from_be_bytes(self.fixed()?).into()),
            Marker::I16 => signed(i16::from_be_bytes(self.fixed()?).into()),
            Marker::I32 => signed(i32::from_be_bytes(self.fixed()?).into()),
            Marker::I64 => signed(i64::from_be_bytes(self.fixed()?)),
            Marker::F32 => Token::F32(f32::from_be_bytes(self.fixed()?)),
            Marker::F64 => Token::F64(f64::from_be_bytes(self.fixed()?)),
            Marker::Str8 => Token::Str(self.sized::<1>()?),
            Marker::Str16 => Token::Str(self.sized::<2>()?),
            Marker::Str32 => Token::Str(self.sized::<4>()?),
            Marker::Bin8 => Token::Bin(self.sized::<1>()?),
            Marker::Bin16 => Token::Bin(self.sized::<2>()?),
            Marker::Bin32 => Token::Bin(self.sized::<4>()?),
            Marker::Array16 => {
                let len = self.length::<2>()?;
                self.array(len)?
            }
            Marker::Array32 => {
                let len = self.length::<4>()?;
                self.array(len)?
            }
            Marker::Map16 => {
                let len = self.length::<2>()?;
                self.map(len)?
            }
            Marker::Map32 => {
                let len = self.length::<4>()?;
                self.map(len)?
            }
            Marker::FixExt1 => self.ext(1)?,
            Marker::FixExt2 => self.ext(2)?,
            Marker::FixExt4 => self.ext(4)?,
            Marker::FixExt8 => self.ext(8)?,
            Marker::FixExt16 => self.ext(16)?,
            Marker::Ext8 => {
                let len = self.length::<1>()?;
                self.ext(len)?
            }
            Marker::Ext16 => {
                let len = self.length::<2>()?;
                self.ext(len)?
            }
            Marker::Ext32 => {
                let len = self.length::<4>()?;
                self.ext(len)?
            }
            Marker::Reserved => return Err(Fault::new("byte 0xc1 is not MessagePack")),
        })
    }

    /// Reads past a value: well-formed, whatever it means.
    pub(super) fn skip(&mut self, depth: usize) -> Result<(), Fault> {
        let (count, per_item) = match self.token()? {
            Token::Str(bytes) => return text(bytes).map(drop),
            Token::Array(count) => (count, 1),
            Token::Map(count) => (count, 2),
            _ => return Ok(()),
        };
        enter(depth)?;
        for _ in 0..count * per_item {
            self.skip(depth + 1)?;
        }
        Ok(())
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        // Compared this way round, a promised length cannot overflow anything.
        if len > self.left() {
            return Err(truncated());
        }
        let start = self.at;
        self.at += len;
        Ok(&self.bytes[start..self.at])
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let Some(bytes) = self.bytes[self.at..].first_chunk::<N>() else {
            return Err(truncated());
        };
        self.at += N;
        Ok(*bytes)
    }

    #[inline]
    fn length<const N: usize>(&mut self) -> Result<usize, Fault> {
        Ok(self
            .fixed::<N>()?
            .iter()
            .fold(0, |len, byte| len << 8 | usize::from(*byte)))
    }

    fn sized<const N: usize>(&mut self) -> Result<&'a [u8], Fault> {
        let len = self.length::<N>()?;
        self.take(len)
    }

    fn ext(&mut self, len: usize) -> Result<Token<'a>, Fault> {
        let code = i8::from_be_bytes(self.fixed()?);
        Ok(Token::Ext(code, self.take(len)?))
    }

    /// Every item takes at least one byte, so more items than bytes cannot be there: nobody has to loop to find out.
    #[inline]
    fn array(&self, len: usize) -> Result<Token<'a>, Fault> {
        if len > self.left() {
            Err(truncated())
        } else {
            Ok(Token::Array(len))
        }
    }

    #[inline]
    fn map(&self, len: usize) -> Result<Token<'a>, Fault> {
        if len > self.left() / 2 {
            Err(truncated())
        } else {
            Ok(Token::Map(len))
        }
    }
}

#[inline]
fn signed(value: i64) -> Token<'static> {
    u64::try_from(value).map_or(Token::Int(value), Token::Uint)
}

/// Refuses what is longer than [`MAX_BYTES`].
pub(super) fn bounded(len: usize) -> Result<(), Fault> {
    if len <= MAX_BYTES {
        Ok(())
    } else {
        Err(Fault::new(format!(
            "the payload has {len} bytes, at most {MAX_BYTES} are allowed"
        )))
    }
}

/// Goes one level deeper than `depth`.
#[inline]
pub(super) fn enter(depth: usize) -> Result<(), Fault> {
    if depth < MAX_DEPTH {
        Ok(())
    } else {
        Err(too_deep())
    }
}

#[cold]
fn too_deep() -> Fault {
    Fault::new(format!("nested more than {MAX_DEPTH} levels deep"))
}

#[cold]
fn truncated() -> Fault {
    Fault::new("truncated: the payload ends inside this value")
}

/// The text of a str.
#[inline]
pub(super) fn text(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes).map_err(|_| Fault::new("invalid UTF-8 in string"))
}

/// The moment in a timestamp extension, in nanoseconds since 1970; `None` if it is not one or does not fit.
pub(super) fn timestamp(code: i8, data: &[u8]) -> Option<i64> {
    let (seconds, nanos) = match (code, data.len()) {
        (-1, 4) => (i64::from(u32::from_be_bytes(data.try_into().ok()?)), 0),
        (-1, 8) => {
            let packed = u64::from_be_bytes(data.try_into().ok()?);
            (
                i64::try_from(packed & ((1 << 34) - 1)).ok()?,
                u32::try_from(packed >> 34).ok()?,
            )
        }
        (-1, 12) => {
            let (nanos, seconds) = data.split_first_chunk::<4>()?;
            (
                i64::from_be_bytes(seconds.try_into().ok()?),
                u32::from_be_bytes(*nanos),
            )
        }
        _ => return None,
    };
    if nanos > 999_999_999 {
        return None;
    }
    let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    i64::try_from(total).ok()
}
