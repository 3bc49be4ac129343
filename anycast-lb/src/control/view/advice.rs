//! What to do about a verdict: the answer to "nothing is forwarded and nothing says why".

use std::net::IpAddr;

use anycast_lb_common::abi::Verdict;
use anycast_lb_common::wire::gue;
use anycast_lb_common::wire::transport::{TCP, UDP};

use crate::frame::Dissected;
use crate::model::Config;

/// What is known of a packet besides its verdict.
#[derive(Debug, Default)]
pub(super) struct Case<'a> {
    /// What it is.
    pub read: Option<&'a Dissected>,
    /// In force.
    pub config: Option<&'a Config>,
    /// Pool of its VIP.
    pub pool: Option<&'a str>,
    /// Backend that was chosen.
    pub backend: Option<IpAddr>,
    /// What the resolver says of that backend's way.
    pub reason: Option<String>,
    /// What the way to it takes, in bytes of IP.
    pub mtu: Option<u16>,
}

/// What to do if something else was expected; none where all is as it should be.
pub(super) fn advice(verdict: Verdict, case: &Case<'_>) -> Option<String> {
    let text = match verdict {
        Verdict::NotVip | Verdict::UnmatchedPass | Verdict::UnmatchedService | Verdict::UnmatchedPrefix => {
            return Some(unmatched(verdict, case));
        }
        Verdict::NoNeighbour => return Some(no_neighbour(case)),
        Verdict::TooBig | Verdict::TooBigNoDf | Verdict::TooBigLimited | Verdict::TooBigAnswered => {
            return Some(too_big(verdict, case));
        }
        Verdict::EmptyTable => {
            let pool = case.pool.unwrap_or("NAME");
            return Some(format!(
                "see who serves: anycast-lb pool show {pool}; then add a backend, undrain one, or say that one is \
                 up again (anycast-lb backend add | undrain | health)"
            ));
        }
        Verdict::Stranger => return Some(stranger(case)),
        Verdict::NotForUs => {
            let outer = outer(case, |ip| ip.destination);
            return Some(format!(
                "{outer} is none of this host's addresses: backends in the pool are named by the address that this \
                 host has (ip address); the kernel gets the packet as it is"
            ));
        }
        Verdict::InnerNotVip => {
            let vip =
                case.read.and_then(|r| r.inner).map_or("it".to_owned(), |ip| ip.destination.to_string());
            return Some(format!(
                "write a [[vip]] with the address {vip} into this backend's configuration too, and have the address \
                 on lo: anycast-lb vip list, anycast-lb check --host"
            ));
        }
        Verdict::BadTable => {
            "the tables contradict themselves: anycast-lb reload writes them anew; please report it"
        }
        Verdict::LengthBeyondFrame => {
            "a capture that was cut short looks like this: capture whole frames (tcpdump -s 0); on the wire, \
             whoever sends it is at fault"
        }
        Verdict::TruncatedLink
        | Verdict::MalformedIpv4
        | Verdict::MalformedIpv6
        | Verdict::TruncatedTransport
        | Verdict::InnerMalformed
        | Verdict::InnerLength => "whoever sends it is at fault: no host would take it",
        Verdict::ExtensionHeaders => {
            "a client that needs so many extension headers cannot be served; most such packets are probes"
        }
        Verdict::Fragment => {
            "ports are in the first fragment only: it must come before this one, by the same node, within 30 s (here: \
             in the same file); where routers spread fragments, smaller datagrams or a lower MTU at the sender help"
        }
        Verdict::IcmpErrorQuote => {
            "an error about a packet that did not come from this VIP, or that quotes too little to tell: whoever sends \
             it is at fault, or forges it"
        }
        Verdict::IcmpErrorService => {
            "an error about a packet of a service that is none here: a forged one, or about a VIP that was removed \
             (anycast-lb vip list)"
        }
        Verdict::IcmpUnsupported => "no backend is meant by it; nothing needs to be done",
        Verdict::EchoSource => {
            "nobody could be answered: the source is forged, or the capture is from the wrong place"
        }
        Verdict::Identity => {
            "nothing: the daemon answers it; anycast-lb stats tells what became of such questions"
        }
        Verdict::IdentityLimited => {
            "clients of one network are told the node's name ten times a second: ask less often (the packets of this \
             question count, too), or see the log of the flows"
        }
        Verdict::NoHeadroom => {
            "the driver leaves no room in front of frames: try mode = \"generic\" for the interface, and tell us the \
             driver (ethtool -i)"
        }
        Verdict::NotTunnel => {
            "what ingress nodes send is GUE (UDP port 19523) or IP in IP to an address of this host; all else goes to \
             the kernel as it is"
        }
        Verdict::OuterFragment => {
            "the network between ingress node and backend is too narrow for the tunnel: anycast-lb check --host on \
             the ingress node names the MTU"
        }
        Verdict::OuterMalformed
        | Verdict::GueVersion
        | Verdict::GueProtocol
        | Verdict::GueLength
        | Verdict::GueType
        | Verdict::GueHops => {
            "not as our ingress nodes make it: look at what sends it, and whether all nodes run the same release"
        }
        Verdict::HopStranger => {
            "backends of a pool pass packets on to each other: each needs the others in allowed_senders"
        }
        Verdict::HopLimited => {
            "the limits ([hop_limits]) were reached by the packets of this question, or they are 0: live ones have \
             their own count (anycast-lb stats)"
        }
        Verdict::HopTtl => {
            "too many hops lie behind it: ingress nodes send with a TTL of 64, so something loops"
        }
        Verdict::InnerCe => {
            "a router on the way said \"congested\", and the connection cannot be told but by loss: relieve that link"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

fn outer(case: &Case<'_>, which: impl Fn(&crate::frame::Ip) -> IpAddr) -> String {
    case.read.and_then(|r| r.ip.as_ref()).map_or("the address".to_owned(), |ip| which(ip).to_string())
}

fn unmatched(verdict: Verdict, case: &Case<'_>) -> String {
    let ip = case.read.and_then(|r| r.ip);
    let destination = outer(case, |ip| ip.destination);
    let vips = case.config.map(|c| c.vips.as_slice()).unwrap_or_default();
    let here: Vec<String> = vips
        .iter()
        .filter(|v| Some(v.key.address) == ip.map(|ip| ip.destination))
        .map(|v| v.key.to_string())
        .collect();
    let mut text = match (verdict, here.is_empty()) {
        (Verdict::NotVip, _) if ip.is_some_and(|ip| ip.ports.is_some_and(|p| p.1 == gue::PORT)) => {
            "this is a tunnel packet, as an ingress node sends it and not as it gets it; explain it on a backend, or \
             capture before the ingress node. "
                .to_owned()
        }
        (_, true) => format!("{destination} is no VIP's address (anycast-lb vip list). "),
        (_, false) => format!("VIPs of that address: {}. ", here.join(", ")),
    };
    let protocol = ip.and_then(|ip| match ip.protocol {
        TCP => Some("tcp"),
        UDP => Some("udp"),
        _ => None,
    });
    let endpoint = ip
        .zip(ip.and_then(|ip| ip.ports))
        .map(|(ip, (_, port))| std::net::SocketAddr::new(ip.destination, port).to_string());
    if let (Some(protocol), Some(endpoint)) = (protocol, endpoint) {
        text.push_str(&format!("To balance it: anycast-lb vip add {endpoint}/{protocol} --pool NAME"));
    } else {
        text.push_str("To balance it, add a VIP for its protocol");
    }
    if verdict == Verdict::UnmatchedService {
        text.push_str("; to leave the rest of the address to this host's kernel: unmatched = \"pass\"");
    }
    text
}

fn no_neighbour(case: &Case<'_>) -> String {
    let backend = case.backend.map_or("ADDRESS".to_owned(), |b| b.to_string());
    let reason = case.reason.as_ref().map(|r| format!("backend {backend}: {r}. ")).unwrap_or_default();
    format!(
        "{reason}See whether there is a route and whether the neighbour answers: ip route get {backend}; ip neigh \
         show; ping {backend}. Until then: anycast-lb backend health {backend} down"
    )
}

fn too_big(verdict: Verdict, case: &Case<'_>) -> String {
    let mtu = case.mtu.map(|m| format!("the way to the backend takes {m} bytes. ")).unwrap_or_default();
    let told = match verdict {
        Verdict::TooBigAnswered => "The sender was told and sends smaller ones. ",
        Verdict::TooBigNoDf => {
            "Without \"don't fragment\" the sender does not ask what fits, and is not told. "
        }
        Verdict::TooBigLimited => {
            "Others of its prefix, or all together, were told so often that this one was not. "
        }
        _ => "",
    };
    format!(
        "{mtu}{told}Give the links to the backends a larger MTU, or let the backends ask for smaller segments (advmss on \
         their routes): anycast-lb check --host names both numbers"
    )
}

fn stranger(case: &Case<'_>) -> String {
    let source = case.read.and_then(|r| r.ip).map(|ip| ip.source);
    match source {
        Some(source) => format!(
            "if {source} is an ingress node, or another backend of the pool, write it into allowed_senders; a packet \
             that claims to come from this host itself is never taken"
        ),
        None => "write the sender into allowed_senders".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use anycast_lb_common::abi::{Kind, VERDICTS};

    use super::*;
    use crate::frame::dissect;

    #[test]
    fn whoever_drops_a_packet_says_what_to_do() {
        for verdict in VERDICTS.iter().filter(|v| v.kind() == Kind::Drop) {
            assert!(advice(*verdict, &Case::default()).is_some(), "{}", verdict.name());
        }
        for verdict in [Verdict::ForwardedGue, Verdict::DecapGue, Verdict::NotIp] {
            assert_eq!(advice(verdict, &Case::default()), None);
        }
    }

    #[test]
    fn the_advice_names_what_the_packet_has() {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
        frame.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 7, 203, 0, 113, 1]);
        frame.extend([0xc8, 0x22, 1, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]);
        let read = dissect(&frame);
        let case = Case { read: Some(&read), ..Case::default() };
        let text = advice(Verdict::NotVip, &case).expect("advice");
        assert!(text.contains("anycast-lb vip add 203.0.113.1:443/tcp --pool NAME"), "{text}");
        let text = advice(Verdict::Stranger, &case).expect("advice");
        assert!(text.contains("192.0.2.7") && text.contains("allowed_senders"), "{text}");
        let case =
            Case { backend: Some([10, 0, 0, 11].into()), reason: Some("no route".into()), ..Case::default() };
        let text = advice(Verdict::NoNeighbour, &case).expect("advice");
        assert!(text.starts_with("backend 10.0.0.11: no route.") && text.contains("ip route get 10.0.0.11"));
    }
}
