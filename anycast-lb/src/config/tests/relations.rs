//! What several values say together, with the line each mistake must name.

use super::{INTERFACE, assert_mistakes, backend, ingress};

/// Asserts the mistakes of an ingress node's file.
fn mistakes(rest: &str) {
    assert_mistakes(&ingress(rest));
}

#[test]
fn duplicate_vips_pools_backends_prefixes_interfaces() {
    mistakes(
        "[[pool]]
         name = \"web\"
         backend = [{ address = \"10.0.0.1\" }, { address = \"10.0.0.1\" }] #~ backend 10.0.0.1: stands already at | :6
         [[pool]]
         name = \"web\" #~ pool \"web\": stands already at | :5
         [[vip]]
         address = \"203.0.113.1\"
         port = 443
         protocol = \"tcp\"
         pool = \"web\"
         [[vip]]
         port = 443
         protocol = \"tcp\"
         address = \"203.0.113.1\" #~ vip 203.0.113.1:443/tcp: stands already at | :10
         pool = \"web\"
         [[vip]]
         address = \"203.0.113.1\"
         port = 443
         protocol = \"udp\"
         pool = \"web\"
         [[prefix]]
         prefix = \"203.0.113.0/24\"
         [[prefix]]
         prefix = \"203.0.113.0/24\" #~ 203.0.113.0/24 stands already
         [[interface]]
         name = \"eth1\"
         [[interface]]
         name = \"eth1\" #~ interface \"eth1\": is named already at | :29
         ",
    );
}

#[test]
fn the_node_itself_is_not_in_a_prefix() {
    let prefix = "[[prefix]]
         prefix = \"203.0.113.0/24\"
         ";
    let inside = "source = [\"203.0.113.250\"]";
    mistakes(&format!("{inside} #~ 203.0.113.250 lies in the prefix 203.0.113.0/24\n{prefix}"));
    mistakes(&format!("source = [\"203.0.114.1\"]\n{prefix}"));
    mistakes(&format!("{inside}\nunmatched = \"pass\"\n{prefix}"));
}

#[test]
fn a_vip_names_a_pool_that_exists() {
    mistakes(
        "[[pool]]
         name = \"web\"
         [[vip]]
         address = \"203.0.113.1\"
         protocol = \"any\"
         pool = \"wbe\" #~ vip 203.0.113.1/any pool: there is no pool \"wbe\" | did you mean \"web\"?
         [[vip]]
         address = \"203.0.113.2\" #~ vip 203.0.113.2/any pool: is missing
         protocol = \"any\"
         ",
    );
}

#[test]
fn a_pool_does_not_mix_families() {
    mistakes(
        "[[pool]]
         name = \"web\"
         [[pool.backend]]
         address = \"10.0.0.1\"
         [[pool.backend]]
         address = \"fd00::1\" #~ pool \"web\" backend fd00::1: is IPv6 | 10.0.0.1 is IPv4 | a pool for each family
         ",
    );
}

/// A pool of one backend behind one VIP.
fn carried(vip: &str, encapsulation: &str, backend: &str, mark: &str) {
    mistakes(&format!(
        "[[pool]]
         name = \"p\"
         encapsulation = \"{encapsulation}\"
         backend = [{{ address = \"{backend}\" }}]
         [[vip]]
         address = \"{vip}\" {mark}
         protocol = \"any\"
         pool = \"p\"
         "
    ));
}

#[test]
fn what_an_encapsulation_cannot_carry_is_refused() {
    let (v4, v6, host4, host6) = ("203.0.113.1", "2001:db8::1", "10.0.0.1", "fd00::1");
    for (vip, host) in [(v4, host4), (v4, host6), (v6, host4), (v6, host6)] {
        carried(vip, "gue", host, "");
    }
    carried(v4, "ipip", host4, "");
    carried(v4, "ipip", host6, "");
    carried(v6, "ipip", host6, "");
    carried(v6, "ipip", host4, "#~ IPv6 cannot be carried to the IPv4 backends of pool \"p\" | \"gue\"");
    carried(v4, "l2", host4, "");
    carried(v6, "l2", host6, "");
    carried(v6, "l2", host4, "#~ IPv6 cannot be carried to the IPv4 | with IPv6 backends");
    carried(v4, "l2", host6, "#~ IPv4 cannot be carried to the IPv6 | with IPv4 backends");
}

#[test]
fn backends_are_hosts_and_no_vips() {
    mistakes(
        "[[pool]]
         name = \"web\"
         [[pool.backend]]
         address = \"224.0.0.1\" #~ is a multicast address
         [[pool.backend]]
         address = \"0.0.0.0\" #~ is the unspecified address
         [[pool.backend]]
         address = \"203.0.113.1\" #~ is the address of a VIP (203.0.113.1:*/tcp
         [[vip]]
         address = \"203.0.113.1\"
         protocol = \"tcp\"
         pool = \"web\"
         ",
    );
}

#[test]
fn sources_one_of_each_family_that_is_needed() {
    mistakes("source = [\"10.0.0.2\", \"10.0.0.3\"] #~ 10.0.0.3 is a second IPv4 address after 10.0.0.2\n");
    mistakes("source = [\"ff02::1\"] #~ source: ff02::1 is a multicast address\n");
    let pool = |encapsulation: &str, mark: &str| {
        format!(
            "source = [\"10.0.0.2\"]
             [[pool]]
             name = \"six\"
             encapsulation = \"{encapsulation}\"
             [[pool.backend]]
             address = \"fd00::1\" {mark}
             "
        )
    };
    mistakes(&pool("gue", "#~ pool \"six\": has IPv6 backends, but `source` has no IPv6 address"));
    mistakes(&pool("ipip", "#~ has IPv6 backends"));
    mistakes(&pool("l2", ""));
    mistakes(
        "source = [\"203.0.113.1\"] #~ 203.0.113.1 is a VIP
         [[pool]]
         name = \"web\"
         [[vip]]
         address = \"203.0.113.1\"
         protocol = \"any\"
         pool = \"web\"
         ",
    );
}

#[test]
fn a_backend_must_know_its_senders() {
    assert_mistakes(&format!("role = \"backend\" #~ allowed_senders: is missing\n{INTERFACE}"));
}

#[test]
fn what_was_refused_is_not_missing_besides() {
    assert_mistakes(&format!(
        "role = \"backend\"
         allowed_senders = [\"10.0.0.1/24\"] #~ beyond its length
         {INTERFACE}"
    ));
    assert_mistakes(
        "role = \"ingress\"
         hash_seed_file = 1 #~ must be a string
         [[interface]]
         name = \"eth/0\" #~ no name of an interface
         [[pool]]
         name = \"two words\" #~ not a plain word
         [[vip]]
         address = \"203.0.113.1\"
         protocol = \"any\"
         pool = \"two words\"
         [[vip]]
         address = \"203.0.113.2\"
         protocol = \"any\"
         pool = 1 #~ pool: must be a string
         ",
    );
}

#[test]
fn a_backend_does_not_ask_for_pools_or_a_seed() {
    assert_mistakes(&backend(
        "hash_seed_file = \"/nonexistent\"
         [[vip]]
         address = \"203.0.113.1\"
         protocol = \"tcp\"
         pool = \"elsewhere\"
         [[vip]]
         address = \"203.0.113.2\"
         protocol = \"tcp\"
         ",
    ));
}

#[test]
fn what_does_not_fit_the_maps() {
    let mut text = String::new();
    for i in 0..65 {
        text.push_str(&format!(
            "[[prefix]]\nprefix = \"10.{i}.0.0/16\"{}\n",
            if i == 64 { " #~ 65 prefixes, a node has room for 64" } else { "" }
        ));
    }
    mistakes(&text);
    let mut text = String::new();
    for i in 0..4 {
        let mark = if i == 3 { " #~ pool \"p3\" slots: the tables of all pools" } else { "" };
        text.push_str(&format!("[[pool]]\nname = \"p{i}\"\nslots = 1048576{mark}\n"));
    }
    mistakes(&text);
}
