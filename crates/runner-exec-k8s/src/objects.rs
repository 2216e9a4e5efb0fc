//! The job's objects in the cluster. Every create can be repeated: names are made from the job, and what exists already is
//! compared with what we meant.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::{Api, Client, ResourceExt};
use runner_core::control::ANNOTATION_JOB_KEY;
use serde_json::json;
use tokio::time::Instant;

use crate::retry::{ApiError, retry};
use crate::watch::{PodWatch, Seen};

/// How long a pod that is on its way out is waited for before it is looked at again.
const RECHECK: Duration = Duration::from_secs(2);

/// How long the garbage collector may take to remove what an earlier pod owned.
const COLLECTION: Duration = Duration::from_secs(10);

/// Whether something is done for the first time, or may have been done before a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    First,
    Again,
}

/// The API of one namespace.
#[derive(Clone)]
pub(crate) struct Objects {
    pub(crate) pods: Api<Pod>,
    pub(crate) events: Api<Event>,
    secrets: Api<Secret>,
}

impl Objects {
    pub(crate) fn new(client: &Client, namespace: &str) -> Self {
        Self {
            pods: Api::namespaced(client.clone(), namespace),
            events: Api::namespaced(client.clone(), namespace),
            secrets: Api::namespaced(client.clone(), namespace),
        }
    }

    /// Makes the pod, or finds the one that an earlier try of ours has made.
    ///
    /// A pod of that name that is on its way out is waited for; one of somebody else is an error.
    pub(crate) async fn create_pod(&self, pod: &Pod, watch: &mut PodWatch) -> Result<Pod, ApiError> {
        let (name, params) = (pod.name_any(), PostParams::default());
        loop {
            let create = || self.pods.create(&params, pod);
            match retry(&format!("creating pod {name}"), create).await {
                Err(err) if err.code() == 409 => {}
                done => return done,
            }
            let Some(found) = self.get_pod(&name).await? else { continue };
            if found.annotations().get(ANNOTATION_JOB_KEY) != pod.annotations().get(ANNOTATION_JOB_KEY) {
                return Err(taken("pod", &name));
            }
            if found.metadata.deletion_timestamp.is_none() {
                return Ok(found);
            }
            // Look again after a while even if the watch has missed the end.
            let _ = tokio::time::timeout(RECHECK, watch.gone(&found.uid().unwrap_or_default())).await;
        }
    }

    /// The pod, if there is one.
    pub(crate) async fn get_pod(&self, name: &str) -> Result<Option<Pod>, ApiError> {
        retry(&format!("reading pod {name}"), || self.pods.get_opt(name)).await
    }

    /// Makes a Secret that hands the job to `pod`, owned by it. Returns its uid, or its name if it was there.
    ///
    /// Exists it already, the job was handed over before. But where nobody can have done that it belongs to an earlier pod, and the
    /// garbage collector has yet to remove it, or to somebody else, which is an error. We have no right to read it.
    pub(crate) async fn create_secret(&self, mut secret: Secret, pod: &Pod, turn: Turn) -> Result<String, ApiError> {
        secret.metadata.owner_references = Some(vec![owner(pod)]);
        let (name, params) = (secret.name_any(), PostParams::default());
        let deadline = Instant::now() + COLLECTION;
        loop {
            let mut tries = 0;
            let create = || {
                tries += 1;
                self.secrets.create(&params, &secret)
            };
            match retry(&format!("creating secret {name}"), create).await {
                Ok(made) => return Ok(made.uid().unwrap_or(name)),
                Err(err) if err.code() != 409 => return Err(err),
                // The answer to the try before was lost, not its effect.
                Err(_) if turn == Turn::Again || tries > 1 => return Ok(name),
                Err(_) if Instant::now() < deadline => tokio::time::sleep(RECHECK).await,
                Err(_) => return Err(taken("secret", &name)),
            }
        }
    }

    /// Makes a Secret that the pod needs to start, before the pod.
    pub(crate) async fn create_early_secret(&self, secret: &Secret) -> Result<(), ApiError> {
        let (name, params) = (secret.name_any(), PostParams::default());
        let create = || self.secrets.create(&params, secret);
        match retry(&format!("creating secret {name}"), create).await {
            Ok(_) => Ok(()),
            Err(err) if err.code() == 409 => Ok(()),
            Err(err) => Err(err),
        }
    }

    /// Gives a Secret that was made before its pod to that pod, so that it goes with it.
    pub(crate) async fn adopt_secret(&self, name: &str, pod: &Pod) -> Result<(), ApiError> {
        let patch = Patch::Merge(json!({"metadata": {"ownerReferences": [owner(pod)]}}));
        let params = PatchParams::default();
        let patch = || self.secrets.patch(name, &params, &patch);
        retry(&format!("changing secret {name}"), patch).await.map(drop)
    }

    /// Deletes exactly this pod; that it is gone already is no error.
    pub(crate) async fn delete_pod(&self, name: &str, uid: &str, grace: Option<u32>) -> Result<(), ApiError> {
        let params = DeleteParams {
            grace_period_seconds: grace,
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            ..DeleteParams::default()
        };
        match retry(&format!("deleting pod {name}"), || self.pods.delete(name, &params)).await {
            Ok(_) => Ok(()),
            // gone, or its name belongs to another pod by now
            Err(err) if matches!(err.code(), 404 | 409) => Ok(()),
            Err(err) => Err(err),
        }
    }
}

fn taken(kind: &str, name: &str) -> ApiError {
    let message = format!("{kind} \"{name}\" exists already and belongs to something else");
    ApiError::Refused { code: 409, reason: "AlreadyExists".to_owned(), message }
}

fn owner(pod: &Pod) -> OwnerReference {
    OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        ..OwnerReference::default()
    }
}

impl PodWatch {
    /// Returns when the pod of this uid is no longer there.
    pub(crate) async fn gone(&mut self, uid: &str) {
        loop {
            match self.seen() {
                Seen::Present(pod) if pod.uid().as_deref() == Some(uid) => {}
                Seen::Unknown => {}
                Seen::Present(_) | Seen::Gone => return,
            }
            self.changed().await;
        }
    }
}
