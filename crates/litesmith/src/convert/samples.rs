//! What the source and the result are run on: calibration samples, else seeded numbers.

use litesmith_graph::Model;
use litesmith_runtime::{Array, TensorInfo};

use super::ConvertOptions;
use crate::error::Error;
use crate::feed::Feed;
use crate::seeded::{seeded_input, with_sizes};

/// Number of seeded samples for the check.
const SEEDED: usize = 2;

/// Samples for the inputs of a model.
pub(super) struct Samples {
    feed: Option<Feed>,
    infos: Vec<TensorInfo>,
    /// The same inputs with sizes that fit the model, where sizes are free.
    seeded: Vec<TensorInfo>,
}

impl Samples {
    pub(super) fn open(model: &Model, options: &ConvertOptions) -> Result<Samples, Error> {
        let graph = model.main();
        let info = |id: &litesmith_graph::TensorId| TensorInfo {
            name: graph[*id].name.clone(),
            tensor: *id,
            dtype: graph[*id].dtype,
            shape: graph[*id].shape.clone(),
            quantization: graph[*id].quantization.clone(),
        };
        let infos: Vec<TensorInfo> = graph.inputs.iter().map(info).collect();
        // Ranges are measured one sample at a time, so that an unfit one can be named.
        let feed = match &options.calibration {
            Some(data) => Some(Feed::open(model, &infos, data)?.with_batch(1)),
            None => None,
        };
        let seeded = with_sizes(model, &infos, 1);
        Ok(Samples { feed, infos, seeded })
    }

    /// The inputs that samples are for.
    pub(super) fn inputs(&self) -> &[TensorInfo] {
        &self.infos
    }

    pub(super) fn feed(&self) -> Option<&Feed> {
        self.feed.as_ref()
    }

    /// How many runs [`Samples::each`] makes.
    pub(super) fn count(&self, most: usize) -> usize {
        self.feed.as_ref().map_or(SEEDED, Feed::len).min(most)
    }

    /// Shows the inputs of up to `most` runs, and how many samples each holds: those of the data, else
    /// seeded ones that are valid for their types.
    ///
    /// # Errors
    /// Those of `run`, and what is wrong with the data.
    pub(super) fn each(
        &self,
        most: usize,
        mut run: impl FnMut(&[Array], usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if let Some(feed) = &self.feed {
            return feed.batches()?.take(most).try_for_each(|fed| {
                let fed = fed?;
                run(&fed.arrays, fed.samples)
            });
        }
        (0..SEEDED.min(most) as u64).try_for_each(|seed| {
            let inputs = self.seeded.iter().map(|info| seeded_input(info, seed));
            run(&inputs.collect::<Result<Vec<_>, _>>()?, 1)
        })
    }
}
