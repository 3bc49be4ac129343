//! What both roles need: a kernel, and interfaces to attach to.

use super::facts::{Facts, Link};
use super::{Finding, Severity, nic};
use crate::model::{Config, Interface};

/// First Linux in which an XDP program on a NIC can be a link, which outlives the daemon and is
/// replaced atomically.
const XDP_LINKS: (u32, u32) = (5, 9);
/// First Linux that keeps neighbour entries resolved without traffic (NTF_EXT_MANAGED).
const MANAGED_NEIGHBOURS: (u32, u32) = (5, 16);
/// Names of our own programs. Whether one of these is really ours is for the attaching to decide.
const OUR_PROGRAMS: [&str; 2] = ["ingress", "backend"];

/// Checks the kernel and the configured interfaces.
pub(super) fn check(config: &Config, facts: &Facts) -> Vec<Finding> {
    let mut findings = kernel(facts);
    for interface in &config.interfaces {
        match facts.link(&interface.name) {
            Some(link) => findings.extend(attachable(interface, link)),
            None => findings.push(missing(&interface.name, facts)),
        }
    }
    findings
}

fn kernel(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(version) = facts.kernel_version() {
        if version < XDP_LINKS {
            findings.push(Finding {
                severity: Severity::Error,
                what: format!("Linux {} is too old", facts.kernel),
                why: format!(
                    "programs are attached by links, which came with Linux {}.{}",
                    XDP_LINKS.0, XDP_LINKS.1
                ),
                fix: None,
            });
        } else if version < MANAGED_NEIGHBOURS {
            findings.push(Finding {
                severity: Severity::Info,
                what: format!("Linux {} does not manage neighbour entries by itself", facts.kernel),
                why: format!(
                    "the daemon asks for the next hops' MAC addresses every few seconds instead; Linux {}.{} needs no asking",
                    MANAGED_NEIGHBOURS.0, MANAGED_NEIGHBOURS.1
                ),
                fix: None,
            });
        }
    }
    if !facts.btf {
        findings.push(Finding {
            severity: Severity::Warning,
            what: "the kernel does not describe its types: /sys/kernel/btf/vmlinux is missing".to_owned(),
            why: "what depends on the layout of the kernel's own structures is unavailable; kernels of the distributions have CONFIG_DEBUG_INFO_BTF".to_owned(),
            fix: None,
        });
    }
    findings
}

fn missing(name: &str, facts: &Facts) -> Finding {
    let present: Vec<_> = facts.links.iter().filter(|l| !l.loopback).map(|l| l.name.as_str()).collect();
    let present = if present.is_empty() { "none but lo".to_owned() } else { present.join(", ") };
    Finding {
        severity: Severity::Error,
        what: format!("there is no interface {name}"),
        why: format!("no program can be attached to it; this host has {present}"),
        fix: None,
    }
}

fn attachable(interface: &Interface, link: &Link) -> Vec<Finding> {
    let name = &link.name;
    let mut findings = Vec::new();
    if !link.up {
        findings.push(Finding {
            severity: Severity::Error,
            what: format!("{name} is down"),
            why: "no packet comes in or leaves by it".to_owned(),
            fix: Some(format!("ip link set dev {name} up")),
        });
    } else if !link.carrier {
        findings.push(Finding {
            severity: Severity::Warning,
            what: format!("{name} has no carrier"),
            why: "nothing answers at the other end of the cable; it is used as soon as it does".to_owned(),
            fix: None,
        });
    }
    if let Some(xdp) = &link.xdp
        && !xdp.name.as_deref().is_some_and(|name| OUR_PROGRAMS.contains(&name))
    {
        let program = match &xdp.name {
            Some(name) => format!("\"{name}\" (id {})", xdp.id),
            None => format!("with id {}", xdp.id),
        };
        findings.push(Finding {
            severity: Severity::Error,
            what: format!("the XDP program {program} is attached to {name}"),
            why: "it is not ours, and a foreign program is never replaced; whoever attached it should take it away (the command does not work while another process or a pin holds it by a link)".to_owned(),
            fix: Some(format!("ip link set dev {name} {} off", xdp.mode)),
        });
    }
    findings.extend(nic::check(interface, link));
    findings
}

#[cfg(test)]
mod tests {
    use super::super::facts::Xdp;
    use super::super::facts::tests::healthy;
    use super::*;
    use crate::host::tests::config;
    use crate::model::Role;

    fn only(facts: &Facts) -> Finding {
        let findings = check(&config(Role::Ingress), facts);
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings[0].clone()
    }

    #[test]
    fn a_healthy_host_has_no_findings() {
        assert_eq!(check(&config(Role::Ingress), &healthy()), []);
    }

    #[test]
    fn a_missing_interface_is_an_error_that_names_the_present_ones() {
        let mut facts = healthy();
        facts.links[1].name = "enp1s0".into();
        let finding = only(&facts);
        assert_eq!(finding.severity, Severity::Error);
        assert_eq!(finding.what, "there is no interface eth0");
        assert!(finding.why.ends_with("this host has enp1s0"), "{}", finding.why);
    }

    #[test]
    fn an_interface_must_be_up_and_should_have_a_carrier() {
        let mut facts = healthy();
        facts.links[1].carrier = false;
        assert_eq!(only(&facts).what, "eth0 has no carrier");
        facts.links[1].up = false;
        let finding = only(&facts);
        assert_eq!((finding.severity, finding.what.as_str()), (Severity::Error, "eth0 is down"));
        assert_eq!(finding.fix.as_deref(), Some("ip link set dev eth0 up"));
    }

    #[test]
    fn a_foreign_program_is_named_and_ours_is_not() {
        let mut facts = healthy();
        facts.links[1].mtu = 1500;
        facts.links[1].xdp = Some(Xdp { id: 7, name: Some("xdp_firewall".into()), mode: "xdpgeneric" });
        let finding = only(&facts);
        assert_eq!(finding.what, "the XDP program \"xdp_firewall\" (id 7) is attached to eth0");
        assert_eq!(finding.fix.as_deref(), Some("ip link set dev eth0 xdpgeneric off"));
        facts.links[1].xdp = Some(Xdp { id: 7, name: None, mode: "xdpdrv" });
        assert_eq!(only(&facts).what, "the XDP program with id 7 is attached to eth0");
        facts.links[1].xdp = Some(Xdp { id: 7, name: Some("ingress".into()), mode: "xdpdrv" });
        assert_eq!(check(&config(Role::Ingress), &facts), []);
    }

    #[test]
    fn old_kernels_are_told_apart() {
        let mut facts = healthy();
        facts.kernel = "5.15.0-91-generic".into();
        assert_eq!(only(&facts).severity, Severity::Info);
        facts.kernel = "5.4.0-1-amd64".into();
        assert_eq!(only(&facts).severity, Severity::Error);
        facts.kernel = "6.1.0".into();
        facts.btf = false;
        assert_eq!(only(&facts).severity, Severity::Warning);
    }
}
