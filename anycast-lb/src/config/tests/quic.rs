//! `quic = true` on a VIP, `[pool.quic]`, and who is named by which server ID.

use anycast_lb_common::abi::ServerIds;

use super::{assert_mistakes, ingress, loaded};

const VIP: &str = "[[vip]]
         address = \"203.0.113.1\"
         port = 443
         protocol = \"udp\"
         pool = \"web\"
         quic = true
         ";

/// IDs of the servers of pool `web`.
fn server_ids(pool: &str) -> (ServerIds, Vec<String>) {
    let config = loaded(&ingress(&format!("[[pool]]\nname = \"web\"\n{pool}\n{VIP}"))).config;
    let quic = config.pools[0].quic.as_ref().expect("a pool of QUIC");
    let id = |address| quic.server_id(address).expect("an ID");
    (quic.ids, config.pools[0].backends.iter().map(|b| id(b.address)).collect())
}

#[test]
fn every_backend_of_a_pool_of_quic_has_a_server_id() {
    let (ids, servers) = server_ids(
        "backend = [{ address = \"10.0.0.11\" }, { address = \"10.0.0.12\", server_id = \"00fF01\" }]",
    );
    assert_eq!(ids, ServerIds { config: 0, len: 3 });
    assert_eq!(servers, ["b9097a", "00ff01"]);
    let (ids, servers) = server_ids(
        "backend = [{ address = \"10.0.0.11\" }, { address = \"10.0.0.12\", server_id = \"00\" }]
         quic = { config = 6, server_id_length = 1 }",
    );
    assert_eq!(ids, ServerIds { config: 6, len: 1 });
    assert_eq!(servers, ["b9", "00"]);
    let without =
        loaded(&ingress("[[pool]]\nname = \"web\"\nbackend = [{ address = \"10.0.0.11\" }]\n")).config;
    assert_eq!(without.pools[0].quic, None);
}

#[test]
fn what_cannot_be_is_refused() {
    let pool = "[[pool]]
         name = \"web\"
         backend = [{ address = \"10.0.0.11\" }]
         ";
    assert_mistakes(&ingress(&format!(
        "{pool}
         [[vip]]
         address = \"203.0.113.1\"
         protocol = \"tcp\"
         pool = \"web\"
         quic = true #~ vip 203.0.113.1:*/tcp quic: QUIC is UDP, this VIP is tcp | protocol = \"udp\"
         "
    )));
    assert_mistakes(&ingress(&format!(
        "{pool}{VIP}second_chance = true #~ second_chance: and quic = true exclude one another
         "
    )));
    let numbers = "[pool.quic]
         config = 7 #~ pool \"web\" quic.config: 7 is out of range | 7 names nobody
         server_id_length = 0 #~ quic.server_id_length: 0 is out of range (1 to 6)
         ";
    assert_mistakes(&ingress(&format!("{pool}{numbers}")));
}

#[test]
fn server_ids_are_of_one_length_and_all_different() {
    let pool = |backends: &str| {
        assert_mistakes(&ingress(&format!("[[pool]]\nname = \"web\"\n{backends}{VIP}")));
    };
    for id in ["", "0", "00112", "00112233445566", "+a0b0c", "0x0a0b", "no"] {
        pool(&format!(
            "[[pool.backend]]
             address = \"10.0.0.11\"
             server_id = \"{id}\" #~ backend 10.0.0.11 server_id: | is no server ID | two for each octet
             "
        ));
    }
    pool(
        "[[pool.backend]]
         address = \"10.0.0.11\"
         server_id = \"0a0b\" #~ has 2 octets, server IDs of pool \"web\" have 3 | server_id_length = 2
         [[pool.backend]]
         address = \"10.0.0.12\"
         server_id = \"0a0b0c\"
         [[pool.backend]]
         address = \"10.0.0.13\"
         server_id = \"0A0B0C\" #~ backend 10.0.0.13 server_id: 0a0b0c is the server ID of 10.0.0.12, too
         [[pool.backend]]
         address = \"10.0.0.14\"
         server_id = \"b9097b\"
         ",
    );
    // The default ID of 10.0.0.11.
    pool(
        "[[pool.backend]]
         address = \"10.0.0.12\"
         server_id = \"b9097a\"
         [[pool.backend]]
         address = \"10.0.0.11\" #~ b9097a is the server ID of 10.0.0.12, too | 6 hexadecimal digits
         ",
    );
}
