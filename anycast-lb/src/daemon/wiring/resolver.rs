//! The neighbour resolver as a port.

use std::net::IpAddr;

use tokio::sync::mpsc;

use crate::daemon::ports::ResolverPort;
use crate::neighbour::Resolver;

/// Hands targets to the resolver in order, without waiting for it.
pub struct Following(mpsc::UnboundedSender<Vec<IpAddr>>);

impl Following {
    /// Must be called inside a tokio runtime. The resolver ends with this.
    pub fn new(resolver: Resolver) -> Self {
        let (sender, mut targets) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(wanted) = targets.recv().await {
                resolver.set_targets(wanted).await;
            }
        });
        Following(sender)
    }
}

impl ResolverPort for Following {
    fn set_targets(&mut self, targets: Vec<IpAddr>) {
        // Fails only while the runtime goes down.
        let _ = self.0.send(targets);
    }
}
