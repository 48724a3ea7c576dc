//! Recipes: which layers are pruned how far and how. A TOML file of ordered rules; later rules win.
//!
//! ```toml
//! [[rule]]
//! layers = "block_1_*"        # a pattern with * and ?; all layers where left out
//! operators = ["CONV_2D"]     # TFLite's names; all operators where left out
//! skip = true                 # keeps all weights
//!
//! [[rule]]
//! operators = ["FULLY_CONNECTED"]
//! skip = false                # pruned even where the policy says no
//! sparsity = 0.9
//! structure = "block:16x4"
//! ```

use litesmith_graph::pattern::matches;
use serde::{Deserialize, Serialize};

use crate::error::PruneError;
use crate::layers::Layer;
use crate::structure::Structure;

/// Ordered rules; later ones win.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneRecipe {
    /// The rules.
    #[serde(default, rename = "rule")]
    pub rules: Vec<PruneRule>,
}

/// How some layers are pruned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneRule {
    /// Pattern of layer names (`*` any text, `?` any character); all where left out.
    pub layers: Option<String>,
    /// TFLite names of operators; all where left out.
    pub operators: Option<Vec<String>>,
    /// Whether the layers keep all weights; `false` prunes them whatever the policy says.
    pub skip: Option<bool>,
    /// Which share of their weights goes, in `[0, 1)`.
    pub sparsity: Option<f32>,
    /// What of them is pruned together.
    pub structure: Option<Structure>,
}

/// What the rules say of one layer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Choice {
    pub(crate) skip: Option<bool>,
    pub(crate) sparsity: Option<f32>,
    pub(crate) structure: Option<Structure>,
}

impl PruneRecipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// If the text is none, or a share is not in `[0, 1)`.
    pub fn from_toml(text: &str) -> Result<PruneRecipe, PruneError> {
        let recipe: PruneRecipe = toml::from_str(text)?;
        for (index, rule) in recipe.rules.iter().enumerate() {
            if let Some(share) = rule.sparsity.filter(|share| !(0.0..1.0).contains(share)) {
                return Err(PruneError::Setting(format!(
                    "rule {} of the recipe asks for a sparsity of {share}: it must be at least 0 and below 1",
                    index + 1
                )));
            }
        }
        Ok(recipe)
    }

    /// Patterns of rules that match none of these layers: most likely misspelt.
    #[must_use]
    pub fn unused_patterns(&self, layers: &[Layer]) -> Vec<&str> {
        let fits =
            |pattern: &str| layers.iter().any(|layer| layer.names.iter().any(|name| matches(pattern, name)));
        let patterns = self.rules.iter().filter_map(|rule| rule.layers.as_deref());
        patterns.filter(|pattern| !fits(pattern)).collect()
    }

    pub(crate) fn choice(&self, layer: &Layer) -> Choice {
        let mut choice = Choice::default();
        for rule in &self.rules {
            let called = |pattern: &String| layer.names.iter().any(|name| matches(pattern, name));
            let named = |operators: &Vec<String>| operators.contains(&layer.operator);
            if rule.layers.as_ref().is_none_or(called) && rule.operators.as_ref().is_none_or(named) {
                choice.skip = rule.skip.or(choice.skip);
                choice.sparsity = rule.sparsity.or(choice.sparsity);
                choice.structure = rule.structure.or(choice.structure);
            }
        }
        choice
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::layers;
    use litesmith_graph::text;

    #[test]
    fn later_rules_win() {
        let model = text::parse(
            "graph main(%x: f32[1,4]) -> (%y) {
               %w: f32[4,4] = random(1)
               %h: f32[1,4] = FullyConnected(%x, %w, _) # first
               %v: f32[4,4] = random(2)
               %y: f32[1,4] = FullyConnected(%h, %v, _) # second
             }",
        )
        .unwrap();
        let found = layers(&model).unwrap();
        let recipe = PruneRecipe::from_toml(
            "[[rule]]
             operators = [\"FULLY_CONNECTED\"]
             sparsity = 0.9
             structure = \"2:4\"
             [[rule]]
             layers = \"s?cond\"
             skip = true
             sparsity = 0.5
             [[rule]]
             layers = \"third\"
             skip = false",
        )
        .unwrap();
        let two_of_four = Some(Structure::NOfM { keep: 2, of: 4 });
        let first = Choice { skip: None, sparsity: Some(0.9), structure: two_of_four };
        assert_eq!(recipe.choice(&found[0]), first);
        assert_eq!(recipe.choice(&found[1]), Choice { skip: Some(true), sparsity: Some(0.5), ..first });
        assert_eq!(recipe.unused_patterns(&found), ["third"]);
    }

    #[test]
    fn what_is_no_recipe_is_refused() {
        for text in ["[[rule]]\nsparsity = 1.0", "[[rule]]\nstructure = \"rings\"", "[[rule]]\nlayer = \"x\""]
        {
            assert!(PruneRecipe::from_toml(text).is_err(), "{text}");
        }
    }
}
