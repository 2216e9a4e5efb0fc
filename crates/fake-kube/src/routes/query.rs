//! A request's query, read leniently as the real server does.

use crate::status::ApiError;
use crate::store::Commit;

/// Decoded pairs in their order.
pub(super) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Self { pairs: pairs.collect() }
    }

    /// The value, or `""`.
    pub(super) fn get(&self, name: &str) -> &str {
        self.find(name).unwrap_or_default()
    }

    /// The value, if it was given.
    pub(super) fn find(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// As Kubernetes reads booleans: given and neither `false` nor `0`.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.find(name).is_some_and(|value| value != "false" && value != "0")
    }

    /// A whole number, if given and not empty.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError>
    where
        T::Err: std::fmt::Display,
    {
        match self.get(name) {
            "" => Ok(None),
            value => {
                value.parse().map(Some).map_err(|error| ApiError::bad_request(format!("{name}: {value:?}: {error}")))
            }
        }
    }

    /// `dryRun=All`.
    pub(super) fn commit(&self) -> Result<Commit, ApiError> {
        match self.get("dryRun") {
            "" => Ok(Commit::Keep),
            "All" => Ok(Commit::DryRun),
            other => {
                Err(ApiError::bad_request(format!("dryRun: Unsupported value: {other:?}: supported values: \"All\"")))
            }
        }
    }
}

/// Undoes percent-encoding and `+`.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let query = Query::parse("a=1&b=x%3Dy%2Cz+w&flag&off=false&e=&bad=%zz&a=2");
        for (name, expected) in [("a", "1"), ("b", "x=y,z w"), ("flag", ""), ("bad", "%zz"), ("none", "")] {
            assert_eq!(query.get(name), expected);
        }
        assert!(query.flag("flag") && !query.flag("off") && !query.flag("none"));
        assert!(query.number::<u64>("bad").is_err());
        assert_eq!(query.number::<u64>("e").unwrap(), None);
    }
}
