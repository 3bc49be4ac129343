//! What `host::check` finds is really there, and the commands it names really mend it.

use std::net::IpAddr;
use std::time::Duration;

use anycast_lb::host::{Finding, Severity, check};
use anycast_lb::model::{
    Announcing, Backend, BackendState, Config, Control, Encapsulation, FlowHash, HopLimits, Interface, Pool,
    Protocol, Role, TableKind, Vip, VipKey, XdpMode,
};
use anyhow::{Context, Result, ensure};

use crate::lab::namespace::Namespace;

/// A host with `eth0` (10.78.0.2/24) and its neighbour at the other end of the cable.
struct Host {
    host: Namespace,
    _peer: Namespace,
}

impl Host {
    fn new() -> Result<Self> {
        let host = Namespace::new()?;
        let peer = Namespace::new()?;
        host.ip(&format!("link add eth0 type veth peer name eth0 netns {}", peer.tid))?;
        for (number, side) in [(2, &host), (11, &peer)] {
            side.ip("link set eth0 up")?;
            side.ip(&format!("addr add 10.78.0.{number}/24 dev eth0"))?;
        }
        Ok(Host { host, _peer: peer })
    }

    fn check(&self, role: Role) -> Result<Vec<Finding>> {
        self.host.run(move || check(&config(role)))
    }

    /// Runs the commands of all findings, as an operator would.
    fn mend(&self, findings: &[Finding]) -> Result<()> {
        for finding in findings {
            if let Some(fix) = &finding.fix {
                self.host.command("sh", &["-c", fix]).with_context(|| format!("{finding:?}"))?;
            }
        }
        Ok(())
    }
}

fn config(role: Role) -> Config {
    let vip = |address: [u8; 4]| Vip {
        key: VipKey { address: IpAddr::from(address), port: Some(443), protocol: Protocol::Tcp },
        pool: "web".into(),
        second_chance: true,
        hash: FlowHash::default(),
        quic: false,
        mss_clamp: false,
        identity: Default::default(),
    };
    let ipv6 = Vip {
        key: VipKey { address: IpAddr::from([0xfd78, 0, 0, 0, 0, 0, 0, 1]), ..vip([0; 4]).key },
        ..vip([0; 4])
    };
    let backend = Backend {
        address: IpAddr::from([10, 78, 0, 11]),
        weight: 100,
        state: BackendState::Active,
        pop: None,
    };
    let pool = Pool {
        name: "web".into(),
        encapsulation: Encapsulation::Gue,
        table: TableKind::Rendezvous,
        slots: 16_384,
        margin_ppm: 30_000,
        hops: 3,
        rescue: vec![],
        fill_time: Duration::from_secs(10),
        drain_timeout: Duration::from_secs(1800),
        backends: vec![backend],
        quic: None,
        health: Default::default(),
    };
    Config {
        role,
        node: "node".into(),
        pop: "pop".into(),
        instance: "default".into(),
        bpffs: "/sys/fs/bpf".into(),
        state_dir: "/var/lib/anycast-lb".into(),
        seed: None,
        unmatched_pass: false,
        sources: vec![],
        interfaces: vec![Interface { name: "eth0".into(), mode: XdpMode::Auto }],
        control: Control::on_socket("/run/anycast-lb/control.sock"),
        pools: if role == Role::Ingress { vec![pool] } else { vec![] },
        // One inside the subnet of eth0, one from elsewhere.
        vips: vec![vip([10, 78, 0, 100]), vip([203, 0, 113, 1]), ipv6],
        prefixes: vec![],
        allowed_senders: vec![],
        hop_limits: HopLimits::default(),
        identity_clients: Vec::new(),
        rpki: Default::default(),
        bmp: None,
        metrics: None,
        page: None,
        flow_log: None,
        seed_previous: None,
        drained_pops: Vec::new(),
        announcing: Announcing::default(),
    }
}

fn find<'a>(findings: &'a [Finding], words: &str) -> Result<&'a Finding> {
    findings
        .iter()
        .find(|f| f.what.contains(words))
        .with_context(|| format!("no \"{words}\" in {findings:#?}"))
}

#[test]
fn the_commands_mend_a_backend() -> Result<()> {
    let lab = Host::new()?;
    lab.host.ip("addr add 203.0.113.1/24 dev eth0")?;
    lab.host.command("sysctl", &["-w", "net.ipv4.conf.all.rp_filter=1"])?;
    lab.host.command("sysctl", &["-w", "net.ipv6.conf.eth0.disable_ipv6=1"])?;
    lab.host.ip("link set eth0 down")?;

    let findings = lab.check(Role::Backend)?;
    for (words, severity) in [
        ("eth0 is down", Severity::Error),
        ("VIP 10.78.0.100 is not an address of this host", Severity::Error),
        ("VIP fd78::1 is not an address of this host", Severity::Error),
        ("VIP 203.0.113.1 is on eth0", Severity::Warning),
        ("strict reverse path filtering is in force on eth0", Severity::Error),
        ("IPv6 is switched off on eth0", Severity::Error),
    ] {
        ensure!(find(&findings, words)?.severity == severity, "{words}: {findings:#?}");
    }
    lab.mend(&findings)?;
    // Only now are the VIPs where ARP settings matter.
    let findings = lab.check(Role::Backend)?;
    ensure!(find(&findings, "arp_ignore")?.severity == Severity::Warning, "{findings:#?}");
    ensure!(find(&findings, "arp_announce")?.severity == Severity::Warning, "{findings:#?}");
    lab.mend(&findings)?;
    let findings = lab.check(Role::Backend)?;
    ensure!(findings.is_empty(), "left after mending: {findings:#?}");
    Ok(())
}

#[test]
fn the_commands_mend_an_ingress_node() -> Result<()> {
    let lab = Host::new()?;
    lab.host.ip("addr add 203.0.113.1/32 dev lo")?;
    let findings = lab.check(Role::Ingress)?;
    ensure!(
        find(&findings, "VIP 203.0.113.1 is an address of this ingress node")?.severity == Severity::Warning
    );
    find(&findings, "eth0 carries 1500 bytes to pool web, a full packet needs 1548")?;
    lab.mend(&findings)?;
    let findings = lab.check(Role::Ingress)?;
    ensure!(findings.is_empty(), "left after mending: {findings:#?}");
    Ok(())
}

#[test]
fn what_hides_from_xdp_is_named_and_mended() -> Result<()> {
    let lab = Host::new()?;
    let tags = "VLAN offload hides tags at eth0";
    lab.host.command("ethtool", &["-K", "eth0", "rxvlan", "on", "rx-vlan-stag-hw-parse", "off"])?;
    let findings = lab.check(Role::Ingress)?;
    let found = find(&findings, tags)?;
    ensure!(found.severity == Severity::Info, "{found:?}");
    ensure!(found.fix.as_deref() == Some("ethtool -K eth0 rxvlan off"), "{found:?}");
    lab.mend(&findings)?;
    ensure!(find(&lab.check(Role::Ingress)?, tags).is_err(), "it is off and still named");

    // Native mode is refused for frames that do not fit into a page, and generic mode is had instead.
    use aya::programs::{Xdp, xdp::XdpMode as Attach};
    lab.host.ip("link set eth0 mtu 9000")?;
    let object = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bpf/xdp-pass.o");
    let attached = lab.host.run(move || {
        let mut ebpf = aya::Ebpf::load_file(object).context("built by: cargo xtask setup")?;
        let program: &mut Xdp = ebpf.program_mut("pass").context("no program \"pass\"")?.try_into()?;
        program.load()?;
        program.attach("eth0", Attach::Skb)?;
        anyhow::Ok(ebpf)
    })??;
    let findings = lab.check(Role::Ingress)?;
    let found = find(&findings, "the MTU of eth0, 9000")?;
    ensure!(found.fix.as_deref() == Some("ip link set dev eth0 mtu 3498"), "{found:?}");
    lab.host.command("sh", &["-c", found.fix.as_deref().unwrap_or_default()])?;
    ensure!(find(&lab.check(Role::Ingress)?, "the MTU of eth0").is_err(), "it fits and is still named");
    drop(attached);
    Ok(())
}

#[test]
fn a_foreign_program_is_found_by_name() -> Result<()> {
    use aya::programs::{Xdp, xdp::XdpMode};

    let lab = Host::new()?;
    let object = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bpf/xdp-pass.o");
    let attached = lab.host.run(move || {
        let mut ebpf =
            aya::Ebpf::load_file(object).context("the eBPF objects are built by: cargo xtask setup")?;
        let program: &mut Xdp = ebpf.program_mut("pass").context("no program \"pass\"")?.try_into()?;
        program.load()?;
        program.attach("eth0", XdpMode::Skb)?;
        anyhow::Ok(ebpf)
    })??;
    let findings = lab.check(Role::Ingress)?;
    let finding = find(&findings, "the XDP program \"pass\" (id ")?;
    ensure!(
        finding.severity == Severity::Error && finding.what.ends_with("is attached to eth0"),
        "{finding:?}"
    );
    ensure!(finding.fix.as_deref() == Some("ip link set dev eth0 xdpgeneric off"), "{finding:?}");
    drop(attached);
    Ok(())
}
