//! Why a request was refused: the one error that leaves the daemon.

use std::fmt;

/// Class of a failure; decides the HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The request itself makes no sense.
    InvalidRequest,
    /// Names something that does not exist.
    NotFound,
    /// What is to be added is there already.
    Exists,
    /// A pool that VIPs lead to cannot go.
    PoolInUse,
    /// A backend that may hold flows goes only if somebody insists.
    BackendActive,
    /// The configuration has moved on since the caller looked.
    GenerationMismatch,
    /// A file was edited by somebody else since it was read.
    FileChanged,
    /// Changes are not made from elsewhere.
    ReadOnly,
    /// `write_back = false`: changes are not ours to make.
    WriteBackOff,
    /// The configuration that would result breaks a rule of the language.
    InvalidConfig,
    /// Takes effect only when the daemon starts.
    NeedsRestart,
    /// The kernel or the data plane refused.
    Dataplane,
    /// A file could not be read or written.
    Io,
    /// As many as there may be are at it already.
    Busy,
    /// The daemon is starting or stopping.
    Unavailable,
}

impl Code {
    /// All codes.
    pub const ALL: [Code; 15] = [
        Code::InvalidRequest,
        Code::NotFound,
        Code::Exists,
        Code::PoolInUse,
        Code::BackendActive,
        Code::GenerationMismatch,
        Code::FileChanged,
        Code::ReadOnly,
        Code::WriteBackOff,
        Code::InvalidConfig,
        Code::NeedsRestart,
        Code::Dataplane,
        Code::Io,
        Code::Busy,
        Code::Unavailable,
    ];

    /// The word used on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Code::InvalidRequest => "invalid_request",
            Code::NotFound => "not_found",
            Code::Exists => "exists",
            Code::PoolInUse => "pool_in_use",
            Code::BackendActive => "backend_active",
            Code::GenerationMismatch => "generation_mismatch",
            Code::FileChanged => "file_changed",
            Code::ReadOnly => "read_only",
            Code::WriteBackOff => "write_back_off",
            Code::InvalidConfig => "invalid_config",
            Code::NeedsRestart => "needs_restart",
            Code::Dataplane => "dataplane",
            Code::Io => "io",
            Code::Busy => "busy",
            Code::Unavailable => "unavailable",
        }
    }
}

/// What went wrong and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Failure {
    /// Class.
    pub code: Code,
    /// What was wrong and where.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " (hint: {hint})")?;
        }
        Ok(())
    }
}

impl Failure {
    /// A failure without a hint.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Failure { code, message: message.into(), hint: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The daemon does not take requests now.
    pub fn unavailable() -> Self {
        Failure::new(Code::Unavailable, "the daemon is stopping").hint("try again when it runs")
    }
}
