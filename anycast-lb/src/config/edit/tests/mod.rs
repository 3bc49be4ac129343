//! Changes: what they make of a text, what is refused, what is on disk afterwards.

mod disk;
mod golden;
mod random;
mod refused;

use std::net::IpAddr;

use super::*;
use crate::config::tests::{Dir, ingress};

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn key(text: &str) -> VipKey {
    text.parse().expect("a vip")
}

fn add_vip(vip: &str, pool: &str) -> Edit {
    Edit::AddVip {
        key: key(vip),
        pool: pool.into(),
        hash: None,
        quic: false,
        mss_clamp: false,
        identity: None,
    }
}

fn remove_vip(vip: &str) -> Edit {
    Edit::RemoveVip { key: key(vip) }
}

fn add_pool(name: &str) -> Edit {
    Edit::AddPool { name: name.into(), encapsulation: None, table: None, slots: None }
}

fn add_backend(backend: &str, pool: &str) -> Edit {
    Edit::AddBackend {
        pool: pool.into(),
        address: address(backend),
        weight: None,
        pop: None,
        server_id: None,
    }
}

fn remove_backend(backend: &str, pool: Option<&str>) -> Edit {
    Edit::RemoveBackend { pool: pool.map(Into::into), address: address(backend) }
}

fn set_state(backend: &str, pool: Option<&str>, state: BackendState) -> Edit {
    Edit::SetState { pool: pool.map(Into::into), address: address(backend), state }
}

fn set_weight(backend: &str, pool: Option<&str>, weight: u32) -> Edit {
    Edit::SetWeight { pool: pool.map(Into::into), address: address(backend), weight }
}

/// The text after the changes; the entries below stand in an ingress node's file.
fn edited(entries: &str, edits: &[Edit]) -> String {
    let dir = Dir::new();
    let text = ingress("") + entries;
    let loaded = dir.load(&text).unwrap_or_else(|e| panic!("{e}\nin:\n{text}"));
    let prepared = prepare(&loaded.sources, edits).unwrap_or_else(|e| panic!("{e}\nin:\n{text}"));
    prepared.commit().expect("written");
    let after = dir.text("config.toml");
    let kept = after.strip_prefix(&ingress("")).unwrap_or_else(|| panic!("the start changed:\n{after}"));
    kept.to_owned()
}

/// Why the changes are refused, having seen that nothing was written.
fn refused(entries: &str, edits: &[Edit]) -> EditError {
    let dir = Dir::new();
    let text = ingress("") + entries;
    let loaded = dir.load(&text).expect("valid");
    let Err(error) = prepare(&loaded.sources, edits) else { panic!("accepted") };
    assert_eq!(dir.text("config.toml"), text);
    assert!(!error.hint().is_empty());
    error
}
