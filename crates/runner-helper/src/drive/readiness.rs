//! Services that say on which port they listen: the job begins when all of them can be reached.
//!
//! Source: job-semantics §9.3. All containers of the pod share one network, so a service is reached at `localhost`. That a service
//! has ended, and so will never listen, is seen by the executor in the pod's status.

use std::time::Duration;

use runner_core::failure::FailureReason;
use tokio::net::TcpStream;

use super::failure::Failure;
use super::job::Job;
use super::log::Log;

/// Time between two tries of one port.
const PAUSE: Duration = Duration::from_secs(1);

/// Waits, without a limit of its own, until every port that a service names takes connections.
pub(crate) async fn wait(job: &Job, log: &Log) -> Result<(), Failure> {
    let ports = ports(job)?;
    if ports.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = ports.iter().map(u16::to_string).collect();
    log.work(format!("waiting for TCP connection to localhost on [{}]...\n", list.join(" ")).as_bytes());
    futures::future::join_all(ports.into_iter().map(|port| dial(port, log))).await;
    Ok(())
}

async fn dial(port: u16, log: &Log) {
    log.work(format!("dialing localhost:{port}...\n").as_bytes());
    while TcpStream::connect(("localhost", port)).await.is_err() {
        tokio::time::sleep(PAUSE).await;
    }
    log.work(format!("dial succeeded on localhost:{port}. Exiting...\n").as_bytes());
}

/// The ports of the runner's services and the job's.
fn ports(job: &Job) -> Result<Vec<u16>, Failure> {
    let configured = job.config.services();
    let services = configured.iter().chain(&job.payload.services).filter(|service| !service.name.is_empty());
    let named = services.filter_map(|service| Some((&service.name, service.health_check_port()?)));
    let read = |(name, port): (&String, &str)| {
        port.parse().map_err(|_invalid| {
            let what = format!("service {name}: HEALTHCHECK_TCP_PORT is {port:?}, which is no port");
            Failure::new(what, FailureReason::RunnerConfigurationError)
        })
    };
    named.map(read).collect()
}
