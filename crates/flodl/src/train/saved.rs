//! Whole runs on disk: weights, optimizer, random numbers and place in the data, so that a run that
//! was killed at any moment goes on as if it had not been.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::SaveState;
use crate::checkpoint::{
    Plan, checkpoint_metadata, deserialize_tensors, own_mark, serialize_tensors, write_atomic,
};
use crate::{
    Buffer, DType, Device, EpochRecord, Error, LoadOptions, Metadata, NamedTensors, Parameter,
    PlateauMode, Result, Tensor, rng_state, set_rng_state,
};

const RUN_KEY: &str = "flodl.run";

/// Where a run is. A new run is at the beginning: `RunState::default()`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunState {
    /// The epoch, counted from 0.
    pub epoch: usize,
    /// Batches of that epoch that are done; the next is this one, see
    /// [`crate::DataLoader::epoch_from`].
    pub batch: usize,
    /// Optimizer steps in all.
    pub step: usize,
    /// Numbers to keep: a loss so far, a best score.
    pub metrics: BTreeMap<String, f64>,
    /// The epochs that are done.
    pub history: Vec<EpochRecord>,
}

/// A run's weights by name, and its other state by name.
pub struct RunParts<'a, 's> {
    /// Parameters with their paths.
    pub params: &'a [(String, Parameter)],
    /// Buffers with their paths.
    pub buffers: &'a [(String, Buffer)],
    /// Optimizers, averages, schedulers, values that the model carries.
    pub states: &'a mut [(&'s str, &'s mut dyn SaveState)],
}

/// Writes a run to one `.safetensors` file, atomically: a reader, or this run after a crash, sees
/// the old file or the new one, whole. The state of this thread's random numbers is part of it.
///
/// # Errors
/// When the file cannot be written; the old one is then untouched.
pub fn save_run(path: impl AsRef<Path>, state: &RunState, parts: &RunParts) -> Result<()> {
    write_atomic(path, &run_bytes(state, parts)?)
}

fn run_bytes(state: &RunState, parts: &RunParts) -> Result<Vec<u8>> {
    let mut tensors: NamedTensors = Vec::new();
    tensors.extend(parts.params.iter().map(|(n, p)| (format!("model.{n}"), p.variable.data())));
    tensors.extend(parts.buffers.iter().map(|(n, b)| (format!("model.{n}"), b.get())));
    for (name, part) in &*parts.states {
        let bytes = part.state_bytes()?;
        let shape = [bytes.len() as i64];
        let tensor = Tensor::from_blob(&bytes, &shape, DType::UInt8, Device::CPU)?;
        tensors.push((format!("state.{name}"), tensor));
    }
    let (seed, offset) = rng_state();
    // Numbers as their bits: JSON would lose infinities, and u64 beyond 2^53 in some readers.
    let bits = |v: &f64| format!("{:016x}", v.to_bits());
    let metrics: BTreeMap<&String, String> =
        state.metrics.iter().map(|(n, v)| (n, bits(v))).collect();
    let history: Vec<serde_json::Value> = state
        .history
        .iter()
        .map(|r| {
            let metrics: Vec<(&String, String)> =
                r.metrics.iter().map(|(n, v)| (n, bits(v))).collect();
            serde_json::json!([r.epoch, bits(&r.duration.as_secs_f64()), metrics])
        })
        .collect();
    let json = serde_json::json!({
        "epoch": state.epoch,
        "batch": state.batch,
        "step": state.step,
        "seed": format!("{seed:016x}"),
        "offset": format!("{offset:016x}"),
        "metrics": metrics,
        "history": history,
    });
    let mut metadata = checkpoint_metadata(None);
    metadata.insert(RUN_KEY.to_owned(), json.to_string());
    serialize_tensors(&tensors, Some(metadata))
}

/// Reads a run back: weights, states and random numbers are bit by bit as they were. Everything is
/// checked first; on an error nothing has changed.
///
/// # Errors
/// When the file cannot be read or is damaged, or does not fit the model or the states.
pub fn load_run(path: impl AsRef<Path>, parts: &mut RunParts) -> Result<RunState> {
    let path = path.as_ref();
    let source = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let (tensors, metadata) = deserialize_tensors(&bytes, &source)?;
    let (state, rng) = parse_state(&metadata).map_err(|what| Error::format(path, what))?;
    let mut weights = NamedTensors::new();
    let mut states = BTreeMap::new();
    for (name, tensor) in tensors {
        match (name.strip_prefix("model."), name.strip_prefix("state.")) {
            (Some(name), _) => weights.push((name.to_owned(), tensor)),
            (_, Some(name)) => drop(states.insert(name.to_owned(), tensor.to_blob()?)),
            _ => return Err(Error::format(path, format!("has {name:?}, which is no run's"))),
        }
    }
    for (name, _) in &*parts.states {
        if !states.contains_key(*name) {
            let have: Vec<_> = states.keys().collect();
            return Err(Error::format(path, format!("has no state {name:?}; it has {have:?}")));
        }
    }
    let options = LoadOptions::new().strict();
    let plan = Plan::of(weights, &source, parts.params, parts.buffers, &options)?;
    // A state is checked by loading it: those before a bad one go back to what they were.
    let mut before: Vec<Vec<u8>> = Vec::new();
    for i in 0..parts.states.len() {
        let (name, part) = &mut parts.states[i];
        let now = part.state_bytes()?;
        if let Err(e) = part.load_state_bytes(&states[*name]) {
            let what = format!("state {name:?}: {e}");
            for ((_, part), bytes) in parts.states.iter_mut().zip(&before) {
                part.load_state_bytes(bytes)?;
            }
            return Err(Error::format(path, what));
        }
        before.push(now);
    }
    plan.apply();
    set_rng_state(rng);
    Ok(state)
}

/// What a run file says of itself.
fn parse_state(metadata: &Metadata) -> std::result::Result<(RunState, (u64, u64)), &'static str> {
    let json = metadata.get(RUN_KEY).ok_or("is no saved run")?;
    let json: serde_json::Value =
        serde_json::from_str(json).map_err(|_| "has a damaged description of its run")?;
    let read = || {
        let count = |key: &str| json[key].as_u64().and_then(|n| usize::try_from(n).ok());
        let bits = |v: &serde_json::Value| u64::from_str_radix(v.as_str()?, 16).ok();
        let number = |v: &serde_json::Value| bits(v).map(f64::from_bits);
        let metrics = json["metrics"].as_object()?.iter();
        let pair = |p: &serde_json::Value| Some((p[0].as_str()?.to_owned(), number(&p[1])?));
        let record = |r: &serde_json::Value| {
            Some(EpochRecord {
                epoch: r[0].as_u64()? as usize,
                duration: Duration::try_from_secs_f64(number(&r[1])?).ok()?,
                metrics: r[2].as_array()?.iter().map(pair).collect::<Option<_>>()?,
            })
        };
        let history = json["history"].as_array()?.iter();
        let state = RunState {
            epoch: count("epoch")?,
            batch: count("batch")?,
            step: count("step")?,
            metrics: metrics.map(|(n, v)| Some((n.clone(), number(v)?))).collect::<Option<_>>()?,
            history: history.map(record).collect::<Option<_>>()?,
        };
        Some((state, (bits(&json["seed"])?, bits(&json["offset"])?)))
    };
    read().ok_or("has a damaged description of its run")
}

/// A folder with the last saves of a run, and the best one.
///
/// ```
/// use flodl::*;
/// let dir = std::env::temp_dir().join(format!("flodl-runs-{}", std::process::id()));
/// let layer = Linear::new(2, 1)?;
/// let mut optimizer = SGD::new(&layer.parameters(), 0.1, 0.9);
/// let (params, buffers) = (layer.named_parameters(), layer.named_buffers());
/// let mut states: [(&str, &mut dyn SaveState); 1] = [("optimizer", &mut optimizer)];
/// let mut parts = RunParts { params: &params, buffers: &buffers, states: &mut states };
///
/// let saves = RunCheckpoints::new(&dir)?.keep_last(2);
/// let mut run = saves.resume(&mut parts)?.unwrap_or_default();
/// for _ in 0..5 {
///     run.step += 1;
///     saves.save(&run, &parts)?;
/// }
/// assert_eq!(saves.saved()?.len(), 2);
/// assert_eq!(saves.resume(&mut parts)?.unwrap().step, 5);
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RunCheckpoints {
    dir: PathBuf,
    keep: usize,
    best: Option<(String, PlateauMode)>,
}

impl RunCheckpoints {
    /// Keeps the last three saves in a folder, which is made if it is not there.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        std::fs::create_dir_all(&dir).map_err(|e| Error::io(&dir, e))?;
        Ok(RunCheckpoints { dir, keep: 3, best: None })
    }

    /// Keeps this many of the last saves; at least one.
    pub fn keep_last(mut self, n: usize) -> Self {
        self.keep = n.max(1);
        self
    }

    /// Also keeps the save with the best value of a metric of [`RunState`], as
    /// `best.safetensors`.
    pub fn best(mut self, metric: &str, mode: PlateauMode) -> Self {
        self.best = Some((metric.to_owned(), mode));
        self
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file of the best save.
    pub fn best_path(&self) -> PathBuf {
        self.dir.join("best.safetensors")
    }

    /// The saves that are there, oldest first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn saved(&self) -> Result<Vec<PathBuf>> {
        let mut steps = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(|e| Error::io(&self.dir, e))? {
            let path = entry.map_err(|e| Error::io(&self.dir, e))?.path();
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
            let step = name.as_deref().and_then(|n| {
                n.strip_prefix("run-")?.strip_suffix(".safetensors")?.parse::<u64>().ok()
            });
            steps.extend(step.map(|s| (s, path)));
        }
        steps.sort();
        Ok(steps.into_iter().map(|(_, path)| path).collect())
    }

    /// Saves a run under its step, then removes what is no longer kept.
    ///
    /// # Errors
    /// When the file cannot be written; earlier saves are then untouched.
    pub fn save(&self, state: &RunState, parts: &RunParts) -> Result<PathBuf> {
        let bytes = run_bytes(state, parts)?;
        let path = self.dir.join(format!("run-{:012}.safetensors", state.step));
        // The best first: a run that is killed between the two goes on from the save before, and
        // comes here again; the other way round it would go on from a save whose score is lost.
        if let Some((metric, mode)) = &self.best
            && let Some(&value) = state.metrics.get(metric)
            && self.improves(metric, *mode, value)
        {
            write_atomic(self.best_path(), &bytes)?;
        }
        write_atomic(&path, &bytes)?;
        let saved = self.saved()?;
        for old in saved.iter().filter(|p| **p != path).rev().skip(self.keep - 1) {
            match std::fs::remove_file(old) {
                // Another thread was faster.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                done => done.map_err(|e| Error::io(old, e))?,
            }
        }
        self.sweep();
        Ok(path)
    }

    fn improves(&self, metric: &str, mode: PlateauMode, value: f64) -> bool {
        // A best file that cannot be read is worth less than any.
        let best = std::fs::read(self.best_path()).ok().and_then(|bytes| {
            let (_, metadata) = deserialize_tensors(&bytes, "best").ok()?;
            parse_state(&metadata).ok()?.0.metrics.get(metric).copied()
        });
        match (best, mode) {
            _ if value.is_nan() => false,
            (None, _) => true,
            (Some(best), PlateauMode::Min) => value < best,
            (Some(best), PlateauMode::Max) => value > best,
        }
    }

    /// Removes temporary files that a killed process left.
    fn sweep(&self) {
        let own = own_mark();
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let ours = name.starts_with(".run-") || name.starts_with(".best.");
            if ours && name.ends_with(".tmp") && !name.contains(&own) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// Reads the last save back, if there is one.
    ///
    /// # Errors
    /// As for [`load_run`].
    pub fn resume(&self, parts: &mut RunParts) -> Result<Option<RunState>> {
        self.saved()?.last().map(|path| load_run(path, parts)).transpose()
    }
}
