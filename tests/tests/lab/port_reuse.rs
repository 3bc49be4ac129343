//! A client that uses a port again while another backend still remembers the connection that had it:
//! the server closed that one first, so its backend holds a socket in TIME_WAIT for a minute. When
//! that backend later stands in for the owner, it must not take the new connection's packets for
//! the old one's.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use xtask::lab::daemons::until;
use xtask::lab::netns::Namespace;
use xtask::lab::topology::{HTTP_PORT, VIP_V4, VIP_V6};
use xtask::lab::{Families, Family, Lab};

use super::stand::{DEADLINE, done, edit, hops, shape, start_all};

/// The client's ports, which no connection gets by itself.
const PORTS: std::ops::Range<u16> = 20_000..20_060;
/// Address of the backend that drains.
const OWNER: &str = "10.0.0.11";
/// Its name.
const NAME: &str = "be0";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_port_used_again_does_not_meet_its_past() -> Result<()> {
    let mut lab = Lab::builder().shape(shape(1, 3)).without_balancers().build()?;
    edit(lab.ingress(0), "[[pool]]\n", "[[pool]]\nfill_time = \"1s\"\n")?;
    start_all(&mut lab)?;

    let wire = lab.watch_underlay(&["be0", "be1", "be2"])?;
    // While it drains, others serve its slots, close first, and remember.
    done(lab.ingress(0), &["backend", "drain", OWNER])?;
    for (port, family) in ends() {
        let mut stream = open(lab.client(0), family, port)?;
        let name = ask(&mut stream, true).with_context(|| format!("{family:?} port {port}"))?;
        ensure!(name != NAME, "a new connection went to a backend that drains");
        ensure!(stream.read(&mut [0; 1])? == 0, "the server did not close");
    }

    done(lab.ingress(0), &["backend", "undrain", OWNER])?;
    until(DEADLINE, "the backend to be active", || {
        let list = lab.ingress(0).cli(&["backend", "list", "--json"])?.stdout;
        Ok((!list.contains("filling") && !list.contains("draining")).then_some(()))
    })?;
    let mut held = Vec::new();
    for (port, family) in ends() {
        let mut stream = open(lab.client(0), family, port)?;
        if ask(&mut stream, false)? == NAME {
            held.push((port, family, stream));
        }
    }
    for family in Families::Both.all() {
        ensure!(held.iter().any(|(_, f, _)| *f == family), "no {family:?} connection has {NAME}");
    }

    // Now those who remember are asked first.
    done(lab.ingress(0), &["backend", "drain", OWNER])?;
    let before = hops(&mut lab)?;
    for (port, family, stream) in &mut held {
        let name = ask(stream, false).with_context(|| format!("{family:?} port {port} is swallowed"))?;
        ensure!(name == NAME, "{name} answers for {NAME}");
    }
    let hopped = hops(&mut lab)? - before;
    ensure!(hopped >= held.len() as u64, "{} connections, but {hopped} packets sent on", held.len());
    wire.finish().map(drop)
}

fn ends() -> impl Iterator<Item = (u16, Family)> {
    PORTS.flat_map(|port| Families::Both.all().map(move |family| (port, family)))
}

/// Connects to the service from this port.
fn open(client: &Namespace, family: Family, port: u16) -> Result<TcpStream> {
    let (domain, any, service): (_, IpAddr, IpAddr) = match family {
        Family::V4 => (AddressFamily::Inet, Ipv4Addr::UNSPECIFIED.into(), VIP_V4.into()),
        Family::V6 => (AddressFamily::Inet6, Ipv6Addr::UNSPECIFIED.into(), VIP_V6.into()),
    };
    let storage = |address, port| SockaddrStorage::from(SocketAddr::new(address, port));
    let stream = client.enter(|| -> Result<TcpStream> {
        let fd = socket(domain, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        bind(fd.as_raw_fd(), &storage(any, port))?;
        connect(fd.as_raw_fd(), &storage(service, HTTP_PORT))?;
        Ok(TcpStream::from(fd))
    })??;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// One request; the name of the backend that answers.
fn ask(stream: &mut TcpStream, close: bool) -> Result<String> {
    let close = if close { "Connection: close\r\n" } else { "" };
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: lab\r\n{close}\r\n").as_bytes())?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
    loop {
        let length = stream.read(&mut buffer)?;
        ensure!(length > 0, "closed before the answer");
        answer.extend_from_slice(&buffer[..length]);
        // The body is one line, and those of the head end otherwise.
        let text = std::str::from_utf8(&answer)?;
        if let Some((_, body)) = text.split_once("\r\n\r\n")
            && body.ends_with('\n')
        {
            return body.split(' ').next().map(str::to_owned).context("an empty answer");
        }
    }
}
