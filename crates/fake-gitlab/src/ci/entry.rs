//! A value of the definition, its place, and what is wrong with it in GitLab's words.

use std::cell::RefCell;

use crate::duration::parse_seconds;

use super::node::{Members, Node};

/// Everything that is wrong with a definition, in the order in which it was found.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<String>>);

impl Problems {
    pub(super) fn add(&self, problem: String) {
        let mut all = self.0.borrow_mut();
        if !all.contains(&problem) {
            all.push(problem);
        }
    }

    pub(super) fn into_result<T>(self, value: T) -> Result<T, Vec<String>> {
        match self.0.into_inner() {
            problems if problems.is_empty() => Ok(value),
            problems => Err(problems),
        }
    }
}

/// A value and where it stands. Reading it as what it is not adds a problem and gives none.
#[derive(Debug, Clone)]
pub(super) struct Entry<'a> {
    /// `jobs:build:artifacts`.
    place: String,
    /// What of that place is wrong if this is: `config`, or the attribute in words.
    subject: String,
    pub(super) node: &'a Node,
    problems: &'a Problems,
}

impl<'a> Entry<'a> {
    pub(super) fn new(place: impl Into<String>, node: &'a Node, problems: &'a Problems) -> Self {
        Self { place: place.into(), subject: "config".to_owned(), node, problems }
    }

    /// Adds a problem of this value: `jobs:build:image config should be …`.
    pub(super) fn complain(&self, problem: impl std::fmt::Display) {
        self.problems.add(format!("{} {} {problem}", self.place, self.subject));
    }

    /// Takes the value if there is one, else adds the problem.
    fn or_complain<T>(&self, value: Option<T>, problem: &str) -> Option<T> {
        if value.is_none() {
            self.complain(problem);
        }
        value
    }

    fn given(&self, key: &str) -> Option<&'a Node> {
        self.node.get(key).filter(|node| !node.is_null())
    }

    /// A member that has a place of its own, unless it is absent or null.
    pub(super) fn member(&self, key: &str) -> Option<Entry<'a>> {
        let node = self.given(key)?;
        Some(Self::new(format!("{}:{key}", self.place), node, self.problems))
    }

    /// A member that is an attribute of this place, unless it is absent or null.
    pub(super) fn attribute(&self, key: &str) -> Option<Entry<'a>> {
        let node = self.given(key)?;
        Some(Self { place: self.place.clone(), subject: key.replace('_', " "), node, problems: self.problems })
    }

    /// An item of a list or a value of a map, under a name of its own.
    pub(super) fn child(&self, name: &str, node: &'a Node) -> Entry<'a> {
        Self::new(format!("{}:{name}", self.place), node, self.problems)
    }

    /// The members, if this is a map of no other keys than these.
    pub(super) fn map_of(&self, keys: &[&str]) -> Option<&'a Members> {
        let members = self.map()?;
        let unknown: Vec<&str> =
            members.iter().map(|(key, _)| key.as_str()).filter(|key| !keys.contains(key)).collect();
        if !unknown.is_empty() {
            self.complain(format!("contains unknown keys: {}", unknown.join(", ")));
        }
        Some(members)
    }

    pub(super) fn map(&self) -> Option<&'a Members> {
        self.or_complain(self.node.members(), "should be a hash")
    }

    /// Complains about a required member that is absent.
    pub(super) fn require(&self, key: &str) {
        if self.given(key).is_none() {
            self.problems.add(format!("{} {} can't be blank", self.place, key.replace('_', " ")));
        }
    }

    pub(super) fn is_map(&self) -> bool {
        self.node.members().is_some()
    }

    pub(super) fn items(&self) -> Option<&'a [Node]> {
        self.or_complain(self.node.items(), "should be an array")
    }

    /// A text. Numbers and booleans are none.
    pub(super) fn text(&self) -> Option<String> {
        match self.node {
            Node::Text(text) => Some(text.clone()),
            _ => self.or_complain(None, "should be a string"),
        }
    }

    /// A text that says something.
    pub(super) fn name(&self) -> Option<String> {
        let text = self.text()?;
        self.or_complain((!text.is_empty()).then_some(text), "can't be blank")
    }

    /// A boolean.
    pub(super) fn flag(&self) -> Option<bool> {
        match self.node {
            Node::Bool(flag) => Some(*flag),
            _ => self.or_complain(None, "should be a boolean value"),
        }
    }

    /// A whole number from `least` to `most`.
    pub(super) fn integer(&self, least: i64, most: i64) -> Option<i64> {
        let Node::Number(text) = self.node else { return self.or_complain(None, "is not a number") };
        let number: i64 = self.or_complain(text.parse().ok(), "must be an integer")?;
        if number < least {
            self.complain(format!("must be greater than or equal to {least}"));
        } else if number > most {
            self.complain(format!("must be less than or equal to {most}"));
        }
        Some(number)
    }

    fn all_texts(node: &Node) -> Option<Vec<String>> {
        let text = |item: &Node| match item {
            Node::Text(text) => Some(text.clone()),
            _ => None,
        };
        node.items()?.iter().map(text).collect()
    }

    pub(super) fn texts(&self) -> Option<Vec<String>> {
        self.or_complain(Self::all_texts(self.node), "should be an array of strings")
    }

    /// A list of texts, or one text alone.
    pub(super) fn texts_or_one(&self) -> Option<Vec<String>> {
        match self.node {
            Node::Text(text) => Some(vec![text.clone()]),
            node => self.or_complain(Self::all_texts(node), "should be an array of strings or a string"),
        }
    }

    pub(super) fn one_of(&self, allowed: &[&'static str]) -> Option<&'static str> {
        let found = match self.node {
            Node::Text(text) => allowed.iter().copied().find(|word| word == text),
            _ => None,
        };
        self.or_complain(found, &format!("should be one of: {}", allowed.join(", ")))
    }

    /// A duration in words, in seconds.
    pub(super) fn duration(&self, most: u64, most_in_words: &str) -> Option<u64> {
        let text = self.node.scalar().filter(|_| matches!(self.node, Node::Text(_) | Node::Number(_)));
        let seconds = self.or_complain(text.and_then(|text| parse_seconds(&text)), "should be a duration")?;
        if seconds > most {
            self.complain(format!("should not exceed the limit of {most_in_words}"));
        }
        Some(seconds)
    }

    /// Lines of a script: a text, or texts in lists up to ten levels deep.
    pub(super) fn script(&self) -> Option<Vec<String>> {
        fn collect(node: &Node, depth: usize, lines: &mut Vec<String>) -> bool {
            match node {
                Node::Text(text) => lines.push(text.clone()),
                Node::List(items) if depth < 10 => return items.iter().all(|item| collect(item, depth + 1, lines)),
                // `- echo: x` and `- true` are mistakes that YAML hides.
                _ => return false,
            }
            true
        }
        let mut lines = Vec::new();
        let is_script = collect(self.node, 0, &mut lines);
        self.or_complain(
            is_script.then_some(lines),
            "should be a string or a nested array of strings up to 10 levels deep",
        )
    }
}
