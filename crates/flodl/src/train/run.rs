//! The loop.

use std::time::{Duration, Instant};

use super::parts::Setup;
use super::trainer::{Clip, EarlyStop};
use super::{BatchSource, Progress, StopReason, TrainReport, Trainer};
use crate::graph::module_hash;
use crate::{
    Batch, Buffer, CarriedState, DType, EpochRecord, Error, ExponentialMovingAverage, LrGroups,
    Module, Optimizer, Parameter, PlateauMode, PlateauState, Result, RunParts, RunState, SaveState,
    Stateful, Variable, autocast, clip_grad_norm, clip_grad_value, no_grad,
};

/// What stays as it is from the beginning of a run to its end.
struct Run {
    params: Vec<(String, Parameter)>,
    buffers: Vec<(String, Buffer)>,
    weights: Vec<Parameter>,
    groups: LrGroups,
    setup: Setup,
}

impl<M: Module, O: Optimizer + Stateful> Trainer<'_, M, O> {
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
                self.stop = super::StopFlag::on_ctrl_c()?;
            }
        }
        let (params, buffers) = (self.model.named_parameters(), self.model.named_buffers());
        let mut setup = loader.setup();
        setup.push(("model", module_hash(self.model)));
        let setup = Setup(setup);
        // The ratios as they were set up, not as a save has them.
        let groups = LrGroups::of(&*self.optimizer);
        let weights: Vec<Parameter> = params.iter().map(|(_, p)| p.clone()).collect();
        if let Some(decay) = self.decay {
            self.average = Some(ExponentialMovingAverage::new(&weights, decay)?);
        }
        let run = Run { params, buffers, weights, groups, setup };
        let mut state = RunState::default();
        let mut report = TrainReport::default();
        if let Some(checkpoints) = self.checkpoints.clone()
            && let Some(saved) = self.with_parts(&run, |parts| checkpoints.resume(parts))?
        {
            state = saved;
            report.resumed_at = Some(state.step);
        }
        let mut progress =
            self.progress.then(|| Progress::from_epoch(state.epoch, self.epochs, loader.samples()));
        // A run that had ended early ends at once when it is started again.
        report.stopped = self.exhausted(&state.history)?;
        while state.epoch < self.epochs && report.stopped.is_none() {
            report.stopped = self.epoch(&mut loader, &mut state, &run, &mut progress)?;
        }
        self.swap_average()?;
        if let Some(progress) = progress {
            progress.finish();
        }
        (report.history, report.steps) = (state.history, state.step);
        Ok(report)
    }

    /// Calls with everything that a save consists of.
    fn with_parts<T>(
        &mut self,
        run: &Run,
        f: impl FnOnce(&mut RunParts) -> Result<T>,
    ) -> Result<T> {
        let mut setup = Setup(run.setup.0.clone());
        let mut carried = CarriedState(self.model);
        let mut plateau = self.plateau.as_mut().map(|p| PlateauState(&mut p.0));
        let mut states: Vec<(&str, &mut dyn SaveState)> =
            vec![("setup", &mut setup), ("optimizer", &mut *self.optimizer)];
        if !self.model.carried_state().is_empty() {
            states.push(("carried", &mut carried));
        }
        if let Some(plateau) = &mut plateau {
            states.push(("plateau", plateau));
        }
        if let Some(scaler) = &mut self.scaler {
            states.push(("scaler", scaler));
        }
        if let Some(average) = &mut self.average {
            states.push(("average", average));
        }
        let (params, buffers) = (&run.params, &run.buffers);
        f(&mut RunParts { params, buffers, states: &mut states })
    }

    fn save(&mut self, state: &RunState, run: &Run) -> Result<()> {
        let Some(checkpoints) = self.checkpoints.clone() else { return Ok(()) };
        self.with_parts(run, |parts| checkpoints.save(state, parts)).map(|_| ())
    }

    /// Gives the model the averages of its weights, or its weights back.
    fn swap_average(&mut self) -> Result<()> {
        self.average.as_mut().map_or(Ok(()), ExponentialMovingAverage::swap)
    }

    /// The output for a batch, and its loss.
    fn output(&mut self, batch: &Batch) -> Result<(Variable, Variable)> {
        let mut both = || -> Result<(Variable, Variable)> {
            let output = (self.forward)(self.model, batch)?;
            let loss = (self.loss)(&output, batch)?;
            Ok((output, loss))
        };
        match self.autocast {
            Some(dtype) => autocast(dtype, both),
            None => both(),
        }
    }

    /// One step of the optimizer on the gradients that are there; whether it ran.
    fn step(&mut self, run: &Run, step: usize) -> Result<bool> {
        if let Some(scaler) = &mut self.scaler {
            scaler.unscale_(&run.weights)?;
        }
        match self.clip {
            Some(Clip::Norm(max)) => drop(clip_grad_norm(&run.weights, max)?),
            Some(Clip::Value(max)) => drop(clip_grad_value(&run.weights, max)?),
            None => {}
        }
        if let Some(schedule) = &self.schedule {
            let share = self.plateau.as_ref().map_or(1.0, |(plateau, _)| plateau.share());
            run.groups.set(&mut *self.optimizer, schedule.lr(step) * share);
            schedule.momentum(step).map_or(Ok(()), |m| self.optimizer.set_momentum(m))?;
        }
        let ran = match &mut self.scaler {
            Some(scaler) => {
                let ran = scaler.step(&run.weights, &mut || self.optimizer.step())?;
                scaler.update();
                ran
            }
            None => self.optimizer.step().map(|()| true)?,
        };
        match &mut self.average {
            Some(average) if ran => average.update()?,
            _ => {}
        }
        Ok(ran)
    }

    /// One epoch, or what is left of it.
    fn epoch(
        &mut self,
        loader: &mut BatchSource,
        state: &mut RunState,
        run: &Run,
        progress: &mut Option<Progress>,
    ) -> Result<Option<StopReason>> {
        let start = Instant::now();
        self.model.train();
        if state.batch == 0 {
            self.model.reset();
        }
        let mut batches = loader.epoch_from(state.epoch, state.batch)?;
        // Sums of an epoch that was begun before a resume are part of the save.
        let number = |state: &RunState, name: &str| state.metrics.get(name).copied().unwrap_or(0.0);
        let (mut sum, mut seen) = match state.batch {
            0 => (0.0, 0.0),
            _ => (number(state, "epoch loss sum"), number(state, "epoch samples")),
        };
        let before = if state.batch == 0 { 0.0 } else { number(state, "epoch seconds") };
        loop {
            let group = batches.upcoming(self.accumulate);
            if group == 0 {
                break;
            }
            self.optimizer.zero_grad();
            let mut samples = 0;
            for batch in batches.by_ref().take(group) {
                let batch = batch?;
                let (_, loss) = self.output(&batch)?;
                let value = loss.item()?;
                if !value.is_finite() && self.scaler.is_none() {
                    let (e, b) = (state.epoch, state.batch);
                    let what = format!("the loss is {value} in epoch {e}, batch {b}");
                    return Err(Error::invalid("Trainer", what));
                }
                let loss = if group > 1 { loss.div_scalar(group as f64)? } else { loss };
                match &self.scaler {
                    Some(scaler) => scaler.scale(&loss)?.backward()?,
                    None => loss.backward()?,
                }
                self.model.detach_state();
                let n = batch.samples();
                // A loss that overflows f16 has no part in the mean, as it has none in the steps.
                if value.is_finite() {
                    sum += value * n as f64;
                    seen += n as f64;
                }
                samples += n;
                state.batch += 1;
            }
            self.step(run, state.step)?;
            state.step += 1;
            if let Some(progress) = progress {
                progress.step(samples, &[("loss", sum / seen.max(1.0))]);
            }
            let asked = self.stop.is_stopped();
            let due = self.every.is_some_and(|n| state.step.is_multiple_of(n));
            // The last step of an epoch is saved with the epoch's end.
            let more = (asked || due) && batches.upcoming(1) > 0;
            if more {
                let seconds = before + start.elapsed().as_secs_f64();
                for (name, v) in
                    [("epoch loss sum", sum), ("epoch samples", seen), ("epoch seconds", seconds)]
                {
                    state.metrics.insert(name.to_owned(), v);
                }
                self.save(state, run)?;
            }
            if asked && more {
                return Ok(Some(StopReason::Asked));
            }
        }
        if seen == 0.0 {
            let what = format!("no loss of epoch {} is a finite number", state.epoch);
            return Err(Error::invalid("Trainer", what));
        }
        let mut metrics = vec![("loss".to_owned(), sum / seen)];
        self.model.reset();
        self.swap_average()?;
        let tested = self.validation();
        self.model.reset();
        let tested = match tested {
            Ok(tested) => tested,
            Err(e) => return self.swap_average().and(Err(e)),
        };
        metrics.extend(tested);
        metrics.push(("lr".to_owned(), self.optimizer.lr()));
        let duration = Duration::from_secs_f64(before + start.elapsed().as_secs_f64());
        let record = EpochRecord { epoch: state.epoch, duration, metrics };
        if let Some((plateau, metric)) = &mut self.plateau {
            let lr = plateau.observe(watched(&record, metric)?);
            // Beside a schedule it is put on the schedule's learning rate in each step.
            if self.schedule.is_none() {
                run.groups.set(&mut *self.optimizer, lr);
            }
        }
        if let Some(progress) = progress {
            progress.epoch(&record);
        }
        let mut more = true;
        for callback in &mut self.callbacks {
            more &= callback(&record, self.model)?;
        }
        self.swap_average()?;
        state.metrics = record.metrics.iter().cloned().collect();
        state.history.push(record);
        state.epoch += 1;
        state.batch = 0;
        self.save(state, run)?;
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
            for batch in loader.epoch_from(0, 0)? {
                let batch = batch?;
                let n = batch.samples() as f64;
                no_grad(|| -> Result<()> {
                    let (output, loss) = self.output(&batch)?;
                    sum += loss.item()? * n;
                    if batch.len() > 1 {
                        let output = output.data();
                        let output = match output.dtype().is_half() {
                            true => output.to_dtype(DType::Float32)?,
                            false => output,
                        };
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
