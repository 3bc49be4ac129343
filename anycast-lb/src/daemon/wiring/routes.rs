//! The RPKI guard and the BMP station, by the configuration in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use anycast_lb_routing::announce::gate::Verdict;
use anycast_lb_routing::bmp::{Own, Settings, Station};
use anycast_lb_routing::rpki::{Permission, Rpki};
use ipnet::IpNet;
use tokio::sync::Mutex;

use crate::daemon::run::Handle;
use crate::model::{Bmp, Config};

/// Keeps both as the configuration wants them.
#[derive(Clone)]
pub struct Watches {
    daemon: Handle,
    rpki: Rpki,
    station: Station,
    /// One at a time, so that the last one has seen the newest configuration.
    turn: Arc<Mutex<()>>,
}

impl Watches {
    /// For these.
    pub fn new(daemon: Handle, rpki: Rpki, station: Station) -> Self {
        tokio::spawn(permit(daemon.clone(), rpki.clone()));
        Watches { daemon, rpki, station, turn: Arc::default() }
    }

    /// The configuration in force may be another one. Returns at once.
    pub fn configure(&self) {
        let watches = self.clone();
        tokio::spawn(async move {
            let _turn = watches.turn.lock().await;
            // The loop, which has called this, answers when it is done.
            let asked =
                watches.daemon.inspect(|v| (v.core.config().rpki.clone(), settings(v.core.config()))).await;
            // If not, the daemon leaves.
            if let Ok((rpki, settings)) = asked {
                watches.rpki.configure(&rpki.validators, &rpki.routes);
                watches.station.configure(&settings);
            }
        });
    }
}

/// Tells the gate what the guard permits, whenever that changes, until the daemon leaves.
async fn permit(daemon: Handle, rpki: Rpki) {
    let mut permissions = rpki.permissions();
    let mut told: BTreeMap<IpNet, Verdict> = BTreeMap::new();
    loop {
        let verdict = |permission: &Permission| match permission {
            Permission::Permit => Verdict::Permit,
            Permission::Withhold(reason) => Verdict::Withhold(reason.clone()),
        };
        let now: BTreeMap<IpNet, Verdict> =
            permissions.borrow_and_update().iter().map(|(prefix, p)| (*prefix, verdict(p))).collect();
        // Of a prefix that nobody asks about any more, what was said last does not hold.
        let gone =
            told.keys().filter(|prefix| !now.contains_key(prefix)).map(|prefix| (*prefix, Verdict::Permit));
        let news = now.clone().into_iter().chain(gone).collect();
        if daemon.verdicts(news).await.is_err() || permissions.changed().await.is_err() {
            return;
        }
        told = now;
    }
}

fn settings(config: &Config) -> Settings {
    let Some(Bmp { listen, allowed, own_as }) = &config.bmp else { return Settings::default() };
    let own = config.rpki.routes.iter().map(|r| Own { prefix: r.prefix, origin: r.origin }).collect();
    Settings { listen: Some(*listen), allowed: allowed.clone(), own, ours: own_as.clone() }
}
