//! Learning rates that change with the number of steps, by Keras' formulas
//! (`keras/src/optimizers/schedules/learning_rate_schedule.py`).
//!
//! A rate belongs to the number of updates done before (0 at the first). Numbers are computed in single
//! precision, as Keras does, so that floors fall where Keras' do.

use serde_json::{Value, json};

use crate::config::{Bound, ConfigError, Object, keras_form, normalized};

/// A learning rate for every step.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// Always the same.
    Constant(f64),
    /// `initial rate^(step / steps)`.
    ExponentialDecay {
        /// Rate of step 0.
        initial: f64,
        /// Steps after which it has been multiplied once.
        steps: f64,
        /// The factor.
        rate: f64,
        /// Whether it changes only at multiples of `steps`.
        staircase: bool,
    },
    /// `values[i]` where i is the number of boundaries that the step is above.
    PiecewiseConstantDecay {
        /// Last steps of all values but the last, ascending; Keras leaves off their fractions.
        boundaries: Vec<f64>,
        /// One more than boundaries.
        values: Vec<f64>,
    },
    /// `(initial - end) (1 - step / steps)^power + end`.
    PolynomialDecay {
        /// Rate of step 0.
        initial: f64,
        /// Steps to the end.
        steps: f64,
        /// Rate at the end and after.
        end: f64,
        /// Exponent.
        power: f64,
        /// Whether to begin anew past the end, each time with a multiple of `steps`.
        cycle: bool,
    },
    /// `initial / (1 + rate step / steps)`.
    InverseTimeDecay {
        /// Rate of step 0.
        initial: f64,
        /// Steps after which the divisor has grown by `rate`.
        steps: f64,
        /// What the divisor grows by.
        rate: f64,
        /// Whether it changes only at multiples of `steps`.
        staircase: bool,
    },
    /// A line from `initial` to `target` during the warm-up, if there is one, then `start ((1 - alpha)
    /// (1 + cos(π step / steps)) / 2 + alpha)`, where start is `target`, or else `initial`.
    CosineDecay {
        /// Rate of step 0.
        initial: f64,
        /// Steps from the end of the warm-up to the end.
        steps: f64,
        /// The last rate's share of the start.
        alpha: f64,
        /// Rate at the end of the warm-up, and how many steps that takes.
        warmup: Option<(f64, f64)>,
    },
    /// Cosine decay that begins anew after `first_steps` steps, then after `t_mul` times as many, and so
    /// on, each time from a start that is `m_mul` times the last.
    CosineDecayRestarts {
        /// Rate of step 0.
        initial: f64,
        /// Steps of the first decay.
        first_steps: f64,
        /// How much longer each decay is than the one before.
        t_mul: f64,
        /// How much higher each decay starts than the one before.
        m_mul: f64,
        /// The last rate's share of the start.
        alpha: f64,
    },
}

/// The names that [`Schedule::from_json`] knows.
const NAMES: [&str; 6] = [
    "ExponentialDecay",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "InverseTimeDecay",
    "CosineDecay",
    "CosineDecayRestarts",
];

impl Schedule {
    /// The learning rate of the update that comes after `iterations` others.
    #[must_use]
    pub fn rate(&self, iterations: u64) -> f32 {
        let step = iterations as f32;
        match *self {
            Schedule::Constant(rate) => rate as f32,
            Schedule::ExponentialDecay { initial, steps, rate, staircase } => {
                initial as f32 * power(rate as f32, passed(step, steps, staircase))
            }
            Schedule::PiecewiseConstantDecay { ref boundaries, ref values } => {
                let passed =
                    boundaries.iter().filter(|boundary| iterations as f64 > boundary.trunc()).count();
                values.get(passed).map_or(0.0, |rate| *rate as f32)
            }
            Schedule::PolynomialDecay { initial, steps, end, power: exponent, cycle } => {
                let (initial, end, steps) = (initial as f32, end as f32, steps as f32);
                let rounds = if !cycle || step == 0.0 { 1.0 } else { (step / steps).ceil() };
                let steps = steps * rounds;
                let step = if cycle { step } else { step.min(steps) };
                (initial - end) * power(1.0 - step / steps, exponent as f32) + end
            }
            Schedule::InverseTimeDecay { initial, steps, rate, staircase } => {
                initial as f32 / (1.0 + rate as f32 * passed(step, steps, staircase))
            }
            Schedule::CosineDecay { initial, steps, alpha, warmup } => {
                let (target, warmup) = warmup.unwrap_or((initial, 0.0));
                let (initial, target, warmup) = (initial as f32, target as f32, warmup as f32);
                if step < warmup {
                    return (target - initial) * (step / warmup) + initial;
                }
                let steps = steps as f32;
                target * cosine((step.min(steps + warmup) - warmup) / steps, 1.0, alpha as f32)
            }
            Schedule::CosineDecayRestarts { initial, first_steps, t_mul, m_mul, alpha } => {
                let (restarts, fraction) = restarts(step / first_steps as f32, t_mul as f32);
                initial as f32 * cosine(fraction, power(m_mul as f32, restarts), alpha as f32)
            }
        }
    }

    /// Reads a number, or a schedule in any of the forms of the other options; Keras' names of the
    /// options (`initial_learning_rate`, `decay_steps`, …).
    ///
    /// # Errors
    /// [`ConfigError`] if the name or an option is unknown, an option that must be there is missing, or
    /// has a value that it cannot have.
    pub fn from_json(value: &Value) -> Result<Schedule, ConfigError> {
        const WHAT: &str = "learning rate";
        if let Value::Number(number) = value {
            let object = Object::named(WHAT, "constant", &Value::Null)?;
            return match number.as_f64() {
                Some(rate) if rate >= 0.0 && (rate as f32).is_finite() => Ok(Schedule::Constant(rate)),
                _ => Err(object.wrong("learning_rate", "a number of at least 0", value)),
            };
        }
        Schedule::from_object(Object::read(WHAT, value)?)
    }

    fn from_object(mut object: Object) -> Result<Schedule, ConfigError> {
        const INITIAL: &str = "initial_learning_rate";
        let o = &mut object;
        let schedule = match normalized(o.name()).as_str() {
            "exponentialdecay" => Schedule::ExponentialDecay {
                initial: o.required_number(INITIAL, Bound::NotNegative)?,
                steps: o.required_number("decay_steps", Bound::Positive)?,
                rate: o.required_number("decay_rate", Bound::NotNegative)?,
                staircase: o.flag("staircase", false)?,
            },
            "piecewiseconstantdecay" | "piecewiseconstant" => {
                let boundaries = numbers(o, "boundaries")?;
                let values = numbers(o, "values")?;
                if values.len() != boundaries.len() + 1 {
                    return Err(o.wrong("values", "one more than the boundaries", &json!(values)));
                }
                if !boundaries.is_sorted() {
                    return Err(o.wrong("boundaries", "ascending", &json!(boundaries)));
                }
                Schedule::PiecewiseConstantDecay { boundaries, values }
            }
            "polynomialdecay" => Schedule::PolynomialDecay {
                initial: o.required_number(INITIAL, Bound::NotNegative)?,
                steps: o.required_number("decay_steps", Bound::Positive)?,
                end: o.number("end_learning_rate", 1e-4, Bound::NotNegative)?,
                power: o.number("power", 1.0, Bound::NotNegative)?,
                cycle: o.flag("cycle", false)?,
            },
            "inversetimedecay" => Schedule::InverseTimeDecay {
                initial: o.required_number(INITIAL, Bound::NotNegative)?,
                steps: o.required_number("decay_steps", Bound::Positive)?,
                rate: o.required_number("decay_rate", Bound::NotNegative)?,
                staircase: o.flag("staircase", false)?,
            },
            "cosinedecay" => {
                let target = o.optional_number("warmup_target", Bound::NotNegative)?;
                let steps = o.number("warmup_steps", 0.0, Bound::NotNegative)?;
                Schedule::CosineDecay {
                    initial: o.required_number(INITIAL, Bound::NotNegative)?,
                    steps: o.required_number("decay_steps", Bound::Positive)?,
                    alpha: o.number("alpha", 0.0, Bound::Finite)?,
                    warmup: target.map(|target| (target, steps)),
                }
            }
            "cosinedecayrestarts" => Schedule::CosineDecayRestarts {
                initial: o.required_number(INITIAL, Bound::NotNegative)?,
                first_steps: o.required_number("first_decay_steps", Bound::Positive)?,
                t_mul: o.number("t_mul", 2.0, Bound::Positive)?,
                m_mul: o.number("m_mul", 1.0, Bound::NotNegative)?,
                alpha: o.number("alpha", 0.0, Bound::Finite)?,
            },
            _ => return Err(o.unknown(NAMES)),
        };
        object.finish()?;
        Ok(schedule)
    }

    /// A number, or Keras' serialized form.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let (class, config) = match self {
            Schedule::Constant(rate) => return json!(rate),
            Schedule::ExponentialDecay { initial, steps, rate, staircase } => (
                "ExponentialDecay",
                json!({"initial_learning_rate": initial, "decay_steps": steps, "decay_rate": rate,
                    "staircase": staircase, "name": "ExponentialDecay"}),
            ),
            Schedule::PiecewiseConstantDecay { boundaries, values } => (
                "PiecewiseConstantDecay",
                json!({"boundaries": boundaries, "values": values, "name": "PiecewiseConstant"}),
            ),
            Schedule::PolynomialDecay { initial, steps, end, power, cycle } => (
                "PolynomialDecay",
                json!({"initial_learning_rate": initial, "decay_steps": steps, "end_learning_rate": end,
                    "power": power, "cycle": cycle, "name": "PolynomialDecay"}),
            ),
            Schedule::InverseTimeDecay { initial, steps, rate, staircase } => (
                "InverseTimeDecay",
                json!({"initial_learning_rate": initial, "decay_steps": steps, "decay_rate": rate,
                    "staircase": staircase, "name": "InverseTimeDecay"}),
            ),
            Schedule::CosineDecay { initial, steps, alpha, warmup } => (
                "CosineDecay",
                json!({"initial_learning_rate": initial, "decay_steps": steps, "alpha": alpha,
                    "name": "CosineDecay", "warmup_target": warmup.map(|(target, _)| target),
                    "warmup_steps": warmup.map_or(0.0, |(_, steps)| steps)}),
            ),
            Schedule::CosineDecayRestarts { initial, first_steps, t_mul, m_mul, alpha } => (
                "CosineDecayRestarts",
                json!({"initial_learning_rate": initial, "first_decay_steps": first_steps, "t_mul": t_mul,
                    "m_mul": m_mul, "alpha": alpha, "name": "SGDRDecay"}),
            ),
        };
        keras_form("keras.optimizers.schedules", class, config)
    }
}

impl std::str::FromStr for Schedule {
    type Err = ConfigError;

    /// Reads a number, a name or JSON.
    fn from_str(text: &str) -> Result<Schedule, ConfigError> {
        match text.trim().parse::<f64>() {
            Ok(rate) => Schedule::from_json(&json!(rate)),
            Err(_) => Schedule::from_object(Object::parse("learning rate", text)?),
        }
    }
}

/// `step / steps`, perhaps without its fraction.
fn passed(step: f32, steps: f64, staircase: bool) -> f32 {
    let passed = step / steps as f32;
    if staircase { passed.floor() } else { passed }
}

/// `base^exponent`, correctly rounded but for rare cases.
fn power(base: f32, exponent: f32) -> f32 {
    libm::pow(f64::from(base), f64::from(exponent)) as f32
}

/// `(1 - alpha) start (1 + cos(π fraction)) / 2 + alpha`.
fn cosine(fraction: f32, start: f32, alpha: f32) -> f32 {
    let angle = std::f32::consts::PI * fraction;
    let cosine = 0.5 * start * (1.0 + libm::cos(f64::from(angle)) as f32);
    (1.0 - alpha) * cosine + alpha
}

/// How often decays have begun anew, and how far the present one is, when `fraction` first decays have
/// passed and each is `longer` times as long as the one before.
fn restarts(fraction: f32, longer: f32) -> (f32, f32) {
    if longer == 1.0 {
        return (fraction.floor(), fraction - fraction.floor());
    }
    let log = |x: f32| libm::log(f64::from(x)) as f32;
    let restarts = (log(1.0 - fraction * (1.0 - longer)) / log(longer)).floor();
    let length = power(longer, restarts);
    (restarts, (fraction - (1.0 - length) / (1.0 - longer)) / length)
}

fn numbers(object: &mut Object, option: &'static str) -> Result<Vec<f64>, ConfigError> {
    let expected = "a list of numbers of at least 0";
    let value = object.value(option).unwrap_or(Value::Null);
    let number = |value: &Value| value.as_f64().filter(|x| *x >= 0.0 && (*x as f32).is_finite());
    let all = value.as_array().and_then(|list| list.iter().map(number).collect::<Option<Vec<_>>>());
    all.ok_or_else(|| object.wrong(option, expected, &value))
}

impl serde::Serialize for Schedule {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Schedule {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Schedule, D::Error> {
        Schedule::from_json(&Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read_and_written_back() {
        let texts = [
            "0.01",
            r#"{"name": "exponential_decay", "initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.5}"#,
            r#"{"name": "piecewise_constant_decay", "boundaries": [3, 7], "values": [1.0, 0.5, 0.25]}"#,
            r#"{"name": "PolynomialDecay", "initial_learning_rate": 0.1, "decay_steps": 10, "power": 2}"#,
            r#"{"name": "InverseTimeDecay", "initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.5}"#,
            r#"{"name": "CosineDecay", "initial_learning_rate": 0.1, "decay_steps": 9, "warmup_target": 1, "warmup_steps": 4}"#,
            r#"{"name": "CosineDecayRestarts", "initial_learning_rate": 0.1, "first_decay_steps": 9}"#,
        ];
        for text in texts {
            let schedule: Schedule = text.parse().unwrap();
            assert_eq!(Schedule::from_json(&schedule.to_json()), Ok(schedule));
        }
    }

    #[test]
    fn piecewise_values_hold_up_to_their_boundary() {
        let schedule =
            Schedule::PiecewiseConstantDecay { boundaries: vec![3.0, 7.0], values: vec![1.0, 0.5, 0.25] };
        let rates: Vec<f32> = [0, 3, 4, 7, 8].iter().map(|step| schedule.rate(*step)).collect();
        assert_eq!(rates, [1.0, 1.0, 0.5, 0.5, 0.25]);
    }

    #[test]
    fn what_is_missing_or_wrong_is_said() {
        let message = |text: &str| text.parse::<Schedule>().unwrap_err().to_string();
        assert!(message("step").contains("unknown learning rate 'step'; known are ExponentialDecay"));
        assert!(message("-1").contains("at least 0"));
        assert!(
            message(r#"{"name": "CosineDecay", "decay_steps": 5}"#)
                .contains("'initial_learning_rate' must be")
        );
        let short = r#"{"name": "PiecewiseConstantDecay", "boundaries": [1], "values": [1]}"#;
        assert!(message(short).contains("one more than the boundaries"));
    }
}
