//! What is asked about our prefixes, and who tells of others that announce them.

use std::net::SocketAddr;

use ipnet::IpNet;

pub use anycast_lb_routing::rpki::{Mode as RpkiMode, Route, Validator};

/// RPKI validators, and the prefixes whose origin is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rpki {
    /// Validators, in file order, unique by name and by address. Empty on a backend.
    pub validators: Vec<Validator>,
    /// Of each prefix with an `origin_as` what is to be looked up, in file order, unique by prefix. Empty on a
    /// backend.
    pub routes: Vec<Route>,
}

/// The BMP station that routers tell what they see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bmp {
    /// Where it listens.
    pub listen: SocketAddr,
    /// From where routers may come; none = from everywhere.
    pub allowed: Vec<IpNet>,
    /// ASes that may announce our prefixes besides their `origin_as`.
    pub own_as: Vec<u32>,
}
