//! The Secrets of a job: the job itself, and what its containers need before they can start.

use std::collections::BTreeMap;
use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use runner_core::control;

use super::environment::EarlySecret;
use super::{PodInput, Refusal, metadata};

/// Most a Secret can hold, in bytes; a rule of the API server.
pub(super) const MAX: usize = 1024 * 1024;

/// Left free in the job's first Secret for what else it says.
const SPARE: usize = 1024;

/// The job line, and the certificates to trust beside it. The first Secret is named `name` and is to be made last.
///
/// A line that does not fit is compressed; what then does not fit goes on in further Secrets.
pub(super) fn job_secrets(input: &PodInput<'_>, namespace: &str, name: &str) -> Result<Vec<Secret>, Refusal> {
    let writing = |err: &dyn std::fmt::Display| Refusal::system(format!("writing the job line: {err}"));
    let line = serde_json::to_vec(input.line).map_err(|err| writing(&err))?;
    let mut first = BTreeMap::new();
    if let Some(ca) = &input.files.ca {
        first.insert(control::SECRET_CA_KEY.to_owned(), ByteString(ca.clone().into_bytes()));
    }
    let room = MAX.saturating_sub(SPARE + size(&first)).max(SPARE);
    if line.len() <= room {
        first.insert(control::SECRET_JOB_KEY.to_owned(), ByteString(line));
        return Ok(vec![secret(input, namespace, name.to_owned(), "Opaque", first)?]);
    }
    let line = gzip(&line).map_err(|err| writing(&err))?;
    let (own, rest) = line.split_at(room.min(line.len()));
    let parts: Vec<&[u8]> = rest.chunks(MAX).collect();
    let count = (parts.len() + 1).to_string();
    first.insert(control::SECRET_PARTS_KEY.to_owned(), ByteString(count.into_bytes()));
    first.insert(control::job_part_key(0), ByteString(own.to_vec()));
    let mut secrets = vec![secret(input, namespace, name.to_owned(), "Opaque", first)?];
    for (index, part) in (1..).zip(parts) {
        let data = BTreeMap::from([(control::job_part_key(index), ByteString(part.to_vec()))]);
        secrets.push(secret(input, namespace, format!("{name}-part-{index}"), "Opaque", data)?);
    }
    Ok(secrets)
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn size(data: &BTreeMap<String, ByteString>) -> usize {
    data.values().map(|value| value.0.len()).sum()
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
    let size = size(&data);
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
