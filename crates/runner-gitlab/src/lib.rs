//! The HTTP contract with GitLab.
