//! Every probe against real servers on loopback: good ones, broken ones and hostile ones.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};

use super::*;

mod command;
mod datagrams;
mod http;
mod tls;

/// What a probe is given where it is to run into its deadline.
const SHORT: Duration = Duration::from_millis(300);
/// What a probe is given where it is not.
const LONG: Duration = Duration::from_secs(20);
/// How late a probe may be on a busy machine.
const LATE: Duration = Duration::from_secs(15);

/// One probe; it is over in time whatever happens.
async fn probe(check: &Check, target: &Target, timeout: Duration) -> Result<(), String> {
    let prepared = Prepared::new(check).expect("a check that can be made");
    let begin = Instant::now();
    let result = prepared.run(target, begin + timeout).await;
    assert!(begin.elapsed() < timeout + LATE, "{:?} for {timeout:?}", begin.elapsed());
    result.map_err(|reason| reason.to_string())
}

/// The address of a server that gives each connection to `serve`.
async fn server<F, S>(serve: S) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
    S: Fn(TcpStream) -> F + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// A port on which nobody listens.
async fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("its address")
}

#[tokio::test]
async fn a_connection_is_enough_for_tcp() {
    let open = server(|_| async {}).await;
    assert_eq!(probe(&Check::Tcp, &Target::direct(open), LONG).await, Ok(()));
    let refused = probe(&Check::Tcp, &Target::direct(closed().await), LONG).await.unwrap_err();
    assert!(refused.contains("Connection refused"), "{refused}");
}

#[tokio::test]
async fn nobody_who_answers_a_syn_is_a_failure_in_time() {
    // The queue of connections is full: SYNs are dropped.
    let listener = tokio::net::TcpSocket::new_v4().expect("a socket");
    listener.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let listener = listener.listen(1).expect("listening");
    let target = Target::direct(listener.local_addr().expect("its address"));
    let mut held = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(SHORT, TcpStream::connect(target.address)).await {
        held.push(stream);
    }
    let hung = probe(&Check::Tcp, &target, SHORT).await.unwrap_err();
    assert!(hung.starts_with("no success within "), "{hung}");
}

#[tokio::test]
async fn a_probe_leaves_no_port_behind() {
    let (tell, mut heard) = tokio::sync::mpsc::channel(1);
    let address = server(move |mut stream| {
        let tell = tell.clone();
        async move {
            let end = tokio::io::AsyncReadExt::read(&mut stream, &mut [0]).await;
            let _ = tell.send(end.map_err(|e| e.kind())).await;
        }
    })
    .await;
    assert_eq!(probe(&Check::Tcp, &Target::direct(address), LONG).await, Ok(()));
    assert_eq!(heard.recv().await, Some(Err(std::io::ErrorKind::ConnectionReset)), "no TIME_WAIT");
}

#[tokio::test]
async fn probes_are_bound_and_marked_as_asked() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let source = "127.9.8.7".parse().expect("an address");
    let target = Target { source: Some(source), ..Target::direct(address) };
    assert_eq!(probe(&Check::Tcp, &target, LONG).await, Ok(()));
    assert_eq!(listener.accept().await.expect("the probe").1.ip(), source);

    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    match socket::mark(&socket, &Target { mark: Some(0xa1b0_0007), ..target }) {
        Ok(()) => {
            let mark = nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::Mark);
            assert_eq!(mark, Ok(0xa1b0_0007));
        }
        // Marks are for who may administer the network.
        Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::PermissionDenied),
    }
}
