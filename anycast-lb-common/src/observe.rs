//! Which packets an observed program reports.

use crate::abi::{Event, Filter, MAX_FILTERS, Observer, Reasons, Verdict};
use crate::wire::Tcp;
use crate::wire::transport::TCP;

/// How far records may run ahead of their limit, in ns.
pub const BURST: u64 = 1_000_000_000;

/// Why the flow log wants `event`; 0 = it does not. `draw` gives the next random number.
#[inline(always)]
pub fn flow_log(observer: &Observer, event: &Event, draw: impl FnOnce() -> u32) -> u32 {
    let mut reasons = 0;
    if event.protocol == TCP {
        let flags = event.tcp_flags;
        if flags & (Tcp::SYN | Tcp::ACK) == Tcp::SYN {
            reasons |= Reasons::BEGIN;
        }
        if flags & (Tcp::FIN | Tcp::RST) != 0 {
            reasons |= Reasons::END;
        }
    }
    if event.verdict == Verdict::Hop as u8 {
        reasons |= Reasons::HOP;
    }
    reasons &= observer.flow_log;
    // A packet that no service has taken has no place in a log of flows.
    if reasons == 0 && has_flow(event) && observer.sample != 0 && is_drawn(draw(), observer.sample) {
        reasons = observer.flow_log & Reasons::SAMPLE;
    }
    reasons
}

/// Which filters want `event`.
#[inline(always)]
pub fn filters(observer: &Observer, event: &Event, draw: impl Fn() -> u32) -> u32 {
    let mut reasons = 0;
    let mut i = 0;
    while i < MAX_FILTERS {
        if i as u32 >= observer.filters {
            break;
        }
        let filter = &observer.filter[i];
        if matches(filter, event) && (filter.sample <= 1 || is_drawn(draw(), filter.sample)) {
            reasons |= Reasons::FILTER << i;
        }
        i += 1;
    }
    reasons
}

/// One of `sample` random numbers.
#[inline(always)]
fn is_drawn(random: u32, sample: u32) -> bool {
    // Lemire's reduction: no division.
    (random as u64 * sample as u64) >> u32::BITS == 0
}

#[inline(always)]
fn has_flow(event: &Event) -> bool {
    // An ingress node hashes what is for a VIP; on a backend there is who sent it.
    event.hash | event.sender[0] | event.sender[1] != 0
}

/// Whether `filter` matches `event`, sampling aside.
#[inline(always)]
pub fn matches(filter: &Filter, event: &Event) -> bool {
    filter.flags & Filter::ON != 0
        && (filter.verdicts == 0 || (filter.verdicts >> (event.verdict & 63)) & 1 != 0)
        && (filter.vip == 0 || filter.vip == event.vip)
        && (filter.protocol == 0 || filter.protocol == event.protocol as u16)
        && (filter.source_port == 0 || filter.source_port == event.source_port)
        && (filter.destination_port == 0 || filter.destination_port == event.destination_port)
        && is_or_any(filter.source, event.source)
        && is_or_any(filter.destination, event.destination)
}

#[inline(always)]
fn is_or_any(wanted: [u64; 2], address: [u64; 2]) -> bool {
    wanted[0] | wanted[1] == 0 || (wanted[0] == address[0] && wanted[1] == address[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;

    fn tcp(flags: u8) -> Event {
        Event { protocol: TCP, tcp_flags: flags, destination: [0, 1], hash: 9, ..Event::zeroed() }
    }

    fn never() -> u32 {
        u32::MAX
    }

    #[test]
    fn beginnings_and_ends_are_told_by_flags() {
        let all = Observer { flow_log: Reasons::FLOW_LOG, ..Observer::default() };
        for (flags, reasons) in [
            (Tcp::SYN, Reasons::BEGIN),
            (Tcp::SYN | Tcp::ACK, 0),
            (Tcp::ACK, 0),
            (Tcp::FIN | Tcp::ACK, Reasons::END),
            (Tcp::RST, Reasons::END),
        ] {
            assert_eq!(flow_log(&all, &tcp(flags), never), reasons, "{flags:#x}");
        }
        let udp = Event { protocol: 17, tcp_flags: Tcp::SYN, ..tcp(0) };
        assert_eq!(flow_log(&all, &udp, never), 0);
        let hop = Event { verdict: Verdict::Hop as u8, ..tcp(Tcp::ACK) };
        assert_eq!(flow_log(&all, &hop, never), Reasons::HOP);
        let ends = Observer { flow_log: Reasons::END, ..Observer::default() };
        assert_eq!(flow_log(&ends, &tcp(Tcp::SYN), never), 0);
    }

    #[test]
    fn one_in_so_many_of_the_rest_is_taken() {
        let observer = Observer { flow_log: Reasons::FLOW_LOG, sample: 1000, ..Observer::default() };
        let (mut taken, mut state) = (0, 1_u64);
        for _ in 0..100_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let draw = (state >> 32) as u32;
            taken += u32::from(flow_log(&observer, &tcp(Tcp::ACK), || draw) == Reasons::SAMPLE);
        }
        assert!((60..=140).contains(&taken), "{taken} of 100,000");
        let each = Observer { sample: 1, ..observer };
        assert_eq!(flow_log(&each, &tcp(Tcp::ACK), never), Reasons::SAMPLE);
        let none = Observer { sample: 0, ..observer };
        assert_eq!(flow_log(&none, &tcp(Tcp::ACK), || 0), 0);
        assert_eq!(flow_log(&each, &Event { hash: 0, ..tcp(Tcp::ACK) }, || 0), 0, "nobody's");
        let tunnelled = Event { hash: 0, sender: [0, 1], ..tcp(Tcp::ACK) };
        assert_eq!(flow_log(&each, &tunnelled, never), Reasons::SAMPLE);
    }

    #[test]
    fn a_filter_wants_what_matches_in_all_that_it_names() {
        let event = Event {
            source: [1, 2],
            source_port: 7,
            destination_port: 443,
            vip: 3,
            verdict: Verdict::ForwardedGue as u8,
            ..tcp(0)
        };
        let any = Filter { flags: Filter::ON, sample: 1, ..Filter::default() };
        let one = |filter: Filter| {
            let mut observer = Observer { filters: 1, ..Observer::default() };
            observer.filter[0] = filter;
            filters(&observer, &event, never)
        };
        for filter in [
            any,
            Filter { source: [1, 2], destination: [0, 1], source_port: 7, destination_port: 443, ..any },
            Filter { vip: 3, protocol: TCP.into(), verdicts: 1 << Verdict::ForwardedGue as u64, ..any },
        ] {
            assert_eq!(one(filter), Reasons::FILTER, "{filter:?}");
        }
        for filter in [
            Filter::default(),
            Filter { source: [1, 3], ..any },
            Filter { destination: [1, 1], ..any },
            Filter { source_port: 8, ..any },
            Filter { destination_port: 8, ..any },
            Filter { protocol: 17, ..any },
            Filter { vip: 4, ..any },
            Filter { verdicts: 1 << Verdict::Hop as u64, ..any },
            Filter { sample: 2, ..any },
        ] {
            assert_eq!(one(filter), 0, "{filter:?}");
        }
    }

    #[test]
    fn each_filter_has_a_bit_of_its_own() {
        let mut observer = Observer { filters: MAX_FILTERS as u32, ..Observer::default() };
        observer.filter[MAX_FILTERS - 1] = Filter { flags: Filter::ON, sample: 1, ..Filter::default() };
        let wanted = filters(&observer, &tcp(0), never);
        assert_eq!(wanted, Reasons::FILTER << (MAX_FILTERS - 1));
        assert_eq!(wanted & !Reasons::FILTERS, 0);
        observer.filters = 1;
        assert_eq!(filters(&observer, &tcp(0), never), 0);
    }
}
