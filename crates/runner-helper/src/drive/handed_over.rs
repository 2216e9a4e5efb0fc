//! What a script hands over to later stages through the file named by `GITLAB_ENV`.
//!
//! `NAME=value`, one a line; blanks around the line are cut, nothing is executed or expanded, quotes are part of the value. Unlike
//! in the original an empty line is no error and the last line needs no newline.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use runner_core::shell::is_name;

/// What was handed over, and what in it cannot be used.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct HandedOver {
    /// Variables; the last of a name wins.
    pub(crate) variables: BTreeMap<String, String>,
    /// For the log.
    pub(crate) warnings: Vec<String>,
}

/// Makes the file, empty, if it is not there.
pub(crate) fn prepare(file: &Path) -> io::Result<()> {
    fs::OpenOptions::new().append(true).create(true).open(file).map(drop)
}

/// Reads the file; a missing one hands over nothing.
pub(crate) fn read(file: &Path) -> HandedOver {
    match fs::read(file) {
        Ok(bytes) => parse(&String::from_utf8_lossy(&bytes)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => HandedOver::default(),
        Err(err) => HandedOver { warnings: vec![format!("GITLAB_ENV: {err}")], ..HandedOver::default() },
    }
}

fn parse(text: &str) -> HandedOver {
    let mut handed = HandedOver::default();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim_matches([' ', '\t']);
        match line.split_once('=') {
            Some((name, value)) if is_name(name) => {
                handed.variables.insert(name.to_owned(), value.replace('\0', ""));
            }
            None if is_name(line) => {} // exports what is there already
            None if line.is_empty() => handed.warnings.push(format!("GITLAB_ENV: line {} is empty", i + 1)),
            _ => handed.warnings.push(format!("GITLAB_ENV: line {} is not NAME=value, left out", i + 1)),
        }
    }
    handed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j502_each_line_is_one_variable() {
        let handed = parse("A=1\n  B= x \"y\" $HOME `id`  \n\nC\n1D=2\nnot one\nE=a=b\nA=2\nF=last");
        let expected =
            [("A", "2"), ("B", " x \"y\" $HOME `id`"), ("E", "a=b"), ("F", "last")].map(|(k, v)| (k.into(), v.into()));
        assert_eq!(handed.variables, BTreeMap::from(expected));
        assert_eq!(
            handed.warnings,
            [
                "GITLAB_ENV: line 3 is empty",
                "GITLAB_ENV: line 5 is not NAME=value, left out",
                "GITLAB_ENV: line 6 is not NAME=value, left out"
            ]
        );
    }
}
