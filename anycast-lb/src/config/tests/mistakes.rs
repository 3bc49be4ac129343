//! One test for each rule, with the line it must name. In the texts, `#~` marks the lines.

use super::{Dir, INTERFACE, assert_mistakes, ingress};

/// Asserts the mistakes of an ingress node's file.
fn mistakes(rest: &str) {
    assert_mistakes(&ingress(rest));
}

#[test]
fn nothing_wrong_is_nothing_found() {
    mistakes("[[pool]]\nname = \"web\"\n");
}

#[test]
fn a_hash_of_the_port_wants_more_than_one() {
    for (port, protocol, mark) in [
        ("", "udp", ""),
        ("port = 53", "udp", "#~ hash: all packets of this VIP would go to one backend | take the port out"),
        ("", "any", "#~ hash: all packets of this VIP would go to one backend"),
    ] {
        mistakes(&format!(
            "[[pool]]
             name = \"web\"
             [[vip]]
             address = \"203.0.113.1\"
             protocol = \"{protocol}\"
             {port}
             pool = \"web\"
             hash = \"destination-port\" {mark}
             [[vip]]
             address = \"203.0.113.2\"
             protocol = \"udp\"
             pool = \"web\"
             hash = \"client\" #~ hash | \"5-tuple\", \"source\"
             "
        ));
    }
}

#[test]
fn toml_syntax() {
    mistakes("[[pool\nname = \"web\"\n".replace("[[pool\n", "[[pool #~ TOML syntax\n").as_str());
    mistakes("unmatched = #~ TOML syntax\n");
    mistakes("node = \"twice\" #~ TOML syntax: duplicate key\n");
}

#[test]
fn unknown_keys_with_the_nearest_known_one() {
    mistakes(
        "unmached = \"drop\" #~ unmached: unknown key | did you mean `unmatched`?
         [contrl] #~ did you mean `control`?
         [[pool]]
         name = \"web\"
         slot = 64 #~ pool \"web\" slot | did you mean `slots`?
         colour = 1 #~ pool \"web\" colour: unknown key | known here: name,
         [pool.health]
         type = \"tcp\"
         port = 80
         intervall = \"2s\" #~ pool \"web\" health.intervall | did you mean `interval`?
         [[pool.backend]]
         address = \"10.0.0.11\"
         weigth = 3 #~ pool \"web\" backend 10.0.0.11 weigth | did you mean `weight`?
         [[vip]]
         address = \"203.0.113.1\"
         protocol = \"any\"
         pool = \"web\"
         pol = \"web\" #~ vip 203.0.113.1/any pol | did you mean `pool`?
         ",
    );
}

#[test]
fn wrong_types_all_at_once() {
    mistakes(
        "instance = 1 #~ instance: must be a string, is integer | in quotes
         source = \"10.0.0.1\" #~ source: must be a list, is string | source = [ … ]
         control = true #~ control: must be a table
         vip = { address = \"203.0.113.1\" } #~ vip: must be a list of tables | [[vip]]
         peer = [1, 2] #~ peer: must be a table #~ peer: must be a table
         [[pool]]
         name = \"web\"
         slots = \"many\" #~ slots: must be a whole number, is string
         margin = \"3 %\" #~ margin: must be a number
         fill_time = 10 #~ fill_time: must be a duration, is integer | \"10s\"
         encapsulation = 4 #~ encapsulation: must be a string | \"gue\", \"ipip\", \"l2\"
         rescue = [1] #~ rescue: must be a string
         [log]
         format = false #~ log.format: must be a string
         ",
    );
}

#[test]
fn words_out_of_a_list() {
    mistakes(
        "unmatched = \"droop\" #~ `droop` is not possible | did you mean \"drop\"?
         [[pool]]
         name = \"web\"
         encapsulation = \"vxlan\" #~ `vxlan` | one of \"gue\", \"ipip\", \"l2\"
         table = \"rendevous\" #~ did you mean \"rendezvous\"?
         [[pool.backend]]
         address = \"10.0.0.1\"
         state = \"drained\" #~ state | \"draining\"
         [[vip]]
         address = \"203.0.113.1\"
         protocol = \"sctp\" #~ \"tcp\", \"udp\", \"any\"
         ",
    );
}

#[test]
fn a_role_must_be_given() {
    assert_mistakes(&format!("instance = \"a\" #~ role: is missing | role = \"ingress\"\n{INTERFACE}"));
    assert_mistakes(&format!("role = \"ingres\" #~ did you mean \"ingress\"?\n{INTERFACE}"));
}

#[test]
fn names_are_plain_words() {
    mistakes(
        "instance = \"a/b\" #~ instance: `a/b` is not a plain word
         pop = \"\" #~ pop: `` is not a plain word
         [[pool]]
         name = \"web pool\" #~ `web pool` is not a plain word
         ",
    );
    // A bpffs has no names with dots.
    mistakes("instance = \"a.b\" #~ not a plain word\n");
    mistakes("pop = \"eu.fra-1_a\"\n");
}

#[test]
fn vips_have_address_protocol_and_fitting_port() {
    mistakes(
        "[[pool]]
         name = \"web\"
         [[vip]] #~ vip #1 address: is missing
         protocol = \"tcp\"
         [[vip]] #~ vip #2 protocol: is missing
         address = \"203.0.113.2\"
         [[vip]]
         address = \"203.0.113.3\"
         protocol = \"any\"
         port = 53 #~ protocol \"any\" has no port
         [[vip]]
         address = \"203.0.113.4\"
         protocol = \"tcp\"
         port = 0 #~ port: 0 is out of range | every port
         [[vip]]
         address = \"203.0.113.5\"
         protocol = \"tcp\"
         port = 65536 #~ 65536 is out of range
         [[vip]]
         address = \"203.0.113\" #~ `203.0.113` is not an IP address
         protocol = \"tcp\"
         [[vip]]
         address = \"224.0.0.1\" #~ 224.0.0.1 is a multicast address
         protocol = \"tcp\"
         [[vip]]
         address = \"::ffff:203.0.113.1\" #~ IPv4-mapped
         protocol = \"tcp\"
         ",
    );
}

#[test]
fn numbers_of_a_pool() {
    mistakes(
        "[[pool]]
         name = \"a\"
         slots = 1000 #~ pool \"a\" slots: 1000 is not a power of two | write 512 or 1024
         margin = 1.5 #~ margin: 1.5 is out of range (0 to 1)
         hops = 8 #~ hops: 8 is out of range (0 to 7)
         [[pool]]
         name = \"b\"
         slots = 2097152 #~ out of range (2 to 1048576)
         margin = -0.1 #~ out of range
         hops = -1 #~ out of range
         [[pool]]
         name = \"c\"
         slots = 1 #~ out of range
         margin = nan #~ out of range
         fill_time = \"10\" #~ `10` is no duration | \"500ms\"
         [[pool]]
         name = \"d\"
         slots = 1048576
         margin = 0
         hops = 0
         [[pool]]
         name = \"e\"
         hops = 7
         ",
    );
}

#[test]
fn weights() {
    mistakes(
        "[[pool]]
         name = \"web\"
         [[pool.backend]]
         address = \"10.0.0.1\"
         weight = 0 #~ pool \"web\" backend 10.0.0.1 weight: 0 is out of range | state = \"draining\"
         [[pool.backend]]
         address = \"10.0.0.2\"
         weight = 65536 #~ backend 10.0.0.2 weight: 65536 is out of range
         [[pool.backend]]
         address = \"10.0.0.3\"
         weight = 65535
         [[pool.backend]] #~ pool \"web\" backend #4 address: is missing
         weight = 1
         ",
    );
}

#[test]
fn interfaces() {
    assert_mistakes(
        "role = \"backend\" #~ interface: there is no interface\nallowed_senders = [\"10.0.0.1\"]\n",
    );
    mistakes(
        "[[interface]]
         name = \"a-name-of-16-byt\" #~ is 16 characters long | 15 characters at most
         [[interface]]
         name = \"eth/0\" #~ is no name of an interface
         [[interface]]
         name = \"\" #~ is no name of an interface
         [[interface]] #~ interface #4 name: is missing
         mode = \"nativ\" #~ did you mean \"native\"?
         ",
    );
}

#[test]
fn control() {
    mistakes(
        "[control]
         socket = \"run/x.sock\" #~ control.socket: `run/x.sock` is a relative path
         listen = \"10.0.0.2\" #~ control.listen: `10.0.0.2` is not an address and a port
         write_back = \"no\" #~ must be true or false
         group = \"\" #~ control.group: is empty
         tls = { ca = \"/ca.pem\", key = \"/key.pem\" } #~ control.tls.cert: is missing
         ",
    );
    mistakes(&format!("[control]\nsocket = \"/{}\" #~ is 108 bytes long\n", "s".repeat(107)));
}

#[test]
fn prefixes() {
    mistakes(
        "[[prefix]]
         prefix = \"203.0.113.1/24\" #~ has bits set beyond its length | \"203.0.113.0/24\"
         announce = \"ospf\" #~ announce
         require = \"some\" #~ require
         rpki = \"off\"
         [[prefix]]
         prefix = \"203.0.113.0/33\" #~ is no prefix
         require = 0 #~ out of range
         origin_as = 4294967296 #~ out of range
         ",
    );
}

#[test]
fn announcing() {
    let prefix = |keys: &str| format!("[[prefix]]\nprefix = \"203.0.113.0/24\"\n{keys}\n");
    mistakes(&prefix("announce = \"bgp\" #~ nobody would announce it: there is no [bgp]"));
    mistakes(&prefix("announce = \"bird\" #~ nobody would announce it: there is no [bird]"));
    mistakes(&prefix("announce = \"command\" #~ nobody would announce it: there is no [command]"));
    mistakes(&prefix("announce = \"exabgp\""));
    let bgp = "[bgp]\nlocal_as = 64500\nrouter_id = \"10.0.0.2\"\n[[bgp.neighbor]]\naddress = \"10.0.0.9\"\nremote_as = 64501\n";
    mistakes(&format!("{bgp}{}", prefix("announce = \"bgp\"")));
    for (short, mark) in [
        ("128.0.0.0/1", "is shorter than /8"),
        ("::/0", "is shorter than /16"),
        ("224.1.0.0/16", "is one of multicast"),
        ("127.0.0.0/8", "is one of loopback"),
    ] {
        mistakes(&format!("{bgp}[[prefix]]\nprefix = \"{short}\" #~ {mark}\nannounce = \"bgp\"\n"));
    }
    mistakes(&format!(
        "[bgp] #~ bgp.router_id: is missing\nlocal_as = 1\n{}",
        &bgp[bgp.find("[[").expect("it")..]
    ));
    mistakes(&format!(
        "source = [\"10.0.0.2\"]\n[bgp]\nlocal_as = 1\n{}",
        &bgp[bgp.find("[[").expect("it")..]
    ));
    mistakes(&format!(
        "{bgp}gtsm = true
         ttl = 2 #~ ttl: is given together with gtsm
         source = \"fd00::2\" #~ IPv6 cannot speak with 10.0.0.9
         hold_time = \"2s\" #~ is no hold time of BGP
         next_hop = [\"10.0.0.2\", \"10.0.0.3\"] #~ is the second of its family
         md5_file = \"nowhere\" #~ cannot read
         [[bgp.neighbor]] #~ stands already at
         address = \"10.0.0.9\"
         remote_as = 64501
         [[bgp.neighbor]]
         address = \"fe80::1\" #~ is a link-local address
         remote_as = 64501
         [bird]
         file = \"bird.conf\" #~ bird.file: is no whole path
         [command]
         run = [] #~ command.run: does not begin with a program's whole path
         "
    ));
}

#[test]
fn a_key_of_signatures_is_secret() {
    let text = |file: &str| {
        ingress(&format!(
            "[bgp]\nlocal_as = 64500\nrouter_id = \"10.0.0.2\"\n[[bgp.neighbor]]\naddress = \"10.0.0.9\"\n\
             remote_as = 64501\nmd5_file = \"{file}\"\n"
        ))
    };
    let dir = Dir::new();
    dir.put("open", "the-secret", 0o644);
    dir.put("empty", "\n", 0o600);
    dir.put("good", "the-secret\n", 0o600);
    let refused = |file: &str| dir.load(&text(file)).expect_err("refused").to_string();
    assert!(refused("open").contains("may be read or written by everybody"));
    assert!(refused("empty").contains("the key is empty"));
    assert!(!refused("open").contains("the-secret"));
    let config = dir.load(&text("good")).expect("valid").config;
    assert!(!format!("{config:?}").contains("the-secret"));
    let neighbours = &config.announcing.settings.neighbours;
    assert_eq!(neighbours[0].key, anycast_lb_routing::bgp::socket::Md5Key::new(b"the-secret").ok());
}

#[test]
fn metrics_want_an_address_and_a_port() {
    mistakes("[metrics] #~ metrics.listen: is missing\n");
    for listen in ["localhost:9524", "127.0.0.1", ":9524", "[::1]"] {
        mistakes(&format!("[metrics]\nlisten = \"{listen}\" #~ metrics.listen | an address and a port\n"));
    }
    mistakes("[metrics]\nlisten = \"[::1]:0\" #~ metrics.listen: names port 0\n");
    mistakes("[metrics]\nlisten = \"[::1]:9524\"\nport = 1 #~ metrics.port: unknown key\n");
}

#[test]
fn sections_of_later_work_are_checked_too() {
    mistakes(
        "[bgp] #~ bgp.local_as: is missing
         router_id = \"ten\" #~ router_id
         [bgp.drain]
         wait = 60 #~ bgp.drain.wait: must be a duration
         [[bgp.neighbor]]
         address = \"10.0.0.1\"
         remote_as = 0 #~ bgp neighbor 10.0.0.1 remote_as: 0 is out of range
         communities = [\"64500\"] #~ `64500` is no community
         [[rtr]] #~ rtr #1 address: is missing
         [bmp] #~ bmp.listen: is missing
         listn = \"10.0.0.2:11019\" #~ did you mean `listen`?
         [flow_log]
         sample = 0 #~ flow_log.sample: 0 is out of range
         per_second = 0 #~ flow_log.per_second: 0 is out of range
         max_bytes = 4096 #~ flow_log.max_bytes: 4096 is out of range
         ipfix = \"10.0.0.9\" #~ flow_log.ipfix: | 10.0.0.2:9000
         [[peer]]
         node = \"sin1-lb1\"
         control = \"10.1.0.2\" #~ peer \"sin1-lb1\" control
         [[pool]]
         name = \"web\"
         [pool.health]
         type = \"http\"
         path = \"healthz\" #~ begin it with /
         expect = [200, 1000] #~ expect: 1000 is out of range
         ",
    );
}

#[test]
fn columns_count_characters() {
    let problems = Dir::new().load(&ingress("pop = \"é\"\n[[pool]]\nname = \"é\" # é\nslots = 3\n")).err();
    let places: Vec<_> = problems.iter().flat_map(|p| &p.0).map(|p| (p.line, p.column)).collect();
    assert_eq!(places, [(4, 7), (6, 8), (7, 9)]);
    let inline = ingress("pool = [{ name = \"ü\" }, { name = \"b\", slots = 3 }]\n");
    let problems = Dir::new().load(&inline).err();
    let places: Vec<_> = problems.iter().flat_map(|p| &p.0).map(|p| (p.line, p.column)).collect();
    assert_eq!(places, [(4, 18), (4, 47)]);
}

#[test]
fn limits_on_hops() {
    mistakes("[hop_limits]\nper_prefix = -1 #~ hop_limits.per_prefix: | packets a second, from 0\n");
    mistakes("[hop_limits]\ntotal = 100000001 #~ hop_limits.total: | to 100000000\n");
    mistakes("[hop_limits]\ntotal = \"many\" #~ hop_limits.total: must be a whole number\n");
    mistakes(
        "[hop_limits]\nper_prefx = 1 #~ hop_limits.per_prefx: unknown key | did you mean `per_prefix`?\n",
    );
}
