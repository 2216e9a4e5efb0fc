//! The language of `rules:if`: variables, texts, patterns, comparisons, `&&`, `||`, parentheses.

use std::collections::BTreeMap;

use regex::Regex;

/// Deepest nesting of parentheses.
const DEPTH_LIMIT: usize = 100;

/// The variables a definition is evaluated with.
pub(super) type Known = BTreeMap<String, String>;

/// A condition.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Expression(Term);

#[derive(Debug, Clone, PartialEq)]
enum Term {
    Null,
    Text(String),
    Variable(String),
    /// As it is written, between slashes and with flags.
    Pattern(String),
    Compared(Box<Term>, Operator, Box<Term>),
    And(Box<Term>, Box<Term>),
    Or(Box<Term>, Box<Term>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operator {
    Equals,
    NotEquals,
    Matches,
    NotMatches,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Value(Term),
    Operator(Operator),
    And,
    Or,
    Open,
    Close,
}

/// What a term is worth; like Ruby, a text counts as true between `&&` and `||` even if it is empty.
#[derive(Debug, Clone, PartialEq)]
enum Worth {
    Null,
    Flag(bool),
    Text(String),
}

impl Worth {
    fn is_truthy(&self) -> bool {
        !matches!(self, Self::Null | Self::Flag(false))
    }
}

impl Expression {
    /// None if the text is no expression.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let tokens = tokens(text)?;
        let mut parser = Parser { tokens: &tokens, depth: 0 };
        let term = parser.any()?;
        parser.tokens.is_empty().then_some(Self(term))
    }

    /// Whether the condition holds.
    pub(super) fn holds(&self, known: &Known) -> bool {
        match worth(&self.0, known) {
            Worth::Null => false,
            Worth::Flag(flag) => flag,
            Worth::Text(text) => !text.trim().is_empty(),
        }
    }
}

fn worth(term: &Term, known: &Known) -> Worth {
    match term {
        Term::Null => Worth::Null,
        Term::Text(text) | Term::Pattern(text) => Worth::Text(text.clone()),
        Term::Variable(name) => known.get(name).map_or(Worth::Null, |value| Worth::Text(value.clone())),
        Term::And(left, right) => match worth(left, known) {
            left if left.is_truthy() => worth(right, known),
            left => left,
        },
        Term::Or(left, right) => match worth(left, known) {
            left if left.is_truthy() => left,
            _ => worth(right, known),
        },
        Term::Compared(left, operator, right) => {
            let (left, right) = (worth(left, known), worth(right, known));
            Worth::Flag(match operator {
                Operator::Equals => left == right,
                Operator::NotEquals => left != right,
                Operator::Matches => matches(&left, &right).unwrap_or(false),
                Operator::NotMatches => !matches(&left, &right).unwrap_or(false),
            })
        }
    }
}

/// Whether a text fits a pattern; none if the pattern is none.
fn matches(text: &Worth, pattern: &Worth) -> Option<bool> {
    let Worth::Text(pattern) = pattern else { return None };
    let text = match text {
        Worth::Text(text) => text.as_str(),
        _ => "",
    };
    Some(regex(pattern)?.is_match(text))
}

/// `/text/flags` as a regular expression.
pub(super) fn regex(pattern: &str) -> Option<Regex> {
    let (text, flags) = pattern.strip_prefix('/')?.rsplit_once('/')?;
    let text = text.replace("\\/", "/");
    match flags {
        "" => Regex::new(&text).ok(),
        flags if flags.chars().all(|flag| "ismU".contains(flag)) => Regex::new(&format!("(?{flags}){text}")).ok(),
        _ => None,
    }
}

/// Splits an expression; none if there is something that has no meaning.
fn tokens(text: &str) -> Option<Vec<Token>> {
    const WORDS: [(&str, Token); 9] = [
        ("==", Token::Operator(Operator::Equals)),
        ("!=", Token::Operator(Operator::NotEquals)),
        ("=~", Token::Operator(Operator::Matches)),
        ("!~", Token::Operator(Operator::NotMatches)),
        ("&&", Token::And),
        ("||", Token::Or),
        ("(", Token::Open),
        (")", Token::Close),
        ("null", Token::Value(Term::Null)),
    ];
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '$' => {
                let name = rest[1..].find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
                let length = name.map_or(rest.len(), |length| length + 1);
                let name = &rest[1..length];
                tokens.push(Token::Value(Term::Variable((!name.is_empty()).then(|| name.to_owned())?)));
                length
            }
            '"' | '\'' => {
                let end = rest[1..].find(first)? + 1;
                tokens.push(Token::Value(Term::Text(rest[1..end].to_owned())));
                end + 1
            }
            '/' => {
                let length = pattern_length(rest)?;
                regex(&rest[..length])?;
                tokens.push(Token::Value(Term::Pattern(rest[..length].to_owned())));
                length
            }
            _ => {
                let (word, token) = WORDS.iter().find(|(word, _)| rest.starts_with(word))?;
                tokens.push(token.clone());
                word.len()
            }
        };
        rest = rest[length..].trim_start();
    }
    Some(tokens)
}

/// The bytes from a pattern's first slash to its last flag.
fn pattern_length(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    let end = text.char_indices().skip(1).find(|(_, letter)| {
        let ends = *letter == '/' && !is_escaped;
        is_escaped = *letter == '\\' && !is_escaped;
        ends
    });
    let end = end?.0 + 1;
    let flags = text[end..].chars().take_while(|flag| "ismU".contains(*flag)).count();
    (end > 2).then_some(end + flags)
}

struct Parser<'a> {
    tokens: &'a [Token],
    depth: usize,
}

impl Parser<'_> {
    fn take(&mut self) -> Option<Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first.clone())
    }

    fn take_if(&mut self, token: &Token) -> bool {
        let is_next = self.tokens.first() == Some(token);
        if is_next {
            self.tokens = &self.tokens[1..];
        }
        is_next
    }

    /// Terms between `||`.
    fn any(&mut self) -> Option<Term> {
        let mut left = self.all()?;
        while self.take_if(&Token::Or) {
            left = Term::Or(Box::new(left), Box::new(self.all()?));
        }
        Some(left)
    }

    /// Terms between `&&`.
    fn all(&mut self) -> Option<Term> {
        let mut left = self.compared()?;
        while self.take_if(&Token::And) {
            left = Term::And(Box::new(left), Box::new(self.compared()?));
        }
        Some(left)
    }

    fn compared(&mut self) -> Option<Term> {
        let mut left = self.single()?;
        while let Some(Token::Operator(operator)) = self.tokens.first() {
            self.tokens = &self.tokens[1..];
            left = Term::Compared(Box::new(left), *operator, Box::new(self.single()?));
        }
        Some(left)
    }

    fn single(&mut self) -> Option<Term> {
        match self.take()? {
            Token::Value(term) => Some(term),
            Token::Open if self.depth < DEPTH_LIMIT => {
                self.depth += 1;
                let inner = self.any()?;
                self.depth -= 1;
                self.take_if(&Token::Close).then_some(inner)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let pairs = [
            ("A", "a"),
            ("EMPTY", ""),
            ("BRANCH", "feature/x"),
            ("PATTERN", "/^FEAT/i"),
            ("B", "b"),
            ("LINES", "x\ny"),
        ];
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn conditions_hold_as_in_gitlab() {
        for (text, expected) in [
            ("$A", true),
            ("$EMPTY", false),
            ("$NOWHERE", false),
            ("$A == 'a'", true),
            ("$A == \"b\"", false),
            ("'a' == $A", true),
            ("$A != 'b'", true),
            ("$A == $B", false),
            ("$NOWHERE == null", true),
            ("$A != null", true),
            ("$EMPTY == null", false),
            ("$EMPTY == ''", true),
            ("$NOWHERE == ''", false),
            ("$BRANCH =~ /^feature/", true),
            ("$BRANCH =~ /^FEATURE/", false),
            ("$BRANCH =~ /^FEATURE/i", true),
            ("$BRANCH =~ /feature\\/x$/", true),
            ("$BRANCH !~ /^release/", true),
            ("$BRANCH =~ $PATTERN", true),
            ("$BRANCH !~ $PATTERN", false),
            ("$BRANCH =~ $A", false),
            ("$BRANCH =~ $NOWHERE", false),
            ("$NOWHERE =~ /x/", false),
            ("$NOWHERE !~ /x/", true),
            ("$LINES =~ /^y$/", false),
            ("$LINES =~ /^y$/m", true),
            ("$A == 'a' && $B == 'b'", true),
            ("$A == 'x' || $B == 'b'", true),
            ("$A == 'a' || $B == 'b' && $A == 'x'", true),
            ("($A == 'a' || $B == 'b') && $A == 'x'", false),
            ("$A && ($B == 'x' || ($B))", true),
            ("$NOWHERE || $A", true),
            ("$A &&$B", true),
            ("null", false),
            ("'text'", true),
        ] {
            let expression = Expression::parse(text).unwrap_or_else(|| panic!("{text} is no expression"));
            assert_eq!(expression.holds(&known()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        let deep = "(".repeat(5000) + "$A";
        for text in
            ["", "$A ==", "== $A", "$A = 'a'", "$A 'a'", "($A", "$A)", "'a", "/[/", "$A =~ //", "$", "A", deep.as_str()]
        {
            assert_eq!(Expression::parse(text), None, "{text}");
        }
    }
}
