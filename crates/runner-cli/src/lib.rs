//! The frame every tool shares.
