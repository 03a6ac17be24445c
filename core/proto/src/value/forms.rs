//! Text forms of values that JSON has no type for (docs/spec/values.md, *JSON forms*).

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::{alphabet, engine::DecodePaddingMode};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The largest integer that every JSON reader keeps exactly: 2^53 - 1.
pub(super) const MAX_SAFE: u64 = (1 << 53) - 1;

const NANOS: u32 = 1_000_000_000;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD_LENIENT: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE_LENIENT: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// A UUID in lower case with hyphens.
pub(super) fn uuid_text(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(digit.into(), 16));
        }
    }
    text
}

/// The UUID that 36 characters of hyphenated hex stand for, in either case.
pub(super) fn uuid_bytes(text: &[u8]) -> Option<[u8; 16]> {
    if text.len() != 36 || [8, 13, 18, 23].iter().any(|at| text[*at] != b'-') {
        return None;
    }
    let mut digits = text
        .iter()
        .enumerate()
        .filter(|(at, _)| !matches!(at, 8 | 13 | 18 | 23))
        .map(|(_, c)| *c);
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        let mut digit = || {
            char::from(digits.next()?)
                .to_digit(16)
                .and_then(|value| u8::try_from(value).ok())
        };
        *byte = digit()? << 4 | digit()?;
    }
    Some(bytes)
}

/// Bytes in base64, standard alphabet, with padding.
pub(super) fn base64_text(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes that base64 stands for: either alphabet, padding or not.
pub(super) fn base64_bytes(text: &str) -> Option<Vec<u8>> {
    let engine = if text.contains(['-', '_']) {
        &URL_SAFE_LENIENT
    } else {
        &STANDARD_LENIENT
    };
    engine.decode(text).ok()
}

/// The integer that decimal digits stand for: a minus sign or none, no leading zeros.
pub(super) fn integer(text: &str) -> Option<i128> {
    // The longest 64-bit integer has 20 characters; more cannot be one.
    if text.len() > 20 {
        return None;
    }
    text.parse::<i128>()
        .ok()
        .filter(|value| value.to_string() == text)
}

/// The text of a float that JSON has no number for.
pub(super) fn special_float(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value == f64::INFINITY {
        Some("Infinity")
    } else if value == f64::NEG_INFINITY {
        Some("-Infinity")
    } else {
        None
    }
}

/// The float that one of the three texts stands for.
pub(super) fn special_float_value(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// Nanoseconds since 1970 as RFC 3339 in UTC.
pub(super) fn timestamp_text(nanos: i64) -> String {
    let moment = OffsetDateTime::UNIX_EPOCH + time::Duration::nanoseconds(nanos);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}Z",
        moment.year(),
        u8::from(moment.month()),
        moment.day(),
        moment.hour(),
        moment.minute(),
        moment.second(),
        fraction(moment.nanosecond())
    )
}

/// The nanoseconds since 1970 that RFC 3339 text stands for, or what is wrong with it.
pub(super) fn timestamp_nanos(text: &str) -> Result<i64, &'static str> {
    const EXPECTED: &str = "expected RFC 3339, such as 2026-01-31T12:00:00.250Z";
    // The parser would cut more digits and bend leap seconds: both change the value without a word.
    let digits = text.split_once('.').map_or(0, |(_, rest)| {
        rest.bytes().take_while(u8::is_ascii_digit).count()
    });
    if digits > 9 {
        return Err("expected at most 9 digits of fraction");
    }
    if text.get(17..19) == Some("60") {
        return Err("leap seconds have no place in nanoseconds since 1970; use :59");
    }
    let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| EXPECTED)?;
    i64::try_from(moment.unix_timestamp_nanos())
        .map_err(|_| "expected a year between 1678 and 2261")
}

/// Nanoseconds as decimal seconds and `s`.
pub(super) fn duration_text(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let seconds = nanos / u64::from(NANOS);
    // A remainder by 10^9 fits.
    let rest = u32::try_from(nanos % u64::from(NANOS)).unwrap_or_default();
    format!("{sign}{seconds}{}s", fraction(rest))
}

/// The nanoseconds that decimal seconds and `s` stand for, or what is wrong with them.
pub(super) fn duration_nanos(text: &str) -> Result<i64, &'static str> {
    const EXPECTED: &str = "expected seconds with up to 9 digits of fraction and s, such as 1.5s";
    let number = text.strip_suffix('s').ok_or(EXPECTED)?;
    let (negative, number) = number
        .strip_prefix('-')
        .map_or((false, number), |rest| (true, rest));
    let (whole, rest) = match number.split_once('.') {
        Some((whole, rest)) if !rest.is_empty() => (whole, rest),
        Some(_) => return Err(EXPECTED),
        None => (number, ""),
    };
    let all_digits = |part: &str| part.bytes().all(|c| c.is_ascii_digit());
    if whole.is_empty()
        || whole.len() > 10
        || rest.len() > 9
        || !all_digits(whole)
        || !all_digits(rest)
    {
        return Err(if whole.len() > 10 && all_digits(whole) {
            "expected at most 292 years"
        } else {
            EXPECTED
        });
    }
    let digits = |part: &str| part.parse::<i128>().map_err(|_| EXPECTED);
    let total = digits(whole)? * i128::from(NANOS) + digits(&format!("{rest:0<9}"))?;
    i64::try_from(if negative { -total } else { total }).map_err(|_| "expected at most 292 years")
}

/// A fraction of a second with 0, 3, 6 or 9 digits.
fn fraction(nanos: u32) -> String {
    match nanos {
        0 => String::new(),
        n if n % 1_000_000 == 0 => format!(".{:03}", n / 1_000_000),
        n if n % 1_000 == 0 => format!(".{:06}", n / 1_000),
        n => format!(".{n:09}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_769_860_800_250_000_000, "2026-01-31T12:00:00.250Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
            (1_000, "1970-01-01T00:00:00.000001Z"),
            (i64::MIN, "1677-09-21T00:12:43.145224192Z"),
            (i64::MAX, "2262-04-11T23:47:16.854775807Z"),
        ] {
            assert_eq!(timestamp_text(nanos), text);
            assert_eq!(timestamp_nanos(text), Ok(nanos));
        }
        assert_eq!(
            timestamp_nanos("1970-01-01T01:00:00.5+01:00"),
            Ok(500_000_000)
        );
        for bad in [
            "",
            "1970-01-01",
            "1970-01-01T00:00:00",
            "1970-01-01T00:00:60Z",
            "1990-12-31T23:59:60Z",
            "1970-01-01T00:00:00.0000000001Z",
            "2263-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "1970-13-01T00:00:00Z",
        ] {
            assert!(timestamp_nanos(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        for (nanos, text) in [
            (0, "0s"),
            (1_500_000_000, "1.500s"),
            (-250_000_000, "-0.250s"),
            (1, "0.000000001s"),
            (i64::MIN, "-9223372036.854775808s"),
            (i64::MAX, "9223372036.854775807s"),
        ] {
            assert_eq!(duration_text(nanos), text);
            assert_eq!(duration_nanos(text), Ok(nanos));
        }
        assert_eq!(duration_nanos("1.5s"), Ok(1_500_000_000));
        for bad in [
            "",
            "s",
            "1",
            "1.s",
            ".5s",
            "+1s",
            "1e3s",
            "PT1S",
            "--1s",
            "9223372037s",
            "99999999999s",
            "1.0000000001s",
        ] {
            assert!(duration_nanos(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn integers_have_one_spelling() {
        assert_eq!(integer("-12"), Some(-12));
        assert_eq!(integer("18446744073709551615"), Some(u64::MAX.into()));
        for bad in [
            "",
            "+1",
            "01",
            "-0",
            " 1",
            "1.0",
            "1e3",
            "0x1",
            "999999999999999999999",
        ] {
            assert_eq!(integer(bad), None, "{bad}");
        }
    }

    #[test]
    fn base64_in_either_alphabet() {
        assert_eq!(base64_text(&[0xfb, 0xff]), "+/8=");
        for text in ["+/8=", "+/8", "-_8=", "-_8"] {
            assert_eq!(base64_bytes(text), Some(vec![0xfb, 0xff]), "{text}");
        }
        for bad in ["+_8=", "A", "????", "+/8==="] {
            assert_eq!(base64_bytes(bad), None, "{bad}");
        }
    }

    #[test]
    fn uuids() {
        let bytes = std::array::from_fn(|index| 0xf0 + index as u8);
        assert_eq!(uuid_text(&bytes), "f0f1f2f3-f4f5-f6f7-f8f9-fafbfcfdfeff");
        assert_eq!(
            uuid_bytes(b"F0F1f2f3-f4f5-f6f7-f8f9-fafbfcfdfeff"),
            Some(bytes)
        );
        for bad in [
            "",
            "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
            "f0f1f2f3-f4f5-f6f7-f8f9-fafbfcfdfefg",
            "{f0f1f2f3-f4f5-f6f7-f8f9-fafbfcfdfef}",
        ] {
            assert_eq!(uuid_bytes(bad.as_bytes()), None, "{bad}");
        }
    }
}
