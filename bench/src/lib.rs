//! The pieces of the write and read path that are measured by themselves.
//!
//! Two programs use them: the micro-benchmarks (`benches/micro.rs`), which time them, and
//! `kvorum-pieces`, which runs one for a number of rounds so that its instructions can be counted.
//! The load generator and the comparisons are the binary `kvorum-bench`, which shares nothing here.

pub mod pieces;
