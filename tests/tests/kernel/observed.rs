//! The programs that report packets do what the plain ones do, and report what happened.

use anycast_lb_common::abi::{
    Event, Filter, MAX_SNAP, Observer, Program, QUESTION_RING, Question, Reasons, Verdict,
};
use anycast_lb_common::observe;
use anycast_lb_tests::kernel::{Action, Kernel};
use anycast_lb_tests::native;
use anycast_lb_tests::scenario::{Mode, Scenario, Vector};
use anyhow::{Context as _, Result, ensure};
use bytemuck::Zeroable as _;

/// Everything is reported, with all bytes that can be kept.
fn everything() -> Observer {
    let mut observer = Observer {
        flow_log: Reasons::FLOW_LOG,
        sample: 1,
        snap: MAX_SNAP as u32,
        filters: 1,
        ..Observer::default()
    };
    observer.filter[0] = Filter { flags: Filter::ON, sample: 1, ..Filter::default() };
    observer
}

/// What the packet logic on the host notes, completed by what only the program knows.
fn expected(host: Event, seen: &Event, verdict: Verdict) -> Event {
    Event {
        time: seen.time,
        ifindex: seen.ifindex,
        verdict: verdict as u8,
        vip: seen.vip,
        member: seen.member,
        reasons: seen.reasons,
        length: seen.length,
        length_after: seen.length_after,
        before: seen.before,
        after: seen.after,
        ..host
    }
}

#[test]
fn observed_programs_decide_alike_and_report_each_packet() -> Result<()> {
    let scenario = Scenario::load()?;
    let vectors = scenario.vectors()?;
    let observer = everything();
    for program in [Program::Ingress, Program::Backend] {
        for mode in Mode::ALL {
            let mut kernel = Kernel::load_observed(program)?;
            let tables = scenario.tables(program, mode)?;
            kernel.write(&tables)?;
            kernel.observe(&observer)?;
            for v in vectors.iter().filter(|v| v.program == program && v.mode == mode) {
                for frame in &v.before {
                    kernel.run(frame, 0)?;
                    native::run(program, &tables, frame, 0);
                }
                while kernel.next_flow().is_some() || kernel.next_packet().is_some() {}
                *tables.noted.borrow_mut() = Event::zeroed();
                check(&mut kernel, v, &observer, &tables).with_context(|| v.name.clone())?;
            }
        }
    }
    Ok(())
}

fn check(
    kernel: &mut Kernel,
    v: &Vector,
    observer: &Observer,
    tables: &anycast_lb_common::host::TableSet,
) -> Result<()> {
    let (did, output) = kernel.run(&v.input, v.metadata)?;
    let (outcome, _) = native::run(v.program, tables, &v.input, v.metadata);
    kernel.next_question();
    assert_eq!(outcome.verdict, v.verdict);
    if did != Action::Drop {
        assert_eq!(output, v.output);
    }
    let (event, bytes) = kernel.next_packet().context("not reported")?;
    ensure!(kernel.next_packet().is_none(), "reported twice");
    let noted = *tables.noted.borrow();
    assert_eq!(event, expected(noted, &event, v.verdict));
    assert_eq!((event.vip, event.member), (outcome.vip, outcome.member));
    assert_eq!(event.length as usize, v.input.len());

    let kept = v.input.len().min(MAX_SNAP);
    let (before, after) = bytes.split_at(event.before as usize);
    assert_eq!(before, &v.input[..kept]);
    let left = if did == Action::Drop { &[][..] } else { &output[..] };
    assert_eq!(event.length_after as usize, left.len());
    assert_eq!(&after[..event.after as usize], &left[..left.len().min(MAX_SNAP)]);

    let wanted = observe::flow_log(observer, &event, || 0);
    assert_eq!(event.reasons, wanted | Reasons::FILTER);
    match kernel.next_flow() {
        Some(flow) => {
            assert_ne!(wanted, 0);
            assert_eq!(flow, Event { length_after: 0, after: 0, ..event });
        }
        None => assert_eq!(wanted, 0),
    }
    Ok(())
}

/// A packet of UDP that goes to a backend.
const FORWARDED: &str = "asks another VIP for id.server.";

/// A vector of this name.
fn vector(name: &str) -> Result<(Kernel, Vector)> {
    let scenario = Scenario::load()?;
    let found = scenario.vectors()?.into_iter().find(|v| v.name == name);
    let v = found.with_context(|| format!("no vector {name:?}"))?;
    let mut kernel = Kernel::load_observed(v.program)?;
    kernel.write(&scenario.tables(v.program, v.mode)?)?;
    Ok((kernel, v))
}

#[test]
fn nothing_is_reported_that_nobody_asks_for() -> Result<()> {
    let (mut kernel, v) = vector(FORWARDED)?;
    kernel.run(&v.input, 0)?;
    ensure!(kernel.next_flow().is_none() && kernel.next_packet().is_none());
    kernel.observe(&Observer { flow_log: Reasons::FLOW_LOG, ..Observer::default() })?;
    kernel.run(&v.input, 0)?;
    ensure!(kernel.next_flow().is_none(), "neither begins nor ends a flow, and nothing is sampled");
    Ok(())
}

#[test]
fn what_nobody_reads_is_lost_and_counted_and_the_packets_go_on() -> Result<()> {
    let (mut kernel, question) = vector("asks for id.server.")?;
    let (_, forwarded) = vector(FORWARDED)?;
    kernel.observe(&everything())?;
    const PACKETS: u64 = 20_000;
    for _ in 0..PACKETS {
        kernel.run(&question.input, 0)?;
        kernel.run(&forwarded.input, 0)?;
    }
    let observed = kernel.observed()?;
    for (written, packets) in [(observed.flows, PACKETS), (observed.packets, 2 * PACKETS)] {
        ensure!(written.lost > 0 && written.records > 0, "{observed:?}");
        assert_eq!(written.records + written.lost, packets);
    }
    assert_eq!(kernel.packets(Verdict::ForwardedGue)?, PACKETS);
    let room = u64::from(QUESTION_RING) / (size_of::<Question>() as u64 + 8);
    assert_eq!(kernel.packets(Verdict::Identity)?, PACKETS - observed.questions.lost);
    assert_eq!(kernel.packets(Verdict::IdentityLimited)?, observed.questions.lost);
    ensure!(kernel.packets(Verdict::Identity)? <= room);
    Ok(())
}

#[test]
fn records_beyond_the_limit_are_counted_and_not_written() -> Result<()> {
    let (mut kernel, v) = vector(FORWARDED)?;
    // A limit that time does not refill while this runs, with a burst of a second's worth.
    let limit = 10_000_000_000;
    kernel.observe(&Observer { flow_interval: limit, packet_interval: limit, ..everything() })?;
    for _ in 0..100 {
        kernel.run(&v.input, 0)?;
    }
    let observed = kernel.observed()?;
    for written in [observed.flows, observed.packets] {
        assert_eq!((written.records, written.limited, written.lost), (1, 99, 0));
    }
    Ok(())
}

#[test]
fn a_question_comes_with_its_frame() -> Result<()> {
    let (mut kernel, v) = vector("asks for hostname.bind. with nsid")?;
    assert_eq!(v.mode, Mode::Plain);
    kernel.run(&v.input, 0)?;
    let question = kernel.next_question().context("no question")?;
    assert_eq!(&question.bytes[..question.len as usize], &v.input[..]);
    ensure!(kernel.next_question().is_none());
    Ok(())
}
