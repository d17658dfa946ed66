//! Image sets in the files that they are published in: MNIST's IDX, CIFAR's binary.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::BatchDataSet;
use crate::{DType, Device, Error, Result, Tensor};

/// Images as bytes with their labels; batches are `f32` in `[0, 1]`, `[N, C, H, W]`, then the labels.
#[derive(Clone, Debug)]
pub struct ImageSet {
    pixels: Tensor,
    labels: Vec<Tensor>,
}

impl ImageSet {
    /// From `u8` pixels `[N, C, H, W]` and any number of labels `[N]`.
    ///
    /// # Errors
    /// When shapes or dtypes are others.
    pub fn new(pixels: Tensor, labels: Vec<Tensor>) -> Result<Self> {
        let op = "ImageSet";
        if pixels.dtype() != DType::UInt8 {
            return Err(Error::DType { op, expected: "u8 pixels".into(), got: pixels.dtype() });
        }
        if pixels.ndim() != 4 {
            let expected = "pixels [N, C, H, W]".into();
            return Err(Error::Shape { op, expected, got: pixels.shape() });
        }
        let n = pixels.shape()[0];
        if let Some(l) = labels.iter().find(|l| l.shape() != [n]) {
            let expected = format!("labels [{n}], one for each image");
            return Err(Error::Shape { op, expected, got: l.shape() });
        }
        Ok(ImageSet { pixels, labels })
    }

    /// All pixels, `u8` `[N, C, H, W]`.
    pub fn pixels(&self) -> &Tensor {
        &self.pixels
    }

    /// All labels, one tensor for each kind.
    pub fn labels(&self) -> &[Tensor] {
        &self.labels
    }
}

impl BatchDataSet for ImageSet {
    fn len(&self) -> usize {
        self.pixels.shape()[0] as usize
    }

    fn get_batch(&self, indices: &[usize]) -> Result<Vec<Tensor>> {
        let rows: Vec<i64> = indices.iter().map(|&i| i as i64).collect();
        let index = Tensor::from_i64(&rows, &[rows.len() as i64], self.pixels.device())?;
        let pixels = self.pixels.index_select(0, &index)?.to_dtype(DType::Float32)?;
        let mut batch = vec![pixels.div_scalar(255.0)?];
        for labels in &self.labels {
            batch.push(labels.index_select(0, &index)?);
        }
        Ok(batch)
    }
}

/// The bytes of a file, unpacked if they are gzipped.
fn bytes(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut out = Vec::new();
    BufReader::new(file).read_to_end(&mut out).map_err(|e| Error::io(path, e))?;
    if !out.starts_with(&[0x1f, 0x8b]) {
        return Ok(out);
    }
    let mut plain = Vec::new();
    let mut gzip = flate2::read::MultiGzDecoder::new(&out[..]);
    gzip.read_to_end(&mut plain).map_err(|e| {
        let n = plain.len();
        Error::format(path, format!("the gzip data is damaged after {n} unpacked bytes: {e}"))
    })?;
    Ok(plain)
}

/// The tensor of an IDX file (plain or gzipped): the format of MNIST and its kin.
///
/// # Errors
/// When the file cannot be read, is no IDX file, or has more or fewer bytes than its header says;
/// the message names the byte.
pub fn read_idx(path: impl AsRef<Path>) -> Result<Tensor> {
    let path = path.as_ref();
    let data = bytes(path)?;
    let bad = |what: String| Err(Error::format(path, what));
    let Some(&[a, b, code, dims]) = data.first_chunk() else {
        return bad(format!("the header is cut off: {} bytes instead of 4", data.len()));
    };
    // Numbers are big-endian.
    let (dtype, width) = match code {
        0x08 => (DType::UInt8, 1),
        0x0c => (DType::Int32, 4),
        0x0d => (DType::Float32, 4),
        0x0e => (DType::Float64, 8),
        _ => return bad(format!("byte 2: type code {code:#04x} is none of u8, i32, f32, f64")),
    };
    if (a, b) != (0, 0) {
        return bad(format!("byte 0: an IDX file starts with two zeros, not {a:#04x} {b:#04x}"));
    }
    let start = 4 + 4 * usize::from(dims);
    let Some(sizes) = data.get(4..start) else {
        return bad(format!("the sizes of {dims} dims are cut off at byte {}", data.len()));
    };
    let size = |c: &[u8]| i64::from(u32::from_be_bytes([c[0], c[1], c[2], c[3]]));
    let shape: Vec<i64> = sizes.chunks_exact(4).map(size).collect();
    let want = shape.iter().try_fold(width as u64, |n, &d| n.checked_mul(d as u64));
    let have = (data.len() - start) as u64;
    if want != Some(have) {
        let want = want.map_or("more than there can be".into(), |w| w.to_string());
        return bad(format!("shape {shape:?} needs {want} bytes after byte {start}, got {have}"));
    }
    let mut body = data[start..].to_vec();
    if cfg!(target_endian = "little") {
        body.chunks_exact_mut(width).for_each(<[u8]>::reverse);
    }
    Tensor::from_blob(&body, &shape, dtype, Device::CPU)
}

/// MNIST or a set in its format (Fashion-MNIST, KMNIST) out of the folder with its IDX files, plain
/// or gzipped, under their published names: images `[N, 1, H, W]` and labels.
///
/// # Errors
/// When a file is missing or damaged, or the files do not fit together.
pub fn mnist(dir: impl AsRef<Path>, train: bool) -> Result<ImageSet> {
    let part = if train { "train" } else { "t10k" };
    let images_path = find(dir.as_ref(), &format!("{part}-images"), "idx3-ubyte")?;
    let labels_path = find(dir.as_ref(), &format!("{part}-labels"), "idx1-ubyte")?;
    let (images, labels) = (read_idx(&images_path)?, read_idx(&labels_path)?);
    let shape = images.shape();
    let [n, h, w] = shape[..] else {
        return Err(Error::format(images_path, format!("has shape {shape:?}, not [N, H, W]")));
    };
    if images.dtype() != DType::UInt8 {
        return Err(Error::format(images_path, format!("holds {}, not u8", images.dtype())));
    }
    if labels.shape() != [n] {
        let what = format!("has shape {:?} for {n} images", labels.shape());
        return Err(Error::format(labels_path, what));
    }
    ImageSet::new(images.reshape(&[n, 1, h, w])?, vec![labels.to_dtype(DType::Int64)?])
}

/// The file of this name: both separators and `.gz` are in use.
fn find(dir: &Path, stem: &str, kind: &str) -> Result<PathBuf> {
    let names = ["-", "."].map(|s| format!("{stem}{s}{kind}"));
    let all = names.iter().flat_map(|n| [n.clone(), format!("{n}.gz")]);
    let found = all.map(|n| dir.join(n)).find(|p| p.is_file());
    found.ok_or_else(|| Error::format(dir, format!("has no file {}[.gz]", names[0])))
}

/// CIFAR-10 out of the folder with its binary files (`data_batch_1.bin` … and `test_batch.bin`):
/// images `[N, 3, 32, 32]` and labels.
///
/// # Errors
/// When a file is missing or damaged; the message names the record.
pub fn cifar10(dir: impl AsRef<Path>, train: bool) -> Result<ImageSet> {
    let files: Vec<String> = if train {
        (1..=5).map(|i| format!("data_batch_{i}.bin")).collect()
    } else {
        vec!["test_batch.bin".into()]
    };
    cifar(dir.as_ref(), "cifar-10-batches-bin", &files, &[10])
}

/// CIFAR-100 out of the folder with its binary files (`train.bin` and `test.bin`): images
/// `[N, 3, 32, 32]`, then the 100 fine labels, then the 20 coarse ones.
///
/// # Errors
/// When a file is missing or damaged; the message names the record.
pub fn cifar100(dir: impl AsRef<Path>, train: bool) -> Result<ImageSet> {
    let file = if train { "train.bin" } else { "test.bin" };
    let set = cifar(dir.as_ref(), "cifar-100-binary", &[file.to_owned()], &[20, 100])?;
    let ImageSet { pixels, mut labels } = set;
    labels.reverse();
    ImageSet::new(pixels, labels)
}

/// Records of one byte for each label, whose number of classes is given, and the pixels.
fn cifar(dir: &Path, folder: &str, files: &[String], classes: &[u8]) -> Result<ImageSet> {
    const PIXELS: usize = 3 * 32 * 32;
    let inner = dir.join(folder);
    let dir = if inner.is_dir() { &inner } else { dir };
    let (mut pixels, mut labels) = (Vec::new(), vec![Vec::new(); classes.len()]);
    let stride = classes.len() + PIXELS;
    for name in files {
        let path = dir.join(name);
        let data = bytes(&path)?;
        let rest = data.len() % stride;
        if rest != 0 || data.is_empty() {
            let record = data.len() / stride;
            let what = format!("record {record} has {rest} bytes, not {stride}");
            return Err(Error::format(path, what));
        }
        for (r, record) in data.chunks_exact(stride).enumerate() {
            for ((&label, &n), column) in record.iter().zip(classes).zip(&mut labels) {
                if label >= n {
                    let what = format!("record {r}: label {label} is not below {n}");
                    return Err(Error::format(path, what));
                }
                column.push(i64::from(label));
            }
            pixels.extend_from_slice(&record[classes.len()..]);
        }
    }
    let n = labels[0].len() as i64;
    let pixels = Tensor::from_blob(&pixels, &[n, 3, 32, 32], DType::UInt8, Device::CPU)?;
    let labels = labels.iter().map(|l| Tensor::from_i64(l, &[n], Device::CPU));
    ImageSet::new(pixels, labels.collect::<Result<_>>()?)
}
