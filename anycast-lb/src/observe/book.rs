//! What the numbers in events stand for.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anycast_lb_common::abi::{MemberNumber, TableRef, VipNumber};

use crate::model::VipKey;

/// Versions of tables whose names are kept: events of older ones have been read long ago.
const KEPT: usize = 16;

/// A VIP as events number it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedVip {
    /// The VIP.
    pub key: VipKey,
    /// Its pool.
    pub pool: Arc<str>,
    /// The pool's table, for the slot of a hash.
    pub table: TableRef,
}

/// The names of one version of the tables.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// [`Event::version`](anycast_lb_common::abi::Event::version).
    pub version: u32,
    /// The node that reports.
    pub node: String,
    /// Its PoP; may be empty.
    pub pop: String,
    /// VIPs by number.
    pub vips: HashMap<VipNumber, NamedVip>,
    /// Pools and backends by number.
    pub members: HashMap<MemberNumber, (Arc<str>, IpAddr)>,
}

impl Book {
    /// The slot of a flow's hash in the table of a VIP's pool.
    pub fn slot(&self, vip: VipNumber, hash: u64) -> Option<u32> {
        let table = self.vips.get(&vip)?.table;
        (table.bits != 0 && hash != 0).then(|| table.slot(hash))
    }
}

/// The books of late; a number may stand for something else in the next version.
#[derive(Clone, Debug, Default)]
pub struct Books(Arc<Mutex<VecDeque<Arc<Book>>>>);

impl Books {
    /// A new version.
    pub fn add(&self, book: Book) {
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        books.retain(|known| known.version != book.version);
        books.push_back(Arc::new(book));
        if books.len() > KEPT {
            books.pop_front();
        }
    }

    /// The book of `version`, or the newest if that one is not kept.
    pub fn of(&self, version: u32) -> Option<Arc<Book>> {
        let books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        books.iter().rev().find(|book| book.version == version).or_else(|| books.back()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_as_its_version_meant_it() {
        let books = Books::default();
        assert!(books.of(1).is_none());
        for version in 1..=KEPT as u32 + 1 {
            let members = HashMap::from([(1, ("web".into(), IpAddr::from([10, 0, 0, version as u8])))]);
            books.add(Book { version, members, ..Book::default() });
        }
        let backend = |version| books.of(version).and_then(|b| b.members.get(&1).map(|m| m.1));
        assert_eq!(backend(5), Some(IpAddr::from([10, 0, 0, 5])));
        // No longer kept, and not known yet: the newest is the best guess.
        let newest = Some(IpAddr::from([10, 0, 0, KEPT as u8 + 1]));
        assert_eq!(backend(1), newest);
        assert_eq!(backend(99), newest);
    }
}
