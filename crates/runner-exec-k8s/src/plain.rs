//! The log as plain text, for people: without the timestamps that GitLab wants in front of each line.

/// Bytes of a line's header: `2026-01-02T03:04:05.123456Z 01O` and the flag.
const HEADER: usize = 32;

/// Takes the headers off, over any split of the text.
#[derive(Debug, Default)]
pub(crate) struct Unstamp {
    partial: String,
    owed: bool,
}

impl Unstamp {
    /// The plain form of what `text` completes. The newline of a line is owed until it is known that the next one does not
    /// continue it.
    pub(crate) fn push(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('\n') {
            self.partial.push_str(&rest[..at]);
            let line = std::mem::take(&mut self.partial);
            self.line(&line, &mut out);
            rest = &rest[at + 1..];
        }
        self.partial.push_str(rest);
        out
    }

    /// What is left at the end.
    pub(crate) fn finish(&mut self) -> String {
        let mut out = String::new();
        if !self.partial.is_empty() {
            let line = std::mem::take(&mut self.partial);
            self.line(&line, &mut out);
        }
        if std::mem::take(&mut self.owed) {
            out.push('\n');
        }
        out
    }

    fn line(&mut self, line: &str, out: &mut String) {
        let (continues, text) = match header(line) {
            Some(flag) => (flag == b'+', &line[HEADER..]),
            None => (false, line),
        };
        if self.owed && !continues {
            out.push('\n');
        }
        out.push_str(text);
        self.owed = true;
    }
}

/// The flag of the line's header, if it has one.
fn header(line: &str) -> Option<u8> {
    let bytes = line.as_bytes().get(..HEADER)?;
    let shape = b"0000-00-00T00:00:00.000000Z xxO ";
    let fits = bytes[..HEADER - 1].iter().zip(shape).all(|(&b, &s)| match s {
        b'0' => b.is_ascii_digit(),
        b'x' => b.is_ascii_hexdigit(),
        b'O' => b == b'O' || b == b'E',
        s => b == s,
    });
    let flag = bytes[HEADER - 1];
    (fits && matches!(flag, b' ' | b'+')).then_some(flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_go_and_continued_lines_join() {
        let text = "2026-01-02T03:04:05.123456Z 00O a\n2026-01-02T03:04:05.123456Z 01O 10%\r\n2026-01-02T03:04:05.123456Z 01O+20%\nplain\n";
        for split in 0..text.len() {
            let mut unstamp = Unstamp::default();
            let out = unstamp.push(&text[..split]) + &unstamp.push(&text[split..]) + &unstamp.finish();
            assert_eq!(out, "a\n10%\r20%\nplain\n");
        }
    }
}
