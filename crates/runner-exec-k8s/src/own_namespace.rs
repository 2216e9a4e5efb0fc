//! `namespace_per_job`: a namespace that is made for one job and goes with it.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client, ResourceExt};
use runner_core::control::ANNOTATION_JOB_KEY;
use tokio::time::Instant;

use crate::objects::Objects;
use crate::retry::{ApiError, retry};
use crate::watch::PodWatch;

/// The cluster gives a new namespace its service account a moment after its creation, and has no answer that says when.
const SERVICE_ACCOUNT: Duration = Duration::from_secs(30);
/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// A namespace of a job's own.
pub(crate) struct OwnNamespace {
    api: Api<Namespace>,
    name: String,
}

impl OwnNamespace {
    pub(crate) fn new(client: &Client, name: &str) -> Self {
        Self { api: Api::all(client.clone()), name: name.to_owned() }
    }

    /// Makes it, with the labels of `pod`, or finds the one that an earlier try of ours has made.
    pub(crate) async fn create(&self, pod: &Pod) -> Result<(), ApiError> {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(self.name.clone());
        namespace.metadata.labels = pod.metadata.labels.clone();
        namespace.metadata.annotations = pod.metadata.annotations.clone();
        let (what, params) = (format!("creating namespace {}", self.name), PostParams::default());
        match retry(&what, || self.api.create(&params, &namespace)).await {
            Err(err) if err.code() == 409 => {}
            done => return done.map(drop),
        }
        let found = retry(&format!("reading namespace {}", self.name), || self.api.get(&self.name)).await?;
        let is_ours = found.annotations().get(ANNOTATION_JOB_KEY) == pod.annotations().get(ANNOTATION_JOB_KEY);
        if is_ours && found.metadata.deletion_timestamp.is_none() {
            return Ok(());
        }
        let state = if is_ours { "is still being deleted" } else { "exists already and belongs to something else" };
        let message = format!("namespace \"{}\" {state}", self.name);
        Err(ApiError::Refused { code: 409, reason: "AlreadyExists".to_owned(), message })
    }

    /// Makes the first pod in it, once its service account is there.
    pub(crate) async fn create_pod(objects: &Objects, pod: &Pod, watch: &mut PodWatch) -> Result<Pod, ApiError> {
        let until = Instant::now() + SERVICE_ACCOUNT;
        loop {
            match objects.create_pod(pod, watch).await {
                Err(ApiError::Refused { code: 403, message, .. })
                    if message.contains("service account") && Instant::now() < until =>
                {
                    tokio::time::sleep(PAUSE).await;
                }
                done => return done,
            }
        }
    }

    /// Deletes it with all that is in it. Failing is no trouble of the job's.
    pub(crate) async fn delete(&self) {
        let params = DeleteParams::default();
        let delete = || self.api.delete(&self.name, &params);
        match retry(&format!("deleting namespace {}", self.name), delete).await {
            Ok(_) => {}
            // gone, or going
            Err(err) if matches!(err.code(), 404 | 409) => {}
            Err(err) => tracing::warn!("namespace {} could not be deleted: {err}", self.name),
        }
    }
}
