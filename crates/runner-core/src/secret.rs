//! A string that does not print itself.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A token, password or masked value. `Debug` prints `[redacted]`, there is no `Display`, memory is wiped on drop; it serializes
/// as plain text because secrets do travel in the lines between the tools.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps `value`.
    pub fn new(value: impl Into<String>) -> Self {
        Self(Zeroizing::new(value.into()))
    }

    /// The plain text. Every call is a place to look at in review.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The short form of a token, as shown in logs and names: without its known prefix, the first nine characters of the rest.
///
/// Source: GitLab's runner contract, "short form of a token".
pub fn short_token(token: &str) -> &str {
    let rest = strip_prefix(token);
    match rest.char_indices().nth(9) {
        Some((end, _)) => &rest[..end],
        None => rest,
    }
}

fn strip_prefix(token: &str) -> &str {
    let typed = |s: &str| s.len() >= 3 && matches!(&s.as_bytes()[..3], b"t1_" | b"t2_" | b"t3_");
    if let Some(rest) = token.strip_prefix("glrt-") {
        return if typed(rest) { &rest[3..] } else { rest };
    }
    for prefix in ["glrtr-", "glcbt-"] {
        if let Some(rest) = token.strip_prefix(prefix) {
            return rest;
        }
    }
    if typed(token) {
        return &token[3..];
    }
    match token.strip_prefix("GR") {
        Some(rest) if rest.len() >= 7 && rest.bytes().take(7).all(|b| b.is_ascii_hexdigit()) => &rest[7..],
        _ => token,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_the_value() {
        assert_eq!(format!("{:?}", Secret::new("glrt-abc")), "[redacted]");
    }

    #[test]
    fn short_tokens_lose_the_prefix_and_keep_nine_characters() {
        for (token, short) in [
            ("glrt-t1_abcdefghijkl", "abcdefghi"),
            ("glrt-abcdefghijkl", "abcdefghi"),
            ("t3_abcdefghijkl", "abcdefghi"),
            ("glcbt-64_abcdefgh", "64_abcdef"),
            ("GR1348941abcdefghijk", "abcdefghi"),
            ("GRxyz", "GRxyz"),
            ("short", "short"),
            ("glrtr-ab", "ab"),
            ("", ""),
        ] {
            assert_eq!(short_token(token), short, "{token}");
        }
    }
}
