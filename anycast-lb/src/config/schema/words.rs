//! The words of keys that take one of several.

use crate::config::LogFormat;
use crate::config::reader::Words;
use crate::model::{
    BackendState, Encapsulation, FlowHash, Identity, Protocol, Role, RpkiMode, TableKind, XdpMode,
};

pub(crate) const ROLES: &Words<Role> = &[("ingress", Role::Ingress), ("backend", Role::Backend)];
pub(crate) const MODES: &Words<XdpMode> =
    &[("auto", XdpMode::Auto), ("native", XdpMode::Native), ("generic", XdpMode::Generic)];
pub(crate) const ENCAPSULATIONS: &Words<Encapsulation> =
    &[("gue", Encapsulation::Gue), ("ipip", Encapsulation::Ipip), ("l2", Encapsulation::L2)];
pub(crate) const TABLES: &Words<TableKind> =
    &[("rendezvous", TableKind::Rendezvous), ("maglev", TableKind::Maglev)];
pub(crate) const STATES: &Words<BackendState> = &[
    ("filling", BackendState::Filling),
    ("active", BackendState::Active),
    ("draining", BackendState::Draining),
];
pub(crate) const PROTOCOLS: &Words<Protocol> = &[
    (Protocol::Tcp.word(), Protocol::Tcp),
    (Protocol::Udp.word(), Protocol::Udp),
    (Protocol::Any.word(), Protocol::Any),
];
pub(crate) const HASHES: &Words<FlowHash> = &[
    (FlowHash::FiveTuple.word(), FlowHash::FiveTuple),
    (FlowHash::Source.word(), FlowHash::Source),
    (FlowHash::SourceAndPort.word(), FlowHash::SourceAndPort),
    (FlowHash::DestinationPort.word(), FlowHash::DestinationPort),
];
pub(crate) const IDENTITIES: &Words<Identity> = &[
    (Identity::Off.word(), Identity::Off),
    (Identity::Node.word(), Identity::Node),
    (Identity::Backend.word(), Identity::Backend),
];
pub(crate) const LOG_FORMATS: &Words<LogFormat> =
    &[("auto", LogFormat::Auto), ("human", LogFormat::Human), ("json", LogFormat::Json)];
pub(crate) const RPKI_MODES: &Words<RpkiMode> = &[
    (RpkiMode::Off.word(), RpkiMode::Off),
    (RpkiMode::Warn.word(), RpkiMode::Warn),
    (RpkiMode::Enforce.word(), RpkiMode::Enforce),
];
/// Whether unmatched packets are passed.
pub(crate) const UNMATCHED: &Words<bool> = &[("drop", false), ("pass", true)];

/// The word of a value.
pub(crate) fn word_of<T: PartialEq>(words: &Words<T>, value: &T) -> &'static str {
    words.iter().find(|(_, v)| v == value).map_or("", |(word, _)| word)
}
