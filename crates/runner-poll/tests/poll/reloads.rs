//! The configuration: read, read again, wrong.

use fake_gitlab::{JobSpec, Record, RunnerSpec};
use rustix::process::Signal;

use crate::support::{Place, config};
use crate::{REQUEST, enqueue, gitlab, one_runner};

#[tokio::test(flavor = "multi_thread")]
async fn p30_p31_p33_the_configuration_is_read_again_when_it_changes_and_a_broken_one_is_not_used() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "concurrent = 1", "");
    enqueue(&gitlab, 2).await;
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    poll.expect("job").await;
    place.configure("concurrent = \n");
    place.until_logged("going on with the configuration from before", 1).await;
    place.configure(&config(gitlab.url(), "concurrent = 2", &[("renamed", gitlab.runner_token(), "")]));
    assert_eq!(poll.expect("job").await["runner"]["name"], "renamed");
    poll.signal(Signal::HUP);
    place.until_logged("configuration read again", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p05_a_configuration_that_cannot_work_is_one_clear_line() {
    let runner = "[[runners]]\nurl = \"http://127.0.0.1:1\"\ntoken = \"glrt-SECRET\"\nexecutor = \"kubernetes\"\n";
    for (text, expected) in [
        ("concurrent = 1\n[[runners]]\ntoken = glrt-SECRET\n".to_owned(), "line 3, column 9: "),
        (format!("{runner}limit = \"x\"\n"), "line 5: `runners[0].limit`: "),
        ("concurrent = 1\n".to_owned(), "there are no [[runners]]"),
        (format!("concurrent = 0\n{runner}"), "`concurrent` is 0, so no job could ever run"),
        (runner.replace("kubernetes", "shell"), "executor `shell` is not supported"),
        (format!("{runner}tls-ca-file = \"/none.pem\"\n").replace("http:", "https:"), "no runner can be used"),
    ] {
        let place = Place::new(&text);
        let mut poll = place.start(&[]);
        assert_eq!((poll.line().await, poll.code().await), (None, 78), "{text}");
        let stderr = place.stderr();
        let said: Vec<_> = stderr.lines().filter(|line| line.starts_with("runner-poll: ")).collect();
        assert_eq!(said.len(), 1, "{stderr}");
        assert!(said[0].contains(expected) && said[0].contains("config.toml"), "{}", said[0]);
        assert!(!stderr.contains("SECRET"), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p32_p34_runners_can_be_added_and_taken_out_while_it_runs() {
    let gitlab = gitlab().await;
    let second = gitlab.create_runner(RunnerSpec { tags: vec!["b".to_owned()], ..RunnerSpec::default() }).unwrap();
    let first = ("a", gitlab.runner_token(), "");
    let place = Place::new(&config(gitlab.url(), "concurrent = 5", &[first]));
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    place.configure(&config(gitlab.url(), "concurrent = 5", &[first, ("b", &second, "")]));
    let tagged = gitlab.enqueue(JobSpec::default().tag("b")).await.unwrap();
    assert_eq!(poll.expect("job").await["id"], tagged);
    let of_second = |r: &Record| r.path == REQUEST && r.json.as_ref().is_some_and(|json| json["token"] == *second);
    let asked = gitlab.wait_request(of_second).await.json.unwrap();
    assert_eq!(asked.get("last_update"), None, "a new runner knows nothing of the queue");
    place.configure("concurrent = 5\n");
    place.until_logged("there are no [[runners]]", 1).await;
    place.configure(&config(gitlab.url(), "concurrent = 5", &[first]));
    let id = enqueue(&gitlab, 1).await[0];
    assert_eq!(poll.expect("job").await["id"], id);
}
