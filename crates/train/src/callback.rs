//! What watches a metric from epoch to epoch: early stopping, and a learning rate that falls when
//! nothing gets better. Both go by Keras' rules (`keras/src/callbacks`) and are plain states that a
//! checkpoint can hold.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::{Bound, ConfigError, Object, normalized};

/// Which way a metric gets better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Smaller is better, as for a loss.
    Down,
    /// Larger is better, as for an accuracy.
    Up,
}

/// How a watcher knows the direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// From the metric; see [`Metric::direction`](crate::Metric::direction). Losses go down.
    #[default]
    Auto,
    /// Smaller is better.
    Min,
    /// Larger is better.
    Max,
}

/// What is watched, and what counts as better.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Monitor {
    metric: String,
    mode: Mode,
    min_delta: f64,
    best: Option<f64>,
}

impl Monitor {
    fn read(object: &mut Object, min_delta: f64) -> Result<Monitor, ConfigError> {
        let mode = match object.text("mode")?.as_deref() {
            None | Some("auto") => Mode::Auto,
            Some("min") => Mode::Min,
            Some("max") => Mode::Max,
            Some(other) => return Err(object.wrong("mode", "auto, min or max", &json!(other))),
        };
        Ok(Monitor {
            metric: object.text("monitor")?.unwrap_or_else(|| "val_loss".to_owned()),
            mode,
            min_delta: object.number("min_delta", min_delta, Bound::Finite)?.abs(),
            best: None,
        })
    }

    /// Whether a value is better than another by more than the least difference.
    fn improves(&self, value: f64, reference: f64, direction: Direction) -> bool {
        let down = match self.mode {
            Mode::Auto => direction == Direction::Down,
            Mode::Min => true,
            Mode::Max => false,
        };
        if down { value + self.min_delta < reference } else { value - self.min_delta > reference }
    }

    /// Takes a value as the best if it is.
    fn take(&mut self, value: f64, direction: Direction) -> bool {
        let better = self.best.is_none_or(|best| self.improves(value, best, direction));
        if better {
            self.best = Some(value);
        }
        better
    }
}

/// Ends a run when a metric has not got better for a number of epochs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EarlyStopping {
    monitor: Monitor,
    patience: u64,
    baseline: Option<f64>,
    start_from_epoch: u64,
    restore_best_weights: bool,
    wait: u64,
    best_epoch: u64,
}

/// What [`EarlyStopping`] says after an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The weights are the best so far: keep them, if the best are to be restored.
    pub keep_weights: bool,
    /// The run should end.
    pub stop: bool,
}

impl EarlyStopping {
    /// Reads the options by Keras' names: `monitor` (`val_loss`), `min_delta` (0), `patience` (0), `mode`
    /// (`auto`), `baseline`, `restore_best_weights` (false), `start_from_epoch` (0).
    ///
    /// # Errors
    /// [`ConfigError`] if an option is unknown or has a value that it cannot have.
    pub fn from_json(value: &Value) -> Result<EarlyStopping, ConfigError> {
        let mut object = callback("EarlyStopping", value)?;
        let stopping = EarlyStopping {
            monitor: Monitor::read(&mut object, 0.0)?,
            patience: object.count("patience", 0, 0)?,
            baseline: object.optional_number("baseline", Bound::Finite)?,
            start_from_epoch: object.count("start_from_epoch", 0, 0)?,
            restore_best_weights: object.flag("restore_best_weights", false)?,
            wait: 0,
            best_epoch: 0,
        };
        object.finish()?;
        Ok(stopping)
    }

    /// The name of the metric that it watches, `val_` before those of validation.
    #[must_use]
    pub fn monitor(&self) -> &str {
        &self.monitor.metric
    }

    /// Whether the run should end with the weights of the best epoch.
    #[must_use]
    pub fn restores_best_weights(&self) -> bool {
        self.restore_best_weights
    }

    /// The epoch with the best value, counted from 0.
    #[must_use]
    pub fn best_epoch(&self) -> u64 {
        self.best_epoch
    }

    /// Takes the value of epoch `epoch`, counted from 0, of a metric that gets better in `direction`.
    pub fn observe(&mut self, epoch: u64, value: f64, direction: Direction) -> Verdict {
        if epoch < self.start_from_epoch {
            return Verdict::default();
        }
        self.wait += 1;
        if self.monitor.take(value, direction) {
            self.best_epoch = epoch;
            // The wait begins anew only below the baseline, too.
            if self.baseline.is_none_or(|baseline| self.monitor.improves(value, baseline, direction)) {
                self.wait = 0;
            }
            return Verdict { keep_weights: true, stop: false };
        }
        Verdict { keep_weights: false, stop: self.wait >= self.patience && epoch > 0 }
    }
}

/// Lowers the learning rate when a metric has not got better for a number of epochs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReduceLrOnPlateau {
    monitor: Monitor,
    factor: f64,
    patience: u64,
    cooldown: u64,
    min_lr: f64,
    wait: u64,
    cooling: u64,
}

impl ReduceLrOnPlateau {
    /// Reads the options by Keras' names: `monitor` (`val_loss`), `factor` (0.1), `patience` (10), `mode`
    /// (`auto`), `min_delta` (1e-4), `cooldown` (0), `min_lr` (0).
    ///
    /// # Errors
    /// [`ConfigError`] if an option is unknown or has a value that it cannot have.
    pub fn from_json(value: &Value) -> Result<ReduceLrOnPlateau, ConfigError> {
        let mut object = callback("ReduceLROnPlateau", value)?;
        let reduce = ReduceLrOnPlateau {
            monitor: Monitor::read(&mut object, 1e-4)?,
            factor: object.number("factor", 0.1, Bound::BelowOne)?,
            patience: object.count("patience", 10, 0)?,
            cooldown: object.count("cooldown", 0, 0)?,
            min_lr: object.number("min_lr", 0.0, Bound::NotNegative)?,
            wait: 0,
            cooling: 0,
        };
        object.finish()?;
        Ok(reduce)
    }

    /// The name of the metric that it watches, `val_` before those of validation.
    #[must_use]
    pub fn monitor(&self) -> &str {
        &self.monitor.metric
    }

    /// Takes the value of an epoch of a metric that gets better in `direction`; gives the learning rate
    /// to go on with if it is to change from `rate`.
    pub fn observe(&mut self, value: f64, direction: Direction, rate: f32) -> Option<f32> {
        if self.cooling > 0 {
            self.cooling -= 1;
            self.wait = 0;
        }
        if self.monitor.take(value, direction) {
            self.wait = 0;
            return None;
        }
        if self.cooling > 0 {
            return None;
        }
        self.wait += 1;
        if self.wait < self.patience || rate <= self.min_lr as f32 {
            return None;
        }
        (self.cooling, self.wait) = (self.cooldown, 0);
        Some((f64::from(rate) * self.factor).max(self.min_lr) as f32)
    }
}

fn callback(name: &str, value: &Value) -> Result<Object, ConfigError> {
    let object = Object::named("callback", name, value)?;
    if normalized(object.name()) != normalized(name) {
        return Err(object.unknown(["EarlyStopping", "ReduceLROnPlateau"]));
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_stops_when_patience_ends() {
        let mut stopping = EarlyStopping::from_json(&json!({"patience": 2, "min_delta": 0.1})).unwrap();
        assert_eq!(stopping.monitor(), "val_loss");
        let verdicts: Vec<_> = [1.0, 0.5, 0.45, 0.46, 0.3]
            .into_iter()
            .enumerate()
            .map(|(epoch, value)| stopping.observe(epoch as u64, value, Direction::Down))
            .map(|verdict| (verdict.keep_weights, verdict.stop))
            .collect();
        assert_eq!(verdicts, [(true, false), (true, false), (false, false), (false, true), (true, false)]);
        assert_eq!(stopping.best_epoch(), 4);
    }

    #[test]
    fn the_mode_goes_before_the_metric() {
        let mut stopping = EarlyStopping::from_json(&json!({"mode": "max", "patience": 1})).unwrap();
        stopping.observe(0, 1.0, Direction::Down);
        assert!(stopping.observe(1, 0.5, Direction::Down).stop);
        assert!(!stopping.observe(2, 1.5, Direction::Down).stop);
    }

    #[test]
    fn a_baseline_that_is_not_reached_does_not_reset_the_wait() {
        let mut stopping = EarlyStopping::from_json(&json!({"baseline": 0.1, "patience": 2})).unwrap();
        stopping.observe(0, 1.0, Direction::Down);
        stopping.observe(1, 0.9, Direction::Down);
        assert!(stopping.observe(2, 0.95, Direction::Down).stop);
    }

    #[test]
    fn the_rate_falls_on_a_plateau_down_to_the_least() {
        let options = json!({"patience": 2, "factor": 0.5, "cooldown": 1, "min_lr": 0.3});
        let mut reduce = ReduceLrOnPlateau::from_json(&options).unwrap();
        let mut rate = 1.0;
        let mut rates = Vec::new();
        for _ in 0..9 {
            rate = reduce.observe(1.0, Direction::Down, rate).unwrap_or(rate);
            rates.push(rate);
        }
        assert_eq!(rates, [1.0, 1.0, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3, 0.3]);
        let state = serde_json::to_string(&reduce).unwrap();
        assert_eq!(serde_json::from_str::<ReduceLrOnPlateau>(&state).unwrap(), reduce);
    }

    #[test]
    fn options_are_checked() {
        assert!(ReduceLrOnPlateau::from_json(&json!({"factor": 1.0})).is_err());
        assert!(EarlyStopping::from_json(&json!({"patient": 1})).is_err());
        assert!(EarlyStopping::from_json(&json!({"mode": "best"})).is_err());
        let keras = json!({"class_name": "ReduceLROnPlateau", "config": {}});
        assert!(EarlyStopping::from_json(&keras).is_err());
    }
}
