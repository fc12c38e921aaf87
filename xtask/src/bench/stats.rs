//! Medians and percentiles.

/// Times of one contender in milliseconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, milliseconds: f64) {
        let at = self.0.partition_point(|known| *known < milliseconds);
        self.0.insert(at, milliseconds);
    }

    /// The value below which `percent` of the samples lie.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get(last * percent / 100).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn median(&self) -> f64 {
        self.percentile(50)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_do_not_mind_order() {
        let mut samples = Samples::default();
        [5.0, 1.0, 3.0]
            .into_iter()
            .for_each(|sample| samples.push(sample));
        assert_eq!(
            (samples.median(), samples.percentile(0), samples.percentile(100)),
            (3.0, 1.0, 5.0)
        );
    }
}
