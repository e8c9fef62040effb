//! Figures per second: averages over the last samples of counters.

use crate::limits::RATE_SAMPLES;

/// The last samples of three counters: commands, bytes in, bytes out.
#[derive(Debug, Default)]
pub struct Rates {
    /// When the last sample was taken, and the counters then.
    last: Option<(u64, [u64; 3])>,
    /// Rates between samples, as a ring.
    rates: [[f64; 3]; RATE_SAMPLES],
    next: usize,
    filled: usize,
}

impl Rates {
    /// Takes a sample; counters that went back (a reset) count as no progress.
    pub(super) fn sample(&mut self, monotonic_us: u64, counters: [u64; 3]) {
        if let Some((then_us, before)) = self.last {
            let elapsed_us = monotonic_us.saturating_sub(then_us);
            if elapsed_us == 0 {
                return;
            }
            let mut rates = [0.0; 3];
            for (rate, (now, before)) in rates.iter_mut().zip(counters.iter().zip(before)) {
                *rate = now.saturating_sub(before) as f64 * 1e6 / elapsed_us as f64;
            }
            self.rates[self.next] = rates;
            self.next = (self.next + 1) % RATE_SAMPLES;
            self.filled = (self.filled + 1).min(RATE_SAMPLES);
        }
        self.last = Some((monotonic_us, counters));
    }

    /// The averages.
    pub(super) fn per_second(&self) -> [f64; 3] {
        let mut averages = [0.0; 3];
        for rates in &self.rates[..self.filled] {
            for (average, rate) in averages.iter_mut().zip(rates) {
                *average += rate / self.filled as f64;
            }
        }
        averages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_samples_are_forgotten() {
        let mut rates = Rates::default();
        rates.sample(0, [0, 0, 0]);
        rates.sample(1_000_000, [1000, 0, 0]);
        assert_eq!(rates.per_second()[0], 1000.0);
        for second in 2..2 + RATE_SAMPLES as u64 {
            rates.sample(second * 1_000_000, [1000, 0, 0]);
        }
        assert_eq!(rates.per_second()[0], 0.0);
        rates.sample(100_000_000, [0, 0, 0]);
        assert_eq!(rates.per_second()[0], 0.0, "a reset is no rate");
    }
}
