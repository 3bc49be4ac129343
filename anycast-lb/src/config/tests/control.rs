//! Talking to other nodes.

use std::fs::{self, Permissions};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;

use super::{Dir, ingress};
use crate::config::testing::Authority;
use crate::config::{Loaded, Problems};

const TLS: &str = "[control]
listen = \"10.0.0.2:19524\"
tls = { ca = \"ca.pem\", cert = \"cert.pem\", key = \"key.pem\" }
[[peer]]
node = \"n2\"
control = \"10.0.0.3:19524\"
[[peer]]
node = \"n1\"
control = \"10.0.0.2:19524\"
[[peer]]
node = \"sin1-lb1\"
pop = \"sin1\"
control = \"10.1.0.2:19524\"
";

/// A directory with certificates.
fn dir() -> Dir {
    let dir = Dir::new();
    Authority::found().write(&dir.path(""), &[IpAddr::from([10, 0, 0, 2])]);
    dir
}

fn problems(result: Result<Loaded, Problems>) -> Vec<(String, String, String)> {
    let Err(Problems(problems)) = result else { panic!("accepted") };
    problems.into_iter().map(|p| (p.key, p.message, p.hint)).collect()
}

#[test]
fn peers_are_the_other_nodes_and_certificates_lie_beside_the_file() {
    let dir = dir();
    let loaded = dir.load(&ingress(TLS)).expect("valid");
    let control = loaded.config.control;
    assert_eq!(control.listen.map(|l| l.to_string()).as_deref(), Some("10.0.0.2:19524"));
    assert_eq!(control.tls.map(|t| t.key), Some(dir.path("key.pem")));
    let peers: Vec<_> = control.peers.iter().map(|p| (p.node.as_str(), p.pop.as_str())).collect();
    assert_eq!(peers, [("n2", "default"), ("sin1-lb1", "sin1")]);
    assert!(loaded.notices.iter().all(|n| n.key == "vip"), "{:?}", loaded.notices);
}

#[test]
fn listening_without_certificates_is_refused() {
    super::assert_mistakes(&ingress(
        "[control]
         listen = \"10.0.0.2:19524\" #~ control.listen: is given without control.tls | mutual TLS only
         ",
    ));
}

#[test]
fn a_key_that_everybody_may_read_is_refused_with_the_chmod_that_mends_it() {
    let dir = dir();
    fs::set_permissions(dir.path("key.pem"), Permissions::from_mode(0o644)).expect("a mode set");
    let found = problems(dir.load(&ingress(TLS)));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "control.tls.key");
    assert_eq!(found[0].2, format!("run: chmod 600 {}", dir.path("key.pem").display()));
}

#[test]
fn files_that_are_missing_or_hold_something_else_are_each_named() {
    let dir = dir();
    fs::remove_file(dir.path("ca.pem")).expect("removed");
    dir.put("cert.pem", "-----BEGIN CERTIFICATE-----\nnonsense", 0o644);
    dir.put("key.pem", "s3cret", 0o600);
    let found = problems(dir.load(&ingress(TLS)));
    let keys: Vec<_> = found.iter().map(|(key, ..)| key.as_str()).collect();
    assert_eq!(keys, ["control.tls.ca", "control.tls.cert", "control.tls.key"]);
    assert!(found[0].1.contains("cannot read"), "{found:?}");
    assert!(found[2].1.contains("no private key") && !found[2].1.contains("s3cret"), "{found:?}");
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let dir = dir();
    let (_, key) = Authority::found().issue(&[]);
    dir.put("key.pem", &key, 0o600);
    let found = problems(dir.load(&ingress(TLS)));
    assert_eq!((found.len(), found[0].0.as_str()), (1, "control.tls.key"));
    assert!(found[0].2.contains("made together"), "{found:?}");
}

#[test]
fn what_is_no_certificate_is_a_mistake_of_the_certificate() {
    let dir = dir();
    dir.put(
        "cert.pem",
        "-----BEGIN CERTIFICATE-----\nc29tZXRoaW5nIGVsc2U=\n-----END CERTIFICATE-----\n",
        0o644,
    );
    let found = problems(dir.load(&ingress(TLS)));
    assert_eq!((found.len(), found[0].0.as_str()), (1, "control.tls.cert"), "{found:?}");
    assert!(found[0].1.contains("does not serve") && found[0].2.contains("version 3"), "{found:?}");
}

#[test]
fn a_certificate_that_has_expired_is_worth_a_word_about_the_certificate() {
    let (dir, authority) = (Dir::new(), Authority::found());
    authority.write(&dir.path(""), &[]);
    let (certificate, key) = authority.issue_expired(&[IpAddr::from([10, 0, 0, 2])]);
    dir.put("cert.pem", &certificate, 0o644);
    dir.put("key.pem", &key, 0o600);
    let notices = dir.load(&ingress(TLS)).expect("no mistake").notices;
    let about_tls: Vec<_> = notices.iter().filter(|n| n.key.starts_with("control.tls")).collect();
    assert_eq!(about_tls.len(), 1, "{notices:?}");
    assert_eq!(about_tls[0].key, "control.tls.cert");
    assert!(
        about_tls[0].message.contains("will refuse") && about_tls[0].message.contains("expired"),
        "{about_tls:?}"
    );
}

#[test]
fn a_certificate_that_others_will_refuse_is_worth_a_word() {
    let dir = dir();
    dir.put("ca.pem", &Authority::found().pem(), 0o644);
    let notices = dir.load(&ingress(TLS)).expect("no mistake").notices;
    assert!(
        notices.iter().any(|n| n.key == "control.tls.cert" && n.message.contains("will refuse")),
        "{notices:?}"
    );
}

#[test]
fn a_peer_is_named_once() {
    super::assert_mistakes(&ingress(
        "[[peer]]
         node = \"a\"
         control = \"10.0.0.3:19524\"
         [[peer]] #~ peer \"a\": is named already
         node = \"a\"
         control = \"10.0.0.4:19524\"
         ",
    ));
}
