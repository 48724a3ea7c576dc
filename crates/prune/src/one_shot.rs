//! Pruning at once.

use litesmith_graph::Model;
use litesmith_kernels::ThreadPool;

use crate::error::PruneError;
use crate::layers::Layer;
use crate::mask::{Weights, masks};
use crate::plan::{Decision, Options, Outcome, plan};

/// Makes the smallest weights of a model zero. Returns what became of each layer.
///
/// # Errors
/// If a setting makes no sense, no layer would be pruned, or the model contradicts itself.
pub fn prune(model: &mut Model, options: &Options, pool: &ThreadPool) -> Result<Vec<Outcome>, PruneError> {
    let planned = plan(model, options)?;
    let values: Vec<Vec<f32>> = planned.iter().map(|(layer, _)| layer.values(model, pool)).collect();
    let chosen = |(place, (layer, decision)): (usize, &(Layer, Decision))| match decision {
        Decision::Prune { structure, sparsity } => Some((
            place,
            Weights {
                matrix: layer.matrix,
                values: &values[place],
                structure: *structure,
                sparsity: *sparsity,
            },
        )),
        Decision::Keep(_) => None,
    };
    let (places, weights): (Vec<usize>, Vec<Weights<'_>>) =
        planned.iter().enumerate().filter_map(chosen).unzip();
    let masks = masks(&weights, options.global);
    let mut zeros: Vec<usize> = values.iter().map(|values| count(values)).collect();
    for (place, mask) in places.into_iter().zip(masks) {
        let left = values[place].iter().zip(&mask).filter(|(value, kept)| **kept && **value != 0.0).count();
        zeros[place] = values[place].len() - left;
        planned[place].0.clear(model, mask, pool);
    }
    let outcome =
        |((layer, decision), zeros): (&(Layer, Decision), usize)| Outcome::new(layer, decision, zeros);
    Ok(planned.iter().zip(zeros).map(outcome).collect())
}

fn count(values: &[f32]) -> usize {
    values.iter().filter(|value| **value == 0.0).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use crate::recipe::PruneRecipe;
    use litesmith_graph::text;

    const MODEL: &str = "parameter @a: f32[8,3,3,4] trainable = random(1)
        parameter @b: f32[16,1,1,8] trainable = random(2)
        parameter @d: f32[1,3,3,16] trainable = random(3)
        parameter @e: f32[16,10] trainable = random(4)
        graph main(%x: f32[batch,8,8,4]) -> (%y) {
          %1: f32[batch,6,6,8] = Conv2D(%x, @a, _) # wide
          %2: f32[batch,6,6,16] = Conv2D(%1, @b, _) # point
          %3: f32[batch,4,4,16] = DepthwiseConv2D(%2, @d, _) # deep
          %4: f32[batch,16] = Reduce(%3) {\"axes\":[1,2]}
          %w: f32[10,16] = Transpose(@e) {\"permutation\":[1,0]}
          %y: f32[batch,10] = FullyConnected(%4, %w, _) # dense
        }";

    fn pruned(options: &Options) -> (Model, Vec<Outcome>) {
        let mut model = text::parse(MODEL).unwrap();
        let outcomes = prune(&mut model, options, &ThreadPool::new(1)).unwrap();
        (model, outcomes)
    }

    fn pruned_names(outcomes: &[Outcome]) -> Vec<&str> {
        outcomes.iter().filter(|own| own.structure.is_some()).map(|own| own.name.as_str()).collect()
    }

    #[test]
    fn each_layer_loses_its_share() {
        let (model, outcomes) = pruned(&Options::new(0.75));
        assert_eq!(pruned_names(&outcomes), ["wide", "point", "dense"]);
        for (outcome, parameter) in outcomes.iter().zip(&model.parameters) {
            let share = parameter.data.elements::<f32>().iter().filter(|value| **value == 0.0).count() as f64
                / outcome.weights as f64;
            assert_eq!(share, outcome.sparsity, "{}", outcome.name);
            assert_eq!(share, if outcome.name == "deep" { 0.0 } else { 0.75 });
        }
    }

    #[test]
    fn policies_and_recipes_choose() {
        let mut options = Options::new(0.5);
        options.policy = Policy::Xnnpack;
        assert_eq!(pruned_names(&pruned(&options).1), ["point"]);
        options.recipe = PruneRecipe::from_toml(
            "[[rule]]\nlayers = \"d*\"\nskip = false\nsparsity = 0.9\n[[rule]]\nlayers = \"point\"\nskip = true",
        )
        .unwrap();
        let (_, outcomes) = pruned(&options);
        assert_eq!(pruned_names(&outcomes), ["deep", "dense"]);
        assert_eq!(outcomes[3].sparsity, 0.9);
        options.recipe = PruneRecipe::from_toml("[[rule]]\nskip = true").unwrap();
        let mut model = text::parse(MODEL).unwrap();
        assert!(matches!(prune(&mut model, &options, &ThreadPool::new(1)), Err(PruneError::Nothing(_))));
    }

    #[test]
    fn blocks_and_patterns_reach_the_sources_layout() {
        let mut options = Options::new(0.5);
        options.structure = "block:4x2".parse().unwrap();
        let (model, _) = pruned(&options);
        // `[in, out]`: blocks of 2 x 4; the last output channels make blocks of 2 x 2.
        let dense = model.parameters[3].data.elements::<f32>().into_owned();
        for (row, column) in (0..16).step_by(2).flat_map(|row| (0..10).step_by(4).map(move |c| (row, c))) {
            let width = 4.min(10 - column);
            let zeros =
                |row: usize| dense[row * 10 + column..][..width].iter().filter(|x| **x == 0.0).count();
            assert!([0, 2 * width].contains(&(zeros(row) + zeros(row + 1))), "{row} {column}");
        }
        options.structure = "2:4".parse().unwrap();
        let (model, _) = pruned(&options);
        let dense = model.parameters[3].data.elements::<f32>().into_owned();
        for (row, column) in (0..16).step_by(4).flat_map(|row| (0..10).map(move |column| (row, column))) {
            assert_eq!((row..row + 4).filter(|row| dense[row * 10 + column] == 0.0).count(), 2);
        }
    }
}
