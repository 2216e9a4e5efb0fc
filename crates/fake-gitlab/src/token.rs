//! Tokens in the forms GitLab gives them (GitLab runner API: actors and tokens).

use crate::Error;

const ALPHABET: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";

/// `prefix` followed by 20 random characters.
pub(crate) fn random(prefix: &str) -> Result<String, Error> {
    let mut bytes = [0_u8; 20];
    fill(&mut bytes)?;
    let tail: String = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 64)])).collect();
    Ok(format!("{prefix}{tail}"))
}

/// 32 hexadecimal digits: a queue value or a request id.
pub(crate) fn hex() -> Result<String, Error> {
    let mut bytes = [0_u8; 16];
    fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn fill(bytes: &mut [u8]) -> Result<(), Error> {
    let mut filled = 0;
    while filled < bytes.len() {
        let count = rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| Error::Random(errno.into()))?;
        filled += count;
    }
    Ok(())
}
