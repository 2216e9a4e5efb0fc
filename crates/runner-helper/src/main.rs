//! Runs one job inside its pod.

fn main() {}
