//! What the pod is told while it runs: annotations, set with a PATCH.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use runner_core::control::{ANNOTATION_CANCEL, ANNOTATION_PAYLOAD, ANNOTATION_REPLAY, Cancel};
use serde_json::json;

use crate::retry::{ApiError, retry};

/// The annotations of one pod. Each call is a future of its own, so that the job's log need not wait for it.
#[derive(Clone)]
pub(crate) struct Control {
    api: Api<Pod>,
    name: String,
}

impl Control {
    pub(crate) fn new(api: Api<Pod>, name: String) -> Self {
        Self { api, name }
    }

    /// The Secret is there: makes the kubelet look at the pod's volumes again.
    pub(crate) async fn announce_payload(self, secret_uid: &str) -> Result<(), ApiError> {
        self.annotate(ANNOTATION_PAYLOAD, secret_uid).await
    }

    /// Stop the job.
    pub(crate) async fn cancel(self, cancel: Cancel) -> Result<(), ApiError> {
        self.annotate(ANNOTATION_CANCEL, cancel.as_str()).await
    }

    /// Print the log again from `offset`: what came next was lost on the way. `n` counts the requests.
    pub(crate) async fn replay_from(self, offset: u64, n: u32) -> Result<(), ApiError> {
        self.annotate(ANNOTATION_REPLAY, &format!("{offset}/{n}")).await
    }

    async fn annotate(&self, key: &str, value: &str) -> Result<(), ApiError> {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {key: value}}}));
        let what = format!("annotating pod {}", self.name);
        let params = PatchParams::default();
        retry(&what, || self.api.patch(&self.name, &params, &patch)).await.map(drop)
    }
}
