//! Medians and quartiles.

use std::fmt;

/// The middle half of some numbers.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Spread {
    /// `None` of no numbers.
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut all: Vec<f64> = numbers.into_iter().filter(|n| n.is_finite()).collect();
        all.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * (all.len() - 1) as f64;
            let (below, above) = (all[place.floor() as usize], all[place.ceil() as usize]);
            below + (above - below) * place.fract()
        };
        (!all.is_empty()).then(|| Self {
            low: at(0.25),
            median: at(0.5),
            high: at(0.75),
        })
    }
}

/// The median, and the quartiles in brackets when there is room: `{:#}`.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            write!(f, "{:.2} [{:.2} {:.2}]", self.median, self.low, self.high)
        } else {
            write!(f, "{:.2}", self.median)
        }
    }
}
