//! Artifacts to and from GitLab, with the lines the log has of it and the tries the contract asks for.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use runner_core::job::{Artifact, Dependency};
use runner_core::secret::{Secret, short_token};
use runner_gitlab::{Client, Direct, Error, Trust, Upload};
use tokio::sync::mpsc;

use super::archive::{self, Format, Level};
use super::extract::extract;
use crate::drive::expand::expand;
use crate::drive::failure::Failure;
use crate::drive::job::Job;
use crate::drive::lines::{self, line};
use crate::drive::log::Log;

/// Tries in all after most errors.
const TRIES: u32 = 3;
/// Tries in all when the server has no room for the moment.
const TRIES_UNAVAILABLE: u32 = 6;
/// Bytes of an archive that are sent at once.
const PIECE: usize = 128 * 1024;
/// Such pieces that may wait to be sent.
const PIECES: usize = 4;

/// A client for the job's GitLab. The image has no certificate store, so the usual authorities are built in.
pub(crate) fn client(job: &Job) -> Result<Client, Failure> {
    let url = &job.line.runner.url;
    let roots: Vec<&[u8]> = if url.starts_with("https:") {
        webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(AsRef::as_ref).collect()
    } else {
        Vec::new()
    };
    Client::new(url, Trust::Only { roots: &roots, pem: job.authorities.as_bytes() })
        .map_err(|err| Failure::system(err.to_string()))
}

/// One transfer as the log names it.
struct Subject<'a> {
    log: &'a Log,
    what: String,
    id: String,
    token: &'a Secret,
}

impl Subject<'_> {
    fn line(&self, level: lines::Level, how: &str, extra: &[(&str, &str)]) {
        let mut fields = vec![("id", self.id.as_str()), ("token", short_token(self.token.expose()))];
        fields.extend_from_slice(extra);
        line(self.log, level, &format!("{}... {how}", self.what), &fields);
    }

    /// Gives up: the stage fails.
    fn fatal(&self, why: &str) -> Failure {
        line(self.log, lines::Level::Fatal, why, &[]);
        Failure::exit(1)
    }

    async fn retry(&self, err: &dyn std::fmt::Display, pause: Duration) {
        line(self.log, lines::Level::Warning, "Retrying...", &[("error", &err.to_string())]);
        tokio::time::sleep(pause).await;
    }
}

/// Uploads `files`, which may not be empty, as `artifact` says.
pub(crate) async fn upload(
    job: &Job,
    log: &Log,
    client: &Client,
    artifact: &Artifact,
    files: &BTreeSet<PathBuf>,
    env: &std::collections::BTreeMap<String, String>,
) -> Result<(), Failure> {
    let kind = if artifact.artifact_type.is_empty() { "archive" } else { &artifact.artifact_type };
    let token = &job.payload.token;
    let what = format!("Uploading artifacts as \"{kind}\" to coordinator");
    let subject = Subject { log, what, id: job.payload.id.to_string(), token };
    let Some(format) = Format::parse(&artifact.artifact_format) else {
        return Err(subject.fatal(&format!("artifact format \"{}\" is not supported", artifact.artifact_format)));
    };
    if format == Format::Raw && files.len() > 1 {
        return Err(subject.fatal("only one file can be sent as raw"));
    }
    let name = match artifact.name.as_str() {
        "" => "artifacts".to_owned(),
        name => expand(name, env).unwrap_or_else(|_| name.to_owned()),
    };
    let upload = Upload {
        job: job.payload.id,
        token,
        file_name: &format.file_name(&name),
        format: format.as_str(),
        artifact_type: kind,
        expire_in: &artifact.expire_in,
    };
    let level = level(job, log, "ARTIFACT_COMPRESSION_LEVEL");
    let mut client = client.clone();
    let mut pause = Duration::from_secs(1);
    for attempt in 1.. {
        let (bytes, archived) = stream_of(job.folders.project.clone(), files.clone(), format, level);
        let sent = client.upload_artifacts(&upload, bytes).await;
        let err = match sent {
            Ok(()) => {
                subject.line(lines::Level::Info, "201 Created", &[("status", "201")]);
                return Ok(());
            }
            Err(err) => err,
        };
        // If the files themselves could not be read, that is the reason, not the request that broke off.
        if let Ok(Err(why)) = archived.await
            && why.kind() != io::ErrorKind::BrokenPipe
        {
            return Err(subject.fatal(&why.to_string()));
        }
        if let Some(location) = err.moved_to() {
            client = client.moved(location).map_err(|err| subject.fatal(&err.to_string()))?;
            line(log, lines::Level::Info, "Upload request redirected", &[("id", &subject.id)]);
        }
        let status = err.status();
        tell_upload(&subject, &err);
        match status {
            Some(403) => return Err(subject.fatal("permission denied")),
            Some(413) => return Err(subject.fatal("too large")),
            _ => {}
        }
        let most = if status == Some(503) { TRIES_UNAVAILABLE } else { TRIES };
        if attempt >= most {
            let why = if status == Some(503) { "service unavailable".to_owned() } else { err.to_string() };
            return Err(subject.fatal(&why));
        }
        subject.retry(&err, err.wait().unwrap_or(pause)).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
    Ok(())
}

fn tell_upload(subject: &Subject<'_>, err: &Error) {
    let Some(status) = err.status() else {
        return subject.line(lines::Level::Error, "error", &[("error", &err.to_string())]);
    };
    let code = status.to_string();
    let (level, how) = match status {
        307 | 308 => return,
        403 => (lines::Level::Error, "403 Forbidden"),
        413 => (lines::Level::Error, "413 Request Entity Too Large"),
        503 => (lines::Level::Error, "503 Service Unavailable"),
        _ => (lines::Level::Warning, "failed"),
    };
    subject.line(level, how, &[("status", &code)]);
}

/// The compression level a variable asks for.
pub(crate) fn level(job: &Job, log: &Log, variable: &str) -> Level {
    let text = job.variables.value(variable);
    Level::parse(&text).unwrap_or_else(|| {
        let message = format!("compression level \"{text}\" is invalid, falling back to default");
        line(log, lines::Level::Warning, &message, &[]);
        Level::default()
    })
}

/// The archive of `files` as a stream that is made while it is read, and how its making ended.
fn stream_of(
    root: PathBuf,
    files: BTreeSet<PathBuf>,
    format: Format,
    level: Level,
) -> (impl futures::TryStream<Ok = Bytes, Error = io::Error> + Send + 'static, tokio::task::JoinHandle<io::Result<()>>)
{
    let (send, receive) = mpsc::channel(PIECES);
    let archived = tokio::task::spawn_blocking(move || {
        let mut pieces = Pieces { buffer: Vec::with_capacity(PIECE), send };
        let made = archive::write(&root, &files, format, level, &mut pieces).and_then(|()| pieces.flush());
        if let Err(err) = &made {
            // The request must break off too, not end as if this were all.
            let _ = pieces.send.blocking_send(Err(io::Error::new(err.kind(), err.to_string())));
        }
        made
    });
    let bytes = stream::unfold(receive, |mut receive| async { receive.recv().await.map(|piece| (piece, receive)) });
    (bytes, archived)
}

/// Collects what is written into pieces for the stream.
struct Pieces {
    buffer: Vec<u8>,
    send: mpsc::Sender<io::Result<Bytes>>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE));
        // Nobody reads on: the request has ended.
        self.send.blocking_send(Ok(piece.into())).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

/// Downloads and unpacks the archive of a job this one depends on.
pub(crate) async fn download(job: &Job, log: &Log, client: &Client, dependency: &Dependency) -> Result<(), Failure> {
    log.notice(&format!("Downloading artifacts for {} ({})...", dependency.name, dependency.id));
    let token = &dependency.token;
    let what = "Downloading artifacts from coordinator".to_owned();
    let subject = Subject { log, what, id: dependency.id.to_string(), token };
    let direct_first = job.flags.is_on("FF_USE_DIRECT_DOWNLOAD");
    for attempt in 1.. {
        let direct = if direct_first && attempt == 1 { Direct::Allowed } else { Direct::No };
        let err = match fetch(job, client, dependency, direct).await {
            Ok(file) => {
                subject.line(lines::Level::Info, "ok", &[("host", client.host()), ("status", "200")]);
                let root = job.folders.project.clone();
                let unpacked = tokio::task::spawn_blocking(move || extract(file, &root)).await;
                return match unpacked {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(err)) => Err(subject.fatal(&format!("extracting the archive: {err}"))),
                    Err(err) => Err(Failure::system(format!("extracting the archive: {err}"))),
                };
            }
            Err(err) => err,
        };
        match err.status() {
            Some(status) => {
                let code = status.to_string();
                let (level, how, fatal) = match status {
                    404 => (lines::Level::Error, "not found", Some("file does not exist")),
                    401 => (lines::Level::Error, "unauthorized", Some("permission denied")),
                    403 => (lines::Level::Error, "forbidden", Some("permission denied")),
                    _ => (lines::Level::Warning, "failed", None),
                };
                subject.line(level, how, &[("status", &code)]);
                if let Some(why) = fatal {
                    return Err(subject.fatal(why));
                }
            }
            None => subject.line(lines::Level::Error, "error", &[("error", &err.to_string())]),
        }
        if attempt >= TRIES {
            return Err(subject.fatal(&err.to_string()));
        }
        subject.retry(&err, Duration::from_secs(1)).await;
    }
    Ok(())
}

/// Why a download did not come to an archive.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    /// The request failed, or the answer broke off.
    #[error(transparent)]
    Request(#[from] Error),
    /// The archive could not be kept.
    #[error("keep the archive: {0}")]
    Keep(#[from] io::Error),
}

impl FetchError {
    fn status(&self) -> Option<u16> {
        match self {
            Self::Request(err) => err.status(),
            Self::Keep(_) => None,
        }
    }
}

/// Downloads into a file without a name.
async fn fetch(
    job: &Job,
    client: &Client,
    dependency: &Dependency,
    direct: Direct,
) -> Result<std::fs::File, FetchError> {
    let mut body = client.download_artifacts(dependency.id, &dependency.token, direct).await?;
    let mut file = tempfile::tempfile_in(&job.folders.temp)?;
    while let Some(piece) = body.next().await {
        file.write_all(&piece?)?;
    }
    io::Seek::rewind(&mut file)?;
    Ok(file)
}
