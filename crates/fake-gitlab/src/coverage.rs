//! The figure that `coverage` finds in a log.

use regex::Regex;

/// The last number in the last line that fits a pattern between slashes; none if there is none.
pub(crate) fn find(pattern: &str, log: &[u8]) -> Option<f64> {
    let regex = Regex::new(pattern.strip_prefix('/')?.strip_suffix('/')?).ok()?;
    let number = Regex::new(r"\d+(?:\.\d+)?").ok()?;
    let text = String::from_utf8_lossy(log);
    text.lines().rev().find_map(|line| {
        let found = regex.captures(line)?;
        let group = found.get(1).or_else(|| found.get(0))?;
        number.find(group.as_str())?.as_str().parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_that_fits_counts() {
        let log = b"Lines: 10.5%\nTOTAL 100 80.25%\nLines: 90%\nend 5\n";
        for (pattern, expected) in [
            ("/Lines: \\d+/", Some(90.0)),
            ("/TOTAL.*? (\\d+\\.\\d+)%/", Some(80.25)),
            ("/nothing/", None),
            ("/[/", None),
            ("Lines", None),
        ] {
            assert_eq!(find(pattern, log), expected, "{pattern}");
        }
    }
}
