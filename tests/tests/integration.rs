//! Tests that need a kernel: `kernel` runs programs under `BPF_PROG_TEST_RUN`, `lab` builds networks
//! of namespaces. Both need root.

mod kernel;
mod lab;
