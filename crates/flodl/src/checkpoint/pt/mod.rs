//! PyTorch's `.pt` and `.pth` files, read and written without Python.
//!
//! Such a file is a zip archive with a pickle program and the raw bytes of each storage. The program
//! is interpreted by [`pickle`], which knows tensors, dictionaries and plain values and nothing
//! else: it calls no code, whatever the file says.

mod pickle;
mod tensor;
mod write;

pub use write::{save_pt, serialize_pt};

use std::io::{Cursor, Read};
use std::path::Path;

use zip::ZipArchive;

use super::NamedTensors;
use crate::{Error, Result, Tensor};

/// A value in a PyTorch file.
#[derive(Clone, Debug)]
pub enum PtValue {
    /// `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Text.
    Str(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A tensor or parameter.
    Tensor(Tensor),
    /// A list, tuple or set.
    List(Vec<PtValue>),
    /// A dictionary in its order; keys that are no strings are written as Python prints them.
    Dict(Vec<(String, PtValue)>),
}

impl PtValue {
    /// An entry of a dictionary.
    pub fn get(&self, key: &str) -> Option<&PtValue> {
        match self {
            PtValue::Dict(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// All tensors with the path of keys and places that leads to them, joined by dots; in a
    /// `state_dict` those are the names.
    pub fn tensors(&self) -> NamedTensors {
        let mut out = Vec::new();
        collect(self, String::new(), &mut out);
        out
    }

    /// All tensors, of which there must be one, with names that differ.
    pub(super) fn into_tensors(self, source: &str) -> Result<NamedTensors> {
        let mut tensors = self.tensors();
        if tensors.is_empty() {
            return Err(Error::format(source, "holds no tensors"));
        }
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        match tensors.windows(2).find(|w| w[0].0 == w[1].0) {
            Some(w) => Err(Error::format(source, format!("has two tensors named {:?}", w[0].0))),
            None => Ok(tensors),
        }
    }
}

fn collect(value: &PtValue, path: String, out: &mut NamedTensors) {
    let below = |name: &str| {
        if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
    };
    match value {
        PtValue::Tensor(t) => out.push((path, t.clone())),
        PtValue::List(items) => {
            items.iter().enumerate().for_each(|(i, v)| collect(v, below(&i.to_string()), out));
        }
        PtValue::Dict(entries) => entries.iter().for_each(|(k, v)| collect(v, below(k), out)),
        _ => {}
    }
}

/// Reads a file written by `torch.save`: a `state_dict`, or a checkpoint of tensors, numbers, text,
/// lists and dictionaries.
///
/// Nothing in the file is executed: the pickle program may make the values above and nothing else.
///
/// # Errors
/// When the file cannot be read or is damaged, asks for any other Python object (the message names
/// it), or is in the format from before PyTorch 1.6.
///
/// ```
/// use flodl::*;
/// let path = std::env::temp_dir().join(format!("flodl-doc-{}.pt", std::process::id()));
/// save_pt(&path, &[("w".to_owned(), Tensor::ones(&[2], TensorOptions::default())?)])?;
/// let dict = load_pt(&path)?;
/// assert!(matches!(dict.get("w"), Some(PtValue::Tensor(t)) if t.shape() == [2]));
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), Error>(())
/// ```
pub fn load_pt(path: impl AsRef<Path>) -> Result<PtValue> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    parse(&bytes, &path.display().to_string())
}

/// Whether a file is PyTorch's, in one of its formats.
pub(super) fn is_pt(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || is_legacy(bytes)
}

/// The format before 1.6 begins with the pickle of a fixed number.
fn is_legacy(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19")
}

pub(super) fn parse(bytes: &[u8], source: &str) -> Result<PtValue> {
    if is_legacy(bytes) {
        return Err(Error::format(
            source,
            "is in PyTorch's format from before 1.6; write it anew with \
             torch.save(torch.load(file), file)",
        ));
    }
    let mut archive = Archive::open(bytes, source)?;
    let program = archive.entry("data.pkl")?;
    if let Some(order) = archive.find("byteorder")
        && order.trim_ascii() != b"little"
    {
        return Err(Error::format(source, "has its numbers in big-endian order"));
    }
    let heap =
        pickle::run(&program).map_err(|e| Error::format(source, format!("data.pkl: {e}")))?;
    tensor::Reader::new(&heap, archive).root()
}

/// The zip archive; entries lie in a folder whose name is any.
pub(super) struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    folder: String,
    source: &'a str,
    bytes: usize,
}

impl<'a> Archive<'a> {
    fn open(bytes: &'a [u8], source: &'a str) -> Result<Self> {
        let zip = ZipArchive::new(Cursor::new(bytes))
            .map_err(|e| Error::format(source, format!("is no whole zip archive: {e}")))?;
        let folder = zip.file_names().find_map(|n| n.strip_suffix("data.pkl"));
        let Some(folder) = folder.map(str::to_owned) else {
            return Err(Error::format(source, "is a zip archive, but not PyTorch's: no data.pkl"));
        };
        Ok(Archive { zip, folder, source, bytes: bytes.len() })
    }

    /// The whole file's size in bytes.
    fn size(&self) -> usize {
        self.bytes
    }

    /// The bytes of an entry.
    fn entry(&mut self, name: &str) -> Result<Vec<u8>> {
        let bad = |e: String| Error::format(self.source, format!("entry {name}: {e}"));
        let full = format!("{}{name}", self.folder);
        let mut file = self.zip.by_name(&full).map_err(|e| bad(e.to_string()))?;
        let mut bytes = Vec::new();
        // The reader checks the entry's checksum at its end.
        file.read_to_end(&mut bytes).map_err(|e| bad(e.to_string()))?;
        Ok(bytes)
    }

    fn find(&mut self, name: &str) -> Option<Vec<u8>> {
        self.entry(name).ok()
    }
}
