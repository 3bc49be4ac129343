//! What is measured: which paths, under which loads, and what the cases are called.

use std::net::Ipv4Addr;

use xtask::lab::Mode;

/// What stands between the client and the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// A router: the kernel forwards, no XDP program anywhere.
    Plain,
    /// Our ingress, and our backend's program on the backend.
    Balanced(Mode),
    /// HAProxy in TCP mode.
    Haproxy,
    /// nginx `stream`.
    Nginx,
}

impl Path {
    /// Every path; the first is what the others are compared with.
    pub const ALL: [Path; 5] = [
        Path::Plain,
        Path::Balanced(Mode::Native),
        Path::Balanced(Mode::Generic),
        Path::Haproxy,
        Path::Nginx,
    ];

    /// Its part of a case's name.
    pub fn word(self) -> &'static str {
        match self {
            Path::Plain => "plain",
            Path::Balanced(mode) => mode.word(),
            Path::Haproxy => "haproxy",
            Path::Nginx => "nginx",
        }
    }

    /// Whether it ends the client's connection and opens one of its own.
    pub fn is_proxy(self) -> bool {
        matches!(self, Path::Haproxy | Path::Nginx)
    }

    /// From where the backend sees the client's packets come.
    pub fn seen_from(self) -> Ipv4Addr {
        if self.is_proxy() { MIDDLE } else { CLIENT }
    }
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Datagrams of 18 bytes, one way.
    Udp,
    /// Small requests and answers on connections that stay.
    Request,
    /// A new connection for each small request.
    Connect,
    /// 64 KiB from the client, a small answer.
    Bulk,
}

impl Load {
    /// Every load.
    pub const ALL: [Load; 4] = [Load::Udp, Load::Request, Load::Connect, Load::Bulk];

    /// What is counted.
    pub fn unit(self) -> &'static str {
        match self {
            Load::Udp => "packet",
            Load::Request => "request",
            Load::Connect => "connection",
            Load::Bulk => "64 KiB",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Load::Udp => "udp",
            Load::Request => "tcp",
            Load::Connect => "connect",
            Load::Bulk => "bulk",
        }
    }
}

/// A load over a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// The load.
    pub load: Load,
    /// The path.
    pub path: Path,
}

impl Case {
    /// Its name in tables and JSON.
    pub fn name(self) -> String {
        format!("e2e-{}-{}", self.load.word(), self.path.word())
    }

    /// The name of the case that it is compared with.
    pub fn reference(self) -> String {
        Case { path: Path::Plain, ..self }.name()
    }
}

/// Cases whose name contains one of `wanted` (all where nothing is wanted), and what they are compared with.
pub fn cases(wanted: &[String]) -> Vec<Case> {
    let is_wanted = |case: Case| wanted.is_empty() || wanted.iter().any(|text| case.name().contains(text));
    let all = || Load::ALL.into_iter().flat_map(|load| Path::ALL.map(|path| Case { load, path }));
    // The proxies are for TCP: HAProxy takes no UDP, and a datagram proxy would be another kind of thing.
    let exists = |case: &Case| !(case.load == Load::Udp && case.path.is_proxy());
    let chosen: Vec<Case> = all().filter(|case| exists(case) && is_wanted(*case)).collect();
    all()
        .filter(|case| chosen.contains(case) || chosen.iter().any(|other| other.reference() == case.name()))
        .collect()
}

/// The client.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// What stands in the middle, towards the client.
pub const MIDDLE_EDGE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// What stands in the middle, towards the backend.
pub const MIDDLE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// The backend.
pub const BACKEND: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 11);
/// The client's end of the way back.
pub const CLIENT_BACK: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// The backend's end of the way back.
pub const BACKEND_BACK: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wanted: &[&str]) -> Vec<String> {
        let wanted: Vec<String> = wanted.iter().map(|&text| text.to_owned()).collect();
        cases(&wanted).into_iter().map(Case::name).collect()
    }

    #[test]
    fn proxies_take_part_where_there_is_tcp() {
        let all = names(&[]);
        assert_eq!(all.len(), 3 + 3 * 5);
        assert!(all.contains(&"e2e-udp-generic".to_owned()) && all.contains(&"e2e-bulk-nginx".to_owned()));
        assert!(!all.contains(&"e2e-udp-nginx".to_owned()));
    }

    #[test]
    fn a_chosen_case_brings_its_reference() {
        assert_eq!(names(&["udp-native"]), ["e2e-udp-plain", "e2e-udp-native"]);
        assert_eq!(
            names(&["haproxy"]).iter().filter(|name| name.ends_with("-plain")).count(),
            3,
            "one for each load"
        );
        assert!(names(&["floor-v4"]).is_empty());
    }
}
