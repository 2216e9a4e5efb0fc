//! Deliberate misbehaviour: the n-th matching request is answered wrongly, late or not at all.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// Which requests are hit, and how.
///
/// ```json
/// {"method":"PATCH","path":"/api/v4/jobs/*/trace","nth":1,"count":2,"action":{"status":500}}
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Any method if not given.
    #[serde(default)]
    pub method: Option<String>,
    /// A path without query; `*` stands for one segment, `**` at the end for any rest.
    pub path: String,
    /// The first matching request to be hit, counted from 1.
    #[serde(default = "one")]
    pub nth: u64,
    /// Only every so many of those from there on; 0 and 1 hit each of them.
    #[serde(default)]
    pub every: u64,
    /// How many are hit; if not given one, or with `every` all.
    #[serde(default)]
    pub count: Option<u64>,
    /// What is done.
    pub action: Action,
}

fn one() -> u64 {
    1
}

/// What is done to a request. Parts combine: a delay, then a lost trace, then an answer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// Wait this long first.
    #[serde(default)]
    pub delay_ms: u64,
    /// Forget the log of the job in the path, then go on.
    #[serde(default)]
    pub lose_trace: bool,
    /// Close the connection without an answer; in JSON `true` means `"before"`.
    #[serde(default, deserialize_with = "cut_or_flag")]
    pub cut: Option<Cut>,
    /// Answer with this status instead of doing what was asked.
    #[serde(default)]
    pub status: Option<u16>,
    /// Answer with 416 and this length of the log in `Range`.
    #[serde(default)]
    pub offset: Option<u64>,
    /// Body of that answer.
    #[serde(default)]
    pub body: Option<String>,
    /// Headers added to the answer, whoever makes it; they replace those of the same name.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// When the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// The request has had no effect.
    Before,
    /// Half of the request's body was read; it has had no effect.
    Request,
    /// Half of the answer's body was sent.
    Response,
    /// The request was carried out and only its answer is lost.
    After,
}

fn cut_or_flag<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Cut>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected `before`, `request`, `response`, `after`, true or false")]
    enum Spelling {
        Flag(bool),
        Named(Cut),
    }
    Ok(match Option::<Spelling>::deserialize(deserializer)? {
        None | Some(Spelling::Flag(false)) => None,
        Some(Spelling::Flag(true)) => Some(Cut::Before),
        Some(Spelling::Named(cut)) => Some(cut),
    })
}

impl Fault {
    /// Hits the first request with this method and path (see [`Fault::path`]); it does nothing
    /// until told what.
    pub fn on(method: &str, path: &str) -> Self {
        Self {
            method: Some(method.to_owned()),
            path: path.to_owned(),
            nth: 1,
            every: 0,
            count: None,
            action: Action::default(),
        }
    }

    /// Begins with the n-th matching request, counted from 1.
    #[must_use]
    pub fn nth(self, nth: u64) -> Self {
        Self { nth, ..self }
    }

    /// Hits this many requests.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self { count: Some(count), ..self }
    }

    /// Hits every so many matching requests, without an end unless [`Fault::times`] sets one.
    #[must_use]
    pub fn every(self, every: u64) -> Self {
        Self { every, ..self }
    }

    /// Answers with a status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.action.status = Some(status);
        self
    }

    /// Answers with 416 and says that the log has this length.
    #[must_use]
    pub fn offset(mut self, length: u64) -> Self {
        self.action.offset = Some(length);
        self
    }

    /// The answer's body, for [`Fault::status`].
    #[must_use]
    pub fn body(mut self, body: impl Into<String>) -> Self {
        self.action.body = Some(body.into());
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.action.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Waits before anything else.
    #[must_use]
    pub fn delay_ms(mut self, milliseconds: u64) -> Self {
        self.action.delay_ms = milliseconds;
        self
    }

    /// Closes the connection without an answer.
    #[must_use]
    pub fn cut(mut self, when: Cut) -> Self {
        self.action.cut = Some(when);
        self
    }

    /// Forgets the log of the job in the path.
    #[must_use]
    pub fn lose_trace(mut self) -> Self {
        self.action.lose_trace = true;
        self
    }

    /// Whether the request that is the `seen`-th matching one, counted from 1, is hit.
    fn is_due(&self, seen: u64) -> bool {
        let Some(past) = seen.checked_sub(self.nth) else { return false };
        let step = self.every.max(1);
        let count = self.count.unwrap_or(if self.every > 0 { u64::MAX } else { 1 });
        past.is_multiple_of(step) && past / step < count
    }

    fn matches(&self, method: &str, path: &str) -> bool {
        self.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && path_matches(&self.path, path)
    }
}

fn path_matches(pattern: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    for wanted in pattern.split('/') {
        if wanted == "**" {
            return true;
        }
        match segments.next() {
            Some(segment) if wanted == "*" || wanted == segment => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}

/// The faults in force, each with the number of matching requests it has seen.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<(Fault, u64)>>);

impl Faults {
    pub(crate) fn set(&self, faults: Vec<Fault>) {
        *self.lock() = faults.into_iter().map(|fault| (fault, 0)).collect();
    }

    pub(crate) fn add(&self, fault: Fault) {
        self.lock().push((fault, 0));
    }

    pub(crate) fn list(&self) -> Vec<Fault> {
        self.lock().iter().map(|(fault, _)| fault.clone()).collect()
    }

    /// Counts a request, and gives the action of the first fault that hits it.
    pub(crate) fn hit(&self, method: &str, path: &str) -> Option<Action> {
        let mut hit = None;
        for (fault, seen) in self.lock().iter_mut() {
            if !fault.matches(method, path) {
                continue;
            }
            *seen += 1;
            if fault.is_due(*seen) && hit.is_none() {
                hit = Some(fault.action.clone());
            }
        }
        hit
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Fault, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_paths_segment_by_segment() {
        for (pattern, path, matches) in [
            ("/api/v4/jobs/*/trace", "/api/v4/jobs/7/trace", true),
            ("/api/v4/jobs/*/trace", "/api/v4/jobs/7/trace/x", false),
            ("/api/v4/jobs/*", "/api/v4/jobs", false),
            ("/api/**", "/api/v4/jobs/request", true),
            ("/a", "/b", false),
        ] {
            assert_eq!(path_matches(pattern, path), matches, "{pattern} {path}");
        }
    }

    #[test]
    fn a_cut_is_named_or_just_wanted() {
        for (text, cut) in [
            (r#"{}"#, None),
            (r#"{"cut":null}"#, None),
            (r#"{"cut":false}"#, None),
            (r#"{"cut":true}"#, Some(Cut::Before)),
            (r#"{"cut":"before"}"#, Some(Cut::Before)),
            (r#"{"cut":"after"}"#, Some(Cut::After)),
            (r#"{"cut":"request"}"#, Some(Cut::Request)),
            (r#"{"cut":"response"}"#, Some(Cut::Response)),
        ] {
            let action: Action = serde_json::from_str(text).unwrap();
            assert_eq!(action.cut, cut, "{text}");
        }
        let problem = serde_json::from_str::<Action>(r#"{"cut":"never"}"#).unwrap_err();
        assert!(problem.to_string().contains("expected `before`"), "{problem}");
    }

    #[test]
    fn only_the_named_range_of_matching_requests_is_hit() {
        let faults = Faults::default();
        faults.add(Fault::on("PUT", "/x").nth(2).times(2).status(500));
        let hits: Vec<bool> = (0..5).map(|_| faults.hit("PUT", "/x").is_some()).collect();
        assert_eq!(hits, [false, true, true, false, false]);
        assert!(faults.hit("GET", "/x").is_none());
    }

    #[test]
    fn every_third_request_is_hit_from_the_named_one_on() {
        let faults = Faults::default();
        faults.add(Fault::on("PUT", "/x").nth(2).every(3).status(500));
        let hits: Vec<bool> = (0..8).map(|_| faults.hit("PUT", "/x").is_some()).collect();
        assert_eq!(hits, [false, true, false, false, true, false, false, true]);
    }
}
