//! Which PoPs a pool's packets concern: whose backends take new flows here, and where a flow that
//! began in another PoP is looked for.
//!
//! New flows stay in the PoP where they arrive, unless it is drained: then its first rescue PoP
//! takes them. A packet whose flow is older may have been moved here by BGP while its socket is at
//! home, so behind the candidates of this PoP come those of others for the same slot. They are found
//! exactly as the nodes there find them: from that PoP's backends alone, by the same seed. So the
//! first that is listed of a PoP is the one that owns the slot there.

use std::net::IpAddr;

use anycast_lb_common::abi::MemberNumber;

use super::health::{Lists, after_joins};
use super::places::{Listed, MOST};
use super::pools::{Circumstances, Memo, Use};
use crate::membership::{Fitness, Standing, Standings};
use crate::model::{Backend, BackendState, Encapsulation, Pool};
use crate::table::{Candidate, NONE, TableSpec};

/// Other PoPs that a list reaches at most.
pub const MOST_SITES: usize = 3;
/// Members of this PoP that a list which goes on to others names in any case; more of them where others
/// leave room.
const OWN: usize = 3;
/// Active backends listed of another PoP besides its owner.
const RUNNERS_UP: u8 = 1;

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

    /// The PoP whose backends a slot names first.
    pub fn first<'s>(&'s self, home: &'s str) -> &'s str {
        if self.rescue.is_empty() { self.owner } else { home }
    }
}

/// The backends of `pool` at `site`, as a node at `home` knows them.
pub fn candidates(pool: &Pool, home: &str, site: &str) -> Vec<Candidate> {
    let there = pool.backends.iter().filter(|b| b.site(home) == site);
    there.map(|b: &Backend| Candidate { identity: b.address, weight: b.weight, state: b.state }).collect()
}

/// Adds the candidates of other PoPs to the slots of this one.
///
/// `own` are this PoP's lists, none if it has no backends. `number` gives the member number of a backend
/// of the pool.
pub fn widen(
    own: &[Listed],
    pool: &Pool,
    around: &Circumstances<'_>,
    sites: &Sites<'_>,
    number: impl Fn(&Candidate) -> MemberNumber,
    memo: &mut Memo,
) -> Vec<Listed> {
    let others: Vec<Vec<Vec<MemberNumber>>> =
        sites.rescue.iter().map(|site| of_site(pool, around, site, &number, memo)).collect();
    let stand_in = sites.rescue.iter().position(|site| *site == sites.owner);
    let list = |slot: usize| {
        let own = own.get(slot).copied().unwrap_or_default();
        // A PoP that stands in has an active backend, and so an owner, which is listed first.
        let first = match stand_in {
            Some(site) => others[site][slot].first().copied().unwrap_or(0),
            None => own.first(),
        };
        let theirs: Vec<&[MemberNumber]> = others.iter().map(|site| site[slot].as_slice()).collect();
        let list = places(first, &own, &theirs);
        Listed::new(list.into_iter(), list.len(), false)
    };
    (0..pool.slots as usize).map(list).collect()
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
    let lists = Lists::elsewhere(&there, &standings, RUNNERS_UP, MOST - 2);
    let spec = TableSpec::of(pool, seed, lists.depth());
    let mut table = |there: &[Candidate]| memo.table(&pool.name, Use::Site(site.to_owned()), &spec, there);
    let after = after_joins(&there, &standings).map(|after| table(&after));
    let table = table(&there);
    let mut list = Vec::with_capacity(MOST);
    (0..)
        .zip(table.owners())
        .map(|(slot, &owner)| {
            let coming = after.as_ref().and_then(|after| after.owners().get(slot as usize)).copied();
            lists.list(slot, owner, table.hops(slot), coming, std::iter::empty(), &mut list);
            list.iter().filter(|i| **i != NONE).map(|i| numbers[*i as usize]).collect()
        })
        .collect()
}

/// Puts a list together: `first` takes new flows (0: nobody does); then `own`, then PoP by PoP as many
/// of `others` as there is room for. It is shared out in turns, so that each PoP's first has a place
/// before any one's second. Of `own` the first [`OWN`] have a place before all of these, and the rest
/// where room is left.
fn places(first: MemberNumber, own: &Listed, others: &[&[MemberNumber]]) -> [MemberNumber; MOST] {
    let mut list = [0; MOST];
    list[0] = first;
    let own = |places| own.cut(places).filter(|m| *m != 0 && *m != first);
    let others: Vec<Vec<MemberNumber>> =
        others.iter().map(|site| site.iter().copied().filter(|m| *m != first).collect()).collect();
    let mut room = MOST - 1 - own(OWN).count();
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
    for (place, member) in list.iter_mut().skip(1).zip(own(OWN + room).chain(theirs.copied())) {
        *place = member;
    }
    list
}

#[cfg(test)]
mod tests;
