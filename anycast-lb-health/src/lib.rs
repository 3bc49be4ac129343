//! Health checks of backends: pure state machines that take `now`, and the probes that feed them.
