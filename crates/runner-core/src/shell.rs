//! What every POSIX shell agrees on: quoting and names.

/// `text` as one word of any POSIX shell: bare if nothing in it is special, else in single quotes.
pub fn quote(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b',' | b'-' | b'.' | b'/' | b'@' | b':' | b'+');
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Whether a shell can have a variable of this name.
pub fn is_name(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.starts_with(first) && text.chars().all(|c| first(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j401_words_are_quoted_only_where_needed() {
        for (text, quoted) in [
            ("", "''"),
            ("a/b-c.d_e@1", "a/b-c.d_e@1"),
            ("a b", "'a b'"),
            ("$(id)", "'$(id)'"),
            ("it's", r"'it'\''s'"),
            ("a\nb\\n", "'a\nb\\n'"),
            ("~", "'~'"),
            ("é", "'é'"),
        ] {
            assert_eq!(quote(text), quoted, "{text}");
        }
    }

    #[test]
    fn names_are_those_of_posix() {
        for (text, expected) in
            [("A", true), ("_a1", true), ("1A", false), ("", false), ("A-B", false), ("A.B", false), ("É", false)]
        {
            assert_eq!(is_name(text), expected, "{text}");
        }
    }
}
