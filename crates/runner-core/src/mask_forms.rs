//! How a secret looks inside other texts.

use std::fmt::Write;

/// `phrase` and how it looks inside a JSON string and in a URL; forms that are equal are there more than once.
pub(crate) fn forms(phrase: &str) -> [Vec<u8>; 8] {
    let json = in_json(phrase);
    // As encoders do it that take care of HTML too, Go's among them.
    let html_safe = json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    let slashes = json.replace('/', "\\/");
    let url = in_url(phrase);
    let lower = lower_case_escapes(&url);
    let path = url.replace("%2F", "/");
    let form = url.replace("%20", "+");
    [phrase.to_owned(), json, html_safe, slashes, url, lower, path, form].map(String::into_bytes)
}

fn in_json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Every byte but the unreserved ones of RFC 3986 as `%XX`.
fn in_url(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}"); // a String takes everything
        }
    }
    out
}

fn lower_case_escapes(url: &str) -> String {
    let mut parts = url.split('%');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // Two digits follow each sign, made by `in_url`.
        let (digits, rest) = part.split_at(2);
        out.push('%');
        out.push_str(&digits.to_ascii_lowercase());
        out.push_str(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_has_its_json_and_url_forms() {
        let of = |phrase: &str| -> Vec<String> {
            let mut all: Vec<_> = forms(phrase).into_iter().map(|form| String::from_utf8(form).unwrap()).collect();
            all.sort();
            all.dedup();
            all
        };
        assert_eq!(of("plain-1.2_3~"), ["plain-1.2_3~"]);
        assert_eq!(of("a\"b\nc"), ["a\"b\nc", "a%22b%0Ac", "a%22b%0ac", "a\\\"b\\nc"]);
        assert_eq!(of("a /é"), ["a /é", "a \\/é", "a%20%2F%C3%A9", "a%20%2f%c3%a9", "a%20/%C3%A9", "a+%2F%C3%A9"]);
        assert_eq!(of("<&>"), ["%3C%26%3E", "%3c%26%3e", "<&>", "\\u003c\\u0026\\u003e"]);
        assert_eq!(of(""), [""]);
    }
}
