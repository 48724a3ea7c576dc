//! Recipes: which layers become what. A TOML file of ordered rules; later rules win.
//!
//! ```toml
//! [[rule]]
//! layers = "block_1_*"        # a pattern with * and ?; all layers where left out
//! operators = ["CONV_2D"]     # TFLite's names; all operators where left out
//! skip = true                 # stays float
//!
//! [[rule]]
//! operators = ["FULLY_CONNECTED"]
//! granularity = "per-tensor"  # of the weights; per-channel is the default
//! ```

use litesmith_graph::pattern::matches;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::observer::Observer;
use crate::repair::Repair;
use crate::weights::Grid;

/// Ordered rules; later ones win.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The rules.
    #[serde(default, rename = "rule")]
    pub rules: Vec<Rule>,
}

/// What some layers become.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Pattern of layer names (`*` any text, `?` any character); all where left out.
    pub layers: Option<String>,
    /// TFLite names of operators; all where left out.
    pub operators: Option<Vec<String>>,
    /// Whether the layers stay float.
    pub skip: Option<bool>,
    /// Bits of weights, 8 or 4. Integers of 4 bits are stored in 8: it shows what they would cost.
    pub bits: Option<u32>,
    /// How many scales weights have.
    pub granularity: Option<Granularity>,
    /// How ranges of activations are found.
    pub observer: Option<ObserverKind>,
    /// For `observer = "percentile"`: the percentage of elements below the upper end.
    pub percentile: Option<f64>,
    /// For `observer = "ema"`: the weight of what came before.
    pub decay: Option<f64>,
    /// Whether weights and biases are repaired: `default` or `none`.
    pub repair: Option<Repair>,
}

impl Rule {
    /// The observer that the rule asks for.
    fn observer(&self) -> Option<Observer> {
        Some(match self.observer? {
            ObserverKind::MinMax => Observer::MinMax,
            ObserverKind::Ema => Observer::Ema { decay: self.decay.unwrap_or(Observer::DECAY) },
            ObserverKind::Percentile => {
                Observer::Percentile { percentile: self.percentile.unwrap_or(Observer::PERCENTILE) }
            }
            ObserverKind::Mse => Observer::Mse,
            ObserverKind::Entropy => Observer::Entropy,
        })
    }
}

/// How many scales weights have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Granularity {
    /// One for each output channel.
    #[default]
    PerChannel,
    /// One.
    PerTensor,
}

/// How the range of an activation is found: the kinds of [`Observer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "Observer documents each")]
pub enum ObserverKind {
    MinMax,
    Ema,
    Percentile,
    Mse,
    Entropy,
}

/// A recipe that cannot be followed.
#[derive(Debug, Error)]
pub enum RecipeError {
    /// It is no recipe.
    #[error("this is no recipe: {0}")]
    Broken(#[from] toml::de::Error),
    /// A rule asks for something that is not supported.
    #[error("rule {rule} of the recipe asks for {bits} bits; 8 and 4 are supported")]
    Bits {
        /// Which rule, from 1.
        rule: usize,
        /// The bits.
        bits: u32,
    },
    /// A rule asks for more repair than layers can have by themselves.
    #[error(
        "rule {rule} of the recipe: a layer's repair is \"default\" or \"none\"; --repair auto is for the whole model"
    )]
    Repair {
        /// Which rule, from 1.
        rule: usize,
    },
    /// A rule gives an observer a number that it does not take.
    #[error("rule {rule} of the recipe: {reason}")]
    Observer {
        /// Which rule, from 1.
        rule: usize,
        /// Why it does not.
        reason: String,
    },
}

/// What one layer becomes.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub(crate) struct Choice {
    pub(crate) skip: bool,
    pub(crate) granularity: Granularity,
    bits: Option<u32>,
    pub(crate) observer: Option<Observer>,
    pub(crate) repair: Option<Repair>,
}

impl Choice {
    /// Bits of weights.
    pub(crate) fn weight_bits(&self) -> u32 {
        self.bits.unwrap_or(8)
    }

    /// Which integers weights become.
    pub(crate) fn grid(&self) -> Grid {
        Grid::new(self.granularity, self.weight_bits())
    }
}

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// If the text is none or asks for something that is not supported.
    pub fn from_toml(text: &str) -> Result<Recipe, RecipeError> {
        let recipe: Recipe = toml::from_str(text)?;
        for (index, rule) in recipe.rules.iter().enumerate() {
            if let Some(bits) = rule.bits.filter(|bits| ![4, 8].contains(bits)) {
                return Err(RecipeError::Bits { rule: index + 1, bits });
            }
            if rule.repair == Some(Repair::Auto) {
                return Err(RecipeError::Repair { rule: index + 1 });
            }
            let lonely = |given: bool, kind| given && rule.observer != Some(kind);
            let reason = if lonely(rule.percentile.is_some(), ObserverKind::Percentile) {
                Some("percentile needs observer = \"percentile\"".to_owned())
            } else if lonely(rule.decay.is_some(), ObserverKind::Ema) {
                Some("decay needs observer = \"ema\"".to_owned())
            } else {
                rule.observer().and_then(|observer| observer.check().err())
            };
            if let Some(reason) = reason {
                return Err(RecipeError::Observer { rule: index + 1, reason });
            }
        }
        Ok(recipe)
    }

    /// The observers that rules ask for.
    pub fn observers(&self) -> impl Iterator<Item = Observer> + '_ {
        self.rules.iter().filter_map(Rule::observer)
    }

    /// Adds a rule that keeps layers float.
    pub fn keep_float(&mut self, layers: &str) {
        self.rules.push(Rule { layers: Some(layers.to_owned()), skip: Some(true), ..Rule::default() });
    }

    /// Patterns of rules that match none of these layers: most likely misspelt.
    #[must_use]
    pub fn unused_patterns(&self, layers: &[&str]) -> Vec<&str> {
        let patterns = self.rules.iter().filter_map(|rule| rule.layers.as_deref());
        patterns.filter(|pattern| !layers.iter().any(|layer| matches(pattern, layer))).collect()
    }

    /// What a layer with this operator becomes. `names` are all that the layer is known by.
    pub(crate) fn choice(&self, names: &[&str], operator: &str) -> Choice {
        let mut choice = Choice::default();
        for rule in &self.rules {
            let layer =
                rule.layers.as_deref().is_none_or(|pattern| names.iter().any(|name| matches(pattern, name)));
            let named =
                rule.operators.as_ref().is_none_or(|operators| operators.iter().any(|name| name == operator));
            if layer && named {
                choice.skip = rule.skip.unwrap_or(choice.skip);
                choice.granularity = rule.granularity.unwrap_or(choice.granularity);
                choice.bits = rule.bits.or(choice.bits);
                choice.observer = rule.observer().or(choice.observer);
                choice.repair = rule.repair.or(choice.repair);
            }
        }
        if choice.weight_bits() != 8 {
            // Repairs know the grid of 8 bits.
            choice.repair = Some(Repair::None);
        }
        choice
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_rules_win() {
        let text = "
            [[rule]]
            layers = \"block_?_*\"
            skip = true
            [[rule]]
            operators = [\"ADD\"]
            granularity = \"per-tensor\"
            [[rule]]
            layers = \"*_expand\"
            skip = false
        ";
        let recipe = Recipe::from_toml(text).unwrap();
        assert!(recipe.choice(&["block_1_add"], "ADD").skip);
        assert_eq!(recipe.choice(&["block_1_add"], "ADD").granularity, Granularity::PerTensor);
        assert!(!recipe.choice(&["block_1_expand"], "CONV_2D").skip);
        assert!(!recipe.choice(&["block_12_add"], "ADD").skip);
        assert_eq!(recipe.unused_patterns(&["block_1_add"]), ["*_expand"]);
    }

    #[test]
    fn observers_take_their_numbers() {
        let text = "[[rule]]\nobserver = \"percentile\"\npercentile = 99.5\n[[rule]]\nlayers = \"x\"\nobserver = \"ema\"";
        let recipe = Recipe::from_toml(text).unwrap();
        let chosen = |layer| recipe.choice(&[layer], "ADD").observer;
        assert_eq!(chosen("y"), Some(Observer::Percentile { percentile: 99.5 }));
        assert_eq!(chosen("x"), Some(Observer::Ema { decay: Observer::DECAY }));
        assert_eq!(recipe.observers().count(), 2);
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        assert!(matches!(
            Recipe::from_toml("[[rule]]\nbits = 5"),
            Err(RecipeError::Bits { rule: 1, bits: 5 })
        ));
        assert!(Recipe::from_toml("[[rule]]\nlayer = \"x\"").is_err());
        assert!(Recipe::from_toml("[[rule]]\nobserver = \"median\"").is_err());
        assert!(matches!(
            Recipe::from_toml("[[rule]]\n[[rule]]\nrepair = \"auto\""),
            Err(RecipeError::Repair { rule: 2 })
        ));
        for numbers in ["percentile = 99.0", "observer = \"percentile\"\npercentile = 50.0", "decay = 0.5"] {
            let recipe = Recipe::from_toml(&format!("[[rule]]\n{numbers}"));
            assert!(matches!(recipe, Err(RecipeError::Observer { rule: 1, .. })), "{numbers}");
        }
    }
}
