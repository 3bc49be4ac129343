//! What routers see of our prefixes.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// How the hijack watch is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hijacks {
    /// Where routers are listened to; null = nowhere.
    pub listen: Option<SocketAddr>,
    /// Why they are not, though they should be.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<String>,
    /// Prefixes that are watched.
    pub prefixes: Vec<IpNet>,
    /// Routers with a session.
    pub routers: Vec<RouterRow>,
    /// Announcements from elsewhere.
    pub hijacks: Vec<HijackRow>,
}

/// A router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterRow {
    /// Its address.
    pub address: IpAddr,
    /// Its name, if it said one.
    pub name: Option<String>,
    /// Peers that are up.
    pub peers: usize,
    /// Foreign routes beyond those that are kept.
    pub unkept: u64,
    /// UPDATEs that could not be understood.
    pub unread: u64,
}

/// A prefix that is announced from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HijackRow {
    /// What is announced.
    pub prefix: IpNet,
    /// From where: `AS64666`, `AS set {64666,64667}`.
    pub origin: String,
    /// Our prefix that it is, or is a part of.
    pub own_prefix: IpNet,
    /// Our AS.
    pub own_as: u32,
    /// In how many places it is seen.
    pub seen: usize,
    /// The first of them.
    pub sightings: Vec<SightRow>,
}

/// Where it is seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SightRow {
    /// The router that told of it.
    pub router: IpAddr,
    /// Its name, if it said one.
    pub router_name: Option<String>,
    /// Its peer; null where it is the router's own choice.
    pub peer: Option<IpAddr>,
    /// The peer's AS.
    pub peer_as: u32,
    /// Which table: `adj-rib-in pre-policy` and so on.
    pub table: String,
    /// AS path.
    pub as_path: String,
    /// Since when.
    pub since_seconds: u64,
}
