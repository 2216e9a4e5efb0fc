//! `pods/log`.

use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::Call;
use crate::cause::Cause;
use crate::clock;
use crate::cluster::Cluster;
use crate::json::{list, text};
use crate::kubelet::log_reader::{LogReader, Options};
use crate::status::ApiError;
use crate::store::Key;

pub(super) fn answer(cluster: &Cluster, key: &Key, call: &Call) -> Result<Response, ApiError> {
    let options = options(call)?;
    let pod = cluster.store.get(key);
    let pod = pod.ok_or_else(|| ApiError::not_found(key.resource, &key.name))?;
    let container = container(&pod, call.query.get("container"))?;
    if text(&pod, "/spec/nodeName").is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    if text(&pod, "/status/reason") == "NodeLost" {
        let url = format!("https://127.0.0.1:10250/containerLogs/{}/{}/{container}", key.namespace, key.name);
        return Err(ApiError::internal(format!("Get {url:?}: dial tcp 127.0.0.1:10250: connect: no route to host")));
    }
    let id = container_id(&pod, container, call.query.flag("previous")).map_err(ApiError::bad_request)?;
    let log = cluster.kubelet.log(&id).ok_or_else(|| {
        ApiError::internal(format!(
            "failed to try resolving symlinks in path of container {id}: no such file or directory"
        ))
    })?;
    let reader = LogReader::open(&log, options).map_err(|error| ApiError::internal(error.to_string()))?;
    let stream = futures::stream::unfold(reader, |mut reader| async {
        let part = reader.next().await.transpose()?;
        Some((part, reader))
    });
    Ok(([(CONTENT_TYPE, "text/plain")], Body::from_stream(stream)).into_response())
}

/// Reads the query, with the sentences of the real server for what is out of range.
fn options(call: &Call) -> Result<Options, ApiError> {
    let query = &call.query;
    let mut causes = Vec::new();
    let mut least = |field: &str, min: i64| -> Result<Option<i64>, ApiError> {
        let value = query.number::<i64>(field)?;
        if let Some(value) = value
            && value < min
        {
            let why = if min == 1 { "must be greater than 0" } else { "must be greater than or equal to 0" };
            causes.push(Cause::invalid(field, value, why));
        }
        Ok(value)
    };
    let limit = least("limitBytes", 1)?;
    let tail = least("tailLines", 0)?;
    let seconds = least("sinceSeconds", 1)?;
    let since_time = query.get("sinceTime");
    if seconds.is_some() && !since_time.is_empty() {
        causes.push(Cause::forbidden("sinceSeconds", "at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    if !causes.is_empty() {
        return Err(ApiError::invalid("PodLogOptions", "", &causes));
    }
    let since = if since_time.is_empty() {
        seconds.and_then(|s| SystemTime::now().checked_sub(Duration::from_secs(s.unsigned_abs())))
    } else {
        let time = clock::parse(since_time);
        Some(time.ok_or_else(|| ApiError::bad_request(format!("sinceTime: cannot parse {since_time:?} as a time")))?)
    };
    Ok(Options {
        follow: query.flag("follow"),
        timestamps: query.flag("timestamps"),
        since: since.map(|time| humantime::format_rfc3339_nanos(time).to_string()),
        limit: limit.map(i64::unsigned_abs),
        tail: tail.and_then(|lines| usize::try_from(lines).ok()),
    })
}

/// The container that is meant: the only one, if none is named.
fn container<'a>(pod: &'a Value, asked: &'a str) -> Result<&'a str, ApiError> {
    let names =
        |kind: &str| -> Vec<&'a str> { list(pod, &format!("/spec/{kind}")).iter().map(|c| text(c, "/name")).collect() };
    let (mains, inits, pod_name) = (names("containers"), names("initContainers"), text(pod, "/metadata/name"));
    if asked.is_empty() {
        if let [only] = mains.as_slice() {
            return Ok(only);
        }
        let mut message =
            format!("a container name must be specified for pod {pod_name}, choose one of: [{}]", mains.join(" "));
        if !inits.is_empty() {
            message += &format!(" or one of the init containers: [{}]", inits.join(" "));
        }
        return Err(ApiError::bad_request(message));
    }
    if mains.contains(&asked) || inits.contains(&asked) {
        return Ok(asked);
    }
    Err(ApiError::bad_request(format!("container {asked} is not valid for pod {pod_name}")))
}

/// The run whose log is shown, or the kubelet's sentence why there is none.
fn container_id(pod: &Value, container: &str, previous: bool) -> Result<String, String> {
    let about = format!("container {container:?} in pod {:?}", text(pod, "/metadata/name"));
    let statuses = ["/status/containerStatuses", "/status/initContainerStatuses"];
    let status = statuses.iter().flat_map(|kind| list(pod, kind)).find(|s| text(s, "/name") == container);
    let Some(status) = status else {
        return Err(format!("{about} is not available"));
    };
    let bare = |pointer: &str| text(status, pointer).trim_start_matches("containerd://").to_owned();
    let last = bare("/lastState/terminated/containerID");
    if previous {
        return if last.is_empty() { Err(format!("previous terminated {about} not found")) } else { Ok(last) };
    }
    let state = &status["state"];
    if state["running"].is_object() {
        return Ok(bare("/containerID"));
    }
    let ended = bare("/state/terminated/containerID");
    if !ended.is_empty() {
        return Ok(ended);
    }
    if !last.is_empty() {
        return Ok(last);
    }
    if state["terminated"].is_object() {
        return Err(format!("{about} is terminated"));
    }
    match text(state, "/waiting/reason") {
        "" => Err(format!("{about} is waiting to start - no logs yet")),
        "ErrImagePull" => Err(format!("{about} is waiting to start: image can't be pulled")),
        "ImagePullBackOff" => Err(format!("{about} is waiting to start: trying and failing to pull image")),
        reason => Err(format!("{about} is waiting to start: {reason}")),
    }
}
