//! Writing and reading logs together.

use super::log_file::{LogFile, MAX_PART};
use super::log_reader::{LogReader, Options};

async fn read(log: &std::sync::Arc<LogFile>, options: Options) -> String {
    let mut reader = LogReader::open(log, options).unwrap();
    let mut all = Vec::new();
    while let Some(part) = reader.next().await.unwrap() {
        all.extend_from_slice(&part);
    }
    String::from_utf8_lossy(&all).into_owned()
}

fn log() -> (tempfile::TempDir, std::sync::Arc<LogFile>) {
    let folder = tempfile::tempdir().unwrap();
    let log = LogFile::create(folder.path().join("0.log"), u64::MAX).unwrap();
    (folder, log)
}

#[tokio::test]
async fn every_byte_comes_back_however_it_was_cut() {
    let long = "x".repeat(3 * MAX_PART + 5);
    let exact = "y".repeat(MAX_PART);
    let text = format!("a\n\n\r\nb\0c\n{long}\n{exact}\nno newline at the end");
    for size in [1, 7, 4096, MAX_PART, usize::MAX] {
        let (_folder, log) = log();
        let mut stream = log.stream("stdout");
        for chunk in text.as_bytes().chunks(size) {
            stream.append(chunk);
        }
        stream.end();
        assert_eq!(read(&log, Options::default()).await, text, "chunks of {size}");
    }
}

#[tokio::test]
async fn long_lines_are_stored_in_parts_and_stamped_once_for_the_reader() {
    let (_folder, log) = log();
    let mut stream = log.stream("stderr");
    stream.append(format!("{}\nshort\n", "x".repeat(2 * MAX_PART + 1)).as_bytes());
    let file = std::fs::read_to_string(log.path()).unwrap();
    let tags: Vec<_> = file.lines().map(|line| line.split(' ').nth(2).unwrap()).collect();
    assert_eq!(tags, ["P", "P", "F", "F"]);
    let options = Options { timestamps: true, ..Options::default() };
    let stamped = read(&log, options).await;
    assert_eq!(stamped.lines().count(), 2);
    for line in stamped.lines() {
        assert!(crate::clock::parse(line.split(' ').next().unwrap()).is_some(), "{line}");
    }
}

#[tokio::test]
async fn options_select_lines() {
    let (_folder, log) = log();
    let mut stream = log.stream("stdout");
    for line in ["one\n", "two\n", "three\n"] {
        stream.append(line.as_bytes());
    }
    let stamped = read(&log, Options { timestamps: true, ..Options::default() }).await;
    let second = stamped.lines().nth(1).unwrap().split(' ').next().unwrap().to_owned();
    for (options, expected) in [
        (Options { tail: Some(2), ..Options::default() }, "two\nthree\n"),
        (Options { tail: Some(9), ..Options::default() }, "one\ntwo\nthree\n"),
        (Options { tail: Some(0), ..Options::default() }, ""),
        (Options { limit: Some(5), ..Options::default() }, "one\nt"),
        (Options { since: Some(second), ..Options::default() }, "two\nthree\n"),
    ] {
        assert_eq!(read(&log, options.clone()).await, expected, "{options:?}");
    }
}

#[tokio::test]
async fn following_sees_rotation_and_ends_with_the_container() {
    let (_folder, log) = log();
    let mut stream = log.stream("stdout");
    stream.append(b"one\n");
    let options = Options { follow: true, ..Options::default() };
    let mut reader = LogReader::open(&log, options).unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap(), "one\n");
    log.rotate();
    stream.append(b"two\n");
    assert_eq!(reader.next().await.unwrap().unwrap(), "two\n");
    let (last, ()) = tokio::join!(reader.next(), async {
        stream.append(b"three");
        stream.end();
        log.close();
    });
    assert_eq!(last.unwrap().unwrap(), "three");
    assert_eq!(reader.next().await.unwrap(), None);
    assert_eq!(read(&log, Options::default()).await, "two\nthree", "only the current file");
}

#[tokio::test]
async fn only_the_last_files_are_kept() {
    let (folder, log) = log();
    let mut stream = log.stream("stdout");
    for number in 0..9 {
        stream.append(format!("{number}\n").as_bytes());
        log.rotate();
    }
    stream.append(b"9\n");
    let mut files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let last = |file: &std::path::PathBuf| std::fs::read_to_string(file).unwrap().trim_end().chars().next_back();
    // "0.log" sorts before "0.log.<time>".
    assert_eq!(files.iter().map(last).collect::<Vec<_>>(), [Some('9'), Some('5'), Some('6'), Some('7'), Some('8')]);
    assert_eq!(read(&log, Options::default()).await, "9\n");
}
