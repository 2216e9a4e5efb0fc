//! Go durations as `config.toml` and job variables spell them: `1h30m`, `300ms`, `-1.5s`, `0`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

const MICROSECOND: i64 = 1_000;
const MILLISECOND: i64 = 1_000 * MICROSECOND;
const SECOND: i64 = 1_000 * MILLISECOND;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// A span of time in nanoseconds, possibly negative, as Go's `time.Duration`.
///
/// `Display` prints it as Go does: `1h0m0s`, `1.5s`, `300ms`, `0s`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(i64);

/// Why a text is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// No number where one must be.
    #[error("expected a duration like `1h30m` or `300ms`")]
    Malformed,
    /// A number without a unit.
    #[error("the unit is missing, expected one of ns, us, ms, s, m, h")]
    NoUnit,
    /// A unit Go does not know.
    #[error("unknown unit, expected one of ns, us, ms, s, m, h")]
    UnknownUnit,
    /// More than about 292 years.
    #[error("the duration is too long")]
    TooLong,
}

impl GoDuration {
    /// `nanos` nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// `secs` seconds; what does not fit becomes the longest duration.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(SECOND))
    }

    /// Nanoseconds.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// The same as `std`'s type, or `None` if it is negative.
    pub fn to_std(self) -> Option<Duration> {
        u64::try_from(self.0).ok().map(Duration::from_nanos)
    }

    /// The same as `std`'s type, or `None` if it is zero or negative: many keys mean "not set" by that.
    pub fn positive(self) -> Option<Duration> {
        self.to_std().filter(|d| !d.is_zero())
    }
}

impl From<Duration> for GoDuration {
    fn from(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(Self(0));
        }
        if rest.is_empty() {
            return Err(DurationError::Malformed);
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let (nanos, after) = leading_part(rest)?;
            total = total.checked_add(nanos).ok_or(DurationError::TooLong)?;
            rest = after;
        }
        if negative {
            total = -total;
        }
        i64::try_from(total).map(Self).map_err(|_| DurationError::TooLong)
    }
}

/// Splits `12.5ms…` off the front: its nanoseconds and what follows.
fn leading_part(text: &str) -> Result<(i128, &str), DurationError> {
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(text);
    let after_whole = &text[whole..];
    let fraction = after_whole.strip_prefix('.').map(|f| &f[..digits(f)]);
    if whole == 0 && fraction.is_none_or(str::is_empty) {
        return Err(DurationError::Malformed);
    }
    let rest = &after_whole[fraction.map_or(0, |f| f.len() + 1)..];
    let unit_len = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let unit = match &rest[..unit_len] {
        "" => return Err(DurationError::NoUnit),
        "ns" => 1,
        "us" | "µs" | "μs" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        _ => return Err(DurationError::UnknownUnit),
    };
    let unit = i128::from(unit);
    let mut nanos = match &text[..whole] {
        "" => 0,
        n => n.parse::<i64>().map_err(|_| DurationError::TooLong)?.into(),
    };
    nanos *= unit;
    let mut scale = unit;
    for digit in fraction.unwrap_or_default().bytes().take(18) {
        nanos += i128::from(digit - b'0') * scale / 10;
        // A digit below a nanosecond counts for nothing, as in Go.
        scale /= 10;
    }
    Ok((nanos, &rest[unit_len..]))
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let below_second = [(SECOND, MILLISECOND, "ms"), (MILLISECOND, MICROSECOND, "µs"), (MICROSECOND, 1, "ns")];
        if nanos > 0 && nanos < SECOND.unsigned_abs() {
            for (limit, unit, name) in below_second.into_iter().rev() {
                if nanos < limit.unsigned_abs() {
                    return write!(f, "{}{name}", decimal(nanos, unit.unsigned_abs()));
                }
            }
        }
        let (hour, minute) = (HOUR.unsigned_abs(), MINUTE.unsigned_abs());
        if nanos >= hour {
            write!(f, "{}h", nanos / hour)?;
        }
        if nanos >= minute {
            write!(f, "{}m", nanos % hour / minute)?;
        }
        write!(f, "{}s", decimal(nanos % minute, SECOND.unsigned_abs()))
    }
}

/// `nanos / unit` with as many decimals as it needs; `unit` is a power of ten.
fn decimal(nanos: u64, unit: u64) -> String {
    let (whole, fraction) = (nanos / unit, nanos % unit);
    if fraction == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    let digits = format!("{fraction:0width$}");
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    /// A string is a duration text, a number is nanoseconds (as in Go).
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = GoDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration like `1h30m` or `300ms`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<GoDuration, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, nanos: i64) -> Result<GoDuration, E> {
                Ok(GoDuration(nanos))
            }

            fn visit_u64<E: de::Error>(self, nanos: u64) -> Result<GoDuration, E> {
                i64::try_from(nanos).map(GoDuration).map_err(|_| E::custom(DurationError::TooLong))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_printed_as_go_does() {
        for (text, nanos, printed) in [
            ("0", 0, "0s"),
            ("0s", 0, "0s"),
            ("1h", HOUR, "1h0m0s"),
            ("60m", HOUR, "1h0m0s"),
            ("1h30m", HOUR + 30 * MINUTE, "1h30m0s"),
            ("90s", 90 * SECOND, "1m30s"),
            ("1.5h", HOUR + 30 * MINUTE, "1h30m0s"),
            ("300ms", 300 * MILLISECOND, "300ms"),
            ("1500ms", 1500 * MILLISECOND, "1.5s"),
            (".5s", 500 * MILLISECOND, "500ms"),
            ("5.s", 5 * SECOND, "5s"),
            ("1h15m30.918s", HOUR + 15 * MINUTE + 30_918 * MILLISECOND, "1h15m30.918s"),
            ("10us", 10 * MICROSECOND, "10µs"),
            ("1µs5ns", 1005, "1.005µs"),
            ("-5m", -5 * MINUTE, "-5m0s"),
            ("+5m", 5 * MINUTE, "5m0s"),
            ("0.0000000001s", 0, "0s"),
            ("999ns", 999, "999ns"),
        ] {
            let duration: GoDuration = text.parse().unwrap_or_else(|err| panic!("{text}: {err}"));
            assert_eq!(duration.nanos(), nanos, "{text}");
            assert_eq!(duration.to_string(), printed, "{text}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused_with_the_cause() {
        for (text, error) in [
            ("", DurationError::Malformed),
            ("-", DurationError::Malformed),
            (".", DurationError::Malformed),
            ("h", DurationError::Malformed),
            ("1h x", DurationError::UnknownUnit),
            ("60", DurationError::NoUnit),
            ("1h30", DurationError::NoUnit),
            ("3d", DurationError::UnknownUnit),
            ("1 h", DurationError::UnknownUnit),
            ("9999999h", DurationError::TooLong),
            ("99999999999999999999h", DurationError::TooLong),
        ] {
            assert_eq!(text.parse::<GoDuration>().unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn zero_and_negative_are_not_positive() {
        for (text, positive) in [("0", None), ("-1s", None), ("2s", Some(Duration::from_secs(2)))] {
            assert_eq!(text.parse::<GoDuration>().unwrap().positive(), positive);
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_printed_reads_back_as_the_same(nanos in i64::MIN + 1..i64::MAX) {
            let duration = GoDuration::from_nanos(nanos);
            proptest::prop_assert_eq!(duration.to_string().parse::<GoDuration>().unwrap(), duration);
        }
    }
}
