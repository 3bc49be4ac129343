//! What RPKI validators say.

use std::net::SocketAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::AlarmRow;

/// How the RPKI guard is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RpkiState {
    /// By name.
    pub validators: Vec<ValidatorRow>,
    /// Prefixes that are looked up.
    pub prefixes: Vec<OriginRow>,
    /// What is wrong now.
    pub alarms: Vec<AlarmRow>,
}

/// A validator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidatorRow {
    /// Its name.
    pub name: String,
    /// Where it speaks RTR.
    pub address: SocketAddr,
    /// Whether it answers; null until that is known.
    pub live: Option<bool>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// How many VRPs it has.
    pub vrps: Option<usize>,
    /// Serial number of its data.
    pub serial: Option<u32>,
    /// How long ago it confirmed them.
    pub confirmed_seconds_ago: Option<u64>,
    /// For how long they count without another word from it; null = it gave none, or they have expired.
    pub expires_in_seconds: Option<u64>,
}

/// A prefix that is looked up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginRow {
    /// The prefix.
    pub prefix: IpNet,
    /// Its `origin_as`.
    pub origin_as: u32,
    /// `warn` or `enforce`.
    pub rpki: String,
    /// What the validators say together: `valid`, `not found`, `invalid`, `disagreement` or `unknown`.
    pub verdict: String,
    /// Whether RPKI lets it be announced.
    pub permitted: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// When it will be withheld, if nothing changes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub withheld_in_seconds: Option<u64>,
    /// What each validator says whose answer counts.
    pub answers: Vec<AnswerRow>,
}

/// What a validator says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerRow {
    /// Its name.
    pub validator: String,
    /// `valid`, `not found` or `invalid`; null = it has no answer that counts.
    pub validity: Option<String>,
    /// What it has that covers the prefix, as `203.0.113.0/24-25 AS64500`: up to which length whom it allows.
    pub covering: Vec<String>,
}

/// Query of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckQuery {
    /// The prefix.
    pub prefix: IpNet,
    /// Its origin.
    pub origin_as: u32,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RpkiCheck {
    /// The prefix.
    pub prefix: IpNet,
    /// Its origin.
    pub origin_as: u32,
    /// As [`OriginRow::verdict`].
    pub verdict: String,
    /// What each validator says.
    pub answers: Vec<AnswerRow>,
}
