//! Tokens that expire.

use fake_gitlab::{Fault, JobStatus, RunnerSpec};
use rustix::process::Signal;

use crate::support::{Place, config};
use crate::{enqueue, gitlab, one_runner};

const RESET: &str = "/api/v4/runners/reset_authentication_token";
/// Lines of a token whose time to be renewed has come.
const EXPIRING: &str = "token_obtained_at = 2020-01-01T00:00:00Z\ntoken_expires_at = 2020-02-01T00:00:00Z\n";

#[tokio::test(flavor = "multi_thread")]
async fn p21_p22_a_token_is_renewed_before_it_expires_and_stands_in_the_file() {
    let gitlab = gitlab().await;
    gitlab.change_settings(|settings| settings.runner_token_lifetime = Some(86_400));
    let old = gitlab.runner_token();
    let dates = "token_obtained_at = 2020-01-01T00:00:00Z # then\ntoken_expires_at = 2020-02-01T00:00:00Z\nlimit = 2\n";
    let place = Place::new(&config(gitlab.url(), "concurrent = 5", &[("k8s", old, dates)]));
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    let reset = gitlab.wait_request(|r| r.path == RESET).await;
    assert_eq!(reset.json.unwrap()["token"], old);
    let id = enqueue(&gitlab, 1).await[0];
    assert_eq!(poll.expect("job").await["id"], id, "it asks with the new token");
    let text = std::fs::read_to_string(place.config()).unwrap();
    assert!(!text.contains(old) && text.contains("Z # then\n") && !text.contains("2020-"), "{text}");
    let refused = gitlab.requests().iter().filter(|r| r.status == Some(403)).count();
    assert_eq!(refused, 0, "no request was made with the old token after that");
    assert!(place.stderr().contains("token renewed to ") && !place.stderr().contains(old), "{}", place.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn p25_a_token_is_not_renewed_where_it_could_not_be_saved() {
    let gitlab = gitlab().await;
    let place = Place::new(&config(gitlab.url(), "", &[("k8s", gitlab.runner_token(), EXPIRING)]));
    std::fs::create_dir(place.config().with_file_name("config.toml.lock")).unwrap();
    let id = enqueue(&gitlab, 1).await[0];
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    place.until_logged("its token cannot be renewed: opening ", 1).await;
    assert_eq!(poll.expect("job").await["id"], id, "the old token is good as long as it lasts");
    assert!(gitlab.requests().iter().all(|r| r.path != RESET));
}

#[tokio::test(flavor = "multi_thread")]
async fn p27_jobs_taken_with_the_old_token_count_for_the_limit() {
    let gitlab = gitlab().await;
    gitlab.change_settings(|settings| settings.runner_token_lifetime = Some(86_400));
    let lines = "id = 1\nlimit = 1\n";
    let place = Place::new(&config(gitlab.url(), "concurrent = 5", &[("k8s", gitlab.runner_token(), lines)]));
    let ids = enqueue(&gitlab, 2).await;
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    assert_eq!(poll.expect("job").await["id"], ids[0]);
    place.configure(&config(
        gitlab.url(),
        "concurrent = 5",
        &[("k8s", gitlab.runner_token(), &format!("{lines}{EXPIRING}"))],
    ));
    place.until_logged("token renewed to ", 1).await;
    place.until_logged("configuration read again", 2).await;
    poll.signal(Signal::QUIT);
    poll.expect("end").await;
    assert_eq!(gitlab.job(ids[1]).unwrap().status, JobStatus::Pending);
}

#[tokio::test(flavor = "multi_thread")]
async fn p23_the_flag_leaves_the_token_alone_and_a_warning_says_until_when() {
    let gitlab = gitlab().await;
    let flag = "[runners.feature_flags]\nFF_DISABLE_AUTOMATIC_TOKEN_ROTATION = true\n";
    let place = one_runner(&gitlab, "", &format!("{EXPIRING}{flag}"));
    let id = enqueue(&gitlab, 1).await[0];
    let mut poll = place.start(&["--once"]);
    poll.expect("hello").await;
    assert_eq!(poll.expect("job").await["id"], id);
    let warning =
        "its token expires at 2020-02-01T00:00:00Z and is not renewed: FF_DISABLE_AUTOMATIC_TOKEN_ROTATION is on";
    assert!(place.stderr().contains(warning), "{}", place.stderr());
    assert!(gitlab.requests().iter().all(|r| r.path != RESET));
}

#[tokio::test(flavor = "multi_thread")]
async fn p24_a_refused_renewal_is_told_and_waits_and_the_runner_works_on() {
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, "", EXPIRING);
    gitlab.inject(Fault::on("POST", RESET).status(422));
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    place.until_logged("its token cannot be renewed: ", 1).await;
    let id = enqueue(&gitlab, 1).await[0];
    assert_eq!(poll.expect("job").await["id"], id);
    assert_eq!(gitlab.requests().iter().filter(|r| r.path == RESET).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p26_several_tokens_are_renewed_one_after_the_other() {
    let gitlab = gitlab().await;
    gitlab.change_settings(|settings| settings.runner_token_lifetime = Some(86_400));
    let second = gitlab.create_runner(RunnerSpec::default()).unwrap();
    let runners = [("a", gitlab.runner_token(), EXPIRING), ("b", &*second, EXPIRING)];
    let place = Place::new(&config(gitlab.url(), "", &runners));
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    place.until_logged("token renewed to ", 2).await;
    let text = std::fs::read_to_string(place.config()).unwrap();
    assert!(!text.contains(&second) && !text.contains(gitlab.runner_token()) && !text.contains("2020-"), "{text}");
    place.until_logged("2 runners", 2).await;
    let id = enqueue(&gitlab, 1).await[0];
    assert_eq!(poll.expect("job").await["id"], id);
}
