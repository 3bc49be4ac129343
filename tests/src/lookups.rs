//! Tables that count how often they are looked into.

use std::cell::Cell;

use anycast_lb_common::abi::{
    AddressEntry, Buffer, HopLimits, Member, MemberNumber, PrefixEntry, Program, ServiceEntry, Slot,
    VipNumber,
};
use anycast_lb_common::host::{Frame, TableSet};
use anycast_lb_common::tables::Tables;
use anycast_lb_common::{backend, ingress};

struct Counted<'a> {
    tables: &'a TableSet,
    lookups: Cell<u64>,
}

/// Look-ups, the clock included, that `program` needs for `input`.
pub fn count(program: Program, tables: &TableSet, input: &[u8]) -> u64 {
    let counted = Counted { tables, lookups: Cell::new(0) };
    let mut frame = Frame::new(input);
    match program {
        Program::Ingress => ingress::run(&mut frame, &counted),
        Program::Backend => backend::run(&mut frame, &counted),
    };
    counted.lookups.get()
}

impl Counted<'_> {
    fn look(&self) -> &TableSet {
        self.lookups.set(self.lookups.get() + 1);
        self.tables
    }
}

impl Tables for Counted<'_> {
    fn active(&self) -> Option<(u64, &Buffer)> {
        self.look().active()
    }

    fn address(&self, index: u32) -> Option<&AddressEntry> {
        self.look().address(index)
    }

    fn service(&self, index: u32) -> Option<&ServiceEntry> {
        self.look().service(index)
    }

    fn prefix(&self, index: u32) -> Option<&PrefixEntry> {
        self.look().prefix(index)
    }

    fn vip(&self, number: VipNumber) -> Option<u64> {
        self.look().vip(number)
    }

    fn pool_table(&self, pool: u16) -> Option<u64> {
        self.look().pool_table(pool)
    }

    fn pool_previous(&self, pool: u16) -> Option<u64> {
        self.look().pool_previous(pool)
    }

    fn slot(&self, index: u32) -> Option<Slot> {
        self.look().slot(index)
    }

    fn member(&self, number: MemberNumber) -> Option<&Member> {
        self.look().member(number)
    }

    fn fragment(&self, index: u32) -> Option<[u64; 2]> {
        self.look().fragment(index)
    }

    fn set_fragment(&self, index: u32, words: [u64; 2]) {
        self.look().set_fragment(index, words);
    }

    fn seconds(&self) -> u64 {
        self.look().seconds()
    }

    fn admit(&self, word: u32, total: u32, limits: &HopLimits) -> bool {
        self.look().admit(word, total, limits)
    }
}
