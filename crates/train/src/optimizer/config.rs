//! Optimizers by name and options.

use serde_json::{Value, json};

use crate::config::{Bound, ConfigError, Object, keras_form, normalized, object_form};
use crate::schedule::Schedule;

/// What an optimizer does, with Keras' options and defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerConfig {
    /// The rule of its updates.
    pub kind: OptimizerKind,
    /// The learning rate.
    pub learning_rate: Schedule,
    /// Share of each parameter, times the learning rate, that it loses before each update.
    pub weight_decay: Option<f64>,
    /// How gradients are clipped.
    pub clip: Option<Clip>,
}

/// The rule of an optimizer's updates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OptimizerKind {
    /// Gradient descent; learning rate 0.01 by default.
    Sgd(SgdConfig),
    /// RMSprop; learning rate 0.001 by default.
    RmsProp(RmsPropConfig),
    /// Adam; learning rate 0.001 by default.
    Adam(AdamConfig),
    /// Adam with a weight decay of 0.004 by default; learning rate 0.001 by default.
    AdamW(AdamConfig),
}

/// Options of SGD.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct SgdConfig {
    /// From 0 to 1.
    pub momentum: f64,
    /// Whether to look ahead.
    pub nesterov: bool,
}

/// Options of RMSprop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsPropConfig {
    /// Share of the running averages that stays: 0.9.
    pub rho: f64,
    /// 0.
    pub momentum: f64,
    /// 1e-7.
    pub epsilon: f64,
    /// Whether to divide by the gradient's standard deviation.
    pub centered: bool,
}

impl Default for RmsPropConfig {
    fn default() -> RmsPropConfig {
        RmsPropConfig { rho: 0.9, momentum: 0.0, epsilon: 1e-7, centered: false }
    }
}

/// Options of Adam and AdamW.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamConfig {
    /// 0.9.
    pub beta_1: f64,
    /// 0.999.
    pub beta_2: f64,
    /// 1e-7.
    pub epsilon: f64,
    /// Whether the velocity never falls.
    pub amsgrad: bool,
}

impl Default for AdamConfig {
    fn default() -> AdamConfig {
        AdamConfig { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7, amsgrad: false }
    }
}

/// How gradients are clipped; limits are above 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clip {
    /// Each parameter's gradient g becomes `g limit / max(|g|, limit)`.
    Norm(f64),
    /// Each element is brought into `[-limit, limit]`.
    Value(f64),
    /// All gradients are multiplied by `min(1, limit / norm)`, norm being that of all together.
    GlobalNorm(f64),
}

/// The names that [`OptimizerConfig::from_json`] knows.
const NAMES: [&str; 4] = ["sgd", "rmsprop", "adam", "adamw"];

/// The weight decay of AdamW.
const ADAMW_DECAY: f64 = 0.004;

object_form!(OptimizerConfig, "optimizer");

impl OptimizerConfig {
    /// An optimizer with a constant learning rate, and AdamW's decay if it is that.
    #[must_use]
    pub fn new(kind: OptimizerKind, learning_rate: f64) -> OptimizerConfig {
        let weight_decay = matches!(kind, OptimizerKind::AdamW(_)).then_some(ADAMW_DECAY);
        OptimizerConfig { kind, learning_rate: Schedule::Constant(learning_rate), weight_decay, clip: None }
    }

    /// The same with another learning rate.
    #[must_use]
    pub fn with_learning_rate(mut self, learning_rate: Schedule) -> OptimizerConfig {
        self.learning_rate = learning_rate;
        self
    }

    /// Keras' name of the rule, in small letters.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.kind {
            OptimizerKind::Sgd(_) => "sgd",
            OptimizerKind::RmsProp(_) => "rmsprop",
            OptimizerKind::Adam(_) => "adam",
            OptimizerKind::AdamW(_) => "adamw",
        }
    }

    /// Reads an optimizer: a name (`adam`), `{"name": "sgd", "momentum": 0.9}`, or Keras' serialized form.
    ///
    /// # Errors
    /// [`ConfigError`] if the name or an option is unknown, or an option has a value that it cannot have,
    /// or asks for averaged weights, gradient accumulation or loss scaling.
    pub fn from_json(value: &Value) -> Result<OptimizerConfig, ConfigError> {
        OptimizerConfig::from_object(Object::read("optimizer", value)?)
    }

    pub(crate) fn from_object(mut object: Object) -> Result<OptimizerConfig, ConfigError> {
        let o = &mut object;
        let (kind, rate, decay) = match normalized(o.name()).as_str() {
            "sgd" => (
                OptimizerKind::Sgd(SgdConfig {
                    momentum: o.number("momentum", 0.0, Bound::Share)?,
                    nesterov: o.flag("nesterov", false)?,
                }),
                0.01,
                None,
            ),
            "rmsprop" => (OptimizerKind::RmsProp(rms_prop(o)?), 0.001, None),
            "adam" => (OptimizerKind::Adam(adam(o)?), 0.001, None),
            "adamw" => (OptimizerKind::AdamW(adam(o)?), 0.001, Some(ADAMW_DECAY)),
            _ => return Err(o.unknown(NAMES)),
        };
        let learning_rate = match o.value("learning_rate") {
            None => Schedule::Constant(rate),
            Some(value) => Schedule::from_json(&value)?,
        };
        let weight_decay = o.optional_number("weight_decay", Bound::NotNegative)?.or(decay);
        let clip = clip(o)?;
        o.must_be_off("use_ema")?;
        // Without averaged weights, these two do nothing.
        o.value("ema_momentum");
        o.value("ema_overwrite_frequency");
        // How Keras 2 runs its optimizers, and by which of its classes.
        o.value("jit_compile");
        o.value("is_legacy_optimizer");
        o.must_be_off("loss_scale_factor")?;
        o.must_be_off("gradient_accumulation_steps")?;
        // Old Keras' learning rate schedule, which new Keras no longer takes.
        o.must_be_off("decay")?;
        object.finish()?;
        Ok(OptimizerConfig { kind, learning_rate, weight_decay, clip })
    }

    /// Keras' serialized form.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let limit = |wanted: fn(Clip) -> Option<f64>| self.clip.and_then(wanted);
        let mut config = json!({
            "name": self.name(),
            "learning_rate": self.learning_rate.to_json(),
            "weight_decay": self.weight_decay,
            "clipnorm": limit(|clip| if let Clip::Norm(limit) = clip { Some(limit) } else { None }),
            "global_clipnorm": limit(|clip| if let Clip::GlobalNorm(limit) = clip { Some(limit) } else { None }),
            "clipvalue": limit(|clip| if let Clip::Value(limit) = clip { Some(limit) } else { None }),
        });
        let own = match self.kind {
            OptimizerKind::Sgd(SgdConfig { momentum, nesterov }) => {
                json!({"momentum": momentum, "nesterov": nesterov})
            }
            OptimizerKind::RmsProp(RmsPropConfig { rho, momentum, epsilon, centered }) => {
                json!({"rho": rho, "momentum": momentum, "epsilon": epsilon, "centered": centered})
            }
            OptimizerKind::Adam(AdamConfig { beta_1, beta_2, epsilon, amsgrad })
            | OptimizerKind::AdamW(AdamConfig { beta_1, beta_2, epsilon, amsgrad }) => {
                json!({"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon, "amsgrad": amsgrad})
            }
        };
        if let (Value::Object(config), Value::Object(own)) = (&mut config, own) {
            config.extend(own);
        }
        let class = match self.kind {
            OptimizerKind::Sgd(_) => "SGD",
            OptimizerKind::RmsProp(_) => "RMSprop",
            OptimizerKind::Adam(_) => "Adam",
            OptimizerKind::AdamW(_) => "AdamW",
        };
        keras_form("keras.optimizers", class, config)
    }
}

fn rms_prop(object: &mut Object) -> Result<RmsPropConfig, ConfigError> {
    let default = RmsPropConfig::default();
    Ok(RmsPropConfig {
        rho: object.number("rho", default.rho, Bound::Share)?,
        momentum: object.number("momentum", default.momentum, Bound::NotNegative)?,
        epsilon: object.number("epsilon", default.epsilon, Bound::NotNegative)?,
        centered: object.flag("centered", default.centered)?,
    })
}

fn adam(object: &mut Object) -> Result<AdamConfig, ConfigError> {
    let default = AdamConfig::default();
    Ok(AdamConfig {
        beta_1: object.number("beta_1", default.beta_1, Bound::BelowOne)?,
        beta_2: object.number("beta_2", default.beta_2, Bound::BelowOne)?,
        epsilon: object.number("epsilon", default.epsilon, Bound::NotNegative)?,
        amsgrad: object.flag("amsgrad", default.amsgrad)?,
    })
}

/// The one way of clipping that is asked for; a limit of 0 clips nothing, as in Keras.
fn clip(object: &mut Object) -> Result<Option<Clip>, ConfigError> {
    let norm = object.optional_number("clipnorm", Bound::NotNegative)?.map(Clip::Norm);
    let value = object.optional_number("clipvalue", Bound::NotNegative)?.map(Clip::Value);
    let global = object.optional_number("global_clipnorm", Bound::NotNegative)?.map(Clip::GlobalNorm);
    if [norm, value, global].iter().flatten().count() > 1 {
        return Err(
            object.unsupported("only one of 'clipnorm', 'clipvalue' and 'global_clipnorm' can be set")
        );
    }
    let clips = |clip: &Clip| {
        let (Clip::Norm(limit) | Clip::Value(limit) | Clip::GlobalNorm(limit)) = clip;
        *limit > 0.0
    };
    Ok(norm.or(value).or(global).filter(clips))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_keras() {
        let sgd: OptimizerConfig = "SGD".parse().unwrap();
        assert_eq!(sgd, OptimizerConfig::new(OptimizerKind::Sgd(SgdConfig::default()), 0.01));
        let adamw: OptimizerConfig = "adam_w".parse().unwrap();
        assert_eq!(adamw.weight_decay, Some(0.004));
        assert_eq!(adamw, OptimizerConfig::new(OptimizerKind::AdamW(AdamConfig::default()), 0.001));
    }

    #[test]
    fn every_optimizer_is_written_and_read_back() {
        let texts = [
            r#"{"name": "sgd", "momentum": 0.9, "nesterov": true, "clipnorm": 1.0}"#,
            r#"{"name": "rmsprop", "centered": true, "clipvalue": 0.5, "momentum": 0.1, "rho": 0.8}"#,
            r#"{"name": "adam", "amsgrad": true, "global_clipnorm": 2, "epsilon": 1e-3, "beta_1": 0.8}"#,
            r#"{"name": "adamw", "weight_decay": 0.1, "learning_rate": {"name": "CosineDecay",
                "initial_learning_rate": 0.1, "decay_steps": 10}}"#,
        ];
        for text in texts {
            let config: OptimizerConfig = text.parse().unwrap();
            assert_eq!(OptimizerConfig::from_json(&config.to_json()), Ok(config.clone()));
            let state = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<OptimizerConfig>(&state).unwrap(), config);
        }
    }

    #[test]
    fn what_keras_2_wrote_is_read() {
        let old = r#"{"class_name": "Adam", "config": {"name": "Adam", "weight_decay": null, "use_ema": false,
            "ema_momentum": 0.99, "jit_compile": true, "is_legacy_optimizer": false, "learning_rate": 0.001}}"#;
        let legacy =
            r#"{"class_name": "Adam", "config": {"name": "Adam", "learning_rate": 0.001, "decay": 0.0}}"#;
        let adam = OptimizerConfig::new(OptimizerKind::Adam(AdamConfig::default()), 0.001);
        assert_eq!((old.parse(), legacy.parse()), (Ok(adam.clone()), Ok(adam)));
        let decaying = legacy.replace("0.0}", "0.1}").parse::<OptimizerConfig>();
        assert!(decaying.unwrap_err().to_string().contains("'decay' is not supported"));
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let message = |text: &str| text.parse::<OptimizerConfig>().unwrap_err().to_string();
        assert_eq!(message("lion"), "unknown optimizer 'lion'; known are sgd, rmsprop, adam, adamw");
        assert!(message(r#"{"name": "adam", "use_ema": true}"#).contains("'use_ema' is not supported"));
        assert!(message(r#"{"name": "adam", "clipnorm": 1, "clipvalue": 1}"#).contains("only one of"));
        assert!(message(r#"{"name": "sgd", "momentum": 2}"#).contains("from 0 to 1"));
        assert!(message(r#"{"name": "sgd", "beta_1": 0.9}"#).contains("has no option 'beta_1'"));
        assert!(message(r#"{"name": "sgd", "learning_rate": "fast"}"#).contains("unknown learning rate"));
    }
}
