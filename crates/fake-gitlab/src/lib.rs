//! A GitLab that is a program.
