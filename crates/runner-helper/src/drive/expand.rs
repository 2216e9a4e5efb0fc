//! Parameter expansion in artifact names and in paths, as a POSIX shell does it between double quotes; commands are refused.

use std::collections::BTreeMap;

/// Why a text cannot be expanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExpandError {
    /// `$(…)` or backquotes.
    #[error("command substitution is not supported")]
    Command,
    /// Not the syntax of a shell.
    #[error("bad substitution")]
    Syntax,
}

/// Expands `$NAME`, `${NAME}`, `${#NAME}` and `${NAME<op>word}` with the operators `:- - := = :+ + % %% # ##`.
pub(crate) fn expand(text: &str, env: &BTreeMap<String, String>) -> Result<String, ExpandError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['$', '\\', '`']) {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        rest = match (rest.as_bytes()[at], after.chars().next()) {
            (b'`', _) | (b'$', Some('(')) => return Err(ExpandError::Command),
            (b'\\', Some(c @ ('$' | '`' | '"' | '\\'))) => {
                out.push(c);
                &after[1..]
            }
            (b'\\', _) => {
                out.push('\\');
                after
            }
            (_, Some('{')) => {
                let end = closing(after).ok_or(ExpandError::Syntax)?;
                out.push_str(&braces(&after[1..end], env)?);
                &after[end + 1..]
            }
            _ => match name_len(after) {
                0 => {
                    out.push('$');
                    after
                }
                len => {
                    out.push_str(env.get(&after[..len]).map_or("", String::as_str));
                    &after[len..]
                }
            },
        };
    }
    out.push_str(rest);
    Ok(out)
}

/// Position of the brace that closes the one `text` begins with.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => depth += 1,
            '}' if depth == 1 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn name_len(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count()
}

fn braces(inside: &str, env: &BTreeMap<String, String>) -> Result<String, ExpandError> {
    let value = |name: &str| env.get(name).map(String::as_str);
    if let Some(name) = inside.strip_prefix('#').filter(|name| !name.is_empty() && name_len(name) == name.len()) {
        return Ok(value(name).unwrap_or("").chars().count().to_string());
    }
    let (name, rest) = inside.split_at(name_len(inside));
    if name.is_empty() {
        return Err(ExpandError::Syntax);
    }
    let set = value(name);
    let filled = set.filter(|value| !value.is_empty());
    let whole = || set.unwrap_or("").to_owned();
    let word = |op: &str| expand(&rest[op.len()..], env);
    let chosen = |value: Option<&str>, op: &str| value.map_or_else(|| word(op), |value| Ok(value.to_owned()));
    let replaced = |value: Option<&str>, op: &str| value.map_or(Ok(String::new()), |_| word(op));
    let operators = [":-", ":=", ":+", "%%", "##", "-", "=", "+", "%", "#"];
    match operators.into_iter().find(|op| rest.starts_with(op)) {
        None if rest.is_empty() => Ok(whole()),
        None => Err(ExpandError::Syntax),
        Some(op @ (":-" | ":=")) => chosen(filled, op),
        Some(op @ ("-" | "=")) => chosen(set, op),
        Some(op @ ":+") => replaced(filled, op),
        Some(op @ "+") => replaced(set, op),
        Some(op) => Ok(cut(&whole(), op, &word(op)?)),
    }
}

/// Cuts what `pattern` matches off the start (`#`) or the end (`%`) of `value`; twice the sign is the longest match.
fn cut(value: &str, op: &str, pattern: &str) -> String {
    let mut ends: Vec<usize> = value.char_indices().map(|(at, _)| at).chain([value.len()]).collect();
    let from_start = op.starts_with('#');
    if from_start == (op.len() == 2) {
        ends.reverse(); // longest first
    }
    let found = ends.into_iter().find(|&at| {
        let part = if from_start { &value[..at] } else { &value[at..] };
        wildcard(pattern, part)
    });
    match found {
        Some(at) if from_start => value[at..].to_owned(),
        Some(at) => value[..at].to_owned(),
        None => value.to_owned(),
    }
}

/// Whether `text` matches `pattern`, where `*` is any text and `?` any character.
fn wildcard(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut retry) = (0, 0, None);
    loop {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p, t));
                p += 1;
                continue;
            }
            None if t == text.len() => return true,
            Some(&c) if t < text.len() && (c == '?' || c == text[t]) => {
                p += 1;
                t += 1;
                continue;
            }
            _ => {}
        }
        match retry {
            Some((star, from)) if from < text.len() => {
                retry = Some((star, from + 1));
                p = star + 1;
                t = from + 1;
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j410_parameters_expand_as_in_a_shell() {
        let env = [("A", "a/b.tar.gz"), ("EMPTY", ""), ("N", "x y")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        for (text, expected) in [
            ("$A-${N}", Ok("a/b.tar.gz-x y")),
            ("${UNSET:-dflt}${EMPTY:-e}${EMPTY-x}|${UNSET-y}", Ok("dflte|y")),
            ("${A:+set}${EMPTY:+no}${EMPTY+is}${UNSET+no}", Ok("setis")),
            ("${UNSET:-${N}}", Ok("x y")),
            ("${#N} $UNSET.", Ok("3 .")),
            ("${A%.*} ${A%%.*} ${A#*/} ${A##*.}", Ok("a/b.tar a/b b.tar.gz gz")),
            ("a\\$A \\* $ $1", Ok("a$A \\* $ $1")),
            ("$(id)", Err(ExpandError::Command)),
            ("`id`", Err(ExpandError::Command)),
            ("${A", Err(ExpandError::Syntax)),
            ("${}", Err(ExpandError::Syntax)),
            ("${A!}", Err(ExpandError::Syntax)),
        ] {
            assert_eq!(expand(text, &env), expected.map(str::to_owned), "{text}");
        }
    }
}
