//! `trace --pcap` and `trace --hex`: what becomes of whole packets.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use hyper::Method;
use serde::Serialize;

use super::capture::{self, Packet, Packets};
use super::context::{Context, print, print_line};
use super::error::CliError;
use super::table::{LINE, counted, wrap};
use crate::control::api::{Answer, ExplainFrames, Explanations, MAX_FRAMES, PacketRow};
use crate::control::client::typed;
use crate::frame::{dissect, hex};

/// Stands for standard input.
const STDIN: &str = "-";
/// Hexadecimal digits of one question: other hosts take 256 KiB.
const MAX_DIGITS: usize = 192 * 1024;
/// Most bytes of standard input that are read as digits.
const MAX_INPUT: u64 = 64 * 1024;
/// Column of what is said.
const NAME_WIDTH: usize = 15;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct ExplainedFile<'a> {
    packets: &'a [PacketRow],
    /// What was left out.
    notes: &'a [String],
}

/// The packets of a file, at most `count`.
pub(super) fn from_file(path: &Path, count: usize) -> Result<Packets, CliError> {
    let name = if path == Path::new(STDIN) { "standard input".into() } else { path.display().to_string() };
    let failed = |error: String| {
        let hint = "tcpdump -s 0 -w FILE writes such files; anycast-lb reads pcap and pcapng";
        CliError::failed("io", format!("{name}: {error}"), Some(hint))
    };
    if path == Path::new(STDIN) {
        return capture::read(io::stdin().lock(), count).map_err(failed);
    }
    let file = File::open(path).map_err(|e| failed(e.to_string()))?;
    capture::read(file, count).map_err(failed)
}

/// The packet that `words` are, or standard input.
pub(super) fn from_digits(words: &[String]) -> Result<Packets, CliError> {
    let bytes = if words == [STDIN] {
        let mut text = String::new();
        let read = io::stdin().lock().take(MAX_INPUT).read_to_string(&mut text);
        read.map_err(|e| e.to_string())
            .and_then(|_| hex::read(&text).map_err(|e| e.to_string()))
            .map_err(|e| CliError::failed("invalid_request", format!("standard input: {e}"), None))?
    } else {
        let message = |e: hex::HexError| format!("--hex: {e}");
        hex::read(&words.concat()).map_err(|e| CliError::Usage { command: "trace", message: message(e) })?
    };
    Ok(Packets { packets: vec![capture::by_hand(&bytes)], notes: Vec::new() })
}

/// Asks for all packets and shows what becomes of them.
pub(super) async fn execute(context: &Context, node: &str, packets: &Packets) -> Result<(), CliError> {
    let rows = ask(context, &format!("/v1/explain{node}"), &packets.packets).await?;
    if context.json {
        let answer = Answer::new(ExplainedFile { packets: &rows, notes: &packets.notes });
        print_line(&serde_json::to_string(&answer).unwrap_or_default())?;
    } else {
        print(&render(&rows, &packets.notes))?;
    }
    if rows.iter().any(|row| row.error.is_some()) { Err(CliError::Reported) } else { Ok(()) }
}

/// A row for each packet. One that cannot be asked about keeps its place.
async fn ask(context: &Context, path: &str, packets: &[Packet]) -> Result<Vec<PacketRow>, CliError> {
    let mut rows = Vec::with_capacity(packets.len());
    let mut continues = false;
    let mut rest = packets;
    while !rest.is_empty() {
        let (batch, behind) = rest.split_at(batch_len(rest));
        rest = behind;
        let frames: Vec<String> =
            batch.iter().filter(|p| p.error.is_none()).map(|p| hex::write(&p.frame)).collect();
        let mut answers = Vec::new();
        if !frames.is_empty() {
            let question = ExplainFrames { frames, continues };
            let answer = context.client.ask(Method::POST, path, Some(&question)).await?;
            answers = typed::<Explanations>(&answer)?.packets;
            continues = true;
        }
        let mut answers = answers.into_iter();
        for packet in batch {
            let row = if packet.error.is_some() { Some(unasked(packet)) } else { answers.next() };
            let mut row = row.ok_or_else(|| CliError::failed("answer", "an answer is missing", None))?;
            row.number = rows.len() + 1;
            row.notes.splice(0..0, packet.notes.iter().cloned());
            rows.push(row);
        }
    }
    Ok(rows)
}

/// How many packets, one at least, fit into one question.
fn batch_len(packets: &[Packet]) -> usize {
    let mut digits = 0;
    let fits = packets.iter().take(MAX_FRAMES).take_while(|p| {
        digits += 2 * p.frame.len();
        digits <= MAX_DIGITS
    });
    fits.count().max(1)
}

fn unasked(packet: &Packet) -> PacketRow {
    let read = dissect(&packet.frame);
    PacketRow {
        number: 0,
        bytes: packet.frame.len(),
        parsed: read.text,
        vlans: read.tags,
        decision: None,
        error: packet.error.clone(),
        notes: Vec::new(),
    }
}

fn render(rows: &[PacketRow], notes: &[String]) -> String {
    let mut out = rows.iter().map(render_row).collect::<Vec<_>>().join("\n");
    if rows.len() != 1 {
        let mut verdicts: BTreeMap<&str, usize> = BTreeMap::new();
        for row in rows {
            let verdict = row.decision.as_ref().map_or("not asked", |d| d.verdict.as_str());
            *verdicts.entry(verdict).or_default() += 1;
        }
        let verdicts: Vec<String> = verdicts.iter().map(|(v, n)| format!("{n} {v}")).collect();
        let colon = if rows.is_empty() { "" } else { ": " };
        out.push_str(&format!("\n{}{colon}{}\n", counted(rows.len(), "packet"), verdicts.join(", ")));
    }
    for note in notes {
        out.push_str(&format!("note: {note}\n"));
    }
    out
}

fn render_row(row: &PacketRow) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let lines = wrap(&value, LINE - NAME_WIDTH).join(&format!("\n{:NAME_WIDTH$}", ""));
            out.push_str(&format!("{name:<NAME_WIDTH$}{lines}\n"));
        }
    };
    line(&format!("packet {}", row.number), Some(format!("{} ({} bytes)", row.parsed, row.bytes)));
    if let Some(d) = &row.decision {
        line("verdict", Some(format!("{} ({}): {}", d.verdict, d.kind, d.explanation)));
        line("vip", d.vip.map(|v| v.to_string()));
        line("pool", d.pool.clone());
        line("slot", d.slot.map(|s| s.to_string()));
        line("backend", d.backend.map(|b| b.to_string()));
        line("encapsulation", d.encapsulation.clone());
        if let Some(leaves) = &d.leaves {
            let name = if d.kind == "pass" { "kernel gets" } else { "sent" };
            let bytes = format!("{} bytes, {:+}", leaves.bytes, leaves.added);
            line(name, Some(format!("{} ({bytes})", leaves.parsed)));
        }
        line(
            "next hop",
            d.next_hop.as_ref().map(|way| format!("{} on {}, MTU {}", way.mac, way.interface, way.mtu)),
        );
        line("to do", d.advice.clone());
    }
    line("not asked", row.error.clone());
    for note in &row.notes {
        line("note", Some(note.clone()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::{Decision, Leaving};

    fn packet(length: usize) -> Packet {
        Packet { frame: vec![0; length], ..Packet::default() }
    }

    #[test]
    fn a_question_stays_within_its_limits() {
        assert_eq!(batch_len(&vec![packet(60); 1000]), MAX_FRAMES);
        let large = vec![packet(3520); 1000];
        assert!(batch_len(&large) * 2 * 3520 <= MAX_DIGITS && batch_len(&large) > 20);
        assert_eq!(batch_len(&[packet(60)]), 1);
    }

    #[test]
    fn a_packet_reads_from_what_came_to_what_leaves() {
        let row = PacketRow {
            number: 3,
            bytes: 54,
            parsed: "A > B".into(),
            vlans: vec![],
            decision: Some(Decision {
                verdict: "forwarded_gue".into(),
                explanation: "Sent to a backend in GUE.".into(),
                kind: "transmit".into(),
                advice: Some("nothing".into()),
                vip: "203.0.113.1:443/tcp".parse().ok(),
                pool: Some("web".into()),
                slot: Some(5),
                backend: Some([10, 0, 0, 11].into()),
                encapsulation: Some("gue".into()),
                leaves: Some(Leaving {
                    parsed: "C > D | GUE | A > B".into(),
                    bytes: 90,
                    added: 36,
                    hops: vec![],
                    frame: String::new(),
                }),
                next_hop: None,
            }),
            error: None,
            notes: vec!["seen".into()],
        };
        let text = "packet 3       A > B (54 bytes)\n\
             verdict        forwarded_gue (transmit): Sent to a backend in GUE.\n\
             vip            203.0.113.1:443/tcp\n\
             pool           web\n\
             slot           5\n\
             backend        10.0.0.11\n\
             encapsulation  gue\n\
             sent           C > D | GUE | A > B (90 bytes, +36)\n\
             to do          nothing\n\
             note           seen\n";
        assert_eq!(render(std::slice::from_ref(&row), &[]), text);
        let unasked = PacketRow { decision: None, error: Some("too long".into()), ..row };
        let two = render(&[unasked.clone(), unasked], &["cut".into()]);
        assert!(two.ends_with("\n2 packets: 2 not asked\nnote: cut\n"), "{two}");
    }
}
