//! Everything that is set to go wrong, and how often still.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::fault::{Act, Fault};

/// What happens when a container's image is looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageFault {
    /// The image exactly as in the pod.
    pub image: String,
    /// `ErrImagePull` or `ImagePullBackOff`: it is not on the node and cannot be pulled.
    /// `ErrImageNeverPull`: it is not on the node but can be pulled.
    /// `RegistryUnavailable`: it is on the node and cannot be pulled.
    /// Anything else, e.g. `InvalidImageName`: the container waits with this reason.
    pub reason: String,
    /// The message; a usual one if empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// How many attempts fail; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
}

/// Everything that is set to go wrong; the body of `PUT /-/fake/faults`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultSet {
    /// Rules for requests; the first that matches acts.
    pub requests: Vec<Fault>,
    /// Rules for images.
    pub images: Vec<ImageFault>,
    /// If set, no new pod finds a node, and this is the scheduler's message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unschedulable: Option<String>,
}

/// The faults of one running server; changes act at once.
#[derive(Debug, Default)]
pub struct Faults {
    set: Mutex<FaultSet>,
    /// Wakes whoever waits for a fault to end.
    changed: watch::Sender<()>,
}

impl Faults {
    fn with<T>(&self, work: impl FnOnce(&mut FaultSet) -> T) -> T {
        work(&mut self.set.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a rule for requests.
    pub fn add(&self, fault: Fault) {
        self.with(|set| set.requests.push(fault));
    }

    /// Adds a rule for an image.
    pub fn add_image(&self, fault: ImageFault) {
        self.with(|set| set.images.push(fault));
    }

    /// From now on pods find no node (`Some(message)`), or do again (`None`).
    pub fn set_unschedulable(&self, message: Option<&str>) {
        self.with(|set| set.unschedulable = message.map(str::to_owned));
        self.changed.send_replace(());
    }

    /// Replaces everything.
    pub fn replace(&self, faults: FaultSet) {
        self.with(|set| *set = faults);
        self.changed.send_replace(());
    }

    /// Nothing goes wrong any more.
    pub fn clear(&self) {
        self.replace(FaultSet::default());
    }

    /// What is left: rules that are used up are gone.
    pub fn current(&self) -> FaultSet {
        self.with(|set| set.clone())
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The fate of one request. Counts it.
    pub(crate) fn strike(&self, method: &str, path: &str, query: &str) -> Option<Act> {
        self.with(|set| {
            let index = set.requests.iter_mut().position(|fault| {
                if !fault.hits(method, path, query) {
                    return false;
                }
                let passes = fault.skip > 0;
                fault.skip = fault.skip.saturating_sub(1);
                !passes && fault.times != Some(0)
            })?;
            let fault = &mut set.requests[index];
            let act = fault.act.clone();
            if let Some(times) = &mut fault.times {
                *times -= 1;
                if *times == 0 {
                    set.requests.remove(index);
                }
            }
            Some(act)
        })
    }

    /// The fault of an image under a pull policy, as waiting reason and message. Counts the attempt.
    pub(crate) fn strike_image(&self, image: &str, policy: &str) -> Option<(String, String)> {
        self.with(|set| {
            let index = set.images.iter().position(|f| f.image == image)?;
            let fault = &mut set.images[index];
            let never = format!("Container image {image:?} is not present with pull policy of Never");
            let pull = if fault.message.is_empty() {
                format!(
                    "failed to pull and unpack image {image:?}: failed to resolve reference {image:?}: {image}: not found"
                )
            } else {
                fault.message.clone()
            };
            let (reason, message) = match (fault.reason.as_str(), policy) {
                ("ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull", "Never") => {
                    ("ErrImageNeverPull", never)
                }
                ("ErrImageNeverPull", _) | ("RegistryUnavailable", "IfNotPresent" | "Never") => {
                    return None;
                }
                ("ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable", _) => {
                    ("ErrImagePull", pull)
                }
                (other, _) => (other, fault.message.clone()),
            };
            let answer = (reason.to_owned(), message);
            if let Some(times) = &mut fault.times {
                *times = times.saturating_sub(1);
                if *times == 0 {
                    set.images.remove(index);
                }
            }
            Some(answer)
        })
    }

    pub(crate) fn unschedulable(&self) -> Option<String> {
        self.with(|set| set.unschedulable.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_hits_only_what_it_names_and_only_so_often() {
        let faults = Faults::default();
        faults.add(Fault::answer(503).method("get").path("/log").skip(1).times(2));
        let log = || faults.strike("GET", "/api/v1/namespaces/n/pods/p/log", "");
        let hit = Some(Act::Answer { code: 503, retry_after: None, message: String::new() });
        assert_eq!([log(), log(), log(), log()], [None, hit.clone(), hit, None]);
        assert_eq!(faults.current(), FaultSet::default());
    }

    #[test]
    fn image_faults_depend_on_the_pull_policy() {
        for (reason, policy, expected) in [
            ("ErrImagePull", "Always", Some("ErrImagePull")),
            ("ErrImagePull", "IfNotPresent", Some("ErrImagePull")),
            ("ErrImagePull", "Never", Some("ErrImageNeverPull")),
            ("ErrImageNeverPull", "Always", None),
            ("ErrImageNeverPull", "Never", Some("ErrImageNeverPull")),
            ("RegistryUnavailable", "Always", Some("ErrImagePull")),
            ("RegistryUnavailable", "IfNotPresent", None),
            ("InvalidImageName", "Never", Some("InvalidImageName")),
        ] {
            let faults = Faults::default();
            faults.add_image(ImageFault {
                image: "i".into(),
                reason: reason.into(),
                message: String::new(),
                times: None,
            });
            let struck = faults.strike_image("i", policy).map(|(reason, _)| reason);
            assert_eq!(struck.as_deref(), expected, "{reason} {policy}");
            assert_eq!(faults.strike_image("other", policy), None);
        }
    }
}
