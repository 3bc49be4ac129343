//! `[metrics]`

use std::net::SocketAddr;

use crate::config::reader::Section;

/// Where metrics are served; none = nowhere.
pub(super) fn read(root: &Section<'_>) -> Option<SocketAddr> {
    let section = root.table("metrics")?;
    let listen = section.required("listen", "listen = \"127.0.0.1:9524\"").and_then(|field| {
        let listen = section.socket_address("listen")?.value;
        if listen.port() == 0 {
            field.problem("names port 0, which is any", "name a port, as in \"127.0.0.1:9524\"");
        }
        Some(listen)
    });
    section.finish();
    listen
}
