//! GitLab fails, refuses or is slow.

use std::time::Duration;

use fake_gitlab::{Cut, Fault};
use rustix::process::Signal;

use crate::support::{Place, config};
use crate::{REQUEST, enqueue, gitlab, one_runner};

#[tokio::test(flavor = "multi_thread")]
async fn p02_an_unreachable_or_failing_gitlab_is_told_about_once_and_asked_on() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "", "");
    let id = enqueue(&gitlab, 1).await[0];
    gitlab.inject(Fault::on("POST", REQUEST).status(500));
    gitlab.inject(Fault::on("POST", REQUEST).nth(2).cut(Cut::Before));
    let mut poll = place.start(&["--once"]);
    poll.expect("hello").await;
    assert_eq!(poll.expect("job").await["id"], id);
    let log = place.stderr();
    assert_eq!(log.matches("WARN").count(), 1, "{log}");
    assert!(log.contains("500 Internal Server Error") && log.contains("GitLab answers again"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p64_an_answer_in_html_is_a_failure_and_not_the_end() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "", "");
    let fault = Fault::on("POST", REQUEST).status(201).body("<html>sign in</html>").header("Content-Type", "text/html");
    gitlab.inject(fault);
    let id = enqueue(&gitlab, 1).await[0];
    let mut poll = place.start(&["--once"]);
    poll.expect("hello").await;
    assert_eq!(poll.expect("job").await["id"], id);
    assert!(place.stderr().contains("answered text/html instead of application/json"), "{}", place.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn p15_a_refused_runner_rests_and_the_other_one_works_on() {
    let gitlab = gitlab().await;
    let runners = [("bad", "glrt-wrong", "unhealthy_requests_limit = 2\n"), ("good", gitlab.runner_token(), "")];
    let place = Place::new(&config(gitlab.url(), "concurrent = 3", &runners));
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    place.until_logged("it is not asked for 1h0m0s", 1).await;
    let refused = || gitlab.requests().iter().filter(|r| r.status == Some(403)).count();
    assert_eq!(refused(), 2);
    let id = enqueue(&gitlab, 1).await[0];
    let job = poll.expect("job").await;
    assert_eq!((&job["id"], &job["runner"]["name"]), (&id.into(), &"good".into()));
    assert_eq!(refused(), 2);
    assert!(!place.stderr().contains("glrt-wrong"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p01_the_server_says_how_long_to_wait() {
    let soon = std::time::SystemTime::now() + Duration::from_secs(3600);
    let soon = httpdate::fmt_http_date(soon);
    for (headers, expected) in [
        (vec![("Retry-After", "600")], "asking again in 10m0s"),
        (vec![("Retry-After", "600"), ("RateLimit-ResetTime", &*soon)], "asking again in 59m"),
    ] {
        let gitlab = gitlab().await;
        let place = one_runner(&gitlab, "", "");
        let fault = Fault::on("POST", REQUEST).status(429);
        gitlab.inject(headers.iter().fold(fault, |fault, (name, value)| fault.header(name, value)));
        let mut poll = place.start(&[]);
        poll.expect("hello").await;
        place.until_logged("asking again in ", 1).await;
        assert!(place.stderr().contains(expected), "{}", place.stderr());
        poll.signal(Signal::HUP); // which forgets failures
        let id = enqueue(&gitlab, 1).await[0];
        assert_eq!(poll.expect("job").await["id"], id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p18_a_conflict_is_no_failure() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "", "");
    let id = enqueue(&gitlab, 1).await[0];
    gitlab.inject(Fault::on("POST", REQUEST).status(409));
    let mut poll = place.start(&["--once"]);
    poll.expect("hello").await;
    assert_eq!(poll.expect("job").await["id"], id);
    assert!(!place.stderr().contains("WARN"), "{}", place.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn p19_a_removed_runner_rests_and_a_reload_asks_it_again() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "", "unhealthy_requests_limit = 1\n");
    gitlab.remove_runner(gitlab.runner_token());
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    for rests in 1..3 {
        place.until_logged("it is not asked for 1h0m0s", rests).await;
        poll.signal(Signal::HUP);
    }
    place.until_logged("it is not asked for 1h0m0s", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p20_a_runner_whose_client_cannot_be_made_is_told_and_keeps_nobody_from_working() {
    let gitlab = gitlab().await;
    let broken = "tls-ca-file = \"/none.pem\"\n";
    let text = config(gitlab.url(), "", &[("bad", "t", broken), ("good", gitlab.runner_token(), "")]);
    let place = Place::new(&text.replacen("http:", "https:", 1));
    let id = enqueue(&gitlab, 1).await[0];
    let mut poll = place.start(&["--once"]);
    poll.expect("hello").await;
    assert_eq!(poll.expect("job").await["id"], id);
    assert!(place.stderr().contains("runner `bad`: ") && place.stderr().contains("/none.pem"), "{}", place.stderr());
}
