//! A GitLab that is a program.
fn main() {}
