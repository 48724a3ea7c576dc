//! Batches in order, prepared ahead on another thread.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::{io, panic};

use crate::targets::Target;
use crate::{Array, DataError, Dataset};

/// Batches that may wait ready besides the one being prepared.
const AHEAD: usize = 2;

/// Some samples with what is known about them.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The samples' places in the data set.
    pub indices: Vec<usize>,
    /// One array per input; see [`Dataset::batch`].
    pub inputs: Vec<Array>,
    /// What the model should give; see [`Dataset::targets`].
    pub targets: Vec<Target>,
}

impl Batch {
    /// The number of samples.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// The samples' classes, if the first target is classes.
    pub fn labels(&self) -> Option<&[u32]> {
        self.targets.first()?.labels.as_deref()
    }

    /// Whether there are no samples, which no batch of [`Batches`] has.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }
}

/// The iterator of [`Dataset::batches`]. It ends after the first error.
#[derive(Debug)]
pub struct Batches {
    ready: Option<Receiver<Result<Batch, DataError>>>,
    worker: Option<JoinHandle<()>>,
    left: usize,
}

impl Batches {
    pub(crate) fn start(set: Dataset, indices: Vec<usize>, size: usize) -> Self {
        let left = indices.len().div_ceil(size);
        let (send, ready) = sync_channel(AHEAD);
        let fallback = send.clone();
        let work = move || prepare(&set, &indices, size, &send);
        let worker = match thread::Builder::new().name("litesmith-data".to_owned()).spawn(work) {
            Ok(worker) => Some(worker),
            Err(error) => {
                // The channel has room for it and a receiver, so sending cannot fail.
                let _ = fallback.send(Err(no_thread(error)));
                None
            }
        };
        Self { ready: Some(ready), worker, left }
    }
}

fn no_thread(source: io::Error) -> DataError {
    DataError::Io { path: "thread that reads the data".into(), source }
}

fn prepare(set: &Dataset, indices: &[usize], size: usize, send: &SyncSender<Result<Batch, DataError>>) {
    for indices in indices.chunks(size) {
        let batch = batch(set, indices);
        let failed = batch.is_err();
        // Nobody listens any more once the iterator is dropped.
        if send.send(batch).is_err() || failed {
            return;
        }
    }
}

fn batch(set: &Dataset, indices: &[usize]) -> Result<Batch, DataError> {
    Ok(Batch {
        inputs: set.gather(indices)?,
        targets: set.targets().iter().map(|target| target.select(indices)).collect::<Result<_, _>>()?,
        indices: indices.to_vec(),
    })
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.ready.as_ref()?.recv().ok();
        self.left = self.left.saturating_sub(1);
        if !matches!(next, Some(Ok(_))) {
            self.left = 0;
            self.ready = None;
            // Everything was sent before the thread ended, unless it panicked.
            if let Some(Err(panic)) = self.worker.take().map(JoinHandle::join) {
                panic::resume_unwind(panic);
            }
        }
        next
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.ready = None;
        if let Some(worker) = self.worker.take() {
            // A panic of the worker has been shown by its hook; there is nobody left to tell.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ElementType, InputSpec, Options};

    fn numbers(values: &[f32]) -> Dataset {
        let inputs = [InputSpec::new("x", &[Some(1)], ElementType::F32)];
        let array = Array::from_slice(&[values.len(), 1], values).unwrap();
        let labels: Vec<u32> = (0..values.len() as u32).rev().collect();
        let targets = Array::from_slice(&[values.len()], &labels).unwrap();
        Dataset::from_arrays(vec![array], vec![targets], &inputs, &Options::default()).unwrap()
    }

    #[test]
    fn every_sample_comes_once_and_in_order() {
        let set = numbers(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let batches: Vec<Batch> = set.batches(3).unwrap().map(Result::unwrap).collect();
        let sizes: Vec<usize> = batches.iter().map(Batch::len).collect();
        assert_eq!(sizes, [3, 3, 1]);
        let values: Vec<f32> = batches.iter().flat_map(|batch| batch.inputs[0].to_f32().to_vec()).collect();
        assert_eq!(values, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(batches[1].labels(), Some([3, 2, 1].as_slice()));
        assert_eq!(batches[1].targets[0].values.shape(), [3]);
    }

    #[test]
    fn any_order_can_be_asked_for() {
        let set = numbers(&[0.0, 1.0, 2.0, 3.0]);
        let batches: Vec<Batch> = set.batches_of(vec![3, 0, 3], 2).unwrap().map(Result::unwrap).collect();
        assert_eq!((batches[0].indices.as_slice(), batches[1].indices.as_slice()), (&[3, 0][..], &[3][..]));
        assert_eq!(*batches[0].inputs[0].to_f32(), [3.0, 0.0]);
        assert!(set.batches_of(vec![4], 2).is_err());
    }

    #[test]
    fn an_error_ends_the_batches() {
        let mut values = vec![0.0; 20];
        values[5] = f32::NAN;
        let results: Vec<_> = numbers(&values).batches(2).unwrap().collect();
        assert_eq!(results.len(), 3);
        assert!(matches!(&results[2], Err(DataError::NotFinite { position, .. }) if position[0] == 5));
    }

    #[test]
    fn dropping_early_does_not_hang() {
        let mut batches = numbers(&[0.0; 1000]).batches(1).unwrap();
        assert_eq!(batches.size_hint(), (0, Some(1000)));
        assert!(batches.next().unwrap().is_ok());
        drop(batches);
    }
}
