//! Runners and the machines that run them.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::clock::{stamp, stamp_or_null};

/// Whose jobs a runner may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunnerType {
    /// Every project's.
    #[default]
    InstanceType,
    /// Those of one group's projects.
    GroupType,
    /// Those of one project.
    ProjectType,
}

impl RunnerType {
    /// `t1`, `t2` or `t3`, the mark inside the runner's token.
    pub(crate) fn token_mark(self) -> &'static str {
        match self {
            Self::InstanceType => "t1_",
            Self::GroupType => "t2_",
            Self::ProjectType => "t3_",
        }
    }

    /// The name in GitLab's API.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::InstanceType => "instance_type",
            Self::GroupType => "group_type",
            Self::ProjectType => "project_type",
        }
    }
}

/// How a runner is set up on the server. The default takes every job of the instance.
#[derive(Debug, Clone)]
pub struct RunnerSpec {
    /// Shown in lists and in `CI_RUNNER_DESCRIPTION`.
    pub description: String,
    /// Tags the runner has; a job's tags must all be among them.
    pub tags: Vec<String>,
    /// Whether jobs without tags are taken.
    pub run_untagged: bool,
    /// A paused runner gets no jobs.
    pub paused: bool,
    /// A locked project runner cannot be enabled for further projects.
    pub locked: bool,
    /// Only jobs of protected branches and tags.
    pub protected_only: bool,
    /// Upper limit of the job timeout in seconds, at least 600.
    pub maximum_timeout: Option<u64>,
    /// A note for administrators.
    pub maintenance_note: Option<String>,
    /// Whose jobs it may take.
    pub kind: RunnerType,
    /// The project (for project runners) or group (for group runners) path.
    pub owner: Option<String>,
}

impl Default for RunnerSpec {
    fn default() -> Self {
        Self {
            description: String::new(),
            tags: Vec::new(),
            run_untagged: true,
            paused: false,
            locked: false,
            protected_only: false,
            maximum_timeout: None,
            maintenance_note: None,
            kind: RunnerType::InstanceType,
            owner: None,
        }
    }
}

/// The largest number of tags a runner may have.
const TAG_LIMIT: usize = 50;

impl RunnerSpec {
    /// GitLab's model validations, as the `message` object of a 400 answer.
    pub(crate) fn problems(&self) -> Option<Value> {
        let mut problems = Map::new();
        if self.tags.len() > TAG_LIMIT {
            problems.insert(
                "tags_list".into(),
                json!([format!("Too many tags specified. Please limit the number of tags to {TAG_LIMIT}")]),
            );
        } else if self.tags.is_empty() && !self.run_untagged {
            problems.insert(
                "tags_list".into(),
                json!(["can not be empty when runner is not allowed to pick untagged jobs"]),
            );
        }
        if self.maximum_timeout.is_some_and(|seconds| seconds < 600) {
            problems.insert("maximum_timeout".into(), json!(["needs to be at least 10 minutes"]));
        }
        (!problems.is_empty()).then_some(Value::Object(problems))
    }
}

/// One machine that uses a runner's token.
#[derive(Debug, Clone)]
pub(crate) struct Manager {
    pub(crate) id: u64,
    pub(crate) system_id: String,
    /// The last `info` object, with `config` cut down to what GitLab keeps.
    pub(crate) info: Value,
    pub(crate) ip_address: Option<String>,
    pub(crate) created_at: SystemTime,
    pub(crate) contacted_at: SystemTime,
}

impl Manager {
    /// Whether the machine said it has a feature.
    pub(crate) fn has(&self, feature: &str) -> bool {
        self.info["features"][feature] == true
    }

    /// As `GET /runners/:id/managers` shows it.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "system_id": self.system_id,
            "version": self.info["version"],
            "revision": self.info["revision"],
            "platform": self.info["platform"],
            "architecture": self.info["architecture"],
            "created_at": stamp(self.created_at),
            "contacted_at": stamp(self.contacted_at),
            "ip_address": self.ip_address,
            "status": "online",
        })
    }
}

/// One runner as the server knows it.
#[derive(Debug, Clone)]
pub(crate) struct Runner {
    pub(crate) id: u64,
    pub(crate) token: String,
    pub(crate) token_expires_at: Option<SystemTime>,
    pub(crate) spec: RunnerSpec,
    /// Made by a user (`glrt-`) and not by a registration token.
    pub(crate) created_by_user: bool,
    pub(crate) created_at: SystemTime,
    pub(crate) updated_at: SystemTime,
    pub(crate) contacted_at: Option<SystemTime>,
    pub(crate) managers: Vec<Manager>,
    /// Changes whenever a job that this runner could take becomes pending.
    pub(crate) queue_value: String,
    /// `info.name` at the registration.
    pub(crate) name: Option<String>,
    /// Where the registration came from.
    pub(crate) ip_address: Option<String>,
    /// A runner made by a user is being made until it first asks for a job.
    pub(crate) has_asked: bool,
}

/// A runner that was silent for so long is stale.
const STALE: Duration = Duration::from_secs(7 * 24 * 3600);
/// A runner that was silent for so long is offline.
const OFFLINE: Duration = Duration::from_secs(2 * 3600);

impl Runner {
    /// What `verify`, registration and reset answer.
    pub(crate) fn credentials(&self) -> Value {
        json!({
            "id": self.id,
            "token": self.token,
            "token_expires_at": stamp_or_null(self.token_expires_at),
        })
    }

    /// Whether the token's life is over.
    pub(crate) fn is_expired(&self, now: SystemTime) -> bool {
        self.token_expires_at.is_some_and(|at| at <= now)
    }

    /// Made or heard of within the last week, so that it counts for limits.
    pub(crate) fn is_recent(&self, now: SystemTime) -> bool {
        let is_within = |at: SystemTime| now.duration_since(at).is_ok_and(|age| age < STALE);
        is_within(self.created_at) || self.contacted_at.is_some_and(is_within)
    }

    /// `never_contacted`, `online`, `offline` or `stale`.
    pub(crate) fn status(&self, now: SystemTime) -> &'static str {
        let age = |at: SystemTime| now.duration_since(at).unwrap_or_default();
        match self.contacted_at {
            None if age(self.created_at) >= STALE => "stale",
            None => "never_contacted",
            Some(at) if age(at) < OFFLINE => "online",
            Some(at) if age(at) < STALE => "offline",
            Some(_) => "stale",
        }
    }

    pub(crate) fn manager(&self, system_id: &str) -> Option<&Manager> {
        self.managers.iter().find(|manager| manager.system_id == system_id)
    }

    /// A line of `GET /runners`.
    pub(crate) fn summary(&self, now: SystemTime) -> Value {
        let status = self.status(now);
        let newest = self.managers.last();
        json!({
            "id": self.id,
            "description": self.spec.description,
            "ip_address": newest.and_then(|manager| manager.ip_address.as_ref()).or(self.ip_address.as_ref()),
            "active": !self.spec.paused,
            "paused": self.spec.paused,
            "is_shared": self.spec.kind == RunnerType::InstanceType,
            "runner_type": self.spec.kind.as_str(),
            "name": newest.and_then(|manager| manager.info["name"].as_str()).or(self.name.as_deref()),
            "online": status == "online",
            "created_at": stamp(self.created_at),
            "status": status,
            "job_execution_status": "idle",
        })
    }

    /// What `GET /runners/:id` answers.
    pub(crate) fn details(&self, now: SystemTime) -> Value {
        let mut details = self.summary(now);
        let newest = self.managers.last().map_or(Value::Null, |manager| manager.info.clone());
        if let Value::Object(members) = &mut details {
            members.extend([
                ("architecture".into(), newest["architecture"].clone()),
                ("platform".into(), newest["platform"].clone()),
                ("version".into(), newest["version"].clone()),
                ("revision".into(), newest["revision"].clone()),
                ("contacted_at".into(), stamp_or_null(self.contacted_at)),
                ("maintenance_note".into(), json!(self.spec.maintenance_note)),
                ("maximum_timeout".into(), json!(self.spec.maximum_timeout)),
                (
                    "access_level".into(),
                    json!(if self.spec.protected_only { "ref_protected" } else { "not_protected" }),
                ),
                ("run_untagged".into(), json!(self.spec.run_untagged)),
                ("locked".into(), json!(self.spec.locked)),
                ("tag_list".into(), json!(self.spec.tags)),
                ("projects".into(), json!([])),
                ("groups".into(), json!([])),
            ]);
        }
        details
    }
}
