//! Every request as data: method, path, headers, body. Nothing is sent here.

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};
use runner_core::failure::FailureReason;
use runner_core::secret::Secret;
use serde::Serialize;

use crate::error::Call;
use crate::info::Info;

/// One request, ready to be sent any number of times. No `Debug`: JSON bodies hold the token too.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) call: Call,
    pub(crate) method: Method,
    /// Path and query below `<url>/api/v4/`.
    pub(crate) path: String,
    /// `RUNNER-TOKEN`, `JOB-TOKEN` or `PRIVATE-TOKEN`, and its value.
    pub(crate) auth: (&'static str, Secret),
    /// Further headers; none of them secret.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
}

/// Header with a runner's token, or a registration token.
pub(crate) const RUNNER_TOKEN: &str = "RUNNER-TOKEN";
/// Header with a job's token.
pub(crate) const JOB_TOKEN: &str = "JOB-TOKEN";
/// Header with a user's token.
const PRIVATE_TOKEN: &str = "PRIVATE-TOKEN";

/// Settings of a runner that a registration token makes on the server.
///
/// Source: GitLab runner contract, `POST /runners`. Empty texts and a timeout of 0 are not sent.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Registration {
    /// Shown name of the runner.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Note for administrators.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub maintenance_note: String,
    /// Tags, divided by commas.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tag_list: String,
    /// Whether it takes jobs without tags.
    pub run_untagged: bool,
    /// Whether it stays with its project.
    pub locked: bool,
    /// Whether it starts paused.
    pub paused: bool,
    /// `not_protected` or `ref_protected`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub access_level: String,
    /// Longest job in seconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub maximum_timeout: u64,
}

/// State a job is reported in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UpdateState {
    /// It runs; also the keep-alive.
    Running,
    /// It succeeded.
    Success,
    /// It failed.
    Failed,
}

/// What GitLab should have of the log: length and CRC-32 (IEEE) over all bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOutput {
    /// CRC-32 of the log so far.
    pub crc32: u32,
    /// Bytes of the log so far.
    pub bytes: u64,
}

impl LogOutput {
    /// `crc32:` and eight lowercase hex digits.
    pub fn checksum(&self) -> String {
        format!("crc32:{:08x}", self.crc32)
    }
}

/// `PUT /jobs/:id`.
#[derive(Debug, Clone)]
pub struct JobUpdate<'a> {
    /// Job id.
    pub job: u64,
    /// Job token.
    pub token: &'a Secret,
    /// What the runner says of itself.
    pub info: &'a Info,
    /// The job's state.
    pub state: UpdateState,
    /// Why it failed, in a word this GitLab knows; sent with [`UpdateState::Failed`] only.
    pub failure_reason: Option<FailureReason>,
    /// Exit code of the script; 0 is not sent.
    pub exit_code: Option<i32>,
    /// The log, once there is something to say of it.
    pub output: Option<LogOutput>,
}

/// `PATCH /jobs/:id/trace`: one piece of the log.
#[derive(Debug, Clone)]
pub struct Patch<'a> {
    /// Job id.
    pub job: u64,
    /// Job token.
    pub token: &'a Secret,
    /// Bytes of the log before this piece.
    pub start: u64,
    /// The piece: 1 byte to 1 MiB.
    pub bytes: Bytes,
    /// Whether the job runs with debug output; GitLab then hides the log from lower roles.
    pub debug_trace: bool,
}

impl Request {
    pub(crate) fn register(token: &Secret, registration: &Registration, info: &Info) -> Self {
        #[derive(Serialize)]
        struct Body<'a> {
            info: &'a Info,
            token: &'a Secret,
            #[serde(flatten)]
            registration: &'a Registration,
        }
        let body = Body { info, token, registration };
        Self::json(Call::Register, Method::POST, "runners".into(), (RUNNER_TOKEN, token), &body)
    }

    pub(crate) fn verify(token: &Secret, system_id: &str, info: &Info) -> Self {
        #[derive(Serialize)]
        struct Body<'a> {
            info: &'a Info,
            token: &'a Secret,
            #[serde(skip_serializing_if = "str::is_empty")]
            system_id: &'a str,
        }
        let body = Body { info, token, system_id };
        Self::json(Call::Verify, Method::POST, "runners/verify".into(), (RUNNER_TOKEN, token), &body)
    }

    /// A token made on the server (`glrt-`) belongs to several managers and only this one goes; any other is the runner itself.
    pub(crate) fn unregister(token: &Secret, system_id: &str) -> Self {
        #[derive(Serialize)]
        struct Body<'a> {
            token: &'a Secret,
            #[serde(skip_serializing_if = "Option::is_none")]
            system_id: Option<&'a str>,
        }
        let (path, system_id) = match token.expose().starts_with("glrt-") {
            true => ("runners/managers", Some(system_id)),
            false => ("runners", None),
        };
        let body = Body { token, system_id };
        Self::json(Call::Unregister, Method::DELETE, path.into(), (RUNNER_TOKEN, token), &body)
    }

    pub(crate) fn reset_token(token: &Secret) -> Self {
        #[derive(Serialize)]
        struct Body<'a> {
            token: &'a Secret,
        }
        let path = "runners/reset_authentication_token".to_owned();
        Self::json(Call::ResetToken, Method::POST, path, (RUNNER_TOKEN, token), &Body { token })
    }

    pub(crate) fn reset_token_as_user(runner: u64, private_token: &Secret) -> Self {
        let path = format!("runners/{runner}/reset_authentication_token");
        Self::json(Call::ResetToken, Method::POST, path, (PRIVATE_TOKEN, private_token), &())
    }

    pub(crate) fn request_job(token: &Secret, system_id: &str, last_update: Option<&str>, info: &Info) -> Self {
        #[derive(Serialize)]
        struct Body<'a> {
            info: &'a Info,
            token: &'a Secret,
            #[serde(skip_serializing_if = "str::is_empty")]
            system_id: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            last_update: Option<&'a str>,
        }
        let body = Body { info, token, system_id, last_update };
        Self::json(Call::RequestJob, Method::POST, "jobs/request".into(), (RUNNER_TOKEN, token), &body)
    }

    pub(crate) fn update_job(update: &JobUpdate<'_>) -> Self {
        #[derive(Serialize)]
        struct Body<'a> {
            info: &'a Info,
            token: &'a Secret,
            state: UpdateState,
            #[serde(skip_serializing_if = "Option::is_none")]
            failure_reason: Option<FailureReason>,
            /// The same as `output.checksum`, for a GitLab that does not know `output`.
            #[serde(skip_serializing_if = "Option::is_none")]
            checksum: Option<&'a str>,
            output: Output<'a>,
            #[serde(skip_serializing_if = "Option::is_none")]
            exit_code: Option<i32>,
        }
        #[derive(Serialize)]
        struct Output<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            checksum: Option<&'a str>,
            #[serde(skip_serializing_if = "is_zero")]
            bytesize: u64,
        }
        let checksum = update.output.map(|output| output.checksum());
        let body = Body {
            info: update.info,
            token: update.token,
            state: update.state,
            failure_reason: update.failure_reason.filter(|_| update.state == UpdateState::Failed),
            checksum: checksum.as_deref(),
            output: Output { checksum: checksum.as_deref(), bytesize: update.output.map_or(0, |output| output.bytes) },
            exit_code: update.exit_code.filter(|code| *code != 0),
        };
        Self::json(Call::UpdateJob, Method::PUT, format!("jobs/{}", update.job), (JOB_TOKEN, update.token), &body)
    }

    /// The range's end is inclusive and there is neither unit nor total.
    pub(crate) fn patch_trace(patch: &Patch<'_>) -> Self {
        let end = patch.start + (patch.bytes.len() as u64).saturating_sub(1);
        let range = HeaderValue::try_from(format!("{}-{end}", patch.start))
            .unwrap_or_else(|err| unreachable!("digits and a dash are a header value: {err}"));
        Self {
            call: Call::PatchTrace,
            method: Method::PATCH,
            path: format!("jobs/{}/trace?debug_trace={}", patch.job, patch.debug_trace),
            auth: (JOB_TOKEN, patch.token.clone()),
            headers: vec![
                (reqwest::header::CONTENT_TYPE, HeaderValue::from_static("text/plain")),
                (reqwest::header::CONTENT_RANGE, range),
            ],
            body: patch.bytes.clone(),
        }
    }

    fn json(call: Call, method: Method, path: String, auth: (&'static str, &Secret), body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).unwrap_or_else(|err| unreachable!("bodies are plain data: {err}"));
        let json = HeaderValue::from_static("application/json");
        let mut headers = vec![(reqwest::header::CONTENT_TYPE, json.clone())];
        if matches!(call, Call::Register | Call::Verify | Call::ResetToken | Call::RequestJob) {
            headers.push((reqwest::header::ACCEPT, json)); // only where the answer is read
        }
        Self { call, method, path, auth: (auth.0, auth.1.clone()), headers, body: body.into() }
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn body(request: &Request) -> Value {
        let mut body: Value = serde_json::from_slice(&request.body).unwrap();
        if let Some(body) = body.as_object_mut() {
            body.remove("info");
        }
        body
    }

    fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
        request.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.to_str().unwrap())
    }

    #[test]
    fn unregistering_a_token_made_on_the_server_removes_only_this_manager() {
        for (token, path, expected) in [
            ("glrt-t1_abc", "runners/managers", json!({"token": "glrt-t1_abc", "system_id": "s_1"})),
            ("t1_abc", "runners", json!({"token": "t1_abc"})),
        ] {
            let request = Request::unregister(&Secret::new(token), "s_1");
            assert_eq!((request.method.as_str(), &*request.path), ("DELETE", path));
            assert_eq!(body(&request), expected);
        }
    }

    #[test]
    fn registering_sends_the_flags_always_and_texts_only_if_there_are_any() {
        let registration = Registration { tag_list: "a,b".into(), locked: true, ..Registration::default() };
        let request = Request::register(&Secret::new("GR1"), &registration, &Info::default());
        assert_eq!(
            body(&request),
            json!({"token": "GR1", "tag_list": "a,b", "run_untagged": false, "locked": true, "paused": false})
        );
        assert_eq!(header(&request, "accept"), Some("application/json"));
    }

    #[test]
    fn a_user_resets_a_token_with_a_null_body() {
        let request = Request::reset_token_as_user(7, &Secret::new("glpat-x"));
        assert_eq!((&*request.path, &*request.body), ("runners/7/reset_authentication_token", &b"null"[..]));
        assert_eq!(request.auth.0, "PRIVATE-TOKEN");
    }

    #[test]
    fn last_update_is_left_out_until_there_is_one() {
        let token = Secret::new("glrt-x");
        let request = Request::request_job(&token, "s_1", None, &Info::default());
        assert_eq!(body(&request), json!({"token": "glrt-x", "system_id": "s_1"}));
        let request = Request::request_job(&token, "s_1", Some("5f"), &Info::default());
        assert_eq!(body(&request)["last_update"], "5f");
    }

    #[test]
    fn a_job_update_omits_what_is_empty() {
        let (token, info) = (Secret::new("glcbt-x"), Info::default());
        let running = JobUpdate {
            job: 42,
            token: &token,
            info: &info,
            state: UpdateState::Running,
            failure_reason: Some(FailureReason::ScriptFailure),
            exit_code: Some(0),
            output: None,
        };
        let request = Request::update_job(&running);
        assert_eq!((request.method.as_str(), &*request.path, request.auth.0), ("PUT", "jobs/42", "JOB-TOKEN"));
        assert_eq!(body(&request), json!({"token": "glcbt-x", "state": "running", "output": {}}));
        assert_eq!(header(&request, "accept"), None);

        let failed = JobUpdate {
            state: UpdateState::Failed,
            exit_code: Some(7),
            output: Some(LogOutput { crc32: 0x2a, bytes: 3 }),
            ..running
        };
        let checksum = "crc32:0000002a";
        assert_eq!(
            body(&Request::update_job(&failed)),
            json!({"token": "glcbt-x", "state": "failed", "failure_reason": "script_failure", "exit_code": 7,
                   "checksum": checksum, "output": {"checksum": checksum, "bytesize": 3}})
        );
    }

    #[test]
    fn a_patch_names_its_range_with_an_inclusive_end() {
        let patch = Patch {
            job: 42,
            token: &Secret::new("glcbt-x"),
            start: 11,
            bytes: Bytes::from_static(b" appended"),
            debug_trace: false,
        };
        let request = Request::patch_trace(&patch);
        assert_eq!(request.path, "jobs/42/trace?debug_trace=false");
        assert_eq!(header(&request, "content-range"), Some("11-19"));
        assert_eq!(header(&request, "content-type"), Some("text/plain"));
    }
}
