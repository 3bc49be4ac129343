//! Set-up, build, tests, lab and demo of anycast-lb.
//!
//! It does not depend on the controller: it is what builds it.

pub mod bpf;
pub mod elf;
pub mod process;
pub mod progress;
pub mod setup;
pub mod suite;
pub mod workspace;
