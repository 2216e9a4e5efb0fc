//! Asks GitLab for jobs and prints them.

fn main() {}
