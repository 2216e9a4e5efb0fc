//! A job's variables: look-up and expansion.
//!
//! One pass, `$NAME` and `${NAME}`, values looked up in the unexpanded list. Source: GitLab Runner's variable semantics
//! (Go's `os.Expand`): unknown is empty, `$$` is `$`, shell specials (`$@`, `$1`) are empty, `$` before anything else stays.

use crate::job::Variable;

/// Variables in order; the last of a key wins.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    list: Vec<Variable>,
    file_dir: String,
}

impl Variables {
    /// `list` in order of precedence, weakest first. A reference to a file variable gives `<file_dir>/<key>`.
    pub fn new(list: Vec<Variable>, file_dir: impl Into<String>) -> Self {
        Self { list, file_dir: file_dir.into() }
    }

    /// All variables as given, unexpanded.
    pub fn iter(&self) -> impl Iterator<Item = &Variable> {
        self.list.iter()
    }

    /// Adds a variable that beats those already there.
    pub fn push(&mut self, variable: Variable) {
        self.list.push(variable);
    }

    /// The unexpanded variable `key`.
    pub fn find(&self, key: &str) -> Option<&Variable> {
        self.list.iter().rev().find(|v| v.key == key)
    }

    /// The expanded value of `key`, for a file variable its content; empty if unknown. This is how settings are read.
    pub fn value(&self, key: &str) -> String {
        self.find(key).map(|v| self.expanded_value(v)).unwrap_or_default()
    }

    /// The expanded value of `variable`; raw ones are left as they are.
    pub fn expanded_value(&self, variable: &Variable) -> String {
        let text = variable.value.expose();
        if variable.raw { text.to_owned() } else { self.expand(text) }
    }

    /// Expands the references in `text`.
    pub fn expand(&self, text: &str) -> String {
        expand(text, |key| match self.find(key) {
            Some(v) if v.file => format!("{}/{}", self.file_dir, v.key),
            Some(v) => v.value.expose().to_owned(),
            None => String::new(),
        })
    }

    /// The values that must never be in the log: expanded, trimmed, without empty ones and duplicates.
    pub fn masked_values(&self) -> Vec<String> {
        let mut values: Vec<String> = self
            .list
            .iter()
            .filter(|v| v.masked)
            .map(|v| self.expanded_value(v).trim().to_owned())
            .filter(|v| !v.is_empty())
            .collect();
        values.sort_unstable();
        values.dedup();
        values
    }
}

/// Replaces `$NAME` and `${NAME}` in `text` by what `value` gives for the name.
pub fn expand(text: &str, value: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        match reference(after) {
            Reference::Name { name, used } => {
                out.push_str(&value(name));
                rest = &after[used..];
            }
            Reference::Dollar => {
                out.push('$');
                rest = &after[1..];
            }
            Reference::Nothing { used } => rest = &after[used..],
            Reference::Literal => {
                out.push('$');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

enum Reference<'a> {
    /// A variable's name and how much of the text it took.
    Name { name: &'a str, used: usize },
    /// `$$`.
    Dollar,
    /// A shell special or bad braces: expands to nothing.
    Nothing { used: usize },
    /// Not a reference.
    Literal,
}

fn reference(after: &str) -> Reference<'_> {
    let special = |b: u8| matches!(b, b'*' | b'#' | b'@' | b'!' | b'?' | b'-' | b'0'..=b'9');
    let word = |s: &str| s.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
    match after.bytes().next() {
        None => Reference::Literal,
        Some(b'$') => Reference::Dollar,
        Some(b'{') => {
            let Some(close) = after.find('}') else { return Reference::Nothing { used: 1 } };
            let name = &after[1..close];
            let used = close + 1;
            if name == "$" {
                return Reference::Name { name, used };
            }
            if !name.is_empty() && word(name) == name.len() && !special(name.as_bytes()[0]) {
                Reference::Name { name, used }
            } else {
                Reference::Nothing { used }
            }
        }
        Some(b) if special(b) => Reference::Nothing { used: 1 },
        Some(_) => match word(after) {
            0 => Reference::Literal,
            used => Reference::Name { name: &after[..used], used },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn variables() -> Variables {
        let raw = Variable { raw: true, ..Variable::public("RAW", "$A") };
        let file = Variable { file: true, ..Variable::public("FILE", "content") };
        let masked = Variable { masked: true, ..Variable::public("SECRET", " $C-secret\n") };
        let list = vec![
            Variable::public("A", "first"),
            Variable::public("B", "$C"),
            Variable::public("C", "1"),
            raw,
            file,
            Variable::public("A", "$B"),
            masked,
        ];
        Variables::new(list, "/tmp/p.tmp")
    }

    #[test]
    fn j301_j302_j303_j304_references_expand_once() {
        for (text, expected) in [
            ("$C", "1"),
            ("${C}x$C", "1x1"),
            ("$A", "$B"),
            ("$UNKNOWN-", "-"),
            ("$$C", "$C"),
            ("$@$1$?x", "x"),
            ("$/x", "$/x"),
            ("end$", "end$"),
            ("${}", ""),
            ("a${b c}d", "ad"),
            ("$FILE", "/tmp/p.tmp/FILE"),
            ("$RAW", "$A"),
            ("é$C€", "é1€"),
        ] {
            assert_eq!(variables().expand(text), expected, "{text}");
        }
    }

    #[test]
    fn j303_j305_the_last_of_a_key_wins_and_is_expanded_once() {
        assert_eq!(variables().value("A"), "$C");
        assert_eq!(variables().value("RAW"), "$A");
        assert_eq!(variables().value("FILE"), "content");
        assert_eq!(variables().value("NONE"), "");
    }

    #[test]
    fn j307_masked_values_are_expanded_and_trimmed() {
        let mut variables = variables();
        variables.push(Variable { key: "EMPTY".into(), value: Secret::new(" "), masked: true, ..Variable::default() });
        assert_eq!(variables.masked_values(), ["1-secret"]);
    }
}
