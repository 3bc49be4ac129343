//! What becomes of whole frames.

use anycast_lb_common::abi::{Kind, Verdict};

use super::advice::{Case, advice};
use super::kind_name;
use super::trace::{carried_by, frame_way};
use crate::control::api::{Decision, ExplainFrames, Explanations, Leaving, MAX_FRAMES, PacketRow};
use crate::daemon::run::View;
use crate::daemon::{Code, Failure};
use crate::dataplane::{Explained, FRAME_BYTES};
use crate::frame::{Dissected, dissect, hex};
use crate::neighbour::Resolution;

/// What becomes of each frame.
pub fn explain(view: &mut View<'_>, question: &ExplainFrames) -> Result<Explanations, Failure> {
    let frames = frames(&question.frames)?;
    let explained = view.dataplane.explain(&frames, question.continues)?;
    let rows = (1..).zip(frames.iter().zip(explained));
    Ok(Explanations { packets: rows.map(|(number, (frame, e))| row(view, number, frame, e)).collect() })
}

/// The frames as bytes, which the kernel's test run takes.
fn frames(texts: &[String]) -> Result<Vec<Vec<u8>>, Failure> {
    if texts.len() > MAX_FRAMES {
        let message = format!("{} frames in one question", texts.len());
        return Err(Failure::new(Code::InvalidRequest, message)
            .hint(format!("at most {MAX_FRAMES}: ask again for the rest")));
    }
    let refused = |number: usize, message: String| {
        Failure::new(Code::InvalidRequest, format!("frame {number}: {message}"))
            .hint("whole Ethernet frames in hexadecimal, without the checksum at their end")
    };
    (1..)
        .zip(texts)
        .map(|(number, text)| {
            let frame = hex::read(text).map_err(|e| refused(number, e.to_string()))?;
            if !FRAME_BYTES.contains(&frame.len()) {
                let (least, most) = FRAME_BYTES.into_inner();
                return Err(refused(
                    number,
                    format!("{} bytes; the test run takes {least} to {most}", frame.len()),
                ));
            }
            Ok(frame)
        })
        .collect()
}

fn row(view: &View<'_>, number: usize, frame: &[u8], explained: Explained) -> PacketRow {
    let read = dissect(frame);
    let notes = notes(explained.verdict, &read);
    let decision = decision(view, frame, &read, explained);
    PacketRow {
        number,
        bytes: frame.len(),
        parsed: read.text,
        vlans: read.tags,
        decision: Some(decision),
        error: None,
        notes,
    }
}

fn decision(view: &View<'_>, frame: &[u8], read: &Dissected, explained: Explained) -> Decision {
    let config = view.core.config();
    let verdict = explained.verdict;
    // A backend's program does not look VIPs up by port; who reads wants to know.
    let inner = read.inner.filter(|_| matches!(verdict.kind(), Kind::Pass | Kind::Transmit));
    let served = inner.and_then(|inner| {
        let port = inner.ports.map(|(_, port)| port);
        let mut vips = config.vips.iter().map(|v| v.key).filter(|key| key.address == inner.destination);
        vips.find(|key| key.port.is_none() || key.port == port)
    });
    let reason = match explained.backend.and_then(|b| view.core.resolution(b)) {
        Some(Resolution::Unresolved(reason) | Resolution::Pending(reason)) => Some(reason.clone()),
        _ => None,
    };
    let case = Case {
        read: Some(read),
        config: Some(config),
        pool: explained.pool.as_deref(),
        backend: explained.backend,
        reason,
        mtu: explained.next_hop.map(|way| way.mtu),
    };
    // The answer to what is too big goes back to where the packet came from.
    let to_backend = (verdict != Verdict::TooBigAnswered).then_some(());
    Decision {
        verdict: verdict.name().to_owned(),
        explanation: verdict.explanation().to_owned(),
        kind: kind_name(verdict.kind()).to_owned(),
        advice: advice(verdict, &case),
        vip: explained.vip.or(served),
        pool: explained.pool,
        slot: explained.slot,
        backend: explained.backend,
        encapsulation: to_backend.and(explained.encapsulation).map(|encap| carried_by(encap).to_owned()),
        leaves: leaving(verdict, frame, &explained.output),
        next_hop: to_backend.and(explained.next_hop).map(|way| frame_way(view, explained.backend, &way)),
    }
}

fn leaving(verdict: Verdict, frame: &[u8], output: &[u8]) -> Option<Leaving> {
    if verdict.kind() == Kind::Drop || output == frame {
        return None;
    }
    let read = dissect(output);
    Some(Leaving {
        parsed: read.text,
        bytes: output.len(),
        added: output.len() as i64 - frame.len() as i64,
        hops: read.hops,
        frame: hex::write(output),
    })
}

/// What the test run does not show.
fn notes(verdict: Verdict, read: &Dissected) -> Vec<String> {
    let mut notes = Vec::new();
    if verdict == Verdict::Hop {
        notes.push(
            "the relay at traffic control's ingress hook sends it, to the MAC address that the kernel finds"
                .to_owned(),
        );
    }
    let asked = matches!(verdict, Verdict::DecapGue | Verdict::DecapLast | Verdict::Hop);
    if asked && !read.hops.is_empty() {
        notes.push(
            "whether a socket holds the flow was asked now, in the daemon's network namespace: while the packet was \
             under way it may have been otherwise"
                .to_owned(),
        );
    }
    notes
}
