//! Paths that fit a pattern, as Ruby's `File.fnmatch?` decides: `*` stops at slashes, `**/` does
//! not, braces name alternatives, hidden files are files.

use regex::Regex;

/// A pattern of paths.
pub(super) struct Glob(Option<Regex>);

impl Glob {
    pub(super) fn new(pattern: &str) -> Self {
        // A pattern that is none, such as `[`, fits nothing.
        Self(Regex::new(&format!("^(?s:{})$", translated(pattern))).ok())
    }

    pub(super) fn fits(&self, path: &str) -> bool {
        self.0.as_ref().is_some_and(|regex| regex.is_match(path))
    }
}

fn translated(pattern: &str) -> String {
    let mut out = String::new();
    let mut rest = pattern;
    let mut depth = 0_usize;
    while let Some(letter) = rest.chars().next() {
        let at_start = rest.len() == pattern.len() || out.ends_with('/');
        if let (true, Some(after)) = (at_start, rest.strip_prefix("**/")) {
            out.push_str("(?:[^/]*/)*");
            rest = after.trim_start_matches("**/");
            continue;
        }
        let mut skipped = letter.len_utf8();
        match letter {
            '*' => {
                skipped = rest.len() - rest.trim_start_matches('*').len();
                out.push_str("[^/]*");
            }
            '?' => out.push_str("[^/]"),
            '{' => {
                depth += 1;
                out.push_str("(?:");
            }
            '}' if depth > 0 => {
                depth -= 1;
                out.push(')');
            }
            ',' if depth > 0 => out.push('|'),
            '[' => match rest[1..].find(']').filter(|end| *end > 0) {
                Some(end) => {
                    let set = rest[1..=end].replace('\\', "\\\\").replace('[', "\\[").replace("&&", "&\\&");
                    let set = set.strip_prefix('!').map_or(set.clone(), |set| format!("^{set}"));
                    out.push_str(&format!("[{set}]"));
                    skipped = end + 2;
                }
                None => out.push_str("\\["),
            },
            '\\' => {
                let next = rest[1..].chars().next().unwrap_or('\\');
                out.push_str(&regex::escape(&next.to_string()));
                skipped = (1 + next.len_utf8()).min(rest.len());
            }
            other => out.push_str(&regex::escape(&other.to_string())),
        }
        rest = &rest[skipped..];
    }
    out.push_str(&")".repeat(depth));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_ruby_has_it() {
        for (pattern, path, fits) in [
            ("Dockerfile", "Dockerfile", true),
            ("Dockerfile", "docker/Dockerfile", false),
            ("*.md", "README.md", true),
            ("*.md", "docs/a.md", false),
            ("docs/*", "docs/a.md", true),
            ("docs/*", "docs/a/b.md", false),
            ("**/*.md", "docs/a/b.md", true),
            ("**/*.md", "b.md", true),
            ("docs/**/*", "docs/a/b.md", true),
            ("docs/**", "docs/a/b.md", false),
            ("*.{js,ts}", "a.ts", true),
            ("{a,b/**}/*.{c,d}", "b/x/y.d", true),
            ("[ab]?.rs", "b1.rs", true),
            ("[!ab].rs", "a.rs", false),
            ("a\\*", "a*", true),
            (".*", ".hidden", true),
            ("*", ".hidden", true),
            ("[", "[", true),
            ("{", "{", false),
            ("a.b", "axb", false),
        ] {
            assert_eq!(Glob::new(pattern).fits(path), fits, "{pattern} {path}");
        }
    }
}
