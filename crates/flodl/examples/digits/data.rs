//! The digits: read, checked, split, normalised.

use std::io::Read;

use flodl::*;

/// The file that ships with the repository.
pub const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/mnist_5k.csv.gz");

const PIXELS: usize = 28 * 28;
/// One digit in five is kept for testing.
const TEST_SHARE: usize = 5;
/// The split is the same whatever the training's seed, so that saved weights are never tested on
/// digits they have seen.
const SPLIT_SEED: u64 = 42;

/// Pixels and labels, in the fixed random order of the split: test digits first.
pub struct Digits {
    pixels: Vec<f32>,
    labels: Vec<i64>,
}

impl Digits {
    /// Reads gzipped CSV without a header: 784 pixels from 0 to 255, then the label.
    pub fn read(path: &str) -> Result<Self> {
        let bad = |what: String| Error::Format { path: path.to_owned(), what };
        let file = std::fs::File::open(path)
            .map_err(|source| Error::Io { path: path.to_owned(), source })?;
        let mut text = String::new();
        flate2::read::GzDecoder::new(file)
            .read_to_string(&mut text)
            .map_err(|e| bad(format!("is not whole gzipped text: {e}")))?;
        let mut rows: Vec<(Vec<f32>, i64)> = Vec::new();
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
        for (line, record) in reader.records().enumerate() {
            let record = record.map_err(|e| bad(e.to_string()))?;
            if record.len() != PIXELS + 1 {
                let n = record.len();
                return Err(bad(format!("row {} has {n} fields, not {}", line + 1, PIXELS + 1)));
            }
            let mut values = Vec::with_capacity(PIXELS + 1);
            for (column, field) in record.iter().enumerate() {
                let is_label = column == PIXELS;
                let (kind, limit) = if is_label { ("digit", 9.0) } else { ("number", 255.0) };
                match field.trim().parse::<f32>() {
                    // Half a label would be cut to another digit without a word.
                    Ok(v) if (0.0..=limit).contains(&v) && !(is_label && v.fract() != 0.0) => {
                        values.push(v);
                    }
                    _ => {
                        return Err(bad(format!(
                            "row {}, column {}: {field:?} is not a {kind} from 0 to {limit}",
                            line + 1,
                            column + 1
                        )));
                    }
                }
            }
            let label = values[PIXELS] as i64;
            values.truncate(PIXELS);
            rows.push((values, label));
        }
        if rows.len() < TEST_SHARE {
            return Err(bad(format!("has {} rows, too few to split", rows.len())));
        }
        Rng::seed(SPLIT_SEED).shuffle(&mut rows);
        let labels = rows.iter().map(|r| r.1).collect();
        let pixels = rows.into_iter().flat_map(|r| r.0).collect();
        Ok(Digits { pixels, labels })
    }

    /// How many digits are for testing.
    pub fn test_len(&self) -> usize {
        self.labels.len() / TEST_SHARE
    }

    /// How many digits are for training.
    pub fn train_len(&self) -> usize {
        self.labels.len() - self.test_len()
    }

    /// The training digits.
    pub fn train(&self) -> Result<TensorDataset> {
        self.part(self.test_len()..self.labels.len())
    }

    /// The test digits.
    pub fn test(&self) -> Result<TensorDataset> {
        self.part(0..self.test_len())
    }

    fn part(&self, rows: std::ops::Range<usize>) -> Result<TensorDataset> {
        let n = rows.len() as i64;
        let pixels = &self.pixels[rows.start * PIXELS..rows.end * PIXELS];
        // Mean and deviation of MNIST's training pixels.
        let x = Tensor::from_f32(pixels, &[n, 1, 28, 28], Device::CPU)?
            .div_scalar(255.0)?
            .sub_scalar(0.1307)?
            .div_scalar(0.3081)?;
        TensorDataset::new(vec![x, Tensor::from_i64(&self.labels[rows], &[n], Device::CPU)?])
    }
}

/// The images of a batch.
pub fn input(batch: &Batch) -> Variable {
    Variable::new(batch.get(0).clone(), false)
}

/// The labels of a batch.
pub fn target(batch: &Batch) -> Variable {
    Variable::new(batch.get(1).clone(), false)
}
