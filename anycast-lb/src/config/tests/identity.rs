//! `identity` of a VIP and `identity_clients`.

use super::notices::assert_notices;
use super::{assert_mistakes, ingress, loaded};
use crate::model::Identity;

/// A node with one VIP of these properties, and root keys before it.
fn with(root: &str, vip: &str) -> String {
    let root = if root.is_empty() { String::new() } else { format!("{root}\n") };
    ingress(&format!(
        "{root}[[pool]]
         name = \"dns\"
         backend = [{{ address = \"10.0.0.53\" }}]
         [[vip]]
         address = \"203.0.113.53\"
         pool = \"dns\"
         {vip}
         "
    ))
}

#[test]
fn it_is_off_unless_asked_for() {
    let config = loaded(&with("", "protocol = \"udp\"")).config;
    assert_eq!((config.vips[0].identity, config.identity_clients.len()), (Identity::Off, 0));
    let clients = "identity_clients = [\"192.0.2.0/24\", \"2001:db8::/32\"]";
    let config = loaded(&with(clients, "protocol = \"any\"\nidentity = \"backend\"")).config;
    assert_eq!(config.vips[0].identity, Identity::Backend);
    assert_eq!(config.identity_clients[1].to_string(), "2001:db8::/32");
}

#[test]
fn only_what_udp_can_reach_is_asked() {
    assert_mistakes(&with(
        "",
        "port = 53
         protocol = \"tcp\"
         identity = \"node\" #~ vip 203.0.113.53:53/tcp identity: questions | come by UDP | protocol = \"udp\"",
    ));
    assert_mistakes(&with(
        "",
        "protocol = \"udp\"
         quic = true
         identity = \"node\" #~ identity: and quic = true exclude one another",
    ));
    assert_mistakes(&with("", "protocol = \"udp\"\nidentity = \"nodes\" #~ identity: | node"));
    assert_mistakes(&with("identity_clients = [\"192.0.2.1/24\"] #~ identity_clients", "protocol = \"udp\""));
    loaded(&with("", "protocol = \"tcp\"\nidentity = \"off\""));
}

#[test]
fn who_is_told_nothing_is_said() {
    assert_notices(&with(
        "",
        "protocol = \"udp\"
         identity = \"backend\" #~ vip 203.0.113.53:*/udp identity: backends are named to nobody",
    ));
    assert_notices(&with(
        "identity_clients = [\"192.0.2.0/24\"] #~ identity_clients: has no effect",
        "protocol = \"udp\"\nidentity = \"node\"",
    ));
    assert_notices(&with(
        "identity_clients = [\"192.0.2.0/24\"]",
        "protocol = \"udp\"\nidentity = \"backend\"",
    ));
}
