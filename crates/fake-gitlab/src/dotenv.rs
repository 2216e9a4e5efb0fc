//! Variables from a dotenv report (GitLab runner API: upload, dotenv).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;

/// Largest unpacked report in bytes.
const SIZE_LIMIT: u64 = 5 * 1024;
/// Largest number of variables.
const COUNT_LIMIT: usize = 20;

/// Reads the variables of a gzipped report, or says in GitLab's words why it is refused.
pub(crate) fn read(path: &Path) -> Result<Vec<(String, String)>, String> {
    let file = File::open(path).map_err(|problem| problem.to_string())?;
    let mut text = String::new();
    MultiGzDecoder::new(file)
        .take(SIZE_LIMIT + 1)
        .read_to_string(&mut text)
        .map_err(|_| "Invalid Format".to_owned())?;
    if text.len() as u64 > SIZE_LIMIT {
        return Err(format!("Dotenv Artifact Too Big. Maximum Allowable Size: {SIZE_LIMIT}"));
    }
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let variables = text
        .lines()
        .map(|line| {
            let (key, value) = line.trim().split_once('=').ok_or("Invalid Format")?;
            let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            if key.is_empty() || !key.chars().all(is_name) {
                return Err("Validation failed: Key can contain only letters, digits and '_'.");
            }
            Ok((key.to_owned(), value.to_owned()))
        })
        .collect::<Result<Vec<_>, &str>>()?;
    if variables.len() > COUNT_LIMIT {
        return Err(format!("Dotenv files cannot have more than {COUNT_LIMIT} variables"));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_at_the_first_equals_sign() {
        let read = parse("A=1\n  B = x=y \n").unwrap_err();
        assert!(read.starts_with("Validation failed"), "{read}");
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(parse("A=1\n B=x=y \nC=").unwrap(), [pair("A", "1"), pair("B", "x=y"), pair("C", "")]);
    }

    #[test]
    fn what_gitlab_refuses_is_refused() {
        assert_eq!(parse("A=1\n\nB=2").unwrap_err(), "Invalid Format");
        assert_eq!(parse("no assignment").unwrap_err(), "Invalid Format");
        assert!(parse(&"A=1\n".repeat(21)).unwrap_err().contains("more than 20"));
    }
}
