//! Weights on disk, as `.safetensors`, the format that PyTorch's world reads and writes; PyTorch's own
//! `.pt`; and whole runs.

mod load;
mod migrate;
mod parts;
mod pt;
mod run;

pub use load::{LoadOptions, LoadReport, load_checkpoint_with};
pub use migrate::{MigrateReport, migrate_checkpoint, migrate_checkpoint_file};
pub use parts::*;
pub use pt::*;
pub use run::*;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::{Buffer, DType, Device, Error, Parameter, Result, Tensor};

/// Key of the structural hash in the file's metadata.
pub(crate) const HASH_KEY: &str = "flodl.structural_hash";

/// Key of the format's version in the file's metadata.
const VERSION_KEY: &str = "flodl.checkpoint.version";

/// The version that is written.
const VERSION: u32 = 1;

/// What a checkpoint says of itself.
pub(crate) fn checkpoint_metadata(structural_hash: Option<&str>) -> Metadata {
    let version = (VERSION_KEY.to_owned(), VERSION.to_string());
    let hash = structural_hash.map(|h| (HASH_KEY.to_owned(), h.to_owned()));
    std::iter::once(version).chain(hash).collect()
}

/// What the names of this process's temporary files have in them.
fn own_mark() -> String {
    format!(".{}-", std::process::id())
}

/// Writes a file so that a reader sees the old one or the new one, whole: to a temporary name,
/// synced, renamed.
///
/// # Errors
/// When the file cannot be written; the old one is then untouched.
pub fn write_atomic(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let path = path.as_ref();
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| Error::format(path, "is not the name of a file"))?;
    // Threads that write one path must not write one temporary file.
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let temporary = dir.join(format!(".{}{}{call}.tmp", name.to_string_lossy(), own_mark()));
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        // The rename itself must survive a power cut too; not every system can sync a directory.
        if let Ok(dir) = std::fs::File::open(dir) {
            let _ = dir.sync_all();
        }
        Ok(())
    };
    write().map_err(|e| {
        let _ = std::fs::remove_file(&temporary);
        Error::io(path, e)
    })
}

fn to_safetensors(dtype: DType) -> Dtype {
    match dtype {
        DType::Float16 => Dtype::F16,
        DType::BFloat16 => Dtype::BF16,
        DType::Float32 => Dtype::F32,
        DType::Float64 => Dtype::F64,
        DType::Int32 => Dtype::I32,
        DType::Int64 => Dtype::I64,
        DType::UInt8 => Dtype::U8,
        DType::Bool => Dtype::BOOL,
    }
}

fn from_safetensors(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::F16 => DType::Float16,
        Dtype::BF16 => DType::BFloat16,
        Dtype::F32 => DType::Float32,
        Dtype::F64 => DType::Float64,
        Dtype::I32 => DType::Int32,
        Dtype::I64 => DType::Int64,
        Dtype::U8 => DType::UInt8,
        Dtype::BOOL => DType::Bool,
        _ => return None,
    })
}

/// Tensors with their names, sorted by name.
pub type NamedTensors = Vec<(String, Tensor)>;

/// What a file says of itself.
pub type Metadata = HashMap<String, String>;

/// Tensors by name as the bytes of a `.safetensors` file.
///
/// # Errors
/// When two tensors have one name.
pub fn serialize_tensors(
    tensors: &[(String, Tensor)],
    metadata: Option<HashMap<String, String>>,
) -> Result<Vec<u8>> {
    let mut blobs = Vec::with_capacity(tensors.len());
    for (name, t) in tensors {
        let shape: Vec<usize> = t.shape().iter().map(|&n| n as usize).collect();
        blobs.push((name.as_str(), to_safetensors(t.dtype()), shape, t.to_blob()?));
    }
    let views = blobs
        .iter()
        .map(|(name, dtype, shape, blob)| {
            let view = TensorView::new(*dtype, shape.clone(), blob)
                .map_err(|e| Error::format(name, e.to_string()))?;
            Ok((*name, view))
        })
        .collect::<Result<Vec<_>>>()?;
    let bad = |e: String| Error::format("safetensors", e);
    let mut bytes = safetensors::serialize(views, None).map_err(|e| bad(e.to_string()))?;
    if let Some(metadata) = metadata {
        put_metadata(&mut bytes, &metadata).ok_or_else(|| bad("has no header".into()))?;
    }
    Ok(bytes)
}

/// Adds metadata to a file without any, sorted: the crate writes it in the random order of a hash
/// map, and equal states must be equal files.
fn put_metadata(bytes: &mut Vec<u8>, metadata: &Metadata) -> Option<()> {
    let length = u64::from_le_bytes(*bytes.first_chunk()?) as usize;
    let tensors = std::str::from_utf8(bytes.get(8..8 + length)?).ok()?;
    let tensors = tensors.trim_end().strip_prefix('{')?;
    let sorted: std::collections::BTreeMap<&String, &String> = metadata.iter().collect();
    let metadata = serde_json::to_string(&sorted).ok()?;
    let comma = if tensors == "}" { "" } else { "," };
    let mut header = format!("{{\"__metadata__\":{metadata}{comma}{tensors}");
    // Values that follow stay aligned.
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    bytes[..8].copy_from_slice(&(header.len() as u64).to_le_bytes());
    bytes.splice(8..8 + length, header.into_bytes());
    Some(())
}

/// The tensors of a `.safetensors` file's bytes, and its metadata; also those of a file of
/// PyTorch's, see [`load_pt`]. `source` names the bytes in errors.
///
/// # Errors
/// When the bytes are damaged or hold a dtype that there is no tensor for.
pub fn deserialize_tensors(bytes: &[u8], source: &str) -> Result<(NamedTensors, Metadata)> {
    if pt::is_pt(bytes) {
        return Ok((pt::parse(bytes, source)?.into_tensors(source)?, Metadata::new()));
    }
    let bad = |e: safetensors::SafeTensorError| Error::format(source, e.to_string());
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(bad)?;
    let file = SafeTensors::deserialize(bytes).map_err(bad)?;
    let mut names: Vec<&str> = file.names();
    names.sort_unstable();
    let tensors = names
        .into_iter()
        .map(|name| {
            let view = file.tensor(name).map_err(bad)?;
            let dtype = from_safetensors(view.dtype()).ok_or_else(|| {
                Error::format(source, format!("{name} has the dtype {:?}", view.dtype()))
            })?;
            let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
            Ok((name.to_owned(), Tensor::from_blob(view.data(), &shape, dtype, Device::CPU)?))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok((tensors, header.metadata().clone().unwrap_or_default()))
}

/// What a file says of itself, without its tensors.
pub(crate) fn read_metadata(bytes: &[u8], source: &str) -> Result<Metadata> {
    if pt::is_pt(bytes) {
        return Ok(Metadata::new());
    }
    let read = SafeTensors::read_metadata(bytes);
    let (_, header) = read.map_err(|e| Error::format(source, e.to_string()))?;
    Ok(header.metadata().clone().unwrap_or_default())
}

/// Writes tensors by name to a `.safetensors` file, atomically.
///
/// # Errors
/// When the file cannot be written.
pub fn save_tensors(path: impl AsRef<Path>, tensors: &[(String, Tensor)]) -> Result<()> {
    write_atomic(path, &serialize_tensors(tensors, None)?)
}

/// Reads the tensors of a `.safetensors` file, or of PyTorch's `.pt`.
///
/// # Errors
/// When the file cannot be read or is damaged.
pub fn load_tensors(path: impl AsRef<Path>) -> Result<Vec<(String, Tensor)>> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    Ok(deserialize_tensors(&bytes, &path.display().to_string())?.0)
}

/// Writes parameters and buffers under their names.
///
/// # Errors
/// When the writer fails.
pub fn save_checkpoint<W: Write>(
    w: &mut W,
    params: &[(String, Parameter)],
    buffers: &[(String, Buffer)],
    structural_hash: Option<&str>,
) -> Result<()> {
    let bytes = checkpoint_bytes(params, buffers, structural_hash)?;
    w.write_all(&bytes).map_err(|e| Error::io("checkpoint", e))
}

/// [`save_checkpoint`] to a file, atomically.
///
/// # Errors
/// When the file cannot be written.
pub fn save_checkpoint_file(
    path: &str,
    params: &[(String, Parameter)],
    buffers: &[(String, Buffer)],
    structural_hash: Option<&str>,
) -> Result<()> {
    write_atomic(path, &checkpoint_bytes(params, buffers, structural_hash)?)
}

fn checkpoint_bytes(
    params: &[(String, Parameter)],
    buffers: &[(String, Buffer)],
    structural_hash: Option<&str>,
) -> Result<Vec<u8>> {
    let params = params.iter().map(|(n, p)| (n.clone(), p.variable.data()));
    let buffers = buffers.iter().map(|(n, b)| (n.clone(), b.get()));
    let metadata = checkpoint_metadata(structural_hash);
    serialize_tensors(&params.chain(buffers).collect::<Vec<_>>(), Some(metadata))
}

/// Reads parameters and buffers by name. Everything is checked first: on an error nothing has
/// changed.
///
/// # Errors
/// When the data is damaged, shapes differ, the structural hashes differ, or no name matches.
pub fn load_checkpoint<R: Read>(
    r: &mut R,
    params: &[(String, Parameter)],
    buffers: &[(String, Buffer)],
    structural_hash: Option<&str>,
) -> Result<LoadReport> {
    let mut bytes = Vec::new();
    r.read_to_end(&mut bytes).map_err(|e| Error::io("checkpoint", e))?;
    apply_checkpoint(&bytes, "checkpoint", params, buffers, structural_hash)
}

/// [`load_checkpoint`] from a file.
///
/// # Errors
/// As for [`load_checkpoint`], and when the file cannot be read.
pub fn load_checkpoint_file(
    path: &str,
    params: &[(String, Parameter)],
    buffers: &[(String, Buffer)],
    structural_hash: Option<&str>,
) -> Result<LoadReport> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    apply_checkpoint(&bytes, path, params, buffers, structural_hash)
}

/// The names in a checkpoint file, sorted.
///
/// # Errors
/// When the file cannot be read or is damaged.
pub fn checkpoint_keys(path: &str) -> Result<Vec<String>> {
    Ok(load_tensors(path)?.into_iter().map(|(name, _)| name).collect())
}

/// The version of the format that a checkpoint file was written in; 0 for a `.safetensors` file that
/// something else wrote.
///
/// # Errors
/// When the file cannot be read or is damaged.
pub fn checkpoint_version(path: &str) -> Result<u32> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    version(&deserialize_tensors(&bytes, path)?.1, path)
}

fn version(metadata: &Metadata, source: &str) -> Result<u32> {
    let Some(text) = metadata.get(VERSION_KEY) else { return Ok(0) };
    let bad = |_| Error::format(source, format!("{VERSION_KEY} is {text:?}, not a number"));
    text.parse().map_err(bad)
}

pub(crate) fn apply_checkpoint(
    bytes: &[u8],
    source: &str,
    params: &[(String, Parameter)],
    buffers: &[(String, Buffer)],
    structural_hash: Option<&str>,
) -> Result<LoadReport> {
    let options = LoadOptions::new();
    let plan = load::Plan::new(bytes, source, params, buffers, structural_hash, &options)?;
    Ok(plan.apply())
}
