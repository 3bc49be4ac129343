//! The packet logic on the host.

use anycast_lb_common::abi::Program;
use anycast_lb_common::host::{Frame, TableSet};
use anycast_lb_common::{Outcome, backend, ingress};

/// Runs `input` through `program`; returns what it decided and the frame it left.
pub fn run(program: Program, tables: &TableSet, input: &[u8], metadata: usize) -> (Outcome, Vec<u8>) {
    let mut frame = Frame::with_metadata(input, metadata);
    let outcome = match program {
        Program::Ingress => ingress::run(&mut frame, tables),
        Program::Backend => backend::run(&mut frame, tables),
    };
    (outcome, frame.bytes().to_vec())
}

/// What the kernel's traffic control sees of a frame: its outermost tag lies beside it.
pub fn untagged(frame: &[u8]) -> Vec<u8> {
    match frame[12..14] {
        [0x81, 0x00] | [0x88, 0xa8] if frame.len() >= 16 => [&frame[..12], &frame[16..]].concat(),
        _ => frame.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use anycast_lb_common::abi::{Kind, VERDICTS, Verdict};
    use anycast_lb_common::relay;

    use anyhow::Context as _;

    use super::*;
    use crate::echo;
    use crate::scenario::{Mode, Scenario, Vector};

    #[test]
    fn every_vector_comes_out_as_scapy_says() -> anyhow::Result<()> {
        let scenario = Scenario::load()?;
        for v in scenario.vectors()? {
            let tables = scenario.tables(v.program, v.mode)?;
            for frame in &v.before {
                run(v.program, &tables, frame, 0);
            }
            let (outcome, output) = run(v.program, &tables, &v.input, v.metadata);
            assert_eq!(outcome.verdict.name(), v.verdict.name(), "{}", v.name);
            if v.verdict != Verdict::NoHeadroom {
                assert_eq!(hex(&output), hex(&v.output), "{}", v.name);
            }
        }
        Ok(())
    }

    #[test]
    fn every_sequence_number_of_an_echo_is_answered_right() -> anyhow::Result<()> {
        let tables = Scenario::load()?.tables(Program::Ingress, Mode::Plain)?;
        for request in echo::requests() {
            let request = request?;
            let (outcome, reply) = run(Program::Ingress, &tables, &request, 0);
            assert_eq!(outcome.verdict, Verdict::EchoReply, "{}", hex(&request));
            echo::check(&request, &reply).with_context(|| hex(&request))?;
        }
        Ok(())
    }

    #[test]
    fn every_verdict_has_a_vector() -> anyhow::Result<()> {
        let seen: HashSet<_> = Scenario::load()?.vectors()?.iter().map(|v| v.verdict).collect();
        let missing: Vec<_> = VERDICTS.iter().filter(|v| !seen.contains(v)).map(|v| v.name()).collect();
        assert!(missing.is_empty(), "{missing:?}");
        Ok(())
    }

    #[test]
    fn a_connection_id_leaves_nothing_behind() -> anyhow::Result<()> {
        let scenario = Scenario::load()?;
        let named = |v: &&Vector| v.name.starts_with("quic") && !v.name.contains("fragment");
        let vectors = scenario.vectors()?;
        assert!(vectors.iter().filter(named).count() > 50);
        for v in vectors.iter().filter(named) {
            let tables = scenario.tables(v.program, v.mode)?;
            run(v.program, &tables, &v.input, v.metadata);
            assert!(tables.fragments.borrow().iter().all(|words| *words == [0; 2]), "{}", v.name);
        }
        Ok(())
    }

    #[test]
    fn nothing_but_a_hop_is_relayed() -> anyhow::Result<()> {
        let scenario = Scenario::load()?;
        for v in scenario.vectors()?.iter().filter(|v| v.program == Program::Backend) {
            let tables = scenario.tables(v.program, v.mode)?;
            let (outcome, output) = run(v.program, &tables, &v.input, v.metadata);
            if outcome.verdict.kind() != Kind::Drop {
                let frame = Frame::new(&untagged(&output));
                assert_eq!(relay::is_hop(&frame, &tables), outcome.verdict == Verdict::Hop, "{}", v.name);
            }
        }
        Ok(())
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }
}
