//! Mount paths in command, args and environment become the folders that stand for them.

/// The mounts of one container: where the pod thinks a folder is, and where it really is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mounts {
    /// Longest mount path first, so that a nested mount wins over the one around it.
    pairs: Vec<(String, String)>,
}

impl Mounts {
    pub(crate) fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut pairs: Vec<_> = pairs
            .into_iter()
            .map(|(path, folder)| (path.trim_end_matches('/').to_owned(), folder))
            .filter(|(path, _)| path.starts_with('/'))
            .collect();
        pairs.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        Self { pairs }
    }

    /// Replaces every mount path in `text` that stands there as a path or as the beginning of one.
    pub(crate) fn rewrite(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(slash) = rest.find('/') {
            let (before, from) = rest.split_at(slash);
            out.push_str(before);
            let previous = before.chars().next_back().or_else(|| {
                let done = text.len() - rest.len();
                text[..done].chars().next_back()
            });
            let hit =
                self.pairs.iter().filter(|_| previous.is_none_or(|char| !precedes_in_path(char))).find(|(path, _)| {
                    from.strip_prefix(path.as_str())
                        .is_some_and(|after| after.chars().next().is_none_or(|char| char == '/' || !continues(char)))
                });
            if let Some((path, folder)) = hit {
                out.push_str(folder);
                rest = &from[path.len()..];
            } else {
                out.push('/');
                rest = &from[1..];
            }
        }
        out.push_str(rest);
        out
    }
}

/// Whether a path component goes on with this character.
fn continues(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '_' | '-' | '.' | '+' | '@' | '%' | '~' | '$' | '{')
}

/// Whether a slash after this character is inside a longer path, so that no mount begins there.
fn precedes_in_path(char: char) -> bool {
    (continues(char) && !matches!(char, '$' | '{')) || matches!(char, '/' | '}' | ')')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_paths_are_replaced() {
        let mounts = Mounts::new([
            ("/builds".to_owned(), "/tmp/p/v/builds".to_owned()),
            ("/builds/cache/".to_owned(), "/tmp/p/v/cache".to_owned()),
            ("/scripts".to_owned(), "/tmp/p/v/s".to_owned()),
        ]);
        for (text, expected) in [
            ("/builds", "/tmp/p/v/builds"),
            ("/builds/", "/tmp/p/v/builds/"),
            ("/builds/a/b", "/tmp/p/v/builds/a/b"),
            ("/builds/cache/x", "/tmp/p/v/cache/x"),
            ("/builds/cached", "/tmp/p/v/builds/cached"),
            ("/builds2 /builds-x /builds.d", "/builds2 /builds-x /builds.d"),
            ("/opt/builds ./builds ../scripts", "/opt/builds ./builds ../scripts"),
            ("--dir=/builds,--x='/scripts'", "--dir=/tmp/p/v/builds,--x='/tmp/p/v/s'"),
            ("cd /builds;ls \"/scripts\"/x", "cd /tmp/p/v/builds;ls \"/tmp/p/v/s\"/x"),
            ("PATH=/scripts:/bin:/builds", "PATH=/tmp/p/v/s:/bin:/tmp/p/v/builds"),
            ("https://host/builds ${X}/builds $HOME/builds", "https://host/builds ${X}/builds $HOME/builds"),
            ("", ""),
            ("/", "/"),
            ("/builds/builds", "/tmp/p/v/builds/builds"),
            ("é/builds (/builds)", "é/builds (/tmp/p/v/builds)"),
        ] {
            assert_eq!(mounts.rewrite(text), expected, "{text}");
        }
    }

    #[test]
    fn a_folder_is_not_rewritten_again() {
        let mounts = Mounts::new([("/a".to_owned(), "/b/x".to_owned()), ("/b".to_owned(), "/a/y".to_owned())]);
        assert_eq!(mounts.rewrite("/a /b"), "/b/x /a/y");
    }
}
