//! The objects and their history: what etcd and the watch cache are to a real server.
//!
//! One lock, held only for pure work and never across an await. Every write gets the next
//! resource version; a write that changes nothing gets none, as in the real server.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::watch;

use crate::json::{list, set_meta, text, unset_meta};
use crate::resource::Resource;
use crate::status::ApiError;
use crate::{clock, random};

/// How many changes a watcher may be behind before it is told 410. Each holds a whole object.
const HISTORY: usize = 2_000;

/// Where an object lives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) resource: &'static Resource,
    /// Empty for cluster-wide kinds.
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// What a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Added,
    Modified,
    Deleted,
}

/// One entry of the history.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) verb: Verb,
    pub(crate) key: Key,
    /// The object after the change; of a deletion its last state, with the deletion's version.
    pub(crate) object: Arc<Value>,
    /// The object before it: tells whether a selector matched earlier.
    pub(crate) before: Option<Arc<Value>>,
}

/// Whether a write is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commit {
    Keep,
    DryRun,
}

struct Inner {
    version: u64,
    /// Changes up to this version are forgotten.
    floor: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    history: VecDeque<Change>,
}

/// All objects of one server.
pub(crate) struct Store {
    inner: Mutex<Inner>,
    /// The newest version; watchers wait on it.
    version: watch::Sender<u64>,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            inner: Mutex::new(Inner { version: 1, floor: 0, objects: BTreeMap::new(), history: VecDeque::new() }),
            version: watch::Sender::new(1),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whenever a version was made.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Value>> {
        self.lock().objects.get(key).cloned()
    }

    /// All objects of a kind, in one namespace or in all, ordered by key, and the version of this state.
    pub(crate) fn list(&self, resource: &'static Resource, namespace: Option<&str>) -> (Vec<(Key, Arc<Value>)>, u64) {
        let inner = self.lock();
        let objects = inner
            .objects
            .iter()
            .filter(|(key, _)| std::ptr::eq(key.resource, resource))
            .filter(|(key, _)| namespace.is_none_or(|namespace| key.namespace == namespace))
            .map(|(key, object)| (key.clone(), Arc::clone(object)))
            .collect();
        (objects, inner.version)
    }

    /// Every object of every kind.
    pub(crate) fn everything(&self) -> Vec<(Key, Arc<Value>)> {
        let inner = self.lock();
        let pairs = inner.objects.iter();
        pairs.map(|(k, o)| (k.clone(), Arc::clone(o))).collect()
    }

    /// Changes after `version`, oldest first. `Err` if some of them are forgotten.
    pub(crate) fn since(&self, version: u64) -> Result<Vec<Change>, ApiError> {
        let inner = self.lock();
        if version < inner.floor {
            return Err(ApiError::expired(version, inner.floor + 1));
        }
        let start = inner.history.partition_point(|c| c.version <= version);
        Ok(inner.history.range(start..).cloned().collect())
    }

    /// Forgets the history, as etcd's compaction does: watches from older versions get 410.
    pub(crate) fn compact(&self) {
        let mut inner = self.lock();
        inner.floor = inner.version;
        inner.history.clear();
    }

    /// Stores a new object; fills in uid, creation time and version.
    pub(crate) fn create(&self, key: Key, mut object: Value, commit: Commit) -> Result<Arc<Value>, ApiError> {
        let mut inner = self.lock();
        if inner.objects.contains_key(&key) {
            return Err(ApiError::already_exists(key.resource, &key.name));
        }
        set_meta(&mut object, "uid", random::uuid());
        set_meta(&mut object, "creationTimestamp", clock::now());
        for unset in ["selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"] {
            unset_meta(&mut object, unset);
        }
        if commit == Commit::DryRun {
            return Ok(Arc::new(object));
        }
        Ok(self.record(&mut inner, Verb::Added, key, object))
    }

    /// Replaces an object by what `change` makes of it, unless nothing changed. An object that is
    /// being deleted and has no finalizer left is removed instead, when its grace is over.
    pub(crate) fn update(
        &self,
        key: &Key,
        commit: Commit,
        change: impl FnOnce(&Value) -> Result<Value, ApiError>,
    ) -> Result<Arc<Value>, ApiError> {
        let mut inner = self.lock();
        let current = inner.objects.get(key).cloned();
        let current = current.ok_or_else(|| ApiError::not_found(key.resource, &key.name))?;
        let mut next = change(&current)?;
        set_meta(&mut next, "resourceVersion", current["metadata"]["resourceVersion"].clone());
        if next == *current {
            return Ok(current);
        }
        if commit == Commit::DryRun {
            return Ok(Arc::new(next));
        }
        if is_finished(&next) {
            return Ok(self.record(&mut inner, Verb::Deleted, key.clone(), next));
        }
        Ok(self.record(&mut inner, Verb::Modified, key.clone(), next))
    }

    /// Removes an object at once, if it is still the one with this uid. Finalizers hold it back:
    /// then it only gets its deletion time.
    pub(crate) fn remove(&self, key: &Key, uid: Option<&str>) -> Option<Arc<Value>> {
        let mut inner = self.lock();
        let current = inner.objects.get(key).cloned()?;
        if uid.is_some_and(|uid| text(&current, "/metadata/uid") != uid) {
            return None;
        }
        let mut last = Value::clone(&current);
        if !list(&last, "/metadata/finalizers").is_empty() {
            if text(&last, "/metadata/deletionTimestamp").is_empty() {
                set_meta(&mut last, "deletionTimestamp", clock::now());
            }
            set_meta(&mut last, "deletionGracePeriodSeconds", 0);
            return Some(self.record(&mut inner, Verb::Modified, key.clone(), last));
        }
        Some(self.record(&mut inner, Verb::Deleted, key.clone(), last))
    }

    fn record(&self, inner: &mut Inner, verb: Verb, key: Key, mut object: Value) -> Arc<Value> {
        inner.version += 1;
        let version = inner.version;
        set_meta(&mut object, "resourceVersion", version.to_string());
        let object = Arc::new(object);
        let before = match verb {
            Verb::Deleted => inner.objects.remove(&key),
            _ => inner.objects.insert(key.clone(), Arc::clone(&object)),
        };
        inner.history.push_back(Change { version, verb, key, object: Arc::clone(&object), before });
        if inner.history.len() > HISTORY
            && let Some(oldest) = inner.history.pop_front()
        {
            inner.floor = oldest.version;
        }
        self.version.send_replace(version);
        object
    }
}

/// Being deleted, grace over, nobody holds it.
fn is_finished(object: &Value) -> bool {
    let meta = &object["metadata"];
    meta["deletionTimestamp"].is_string()
        && meta["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && list(object, "/metadata/finalizers").is_empty()
}
