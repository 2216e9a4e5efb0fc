//! The Secrets of a job: the job itself, and what its containers need before they can start.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use runner_core::control;

use super::environment::EarlySecret;
use super::{PodInput, Refusal, metadata};

/// Most a Secret can hold, in bytes; a rule of the API server.
pub(super) const MAX: usize = 1024 * 1024;

/// The job line, and the certificates to trust beside it.
pub(super) fn job_secret(input: &PodInput<'_>, namespace: &str, name: String) -> Result<Secret, Refusal> {
    let line = serde_json::to_vec(input.line).map_err(|err| Refusal::system(format!("writing the job line: {err}")))?;
    let mut data = BTreeMap::from([(control::SECRET_JOB_KEY.to_owned(), ByteString(line))]);
    if let Some(ca) = &input.files.ca {
        data.insert(control::SECRET_CA_KEY.to_owned(), ByteString(ca.clone().into_bytes()));
    }
    secret(input, namespace, name, "Opaque", data)
}

/// One Secret for the variables of services and for pull credentials: the type of the latter allows further keys.
pub(super) fn early_secret(
    input: &PodInput<'_>,
    namespace: &str,
    early: EarlySecret,
    credentials: Option<Vec<u8>>,
) -> Result<Option<Secret>, Refusal> {
    let EarlySecret { name, mut data } = early;
    let kind = if credentials.is_some() { "kubernetes.io/dockerconfigjson" } else { "Opaque" };
    data.extend(credentials.map(|text| (".dockerconfigjson".to_owned(), ByteString(text))));
    if data.is_empty() {
        return Ok(None);
    }
    secret(input, namespace, name, kind, data).map(Some)
}

fn secret(
    input: &PodInput<'_>,
    namespace: &str,
    name: String,
    kind: &str,
    data: BTreeMap<String, ByteString>,
) -> Result<Secret, Refusal> {
    let size: usize = data.values().map(|value| value.0.len()).sum();
    if size > MAX {
        let message = format!("the job needs {size} bytes in one Kubernetes Secret, which can hold {MAX}");
        return Err(Refusal::system(message));
    }
    let key = (control::ANNOTATION_JOB_KEY.to_owned(), input.line.key().to_string());
    let metadata = ObjectMeta {
        name: Some(name),
        namespace: Some(namespace.to_owned()),
        labels: Some(metadata::owner_labels(input)),
        annotations: Some(BTreeMap::from([key])),
        ..ObjectMeta::default()
    };
    Ok(Secret { metadata, type_: Some(kind.to_owned()), data: Some(data), ..Secret::default() })
}
