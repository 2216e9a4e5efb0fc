//! What crosses a pipe or lies in a file.
