//! Encode and decode one line of the pipe.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::event::{Close, Done, End, Hello, Log, Open, Pod, Stage};
use crate::job::JobLine;

/// Version of the protocol, `"v"` of every line.
pub const VERSION: u32 = 1;

/// Longest line in bytes that is read from a pipe; a job with many variables reaches megabytes.
pub const MAX_LINE: usize = 16 * 1024 * 1024;

/// `"type"` of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineType {
    /// A live producer starts.
    Hello,
    /// A graceful stop.
    End,
    /// A job to run.
    Job,
    /// A job's delivery begins.
    Open,
    /// A job's pod.
    Pod,
    /// Log text.
    Log,
    /// A stage began.
    Stage,
    /// A job's result.
    Close,
    /// A job was delivered.
    Done,
    /// A type this version does not know; its line is passed on.
    #[serde(other)]
    Unknown,
}

/// One decoded line.
#[derive(Debug)]
pub enum Line {
    /// See [`Hello`].
    Hello(Hello),
    /// See [`End`].
    End,
    /// See [`JobLine`].
    Job(Box<JobLine>),
    /// A bare GitLab payload: an object with `id`, `token` and `job_info`, without `type`.
    Payload(Box<RawValue>),
    /// See [`Open`].
    Open(Box<Open>),
    /// See [`Pod`].
    Pod(Pod),
    /// See [`Log`].
    Log(Log),
    /// See [`Stage`].
    Stage(Stage),
    /// See [`Close`].
    Close(Close),
    /// See [`Done`].
    Done(Done),
    /// A type this version does not know: pass the line on as it is.
    Unknown,
}

/// Why a line cannot be used. The text names what is wrong and never quotes the line, which may hold secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Not JSON, or a field of the wrong type or missing.
    #[error("{0}")]
    Malformed(String),
    /// `"v"` is not [`VERSION`].
    #[error("protocol version {0} is not supported, expected {VERSION}")]
    Version(u32),
    /// Neither a line of ours nor a job payload.
    #[error("no `type`, and no job payload (`id`, `token`, `job_info`)")]
    Untyped,
}

#[derive(Deserialize)]
struct Peek<'a> {
    v: Option<u32>,
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    token: Option<&'a RawValue>,
    #[serde(borrow)]
    job_info: Option<&'a RawValue>,
}

impl Line {
    /// Decodes one line without its newline.
    pub fn decode(line: &str) -> Result<Self, LineError> {
        let peek: Peek = serde_json::from_str(line).map_err(malformed)?;
        let Some(kind) = peek.kind else {
            return match (peek.id, peek.token, peek.job_info) {
                (Some(_), Some(_), Some(_)) => Ok(Self::Payload(parse(line)?)),
                _ => Err(LineError::Untyped),
            };
        };
        match peek.v {
            Some(VERSION) => {}
            Some(other) => return Err(LineError::Version(other)),
            None => return Err(LineError::Malformed("missing field `v`".to_owned())),
        }
        Ok(match &*kind {
            "hello" => Self::Hello(parse(line)?),
            "end" => Self::End,
            "job" => Self::Job(Box::new(parse(line)?)),
            "open" => Self::Open(Box::new(parse(line)?)),
            "pod" => Self::Pod(parse(line)?),
            "log" => Self::Log(parse(line)?),
            "stage" => Self::Stage(parse(line)?),
            "close" => Self::Close(parse(line)?),
            "done" => Self::Done(parse(line)?),
            _ => Self::Unknown,
        })
    }
}

/// Encodes `line` with its newline.
pub fn encode(line: &impl Serialize) -> Vec<u8> {
    let mut bytes =
        serde_json::to_vec(line).unwrap_or_else(|err| unreachable!("lines hold only strings and numbers: {err}"));
    bytes.push(b'\n');
    bytes
}

/// The line `end`, encoded.
pub fn encode_end() -> Vec<u8> {
    encode(&End::default())
}

fn parse<'a, T: Deserialize<'a>>(line: &'a str) -> Result<T, LineError> {
    serde_json::from_str(line).map_err(malformed)
}

/// serde_json quotes the offending value in its type errors (`invalid type: string "glcbt-…"`); only the shape may be told.
pub(crate) fn malformed(err: serde_json::Error) -> LineError {
    let text = err.to_string();
    let what = match err.classify() {
        serde_json::error::Category::Data => redact(&text),
        _ => text,
    };
    LineError::Malformed(what)
}

/// Takes quoted values out of a serde error, keeps the field names in backticks and the position.
pub(crate) fn redact(text: &str) -> String {
    if let Some(rest) = text.strip_prefix("unknown variant `") {
        let expected = rest.find("`, expected").map_or("", |at| &rest[at + 1..]);
        return format!("unknown value{expected}");
    }
    let mut out = String::with_capacity(text.len());
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            _ if quoted => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_survives_the_round_trip() {
        let line =
            r#"{"v":1,"type":"log","job":42,"host":"h","source":"pod","offset":8192,"text":"a\u0000\u001b[0K\r\n"}"#;
        let Ok(Line::Log(log)) = Line::decode(line) else { panic!("not a log line") };
        assert_eq!(&*log.bytes().unwrap(), b"a\0\x1b[0K\r\n");
        assert_eq!(String::from_utf8(encode(&log)).unwrap(), format!("{line}\n"));
    }

    #[test]
    fn bytes_that_are_not_utf8_travel_as_base64() {
        let Ok(Line::Log(log)) =
            Line::decode(r#"{"v":1,"type":"log","job":1,"source":"pod","offset":0,"base64":"/wA="}"#)
        else {
            panic!()
        };
        assert_eq!(&*log.bytes().unwrap(), b"\xff\0");
    }

    #[test]
    fn unknown_types_and_fields_are_no_error() {
        assert!(matches!(Line::decode(r#"{"v":1,"type":"metrics","x":1}"#), Ok(Line::Unknown)));
        assert!(matches!(Line::decode(r#"{"v":1,"type":"end","x":1}"#), Ok(Line::End)));
    }

    #[test]
    fn a_bare_payload_is_recognised() {
        assert!(matches!(Line::decode(r#"{"id":1,"token":"t","job_info":{}}"#), Ok(Line::Payload(_))));
        assert_eq!(Line::decode(r#"{"id":1}"#).unwrap_err(), LineError::Untyped);
    }

    #[test]
    fn errors_never_quote_the_line() {
        for line in [
            r#"{"v":1,"type":"open","job":"glcbt-secret"}"#,
            r#"{"v":1,"type":"log","job":1,"source":"glcbt-secret"}"#,
            r#"glcbt-secret"#,
        ] {
            let err = Line::decode(line).unwrap_err().to_string();
            assert!(!err.contains("secret"), "{err}");
        }
    }

    #[test]
    fn another_version_is_refused() {
        assert_eq!(Line::decode(r#"{"v":2,"type":"end"}"#).unwrap_err(), LineError::Version(2));
    }
}
