//! How long answers took.

use std::time::Duration;

use serde::Serialize;

/// How long each answer took, in microseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies(Vec<u32>);

/// The usual summary, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Quantiles {
    #[serde(rename = "p50_ms")]
    pub(crate) p50: f64,
    #[serde(rename = "p99_ms")]
    pub(crate) p99: f64,
    #[serde(rename = "max_ms")]
    pub(crate) max: f64,
}

/// In milliseconds.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

impl Latencies {
    pub(crate) fn push(&mut self, took: Duration) {
        self.0.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The summary; zeros when nothing was measured.
    pub(crate) fn quantiles(mut self) -> Quantiles {
        self.0.sort_unstable();
        // The smallest value that so many per cent of all values do not exceed.
        let at = |percent: usize| {
            let place = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
            self.0.get(place).map_or(0.0, |micros| f64::from(*micros) / 1_000.0)
        };
        Quantiles { p50: at(50), p99: at(99), max: at(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.clone().quantiles(), Quantiles::default());
        for millis in (1..=200).rev() {
            latencies.push(Duration::from_millis(millis));
        }
        assert_eq!(latencies.quantiles(), Quantiles { p50: 100.0, p99: 198.0, max: 200.0 });
    }
}
