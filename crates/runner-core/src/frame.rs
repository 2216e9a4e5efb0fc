//! The framed lines that the helper prints on its stdout and the executor reads from the pod's log.
//!
//! Each frame is one JSON object below 16 KiB, the length at which the kubelet splits a line:
//! `{"seq":7,"offset":8192,"log":"…"}`. `seq` counts frames from 0; `offset` is the number of bytes of log text before this frame,
//! so a reader that was cut off knows what it has seen already and what is missing.

use serde::{Deserialize, Serialize};

use crate::event::State;
use crate::failure::FailureReason;

/// Longest encoded frame in bytes, newline included.
pub const MAX_FRAME: usize = 15 * 1024;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Number of this frame. A replayed piece of text gets a new number and its old `offset`.
    pub seq: u64,
    /// Bytes of log text before this frame.
    pub offset: u64,
    /// What it says.
    #[serde(flatten)]
    pub body: Body,
}

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// The helper has the payload and begins the job. A pod that never said this never ran anything.
    Started {
        /// Version of the helper.
        version: String,
    },
    /// Text of the job log: UTF-8, masked, stamped.
    Log(String),
    /// A stage begins.
    Stage {
        /// Its name, e.g. `get_sources`.
        name: String,
        /// When, RFC 3339 with milliseconds.
        at: String,
    },
    /// The job has ended. Also the container's termination message (as the JSON of [`Outcome`]).
    Result(Outcome),
}

/// How the job ended, as the helper knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Success or failed.
    pub state: State,
    /// The script's exit code, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why, if failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<FailureReason>,
    /// What the log's final line says after `Job failed: `; empty on success.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Bytes of log text in all. The result counts only once that many have been received.
    pub length: u64,
    /// The build container went away under the script; only the executor can see why.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub container_lost: bool,
}

impl Frame {
    /// Decodes one line of the helper's log without its newline; `None` if it is no frame (a panic message, say).
    pub fn decode(line: &str) -> Option<Self> {
        if !line.starts_with("{\"seq\":") {
            return None;
        }
        serde_json::from_str(line).ok()
    }

    /// Encodes the frame with its newline.
    pub fn encode(&self) -> Vec<u8> {
        crate::line::encode(self)
    }
}

/// Appends to `out` one encoded `log` frame with as much of `text` as fits; returns how many bytes of `text` it took.
///
/// Takes at least one character, none if `text` is empty.
pub fn encode_log(out: &mut Vec<u8>, seq: u64, offset: u64, text: &str) -> usize {
    const AROUND: usize = 96; // `{"seq":…,"offset":…,"log":""}` with two 20-digit numbers and the newline
    let mut room = MAX_FRAME - AROUND;
    let mut end = 0;
    for (at, c) in text.char_indices() {
        let cost = encoded_len(c);
        if cost > room {
            break;
        }
        room -= cost;
        end = at + c.len_utf8();
    }
    if end > 0 {
        let frame = Frame { seq, offset, body: Body::Log(text[..end].to_owned()) };
        out.extend_from_slice(&frame.encode());
    }
    end
}

/// Bytes of `c` inside a JSON string as serde_json writes it.
fn encoded_len(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        c => c.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_look_as_documented() {
        let frame = |body| String::from_utf8(Frame { seq: 1, offset: 2, body }.encode()).unwrap();
        assert_eq!(frame(Body::Log("a\n".into())), "{\"seq\":1,\"offset\":2,\"log\":\"a\\n\"}\n");
        assert_eq!(
            frame(Body::Started { version: "0.1.0".into() }),
            "{\"seq\":1,\"offset\":2,\"started\":{\"version\":\"0.1.0\"}}\n"
        );
        let outcome = Outcome {
            state: State::Failed,
            exit_code: Some(7),
            failure_reason: Some(FailureReason::ScriptFailure),
            message: "m".into(),
            length: 2,
            container_lost: false,
        };
        let line = frame(Body::Result(outcome.clone()));
        assert_eq!(Frame::decode(line.trim_end()).unwrap().body, Body::Result(outcome));
    }

    #[test]
    fn a_line_that_is_no_frame_is_not_mistaken_for_one() {
        for line in [
            "",
            "thread 'main' panicked",
            "{\"command_exit_code\":0}",
            "{\"seq\":1",
            "{\"seq\":1,\"offset\":0,\"nonsense\":1}",
        ] {
            assert_eq!(Frame::decode(line), None, "{line}");
        }
    }

    #[test]
    fn no_frame_reaches_the_length_at_which_the_kubelet_splits() {
        for text in ["x".repeat(50_000), "\u{1b}".repeat(20_000), "é\"\n".repeat(20_000), "\u{1f600}".repeat(9_000)] {
            let (mut rest, mut offset, mut back) = (text.as_str(), 0, String::new());
            while !rest.is_empty() {
                let mut out = Vec::new();
                let n = encode_log(&mut out, u64::MAX, u64::MAX, rest);
                assert!(n > 0 && out.len() <= MAX_FRAME, "{}", out.len());
                let Some(Body::Log(piece)) =
                    Frame::decode(std::str::from_utf8(&out).unwrap().trim_end()).map(|f| f.body)
                else {
                    panic!()
                };
                back.push_str(&piece);
                offset += n;
                rest = &text[offset..];
            }
            assert_eq!(back, text);
        }
    }
}
