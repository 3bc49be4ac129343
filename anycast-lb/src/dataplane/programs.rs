//! The programs of the eBPF object, by name.

use std::os::fd::{AsFd, BorrowedFd};

use aya::Ebpf;
use aya::programs::{SchedClassifier, Xdp};

use super::error::DataplaneError;

/// Name of the backend's program.
pub(super) const BACKEND: &str = "backend";
/// Name of its second half.
pub(super) const RELAY: &str = "relay";
/// Name of what sends an ingress node's health checks through the tunnel.
pub(super) const PROBE: &str = "probe";

/// Loads one program of `ebpf`; the others stay out of the kernel.
pub(super) fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<(), DataplaneError> {
    let program: Option<&mut Xdp> = ebpf.program_mut(name).and_then(|p| p.try_into().ok());
    let program =
        program.ok_or_else(|| DataplaneError::Object(format!("it has no XDP program \"{name}\"")))?;
    program.load().map_err(|e| DataplaneError::program(name, e))
}

/// Loads one program of traffic control.
pub(super) fn load_classifier(ebpf: &mut Ebpf, name: &'static str) -> Result<(), DataplaneError> {
    let program: Option<&mut SchedClassifier> = ebpf.program_mut(name).and_then(|p| p.try_into().ok());
    let program = program.ok_or_else(|| DataplaneError::Object(format!("it has no program \"{name}\"")))?;
    program.load().map_err(|e| DataplaneError::program(name, e))
}

/// A loaded program of traffic control.
pub(super) fn classifier_fd<'e>(
    ebpf: &'e Ebpf,
    name: &'static str,
) -> Result<BorrowedFd<'e>, DataplaneError> {
    let program: Option<&SchedClassifier> = ebpf.program(name).and_then(|p| p.try_into().ok());
    let program = program.ok_or_else(|| DataplaneError::Object(format!("it has no program \"{name}\"")))?;
    Ok(program.fd().map_err(|e| DataplaneError::program(name, e))?.as_fd())
}

/// A loaded XDP program.
pub(super) fn program_fd<'e>(ebpf: &'e Ebpf, name: &str) -> Result<BorrowedFd<'e>, DataplaneError> {
    let program: Option<&Xdp> = ebpf.program(name).and_then(|p| p.try_into().ok());
    let program =
        program.ok_or_else(|| DataplaneError::Object(format!("it has no XDP program \"{name}\"")))?;
    Ok(program.fd().map_err(|e| DataplaneError::program(name, e))?.as_fd())
}
