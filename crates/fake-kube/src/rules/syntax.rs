//! The alphabets of names, and the sentences that refuse them.

const LABEL_WHY: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_WHY: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const QUALIFIED_WHY: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE_WHY: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const KEY_WHY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const ENV_WHY: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";

/// `Err` is the sentence that refuses it.
pub(super) type Verdict = Result<(), String>;

fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

fn is_label(text: &str, inside: impl Fn(char) -> bool, edge: impl Fn(char) -> bool) -> bool {
    text.chars().all(inside) && text.starts_with(&edge) && text.ends_with(&edge)
}

fn is_lower(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn verdict(ok: bool, why: &str) -> Verdict {
    if ok { Ok(()) } else { Err(why.to_owned()) }
}

/// Names of containers, volumes, namespaces: at most 63 bytes.
pub(super) fn dns_label(text: &str) -> Verdict {
    if text.len() > 63 {
        return Err(too_long(63));
    }
    verdict(is_label(text, |c| is_lower(c) || c == '-', is_lower), LABEL_WHY)
}

/// Names of objects: at most 253 bytes.
pub(super) fn dns_subdomain(text: &str) -> Verdict {
    if text.len() > 253 {
        return Err(too_long(253));
    }
    let parts_ok = text.split('.').all(|part| is_label(part, |c| is_lower(c) || c == '-', is_lower));
    verdict(parts_ok, SUBDOMAIN_WHY)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// Keys of labels and annotations, and finalizers: `[prefix/]name`.
pub(super) fn qualified_name(text: &str) -> Verdict {
    let name = match text.split_once('/') {
        Some((prefix, name)) => {
            if prefix.is_empty() {
                return Err("prefix part must be non-empty".to_owned());
            }
            dns_subdomain(prefix).map_err(|why| format!("prefix part {why}"))?;
            name
        }
        None => text,
    };
    if name.is_empty() {
        return Err(format!("name part must be non-empty; {QUALIFIED_WHY}"));
    }
    if name.len() > 63 {
        return Err(format!("name part {}", too_long(63)));
    }
    verdict(is_label(name, is_word, |c| c.is_ascii_alphanumeric()), QUALIFIED_WHY)
}

/// Values of labels.
pub(super) fn label_value(text: &str) -> Verdict {
    if text.len() > 63 {
        return Err(too_long(63));
    }
    let ok = text.is_empty() || is_label(text, is_word, |c| c.is_ascii_alphanumeric());
    verdict(ok, VALUE_WHY)
}

/// Keys of secrets and config maps.
pub(super) fn data_key(text: &str) -> Verdict {
    if text.len() > 253 {
        return Err(too_long(253));
    }
    verdict(!text.is_empty() && text.chars().all(is_word) && text != "." && !text.starts_with(".."), KEY_WHY)
}

/// Names of environment variables.
pub(super) fn env_name(text: &str) -> Verdict {
    verdict(text.chars().all(|c| matches!(c, ' '..='~') && c != '='), ENV_WHY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_as_the_server_judges_them() {
        let long = "a".repeat(64);
        let longer = "a".repeat(254);
        for (check, good, bad) in [
            (dns_label as fn(&str) -> Verdict, &["a", "a-1", "0"][..], &["", "A", "a.b", "-a", "a-", "a_b", &long][..]),
            (dns_subdomain, &["a", "a.b-c.d", &long], &["", "a..b", ".a", "a.", "A", "a_b", &longer]),
            (
                qualified_name,
                &["a", "A_b.c", "x.io/y", "example.com/My-Key"],
                &["", "a/", "/a", "a/b/c", "X.io/y", "-a", &long],
            ),
            (label_value, &["", "a", "A.b_c-d"], &["-a", "a b", "a/b", "é", &long]),
            (data_key, &["a", ".hidden", "A_b-c.d"], &["", ".", "..", "..a", "a/b", "a b"]),
            (env_name, &["A", "a.b", "with space"], &["a=b", "é", "\n"]),
        ] {
            for name in good {
                assert_eq!(check(name), Ok(()), "{name}");
            }
            for name in bad {
                assert!(check(name).is_err(), "{name}");
            }
        }
    }
}
