//! A definition written as YAML again, for `merged_yaml`.

use super::node::{Members, Node};
use super::yaml::is_plain_text;

/// A whole document, begun with `---`.
pub(super) fn document(root: &Members) -> String {
    let mut out = "---\n".to_owned();
    members(root, 0, &mut out);
    out
}

fn members(members: &Members, depth: usize, out: &mut String) {
    for (key, node) in members {
        out.push_str(&format!("{}{}:", "  ".repeat(depth), scalar(key)));
        value(node, depth + 1, out);
    }
}

/// What follows `key:` or `-`.
fn value(node: &Node, depth: usize, out: &mut String) {
    match node {
        Node::Map(inner) if !inner.is_empty() => {
            out.push('\n');
            members(inner, depth, out);
        }
        Node::List(items) if !items.is_empty() => {
            out.push('\n');
            for item in items {
                out.push_str(&format!("{}-", "  ".repeat(depth)));
                value(item, depth + 1, out);
            }
        }
        Node::Null => out.push('\n'),
        Node::Bool(flag) => out.push_str(&format!(" {flag}\n")),
        Node::Number(text) => out.push_str(&format!(" {text}\n")),
        Node::Text(text) => out.push_str(&format!(" {}\n", scalar(text))),
        Node::Map(_) => out.push_str(" {}\n"),
        Node::List(_) | Node::Reference(_) => out.push_str(" []\n"),
    }
}

/// A text as it is where that can be read as nothing else, else between quotes.
fn scalar(text: &str) -> String {
    let is_harmless = |letter: char| letter.is_ascii_alphanumeric() || "_./-$ ()=+,%@".contains(letter);
    let starts_well = text.starts_with(|first: char| first.is_ascii_alphanumeric() || "_./$".contains(first));
    match starts_well && !text.ends_with(' ') && text.chars().all(is_harmless) && is_plain_text(text) {
        true => text.to_owned(),
        // A JSON string is a YAML string between double quotes.
        false => serde_json::Value::from(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ci::yaml;

    #[test]
    fn what_is_written_reads_as_the_same() {
        let text = "a: [1, '1', yes, 'yes', ~, {}, [], [[x]], {k: v}]\n'on': \"tab\\t: # \\\"q\\\"\"\nb: {c: {d: |\n  two\n  lines\n}}\n";
        let text = text.replace("|\n  two\n  lines\n", "\"two\\nlines\\n\"");
        let read = yaml::parse(&text).unwrap();
        let written = document(read[0].members().unwrap());
        assert_eq!(yaml::parse(&written).unwrap(), read, "{written}");
    }
}
