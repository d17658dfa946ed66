//! Lookup tables.

use super::{Module, Parameter, init};
use crate::{
    AsTensor, Bag, Device, Error, IntoMode, Result, Tensor, Variable, embedding, embedding_bag,
};

/// A table `[num_embeddings, embedding_dim]` drawn from N(0, 1).
fn table(op: &'static str, rows: i64, width: i64, device: Device) -> Result<Tensor> {
    if rows < 1 || width < 1 {
        return Err(Error::invalid(op, format!("table size [{rows}, {width}] must be positive")));
    }
    init::normal(&[rows, width], 0.0, 1.0, device)
}

/// The row of a table for each index: integer indices `[…]` give `[…, embedding_dim]`.
///
/// Weight `[num_embeddings, embedding_dim]` starts as N(0, 1). The row of `padding_idx` starts as
/// zeros and gets no gradient. A clone shares the weight.
///
/// ```
/// use flodl::*;
/// let emb = Embedding::new(10000, 64)?;
/// let words = Variable::new(Tensor::from_i64(&[3, 7, 7, 0, 1, 2], &[2, 3], Device::CPU)?, false);
/// assert_eq!(emb.forward(&words)?.shape(), [2, 3, 64]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Embedding {
    weight: Parameter,
    padding_idx: Option<i64>,
}

impl Embedding {
    /// On the CPU.
    ///
    /// # Errors
    /// When a size is not positive.
    pub fn new(num_embeddings: i64, embedding_dim: i64) -> Result<Self> {
        Self::on_device(num_embeddings, embedding_dim, Device::CPU)
    }

    /// On a device.
    ///
    /// # Errors
    /// When a size is not positive or the device cannot be used.
    pub fn on_device(num_embeddings: i64, embedding_dim: i64, device: Device) -> Result<Self> {
        Self::on_device_with_padding_idx(num_embeddings, embedding_dim, None, device)
    }

    /// With a row for padding, on the CPU; a negative index counts from the end.
    ///
    /// # Errors
    /// When a size is not positive or the index is outside the table.
    pub fn with_padding_idx(
        num_embeddings: i64,
        embedding_dim: i64,
        padding_idx: Option<i64>,
    ) -> Result<Self> {
        Self::on_device_with_padding_idx(num_embeddings, embedding_dim, padding_idx, Device::CPU)
    }

    /// With a row for padding, on a device; a negative index counts from the end.
    ///
    /// # Errors
    /// When a size is not positive, the index is outside the table, or the device cannot be used.
    pub fn on_device_with_padding_idx(
        num_embeddings: i64,
        embedding_dim: i64,
        padding_idx: Option<i64>,
        device: Device,
    ) -> Result<Self> {
        let mut weight = table("Embedding", num_embeddings, embedding_dim, device)?;
        let padding_idx = match padding_idx {
            Some(p) if !(-num_embeddings..num_embeddings).contains(&p) => {
                let op = "Embedding";
                return Err(Error::IndexOutOfRange { op, index: p, size: num_embeddings });
            }
            p => p.map(|p| p.rem_euclid(num_embeddings)),
        };
        if let Some(p) = padding_idx {
            let zeros = Tensor::zeros(&[1, embedding_dim], weight.options())?;
            weight = weight.narrow_scatter(&zeros, 0, p)?;
        }
        Ok(Embedding { weight: Parameter::new(weight, "weight"), padding_idx })
    }

    /// With a given table; a frozen one is not trained.
    ///
    /// # Errors
    /// When the table is not `[num_embeddings, embedding_dim]` of floats.
    pub fn from_pretrained(weight: Tensor, frozen: bool) -> Result<Self> {
        if weight.ndim() != 2 {
            return Err(Error::Shape {
                op: "Embedding",
                expected: "a table [num_embeddings, embedding_dim]".into(),
                got: weight.shape(),
            });
        }
        weight.check_float("Embedding")?;
        let weight = Parameter::new(weight, "weight");
        if frozen {
            weight.freeze()?;
        }
        Ok(Embedding { weight, padding_idx: None })
    }

    /// The weight `[num_embeddings, embedding_dim]`.
    pub fn weight(&self) -> &Parameter {
        &self.weight
    }
}

impl Module for Embedding {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        embedding(&self.weight.variable, input, self.padding_idx.unwrap_or(-1))
    }

    fn parameters(&self) -> Vec<Parameter> {
        vec![self.weight.clone()]
    }

    fn name(&self) -> &str {
        "Embedding"
    }

    fn structural_hash(&self) -> Option<String> {
        let shape = self.weight.variable.shape();
        Some(format!("Embedding({shape:?}, padding_idx={:?})", self.padding_idx))
    }

    fn identity(&self) -> Option<usize> {
        Some(self.weight.variable.id())
    }
}

/// Sums, means or maxima of bags of a table's rows, for sequences of varying length.
///
/// Weight `[num_embeddings, embedding_dim]` starts as N(0, 1). A clone shares it.
///
/// ```
/// use flodl::*;
/// let bag = EmbeddingBag::new(10000, 64)?;
/// let indices = Tensor::from_i64(&[4, 8, 15, 16, 23], &[5], Device::CPU)?;
/// let offsets = Tensor::from_i64(&[0, 3], &[2], Device::CPU)?;
/// assert_eq!(bag.forward_bag(&indices, &offsets, Bag::Mean)?.shape(), [2, 64]);
/// assert_eq!(bag.forward_bag(&indices, &offsets, 1)?.shape(), [2, 64]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct EmbeddingBag {
    weight: Parameter,
    mode: Bag,
}

impl EmbeddingBag {
    /// On the CPU.
    ///
    /// # Errors
    /// When a size is not positive.
    pub fn new(num_embeddings: i64, embedding_dim: i64) -> Result<Self> {
        Self::on_device(num_embeddings, embedding_dim, Device::CPU)
    }

    /// On a device.
    ///
    /// # Errors
    /// When a size is not positive or the device cannot be used.
    pub fn on_device(num_embeddings: i64, embedding_dim: i64, device: Device) -> Result<Self> {
        let weight = table("EmbeddingBag", num_embeddings, embedding_dim, device)?;
        Ok(EmbeddingBag { weight: Parameter::new(weight, "weight"), mode: Bag::Mean })
    }

    /// What `forward` makes of a row of indices; the mean unless set.
    pub fn mode(mut self, mode: Bag) -> Self {
        self.mode = mode;
        self
    }

    /// The weight `[num_embeddings, embedding_dim]`.
    pub fn weight(&self) -> &Parameter {
        &self.weight
    }

    /// One row for each bag: bag b holds `indices[offsets[b]..offsets[b + 1]]`, the last one the
    /// rest. Indices `[total]` and offsets `[num_bags]` are tensors or variables of integers; the
    /// mode is a [`Bag`] or 0 sum, 1 mean, 2 max. An empty bag gives zeros.
    ///
    /// # Errors
    /// When an index is outside the table, offsets do not start at 0, decrease or exceed the
    /// indices, or the mode is unknown.
    pub fn forward_bag(
        &self,
        indices: &impl AsTensor,
        offsets: &impl AsTensor,
        mode: impl IntoMode<Bag>,
    ) -> Result<Variable> {
        embedding_bag(&self.weight.variable, indices, offsets, mode)
    }
}

impl Module for EmbeddingBag {
    /// Bags of equal size: `[num_bags, size]` gives `[num_bags, embedding_dim]`.
    fn forward(&self, input: &Variable) -> Result<Variable> {
        let [bags, size] = input.shape()[..] else {
            return Err(Error::Shape {
                op: "EmbeddingBag",
                expected: "indices [num_bags, size]; use forward_bag for bags of varying size"
                    .into(),
                got: input.shape(),
            });
        };
        let offsets: Vec<i64> = (0..bags).map(|b| b * size).collect();
        let offsets = Tensor::from_i64(&offsets, &[bags], input.device())?;
        self.forward_bag(&input.data().reshape(&[bags * size])?, &offsets, self.mode)
    }

    fn parameters(&self) -> Vec<Parameter> {
        vec![self.weight.clone()]
    }

    fn name(&self) -> &str {
        "EmbeddingBag"
    }

    fn structural_hash(&self) -> Option<String> {
        Some(format!("EmbeddingBag({:?}, {:?})", self.weight.variable.shape(), self.mode))
    }

    fn identity(&self) -> Option<usize> {
        Some(self.weight.variable.id())
    }
}
