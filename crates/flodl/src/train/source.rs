//! Where a trainer's batches come from.

use std::collections::VecDeque;

use crate::{Batch, DataLoader, Result, StreamLoader};

/// The batches of a [`crate::Trainer`]: a [`DataLoader`]'s or a [`StreamLoader`]'s.
pub enum BatchSource {
    /// Batches of a data set with an index.
    Map(Box<DataLoader>),
    /// Batches of a source that is read from front to back.
    Stream(StreamLoader),
}

impl From<DataLoader> for BatchSource {
    fn from(loader: DataLoader) -> Self {
        BatchSource::Map(Box::new(loader))
    }
}

impl From<StreamLoader> for BatchSource {
    fn from(loader: StreamLoader) -> Self {
        BatchSource::Stream(loader)
    }
}

impl BatchSource {
    /// Samples of an epoch; 0 where nobody knows.
    pub(super) fn samples(&self) -> usize {
        match self {
            BatchSource::Map(loader) => loader.samples(),
            BatchSource::Stream(_) => 0,
        }
    }

    pub(super) fn setup(&mut self) -> Vec<(&'static str, String)> {
        match self {
            BatchSource::Map(loader) => loader.setup(),
            BatchSource::Stream(loader) => loader.setup(),
        }
    }

    /// The batches of an epoch from one on.
    pub(super) fn epoch_from(&mut self, epoch: usize, first: usize) -> Result<Batches> {
        Ok(match self {
            BatchSource::Map(loader) => {
                let batches = loader.epoch_from(epoch, first)?;
                let left = Some(batches.len());
                Batches { inner: Box::new(batches), left, ahead: VecDeque::new() }
            }
            BatchSource::Stream(loader) => {
                let inner = Box::new(loader.epoch_from(epoch, first)?);
                Batches { inner, left: None, ahead: VecDeque::new() }
            }
        })
    }
}

/// Batches that know whether there are more.
pub(super) struct Batches {
    inner: Box<dyn Iterator<Item = Result<Batch>>>,
    /// How many the inner ones are; `None` for a stream, which is asked ahead.
    left: Option<usize>,
    ahead: VecDeque<Result<Batch>>,
}

impl Batches {
    /// How many batches there are, counted up to `most`.
    pub fn upcoming(&mut self, most: usize) -> usize {
        if let Some(left) = self.left {
            return left.min(most);
        }
        while self.ahead.len() < most {
            match self.inner.next() {
                Some(batch) => self.ahead.push_back(batch),
                None => break,
            }
        }
        self.ahead.len().min(most)
    }
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.ahead.pop_front().or_else(|| self.inner.next());
        if batch.is_some() {
            self.left = self.left.map(|n| n.saturating_sub(1));
        }
        batch
    }
}
