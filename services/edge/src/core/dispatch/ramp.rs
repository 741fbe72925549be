//! Slow start: a node that came back, or came, gets a tenth of its share at first and all of it after a while. A full share of
//! calls on cold caches and empty pools is what throws it down again.

const FIRST: f64 = 0.1;

#[derive(Clone, Copy, Debug, Default)]
pub struct Ramp {
    began: Option<u64>,
}

impl Ramp {
    pub fn begin(&mut self, now: u64) {
        self.began = Some(now);
    }

    /// What the weight is multiplied with; `span` 0 = no slow start.
    #[must_use]
    pub fn factor(&self, now: u64, span: u64) -> f64 {
        match self.began.map(|at| now.saturating_sub(at)) {
            Some(since) if since < span => FIRST + (1.0 - FIRST) * since as f64 / span as f64,
            _ => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_came_back_grows_to_its_share() {
        let mut ramp = Ramp::default();
        assert_eq!(ramp.factor(5, 10), 1.0, "from the start of the edge there is none");
        ramp.begin(100);
        let factors = [100, 105, 110].map(|now| ramp.factor(now, 10));
        assert!((factors[0] - 0.1).abs() < 1e-9 && (factors[1] - 0.55).abs() < 1e-9 && factors[2] == 1.0);
        assert_eq!(ramp.factor(100, 0), 1.0);
    }
}
