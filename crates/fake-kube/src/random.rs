//! Random names: object uids, container ids, `generateName` suffixes, tokens.

use rustix::rand::{GetRandomFlags, getrandom};

fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    // Only EINTR and a short answer are possible here; both mean: ask again.
    while filled < N {
        if let Ok(n) = getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            filled += n;
        }
    }
    bytes
}

/// `2N` hexadecimal digits.
pub(crate) fn hex<const N: usize>() -> String {
    use std::fmt::Write;
    bytes::<N>().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

/// A version 4 UUID.
pub(crate) fn uuid() -> String {
    let hex = hex::<16>();
    let variant = ["8", "9", "a", "b"][usize::from(bytes::<1>()[0] % 4)];
    format!("{}-{}-4{}-{variant}{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

/// The five characters Kubernetes appends to `generateName`: no vowels, nothing to misread.
pub(crate) fn suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    bytes::<5>().iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
}
