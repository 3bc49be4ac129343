//! Packets are watched and captured while they pass, and nothing of that stays behind.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use xtask::lab::daemons::until;
use xtask::lab::topology::{EDGE, HTTP_PORT, VIP_V4};
use xtask::lab::{CliOutput, Lab};

use super::stand::{DEADLINE, serving, shape, xdp_program};

/// Packets that are captured: those of several connections.
const CAPTURED: usize = 40;
/// Packets that are watched on the ingress node, and on each backend.
const WATCHED: usize = 12;

#[test]
fn live_packets_are_watched_and_captured() -> Result<()> {
    let lab = serving(Lab::builder().shape(shape(1, 2)))?;
    let file = lab.directory().join("live.pcapng");
    let name = file.to_str().context("a path")?;
    let vip = format!("{VIP_V4}:{HTTP_PORT}/tcp");
    let flow = format!("tcp * {VIP_V4}:{HTTP_PORT}");
    let (captured, watched) = (CAPTURED.to_string(), WATCHED.to_string());
    let ingress = &lab.ingresses()[0];
    let plain = xdp_program(ingress, EDGE)?.context("no program")?;
    let capture = ["capture", "--vip", &vip, "--count", &captured, "--snaplen", "512", "-w", name];
    let watch = ["watch", &flow, "--count", &watched];
    let watch_json = ["watch", &flow, "--count", "3", "--json"];
    let (capture, watch, backends) = thread::scope(|scope| {
        let capture = scope.spawn(|| ingress.cli(&capture));
        let watch = scope.spawn(|| ingress.cli(&watch));
        let backends: Vec<_> =
            lab.backends().iter().map(|node| scope.spawn(|| node.cli(&watch_json))).collect();
        let all_done = || {
            capture.is_finished()
                && watch.is_finished()
                && backends.iter().all(thread::ScopedJoinHandle::is_finished)
        };
        let until_done = Instant::now() + 2 * DEADLINE;
        // Whoever looks has begun when packets come that are not the first.
        while !all_done() && Instant::now() < until_done {
            ask(&lab)?;
        }
        let joined = |thread: thread::ScopedJoinHandle<'_, Result<CliOutput>>| {
            thread.join().map_err(|_| anyhow!("the thread of a command panicked"))?
        };
        let backends = backends.into_iter().map(joined).collect::<Result<Vec<_>>>()?;
        anyhow::Ok((joined(capture)?, joined(watch)?, backends))
    })?;

    ensure!(capture.code == Some(0) && capture.stderr.contains("40 packets captured"), "{capture:?}");
    in_the_file(name)?;
    ensure!(watch.code == Some(0) && watch.stdout.lines().count() == WATCHED, "{watch:?}");
    for line in watch.stdout.lines() {
        ensure!(line.contains("ing0") && line.contains("forwarded_gue -> 10.0.0."), "{line}");
        ensure!(line.contains(&format!("> {VIP_V4}:{HTTP_PORT}")), "{line}");
    }
    for output in backends {
        ensure!(output.code == Some(0) && output.stdout.lines().count() == 3, "{output:?}");
        for line in output.stdout.lines() {
            let packet: Value = serde_json::from_str(line)?;
            ensure!(packet["place"] == "backend" && packet["verdict"] == "decap_gue", "{packet}");
            ensure!(packet["sender"].is_string() && packet["destination"] == VIP_V4.to_string(), "{packet}");
        }
    }
    // Nobody looks any more: the plain program is back.
    until(DEADLINE, "the plain program", || Ok((xdp_program(ingress, EDGE)? == Some(plain)).then_some(())))
}

/// A connection with a request and its answer.
fn ask(lab: &Lab) -> Result<()> {
    let server = SocketAddr::from((VIP_V4, HTTP_PORT));
    let mut stream = lab.client(0).enter(|| TcpStream::connect_timeout(&server, DEADLINE))??;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(b"GET /?n=1 HTTP/1.1\r\nHost: vip\r\n\r\n")?;
    let mut answer = [0; 1000];
    ensure!(stream.read(&mut answer)? > 0, "no answer");
    Ok(())
}

/// The file has all packets twice, with what was decided, and Wireshark's dissectors are content.
fn in_the_file(name: &str) -> Result<()> {
    let tshark = |words: &[&str]| -> Result<String> {
        let output = Command::new("tshark").args(["-r", name]).args(words).output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(String::from_utf8(output.stdout)?)
    };
    let fields = ["-T", "fields", "-e", "frame.interface_name", "-e", "frame.comment", "-e", "ip.dst"];
    let text = tshark(&fields)?;
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let at = |stage: &str| lines.iter().filter(|line| line[0] == format!("{EDGE} {stage}")).count();
    ensure!((at("before"), at("after"), lines.len()) == (CAPTURED, CAPTURED, 2 * CAPTURED), "{text}");
    for line in &lines {
        let comment = line[1];
        ensure!(comment.starts_with("verdict forwarded_gue (transmit): "), "{comment}");
        ensure!(
            comment.contains(&format!("; VIP {VIP_V4}:{HTTP_PORT}/tcp; pool web; backend 10.0.0.")),
            "{comment}"
        );
        let (_, rest) = comment.split_once("; backend ").context("no backend")?;
        let backend = rest.split(';').next().unwrap_or_default();
        let expected = if line[0].ends_with("before") { VIP_V4.to_string() } else { backend.to_owned() };
        ensure!(line[2].split(',').next() == Some(expected.as_str()), "{line:?}");
    }
    ensure!(tshark(&["-Y", "_ws.malformed"])?.is_empty(), "malformed packets");
    Ok(())
}
