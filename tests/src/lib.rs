//! What the tests share: the scenario of the packet vectors, and two machines that run a packet
//! through a program: [`native`], the packet logic on the host, and [`kernel`], the released object
//! under `BPF_PROG_TEST_RUN`.

pub mod echo;
pub mod gate;
pub mod kernel;
pub mod lookups;
pub mod native;
pub mod random;
pub mod scenario;
