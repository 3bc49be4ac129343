//! `[bmp]`

use super::{ASN, ASN_HINT};
use crate::config::reader::Section;
use crate::config::report::{At, Spot};
use crate::model::Bmp;

/// `[bmp]`, and where it stands.
pub(in crate::config) type BmpDraft = At<Bmp>;

pub(super) fn read(root: &Section<'_>) -> Option<BmpDraft> {
    let section = root.table("bmp")?;
    let listen = section
        .required("listen", "listen = \"10.0.0.2:11019\"")
        .and_then(|_| section.socket_address("listen"));
    let allowed = section.list("allowed", |entry| Some(entry.network("10.0.0.0/24")?.value));
    let own_as = section
        .list("own_as", |entry| entry.integer(ASN, ASN_HINT).and_then(|asn| u32::try_from(asn.value).ok()));
    let spot: Spot = section.spot();
    section.finish();
    let value = Bmp {
        listen: listen?.value,
        allowed: allowed.map(|a| a.value).unwrap_or_default(),
        own_as: own_as.map(|a| a.value).unwrap_or_default(),
    };
    Some(At { value, spot })
}
