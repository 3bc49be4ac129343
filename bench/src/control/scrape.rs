//! What one look of Prometheus takes: from the connection to the last byte, over HTTP.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::Times;
use super::changes::{Node, VIPS};

/// Where the daemon serves metrics.
pub const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9524);
/// Name of the case: how many VIPs, and backends, are loaded.
pub const NAME: &str = "scrape-1000";
/// Longer than any scrape waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// Scrapes the daemon of a node once in each round.
pub fn measure(node: &Node, rounds: u32) -> Result<Times> {
    let mut times = Times { name: NAME.to_owned(), rounds: Vec::new() };
    for _ in 0..rounds {
        let began = Instant::now();
        let text = scrape()?;
        times.rounds.push(began.elapsed());
        let lines = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
        let (vips, backends) =
            (lines("anycast_lb_vip_packets_total{"), lines("anycast_lb_backend_packets_total{"));
        ensure!(vips == VIPS as usize, "{vips} VIPs are told");
        ensure!(backends == node.backends as usize, "{backends} backends are told");
        ensure!(text.ends_with("# EOF\n"), "the text has no end");
    }
    Ok(times)
}

/// As Prometheus asks.
fn scrape() -> Result<String> {
    let mut stream = TcpStream::connect(LISTEN).with_context(|| LISTEN.to_string())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {LISTEN}\r\nAccept: {accept}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"), "{head}");
    Ok(body.to_owned())
}
