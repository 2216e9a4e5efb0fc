//! Timestamps in front of log lines: `2026-01-02T03:04:05.123456Z 01O text`.
//!
//! Source: GitLab's job log format with `FF_TIMESTAMPS`: 27 bytes of UTC time, a blank, two hex digits of stream, `O` or `E`, then
//! a blank (a new line) or `+` (continues the entry before; the newline that was added there is not part of the text).

use std::time::SystemTime;

/// Text without a newline that is kept back at most; more is put out as an entry of its own.
const LONGEST: usize = 8 * 1024;

/// Stream of the runner's own lines.
pub const STREAM_RUNNER: u8 = 0x00;
/// Stream of scripts.
pub const STREAM_WORK: u8 = 0x01;
/// Stream of all services.
pub const STREAM_SERVICES: u8 = 0x0f;

/// Stamps the lines of one stream.
#[derive(Debug)]
pub struct Stamper {
    tag: String,
    buffer: Vec<u8>,
    begun: Option<SystemTime>,
    continues: bool,
}

impl Stamper {
    /// For one of the `STREAM_…` numbers; `kind` is `O` (stdout) or `E` (stderr).
    pub fn new(stream: u8, kind: char) -> Self {
        Self { tag: format!("{stream:02x}{kind}"), buffer: Vec::new(), begun: None, continues: false }
    }

    /// Appends to `out` the entries that `bytes`, written at `now`, complete.
    pub fn write(&mut self, now: SystemTime, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|&b| b == b'\n') {
            let (line, after) = rest.split_at(at + 1);
            self.header(self.begun.unwrap_or(now), out);
            out.append(&mut self.buffer);
            out.extend_from_slice(line);
            self.begun = None;
            self.continues = false;
            rest = after;
        }
        if rest.is_empty() {
            return;
        }
        self.begun.get_or_insert(now);
        self.buffer.extend_from_slice(rest);
        if rest.contains(&b'\r') || self.buffer.len() > LONGEST {
            self.flush(out);
        }
    }

    /// Puts out what is kept back, with a newline of our own; the next entry continues it.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        let Some(begun) = self.begun.take() else { return };
        self.header(begun, out);
        out.append(&mut self.buffer);
        out.push(b'\n');
        self.continues = true;
    }

    fn header(&self, at: SystemTime, out: &mut Vec<u8>) {
        let flag = if self.continues { '+' } else { ' ' };
        out.extend_from_slice(format!("{} {}{flag}", humantime::format_rfc3339_micros(at), self.tag).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn stamped(writes: &[&str]) -> String {
        let mut stamper = Stamper::new(STREAM_WORK, 'O');
        let mut out = Vec::new();
        for (i, text) in writes.iter().enumerate() {
            stamper.write(UNIX_EPOCH + Duration::from_micros(i as u64), text.as_bytes(), &mut out);
        }
        stamper.flush(&mut out);
        let len = out.len();
        stamper.flush(&mut out);
        assert_eq!(out.len(), len, "once is enough");
        String::from_utf8(out).unwrap().replace("1970-01-01T00:00:00.00000", "")
    }

    #[test]
    fn j207_j208_j209_each_line_gets_a_header() {
        for (writes, expected) in [
            (&["a\n"][..], "0Z 01O a\n"),
            (&["a\nb\n"], "0Z 01O a\n0Z 01O b\n"),
            (&["\n"], "0Z 01O \n"),
            (&["a", "b\n"], "0Z 01O ab\n"),
            (&["a\r\n"], "0Z 01O a\r\n"),
            (&["10%\r", "20%\r", "done\n"], "0Z 01O 10%\r\n1Z 01O+20%\r\n2Z 01O+done\n"),
            (&["a\nb\r", "c\n"], "0Z 01O a\n0Z 01O b\r\n1Z 01O+c\n"),
            (&["no newline"], "0Z 01O no newline\n"),
            (&[], ""),
        ] {
            assert_eq!(stamped(writes), expected, "{writes:?}");
        }
    }

    #[test]
    fn j207_a_long_line_is_put_out_in_entries_that_join_to_the_same_text() {
        let long = "x".repeat(LONGEST + 1);
        assert_eq!(stamped(&[&long, "y\n"]), format!("0Z 01O {long}\n1Z 01O+y\n"));
    }
}
