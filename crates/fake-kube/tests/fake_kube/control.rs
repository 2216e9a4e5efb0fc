//! `/-/fake/…` over HTTP, as scripts use it.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::bed::{Bed, pod};

/// One request without a client library; status and body.
fn http(bed: &Bed, method: &str, path: &str, body: &str) -> (u16, String) {
    let address = bed.kube.url().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).unwrap();
    let token = bed.kube.token();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn faults_are_set_read_and_refused() {
    let bed = Bed::new().await;
    let faults =
        json!({"requests": [{"method": "GET", "path": "/secrets", "times": 1, "act": {"html": {"code": 502}}}]});
    assert_eq!(http(&bed, "PUT", "/-/fake/faults", &faults.to_string()).0, 200);
    let (code, page) = http(&bed, "GET", "/api/v1/namespaces/ci/secrets", "");
    assert_eq!((code, page.starts_with("<html>")), (502, true));
    assert_eq!(http(&bed, "GET", "/api/v1/namespaces/ci/secrets", "").0, 200);
    let (_, left) = http(&bed, "GET", "/-/fake/faults", "");
    assert_eq!(serde_json::from_str::<Value>(&left).unwrap()["requests"], json!([]));
    let (code, why) = http(&bed, "PUT", "/-/fake/faults", r#"{"request": []}"#);
    assert_eq!((code, why.contains("unknown field")), (400, true), "{why}");
}

#[tokio::test]
async fn requests_are_recorded_but_not_those_to_the_fake() {
    let bed = Bed::new().await;
    http(&bed, "GET", "/api/v1/pods?limit=5", "");
    http(&bed, "GET", "/no/such/place", "");
    let (_, body) = http(&bed, "GET", "/-/fake/requests", "");
    let requests: Vec<fake_kube::Request> = serde_json::from_str(&body).unwrap();
    let seen: Vec<_> = requests.iter().map(|r| (r.path.as_str(), r.query.as_str(), r.status)).collect();
    assert_eq!(seen, [("/api/v1/pods", "limit=5", 200), ("/no/such/place", "", 404)]);
}

#[tokio::test]
async fn orders_reach_the_pod() {
    let bed = Bed::new().await;
    bed.create(pod("ordered", "sleep 600")).await;
    bed.wait_for_start("ordered").await;
    let orders = "/-/fake/pods/ci/ordered";
    assert_eq!(http(&bed, "POST", &format!("{orders}/nonsense"), "").0, 404);
    assert_eq!(http(&bed, "POST", "/-/fake/pods/ci/none/evict", "").0, 404);
    assert_eq!(http(&bed, "POST", &format!("{orders}/evict?message=too%20much"), "").0, 204);
    let evicted = bed.wait_for_phase("ordered", "Failed").await;
    assert_eq!(evicted["status"]["message"], "too much");
    assert_eq!(http(&bed, "POST", &format!("{orders}/delete"), "").0, 204);
    bed.wait_until_gone("ordered").await;
}
