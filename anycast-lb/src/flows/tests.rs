//! Sockets of this test alone, on addresses of 127.0.0.0/8 that nothing else here uses.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::*;

const DEADLINE: Duration = Duration::from_secs(10);

fn vip(address: IpAddr, port: Option<u16>, protocol: Protocol) -> VipKey {
    VipKey { address, port, protocol }
}

/// Waits until the VIP has this many flows of TCP and UDP.
fn wait_for(key: VipKey, tcp: u64, udp: u64) {
    let end = Instant::now() + DEADLINE;
    loop {
        let row = count(&[key]).expect("the kernel lists sockets")[0];
        if (row.tcp, row.udp) == (tcp, udp) {
            return;
        }
        assert!(Instant::now() < end, "{row:?} instead of {tcp} and {udp}");
        std::thread::yield_now();
    }
}

#[test]
fn a_socket_counts_for_the_vip_that_a_packet_to_it_matches() {
    let address = IpAddr::from([203, 0, 113, 1]);
    let keys = [
        vip(address, Some(443), Protocol::Tcp),
        vip(address, None, Protocol::Tcp),
        vip(address, None, Protocol::Any),
    ];
    let mut tally = Tally::new(&keys);
    let mapped: SocketAddr = "[::ffff:203.0.113.1]:443".parse().expect("an address");
    tally.add(Protocol::Tcp, mapped);
    tally.add(Protocol::Tcp, SocketAddr::new(address, 443));
    tally.add(Protocol::Tcp, SocketAddr::new(address, 80));
    tally.add(Protocol::Udp, SocketAddr::new(address, 443));
    tally.add(Protocol::Udp, "203.0.113.2:443".parse().expect("an address"));
    let counts: Vec<_> = tally.rows.iter().map(|r| (r.tcp, r.udp)).collect();
    assert_eq!(counts, [(2, 0), (1, 0), (0, 1)]);
}

#[test]
fn connections_count_while_they_live_listeners_and_time_wait_do_not() {
    let listener = TcpListener::bind((Ipv4Addr::new(127, 77, 0, 1), 0)).expect("binds");
    let local = listener.local_addr().expect("an address");
    let key = vip(local.ip(), Some(local.port()), Protocol::Tcp);
    wait_for(key, 0, 0);
    let mut clients: Vec<_> = (0..40).map(|_| TcpStream::connect(local).expect("connects")).collect();
    let mut served: Vec<_> = (0..40).map(|_| listener.accept().expect("accepts").0).collect();
    wait_for(key, 40, 0);
    // The server closes first: TIME_WAIT stays on the VIP's side.
    let (mut client, server) = (clients.remove(0), served.remove(0));
    drop(server);
    assert_eq!(client.read(&mut [0; 8]).expect("the end"), 0);
    drop(client);
    wait_for(key, 39, 0);
    // Half closed is still a flow.
    clients[0].shutdown(std::net::Shutdown::Write).expect("shuts");
    served[0].write_all(b"more").expect("writes");
    wait_for(key, 39, 0);
    drop((clients, served));
    wait_for(key, 0, 0);
}

#[test]
fn connected_udp_sockets_count_and_unconnected_ones_do_not() {
    let server = UdpSocket::bind((Ipv4Addr::new(127, 77, 0, 2), 0)).expect("binds");
    let local = server.local_addr().expect("an address");
    let key = vip(local.ip(), None, Protocol::Udp);
    wait_for(key, 0, 0);
    server.connect((Ipv4Addr::new(127, 77, 0, 3), 9)).expect("connects");
    wait_for(key, 0, 1);
    drop(server);
    wait_for(key, 0, 0);
}

#[test]
fn an_ipv4_connection_of_a_dual_stack_server_counts() {
    // The wildcard takes both families; its accepted sockets are of IPv6 with mapped addresses.
    let Ok(listener) = TcpListener::bind("[::]:0") else { return };
    let port = listener.local_addr().expect("an address").port();
    let local = SocketAddr::from(([127, 77, 0, 4], port));
    let _client = TcpStream::connect(local).expect("connects");
    let _served = listener.accept().expect("accepts");
    wait_for(vip(local.ip(), Some(port), Protocol::Tcp), 1, 0);
}
