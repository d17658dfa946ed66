//! Optimizer states on disk: a `.safetensors` file whose metadata says which optimizer's it is.

use std::io::{Read, Write};

use super::core::{Method, Optim, Slot};
use crate::checkpoint::{Metadata, NamedTensors};
use crate::{Device, Error, Result, Tensor, deserialize_tensors, serialize_tensors, write_atomic};

/// Whose state a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names of the optimizers")]
pub enum StateKind {
    Sgd,
    Adam,
    AdamW,
    RMSprop,
    Adagrad,
    RAdam,
    NAdam,
    GradScaler,
    Adamax,
    Adadelta,
    Lion,
    Muon,
    Asgd,
    Rprop,
    Ema,
    Adafactor,
    Lbfgs,
}

impl StateKind {
    /// The optimizer's name.
    pub fn name(self) -> &'static str {
        match self {
            StateKind::Sgd => "SGD",
            StateKind::Adam => "Adam",
            StateKind::AdamW => "AdamW",
            StateKind::RMSprop => "RMSprop",
            StateKind::Adagrad => "Adagrad",
            StateKind::RAdam => "RAdam",
            StateKind::NAdam => "NAdam",
            StateKind::GradScaler => "GradScaler",
            StateKind::Adamax => "Adamax",
            StateKind::Adadelta => "Adadelta",
            StateKind::Lion => "Lion",
            StateKind::Muon => "Muon",
            StateKind::Asgd => "ASGD",
            StateKind::Rprop => "Rprop",
            StateKind::Lbfgs => "LBFGS",
            StateKind::Adafactor => "Adafactor",
            StateKind::Ema => "ExponentialMovingAverage",
        }
    }
}

/// State that survives the program: save it beside the model's checkpoint, and load it into an
/// object that was built the same way.
///
/// A load checks everything before it changes anything.
///
/// ```
/// use flodl::*;
/// let layer = Linear::new(2, 1)?;
/// let mut first = Adam::new(&layer.parameters(), 1e-3);
/// layer.forward(&Variable::new(Tensor::ones(&[1, 2], TensorOptions::default())?, false))?
///     .sum()?
///     .backward()?;
/// first.step()?;
/// let mut bytes = Vec::new();
/// first.save_state(&mut bytes)?;
/// let mut second = Adam::new(&layer.parameters(), 1e-3);
/// second.load_state(&mut &bytes[..])?;
/// # Ok::<(), Error>(())
/// ```
pub trait Stateful {
    /// Whose state it is.
    fn state_kind(&self) -> StateKind;

    /// Writes the state.
    ///
    /// # Errors
    /// When the writer fails.
    fn save_state<W: Write>(&self, w: &mut W) -> Result<()>;

    /// Reads a state back, bit by bit as it was.
    ///
    /// # Errors
    /// When the reader fails, or the state is another optimizer's or another model's.
    fn load_state<R: Read>(&mut self, r: &mut R) -> Result<()>;

    /// [`Stateful::save_state`] to a file, atomically.
    ///
    /// # Errors
    /// When the file cannot be written.
    fn save_state_file(&self, path: &str) -> Result<()> {
        let mut bytes = Vec::new();
        self.save_state(&mut bytes)?;
        write_atomic(path, &bytes)
    }

    /// [`Stateful::load_state`] from a file.
    ///
    /// # Errors
    /// As for [`Stateful::load_state`].
    fn load_state_file(&mut self, path: &str) -> Result<()> {
        let mut file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
        self.load_state(&mut file)
    }
}

const SOURCE: &str = "optimizer state";
const KIND: &str = "flodl.state";
const VERSION: &str = "flodl.state.version";

/// Tensors under a kind's name.
pub(crate) fn write<W: Write>(kind: StateKind, tensors: NamedTensors, w: &mut W) -> Result<()> {
    let metadata = Metadata::from([
        (KIND.to_owned(), kind.name().to_owned()),
        (VERSION.to_owned(), "1".to_owned()),
    ]);
    let bytes = serialize_tensors(&tensors, Some(metadata))?;
    w.write_all(&bytes).map_err(|e| Error::io(SOURCE, e))
}

/// What a file holds, by name.
pub(crate) struct Loaded(NamedTensors);

/// The tensors of a file that must be of a kind.
pub(crate) fn read<R: Read>(kind: StateKind, r: &mut R) -> Result<Loaded> {
    let mut bytes = Vec::new();
    r.read_to_end(&mut bytes).map_err(|e| Error::io(SOURCE, e))?;
    let (tensors, metadata) = deserialize_tensors(&bytes, SOURCE)?;
    match metadata.get(KIND) {
        Some(name) if name == kind.name() => {}
        Some(name) => {
            let what = format!("holds the state of {name}, not of {}", kind.name());
            return Err(Error::format(SOURCE, what));
        }
        None => return Err(Error::format(SOURCE, "is not a saved state")),
    }
    match metadata.get(VERSION).map(String::as_str) {
        Some("1") => Ok(Loaded(tensors)),
        version => Err(Error::format(SOURCE, format!("has the unknown version {version:?}"))),
    }
}

impl Loaded {
    /// A tensor that may be missing.
    pub fn find(&self, name: &str) -> Option<&Tensor> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, t)| t)
    }

    /// A tensor.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        self.find(name).ok_or_else(|| Error::format(SOURCE, format!("has no {name}")))
    }

    /// A list of `n` numbers.
    pub fn numbers(&self, name: &str, n: usize) -> Result<Vec<f64>> {
        let values = self.get(name)?.to_f64_vec()?;
        if values.len() == n {
            return Ok(values);
        }
        Err(Error::format(SOURCE, format!("{name} has {} entries, not {n}", values.len())))
    }

    /// A list of `n` integers.
    pub fn counts(&self, name: &str, n: usize) -> Result<Vec<i64>> {
        self.numbers(name, n)?;
        self.get(name)?.to_i64_vec()
    }
}

/// Numbers as a tensor for a file.
pub(crate) fn numbers(values: &[f64]) -> Result<Tensor> {
    Tensor::from_f64(values, &[values.len() as i64], Device::CPU)
}

/// Integers as a tensor for a file.
pub(crate) fn counts(values: &[i64]) -> Result<Tensor> {
    Tensor::from_i64(values, &[values.len() as i64], Device::CPU)
}

impl<M: Method> Stateful for Optim<M> {
    fn state_kind(&self) -> StateKind {
        M::KIND
    }

    /// Learning rates, step counts and the states of each parameter; settings are the program's.
    fn save_state<W: Write>(&self, w: &mut W) -> Result<()> {
        let steps: Vec<i64> = self.slots.iter().map(|s| s.step as i64).collect();
        let carry: Vec<f64> = self.slots.iter().map(|s| s.carry).collect();
        let mut tensors = vec![
            ("lr".to_owned(), numbers(&self.group_lrs())?),
            ("step".to_owned(), counts(&steps)?),
            ("carry".to_owned(), numbers(&carry)?),
        ];
        for (i, slot) in self.slots.iter().enumerate() {
            for (name, state) in M::STATES.iter().zip(&slot.state) {
                if let Some(t) = state {
                    tensors.push((format!("{i}.{name}"), t.to_device(Device::CPU)?));
                }
            }
        }
        write(M::KIND, tensors, w)
    }

    fn load_state<R: Read>(&mut self, r: &mut R) -> Result<()> {
        let file = read(M::KIND, r)?;
        let lrs = file.numbers("lr", self.groups.len())?;
        let n = self.slots.len();
        let (steps, carry) = (file.counts("step", n)?, file.numbers("carry", n)?);
        let mut slots = Vec::with_capacity(n);
        let owners = self.groups.iter().flat_map(|g| g.params.iter().map(move |p| (g, p)));
        for (i, (group, p)) in owners.enumerate() {
            let mut slot = Slot { step: steps[i] as u64, carry: carry[i], ..Slot::default() };
            for (k, name) in M::STATES.iter().enumerate() {
                let name = format!("{i}.{name}");
                let Some(t) = file.find(&name) else { continue };
                let (want, got) = (group.settings.state_shape(k, &p.variable.shape()), t.shape());
                if got != want {
                    let what = format!("{name} has shape {got:?}, {} has {want:?}", p.name);
                    return Err(Error::format(SOURCE, what));
                }
                slot.state[k] = Some(t.to_device(p.variable.device())?);
            }
            slots.push(slot);
        }
        self.slots = slots;
        self.groups.iter_mut().zip(lrs).for_each(|(g, lr)| g.lr = lr);
        Ok(())
    }
}

/// Rewrites the state in `src` as one of `kind` in `dst`: a newer version of the same kind, or one
/// whose states mean the same, such as Adam's as AdamW's.
///
/// # Errors
/// When the file cannot be read or written, or holds states that `kind` has no use for.
pub fn migrate_optim_state_file(src: &str, dst: &str, kind: StateKind) -> Result<()> {
    let bytes = std::fs::read(src).map_err(|e| Error::io(src, e))?;
    let (tensors, metadata) = deserialize_tensors(&bytes, src)?;
    let Some(from) = metadata.get(KIND) else {
        return Err(Error::format(src, "is not a saved state"));
    };
    let moments = |name: &str| ["Adam", "AdamW", "NAdam", "RAdam"].contains(&name);
    // A product over all steps that only NAdam keeps.
    let into_nadam = kind == StateKind::NAdam && from != kind.name();
    if from != kind.name() && (!moments(from) || !moments(kind.name()) || into_nadam) {
        let what = format!("the state of {from} cannot serve {}", kind.name());
        return Err(Error::format(src, what));
    }
    let amsgrad = matches!(kind, StateKind::Adam | StateKind::AdamW);
    let tensors: NamedTensors =
        tensors.into_iter().filter(|(n, _)| amsgrad || !n.ends_with(".max_exp_avg_sq")).collect();
    let mut out = Vec::new();
    write(kind, tensors, &mut out)?;
    write_atomic(dst, &out)
}
