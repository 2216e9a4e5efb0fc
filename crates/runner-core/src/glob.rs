//! Path patterns as GitLab Runner reads them for artifacts, caches and allowed images.
//!
//! | in a pattern | matches                                                                                        |
//! | ------------ | ---------------------------------------------------------------------------------------------- |
//! | `*`          | any characters but `/`, also none                                                              |
//! | `**`         | as a whole part between two `/`: any number of parts, also none, so `a/**` matches `a`; else `*` |
//! | `?`          | one character but `/`                                                                          |
//! | `[a-z_]`     | one character of the set; `[^…]` and `[!…]` one that is not in it                              |
//! | `{a,b/*}`    | any of the alternatives, which may hold `/` and further braces                                 |
//! | `\x`         | `x` itself                                                                                     |
//!
//! Names that begin with a dot are nothing special, several `/` are one, a `/` at the end is none. Matching takes time
//! proportional to pattern times path at most: nothing in a pattern can make it slow.

/// Most patterns that the braces of one may stand for.
const MOST_ALTERNATIVES: usize = 4096;

/// A pattern.
#[derive(Debug, Clone)]
pub struct Glob {
    alternatives: Vec<Vec<Part>>,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// `[` without `]`, or with nothing inside.
    #[error("bad character set in the pattern")]
    Set,
    /// `{` without `}`.
    #[error("unclosed `{{` in the pattern")]
    Brace,
    /// `\` at the end.
    #[error("`\\` at the end of the pattern")]
    Escape,
    /// The braces stand for too many patterns.
    #[error("the pattern stands for more than {MOST_ALTERNATIVES} patterns")]
    TooMany,
}

/// What stands between two `/`.
#[derive(Debug, Clone, PartialEq)]
enum Part {
    /// `**`.
    Deep,
    /// Nothing special in it.
    Literal(String),
    /// The rest.
    Pattern(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Char(char),
    One,
    Many,
    Set { negated: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    /// Reads a pattern.
    pub fn new(pattern: &str) -> Result<Self, GlobError> {
        let chars: Vec<char> = pattern.chars().collect();
        let mut plain = Vec::new();
        expand(&chars, &mut plain)?;
        let alternatives = plain.iter().map(|chars| parts(chars)).collect::<Result<_, _>>()?;
        Ok(Self { alternatives })
    }

    /// Whether the whole of `path` matches.
    pub fn matches(&self, path: &str) -> bool {
        let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        self.alternatives.iter().any(|parts| {
            let mut open = start(parts);
            for name in &path {
                open = step(parts, &open, name);
            }
            open.contains(&parts.len())
        })
    }

    /// Whether something below the folder `path` could match.
    pub fn reaches_below(&self, path: &str) -> bool {
        let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        self.alternatives.iter().any(|parts| {
            let mut open = start(parts);
            for name in &path {
                open = step(parts, &open, name);
            }
            open.iter().any(|&at| at < parts.len())
        })
    }

    /// The folders, or files, from which a search must start: for each alternative its leading parts without wildcards, none of
    /// them below another. An empty text is the folder the pattern is relative to.
    pub fn bases(&self) -> Vec<String> {
        let literal = |part: &Part| if let Part::Literal(text) = part { Some(text.clone()) } else { None };
        let mut bases: Vec<Vec<String>> =
            self.alternatives.iter().map(|parts| parts.iter().map_while(literal).collect()).collect();
        bases.sort_unstable();
        bases.dedup_by(|base, above| base.starts_with(above));
        bases.into_iter().map(|base| base.join("/")).collect()
    }
}

/// Positions in `parts` at which a path can stand before its first name.
fn start(parts: &[Part]) -> Vec<usize> {
    let mut open = Vec::new();
    reach(parts, 0, &mut open);
    open
}

/// Adds position `at`, and those behind a `**` there, which may be nothing.
fn reach(parts: &[Part], mut at: usize, open: &mut Vec<usize>) {
    loop {
        if !open.contains(&at) {
            open.push(at);
        }
        if parts.get(at) != Some(&Part::Deep) {
            return;
        }
        at += 1;
    }
}

/// Positions after one more name of the path.
fn step(parts: &[Part], open: &[usize], name: &str) -> Vec<usize> {
    let mut next = Vec::new();
    for &at in open {
        match parts.get(at) {
            None => {}
            Some(Part::Deep) => reach(parts, at, &mut next),
            Some(Part::Literal(text)) if text == name => reach(parts, at + 1, &mut next),
            Some(Part::Literal(_)) => {}
            Some(Part::Pattern(tokens)) if matches_name(tokens, name) => reach(parts, at + 1, &mut next),
            Some(Part::Pattern(_)) => {}
        }
    }
    next
}

/// Whether `name`, which has no `/`, matches. On a mismatch only the last `*` takes one character more.
fn matches_name(tokens: &[Token], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let (mut t, mut n) = (0, 0);
    let mut retry = None;
    while n < name.len() || t < tokens.len() {
        match tokens.get(t) {
            Some(Token::Many) => {
                retry = Some((t, n));
                t += 1;
                continue;
            }
            Some(token) if name.get(n).is_some_and(|&c| token.takes(c)) => {
                t += 1;
                n += 1;
                continue;
            }
            _ => {}
        }
        match retry {
            Some((star, from)) if from < name.len() => {
                retry = Some((star, from + 1));
                t = star + 1;
                n = from + 1;
            }
            _ => return false,
        }
    }
    true
}

impl Token {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Char(own) => *own == c,
            Self::One => true,
            Self::Many => false,
            Self::Set { negated, ranges } => ranges.iter().any(|&(low, high)| low <= c && c <= high) != *negated,
        }
    }
}

/// Replaces braces by the patterns they stand for.
fn expand(pattern: &[char], out: &mut Vec<Vec<char>>) -> Result<(), GlobError> {
    let Some(open) = find(pattern, 0, &['{'])? else {
        out.push(pattern.to_vec());
        return if out.len() > MOST_ALTERNATIVES { Err(GlobError::TooMany) } else { Ok(()) };
    };
    let mut commas = vec![open];
    let mut at = open + 1;
    let mut depth = 0;
    let close = loop {
        let next = find(pattern, at, &['{', ',', '}'])?.ok_or(GlobError::Brace)?;
        match pattern[next] {
            '{' => depth += 1,
            '}' if depth == 0 => break next,
            '}' => depth -= 1,
            _ if depth == 0 => commas.push(next),
            _ => {}
        }
        at = next + 1;
    };
    commas.push(close);
    for pair in commas.windows(2) {
        let chosen = [&pattern[..open], &pattern[pair[0] + 1..pair[1]], &pattern[close + 1..]].concat();
        expand(&chosen, out)?;
    }
    Ok(())
}

/// Position of the first of `wanted` from `at` on that is neither escaped nor in a character set.
fn find(pattern: &[char], mut at: usize, wanted: &[char]) -> Result<Option<usize>, GlobError> {
    while let Some(&c) = pattern.get(at) {
        match c {
            '\\' if at + 1 == pattern.len() => return Err(GlobError::Escape),
            '\\' => at += 2,
            '[' => at = set(pattern, at)?.1,
            c if wanted.contains(&c) => return Ok(Some(at)),
            _ => at += 1,
        }
    }
    Ok(None)
}

/// Divides a pattern without braces at its `/`.
fn parts(pattern: &[char]) -> Result<Vec<Part>, GlobError> {
    let mut parts = Vec::new();
    let mut from = 0;
    loop {
        let slash = find(pattern, from, &['/'])?;
        let text = &pattern[from..slash.unwrap_or(pattern.len())];
        if text == ['*', '*'] {
            parts.push(Part::Deep);
        } else if !text.is_empty() {
            parts.push(part(text)?);
        }
        match slash {
            Some(at) => from = at + 1,
            None => break,
        }
    }
    if parts.first() == Some(&Part::Literal(".".to_owned())) {
        parts.remove(0);
    }
    Ok(parts)
}

fn part(text: &[char]) -> Result<Part, GlobError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = text.get(at) {
        at += 1;
        match c {
            '*' if tokens.last() == Some(&Token::Many) => {}
            '*' => tokens.push(Token::Many),
            '?' => tokens.push(Token::One),
            '[' => {
                let (token, after) = set(text, at - 1)?;
                tokens.push(token);
                at = after;
            }
            '\\' => {
                tokens.push(Token::Char(*text.get(at).ok_or(GlobError::Escape)?));
                at += 1;
            }
            c => tokens.push(Token::Char(c)),
        }
    }
    let literal = |token: &Token| if let Token::Char(c) = token { Some(*c) } else { None };
    let text: Option<String> = tokens.iter().map(literal).collect();
    Ok(text.map_or(Part::Pattern(tokens), Part::Literal))
}

/// Reads the character set at `at`, where its `[` is; returns it and the position after its `]`.
fn set(pattern: &[char], at: usize) -> Result<(Token, usize), GlobError> {
    let mut at = at + 1;
    let negated = matches!(pattern.get(at), Some('^' | '!'));
    at += usize::from(negated);
    let mut ranges = Vec::new();
    loop {
        if pattern.get(at) == Some(&']') {
            let token = Token::Set { negated, ranges };
            return if token_is_empty(&token) { Err(GlobError::Set) } else { Ok((token, at + 1)) };
        }
        let low = member(pattern, &mut at)?;
        let is_range = pattern.get(at) == Some(&'-') && pattern.get(at + 1).is_some_and(|&c| c != ']');
        let high = if is_range {
            at += 1;
            member(pattern, &mut at)?
        } else {
            low
        };
        ranges.push((low, high));
    }
}

fn token_is_empty(token: &Token) -> bool {
    matches!(token, Token::Set { ranges, .. } if ranges.is_empty())
}

fn member(pattern: &[char], at: &mut usize) -> Result<char, GlobError> {
    if pattern.get(*at) == Some(&'\\') {
        *at += 1;
    }
    let c = *pattern.get(*at).ok_or(GlobError::Set)?;
    *at += 1;
    Ok(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_match_as_in_doublestar() {
        for (pattern, matching, other) in [
            ("abc", &["abc", "abc/", "/abc"][..], &["ab", "abcd", "abc/d", ""][..]),
            ("*", &["abc", ".dot", "é"], &["a/b", ""]),
            ("a*", &["a", "abc"], &["ba", "a/b"]),
            ("a*/b", &["a/b", "abc/b"], &["a/c/b"]),
            ("a*b*c*d*e*/f", &["axbxcxdxe/f", "axbxcxdxexxx/f"], &["axbxcxdxe/xxx/f"]),
            ("a*b?c*x", &["abxbbxdbxebxczzx"], &["abxbbxdbxebxczzy"]),
            ("a?b", &["a☺b", "axb"], &["a☺☺b", "a/b", "ab"]),
            ("ab[c]", &["abc"], &["abd"]),
            ("ab[b-d]", &["abc"], &["abe"]),
            ("ab[^c]", &["abd"], &["abc"]),
            ("ab[!c]", &["abd", "ab!"], &["abc"]),
            ("ab[^b-d]", &["abe"], &["abc"]),
            ("a[^a]b", &["a☺b"], &["a☺☺b", "aab"]),
            ("[☺-☻]", &["☺"], &["x"]),
            ("[x-]", &["x", "-"], &["z"]),
            ("[-x]", &["x", "-"], &["a"]),
            ("[a-b-d]", &["a", "b", "-", "d"], &["c"]),
            ("[\\]a]", &["]", "a"], &["\\"]),
            ("[a\\-c]", &["-", "a", "c"], &["b"]),
            ("a\\*b", &["a*b"], &["ab", "a\\*b"]),
            ("\\{a,b\\}", &["{a,b}"], &["a"]),
            ("**", &["", "a", "a/b/c", ".x/y"], &[]),
            ("a/**", &["a", "a/b", "a/b/c", "a/"], &["ab", "b/a"]),
            ("**/b", &["b", "a/b", "a/c/b"], &["ab", "b/a"]),
            ("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["a", "ab", "a/b/c"]),
            ("a/**/b/**/c", &["a/b/c", "a/x/b/y/z/c"], &["a/c", "a/b"]),
            ("**/*.txt", &["a.txt", "x/y/a.txt", ".txt"], &["a.txt/b", "a.txtx"]),
            ("a/**/*", &["a/b", "a/b/c"], &["a"]),
            ("**/**/a", &["a", "x/a", "x/y/a"], &["b"]),
            ("a**", &["a", "abc"], &["a/b"]),
            ("a**b/c", &["axb/c", "ab/c"], &["a/b/c"]),
            ("{a,b}", &["a", "b"], &["c", "ab", "{a,b}"]),
            ("{a,b/c}.{x,y}", &["a.x", "b/c.y"], &["b.x", "a"]),
            ("a{b,}c", &["abc", "ac"], &["a", "abbc"]),
            ("{a{1,2},b}/*", &["a1/x", "a2/x", "b/x"], &["a/x"]),
            ("{**/a,b}", &["a", "x/y/a", "b"], &["x/b"]),
            ("a{/**,}", &["a", "a/b/c"], &["b"]),
            ("[{]x,y}", &["{x,y}"], &["x"]),
            ("a//b/", &["a/b", "a//b"], &["a"]),
            ("./a/*", &["a/b"], &["a"]),
            ("", &[""], &["a"]),
        ] {
            let glob = Glob::new(pattern).unwrap();
            for path in matching {
                assert!(glob.matches(path), "{pattern} must match {path:?}");
            }
            for path in other {
                assert!(!glob.matches(path), "{pattern} must not match {path:?}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (pattern, error) in [
            ("[", GlobError::Set),
            ("[^", GlobError::Set),
            ("[^bc", GlobError::Set),
            ("a[", GlobError::Set),
            ("[]", GlobError::Set),
            ("[]a]", GlobError::Set),
            ("{a,b", GlobError::Brace),
            ("a/{b/c", GlobError::Brace),
            ("a\\", GlobError::Escape),
        ] {
            assert_eq!(Glob::new(pattern).unwrap_err(), error, "{pattern}");
        }
        assert_eq!(Glob::new(&"{a,b}".repeat(20)).unwrap_err(), GlobError::TooMany);
    }

    #[test]
    fn a_search_starts_as_deep_as_it_can() {
        for (pattern, bases) in [
            ("a/b/*.c", &["a/b"][..]),
            ("**/x", &[""]),
            ("a/b", &["a/b"]),
            ("{a,b/c}/*", &["a", "b/c"]),
            ("{a,a/b}/*", &["a"]),
            ("a\\*/b*", &["a*"]),
            ("./a//b/**", &["a/b"]),
        ] {
            assert_eq!(Glob::new(pattern).unwrap().bases(), bases, "{pattern}");
        }
    }

    #[test]
    fn folders_that_cannot_hold_a_match_are_known() {
        for (pattern, folder, expected) in [
            ("a/*/c", "a", true),
            ("a/*/c", "a/x", true),
            ("a/*/c", "a/x/c", false),
            ("a/*/c", "b", false),
            ("**/c", "a/b/c", true),
            ("a/**", "a/b/c", true),
            ("*.txt", "a", false),
        ] {
            assert_eq!(Glob::new(pattern).unwrap().reaches_below(folder), expected, "{pattern} below {folder}");
        }
    }

    proptest! {
        #[test]
        fn no_pattern_panics(pattern in "[a{},\\[\\]^!*?/\\\\-]{0,12}", path in "[a/{}-]{0,12}") {
            if let Ok(glob) = Glob::new(&pattern) {
                let _ = glob.matches(&path);
                let _ = glob.reaches_below(&path);
            }
        }

        #[test]
        fn a_quoted_text_matches_itself(name in "[^/]{1,12}") {
            prop_assume!(name != ".");
            let quoted: String = name.chars().flat_map(|c| ['\\', c]).collect();
            let glob = Glob::new(&quoted).unwrap();
            prop_assert!(glob.matches(&name));
            prop_assert_eq!(glob.bases(), [name]);
        }
    }
}
