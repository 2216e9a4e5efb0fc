//! The job line as it arrives in a volume: whole, or compressed and in parts where one Secret cannot hold it.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use flate2::read::GzDecoder;
use runner_core::control::{SECRET_PARTS_KEY, job_part_key};
use runner_core::job::JobLine;
use runner_core::line::{Line, MAX_LINE};

use super::watch::Watch;
use crate::error::{HelperError, doing};

/// Waits for the job line in `file`, or in parts beside it.
pub(crate) async fn arrival(file: &Path) -> Result<JobLine, HelperError> {
    let what = || format!("read `{}`", file.display());
    let mut watch = Watch::beside(file)?;
    let text = watch.until(|| match whole(file)? {
        Some(text) => Ok(Some(text)),
        None => parts(file),
    });
    let text = text.await.map_err(doing(what()))?;
    match Line::decode(text.trim_end())? {
        Line::Job(line) => Ok(*line),
        _ => Err(doing(what())(io::Error::other("it holds no job line"))),
    }
}

fn whole(file: &Path) -> io::Result<Option<String>> {
    let text = existing(fs::read_to_string(file))?;
    // A line that is still being written has no end yet.
    Ok(text.filter(|text| text.ends_with('\n') || serde_json::from_str::<JobLine>(text).is_ok()))
}

/// The line from its parts, once all are there: the volume may bring one Secret after the other.
fn parts(file: &Path) -> io::Result<Option<String>> {
    let Some(count) = existing(fs::read_to_string(file.with_file_name(SECRET_PARTS_KEY)))? else { return Ok(None) };
    let count: usize = count.trim().parse().map_err(io::Error::other)?;
    let mut packed = Vec::new();
    for index in 0..count {
        match existing(fs::read(file.with_file_name(job_part_key(index))))? {
            Some(part) => packed.extend_from_slice(&part),
            None => return Ok(None),
        }
    }
    let mut text = String::new();
    GzDecoder::new(packed.as_slice()).take(MAX_LINE as u64 + 1).read_to_string(&mut text)?;
    Ok(Some(text))
}

fn existing<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}
