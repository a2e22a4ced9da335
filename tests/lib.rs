//! Tests across crates; each suite is a folder.
