//! Data sets, samplers and batches; files of several kinds as data sets.
//!
//! What a loader yields depends on the data, the seed and the epoch, never on the number of worker
//! threads or on timing.

mod cifar;
mod csv;
#[cfg(feature = "image")]
mod folder;
mod idx;
mod loader;
#[cfg(feature = "parquet")]
mod parquet;
mod prefetch;
mod records;
mod resize;
mod sampler;
mod sets;
mod stream;
mod text;
mod transform;

pub use cifar::*;
pub use csv::*;
#[cfg(feature = "image")]
pub use folder::*;
pub use idx::*;
pub use loader::{Batch, DataLoader, EpochIter};
#[cfg(feature = "parquet")]
pub use parquet::*;
pub use prefetch::PrefetchWorker;
pub use records::FixedStrideRecords;
pub use resize::Resize;
pub use sampler::*;
pub use sets::*;
pub use stream::*;
pub use text::*;
pub use transform::*;

use crate::{Error, Result, Tensor};

/// Single samples by index. Each sample is a list of tensors, such as an image and its label.
pub trait DataSet: Send + Sync {
    /// Number of samples.
    fn len(&self) -> usize;
    /// One sample.
    ///
    /// # Errors
    /// When it cannot be read.
    fn get(&self, index: usize) -> Result<Vec<Tensor>>;
    /// Whether there are no samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whole batches by index: for sources that have a faster way than one sample at a time.
pub trait BatchDataSet: Send + Sync {
    /// Number of samples.
    fn len(&self) -> usize;
    /// The samples, stacked along a new first dim.
    ///
    /// # Errors
    /// When one cannot be read.
    fn get_batch(&self, indices: &[usize]) -> Result<Vec<Tensor>>;
    /// Whether there are no samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A file's bytes, decompressed when they are gzip, whatever the file's name.
pub(crate) fn read_maybe_gz(path: &std::path::Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut out = Vec::new();
    let mut gz = flate2::read::MultiGzDecoder::new(&bytes[..]);
    match std::io::Read::read_to_end(&mut gz, &mut out) {
        Ok(_) => Ok(out),
        Err(e) => {
            let what = format!("is damaged gzip, after {} bytes of content: {e}", out.len());
            Err(Error::format(path, what))
        }
    }
}
