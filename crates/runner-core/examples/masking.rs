//! How fast secrets are looked for: megabytes a second of log without any, with few, and with many phrases to look for.

#![allow(clippy::print_stdout, reason = "a measurement is what this prints")]

use std::time::Instant;

use runner_core::mask::{DEFAULT_PREFIXES, Masker};

/// Bytes of log for one measurement.
const LOG: usize = 256 << 20;
/// Bytes of one write, as a script's output comes.
const WRITE: usize = 64 << 10;

fn main() {
    for (phrases, secrets) in [(0, 0), (10, 0), (100, 0), (100, 1), (1000, 0)] {
        let known: Vec<String> = (0..phrases).map(phrase).collect();
        let text = log(&known, secrets);
        let mut masker = Masker::new(&known, DEFAULT_PREFIXES);
        let mut out = Vec::with_capacity(2 * WRITE);
        let began = Instant::now();
        let mut written = 0;
        while written < LOG {
            for part in text.chunks(WRITE) {
                out.clear();
                masker.write(part, &mut out);
                written += part.len();
            }
        }
        let speed = written as f64 / 1e6 / began.elapsed().as_secs_f64();
        let name = format!("masking, {phrases} phrases, {secrets} % of the lines with one");
        println!("{name:<46} {speed:8.0} MB/s");
    }
}

/// A secret as GitLab's users have them: 20 letters and digits, or a few words.
fn phrase(n: usize) -> String {
    let mut state = n as u64 + 1;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let alphabet = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
        char::from(alphabet[(state >> 33) as usize % alphabet.len()])
    };
    let word: String = (0..20).map(|_| letter()).collect();
    if n % 10 == 9 { format!("{} {}/{}", &word[..6], &word[6..12], &word[12..]) } else { word }
}

/// Lines of a build's log; of a hundred, `secrets` hold one.
fn log(known: &[String], secrets: usize) -> Vec<u8> {
    let mut text = String::new();
    for n in 0..20_000 {
        text.push_str(&format!(
            "[{:>3} %] Compiling source/module_{n}/file-{}.c -O2 -Wall -Iinclude",
            n % 100,
            n * 7 % 1000
        ));
        if n % 100 < secrets && !known.is_empty() {
            text.push_str(&format!(" --token={}", known[n % known.len()]));
        }
        text.push('\n');
    }
    text.into_bytes()
}
