//! YAML as a tree of nodes that know their line and tag.
//!
//! Anchors are resolved and merge keys (`<<`) applied here. Scalars keep their text; what a plain
//! one means is asked for by the reader, since GitLab's rules are those of YAML 1.1.

use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::Problem;

/// Deepest nesting, and most nodes after aliases are resolved: GitLab's guards against bombs.
const DEPTH_LIMIT: usize = 100;
const NODE_LIMIT: usize = 100_000;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// Custom tag such as `!reference`, with its exclamation mark.
    pub(super) tag: Option<String>,
    /// Counted from 1.
    pub(super) line: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// Quoted and block scalars are always text.
    Scalar {
        text: String,
        is_plain: bool,
    },
    List(Vec<Node>),
    /// In order, with each key once.
    Map(Vec<(String, Node)>),
}

/// What a plain scalar means in YAML 1.1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Meaning<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    Text(&'a str),
}

impl Node {
    /// The meaning of a scalar; none for lists and maps.
    pub(super) fn scalar(&self) -> Option<Meaning<'_>> {
        let Kind::Scalar { text, is_plain } = &self.kind else { return None };
        if !is_plain {
            return Some(Meaning::Text(text));
        }
        Some(match text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => Meaning::Null,
            "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Meaning::Bool(true),
            "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Meaning::Bool(false),
            text if is_number(text) => Meaning::Number(text),
            text => Meaning::Text(text),
        })
    }

    pub(super) fn is_null(&self) -> bool {
        self.scalar() == Some(Meaning::Null)
    }

    fn problem(&self, text: impl Into<String>) -> Problem {
        Problem::at(self.line, text)
    }

    /// The members of a map.
    pub(super) fn map(&self) -> Result<&[(String, Node)], Problem> {
        match &self.kind {
            Kind::Map(members) => Ok(members),
            _ => Err(self.problem("should be a map")),
        }
    }

    /// The items of a list.
    pub(super) fn list(&self) -> Result<&[Node], Problem> {
        match &self.kind {
            Kind::List(items) => Ok(items),
            _ => Err(self.problem("should be a list")),
        }
    }

    /// A text; numbers and booleans are written out, as GitLab does for variables and names.
    pub(super) fn text(&self) -> Result<String, Problem> {
        match self.scalar() {
            Some(Meaning::Text(text) | Meaning::Number(text)) => Ok(text.to_owned()),
            Some(Meaning::Bool(flag)) => Ok(flag.to_string()),
            Some(Meaning::Null) | None => Err(self.problem("should be a text")),
        }
    }

    /// A boolean.
    pub(super) fn flag(&self) -> Result<bool, Problem> {
        match self.scalar() {
            Some(Meaning::Bool(flag)) => Ok(flag),
            _ => Err(self.problem("should be true or false")),
        }
    }

    /// A list of texts.
    pub(super) fn texts(&self) -> Result<Vec<String>, Problem> {
        self.list().map_err(|_| self.problem("should be a list of texts"))?.iter().map(Node::text).collect()
    }

    /// A list of texts, or one text alone.
    pub(super) fn texts_or_one(&self) -> Result<Vec<String>, Problem> {
        match &self.kind {
            Kind::Scalar { .. } => Ok(vec![self.text()?]),
            _ => self.texts(),
        }
    }
}

/// Integers and floats, without the rarer notations (hexadecimal, octal, sexagesimal).
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    digits.starts_with(|first: char| first.is_ascii_digit())
        && digits.chars().all(|letter| letter.is_ascii_digit() || letter == '.')
        && digits.matches('.').count() <= 1
}

/// Reads a text that holds one document.
pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let mut composer = Composer { parser: Parser::new_from_str(text), anchors: BTreeMap::new(), nodes: 0 };
    let mut document = None;
    loop {
        let (event, span) = composer.next()?;
        match event {
            Event::StreamEnd => break,
            Event::DocumentStart(..) if document.is_some() => {
                return Err(Problem::at(span.start.line(), "has a second document, which is not supported"));
            }
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
            event => document = Some(composer.node(event, span, 0)?),
        }
    }
    document.ok_or_else(|| Problem::at(1, "is empty"))
}

struct Composer<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    /// Anchored nodes with the number of nodes in each.
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
}

impl<'a> Composer<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Problem> {
        loop {
            return match self.parser.next_event() {
                Some(Ok((Event::Comment(..), _))) => continue,
                Some(Ok(next)) => Ok(next),
                Some(Err(problem)) => Err(syntax(&problem)),
                None => Ok((Event::StreamEnd, Span::default())),
            };
        }
    }

    /// Builds the node that begins with `event`.
    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Problem> {
        let line = span.start.line();
        if depth > DEPTH_LIMIT {
            return Err(Problem::at(line, "is nested too deeply"));
        }
        let before = self.nodes;
        self.nodes += 1;
        let (anchor, tag, kind) = match event {
            Event::Alias(id) => {
                // The parser reports unknown anchors itself; an unfinished one contains itself.
                let Some((node, size)) = self.anchors.get(&id) else {
                    return Err(Problem::at(line, "has an alias inside its own anchor"));
                };
                self.nodes += size;
                self.check_size(line)?;
                return Ok(node.clone());
            }
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = style == ScalarStyle::Plain && tag.is_none();
                (anchor, tag, Kind::Scalar { text: text.into_owned(), is_plain })
            }
            Event::SequenceStart(_, anchor, tag) => (anchor, tag, Kind::List(self.items(depth)?)),
            Event::MappingStart(_, anchor, tag) => (anchor, tag, Kind::Map(self.members(depth)?)),
            other => return Err(Problem::at(line, format!("has an unexpected {other:?}"))),
        };
        self.check_size(line)?;
        let node = Node { kind, tag: tag.filter(|tag| tag.is_custom()).map(|tag| tag.original()), line };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    fn check_size(&self, line: usize) -> Result<(), Problem> {
        if self.nodes > NODE_LIMIT {
            return Err(Problem::at(line, "is too big"));
        }
        Ok(())
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Node>, Problem> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn members(&mut self, depth: usize) -> Result<Vec<(String, Node)>, Problem> {
        let mut own: Vec<(String, Node)> = Vec::new();
        let mut merged: Vec<(String, Node)> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let key = self.node(event, span, depth + 1)?;
            let Kind::Scalar { text: name, is_plain } = key.kind else {
                return Err(Problem::at(key.line, "has a key that is no text"));
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            if is_plain && name == "<<" {
                merge(value, &mut merged)?;
            } else if let Some((_, old)) = own.iter_mut().find(|(key, _)| *key == name) {
                *old = value; // the last one counts
            } else {
                own.push((name, value));
            }
        }
        merged.retain(|(name, _)| !own.iter().any(|(key, _)| key == name));
        merged.append(&mut own);
        Ok(merged)
    }
}

/// Adds the members of a merged map, or of a list of them, that are not there yet.
fn merge(value: Node, into: &mut Vec<(String, Node)>) -> Result<(), Problem> {
    match value.kind {
        Kind::Map(members) => {
            for (name, node) in members {
                if !into.iter().any(|(key, _)| *key == name) {
                    into.push((name, node));
                }
            }
            Ok(())
        }
        Kind::List(maps) => maps.into_iter().try_for_each(|map| match map.kind {
            Kind::Map(_) => merge(map, into),
            _ => Err(Problem::at(map.line, "merges something that is no map")),
        }),
        Kind::Scalar { .. } => Err(Problem::at(value.line, "merges something that is no map")),
    }
}

fn syntax(problem: &ScanError) -> Problem {
    let marker = problem.marker();
    Problem::at(marker.line(), format!("is not valid YAML: {} (column {})", problem.kind(), marker.col() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get<'a>(node: &'a Node, key: &str) -> &'a Node {
        let members = node.map().unwrap();
        &members.iter().find(|(name, _)| name == key).unwrap().1
    }

    #[test]
    fn merge_keys_give_way_to_own_keys_and_earlier_maps() {
        let text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc:\n  z: 3\n  <<: [*a, *b]\n";
        let node = parse(text).unwrap();
        let c = get(&node, "c");
        for (key, value) in [("x", "1"), ("y", "1"), ("z", "3")] {
            assert_eq!(get(c, key).text().unwrap(), value, "{key}");
        }
        assert_eq!(c.map().unwrap().len(), 3);
    }

    #[test]
    fn tags_and_lines_are_kept() {
        let node = parse("a:\n  - !reference [.b, script]\n").unwrap();
        let item = &get(&node, "a").list().unwrap()[0];
        assert_eq!(item.tag.as_deref(), Some("!reference"));
        assert_eq!(item.line, 2);
    }

    #[test]
    fn plain_scalars_have_meanings_and_quoted_ones_are_text() {
        let node = parse("[yes, 'yes', 12, 1.5, 1.2.3, ~, text, '', |-\n  block\n]").unwrap_err();
        assert!(node.text.contains("not valid YAML"), "{}", node.text);
        let node = parse("[yes, 'yes', 12, 1.5, 1.2.3, ~, text, '']").unwrap();
        let meanings: Vec<_> = node.list().unwrap().iter().map(|item| item.scalar().unwrap()).collect();
        assert_eq!(
            meanings,
            [
                Meaning::Bool(true),
                Meaning::Text("yes"),
                Meaning::Number("12"),
                Meaning::Number("1.5"),
                Meaning::Text("1.2.3"),
                Meaning::Null,
                Meaning::Text("text"),
                Meaning::Text(""),
            ]
        );
    }

    #[test]
    fn comments_are_left_out_wherever_they_stand() {
        let node =
            parse("# first\na: # after a key\n  # alone\n  - 1 # after an item\n  - '# text'\n# last\n").unwrap();
        assert_eq!(get(&node, "a").texts().unwrap(), ["1", "# text"]);
    }

    #[test]
    fn byte_order_marks_and_windows_line_ends_do_no_harm() {
        let node = parse("\u{feff}a: 1\r\nb: |\r\n  x\r\n  y\r\n").unwrap();
        assert_eq!(get(&node, "a").text().unwrap(), "1");
        assert_eq!(get(&node, "b").text().unwrap(), "x\ny\n");
    }

    #[test]
    fn broken_hostile_and_endless_texts_are_refused_with_a_line() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let inner = format!("*a{}, ", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
        }
        let deep = "[".repeat(5000);
        for (text, expected, line) in [
            ("a: [1, 2\nb: 3\n", "not valid YAML", None),
            ("a: *nowhere\n", "not valid YAML", Some(1)),
            ("", "is empty", Some(1)),
            ("a: 1\n---\nb: 2\n", "second document", Some(2)),
            ("a: &a [*a]\n", "inside its own anchor", Some(1)),
            ("a:\n  <<: 3\n", "merges something", Some(2)),
            (bomb.as_str(), "is too big", None),
            (deep.as_str(), "", Some(1)),
        ] {
            let problem = parse(text).unwrap_err();
            assert!(problem.text.contains(expected), "{} for {expected}", problem.text);
            if let Some(line) = line {
                assert_eq!(problem.line, line, "{}", problem.text);
            }
        }
    }
}
