//! `[[rtr]]`, and what a `[[prefix]]` says of its origin.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::words::RPKI_MODES;
use super::{ASN, ASN_HINT, word};
use crate::config::reader::{Section, label};
use crate::config::report::{At, Spot};
use crate::model::RpkiMode;

/// How long a prefix is invalid before it is withheld, unless its `rpki_hold` says otherwise.
pub(in crate::config) const DEFAULT_HOLD: Duration = Duration::from_secs(300);
const LONGEST_NAME: usize = 64;

/// A `[[rtr]]`.
pub(in crate::config) struct ValidatorDraft {
    pub name: Option<String>,
    pub address: SocketAddr,
    pub spot: Spot,
}

/// What a `[[prefix]]` says of its origin.
pub(in crate::config) struct OriginDraft {
    pub prefix: IpNet,
    pub path: String,
    pub spot: Spot,
    pub origin: Option<u32>,
    pub mode: Option<At<RpkiMode>>,
    pub hold: Option<At<Duration>>,
}

pub(super) fn validators(root: &Section<'_>, out: &mut Vec<ValidatorDraft>) {
    for (i, section) in root.tables("rtr").into_iter().enumerate() {
        let section = match section.peek("address") {
            Some(address) => section.named(format!("rtr {address}")),
            None => section.named(label("rtr", None::<&str>, i)),
        };
        let name = section.field("name").and_then(|field| word(&field, LONGEST_NAME, true));
        let address = section
            .required("address", "address = \"127.0.0.1:8282\"")
            .and_then(|_| section.socket_address("address"));
        let spot = section.spot();
        section.finish();
        if let Some(address) = address {
            out.push(ValidatorDraft { name: name.map(|n| n.value), address: address.value, spot });
        }
    }
}

/// The keys of a `[[prefix]]` about its origin, which are looked at whether or not the prefix is one.
pub(super) fn origin(section: &Section<'_>, prefix: Option<IpNet>) -> Option<OriginDraft> {
    let origin = section.integer("origin_as", ASN, ASN_HINT);
    let mode = section.choice("rpki", RPKI_MODES);
    let hold = section.duration("rpki_hold");
    Some(OriginDraft {
        prefix: prefix?,
        path: section.path().to_owned(),
        spot: section.spot(),
        origin: origin.and_then(|asn| u32::try_from(asn.value).ok()),
        mode,
        hold,
    })
}
