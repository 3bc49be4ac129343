//! What a VIP says of who serves it.

use std::fmt;

/// How much a VIP tells those who ask for the name of its server (RFC 4892).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Identity {
    /// Nothing: such questions go to the backend like all others.
    #[default]
    Off,
    /// The node and its PoP.
    Node,
    /// To the clients of `identity_clients` the backend as well.
    Backend,
}

impl Identity {
    /// All of them.
    pub const ALL: [Identity; 3] = [Identity::Off, Identity::Node, Identity::Backend];

    /// The word in files and on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Identity::Off => "off",
            Identity::Node => "node",
            Identity::Backend => "backend",
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
