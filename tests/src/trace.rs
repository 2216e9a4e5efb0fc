//! Reading a job's log back: without timestamps, one stage's output alone.

/// Bytes of a line's header: `2026-01-02T03:04:05.123456Z 01O` and the flag.
const HEADER: usize = 32;

/// The log without the header of each line; a continued line is joined to the one before.
pub fn plain(trace: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(trace.len());
    for line in trace.split_inclusive(|&b| b == b'\n') {
        match line.get(..HEADER).filter(|header| is_header(header)) {
            Some(header) => {
                if header[HEADER - 1] == b'+' && out.last() == Some(&b'\n') {
                    out.pop();
                }
                out.extend_from_slice(&line[HEADER..]);
            }
            None => out.extend_from_slice(line),
        }
    }
    out
}

/// What the scripts printed, exactly: the entries of stream `01` with their headers and added newlines taken off.
///
/// The last entry of a stage ends with a newline that may be an added one; it is kept.
pub fn script_output(trace: &[u8]) -> Vec<u8> {
    let lines = trace.split_inclusive(|&b| b == b'\n');
    let work: Vec<u8> = lines.filter(|line| line.get(28..30) == Some(b"01")).flatten().copied().collect();
    plain(&work)
}

/// The log as text, without headers.
pub fn text(trace: &[u8]) -> String {
    String::from_utf8_lossy(&plain(trace)).into_owned()
}

/// The part of the plain log between the markers of `section`.
pub fn section(trace: &[u8], section: &str) -> Option<String> {
    let text = text(trace);
    let start = text.find("section_start:").into_iter().chain(text.match_indices("section_start:").map(|(at, _)| at));
    let start = start
        .into_iter()
        .find(|&at| text[at..].splitn(3, ':').nth(2).is_some_and(|rest| rest.starts_with(&format!("{section}\r"))))?;
    let end = text[start..].match_indices("section_end:").map(|(at, _)| start + at);
    let end = end
        .into_iter()
        .find(|&at| text[at..].splitn(3, ':').nth(2).is_some_and(|rest| rest.starts_with(&format!("{section}\r"))))?;
    Some(text[start..end].to_owned())
}

fn is_header(bytes: &[u8]) -> bool {
    bytes[4] == b'-'
        && bytes[10] == b'T'
        && bytes[26] == b'Z'
        && bytes[27] == b' '
        && matches!(bytes[HEADER - 1], b' ' | b'+')
}
