//! Shows instants relative to now.

use std::time::Duration;

use jeton_core::time::Timestamp;

/// `in 12m`, `3h 5m ago`, or `-` for none.
pub(crate) fn relative(instant: Option<Timestamp>, now: Timestamp) -> String {
    match instant {
        None => "-".to_owned(),
        Some(instant) if instant > now => format!("in {}", two_units(instant.since(now))),
        Some(instant) => match two_units(now.since(instant)).as_str() {
            "0s" => "now".to_owned(),
            ago => format!("{ago} ago"),
        },
    }
}

/// The two largest units of a duration.
fn two_units(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let largest = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(units.len() - 1);
    let (size, unit) = units[largest];
    let first = format!("{}{unit}", seconds / size);
    match units.get(largest + 1) {
        Some((next, unit)) if seconds % size >= *next => format!("{first} {}{unit}", seconds % size / next),
        _ => first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_shows_its_two_largest_units() {
        let now = Timestamp::from_secs(1_000_000);
        let at = |offset: i64| relative(Some(Timestamp::from_secs(1_000_000 + offset)), now);
        assert_eq!(at(725), "in 12m 5s");
        assert_eq!(at(-3_600), "1h ago");
        assert_eq!(at(90_061), "in 1d 1h");
        assert_eq!(at(0), "now");
        assert_eq!(relative(None, now), "-");
    }
}
