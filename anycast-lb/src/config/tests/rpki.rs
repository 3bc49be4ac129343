//! `[[rtr]]`, `[bmp]`, and what a `[[prefix]]` says of its origin.

use std::time::Duration;

use super::notices::assert_notices;
use super::{assert_mistakes, backend, ingress, loaded};
use crate::model::{Rpki, RpkiMode};

/// Without it there is a notice that there is none.
const VIP: &str = "[[pool]]
         name = \"web\"
         backend = [{ address = \"10.0.0.1\" }]
         [[vip]]
         address = \"203.0.113.1\"
         protocol = \"tcp\"
         pool = \"web\"
         ";

fn with(rest: &str) -> String {
    ingress(&format!("{VIP}{rest}"))
}

#[test]
fn origins_validators_and_the_station() {
    let config = loaded(&with(
        "[[prefix]]
         prefix = \"203.0.113.0/24\"
         origin_as = 64500
         [[prefix]]
         prefix = \"2001:db8::/32\"
         origin_as = 4200000000
         rpki = \"enforce\"
         rpki_hold = \"10s\"
         [[prefix]]
         prefix = \"198.51.100.0/24\"
         [[rtr]]
         address = \"127.0.0.1:8282\"
         [[rtr]]
         address = \"[fd00::1]:323\"
         name = \"second\"
         [bmp]
         listen = \"10.0.0.2:11019\"
         allowed = [\"10.0.0.0/24\", \"fd00::1\"]
         own_as = [65001]
         ",
    ))
    .config;
    let routes: Vec<_> =
        config.rpki.routes.iter().map(|r| (r.prefix.to_string(), r.origin, r.mode, r.hold)).collect();
    assert_eq!(
        routes,
        [
            ("203.0.113.0/24".to_owned(), 64500, RpkiMode::Warn, Duration::from_secs(300)),
            ("2001:db8::/32".to_owned(), 4_200_000_000, RpkiMode::Enforce, Duration::from_secs(10)),
        ]
    );
    let names: Vec<&str> = config.rpki.validators.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names, ["127.0.0.1:8282", "second"]);
    let bmp = config.bmp.expect("a station");
    assert_eq!((bmp.allowed.len(), bmp.own_as), (2, vec![65001]));
}

#[test]
fn a_backend_asks_nobody() {
    let text = "[[vip]]
         address = \"203.0.113.1\"
         protocol = \"tcp\"
         [[prefix]]
         prefix = \"203.0.113.0/24\"
         rpki = \"enforce\"
         [[rtr]]
         address = \"127.0.0.1:8282\"
         [bmp]
         listen = \"10.0.0.2:11019\"
         ";
    let config = loaded(&backend(text)).config;
    assert_eq!((config.rpki, config.bmp), (Rpki::default(), None));
}

#[test]
fn mistakes() {
    assert_mistakes(
        &with(
            "[[prefix]]
         prefix = \"203.0.113.0/24\"
         rpki = \"enforce\" #~ prefix 203.0.113.0/24 rpki: asks about an origin | origin_as = 64500
         [[prefix]]
         prefix = \"203.0.113.1/24\" #~ has bits set
         origin_as = 0 #~ out of range
         rpki = \"strict\" #~ rpki: | \"enforce\"
         rpki_hold = 300 #~ must be a duration
         [[rtr]]
         address = \"127.0.0.1:8282\"
         [[rtr]] #~ rtr 127.0.0.1:8282: is named already at
         address = \"127.0.0.1:8282\"
         [[rtr]] #~ rtr 127.0.0.1:323: is named already at
         address = \"127.0.0.1:323\"
         name = \"127.0.0.1:8282\" #~ name: | is not a plain word
         ",
        )
        .replace("[[rtr]] #~ rtr 127.0.0.1:323: is named already at", "[[rtr]]"),
    );
    assert_mistakes(&with(
        "[[rtr]]
         address = \"127.0.0.1:8282\"
         name = \"a\"
         [[rtr]] #~ rtr 127.0.0.1:323: is named already at
         address = \"127.0.0.1:323\"
         name = \"a\"
         [bmp] #~ bmp.listen: is missing
         allowed = [\"10.0.0.1/24\"] #~ has bits set
         own_as = [0] #~ out of range
         ",
    ));
    let many: String = (1..=17).map(|n| format!("[[rtr]]\naddress = \"10.0.0.{n}:323\"\n")).collect();
    let many =
        many.replacen("[[rtr]]\naddress = \"10.0.0.17", "[[rtr]] #~ 17 validators\naddress = \"10.0.0.17", 1);
    assert_mistakes(&with(&many));
}

#[test]
fn what_is_idle_is_said() {
    let rtr = "[[rtr]]\naddress = \"127.0.0.1:8282\"\n";
    let bmp = "listen = \"10.0.0.2:11019\"\n";
    let prefix = "prefix = \"203.0.113.0/24\"\n";
    let check = |text: &str| assert_notices(&with(text));
    check(&format!("{rtr}[[prefix]] #~ has no origin_as\n{prefix}"));
    check(&format!("{rtr}[[prefix]]\n{prefix}rpki = \"off\"\n"));
    check(&format!(
        "[bmp] #~ bmp: watches nothing\n{bmp}[[prefix]] #~ has no origin_as\n{prefix}rpki = \"off\"\n"
    ));
    check(&format!(
        "[[prefix]]\n{prefix}origin_as = 1\nrpki = \"warn\" #~ rpki: has no effect: there is no\n"
    ));
    check(&format!("[[prefix]]\n{prefix}origin_as = 1\n"));
    check(&format!("[[prefix]]\n{prefix}"));
    let hold = "rpki_hold = \"1m\" #~ rpki_hold: has no effect";
    check(&format!("{rtr}[[prefix]]\n{prefix}origin_as = 1\n{hold}\n"));
    check(&format!(
        "{rtr}[bmp]\n{bmp}[[prefix]]\n{prefix}origin_as = 1\nrpki = \"enforce\"\nrpki_hold = \"1m\"\n"
    ));
}
