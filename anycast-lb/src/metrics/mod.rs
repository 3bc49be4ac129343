//! Metrics for Prometheus: `GET /metrics` at the address of `[metrics] listen`.
//!
//! [`facts`] is what is told, as plain values; [`gather`] collects it, with as little as possible inside the
//! daemon's loop; [`table`] describes every metric once, with the function that reads it from the facts;
//! [`text`] writes the exposition from that table, and `docs/METRICS.md` is held against it by a test.
//! [`serve`] is the listener.
//!
//! To add a metric: put what it needs into [`Facts`], and a row into one of the files of [`table`].

pub mod facts;
pub mod gather;
pub mod process;
pub mod serve;
pub mod table;
#[cfg(test)]
mod tests;
pub mod text;

pub use facts::Facts;
pub use text::{Format, encode};
