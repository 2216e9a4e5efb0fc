//! Edits `config.toml`: the text without touching a byte that is not meant, the file whole or not at all.
//!
//! | module      | what it is                                                            | used by                      |
//! | ----------- | --------------------------------------------------------------------- | ---------------------------- |
//! | [`edit`]    | adds, removes and changes `[[runners]]` entries in a text; no I/O      | runner-register              |
//! | [`file`]    | the file, locked, read and replaced                                   | runner-register              |
//! | [`literal`] | a value as it stands in the file                                      | runner-register              |
//! | [`renewal`] | a runner's new token, in all its entries                              | runner-register, runner-poll |

pub mod edit;
pub mod file;
pub mod literal;
pub mod renewal;
