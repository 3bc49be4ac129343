//! UDP flows: numbered datagrams to the echo service, every answer compared.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::client::{Shared, stopped};
use super::outcome::Udp;

/// How long the last answers may take.
const GRACE: Duration = Duration::from_secs(1);
const BUFFER: usize = 2048;

/// Runs one flow until the client stops.
pub(super) async fn flow(shared: &Shared, target: SocketAddr) -> std::io::Result<Udp> {
    let any = match target {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(target).await?;
    let mut stop = shared.stop.clone();
    let mut ticks = interval(Duration::from_secs_f64(1.0 / shared.spec.udp_rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut buffer = [0; BUFFER];
    let mut answers = Answers::default();
    let mut udp = Udp::default();
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            received = socket.recv(&mut buffer) => answers.take(received.ok().map(|length| &buffer[..length])),
            _ = ticks.tick() => {
                udp.sent += 1;
                // Refused means that an ICMP error answered an earlier one: this one is lost too.
                let _ = socket.send(payload(udp.sent).as_bytes()).await;
            }
        }
    }
    let end = Instant::now() + GRACE;
    while (answers.numbers.len() as u64) < udp.sent {
        let Ok(received) =
            timeout(end.saturating_duration_since(Instant::now()), socket.recv(&mut buffer)).await
        else {
            break;
        };
        answers.take(received.ok().map(|length| &buffer[..length]));
    }
    udp.answered = answers.numbers.len() as u64;
    udp.corrupt = answers.corrupt;
    udp.moved = u64::from(answers.backends.len() > 1);
    if let Some(first) = answers.backends.into_iter().next() {
        udp.spread.insert(first, 1);
    }
    Ok(udp)
}

/// The datagram's number decides all of it.
fn payload(number: u64) -> String {
    format!("{number} {}", "x".repeat((number % 700) as usize))
}

/// What came back.
#[derive(Default)]
struct Answers {
    numbers: HashSet<u64>,
    /// In order of appearance, each once.
    backends: Vec<String>,
    corrupt: u64,
}

impl Answers {
    fn take(&mut self, datagram: Option<&[u8]>) {
        let Some(datagram) = datagram else { return };
        let parsed = std::str::from_utf8(datagram).ok().and_then(|text| {
            let (backend, echoed) = text.split_once(' ')?;
            let number = echoed.split(' ').next()?.parse().ok()?;
            (payload(number) == echoed).then_some((backend, number))
        });
        let Some((backend, number)) = parsed else {
            self.corrupt += 1;
            return;
        };
        self.numbers.insert(number);
        if !self.backends.iter().any(|known| known == backend) {
            self.backends.push(backend.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_once_and_compared() {
        let mut answers = Answers::default();
        answers.take(Some(format!("be0 {}", payload(3)).as_bytes()));
        answers.take(Some(format!("be0 {}", payload(3)).as_bytes()));
        answers.take(Some(format!("be1 {}y", payload(4)).as_bytes()));
        answers.take(Some(b"\xff"));
        answers.take(None);
        assert_eq!((answers.numbers.len(), answers.corrupt), (1, 2));
        assert_eq!(answers.backends, ["be0"]);
    }
}
