//! Every example in docs/protocol.md is what the code reads and writes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use runner_core::frame::Frame;
use runner_core::line::{Line, encode};

fn examples(fence: &str) -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocol.md");
    let page = std::fs::read_to_string(path).unwrap();
    let mut lines = page.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line == fence {
            found.extend(lines.by_ref().take_while(|line| *line != "```").map(str::to_owned));
        }
    }
    found
}

/// The example's JSON as the code would write what it has read; `None` for what is passed on raw.
fn written_again(line: &Line) -> Option<Vec<u8>> {
    Some(match line {
        Line::Hello(line) => encode(line),
        Line::Job(line) => encode(line),
        Line::Open(line) => encode(line),
        Line::Pod(line) => encode(line),
        Line::Log(line) => encode(line),
        Line::Stage(line) => encode(line),
        Line::Close(line) => encode(line),
        Line::Done(line) => encode(line),
        Line::Payload(raw) => encode(raw),
        Line::End => runner_core::line::encode_end(),
        Line::Unknown => return None,
    })
}

#[test]
fn every_line_type_has_an_example_that_parses() {
    let mut types = BTreeSet::new();
    for example in examples("```json") {
        let line = Line::decode(&example).unwrap_or_else(|err| panic!("{err}: {example}"));
        let again: serde_json::Value = serde_json::from_slice(&written_again(&line).unwrap()).unwrap();
        let mut expected: serde_json::Value = serde_json::from_str(&example).unwrap();
        // false is left out when written
        if expected["debug_trace"] == false {
            expected.as_object_mut().unwrap().remove("debug_trace");
        }
        assert_eq!(again, expected);
        types.insert(expected["type"].as_str().unwrap_or("payload").to_owned());
    }
    let all = ["close", "done", "end", "hello", "job", "log", "open", "payload", "pod", "stage"];
    assert_eq!(types.into_iter().collect::<Vec<_>>(), all);
}

#[test]
fn every_frame_has_an_example_that_parses() {
    let frames: Vec<_> = examples("```frame").iter().map(|line| (Frame::decode(line), line.clone())).collect();
    assert_eq!(frames.len(), 4);
    for (frame, line) in frames {
        let frame = frame.unwrap_or_else(|| panic!("no frame: {line}"));
        assert_eq!(String::from_utf8(frame.encode()).unwrap().trim_end(), line);
    }
}
