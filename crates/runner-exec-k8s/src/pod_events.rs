//! The events of a pod: what scheduler and kubelet say about it.

use futures::StreamExt;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use runner_core::stamp::STREAM_RUNNER;
use runner_core::text;
use tokio::sync::mpsc;

use crate::aside::Aside;
use crate::retry::ApiError;

/// Sends a table of the events of `pod`, line by line, those after `since`. Ends when the receiver is gone.
pub(crate) async fn follow(api: Api<Event>, pod: String, since: Option<Timestamp>, to: mpsc::Sender<Aside>) {
    let say = async |text: String| to.send(Aside { stream: STREAM_RUNNER, text }).await;
    if since.is_none() {
        let head = [text::plain("Subscribing to Kubernetes Pod events..."), row("Type", "Reason", "Message")];
        if say(head.concat()).await.is_err() {
            return;
        }
    }
    let config = watcher::Config::default().fields(&format!("involvedObject.name={pod}"));
    let mut events = watcher(api, config).default_backoff().applied_objects().boxed();
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = to.closed() => return,
        };
        match event {
            Some(Ok(event)) if since.is_some() && time(&event) <= since => {}
            Some(Ok(event)) => {
                let field = |text: &Option<String>| text.clone().unwrap_or_default();
                let line = row(&field(&event.type_), &field(&event.reason), &field(&event.message));
                if say(line).await.is_err() {
                    return;
                }
            }
            Some(Err(err)) => {
                let err = ApiError::from_watch(err);
                if err.is_passing() {
                    tracing::debug!("events of pod {pod}: {err}");
                    continue;
                }
                // The job asked for them, so its log says why there are none. Whether anybody still reads it does not matter.
                let _ = say(text::warning(&format!("the pod's events cannot be read: {err}"))).await;
                return;
            }
            None => return,
        }
    }
}

/// The warnings about `pod` that the cluster remembers, oldest first, as lines for the log.
pub(crate) async fn warnings(api: &Api<Event>, pod: &str) -> Vec<String> {
    let params = ListParams::default().fields(&format!("involvedObject.name={pod},type=Warning")).limit(200);
    match api.list(&params).await {
        Ok(list) => {
            let mut events = list.items;
            events.sort_by_key(time);
            let messages = events.into_iter().filter_map(|event| event.message);
            messages.map(|message| text::warning(&format!("Event retrieved from the cluster: {message}"))).collect()
        }
        Err(err) => {
            // An account without access to events is no fault of the job's.
            tracing::debug!("events of pod {pod}: {}", ApiError::from(err));
            Vec::new()
        }
    }
}

/// When it happened last.
fn time(event: &Event) -> Option<Timestamp> {
    let times =
        [event.last_timestamp.as_ref(), event.first_timestamp.as_ref(), event.metadata.creation_timestamp.as_ref()];
    event.event_time.as_ref().map(|time| time.0).max(times.into_iter().flatten().map(|time| time.0).max())
}

fn row(kind: &str, reason: &str, message: &str) -> String {
    text::plain(&format!("{kind:<7}   {reason:<16}   {message}"))
}
