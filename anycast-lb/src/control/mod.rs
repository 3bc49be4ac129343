//! The API: HTTP/1.1 and JSON under `/v1/` on a Unix socket.
//!
//! [`api`] is what travels, shared by both ends; [`server`] answers with what [`view`] reads out of
//! the daemon; [`serve`] keeps callers within limits; [`client`] asks; [`socket`] makes the socket and
//! guards it.

pub mod api;
pub mod client;
pub mod serve;
pub mod server;
pub mod socket;
#[cfg(test)]
mod tests;
pub mod view;
