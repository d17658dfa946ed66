//! All of a training run in one file, so that a run that was killed ends in the very bits of one
//! that was not.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::load::Plan;
use super::{
    LoadOptions, Metadata, checkpoint_metadata, deserialize_tensors, serialize_tensors,
    write_atomic,
};
use crate::{
    Buffer, DType, DataLoader, Device, Error, Graph, Parameter, PlateauScheduler, Result, Rng,
    Stateful, Tensor, rng_state, set_rng_state,
};

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunProgress {
    /// The epoch.
    pub epoch: usize,
    /// Batches of the epoch that are done: what [`DataLoader::epoch_from`] skips.
    pub batch: usize,
    /// Optimizer steps in all.
    pub step: u64,
    /// Numbers of your own, such as a running loss; they come back to the bit.
    pub values: BTreeMap<String, f64>,
}

/// State of a run besides the weights. Everything [`Stateful`] is one: optimizers, gradient scaler,
/// moving averages.
pub trait RunPart {
    /// The state as bytes.
    ///
    /// # Errors
    /// When there is no such form now.
    fn part_bytes(&self) -> Result<Vec<u8>>;

    /// Restores it, or changes nothing.
    ///
    /// # Errors
    /// When the bytes are another part's.
    fn restore_part(&mut self, bytes: &[u8]) -> Result<()>;
}

impl<T: Stateful> RunPart for T {
    fn part_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.save_state(&mut bytes)?;
        Ok(bytes)
    }

    fn restore_part(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.load_state(&mut bytes)
    }
}

fn words<const N: usize>(op: &'static str, bytes: &[u8]) -> Result<[u64; N]> {
    let (chunks, rest) = bytes.as_chunks::<8>();
    let words: Vec<u64> = chunks.iter().map(|c| u64::from_le_bytes(*c)).collect();
    let wrong = || Error::invalid(op, format!("{} bytes are not its state", bytes.len()));
    if rest.is_empty() { words.try_into().map_err(|_| wrong()) } else { Err(wrong()) }
}

impl RunPart for PlateauScheduler {
    fn part_bytes(&self) -> Result<Vec<u8>> {
        Ok(self.state().iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    fn restore_part(&mut self, bytes: &[u8]) -> Result<()> {
        self.load_state(words("PlateauScheduler", bytes)?.map(f64::from_bits))
    }
}

impl RunPart for Rng {
    fn part_bytes(&self) -> Result<Vec<u8>> {
        Ok(self.words().iter().flat_map(|w| w.to_le_bytes()).collect())
    }

    fn restore_part(&mut self, bytes: &[u8]) -> Result<()> {
        *self = Rng::from_words(words("Rng", bytes)?)
            .ok_or_else(|| Error::invalid("Rng", "the bytes are not its state"))?;
        Ok(())
    }
}

/// The pieces of a run, gathered to be saved or restored together: weights, optimizer, scheduler,
/// order of the data, this thread's random numbers, and how far it is. The file's weights also load
/// as an ordinary checkpoint.
///
/// ```
/// use flodl::*;
/// let model = FlowBuilder::from(Linear::new(2, 1)?).build()?;
/// let mut optimizer = Adam::new(&model.parameters(), 1e-3);
/// let file = std::env::temp_dir().join(format!("flodl-run-{}.safetensors", std::process::id()));
/// let progress = RunProgress { epoch: 3, ..RunProgress::default() };
/// RunState::graph(&model).part("optimizer", &mut optimizer).save(&file, &progress)?;
/// let back = RunState::graph(&model).part("optimizer", &mut optimizer).load(&file)?;
/// assert_eq!(back, progress);
/// # std::fs::remove_file(&file).unwrap();
/// # Ok::<(), Error>(())
/// ```
pub struct RunState<'a> {
    params: Vec<(String, Parameter)>,
    buffers: Vec<(String, Buffer)>,
    hash: Option<String>,
    parts: Vec<(String, &'a mut dyn RunPart)>,
    data: Option<&'a mut DataLoader>,
}

const RUN_KEY: &str = "flodl.run.version";
const PREFIX: &str = "flodl.run.";

impl<'a> RunState<'a> {
    /// The weights of a graph.
    pub fn graph(graph: &Graph) -> Self {
        let hash = crate::Module::structural_hash(graph);
        Self::new(graph.named_parameters(), graph.named_buffers(), hash.as_deref())
    }

    /// The weights of any model, by names that are the same in the next run.
    pub fn new(
        params: Vec<(String, Parameter)>,
        buffers: Vec<(String, Buffer)>,
        structural_hash: Option<&str>,
    ) -> Self {
        let hash = structural_hash.map(str::to_owned);
        RunState { params, buffers, hash, parts: Vec::new(), data: None }
    }

    /// Another piece, under a name.
    pub fn part(mut self, name: &str, part: &'a mut dyn RunPart) -> Self {
        self.parts.push((name.to_owned(), part));
        self
    }

    /// The data that the progress counts. Its order depends on seed and epoch alone and is not
    /// saved, but a load checks that it is the same.
    pub fn data(mut self, loader: &'a mut DataLoader) -> Self {
        self.data = Some(loader);
        self
    }

    /// Writes everything to one file, atomically.
    ///
    /// # Errors
    /// When two parts have one name, or the file cannot be written.
    pub fn save(&mut self, path: impl AsRef<Path>, progress: &RunProgress) -> Result<()> {
        let bytes = self.bytes(progress, HashMap::new())?;
        write_atomic(path, &bytes)
    }

    pub(super) fn bytes(&mut self, progress: &RunProgress, extra: Metadata) -> Result<Vec<u8>> {
        let params = self.params.iter().map(|(n, p)| (n.clone(), p.variable.data()));
        let buffers = self.buffers.iter().map(|(n, b)| (n.clone(), b.get()));
        let mut tensors: Vec<(String, Tensor)> = params.chain(buffers).collect();
        let mut put = |name: String, bytes: &[u8]| -> Result<()> {
            let shape = [bytes.len() as i64];
            tensors.push((name, Tensor::from_blob(bytes, &shape, DType::UInt8, Device::CPU)?));
            Ok(())
        };
        for (i, (name, part)) in self.parts.iter().enumerate() {
            if self.parts[..i].iter().any(|(n, _)| n == name) {
                return Err(Error::invalid("RunState", format!("two parts are named {name:?}")));
            }
            put(format!("{PREFIX}part.{name}"), &part.part_bytes()?)?;
        }
        let (seed, offset) = rng_state();
        put(format!("{PREFIX}rng"), &[seed.to_le_bytes(), offset.to_le_bytes()].concat())?;
        if let Some(data) = &mut self.data {
            put(format!("{PREFIX}data"), &data.fingerprint(progress.epoch).to_le_bytes())?;
        }
        for (name, value) in &progress.values {
            put(format!("{PREFIX}value.{name}"), &value.to_le_bytes())?;
        }
        let at = [progress.epoch as u64, progress.batch as u64, progress.step];
        put(format!("{PREFIX}progress"), &at.map(u64::to_le_bytes).concat())?;
        let mut metadata = checkpoint_metadata(self.hash.as_deref());
        metadata.insert(RUN_KEY.to_owned(), "1".to_owned());
        metadata.extend(extra);
        serialize_tensors(&tensors, Some(metadata))
    }

    /// Restores everything, and says where the run stood. On an error nothing has changed.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged or no run's, or a piece of it does not fit: other
    /// weights, another optimizer, another order of the data, parts that it lacks or has besides.
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<RunProgress> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let source = &path.display().to_string();
        let bad = |what: String| Error::format(path, what);
        let (tensors, metadata) = deserialize_tensors(&bytes, source)?;
        match metadata.get(RUN_KEY).map(String::as_str) {
            Some("1") => {}
            None => return Err(bad("is no run's checkpoint".into())),
            Some(v) => return Err(bad(format!("is a run's checkpoint of unknown version {v:?}"))),
        }
        let mut pieces: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (name, t) in tensors {
            if let Some(piece) = name.strip_prefix(PREFIX) {
                pieces.insert(piece.to_owned(), t.to_blob()?);
            }
        }
        let hash = self.hash.as_deref();
        let options = LoadOptions::new();
        let plan = Plan::new(&bytes, source, &self.params, &self.buffers, hash, &options)?;
        if !plan.report().missing.is_empty() {
            return Err(bad(format!("lacks the weights {:?}", plan.report().missing)));
        }
        let strange = plan.report().unexpected.iter().find(|n| !n.starts_with(PREFIX));
        if let Some(name) = strange {
            return Err(bad(format!("has the weights {name}, which the model has not")));
        }
        let mut take =
            |name: &str| pieces.remove(name).ok_or_else(|| bad(format!("lacks {PREFIX}{name}")));
        let [epoch, batch, step] = words("RunState", &take("progress")?)?;
        let [seed, offset] = words("RunState", &take("rng")?)?;
        let (epoch, batch) = (epoch as usize, batch as usize);
        if let Some(data) = &mut self.data {
            let [saved] = words("RunState", &take("data")?)?;
            if saved != data.fingerprint(epoch) {
                let what = "was written with other data: samples, batch size, seed or order differ";
                return Err(bad(what.into()));
            }
        }
        let mut parts = Vec::with_capacity(self.parts.len());
        for (name, _) in &self.parts {
            parts.push(take(&format!("part.{name}"))?);
        }
        let mut values = BTreeMap::new();
        for (name, bytes) in pieces {
            if let Some(name) = name.strip_prefix("value.") {
                let [bits] = words("RunState", &bytes)?;
                values.insert(name.to_owned(), f64::from_bits(bits));
            } else if name != "data" {
                return Err(bad(format!("has {PREFIX}{name}, which is not asked for")));
            }
        }
        self.restore(&parts)?;
        plan.apply();
        set_rng_state((seed, offset));
        Ok(RunProgress { epoch, batch, step, values })
    }

    /// Restores all parts or none: those before one that refuses get their old state back.
    fn restore(&mut self, new: &[Vec<u8>]) -> Result<()> {
        let mut old = Vec::with_capacity(new.len());
        for (i, bytes) in new.iter().enumerate() {
            let part = &mut self.parts[i].1;
            let step = part.part_bytes().and_then(|before| {
                part.restore_part(bytes)?;
                Ok(before)
            });
            match step {
                Ok(before) => old.push(before),
                Err(error) => {
                    for ((_, part), before) in self.parts.iter_mut().zip(&old) {
                        part.restore_part(before)?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}
