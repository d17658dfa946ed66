//! The parts of a run that are no weights.

use super::{deserialize_tensors, serialize_tensors};
use crate::{Error, Module, PlateauScheduler, Result, Rng, Stateful};

/// State as bytes: every [`Stateful`] optimizer, and what you implement it for.
pub trait SaveState {
    /// The state.
    ///
    /// # Errors
    /// When it cannot be written.
    fn state_bytes(&self) -> Result<Vec<u8>>;

    /// Goes on from a state. On an error nothing has changed.
    ///
    /// # Errors
    /// When the bytes are no such state.
    fn load_state_bytes(&mut self, bytes: &[u8]) -> Result<()>;
}

impl<S: Stateful> SaveState for S {
    fn state_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.save_state(&mut bytes)?;
        Ok(bytes)
    }

    fn load_state_bytes(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.load_state(&mut bytes)
    }
}

impl SaveState for Rng {
    fn state_bytes(&self) -> Result<Vec<u8>> {
        Ok(self.words().iter().flat_map(|w| w.to_le_bytes()).collect())
    }

    fn load_state_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let mut words = [0; 5];
        if bytes.len() != 8 * words.len() {
            let what = format!("its state has 40 bytes, not {}", bytes.len());
            return Err(Error::invalid("Rng", what));
        }
        for (word, c) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]]);
        }
        *self = Rng::from_words(words)
            .ok_or_else(|| Error::invalid("Rng", "the bytes are not its state"))?;
        Ok(())
    }
}

/// A [`PlateauScheduler`] whose state is kept with the run's.
pub struct PlateauState<'a>(pub &'a mut PlateauScheduler);

impl SaveState for PlateauState<'_> {
    fn state_bytes(&self) -> Result<Vec<u8>> {
        Ok(self.0.state().iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    fn load_state_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let words: Vec<f64> = bytes
            .chunks_exact(8)
            .map(|c| f64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]]))
            .collect();
        let state = <[f64; 4]>::try_from(words).map_err(|w| {
            Error::new(&format!("a scheduler's state has 4 numbers, not {}", w.len()))
        })?;
        self.0.load_state(state)
    }
}

/// What a model carries from one forward to the next (see [`Module::carried_state`]), kept with the
/// run's state.
///
/// ```
/// use flodl::*;
/// let model = FlowBuilder::from(Linear::new(2, 2)?)
///     .through(StateAdd)
///     .using(&["memory"])
///     .through(Linear::new(2, 2)?)
///     .tag("memory")
///     .build()?;
/// let bytes = CarriedState(&model).state_bytes()?;
/// CarriedState(&model).load_state_bytes(&bytes)?;
/// # Ok::<(), Error>(())
/// ```
pub struct CarriedState<'a>(pub &'a dyn Module);

impl SaveState for CarriedState<'_> {
    fn state_bytes(&self) -> Result<Vec<u8>> {
        let values = self.0.carried_state().into_iter();
        let held: Vec<_> = values.filter_map(|(name, value)| Some((name, value?))).collect();
        serialize_tensors(&held, None)
    }

    fn load_state_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let (held, _) = deserialize_tensors(bytes, "the carried values")?;
        let known = self.0.carried_state();
        if let Some((name, _)) = held.iter().find(|(n, _)| known.iter().all(|k| k.0 != *n)) {
            let known: Vec<_> = known.iter().map(|k| &k.0).collect();
            let what = format!("the model carries no {name:?}; it carries {known:?}");
            return Err(Error::invalid("CarriedState", what));
        }
        self.0.load_carried_state(&held)
    }
}

/// What a run's saves depend on besides its parts, in words: a load compares it with what is there
/// now.
pub(crate) struct Setup(pub Vec<(&'static str, String)>);

impl SaveState for Setup {
    fn state_bytes(&self) -> Result<Vec<u8>> {
        let lines = self.0.iter().map(|(name, value)| serde_json::json!([name, value]));
        Ok(serde_json::Value::Array(lines.collect()).to_string().into_bytes())
    }

    fn load_state_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let saved: serde_json::Value = serde_json::from_slice(bytes)
            .map_err(|_| Error::invalid("Trainer", "the saved setup is damaged"))?;
        let saved: Vec<&serde_json::Value> = saved.as_array().into_iter().flatten().collect();
        let then = |name: &str| {
            saved.iter().find(|pair| pair[0].as_str() == Some(name)).and_then(|p| p[1].as_str())
        };
        let changed: Vec<String> = self
            .0
            .iter()
            .filter(|(name, now)| then(name) != Some(now))
            .map(|(name, now)| format!("{name} was {}, is {now}", then(name).unwrap_or("unknown")))
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        let what = format!(
            "the saved run is another one: {}; give this run a folder of its own, or load the \
             weights alone with load_checkpoint_with",
            changed.join("; ")
        );
        Err(Error::invalid("Trainer", what))
    }
}
