//! The answers to questions for the node's name, by the configuration in force.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anycast_lb_common::abi::Question;
use anycast_lb_identity::driver::{self, Lookup};
use anycast_lb_identity::{Counts, Disclosure, Settings};
use tokio::sync::{mpsc, watch};

use crate::daemon::run::Handle;
use crate::dataplane::Flow;
use crate::model::{Config, Identity, Protocol};

/// Answers, and follows the configuration.
pub struct Answers {
    settings: watch::Sender<Arc<Settings>>,
    lookup: Lookup,
    counts: Arc<Counts>,
}

impl Answers {
    /// Answers the questions that come by this channel, none before the first [`configure`](Self::configure).
    pub fn start(daemon: Handle, questions: mpsc::Receiver<Question>) -> Self {
        let (settings, in_force) = watch::channel(Arc::default());
        let counts = Arc::new(Counts::default());
        let lookup = lookup(daemon);
        tokio::spawn(driver::run(questions, in_force, Arc::clone(&lookup), Arc::clone(&counts)));
        Answers { settings, lookup, counts }
    }

    /// This is in force.
    pub fn configure(&self, config: &Config) {
        let new = settings(config);
        if **self.settings.borrow() == new {
            return;
        }
        self.warm_up(&new);
        self.settings.send_replace(Arc::new(new));
    }

    /// The first question about a backend loads the program a second time, which may take longer than a client
    /// waits: so one is put before anybody asks.
    fn warm_up(&self, settings: &Settings) {
        let mut named = settings.services.iter().filter(|(_, told)| **told == Disclosure::Backend);
        let Some(((address, port), _)) = named.next().filter(|_| !settings.named_to.is_empty()) else {
            return;
        };
        // Of a prefix for documentation (RFC 5737, RFC 3849): it is nobody's flow.
        let client = match address {
            IpAddr::V4(_) => IpAddr::from([192, 0, 2, 1]),
            IpAddr::V6(_) => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]),
        };
        let server = SocketAddr::new(*address, port.unwrap_or(53));
        tokio::spawn((self.lookup)(SocketAddr::new(client, 40_000), server));
    }

    /// What became of questions so far.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }
}

/// The backend of a flow, as the program itself says.
fn lookup(daemon: Handle) -> Lookup {
    Arc::new(move |source: SocketAddr, destination: SocketAddr| {
        let daemon = daemon.clone();
        Box::pin(async move {
            let flow = Flow { protocol: Protocol::Udp, source, destination };
            let traced = daemon.inspect(move |view| view.dataplane.trace(&flow)).await;
            traced.ok()?.ok()?.backend
        })
    })
}

fn settings(config: &Config) -> Settings {
    // A VIP of UDP counts before one of all protocols at the same address: it comes later.
    let mut by_udp: Vec<_> = config.vips.iter().filter(|vip| vip.key.protocol != Protocol::Tcp).collect();
    by_udp.sort_by_key(|vip| vip.key.protocol == Protocol::Udp);
    let disclosure = |identity| match identity {
        Identity::Off => Disclosure::Off,
        Identity::Node => Disclosure::Node,
        Identity::Backend => Disclosure::Backend,
    };
    Settings {
        node: config.node.clone(),
        pop: config.pop.clone(),
        services: by_udp
            .into_iter()
            .map(|vip| ((vip.key.address, vip.key.port), disclosure(vip.identity)))
            .collect(),
        vips: config.vips.iter().map(|vip| vip.key.address).collect(),
        named_to: config.identity_clients.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::testing;
    use crate::model::{Vip, VipKey};

    #[test]
    fn what_udp_can_reach_is_known_and_udp_counts_before_all_protocols() {
        let mut config = testing::config();
        let vip = |key: &str, identity| {
            let key: VipKey = key.parse().expect("a VIP");
            Vip { key, identity, ..testing::config().vips[0].clone() }
        };
        config.vips = vec![
            vip("203.0.113.53:*/udp", Identity::Node),
            vip("203.0.113.53/any", Identity::Backend),
            vip("203.0.113.54/any", Identity::Backend),
            vip("203.0.113.55:53/tcp", Identity::Off),
            vip("203.0.113.53:5353/udp", Identity::Off),
        ];
        let settings = settings(&config);
        let address = |text: &str| text.parse::<std::net::IpAddr>().expect("an address");
        let expected = [
            ((address("203.0.113.53"), None), Disclosure::Node),
            ((address("203.0.113.53"), Some(5353)), Disclosure::Off),
            ((address("203.0.113.54"), None), Disclosure::Backend),
        ];
        assert_eq!(settings.services, expected.into());
        assert!(settings.vips.contains(&address("203.0.113.55")));
    }
}
