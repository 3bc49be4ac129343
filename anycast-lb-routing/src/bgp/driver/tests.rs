use std::net::Ipv4Addr;

use tokio::net::TcpListener;

use super::*;
use crate::bgp::decode::{Decoder, Incoming};
use crate::bgp::message::{self, NextHops};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn neighbour(address: SocketAddr) -> Neighbour {
    Neighbour {
        address,
        source: None,
        settings: Settings {
            local_as: 64500,
            remote_as: 64501,
            router_id: Ipv4Addr::new(10, 0, 0, 2),
            hold_time: 9,
            next_hops: NextHops::default(),
        },
        key: None,
        distance: Distance::Any,
        attributes: Attributes::default(),
        drain: DrainMarks { graceful_shutdown: true, prepend: 0, med: None },
    }
}

fn prefixes(draining: bool) -> Prefixes {
    [("203.0.113.0/24".parse().expect("a prefix"), draining)].into()
}

/// A neighbour as a test plays it.
struct Router {
    stream: TcpStream,
    decoder: Decoder,
}

impl Router {
    /// Takes a connection and says OPEN and KEEPALIVE.
    async fn accept(listener: &TcpListener) -> Self {
        let accepted = tokio::time::timeout(PATIENCE, listener.accept()).await.expect("in time");
        let mut router = Router { stream: accepted.expect("a connection").0, decoder: Decoder::default() };
        let open = message::open(64501, 9, Ipv4Addr::new(10, 0, 0, 1)).expect("written");
        router.say(&open).await;
        router.say(&message::keepalive()).await;
        router
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("sent");
    }

    /// The next message; none at the end.
    async fn next(&mut self) -> Option<Incoming> {
        loop {
            if let Some(message) = self.decoder.message().expect("well formed") {
                return Some(message);
            }
            let mut bytes = [0; READ];
            let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut bytes)).await.expect("in time");
            match read.expect("readable") {
                0 => return None,
                length => self.decoder.push(&bytes[..length]),
            }
        }
    }

    async fn until(&mut self, is_it: impl Fn(&Incoming) -> bool) -> Incoming {
        loop {
            let message = self.next().await.expect("it goes on");
            if is_it(&message) {
                return message;
            }
        }
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

async fn wait_for(speaker: &Speaker, what: impl Fn(&Report) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !speaker.reports().iter().all(|(_, report)| what(report)) {
        assert!(Instant::now() < end, "{:?}", speaker.reports());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_session_announces_changes_and_says_goodbye() {
    let (listener, address) = listener().await;
    let mut speaker = Speaker::default();
    speaker.announce(prefixes(false));
    speaker.configure(&[neighbour(address)]);
    let mut router = Router::accept(&listener).await;
    router.until(|m| *m == Incoming::Update).await;
    wait_for(&speaker, |report| report.state == State::Established && report.announced.len() == 1).await;
    speaker.announce(prefixes(true));
    router.until(|m| *m == Incoming::Update).await;

    // Unread bytes of ours must not cost it the farewell.
    router.say(&message::keepalive()).await;
    speaker.stop("the daemon is stopped");
    let end = router.until(|m| matches!(m, Incoming::Notification(_))).await;
    let Incoming::Notification(end) = end else { panic!("{end:?}") };
    assert_eq!(end.shutdown_message().as_deref(), Some("the daemon is stopped"));
    assert_eq!(router.next().await, None);
    drop(router);
    tokio::time::timeout(PATIENCE, speaker.ended()).await.expect("in time");
    assert!(speaker.reports().is_empty());
}

#[tokio::test]
async fn a_new_configuration_keeps_what_it_can() {
    let (listener, address) = listener().await;
    let mut speaker = Speaker::default();
    speaker.announce(prefixes(false));
    let first = neighbour(address);
    speaker.configure(std::slice::from_ref(&first));
    let mut router = Router::accept(&listener).await;
    router.until(|m| *m == Incoming::Update).await;

    // Other attributes: the same session.
    let attributes = Attributes { prepend: 2, ..Attributes::default() };
    speaker.configure(&[Neighbour { attributes: attributes.clone(), ..first.clone() }]);
    router.until(|m| *m == Incoming::Update).await;

    // Another hold time: a new one.
    let mut other = Neighbour { attributes, ..first };
    other.settings.hold_time = 30;
    speaker.configure(&[other]);
    router.until(|m| matches!(m, Incoming::Notification(n) if n.code == 6)).await;
    let mut router = Router::accept(&listener).await;
    router.until(|m| *m == Incoming::Update).await;

    speaker.configure(&[]);
    router.until(|m| matches!(m, Incoming::Notification(n) if n.code == 6)).await;
    assert!(speaker.reports().is_empty());
}

#[tokio::test]
async fn it_comes_back_after_the_router_was_away() {
    let (listener, address) = listener().await;
    let mut speaker = Speaker::default();
    speaker.announce(prefixes(false));
    speaker.configure(&[neighbour(address)]);
    for round in 1..=2 {
        let mut router = Router::accept(&listener).await;
        router.until(|m| *m == Incoming::Update).await;
        wait_for(&speaker, |report| report.established == round).await;
        drop(router);
        wait_for(&speaker, |report| report.state != State::Established && report.announced.is_empty()).await;
    }
}

#[tokio::test]
async fn nonsense_is_answered_and_the_connection_closed() {
    let (listener, address) = listener().await;
    let mut speaker = Speaker::default();
    speaker.configure(&[neighbour(address)]);
    let mut router = Router::accept(&listener).await;
    router.say(&[0; 50]).await;
    let end = router.until(|m| matches!(m, Incoming::Notification(_))).await;
    assert!(matches!(end, Incoming::Notification(n) if (n.code, n.subcode) == (1, 1)));
    assert_eq!(router.next().await, None);
}

#[tokio::test]
async fn a_wrong_key_makes_no_session() {
    let (listener, address) = listener().await;
    let key = Md5Key::new(b"secret").expect("a key");
    let mut speaker = Speaker::default();
    speaker.configure(&[Neighbour { key: Some(key), ..neighbour(address) }]);
    // The listener knows of no key: the kernel drops the signed SYNs' answers.
    let accepted = tokio::time::timeout(Duration::from_secs(2), listener.accept()).await;
    assert!(accepted.is_err(), "connected without a key");
    wait_for(&speaker, |report| report.state != State::Established).await;
}
