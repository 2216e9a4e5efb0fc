//! A runner's new token, in all entries of the file that have the old one.
//!
//! The old token is invalid once GitLab has given a new one, so everything that can go wrong with the file is found out before:
//! [`Renewal::prepare`], ask GitLab, [`Renewal::finish`].

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use runner_core::config::{Config, ConfigError, Runner};
use runner_core::secret::Secret;
use toml_edit::{Datetime, Value};

use crate::edit::{self, EditError};
use crate::file::{FileError, Locked};

/// How the file spells "never".
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Why a token cannot be replaced in the file. No text holds a token.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not a configuration.
    #[error("{}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// The file cannot be edited.
    #[error("{}: {source}", path.display())]
    Edit {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: EditError,
    },
    /// No entry has the old token.
    #[error("{}: no runner has this token any more", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// The entry says `token = "$NAME"`.
    #[error("{}: runner `{runner}`: its token is not in the file but in the environment, it must be replaced there", path.display())]
    Variable {
        /// The file.
        path: PathBuf,
        /// `name` of the entry, or its number.
        runner: String,
    },
}

/// The keys of an entry that belong to a token: itself, since when and until when (RFC 3339, `None` is never) it is valid.
pub fn keys(token: &Secret, obtained: SystemTime, expires: Option<&str>) -> [(&'static str, Value); 3] {
    let obtained = humantime::format_rfc3339_seconds(obtained).to_string();
    [
        ("token", token.expose().into()),
        ("token_obtained_at", time(&obtained)),
        ("token_expires_at", time(expires.unwrap_or(NEVER))),
    ]
}

/// A datetime in whole seconds if the server's text is one, else the text.
fn time(text: &str) -> Value {
    let Ok(mut time) = text.parse::<Datetime>() else { return text.into() };
    if let Some(time) = &mut time.time {
        time.nanosecond = None;
    }
    time.into()
}

/// A token that is about to be replaced. The file is locked until this is dropped.
#[derive(Debug)]
pub struct Renewal {
    path: PathBuf,
    file: Locked,
    url: String,
    token: Secret,
}

impl Renewal {
    /// Locks the file at `path` and makes sure that the `token` of the runner at `url` can be replaced in it.
    pub fn prepare(path: &Path, url: &str, token: &Secret) -> Result<Self, RenewalError> {
        let file = Locked::open(path)?;
        let renewal = Self { path: path.to_owned(), file, url: url.to_owned(), token: token.clone() };
        let now = SystemTime::now();
        let text = renewal.edited(&keys(token, now, None))?;
        renewal.file.rehearse(&text)?;
        Ok(renewal)
    }

    /// Writes the new token's [`keys`]; durable when it returns. After an error it can be called again.
    pub fn finish(&self, keys: &[(&str, Value)]) -> Result<(), RenewalError> {
        Ok(self.file.write(&self.edited(keys)?)?)
    }

    /// The file's text as it is now, with these keys in the runner's entries.
    fn edited(&self, keys: &[(&str, Value)]) -> Result<String, RenewalError> {
        let text = self.file.read()?;
        let entries = self.entries(&text)?;
        edit::set(&text, &entries, keys).map_err(|source| RenewalError::Edit { path: self.path.clone(), source })
    }

    /// The runner's entries by their numbers.
    fn entries(&self, text: &str) -> Result<Vec<usize>, RenewalError> {
        let path = || self.path.clone();
        let config = Config::parse(text, |name| std::env::var(name).ok());
        let (config, _) = config.map_err(|source| RenewalError::Config { path: path(), source })?;
        let ours = |runner: &Runner| runner.url == self.url && runner.token == self.token;
        let entries: Vec<usize> = (0..config.runners.len()).filter(|index| ours(&config.runners[*index])).collect();
        let table: toml::Table = text.parse().unwrap_or_default(); // it was read just now
        let is_written = |index: usize| table["runners"][index]["token"].as_str() == Some(self.token.expose());
        match entries.iter().find(|index| !is_written(**index)) {
            Some(&index) => Err(RenewalError::Variable { path: path(), runner: config.runners[index].title(index) }),
            None if entries.is_empty() => Err(RenewalError::Gone { path: path() }),
            None => Ok(entries),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# two entries of one runner
[[runners]]
url = \"https://h\"
token = 'old' # a comment
token_expires_at = 2026-01-01T00:00:00Z
[[runners]]
url = \"https://h\"
token = \"other\"
[[runners]]
  token = \"old\"
  url = \"https://h\"
";

    fn place(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn all_entries_of_the_runner_get_the_new_token_and_nothing_else_changes() {
        let (_dir, path) = place(FILE);
        let renewal = Renewal::prepare(&path, "https://h", &Secret::new("old")).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), FILE, "nothing is written before GitLab was asked");
        let obtained = humantime::parse_rfc3339("2026-02-03T04:05:06Z").unwrap();
        renewal.finish(&keys(&Secret::new("new"), obtained, Some("2026-03-01T00:00:00.000+02:00"))).unwrap();
        let expected = FILE
            .replace("'old'", "\"new\"")
            .replace(
                "\"old\"\n",
                "\"new\"\n  token_obtained_at = 2026-02-03T04:05:06Z\n  token_expires_at = 2026-03-01T00:00:00+02:00\n",
            )
            .replace("a comment\n", "a comment\ntoken_obtained_at = 2026-02-03T04:05:06Z\n")
            .replace("2026-01-01T00:00:00Z", "2026-03-01T00:00:00+02:00");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    }

    #[test]
    fn what_stands_in_the_way_is_told_before_gitlab_is_asked() {
        for (text, expected) in [
            ("[[runners]]\nurl = \"https://h\"\ntoken = \"x\"\n", "no runner has this token any more"),
            (
                "[[runners]]\nname = \"v\"\nurl = \"https://h\"\ntoken = \"$PATH\"\n",
                "runner `v`: its token is not in the file",
            ),
            ("runners = [{ url = \"https://h\", token = \"old\" }]\n", "`runners` is not written as [[runners]]"),
            ("token = old\n", "line 1, column 9: "),
        ] {
            let (_dir, path) = place(text);
            let token = match text.contains('$') {
                true => std::env::var("PATH").unwrap(),
                false => "old".to_owned(),
            };
            let error = Renewal::prepare(&path, "https://h", &Secret::new(token)).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("config.toml"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_change_while_gitlab_is_asked_is_kept() {
        let (_dir, path) = place("[[runners]]\nurl = \"https://h\"\ntoken = \"old\"\n");
        let renewal = Renewal::prepare(&path, "https://h", &Secret::new("old")).unwrap();
        std::fs::write(&path, "concurrent = 9\n[[runners]]\nurl = \"https://h\"\ntoken = \"old\"\n").unwrap();
        renewal.finish(&keys(&Secret::new("new"), SystemTime::UNIX_EPOCH, None)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("concurrent = 9\n") && text.contains("token_expires_at = 0001-01-01T00:00:00Z"),
            "{text}"
        );
    }
}
