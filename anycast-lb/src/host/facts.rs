//! What the checks are based on.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::neighbour::{Answer, Route};

/// An address for which a route lookup tells the way to a typical client: TEST-NET-1 (RFC 5737),
/// which nobody routes specially.
pub(super) const TYPICAL_CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

/// The host as it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// `uname -r`.
    pub(super) kernel: String,
    /// Whether `/sys/kernel/btf/vmlinux` exists.
    pub(super) btf: bool,
    pub(super) links: Vec<Link>,
    pub(super) addresses: Vec<Address>,
    /// Routes to backends and to [`TYPICAL_CLIENT`].
    pub(super) routes: BTreeMap<IpAddr, Answer>,
    /// Values by name, as `sysctl` writes them; those that exist.
    pub(super) sysctls: BTreeMap<String, i64>,
}

/// An interface.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mtu: u32,
    pub(super) up: bool,
    pub(super) carrier: bool,
    pub(super) loopback: bool,
    /// It neither asks nor answers ARP (dummy devices).
    pub(super) noarp: bool,
    pub(super) xdp: Option<Xdp>,
    /// What the NIC does to packets before XDP sees them; read for configured interfaces only.
    pub(super) offloads: Offloads,
    /// VLAN devices on top of it.
    pub(super) tagged: Vec<String>,
}

/// Offloads that matter to XDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offloads {
    /// Customer VLAN tags are taken off.
    pub(super) vlan: Offload,
    /// Service VLAN tags are taken off.
    pub(super) service_vlan: Offload,
    /// Packets are merged by the driver (large receive offload).
    pub(super) lro: Offload,
    /// Packets are merged by the NIC.
    pub(super) gro_hw: Offload,
}

/// An offload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offload {
    pub(super) on: bool,
    /// It cannot be switched.
    pub(super) fixed: bool,
}

/// An XDP program on an interface.
#[derive(Clone, Debug)]
pub(super) struct Xdp {
    pub(super) id: u32,
    /// None if the kernel does not tell us.
    pub(super) name: Option<String>,
    /// Word by which `ip link set … off` takes it away: `xdpdrv`, `xdpgeneric` or `xdpoffload`.
    pub(super) mode: &'static str,
}

/// An address of the host.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) interface: u32,
    pub(super) network: IpNet,
    /// Another host had it first (RFC 4862 §5.4).
    pub(super) duplicate: bool,
}

impl Facts {
    /// The interface of this name.
    pub(super) fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The interface with this index.
    pub(super) fn link_at(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }

    /// Where the host has `address`.
    pub(super) fn holders(&self, address: IpAddr) -> impl Iterator<Item = (&Link, &Address)> {
        self.addresses
            .iter()
            .filter(move |a| a.network.addr() == address)
            .filter_map(|a| Some((self.link_at(a.interface)?, a)))
    }

    /// The route to `address`, if there is one that leaves the host.
    pub(super) fn route(&self, address: IpAddr) -> Option<(&Link, &Route)> {
        match self.routes.get(&address)? {
            Answer::Via(route) => Some((self.link_at(route.ifindex)?, route)),
            _ => None,
        }
    }

    /// What is in force for an IPv4 setting of which the kernel takes the larger of `all` and the
    /// interface's own (rp_filter, arp_ignore, arp_announce; ip-sysctl.rst).
    pub(super) fn ipv4_setting(&self, interface: &str, setting: &str) -> Option<i64> {
        let value = |scope: &str| self.sysctls.get(&ipv4_name(scope, setting)).copied();
        value("all").max(value(interface))
    }

    /// Kernel version as (major, minor).
    pub(super) fn kernel_version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.kernel.split(|c: char| !c.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

/// Name of an interface's IPv4 setting. A dot in an interface's name is a slash for `sysctl`.
pub(super) fn ipv4_name(interface: &str, setting: &str) -> String {
    format!("net.ipv4.conf.{}.{setting}", interface.replace('.', "/"))
}

/// Name of the setting that switches IPv6 off.
pub(super) fn disable_ipv6_name(interface: &str) -> String {
    format!("net.ipv6.conf.{}.disable_ipv6", interface.replace('.', "/"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A healthy host: `lo`, and `eth0` with 10.0.0.2/24 and jumbo frames, through which clients
    /// are reached.
    pub(in crate::host) fn healthy() -> Facts {
        let lo = Link {
            index: 1,
            name: "lo".into(),
            mtu: 65_536,
            up: true,
            carrier: true,
            loopback: true,
            ..Link::default()
        };
        let eth0 =
            Link { index: 2, name: "eth0".into(), mtu: 9000, up: true, carrier: true, ..Link::default() };
        let mut facts =
            Facts { kernel: "6.1.0-13-amd64".into(), btf: true, links: vec![lo, eth0], ..Facts::default() };
        facts.add("10.0.0.2/24", 2);
        facts.routes.insert(TYPICAL_CLIENT, via(2, Some("10.0.0.254")));
        facts
    }

    pub(in crate::host) fn via(ifindex: u32, gateway: Option<&str>) -> Answer {
        let gateway = gateway.map(|g| g.parse().expect("an address"));
        Answer::Via(Route { ifindex, gateway, source: None, mtu: None })
    }

    impl Facts {
        pub(in crate::host) fn add(&mut self, network: &str, interface: u32) {
            let network = network.parse().expect("a network");
            self.addresses.push(Address { interface, network, duplicate: false });
        }

        pub(in crate::host) fn set(&mut self, sysctl: &str, value: i64) {
            self.sysctls.insert(sysctl.into(), value);
        }
    }

    #[test]
    fn the_larger_of_all_and_the_interfaces_own_counts() {
        let mut facts = healthy();
        assert_eq!(facts.ipv4_setting("eth0", "rp_filter"), None);
        facts.set("net.ipv4.conf.all.rp_filter", 1);
        assert_eq!(facts.ipv4_setting("eth0", "rp_filter"), Some(1));
        facts.set("net.ipv4.conf.eth0.rp_filter", 2);
        assert_eq!(facts.ipv4_setting("eth0", "rp_filter"), Some(2));
        facts.set("net.ipv4.conf.eth0.rp_filter", 0);
        assert_eq!(facts.ipv4_setting("eth0", "rp_filter"), Some(1));
    }

    #[test]
    fn kernel_versions_of_all_distributions_are_read() {
        for (release, version) in [
            ("6.1.0-13-amd64", Some((6, 1))),
            ("5.14.0-427.el9.x86_64", Some((5, 14))),
            ("6.18", Some((6, 18))),
            ("x", None),
        ] {
            let facts = Facts { kernel: release.into(), ..Facts::default() };
            assert_eq!(facts.kernel_version(), version, "{release}");
        }
    }
}
