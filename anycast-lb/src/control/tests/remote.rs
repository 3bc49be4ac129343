//! The API between hosts: real TLS over loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::{Running, running, running_with};
use crate::config::certificates::{self, provider};
use crate::config::testing::Authority;
use crate::control::api::{NodeReport, PeerRow, Peers};
use crate::control::client::{ClientError, typed};
use crate::control::remote::serve;
use crate::control::remote_client::{RemoteError, ask};
use crate::control::server::remote_router;
use crate::control::tls::{Credentials, Settings};
use crate::daemon::testing::{backend_address, config};
use crate::membership::Join;
use crate::model::{Peer, Protocol, Role, VipKey};
use crate::peers::driver;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const DEADLINE: Duration = Duration::from_secs(20);

/// Credentials that an authority gave to the host with this address.
fn credentials(authority: &Authority, address: IpAddr) -> Credentials {
    let directory = tempfile::tempdir().expect("a directory");
    let tls = authority.write(directory.path(), &[address]);
    let credentials = Credentials::default();
    credentials.reload(Some(&tls)).expect("they serve");
    credentials
}

/// Serves a daemon's API to other hosts.
async fn open(running: &Running, credentials: &Credentials) -> SocketAddr {
    let listener = TcpListener::bind((HERE, 0)).await.expect("binds");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(serve(listener, credentials.clone(), remote_router(running.api.clone())));
    address
}

async fn get(credentials: &Credentials, address: SocketAddr, path: &str) -> Result<String, RemoteError> {
    ask::<()>(credentials, address, Method::GET, path, None).await
}

/// Asserts that no connection comes about, and returns what is said of it.
async fn refused(credentials: &Credentials, address: SocketAddr) -> String {
    match get(credentials, address, "/v1/status").await {
        Err(RemoteError::Connection(reason)) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn who_has_a_certificate_of_the_authority_may_look() {
    let (running, authority) = (running().await, Authority::found());
    let address = open(&running, &credentials(&authority, HERE)).await;
    let us = credentials(&authority, IpAddr::from([10, 0, 0, 9]));
    for path in ["status", "stats", "vips", "pools", "pools/web", "backends", "node", "peers"] {
        let answer = get(&us, address, &format!("/v1/{path}")).await.expect(path);
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(answer["schema"], 1, "{path}");
    }
    let report: NodeReport =
        typed(&get(&us, address, "/v1/node").await.expect("an answer")).expect("a report");
    assert_eq!((report.node.as_str(), report.pools[0].owners.as_str()), ("lb1", "00c0ffee00c0ffee"));
    assert_eq!(report.pools[0].listed.len(), 2);
    assert_eq!(
        (report.pools[0].new_flows.as_deref(), report.pools[0].listed[0].pop.as_deref()),
        (Some("fra1"), Some("fra1"))
    );
    let flow = json!({"protocol": "tcp", "source": "192.0.2.7:1", "destination": "203.0.113.1:443"});
    let body = json!({"flows": [flow]});
    let traced = ask(&us, address, Method::POST, "/v1/trace", Some(&body)).await.expect("traces");
    assert!(traced.contains("\"backend\":\"10.0.0.11\""), "{traced}");
    let body = json!({"frames": ["02".repeat(60)]});
    let explained = ask(&us, address, Method::POST, "/v1/explain", Some(&body)).await.expect("explanations");
    assert!(explained.contains("\"backend\":\"10.0.0.11\""), "{explained}");
}

#[tokio::test]
async fn strangers_are_refused_on_both_sides() {
    let (running, authority, stranger) = (running().await, Authority::found(), Authority::found());
    let address = open(&running, &credentials(&authority, HERE)).await;

    // A stranger's certificate from somebody who believes our authority.
    let tls = certificates(&stranger, &authority);
    let reason = refused(&tls, address).await;
    assert!(
        !reason.contains("invalid peer certificate"),
        "the server must be the one that refuses: {reason}"
    );

    // A server of another authority.
    let reason = refused(&credentials(&stranger, HERE), address).await;
    assert!(reason.contains("invalid peer certificate"), "{reason}");

    // A server of our authority at an address that is not its own.
    let elsewhere = open(&running, &credentials(&authority, IpAddr::from([127, 0, 0, 9]))).await;
    let reason = refused(&credentials(&authority, HERE), elsewhere).await;
    assert!(reason.contains("not valid for name"), "{reason}");

    // Nobody's certificate.
    assert!(without_certificate(&authority, address).await.is_err());
}

/// A certificate by one authority, and belief in another.
fn certificates(signer: &Authority, believed: &Authority) -> Credentials {
    let directory = tempfile::tempdir().expect("a directory");
    let tls = signer.write(directory.path(), &[HERE]);
    std::fs::write(&tls.ca, believed.pem()).expect("written");
    let credentials = Credentials::default();
    credentials.reload(Some(&tls)).expect("they serve");
    credentials
}

/// Shakes hands without a certificate and waits for the server to say something.
async fn without_certificate(authority: &Authority, address: SocketAddr) -> std::io::Result<usize> {
    let directory = tempfile::tempdir()?;
    let tls = authority.write(directory.path(), &[HERE]);
    let roots: Arc<RootCertStore> = certificates::read(&tls).expect("they serve").roots;
    let client = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let mut stream = TlsConnector::from(Arc::new(client)).connect(ServerName::from(HERE), stream).await?;
    stream.read(&mut [0; 1]).await
}

#[tokio::test]
async fn other_hosts_change_nothing() {
    let (running, authority) = (running().await, Authority::found());
    let us = credentials(&authority, HERE);
    let address = open(&running, &us).await;
    for (method, path, code) in [
        (Method::POST, "/v1/vips", "read_only"),
        (Method::POST, "/v1/pools", "read_only"),
        (Method::POST, "/v1/backends", "read_only"),
        (Method::DELETE, "/v1/pools/web", "read_only"),
        (Method::DELETE, "/v1/backends/10.0.0.11", "not_found"),
        (Method::PATCH, "/v1/backends/10.0.0.11", "not_found"),
        (Method::DELETE, "/v1/vips/203.0.113.1:443%2Ftcp", "not_found"),
        (Method::POST, "/v1/reload", "not_found"),
    ] {
        let body = json!({"state": "draining"});
        match ask(&us, address, method.clone(), path, Some(&body)).await {
            Err(RemoteError::Answer(ClientError::Refused(body))) => {
                assert_eq!(body.code, code, "{method} {path}");
            }
            other => panic!("{method} {path}: {other:?}"),
        }
    }
    assert_eq!(running.get("/v1/status").await["generation"], 1);
    let large = json!({"flows": [], "padding": "x".repeat(300 * 1024)});
    let answer = ask(&us, address, Method::POST, "/v1/trace", Some(&large)).await;
    assert!(answer.is_err(), "{answer:?}");
}

#[tokio::test]
async fn a_reload_changes_whom_to_believe() {
    let (running, old, new) = (running().await, Authority::found(), Authority::found());
    let served = credentials(&old, HERE);
    let address = open(&running, &served).await;
    let (by_old, by_new) = (credentials(&old, HERE), credentials(&new, HERE));
    get(&by_old, address, "/v1/status").await.expect("believed");
    refused(&by_new, address).await;
    served.set(by_new.get());
    get(&by_new, address, "/v1/status").await.expect("believed");
    refused(&by_old, address).await;
    // Files that do not serve leave what was in force.
    let directory = tempfile::tempdir().expect("a directory");
    let tls = old.write(directory.path(), &[HERE]);
    std::fs::write(&tls.cert, "nonsense").expect("written");
    served.reload(Some(&tls)).expect_err("refused");
    get(&by_new, address, "/v1/status").await.expect("still believed");
    served.set(None::<Settings>);
    refused(&by_new, address).await;
}

#[tokio::test]
async fn who_connects_and_says_nothing_keeps_nobody_out() {
    let (running, authority) = (running().await, Authority::found());
    let us = credentials(&authority, HERE);
    let address = open(&running, &us).await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpStream::connect(address).await.expect("connects"));
    }
    get(&us, address, "/v1/status").await.expect("an answer");
    // The server lets go of them by itself.
    let end = tokio::time::timeout(DEADLINE, silent[0].read(&mut [0; 1])).await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_given_up() {
    let listener = TcpListener::bind((HERE, 0)).await.expect("binds");
    let address = listener.local_addr().expect("an address");
    let answer = get(&credentials(&Authority::found(), HERE), address, "/v1/status").await;
    assert!(matches!(answer, Err(RemoteError::Timeout(_))), "{answer:?}");
    let answer = get(&Credentials::default(), address, "/v1/status").await;
    assert!(matches!(answer, Err(RemoteError::NoTls)), "{answer:?}");
}

#[tokio::test]
async fn a_node_finds_its_peer_and_traces_there() {
    let authority = Authority::found();
    let us = credentials(&authority, HERE);
    let mut there = config();
    "lb2".clone_into(&mut there.node);
    let there = running_with(there).await;
    let address = open(&there, &us).await;

    let mut here = config();
    here.control.peers = vec![
        Peer { node: "lb2".to_owned(), pop: "fra1".to_owned(), control: address },
        // Its own neighbour under a wrong name.
        Peer { node: "lb3".to_owned(), pop: "fra1".to_owned(), control: address },
    ];
    let here = running_with(here).await;
    here.api.credentials.set(us.get());
    tokio::spawn(driver::run(here.api.peers.clone(), us, here.api.daemon.clone()));

    let end = Instant::now() + DEADLINE;
    let rows: Vec<PeerRow> = loop {
        let Peers { peers } = typed(&here.client.get("/v1/peers").await.expect("an answer")).expect("peers");
        if peers.len() == 2 && peers.iter().all(|p| p.reachable.is_some()) {
            break peers;
        }
        assert!(Instant::now() < end, "{peers:?}");
        tokio::task::yield_now().await;
    };
    assert_eq!((rows[0].reachable, rows[0].agrees, rows[0].generation), (Some(true), Some(true), Some(1)));
    assert_eq!(rows[1].reachable, Some(false));
    assert!(rows[1].reason.as_ref().is_some_and(|r| r.contains("node lb2 answers there")), "{rows:?}");

    let flow = json!({"protocol": "tcp", "source": "192.0.2.7:1", "destination": "203.0.113.1:443"});
    let body = json!({"flows": [flow]});
    let traced = here.ask(Method::POST, "/v1/trace?node=lb2", body.clone()).await.expect("traces");
    assert_eq!(traced["traces"][0]["backend"], "10.0.0.11");
    assert_eq!(here.refused(Method::POST, "/v1/trace?node=nobody", body).await, "not_found");
    let body = json!({"frames": ["02".repeat(60)]});
    let explained = here.ask(Method::POST, "/v1/explain?node=lb2", body.clone()).await.expect("explanations");
    assert_eq!(explained["packets"][0]["backend"], "10.0.0.11");
    assert_eq!(here.refused(Method::POST, "/v1/explain?node=nobody", body).await, "not_found");
}

/// Asks until the row of a backend in pool `web` is as wanted.
async fn wait_for_member(running: &Running, member: usize, wanted: impl Fn(&Value) -> bool) {
    let end = Instant::now() + DEADLINE;
    loop {
        let row = running.get("/v1/pools/web").await["members"][member].clone();
        if wanted(&row) {
            return;
        }
        assert!(Instant::now() < end, "{row}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_join_is_over_when_the_peer_lists_the_newcomer_and_not_before() {
    let us = credentials(&Authority::found(), HERE);
    // No test waits for so long: only the peer can end the join.
    let patient = |name: &str| {
        let mut config = config();
        name.clone_into(&mut config.node);
        config.pools[0].fill_time = Duration::from_secs(3600);
        config
    };
    let there = running_with(patient("lb2")).await;
    let address = open(&there, &us).await;
    let mut here = patient("lb1");
    here.control.peers = vec![Peer { node: "lb2".to_owned(), pop: "fra1".to_owned(), control: address }];
    let here = running_with(here).await;
    tokio::spawn(driver::run(here.api.peers.clone(), us, here.api.daemon.clone()));

    let add = json!({"pool": "web", "address": "10.0.0.13"});
    here.ask(Method::POST, "/v1/backends", add.clone()).await.expect("it is added");
    let since = Instant::now();
    let join = Join { key: ("web".to_owned(), backend_address(13)), since, weight: 100 };
    while here.api.peers.lock().everyone_lists(&join) != Some(false) {
        assert!(since.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    wait_for_member(&here, 2, |row| row["state"] == "filling").await;
    there.ask(Method::POST, "/v1/backends", add).await.expect("it is added");
    wait_for_member(&here, 2, |row| row["state"] == "active").await;
}

#[tokio::test]
async fn a_drain_is_over_when_the_backend_has_no_flow_left() {
    let authority = Authority::found();
    let backend = IpAddr::from([127, 0, 0, 5]);
    let service = TcpListener::bind("127.77.1.1:0").await.expect("binds");
    let service_address = service.local_addr().expect("an address");
    let vip =
        VipKey { address: service_address.ip(), port: Some(service_address.port()), protocol: Protocol::Tcp };
    let flow = TcpStream::connect(service_address).await.expect("connects");
    let (served, _) = service.accept().await.expect("accepts");

    let mut there = config();
    there.role = Role::Backend;
    there.vips[0].key = vip;
    let there = running_with(there).await;
    let listener = TcpListener::bind((backend, 0)).await.expect("binds");
    let listen = listener.local_addr().expect("an address");
    let router = remote_router(there.api.clone());
    tokio::spawn(serve(listener, credentials(&authority, backend), router));

    let mut here = config();
    here.vips[0].key = vip;
    here.control.listen = Some(listen);
    here.pools[0].fill_time = Duration::ZERO;
    here.pools[0].backends[1].address = backend;
    let here = running_with(here).await;
    let us = credentials(&authority, HERE);
    tokio::spawn(driver::run(here.api.peers.clone(), us, here.api.daemon.clone()));

    let drain = json!({"state": "draining"});
    here.ask(Method::PATCH, "/v1/backends/127.0.0.5", drain).await.expect("it drains");
    wait_for_member(&here, 1, |row| row["state"] == "draining" && row["remaining"] == 1).await;
    drop((flow, served));
    wait_for_member(&here, 1, |row| row["state"] == "gone").await;
}
