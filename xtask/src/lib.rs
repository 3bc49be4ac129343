//! Set-up, build, tests, lab and demo of anycast-lb. A library, so that the tests drive the same lab
//! as `cargo xtask demo`.
//!
//! It does not depend on the controller: it is what builds it.

pub mod bench;
pub mod bpf;
pub mod demo;
pub mod elf;
pub mod lab;
pub mod process;
pub mod progress;
pub mod setup;
pub mod suite;
pub mod workspace;
