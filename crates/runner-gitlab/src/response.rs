//! From status, headers and body to an outcome, without a socket.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RANGE, RETRY_AFTER};
use runner_core::secret::Secret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::error::{Call, Error};
use crate::request::UpdateState;

/// Longest update interval that is taken over from the server.
const MAX_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// An answer, read to its end.
pub(crate) struct Response {
    pub(crate) call: Call,
    pub(crate) host: String,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// What the request was sent with, so that an answer that quotes it can be cleaned.
    pub(crate) token: Secret,
    /// `X-Request-Id` of the request.
    pub(crate) request_id: String,
}

/// A runner as GitLab knows it: answer of register, verify and reset.
#[derive(Debug, Clone, Deserialize)]
pub struct Credentials {
    /// GitLab's id of the runner; 0 if this GitLab does not tell (an old one on verify) and on a token's reset.
    #[serde(default)]
    pub id: u64,
    /// The token to use from now on.
    pub token: Secret,
    /// When it expires, RFC 3339; `None` is never.
    #[serde(default)]
    pub token_expires_at: Option<String>,
}

/// Answer of `POST /jobs/request`.
#[derive(Debug)]
pub enum JobReply {
    /// A job, now assigned to this runner.
    Job {
        /// The job's id.
        id: u64,
        /// What GitLab sent, byte for byte but for line breaks between its members, which are blanks: it fits into a line.
        payload: Box<RawValue>,
        /// The server's `X-Request-Id`, else the request's: to be passed on to Git.
        correlation_id: String,
    },
    /// Nothing to do.
    None {
        /// To be sent with the next request; `None` keeps the old value.
        last_update: Option<String>,
    },
}

/// `Job-Status`: how the job stands on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobStatus {
    /// It is to be stopped gracefully: `after_script` still runs.
    Canceling,
    /// It was canceled: stop at once, nobody reads on.
    Canceled,
    /// It has failed, or was failed by the server: stop at once.
    Failed,
    /// It has succeeded.
    Success,
    /// Anything else, `running` as a rule.
    Other,
}

impl JobStatus {
    /// Whether the job is over for the server.
    pub fn aborts(self) -> bool {
        matches!(self, Self::Canceled | Self::Failed)
    }
}

/// An outcome of a job call, with the two headers that may stand on each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<T> {
    /// What became of the request.
    pub outcome: T,
    /// `Job-Status`, if sent.
    pub job_status: Option<JobStatus>,
    /// `X-GitLab-Trace-Update-Interval`, if above zero; at most 15 minutes.
    pub interval: Option<Duration>,
}

/// Outcome of `PUT /jobs/:id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Updated {
    /// Taken over (200).
    Accepted,
    /// The end is noted and the log not yet archived (202): send the same again after the interval.
    Later,
    /// The log is wrong on the server (412): send it again from its first byte.
    Resend,
    /// The job is not, or no longer, this runner's (403, 404) or is over for the server: send nothing more.
    Gone,
}

/// Outcome of `PATCH /jobs/:id/trace`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patched {
    /// Appended (202).
    Accepted,
    /// The server's log is that many bytes long (416): continue there.
    ResumeAt(u64),
    /// No such job (404): its log is not wanted. Its result may be.
    NotFound,
    /// The job is not, or no longer, this runner's (403) or is over for the server: send nothing more.
    Gone,
}

impl Response {
    pub(crate) fn credentials(&self, expected: u16) -> Result<Credentials, Error> {
        self.expect(expected)?;
        self.json()
    }

    pub(crate) fn empty(&self, expected: u16) -> Result<(), Error> {
        self.expect(expected)
    }

    pub(crate) fn job(&self) -> Result<JobReply, Error> {
        if self.status == 204 {
            let last_update = self.header("x-gitlab-last-update").map(str::to_owned);
            return Ok(JobReply::None { last_update });
        }
        self.expect(201)?;
        #[derive(Deserialize)]
        struct Peek {
            id: u64,
        }
        let Peek { id } = self.json()?;
        let payload = one_line(&self.body)
            .and_then(|text| RawValue::from_string(text).ok())
            .ok_or_else(|| self.body_error("the body is not JSON in UTF-8".to_owned()))?;
        let correlation_id = self.header("x-request-id").unwrap_or(&self.request_id).to_owned();
        Ok(JobReply::Job { id, payload, correlation_id })
    }

    pub(crate) fn updated(&self, state: UpdateState) -> Result<Answer<Updated>, Error> {
        let outcome = match self.status {
            // a final state is answered with how the job ended, and that may be `canceled`
            200 if state != UpdateState::Running || !self.aborted() => Updated::Accepted,
            403 | 404 => Updated::Gone,
            _ if self.aborted() => Updated::Gone,
            202 => Updated::Later,
            412 => Updated::Resend,
            _ => return Err(self.status_error()),
        };
        Ok(self.answer(outcome))
    }

    pub(crate) fn patched(&self) -> Result<Answer<Patched>, Error> {
        let outcome = match self.status {
            403 => Patched::Gone,
            _ if self.aborted() => Patched::Gone,
            202 => Patched::Accepted,
            404 => Patched::NotFound,
            416 => Patched::ResumeAt(self.size()),
            _ => return Err(self.status_error()),
        };
        Ok(self.answer(outcome))
    }

    /// `Range: 0-<size>`: the number after the dash is the log's length, not its last index. Unreadable means from the start.
    fn size(&self) -> u64 {
        self.header(RANGE.as_str())
            .and_then(|range| range.split_once('-'))
            .and_then(|(_, size)| size.trim().parse().ok())
            .unwrap_or(0)
    }

    fn answer<T>(&self, outcome: T) -> Answer<T> {
        let interval = self
            .header("x-gitlab-trace-update-interval")
            .and_then(|secs| secs.trim().parse().ok())
            .filter(|secs| *secs > 0)
            .map(|secs| Duration::from_secs(secs).min(MAX_INTERVAL));
        Answer { outcome, job_status: self.job_status(), interval }
    }

    fn job_status(&self) -> Option<JobStatus> {
        self.header("job-status").map(|status| match status.trim() {
            "canceling" => JobStatus::Canceling,
            "canceled" => JobStatus::Canceled,
            "failed" => JobStatus::Failed,
            "success" => JobStatus::Success,
            _ => JobStatus::Other,
        })
    }

    fn aborted(&self) -> bool {
        self.job_status().is_some_and(JobStatus::aborts)
    }

    fn expect(&self, status: u16) -> Result<(), Error> {
        if self.status == status { Ok(()) } else { Err(self.status_error()) }
    }

    fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let media = self.header(CONTENT_TYPE.as_str()).unwrap_or("no content type");
        if !media.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
            return Err(self.body_error(format!("answered {} instead of application/json", printable(media))));
        }
        // serde_json quotes values in its messages, and here they may be tokens: tell the place only
        serde_json::from_slice(&self.body).map_err(|err| {
            let what = if err.is_data() { "the JSON has an unexpected shape" } else { "the body is not JSON" };
            self.body_error(format!("{what} (line {} column {})", err.line(), err.column()))
        })
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok().filter(|value| !value.is_empty())
    }

    fn body_error(&self, why: String) -> Error {
        Error::Body { call: self.call, host: self.host.clone(), why }
    }

    pub(crate) fn status_error(&self) -> Error {
        Error::Status {
            call: self.call,
            host: self.host.clone(),
            status: self.status,
            message: self.message(),
            wait: asked_wait(&self.headers, SystemTime::now()),
            location: self.header("location").map(str::to_owned),
        }
    }

    /// The status and, if the body has a `message`, GitLab's own words; printable, without the request's token.
    fn message(&self) -> String {
        let reason = reqwest::StatusCode::from_u16(self.status).ok().and_then(|s| s.canonical_reason()).unwrap_or("");
        let status = format!("{} {reason}", self.status);
        let status = match self.header("location") {
            Some(location) if (300..400).contains(&self.status) => format!("{} to {location}", status.trim_end()),
            _ => status.trim_end().to_owned(),
        };
        let text = match said(&self.body) {
            Some(said) if said.starts_with(&self.status.to_string()) => said,
            Some(said) => format!("{status}: {said}"),
            None => status,
        };
        let text = match self.token.is_empty() {
            true => text,
            false => text.replace(self.token.expose(), "[redacted]"),
        };
        printable(&text)
    }
}

/// `message` of an error body: a string, or an object of strings and lists that is joined as `key: a, b`.
fn said(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Failure {
        message: serde_json::Value,
    }
    if body.trim_ascii_start().starts_with(b"<") {
        return said_by_storage(body);
    }
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let said = match serde_json::from_slice::<Failure>(body).ok()?.message {
        serde_json::Value::String(text) => text,
        serde_json::Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| match value {
                serde_json::Value::Array(list) => {
                    format!("{key}: {}", list.iter().map(text).collect::<Vec<_>>().join(", "))
                }
                value => format!("{key}: {}", text(value)),
            });
            fields.collect::<Vec<_>>().join("; ")
        }
        _ => return None,
    };
    (!said.is_empty()).then_some(said)
}

/// `Code: Message` of an object storage's error body, `<Error><Code>…</Code><Message>…</Message></Error>`.
fn said_by_storage(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, error) = text.split_once("<Error>")?;
    let inner = |tag: &str| Some(error.split_once(&format!("<{tag}>"))?.1.split_once(&format!("</{tag}>"))?.0);
    let said = [inner("Code"), inner("Message")].into_iter().flatten().collect::<Vec<_>>().join(": ");
    (!said.is_empty()).then_some(said)
}

/// A server's text on one terminal line: no control characters, not endless.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}

/// How long the server wants us to wait: until `RateLimit-ResetTime`, else for `Retry-After` (seconds only).
fn asked_wait(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let until = text("ratelimit-resettime")
        .and_then(|date| httpdate::parse_http_date(date).ok())
        .and_then(|date| date.duration_since(now).ok())
        .filter(|wait| !wait.is_zero());
    let after = || text(RETRY_AFTER.as_str()).and_then(|secs| secs.trim().parse().ok()).filter(|secs| *secs > 0);
    until.or_else(|| after().map(Duration::from_secs))
}

/// JSON as one line: a raw line break can stand only between members, where a blank means the same.
fn one_line(json: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(json).ok()?;
    Some(text.replace(['\n', '\r'], " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderName, HeaderValue};

    fn response(status: u16, headers: &[(&'static str, &str)], body: &str) -> Response {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect();
        Response {
            call: Call::PatchTrace,
            host: "gitlab.example.com".into(),
            status,
            headers,
            body: Bytes::copy_from_slice(body.as_bytes()),
            token: Secret::new("glcbt-hidden"),
            request_id: "ours".into(),
        }
    }

    #[test]
    fn the_answer_to_a_log_piece() {
        for (status, headers, expected) in [
            (202, &[("range", "0-20")][..], Some(Patched::Accepted)),
            (202, &[("job-status", "canceling")], Some(Patched::Accepted)),
            (202, &[("job-status", "failed")], Some(Patched::Gone)),
            (403, &[], Some(Patched::Gone)),
            (404, &[], Some(Patched::NotFound)),
            (416, &[("range", "0-11")], Some(Patched::ResumeAt(11))),
            (416, &[("range", "garbage")], Some(Patched::ResumeAt(0))),
            (416, &[], Some(Patched::ResumeAt(0))),
            (400, &[], None),
            (409, &[], None),
            (413, &[], None),
            (500, &[], None),
        ] {
            let outcome = response(status, headers, "").patched().ok().map(|answer| answer.outcome);
            assert_eq!(outcome, expected, "{status} {headers:?}");
        }
    }

    #[test]
    fn the_answer_to_a_job_update() {
        use UpdateState::{Failed, Running};
        for (status, job_status, state, expected) in [
            (200, "running", Running, Some(Updated::Accepted)),
            (200, "canceling", Running, Some(Updated::Accepted)),
            (200, "canceled", Running, Some(Updated::Gone)),
            (200, "canceled", Failed, Some(Updated::Accepted)),
            (202, "running", Failed, Some(Updated::Later)),
            (202, "canceled", Failed, Some(Updated::Gone)),
            (403, "", Running, Some(Updated::Gone)),
            (404, "", Failed, Some(Updated::Gone)),
            (412, "", Failed, Some(Updated::Resend)),
            (409, "", Failed, None),
            (500, "", Running, None),
            (500, "failed", Running, Some(Updated::Gone)),
        ] {
            let outcome = response(status, &[("job-status", job_status)], "").updated(state).ok().map(|a| a.outcome);
            assert_eq!(outcome, expected, "{status} {job_status} {state:?}");
        }
    }

    #[test]
    fn the_interval_is_whole_seconds_above_zero_and_at_most_a_quarter_of_an_hour() {
        for (header, expected) in
            [("3", Some(3)), ("0", None), ("-1", None), ("x", None), ("1.5", None), ("901", Some(900))]
        {
            let answer = response(202, &[("x-gitlab-trace-update-interval", header)], "").patched().unwrap();
            assert_eq!(answer.interval, expected.map(Duration::from_secs), "{header}");
        }
    }

    #[test]
    fn a_job_keeps_its_bytes_and_fits_into_a_line() {
        let body = "{\"id\":7,\n  \"token\" : \"a\\nb\", \"x\":1.50}";
        let JobReply::Job { id, payload, correlation_id } =
            response(201, &[("content-type", "application/json; charset=utf-8")], body).job().unwrap()
        else {
            panic!("no job")
        };
        assert_eq!((id, &*correlation_id), (7, "ours"));
        assert_eq!(payload.get(), "{\"id\":7,   \"token\" : \"a\\nb\", \"x\":1.50}");
    }

    #[test]
    fn a_job_that_is_not_json_is_an_error_that_quotes_nothing() {
        for (media, body, expected) in [
            ("text/html", "<html>", "answered text/html instead of application/json"),
            ("application/json", "<html>", "the body is not JSON (line 1 column 1)"),
            ("application/json", "{\"id\":\"glcbt-x\"}", "the JSON has an unexpected shape (line 1 column 15)"),
        ] {
            let err = response(201, &[("content-type", media)], body).job().unwrap_err();
            assert_eq!(err.to_string(), format!("sending the job's log at gitlab.example.com: {expected}"));
        }
    }

    #[test]
    fn no_job_may_bring_a_new_queue_value() {
        for (headers, expected) in [(&[("x-gitlab-last-update", "5f")][..], Some("5f")), (&[], None)] {
            let JobReply::None { last_update } = response(204, headers, "").job().unwrap() else { panic!("a job") };
            assert_eq!(last_update.as_deref(), expected);
        }
    }

    #[test]
    fn an_error_says_what_gitlab_said_without_tokens_and_control_characters() {
        for (status, body, expected) in [
            (400, r#"{"message":"400 Bad request - \u001b[31mno"}"#, "400 Bad request - [31mno"),
            (
                400,
                r#"{"message":{"tags_list":["too many","odd"],"x":"y"}}"#,
                "400 Bad Request: tags_list: too many, odd; x: y",
            ),
            (400, r#"{"error":"token is missing"}"#, "400 Bad Request"),
            (409, r#"{"message":"glcbt-hidden is busy"}"#, "409 Conflict: [redacted] is busy"),
            (502, "<html>", "502 Bad Gateway"),
            (
                403,
                "<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
                "403 Forbidden: AccessDenied: Request has expired",
            ),
        ] {
            let Error::Status { message, .. } = response(status, &[], body).status_error() else { panic!() };
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn a_reset_time_in_the_future_comes_before_retry_after() {
        let now = httpdate::parse_http_date("Wed, 21 Oct 2015 07:28:00 GMT").unwrap();
        for (reset, after, expected) in [
            ("Wed, 21 Oct 2015 07:28:07 GMT", "30", Some(7)),
            ("Wed, 21 Oct 2015 07:27:00 GMT", "30", Some(30)),
            ("soon", "30", Some(30)),
            ("", "Wed, 21 Oct 2015 07:28:07 GMT", None),
            ("", "0", None),
        ] {
            let headers = response(429, &[("ratelimit-resettime", reset), ("retry-after", after)], "").headers;
            assert_eq!(asked_wait(&headers, now), expected.map(Duration::from_secs), "{reset} {after}");
        }
    }
}
