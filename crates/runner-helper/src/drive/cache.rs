//! Caches, kept in the helper's cache folder. Trouble with a cache never fails a job, but an unknown policy does.
//!
//! A remote store is to come between `local_archive` and the extraction, and behind the making of an archive.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use runner_core::job::Cache;

use super::artifacts::archive::{self, Format};
use super::artifacts::collect::{Wanted, collect};
use super::artifacts::extract::extract;
use super::artifacts::transfer::level;
use super::cache_key::{Form, Key, key};
use super::failure::Failure;
use super::git::Git;
use super::job::Job;
use super::lines::{Level, line};
use super::local::Local;
use super::log::Log;
use super::uploads;

/// What a cache is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Pull,
    Push,
    PullPush,
}

/// Whether there is a cache to restore. Its policy is looked at later, in the open section.
pub(crate) fn is_to_be_restored(job: &Job) -> bool {
    job.payload.cache.iter().any(has_content)
}

/// Whether there is a cache to save after a script that has succeeded, or has not.
pub(crate) fn is_to_be_saved(job: &Job, success: bool) -> bool {
    job.payload.cache.iter().any(|cache| cache.when.fits(success) && has_content(cache))
}

fn has_content(cache: &Cache) -> bool {
    cache.untracked || !cache.paths.is_empty()
}

/// Restores the job's caches.
pub(crate) async fn restore(job: &Job, log: &Log) -> Result<(), Failure> {
    for cache in job.payload.cache.iter().filter(|cache| has_content(cache)) {
        let Some(first) = first_key(job, log, cache) else {
            log.notice("Skipping cache extraction due to empty cache key");
            continue;
        };
        if policy(job, cache, &first)? == Policy::Push {
            log.notice(&format!("Not downloading cache {} due to policy", first.name));
            continue;
        }
        for key in [first].into_iter().chain(further_keys(job, log, cache)) {
            log.notice(&format!("Checking cache for {}...", key.name));
            if unpack(job, log, &local_archive(job, &key)).await {
                log.notice("Successfully extracted cache");
                break;
            }
            log.caution("Failed to extract cache");
            if job.flags.is_on("FF_CLEAN_UP_FAILED_CACHE_EXTRACT") {
                clean_up(job, log, cache)?;
            }
        }
    }
    Ok(())
}

/// Saves the job's caches.
pub(crate) async fn save(
    job: &Job,
    log: &Log,
    git: &Git<'_>,
    local: &Local,
    env: &BTreeMap<String, String>,
    success: bool,
) -> Result<(), Failure> {
    let fits = |cache: &&Cache| cache.when.fits(success) && has_content(cache);
    for cache in job.payload.cache.iter().filter(fits) {
        let Some(key) = first_key(job, log, cache) else {
            log.notice("Skipping cache archiving due to empty cache key");
            continue;
        };
        if policy(job, cache, &key)? == Policy::Pull {
            log.notice(&format!("Not uploading cache {} due to policy", key.name));
            continue;
        }
        log.notice(&format!("Creating cache {}...", key.name));
        let untracked = if cache.untracked { Some(uploads::untracked(git, local, log).await) } else { None };
        let wanted = Wanted { paths: cache.paths.clone(), exclude: Vec::new(), untracked };
        let archiving = Archiving {
            project: job.folders.project.clone(),
            wanted,
            env: env.clone(),
            level: level(job, log, "CACHE_COMPRESSION_LEVEL"),
            target: local_archive(job, &key),
            key: key.name.clone(),
            log: log.clone(),
        };
        let made = tokio::task::spawn_blocking(move || archiving.run()).await;
        match made.unwrap_or_else(|err| Err(io::Error::other(err))) {
            Ok(()) => log.notice("Created cache"),
            Err(err) => {
                line(log, Level::Fatal, &err.to_string(), &[]);
                log.caution("Failed to create cache");
            }
        }
    }
    Ok(())
}

fn policy(job: &Job, cache: &Cache, key: &Key) -> Result<Policy, Failure> {
    match job.variables.expand(&cache.policy).as_str() {
        "" | "pull-push" => Ok(Policy::PullPush),
        "pull" => Ok(Policy::Pull),
        "push" => Ok(Policy::Push),
        other => Err(Failure::system(format!("unknown cache policy {other} for {}", key.name))),
    }
}

fn form(job: &Job) -> Form {
    if job.flags.is_on("FF_HASH_CACHE_KEYS") { Form::Hash } else { Form::Clean }
}

fn told(log: &Log, (key, warning): (Option<Key>, Option<String>)) -> Option<Key> {
    if let Some(warning) = warning {
        log.caution(&warning);
    }
    key
}

fn first_key(job: &Job, log: &Log, cache: &Cache) -> Option<Key> {
    let mut text = job.variables.expand(&cache.key);
    if text.is_empty() {
        text = format!("{}/{}", job.payload.job_info.name, job.payload.git_info.git_ref);
    }
    told(log, key(&text, form(job)))
}

fn further_keys(job: &Job, log: &Log, cache: &Cache) -> Vec<Key> {
    let twice = |text: &str| job.variables.expand(&job.variables.expand(text));
    let mut texts: Vec<String> = cache.fallback_keys.iter().map(|text| twice(text)).collect();
    let of_all = job.variables.expand(&job.variables.value("CACHE_FALLBACK_KEY"));
    if of_all.trim_end_matches(['.', ' ']).ends_with("-protected") {
        log.caution(&format!("CACHE_FALLBACK_KEY \"{of_all}\" not allowed to end in \"-protected\""));
    } else {
        texts.push(of_all);
    }
    texts.iter().filter(|text| !text.is_empty()).filter_map(|text| told(log, key(text, form(job)))).collect()
}

fn local_archive(job: &Job, key: &Key) -> PathBuf {
    let folders = &job.folders;
    let project = folders.project.strip_prefix(&folders.builds).unwrap_or(Path::new("project"));
    folders.cache.join(project).join(&key.path).join("cache.zip")
}

async fn unpack(job: &Job, log: &Log, archive: &Path) -> bool {
    let text = "No URL provided, cache will not be downloaded from shared cache server. \
                Instead a local version of cache will be extracted.";
    line(log, Level::Info, text, &[]);
    let file = match fs::File::open(archive) {
        Ok(file) => file,
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            line(log, Level::Warning, "Cache file does not exist", &[]);
            return false;
        }
        Err(err) => {
            line(log, Level::Fatal, &err.to_string(), &[]);
            return false;
        }
    };
    let root = job.folders.project.clone();
    let unpacked = tokio::task::spawn_blocking(move || extract(file, &root)).await;
    match unpacked.unwrap_or_else(|err| Err(io::Error::other(err))) {
        Ok(()) => true,
        Err(err) => {
            line(log, Level::Fatal, &err.to_string(), &[]);
            false
        }
    }
}

/// Removes what a broken archive may have left half unpacked. The paths are taken as they are, without wildcards.
fn clean_up(job: &Job, log: &Log, cache: &Cache) -> Result<(), Failure> {
    for path in &cache.paths {
        log.notice(&format!("Removing {path}"));
        let whole = runner_core::project_folder::cleaned(&job.folders.project.join(path));
        if !whole.starts_with(&job.folders.project) || whole == job.folders.project {
            continue;
        }
        if whole.is_dir() && !whole.is_symlink() {
            super::files::remove_folder(&whole)?;
        } else {
            super::files::remove_file(&whole)?;
        }
    }
    Ok(())
}

/// The making of one archive.
struct Archiving {
    project: PathBuf,
    wanted: Wanted,
    env: BTreeMap<String, String>,
    level: archive::Level,
    target: PathBuf,
    key: String,
    log: Log,
}

impl Archiving {
    fn run(self) -> io::Result<()> {
        let files = collect(&self.project, &self.wanted, &self.env, &self.log);
        if files.is_empty() {
            line(&self.log, Level::Warning, "No files to cache.", &[]);
            return Ok(());
        }
        if self.is_up_to_date(&files) {
            line(&self.log, Level::Info, "Archive is up to date!", &[]);
            return Ok(());
        }
        let folder = self.target.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        archive::write(&self.project, &files, Format::Zip, self.level, io::BufWriter::new(file.as_file_mut()))?;
        file.persist(&self.target).map_err(|err| err.error)?;
        let metadata = serde_json::json!({ "cachekey": self.key });
        fs::write(folder.join("metadata.json"), metadata.to_string())?;
        let text =
            "No URL provided, cache will not be uploaded to shared cache server. Cache will be stored only locally.";
        line(&self.log, Level::Info, text, &[]);
        Ok(())
    }

    fn is_up_to_date(&self, files: &BTreeSet<PathBuf>) -> bool {
        let modified = |path: &Path| path.symlink_metadata()?.modified();
        let Ok(archived) = modified(&self.target) else { return false };
        let newer = |time: SystemTime| time > archived;
        !files.iter().any(|file| modified(&self.project.join(file)).is_ok_and(newer))
    }
}
