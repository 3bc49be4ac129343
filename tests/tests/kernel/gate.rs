//! The released object against the recorded figures, `tests/gate.toml`.

use std::path::Path;

use anycast_lb::dataplane::MapMemory;
use anycast_lb_common::abi::Verdict;
use anycast_lb_tests::gate::{Figures, ProgramFigures, calls, complaints, instructions, stack};
use anycast_lb_tests::kernel::Kernel;
use anycast_lb_tests::lookups;
use anycast_lb_tests::scenario::{Mode, Scenario};
use anyhow::{Context as _, Result, ensure};
use aya_obj::Object;

/// Packets whose look-ups are counted: the first vector of each verdict.
const HOT: [Verdict; 8] = [
    Verdict::ForwardedGue,
    Verdict::ForwardedIpip,
    Verdict::ForwardedL2,
    Verdict::ForwardedQuic,
    Verdict::NotVip,
    Verdict::DecapGue,
    Verdict::DecapIpip,
    Verdict::Hop,
];
const MIB: u64 = 1 << 20;

#[test]
fn the_programs_have_not_grown() -> Result<()> {
    let recorded: Figures = toml_edit::de::from_str(include_str!("../../gate.toml")).context("gate.toml")?;
    let measured = measure()?;
    let found = complaints(&recorded, &measured);
    ensure!(
        found.is_empty(),
        "{}\nIf that is meant, and what it costs was measured (cargo xtask bench), tests/gate.toml becomes:\n\n{}",
        found.join("\n"),
        toml_edit::ser::to_string_pretty(&measured)?
    );
    Ok(())
}

#[test]
fn a_helper_call_more_is_noticed() -> Result<()> {
    let object = object()?;
    let before = measure_program(&object, "ingress")?;
    let mut with_call = instructions(&object, "ingress")?;
    // r0 = bpf_ktime_get_ns(), as the first thing that happens to a packet.
    const KTIME_GET_NS: i32 = 5;
    let call = with_call.iter().find(|i| i.code == 0x85 && i.src_reg() == 0).context("no call at all")?;
    with_call.insert(0, aya_obj::generated::bpf_insn { imm: KTIME_GET_NS, ..*call });
    let after = ProgramFigures { calls: calls(&with_call), ..before.clone() };

    let figures = |ingress| -> Result<Figures> {
        let mut figures = measure()?;
        figures.programs.insert("ingress".to_owned(), ingress);
        Ok(figures)
    };
    let (before, after) = (figures(before)?, figures(after)?);
    assert_eq!(complaints(&before, &before), Vec::<String>::new());
    let found = complaints(&before, &after);
    assert!(matches!(&found[..], [one] if one.contains("calls of ktime_get_ns")), "{found:?}");

    // And a look-up more, wherever it is built.
    let elsewhere = Figures { built_with: "another compiler".to_owned(), ..before.clone() };
    assert_eq!(complaints(&before, &elsewhere), Vec::<String>::new());
    let mut looked = elsewhere;
    for lookups in looked.lookups.values_mut() {
        *lookups += 1;
    }
    assert_eq!(complaints(&before, &looked).len(), HOT.len());
    Ok(())
}

#[test]
fn maps_fit_small_and_large_machines() -> Result<()> {
    let memory = MapMemory::of(&object()?);
    assert!(memory.on(2) <= 64 * MIB, "{memory:?}");
    assert!(memory.on(128) <= 512 * MIB, "{memory:?}");
    Ok(())
}

fn object() -> Result<Object> {
    Ok(Object::parse(&std::fs::read(target("anycast-lb.o"))?)?)
}

fn target(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf").join(name)
}

fn measure() -> Result<Figures> {
    let object = object()?;
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let version: Vec<&str> = release.trim().split('.').take(2).collect();
    let scenario = Scenario::load()?;
    let vectors = scenario.vectors()?;
    let mut lookups_by_verdict = std::collections::BTreeMap::new();
    for verdict in HOT {
        let is_plain =
            |v: &&anycast_lb_tests::scenario::Vector| v.verdict == verdict && v.mode == Mode::Plain;
        let vector = vectors.iter().find(is_plain).with_context(|| format!("no {}", verdict.name()))?;
        let tables = scenario.tables(vector.program, vector.mode)?;
        let count = lookups::count(vector.program, &tables, &vector.input);
        lookups_by_verdict.insert(verdict.name().to_owned(), count);
    }
    Ok(Figures {
        // An object that somebody else built: unknown, so wide limits.
        built_with: std::fs::read_to_string(target("built-with")).unwrap_or_default().trim().to_owned(),
        kernel: format!("{} {}", version.join("."), std::env::consts::ARCH),
        maps: MapMemory::of(&object),
        lookups: lookups_by_verdict,
        programs: ["ingress", "backend", "ingress_observed", "backend_observed"]
            .into_iter()
            .map(|name| Ok((name.to_owned(), measure_program(&object, name)?)))
            .collect::<Result<_>>()?,
    })
}

fn measure_program(object: &Object, name: &'static str) -> Result<ProgramFigures> {
    let (verified, jited) = Kernel::load_named(name)?.size()?;
    let instructions = instructions(object, name)?;
    Ok(ProgramFigures { verified, jited, stack: stack(&instructions), calls: calls(&instructions) })
}
