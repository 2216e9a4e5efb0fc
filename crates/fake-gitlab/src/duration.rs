//! Durations in words, as `timeout` and `expire_in` take them: `3h 30m`, `1 week and 2 days`.

/// Seconds of a duration text; a bare number counts as seconds. None if it is no duration.
pub(crate) fn parse_seconds(text: &str) -> Option<u64> {
    let mut total = 0_f64;
    let mut found = false;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(rest.len());
        total += number * unit(&rest[..letters])?;
        found = true;
        rest = rest[letters..].trim_start_matches([' ', ',']);
        if let Some(after) = rest.strip_prefix("and ") {
            rest = after.trim_start();
        }
    }
    // A float that is too large becomes the largest integer, which is as good.
    (found && total >= 0.0).then_some(total as u64)
}

/// Seconds of one unit.
fn unit(name: &str) -> Option<f64> {
    let name = name.to_ascii_lowercase();
    let seconds: u32 = match name.as_str() {
        "" | "s" | "sec" | "secs" | "second" | "seconds" => 1,
        "m" | "min" | "mins" | "minute" | "minutes" => 60,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3600,
        "d" | "day" | "days" => 24 * 3600,
        "w" | "week" | "weeks" => 7 * 24 * 3600,
        "mo" | "mos" | "month" | "months" => 30 * 24 * 3600,
        "y" | "yr" | "yrs" | "year" | "years" => 31_557_600,
        _ => return None,
    };
    Some(f64::from(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_words_become_seconds() {
        for (text, seconds) in [
            ("3600", Some(3600)),
            ("1h 30m", Some(5400)),
            ("2h20min", Some(8400)),
            ("3 hours and 4 mins", Some(11_040)),
            ("6 mos 1 day", Some(181 * 86_400)),
            ("47 yrs, 6 mos", Some(1_498_759_200)),
            ("1 week", Some(604_800)),
            ("1.5 hours", Some(5400)),
            ("", None),
            ("soon", None),
            ("3 parsecs", None),
            ("-1 day", None),
        ] {
            assert_eq!(parse_seconds(text), seconds, "{text}");
        }
    }
}
