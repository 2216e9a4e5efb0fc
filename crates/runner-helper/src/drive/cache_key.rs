//! From the key a job names to a path that cannot leave the cache's folder.

use sha2::{Digest, Sha256};

/// A key that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    /// As the log shows it.
    pub(crate) name: String,
    /// Relative path.
    pub(crate) path: String,
}

/// Whether keys are hashed (`FF_HASH_CACHE_KEYS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A cleaned path.
    Clean,
    /// The SHA-256 of the key, in hex.
    Hash,
}

/// Makes a key of `text`, already expanded; with it a warning for the log. `None` if nothing is left of it.
pub(crate) fn key(text: &str, form: Form) -> (Option<Key>, Option<String>) {
    if form == Form::Hash {
        let path: String = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        return ((!text.is_empty()).then(|| Key { name: text.to_owned(), path }), None);
    }
    let clean = sanitized(text);
    let warning = match clean.as_str() {
        "" => Some(format!("cache key \"{text}\" could not be sanitized")),
        clean if clean != text => Some(format!("cache key \"{text}\" sanitized to \"{clean}\"")),
        _ => None,
    };
    ((!clean.is_empty()).then(|| Key { name: clean.clone(), path: clean }), warning)
}

/// Cleans `text` as a path below a root that it cannot leave.
fn sanitized(text: &str) -> String {
    let mut plain = text.replace('\\', "/");
    for (escaped, c) in [("%2f", "/"), ("%2F", "/"), ("%2e", "."), ("%2E", ".")] {
        plain = plain.replace(escaped, c);
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in plain.split('/') {
        match part.trim_end() {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_cannot_leave_their_folder() {
        for (text, expected) in [
            ("k-main", "k-main"),
            ("a/b", "a/b"),
            ("../../etc", "etc"),
            ("a/../b", "b"),
            ("%2F..%2Fx", "x"),
            ("%2e%2e/x", "x"),
            ("a\\b", "a/b"),
            ("a  ", "a"),
            ("a//b/", "a/b"),
            ("..", ""),
            (".", ""),
            ("", ""),
            ("...", "..."),
        ] {
            assert_eq!(sanitized(text), expected, "{text}");
            assert_eq!(sanitized(&sanitized(text)), expected, "{text} twice");
        }
    }

    #[test]
    fn a_changed_key_is_told() {
        let warning = |text| key(text, Form::Clean).1;
        assert_eq!(warning("a"), None);
        assert_eq!(warning("../a").as_deref(), Some("cache key \"../a\" sanitized to \"a\""));
        assert_eq!(warning("..").as_deref(), Some("cache key \"..\" could not be sanitized"));
    }

    #[test]
    fn a_hashed_key_keeps_its_name() {
        let hashed = key("../a", Form::Hash).0.unwrap();
        assert_eq!((hashed.name.as_str(), hashed.path.len()), ("../a", 64));
    }
}
