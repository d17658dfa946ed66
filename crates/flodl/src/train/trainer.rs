//! [`Trainer`]: the loop.

use std::time::{Duration, Instant};

use super::{Progress, StopFlag};
use crate::{
    Batch, Buffer, DataLoader, EpochRecord, Error, Metric, Module, Optimizer, Parameter,
    PlateauMode, PlateauScheduler, PlateauState, Result, RunCheckpoints, RunParts, RunState,
    SaveState, Scheduler, Stateful, Variable, clip_grad_norm, clip_grad_value, no_grad,
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

struct EarlyStop {
    metric: String,
    mode: PlateauMode,
    patience: usize,
}

enum Clip {
    Norm(f64),
    Value(f64),
}

/// The training loop: batches, steps, schedule, validation, checkpoints, progress.
///
/// A run with [`Trainer::checkpoints`] that was killed, or stopped by Ctrl-C, goes on where it was
/// when the same program is started again, and ends in the same weights, bit by bit, as one that was
/// not.
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
    model: &'a M,
    optimizer: &'a mut O,
    loss: Loss<'a>,
    forward: Forward<'a, M>,
    epochs: usize,
    train: Option<DataLoader>,
    validate: Option<DataLoader>,
    metrics: Vec<Box<dyn Metric + 'a>>,
    schedule: Option<Box<dyn Scheduler + 'a>>,
    plateau: Option<(PlateauScheduler, String)>,
    clip: Option<Clip>,
    accumulate: usize,
    early_stop: Option<EarlyStop>,
    checkpoints: Option<RunCheckpoints>,
    every: Option<usize>,
    callbacks: Vec<Callback<'a, M>>,
    stop: StopFlag,
    ctrl_c: bool,
    progress: bool,
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

    /// What to train on.
    pub fn train(mut self, loader: DataLoader) -> Self {
        self.train = Some(loader);
        self
    }

    /// What to test on after each epoch.
    pub fn validate(mut self, loader: DataLoader) -> Self {
        self.validate = Some(loader);
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

    /// The learning rate of each optimizer step.
    pub fn schedule(mut self, schedule: impl Scheduler + 'a) -> Self {
        self.schedule = Some(Box::new(schedule));
        self
    }

    /// A learning rate that falls when a number of the epoch's record stops improving.
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

    /// Runs the loop.
    ///
    /// # Errors
    /// When no training data was given, an epoch has no batches, a loss is not a finite number, a
    /// metric that is to be watched is not recorded, or anything on the way fails.
    pub fn run(mut self) -> Result<TrainReport> {
        let Some(mut loader) = self.train.take() else {
            return Err(Error::invalid("Trainer", "no training data: call train(loader)"));
        };
        if self.ctrl_c {
            #[cfg(feature = "terminal")]
            {
                self.stop = StopFlag::on_ctrl_c()?;
            }
        }
        let (params, buffers) = (self.model.named_parameters(), self.model.named_buffers());
        let mut state = RunState::default();
        let mut report = TrainReport::default();
        if let Some(checkpoints) = self.checkpoints.clone()
            && let Some(saved) =
                self.with_parts(&params, &buffers, |parts| checkpoints.resume(parts))?
        {
            state = saved;
            report.resumed_at = Some(state.step);
        }
        let mut progress =
            self.progress.then(|| Progress::from_epoch(state.epoch, self.epochs, loader.samples()));
        // A run that had ended early ends at once when it is started again.
        report.stopped = self.exhausted(&state.history)?;
        while state.epoch < self.epochs && report.stopped.is_none() {
            report.stopped =
                self.epoch(&mut loader, &mut state, &params, &buffers, &mut progress)?;
        }
        if let Some(progress) = progress {
            progress.finish();
        }
        (report.history, report.steps) = (state.history, state.step);
        Ok(report)
    }

    /// Calls with everything that a save consists of.
    fn with_parts<T>(
        &mut self,
        params: &[(String, Parameter)],
        buffers: &[(String, Buffer)],
        f: impl FnOnce(&mut RunParts) -> Result<T>,
    ) -> Result<T> {
        let mut plateau = self.plateau.as_mut().map(|p| PlateauState(&mut p.0));
        let mut states: Vec<(&str, &mut dyn SaveState)> = vec![("optimizer", &mut *self.optimizer)];
        if let Some(plateau) = &mut plateau {
            states.push(("plateau", plateau));
        }
        f(&mut RunParts { params, buffers, states: &mut states })
    }

    fn save(
        &mut self,
        state: &RunState,
        params: &[(String, Parameter)],
        buffers: &[(String, Buffer)],
    ) -> Result<()> {
        let Some(checkpoints) = self.checkpoints.clone() else { return Ok(()) };
        self.with_parts(params, buffers, |parts| checkpoints.save(state, parts)).map(|_| ())
    }

    /// One epoch, or what is left of it.
    fn epoch(
        &mut self,
        loader: &mut DataLoader,
        state: &mut RunState,
        params: &[(String, Parameter)],
        buffers: &[(String, Buffer)],
        progress: &mut Option<Progress>,
    ) -> Result<Option<StopReason>> {
        let start = Instant::now();
        self.model.train();
        let weights: Vec<Parameter> = params.iter().map(|(_, p)| p.clone()).collect();
        let mut batches = loader.epoch_from(state.epoch, state.batch)?;
        // Sums of an epoch that was begun before a resume are part of the save.
        let number = |state: &RunState, name: &str| state.metrics.get(name).copied().unwrap_or(0.0);
        let (mut sum, mut seen) = match state.batch {
            0 => (0.0, 0.0),
            _ => (number(state, "epoch loss sum"), number(state, "epoch samples")),
        };
        let before = if state.batch == 0 { 0.0 } else { number(state, "epoch seconds") };
        while batches.len() > 0 {
            let group = self.accumulate.min(batches.len());
            self.optimizer.zero_grad();
            let mut samples = 0;
            for batch in batches.by_ref().take(group) {
                let batch = batch?;
                let output = (self.forward)(self.model, &batch)?;
                let loss = (self.loss)(&output, &batch)?;
                let value = loss.item()?;
                if !value.is_finite() {
                    let (e, b) = (state.epoch, state.batch);
                    let what = format!("the loss is {value} in epoch {e}, batch {b}");
                    return Err(Error::invalid("Trainer", what));
                }
                if group > 1 { loss.div_scalar(group as f64)? } else { loss }.backward()?;
                self.model.detach_state();
                let n = batch.samples();
                sum += value * n as f64;
                seen += n as f64;
                samples += n;
                state.batch += 1;
            }
            match self.clip {
                Some(Clip::Norm(max)) => drop(clip_grad_norm(&weights, max)?),
                Some(Clip::Value(max)) => drop(clip_grad_value(&weights, max)?),
                None => {}
            }
            if let Some(schedule) = &self.schedule {
                self.optimizer.set_lr(schedule.lr(state.step));
            }
            self.optimizer.step()?;
            state.step += 1;
            if let Some(progress) = progress {
                progress.step(samples, &[("loss", sum / seen.max(1.0))]);
            }
            let asked = self.stop.is_stopped();
            let due = self.every.is_some_and(|n| state.step.is_multiple_of(n));
            // The last step of an epoch is saved with the epoch's end.
            if (asked || due) && batches.len() > 0 {
                let seconds = before + start.elapsed().as_secs_f64();
                for (name, v) in
                    [("epoch loss sum", sum), ("epoch samples", seen), ("epoch seconds", seconds)]
                {
                    state.metrics.insert(name.to_owned(), v);
                }
                self.save(state, params, buffers)?;
            }
            if asked && batches.len() > 0 {
                return Ok(Some(StopReason::Asked));
            }
        }
        let mut metrics = vec![("loss".to_owned(), sum / seen.max(1.0))];
        metrics.extend(self.validation()?);
        metrics.push(("lr".to_owned(), self.optimizer.lr()));
        let duration = Duration::from_secs_f64(before + start.elapsed().as_secs_f64());
        let record = EpochRecord { epoch: state.epoch, duration, metrics };
        if let Some((plateau, metric)) = &mut self.plateau {
            let lr = plateau.observe(watched(&record, metric)?);
            self.optimizer.set_lr(lr);
        }
        if let Some(progress) = progress {
            progress.epoch(&record);
        }
        let mut more = true;
        for callback in &mut self.callbacks {
            more &= callback(&record, self.model)?;
        }
        state.metrics = record.metrics.iter().cloned().collect();
        state.history.push(record);
        state.epoch += 1;
        state.batch = 0;
        self.save(state, params, buffers)?;
        if !more {
            return Ok(Some(StopReason::Callback));
        }
        if self.stop.is_stopped() && state.epoch < self.epochs {
            return Ok(Some(StopReason::Asked));
        }
        self.exhausted(&state.history)
    }

    /// Loss and metrics on the validation data.
    fn validation(&mut self) -> Result<Vec<(String, f64)>> {
        let Some(mut loader) = self.validate.take() else { return Ok(Vec::new()) };
        self.model.eval();
        self.metrics.iter_mut().for_each(|m| m.reset());
        let (mut sum, mut seen) = (0.0, 0.0);
        let test = (|| -> Result<()> {
            for batch in loader.epoch(0)? {
                let batch = batch?;
                let n = batch.samples() as f64;
                no_grad(|| -> Result<()> {
                    let output = (self.forward)(self.model, &batch)?;
                    sum += (self.loss)(&output, &batch)?.item()? * n;
                    if batch.len() > 1 {
                        let output = output.data();
                        self.metrics
                            .iter_mut()
                            .try_for_each(|m| m.update(&output, batch.get(1)))?;
                    }
                    Ok(())
                })?;
                seen += n;
            }
            Ok(())
        })();
        self.model.train();
        self.validate = Some(loader);
        test?;
        let mut out = vec![("val loss".to_owned(), sum / f64::max(seen, 1.0))];
        for m in &self.metrics {
            out.push((format!("val {}", m.name()), m.compute()?));
        }
        Ok(out)
    }

    /// Whether the watched number has stopped improving.
    fn exhausted(&self, history: &[EpochRecord]) -> Result<Option<StopReason>> {
        let Some(EarlyStop { metric, mode, patience }) = &self.early_stop else { return Ok(None) };
        let mut best = None;
        let mut bad = 0;
        for record in history {
            let value = watched(record, metric)?;
            let better = match (best, mode) {
                (None, _) => !value.is_nan(),
                (Some(b), PlateauMode::Min) => value < b,
                (Some(b), PlateauMode::Max) => value > b,
            };
            if better {
                (best, bad) = (Some(value), 0);
            } else {
                bad += 1;
            }
        }
        Ok((bad > *patience).then(|| StopReason::NoImprovement(metric.clone())))
    }
}

/// A number of a record that must be there.
fn watched(record: &EpochRecord, metric: &str) -> Result<f64> {
    record.get(metric).ok_or_else(|| {
        let names: Vec<&String> = record.metrics.iter().map(|m| &m.0).collect();
        Error::invalid("Trainer", format!("{metric:?} is not recorded; there are {names:?}"))
    })
}
