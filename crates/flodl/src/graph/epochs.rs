//! A graph that holds the loader of its batches.

use super::Graph;
use crate::data::EpochIter;
use crate::{Batch, DataLoader, Error, Result, Variable};

/// A loader and which tensors of a batch go into the graph.
pub(super) struct Feed {
    loader: DataLoader,
    /// The name of the main input, then those of the others in their order.
    inputs: Vec<String>,
}

/// The batches of an epoch that is not begun yet; made by [`Graph::epoch`]. `for` begins it.
pub enum GraphEpochIterator<'a> {
    /// On one device: the graph and the number of the epoch.
    Single(&'a Graph, usize),
}

impl<'a> GraphEpochIterator<'a> {
    /// Begins the epoch. What hinders it, such as a graph without a loader, is its first item.
    pub fn activate(self) -> ActiveGraphEpochIterator<'a> {
        let GraphEpochIterator::Single(graph, epoch) = self;
        let begun = match &mut *graph.feed.borrow_mut() {
            Some(feed) => feed.loader.epoch(epoch),
            None => Err(Error::Graph("epoch: no loader, give one to set_data_loader".into())),
        };
        let (batches, error) = match begun {
            Ok(batches) => (Some(batches), None),
            Err(error) => (None, Some(error)),
        };
        ActiveGraphEpochIterator { graph, batches, error }
    }
}

impl<'a> IntoIterator for GraphEpochIterator<'a> {
    type Item = Result<Batch>;
    type IntoIter = ActiveGraphEpochIterator<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.activate()
    }
}

/// The batches of an epoch. Dropping it early stops its threads.
pub struct ActiveGraphEpochIterator<'a> {
    graph: &'a Graph,
    batches: Option<EpochIter>,
    error: Option<Error>,
}

impl<'a> ActiveGraphEpochIterator<'a> {
    /// The graph that they are for.
    pub fn graph(&self) -> &'a Graph {
        self.graph
    }
}

impl Iterator for ActiveGraphEpochIterator<'_> {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.error.take() {
            Some(error) => Some(Err(error)),
            None => self.batches.as_mut()?.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.batches.as_ref().map_or(0, ExactSizeIterator::len);
        let left = left + usize::from(self.error.is_some());
        (left, Some(left))
    }
}

impl ExactSizeIterator for ActiveGraphEpochIterator<'_> {}

impl Graph {
    /// Gives the graph the loader of its batches, for [`Graph::epoch`] and
    /// [`Graph::forward_batch`]. `input` is the name, among those of [`DataLoader::names`], of the
    /// tensor that is the main input; those that are named like the graph's other inputs are theirs,
    /// and the rest, such as targets, stay in the batch.
    ///
    /// ```
    /// use flodl::*;
    /// let x = Tensor::randn(&[10, 4], TensorOptions::default())?;
    /// let y = Tensor::randn(&[10, 1], TensorOptions::default())?;
    /// let loader = DataLoader::new(TensorDataset::new(vec![x, y])?, 4).shuffle(1).names(&["x", "y"]);
    /// let model = FlowBuilder::from(Linear::new(4, 1)?).build()?;
    /// model.set_data_loader(loader, "x")?;
    /// let mut optimizer = SGD::new(&model.parameters(), 0.1, 0.0);
    /// for epoch in 0..2 {
    ///     for batch in model.epoch(epoch) {
    ///         let batch = batch?;
    ///         let loss = mse_loss(&model.forward_batch(&batch)?, &batch.variable(1))?;
    ///         optimizer.zero_grad();
    ///         loss.backward()?;
    ///         optimizer.step()?;
    ///     }
    /// }
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// When the loader has no tensor of one of these names; then the graph keeps the loader that it
    /// had.
    pub fn set_data_loader(&self, loader: DataLoader, input: &str) -> Result<()> {
        let others = self.inputs.iter().map(|(name, _)| name.clone());
        let inputs: Vec<String> = std::iter::once(input.to_owned()).chain(others).collect();
        let have = loader.batch_names();
        if let Some(missing) = inputs.iter().find(|name| !have.contains(name)) {
            return Err(Error::Graph(format!(
                "set_data_loader: the batches have no \"{missing}\"; there are {have:?}"
            )));
        }
        self.feed.replace(Some(Feed { loader, inputs }));
        Ok(())
    }

    /// The batches of an epoch, from the loader of [`Graph::set_data_loader`].
    pub fn epoch(&self, epoch: usize) -> GraphEpochIterator<'_> {
        GraphEpochIterator::Single(self, epoch)
    }

    /// Runs the graph on those tensors of a batch that [`Graph::set_data_loader`] says.
    ///
    /// # Errors
    /// When there is no loader, the batch lacks an input, or a module fails.
    pub fn forward_batch(&self, batch: &Batch) -> Result<Variable> {
        let inputs = match &*self.feed.borrow() {
            None => {
                Err(Error::Graph("forward_batch: no loader, give one to set_data_loader".into()))
            }
            Some(feed) => {
                let value = |name: &String| match batch.get_named(name) {
                    Some(tensor) => Ok(Variable::new(tensor.clone(), false)),
                    None => Err(Error::Graph(format!(
                        "forward_batch: the batch has no \"{name}\"; there are {:?}",
                        batch.names()
                    ))),
                };
                feed.inputs.iter().map(value).collect::<Result<Vec<_>>>()
            }
        }?;
        self.forward_multi(&inputs)
    }
}
