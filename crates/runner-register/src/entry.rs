//! A new `[[runners]]` entry: its keys, those of a template, and its text as GitLab Runner writes it.

use std::fmt::Write as _;

use runner_config::literal;
use toml_edit::{DocumentMut, Item, Table, Value};

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    /// Not TOML. The parser's own text would quote the line.
    #[error("{0}")]
    Syntax(String),
    /// None or several `[[runners]]`.
    #[error("a template has exactly one [[runners]], this one has {0}")]
    Count(usize),
}

/// The keys in the order in which they will stand in the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entry(Table);

impl Entry {
    /// Sets the key at `path`, making the tables above it.
    pub(crate) fn set<K: AsRef<str>>(&mut self, path: &[K], value: impl Into<Value>) {
        let Some((key, tables)) = path.split_last() else { return };
        let mut table = &mut self.0;
        for name in tables {
            let item = table.entry(name.as_ref()).or_insert_with(|| Item::Table(Table::new()));
            if !item.is_table() {
                // An inline table keeps its keys.
                *item = Item::Table(std::mem::take(item).into_table().unwrap_or_default());
            }
            // it was made a table just now
            let Item::Table(below) = item else { return };
            table = below;
        }
        table.insert(key.as_ref(), Item::Value(value.into()));
    }

    /// The text at the top-level key, if it has one that is not empty.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str().filter(|text| !text.is_empty())
    }

    /// Whether the key at `path` is set to something.
    pub(crate) fn has(&self, path: &[&str]) -> bool {
        let mut item = path.first().and_then(|key| self.0.get(key));
        for key in path.iter().skip(1) {
            item = item.and_then(|table| table.get(key));
        }
        item.is_some_and(|item| !is_empty(item))
    }

    /// Takes from `template`, the text of a file, each key that is not set here. Its token is not taken.
    pub(crate) fn fill(&mut self, template: &str) -> Result<(), TemplateError> {
        let document: DocumentMut = template
            .parse()
            .map_err(|err: toml_edit::TomlError| TemplateError::Syntax(err.message().replace('\n', ", ")))?;
        let Some(Item::ArrayOfTables(runners)) = document.get("runners") else { return Err(TemplateError::Count(0)) };
        let (Some(runner), 1) = (runners.get(0), runners.len()) else {
            return Err(TemplateError::Count(runners.len()));
        };
        let mut runner = runner.clone();
        runner.remove("token");
        merge(&mut self.0, &runner);
        Ok(())
    }

    /// Takes from `other` each key that is not set here.
    pub(crate) fn take_missing(&mut self, other: &Self) {
        merge(&mut self.0, &other.0);
    }

    /// Makes sure that there is a table of that name, if only to show where its keys belong.
    pub(crate) fn ensure_table(&mut self, name: &str) {
        self.0.entry(name).or_insert_with(|| Item::Table(Table::new()));
    }

    /// The lines: `[[runners]]`, its keys indented by two, the tables below it by two more each.
    pub(crate) fn render(&self) -> String {
        let mut out = String::from("[[runners]]\n");
        render(&self.0, "runners", 1, &mut out);
        out
    }
}

/// Puts what `to` lacks there. An empty text and 0 count as lacking, as they do in GitLab Runner.
fn merge(to: &mut Table, from: &Table) {
    for (key, item) in from.iter() {
        match (to.get_mut(key), item) {
            (None, item) => drop(to.insert(key, item.clone())),
            (Some(Item::Table(below)), Item::Table(from)) => merge(below, from),
            (Some(Item::Table(below)), Item::Value(Value::InlineTable(from))) => {
                merge(below, &from.clone().into_table());
            }
            (Some(set @ Item::Value(_)), item) if is_empty(set) => *set = item.clone(),
            (Some(_), _) => {}
        }
    }
}

fn is_empty(item: &Item) -> bool {
    item.as_str().is_some_and(str::is_empty) || item.as_integer() == Some(0)
}

fn render(table: &Table, path: &str, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    // Writing into a String cannot fail.
    for (name, item) in table.iter() {
        if let Item::Value(value) = item {
            let _ = writeln!(out, "{indent}{} = {}", literal::key(name), literal::value(value));
        }
    }
    for (name, item) in table.iter() {
        let path = format!("{path}.{}", literal::key(name));
        match item {
            Item::Table(below) => {
                let _ = writeln!(out, "{indent}[{path}]");
                render(below, &path, depth + 1, out);
            }
            Item::ArrayOfTables(list) => {
                for below in list.iter() {
                    let _ = writeln!(out, "{indent}[[{path}]]");
                    render(below, &path, depth + 1, out);
                }
            }
            Item::None | Item::Value(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let mut entry = Entry::default();
        entry.set(&["name"], "a \"b\"");
        entry.set(&["limit"], 0);
        entry.set(&["kubernetes", "image"], "alpine");
        entry.set(&["kubernetes", "node_selector", "disk.kind/x"], "ssd");
        entry
    }

    #[test]
    fn an_entry_looks_as_gitlab_runner_writes_it() {
        let expected = "\
[[runners]]
  name = \"a \\\"b\\\"\"
  limit = 0
  [runners.kubernetes]
    image = \"alpine\"
    [runners.kubernetes.node_selector]
      \"disk.kind/x\" = \"ssd\"
";
        assert_eq!(entry().render(), expected);
    }

    #[test]
    fn g31_a_template_fills_what_is_not_set() {
        let mut entry = entry();
        let template = "
concurrent = 5
[[runners]]
  token = \"never\"
  name = \"other\" # a comment
  limit = 7
  ratio = 2.0
  environment = [
    \"A=1\", # one
    \"B=2\",
  ]
  [runners.kubernetes]
    image = \"ruby\"
    namespace = \"ci\"
    [[runners.kubernetes.volumes.empty_dir]]
      name = \"cache\"
";
        entry.fill(template).unwrap();
        let expected = "\
[[runners]]
  name = \"a \\\"b\\\"\"
  limit = 7
  ratio = 2.0
  environment = [\"A=1\", \"B=2\"]
  [runners.kubernetes]
    image = \"alpine\"
    namespace = \"ci\"
    [runners.kubernetes.node_selector]
      \"disk.kind/x\" = \"ssd\"
    [runners.kubernetes.volumes]
      [[runners.kubernetes.volumes.empty_dir]]
        name = \"cache\"
";
        assert_eq!(entry.render(), expected);
    }

    #[test]
    fn a_key_can_be_set_in_an_inline_table_of_the_template() {
        let mut entry = Entry::default();
        entry.fill("[[runners]]\nkubernetes = { namespace = \"ci\", image = \"\" }\n").unwrap();
        assert!(
            entry.has(&["kubernetes", "namespace"]) && !entry.has(&["kubernetes", "image"]) && !entry.has(&["x", "y"])
        );
        entry.set(&["kubernetes", "image"], "alpine");
        assert_eq!(
            entry.render(),
            "[[runners]]\n  [runners.kubernetes]\n    namespace = \"ci\"\n    image = \"alpine\"\n"
        );
    }

    #[test]
    fn g30_a_template_has_one_runner() {
        for (text, expected) in [
            ("concurrent = 1\n", "a template has exactly one [[runners]], this one has 0"),
            ("[[runners]]\n[[runners]]\n", "a template has exactly one [[runners]], this one has 2"),
            ("token = glrt-SECRET\n", "string values must be quoted, expected literal string"),
        ] {
            assert_eq!(Entry::default().fill(text).unwrap_err().to_string(), expected);
        }
    }
}
