//! The kernel and the host agree, byte for byte: on the vectors, and on random packets.

use std::collections::HashMap;

use anycast_lb_common::Outcome;
use anycast_lb_common::abi::{HopLimits, Kind, Program, VERDICTS, Verdict};
use anycast_lb_tests::echo;
use anycast_lb_tests::kernel::{Action, Kernel};
use anycast_lb_tests::native;
use anycast_lb_tests::random::Random;
use anycast_lb_tests::scenario::{Mode, Scenario, Vector};
use anyhow::Context as _;

/// Traffic control's test run refuses frames that end inside an IP header; no hop does.
const MIN_RELAY_FRAME: usize = 14 + 40;
/// And, unlike that of XDP, frames beyond a page.
const MAX_RELAY_FRAME: usize = 3500;

/// What the kernel must return for a verdict.
fn action(outcome: &Outcome) -> Action {
    // A hop leaves by the other half of the backend's program, at the hook of traffic control.
    if outcome.verdict == Verdict::Hop {
        return Action::Pass;
    }
    match outcome.verdict.kind() {
        Kind::Drop => Action::Drop,
        Kind::Pass => Action::Pass,
        Kind::Transmit if outcome.ifindex == 0 => Action::Tx,
        Kind::Transmit => Action::Redirect,
    }
}

#[test]
fn the_vectors_come_out_of_the_kernel_as_scapy_says() -> anyhow::Result<()> {
    let scenario = Scenario::load()?;
    let vectors = scenario.vectors()?;
    for program in [Program::Ingress, Program::Backend] {
        for mode in Mode::ALL {
            let mut kernel = Kernel::load(program)?;
            let tables = scenario.tables(program, mode)?;
            kernel.write(&tables)?;
            for v in vectors.iter().filter(|v| v.program == program && v.mode == mode) {
                for frame in &v.before {
                    kernel.run(frame, 0)?;
                    native::run(program, &tables, frame, 0);
                }
                let before = kernel.packets(v.verdict)?;
                let (did, output) = kernel.run(&v.input, v.metadata)?;
                let (outcome, _) = native::run(program, &tables, &v.input, v.metadata);
                assert_eq!(
                    kernel.packets(v.verdict)?,
                    before + 1,
                    "{}: not counted as {}",
                    v.name,
                    v.verdict.name()
                );
                assert_eq!(did, action(&outcome), "{}", v.name);
                if did != Action::Drop {
                    assert_eq!(output, v.output, "{}", v.name);
                }
                let frame = native::untagged(&output);
                let fits = (MIN_RELAY_FRAME..MAX_RELAY_FRAME).contains(&frame.len());
                if program == Program::Backend && did == Action::Pass && fits {
                    let relayed = kernel.relays(&frame)?;
                    assert_eq!(relayed, v.verdict == Verdict::Hop, "{}", v.name);
                }
            }
        }
    }
    Ok(())
}

/// Longest headers we read: Ethernet, two tags, IPv6, GUE, hops, inner IPv6, TCP.
const HEADERS: usize = 14 + 8 + 40 + 8 + 4 + 124 + 40 + 20;
/// Shortest frame the kernel's test run takes.
const MIN_FRAME: usize = 14;

/// Some bytes changed, the frame cut or stretched, or nothing at all.
fn mutate(random: &mut Random, frame: &mut Vec<u8>) {
    for _ in 0..random.below(5) {
        let at = random.below(frame.len().min(HEADERS));
        match random.below(8) {
            0 => frame[at] = random.bits() as u8,
            1 => frame[at] ^= 1 << random.below(8),
            2 => frame[at] = frame[at].wrapping_add(1),
            3 => frame[at] = [0, 1, 4, 5, 6, 17, 41, 44, 45, 0x7f, 0x80, 0xff][random.below(12)],
            4 => frame.truncate(at.max(MIN_FRAME)),
            5 => frame.extend((0..random.below(64)).map(|i| i as u8)),
            6 => {
                // Two bytes of one place to another: lengths, ports and types meet.
                let from = random.below(frame.len() - 1);
                let to = random.below(frame.len() - 1);
                frame[to] = frame[from];
                frame[to + 1] = frame[from + 1];
            }
            _ => {
                frame.remove(at);
                if frame.len() < MIN_FRAME {
                    frame.resize(MIN_FRAME, 0);
                }
            }
        }
    }
}

/// Rounds after which fragments are forgotten: long before the kernel's clock would do it.
const ROUNDS_REMEMBERED: usize = 25_000;

/// Packets a program sees; ten times as many in a long run.
fn rounds() -> usize {
    if std::env::var_os("ANYCAST_LB_LONG").is_some() { 5_000_000 } else { 500_000 }
}

#[test]
fn random_packets_come_out_alike_and_under_every_verdict() -> anyhow::Result<()> {
    let scenario = Scenario::load()?;
    let vectors = scenario.vectors()?;
    let mut hits: HashMap<Verdict, u64> = HashMap::new();
    for program in [Program::Ingress, Program::Backend] {
        // Verdicts are drawn evenly, so that the rare ones come up too.
        let mut by_verdict: HashMap<Verdict, Vec<&Vector>> = HashMap::new();
        for v in vectors.iter().filter(|v| v.program == program) {
            by_verdict.entry(v.verdict).or_default().push(v);
        }
        let corpus: Vec<_> = VERDICTS.iter().filter_map(|v| by_verdict.get(v)).collect();
        let mut machines = HashMap::new();
        for mode in Mode::ALL {
            let tables = scenario.tables(program, mode)?;
            let mut kernel = Kernel::load(program)?;
            kernel.write(&tables)?;
            machines.insert(mode, (tables, kernel, HashMap::<Verdict, u64>::new()));
        }
        let mut random = Random::new(program as u64 + 1);
        for round in 0..rounds() {
            if round % ROUNDS_REMEMBERED == 0 {
                for (tables, kernel, _) in machines.values_mut() {
                    tables.fragments.borrow_mut().fill([0; 2]);
                    kernel.forget_fragments()?;
                }
            }
            let sources = corpus[random.below(corpus.len())];
            let source = sources[random.below(sources.len())];
            let mut frame = source.input.clone();
            mutate(&mut random, &mut frame);
            let Some((tables, kernel, counts)) = machines.get_mut(&source.mode) else { continue };
            let (outcome, expected) = native::run(program, tables, &frame, source.metadata);
            let (did, output) = kernel.run(&frame, source.metadata)?;
            // Or the ring is full one day.
            let asked = kernel.next_question();
            assert_eq!(asked.is_some(), outcome.verdict == Verdict::Identity, "{}", source.name);
            *counts.entry(outcome.verdict).or_default() += 1;
            assert_eq!(did, action(&outcome), "{}: {} {frame:02x?}", source.name, outcome.verdict.name());
            if did != Action::Drop {
                assert_eq!(output, expected, "{}: {} {frame:02x?}", source.name, outcome.verdict.name());
            }
        }
        for (_, kernel, counts) in machines.values() {
            for verdict in VERDICTS {
                let expected = counts.get(verdict).copied().unwrap_or(0);
                assert_eq!(kernel.packets(*verdict)?, expected, "{}", verdict.name());
                *hits.entry(*verdict).or_default() += expected;
            }
        }
    }
    for verdict in VERDICTS {
        let hits = hits.get(verdict).copied().unwrap_or(0);
        println!("{:>9}  {}", hits, verdict.name());
        assert!(hits >= 1000, "{}: hit {hits} times", verdict.name());
    }
    Ok(())
}

/// A limit that time does not refill while the test runs: in ns, a quarter of an hour.
const LONG: u64 = 900_000_000_000;
/// Where the client's /24 ends in a frame of GUE over IPv4 with three hops.
const CLIENT_THIRD_BYTE: usize = 14 + 20 + 8 + 4 + 4 + 3 * 4 + 14;

#[test]
fn a_prefix_has_its_hops_and_then_no_more() -> anyhow::Result<()> {
    let scenario = Scenario::load()?;
    let vectors = scenario.vectors()?;
    let name = "unknown ack, without udp checksum";
    let packet = vectors.iter().find(|v| v.name == name).map(|v| v.input.clone()).unwrap_or_default();
    assert_eq!(packet[CLIENT_THIRD_BYTE - 2..=CLIENT_THIRD_BYTE], [192, 0, 2], "the client's address");
    let mut tables = scenario.tables(Program::Backend, Mode::Plain)?;
    // Ten at once for a prefix, fifteen for all.
    tables.header().hop_limits = HopLimits {
        prefix_interval: LONG,
        prefix_burst: 9 * LONG,
        total_interval: LONG,
        total_burst: 14 * LONG,
    };
    let mut kernel = Kernel::load(Program::Backend)?;
    kernel.write(&tables)?;
    for (third_byte, sent_on) in [(2, 10), (3, 15), (4, 15)] {
        let mut packet = packet.clone();
        packet[CLIENT_THIRD_BYTE] = third_byte;
        for _ in 0..100 {
            kernel.run(&packet, 0)?;
        }
        assert_eq!(kernel.packets(Verdict::Hop)?, sent_on, "after 192.0.{third_byte}.0/24");
    }
    assert_eq!(kernel.packets(Verdict::HopLimited)?, 300 - 15);
    Ok(())
}

/// Where a frame of IPv4 has the third byte of its source.
const SOURCE_THIRD_BYTE: usize = 14 + 14;

#[test]
fn a_prefix_is_told_what_fits_and_then_no_more() -> anyhow::Result<()> {
    let scenario = Scenario::load()?;
    let vectors = scenario.vectors()?;
    let packet =
        vectors.iter().find(|v| v.name == "does not fit").map(|v| v.input.clone()).unwrap_or_default();
    assert_eq!(packet[SOURCE_THIRD_BYTE - 2..=SOURCE_THIRD_BYTE], [192, 0, 2], "the client's address");
    let mut tables = scenario.tables(Program::Ingress, Mode::Plain)?;
    tables.header().hop_limits = HopLimits {
        prefix_interval: LONG,
        prefix_burst: 9 * LONG,
        total_interval: LONG,
        total_burst: 14 * LONG,
    };
    let mut kernel = Kernel::load(Program::Ingress)?;
    kernel.write(&tables)?;
    for (third_byte, told) in [(2, 10), (3, 15), (4, 15)] {
        let mut packet = packet.clone();
        packet[SOURCE_THIRD_BYTE] = third_byte;
        for last_byte in 0..100 {
            packet[SOURCE_THIRD_BYTE + 1] = last_byte;
            kernel.run(&packet, 0)?;
        }
        assert_eq!(kernel.packets(Verdict::TooBigAnswered)?, told, "after 192.0.{third_byte}.0/24");
    }
    assert_eq!(kernel.packets(Verdict::TooBigLimited)?, 300 - 15);
    Ok(())
}

#[test]
fn every_sequence_number_of_an_echo_is_answered_right() -> anyhow::Result<()> {
    let tables = Scenario::load()?.tables(Program::Ingress, Mode::Plain)?;
    let mut kernel = Kernel::load(Program::Ingress)?;
    kernel.write(&tables)?;
    for request in echo::requests() {
        let request = request?;
        let (did, reply) = kernel.run(&request, 0)?;
        assert_eq!(did, Action::Tx, "{request:02x?}");
        echo::check(&request, &reply).with_context(|| format!("{request:02x?}"))?;
    }
    Ok(())
}
