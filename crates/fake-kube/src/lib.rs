//! A Kubernetes API server and kubelet that is a program: pods, secrets, config maps, service
//! accounts, events and namespaces behind the real API, and containers that are local processes.
//!
//! ```no_run
//! # async fn example() -> Result<(), fake_kube::Error> {
//! let kube = fake_kube::FakeKube::start().await?;
//! kube.write_kubeconfig("kubeconfig")?;
//! kube.faults().add(fake_kube::Fault::too_many_requests(1).method("POST").times(2));
//! # Ok(()) }
//! ```
//!
//! It shares no code with its clients. What differs from a real cluster is in `docs/fake-kube.md`.

mod builder;
mod cause;
mod clock;
mod cluster;
mod config;
mod delete;
mod error;
mod events;
mod fault;
mod faults;
mod gc;
mod guard;
mod json;
mod kubeconfig;
mod kubelet;
mod patch;
mod random;
mod record;
mod resource;
mod routes;
mod rules;
mod selector;
mod server;
mod status;
mod store;

pub use self::builder::Builder;
pub use self::error::Error;
pub use self::fault::{Act, Fault};
pub use self::faults::{FaultSet, Faults, ImageFault};
pub use self::record::Request;
pub use self::server::FakeKube;
