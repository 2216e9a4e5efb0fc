//! Runs each job in a Kubernetes pod.

fn main() {}
