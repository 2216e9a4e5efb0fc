//! A GitLab that is a program: the runner API, Git over smart HTTP and the job API of users, on a
//! real socket, with the server's own rules.
//!
//! ```no_run
//! # async fn example() -> Result<(), fake_gitlab::Error> {
//! use fake_gitlab::{FakeGitlab, JobSpec};
//!
//! let gitlab = FakeGitlab::builder().trace_interval(1).start().await?;
//! let id = gitlab.enqueue(JobSpec::script(["echo hello"])).await?;
//! // … point a runner at gitlab.url() with gitlab.runner_token() …
//! let job = gitlab.wait_finished(id).await;
//! assert_eq!(job.exit_code, Some(0));
//! # Ok(())
//! # }
//! ```
//!
//! | module | what is in it |
//! | --- | --- |
//! | `gitlab`, `builder`, `start` | this interface, and what happens at the start |
//! | `shared`, `state`, `job`, `runner`, `project` | what the server knows, and the event that it changed |
//! | `settings`, `rate_limit` | the rules of the instance |
//! | `queue` | runners, and the jobs they may take |
//! | `progress`, `auto_cancel` | which job runs when; what a pipeline's status is |
//! | `plan`, `spec`, `ci` | jobs before they run: raw ones, and those of `.gitlab-ci.yml` |
//! | `payload`, `variables` | the answer to a job request |
//! | `routes` | the HTTP interface, one file per group of endpoints |
//! | `git`, `repository`, `git_sources` | bare copies of the repositories, and what users read of them |
//! | `params`, `api_error`, `token`, `clock`, `coverage`, `duration`, `dotenv`, `artifact_types`, `jwt` | GitLab's spellings of small things |
//! | `server`, `tls`, `record`, `faults`, `misbehave` | connections, the record of requests, deliberate misbehaviour |

mod api_error;
mod artifact_types;
mod assign;
mod auto_cancel;
mod builder;
mod ci;
mod clock;
mod coverage;
mod dotenv;
mod duration;
mod error;
mod faults;
mod git;
mod git_sources;
mod gitlab;
mod job;
mod jwt;
mod misbehave;
mod params;
mod payload;
mod pipelines;
mod plan;
mod progress;
mod project;
mod queue;
mod rate_limit;
mod record;
mod repository;
mod routes;
mod runner;
mod server;
mod settings;
mod shared;
mod spec;
mod start;
mod state;
mod tls;
mod token;
mod variables;

pub use crate::builder::Builder;
pub use crate::ci::DefinitionError;
pub use crate::error::Error;
pub use crate::faults::{Action, Cut, Fault};
pub use crate::gitlab::FakeGitlab;
pub use crate::job::{Artifact, JobReport, JobStatus};
pub use crate::plan::Variable;
pub use crate::record::Record;
pub use crate::runner::{RunnerSpec, RunnerType};
pub use crate::settings::Settings;
pub use crate::spec::JobSpec;
pub use crate::state::Event;
pub use crate::tls::Tls;

/// Path of the built-in project that raw jobs without a repository belong to.
pub const RAW_PROJECT: &str = "fake/jobs";
