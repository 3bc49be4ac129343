//! DNS, plain datagrams and echo.

use hickory_proto::op::{Message, MessageType, ResponseCode};
use tokio::net::UdpSocket;

use super::*;

/// A server that answers each datagram by what `answer` makes of it.
async fn answering(answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Target {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let target = Target::direct(socket.local_addr().expect("its address"));
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            for datagram in answer(&buffer[..length]) {
                let _ = socket.send_to(&datagram, peer).await;
            }
        }
    });
    target
}

fn reply(query: &[u8], code: ResponseCode) -> Vec<u8> {
    let mut message = Message::from_vec(query).expect("a query");
    assert_eq!(message.queries[0].to_string(), "www.example. IN AAAA");
    message.metadata.message_type = MessageType::Response;
    message.metadata.response_code = code;
    message.to_vec().expect("an answer")
}

fn dns() -> Check {
    Check::Dns(DnsCheck { name: "www.example".to_owned(), record: "AAAA".to_owned() })
}

#[tokio::test]
async fn dns_wants_noerror() {
    let well = answering(|query| vec![reply(query, ResponseCode::NoError)]).await;
    assert_eq!(probe(&dns(), &well, LONG).await, Ok(()));
    let ill = answering(|query| vec![reply(query, ResponseCode::ServFail)]).await;
    assert_eq!(probe(&dns(), &ill, LONG).await, Err("the answer is ServFail, expected NOERROR".to_owned()));
    let garbage = answering(|_| vec![b"\0".to_vec()]).await;
    let failure = probe(&dns(), &garbage, LONG).await.unwrap_err();
    assert!(failure.starts_with("the answer is no DNS message"), "{failure}");
}

#[tokio::test]
async fn dns_waits_for_the_answer_to_its_own_query() {
    let stale = |query: &[u8]| {
        let mut old = reply(query, ResponseCode::NoError);
        old[0] ^= 1;
        old
    };
    let only_stale = answering(move |query| vec![stale(query), query.to_vec()]).await;
    assert!(probe(&dns(), &only_stale, SHORT).await.unwrap_err().starts_with("no success within"));
    let both = answering(move |query| vec![stale(query), reply(query, ResponseCode::NoError)]).await;
    assert_eq!(probe(&dns(), &both, LONG).await, Ok(()));
}

#[tokio::test]
async fn a_datagram_is_answered_as_expected() {
    let ping = |answer: &str| Check::Udp(UdpCheck { payload: b"ping".to_vec(), answer: answer.into() });
    let pong =
        answering(|payload| if payload == b"ping" { vec![b"pong 1".to_vec()] } else { Vec::new() }).await;
    assert_eq!(probe(&ping("pong"), &pong, LONG).await, Ok(()));
    assert_eq!(probe(&ping(""), &pong, LONG).await, Ok(()));
    let failure = probe(&ping("PONG"), &pong, LONG).await.unwrap_err();
    assert_eq!(failure, "the answer begins with \"pong\", not as expected");
    let short = probe(&ping("pong 1234"), &pong, LONG).await.unwrap_err();
    assert!(short.contains("pong 1"), "{short}");
    let silent = answering(|_| Vec::new()).await;
    assert!(probe(&ping(""), &silent, SHORT).await.unwrap_err().starts_with("no success within"));
    let closed = Target::direct(closed().await);
    let refused = probe(&ping(""), &closed, LONG).await.unwrap_err();
    assert!(refused.contains("Connection refused"), "{refused}");
}

/// Whether this process may send echo requests at all.
fn may_ping() -> bool {
    nix::unistd::geteuid().is_root()
}

#[tokio::test]
async fn echo_is_answered_by_who_is_there() {
    if !may_ping() {
        eprintln!("skipped: only root may send echo requests on every host");
        return;
    }
    for address in ["127.0.0.1", "127.5.6.7", "::1"] {
        let target = Target::direct(SocketAddr::new(address.parse().expect("an address"), 0));
        assert_eq!(probe(&Check::Icmp, &target, LONG).await, Ok(()), "{address}");
    }
}

#[tokio::test]
async fn many_echoes_at_once_do_not_take_each_other_s_answers() {
    if !may_ping() {
        return;
    }
    let prepared = Prepared::new(&Check::Icmp).expect("a check");
    let deadline = Instant::now() + LONG;
    let one = |i: u8| {
        let prepared = prepared.clone();
        let address = SocketAddr::new(std::net::Ipv4Addr::new(127, 0, 1, i).into(), 0);
        tokio::spawn(async move { prepared.run(&Target::direct(address), deadline).await })
    };
    for probe in (1..100).map(one).collect::<Vec<_>>() {
        assert_eq!(probe.await.expect("a result"), Ok(()));
    }
}
