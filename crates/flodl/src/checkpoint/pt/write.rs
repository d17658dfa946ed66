//! Writing what `torch.load` reads.

use std::io::{Cursor, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::checkpoint::write_atomic;
use crate::{DType, Error, Result, Tensor};

/// Writes tensors by name as a `state_dict` that `torch.load(file, weights_only=True)` reads,
/// atomically. The names keep their order.
///
/// # Errors
/// When two tensors have one name, or the file cannot be written.
pub fn save_pt(path: impl AsRef<Path>, tensors: &[(String, Tensor)]) -> Result<()> {
    write_atomic(path, &serialize_pt(tensors)?)
}

/// The bytes of [`save_pt`].
///
/// # Errors
/// When two tensors have one name.
pub fn serialize_pt(tensors: &[(String, Tensor)]) -> Result<Vec<u8>> {
    let mut names: Vec<&str> = tensors.iter().map(|(n, _)| n.as_str()).collect();
    names.sort_unstable();
    if let Some(w) = names.windows(2).find(|w| w[0] == w[1]) {
        return Err(Error::invalid("save_pt", format!("two tensors named {:?}", w[0])));
    }
    let bad = |e: String| Error::invalid("save_pt", e);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let mut entry = |name: &str, bytes: &[u8]| -> Result<()> {
        // PyTorch maps storages into memory, aligned as it does it itself.
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .with_alignment(64)
            .large_file(bytes.len() as u64 >= u64::from(u32::MAX));
        zip.start_file(format!("archive/{name}"), options).map_err(|e| bad(e.to_string()))?;
        zip.write_all(bytes).map_err(|e| bad(e.to_string()))
    };
    entry("data.pkl", &program(tensors)?)?;
    entry("byteorder", b"little")?;
    for (i, (_, t)) in tensors.iter().enumerate() {
        entry(&format!("data/{i}"), &t.to_blob()?)?;
    }
    entry("version", b"3\n")?;
    Ok(zip.finish().map_err(|e| bad(e.to_string()))?.into_inner())
}

fn storage(dtype: DType) -> &'static str {
    match dtype {
        DType::Float16 => "HalfStorage",
        DType::BFloat16 => "BFloat16Storage",
        DType::Float32 => "FloatStorage",
        DType::Float64 => "DoubleStorage",
        DType::Int32 => "IntStorage",
        DType::Int64 => "LongStorage",
        DType::UInt8 => "ByteStorage",
        DType::Bool => "BoolStorage",
    }
}

/// The pickle program of an ordered dictionary of contiguous tensors.
fn program(tensors: &[(String, Tensor)]) -> Result<Vec<u8>> {
    let mut p = vec![0x80, 2];
    ordered_dict(&mut p);
    p.push(b'(');
    for (i, (name, t)) in tensors.iter().enumerate() {
        text(&mut p, name)?;
        p.extend_from_slice(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut p, "storage")?;
        p.extend_from_slice(format!("ctorch\n{}\n", storage(t.dtype())).as_bytes());
        text(&mut p, &i.to_string())?;
        text(&mut p, "cpu")?;
        number(&mut p, t.numel());
        // The tuple of the storage becomes a reference to it; the offset follows.
        p.extend_from_slice(b"tQ");
        number(&mut p, 0);
        let shape = t.shape();
        numbers(&mut p, &shape);
        let mut strides = vec![1; shape.len()];
        for d in (1..shape.len()).rev() {
            strides[d - 1] = strides[d] * shape[d].max(1);
        }
        numbers(&mut p, &strides);
        // requires_grad, backward hooks
        p.push(0x89);
        ordered_dict(&mut p);
        p.extend_from_slice(b"tR");
    }
    p.extend_from_slice(b"u.");
    Ok(p)
}

fn ordered_dict(p: &mut Vec<u8>) {
    p.extend_from_slice(b"ccollections\nOrderedDict\n)R");
}

fn text(p: &mut Vec<u8>, text: &str) -> Result<()> {
    let n = u32::try_from(text.len())
        .map_err(|_| Error::invalid("save_pt", "a name longer than 4 GiB"))?;
    p.push(b'X');
    p.extend_from_slice(&n.to_le_bytes());
    p.extend_from_slice(text.as_bytes());
    Ok(())
}

fn number(p: &mut Vec<u8>, n: i64) {
    if let Ok(small) = i32::try_from(n) {
        p.push(b'J');
        p.extend_from_slice(&small.to_le_bytes());
    } else {
        p.extend_from_slice(&[0x8a, 8]);
        p.extend_from_slice(&n.to_le_bytes());
    }
}

fn numbers(p: &mut Vec<u8>, numbers_: &[i64]) {
    p.push(b'(');
    numbers_.iter().for_each(|&n| number(p, n));
    p.push(b't');
}
