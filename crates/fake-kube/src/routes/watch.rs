//! Watches: changes as they happen, one JSON object a line.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::{Call, table};
use crate::cluster::Cluster;
use crate::resource::Resource;
use crate::selector::Selector;
use crate::status::ApiError;
use crate::store::{Change, Verb};

/// A client that wants bookmarks gets one this often.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);

/// How long a watch lasts if the client does not say.
const DEFAULT_LIFE: Duration = Duration::from_secs(45 * 60);

struct Watch {
    cluster: Arc<Cluster>,
    resource: &'static Resource,
    namespace: Option<String>,
    selector: Selector,
    /// Everything up to here was sent.
    seen: u64,
    versions: tokio::sync::watch::Receiver<u64>,
    bookmarks: bool,
    /// Objects are sent as tables of one row, for `kubectl get --watch`.
    tables: bool,
    bookmark_at: Instant,
    ends_at: Instant,
    lines: VecDeque<Bytes>,
    over: bool,
}

pub(super) fn answer(
    cluster: &Arc<Cluster>,
    resource: &'static Resource,
    namespace: Option<&str>,
    selector: Selector,
    call: &Call,
) -> Result<Response, ApiError> {
    let from = call.query.number::<u64>("resourceVersion")?.unwrap_or(0);
    let life = call.query.number("timeoutSeconds")?.map_or(DEFAULT_LIFE, Duration::from_secs);
    let initial = call.query.flag("sendInitialEvents");
    if initial && call.query.get("resourceVersionMatch") != "NotOlderThan" {
        return Err(ApiError::bad_request("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"));
    }
    let mut watch = Watch {
        versions: cluster.store.subscribe(),
        cluster: Arc::clone(cluster),
        resource,
        namespace: namespace.map(str::to_owned),
        selector,
        seen: from,
        bookmarks: call.query.flag("allowWatchBookmarks"),
        tables: call.accepts_table(),
        bookmark_at: Instant::now() + BOOKMARK_PERIOD,
        ends_at: Instant::now() + life,
        lines: VecDeque::new(),
        over: false,
    };
    if from == 0 || initial {
        watch.begin_with_present(initial);
    }
    let stream = futures::stream::unfold(watch, |mut watch| async {
        let line = watch.next().await?;
        Some((Ok::<_, Infallible>(line), watch))
    });
    Ok(([(CONTENT_TYPE, "application/json")], Body::from_stream(stream)).into_response())
}

impl Watch {
    /// Without a version to begin from, what exists comes first.
    fn begin_with_present(&mut self, marked: bool) {
        let (objects, version) = self.cluster.store.list(self.resource, self.namespace.as_deref());
        for (_, object) in &objects {
            if self.selector.matches(object) {
                self.push_object("ADDED", object);
            }
        }
        self.seen = version;
        if marked && self.bookmarks {
            self.push_bookmark(json!({"k8s.io/initial-events-end": "true"}));
        }
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            if self.over {
                return None;
            }
            self.versions.mark_unchanged();
            match self.cluster.store.since(self.seen) {
                Ok(changes) => changes.iter().for_each(|change| self.take(change)),
                Err(expired) => {
                    self.over = true;
                    self.push("ERROR", &expired.to_status());
                }
            }
            if !self.lines.is_empty() {
                continue;
            }
            tokio::select! {
                changed = self.versions.changed() => self.over = changed.is_err(),
                () = sleep_until(self.ends_at) => {
                    self.over = true;
                    self.bookmark();
                }
                () = sleep_until(self.bookmark_at), if self.bookmarks => {
                    self.bookmark_at += BOOKMARK_PERIOD;
                    self.bookmark();
                }
            }
        }
    }

    /// An object that begins or ceases to match is added or deleted, for this watch.
    fn take(&mut self, change: &Change) {
        self.seen = change.version;
        let here = self.namespace.as_ref().is_none_or(|n| *n == change.key.namespace);
        if change.key.resource != self.resource || !here {
            return;
        }
        let was = change.before.as_ref().is_some_and(|object| self.selector.matches(object));
        let is = change.verb != Verb::Deleted && self.selector.matches(&change.object);
        match (was, is) {
            (false, true) => self.push_object("ADDED", &change.object),
            (true, true) => self.push_object("MODIFIED", &change.object),
            (true, false) => self.push_object("DELETED", &change.object),
            (false, false) => {}
        }
    }

    fn bookmark(&mut self) {
        if self.bookmarks {
            self.push_bookmark(Value::Null);
        }
    }

    fn push_bookmark(&mut self, annotations: Value) {
        let mut meta = json!({"resourceVersion": self.seen.to_string(), "creationTimestamp": null});
        if !annotations.is_null() {
            meta["annotations"] = annotations;
        }
        let mut object = json!({"kind": self.resource.kind, "apiVersion": "v1", "metadata": meta});
        if self.resource.kind == "Pod" {
            // Typed clients insist on the fields a pod always has.
            object["spec"] = json!({"containers": null});
            object["status"] = json!({});
        }
        self.push("BOOKMARK", &object);
    }

    fn push_object(&mut self, kind: &str, object: &Arc<Value>) {
        if self.tables {
            let meta = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
            self.push(kind, &table::of(self.resource, &[Arc::clone(object)], &meta));
        } else {
            self.push(kind, object);
        }
    }

    fn push(&mut self, kind: &str, object: &Value) {
        #[derive(serde::Serialize)]
        struct Event<'a> {
            r#type: &'a str,
            object: &'a Value,
        }
        let event = Event { r#type: kind, object };
        match serde_json::to_vec(&event) {
            Ok(mut line) => {
                line.push(b'\n');
                self.lines.push_back(line.into());
            }
            Err(error) => tracing::error!("write a watch event: {error}"),
        }
    }
}
