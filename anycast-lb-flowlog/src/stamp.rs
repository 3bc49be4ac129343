//! Times as the log writes them: RFC 3339, in UTC, always with nine digits, so that they sort as text.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `time` as the log has it: `2026-11-30T16:09:19.123456789Z`. A time that this cannot say, beyond the year
/// 9999, is written as the Unix epoch.
pub fn stamp(time: SystemTime) -> String {
    let [date, clock, fraction] = parts(time);
    let (year, month, day) = (&date[..4], &date[4..6], &date[6..]);
    let (hour, minute, second) = (&clock[..2], &clock[2..4], &clock[4..]);
    format!("{year}-{month}-{day}T{hour}:{minute}:{second}.{fraction}Z")
}

/// `time` for the name of a file: `20261130T160919.123456789Z`.
pub(crate) fn compact(time: SystemTime) -> String {
    let [date, clock, fraction] = parts(time);
    format!("{date}T{clock}.{fraction}Z")
}

/// Reads [`compact`].
pub(crate) fn parse_compact(text: &str) -> Option<SystemTime> {
    if text.len() != "20261130T160919.123456789Z".len() || !text.is_ascii() {
        return None;
    }
    let (date, clock) = text.split_once('T')?;
    let (year, month, day) = (date.get(..4)?, date.get(4..6)?, date.get(6..)?);
    let (hour, minute, rest) = (clock.get(..2)?, clock.get(2..4)?, clock.get(4..)?);
    parse_stamp(&format!("{year}-{month}-{day}T{hour}:{minute}:{rest}"))
}

/// Date, time of day, nanoseconds: digits alone.
fn parts(time: SystemTime) -> [String; 3] {
    let time = utc(time);
    let (date, clock) = (time.date(), time.time());
    [
        format!("{:04}{:02}{:02}", date.year(), u8::from(date.month()), date.day()),
        format!("{:02}{:02}{:02}", clock.hour(), clock.minute(), clock.second()),
        format!("{:09}", clock.nanosecond()),
    ]
}

/// Reads a time of RFC 3339, in whatever zone.
pub fn parse_stamp(text: &str) -> Option<SystemTime> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let nanoseconds = u64::try_from(time.unix_timestamp_nanos()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(nanoseconds))
}

/// Reads a time as people write it, seen from `now`: RFC 3339, `now`, `90s ago` (also `m`, `h`, `d`), or a time
/// of day in UTC, `14:03` or `14:03:05.25`, which is the last one that is not to come.
pub fn moment(text: &str, now: SystemTime) -> Option<SystemTime> {
    let text = text.trim();
    if text == "now" {
        return Some(now);
    }
    if let Some(time) = parse_stamp(text) {
        return Some(time);
    }
    if let Some(ago) = text.strip_suffix("ago") {
        return now.checked_sub(span(ago.trim())?);
    }
    let clock = if text.matches(':').count() == 1 { format!("{text}:00") } else { text.to_owned() };
    let on_day_of = |time| parse_stamp(&format!("{}T{clock}Z", &stamp(time)[..10]));
    let today = on_day_of(now)?;
    if today <= now { Some(today) } else { on_day_of(now.checked_sub(Duration::from_secs(86_400))?) }
}

/// Reads `10m`.
fn span(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let number: u64 = text[..text.len() - unit.len_utf8()].trim_end().parse().ok()?;
    Some(Duration::from_secs(number.checked_mul(seconds)?))
}

fn utc(time: SystemTime) -> OffsetDateTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let nanoseconds = i128::try_from(since.as_nanos()).unwrap_or(0);
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read() {
        let time = SystemTime::UNIX_EPOCH + Duration::new(951_782_399, 5_000);
        assert_eq!(stamp(time), "2000-02-28T23:59:59.000005000Z");
        assert_eq!(parse_stamp(&stamp(time)), Some(time));
        assert_eq!(parse_stamp("2000-02-29T00:59:59.000005+01:00"), Some(time));
        assert_eq!(compact(time), "20000228T235959.000005000Z");
        assert_eq!(parse_compact(&compact(time)), Some(time));
        for wrong in ["", "yesterday", "2000-02-28", "2000-02-30T00:00:00Z", "1969-12-31T23:59:59Z"] {
            assert_eq!(parse_stamp(wrong), None, "{wrong}");
        }
        for wrong in ["", "20000228T235959Z", "20000228T235959.00000500éZ", "20000230T235959.000005000Z"] {
            assert_eq!(parse_compact(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn people_name_times_as_they_like() {
        let now = parse_stamp("2026-11-30T16:09:19Z").unwrap();
        for (text, meant) in [
            ("now", "2026-11-30T16:09:19Z"),
            ("10m ago", "2026-11-30T15:59:19Z"),
            ("2 d ago", "2026-11-28T16:09:19Z"),
            ("14:03:05", "2026-11-30T14:03:05Z"),
            ("14:03", "2026-11-30T14:03:00Z"),
            ("16:09:19", "2026-11-30T16:09:19Z"),
            ("23:59:59.5", "2026-11-29T23:59:59.5Z"),
            ("2026-11-30T14:03:05+02:00", "2026-11-30T12:03:05Z"),
        ] {
            assert_eq!(moment(text, now), parse_stamp(meant), "{text}");
        }
        for wrong in
            ["", "ago", "m ago", "10 ago", "10y ago", "99999999999999999999s ago", "é ago", "25:00", "noon"]
        {
            assert_eq!(moment(wrong, now), None, "{wrong}");
        }
    }
}
