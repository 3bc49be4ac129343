//! How something is, in one of four words.

use serde::Serialize;

/// How something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// As it should be.
    Good,
    /// On its way, or worth a look.
    Notable,
    /// As it should not be.
    Bad,
    /// Not known, or of no weight.
    #[default]
    Unknown,
}
