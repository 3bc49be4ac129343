//! Which PoPs a pool's packets concern: whose backends take new flows here, and where a flow that
//! began in another PoP is looked for.
//!
//! New flows stay in the PoP where they arrive, unless it is drained: then its first rescue PoP
//! takes them. A packet whose flow is older may have been moved here by BGP while its socket is at
//! home, so behind the candidates of this PoP come those of others for the same slot. They are found
//! exactly as the nodes there find them: from that PoP's backends alone, by the same seed. So the
//! first that is listed of a PoP is the one that owns the slot there.

use std::net::IpAddr;

use anycast_lb_common::abi::{MemberNumber, Slot};

use super::health::{Lists, after_joins};
use super::pools::{Circumstances, Memo, Use};
use crate::membership::{Fitness, Standing, Standings};
use crate::model::{Backend, BackendState, Encapsulation, Pool};
use crate::table::{Candidate, NONE, TableSpec};

/// Other PoPs that a list reaches at most.
pub const MOST_SITES: usize = 3;
/// Of this PoP, a list that goes on to others names the owner and so many after it.
const OWN_HOPS: u8 = 2;
/// Active backends listed of another PoP besides its owner.
const RUNNERS_UP: u8 = 1;
/// Members that a slot of two words names.
const PLACES: usize = 2 * Slot::LEN;

/// The PoPs that matter for a pool on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sites<'a> {
    /// Whose backends take new flows.
    pub owner: &'a str,
    /// Other PoPs at which lost flows are looked for, in this order. Each has a backend.
    pub rescue: Vec<&'a str>,
}

impl<'a> Sites<'a> {
    /// For a node at `home`.
    ///
    /// The pool's `rescue` may name `home`, so that one list serves the nodes of every PoP. A drained
    /// PoP goes on taking new flows where none of its rescue PoPs can: they would be lost.
    pub fn of(pool: &'a Pool, home: &'a str, drained: &[String]) -> Self {
        Sites::where_fit(pool, home, drained, |_| true)
    }

    /// For what is in force of a pool and its backends.
    pub fn in_force(pool: &'a Pool, home: &'a str, drained: &[String], standings: &Standings) -> Self {
        Sites::where_fit(pool, home, drained, |address| {
            standings.of(&pool.name, address).fitness == Fitness::Fit
        })
    }

    /// As [`of`](Self::of), but that where a drained PoP's new flows go, one in which an active backend is
    /// `fit` goes before one in which none is.
    pub fn where_fit(
        pool: &'a Pool,
        home: &'a str,
        drained: &[String],
        fit: impl Fn(IpAddr) -> bool,
    ) -> Self {
        let is_drained = |site: &str| drained.iter().any(|d| d == site);
        let others = || pool.rescue.iter().map(String::as_str).filter(|site| *site != home);
        let active_at = |site: &'a str| {
            pool.backends.iter().filter(move |b| b.site(home) == site && b.state == BackendState::Active)
        };
        let takers = || others().filter(|site| !is_drained(site) && active_at(site).next().is_some());
        let is_fit = |site: &&'a str| active_at(site).any(|b| fit(b.address));
        let stand_in = || takers().find(is_fit).or_else(|| takers().next());
        let owner = if is_drained(home) { stand_in().unwrap_or(home) } else { home };
        let mut rescue: Vec<&str> = Vec::new();
        // Nothing else carries a list.
        if pool.encapsulation == Encapsulation::Gue {
            for site in others() {
                let has_backends = pool.backends.iter().any(|b| b.site(home) == site);
                if has_backends && !rescue.contains(&site) && rescue.len() < MOST_SITES {
                    rescue.push(site);
                }
            }
            // Whoever takes the new flows has a place in any case.
            if owner != home && !rescue.contains(&owner) {
                rescue.pop();
                rescue.push(owner);
            }
        }
        Sites { owner, rescue }
    }

    /// The PoP whose backends a slot names first, and how many of them behind the owner: no more than
    /// there is room for, so that the last one, which may be held although it is down, has a place.
    pub fn first<'s>(&'s self, pool: &Pool, home: &'s str) -> (&'s str, u8) {
        if self.rescue.is_empty() { (self.owner, pool.hops) } else { (home, OWN_HOPS.min(pool.hops)) }
    }

    /// Words that a slot of the pool takes.
    pub fn words(&self) -> u8 {
        if self.rescue.is_empty() { 1 } else { 2 }
    }
}

/// The backends of `pool` at `site`, as a node at `home` knows them.
pub fn candidates(pool: &Pool, home: &str, site: &str) -> Vec<Candidate> {
    let there = pool.backends.iter().filter(|b| b.site(home) == site);
    there.map(|b: &Backend| Candidate { identity: b.address, weight: b.weight, state: b.state }).collect()
}

/// Adds the candidates of other PoPs to the slots of this one.
///
/// `own` are this PoP's slots of one word, none if it has no backends; the result has two words for
/// each slot. `number` gives the member number of a backend of the pool.
pub fn widen(
    own: &[Slot],
    pool: &Pool,
    around: &Circumstances<'_>,
    sites: &Sites<'_>,
    number: impl Fn(&Candidate) -> MemberNumber,
    memo: &mut Memo,
) -> Vec<Slot> {
    let others: Vec<Vec<Vec<MemberNumber>>> =
        sites.rescue.iter().map(|site| of_site(pool, around, site, &number, memo)).collect();
    let stand_in = sites.rescue.iter().position(|site| *site == sites.owner);
    let own_hops = usize::from(OWN_HOPS.min(pool.hops));
    let mut slots = Vec::with_capacity(2 * pool.slots as usize);
    for slot in 0..pool.slots as usize {
        let own = own.get(slot).copied().unwrap_or_default();
        let own_members: Vec<MemberNumber> =
            (0..Slot::LEN as u32).map(|i| own.member(i)).filter(|m| *m != 0).take(1 + own_hops).collect();
        // A PoP that stands in has an active backend, and so an owner, which is listed first.
        let first = match stand_in {
            Some(site) => others[site][slot].first().copied().unwrap_or(0),
            None => own.member(0),
        };
        let theirs: Vec<&[MemberNumber]> = others.iter().map(|site| site[slot].as_slice()).collect();
        let places = places(first, &own_members, &theirs);
        let (front, back) = places.split_at(Slot::LEN);
        slots.extend([front, back].map(|half| Slot::new(std::array::from_fn(|i| half[i]))));
    }
    slots
}

/// A PoP's candidates for each slot in the order in which room is given to them: who takes new flows
/// there, as far as is known here (the owner, or who stands in for it); who is about to; those that
/// may hold flows from before (they drain, or join again); then the runner-up. An owner that is down
/// and held comes last, and takes the runner-up's place.
fn of_site(
    pool: &Pool,
    Circumstances { home, seed, standings, .. }: &Circumstances<'_>,
    site: &str,
    number: impl Fn(&Candidate) -> MemberNumber,
    memo: &mut Memo,
) -> Vec<Vec<MemberNumber>> {
    let there = candidates(pool, home, site);
    let numbers: Vec<MemberNumber> = there.iter().map(number).collect();
    let standings: Vec<Standing> = there.iter().map(|c| standings.of(&pool.name, c.identity)).collect();
    let lists = Lists::elsewhere(&there, &standings, RUNNERS_UP, PLACES - 2);
    let spec = TableSpec::of(pool, seed, lists.depth());
    let mut table = |there: &[Candidate]| memo.table(&pool.name, Use::Site(site.to_owned()), &spec, there);
    let after = after_joins(&there, &standings).map(|after| table(&after));
    let table = table(&there);
    let mut list = Vec::with_capacity(PLACES);
    (0..)
        .zip(table.owners())
        .map(|(slot, &owner)| {
            let coming = after.as_ref().and_then(|after| after.owners().get(slot as usize)).copied();
            lists.list(slot, owner, table.hops(slot), coming, std::iter::empty(), &mut list);
            list.iter().filter(|i| **i != NONE).map(|i| numbers[*i as usize]).collect()
        })
        .collect()
}

/// Puts a list together: `first` takes new flows (0: nobody does); then `own`, all of them; then PoP
/// by PoP as many of `others` as there is room for, which is shared out in turns, so that each PoP's
/// first has a place before any one's second.
fn places(first: MemberNumber, own: &[MemberNumber], others: &[&[MemberNumber]]) -> [MemberNumber; PLACES] {
    let mut list = [0; PLACES];
    list[0] = first;
    let own: Vec<MemberNumber> = own.iter().copied().filter(|m| *m != first).collect();
    let others: Vec<Vec<MemberNumber>> =
        others.iter().map(|site| site.iter().copied().filter(|m| *m != first).collect()).collect();
    let mut room = (PLACES - 1).saturating_sub(own.len());
    let mut shares = vec![0; others.len()];
    loop {
        let before = room;
        for (share, site) in shares.iter_mut().zip(&others) {
            if room > 0 && *share < site.len() {
                *share += 1;
                room -= 1;
            }
        }
        if room == before {
            break;
        }
    }
    let theirs = others.iter().zip(shares).flat_map(|(site, share)| &site[..share]);
    for (place, member) in list.iter_mut().skip(1).zip(own.iter().chain(theirs)) {
        *place = *member;
    }
    list
}

#[cfg(test)]
mod tests;
