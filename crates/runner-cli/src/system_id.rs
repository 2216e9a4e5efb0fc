//! `.runner_system_id`: by what GitLab tells the machines apart that share a runner token.
//!
//! Lies beside `config.toml`. Source: GitLab Runner, `^[sr]_[0-9a-zA-Z]{12}$`: `s_` and the start of an HMAC of the machine id,
//! or `r_` and random letters where there is no machine id.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac};
use sha2::Sha256;

const FILE: &str = ".runner_system_id";
const MACHINE_ID_FILES: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// The id for the configuration at `config`: the stored one, or a new one that is stored for the next time.
///
/// `second` is a folder for it where none can be written beside `config`, as in a container with a mounted file. If it cannot be
/// stored at all that is only a warning: an id made of the machine's is the same again.
pub fn load_or_create(config: &Path, second: Option<&Path>) -> String {
    let places: Vec<PathBuf> =
        std::iter::once(config.with_file_name(FILE)).chain(second.map(|dir| dir.join(FILE))).collect();
    if let Some(id) = places.iter().find_map(|path| read(path)) {
        return id;
    }
    let machine_id = MACHINE_ID_FILES.iter().find_map(|file| std::fs::read_to_string(file).ok());
    let id = new_id(machine_id.as_deref().unwrap_or_default().trim());
    let mut errors = Vec::new();
    for path in &places {
        match store(path, &id) {
            Ok(()) => return id,
            Err(err) => errors.push(format!("{}: {err}", path.display())),
        }
    }
    tracing::warn!("the system id cannot be stored: {}", errors.join("; "));
    id
}

fn read(path: &Path) -> Option<String> {
    match std::fs::read_to_string(path) {
        Ok(text) if is_valid(text.trim()) => return Some(text.trim().to_owned()),
        Ok(_) => tracing::warn!("{}: not a system id", path.display()),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => {}
        Err(err) => tracing::warn!("{}: {err}", path.display()),
    }
    None
}

fn is_valid(id: &str) -> bool {
    let rest = id.strip_prefix("s_").or_else(|| id.strip_prefix("r_"));
    rest.is_some_and(|rest| rest.len() == 12 && rest.bytes().all(|b| b.is_ascii_alphanumeric()))
}

fn new_id(machine_id: &str) -> String {
    if machine_id.is_empty() {
        return format!("r_{}", random_letters());
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(machine_id.as_bytes())
        .unwrap_or_else(|err| unreachable!("HMAC takes keys of any length: {err}"));
    mac.update(b"gitlab-runner");
    let digest = mac.finalize().into_bytes();
    let hex: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("s_{hex}")
}

fn random_letters() -> String {
    const LETTERS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut bytes = [0_u8; 12];
    // Fails only before the kernel has its first randomness; the id then is as unique as the machine is alone.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}

fn store(path: &Path, id: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.write_all(id.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_id_of_a_machine_is_gitlab_runners() {
        // printf gitlab-runner | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
        assert_eq!(new_id("0123456789abcdef0123456789abcdef"), "s_ee3af03959fe");
        let random = new_id("");
        assert!(random.starts_with("r_") && is_valid(&random), "{random}");
    }

    #[test]
    fn g05_an_id_stays_once_it_was_made_and_a_broken_one_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.toml");
        let id = load_or_create(&config, None);
        let file = dir.path().join(FILE);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), id);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&file, " r_ABCdef012345\n").unwrap();
        assert_eq!(load_or_create(&config, None), "r_ABCdef012345");
        for broken in ["", "x_0123456789ab", "s_0123456789a", "s_0123456789a!"] {
            std::fs::write(&file, broken).unwrap();
            assert!(is_valid(&load_or_create(&config, None)), "{broken}");
        }
    }

    #[test]
    fn the_second_place_is_used_where_the_first_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("none/config.toml");
        let id = load_or_create(&config, Some(dir.path()));
        assert_eq!(std::fs::read_to_string(dir.path().join(FILE)).unwrap(), id);
        std::fs::write(dir.path().join(FILE), "r_ABCdef012345").unwrap();
        assert_eq!(load_or_create(&config, Some(dir.path())), "r_ABCdef012345");
    }
}
