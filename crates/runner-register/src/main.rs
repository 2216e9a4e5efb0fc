//! Registers runners and edits config.toml.

fn main() {}
