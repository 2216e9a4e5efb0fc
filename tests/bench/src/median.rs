//! Several measurements of one thing.

/// Measurements, in seconds.
#[derive(Default)]
pub(crate) struct Measured(Vec<f64>);

impl Measured {
    pub(crate) fn add(&mut self, seconds: f64) {
        self.0.push(seconds);
    }

    /// The middle one, and the range.
    pub(crate) fn seconds(&self) -> String {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.as_slice() {
            [] => "–".to_owned(),
            [first, .., last] => format!("{:.2} s ({first:.2}–{last:.2})", sorted[sorted.len() / 2]),
            [only] => format!("{only:.2} s"),
        }
    }
}
