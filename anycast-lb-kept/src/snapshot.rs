//! All that decides about a packet, at one moment.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anycast_lb_common::abi::{
    ADDRESS_SLOTS, AddressEntry, Buffer, MAX_MEMBERS, MAX_POOLS, MAX_PREFIXES, MAX_VIPS, Member,
    MemberNumber, PLACEMENT, PrefixEntry, SERVICE_SLOTS, ServiceEntry, VERSION, VipEntry, VipNumber,
};

use crate::bytes::{In, Out};

/// How a daemon found the data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// It was there and had gone on without a daemon.
    Adopted,
    /// There was none.
    Fresh,
}

/// What the maps held from `time` on.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Since when.
    pub time: SystemTime,
    /// Number of the tables, as the flow log has it.
    pub version: u32,
    /// The first of a daemon.
    pub beginning: Option<Beginning>,
    /// With it: when an earlier daemon was last there, with all written. Without it: since when something else was
    /// in force that could not be written. Who writes the files knows.
    pub last_sign: Option<SystemTime>,
    /// `Control::active`.
    pub active: u64,
    /// Header of the half in force.
    pub header: Buffer,
    /// Addresses of the half in force, with their places in it.
    pub addresses: Vec<(u32, AddressEntry)>,
    /// Services of the half in force, with their places in it.
    pub services: Vec<(u32, ServiceEntry)>,
    /// Prefixes of the half in force.
    pub prefixes: Vec<PrefixEntry>,
    /// VIPs.
    pub vips: Vec<Vip>,
    /// Pools.
    pub pools: Vec<Pool>,
    /// Members.
    pub members: Vec<(MemberNumber, Member)>,
}

/// A VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vip {
    /// Its number.
    pub number: VipNumber,
    /// Its entry.
    pub entry: VipEntry,
    /// What it is called.
    pub name: String,
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its number.
    pub number: u16,
    /// What it is called.
    pub name: String,
    /// Its table; none while it has none.
    pub table: Option<Table>,
    /// Its table under the previous seed.
    pub previous: Option<Table>,
}

/// A table: 2^bits slots of so many words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// See there.
    pub bits: u8,
    /// 1 or 2.
    pub words: u8,
    /// The slots' words.
    pub slots: Arc<[u64]>,
}

/// Names the file of a table, by what is in it.
pub(crate) type TableId = [u64; 2];

impl Table {
    /// Two tables of one ID are the same but for a chance of 1 in 2^128.
    pub(crate) fn id(&self) -> TableId {
        [0_u64, 1].map(|salt| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(salt);
            hasher.write(bytemuck::cast_slice(&self.slots));
            hasher.finish()
        })
    }

    fn is_sound(&self) -> bool {
        (1..=24).contains(&self.bits)
            && matches!(self.words, 1 | 2)
            && self.slots.len() == usize::from(self.words) << self.bits
    }
}

/// Bytes that are no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damaged {
    /// Too few.
    #[error("it is cut short")]
    Short,
    /// Something else.
    #[error("it is none of this program's files")]
    Foreign,
    /// Of another release.
    #[error("another release kept it (ABI {0}, placement {1}; here {VERSION}, {PLACEMENT})")]
    Release(u32, u32),
    /// A name that is none.
    #[error("a name in it is no text")]
    Text,
    /// Numbers that the tables do not have.
    #[error("a number in it is out of range")]
    Range,
    /// The table is not there.
    #[error("a table that it names is missing or damaged")]
    Table,
}

/// Begins each file.
const MAGIC: [u8; 8] = *b"alb-kept";

/// Where the names of tables end that each file begins with.
pub(crate) fn table_ids(bytes: &mut In<'_>) -> Result<Vec<TableId>, Damaged> {
    if bytes.take::<[u8; 8]>()? != MAGIC {
        return Err(Damaged::Foreign);
    }
    let (version, placement) = (bytes.take()?, bytes.take()?);
    if (version, placement) != (VERSION, PLACEMENT) {
        return Err(Damaged::Release(version, placement));
    }
    (0..bytes.count(size_of::<TableId>())?).map(|_| bytes.take()).collect()
}

impl Snapshot {
    /// All tables.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Table> {
        self.pools.iter().flat_map(|pool| pool.table.iter().chain(&pool.previous))
    }

    /// The file, which names its tables by their IDs, in the order of [`Self::tables`].
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Out::default();
        out.put(&MAGIC);
        out.put(&VERSION);
        out.put(&PLACEMENT);
        out.count(self.tables().count());
        self.tables().for_each(|table| out.put(&table.id()));
        out.put(&nanoseconds(self.time));
        out.put(&self.last_sign.map_or(0, nanoseconds));
        out.put(&self.version);
        out.put(&match self.beginning {
            None => 0_u8,
            Some(Beginning::Adopted) => 1,
            Some(Beginning::Fresh) => 2,
        });
        out.put(&self.active);
        out.put(&self.header);
        out.count(self.addresses.len());
        for (place, entry) in &self.addresses {
            out.put(place);
            out.put(entry);
        }
        out.count(self.services.len());
        for (place, entry) in &self.services {
            out.put(place);
            out.put(entry);
        }
        out.count(self.prefixes.len());
        self.prefixes.iter().for_each(|prefix| out.put(prefix));
        out.count(self.vips.len());
        for vip in &self.vips {
            out.put(&vip.number);
            out.put(&vip.entry);
            out.text(&vip.name);
        }
        out.count(self.pools.len());
        for pool in &self.pools {
            out.put(&pool.number);
            out.text(&pool.name);
            for table in [&pool.table, &pool.previous] {
                out.put(&table.as_ref().map_or([0, 0], |table| [table.bits, table.words]));
            }
        }
        out.count(self.members.len());
        for (number, member) in &self.members {
            out.put(number);
            out.put(member);
        }
        out.0
    }

    /// Reads a file; `table` finds the words of a table.
    pub(crate) fn from_bytes(
        bytes: &[u8],
        mut table: impl FnMut(TableId) -> Option<Arc<[u64]>>,
    ) -> Result<Self, Damaged> {
        let mut bytes = In(bytes);
        let mut ids = table_ids(&mut bytes)?.into_iter();
        let moment =
            |nanoseconds| UNIX_EPOCH.checked_add(Duration::from_nanos(nanoseconds)).ok_or(Damaged::Range);
        let time = moment(bytes.take()?)?;
        let last_sign = Some(bytes.take()?).filter(|sign| *sign != 0).map(moment).transpose()?;
        let version = bytes.take()?;
        let beginning = match bytes.take::<u8>()? {
            0 => None,
            1 => Some(Beginning::Adopted),
            _ => Some(Beginning::Fresh),
        };
        let (active, header) = (bytes.take()?, bytes.take()?);
        let addresses = places(&mut bytes, ADDRESS_SLOTS)?;
        let services = places(&mut bytes, SERVICE_SLOTS)?;
        let prefixes: Vec<PrefixEntry> =
            (0..bytes.count(size_of::<PrefixEntry>())?).map(|_| bytes.take()).collect::<Result<_, _>>()?;
        let vips = (0..bytes.count(14)?).map(|_| {
            let (number, entry, name) = (bytes.take()?, bytes.take()?, bytes.text()?);
            if u32::from(number) < MAX_VIPS { Ok(Vip { number, entry, name }) } else { Err(Damaged::Range) }
        });
        let vips = vips.collect::<Result<_, _>>()?;
        let pools = (0..bytes.count(10)?).map(|_| {
            let (number, name) = (bytes.take()?, bytes.text()?);
            let mut next = || {
                let [bits, words] = bytes.take::<[u8; 2]>()?;
                if bits == 0 {
                    return Ok(None);
                }
                let slots = ids.next().and_then(&mut table).ok_or(Damaged::Table)?;
                Some(Table { bits, words, slots }).filter(Table::is_sound).ok_or(Damaged::Table).map(Some)
            };
            let pool = Pool { number, name, table: next()?, previous: next()? };
            if u32::from(number) < MAX_POOLS { Ok(pool) } else { Err(Damaged::Range) }
        });
        let pools = pools.collect::<Result<_, _>>()?;
        let members = (0..bytes.count(size_of::<Member>())?).map(|_| Ok((bytes.take()?, bytes.take()?)));
        let members: Vec<(MemberNumber, Member)> = members.collect::<Result<_, Damaged>>()?;
        let in_range = members.iter().all(|(number, _)| u32::from(*number) < MAX_MEMBERS)
            && prefixes.len() <= MAX_PREFIXES as usize;
        if !in_range {
            return Err(Damaged::Range);
        }
        Ok(Snapshot {
            time,
            version,
            beginning,
            last_sign,
            active,
            header,
            addresses,
            services,
            prefixes,
            vips,
            pools,
            members,
        })
    }
}

/// Since 1970, until 2554.
fn nanoseconds(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

fn places<T: bytemuck::AnyBitPattern>(bytes: &mut In<'_>, slots: u32) -> Result<Vec<(u32, T)>, Damaged> {
    let number = bytes.count(size_of::<T>())?;
    let place = |_| {
        let (place, entry) = (bytes.take()?, bytes.take()?);
        if place < slots { Ok((place, entry)) } else { Err(Damaged::Range) }
    };
    (0..number).map(place).collect()
}

#[cfg(test)]
pub(crate) mod tests;
