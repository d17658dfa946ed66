//! Lookup tables.

use super::{Module, Parameter, init};
use crate::{
    AsTensor, Bag, BagOptions, Device, Error, IntoMode, Result, Tensor, Variable,
    embedding_bag_opt, embedding_opt,
};

/// Rows longer than this are shortened to it when they are looked up.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Limit {
    norm: f64,
    p: f64,
}

impl Limit {
    /// Shortens the rows of these indices in place; the gradient does not see it.
    fn apply(self, op: &'static str, weight: &Parameter, indices: &Tensor) -> Result<()> {
        if self.norm.is_nan() || self.norm < 0.0 {
            let what = format!("max_norm {} must not be negative", self.norm);
            return Err(Error::invalid(op, what));
        }
        let index = crate::tensor::integers(op, indices)?.reshape(&[-1])?;
        if index.numel() == 0 {
            return Ok(());
        }
        let (index, _) = index.unique(true, false)?;
        let table = weight.variable.data();
        // An index outside the table is told as the lookup tells it.
        let rows = Tensor::embedding(&table, &index, -1)?;
        let norms = rows.norm_p(self.p, 1, true)?;
        let long = norms.gt_scalar(self.norm)?;
        if !long.any()?.item().is_ok_and(|any| any != 0.0) {
            return Ok(());
        }
        let factor = norms.add_scalar(1e-7)?.reciprocal()?.mul_scalar(self.norm)?;
        let factor = Tensor::where_cond(&long, &factor, &Tensor::ones_like(&factor)?)?;
        let places = index.unsqueeze(1)?.expand(&rows.shape())?.contiguous()?;
        weight.variable.set_data(table.scatter(0, &places, &rows.mul(&factor)?)?);
        Ok(())
    }
}

/// A row of the table from an index that may count from the end.
fn padding_row(op: &'static str, padding_idx: i64, rows: i64) -> Result<i64> {
    if (-rows..rows).contains(&padding_idx) {
        return Ok(padding_idx.rem_euclid(rows.max(1)));
    }
    Err(Error::IndexOutOfRange { op, index: padding_idx, size: rows })
}

/// Checks a given table.
fn given(op: &'static str, weight: Tensor, frozen: bool) -> Result<Parameter> {
    if weight.ndim() != 2 {
        return Err(Error::Shape {
            op,
            expected: "a table [num_embeddings, embedding_dim]".into(),
            got: weight.shape(),
        });
    }
    weight.check_float(op)?;
    let weight = Parameter::new(weight, "weight");
    if frozen {
        weight.freeze()?;
    }
    Ok(weight)
}

/// A table `[num_embeddings, embedding_dim]` drawn from N(0, 1).
fn table(op: &'static str, rows: i64, width: i64, device: Device) -> Result<Tensor> {
    if rows < 1 || width < 1 {
        return Err(Error::invalid(op, format!("table size [{rows}, {width}] must be positive")));
    }
    init::normal(&[rows, width], 0.0, 1.0, device)
}

/// What both layers can be told about their table.
macro_rules! table_settings {
    ($op:literal) => {
        /// Makes a row count as absent: it is in no bag, gets no gradient, and keeps its values. A
        /// negative index counts from the end.
        ///
        /// # Errors
        /// When the index is outside the table.
        pub fn padding_idx(mut self, padding_idx: i64) -> Result<Self> {
            let rows = self.weight.variable.shape()[0];
            self.padding_idx = Some(padding_row($op, padding_idx, rows)?);
            Ok(self)
        }

        /// Shortens each row that is looked up to at most this norm, in the table itself.
        pub fn max_norm(mut self, max_norm: f64) -> Self {
            self.limit = Some(Limit { norm: max_norm, p: self.norm_type });
            self
        }

        /// Which p-norm `max_norm` speaks of; 2 unless set.
        pub fn norm_type(mut self, p: f64) -> Self {
            self.norm_type = p;
            if let Some(limit) = &mut self.limit {
                limit.p = p;
            }
            self
        }

        /// Whether the gradient of each row is divided by how often it was looked up; not with the
        /// maxima of bags.
        pub fn scale_grad_by_freq(mut self, scale: bool) -> Self {
            self.scale_grad_by_freq = scale;
            self
        }

        /// The weight `[num_embeddings, embedding_dim]`.
        pub fn weight(&self) -> &Parameter {
            &self.weight
        }
    };
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
    limit: Option<Limit>,
    norm_type: f64,
    scale_grad_by_freq: bool,
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
        let padding_idx =
            padding_idx.map(|p| padding_row("Embedding", p, num_embeddings)).transpose()?;
        if let Some(p) = padding_idx {
            let zeros = Tensor::zeros(&[1, embedding_dim], weight.options())?;
            weight = weight.narrow_scatter(&zeros, 0, p)?;
        }
        Ok(Self::of(Parameter::new(weight, "weight"), padding_idx))
    }

    fn of(weight: Parameter, padding_idx: Option<i64>) -> Self {
        Embedding { weight, padding_idx, limit: None, norm_type: 2.0, scale_grad_by_freq: false }
    }

    /// With a given table; a frozen one is not trained.
    ///
    /// # Errors
    /// When the table is not `[num_embeddings, embedding_dim]` of floats.
    pub fn from_pretrained(weight: Tensor, frozen: bool) -> Result<Self> {
        Ok(Self::of(given("Embedding", weight, frozen)?, None))
    }

    table_settings!("Embedding");
}

impl Module for Embedding {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        if let Some(limit) = self.limit {
            limit.apply("Embedding", &self.weight, &input.data())?;
        }
        let (weight, padding) = (&self.weight.variable, self.padding_idx.unwrap_or(-1));
        embedding_opt(weight, input, padding, self.scale_grad_by_freq)
    }

    fn parameters(&self) -> Vec<Parameter> {
        vec![self.weight.clone()]
    }

    fn name(&self) -> &str {
        "Embedding"
    }

    fn structural_hash(&self) -> Option<String> {
        let shape = self.weight.variable.shape();
        let mut text = format!("Embedding({shape:?}, padding_idx={:?})", self.padding_idx);
        if self.limit.is_some() || self.scale_grad_by_freq {
            text += &format!("{:?}{}", self.limit, self.scale_grad_by_freq);
        }
        Some(text)
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
    padding_idx: Option<i64>,
    include_last_offset: bool,
    limit: Option<Limit>,
    norm_type: f64,
    scale_grad_by_freq: bool,
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
        Ok(Self::of(Parameter::new(weight, "weight")))
    }

    fn of(weight: Parameter) -> Self {
        EmbeddingBag {
            weight,
            mode: Bag::Mean,
            padding_idx: None,
            include_last_offset: false,
            limit: None,
            norm_type: 2.0,
            scale_grad_by_freq: false,
        }
    }

    /// With a given table; a frozen one is not trained.
    ///
    /// # Errors
    /// When the table is not `[num_embeddings, embedding_dim]` of floats.
    pub fn from_pretrained(weight: Tensor, frozen: bool) -> Result<Self> {
        Ok(Self::of(given("EmbeddingBag", weight, frozen)?))
    }

    /// Whether the last offset is where the last bag ends and not where another begins.
    pub fn include_last_offset(mut self, include: bool) -> Self {
        self.include_last_offset = include;
        self
    }

    /// What `forward` makes of a row of indices; the mean unless set.
    pub fn mode(mut self, mode: Bag) -> Self {
        self.mode = mode;
        self
    }

    table_settings!("EmbeddingBag");

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
        self.bag(&indices.as_tensor(), &offsets.as_tensor(), mode.into_mode(), None)
    }

    /// Sums of bags of rows times `per_sample_weights`, one for each index.
    ///
    /// # Errors
    /// As for [`EmbeddingBag::forward_bag`], and when there are not as many weights as indices or
    /// they have another dtype than the table.
    pub fn forward_weighted(
        &self,
        indices: &impl AsTensor,
        offsets: &impl AsTensor,
        per_sample_weights: &Variable,
    ) -> Result<Variable> {
        let factors = Some(per_sample_weights.clone());
        self.bag(&indices.as_tensor(), &offsets.as_tensor(), Ok(Bag::Sum), factors)
    }

    fn bag(
        &self,
        indices: &Tensor,
        offsets: &Tensor,
        mode: std::result::Result<Bag, i64>,
        per_sample_weights: Option<Variable>,
    ) -> Result<Variable> {
        if let Some(limit) = self.limit {
            limit.apply("EmbeddingBag", &self.weight, indices)?;
        }
        let options = BagOptions {
            padding_idx: self.padding_idx,
            per_sample_weights,
            include_last_offset: self.include_last_offset,
            scale_grad_by_freq: self.scale_grad_by_freq,
        };
        embedding_bag_opt(&self.weight.variable, indices, offsets, mode, &options)
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
        let offsets: Vec<i64> =
            (0..bags + i64::from(self.include_last_offset)).map(|b| b * size).collect();
        let offsets = Tensor::from_i64(&offsets, &[offsets.len() as i64], input.device())?;
        self.forward_bag(&input.data().reshape(&[bags * size])?, &offsets, self.mode)
    }

    fn parameters(&self) -> Vec<Parameter> {
        vec![self.weight.clone()]
    }

    fn name(&self) -> &str {
        "EmbeddingBag"
    }

    fn structural_hash(&self) -> Option<String> {
        let mut text = format!("EmbeddingBag({:?}, {:?})", self.weight.variable.shape(), self.mode);
        let plain = EmbeddingBag { mode: self.mode, ..Self::of(self.weight.clone()) };
        let rest = |bag: &Self| {
            format!(
                "{:?}{}{:?}{}",
                bag.padding_idx, bag.include_last_offset, bag.limit, bag.scale_grad_by_freq
            )
        };
        if rest(self) != rest(&plain) {
            text += &rest(self);
        }
        Some(text)
    }

    fn identity(&self) -> Option<usize> {
        Some(self.weight.variable.id())
    }
}
