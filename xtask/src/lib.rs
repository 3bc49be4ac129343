//! Set-up, build, lab and demo of anycast-lb. A library, so that the tests drive the same lab as
//! `cargo xtask demo`.

pub mod demo;
pub mod lab;
