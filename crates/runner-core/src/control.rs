//! What the executor tells the helper: annotations of the pod, read in the pod through a `downwardAPI` volume.
//!
//! Changes coalesce on the way, so every annotation is a level, not an event.

/// Label that marks all our pods; its value is [`MANAGED_BY`].
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`LABEL_MANAGED_BY`].
pub const MANAGED_BY: &str = "runner-tools";
/// Label with the system id of the pipe that made the pod.
pub const LABEL_SYSTEM_ID: &str = "manager.runner.gitlab.com/system-id";
/// Label with the job's id.
pub const LABEL_JOB_ID: &str = "job.runner.gitlab.com/id";
/// Annotation with the job's key `<id>@<host>`; tells two jobs of one id on two GitLabs apart.
pub const ANNOTATION_JOB_KEY: &str = "runner-tools.dev/job";
/// Annotation of a pod whose namespace was made for it alone, and goes with it.
pub const ANNOTATION_OWN_NAMESPACE: &str = "runner-tools.dev/own-namespace";

/// Annotation: stop the job. Value is a [`Cancel`].
pub const ANNOTATION_CANCEL: &str = "runner-tools.dev/cancel";
/// Annotation: log text up to this offset (bytes) is durable elsewhere. At the full length after the result, the helper may go.
pub const ANNOTATION_ACKNOWLEDGED: &str = "runner-tools.dev/acknowledged";
/// Annotation: print the log text again from `<offset>`; value `<offset>/<n>`, where a new `n` makes a new request.
pub const ANNOTATION_REPLAY: &str = "runner-tools.dev/replay-from";
/// Annotation that PATCH sets once the Secret exists, so that the kubelet looks at the pod's volumes again.
pub const ANNOTATION_PAYLOAD: &str = "runner-tools.dev/payload";

/// Key of the Secret that holds the job line.
pub const SECRET_JOB_KEY: &str = "job.json";
/// Key of the Secret that says, of a job line that is too long for one Secret, how many parts it has.
pub const SECRET_PARTS_KEY: &str = "job.parts";
/// Key of the Secret that holds the PEM of GitLab's certificate authorities, if the runner has any.
pub const SECRET_CA_KEY: &str = "ca.crt";
/// Name of the file of the `downwardAPI` volume that holds the annotations.
pub const ANNOTATIONS_FILE: &str = "annotations";

/// Key of the Secret that holds part `index`, from 0, of a job line that is too long for one Secret. The parts together are the
/// line, compressed as gzip does.
pub fn job_part_key(index: usize) -> String {
    format!("{SECRET_JOB_KEY}.gz.{index}")
}

/// How a job is to be stopped; also the word in a job folder's `cancel` file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cancel {
    /// Stop the script, then run `after_script` and the uploads for failed jobs (GitLab says `canceling`).
    Canceling,
    /// Stop everything at once; nobody reads the log any more (GitLab says `canceled`).
    Canceled,
}

impl Cancel {
    /// The word in annotation and file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Canceling => "canceling",
            Self::Canceled => "canceled",
        }
    }

    /// Reads the word; everything else, an empty `touch`ed file too, is the graceful form.
    pub fn parse(word: &str) -> Self {
        match word.trim() {
            "canceled" => Self::Canceled,
            _ => Self::Canceling,
        }
    }
}

/// Reads the file of a `downwardAPI` volume: lines `key="value"`, the value quoted as Go's `%q` does.
///
/// A line that is not of this form is left out.
pub fn parse_annotations(file: &str) -> std::collections::BTreeMap<String, String> {
    file.lines()
        .filter_map(|line| {
            let (key, quoted) = line.split_once('=')?;
            Some((key.to_owned(), unquote(quoted)?))
        })
        .collect()
}

/// Undoes Go's `strconv.Quote`.
fn unquote(quoted: &str) -> Option<String> {
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = rest[at + 1..].chars().next()?;
        let digits = |n: usize| rest.get(at + 2..at + 2 + n).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let mut push = |c: char| bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        let used = match escape {
            'a' => (push('\u{7}'), 0).1,
            'b' => (push('\u{8}'), 0).1,
            'f' => (push('\u{c}'), 0).1,
            'n' => (push('\n'), 0).1,
            'r' => (push('\r'), 0).1,
            't' => (push('\t'), 0).1,
            'v' => (push('\u{b}'), 0).1,
            'x' => (bytes.push(u8::try_from(digits(2)?).ok()?), 2).1,
            'u' => (push(char::from_u32(digits(4)?)?), 4).1,
            'U' => (push(char::from_u32(digits(8)?)?), 8).1,
            c => (push(c), 0).1,
        };
        rest = &rest[at + 1 + escape.len_utf8() + used..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_read_as_the_kubelet_writes_them() {
        let file = concat!(
            "job.runner.gitlab.com/name=\"a \\\"b\\\" \\\\ \\n\\t\\x1b \\u00a0 \\U0001f600 é\"\n",
            "runner-tools.dev/cancel=\"canceling\"\n",
            "broken\n",
            "also=broken\n",
        );
        let map = parse_annotations(file);
        assert_eq!(map["job.runner.gitlab.com/name"], "a \"b\" \\ \n\t\u{1b} \u{a0} \u{1f600} é");
        assert_eq!(map[ANNOTATION_CANCEL], "canceling");
        assert_eq!(map.len(), 2);
    }

    #[test]
    fn a_touched_cancel_file_is_graceful() {
        for (word, cancel) in [
            ("", Cancel::Canceling),
            ("canceling\n", Cancel::Canceling),
            ("canceled\n", Cancel::Canceled),
            ("x", Cancel::Canceling),
        ] {
            assert_eq!(Cancel::parse(word), cancel);
        }
    }
}
