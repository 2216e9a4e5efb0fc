//! Kubernetes quantities (`500m`, `1.5Gi`, `2e3`): as much as it takes to check and to compare them.
//!
//! Source: Kubernetes API conventions, "Quantity": a decimal number and a decimal, binary or exponent suffix.

/// Not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a quantity like 500m, 2 or 1.5Gi")]
pub(super) struct BadQuantity(String);

/// An amount in billionths of its unit, the finest step a quantity has; finer ones are rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Amount(i128);

impl Amount {
    /// Reads `text`. An amount beyond 10^29 is refused; Kubernetes itself ends at 2^63.
    pub(super) fn parse(text: &str) -> Result<Self, BadQuantity> {
        read(text).map(Self).ok_or_else(|| BadQuantity(text.to_owned()))
    }
}

fn read(text: &str) -> Option<i128> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (binary, exponent) = scale(suffix)?;
    let power = 9 + exponent - i32::try_from(fraction.len()).ok()?;
    let amount = digits.checked_mul(binary)?;
    let ten = |power: u32| 10_i128.checked_pow(power);
    let billionths = match u32::try_from(power) {
        Ok(power) => amount.checked_mul(ten(power)?)?,
        Err(_) => {
            let unit = ten(power.unsigned_abs())?;
            amount / unit + i128::from(amount % unit != 0)
        }
    };
    Some(if negative { -billionths } else { billionths })
}

/// What a suffix means: a factor and a power of ten.
fn scale(suffix: &str) -> Option<(i128, i32)> {
    let binary = |power: u32| Some((1024_i128.pow(power), 0));
    match suffix {
        "" => Some((1, 0)),
        "n" => Some((1, -9)),
        "u" => Some((1, -6)),
        "m" => Some((1, -3)),
        "k" => Some((1, 3)),
        "M" => Some((1, 6)),
        "G" => Some((1, 9)),
        "T" => Some((1, 12)),
        "P" => Some((1, 15)),
        "E" => Some((1, 18)),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (-30..=30).contains(&exponent).then_some((1, exponent))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering::{self, Equal, Greater, Less};

    use super::*;

    fn compare(a: &str, b: &str) -> Ordering {
        Amount::parse(a).unwrap().cmp(&Amount::parse(b).unwrap())
    }

    #[test]
    fn quantities_compare_by_what_they_mean() {
        for (a, order, b) in [
            ("1", Equal, "1000m"),
            ("1.5", Equal, "1500m"),
            (".5", Equal, "500m"),
            ("5.", Equal, "5"),
            ("0.1", Equal, "1e-1"),
            ("2e3", Equal, "2k"),
            ("2E3", Equal, "2k"),
            ("1E", Equal, "1e18"),
            ("1Gi", Greater, "1G"),
            ("1024Mi", Equal, "1Gi"),
            ("1.5Gi", Equal, "1536Mi"),
            ("16Ei", Greater, "16E"),
            ("5", Greater, "4"),
            ("999m", Less, "1"),
            ("-1", Less, "0"),
            ("+1", Equal, "1"),
            ("0.0000000001", Equal, "1n"),
            ("100n", Less, "1u"),
        ] {
            assert_eq!(compare(a, b), order, "{a} {b}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", " ", "x", "1x", "1 Gi", "1gi", "1.2.3", ".", "-", "Gi", "1e", "1e99", "0x10", "1K", "--1"] {
            assert!(Amount::parse(text).is_err(), "{text}");
        }
        let huge = "9".repeat(40);
        assert!(Amount::parse(&huge).is_err());
    }
}
