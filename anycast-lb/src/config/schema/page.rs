//! `[page]`

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::reader::Section;
use crate::config::report::Report;

/// Where the status page is served unless told otherwise: to this host alone.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9525);

/// Where the page is to be served; none = nowhere.
pub(super) fn read(root: &Section<'_>, report: &Report<'_>) -> Option<SocketAddr> {
    let section = root.table("page")?;
    let enabled = section.boolean("enabled").is_some_and(|on| on.value);
    let listen = section.socket_address("listen");
    if enabled && let Some(listen) = listen.as_ref().filter(|l| !l.value.ip().to_canonical().is_loopback()) {
        let what = "everyone who reaches this address can read the page: it asks for no password";
        report.notice(listen.spot, &section.key("listen"), what);
    }
    section.finish();
    enabled.then(|| listen.map_or(DEFAULT_LISTEN, |l| l.value))
}
