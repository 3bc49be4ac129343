//! The API: HTTP/1.1 and JSON under `/v1/`, on a Unix socket for the command line and, over mutual
//! TLS, on TCP for other hosts.
//!
//! [`api`] is what travels, shared by both ends; [`server`] answers with what [`view`] reads out of
//! the daemon; [`serve`] keeps callers within limits; [`client`] asks; [`socket`] makes the socket and
//! guards it. Between hosts, [`remote`] answers and [`remote_client`] asks, with the certificates of
//! [`tls`].

pub mod api;
pub mod client;
mod lease;
pub mod lines;
pub mod remote;
pub mod remote_client;
pub mod serve;
pub mod server;
pub mod socket;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod view;
