//! The HTTP contract with GitLab, client side: every request as data, every answer as an outcome, one client that moves the bytes.
//!
//! | method and path (below `<url>/api/v4`)          | call                                  | used by                  |
//! | ----------------------------------------------- | ------------------------------------- | ------------------------ |
//! | `POST /runners`                                 | [`Client::register`]                  | runner-register          |
//! | `POST /runners/verify`                          | [`Client::verify`]                    | runner-register          |
//! | `DELETE /runners`, `DELETE /runners/managers`   | [`Client::unregister`]                | runner-register          |
//! | `POST /runners/reset_authentication_token`      | [`Client::reset_token`]               | runner-register          |
//! | `POST /runners/:id/reset_authentication_token`  | [`Client::reset_token_as_user`]       | runner-register          |
//! | `POST /jobs/request`                            | [`Client::request_job`]               | runner-poll              |
//! | `PUT /jobs/:id`                                 | [`Client::update_job`]                | runner-poll, runner-trace |
//! | `PATCH /jobs/:id/trace`                         | [`Client::patch_trace`]               | runner-trace             |
//! | `POST /jobs/:id/artifacts`                      | [`Client::upload_artifacts`]          | runner-helper            |
//! | `GET /jobs/:id/artifacts`                       | [`Client::download_artifacts`]        | runner-helper            |
//!
//! Each call is one request. [`retry::retry`] goes around a call where the contract repeats it. An outcome the caller must act on
//! (no job, resume at byte 11, send again later) is an `Ok`; everything else is an [`Error`] that names call, host and cause and
//! never a token.

mod artifacts;
mod client;
mod error;
mod info;
mod request;
mod response;
pub mod retry;
mod tls;

pub use artifacts::{Body, Direct, Upload};
pub use client::Client;
pub use error::{Call, Error};
pub use info::Info;
pub use request::{JobUpdate, LogOutput, Patch, Registration, UpdateState};
pub use response::{Answer, Credentials, JobReply, JobStatus, Patched, Updated};
pub use tls::Trust;
