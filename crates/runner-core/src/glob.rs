//! Doublestar globs, for artifact and cache paths and allowed images.
