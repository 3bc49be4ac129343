//! History as a text, in JSON. What is read may be anything: it is checked before it is believed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anycast_lb_common::abi::PLACEMENT;
use serde::{Deserialize, Serialize};

use super::{Earlier, History, Owning, Past, Record};
use crate::model::TableKind;
use crate::table::MAX_SLOTS;

/// Version of this format.
const VERSION: u32 = 1;
/// Most backends of a pool, and so of a record.
const MOST_BACKENDS: usize = 32_767;

/// Why a text is no history.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// No JSON, or with other keys.
    #[error("it is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
    /// Another release wrote it.
    #[error("it has format {version} and placement {placement}, this release {VERSION} and {PLACEMENT}")]
    Foreign {
        /// Its format.
        version: u32,
        /// The hash and table algorithms that it reckons with.
        placement: u32,
    },
    /// A value that no configuration can have had.
    #[error("it is damaged: pool \"{pool}\" has {what}")]
    Impossible {
        /// The pool.
        pool: String,
        /// The value.
        what: String,
    },
}

/// What comes first, whatever follows.
#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    placement: u32,
}

#[derive(Serialize, Deserialize)]
struct Body {
    #[serde(flatten)]
    head: Head,
    pools: BTreeMap<String, WrittenPast>,
}

#[derive(Serialize, Deserialize)]
struct WrittenPast {
    current: Option<WrittenEarlier>,
    earlier: Vec<WrittenEarlier>,
}

#[derive(Serialize, Deserialize)]
struct WrittenEarlier {
    until: u64,
    lasted: u64,
    #[serde(flatten)]
    record: WrittenRecord,
}

#[derive(Serialize, Deserialize)]
struct WrittenRecord {
    site: String,
    seed: String,
    table: Kind,
    slots: u32,
    margin_ppm: u32,
    /// Address, weight, whether it was fit.
    backends: Vec<(IpAddr, u32, bool)>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Rendezvous,
    Maglev,
}

/// The text of a history.
pub fn write(history: &History) -> String {
    let timed = |e: &Earlier| WrittenEarlier { until: e.until, lasted: e.lasted, record: written(&e.record) };
    let past = |past: &Past| WrittenPast {
        current: past.current.as_ref().map(timed),
        earlier: past.earlier.iter().map(timed).collect(),
    };
    let body = Body {
        head: Head { version: VERSION, placement: PLACEMENT },
        pools: history.pools.iter().map(|(name, p)| (name.clone(), past(p))).collect(),
    };
    // Strings, numbers and lists of them: that cannot fail.
    let mut text = serde_json::to_string(&body).unwrap_or_default();
    text.push('\n');
    text
}

/// The history that a text holds, within the bounds of history.
///
/// # Errors
///
/// It is not one, or not of this release.
pub fn read(text: &str) -> Result<History, FormatError> {
    let Head { version, placement } = serde_json::from_str(text)?;
    if (version, placement) != (VERSION, PLACEMENT) {
        return Err(FormatError::Foreign { version, placement });
    }
    let body: Body = serde_json::from_str(text)?;
    let mut history = History::default();
    for (name, written) in body.pools {
        let read = |e: WrittenEarlier| match checked(e.record) {
            Ok(record) => Ok(Earlier { record, until: e.until, lasted: e.lasted }),
            Err(what) => Err(FormatError::Impossible { pool: name.clone(), what }),
        };
        let current = written.current.map(read).transpose()?;
        let earlier = written.earlier.into_iter().map(read).collect::<Result<_, FormatError>>()?;
        let mut past = Past { current, earlier };
        past.bound();
        history.pools.insert(name, past);
    }
    Ok(history)
}

fn written(record: &Record) -> WrittenRecord {
    WrittenRecord {
        site: record.site.clone(),
        seed: record.seed.clone(),
        table: match record.kind {
            TableKind::Rendezvous => Kind::Rendezvous,
            TableKind::Maglev => Kind::Maglev,
        },
        slots: record.slots,
        margin_ppm: record.margin_ppm,
        backends: record.backends.iter().map(|b| (b.address, b.weight, b.fit)).collect(),
    }
}

/// The record, if tables can be made of it.
fn checked(written: WrittenRecord) -> Result<Record, String> {
    let WrittenRecord { site, seed, table, slots, margin_ppm, backends } = written;
    if !slots.is_power_of_two() || !(2..=MAX_SLOTS).contains(&slots) {
        return Err(format!("{slots} slots"));
    }
    if !(1..=MOST_BACKENDS).contains(&backends.len()) {
        return Err(format!("{} backends", backends.len()));
    }
    let owning = |(address, weight, fit)| Owning { address, weight, fit };
    let mut backends: Vec<Owning> = backends.into_iter().map(owning).collect();
    if let Some(wrong) = backends.iter().find(|b| !(1..=u32::from(u16::MAX)).contains(&b.weight)) {
        return Err(format!("weight {} at {}", wrong.weight, wrong.address));
    }
    backends.sort_unstable();
    if let Some(twice) = backends.windows(2).find(|pair| pair[0].address == pair[1].address) {
        return Err(format!("{} twice", twice[0].address));
    }
    let kind = match table {
        Kind::Rendezvous => TableKind::Rendezvous,
        Kind::Maglev => TableKind::Maglev,
    };
    Ok(Record { site, seed, kind, slots, margin_ppm, backends })
}
