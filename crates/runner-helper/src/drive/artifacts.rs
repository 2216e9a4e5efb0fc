//! Artifacts: which files, in which form, to and from GitLab.

pub(crate) mod archive;
pub(crate) mod collect;
pub(crate) mod extract;
pub(crate) mod transfer;
