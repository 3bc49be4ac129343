//! The checks that a configuration asks for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anycast_lb_common::abi::{HEALTH_MARK, MemberNumber};
use anycast_lb_health::checker::Subject;
use anycast_lb_health::probe::Target;
use anycast_lb_health::schedule::Wanted;

use super::place;
use crate::membership::Key;
use crate::model::{Config, Role, Via};

/// One check for each backend of a pool that has checks. `number` is what the data plane calls a backend of a
/// pool: one that it does not know has been drained, or is not there yet, and is not checked. Without a `tunnel`
/// for them, checks that should go through it are not made: they would end anywhere, and mean nothing.
pub fn wanted(
    config: &Config,
    tunnel: bool,
    number: impl Fn(&str, IpAddr) -> Option<MemberNumber>,
) -> Vec<Wanted<Key, Subject>> {
    let mut out = Vec::new();
    if config.role != Role::Ingress {
        return out;
    }
    for pool in &config.pools {
        let Some(check) = &pool.health.check else { continue };
        let vips = config.vips.iter().filter(|v| v.pool == pool.name).map(|v| v.key);
        // What has no place is not checked; `check` and the log have said so.
        let Ok((vip, port)) = place(check, vips) else { continue };
        if check.via == Via::Tunnel && !tunnel {
            tracing::error!(
                pool = pool.name,
                "not checked: checks cannot go through the tunnel on this host, which takes Linux 6.6; \
                 write via = \"direct\""
            );
            continue;
        }
        let what = Arc::new(check.check.clone());
        for backend in &pool.backends {
            let Some(number) = number(&pool.name, backend.address) else { continue };
            let (address, mark) = match (check.via, vip) {
                (Via::Tunnel, Some(vip)) => (vip, Some(HEALTH_MARK | u32::from(number))),
                _ => (backend.address, None),
            };
            let target = Target {
                address: SocketAddr::new(address, port),
                backend: backend.address,
                vip,
                mark,
                source: None,
            };
            out.push(Wanted {
                key: (pool.name.clone(), backend.address),
                timing: check.timing,
                subject: Subject { check: Arc::clone(&what), target },
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::testing::{backend_address, config};
    use crate::model::HealthCheck;
    use anycast_lb_health::Timing;
    use anycast_lb_health::probe::Check;
    use std::time::Duration;

    fn checked(via: Via) -> Config {
        let timing =
            Timing { interval: Duration::from_secs(2), timeout: Duration::from_secs(1), rise: 2, fall: 3 };
        let mut config = config();
        config.pools[0].health.check = Some(HealthCheck { check: Check::Tcp, via, port: None, timing });
        config
    }

    fn targets(config: &Config) -> Vec<(IpAddr, String, Option<u32>)> {
        // 10.0.0.12 is in no table.
        let number = |pool: &str, address| (pool == "web" && address == backend_address(11)).then_some(7);
        let target = |w: Wanted<Key, Subject>| {
            let target = w.subject.target;
            assert_eq!(w.key, ("web".to_owned(), target.backend));
            (target.backend, target.address.to_string(), target.mark)
        };
        wanted(config, true, number).into_iter().map(target).collect()
    }

    #[test]
    fn by_way_of_the_tunnel_the_mark_tells_the_backend() {
        let mark = Some(0xa1b0_0007);
        let tunnel = [(backend_address(11), "203.0.113.1:443".to_owned(), mark)];
        assert_eq!(targets(&checked(Via::Tunnel)), tunnel);
        let direct = [(backend_address(11), "10.0.0.11:443".to_owned(), None)];
        assert_eq!(targets(&checked(Via::Direct)), direct);
        let on_a_backend = Config { role: Role::Backend, ..checked(Via::Direct) };
        assert_eq!((targets(&config()), targets(&on_a_backend)), (vec![], vec![]));
    }
}
