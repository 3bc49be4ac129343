//! Where the status page is served.

use std::net::SocketAddr;

use super::notices::assert_notices;
use super::{assert_mistakes, ingress, loaded};

fn page(text: &str) -> Option<SocketAddr> {
    loaded(&ingress(&format!("{text}\n"))).config.page
}

#[test]
fn it_is_off_unless_it_is_wanted_and_on_loopback_unless_told_otherwise() {
    assert_eq!(page(""), None);
    assert_eq!(page("[page]"), None);
    assert_eq!(page("[page]\nlisten = \"10.0.0.2:80\""), None);
    assert_eq!(page("[page]\nenabled = false"), None);
    assert_eq!(page("[page]\nenabled = true"), "127.0.0.1:9525".parse().ok());
    assert_eq!(page("[page]\nenabled = true\nlisten = \"[::1]:80\""), "[::1]:80".parse().ok());
}

#[test]
fn an_address_that_others_reach_is_worth_a_word() {
    let with = |listen: &str| {
        ingress(&format!(
            "[[vip]]
             address = \"203.0.113.1\"
             port = 443
             protocol = \"tcp\"
             pool = \"web\"
             [[pool]]
             name = \"web\"
             backend = [{{ address = \"10.0.0.1\" }}]
             [page]
             enabled = true
             listen = {listen}
             "
        ))
    };
    assert_notices(&with("\"127.0.0.2:9525\""));
    assert_notices(&with("\"[::1]:9525\""));
    assert_notices(&with("\"0.0.0.0:9525\" #~ page.listen: everyone who reaches this address can read"));
    assert_notices(&with("\"[fd00::2]:9525\" #~ page.listen: everyone who reaches"));
}

#[test]
fn what_is_no_address_is_a_mistake() {
    assert_mistakes(&ingress(
        "[page]\nenabled = true\nlisten = \"9525\" #~ page.listen | is not an address and a port\n",
    ));
    assert_mistakes(&ingress("[page]\nenabled = 1 #~ page.enabled\n"));
}
