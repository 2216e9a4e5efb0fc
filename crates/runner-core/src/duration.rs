//! Go durations as `config.toml` and job variables spell them.
