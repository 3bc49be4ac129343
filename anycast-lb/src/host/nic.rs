//! What XDP cannot see, or cannot carry, at a NIC as it is set up.

use super::facts::{Link, Offload};
use super::{Finding, Severity};
use crate::model::{Interface, XdpMode};

/// Largest MTU that fits into a page with the room that XDP wants around it, with every driver.
const ONE_PAGE: u32 = 3498;

/// Checks an interface.
pub(super) fn check(interface: &Interface, link: &Link) -> Vec<Finding> {
    [vlan(link), merging(interface, link), mtu(interface, link)].into_iter().flatten().collect()
}

/// `ethtool -K`, as far as the driver lets these offloads be switched off.
fn off(link: &Link, offloads: &[(Offload, &str)]) -> Option<String> {
    let words: String =
        offloads.iter().filter(|(o, _)| o.on && !o.fixed).map(|(_, name)| format!(" {name} off")).collect();
    (!words.is_empty()).then(|| format!("ethtool -K {}{words}", link.name))
}

/// The driver takes VLAN tags off and tells them beside the frame, where XDP does not see them.
fn vlan(link: &Link) -> Option<Finding> {
    let offloads = [(link.offloads.vlan, "rxvlan"), (link.offloads.service_vlan, "rx-vlan-stag-hw-parse")];
    if !offloads.iter().any(|(o, _)| o.on) {
        return None;
    }
    let name = &link.name;
    let (severity, when) = match link.tagged.as_slice() {
        [] => (Severity::Info, "it matters if tagged frames arrive there".to_owned()),
        devices => (Severity::Warning, format!("tags are in use: {} on top of it", devices.join(", "))),
    };
    let fix = off(link, &offloads);
    let fixed = if fix.is_none() { "; this driver does not let it be switched off" } else { "" };
    Some(Finding {
        severity,
        what: format!("VLAN offload hides tags at {name} from XDP"),
        why: format!(
            "tagged frames look untagged to the program, so frames of all VLANs are taken alike and what is sent \
             on has lost its tag; {when}{fixed}"
        ),
        fix,
    })
}

/// Whether the program runs, or will run, behind the driver.
fn is_generic(interface: &Interface, link: &Link) -> bool {
    interface.mode == XdpMode::Generic || link.xdp.as_ref().is_some_and(|xdp| xdp.mode == "xdpgeneric")
}

/// The NIC merges packets into larger ones.
fn merging(interface: &Interface, link: &Link) -> Option<Finding> {
    let name = &link.name;
    let (lro, gro_hw) = (link.offloads.lro, link.offloads.gro_hw);
    if is_generic(interface, link) {
        let offloads = [(lro, "lro"), (gro_hw, "rx-gro-hw")];
        let words: Vec<&str> =
            [(lro, "LRO"), (gro_hw, "GRO-HW")].iter().filter(|(o, _)| o.on).map(|(_, n)| *n).collect();
        return (!words.is_empty()).then(|| Finding {
            severity: Severity::Warning,
            what: format!("{name} merges packets before XDP sees them ({})", words.join(", ")),
            why: "in generic mode the program gets segments of one connection as one large packet, which does not fit \
                  the way to a backend: it is not sent on (too_big_answered), whatever its segments were"
                .to_owned(),
            fix: off(link, &offloads),
        });
    }
    if !lro.on {
        return None;
    }
    let (severity, then) = match interface.mode {
        XdpMode::Native => (Severity::Error, "attaching fails"),
        _ => (Severity::Warning, "the slower generic mode is used"),
    };
    Some(Finding {
        severity,
        what: format!("large receive offload is on at {name}"),
        why: format!(
            "the driver merges packets before XDP could see them, so the kernel refuses native mode: {then}"
        ),
        fix: off(link, &[(lro, "lro")]),
    })
}

/// Frames that do not fit into one page: drivers without multi-buffer XDP refuse native mode then. Which
/// ones, the kernel does not tell; so this is said where native mode was not had, or is insisted on.
fn mtu(interface: &Interface, link: &Link) -> Option<Finding> {
    let mode = link.xdp.as_ref().map(|xdp| xdp.mode);
    let (severity, then) = match (interface.mode, mode) {
        _ if link.mtu <= ONE_PAGE => return None,
        (XdpMode::Auto, Some("xdpgeneric")) => (
            Severity::Warning,
            "the slower generic mode is used; once mended: anycast-lb detach, and start again",
        ),
        (XdpMode::Native, None) => (Severity::Warning, "attaching may fail"),
        _ => return None,
    };
    let name = &link.name;
    Some(Finding {
        severity,
        what: format!("the MTU of {name}, {}, is above what XDP carries in one page", link.mtu),
        why: format!(
            "drivers that cannot spread a frame over several buffers for XDP refuse native mode above about \
             {ONE_PAGE}: {then}"
        ),
        fix: Some(format!("ip link set dev {name} mtu {ONE_PAGE}")),
    })
}

#[cfg(test)]
mod tests {
    use super::super::facts::Xdp;
    use super::super::facts::tests::healthy;
    use super::*;

    const ON: Offload = Offload { on: true, fixed: false };

    fn eth0(mode: XdpMode) -> (Interface, Link) {
        (Interface { name: "eth0".into(), mode }, healthy().links[1].clone())
    }

    fn generic() -> Option<Xdp> {
        Some(Xdp { id: 7, name: Some("ingress".into()), mode: "xdpgeneric" })
    }

    fn only(interface: &Interface, link: &Link) -> Finding {
        let found = check(interface, link);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    }

    #[test]
    fn hidden_tags_matter_most_where_there_are_some() {
        let (interface, mut link) = eth0(XdpMode::Auto);
        link.offloads.vlan = ON;
        let found = only(&interface, &link);
        assert_eq!(found.severity, Severity::Info);
        assert_eq!(found.fix.as_deref(), Some("ethtool -K eth0 rxvlan off"));
        link.tagged = vec!["eth0.7".into()];
        link.offloads.service_vlan = ON;
        let found = only(&interface, &link);
        assert_eq!(found.severity, Severity::Warning);
        assert!(found.why.contains("eth0.7"), "{found:?}");
        assert_eq!(found.fix.as_deref(), Some("ethtool -K eth0 rxvlan off rx-vlan-stag-hw-parse off"));
        link.offloads.service_vlan = Offload::default();
        link.offloads.vlan.fixed = true;
        let found = only(&interface, &link);
        assert!(found.fix.is_none() && found.why.ends_with("switched off"), "{found:?}");
    }

    #[test]
    fn merging_matters_in_either_mode_for_a_reason_of_its_own() {
        for (mode, severity) in [(XdpMode::Auto, Severity::Warning), (XdpMode::Native, Severity::Error)] {
            let (interface, mut link) = eth0(mode);
            link.mtu = 1500;
            link.offloads.gro_hw = ON;
            assert_eq!(check(&interface, &link), [], "drivers leave it off under native XDP");
            link.offloads.lro = ON;
            let found = only(&interface, &link);
            assert_eq!((found.severity, found.fix.as_deref()), (severity, Some("ethtool -K eth0 lro off")));
        }
        let (interface, mut link) = eth0(XdpMode::Generic);
        link.offloads.lro = ON;
        assert_eq!(only(&interface, &link).fix.as_deref(), Some("ethtool -K eth0 lro off"));
        link.offloads.gro_hw = ON;
        let found = only(&interface, &link);
        assert_eq!(found.fix.as_deref(), Some("ethtool -K eth0 lro off rx-gro-hw off"));
        assert!(found.what.contains("LRO, GRO-HW") && found.why.contains("too_big"), "{found:?}");
        // A driver without native mode.
        let (auto, mut link) = eth0(XdpMode::Auto);
        (link.mtu, link.xdp, link.offloads.gro_hw) = (1500, generic(), ON);
        assert_eq!(only(&auto, &link).fix.as_deref(), Some("ethtool -K eth0 rx-gro-hw off"));
    }

    #[test]
    fn a_large_mtu_is_named_where_native_mode_was_not_had() {
        let (auto, mut link) = eth0(XdpMode::Auto);
        assert_eq!(check(&auto, &link), [], "not tried yet");
        link.xdp = generic();
        assert_eq!(only(&auto, &link).fix.as_deref(), Some("ip link set dev eth0 mtu 3498"));
        link.mtu = ONE_PAGE;
        assert_eq!(check(&auto, &link), []);
        let (native, link) = eth0(XdpMode::Native);
        assert!(only(&native, &link).what.contains("the MTU of eth0, 9000"));
        let (wanted, mut link) = eth0(XdpMode::Generic);
        link.xdp = generic();
        assert_eq!(check(&wanted, &link), [], "generic mode carries it");
    }
}
