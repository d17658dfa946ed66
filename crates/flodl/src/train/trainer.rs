//! [`Trainer`]: what a run is made of.

use super::{BatchSource, StopFlag};
use crate::{
    Batch, DType, EpochRecord, ExponentialMovingAverage, GradScaler, Metric, Module, Optimizer,
    PlateauMode, PlateauScheduler, Result, RunCheckpoints, Scheduler, Stateful, Variable,
};

/// Why a run ended before its last epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The metric of this name did not improve any more.
    NoImprovement(String),
    /// A [`StopFlag`] or Ctrl-C asked for it.
    Asked,
    /// A callback asked for it.
    Callback,
}

/// What a run reached.
#[derive(Clone, Debug, Default)]
pub struct TrainReport {
    /// The epochs, those before a resume included.
    pub history: Vec<EpochRecord>,
    /// Optimizer steps in all.
    pub steps: usize,
    /// Why it ended early, if it did.
    pub stopped: Option<StopReason>,
    /// The step that it was resumed at, if it was.
    pub resumed_at: Option<usize>,
}

type Loss<'a> = Box<dyn FnMut(&Variable, &Batch) -> Result<Variable> + 'a>;
type Forward<'a, M> = Box<dyn FnMut(&M, &Batch) -> Result<Variable> + 'a>;
type Callback<'a, M> = Box<dyn FnMut(&EpochRecord, &M) -> Result<bool> + 'a>;

pub(super) struct EarlyStop {
    pub metric: String,
    pub mode: PlateauMode,
    pub patience: usize,
}

pub(super) enum Clip {
    Norm(f64),
    Value(f64),
}

/// The training loop: batches, steps, schedule, validation, checkpoints, progress.
///
/// A run with [`Trainer::checkpoints`] that was killed, or stopped by Ctrl-C, goes on where it was
/// when the same program is started again, and ends in the same weights, bit by bit, as one that was
/// not. A save is refused by a run whose model or data loader is set up otherwise.
///
/// What a model carries from one forward to the next (graphs with forward references) is carried
/// from batch to batch without its gradient, and forgotten when an epoch or the validation begins
/// or ends.
///
/// ```
/// use flodl::*;
/// manual_seed(0);
/// let x = Tensor::randn(&[64, 2], TensorOptions::default())?;
/// let y = x.sum_dim(1, true)?.gt_scalar(0.0)?.squeeze(1)?.to_dtype(DType::Int64)?;
/// let data = TensorDataset::new(vec![x, y])?;
/// let model = FlowBuilder::from(Linear::new(2, 8)?).through(ReLU).through(Linear::new(8, 2)?).build()?;
/// let mut optimizer = Adam::new(&model.parameters(), 0.05);
/// let loss = |out: &Variable, batch: &Batch| cross_entropy_loss(out, &batch.variable(1));
/// let report = Trainer::new(&model, &mut optimizer, loss)
///     .epochs(15)
///     .train(DataLoader::new(data.clone(), 16).shuffle(1))
///     .validate(DataLoader::new(data, 64))
///     .metric(Accuracy::new())
///     .clip_norm(5.0)
///     .quiet()
///     .run()?;
/// assert!(report.history.last().unwrap().get("val accuracy").unwrap() > 0.9);
/// # Ok::<(), Error>(())
/// ```
///
/// The same by hand, for loops that this does not fit:
///
/// ```
/// # use flodl::*;
/// # let model = Linear::new(2, 2)?;
/// # let mut optimizer = Adam::new(&model.parameters(), 0.05);
/// # let data = TensorDataset::new(vec![Tensor::ones(&[4, 2], TensorOptions::default())?])?;
/// # let mut loader = DataLoader::new(data, 2);
/// for epoch in 0..2 {
///     for batch in loader.epoch(epoch)? {
///         let x = Variable::new(batch?.get(0).clone(), false);
///         let loss = model.forward(&x)?.square()?.mean()?;
///         optimizer.zero_grad();
///         loss.backward()?;
///         optimizer.step()?;
///     }
/// }
/// # Ok::<(), Error>(())
/// ```
pub struct Trainer<'a, M: Module, O: Optimizer + Stateful> {
    pub(super) model: &'a M,
    pub(super) optimizer: &'a mut O,
    pub(super) loss: Loss<'a>,
    pub(super) forward: Forward<'a, M>,
    pub(super) epochs: usize,
    pub(super) train: Option<BatchSource>,
    pub(super) validate: Option<BatchSource>,
    pub(super) metrics: Vec<Box<dyn Metric + 'a>>,
    pub(super) schedule: Option<Box<dyn Scheduler + 'a>>,
    pub(super) plateau: Option<(PlateauScheduler, String)>,
    pub(super) clip: Option<Clip>,
    pub(super) accumulate: usize,
    pub(super) autocast: Option<DType>,
    pub(super) scaler: Option<GradScaler>,
    pub(super) decay: Option<f64>,
    pub(super) average: Option<ExponentialMovingAverage>,
    pub(super) early_stop: Option<EarlyStop>,
    pub(super) checkpoints: Option<RunCheckpoints>,
    pub(super) every: Option<usize>,
    pub(super) callbacks: Vec<Callback<'a, M>>,
    pub(super) stop: StopFlag,
    pub(super) ctrl_c: bool,
    pub(super) progress: bool,
}

impl<'a, M: Module, O: Optimizer + Stateful> Trainer<'a, M, O> {
    /// Trains `model` with `optimizer` on `loss`, a function of the output and the batch. The
    /// input is the batch's first tensor, what metrics compare with its second.
    pub fn new(
        model: &'a M,
        optimizer: &'a mut O,
        loss: impl FnMut(&Variable, &Batch) -> Result<Variable> + 'a,
    ) -> Self {
        Trainer {
            model,
            optimizer,
            loss: Box::new(loss),
            forward: Box::new(|model, batch| {
                model.forward(&Variable::new(batch.get(0).clone(), false))
            }),
            epochs: 1,
            train: None,
            validate: None,
            metrics: Vec::new(),
            schedule: None,
            plateau: None,
            clip: None,
            accumulate: 1,
            autocast: None,
            scaler: None,
            decay: None,
            average: None,
            early_stop: None,
            checkpoints: None,
            every: None,
            callbacks: Vec::new(),
            stop: StopFlag::new(),
            ctrl_c: false,
            progress: true,
        }
    }

    /// Number of epochs.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.epochs = epochs;
        self
    }

    /// What to train on: a [`crate::DataLoader`] or a [`crate::StreamLoader`].
    pub fn train(mut self, loader: impl Into<BatchSource>) -> Self {
        self.train = Some(loader.into());
        self
    }

    /// What to test on after each epoch.
    pub fn validate(mut self, loader: impl Into<BatchSource>) -> Self {
        self.validate = Some(loader.into());
        self
    }

    /// How a batch becomes an output, for models with several inputs.
    pub fn forward(mut self, f: impl FnMut(&M, &Batch) -> Result<Variable> + 'a) -> Self {
        self.forward = Box::new(f);
        self
    }

    /// A measure of the validation, recorded as `val` and its name.
    pub fn metric(mut self, metric: impl Metric + 'a) -> Self {
        self.metrics.push(Box::new(metric));
        self
    }

    /// The learning rate of each optimizer step. That of the first group; those of the others keep
    /// their ratio to it, as in PyTorch.
    pub fn schedule(mut self, schedule: impl Scheduler + 'a) -> Self {
        self.schedule = Some(Box::new(schedule));
        self
    }

    /// A learning rate that falls when a number of the epoch's record stops improving. Beside a
    /// [`Trainer::schedule`] it lowers the schedule's learning rate by the same share.
    pub fn plateau(mut self, schedule: PlateauScheduler, metric: &str) -> Self {
        self.plateau = Some((schedule, metric.to_owned()));
        self
    }

    /// Clips the joint norm of the gradients.
    pub fn clip_norm(mut self, max_norm: f64) -> Self {
        self.clip = Some(Clip::Norm(max_norm));
        self
    }

    /// Clips each gradient.
    pub fn clip_value(mut self, max: f64) -> Self {
        self.clip = Some(Clip::Value(max));
        self
    }

    /// Steps once for this many batches, with the mean of their gradients.
    pub fn accumulate(mut self, batches: usize) -> Self {
        self.accumulate = batches.max(1);
        self
    }

    /// Computes outputs and losses in 16 bits where that is safe, see [`crate::AutocastGuard`].
    pub fn autocast(mut self, dtype: DType) -> Self {
        self.autocast = Some(dtype);
        self
    }

    /// Scales the losses, for [`Trainer::autocast`] to f16. Steps whose gradients overflow are left
    /// out; the scale is part of a save.
    pub fn grad_scaler(mut self, scaler: GradScaler) -> Self {
        self.scaler = Some(scaler);
        self
    }

    /// Keeps an exponential moving average of the weights, see [`ExponentialMovingAverage`]: what
    /// is validated, what callbacks see, and what the model has when the run is over. A save has
    /// the weights and the averages.
    pub fn average(mut self, decay: f64) -> Self {
        self.decay = Some(decay);
        self
    }

    /// Ends the run when a number of the epoch's record has not improved for more than `patience`
    /// epochs.
    pub fn early_stop(mut self, metric: &str, mode: PlateauMode, patience: usize) -> Self {
        self.early_stop = Some(EarlyStop { metric: metric.to_owned(), mode, patience });
        self
    }

    /// Saves the run after each epoch, and resumes from the last save that is there. What a save
    /// calls its metrics are the numbers of the epoch's record.
    pub fn checkpoints(mut self, checkpoints: RunCheckpoints) -> Self {
        self.checkpoints = Some(checkpoints);
        self
    }

    /// Saves also after every so many steps.
    pub fn checkpoint_every(mut self, steps: usize) -> Self {
        self.every = Some(steps.max(1));
        self
    }

    /// Called after each epoch with its record; `false` ends the run.
    pub fn on_epoch(mut self, f: impl FnMut(&EpochRecord, &M) -> Result<bool> + 'a) -> Self {
        self.callbacks.push(Box::new(f));
        self
    }

    /// A flag that ends the run after the step it is in, with a save if there are checkpoints.
    pub fn stop_flag(mut self, flag: &StopFlag) -> Self {
        self.stop = flag.clone();
        self
    }

    /// Ctrl-C ends the run after the step it is in, with a save if there are checkpoints; a second
    /// one ends the process.
    #[cfg(feature = "terminal")]
    pub fn stop_on_ctrl_c(mut self) -> Self {
        self.ctrl_c = true;
        self
    }

    /// Shows and prints nothing.
    pub fn quiet(mut self) -> Self {
        self.progress = false;
        self
    }
}
