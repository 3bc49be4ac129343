//! Counts frames by kind as they pass, and keeps none.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use super::{Direction, Tap, dropped, receive};
use crate::lab::netns::Namespace;

/// A count under way.
#[derive(Debug)]
pub struct Census<K>(Tap<BTreeMap<K, u64>>);

impl<K: Ord + Send + 'static> Census<K> {
    /// Starts to count on an interface, both ways; `kind` says as what a frame counts, if at all.
    pub fn start(
        namespace: &Namespace,
        interface: &str,
        kind: impl Fn(Direction, &[u8]) -> Option<K> + Send + 'static,
    ) -> Result<Self> {
        let tap = Tap::start(namespace, interface, move |socket, stop| {
            let mut counts = BTreeMap::new();
            receive(socket, stop, |direction, bytes| {
                if let Some(kind) = kind(direction, bytes) {
                    *counts.entry(kind).or_default() += 1;
                }
            })?;
            let dropped = dropped(socket)?;
            ensure!(dropped == 0, "the kernel dropped {dropped} packets that were to be counted");
            Ok(counts)
        })?;
        Ok(Self(tap))
    }

    /// Stops, and returns how many of each kind passed; an error if the kernel had to drop some.
    pub fn finish(self) -> Result<BTreeMap<K, u64>> {
        self.0.finish()
    }
}
