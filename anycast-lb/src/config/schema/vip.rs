//! `[[vip]]`.

use super::words::{HASHES, IDENTITIES, PROTOCOLS};
use crate::config::reader::{Section, label};
use crate::config::report::{At, Report, Spot};
use crate::config::scalar::not_a_host;
use crate::model::{FlowHash, Identity, Protocol, VipKey};

/// A VIP as written.
pub(in crate::config) struct VipDraft {
    /// Where its address stands.
    pub spot: Spot,
    /// Name in messages: `vip 203.0.113.1:443/tcp`.
    pub path: String,
    pub key: VipKey,
    pub pool: Option<At<String>>,
    pub second_chance: bool,
    /// Where it is asked for in so many words.
    pub chance_wanted: Option<Spot>,
    pub hash: FlowHash,
    /// Where QUIC is said to be on.
    pub quic: Option<Spot>,
    pub mss_clamp: bool,
    pub identity: Option<At<Identity>>,
}

pub(super) fn read(root: &Section<'_>, report: &Report<'_>, vips: &mut Vec<VipDraft>) {
    for (i, section) in root.tables("vip").into_iter().enumerate() {
        let section = section.named(label("vip", None::<&str>, i));
        let key = key(&section);
        let path = match &key {
            Some(At { value, .. }) => format!("vip {value}"),
            None => section.path().to_owned(),
        };
        let section = section.named(path);
        let pool = section.string("pool");
        let chance = section.boolean("second_chance");
        let chance_wanted = chance.as_ref().filter(|c| c.value).map(|c| c.spot);
        // Where the file does not say: on for TCP, off for the others.
        let is_tcp = key.as_ref().is_some_and(|k| k.value.protocol == Protocol::Tcp);
        let second_chance = chance.map_or(is_tcp, |c| c.value);
        let hash = hash(&section, key.as_ref().map(|k| k.value));
        let quic = section.boolean("quic").filter(|q| q.value).map(|q| q.spot);
        let clamp = section.boolean("mss_clamp").filter(|b| b.value);
        if let (Some(clamp), Some(key)) = (&clamp, &key)
            && key.value.protocol == Protocol::Udp
        {
            report.notice(
                clamp.spot,
                &section.key("mss_clamp"),
                "has no effect: only TCP has an MSS".to_owned(),
            );
        }
        let mss_clamp = clamp.is_some();
        let identity = section.choice("identity", IDENTITIES);
        let path = section.path().to_owned();
        section.finish();
        if let Some(At { value: key, spot }) = key {
            let draft = VipDraft {
                spot,
                path,
                key,
                pool,
                second_chance,
                chance_wanted,
                hash,
                quic,
                mss_clamp,
                identity,
            };
            vips.push(draft);
        }
    }
}

fn key(section: &Section<'_>) -> Option<At<VipKey>> {
    let address = section.required("address", "address = \"203.0.113.1\"").and_then(|field| {
        let address = field.address("203.0.113.1")?;
        if let Some(reason) = not_a_host(address.value) {
            field.problem(
                format!("{} is {reason}", address.value),
                "write a unicast address that you announce",
            );
            return None;
        }
        Some(address)
    });
    let protocol = section
        .required("protocol", "protocol = \"tcp\", \"udp\" or \"any\"")
        .and_then(|field| field.choice(PROTOCOLS));
    let port = section.field("port").map(|field| {
        let port = field.integer(1..=u64::from(u16::MAX), "1 to 65535, or leave the key out: every port");
        if protocol.as_ref().is_some_and(|p| p.value == Protocol::Any) {
            field.problem(
                "protocol \"any\" has no port",
                "take the port out, or write protocol = \"tcp\" or \"udp\"",
            );
            return None;
        }
        port.and_then(|p| u16::try_from(p.value).ok())
    });
    let (address, protocol) = (address?, protocol?.value);
    let port = match port {
        Some(port) => Some(port?),
        None => None,
    };
    Some(At { value: VipKey { address: address.value, port, protocol }, spot: address.spot })
}

/// With a hash of nothing but the port, a VIP with one port would have one backend for all its packets.
fn hash(section: &Section<'_>, key: Option<VipKey>) -> FlowHash {
    let Some(field) = section.field("hash") else { return FlowHash::default() };
    let hash = field.choice(HASHES).map(|h| h.value).unwrap_or_default();
    let has_ports = |key: VipKey| key.protocol != Protocol::Any && key.port.is_none();
    if hash == FlowHash::DestinationPort && key.is_some_and(|key| !has_ports(key)) {
        field.problem(
            "all packets of this VIP would go to one backend",
            "take the port out and write protocol = \"tcp\" or \"udp\": \"destination-port\" spreads ports",
        );
    }
    hash
}
