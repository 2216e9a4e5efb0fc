//! Labels of the machine and of a runner, as far as GitLab takes them.
//!
//! Source: GitLab runner contract, label rules.

use std::collections::BTreeMap;

/// Most labels that GitLab takes.
const MOST: usize = 32;

/// Labels of one runner.
pub(crate) type Labels = BTreeMap<String, String>;

/// Those of the whole file and the runner's own, which win. Returns what is left out and why, too.
pub(crate) fn merge(all: &Labels, own: &Labels) -> (Labels, Vec<String>) {
    let (mut labels, mut complaints) = (Labels::new(), Vec::new());
    let shared = all.iter().filter(|(key, _)| !own.contains_key(*key));
    for (key, value) in own.iter().chain(shared) {
        if !is_key(key) {
            complaints.push(format!("label `{key}`: a name has 3 to 65 letters, digits, `_`, and inside `.` and `-`"));
        } else if !is_word(value, 1..=256) {
            complaints.push(format!("label `{key}`: a value has 1 to 256 letters, digits, `.`, `_` and `-`"));
        } else if labels.len() == MOST {
            complaints.push(format!("label `{key}`: there are more than {MOST}"));
        } else {
            labels.insert(key.clone(), value.clone());
        }
    }
    (labels, complaints)
}

fn is_key(key: &str) -> bool {
    is_word(key, 3..=65) && !key.starts_with(['.', '-'])
}

fn is_word(text: &str, length: std::ops::RangeInclusive<usize>) -> bool {
    length.contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn p42_the_runners_own_labels_win() {
        let merged = merge(&labels(&[("site", "a"), ("rack", "1")]), &labels(&[("rack", "2")]));
        assert_eq!(merged, (labels(&[("site", "a"), ("rack", "2")]), vec![]));
    }

    #[test]
    fn p43_what_gitlab_would_not_take_is_left_out() {
        let long = "x".repeat(257);
        for (key, value, is_taken) in [
            ("abc", "1", true),
            ("_a.b-c", "A_b-1.2", true),
            (&long[..65], &long[..256], true),
            ("ab", "1", false),
            (".abc", "1", false),
            ("-abc", "1", false),
            ("a b", "1", false),
            ("größe", "1", false),
            (&long[..66], "1", false),
            ("abc", "", false),
            ("abc", "a b", false),
            ("abc", &long, false),
        ] {
            let (taken, complaints) = merge(&labels(&[(key, value)]), &Labels::new());
            assert_eq!((taken.len(), complaints.len()), (is_taken.into(), (!is_taken).into()), "{key} {value}");
        }
        let many: Labels = (0..40).map(|n| (format!("label{n}"), "x".to_owned())).collect();
        let (taken, complaints) = merge(&many, &labels(&[("zone", "y")]));
        assert_eq!((taken.len(), complaints.len(), &*taken["zone"]), (32, 9, "y"));
    }
}
