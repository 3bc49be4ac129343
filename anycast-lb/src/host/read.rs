//! Reads the host: netlink, `/proc/sys`, `/sys` and [`super::ethtool`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::thread;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp, XdpAttached,
};

use super::ethtool;
use super::facts::{Address, Facts, Link, TYPICAL_CLIENT, Xdp, disable_ipv6_name, ipv4_name};
use super::ingress::NEIGHBOUR_LIMIT;
use crate::model::Config;
use crate::neighbour;

const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";

/// Why the host could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("netlink: {0}")]
    Socket(#[from] io::Error),
    #[error("netlink: {0}")]
    Netlink(#[from] rtnetlink::Error),
    #[error("reading it failed half-way")]
    Panicked,
}

/// Gathers the facts about the calling thread's network namespace.
pub(super) fn facts(config: &Config) -> Result<Facts, ReadError> {
    // A thread and a runtime of its own, so that the caller may be async or not; a new thread is in
    // the network namespace of the one that starts it.
    let tables =
        thread::scope(|scope| scope.spawn(|| tables(config)).join().map_err(|_| ReadError::Panicked))??;
    Ok(Facts {
        kernel: nix::sys::utsname::uname()
            .map_or_else(|_| String::new(), |u| u.release().to_string_lossy().into_owned()),
        btf: fs::exists(KERNEL_TYPES).unwrap_or(false),
        sysctls: sysctls(&tables.links),
        ..tables
    })
}

fn tables(config: &Config) -> Result<Facts, ReadError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let kernel = neighbour::open()?;
        let mut links = Vec::new();
        let mut tagged = Vec::new();
        let mut messages = std::pin::pin!(kernel.handle.link().get().execute());
        while let Some(message) = messages.try_next().await? {
            links.push(link(&message));
            tagged.extend(tagged_on(&message));
        }
        let mut addresses = Vec::new();
        let mut messages = std::pin::pin!(kernel.handle.address().get().execute());
        while let Some(message) = messages.try_next().await? {
            addresses.extend(address(&message));
        }
        let mut questions: BTreeSet<IpAddr> =
            config.pools.iter().flat_map(|pool| &pool.backends).map(|backend| backend.address).collect();
        questions.insert(TYPICAL_CLIENT);
        let routes = kernel.routes(questions.into_iter().map(|address| (address, None)).collect()).await;
        name_programs(&mut links);
        for link in links.iter_mut().filter(|l| config.interfaces.iter().any(|i| i.name == l.name)) {
            link.offloads = ethtool::offloads(&link.name).unwrap_or_default();
            let on_top = tagged.iter().filter(|(below, _)| *below == link.index);
            link.tagged = on_top.map(|(_, name)| name.clone()).collect();
        }
        Ok(Facts { links, addresses, routes: routes.into_iter().collect(), ..Facts::default() })
    })
}

fn link(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        loopback: flags.contains(LinkFlags::Loopback),
        noarp: flags.contains(LinkFlags::Noarp),
        ..Link::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Xdp(xdp) => link.xdp = program(xdp),
            _ => {}
        }
    }
    link
}

/// If it is a VLAN device: the index of the interface below it, and its name.
fn tagged_on(message: &LinkMessage) -> Option<(u32, String)> {
    let is_vlan = message.attributes.iter().any(
        |a| matches!(a, LinkAttribute::LinkInfo(infos) if infos.contains(&LinkInfo::Kind(InfoKind::Vlan))),
    );
    let below = message.attributes.iter().find_map(|a| match a {
        LinkAttribute::Link(index) => Some(*index),
        _ => None,
    });
    let name = message.attributes.iter().find_map(|a| match a {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    });
    below.zip(name).filter(|_| is_vlan)
}

fn program(attributes: &[LinkXdp]) -> Option<Xdp> {
    let mode = attributes.iter().find_map(|a| match a {
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some("xdpgeneric"),
        LinkXdp::Attached(XdpAttached::Hardware) => Some("xdpoffload"),
        LinkXdp::Attached(_) => Some("xdpdrv"),
        _ => None,
    })?;
    attributes.iter().find_map(|a| match a {
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) | LinkXdp::HwProgId(id)
            if *id > 0 =>
        {
            Some(Xdp { id: *id, name: None, mode })
        }
        _ => None,
    })
}

/// Puts names to the programs on the interfaces, as far as the kernel tells (CAP_SYS_ADMIN).
fn name_programs(links: &mut [Link]) {
    if links.iter().all(|link| link.xdp.is_none()) {
        return;
    }
    let names: BTreeMap<u32, String> = aya::programs::loaded_programs()
        .filter_map(Result::ok)
        .filter_map(|info| Some((info.id(), info.name_as_str()?.to_owned())))
        .collect();
    for xdp in links.iter_mut().filter_map(|link| link.xdp.as_mut()) {
        xdp.name = names.get(&xdp.id).cloned();
    }
}

fn address(message: &AddressMessage) -> Option<Address> {
    let local = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    // Without IFA_LOCAL (IPv6) this is our address, with it the other end of a point-to-point link.
    let own = local.or_else(|| {
        message.attributes.iter().find_map(|a| match a {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })?;
    Some(Address {
        interface: message.header.index,
        network: IpNet::new(own, message.header.prefix_len).ok()?,
        duplicate: message.header.flags.contains(AddressHeaderFlags::Dadfailed),
    })
}

fn sysctls(links: &[Link]) -> BTreeMap<String, i64> {
    let scopes = links.iter().map(|link| link.name.as_str()).chain(["all"]);
    let per_interface = scopes.flat_map(|scope| {
        let ipv4 = ["rp_filter", "arp_ignore", "arp_announce"].map(|setting| ipv4_name(scope, setting));
        ipv4.into_iter().chain([disable_ipv6_name(scope)])
    });
    let limits = [NEIGHBOUR_LIMIT.0, NEIGHBOUR_LIMIT.1].map(str::to_owned);
    per_interface.chain(limits).filter_map(|name| Some((name.clone(), sysctl(&name)?))).collect()
}

/// Reads a setting by the name that `sysctl` knows: there, dots and slashes change places.
fn sysctl(name: &str) -> Option<i64> {
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let path: PathBuf = PathBuf::from("/proc/sys").join(name.chars().map(swap).collect::<String>());
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
