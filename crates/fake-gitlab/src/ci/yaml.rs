//! YAML as a tree of nodes.
//!
//! Anchors are resolved and merge keys (`<<`) applied here. What a plain scalar means follows YAML
//! 1.1 as Ruby reads it, since that is what GitLab does.

use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::node::{Members, Node};

/// Deepest nesting, and most nodes after aliases are resolved: GitLab's guards against bombs.
const DEPTH_LIMIT: usize = 100;
const NODE_LIMIT: usize = 100_000;

/// What a plain scalar means.
fn meaning(text: &str, line: usize) -> Result<Node, String> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Node::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Node::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Node::Bool(false),
        text if is_date(text) => return Err(at(line, "Tried to load unspecified class: Date")),
        text => number(text).map_or_else(|| Node::Text(text.to_owned()), Node::Number),
    })
}

/// Whether a plain scalar of this text would be read as this text.
pub(super) fn is_plain_text(text: &str) -> bool {
    matches!(meaning(text, 0), Ok(Node::Text(_)))
}

/// `2026-01-31`.
fn is_date(text: &str) -> bool {
    let is_digits = |part: &str, length| part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = text.split('-').collect();
    matches!(parts[..], [year, month, day] if is_digits(year, 4) && is_digits(month, 2) && is_digits(day, 2))
}

/// Integers in all notations but sexagesimal, and floats, written in decimal.
fn number(text: &str) -> Option<String> {
    let (sign, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (if text.starts_with('-') { "-" } else { "" }, digits),
        None => ("", text),
    };
    let plain: String = digits.chars().filter(|letter| *letter != '_').collect();
    if !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let of_radix = |digits: &str, radix| i64::from_str_radix(digits, radix).ok().map(|value| format!("{sign}{value}"));
    match plain.as_bytes() {
        [b'0', b'x', ..] => of_radix(&plain[2..], 16),
        [b'0', b'b', ..] => of_radix(&plain[2..], 2),
        [b'0', rest @ ..] if !rest.is_empty() && rest.iter().all(|digit| (b'0'..=b'7').contains(digit)) => {
            of_radix(&plain[1..], 8)
        }
        all if all.iter().all(u8::is_ascii_digit) => Some(format!("{sign}{plain}")),
        all if all.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') && plain.matches('.').count() == 1 => {
            Some(format!("{sign}{}", plain.strip_suffix('.').unwrap_or(&plain)))
        }
        _ => None,
    }
}

/// A problem in the words of GitLab's parser.
fn at(line: usize, problem: &str) -> String {
    match line {
        0 => problem.to_owned(),
        line => format!("(<unknown>): {problem} at line {line}"),
    }
}

/// Reads a text of one document, or of a header and a document.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, String> {
    let mut composer = Composer { parser: Parser::new_from_str(text), anchors: BTreeMap::new(), nodes: 0 };
    let mut documents = Vec::new();
    loop {
        let (event, span) = composer.next()?;
        match event {
            Event::StreamEnd => break,
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
            event => documents.push(composer.node(event, span, 0)?),
        }
    }
    Ok(documents)
}

struct Composer<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    /// Anchored nodes with the number of nodes in each.
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
}

impl<'a> Composer<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), String> {
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
    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, String> {
        let line = span.start.line();
        if depth > DEPTH_LIMIT {
            return Err(at(line, "nested too deeply"));
        }
        let before = self.nodes;
        self.nodes += 1;
        let (anchor, tag, node) = match event {
            Event::Alias(id) => {
                // The parser reports unknown anchors itself; an unfinished one contains itself.
                let Some((node, size)) = self.anchors.get(&id) else {
                    return Err(at(line, "an alias inside its own anchor"));
                };
                self.nodes += size;
                self.check_size(line)?;
                return Ok(node.clone());
            }
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = style == ScalarStyle::Plain && tag.is_none();
                (anchor, tag, if is_plain { meaning(&text, line)? } else { Node::Text(text.into_owned()) })
            }
            Event::SequenceStart(_, anchor, tag) => (anchor, tag, Node::List(self.items(depth)?)),
            Event::MappingStart(_, anchor, tag) => (anchor, tag, Node::Map(self.members(depth)?)),
            other => return Err(at(line, &format!("unexpected {other:?}"))),
        };
        self.check_size(line)?;
        let node = match (tag.filter(|tag| tag.is_custom()).map(|tag| tag.original()), node) {
            (None, node) => node,
            (Some(tag), Node::List(path)) if tag == "!reference" => Node::Reference(path),
            (Some(tag), _) => return Err(at(line, &format!("unknown tag {tag}"))),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    fn check_size(&self, line: usize) -> Result<(), String> {
        if self.nodes > NODE_LIMIT {
            return Err(at(line, "too big"));
        }
        Ok(())
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Node>, String> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn members(&mut self, depth: usize) -> Result<Members, String> {
        let mut own = Members::new();
        let mut merged = Members::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let line = span.start.line();
            let is_plain = matches!(&event, Event::Scalar(_, ScalarStyle::Plain, ..));
            let written = match &event {
                Event::Scalar(text, ..) => Some(text.clone().into_owned()),
                _ => None,
            };
            let key = self.node(event, span, depth + 1)?;
            // `on:` stays `on`, an alias becomes what it stands for.
            let name = written.or_else(|| key.scalar()).ok_or_else(|| at(line, "a key should be a text"))?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            if is_plain && name == "<<" {
                merge(value, line, &mut merged)?;
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
fn merge(value: Node, line: usize, into: &mut Members) -> Result<(), String> {
    match value {
        Node::Map(members) => {
            for (name, node) in members {
                if !into.iter().any(|(key, _)| *key == name) {
                    into.push((name, node));
                }
            }
            Ok(())
        }
        Node::List(maps) if maps.iter().all(|map| map.members().is_some()) => {
            maps.into_iter().try_for_each(|map| merge(map, line, into))
        }
        _ => Err(at(line, "`<<` merges something that is no map")),
    }
}

fn syntax(problem: &ScanError) -> String {
    let marker = problem.marker();
    format!("(<unknown>): {} at line {} column {}", problem.kind(), marker.line(), marker.col() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Node {
        let mut documents = parse(text).unwrap();
        assert_eq!(documents.len(), 1, "{documents:?}");
        documents.remove(0)
    }

    fn text(text: &str) -> Node {
        Node::Text(text.to_owned())
    }

    fn number(text: &str) -> Node {
        Node::Number(text.to_owned())
    }

    #[test]
    fn merge_keys_give_way_to_own_keys_and_earlier_maps() {
        let node = one("a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc:\n  z: 3\n  <<: [*a, *b]\n");
        let c = node.get("c").unwrap();
        for (key, value) in [("x", "1"), ("y", "1"), ("z", "3")] {
            assert_eq!(c.get(key), Some(&number(value)), "{key}");
        }
        assert_eq!(c.members().unwrap().len(), 3);
    }

    #[test]
    fn references_are_kept_and_other_tags_refused() {
        let node = one("a:\n  - !reference [.b, script]\n");
        assert_eq!(node.get("a"), Some(&Node::List(vec![Node::Reference(vec![text(".b"), text("script")])])));
        assert_eq!(parse("a:\n  b: !vault x\n").unwrap_err(), "(<unknown>): unknown tag !vault at line 2");
    }

    #[test]
    fn plain_scalars_have_meanings_and_quoted_ones_are_text() {
        let items = "[yes, 'yes', 12, 1.5, 1.2.3, ~, text, '', 0755, 0x1F, 1_000, -3, 0899, 12:30]";
        let expected = [
            Node::Bool(true),
            text("yes"),
            number("12"),
            number("1.5"),
            text("1.2.3"),
            Node::Null,
            text("text"),
            text(""),
            number("493"),
            number("31"),
            number("1000"),
            number("-3"),
            number("0899"),
            text("12:30"),
        ];
        assert_eq!(one(items), Node::List(expected.to_vec()));
    }

    #[test]
    fn keys_are_texts_as_they_are_written() {
        let node = one("on: 1\n12: 2\n'x y': 3\n");
        let keys: Vec<&str> = node.members().unwrap().iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["on", "12", "x y"]);
    }

    #[test]
    fn comments_are_left_out_wherever_they_stand() {
        let node = one("# first\na: # after a key\n  # alone\n  - 1 # after an item\n  - '# text'\n# last\n");
        assert_eq!(node.get("a"), Some(&Node::List(vec![number("1"), text("# text")])));
    }

    #[test]
    fn byte_order_marks_and_windows_line_ends_do_no_harm() {
        let node = one("\u{feff}a: 1\r\nb: |\r\n  x\r\n  y\r\n");
        assert_eq!((node.get("a"), node.get("b")), (Some(&number("1")), Some(&text("x\ny\n"))));
    }

    #[test]
    fn a_header_is_a_document_of_its_own() {
        assert_eq!(parse("spec: {}\n---\na: 1\n").unwrap().len(), 2);
        assert_eq!(parse("").unwrap().len(), 0);
    }

    #[test]
    fn broken_hostile_and_endless_texts_are_refused_with_a_line() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let inner = format!("*a{}, ", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
        }
        let deep = "[".repeat(5000);
        for (text, expected) in [
            ("a: [1, 2\nb: 3\n", " at line "),
            ("a: *nowhere\n", " at line 1"),
            ("a: &a [*a]\n", "an alias inside its own anchor at line 1"),
            ("a:\n  <<: 3\n", "`<<` merges something that is no map at line 2"),
            ("a: 2026-01-31\n", "Tried to load unspecified class: Date at line 1"),
            (bomb.as_str(), "too big"),
            (deep.as_str(), " at line 1"),
        ] {
            let problem = parse(text).unwrap_err();
            assert!(problem.starts_with("(<unknown>): ") && problem.contains(expected), "{problem} for {expected}");
        }
    }
}
