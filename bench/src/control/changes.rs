//! From a command to the data plane: a daemon with a thousand VIPs, and changes of one backend, made by the
//! command line as an operator makes them. A change is timed from the start of the command to its end, which is
//! after the tables are in force, the file is written and the answer is printed.
//!
//! Only changes that wait for nothing on purpose: what gives a backend new flows waits for the other nodes.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::Times;
use super::daemon::Daemon;

/// VIPs of every node.
pub const VIPS: u32 = 1000;
/// Name of the pool.
pub const POOL: &str = "web";

/// A node: one pool, to which all VIPs lead.
#[derive(Clone, Copy)]
pub struct Node {
    /// Backends of the pool.
    pub backends: u32,
    /// Slots of its table.
    slots: u32,
    /// The second byte of its backends' addresses.
    network: u8,
}

/// The nodes that are measured.
pub const NODES: [Node; 2] = [
    Node { backends: 100, slots: 1 << 14, network: 64 },
    Node { backends: 1000, slots: 1 << 16, network: 65 },
];

/// What happens to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It gets half of its weight.
    Weight,
    /// It is drained.
    Drain,
    /// It is said to be down.
    Down,
}

impl Kind {
    /// The command's words, and those that undo it.
    fn commands(self, backend: &str) -> [Vec<String>; 2] {
        let words = |text: &str| text.replace("BACKEND", backend).split(' ').map(str::to_owned).collect();
        match self {
            Kind::Weight => ["backend weight BACKEND 50", "backend weight BACKEND 100"],
            Kind::Drain => ["backend drain BACKEND", "backend undrain BACKEND"],
            Kind::Down => ["backend health BACKEND down", "backend health BACKEND up"],
        }
        .map(words)
    }
}

impl Node {
    /// All kinds of changes.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> + use<> {
        [Kind::Weight, Kind::Drain, Kind::Down].into_iter()
    }

    /// Name of a case: VIPs × backends, and what happens.
    pub fn name(&self, kind: Kind) -> String {
        format!("change-{VIPS}x{}-{}", self.backends, format!("{kind:?}").to_lowercase())
    }

    /// Whether this is the one whose memory is told.
    pub fn is_largest(&self) -> bool {
        NODES.iter().all(|node| node.backends <= self.backends)
    }

    /// What its instance and its interface are called.
    pub fn instance(&self) -> String {
        format!("control{}", self.network)
    }

    /// The host's own address, with the network of the backends.
    pub fn address(&self) -> String {
        format!("10.{}.255.254/16", self.network)
    }

    /// The `n`th backend.
    pub fn backend(&self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::from_be_bytes([10, self.network, 0, 1]) + n % self.backends)
    }

    /// Pools and VIPs, as a configuration file has them.
    pub fn entries(&self) -> String {
        // What was undone is in force at once.
        let mut text = format!("\n[[pool]]\nname = \"{POOL}\"\nslots = {}\nfill_time = \"0s\"\n", self.slots);
        for n in 0..self.backends {
            // Writing to a string does not fail.
            let _ = write!(text, "[[pool.backend]]\naddress = \"{}\"\nweight = 100\n", self.backend(n));
        }
        let first = u32::from_be_bytes([198, 18, 0, 1]);
        for address in (0..VIPS).map(|n| Ipv4Addr::from_bits(first + n)) {
            let _ = write!(
                text,
                "[[vip]]\naddress = \"{address}\"\nport = 443\nprotocol = \"tcp\"\npool = \"{POOL}\"\n"
            );
        }
        text
    }
}

/// Makes each change once in each round, each of another backend, and undoes it, which is not timed.
pub fn measure(daemon: &Daemon, node: &Node, kinds: &[Kind], rounds: u32) -> Result<Vec<Times>> {
    let empty = |kind: &Kind| Times { name: node.name(*kind), rounds: Vec::new() };
    let mut times: Vec<Times> = kinds.iter().map(empty).collect();
    let mut backends = (0..).map(|n| node.backend(n).to_string());
    for _ in 0..rounds {
        for ((kind, times), backend) in kinds.iter().zip(&mut times).zip(&mut backends) {
            let [change, undo] = kind.commands(&backend);
            let before = daemon.table_in_force()?;
            let began = Instant::now();
            daemon.command(&change)?;
            times.rounds.push(began.elapsed());
            ensure!(daemon.table_in_force()? != before, "{}: the same table is in force", times.name);
            daemon.command(&undo)?;
            // Who asks is answered when the second step of that, which comes by itself, is done.
            daemon.command(&["status"])?;
        }
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_how_many_vips_and_backends() {
        let names: Vec<String> =
            NODES.iter().flat_map(|node| node.kinds().map(|kind| node.name(kind))).collect();
        assert_eq!(names[0], "change-1000x100-weight");
        assert_eq!(names.last().map(String::as_str), Some("change-1000x1000-down"));
        assert!(!NODES[0].is_largest() && NODES[1].is_largest());
    }
}
