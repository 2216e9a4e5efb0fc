//! Lines in: whole, counted, decoded; and what the end of the stream means.

use std::io::{BufRead, BufReader, Read};

use runner_core::line::{Line, LineError, MAX_LINE};
use tokio::sync::mpsc;

/// One line that was read.
#[derive(Debug)]
pub struct Received {
    /// Number of the line, from 1.
    pub number: u64,
    /// The line as it came, without its newline; empty if it was too long or not UTF-8.
    pub text: String,
    /// What it says.
    pub line: Result<Line, BadLine>,
}

/// Why a line is not used. The others go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    /// Not a line of the protocol.
    #[error(transparent)]
    Protocol(#[from] LineError),
    /// Longer than [`MAX_LINE`]; it was skipped up to its end.
    #[error("longer than {MAX_LINE} bytes")]
    TooLong,
    /// Not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
}

/// What the end of the stream means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// `end` came, or the producer never said `hello` (a file, `jq`, `curl`): finish what was read, then exit.
    Complete,
    /// A resumable producer went away without `end`: leave everything as it is and exit 75.
    Lost,
    /// Reading failed.
    Failed(String),
}

/// The lines of a stream, read by a thread of its own: a blocked read must not hold up the tool's exit.
#[derive(Debug)]
pub struct Lines {
    lines: mpsc::Receiver<Item>,
    ending: Option<Ending>,
}

#[derive(Debug)]
enum Item {
    Line(Received),
    End(Ending),
}

impl Lines {
    /// Reads the standard input.
    pub fn stdin() -> std::io::Result<Self> {
        Self::read(std::io::stdin())
    }

    /// Reads `input` to its end.
    pub fn read(input: impl Read + Send + 'static) -> std::io::Result<Self> {
        let (to, lines) = mpsc::channel(16);
        std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
            let ending = pump(&mut BufReader::with_capacity(256 * 1024, input), &to);
            let _ = to.blocking_send(Item::End(ending)); // nobody listens: the tool is on its way out
        })?;
        Ok(Self { lines, ending: None })
    }

    /// The next line; `None` at the end, see [`Lines::ending`].
    pub async fn next(&mut self) -> Option<Received> {
        match self.lines.recv().await? {
            Item::Line(line) => Some(line),
            Item::End(ending) => {
                self.ending = Some(ending);
                None
            }
        }
    }

    /// What the end means, once [`Lines::next`] has returned `None`.
    pub fn ending(&self) -> Ending {
        self.ending.clone().unwrap_or(Ending::Lost)
    }
}

fn pump(input: &mut impl BufRead, to: &mpsc::Sender<Item>) -> Ending {
    let (mut resumable, mut ended) = (false, false);
    for number in 1.. {
        let (bytes, whole) = match read_line(input) {
            Ok(Piece::Line(bytes)) => (bytes, true),
            Ok(Piece::Torn(bytes)) => (bytes, false),
            Ok(Piece::TooLong) => {
                let line = Err(BadLine::TooLong);
                if to.blocking_send(Item::Line(Received { number, text: String::new(), line })).is_err() {
                    break;
                }
                continue;
            }
            Ok(Piece::End) => break,
            Err(err) => return Ending::Failed(err.to_string()),
        };
        if !whole && resumable && !ended {
            break; // the producer died in the middle of its line; it will be written again
        }
        let Some(received) = decode(number, bytes) else { continue };
        match &received.line {
            Ok(Line::Hello(hello)) => resumable = hello.resumable,
            Ok(Line::End) => ended = true,
            _ => {}
        }
        if to.blocking_send(Item::Line(received)).is_err() {
            break;
        }
    }
    if resumable && !ended { Ending::Lost } else { Ending::Complete }
}

/// Decodes a line; `None` for a blank one.
fn decode(number: u64, bytes: Vec<u8>) -> Option<Received> {
    let received = match String::from_utf8(bytes) {
        Ok(text) if text.trim().is_empty() => return None,
        Ok(text) => Received { number, line: Line::decode(&text).map_err(BadLine::from), text },
        Err(_) => Received { number, text: String::new(), line: Err(BadLine::NotUtf8) },
    };
    Some(received)
}

enum Piece {
    Line(Vec<u8>),
    Torn(Vec<u8>),
    TooLong,
    End,
}

fn read_line(input: &mut impl BufRead) -> std::io::Result<Piece> {
    let mut bytes = Vec::new();
    input.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut bytes)?;
    match bytes.last() {
        None => Ok(Piece::End),
        Some(b'\n') => {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
            Ok(Piece::Line(bytes))
        }
        Some(_) if bytes.len() > MAX_LINE => {
            skip_line(input)?;
            Ok(Piece::TooLong)
        }
        Some(_) => Ok(Piece::Torn(bytes)),
    }
}

fn skip_line(input: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        let (used, done) = match buffer.iter().position(|&b| b == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        input.consume(used);
        if done {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(input: Vec<u8>) -> (Vec<(u64, String)>, Ending) {
        let mut lines = Lines::read(std::io::Cursor::new(input)).unwrap();
        let mut seen = Vec::new();
        while let Some(received) = lines.next().await {
            let what = match received.line {
                Ok(line) => format!("{line:?}").split(['(', ' ']).next().unwrap().to_owned(),
                Err(err) => err.to_string(),
            };
            seen.push((received.number, what));
        }
        (seen, lines.ending())
    }

    const HELLO: &str = "{\"v\":1,\"type\":\"hello\",\"resumable\":true}\n";
    const END: &str = "{\"v\":1,\"type\":\"end\"}\n";

    #[tokio::test]
    async fn the_end_means_what_the_producer_said() {
        for (input, ending) in [
            (String::new(), Ending::Complete),
            (END.to_owned(), Ending::Complete),
            (format!("{HELLO}{END}"), Ending::Complete),
            (HELLO.to_owned(), Ending::Lost),
            (format!("{HELLO}{{\"v\":1,\"ty"), Ending::Lost),
        ] {
            assert_eq!(read(input.clone().into_bytes()).await.1, ending, "{input}");
        }
    }

    #[tokio::test]
    async fn a_bad_line_is_numbered_and_the_next_one_is_read() {
        let mut input = b"\n{}\n\xff\n".to_vec();
        input.extend(std::iter::repeat_n(b'x', MAX_LINE + 10));
        input.extend_from_slice(b"\n");
        input.extend_from_slice(END.trim_end().as_bytes());
        let (seen, ending) = read(input).await;
        let numbers: Vec<u64> = seen.iter().map(|(n, _)| *n).collect();
        assert_eq!(numbers, [2, 3, 4, 5]);
        assert!(seen[0].1.starts_with("no `type`"), "{seen:?}");
        assert_eq!(seen[1].1, "not UTF-8");
        assert!(seen[2].1.starts_with("longer than"));
        assert_eq!((seen[3].1.as_str(), ending), ("End", Ending::Complete));
    }
}
