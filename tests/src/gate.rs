//! The regression gate: figures of the programs that do not depend on the machine's mood, against those
//! in `gate.toml`, which a change has to update deliberately.
//!
//! Some depend on the compiler or on the kernel. With the compiler and the kernel of the recorded figures
//! the limits are tight, with others they are wide, so that the gate fails for what a change does and
//! never for where it is built.

use std::collections::BTreeMap;

use anycast_lb::dataplane::MapMemory;
use anyhow::{Context as _, Result};
use aya_obj::generated::bpf_insn;
use aya_obj::{Object, generated};
use serde::{Deserialize, Serialize};

/// What is recorded, or was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Compiler and linker of the object, as `target/bpf/built-with` has it.
    pub built_with: String,
    /// Kernel that verified it: version and architecture.
    pub kernel: String,
    /// Bytes of all maps.
    pub maps: MapMemory,
    /// Table look-ups of one packet, by verdict: counted in the packet logic itself, so they depend on
    /// nothing else.
    pub lookups: BTreeMap<String, u64>,
    /// By the programs' names.
    pub programs: BTreeMap<String, ProgramFigures>,
}

/// Figures of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramFigures {
    /// Instructions that the verifier looked at.
    pub verified: u32,
    /// Bytes of machine code.
    pub jited: u32,
    /// Bytes of its own stack frame.
    pub stack: u32,
    /// Places where helpers are called, by helper. Look-ups in arrays are among them, though the kernel
    /// puts their code in place of the call.
    pub calls: BTreeMap<String, u32>,
}

/// By how much, in percent, what the verifier and the JIT say may grow where compiler and kernel are
/// those of the recorded figures: the kernel's own patch releases.
const SLACK: u32 = 2;
/// The same where they are not.
const WIDE_SLACK: u32 = 100;
/// Stack that the kernel allows.
const MAX_STACK: u32 = 512;

/// What is wrong with `measured`, a sentence each; nothing if all is well.
pub fn complaints(recorded: &Figures, measured: &Figures) -> Vec<String> {
    let mut found = Vec::new();
    let mut equal = |what: &str, recorded: u64, measured: u64| {
        if recorded != measured {
            found.push(format!("{what}: {measured}, recorded are {recorded}"));
        }
    };
    equal("bytes of maps", recorded.maps.shared, measured.maps.shared);
    equal("bytes of maps for each CPU", recorded.maps.per_cpu, measured.maps.per_cpu);
    for (verdict, lookups) in &measured.lookups {
        let known = recorded.lookups.get(verdict).copied().unwrap_or(0);
        equal(&format!("look-ups of a packet that is {verdict}"), known, *lookups);
    }
    let same_build = recorded.built_with == measured.built_with;
    let same_kernel = same_build && recorded.kernel == measured.kernel;
    for (name, program) in &measured.programs {
        let Some(known) = recorded.programs.get(name) else {
            found.push(format!("{name}: nothing is recorded"));
            continue;
        };
        found.extend(program.complaints(name, known, same_build, same_kernel));
    }
    found
}

impl ProgramFigures {
    fn complaints(&self, name: &str, known: &Self, same_build: bool, same_kernel: bool) -> Vec<String> {
        let mut found = Vec::new();
        let mut at_most = |what: &str, measured: u32, limit: u32, recorded: u32| {
            if measured > limit {
                found
                    .push(format!("{name}: {what}: {measured}, more than {limit} (recorded are {recorded})"));
            }
        };
        let slack = if same_kernel { SLACK } else { WIDE_SLACK };
        let with_slack = |recorded: u32| recorded + recorded * slack / 100;
        at_most("verified instructions", self.verified, with_slack(known.verified), known.verified);
        at_most("bytes of machine code", self.jited, with_slack(known.jited), known.jited);
        at_most("bytes of stack", self.stack, if same_build { known.stack } else { MAX_STACK }, known.stack);
        for (helper, calls) in &self.calls {
            let recorded = known.calls.get(helper).copied().unwrap_or(0);
            let limit = if same_build { recorded } else { recorded * 2 };
            at_most(&format!("calls of {helper}"), *calls, limit, recorded);
        }
        found
    }
}

/// The instructions of a program, those of the functions that it calls included.
///
/// # Errors
///
/// When the object has no such program.
pub fn instructions(object: &Object, program: &str) -> Result<Vec<bpf_insn>> {
    let mut object = object.clone();
    let sections = object.functions.keys().map(|(section, _)| *section).collect();
    object.relocate_calls(&sections)?;
    let key = object.programs.get(program).with_context(|| format!("no program {program}"))?.function_key();
    Ok(object.functions.get(&key).context("no function of the program")?.instructions.clone())
}

/// Places where helpers are called.
pub fn calls(instructions: &[bpf_insn]) -> BTreeMap<String, u32> {
    let mut calls = BTreeMap::new();
    for instruction in instructions.iter().filter(|i| is_helper_call(i)) {
        *calls.entry(helper(instruction.imm)).or_default() += 1;
    }
    calls
}

/// BPF_JMP | BPF_CALL.
const CALL: u8 = 0x85;

fn is_helper_call(instruction: &bpf_insn) -> bool {
    // Source register 1 is a function of the program itself.
    instruction.code == CALL && instruction.src_reg() == 0
}

fn helper(number: i32) -> String {
    use generated::bpf_func_id::*;
    let known = [
        (BPF_FUNC_map_lookup_elem, "map_lookup_elem"),
        (BPF_FUNC_ktime_get_ns, "ktime_get_ns"),
        (BPF_FUNC_csum_diff, "csum_diff"),
        (BPF_FUNC_get_smp_processor_id, "get_smp_processor_id"),
        (BPF_FUNC_redirect, "redirect"),
        (BPF_FUNC_redirect_neigh, "redirect_neigh"),
        (BPF_FUNC_xdp_adjust_head, "xdp_adjust_head"),
        (BPF_FUNC_xdp_adjust_tail, "xdp_adjust_tail"),
        (BPF_FUNC_xdp_get_buff_len, "xdp_get_buff_len"),
        (BPF_FUNC_xdp_load_bytes, "xdp_load_bytes"),
        (BPF_FUNC_get_prandom_u32, "get_prandom_u32"),
        (BPF_FUNC_ringbuf_output, "ringbuf_output"),
        (BPF_FUNC_ringbuf_reserve, "ringbuf_reserve"),
        (BPF_FUNC_ringbuf_submit, "ringbuf_submit"),
        (BPF_FUNC_ringbuf_discard, "ringbuf_discard"),
        (BPF_FUNC_skc_lookup_tcp, "skc_lookup_tcp"),
        (BPF_FUNC_sk_lookup_udp, "sk_lookup_udp"),
        (BPF_FUNC_sk_release, "sk_release"),
        (BPF_FUNC_skc_to_tcp_request_sock, "skc_to_tcp_request_sock"),
        (BPF_FUNC_skc_to_tcp_timewait_sock, "skc_to_tcp_timewait_sock"),
        (BPF_FUNC_tcp_check_syncookie, "tcp_check_syncookie"),
    ];
    let known = known.iter().find(|(id, _)| *id as i32 == number);
    known.map_or_else(|| format!("helper_{number}"), |(_, name)| (*name).to_owned())
}

/// Bytes of stack that instructions reach.
pub fn stack(instructions: &[bpf_insn]) -> u32 {
    const FRAME_POINTER: u8 = 10;
    // Classes of instructions, and two instructions: add a constant, copy a register; all 64 bits.
    const CLASS: u8 = 0x07;
    const LOAD: u8 = 0x01;
    const STORES: [u8; 2] = [0x02, 0x03];
    const ADD: u8 = 0x07;
    const COPY: u8 = 0xbf;
    let direct = instructions.iter().filter_map(|i| {
        let base = match i.code & CLASS {
            LOAD => i.src_reg(),
            class if STORES.contains(&class) => i.dst_reg(),
            _ => return None,
        };
        (base == FRAME_POINTER).then_some(-i32::from(i.off))
    });
    let pointers = instructions.windows(2).filter_map(|pair| {
        let is_address = pair[0].code == COPY
            && pair[0].src_reg() == FRAME_POINTER
            && pair[1].code == ADD
            && pair[1].dst_reg() == pair[0].dst_reg();
        is_address.then_some(-pair[1].imm)
    });
    direct.chain(pointers).max().unwrap_or(0).try_into().unwrap_or(0)
}
