//! Streaming masker: secrets out of the log, across chunk borders.
