//! anycast-lb: the controller of an anycast ingress load balancer, as a library so that its parts
//! can be tested one by one.
//!
//! Dependencies point one way: `cli` → `control`, `metrics`, `peers` → `daemon` → `dataplane`, `membership`, `neighbour`, `table` →
//! `model` ← `config`.

pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod dataplane;
pub mod flows;
pub mod frame;
pub mod health;
pub mod host;
pub mod membership;
pub mod metrics;
pub mod model;
pub mod neighbour;
pub mod observe;
pub mod overview;
pub mod page;
pub mod peers;
pub mod plan;
pub mod simulate;
pub mod table;
