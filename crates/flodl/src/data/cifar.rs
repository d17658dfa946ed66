//! CIFAR-10 and CIFAR-100 in their binary form.

use std::path::Path;

use super::{TensorDataset, read_maybe_gz};
use crate::{DType, Device, Error, Result, Tensor};

const PIXELS: usize = 3 * 32 * 32;

/// CIFAR images `[N, 3, 32, 32]` as bytes, and labels `[N]` as int64.
#[derive(Clone, Debug)]
pub struct Cifar {
    /// Images, uint8 from 0 to 255, red, green, blue.
    pub images: Tensor,
    /// Labels, int64: of CIFAR-100 the fine ones.
    pub labels: Tensor,
    /// The 20 coarse labels of CIFAR-100.
    pub coarse_labels: Option<Tensor>,
}

impl Cifar {
    /// CIFAR-10 from a folder with `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`.
    ///
    /// # Errors
    /// When a file is missing or damaged; the message names it and the record.
    pub fn open_10(dir: impl AsRef<Path>, train: bool) -> Result<Self> {
        let dir = dir.as_ref();
        let files = if train {
            (1..=5).map(|i| dir.join(format!("data_batch_{i}.bin"))).collect()
        } else {
            vec![dir.join("test_batch.bin")]
        };
        Self::read_10(&files)
    }

    /// CIFAR-100 from a folder with `train.bin` and `test.bin`.
    ///
    /// # Errors
    /// When a file is missing or damaged; the message names it and the record.
    pub fn open_100(dir: impl AsRef<Path>, train: bool) -> Result<Self> {
        Self::read_100(&[dir.as_ref().join(if train { "train.bin" } else { "test.bin" })])
    }

    /// Files of CIFAR-10 records: a label and 3,072 pixels.
    ///
    /// # Errors
    /// When a file is damaged; the message names it and the record.
    pub fn read_10<P: AsRef<Path>>(files: &[P]) -> Result<Self> {
        Self::read(files, &[10])
    }

    /// Files of CIFAR-100 records: a coarse label, a fine one and 3,072 pixels.
    ///
    /// # Errors
    /// When a file is damaged; the message names it and the record.
    pub fn read_100<P: AsRef<Path>>(files: &[P]) -> Result<Self> {
        Self::read(files, &[20, 100])
    }

    fn read<P: AsRef<Path>>(files: &[P], classes: &[u8]) -> Result<Self> {
        let stride = classes.len() + PIXELS;
        let mut pixels = Vec::new();
        let mut labels: Vec<Vec<i64>> = vec![Vec::new(); classes.len()];
        for path in files {
            let path = path.as_ref();
            let bytes = read_maybe_gz(path)?;
            if bytes.is_empty() || bytes.len() % stride != 0 {
                let (whole, rest) = (bytes.len() / stride, bytes.len() % stride);
                let what = format!(
                    "ends within a record: after {whole} records of {stride} bytes there are {rest} \
                     bytes more, at byte {}",
                    whole * stride
                );
                return Err(Error::format(path, what));
            }
            for (i, record) in bytes.chunks_exact(stride).enumerate() {
                for (k, &count) in classes.iter().enumerate() {
                    if record[k] >= count {
                        let what = format!(
                            "record {i}, byte {}: label {} is none of 0 to {}",
                            i * stride + k,
                            record[k],
                            count - 1
                        );
                        return Err(Error::format(path, what));
                    }
                    labels[k].push(i64::from(record[k]));
                }
                pixels.extend_from_slice(&record[classes.len()..]);
            }
        }
        let n = labels[0].len() as i64;
        let column = |l: &Vec<i64>| Tensor::from_i64(l, &[n], Device::CPU);
        let images = Tensor::from_blob(&pixels, &[n, 3, 32, 32], DType::UInt8, Device::CPU)?;
        let coarse_labels = (labels.len() > 1).then(|| column(&labels[0])).transpose()?;
        Ok(Cifar { images, labels: column(&labels[labels.len() - 1])?, coarse_labels })
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
