//! `[flow_log]`

use crate::config::reader::Section;
use crate::model::FlowLog;

/// Bytes of all files at least: below this a busy minute does not fit.
const LEAST_BYTES: u64 = 1 << 20;
/// Records a second at most: what a ring of the data plane is emptied at.
const MOST_RECORDS: u64 = 1_000_000;

/// `[flow_log]` of the main file; the section alone turns it on.
pub(super) fn read(root: &Section<'_>) -> Option<FlowLog> {
    let section = root.table("flow_log")?;
    let default = FlowLog::default();
    let number = |key, range, hint| section.integer(key, range, hint).map(|n| n.value);
    let sample = number(
        "sample",
        1..=u64::from(u32::MAX),
        "one of how many packets that neither begin nor end a flow is logged, from 1; leave it out for none",
    );
    let per_second = number("per_second", 1..=MOST_RECORDS, "records a second at most, from 1 to 1000000");
    let max_bytes =
        number("max_bytes", LEAST_BYTES..=i64::MAX as u64, "bytes of all files together, from 1048576");
    let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let log = FlowLog {
        sample: sample.map_or(default.sample, narrow),
        per_second: per_second.map_or(default.per_second, narrow),
        max_bytes: max_bytes.unwrap_or(default.max_bytes),
        ipfix: section.socket_address("ipfix").map(|address| address.value),
    };
    section.finish();
    Some(log)
}
