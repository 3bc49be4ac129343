//! What can be refused about a configuration before a byte of the maps changes.

/// Why a configuration does not fit into the maps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Numbers ran out.
    #[error(
        "too many {what}: {needed} new ones, but only {free} of {limit} numbers are free; remove some first \
         (what is replaced keeps its number until the change is done, so both must fit)"
    )]
    TooMany {
        /// VIPs, pools and so on.
        what: &'static str,
        /// How many new things want a number.
        needed: usize,
        /// How many numbers are free.
        free: usize,
        /// How many there are in all.
        limit: u32,
    },
    /// More prefixes than the prefix table holds.
    #[error(
        "{wanted} prefixes (`[[prefix]]` or `allowed_senders`), but {limit} is the most; merge some into shorter ones"
    )]
    TooManyPrefixes {
        /// How many are configured.
        wanted: usize,
        /// How many fit.
        limit: u32,
    },
    /// More addresses than the address table holds.
    #[error(
        "{wanted} addresses (VIPs and the host's own together), but {limit} is the most; \
         use fewer VIP addresses or remove addresses from this host's interfaces"
    )]
    TooManyAddresses {
        /// How many there are.
        wanted: usize,
        /// How many fit.
        limit: usize,
    },
    /// More services and servers than the service table holds.
    #[error(
        "{wanted} VIPs with a port and backends of VIPs with `quic = true` together, but {limit} is the most; \
         use fewer backends in pools of QUIC"
    )]
    TooManyServers {
        /// How many there are.
        wanted: usize,
        /// How many fit.
        limit: usize,
    },
    /// No room for a table.
    #[error(
        "no room for the table of pool \"{pool}\": it needs {needed} words in one piece, {free} are free in all; \
         lower `slots` of this or other pools, or change fewer pools at once \
         (a slot takes one word, or two where flows are rescued; a table that is replaced keeps its words \
         until the change is done)"
    )]
    ArenaFull {
        /// The pool.
        pool: String,
        /// Words needed.
        needed: u64,
        /// Words free.
        free: u64,
    },
    /// Two names have one hash.
    #[error("\"{first}\" and \"{second}\" have the same 64-bit hash; rename one of the pools")]
    Collision {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// Every salt left an address or a service without a place.
    #[error("the VIPs find no place in the service tables ({tries} salts tried); remove some VIPs")]
    NoSalt {
        /// How many salts were tried.
        tries: u64,
    },
    /// A VIP names a pool that the configuration does not have.
    #[error("VIP {vip} names the pool \"{pool}\", which does not exist")]
    UnknownPool {
        /// The VIP.
        vip: String,
        /// The name.
        pool: String,
    },
}
