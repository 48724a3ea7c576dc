//! Which share of weights is pruned at which step of training.

use serde::{Deserialize, Serialize};

use crate::error::PruneError;

/// When masks are made anew, and which share of weights they then prune: the schedules of the TensorFlow Model
/// Optimization toolkit (`pruning_schedule.py`), in single precision as there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    curve: Curve,
    begin: u64,
    /// The last step that may be a turn; none: training's end.
    end: Option<u64>,
    frequency: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Curve {
    Constant(f32),
    Polynomial { initial: f32, last: f32, power: f32 },
}

impl Schedule {
    /// TensorFlow's usual number of steps between two masks.
    pub const FREQUENCY: u64 = 100;
    /// TensorFlow's usual power.
    pub const POWER: f32 = 3.0;

    /// The same share from `begin` to `end` (to the end of training where left out): `ConstantSparsity`.
    ///
    /// # Errors
    /// If `target` is not in `[0, 1)`, `frequency` is 0, or `end` is before `begin`.
    pub fn constant(
        target: f32,
        begin: u64,
        end: Option<u64>,
        frequency: u64,
    ) -> Result<Schedule, PruneError> {
        Schedule { curve: Curve::Constant(target), begin, end, frequency }.checked()
    }

    /// `last + (initial - last) * (1 - (step - begin) / (end - begin))^power`: `PolynomialDecay`.
    ///
    /// # Errors
    /// If a share is not in `[0, 1)`, `frequency` is 0, `end` is before `begin`, or `power` is no positive number.
    pub fn polynomial(
        initial: f32,
        last: f32,
        begin: u64,
        end: u64,
        power: f32,
        frequency: u64,
    ) -> Result<Schedule, PruneError> {
        let curve = Curve::Polynomial { initial, last, power };
        Schedule { curve, begin, end: Some(end), frequency }.checked()
    }

    fn checked(self) -> Result<Schedule, PruneError> {
        let wrong = |text: String| Err(PruneError::Setting(text));
        let (shares, power) = match self.curve {
            Curve::Constant(target) => ([target, target], 1.0),
            Curve::Polynomial { initial, last, power } => ([initial, last], power),
        };
        if let Some(share) = shares.iter().find(|share| !(0.0..1.0).contains(*share)) {
            return wrong(format!("a sparsity of {share} is none: it must be at least 0 and below 1"));
        }
        if !(power.is_finite() && power > 0.0) {
            return wrong(format!("a power of {power} is none: it must be above 0"));
        }
        if self.frequency == 0 {
            return wrong("masks are made anew every 0 steps: it must be at least 1".into());
        }
        if let Some(end) = self.end.filter(|end| *end < self.begin) {
            return wrong(format!("pruning ends at step {end}, before it begins at step {}", self.begin));
        }
        Ok(self)
    }

    /// Whether masks are made anew before this step, counted from 0.
    #[must_use]
    pub fn is_turn(&self, step: u64) -> bool {
        let inside = step >= self.begin && self.end.is_none_or(|end| step <= end);
        inside && (step - self.begin).is_multiple_of(self.frequency)
    }

    /// The share of weights that masks of this step prune.
    #[must_use]
    pub fn sparsity(&self, step: u64) -> f32 {
        match self.curve {
            Curve::Constant(target) => target,
            Curve::Polynomial { initial, last, power } => {
                let end = self.end.unwrap_or(self.begin);
                let length = end.saturating_sub(self.begin);
                let progress = match length {
                    0 => 1.0,
                    _ => (step as f32 - self.begin as f32) / length as f32,
                };
                (initial - last) * (1.0 - progress.clamp(0.0, 1.0)).powf(power) + last
            }
        }
    }

    /// The share that it ends with.
    #[must_use]
    pub fn target(&self) -> f32 {
        match self.curve {
            Curve::Constant(target) => target,
            Curve::Polynomial { last, .. } => last,
        }
    }

    /// The same turns towards another share.
    #[must_use]
    pub fn towards(&self, target: f32) -> Schedule {
        let curve = match self.curve {
            Curve::Constant(_) => Curve::Constant(target),
            Curve::Polynomial { initial, power, .. } => {
                Curve::Polynomial { initial: initial.min(target), last: target, power }
            }
        };
        Schedule { curve, ..*self }
    }

    /// The share that is reached in this many steps of training: that of the last turn; `None` where there is
    /// no turn.
    #[must_use]
    pub fn reached(&self, steps: u64) -> Option<f32> {
        let last = self.end.unwrap_or(u64::MAX).min(steps.checked_sub(1)?);
        let turns = last.checked_sub(self.begin)? / self.frequency;
        Some(self.sparsity(self.begin + turns * self.frequency))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomial_decay_is_tensorflows() {
        // (step, sparsity) of tfmot.sparsity.keras.PolynomialDecay(0.5, 0.8, 100, 1100, 3, 100).
        let schedule = Schedule::polynomial(0.5, 0.8, 100, 1100, 3.0, 100).unwrap();
        for (step, expected) in
            [(0, 0.5), (100, 0.5), (200, 0.5813), (350, 0.673_437_5), (600, 0.7625), (1100, 0.8), (5000, 0.8)]
        {
            assert!((schedule.sparsity(step) - expected).abs() < 1e-6, "{step}");
        }
        let turns: Vec<u64> = (0..2000).filter(|step| schedule.is_turn(*step)).collect();
        assert_eq!(turns, (1..=11).map(|turn| turn * 100).collect::<Vec<_>>());
    }

    #[test]
    fn turns_keep_their_distance_from_the_beginning() {
        let schedule = Schedule::constant(0.5, 7, Some(20), 5).unwrap();
        assert_eq!((0..100).filter(|step| schedule.is_turn(*step)).collect::<Vec<u64>>(), [7, 12, 17]);
        let open = Schedule::constant(0.5, 0, None, 50).unwrap();
        assert!(open.is_turn(0) && open.is_turn(1_000_000) && !open.is_turn(1));
        assert_eq!(open.sparsity(3), 0.5);
    }

    #[test]
    fn what_is_reached_is_what_the_last_turn_gives() {
        let schedule = Schedule::polynomial(0.5, 0.8, 0, 252, 3.0, 100).unwrap();
        assert_eq!(schedule.reached(252), Some(schedule.sparsity(200)));
        assert_eq!(schedule.reached(253), Some(schedule.sparsity(200)));
        assert_eq!(schedule.reached(0), None);
        assert_eq!(Schedule::constant(0.5, 10, None, 1).unwrap().reached(10), None);
        assert_eq!(schedule.towards(0.4).sparsity(0), 0.4);
    }

    #[test]
    fn settings_are_checked() {
        assert!(Schedule::constant(1.0, 0, None, 100).is_err());
        assert!(Schedule::constant(f32::NAN, 0, None, 100).is_err());
        assert!(Schedule::constant(0.5, 0, None, 0).is_err());
        assert!(Schedule::polynomial(-0.1, 0.5, 0, 10, 3.0, 1).is_err());
        assert!(Schedule::polynomial(0.1, 0.5, 20, 10, 3.0, 1).is_err());
        assert!(Schedule::polynomial(0.1, 0.5, 0, 10, 0.0, 1).is_err());
    }
}
