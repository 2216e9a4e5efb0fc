//! Edits of a `config.toml` as text: what is not meant stays as it is, byte for byte.
//!
//! The parser says where the entries are; the text is cut and joined there. Each edit is read again and compared before it is
//! handed out, so that an unusual file is refused, never damaged.

use std::ops::Range;

use toml_edit::{Document, Item, Table, Value};

use crate::literal;

/// Why a file cannot be edited. No text quotes the file: it holds tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// Not TOML.
    #[error("line {line}: {message}")]
    Syntax {
        /// From 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// `runners = [{…}]`, or no list at all.
    #[error("`runners` is not written as [[runners]]; please write each runner as a [[runners]] table first")]
    Inline,
    /// The edited text does not mean what it should.
    #[error("the file is written in a way that cannot be edited safely; please edit it by hand")]
    Unsafe,
}

/// Adds an entry, `[[runners]]` and its lines, at the end.
pub fn append(text: &str, entry: &str) -> Result<String, EditError> {
    let before = parse(text)?;
    let newline = newline_of(text);
    let mut out = text.to_owned();
    if !out.is_empty() && out != BOM {
        if !out.ends_with('\n') {
            out.push_str(newline);
        }
        if !out.ends_with("\n\n") && !out.ends_with("\n\r\n") {
            out.push_str(newline);
        }
    }
    out.push_str(&entry.replace('\n', newline));
    let mut expected = before;
    let added: toml::Table = entry.parse().map_err(|_| EditError::Unsafe)?;
    let Some(toml::Value::Array(added)) = added.get("runners") else { return Err(EditError::Unsafe) };
    match expected.entry("runners").or_insert_with(|| toml::Value::Array(Vec::new())) {
        toml::Value::Array(runners) => runners.extend(added.iter().cloned()),
        _ => return Err(EditError::Inline),
    }
    checked(out, &expected)
}

/// Takes the entries of these numbers (from 0) out, with the comments right above them.
pub fn remove(text: &str, entries: &[usize]) -> Result<String, EditError> {
    let mut expected = parse(text)?;
    if let Some(toml::Value::Array(runners)) = expected.get_mut("runners") {
        let mut index = 0;
        runners.retain(|_| {
            index += 1;
            !entries.contains(&(index - 1))
        });
        if runners.is_empty() {
            expected.remove("runners");
        }
    }
    let offset = if text.starts_with(BOM) { BOM.len() } else { 0 };
    let body = &text[offset..];
    let mut out = body.to_owned();
    for block in blocks(body)?.into_iter().rev().filter(|block| block.runner.is_some_and(|n| entries.contains(&n))) {
        let Block { start, mut end, .. } = block;
        // The blank lines around the block become those before it.
        if start == 0 || ends_blank(&out[..start]) {
            while let Some(line) = out[end..].split_inclusive('\n').next().filter(|line| line.trim().is_empty()) {
                end += line.len();
            }
        }
        out.replace_range(start..end, "");
    }
    checked(format!("{}{out}", &text[..offset]), &expected)
}

/// Gives the entries of these numbers (from 0) new values of these keys. A key that an entry lacks gets a line of its own, below
/// that of the first key.
pub fn set(text: &str, entries: &[usize], keys: &[(&str, Value)]) -> Result<String, EditError> {
    let mut expected = parse(text)?;
    for (index, table) in
        expected.get_mut("runners").and_then(toml::Value::as_array_mut).into_iter().flatten().enumerate()
    {
        let Some(table) = table.as_table_mut().filter(|_| entries.contains(&index)) else { continue };
        for (key, value) in keys {
            let value: toml::Table = line(key, value).parse().map_err(|_| EditError::Unsafe)?;
            table.extend(value);
        }
    }
    let (mark, body) = text.split_at(if text.starts_with(BOM) { BOM.len() } else { 0 });
    let document = Document::parse(body).map_err(|_| EditError::Unsafe)?;
    let runners = document.get("runners").and_then(Item::as_array_of_tables).into_iter().flatten().enumerate();
    let mut changes = Vec::new();
    for (_, table) in runners.filter(|(index, _)| entries.contains(index)) {
        changes.extend(changes_of(table, keys, body).ok_or(EditError::Unsafe)?);
    }
    changes.sort_unstable_by_key(|(place, _)| place.start);
    let mut out = body.to_owned();
    for (place, new) in changes.into_iter().rev() {
        out.replace_range(place, &new);
    }
    checked(format!("{mark}{out}"), &expected)
}

/// What must be put where in `text` so that `table` has these values.
fn changes_of(table: &Table, keys: &[(&str, Value)], text: &str) -> Option<Vec<(Range<usize>, String)>> {
    let place = |key: &str| table.get(key).and_then(Item::as_value).and_then(Value::span);
    let mut changes = Vec::new();
    let mut missing = Vec::new();
    for (key, value) in keys {
        match place(key) {
            Some(place) => changes.push((place, literal::value(value))),
            None => missing.push(line(key, value)),
        }
    }
    if missing.is_empty() {
        return Some(changes);
    }
    let (indent, above) = match keys.first().and_then(|(key, _)| place(key)) {
        Some(place) => (indent_of(text, place.start), place.end),
        None => ("  ", header(table, text)?.end),
    };
    let (at, newline) = (line_end(text, above), newline_of(text));
    let lines: Vec<String> = missing.iter().map(|line| format!("{indent}{line}")).collect();
    changes.push((
        at..at,
        match text[..at].ends_with('\n') {
            true => lines.iter().map(|line| format!("{line}{newline}")).collect(),
            false => lines.iter().map(|line| format!("{newline}{line}")).collect(),
        },
    ));
    Some(changes)
}

fn line(key: &str, value: &Value) -> String {
    format!("{} = {}", literal::key(key), literal::value(value))
}

const BOM: &str = "\u{feff}";

/// A header with its lines, and the entry it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Block {
    start: usize,
    /// Behind the last value's line; what follows up to the next block are comments and blank lines.
    end: usize,
    runner: Option<usize>,
}

/// The blocks of all headers, in the order of the text. The comments right above a header are part of its block.
fn blocks(text: &str) -> Result<Vec<Block>, EditError> {
    let document = Document::parse(text).map_err(|_| EditError::Unsafe)?;
    let mut blocks = Vec::new();
    for (key, item) in document.iter() {
        match item {
            Item::ArrayOfTables(list) if key == "runners" => {
                for (index, table) in list.iter().enumerate() {
                    collect(table, Some(index), text, &mut blocks);
                }
            }
            item => collect_item(item, None, text, &mut blocks),
        }
    }
    blocks.sort_unstable();
    let mut before = line_end(text, values_end(document.as_table(), text).unwrap_or(0));
    for block in &mut blocks {
        while let Some(line) = last_line(&text[before..block.start]).filter(|line| line.trim_start().starts_with('#')) {
            block.start -= line.len();
        }
        block.end += inner_comments(&text[block.end..]);
        before = block.end;
    }
    Ok(blocks)
}

/// Length of the indented comments at the front of `text` that a blank line or the end divides from what follows.
fn inner_comments(text: &str) -> usize {
    let mut length = 0;
    for line in text.split_inclusive('\n') {
        match line.trim_start() {
            comment if comment.starts_with('#') && comment.len() < line.len() => length += line.len(),
            "" => return length,
            _ => return 0,
        }
    }
    length
}

fn collect(table: &Table, runner: Option<usize>, text: &str, blocks: &mut Vec<Block>) {
    if let Some(header) = header(table, text) {
        let end = values_end(table, text).unwrap_or(header.end);
        blocks.push(Block { start: line_start(text, header.start), end: line_end(text, end), runner });
    }
    for (_, item) in table.iter() {
        collect_item(item, runner, text, blocks);
    }
}

fn collect_item(item: &Item, runner: Option<usize>, text: &str, blocks: &mut Vec<Block>) {
    match item {
        Item::Table(table) => collect(table, runner, text, blocks),
        Item::ArrayOfTables(list) => list.iter().for_each(|table| collect(table, runner, text, blocks)),
        Item::None | Item::Value(_) => {}
    }
}

/// Where the table's `[header]` stands. A table that is only implied, or made by a dotted key, has none.
fn header(table: &Table, text: &str) -> Option<Range<usize>> {
    table.span().filter(|span| !span.is_empty() && text[span.start..].starts_with('['))
}

/// Where the last of the table's own values ends, those of dotted keys too.
fn values_end(table: &Table, text: &str) -> Option<usize> {
    let ends = table.iter().filter_map(|(_, item)| match item {
        Item::Value(value) => value.span().map(|span| span.end),
        Item::Table(below) if header(below, text).is_none() => values_end(below, text),
        _ => None,
    });
    ends.max()
}

/// The blanks in front of the line in which `at` lies.
fn indent_of(text: &str, at: usize) -> &str {
    let line = &text[line_start(text, at)..];
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Behind the newline of the line in which `at` lies.
fn line_end(text: &str, at: usize) -> usize {
    if at == 0 { 0 } else { text[at..].find('\n').map_or(text.len(), |newline| at + newline + 1) }
}

fn last_line(text: &str) -> Option<&str> {
    text.split_inclusive('\n').next_back()
}

fn ends_blank(text: &str) -> bool {
    last_line(text).is_some_and(|line| line.trim().is_empty())
}

fn newline_of(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if text[..at].ends_with('\r') => "\r\n",
        _ => "\n",
    }
}

/// Reads `text`; refuses runners that are not `[[runners]]`.
fn parse(text: &str) -> Result<toml::Table, EditError> {
    let table: toml::Table = text.parse().map_err(|err: toml::de::Error| {
        let at = err.span().map_or(0, |span| span.start).min(text.len());
        let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        EditError::Syntax { line, message: err.message().replace('\n', ", ") }
    })?;
    let document = Document::parse(text.trim_start_matches(BOM)).map_err(|_| EditError::Unsafe)?;
    match document.get("runners") {
        None | Some(Item::ArrayOfTables(_)) => Ok(table),
        Some(_) => Err(EditError::Inline),
    }
}

fn checked(text: String, expected: &toml::Table) -> Result<String, EditError> {
    match text.parse::<toml::Table>() {
        Ok(table) if table == *expected => Ok(text),
        _ => Err(EditError::Unsafe),
    }
}

#[cfg(test)]
#[path = "edit/tests.rs"]
mod tests;
