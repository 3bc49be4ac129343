//! Questions and answers on sockets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::reading::{Said, answer, question};
use super::{Outcome, Plan, Reply};
use crate::dns::NAMES;

/// Longest answer that is read.
const LONGEST: usize = 4096;

/// Asks from as many ports as the plan says, a bounded number at a time. Replies are in the order in which they
/// came.
pub async fn from_ports(plan: &Plan) -> Vec<Reply> {
    let mut left = plan.ports;
    let mut running = JoinSet::new();
    let mut replies = Vec::new();
    loop {
        while left > 0 && running.len() < plan.at_once.max(1) {
            running.spawn(from_one(*plan));
            left -= 1;
        }
        match running.join_next().await {
            Some(Ok(reply)) => replies.push(reply),
            Some(Err(error)) => {
                replies.push(Reply { port: None, outcome: Outcome::Failed(error.to_string()) });
            }
            None => return replies,
        }
    }
}

async fn from_one(plan: Plan) -> Reply {
    let socket = match connected(plan.server).await {
        Ok(socket) => socket,
        Err(error) => return Reply { port: None, outcome: Outcome::Failed(error.to_string()) },
    };
    let port = socket.local_addr().ok().map(|address| address.port());
    let outcome = match converse(&socket, &plan).await {
        Ok(outcome) => outcome,
        Err(error) => Outcome::Failed(error.to_string()),
    };
    Reply { port, outcome }
}

/// A socket that hears nobody but the server, and hears of refusals.
async fn connected(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(server).await?;
    Ok(socket)
}

/// Asks for the one name and then, if the server does not know it, for the other.
async fn converse(socket: &UdpSocket, plan: &Plan) -> io::Result<Outcome> {
    let mut edns = true;
    let mut refused = None;
    let mut names = NAMES.iter().peekable();
    while let Some(name) = names.peek() {
        match exchange(socket, plan, name, edns).await? {
            None if refused.is_none() => return Ok(Outcome::Silent),
            None => break,
            Some((Said::Name(name), latency)) => return Ok(Outcome::Named { name, latency }),
            Some((Said::WithoutOption, _)) => edns = false,
            Some((Said::Code(code), _)) => {
                refused.get_or_insert(code);
                names.next();
            }
        }
    }
    Ok(refused.map_or(Outcome::Silent, Outcome::Nameless))
}

/// Puts one question, as often as it takes.
async fn exchange(
    socket: &UdpSocket,
    plan: &Plan,
    name: &str,
    edns: bool,
) -> io::Result<Option<(Said, std::time::Duration)>> {
    let mut failure = None;
    for _ in 0..plan.attempts.max(1) {
        let id = hickory_proto::op::Message::query().metadata.id;
        let question = question(id, name, edns).ok_or_else(|| io::Error::other("no question can be made"))?;
        let sent = Instant::now();
        let deadline = sent + plan.patience;
        // A refusal of an earlier question is told here.
        if let Err(error) = socket.send(&question).await {
            failure = Some(error);
        }
        let mut buffer = [0; LONGEST];
        while let Ok(received) = timeout_at(deadline.into(), socket.recv(&mut buffer)).await {
            match received {
                Ok(length) => {
                    if let Some(said) = answer(&buffer[..length], id, name, edns) {
                        return Ok(Some((said, sent.elapsed())));
                    }
                }
                // Nobody listens there now; who does may by the next attempt.
                Err(error) => failure = Some(error),
            }
        }
    }
    failure.map_or(Ok(None), Err)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dns;

    fn plan(server: SocketAddr, ports: usize) -> Plan {
        let patience = Duration::from_secs(20);
        Plan { server, ports, at_once: 4, patience, attempts: 2 }
    }

    /// A server that does with each datagram what `serve` says.
    async fn server(serve: impl Fn(&[u8], SocketAddr) -> Option<Vec<u8>> + Send + 'static) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let address = socket.local_addr().expect("bound");
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
                if let Some(reply) = serve(&buffer[..length], client) {
                    let _ = socket.send_to(&reply, client).await;
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn every_port_gets_the_answer_that_is_meant_for_it() {
        let address = server(|bytes, client| {
            dns::Question::read(bytes)?.answer(&dns::text(&client.port().to_string(), "fra1", None), "")
        })
        .await;
        let replies = from_ports(&plan(address, 20)).await;
        let mut ports: Vec<_> = replies.iter().filter_map(|reply| reply.port).collect();
        for reply in &replies {
            let Outcome::Named { name, .. } = &reply.outcome else { panic!("{reply:?}") };
            assert_eq!(name.node, reply.port.map(|port| port.to_string()));
        }
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 20);
    }

    #[tokio::test]
    async fn a_server_that_knows_only_the_older_name_and_no_edns_is_understood() {
        let address = server(|bytes, _| {
            let older = bytes.windows(8).any(|w| w == b"hostname");
            if bytes[11] != 0 || !older {
                // FORMERR to EDNS, REFUSED to the newer name.
                let code = if bytes[11] != 0 { 1 } else { 5 };
                let mut reply = bytes[..if bytes[11] != 0 { 12 } else { bytes.len() }].to_vec();
                reply[2] |= 0x80;
                reply[3] = code;
                if code == 1 {
                    reply[4..12].fill(0);
                }
                return Some(reply);
            }
            dns::Question::read(bytes)?.answer("ns1", "")
        })
        .await;
        let replies = from_ports(&plan(address, 1)).await;
        let Outcome::Named { name, .. } = &replies[0].outcome else { panic!("{replies:?}") };
        assert_eq!(name.text, "ns1");
    }

    #[tokio::test]
    async fn a_lost_question_is_put_again() {
        let seen = std::sync::atomic::AtomicUsize::new(0);
        let address = server(move |bytes, _| {
            let first = seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
            if first { None } else { dns::Question::read(bytes)?.answer("ns1", "") }
        })
        .await;
        let plan = Plan { patience: Duration::from_millis(300), attempts: 60, ..plan(address, 1) };
        let replies = from_ports(&plan).await;
        assert!(matches!(replies[0].outcome, Outcome::Named { .. }), "{replies:?}");
    }

    #[tokio::test]
    async fn who_refuses_is_told_from_who_is_silent() {
        let refusing = server(|bytes, _| {
            let mut reply = bytes.to_vec();
            reply[2] |= 0x80;
            reply[3] = 5;
            Some(reply)
        })
        .await;
        let replies = from_ports(&plan(refusing, 1)).await;
        assert_eq!(replies[0].outcome, Outcome::Nameless("REFUSED".to_owned()));
        let silent = server(|_, _| None).await;
        let impatient = Plan { patience: Duration::from_millis(50), ..plan(silent, 1) };
        assert_eq!(from_ports(&impatient).await[0].outcome, Outcome::Silent);
        let closed = UdpSocket::bind("127.0.0.1:0").await.and_then(|s| s.local_addr()).expect("an address");
        let impatient = Plan { patience: Duration::from_millis(50), ..plan(closed, 1) };
        assert!(matches!(from_ports(&impatient).await[0].outcome, Outcome::Failed(_)));
    }
}
