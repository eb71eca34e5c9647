//! Durations as people write them: `250ms`, `30s`, `10m`, `12h`, `90d`, `1h30m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A duration that is read from, and written as, text such as `90d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DurationText(pub Duration);

/// The text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a duration: write whole numbers with a unit, such as 250ms, 30s, 10m, 12h, 90d or 1h30m"
)]
pub struct InvalidDuration {
    text: String,
}

/// Units and how many milliseconds each has, longest first.
const UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl FromStr for DurationText {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        let invalid = || InvalidDuration { text: text.chars().take(40).collect() };
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut millis: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let count: u64 = rest[..digits].parse().map_err(|_| invalid())?;
            rest = &rest[digits..];
            let letters = rest.bytes().take_while(u8::is_ascii_lowercase).count();
            let unit = UNITS.iter().find(|(unit, _)| *unit == &rest[..letters]).ok_or_else(invalid)?;
            millis =
                count.checked_mul(unit.1).and_then(|more| millis.checked_add(more)).ok_or_else(invalid)?;
            rest = &rest[letters..];
        }
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if millis == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in &UNITS[1..] {
            if millis >= *size {
                write!(f, "{}{unit}", millis / size)?;
                millis %= size;
            }
        }
        Ok(())
    }
}

impl Serialize for DurationText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("90d", 7_776_000_000),
            ("0s", 0),
            ("2w", 1_209_600_000),
        ] {
            assert_eq!(text.parse::<DurationText>().unwrap().0, Duration::from_millis(millis), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_cure() {
        for text in
            ["", "5", "5 s", "-5s", "5y", "s", "1.5h", "99999999999999999999s", "99999999999999999d", "5ß"]
        {
            let error = text.parse::<DurationText>().unwrap_err();
            assert!(error.to_string().contains("such as 250ms"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_duration_survives_its_text(millis in 0_u64..=u64::MAX / 2) {
            let duration = DurationText(Duration::from_millis(millis));
            prop_assert_eq!(duration.to_string().parse::<DurationText>().unwrap(), duration);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,20}") {
            let _ = text.parse::<DurationText>();
        }
    }
}
