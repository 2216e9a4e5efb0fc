//! The client: moves one request to one GitLab and its answer back.

use std::error::Error as _;
use std::time::Duration;

use futures::StreamExt;
use reqwest::header::{HeaderValue, USER_AGENT};
use reqwest::{Url, redirect};
use runner_core::secret::Secret;

use crate::error::{Call, Error};
use crate::info::{Info, architecture, platform};
use crate::request::{JobUpdate, Patch, Registration, Request};
use crate::response::{Answer, Credentials, JobReply, Patched, Response, Updated};
use crate::tls::Trust;

/// TCP connect and TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// From the request's last byte to the answer's first, and between two pieces of an answer.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// How long a connection may be kept that nobody uses.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// How many of them.
const IDLE_CONNECTIONS: usize = 100;
/// A peer that acknowledges nothing for that long is gone; else a dropped connection would cost [`ANSWER_TIMEOUT`].
const PEER_TIMEOUT: Duration = Duration::from_secs(60);
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const REDIRECTS: usize = 10;
/// Longest answer that is read; job payloads with many variables reach megabytes.
const MAX_ANSWER: usize = runner_core::line::MAX_LINE;

/// One GitLab, with its connections. Cheap to clone; clones share the connections.
///
/// Timeouts, user agent, request ids, proxies (`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`) and redirects are those of the contract;
/// the rustls provider must have been installed before the first client is made.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) http: reqwest::Client,
    pub(crate) base: Url,
    pub(crate) host: String,
}

impl Client {
    /// A client for the GitLab at `url`, e.g. `https://gitlab.example.com/gitlab`. Reads the TLS files; connects to nothing.
    pub fn new(url: &str, trust: Trust<'_>) -> Result<Self, Error> {
        let base = base_of(url)?;
        let builder = reqwest::Client::builder()
            .http1_only()
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_keepalive(KEEP_ALIVE)
            .tcp_user_timeout(PEER_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .redirect(repeat_only());
        let http =
            trust.apply(builder, base.scheme() == "https")?.build().map_err(|err| Error::Build { why: chain(&err) })?;
        let host = runner_core::host_of(url);
        Ok(Self { http, base, host })
    }

    /// Host, and port if unusual, of this GitLab: as in job keys and error texts.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The same GitLab at the scheme, host and port of `location`, where an upload was led to.
    pub fn moved(&self, location: &str) -> Result<Self, Error> {
        let target =
            self.base.join(location).map_err(|err| Error::Url { url: "…".to_owned(), why: err.to_string() })?;
        let path = self.base.path();
        let base = base_of(&format!("{}{}", target.origin().ascii_serialization(), path.trim_end_matches("/api/v4/")))?;
        let host = runner_core::host_of(base.as_str());
        Ok(Self { http: self.http.clone(), base, host })
    }

    /// Makes a runner with a registration token.
    pub async fn register(
        &self,
        token: &Secret,
        registration: &Registration,
        info: &Info,
    ) -> Result<Credentials, Error> {
        self.send(&Request::register(token, registration, info)).await?.credentials(201)
    }

    /// Asks whether `token` is a runner's; [`Error::is_refused`] if it is not. Makes this machine known as its manager.
    ///
    /// An old GitLab answers without JSON: then the id is 0 and the token the one that was sent.
    pub async fn verify(&self, token: &Secret, system_id: &str, info: &Info) -> Result<Credentials, Error> {
        let response = self.send(&Request::verify(token, system_id, info)).await?;
        match response.credentials(200) {
            Err(Error::Body { why, .. }) => {
                tracing::debug!("verify: {why}: taken as an old GitLab's consent");
                Ok(Credentials { id: 0, token: token.clone(), token_expires_at: None })
            }
            other => other,
        }
    }

    /// Removes this machine's manager of a `glrt-` token, or the runner of any other token.
    pub async fn unregister(&self, token: &Secret, system_id: &str) -> Result<(), Error> {
        self.send(&Request::unregister(token, system_id)).await?.empty(204)
    }

    /// Exchanges the runner's token; the old one is invalid from the answer on. The answer has no id.
    pub async fn reset_token(&self, token: &Secret) -> Result<Credentials, Error> {
        self.send(&Request::reset_token(token)).await?.credentials(201)
    }

    /// Exchanges the token of the runner `id` with a user's `private_token`.
    pub async fn reset_token_as_user(&self, id: u64, private_token: &Secret) -> Result<Credentials, Error> {
        self.send(&Request::reset_token_as_user(id, private_token)).await?.credentials(201)
    }

    /// Asks for a job. `last_update` is what the last [`JobReply::None`] brought. [`Error::is_refused`]: the token is not accepted.
    pub async fn request_job(
        &self,
        token: &Secret,
        system_id: &str,
        last_update: Option<&str>,
        info: &Info,
    ) -> Result<JobReply, Error> {
        self.send(&Request::request_job(token, system_id, last_update, info)).await?.job()
    }

    /// Reports a job's state.
    pub async fn update_job(&self, update: &JobUpdate<'_>) -> Result<Answer<Updated>, Error> {
        self.send(&Request::update_job(update)).await?.updated(update.state)
    }

    /// Sends one piece of a job's log.
    pub async fn patch_trace(&self, patch: &Patch<'_>) -> Result<Answer<Patched>, Error> {
        self.send(&Request::patch_trace(patch)).await?.patched()
    }

    async fn send(&self, request: &Request) -> Result<Response, Error> {
        let Request { call, method, path, auth, headers, body } = request;
        let mut builder = self.start(method.clone(), path, auth);
        let request_id = builder.1;
        for (name, value) in headers {
            builder.0 = builder.0.header(name, value);
        }
        let answer = self.within(*call, builder.0.body(body.clone()).send()).await?;
        self.read(*call, answer, &auth.1, request_id).await
    }

    /// A request with the headers that all have; and its id.
    pub(crate) fn start(
        &self,
        method: reqwest::Method,
        path: &str,
        (name, token): &(&'static str, Secret),
    ) -> (reqwest::RequestBuilder, String) {
        // the base ends in a slash, so the path is appended; it was made from numbers and fixed words
        let url = self.base.join(path).unwrap_or_else(|err| unreachable!("a relative path joins: {err}"));
        let request_id = random_id();
        let builder = self
            .http
            .request(method, url)
            .header(USER_AGENT, user_agent())
            .header("X-Request-Id", &request_id)
            .header(*name, secret_value(token));
        (builder, request_id)
    }

    /// Waits for an answer's head.
    pub(crate) async fn within(
        &self,
        call: Call,
        answer: impl Future<Output = reqwest::Result<reqwest::Response>>,
    ) -> Result<reqwest::Response, Error> {
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(err)) => Err(self.transport(call, chain(&err))),
            Err(_) => Err(self.transport(call, format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))),
        }
    }

    /// Reads an answer to its end.
    pub(crate) async fn read(
        &self,
        call: Call,
        answer: reqwest::Response,
        token: &Secret,
        request_id: String,
    ) -> Result<Response, Error> {
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        tracing::debug!("{call} at {}: {status} (request id {request_id})", self.host);
        let mut body = Vec::new();
        let mut pieces = answer.bytes_stream();
        loop {
            match tokio::time::timeout(ANSWER_TIMEOUT, pieces.next()).await {
                Ok(None) => break,
                Ok(Some(Ok(piece))) if body.len() + piece.len() <= MAX_ANSWER => body.extend_from_slice(&piece),
                Ok(Some(Ok(_))) => {
                    let why = format!("the answer is longer than {MAX_ANSWER} bytes");
                    return Err(Error::Body { call, host: self.host.clone(), why });
                }
                Ok(Some(Err(err))) => return Err(self.transport(call, chain(&err))),
                Err(_) => return Err(self.transport(call, "the answer stopped half-way".to_owned())),
            }
        }
        let (host, token) = (self.host.clone(), token.clone());
        Ok(Response { call, host, status, headers, body: body.into(), token, request_id })
    }

    pub(crate) fn transport(&self, call: Call, why: String) -> Error {
        Error::Transport { call, host: self.host.clone(), why }
    }
}

/// `<url>` without a trailing `/` or `/ci`, and `/api/v4/`.
fn base_of(url: &str) -> Result<Url, Error> {
    let bad = |url: &str, why: &str| Error::Url { url: url.to_owned(), why: why.to_owned() };
    let trimmed = url.trim_end_matches('/');
    let trimmed = trimmed.strip_suffix("/ci").unwrap_or(trimmed);
    // an unreadable address is not quoted: it may hold a password anywhere
    let parsed = Url::parse(&format!("{trimmed}/api/v4/")).map_err(|err| bad("…", &err.to_string()))?;
    let mut shown = parsed.clone();
    if shown.set_username("").and_then(|()| shown.set_password(None)).is_err() {
        return Err(bad(parsed.scheme(), "it has no host"));
    }
    match parsed.scheme() {
        "http" | "https" => Ok(parsed),
        scheme => Err(bad(shown.as_str(), &format!("`{scheme}` is not supported, expected http or https"))),
    }
}

/// Follows 307 and 308, which repeat method and body; the others would turn a POST into a GET and are shown as an error.
/// Never from https to http. Artifacts are led on by hand: an upload must be made anew, and object storage gets no token.
fn repeat_only() -> redirect::Policy {
    redirect::Policy::custom(|attempt| {
        let repeats = matches!(attempt.status().as_u16(), 307 | 308);
        let downgrade = attempt.url().scheme() == "http" && attempt.previous().iter().any(|u| u.scheme() == "https");
        let artifacts = attempt.previous().iter().any(|url| url.path().ends_with("/artifacts"));
        match attempt.previous().len() {
            n if n > REDIRECTS => attempt.error("too many redirects"),
            _ if repeats && !downgrade && !artifacts => attempt.follow(),
            _ => attempt.stop(),
        }
    })
}

/// `gitlab-runner 19.4.0 (runner-tools-0.1.0; rust; linux/amd64)`: the contract's form, with our name where the branch stands.
pub(crate) fn user_agent() -> String {
    use runner_core::{COMPATIBLE_VERSION, REVISION, RUNNER_NAME};
    format!("{RUNNER_NAME} {COMPATIBLE_VERSION} ({REVISION}; rust; {}/{})", platform(), architecture())
}

/// A header value that reqwest does not print. A token with bytes that no header may have is sent empty, and so refused.
pub(crate) fn secret_value(token: &Secret) -> HeaderValue {
    let mut value = HeaderValue::from_str(token.expose()).unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// 32 lowercase hex digits: a random (version 4) UUID without its dashes.
fn random_id() -> String {
    let mut bytes = [0u8; 16];
    // fails only where the kernel has no random source yet; an id of zeros harms nobody
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An error with all its causes, without the URL (which the message names as host).
pub(crate) fn chain(err: &reqwest::Error) -> String {
    let mut text = match err {
        err if err.is_connect() => "cannot connect".to_owned(),
        err if err.is_timeout() => "timed out".to_owned(),
        err if err.is_body() || err.is_decode() => "the connection broke".to_owned(),
        err if err.is_builder() => "cannot be set up".to_owned(),
        _ => "the request failed".to_owned(),
    };
    let mut cause = err.source();
    while let Some(err) = cause {
        // wrappers without a word of their own ("client error (Connect)") are left out
        let said = err.to_string();
        if !said.starts_with("client error") && !said.starts_with("error sending") && !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = err.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_the_url_without_slash_and_ci() {
        for (url, base) in [
            ("https://gitlab.example.com", "https://gitlab.example.com/api/v4/"),
            ("https://gitlab.example.com/", "https://gitlab.example.com/api/v4/"),
            ("https://gitlab.example.com/ci", "https://gitlab.example.com/api/v4/"),
            ("http://h:8080/sub/ci/", "http://h:8080/sub/api/v4/"),
        ] {
            assert_eq!(base_of(url).unwrap().as_str(), base, "{url}");
        }
    }

    #[test]
    fn an_address_that_is_not_http_is_refused() {
        for url in ["", "gitlab.example.com", "ftp://gitlab.example.com", "file:///etc", "mailto:a@b"] {
            assert!(base_of(url).unwrap_err().is_configuration(), "{url}");
        }
    }

    #[test]
    fn request_ids_are_random_uuids_without_dashes() {
        let (a, b) = (random_id(), random_id());
        assert_eq!((a.len(), &a[12..13]), (32, "4"));
        assert!(a.bytes().all(|c| c.is_ascii_hexdigit() && !c.is_ascii_uppercase()));
        assert_ne!(a, b);
    }

    #[test]
    fn the_user_agent_has_the_form_of_the_contract() {
        let agent = user_agent();
        assert!(agent.starts_with("gitlab-runner 19.4.0 (runner-tools-"), "{agent}");
        assert!(agent.ends_with(")") && agent.contains("; rust; "), "{agent}");
    }
}
