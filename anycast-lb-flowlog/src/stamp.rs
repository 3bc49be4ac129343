//! Times as the log writes them: RFC 3339, in UTC, always with nine digits, so that they sort as text.

use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `time` as the log has it: `2026-11-30T16:09:19.123456789Z`. A time that this cannot say, beyond the year
/// 9999, is written as the Unix epoch.
pub fn stamp(time: SystemTime) -> String {
    let time = utc(time);
    let (date, clock) = (time.date(), time.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second(),
        clock.nanosecond()
    )
}

/// Reads a time of RFC 3339, in whatever zone.
pub fn parse_stamp(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from)
}

fn utc(time: SystemTime) -> OffsetDateTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let nanoseconds = i128::try_from(since.as_nanos()).unwrap_or(0);
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_written_and_read() {
        let time = SystemTime::UNIX_EPOCH + Duration::new(951_782_399, 5_000);
        assert_eq!(stamp(time), "2000-02-28T23:59:59.000005000Z");
        assert_eq!(parse_stamp(&stamp(time)), Some(time));
        assert_eq!(parse_stamp("2000-02-29T00:59:59.000005+01:00"), Some(time));
        for wrong in ["", "yesterday", "2000-02-28", "2000-02-30T00:00:00Z"] {
            assert_eq!(parse_stamp(wrong), None, "{wrong}");
        }
    }
}
