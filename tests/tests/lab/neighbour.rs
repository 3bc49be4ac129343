//! The resolver follows what happens to routes, links and neighbours of a real kernel.

mod stage;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use anycast_lb::neighbour::{Event, Resolution};
use anyhow::{Context, Result, ensure};
use tokio::time::Instant;

use stage::{DEADLINE, Lab, hold_tun, managed};

const MAC_THERE_WEST: [u8; 6] = [2, 0, 0, 0, 1, 2];
/// Each report of a route takes about 700 bytes of the socket's buffer, which holds some 400 KiB.
const ROUTES_BEYOND_ANY_BUFFER: u32 = 8000;
const MAC_THERE_EAST: [u8; 6] = [2, 0, 0, 0, 2, 2];

#[test]
fn resolves_both_families_and_reports_own_addresses() -> Result<()> {
    Lab::new()?.tell(vec![], |mut w| async move {
        let locals = w.wait("own addresses", |e| match e {
            Event::Locals(locals) => Some(locals.clone()),
            _ => None,
        });
        let locals = locals.await?;
        for own in ["10.77.1.1", "10.77.2.1", "fd77:1::1", "fd77:2::1"] {
            ensure!(locals.contains(&own.parse()?), "{own} is missing in {locals:?}");
        }
        ensure!(!locals.iter().any(IpAddr::is_loopback), "loopback in {locals:?}");

        w.targets(&["10.77.1.2", "fd77:2::2"]).await?;
        let hop = w.resolved("10.77.1.2", "IPv4 on the link", |_| true).await?;
        ensure!(hop.interface == "west" && hop.ifindex > 0 && hop.mtu == 1500, "{hop:?}");
        ensure!(hop.source == "10.77.1.1".parse::<IpAddr>()? && hop.gateway.is_none(), "{hop:?}");
        ensure!(hop.source_mac == [2, 0, 0, 0, 1, 1] && hop.destination_mac == MAC_THERE_WEST, "{hop:?}");
        w.targets(&["10.77.1.2", "fd77:2::2", "fd77:1::2"]).await?;
        let hop = w.resolved("fd77:1::2", "IPv6 on the link", |_| true).await?;
        ensure!(hop.interface == "west" && hop.source == "fd77:1::1".parse::<IpAddr>()?, "{hop:?}");
        ensure!(hop.destination_mac == MAC_THERE_WEST && hop.gateway.is_none(), "{hop:?}");
        w.resolver.shutdown().await;
        Ok(())
    })
}

#[test]
fn honours_gateways_of_either_family_the_route_mtu_and_the_configured_source() -> Result<()> {
    let sources = vec!["10.77.2.1".parse()?];
    Lab::new()?.tell(sources, |mut w| async move {
        w.ip("route add 10.77.9.1/32 via 10.77.1.2 mtu 1400")?;
        w.ip("route add 10.77.9.2/32 via inet6 fd77:2::2")?;
        w.ip("-6 route add fd77:9::1/128 via fd77:1::2")?;
        w.targets(&["10.77.9.1"]).await?;
        let hop = w.resolved("10.77.9.1", "a gateway", |_| true).await?;
        ensure!(hop.gateway == Some("10.77.1.2".parse()?) && hop.mtu == 1400, "{hop:?}");
        ensure!(hop.source == "10.77.2.1".parse::<IpAddr>()?, "{hop:?}");
        w.targets(&["10.77.9.2"]).await?;
        let hop = w.resolved("10.77.9.2", "IPv4 via IPv6", |_| true).await?;
        ensure!(hop.gateway == Some("fd77:2::2".parse()?) && hop.interface == "east", "{hop:?}");
        ensure!(hop.destination_mac == MAC_THERE_EAST, "{hop:?}");
        w.targets(&["fd77:9::1"]).await?;
        let hop = w.resolved("fd77:9::1", "an IPv6 gateway", |_| true).await?;
        ensure!(hop.gateway == Some("fd77:1::2".parse()?), "{hop:?}");
        ensure!(hop.source == "fd77:1::1".parse::<IpAddr>()?, "no IPv6 source is configured: {hop:?}");
        w.resolver.shutdown().await;
        Ok(())
    })
}

#[test]
fn says_why_a_target_is_out_of_reach() -> Result<()> {
    Lab::new()?.tell(vec![], |mut w| async move {
        w.ip("tuntap add dev tun7 mode tun")?;
        let tun = hold_tun("tun7")?;
        w.ip("link set tun7 up")?;
        w.ip("route add 10.77.7.0/24 dev tun7 src 10.77.1.1")?;
        w.ip("route add blackhole 10.77.8.0/24")?;
        w.targets(&["10.77.1.1", "192.0.2.1", "10.77.7.1", "10.77.8.1"]).await?;
        w.unresolved("10.77.1.1", "is an address of this host").await?;
        w.targets(&["192.0.2.1"]).await?;
        w.unresolved("192.0.2.1", "no route to 192.0.2.1").await?;
        w.targets(&["10.77.7.1"]).await?;
        w.unresolved("10.77.7.1", "no Ethernet address").await?;
        w.targets(&["10.77.8.1"]).await?;
        w.unresolved("10.77.8.1", "no route to 10.77.8.1").await?;
        // A route that appears is taken at once.
        w.targets(&["10.77.9.1"]).await?;
        w.unresolved("10.77.9.1", "no route").await?;
        w.ip("route add 10.77.9.0/24 via 10.77.2.2")?;
        w.resolved("10.77.9.1", "the new route", |hop| hop.interface == "east").await?;
        drop(tun);
        w.resolver.shutdown().await;
        Ok(())
    })
}

#[test]
fn follows_a_neighbour_that_announces_its_new_mac() -> Result<()> {
    Lab::new()?.tell(vec![], |mut w| async move {
        w.targets(&["10.77.1.2"]).await?;
        w.resolved("10.77.1.2", "the first MAC", |hop| hop.destination_mac == MAC_THERE_WEST).await?;
        // With arp_notify a host that comes up tells everyone, as cluster software does on failover.
        w.there.command("sysctl", &["-w", "net.ipv4.conf.west.arp_notify=1"])?;
        w.there.ip("link set west down")?;
        w.there.ip("link set west address 02:00:00:00:01:99")?;
        w.there.ip("link set west up")?;
        w.resolved("10.77.1.2", "the new MAC", |hop| hop.destination_mac == [2, 0, 0, 0, 1, 0x99]).await?;
        w.resolver.shutdown().await;
        Ok(())
    })
}

#[test]
fn follows_a_neighbour_whose_mac_changes_in_silence() -> Result<()> {
    let lab = Lab::new()?;
    // Quicker than the usual half minute.
    for family in ["ipv4", "ipv6"] {
        for (setting, value) in
            [("base_reachable_time_ms", 500), ("delay_first_probe_time", 1), ("retrans_time_ms", 200)]
        {
            lab.here.command("sysctl", &["-w", &format!("net.{family}.neigh.west.{setting}={value}")])?;
        }
    }
    lab.tell(vec![], |mut w| async move {
        w.targets(&["10.77.1.2"]).await?;
        w.resolved("10.77.1.2", "the first MAC", |hop| hop.destination_mac == MAC_THERE_WEST).await?;
        w.targets(&["10.77.1.2", "fd77:1::2"]).await?;
        w.resolved("fd77:1::2", "the first MAC", |hop| hop.destination_mac == MAC_THERE_WEST).await?;
        // Nobody sends anything in either direction: the kernel has to find out by itself.
        w.there.ip("link set west address 02:00:00:00:01:99")?;
        let moved = |event: &Event| match event {
            Event::NextHop { backend, resolution: Resolution::Resolved(hop) } => {
                (hop.destination_mac == [2, 0, 0, 0, 1, 0x99]).then_some(*backend)
            }
            _ => None,
        };
        let first = w.wait("the new MAC", moved).await?;
        w.wait("the new MAC of the other", |event| moved(event).filter(|backend| *backend != first)).await?;
        w.resolver.shutdown().await;
        Ok(())
    })
}

#[test]
fn follows_a_route_that_moves_to_another_interface() -> Result<()> {
    Lab::new()?.tell(vec![], |mut w| async move {
        w.ip("route add 10.77.9.1/32 via 10.77.1.2")?;
        w.ip("-6 route add fd77:9::1/128 via fd77:1::2")?;
        w.targets(&["10.77.9.1"]).await?;
        w.resolved("10.77.9.1", "west", |hop| hop.interface == "west").await?;
        w.ip("route replace 10.77.9.1/32 via 10.77.2.2")?;
        let hop = w.resolved("10.77.9.1", "east", |hop| hop.interface == "east").await?;
        ensure!(hop.destination_mac == MAC_THERE_EAST && hop.source_mac == [2, 0, 0, 0, 2, 1], "{hop:?}");
        w.targets(&["fd77:9::1"]).await?;
        w.resolved("fd77:9::1", "west", |hop| hop.interface == "west").await?;
        w.ip("-6 route replace fd77:9::1/128 via fd77:2::2")?;
        w.resolved("fd77:9::1", "east", |hop| hop.interface == "east").await?;
        w.resolver.shutdown().await;
        Ok(())
    })
}

#[test]
fn follows_a_link_that_goes_down_and_comes_back() -> Result<()> {
    Lab::new()?.tell(vec![], |mut w| async move {
        w.ip("route add 10.77.9.1/32 via 10.77.1.2 metric 10")?;
        w.targets(&["10.77.1.2"]).await?;
        w.resolved("10.77.1.2", "the start", |_| true).await?;
        // The far end goes: no carrier here, the routes stay.
        w.there.ip("link set west down")?;
        w.wait("the link going down", |e| match e {
            Event::LinkDown { interface } if interface == "west" => Some(()),
            _ => None,
        })
        .await?;
        w.unresolved("10.77.1.2", "west, on the way to 10.77.1.2, has no carrier").await?;
        w.there.ip("link set west up")?;
        w.wait("the link coming up", |e| match e {
            Event::LinkUp { interface } if interface == "west" => Some(()),
            _ => None,
        })
        .await?;
        w.resolved("10.77.1.2", "the return", |hop| hop.destination_mac == MAC_THERE_WEST).await?;
        // The near end goes: the routes go with it.
        w.ip("link set west down")?;
        w.unresolved("10.77.1.2", "no route to 10.77.1.2").await?;
        w.ip("link set west up")?;
        w.resolved("10.77.1.2", "the second return", |hop| hop.destination_mac == MAC_THERE_WEST).await?;
        w.resolver.shutdown().await;
        Ok(())
    })
}

#[test]
fn finds_a_backend_that_appears_late() -> Result<()> {
    Lab::new()?.tell(vec![], |mut w| async move {
        w.targets(&["10.77.1.7", "fd77:1::7"]).await?;
        w.unresolved("10.77.1.7", "no answer to ARP from 10.77.1.7 on west").await?;
        w.there.ip("addr add 10.77.1.7/24 dev west")?;
        w.there.ip("addr add fd77:1::7/64 dev west nodad")?;
        w.resolved("10.77.1.7", "the late backend", |hop| hop.destination_mac == MAC_THERE_WEST).await?;
        w.targets(&["10.77.1.7", "fd77:1::7", "fd77:1::8"]).await?;
        w.unresolved("fd77:1::8", "no answer to neighbour discovery from fd77:1::8 on west").await?;
        w.resolver.shutdown().await;
        let (_, list) = managed()?;
        ensure!(
            !list.contains("::8") && !list.contains("1.7"),
            "entries asked about repeatedly are left: {list}"
        );
        Ok(())
    })
}

#[test]
fn keeps_neighbours_managed_and_takes_only_its_own_away() -> Result<()> {
    let lab = Lab::new()?;
    lab.there.ip("addr add 10.77.1.3/24 dev west")?;
    lab.there.ip("addr add 10.77.1.8/24 dev west")?;
    lab.here.ip("neigh add 10.77.1.9 lladdr 02:00:00:00:09:09 dev west nud permanent")?;
    lab.here.ip("neigh add 10.77.1.8 lladdr 02:00:00:00:01:02 dev west nud stale")?;
    lab.tell(vec![], |mut w| async move {
        w.targets(&["10.77.1.9"]).await?;
        let hop = w.resolved("10.77.1.9", "the operator's entry", |_| true).await?;
        ensure!(hop.destination_mac == [2, 0, 0, 0, 9, 9], "{hop:?}");
        w.targets(&["10.77.1.9", "10.77.1.8"]).await?;
        w.resolved("10.77.1.8", "a stale entry's MAC", |hop| hop.destination_mac == MAC_THERE_WEST).await?;
        w.targets(&["10.77.1.9", "10.77.1.8", "10.77.1.2"]).await?;
        w.resolved("10.77.1.2", "one neighbour", |_| true).await?;
        w.targets(&["10.77.1.9", "10.77.1.8", "10.77.1.2", "fd77:1::2"]).await?;
        w.resolved("fd77:1::2", "another neighbour", |_| true).await?;
        let (addresses, list) = managed()?;
        ensure!(addresses == ["10.77.1.2", "10.77.1.8", "fd77:1::2"], "managed: {addresses:?} in\n{list}");

        // A target that goes takes its entry along, the others stay.
        w.targets(&["10.77.1.9", "10.77.1.8", "10.77.1.2", "10.77.1.3"]).await?;
        w.resolved("10.77.1.3", "a third neighbour", |_| true).await?;
        let (addresses, list) = managed()?;
        ensure!(addresses == ["10.77.1.2", "10.77.1.3", "10.77.1.8"], "managed: {addresses:?} in\n{list}");
        // One that somebody deletes is made again, without a gap in between.
        w.ip("neigh del 10.77.1.2 dev west")?;
        let deadline = Instant::now() + DEADLINE;
        while managed()?.0 != ["10.77.1.2", "10.77.1.3", "10.77.1.8"] {
            ensure!(Instant::now() < deadline, "not managed again: {}", managed()?.1);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        ensure!(
            !std::iter::from_fn(|| w.events.try_recv().ok()).any(|e| matches!(e, Event::NextHop { .. })),
            "a deleted entry was taken for a lost backend"
        );

        w.resolver.shutdown().await;
        let (addresses, list) = managed()?;
        ensure!(addresses.is_empty(), "still managed: {addresses:?}");
        ensure!(
            list.contains("10.77.1.9 dev west lladdr 02:00:00:00:09:09 PERMANENT"),
            "operator's entry: {list}"
        );
        ensure!(list.contains("10.77.1.8 dev west"), "an entry that was there before is gone: {list}");
        for ours in ["10.77.1.2", "10.77.1.3"] {
            ensure!(!list.contains(&format!("{ours} dev")), "{ours} is still there: {list}");
        }
        Ok(())
    })
}

#[test]
fn reads_everything_again_after_lost_events() -> Result<()> {
    Lab::new()?.tell(vec![], |mut w| async move {
        w.targets(&["10.77.1.2"]).await?;
        w.resolved("10.77.1.2", "the start", |hop| hop.source_mac == [2, 0, 0, 0, 1, 1]).await?;
        // This blocks the only thread of the runtime, so that nobody reads while the kernel reports
        // far more routes than any socket buffer holds; the change of the MAC comes last and is lost.
        let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn()?;
        let mut batch = ip.stdin.take().context("stdin is piped")?;
        for n in 0..ROUTES_BEYOND_ANY_BUFFER {
            writeln!(batch, "route add 10.99.{}.{}/32 dev east", n >> 8, n & 255)?;
        }
        writeln!(batch, "link set west address 02:00:00:00:01:77")?;
        drop(batch);
        ensure!(ip.wait()?.success(), "ip -batch failed");
        w.resolved("10.77.1.2", "the new MAC of our own", |hop| hop.source_mac == [2, 0, 0, 0, 1, 0x77])
            .await?;
        w.resolver.shutdown().await;
        Ok(())
    })
}

#[test]
fn resolves_a_thousand_targets() -> Result<()> {
    Lab::new()?.tell(vec![], |mut w| async move {
        w.ip("route add 10.88.0.0/16 via 10.77.1.2")?;
        let targets: Vec<IpAddr> =
            (0..1000u16).map(|n| IpAddr::from([10, 88, (n >> 8) as u8, n as u8])).collect();
        w.resolver.set_targets(targets.clone()).await;
        for (via, interface) in [("10.77.1.2", "west"), ("10.77.2.2", "east")] {
            w.ip(&format!("route replace 10.88.0.0/16 via {via}"))?;
            let mut missing: BTreeSet<_> = targets.iter().copied().collect();
            w.wait(interface, |event| {
                if let Event::NextHop { backend, resolution: Resolution::Resolved(hop) } = event
                    && hop.interface == interface
                {
                    missing.remove(backend);
                }
                missing.is_empty().then_some(())
            })
            .await?;
        }
        w.resolver.shutdown().await;
        Ok(())
    })
}
