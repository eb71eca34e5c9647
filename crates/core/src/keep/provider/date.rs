//! Dates in replies and headers, in the forms that servers write.

use jiff::civil::DateTime;
use jiff::fmt::{rfc2822, strtime};
use jiff::tz::TimeZone;

use super::fault::Flaw;
use crate::time::Timestamp;

/// How far a local time is ahead of UTC, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ZoneOffset(i64);

impl ZoneOffset {
    /// Reads `UTC`, or an offset such as `+03:30`.
    pub(super) fn parse(text: &str) -> Result<Self, Flaw> {
        let zone = if text == "UTC" { "Z" } else { text };
        let epoch = Timestamp::parse_rfc3339(&format!("1970-01-01T00:00:00{zone}"));
        let offset = epoch.filter(|_| zone == text || zone == "Z").map(|local| Self(-local.as_secs()));
        offset.ok_or_else(|| {
            Flaw::new(format!("`{text}` is no zone: write `UTC`, or an offset such as `+03:30`"))
        })
    }

    /// The instant whose UTC digits are the local ones of `at`.
    pub(super) fn local(self, at: Timestamp) -> Timestamp {
        Timestamp::from_micros(at.as_micros().saturating_add(self.0.saturating_mul(1_000_000)))
    }
}

/// What a text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DateReading {
    pub(super) at: Timestamp,
    /// It has no zone of its own.
    pub(super) zone_assumed: bool,
}

/// Reads a date as RFC 3339 or ISO 8601 write it, with `T` or a space before the time, or as HTTP does. A date without a
/// zone is taken for local time of `zone`, else for UTC.
pub(super) fn read_date(text: &str, zone: Option<ZoneOffset>) -> Option<DateReading> {
    let zoned = |at| DateReading { at, zone_assumed: false };
    if let Some(at) = Timestamp::parse_rfc3339(text).or_else(|| http_date(text)) {
        return Some(zoned(at));
    }
    let mut words = text.split_whitespace().peekable();
    let mut civil = words.next()?.to_owned();
    if let Some(time) = words.next_if(|word| word.starts_with(|first: char| first.is_ascii_digit())) {
        civil = format!("{civil}T{time}");
    }
    let local = civil.parse::<DateTime>().ok()?;
    let rest: Vec<_> = words.collect();
    let is_utc = |word: &&str| ["UTC", "GMT", "Z"].iter().any(|utc| word.eq_ignore_ascii_case(utc));
    match rest.as_slice() {
        [] => {
            let ZoneOffset(ahead) = zone.unwrap_or(ZoneOffset(0));
            let at = in_utc(local)?.as_micros().saturating_sub(ahead.saturating_mul(1_000_000));
            Some(DateReading { at: Timestamp::from_micros(at), zone_assumed: zone.is_none() })
        }
        [word] if is_utc(word) => in_utc(local).map(zoned),
        // Some languages print the offset and then its name.
        [offset] | [offset, _] if offset.starts_with(['+', '-']) => {
            Timestamp::parse_rfc3339(&format!("{civil}{offset}")).map(zoned)
        }
        _ => None,
    }
}

/// Reads a date of HTTP: the form that senders write, and the two older ones that receivers must accept (RFC 9110, section 5.6.7).
pub(super) fn http_date(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(zoned) = rfc2822::parse(text) {
        return Some(Timestamp::from_micros(zoned.timestamp().as_microsecond()));
    }
    ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
        .iter()
        .find_map(|form| strtime::parse(form, text).ok()?.to_datetime().ok())
        .and_then(in_utc)
}

fn in_utc(local: DateTime) -> Option<Timestamp> {
    let zoned = local.to_zoned(TimeZone::UTC).ok()?;
    Some(Timestamp::from_micros(zoned.timestamp().as_microsecond()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-11-27 19:00:00 UTC.
    const AT: i64 = 1_795_806_000;

    fn seconds(text: &str, zone: Option<&str>) -> Option<(i64, bool)> {
        let reading = read_date(text, zone.map(|zone| ZoneOffset::parse(zone).unwrap()))?;
        Some((reading.at.as_secs() - AT, reading.zone_assumed))
    }

    #[test]
    fn a_date_is_read_in_every_form_that_servers_write() {
        for text in [
            "2026-11-27T19:00:00Z",
            "2026-11-27T19:00:00.000+00:00",
            "2026-11-27t19:00:00z",
            "2026-11-27 22:00:00+03:00",
            "2026-11-27 22:00:00 +0300",
            "2026-11-27 19:00:00 +0000 UTC",
            "2026-11-27 19:00:00 UTC",
            " 2026-11-27T19:00Z ",
            "20261127T190000Z",
            "Fri, 27 Nov 2026 19:00:00 GMT",
            "Fri, 27 Nov 2026 22:00:00 +0300",
            "Friday, 27-Nov-26 19:00:00 GMT",
            "Fri Nov 27 19:00:00 2026",
        ] {
            assert_eq!(seconds(text, Some("+05:00")), Some((0, false)), "{text}");
        }
    }

    #[test]
    fn a_date_without_a_zone_is_local_time_of_the_files_zone_else_utc() {
        for text in
            ["2026-11-27 19:00:00", "2026-11-27T19:00:00", "2026-11-27T19:00:00.25", "2026-11-27 19:00"]
        {
            assert_eq!(seconds(text, None), Some((0, true)), "{text}");
            assert_eq!(seconds(text, Some("UTC")), Some((0, false)), "{text}");
            assert_eq!(seconds(text, Some("+03:30")), Some((-12_600, false)), "{text}");
            assert_eq!(seconds(text, Some("-0500")), Some((18_000, false)), "{text}");
        }
        assert_eq!(seconds("2026-11-27", None), Some((-68_400, true)), "its day begins then");
    }

    #[test]
    fn what_is_no_date_is_not_guessed() {
        for text in [
            "",
            "soon",
            "3600",
            "27/11/2026 19:00",
            "2026-11-27 19:00:00 MSK",
            "2026-13-27 19:00:00",
            "19:00",
        ] {
            assert_eq!(read_date(text, None), None, "{text}");
        }
        for zone in ["", "MSK", "3", "+3", "Z0", "Europe/Moscow", "+99:00"] {
            assert!(ZoneOffset::parse(zone).is_err(), "{zone}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,40}") {
            let _ = read_date(&text, None);
        }
    }
}
