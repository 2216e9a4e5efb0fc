//! What `listen_address` serves.

use fake_gitlab::Fault;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::Place;
use crate::{REQUEST, enqueue, gitlab, one_runner};

/// Status line and body of the answer to a request without a body.
async fn ask(place: &Place, request: &str) -> (String, String) {
    let log = place.stderr();
    let address = log.split("http://").nth(1).and_then(|rest| rest.split("/metrics").next()).unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{request} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn p80_p81_metrics_have_the_originals_names_and_tell_what_happened() {
    let gitlab = gitlab().await;
    let head = "concurrent = 7\nlisten_address = \"127.0.0.1:0\"";
    let place = one_runner(&gitlab, head, "limit = 3\nrequest_concurrency = 2\n");
    gitlab.inject(Fault::on("POST", REQUEST).status(409));
    enqueue(&gitlab, 2).await;
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    poll.expect("job").await;
    poll.expect("job").await;
    let system_id = std::fs::read_to_string(place.config().with_file_name(".runner_system_id")).unwrap();
    let short = runner_core::secret::short_token(gitlab.runner_token());
    let who = format!("runner=\"{short}\",runner_name=\"k8s\",system_id=\"{system_id}\"");
    let (status, page) = ask(&place, "GET /metrics").await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    for expected in [
        "gitlab_runner_concurrent 7".to_owned(),
        "gitlab_runner_process_state_info{state=\"running\"} 1".to_owned(),
        "gitlab_runner_configuration_loaded_total 1".to_owned(),
        format!("gitlab_runner_limit{{{who}}} 3"),
        format!("gitlab_runner_request_concurrency_hard_limit{{{who}}} 2"),
        format!("gitlab_runner_jobs{{{who},state=\"running\",stage=\"\",executor_stage=\"\"}} 2"),
        format!("gitlab_runner_jobs_total{{{who}}} 2"),
        format!(
            "gitlab_runner_api_request_statuses_total{{{who},endpoint=\"request_job\",status=\"201\",method=\"post\"}} 2"
        ),
        format!(
            "gitlab_runner_api_request_statuses_total{{{who},endpoint=\"request_job\",status=\"409\",method=\"post\"}} 1"
        ),
    ] {
        assert!(page.lines().any(|line| line == expected), "no {expected} in\n{page}");
    }
    assert!(!page.contains(gitlab.runner_token()));

    assert_eq!(ask(&place, "GET /health/ready").await, ("HTTP/1.1 200 OK".to_owned(), "ready\n".to_owned()));
    assert_eq!(ask(&place, "HEAD /metrics").await, ("HTTP/1.1 200 OK".to_owned(), String::new()));
    assert_eq!(ask(&place, "POST /metrics").await.0, "HTTP/1.1 405 Method Not Allowed");
    assert_eq!(ask(&place, "GET /").await.0, "HTTP/1.1 404 Not Found");
    place.configure("concurrent = \n");
    place.until_logged("going on with the configuration from before", 1).await;
    let (_, page) = ask(&place, "GET /metrics").await;
    assert!(page.contains("gitlab_runner_configuration_loading_error_total 1\n"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p82_an_address_that_cannot_be_used_stops_no_jobs() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let gitlab = gitlab().await;
    let place = one_runner(&gitlab, &format!("listen_address = \"{address}\""), "");
    let id = enqueue(&gitlab, 1).await[0];
    let mut poll = place.start(&[]);
    poll.expect("hello").await;
    assert_eq!(poll.expect("job").await["id"], id);
    assert!(place.stderr().contains(&format!("`listen_address` {address}: ")), "{}", place.stderr());
    poll.signal(Signal::QUIT);
    poll.expect("end").await;
}
