//! Runs whole frames, whatever is in them.

use anycast_lb_common::abi::{Member, MemberFlags, MemberNumber, Verdict, VipNumber};
use aya::maps::{Array, MapData, RingBuf};
use aya::programs::{TestRun, TestRunOptions};

use super::{Flow, Guess, Tracer, Way, way};
use crate::dataplane::counters::Counting;
use crate::dataplane::error::DataplaneError;
use crate::dataplane::object::MEMORIES;
use crate::dataplane::observe::QUESTIONS;
use crate::dataplane::tables::Tables;

/// What an outer header adds at most: IPv6, UDP, GUE and seven hops, with room to spare.
const GROWTH: usize = 256;

/// What the program did with a frame.
pub(in crate::dataplane) struct Ran {
    pub verdict: Verdict,
    pub vip: VipNumber,
    pub slot: Option<u32>,
    pub member: MemberNumber,
    pub way: Option<Way>,
    /// The frame as the program left it.
    pub output: Vec<u8>,
}

/// What a frame may have been counted under, the likely ones first.
pub(in crate::dataplane) struct Candidates<'a> {
    /// VIPs.
    pub vips: &'a [VipNumber],
    /// Members of the pool of a VIP.
    pub members: &'a dyn Fn(VipNumber) -> Vec<MemberNumber>,
}

impl Tracer {
    /// Runs `frame` as if interface `ifindex` had received it. `flow` is what it belongs to, if it is
    /// plain enough to be looked up.
    pub fn run(
        &mut self,
        tables: &Tables,
        frame: &[u8],
        ifindex: u32,
        flow: Option<&Flow>,
        candidates: &Candidates<'_>,
    ) -> Result<Ran, DataplaneError> {
        self.remembers = true;
        let mut output = vec![0; frame.len() + GROWTH];
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context: [u32; 6] = [0, frame.len() as u32, 0, ifindex, 0, 0];
        let context = context.map(u32::to_ne_bytes).concat();
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut output),
            ctx_in: (ifindex != 0).then_some(context.as_slice()),
            ..TestRunOptions::default()
        };
        let result = self.xdp()?.test_run(options).map_err(|e| DataplaneError::program(self.program, e))?;
        output.truncate(result.data_size_out as usize);

        let verdict = self.verdict()?;
        if verdict == Verdict::Identity {
            self.read_questions()?;
        }
        let vip = counted(&self.counters.vips, candidates.vips.iter().copied()).unwrap_or(0);
        let guess = flow.map(|flow| Guess::new(tables, flow)).filter(|guess| vip != 0 && guess.vip == vip);
        let guessed = guess.as_ref().map_or(0, |guess| guess.member);
        let likely = (guessed != 0).then_some(guessed).into_iter();
        let members = if vip == 0 { Vec::new() } else { (candidates.members)(vip) };
        let member = counted(&self.counters.members, likely.chain(members)).unwrap_or(0);
        let entry: Member = tables.members.load(member.into());
        Ok(Ran {
            verdict,
            vip,
            // A connection ID names the backend itself.
            slot: guess
                .filter(|guess| guess.member == member && verdict != Verdict::ForwardedQuic)
                .and_then(|guess| guess.slot),
            member,
            way: (member != 0 && entry.flags & MemberFlags::RESOLVED != 0).then(|| way(&entry)),
            output,
        })
    }

    /// Makes room in the ring of questions, which nobody else reads here: in a full one a question has another end.
    fn read_questions(&mut self) -> Result<(), DataplaneError> {
        let map = self.ebpf.map_mut(QUESTIONS);
        let map = map.ok_or_else(|| DataplaneError::Object(format!("it has no map {QUESTIONS}")))?;
        let mut ring = RingBuf::try_from(map).map_err(|e| DataplaneError::map(QUESTIONS, e))?;
        while ring.next().is_some() {}
        Ok(())
    }

    /// Makes this load forget the packets it has seen: their fragments, and what they took of limits.
    pub fn forget(&mut self) -> Result<(), DataplaneError> {
        if !std::mem::take(&mut self.remembers) {
            return Ok(());
        }
        for (name, words) in MEMORIES {
            let map = self.ebpf.map_mut(name);
            let map = map.ok_or_else(|| DataplaneError::Object(format!("it has no map {name}")))?;
            match words {
                1 => clear::<u64>(map, name, 0)?,
                _ => clear::<[u64; 2]>(map, name, [0; 2])?,
            }
        }
        self.read_questions()
    }
}

fn clear<T: aya::Pod>(map: &mut aya::maps::Map, name: &str, empty: T) -> Result<(), DataplaneError> {
    let mut array: Array<&mut MapData, T> = Array::try_from(map).map_err(|e| DataplaneError::map(name, e))?;
    (0..array.len()).try_for_each(|i| array.set(i, empty, 0)).map_err(|e| DataplaneError::map(name, e))
}

/// The first of `numbers` that was counted, which is set to zero: so all of this load always are.
fn counted(counting: &Counting, mut numbers: impl Iterator<Item = u16>) -> Option<u16> {
    let found = numbers.find(|number| counting.sum((*number).into()).packets != 0)?;
    counting.zero(found.into());
    Some(found)
}
