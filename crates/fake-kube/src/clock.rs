//! Times as Kubernetes writes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::{format_rfc3339_nanos, format_rfc3339_seconds};

/// Now, as `metav1.Time`: RFC 3339, UTC, whole seconds.
pub(crate) fn now() -> String {
    format(SystemTime::now())
}

/// One time as `metav1.Time`.
pub(crate) fn format(time: SystemTime) -> String {
    format_rfc3339_seconds(time).to_string()
}

/// Now with nine digits of fraction, as log stamps and `metav1.MicroTime` need it.
pub(crate) fn now_nanos() -> String {
    format_rfc3339_nanos(SystemTime::now()).to_string()
}

/// Reads RFC 3339 with `Z` or a numeric offset.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    if text.ends_with(['Z', 'z']) {
        return humantime::parse_rfc3339(text).ok();
    }
    let (stamp, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let seconds = hours.parse::<u64>().ok()? * 3600 + minutes.parse::<u64>().ok()? * 60;
    let local = humantime::parse_rfc3339(&format!("{stamp}Z")).ok()?;
    match offset.as_bytes()[0] {
        b'+' => local.checked_sub(Duration::from_secs(seconds)),
        b'-' => local.checked_add(Duration::from_secs(seconds)),
        _ => None,
    }
}

/// Makes log stamps that never repeat within one log: `2026-01-02T03:04:05.123456789Z`.
///
/// The calendar part is formatted once per second, because a log writer stamps every line.
pub(crate) struct Stamper {
    second: u64,
    nanos: u128,
    text: Vec<u8>,
}

impl Stamper {
    /// The length of every stamp in bytes.
    pub(crate) const LEN: usize = 30;

    pub(crate) fn new() -> Self {
        Self { second: u64::MAX, nanos: 0, text: Vec::new() }
    }

    /// Sets the stamp to now. Called once per chunk; lines inside differ by one nanosecond.
    pub(crate) fn sync(&mut self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        self.nanos = now.max(self.nanos);
    }

    /// Appends the next stamp to `out`.
    pub(crate) fn stamp(&mut self, out: &mut Vec<u8>) {
        self.nanos += 1;
        let second = u64::try_from(self.nanos / 1_000_000_000).unwrap_or(u64::MAX);
        if second != self.second {
            self.second = second;
            let text = format(UNIX_EPOCH + Duration::from_secs(second));
            self.text = text.into_bytes();
            self.text.pop();
        }
        out.extend_from_slice(&self.text);
        let mut digits = *b".000000000Z";
        let mut rest = u32::try_from(self.nanos % 1_000_000_000).unwrap_or(0);
        for digit in digits[1..10].iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
        }
        out.extend_from_slice(&digits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_taken_into_account() {
        let utc = parse("2026-01-02T03:04:05Z").unwrap();
        assert_eq!(parse("2026-01-02T05:34:05+02:30"), Some(utc));
        assert_eq!(parse("2026-01-02T01:04:05-02:00"), Some(utc));
        for wrong in ["", "x", "2026", "2026-01-02T03:04:05"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn stamps_are_of_one_length_and_increase() {
        let (mut stamper, mut last) = (Stamper::new(), Vec::new());
        stamper.sync();
        for _ in 0..1000 {
            let mut next = Vec::new();
            stamper.stamp(&mut next);
            assert_eq!(next.len(), Stamper::LEN);
            assert!(next > last);
            assert!(parse(std::str::from_utf8(&next).unwrap()).is_some());
            last = next;
        }
    }
}
