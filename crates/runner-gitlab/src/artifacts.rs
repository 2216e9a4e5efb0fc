//! Artifacts, streamed: a multipart upload of unknown length and a download that may lead to object storage.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStream};
use reqwest::Method;
use reqwest::header::{LOCATION, USER_AGENT};
use reqwest::multipart::{Form, Part};
use runner_core::secret::Secret;

use crate::client::{ANSWER_TIMEOUT, Client, chain, user_agent};
use crate::error::{Call, Error};
use crate::request::JOB_TOKEN;

/// Whole upload, as the contract has it (`artifact.upload_timeout`).
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// What an upload is: the query of `POST /jobs/:id/artifacts` and the name of its one part. Empty texts are not sent.
#[derive(Debug, Clone)]
pub struct Upload<'a> {
    /// Job id.
    pub job: u64,
    /// Job token.
    pub token: &'a Secret,
    /// File name of the part, e.g. `artifacts.zip`.
    pub file_name: &'a str,
    /// `zip`, `gzip` or `raw`.
    pub format: &'a str,
    /// `archive`, `junit`, …
    pub artifact_type: &'a str,
    /// How long GitLab keeps it, in words.
    pub expire_in: &'a str,
}

/// Whether GitLab may send the downloader on to its object storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direct {
    /// It may: for the first try.
    Allowed,
    /// GitLab is to hand out the bytes itself.
    No,
}

/// The bytes of a download, in order. A piece that does not come within 10 minutes is an error.
pub struct Body {
    pieces: futures::stream::BoxStream<'static, reqwest::Result<Bytes>>,
    client: Client,
    /// Bytes announced, if they were.
    pub length: Option<u64>,
}

impl Body {
    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        match tokio::time::timeout(ANSWER_TIMEOUT, self.pieces.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(piece))) => Some(Ok(piece)),
            Ok(Some(Err(err))) => Some(Err(self.client.transport(Call::DownloadArtifacts, chain(&err)))),
            Err(_) => {
                let why = "the answer stopped half-way".to_owned();
                Some(Err(self.client.transport(Call::DownloadArtifacts, why)))
            }
        }
    }
}

impl Client {
    /// Uploads `bytes` as one file. `Ok` is 201: stored, or stored before with the same content.
    ///
    /// The stream is used up, so the caller makes a new one to try again: after 503 up to 6 tries, after other passing causes 3,
    /// never after 403 and 413; after a redirect ([`Error::moved_to`]) at [`Client::moved`]. Source: GitLab runner contract, "upload: wire form".
    pub async fn upload_artifacts<S>(&self, upload: &Upload<'_>, bytes: S) -> Result<(), Error>
    where
        S: TryStream + Send + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        Bytes: From<S::Ok>,
    {
        let query: Vec<(&str, &str)> = [
            ("artifact_format", upload.format),
            ("artifact_type", upload.artifact_type),
            ("expire_in", upload.expire_in),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
        let part = Part::stream(reqwest::Body::wrap_stream(bytes)).file_name(upload.file_name.to_owned());
        let auth = (JOB_TOKEN, upload.token.clone());
        let (request, id) = self.start(Method::POST, &format!("jobs/{}/artifacts", upload.job), &auth);
        let request = request.query(&query).multipart(Form::new().part("file", part));
        let call = Call::UploadArtifacts;
        let answer = match tokio::time::timeout(UPLOAD_TIMEOUT, request.send()).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(err)) => return Err(self.transport(call, chain(&err))),
            Err(_) => return Err(self.transport(call, format!("not done within {} s", UPLOAD_TIMEOUT.as_secs()))),
        };
        self.read(call, answer, upload.token, id).await?.empty(201)
    }

    /// Downloads the archive of `job` with a token of the dependency's entry in the payload.
    ///
    /// Refused (401, 403) and 404 are final; anything else may be tried again with [`Direct::No`]. Where GitLab leads to its object
    /// storage, the token is not sent along.
    pub async fn download_artifacts(&self, job: u64, token: &Secret, direct: Direct) -> Result<Body, Error> {
        let call = Call::DownloadArtifacts;
        let path = match direct {
            Direct::Allowed => format!("jobs/{job}/artifacts?direct_download=true"),
            Direct::No => format!("jobs/{job}/artifacts"),
        };
        let (request, id) = self.start(Method::GET, &path, &(JOB_TOKEN, token.clone()));
        let answer = self.within(call, request.send()).await?;
        let location = match answer.status().as_u16() {
            301 | 302 | 303 | 307 | 308 => answer.headers().get(LOCATION).and_then(|l| l.to_str().ok()),
            _ => None,
        };
        let Some(target) = location.and_then(|location| answer.url().join(location).ok()) else {
            return self.body(answer, token, id).await;
        };
        let storage = Client { host: runner_core::host_of(target.as_str()), ..self.clone() };
        let request = self.http.get(target).header(USER_AGENT, user_agent());
        let answer = storage.within(call, request.send()).await?;
        storage.body(answer, token, id).await
    }

    async fn body(&self, answer: reqwest::Response, token: &Secret, id: String) -> Result<Body, Error> {
        if answer.status().as_u16() != 200 {
            return Err(self.read(Call::DownloadArtifacts, answer, token, id).await?.status_error());
        }
        let length = answer.content_length();
        Ok(Body { pieces: answer.bytes_stream().boxed(), client: self.clone(), length })
    }
}
