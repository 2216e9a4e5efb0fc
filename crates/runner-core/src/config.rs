//! `config.toml` as read; defaults in one place.
