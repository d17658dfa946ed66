//! Checkpoints, snapshots, and the source that a model was made from.

use std::collections::HashMap;
use std::io::Write;

use super::Graph;
use crate::checkpoint::{apply_checkpoint, checkpoint_metadata, read_metadata};
use crate::{
    Device, Error, LoadOptions, LoadReport, Result, Tensor, load_checkpoint_with,
    serialize_tensors, write_atomic,
};

/// Key of the source configuration in a file's metadata.
const CONFIG_KEY: &str = "flodl.source_config";

/// A copy of a model's weights at one moment, which another thread may write while training goes
/// on.
///
/// ```
/// use flodl::*;
/// let model = FlowBuilder::from(Linear::new(2, 2)?).build()?;
/// let snapshot = model.snapshot_cpu()?;
/// let mut bytes = Vec::new();
/// std::thread::spawn(move || snapshot.save(&mut bytes)).join().unwrap()?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ModelSnapshot {
    tensors: Vec<(String, Tensor)>,
    metadata: HashMap<String, String>,
}

impl ModelSnapshot {
    /// The values by name.
    pub fn tensors(&self) -> &[(String, Tensor)] {
        &self.tensors
    }

    /// Writes the snapshot as a checkpoint.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn save<W: Write>(&self, w: &mut W) -> Result<()> {
        w.write_all(&self.bytes()?).map_err(|e| Error::io("snapshot", e))
    }

    /// [`ModelSnapshot::save`] to a file, atomically.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_file(&self, path: &str) -> Result<()> {
        write_atomic(path, &self.bytes()?)
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        serialize_tensors(&self.tensors, Some(self.metadata.clone()))
    }
}

impl Graph {
    /// The weights as they are: handles, no copies.
    fn weights(&self) -> ModelSnapshot {
        let params = self.named_parameters().into_iter().map(|(n, p)| (n, p.variable.data()));
        let buffers = self.named_buffers().into_iter().map(|(n, b)| (n, b.get()));
        let mut metadata = checkpoint_metadata(Some(&self.hash));
        if let Some(config) = self.source_config() {
            metadata.insert(CONFIG_KEY.to_owned(), config);
        }
        ModelSnapshot { tensors: params.chain(buffers).collect(), metadata }
    }

    /// A copy of all parameters and buffers on the CPU, which later steps do not touch.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn snapshot_cpu(&self) -> Result<ModelSnapshot> {
        let mut snapshot = self.weights();
        for (_, t) in &mut snapshot.tensors {
            *t = t.to_device(Device::CPU)?.copy()?;
        }
        Ok(snapshot)
    }

    /// Writes parameters and buffers as `.safetensors`, atomically.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_checkpoint(&self, path: &str) -> Result<()> {
        self.weights().save_file(path)
    }

    /// Reads parameters, buffers and, if the file has one, the text of
    /// [`Graph::set_source_config`]. The file is checked whole before anything changes.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or does not fit this graph.
    pub fn load_checkpoint(&self, path: &str) -> Result<LoadReport> {
        let (params, buffers) = (self.named_parameters(), self.named_buffers());
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let mut metadata = read_metadata(&bytes, path)?;
        let report = apply_checkpoint(&bytes, path, &params, &buffers, Some(&self.hash))?;
        if let Some(config) = metadata.remove(CONFIG_KEY) {
            self.set_source_config(config);
        }
        Ok(report)
    }

    /// Reads what fits out of a file that another program or another model wrote: names are changed
    /// as the options say, and the structural hash is not compared.
    ///
    /// # Errors
    /// As for [`crate::load_checkpoint_with`].
    pub fn load_weights(&self, path: &str, options: &LoadOptions) -> Result<LoadReport> {
        let (params, buffers) = (self.named_parameters(), self.named_buffers());
        load_checkpoint_with(path, &params, &buffers, None, options)
    }

    /// Keeps a text from which the model was made; checkpoints carry it in their metadata.
    pub fn set_source_config(&self, content: String) {
        self.source_config.replace(Some(content));
    }

    /// The text of [`Graph::set_source_config`].
    pub fn source_config(&self) -> Option<String> {
        self.source_config.borrow().clone()
    }

    /// Forgets the text of [`Graph::set_source_config`].
    pub fn clear_source_config(&self) {
        self.source_config.replace(None);
    }
}
