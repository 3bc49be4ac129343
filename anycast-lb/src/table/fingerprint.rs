//! Fingerprints by which nodes see whether they place flows alike.
//!
//! They are made of addresses, never of indices, and keyed with the seed: nodes with different seeds
//! differ, and a fingerprint tells nothing about the seed.

use super::keyed::{Purpose, Sip, address_number};
use super::{BackendState, Candidate, NONE, Table, TableKind, TableSpec};

/// Fingerprint of who owns the slots. Nodes of one fleet must agree on it.
///
/// `candidates` are those the table was built from; `placement` is the version of hash and table
/// algorithms, [`anycast_lb_common::abi::PLACEMENT`].
pub fn owners_fingerprint(table: &Table, candidates: &[Candidate], spec: &TableSpec, placement: u32) -> u64 {
    let mut sip = start(Purpose::Owners, spec, placement);
    for owner in table.owners() {
        write_backend(&mut sip, candidates, *owner);
    }
    sip.finish()
}

/// Fingerprint of the hop lists. It may differ between nodes that know different histories.
///
/// Lists count up to the (1 + `spec.hops`)th active backend, so the table may have been built with more
/// hops than `spec` says.
pub fn hops_fingerprint(table: &Table, candidates: &[Candidate], spec: &TableSpec, placement: u32) -> u64 {
    let mut sip = start(Purpose::Hops, spec, placement);
    sip.write(u64::from(spec.hops));
    for slot in 0..spec.slots {
        let mut active = 0;
        for member in table.hops(slot) {
            if spec.hops == 0 || active > spec.hops {
                break;
            }
            write_backend(&mut sip, candidates, member);
            active += u8::from(is_active(candidates, member));
        }
        // What no address is: the list ends.
        write_backend(&mut sip, candidates, NONE);
    }
    sip.finish()
}

fn start(purpose: Purpose, spec: &TableSpec, placement: u32) -> Sip {
    let kind = match spec.kind {
        TableKind::Rendezvous => 1,
        TableKind::Maglev => 2,
    };
    let mut sip = Sip::new(&spec.seed, purpose);
    for word in [placement, kind, spec.slots, spec.margin_ppm] {
        sip.write(u64::from(word));
    }
    sip
}

fn is_active(candidates: &[Candidate], index: u32) -> bool {
    candidates.get(index as usize).is_some_and(|c| c.state == BackendState::Active)
}

fn write_backend(sip: &mut Sip, candidates: &[Candidate], index: u32) {
    // The unspecified address is no backend's.
    let number = candidates.get(index as usize).map_or(0, |c| address_number(c.identity));
    sip.write((number >> 64) as u64);
    sip.write(number as u64);
}
