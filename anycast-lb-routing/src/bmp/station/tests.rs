use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use super::super::testing::{PEER, announce, initiation, message as bmp, open};
use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

fn settings(listen: SocketAddr) -> Settings {
    let own = Own { prefix: "203.0.113.0/24".parse().expect("a prefix"), origin: 64500 };
    Settings { listen: Some(listen), own: vec![own], ..Settings::default() }
}

/// A port that was free a moment ago.
async fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address")
}

async fn connected(address: SocketAddr) -> TcpStream {
    let attempt = async {
        loop {
            match TcpStream::connect(address).await {
                Ok(stream) => return stream,
                Err(_) => sleep(Duration::from_millis(5)).await,
            }
        }
    };
    timeout(DEADLINE, attempt).await.expect("a listener")
}

async fn until(station: &Station, holds: impl Fn(&Status) -> bool) -> Status {
    let attempt = async {
        loop {
            let status = station.status();
            if holds(&status) {
                return status;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, attempt).await.unwrap_or_else(|_| panic!("{:?}", station.status()))
}

fn hijack() -> Vec<u8> {
    let up = PEER.up(&open(64500, 0, 0), &open(64510, 0, 0));
    let routes = PEER.routes(&announce(&["203.0.113.0/24"], &[64510, 64666]));
    [initiation("edge1"), up, routes].concat()
}

#[tokio::test]
async fn a_router_tells_and_goes() {
    let station = Station::default();
    let address = free_port().await;
    station.configure(&settings(address));
    let mut router = connected(address).await;
    // In pieces, as networks cut them.
    for piece in hijack().chunks(7) {
        router.write_all(piece).await.expect("room");
        router.flush().await.expect("room");
    }
    let status = until(&station, |s| !s.alarms.is_empty()).await;
    let (alarm, sights) = &status.alarms[0];
    assert_eq!(
        (alarm.prefix.to_string(), alarm.origin.to_string()),
        ("203.0.113.0/24".into(), "AS64666".into())
    );
    assert_eq!(sights[0].path, "64510 64666");
    assert_eq!(status.routers[0].name.as_deref(), Some("edge1"));
    drop(router);
    let status = until(&station, |s| s.alarms.is_empty()).await;
    assert_eq!(status.routers, []);
}

#[tokio::test]
async fn malformed_input_closes_the_session_and_clears_what_it_told() {
    let station = Station::default();
    let address = free_port().await;
    station.configure(&settings(address));
    let mut router = connected(address).await;
    router.write_all(&hijack()).await.expect("room");
    until(&station, |s| !s.alarms.is_empty()).await;
    router.write_all(&bmp(0, &[0; 10])).await.expect("room");
    assert_eq!(timeout(DEADLINE, router.read(&mut [0; 1])).await.expect("an end").unwrap_or(0), 0);
    until(&station, |s| s.alarms.is_empty() && s.routers.is_empty()).await;
}

#[tokio::test]
async fn who_may_come_and_how_many() {
    let station = Station::default();
    let address = free_port().await;
    let strangers = vec!["192.0.2.0/24".parse().expect("a prefix")];
    station.configure(&Settings { allowed: strangers, ..settings(address) });
    let mut router = connected(address).await;
    assert_eq!(timeout(DEADLINE, router.read(&mut [0; 1])).await.expect("an end").unwrap_or(0), 0);

    // The same port again, at once.
    station.configure(&settings(address));
    until(&station, |s| s.problem.is_none()).await;
    let mut routers = Vec::new();
    for number in 1..=MOST_OF_ONE_HOST {
        routers.push(connected(address).await);
        until(&station, |s| s.routers.len() == number).await;
    }
    let mut one_more = connected(address).await;
    assert_eq!(timeout(DEADLINE, one_more.read(&mut [0; 1])).await.expect("an end").unwrap_or(0), 0);
    routers.pop();
    until(&station, |s| s.routers.len() == MOST_OF_ONE_HOST - 1).await;
    routers.push(connected(address).await);
    until(&station, |s| s.routers.len() == MOST_OF_ONE_HOST).await;
}

#[tokio::test]
async fn other_settings_end_the_sessions_and_the_same_do_not() {
    let station = Station::default();
    let address = free_port().await;
    station.configure(&settings(address));
    let mut router = connected(address).await;
    router.write_all(&hijack()).await.expect("room");
    until(&station, |s| !s.alarms.is_empty()).await;
    station.configure(&settings(address));
    assert_eq!(station.status().alarms.len(), 1);
    station.configure(&Settings { ours: vec![64666], ..settings(address) });
    assert_eq!(timeout(DEADLINE, router.read(&mut [0; 1])).await.expect("an end").unwrap_or(0), 0);
    let mut router = connected(address).await;
    router.write_all(&hijack()).await.expect("room");
    let status = until(&station, |s| s.routers.iter().any(|r| r.peers == 1)).await;
    assert_eq!(status.alarms, []);
    station.configure(&Settings::default());
    assert_eq!(station.status(), Status::default());
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_and_tried_again() {
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = taken.local_addr().expect("an address");
    let station = Station::default();
    station.configure(&settings(address));
    let status = until(&station, |s| s.problem.is_some()).await;
    assert!(status.problem.is_some_and(|p| p.contains(&address.to_string())));
    drop(taken);
    until(&station, |s| s.problem.is_none()).await;
    connected(address).await;
}

#[tokio::test]
async fn a_message_that_begins_must_end() {
    let patience = Duration::from_millis(50);
    for (sent, slow) in [(&[][..], true), (&[3, 0][..], true), (&initiation("a")[..], false)] {
        let (mut theirs, ours) = tokio::io::duplex(1024);
        theirs.write_all(sent).await.expect("room");
        let reading = read(ours, patience, |_| {});
        match timeout(Duration::from_millis(500), reading).await {
            Ok(End::Slow) => assert!(slow, "{sent:?}"),
            // Between messages there is time.
            Err(_) => assert!(!slow, "{sent:?}"),
            Ok(other) => panic!("{other}"),
        }
    }
}

#[test]
fn lines_are_bounded() {
    let begin = Instant::now();
    let mut log = Throttle::new(begin);
    let admitted = (0..1000).filter(|_| log.admits(begin)).count();
    assert_eq!(admitted, MOST_LINES as usize);
    assert!(log.admits(begin + LINE_INTERVAL) && !log.admits(begin + LINE_INTERVAL));
    let admitted = (0..1000).filter(|_| log.admits(begin + 1000 * LINE_INTERVAL)).count();
    assert_eq!(admitted, MOST_LINES as usize);
}

proptest! {
    /// Whatever a router sends, its session ends or goes on, and nothing but whole messages is heard.
    #[test]
    fn anything_ends_in_an_end(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        garbage in prop::collection::vec(any::<u8>(), 0..100),
        front in any::<bool>(),
    ) {
        let mut bytes = hijack();
        let length = bytes.len();
        for (at, byte) in damage {
            bytes[at.index(length)] = byte;
        }
        let bytes = if front { [garbage, bytes].concat() } else { [bytes, garbage].concat() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut watch = Watch::new(&settings(SocketAddr::from(([127, 0, 0, 1], 1))).own, &[]);
            watch.router_up(1, SocketAddr::from(([10, 0, 0, 1], 1)));
            let end = read(&bytes[..], DEADLINE, |message| {
                watch.heard(Instant::now(), 1, message);
            });
            timeout(DEADLINE, end).await.expect("an end");
            watch.router_gone(1);
            assert_eq!(watch.alarms(), []);
        });
    }
}
