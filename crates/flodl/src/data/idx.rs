//! IDX files, the format of MNIST and Fashion-MNIST, plain or gzipped.

use std::path::{Path, PathBuf};

use super::{TensorDataset, read_maybe_gz};
use crate::{DType, Device, Error, Result, Tensor};

/// Reads an IDX file, plain or gzipped, as a tensor of its shape and of the dtype nearest to its
/// own: uint8, int32 (also for signed bytes and 16-bit integers), float32, float64.
///
/// # Errors
/// When the file cannot be read or is damaged; the message names the place.
pub fn read_idx(path: impl AsRef<Path>) -> Result<Tensor> {
    let path = path.as_ref();
    parse(&read_maybe_gz(path)?).map_err(|what| match what {
        Fault::Words(what) => Error::format(path, what),
        Fault::Error(e) => e,
    })
}

enum Fault {
    Words(String),
    Error(Error),
}

impl From<String> for Fault {
    fn from(what: String) -> Self {
        Fault::Words(what)
    }
}

fn parse(bytes: &[u8]) -> std::result::Result<Tensor, Fault> {
    let Some(&[zero_a, zero_b, code, dims]) = bytes.get(..4) else {
        return Err(
            format!("is no IDX file: it has {} bytes, not even a header", bytes.len()).into()
        );
    };
    if (zero_a, zero_b) != (0, 0) {
        return Err(format!("is no IDX file: it starts with {:02x?}", &bytes[..4]).into());
    }
    let (dtype, width) = match code {
        0x08 => (DType::UInt8, 1),
        0x09 => (DType::Int32, 1),
        0x0b => (DType::Int32, 2),
        0x0c => (DType::Int32, 4),
        0x0d => (DType::Float32, 4),
        0x0e => (DType::Float64, 8),
        _ => return Err(format!("byte 2: unknown element type 0x{code:02x}").into()),
    };
    let start = 4 + 4 * usize::from(dims);
    let Some(header) = bytes.get(4..start) else {
        return Err(format!("ends within its header, at byte {}", bytes.len()).into());
    };
    let shape: Vec<i64> = header
        .chunks_exact(4)
        .map(|c| i64::from(u32::from_be_bytes([c[0], c[1], c[2], c[3]])))
        .collect();
    let size = shape.iter().try_fold(width as i64, |n, &d| n.checked_mul(d));
    let body = &bytes[start..];
    if size != Some(body.len() as i64) {
        let size = size.map_or("too many".to_owned(), |n| n.to_string());
        return Err(format!(
            "byte {start}: shape {shape:?} needs {size} bytes of data, there are {}",
            body.len()
        )
        .into());
    }
    // The file has the most significant byte first; tensors have the machine's order.
    let blob: Vec<u8> = match code {
        0x08 => body.to_vec(),
        0x09 => body.iter().flat_map(|&b| i32::from(b as i8).to_ne_bytes()).collect(),
        0x0b => body
            .chunks_exact(2)
            .flat_map(|c| i32::from(i16::from_be_bytes([c[0], c[1]])).to_ne_bytes())
            .collect(),
        _ if cfg!(target_endian = "little") => {
            body.chunks_exact(width).flat_map(|c| c.iter().rev().copied()).collect()
        }
        _ => body.to_vec(),
    };
    Tensor::from_blob(&blob, &shape, dtype, Device::CPU).map_err(Fault::Error)
}

/// MNIST, Fashion-MNIST, KMNIST or any set in their four files: images `[N, 1, height, width]` as
/// bytes, and labels `[N]` as int64.
#[derive(Clone, Debug)]
pub struct Mnist {
    /// Images, uint8 from 0 to 255.
    pub images: Tensor,
    /// Labels, int64.
    pub labels: Tensor,
}

impl Mnist {
    /// The training or the test part in a folder, under the usual names, gzipped or not:
    /// `train-images-idx3-ubyte`, `t10k-labels-idx1-ubyte.gz` and so on.
    ///
    /// # Errors
    /// When a file is missing or damaged, or images and labels do not belong together.
    pub fn open(dir: impl AsRef<Path>, train: bool) -> Result<Self> {
        let dir = dir.as_ref();
        let part = if train { "train" } else { "t10k" };
        Self::read(
            find(
                dir,
                &[&format!("{part}-images-idx3-ubyte"), &format!("{part}-images.idx3-ubyte")],
            )?,
            find(
                dir,
                &[&format!("{part}-labels-idx1-ubyte"), &format!("{part}-labels.idx1-ubyte")],
            )?,
        )
    }

    /// A file of images and one of their labels.
    ///
    /// # Errors
    /// When one is damaged, or they do not belong together.
    pub fn read(images: impl AsRef<Path>, labels: impl AsRef<Path>) -> Result<Self> {
        let (pixels, classes) = (read_idx(&images)?, read_idx(&labels)?);
        let &[n, h, w] = &pixels.shape()[..] else {
            let what = format!("holds no images but shape {:?}", pixels.shape());
            return Err(Error::format(images, what));
        };
        if pixels.dtype() != DType::UInt8 {
            return Err(Error::format(images, format!("holds {}, not uint8", pixels.dtype())));
        }
        if classes.shape() != [n] {
            let what = format!(
                "holds shape {:?}, {} has {n} images",
                classes.shape(),
                images.as_ref().display()
            );
            return Err(Error::format(labels, what));
        }
        let images = pixels.reshape(&[n, 1, h, w])?;
        Ok(Mnist { images, labels: classes.to_dtype(DType::Int64)? })
    }

    /// Images as float32 from 0 to 1, and labels.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn dataset(&self) -> Result<TensorDataset> {
        let images = self.images.to_dtype(DType::Float32)?.div_scalar(255.0)?;
        TensorDataset::new(vec![images, self.labels.clone()])
    }
}

/// The first of these names, or of them with `.gz`, that is in a folder.
fn find(dir: &Path, names: &[&str]) -> Result<PathBuf> {
    names
        .iter()
        .flat_map(|n| [dir.join(n), dir.join(format!("{n}.gz"))])
        .find(|p| p.is_file())
        .ok_or_else(|| Error::format(dir, format!("has no file {}, plain or .gz", names[0])))
}
