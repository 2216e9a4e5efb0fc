//! Secrets out of the log, over any split of the text into writes.
//!
//! Three filters in a row, each with its own state: masked values become `[MASKED]`, also as they look inside JSON and in a URL;
//! the value of a URL parameter that carries a credential does; what follows a known token prefix does, the prefix stays. Source:
//! GitLab Runner's masking contract; the encoded forms are ours.
//!
//! A byte is held back only while it can be part of a match that is not decided yet, so text without secrets passes at once.

use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, Match, MatchKind, Span, packed};

use crate::mask_forms::forms;

/// Bytes of patterns for which the fastest automaton is used: it takes about 300 times as much memory.
const MOST_FOR_DFA: usize = 8 * 1024;

/// What stands where a secret was.
pub const REPLACEMENT: &str = "[MASKED]";

/// Prefixes of GitLab's own tokens. The first is masked in every job, the rest with `FF_MASK_ALL_DEFAULT_TOKENS`.
pub const DEFAULT_PREFIXES: &[&str] = &[
    "glpat-",
    "gloas-",
    "gldt-",
    "glrt-",
    "glcbt-",
    "glrtr-",
    "glptt-",
    "glft-",
    "glimt-",
    "glagent-",
    "glsoat-",
    "glffct-",
    "_gitlab_session=",
    "gltok-",
];

/// URL parameters whose value is a credential, in lower case; matched in any case.
const URL_PARAMETERS: &[&str] = &[
    "private_token",
    "authenticity_token",
    "rss_token",
    "x-amz-signature",
    "x-amz-credential",
    "x-amz-security-token",
];

/// Masks one stream of text.
///
/// What it looks for is shared, so a further stream ([`Masker::for_stream`]) costs a few bytes.
#[derive(Debug)]
pub struct Masker {
    stages: [Stage; 3],
    /// Output of one filter, input of the next; kept for its allocation.
    between: [Vec<u8>; 2],
}

impl Masker {
    /// Masks `phrases` (trimmed, empty ones left out) as they are and encoded, and what follows `prefixes`.
    pub fn new(
        phrases: impl IntoIterator<Item = impl AsRef<str>>,
        prefixes: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Self {
        let bytes = |text: &str| text.as_bytes().to_vec();
        let phrases = phrases.into_iter().flat_map(|phrase| forms(phrase.as_ref().trim()));
        let prefixes = prefixes.into_iter().map(|p| bytes(p.as_ref()));
        let parameters = URL_PARAMETERS.iter().flat_map(|key| [format!("?{key}=").into(), format!("&{key}=").into()]);
        let stages = [
            Patterns::new(phrases, Case::Exact, Then::Replace),
            Patterns::new(parameters, Case::Any, Then::MaskUntil { ends: ends_url_value, empty_too: true }),
            Patterns::new(prefixes, Case::Exact, Then::MaskUntil { ends: ends_token, empty_too: false }),
        ];
        Self { stages: stages.map(|patterns| Stage::new(Arc::new(patterns))), between: Default::default() }
    }

    /// A masker of the same secrets for another stream; it knows nothing of this stream's text.
    pub fn for_stream(&self) -> Self {
        Self { stages: self.stages.each_ref().map(|s| Stage::new(s.patterns.clone())), between: Default::default() }
    }

    /// Masks `bytes` and appends to `out` what is decided.
    pub fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.pass(bytes, out, Stage::write);
    }

    /// The text ends here: appends what was held back. The masker can then be used for another text.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.pass(&[], out, |stage, bytes, out| {
            stage.write(bytes, out);
            stage.finish(out);
        });
    }

    fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>, step: impl Fn(&mut Stage, &[u8], &mut Vec<u8>)) {
        let [phrases, parameters, prefixes] = &mut self.stages;
        let [first, second] = &mut self.between;
        first.clear();
        second.clear();
        step(phrases, bytes, first);
        step(parameters, first, second);
        step(prefixes, second, out);
    }
}

fn ends_url_value(byte: u8) -> bool {
    matches!(byte, b'?' | b'&' | b' ') || byte.is_ascii_control()
}

fn ends_token(byte: u8) -> bool {
    !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'='))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Exact,
    /// ASCII letters match in either case; the patterns are in lower case.
    Any,
}

/// What happens to a match.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// It becomes [`REPLACEMENT`].
    Replace,
    /// It stays, and what follows up to a byte for which `ends` holds becomes [`REPLACEMENT`]; if that is nothing, only if
    /// `empty_too`.
    MaskUntil { ends: fn(u8) -> bool, empty_too: bool },
}

/// What one filter looks for.
#[derive(Debug)]
struct Patterns {
    /// `None` if there are no patterns.
    search: Option<Search>,
    /// Sorted, unique, none empty.
    sorted: Vec<Vec<u8>>,
    /// Which two bytes a pattern begins with, a bit each; of patterns of one byte, all with that one.
    begins: Vec<u64>,
    longest: usize,
    case: Case,
    then: Then,
}

impl Patterns {
    fn new(patterns: impl Iterator<Item = Vec<u8>>, case: Case, then: Then) -> Self {
        let mut sorted: Vec<Vec<u8>> = patterns.filter(|p| !p.is_empty()).collect();
        sorted.sort_unstable();
        sorted.dedup();
        let mut begins = vec![0; 65536 / 64];
        for pattern in &sorted {
            let second = pattern.get(1).map_or(0..=255, |&b| b..=b);
            for second in second {
                for second in [second.to_ascii_lowercase(), second.to_ascii_uppercase()] {
                    let pair = usize::from(u16::from_be_bytes([pattern[0], second]));
                    begins[pair / 64] |= 1 << (pair % 64);
                }
            }
        }
        let search = (!sorted.is_empty()).then(|| Search::new(&sorted, case));
        let longest = sorted.iter().map(Vec::len).max().unwrap_or(0);
        Self { search, sorted, begins, longest, case, then }
    }

    /// Smallest `at >= from` such that more text after `text` could complete or lengthen a match that begins at `at`; the text's
    /// length if there is none.
    fn undecided(&self, text: &[u8], from: usize) -> usize {
        let window = from.max(text.len().saturating_sub(self.longest.saturating_sub(1)));
        let is_open = |&at: &usize| self.may_begin(&text[at..]) && self.continues(&text[at..]);
        (window..text.len()).find(is_open).unwrap_or(text.len())
    }

    /// Quickly rules out most places.
    fn may_begin(&self, text: &[u8]) -> bool {
        let [first, second, ..] = text else { return true };
        let pair = usize::from(u16::from_be_bytes([*first, *second]));
        self.begins[pair / 64] & (1 << (pair % 64)) != 0
    }

    /// Whether some pattern begins with `text` and is longer.
    fn continues(&self, text: &[u8]) -> bool {
        let folded;
        let text = match self.case {
            Case::Exact => text,
            Case::Any => {
                folded = text.to_ascii_lowercase();
                &folded
            }
        };
        let after = self.sorted.partition_point(|pattern| pattern.as_slice() <= text);
        self.sorted.get(after).is_some_and(|pattern| pattern.starts_with(text))
    }
}

/// Finds the first match, of several there the longest.
#[derive(Debug)]
enum Search {
    /// Few patterns: many bytes in one step.
    Packed(packed::Searcher),
    /// Any number of them.
    Automaton(AhoCorasick),
}

impl Search {
    fn new(patterns: &[Vec<u8>], case: Case) -> Self {
        let mut few = packed::Config::new().match_kind(packed::MatchKind::LeftmostLongest).builder();
        if case == Case::Exact
            && let Some(packed) = few.extend(patterns).build()
        {
            return Self::Packed(packed);
        }
        let len: usize = patterns.iter().map(Vec::len).sum();
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .kind((len <= MOST_FOR_DFA).then_some(AhoCorasickKind::DFA))
            .ascii_case_insensitive(case == Case::Any)
            .build(patterns);
        Self::Automaton(automaton.unwrap_or_else(|err| unreachable!("secrets are less than 2^31 bytes: {err}")))
    }

    fn find(&self, text: &[u8], from: usize) -> Option<Match> {
        match self {
            Self::Packed(packed) => packed.find_in(text, Span::from(from..text.len())),
            Self::Automaton(automaton) => automaton.find(Input::new(text).range(from..)),
        }
    }
}

/// One filter and where it is in its stream.
#[derive(Debug)]
struct Stage {
    patterns: Arc<Patterns>,
    /// The undecided end of what was written: shorter than the longest pattern.
    held: Vec<u8>,
    after: After,
}

/// Where a stage is with respect to the last match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// Outside.
    Nothing,
    /// Behind a match that stays, before the first byte to mask.
    Match,
    /// Between bytes that are masked.
    Masked,
}

impl Stage {
    fn new(patterns: Arc<Patterns>) -> Self {
        Self { patterns, held: Vec::new(), after: After::Nothing }
    }

    fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.take(bytes, out, Patterns::undecided);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.take(&[], out, |_, text, _| text.len());
        self.after = After::Nothing;
    }

    /// Filters held and new text up to what `undecided` says.
    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>, undecided: impl Fn(&Patterns, &[u8], usize) -> usize) {
        let patterns = self.patterns.clone();
        let Some(search) = &patterns.search else { return out.extend_from_slice(bytes) };
        let held = std::mem::take(&mut self.held);
        let joined;
        let text = if held.is_empty() {
            bytes
        } else {
            joined = [held.as_slice(), bytes].concat();
            &joined
        };
        let mut at = self.masked(text, 0, out);
        let mut open = undecided(&patterns, text, at);
        while let Some(found) = search.find(text, at).filter(|found| found.start() < open) {
            match patterns.then {
                Then::Replace => {
                    out.extend_from_slice(&text[at..found.start()]);
                    out.extend_from_slice(REPLACEMENT.as_bytes());
                    at = found.end();
                }
                Then::MaskUntil { empty_too, .. } => {
                    out.extend_from_slice(&text[at..found.end()]);
                    self.after = After::Match;
                    if empty_too {
                        out.extend_from_slice(REPLACEMENT.as_bytes());
                        self.after = After::Masked;
                    }
                    at = self.masked(text, found.end(), out);
                }
            }
            if open < at {
                open = undecided(&patterns, text, at);
            }
        }
        out.extend_from_slice(&text[at..open]);
        self.held = text[open..].to_vec();
    }

    /// Leaves out what is to be masked from `at` on; returns where that ends.
    fn masked(&mut self, text: &[u8], at: usize, out: &mut Vec<u8>) -> usize {
        let Then::MaskUntil { ends, .. } = self.patterns.then else { return at };
        if self.after == After::Nothing || at == text.len() {
            return at;
        }
        let len = text[at..].iter().position(|&b| ends(b));
        if len != Some(0) && self.after == After::Match {
            out.extend_from_slice(REPLACEMENT.as_bytes());
        }
        self.after = if len.is_some() { After::Nothing } else { After::Masked };
        len.map_or(text.len(), |len| at + len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(phrases: &[&str], writes: &[&[u8]]) -> Vec<u8> {
        let mut masker = Masker::new(phrases, DEFAULT_PREFIXES);
        let mut out = Vec::new();
        for bytes in writes {
            masker.write(bytes, &mut out);
        }
        masker.finish(&mut out);
        out
    }

    fn masked_text(phrases: &[&str], text: &str) -> String {
        let whole = String::from_utf8(masked(phrases, &[text.as_bytes()])).unwrap();
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(String::from_utf8(masked(phrases, &bytes)).unwrap(), whole, "byte by byte");
        whole
    }

    #[test]
    fn j203_j204_phrases_are_masked_longest_first() {
        for (phrases, text, expected) in [
            (&["secret"][..], "a secret, secretsecret", "a [MASKED], [MASKED][MASKED]"),
            (&["secret", "secretlonger"], "secretlong secretlonger", "[MASKED]long [MASKED]"),
            (&["abcd", "bc"], "abcx bc abcd", "a[MASKED]x [MASKED] [MASKED]"),
            (&["aab"], "aaab aaaab", "a[MASKED] aa[MASKED]"),
            (&["line1\nline2"], "line1\nline2\nline1", "[MASKED]\nline1"),
            (&[" trimmed \n"], "x trimmed y", "x [MASKED] y"),
            (&["", " "], "a b", "a b"),
            (&["[MASKED]", "MASK"], "[MASKED] MASK", "[MASKED] [MASKED]"),
            (&["ü"], "füür", "f[MASKED][MASKED]r"),
            (&["x"], "", ""),
        ] {
            assert_eq!(masked_text(phrases, text), expected, "{phrases:?} in {text:?}");
        }
    }

    #[test]
    fn j205_tokens_are_masked_behind_their_prefix() {
        for (text, expected) in [
            ("glpat-abc", "glpat-[MASKED]"),
            ("xxglpat-a.b-c_d=e/f", "xxglpat-[MASKED]/f"),
            ("glpat- glpat-", "glpat- glpat-"),
            ("glpat-aglpat-b glpat-c", "glpat-[MASKED] glpat-[MASKED]"),
            ("GLPAT-abc", "GLPAT-abc"),
            ("_gitlab_session=0123;", "_gitlab_session=[MASKED];"),
            ("glcbt-64_x\nglglrt-y", "glcbt-[MASKED]\nglglrt-[MASKED]"),
            ("gltok-[x", "gltok-[x"),
        ] {
            assert_eq!(masked_text(&[], text), expected, "{text}");
        }
    }

    #[test]
    fn j206_url_parameters_are_masked_in_any_case() {
        for (text, expected) in [
            ("http://h/?private_token=abc&x=1", "http://h/?private_token=[MASKED]&x=1"),
            ("?a=1&RSS_Token=abc\nx", "?a=1&RSS_Token=[MASKED]\nx"),
            ("?X-Amz-Signature=a&X-AMZ-Credential=b", "?X-Amz-Signature=[MASKED]&X-AMZ-Credential=[MASKED]"),
            ("?token=a&private_tokens=b private_token=c", "?token=a&private_tokens=b private_token=c"),
            ("?private_token=glpat-abc/?x", "?private_token=[MASKED]?x"),
            ("?rss_token=", "?rss_token=[MASKED]"),
        ] {
            assert_eq!(masked_text(&[], text), expected, "{text}");
        }
    }

    #[test]
    fn a_secret_that_reaches_into_a_token_is_masked_whole() {
        assert_eq!(masked_text(&["at-abc def"], "glpat-abc def"), "glp[MASKED]");
        assert_eq!(masked_text(&["abc"], "?private_token=xabcx&"), "?private_token=[MASKED]&");
    }

    #[test]
    fn j203_a_secret_in_another_leaves_no_rest() {
        for (phrases, text, expected) in [
            (&["abcde", "cd"][..], "abcde xcdx", "[MASKED] x[MASKED]x"),
            (&["abc", "bcd"], "abcd", "[MASKED]d"),
            (&["aabzzzz"], "aa|abzzzz aaabzzzz", "aa|abzzzz a[MASKED]"),
            (&["secret value"], "a=secret+value b=secret%20value", "a=[MASKED] b=[MASKED]"),
        ] {
            assert_eq!(masked_text(phrases, text), expected, "{phrases:?} in {text:?}");
        }
        assert_eq!(masked(&["aabzzzz"], &[b"aa", b"abzzzz"]), b"a[MASKED]");
    }

    #[test]
    fn only_what_may_begin_a_secret_is_held_back() {
        let mut masker = Masker::new(["secret"], DEFAULT_PREFIXES);
        let mut shown = |text: &str| {
            let mut out = Vec::new();
            masker.write(text.as_bytes(), &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(shown("100% done\n$ "), "100% done\n$ ");
        assert_eq!(shown("xsecre"), "x");
        assert_eq!(shown("x"), "secrex");
        assert_eq!(shown("secret"), "[MASKED]");
        assert_eq!(shown("glpat-"), "glpat-");
        assert_eq!(shown("a"), "[MASKED]");
        assert_eq!(shown("b "), " ");
    }

    #[test]
    fn streams_do_not_share_their_text() {
        let mut one = Masker::new(["secret"], [""; 0]);
        let mut other = one.for_stream();
        let (mut a, mut b) = (Vec::new(), Vec::new());
        one.write(b"sec", &mut a);
        other.write(b"ret secret", &mut b);
        one.finish(&mut a);
        one.write(b"ret", &mut a);
        assert_eq!((a.as_slice(), b.as_slice()), (&b"secret"[..], &b"ret [MASKED]"[..]));
    }

    proptest! {
        #[test]
        fn j203_j205_j206_any_split_gives_the_same_text(
            phrases in proptest::collection::vec("[ab-]{1,6}", 0..5),
            text in "(a|b|-|glpat-|glrt-|[?]rss_token=|&RSS_TOKEN=| |é){0,40}",
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let phrases: Vec<&str> = phrases.iter().map(String::as_str).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.sort_unstable();
            let mut writes = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([text.len()]) {
                writes.push(&text.as_bytes()[from..cut]);
                from = cut;
            }
            prop_assert_eq!(masked(&phrases, &writes), masked(&phrases, &[text.as_bytes()]));
        }

        #[test]
        fn no_phrase_is_left_in_the_text(phrase in "[abc]{2,5}", text in "[abc]{0,60}") {
            let shown = String::from_utf8(masked(&[&phrase], &[text.as_bytes()])).unwrap();
            prop_assert_eq!(shown, text.replace(&phrase, REPLACEMENT));
        }
    }
}
