use proptest::prelude::*;

use super::*;

const ENTRY: &str = "[[runners]]\n  name = \"new\"\n  [runners.kubernetes]\n    image = \"alpine\"\n";

#[test]
fn what_cannot_be_edited_is_refused_and_not_quoted() {
    for (text, expected) in [
        ("concurrent = 1\ntoken = glrt-SECRET\n", "line 2: string values must be quoted, expected literal string"),
        ("runners = [{ name = \"a\" }]\n", "`runners` is not written as [[runners]]"),
        ("runners = []\n", "`runners` is not written as [[runners]]"),
        ("[runners]\nname = \"a\"\n", "`runners` is not written as [[runners]]"),
    ] {
        for edited in [append(text, ENTRY), remove(text, &[0])] {
            let error = edited.unwrap_err().to_string();
            assert!(error.starts_with(expected) && !error.contains("SECRET"), "{error}");
        }
    }
}

#[test]
fn a_line_in_a_string_that_looks_like_a_comment_is_not_lost() {
    let text = "[[runners]]\nname = \"a\"\nscript = \"\"\"\n# not a comment\"\"\"\n[[runners]]\nname = \"b\"\n";
    assert_eq!(remove(text, &[1]).unwrap(), &text[..text.rfind("[[").unwrap()]);
    assert_eq!(remove(text, &[0]).unwrap(), "[[runners]]\nname = \"b\"\n");
}

#[test]
fn tables_of_an_entry_that_stand_apart_go_with_it() {
    let text = "[[runners]]\nname = \"a\"\n\n[other]\nx = 1\n\n# of a\n[runners.kubernetes]\nimage = \"i\"\n# end\n";
    assert_eq!(remove(text, &[0]).unwrap(), "[other]\nx = 1\n\n# end\n");
}

/// Lines of a file, as parts that can stand in any order.
fn file() -> impl Strategy<Value = (String, usize)> {
    let trivia = prop::sample::select(vec!["", "\n", "# a comment\n", "\n# one\n\n# two\n", "  # indented\n"]);
    let section = prop::sample::select(vec![
        "[session_server]\n  session_timeout = 1800\n",
        "[[machines]]\nx = 1\n[machines.y]\nz = [\n  1, # one\n  2,\n]\n",
        "[\"a b\".c]\nd = '''\n[[runners]]\n'''\n",
    ]);
    let runner = prop::sample::select(vec![
        "[[runners]]\n  name = \"a\" # trailing\n  token='t'\n",
        "  [[ runners ]]\nname = \"b\"\n[runners.kubernetes]\n  image = \"x\"\n  [[runners.kubernetes.services]]\n    name = \"s\"\n  # inside\n  [[runners.kubernetes.services]]\n    name = \"r\"\n",
        "[[runners]]\nkubernetes.image = \"dotted\"\nunknown = { a = 1, b = [1979-05-27T07:32:00Z] }\nscript = \"\"\"\n[[runners]]\n\"\"\"\n",
        "[[runners]] # header\n[runners.docker]\n[runners.cache.s3]\nServerAddress = \"m\"\n",
    ]);
    let parts = prop::collection::vec((trivia, runner), 0..5);
    (parts, prop::option::of(section), trivia_end(), any::<bool>()).prop_map(|(runners, section, end, crlf)| {
        let mut text = String::from("# head\n\nconcurrent = 4 # jobs\n");
        let count = runners.len();
        for (index, (trivia, runner)) in runners.into_iter().enumerate() {
            if index == 1 {
                text.push_str(section.unwrap_or_default());
            }
            text.push_str(trivia);
            text.push_str(runner);
        }
        text.push_str(end);
        (if crlf { text.replace('\n', "\r\n") } else { text }, count)
    })
}

fn trivia_end() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "\n\n", "# at the end", "\n# at the end\n"])
}

proptest! {
    #[test]
    fn g03_adding_keeps_every_byte(case in file()) {
        let (text, count) = case;
        let edited = append(&text, ENTRY).unwrap();
        prop_assert!(edited.starts_with(&text));
        let table: toml::Table = edited.parse().unwrap();
        prop_assert_eq!(table["runners"].as_array().unwrap().len(), count + 1);
        prop_assert_eq!(edited.contains("\r\n"), text.contains("\r\n"));
        prop_assert!(!text.contains("\r\n") || edited.matches('\n').count() == edited.matches("\r\n").count());
        // What was added goes again; only the blank line before it may stay.
        let removed = remove(&edited, &[count]).unwrap();
        prop_assert_eq!(removed.trim_end(), text.trim_end());
    }

    #[test]
    fn g03_removing_keeps_every_line_of_the_others(case in file(), chosen in any::<prop::sample::Index>()) {
        let (text, count) = case;
        prop_assume!(count > 0);
        let gone = chosen.index(count);
        let edited = remove(&text, &[gone]).unwrap();
        // In order, every line of the result is one of the original: nothing is rewritten.
        let mut lines = text.split_inclusive('\n');
        for line in edited.split_inclusive('\n') {
            prop_assert!(lines.any(|original| original == line), "{:?} in {:?}", line, edited);
        }
        // And what was not the entry's is still there.
        let inside: Vec<_> = blocks(&text).unwrap().into_iter().filter(|block| block.runner == Some(gone)).collect();
        let mut at = 0;
        let mut kept = String::new();
        for block in inside {
            kept.push_str(&text[at..block.start]);
            at = block.end;
        }
        kept.push_str(&text[at..]);
        let words = |text: &str| text.lines().map(str::trim_end).filter(|l| !l.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        prop_assert_eq!(words(&kept), words(&edited));
    }

    #[test]
    fn g03_setting_keys_keeps_every_byte_but_their_values(case in file(), chosen in any::<prop::sample::Index>()) {
        let (text, count) = case;
        prop_assume!(count > 0);
        let edited = set(&text, &[chosen.index(count)], &renewed()).unwrap();
        // Without the lines of the keys and their places, both are the same.
        let is_key = |line: &&str| line.trim_start().starts_with("token");
        let others = |text: &'_ str| -> Vec<String> {
            text.split_inclusive('\n').filter(|line| !is_key(line)).map(str::to_owned).collect()
        };
        prop_assert_eq!(others(&edited), others(&text));
        let lines = |text: &str| text.split_inclusive('\n').filter(is_key).map(str::to_owned).collect::<Vec<_>>();
        let (before, after) = (lines(&text), lines(&edited));
        prop_assert!(before.iter().filter(|line| !after.contains(line)).count() <= 1, "{:?}", edited);
        prop_assert!(!text.contains("\r\n") || edited.matches('\n').count() == edited.matches("\r\n").count());
        // What was set is set again to the same.
        prop_assert_eq!(set(&edited, &[chosen.index(count)], &renewed()).unwrap(), edited);
    }
}

/// The keys of a new token.
fn renewed() -> Vec<(&'static str, Value)> {
    let time = |text: &str| text.parse::<toml_edit::Datetime>().unwrap().into();
    vec![
        ("token", "glrt-t1_nnnnnnnnnnnnnnnnnnnn".into()),
        ("token_obtained_at", time("2026-01-02T03:04:05Z")),
        ("token_expires_at", time("2026-02-01T03:04:05+02:00")),
    ]
}

/// Each folder of tests/edit: a file as people have it; what it is with one more runner, without those whose token is gggg…, and
/// with a new token for them.
///
/// `BLESS=1 cargo test` writes what comes out; look at the difference before it is committed.
#[test]
fn g03_files_as_people_have_them_come_out_as_the_golden_ones() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/edit");
    let mut seen = 0;
    for entry in std::fs::read_dir(&root).unwrap() {
        let dir = entry.unwrap().path();
        if !dir.is_dir() {
            continue;
        }
        seen += 1;
        let text = std::fs::read_to_string(dir.join("in.toml")).unwrap();
        let (config, _) = runner_core::config::Config::parse(&text, |_| None).unwrap();
        let meant = |runner: &runner_core::config::Runner| runner.token.expose().contains("_gggg");
        let meant: Vec<usize> = (0..config.runners.len()).filter(|index| meant(&config.runners[*index])).collect();
        let edits = [
            ("added.toml", append(&text, ENTRY)),
            ("removed.toml", remove(&text, &meant)),
            ("renewed.toml", set(&text, &meant, &renewed())),
        ];
        for (name, edited) in edits {
            let (path, edited) = (dir.join(name), edited.unwrap_or_else(|err| panic!("{}: {err}", dir.display())));
            if std::env::var_os("BLESS").is_some() {
                std::fs::write(&path, &edited).unwrap();
            }
            assert_eq!(edited, std::fs::read_to_string(&path).unwrap(), "{}", path.display());
        }
    }
    assert!(seen >= 25, "only {seen} folders in {}", root.display());
}
