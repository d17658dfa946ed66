//! Values and tensors from what a pickle program made.

use std::collections::HashMap;

use super::pickle::{Heap, Id, Node};
use super::{Archive, PtValue};
use crate::{DType, Device, Error, Result, Tensor};

/// How deep dictionaries and lists may be inside each other.
const DEPTH: usize = 64;
/// How many values may be read; a small program can name one value very often.
const VALUES: usize = 10_000_000;
/// How many bytes text and tensors may have together beyond twice the file's size: tensors may
/// overlap, and text may be named more than once.
const EXPANDED: usize = 1 << 28;

pub(super) struct Reader<'a> {
    heap: &'a Heap,
    archive: Archive<'a>,
    storages: HashMap<&'a str, Vec<u8>>,
    /// Tensors that are one in PyTorch, tied weights among them, are one here.
    tensors: HashMap<View<'a>, Tensor>,
    values: usize,
    /// Bytes that may still be made of the file.
    left: usize,
    /// Bytes of storages that may still be read: no more than the file has, whose entries may
    /// overlap.
    unread: usize,
}

/// What makes a tensor that tensor: dtype, storage, offset, sizes and strides.
type View<'a> = (&'a str, &'a str, usize, Vec<usize>, Vec<usize>);

/// How the elements of a storage are kept.
#[derive(Clone, Copy)]
enum Kind {
    As(DType),
    /// Signed bytes and 16-bit integers become int32.
    Small(usize),
}

impl Kind {
    fn of(name: &str) -> Option<Kind> {
        Some(match name {
            "torch.FloatStorage" => Kind::As(DType::Float32),
            "torch.DoubleStorage" => Kind::As(DType::Float64),
            "torch.HalfStorage" => Kind::As(DType::Float16),
            "torch.BFloat16Storage" => Kind::As(DType::BFloat16),
            "torch.LongStorage" => Kind::As(DType::Int64),
            "torch.IntStorage" => Kind::As(DType::Int32),
            "torch.ByteStorage" => Kind::As(DType::UInt8),
            "torch.BoolStorage" => Kind::As(DType::Bool),
            "torch.CharStorage" => Kind::Small(1),
            "torch.ShortStorage" => Kind::Small(2),
            _ => return None,
        })
    }

    fn size(self) -> usize {
        match self {
            Kind::As(dtype) => dtype.element_size(),
            Kind::Small(size) => size,
        }
    }

    /// Bytes of an element in memory.
    fn made(self) -> usize {
        match self {
            Kind::As(dtype) => dtype.element_size(),
            Kind::Small(_) => DType::Int32.element_size(),
        }
    }
}

impl<'a> Reader<'a> {
    pub fn new(heap: &'a Heap, archive: Archive<'a>) -> Self {
        let size = archive.size();
        Reader {
            heap,
            archive,
            storages: HashMap::new(),
            tensors: HashMap::new(),
            values: 0,
            left: size.saturating_mul(2).saturating_add(EXPANDED),
            unread: size,
        }
    }

    /// The result of the program.
    pub fn root(mut self) -> Result<PtValue> {
        self.value(self.heap.root, 0)
    }

    fn bad(&self, what: impl Into<String>) -> Error {
        Error::format(self.archive.source, what)
    }

    /// Takes from what may be made of the file.
    fn charge(&mut self, bytes: usize) -> Result<()> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| {
            let size = self.archive.size();
            self.bad(format!("names its values so often that they outgrow its {size} bytes"))
        })?;
        Ok(())
    }

    fn value(&mut self, id: Id, depth: usize) -> Result<PtValue> {
        self.values += 1;
        if depth > DEPTH || self.values > VALUES {
            return Err(self.bad("has values nested too deep or too often"));
        }
        let heap = self.heap;
        match heap.get(id) {
            Node::Str(text) => self.charge(text.len())?,
            Node::Bytes(bytes) => self.charge(bytes.len())?,
            _ => {}
        }
        Ok(match heap.get(id) {
            Node::None => PtValue::None,
            Node::Bool(v) => PtValue::Bool(*v),
            Node::Int(v) => PtValue::Int(*v),
            Node::Float(v) => PtValue::Float(*v),
            Node::Str(v) => PtValue::Str(v.clone()),
            Node::Bytes(v) => PtValue::Bytes(v.clone()),
            Node::Global(name) => PtValue::Str((*name).to_owned()),
            Node::Tuple(items) | Node::List(items) => {
                let items = items.iter().map(|&i| self.value(i, depth + 1));
                PtValue::List(items.collect::<Result<_>>()?)
            }
            Node::Dict(entries) => {
                let mut out: Vec<(String, PtValue)> = Vec::with_capacity(entries.len());
                for &(key, value) in entries {
                    let key = match heap.get(key) {
                        Node::Str(text) => {
                            self.charge(text.len())?;
                            text.clone()
                        }
                        Node::Int(v) => v.to_string(),
                        Node::Bool(v) => if *v { "True" } else { "False" }.to_owned(),
                        Node::None => "None".to_owned(),
                        Node::Float(v) => v.to_string(),
                        _ => return Err(self.bad("has a dictionary with a key that is no text")),
                    };
                    out.push((key, self.value(value, depth + 1)?));
                }
                PtValue::Dict(out)
            }
            Node::Tensor(arguments) => PtValue::Tensor(self.tensor(*arguments)?),
            Node::Persistent(_) => return Err(self.bad("has a bare storage, no tensor")),
        })
    }

    fn items(&self, id: Id) -> Option<&'a [Id]> {
        match self.heap.get(id) {
            Node::Tuple(items) | Node::List(items) => Some(items),
            _ => None,
        }
    }

    fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        self.items(id)?.iter().map(|&i| self.size(i)).collect()
    }

    fn size(&self, id: Id) -> Option<usize> {
        match self.heap.get(id) {
            Node::Int(v) => usize::try_from(*v).ok(),
            _ => None,
        }
    }

    /// A tensor from (storage, offset, size, stride, …).
    fn tensor(&mut self, arguments: Id) -> Result<Tensor> {
        let known = self.items(arguments).and_then(|a| {
            let &[storage, offset, size, stride, ..] = a else { return None };
            let Node::Persistent(of) = self.heap.get(storage) else { return None };
            let &[tag, kind, key, _location, count] = self.items(*of)? else { return None };
            let (Node::Str(tag), Node::Global(kind), Node::Str(key)) =
                (self.heap.get(tag), self.heap.get(kind), self.heap.get(key))
            else {
                return None;
            };
            Kind::of(kind).filter(|_| tag == "storage")?;
            let view =
                (*kind, key.as_str(), self.size(offset)?, self.sizes(size)?, self.sizes(stride)?);
            Some((self.size(count)?, view))
        });
        let Some((count, view)) = known else {
            return Err(self.bad("has a tensor that is not described as PyTorch does"));
        };
        if let Some(tensor) = self.tensors.get(&view) {
            return Ok(tensor.clone());
        }
        let tensor = self.gathered(count, &view)?;
        self.tensors.insert(view, tensor.clone());
        Ok(tensor)
    }

    /// A tensor that was not yet read, on a storage of `count` elements.
    fn gathered(&mut self, count: usize, view: &View<'a>) -> Result<Tensor> {
        let (name, key, offset, size, stride) = view;
        let (key, offset) = (*key, *offset);
        let Some(kind) = Kind::of(name) else {
            return Err(self.bad("has a tensor that is not described as PyTorch does"));
        };
        let width = kind.size();
        if !self.storages.contains_key(key) {
            let bytes = self.archive.entry(&format!("data/{key}"))?;
            self.unread = self
                .unread
                .checked_sub(bytes.len())
                .ok_or_else(|| self.bad("has entries that overlap"))?;
            self.storages.insert(key, bytes);
        }
        let have = self.storages[key].len() / width;
        let fault = |what: String| {
            let at = format!("a tensor of shape {size:?} and strides {stride:?}");
            Error::format(self.archive.source, format!("{at} on storage {key}: {what}"))
        };
        if size.len() != stride.len() {
            return Err(fault("as many strides as sizes are needed".into()));
        }
        if have < count {
            return Err(fault(format!("it has {have} elements, not {count}")));
        }
        let numel = size.iter().try_fold(1usize, |n, &s| n.checked_mul(s));
        let last = size
            .iter()
            .zip(stride)
            .try_fold(offset, |at, (&n, &s)| at.checked_add(n.saturating_sub(1).checked_mul(s)?));
        let (Some(numel), Some(last)) = (numel, last) else {
            return Err(fault("beyond memory".into()));
        };
        if numel > 0 && last >= have {
            return Err(fault(format!("element {last} of {have}")));
        }
        let made = kind.made().checked_mul(numel);
        let Some(left) = made.and_then(|made| self.left.checked_sub(made)) else {
            return Err(fault(match numel > have {
                true => "more elements than are in the file; make it contiguous".into(),
                false => "the file's tensors overlap so much that they outgrow it".into(),
            }));
        };
        self.left = left;
        let shape: Vec<i64> = size.iter().map(|&n| n as i64).collect();
        let storage = &self.storages[key];
        let blob = gather(storage, width, offset, size, stride, numel);
        match kind {
            Kind::As(DType::Bool) => {
                let bytes: Vec<bool> = blob.iter().map(|&b| b != 0).collect();
                Tensor::from_bool(&bytes, &shape, Device::CPU)
            }
            Kind::As(dtype) => Tensor::from_blob(&blob, &shape, dtype, Device::CPU),
            Kind::Small(1) => small(blob.iter().map(|&b| i32::from(b as i8)), &shape),
            Kind::Small(_) => {
                let values = blob.chunks_exact(2).map(|c| i16::from_le_bytes([c[0], c[1]]).into());
                small(values, &shape)
            }
        }
    }
}

fn small(values: impl Iterator<Item = i32>, shape: &[i64]) -> Result<Tensor> {
    let blob: Vec<u8> = values.flat_map(i32::to_ne_bytes).collect();
    Tensor::from_blob(&blob, shape, DType::Int32, Device::CPU)
}

/// The elements of a strided view one behind the other; all are known to be inside.
fn gather(
    storage: &[u8],
    width: usize,
    offset: usize,
    size: &[usize],
    stride: &[usize],
    numel: usize,
) -> Vec<u8> {
    let mut want = 1;
    let dense = size.iter().zip(stride).rev().all(|(&n, &s)| {
        let fits = n <= 1 || s == want;
        want *= n;
        fits
    });
    if numel == 0 || dense {
        let start = if numel == 0 { 0 } else { offset * width };
        return storage[start..start + numel * width].to_vec();
    }
    let mut out = Vec::with_capacity(numel * width);
    let mut index = vec![0; size.len()];
    let mut at = offset;
    for _ in 0..numel {
        out.extend_from_slice(&storage[at * width..(at + 1) * width]);
        for d in (0..size.len()).rev() {
            index[d] += 1;
            at += stride[d];
            if index[d] < size[d] {
                break;
            }
            at -= stride[d] * size[d];
            index[d] = 0;
        }
    }
    out
}
