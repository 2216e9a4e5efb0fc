//! A job waits for the services that name a port.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod pod;

use std::os::fd::OwnedFd;

use pod::Job;
use runner_core::failure::FailureReason;
use rustix::net::{AddressFamily, SocketAddrV4, SocketType};
use serde_json::{Value, json};

/// A port that is taken and does not listen yet.
fn silent_port() -> (OwnedFd, u16) {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrV4::new([127, 0, 0, 1].into(), 0)).unwrap();
    let name = SocketAddrV4::try_from(rustix::net::getsockname(&socket).unwrap()).unwrap();
    (socket, name.port())
}

fn service(port: &str) -> Value {
    json!([{"name": "postgres:16", "variables": [{"key": "HEALTHCHECK_TCP_PORT", "value": port}]}])
}

#[test]
fn the_job_begins_when_its_services_listen() {
    let (socket, port) = silent_port();
    let (other, other_port) = silent_port();
    let configured = json!([{"name": "redis", "environment": [format!("HEALTHCHECK_TCP_PORT={other_port}")]}]);
    let job = Job::new(&["echo begun"]).set("services", service(&port.to_string()));
    let pod = job.config("kubernetes", json!({"services": configured})).start();
    pod.wait_for_log(&format!("dialing localhost:{port}...\n"));
    rustix::net::listen(&other, 8).unwrap();
    pod.wait_for_log(&format!("dial succeeded on localhost:{other_port}. Exiting...\n"));
    rustix::net::listen(&socket, 8).unwrap();
    let ended = pod.end().succeeded();
    let first = format!("waiting for TCP connection to localhost on [{other_port} {port}]...\n");
    let order = [first, format!("dial succeeded on localhost:{port}. Exiting...\n"), "\nbegun\n".to_owned()];
    let places: Vec<_> =
        order.iter().map(|text| ended.log.find(text).unwrap_or_else(|| panic!("{}", ended.log))).collect();
    assert!(places.is_sorted(), "{}", ended.log);
}

#[test]
fn a_wrong_port_is_a_configuration_error() {
    let ended = Job::new(&["true"]).set("services", service("http")).run();
    let ended = ended.failed("service postgres:16: HEALTHCHECK_TCP_PORT is \"http\", which is no port");
    assert_eq!(ended.outcome.failure_reason, Some(FailureReason::RunnerConfigurationError));
}

#[test]
fn the_jobs_time_bounds_the_wait() {
    let (_socket, port) = silent_port();
    let job = Job::new(&["true"]).set("services", service(&port.to_string()));
    job.set("runner_info", json!({"timeout": 1})).run().failed("execution took longer than 1s seconds");
}
