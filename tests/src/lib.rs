//! Whole-pipe tests.
