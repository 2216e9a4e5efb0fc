//! The log as GitLab gets it: a pure function of the journal's texts, computed piece by piece.
//!
//! Texts come in the order of the journal. A piece that was there before is left out, a partial repetition is trimmed. The
//! executor's text is masked (the pod's was masked in the pod), bytes that are not UTF-8 become U+FFFD, one each, and the log is
//! cut at its limit. How the texts are split into pieces does not matter.
//!
//! The limit. Text up to [`reserve`] bytes below it is put out at once; the next bytes are held until it is known whether the log
//! stays below the limit. If it does, it is whole. If not, it ends there with GitLab Runner's notice, and the text marked `final`
//! follows in the reserved room, itself cut to it. So a log has at most `limit` bytes and the notice, and never loses its end.

use runner_core::event::{Open, Source};
use runner_core::mask::{DEFAULT_PREFIXES, Masker};
use runner_core::secret::Secret;
use runner_core::text::limit_notice;

/// How many bytes of each source's text have come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Offsets {
    executor: u64,
    pod: u64,
}

impl Offsets {
    /// Bytes of `source` that have come.
    pub(crate) fn of(&self, source: Source) -> u64 {
        match source {
            Source::Executor => self.executor,
            Source::Pod => self.pod,
        }
    }

    /// Takes over a piece of `len` bytes at `offset` and returns how many of its first bytes are not new; `None` if bytes before it
    /// are missing.
    pub(crate) fn cover(&mut self, source: Source, offset: u64, len: usize) -> Option<usize> {
        let have = match source {
            Source::Executor => &mut self.executor,
            Source::Pod => &mut self.pod,
        };
        let known = usize::try_from(have.checked_sub(offset)?).unwrap_or(usize::MAX).min(len);
        *have = (*have).max(offset.saturating_add(len as u64));
        Some(known)
    }
}

/// Renders one job's log.
#[derive(Debug)]
pub(crate) struct Renderer {
    limit: u64,
    /// Room kept below the limit for the final text.
    reserve: u64,
    offsets: Offsets,
    secrets: Secrets,
    /// Only while the executor's text is rendered: its automata are large, and a job's text is mostly the pod's.
    masker: Option<Masker>,
    utf8: Utf8,
    /// Whose text came last, and whether it was marked `final`. At a change what masker and decoder hold back is put out.
    current: Option<(Source, bool)>,
    /// Bytes put out.
    emitted: u64,
    /// Text beyond `limit - reserve`, put out if the log turns out to stay below the limit; shorter than `reserve`.
    held: String,
    /// The final text, at most `reserve` bytes; put out at the end.
    last: String,
    /// The final text did not fit: nothing follows what is in `last`.
    last_cut: bool,
    /// The limit was reached and the notice put out: only the final text follows.
    full: bool,
}

/// Room in bytes that a log of `limit` bytes keeps for its final text: a quarter of it, but at least 256 and at most 4096.
fn reserve(limit: u64) -> u64 {
    (limit / 4).clamp(256, 4096)
}

impl Renderer {
    /// For the job opened by `open`.
    pub(crate) fn new(open: &Open) -> Self {
        let secrets = Secrets { masks: open.masks.clone(), prefixes: open.features.token_mask_prefixes.clone() };
        Self {
            limit: open.limit,
            reserve: reserve(open.limit),
            offsets: Offsets::default(),
            secrets,
            masker: None,
            utf8: Utf8::default(),
            current: None,
            emitted: 0,
            held: String::new(),
            last: String::new(),
            last_cut: false,
            full: false,
        }
    }

    /// What has come of each source.
    pub(crate) fn offsets(&self) -> Offsets {
        self.offsets
    }

    /// Renders a piece of `source`'s text and appends to `out` what is decided. A piece behind a gap is left out.
    pub(crate) fn push(&mut self, source: Source, offset: u64, bytes: &[u8], last: bool, out: &mut Vec<u8>) {
        let Some(known) = self.offsets.cover(source, offset, bytes.len()) else { return };
        let new = &bytes[known..];
        if new.is_empty() || (self.full && !last) {
            return;
        }
        if self.current != Some((source, last)) {
            self.end_text(out);
            self.current = Some((source, last));
        }
        let mut text = String::new();
        match source {
            Source::Pod => self.utf8.write(new, &mut text),
            Source::Executor => {
                let mut masked = Vec::new();
                self.masker.get_or_insert_with(|| self.secrets.masker()).write(new, &mut masked);
                self.utf8.write(&masked, &mut text);
            }
        }
        self.put(&text, last, out);
    }

    /// The log is complete: appends to `out` what was held back, and the final text.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        self.end_text(out);
        let length = self.emitted + (self.held.len() + self.last.len()) as u64;
        if !self.full && length >= self.limit && length > 0 {
            self.cut(out);
        }
        let rest = std::mem::take(&mut self.held) + &std::mem::take(&mut self.last);
        self.emit(&rest, out);
    }

    /// The current text ends: what masker and decoder still hold belongs to it.
    fn end_text(&mut self, out: &mut Vec<u8>) {
        let Some((_, last)) = self.current.take() else { return };
        let mut text = String::new();
        if let Some(mut masker) = self.masker.take() {
            let mut masked = Vec::new();
            masker.finish(&mut masked);
            self.utf8.write(&masked, &mut text);
        }
        self.utf8.finish(&mut text);
        self.put(&text, last, out);
    }

    fn put(&mut self, text: &str, last: bool, out: &mut Vec<u8>) {
        if last {
            let room = if self.last_cut { 0 } else { self.reserve as usize - self.last.len() };
            let fits = text.floor_char_boundary(room);
            self.last.push_str(&text[..fits]);
            self.last_cut |= fits < text.len();
            return;
        }
        if self.full {
            return;
        }
        let mut rest = text;
        if self.held.is_empty() {
            let room = self.limit.saturating_sub(self.reserve).saturating_sub(self.emitted);
            let (now, later) = text.split_at(text.floor_char_boundary(usize::try_from(room).unwrap_or(usize::MAX)));
            self.emit(now, out);
            rest = later;
        }
        if self.emitted + (self.held.len() + rest.len()) as u64 >= self.limit && !rest.is_empty() {
            self.cut(out);
        } else {
            self.held.push_str(rest);
        }
    }

    fn cut(&mut self, out: &mut Vec<u8>) {
        self.full = true;
        self.held = String::new();
        self.emit(&limit_notice(self.limit), out);
    }

    fn emit(&mut self, text: &str, out: &mut Vec<u8>) {
        self.emitted += text.len() as u64;
        out.extend_from_slice(text.as_bytes());
    }
}

/// What the executor's text must not show.
#[derive(Debug)]
struct Secrets {
    masks: Vec<Secret>,
    /// Besides the default ones.
    prefixes: Vec<String>,
}

impl Secrets {
    fn masker(&self) -> Masker {
        let prefixes = DEFAULT_PREFIXES.iter().copied().chain(self.prefixes.iter().map(String::as_str));
        Masker::new(self.masks.iter().map(Secret::expose), prefixes)
    }
}

/// Joins characters that are split over pieces; each byte that belongs to none becomes U+FFFD.
#[derive(Debug, Default)]
struct Utf8 {
    /// The begun character at the end of what was written, at most three bytes.
    begun: Vec<u8>,
}

impl Utf8 {
    fn write(&mut self, bytes: &[u8], out: &mut String) {
        let joined;
        let mut rest = bytes;
        if !self.begun.is_empty() {
            joined = [std::mem::take(&mut self.begun).as_slice(), bytes].concat();
            rest = &joined;
        }
        let mut chunks = rest.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            out.push_str(chunk.valid());
            let begun = chunks.peek().is_none()
                && std::str::from_utf8(chunk.invalid()).is_err_and(|err| err.error_len().is_none());
            match begun {
                true => self.begun = chunk.invalid().to_vec(),
                false => replace(chunk.invalid().len(), out),
            }
        }
    }

    fn finish(&mut self, out: &mut String) {
        replace(std::mem::take(&mut self.begun).len(), out);
    }
}

fn replace(bytes: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(char::REPLACEMENT_CHARACTER, bytes));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use runner_core::event::{Head, JobKey, OpenFeatures};
    use runner_core::line::LineType;

    use super::*;

    /// One journal piece: source, bytes, whether it is the final text.
    type Piece = (Source, Vec<u8>, bool);

    fn open(limit: u64) -> Open {
        Open {
            head: Head::new(LineType::Open),
            key: JobKey { id: 1, host: "h".into() },
            url: "http://h".into(),
            token: Secret::new("t"),
            tls: Default::default(),
            limit,
            features: OpenFeatures { token_mask_prefixes: vec!["corp-".into()], ..OpenFeatures::default() },
            masks: vec![Secret::new("hunter2"), Secret::new("abcabd")],
            debug_trace: false,
        }
    }

    fn rendered(limit: u64, pieces: &[Piece]) -> String {
        let (mut renderer, mut out, mut at) = (Renderer::new(&open(limit)), Vec::new(), Offsets::default());
        for (source, bytes, last) in pieces {
            let offset = at.of(*source);
            at.cover(*source, offset, bytes.len());
            renderer.push(*source, offset, bytes, *last, &mut out);
        }
        renderer.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn executor(text: &str) -> Piece {
        (Source::Executor, text.into(), false)
    }

    fn pod(text: &str) -> Piece {
        (Source::Pod, text.into(), false)
    }

    fn last(text: &str) -> Piece {
        (Source::Executor, text.into(), true)
    }

    const MIB: u64 = 1 << 20;

    #[test]
    fn only_the_executors_text_is_masked() {
        let log = rendered(MIB, &[executor("a hunter2 glpat-x corp-y\n"), pod("hunter2 glpat-x\n"), last("hunter2\n")]);
        assert_eq!(log, "a [MASKED] glpat-[MASKED] corp-[MASKED]\nhunter2 glpat-x\n[MASKED]\n");
    }

    #[test]
    fn bytes_that_are_not_utf8_become_replacement_characters() {
        for (pieces, expected) in [
            (vec![(Source::Pod, b"a\xff\xfeb\0".to_vec(), false)], "a\u{fffd}\u{fffd}b\0"),
            (vec![(Source::Pod, b"\xe2\x82".to_vec(), false), (Source::Pod, b"\xac".to_vec(), false)], "\u{20ac}"),
            (vec![(Source::Pod, b"\xe2\x82".to_vec(), false), executor("x")], "\u{fffd}\u{fffd}x"),
            (vec![(Source::Pod, b"\xe2".to_vec(), false)], "\u{fffd}"),
        ] {
            assert_eq!(rendered(MIB, &pieces), expected);
        }
    }

    #[test]
    fn a_log_below_its_limit_is_whole() {
        for len in [0, 1, 3000, 4095] {
            let text = "x".repeat(len);
            assert_eq!(rendered(4096, &[pod(&text)]), text);
        }
        let text = "x".repeat(4000);
        assert_eq!(rendered(4096, &[pod(&text), last("Job succeeded\n")]), format!("{text}Job succeeded\n"));
    }

    #[test]
    fn a_log_that_reaches_its_limit_ends_with_the_notice_and_the_final_text() {
        let notice = limit_notice(4096);
        for len in [4096, 4097, 100_000] {
            let log = rendered(4096, &[pod(&"x".repeat(len)), last("Job succeeded\n")]);
            assert_eq!(log, format!("{}{notice}Job succeeded\n", "x".repeat(3072)));
        }
        // the final text alone is what makes it reach the limit
        let log = rendered(4096, &[pod(&"x".repeat(4095)), last("end\n")]);
        assert_eq!(log, format!("{}{notice}end\n", "x".repeat(3072)));
    }

    #[test]
    fn the_cut_never_splits_a_character() {
        let log = rendered(1024, &[pod(&format!("x{}", "é".repeat(1000)))]);
        assert_eq!(log, format!("x{}{}", "é".repeat(383), limit_notice(1024)));
    }

    #[test]
    fn an_endless_final_text_is_cut_to_its_room() {
        let log = rendered(1024, &[pod(&"x".repeat(2000)), last(&"é".repeat(1000)), last("a")]);
        assert_eq!(log, format!("{}{}{}", "x".repeat(768), limit_notice(1024), "é".repeat(128)));
    }

    #[test]
    fn repeated_pieces_are_left_out_and_gaps_are_not_jumped() {
        let (mut renderer, mut out) = (Renderer::new(&open(MIB)), Vec::new());
        for (offset, text) in [(0, "abc"), (0, "abc"), (1, "bcde"), (7, "hij"), (5, "fg"), (0, "abcdefgh"), (2, "")] {
            renderer.push(Source::Pod, offset, text.as_bytes(), false, &mut out);
        }
        renderer.finish(&mut out);
        assert_eq!((String::from_utf8(out).unwrap().as_str(), renderer.offsets().pod), ("abcdefgh", 8));
    }

    fn pieces() -> impl Strategy<Value = Vec<Piece>> {
        let text = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            Just(b"hunter2 abcabcabd glpat-".to_vec()),
            Just("\u{20ac}\u{1f600}".as_bytes().to_vec()),
            (100usize..400).prop_map(|n| "xyz\u{e9}".repeat(n).into_bytes()),
        ];
        let piece = (prop_oneof![Just(Source::Pod), Just(Source::Executor)], text)
            .prop_map(|(source, bytes)| (source, bytes, false));
        let end = proptest::collection::vec(any::<u8>(), 0..2000).prop_map(|bytes| (Source::Executor, bytes, true));
        (proptest::collection::vec(piece, 0..8), end).prop_map(|(mut pieces, end)| {
            pieces.push(end);
            pieces
        })
    }

    /// The same texts in smaller pieces, some of them repeated.
    fn split(pieces: &[Piece], cuts: &[(usize, bool)]) -> Vec<(Source, u64, Vec<u8>, bool)> {
        let (mut lines, mut at, mut cuts) = (Vec::new(), Offsets::default(), cuts.iter().cycle());
        for (source, bytes, last) in pieces {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (size, again) = cuts.next().copied().unwrap_or((7, false));
                let (piece, later) = rest.split_at(size.min(rest.len()));
                let offset = at.of(*source);
                at.cover(*source, offset, piece.len());
                lines.push((*source, offset, piece.to_vec(), *last));
                if again {
                    lines.push((*source, offset, piece.to_vec(), *last));
                }
                rest = later;
            }
        }
        lines
    }

    proptest! {
        #[test]
        fn any_split_into_lines_gives_the_same_bytes(
            pieces in pieces(),
            cuts in proptest::collection::vec((1usize..60, any::<bool>()), 1..20),
            limit in prop_oneof![Just(0u64), 1..3000u64, Just(MIB)],
        ) {
            let whole = rendered(limit, &pieces);
            let (mut renderer, mut out) = (Renderer::new(&open(limit)), Vec::new());
            for (source, offset, bytes, last) in split(&pieces, &cuts) {
                renderer.push(source, offset, &bytes, last, &mut out);
            }
            renderer.finish(&mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), &*whole);
            let most = limit.max(256) as usize + limit_notice(limit).len();
            prop_assert!(whole.len() <= most, "{} > {}", whole.len(), most);
        }
    }
}
