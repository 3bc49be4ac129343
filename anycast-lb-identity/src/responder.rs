//! Whether a question is answered, and with what. Pure: frames and times in, packets out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use ipnet::IpNet;

use crate::dns::{self, Question};
use crate::frame;
use crate::limit::{Budget, Limits, Rate};
use crate::packet;

/// Answers a second to the clients of a /24 or /56: twice what the program on the NIC hands over, whose limit
/// this one backs, since it may run on many CPUs at once.
const PER_PREFIX: Rate = Rate { per_second: 20, burst: 20 };
/// Answers a second to all.
const TOTAL: Rate = Rate { per_second: 1000, burst: 1000 };
/// Backends that are looked up a second: each costs the daemon a run of the program.
const LOOKUPS: Rate = Rate { per_second: 100, burst: 100 };

/// Ports below this one are no client's: those that ask have a dynamic one (RFC 6056 §3.2), and address
/// translators keep to that (RFC 4787 §4.2.1). What sits there are services, some of which answer whatever
/// they get (echo, chargen, a resolver): a forged question would have two servers talk to one another.
const FIRST_CLIENT_PORT: u16 = 1024;

/// What is said of who answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disclosure {
    /// Nothing.
    #[default]
    Off,
    /// The node and its site.
    Node,
    /// To some clients the backend as well.
    Backend,
}

/// What answers depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// This node.
    pub node: String,
    /// Its site.
    pub pop: String,
    /// Every VIP that UDP can reach, by address and port (none: every port), and what is said of it. A port
    /// of its own counts before that of all.
    pub services: BTreeMap<(IpAddr, Option<u16>), Disclosure>,
    /// The addresses of all VIPs.
    pub vips: BTreeSet<IpAddr>,
    /// Clients to whom backends are named.
    pub named_to: Vec<IpNet>,
}

impl Settings {
    fn disclosure(&self, server: SocketAddr) -> Disclosure {
        [Some(server.port()), None]
            .into_iter()
            .find_map(|port| self.services.get(&(server.ip(), port)))
            .copied()
            .unwrap_or_default()
    }

    /// Whether an answer may go there: to a host that may have asked.
    fn is_client(&self, client: SocketAddr) -> bool {
        let host = match client.ip() {
            IpAddr::V4(address) => {
                let [first, ..] = address.octets();
                // 0/8 is this network, 240/4 reserved, 255.255.255.255 broadcast (RFC 1122 §3.2.1.3, RFC 1112 §4).
                first != 0 && !address.is_loopback() && !address.is_link_local() && first < 224
            }
            IpAddr::V6(address) => {
                !(address.is_unspecified()
                    || address.is_loopback()
                    || address.is_multicast()
                    || address.is_unicast_link_local()
                    || address.to_ipv4_mapped().is_some())
            }
        };
        host && client.port() >= FIRST_CLIENT_PORT && !self.vips.contains(&client.ip())
    }

    fn may_name_backend(&self, client: IpAddr) -> bool {
        self.named_to.iter().any(|net| net.contains(&client))
    }
}

/// What becomes of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is not answered.
    Silence(Silence),
    /// It is answered.
    Answer(Reply),
    /// It is answered with the name of the backend, which must be looked up.
    NameBackend(Reply),
}

/// Why a question is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// It is none that should be.
    Odd,
    /// There are too many.
    Limited,
}

/// An answer in the making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Who asked.
    pub client: SocketAddr,
    /// Who was asked.
    pub server: SocketAddr,
    question: Question,
    id: u16,
}

/// Decides about questions.
pub struct Responder {
    limits: Limits,
    lookups: Budget,
    next_id: u16,
}

impl Responder {
    /// One that has answered nothing yet.
    pub fn new(now: Instant) -> Self {
        Responder {
            limits: Limits::new(PER_PREFIX, TOTAL, now),
            lookups: Budget::new(LOOKUPS, now),
            next_id: 0,
        }
    }

    /// Takes a frame.
    pub fn take(&mut self, now: Instant, frame: &[u8], settings: &Settings) -> Decision {
        let Some((client, server, question)) = question_in(frame, settings) else {
            return Decision::Silence(Silence::Odd);
        };
        if !self.limits.admit(client.ip(), now) {
            return Decision::Silence(Silence::Limited);
        }
        // Never 0, in whose place the kernel would choose one.
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        let reply = Reply { client, server, question, id: self.next_id };
        let wanted = settings.disclosure(server) == Disclosure::Backend
            && settings.may_name_backend(client.ip())
            && self.lookups.take(now);
        if wanted { Decision::NameBackend(reply) } else { Decision::Answer(reply) }
    }
}

fn question_in(frame: &[u8], settings: &Settings) -> Option<(SocketAddr, SocketAddr, Question)> {
    let datagram = frame::read(frame)?;
    let (client, server) = (datagram.source, datagram.destination);
    let answerable = settings.disclosure(server) != Disclosure::Off && settings.is_client(client);
    answerable.then_some(())?;
    Some((client, server, Question::read(datagram.payload)?))
}

impl Reply {
    /// The packet to send, from its IP header on.
    pub fn packet(&self, settings: &Settings, backend: Option<IpAddr>) -> Option<Vec<u8>> {
        let text = dns::text(&settings.node, &settings.pop, backend);
        // The option names the server that answers, and that is the node.
        let nsid = dns::text(&settings.node, &settings.pop, None);
        let answer = self.question.answer(&text, &nsid)?;
        packet::datagram(self.server, self.client, self.id, &answer)
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
