//! What an engine can do, family by family.
//!
//! Conventions: inputs are strided unless a method says *contiguous*; `out` is fresh, contiguous,
//! unshared, of the stated dtype and size, and every element of it is written. Descriptors and
//! operation codes are plain data that every engine understands.

pub use flodl_cpu::attention::Attention as AttentionSpec;
pub use flodl_cpu::conv::{ConvGeom, FoldGeom};
pub use flodl_cpu::ctc::Ctc;
pub use flodl_cpu::elementwise::{BinaryOp, CompareOp, SmoothOp, UnaryOp};
pub use flodl_cpu::index::Bag;
pub use flodl_cpu::loss::Reduction;
pub use flodl_cpu::optim::{
    Adam as AdamOptions, RmsProp as RmsPropOptions, Rule, Sgd as SgdOptions,
};
pub use flodl_cpu::pad::{PadGeom, PadMode};
pub use flodl_cpu::pool::{AvgRule, PoolGeom};
pub use flodl_cpu::random::Key;
pub use flodl_cpu::reduce::{ArgOp, ReduceOp};
pub use flodl_cpu::resample::{GridGeom, GridPadding, Interpolation, ResampleGeom};

use super::{Operand, Storage};
use crate::shape::Layout;
use crate::{DType, Result};

/// Everything an engine can do.
pub trait Backend:
    Memory
    + Elementwise
    + Reduce
    + Matmul
    + Attention
    + Conv
    + Random
    + Index
    + Arrange
    + Embedding
    + Norm
    + Pool
    + Pad
    + Resample
    + Loss
    + CtcLoss
    + Optim
    + super::Rnn
    + Sync
{
}

/// Getting memory.
pub trait Memory {
    /// Fresh storage of at least `bytes` bytes, contents arbitrary.
    fn alloc(&self, bytes: usize) -> Result<Storage>;
    /// Writes bytes from main memory to the start of a storage.
    fn upload(&self, bytes: &[u8], out: &mut Storage) -> Result<()>;
}

/// A predicate on single elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// NaN.
    Nan,
    /// Positive or negative infinity.
    Inf,
    /// Neither.
    Finite,
}

/// A truth table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogicalOp {
    /// Both.
    And,
    /// At least one.
    Or,
    /// Exactly one.
    Xor,
}

/// Element by element; operands have the shape of the output, broadcast dims with stride 0.
pub trait Elementwise {
    /// Writes one value to every element of a layout.
    fn fill(&self, out: &mut Storage, layout: &Layout, dtype: DType, value: f64) -> Result<()>;
    /// To contiguous order.
    fn copy(&self, x: Operand<'_>, out: &mut Storage) -> Result<()>;
    /// Into the elements of a layout of x's shape; the rest of `out` stays.
    fn copy_into(&self, x: Operand<'_>, out: &mut Storage, layout: &Layout) -> Result<()>;
    /// To another dtype.
    fn cast(&self, x: Operand<'_>, to: DType, out: &mut Storage) -> Result<()>;
    /// One operand; integers take the operations that make sense for them.
    fn unary(&self, op: UnaryOp, x: Operand<'_>, out: &mut Storage) -> Result<()>;
    /// One operand, contiguous, overwritten.
    fn unary_in_place(
        &self,
        op: UnaryOp,
        x: &mut Storage,
        layout: &Layout,
        dtype: DType,
    ) -> Result<()>;
    /// Two operands of one dtype.
    fn binary(&self, op: BinaryOp, a: Operand<'_>, b: Operand<'_>, out: &mut Storage)
    -> Result<()>;
    /// Two operands of one dtype; the first is contiguous and overwritten.
    fn binary_in_place(
        &self,
        op: BinaryOp,
        a: &mut Storage,
        layout: &Layout,
        b: Operand<'_>,
    ) -> Result<()>;
    /// Two operands of one dtype; `out` is bool.
    fn compare(
        &self,
        op: CompareOp,
        a: Operand<'_>,
        b: Operand<'_>,
        out: &mut Storage,
    ) -> Result<()>;
    /// An operand and a number; `out` is bool.
    fn compare_scalar(
        &self,
        op: CompareOp,
        a: Operand<'_>,
        value: f64,
        out: &mut Storage,
    ) -> Result<()>;
    /// A predicate on floats; `out` is bool.
    fn test(&self, test: Test, x: Operand<'_>, out: &mut Storage) -> Result<()>;
    /// Two bool operands; `out` is bool.
    fn logical(
        &self,
        op: LogicalOp,
        a: Operand<'_>,
        b: Operand<'_>,
        out: &mut Storage,
    ) -> Result<()>;
    /// `a` where the bool `cond` is true, else `b`.
    fn select(
        &self,
        cond: Operand<'_>,
        a: Operand<'_>,
        b: Operand<'_>,
        out: &mut Storage,
    ) -> Result<()>;
    /// x where x > 0, else w · x, for contiguous x `[batch, channels, inner]`.
    fn prelu(
        &self,
        dims: [usize; 3],
        x: Operand<'_>,
        w: Operand<'_>,
        y: &mut Storage,
    ) -> Result<()>;
    /// Gradients of x and w, as far as they are wanted.
    fn prelu_backward(
        &self,
        dims: [usize; 3],
        x: Operand<'_>,
        w: Operand<'_>,
        dy: Operand<'_>,
        out: [Option<&mut Storage>; 2],
    ) -> Result<()>;
}

/// Sums and their kin.
pub trait Reduce {
    /// Reduces the dims marked in `reduced`; `out` holds the others in order. Floats and integers.
    fn reduce(
        &self,
        op: ReduceOp,
        x: Operand<'_>,
        reduced: &[bool],
        out: &mut Storage,
    ) -> Result<()>;
    /// Index of an extreme along a dim of a contiguous operand; `out` is i64.
    fn arg_reduce(&self, op: ArgOp, x: Operand<'_>, dim: usize, out: &mut Storage) -> Result<()>;
    /// Variance with `correction` subtracted from the count.
    fn var(
        &self,
        x: Operand<'_>,
        reduced: &[bool],
        correction: f64,
        out: &mut Storage,
    ) -> Result<()>;
    /// Log of the sum of exponentials.
    fn logsumexp(&self, x: Operand<'_>, reduced: &[bool], out: &mut Storage) -> Result<()>;
    /// Running sum or product along a dim of a contiguous operand.
    fn scan(
        &self,
        op: ScanOp,
        x: Operand<'_>,
        dim: usize,
        reverse: bool,
        out: &mut Storage,
    ) -> Result<()>;
    /// Softmax or its logarithm along a dim of a contiguous operand.
    fn softmax(&self, log: bool, x: Operand<'_>, dim: usize, out: &mut Storage) -> Result<()>;
    /// Gradient of the above from its output `y`; all contiguous.
    fn softmax_backward(
        &self,
        log: bool,
        y: Operand<'_>,
        dy: Operand<'_>,
        dim: usize,
        dx: &mut Storage,
    ) -> Result<()>;
}

/// What a scan accumulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanOp {
    /// Running sum.
    Sum,
    /// Running product.
    Prod,
}

/// What is done with a matrix product on its way to the output.
#[derive(Default)]
pub struct MatmulEnd<'a> {
    /// `[n]`, added to each row.
    pub bias: Option<Operand<'a>>,
    /// Whether it is added to what the output holds.
    pub accumulate: bool,
    /// An operation on its values, last of all; not with batches of several matrices.
    pub then: Option<RowOp<'a>>,
}

/// An operation on the values of a matrix product, done while its rows are in the cache.
pub enum RowOp<'a> {
    /// Its results replace the product.
    Replace(UnaryOp),
    /// The activation goes to this storage, its derivative replaces the product.
    WithSlope(SmoothOp, &'a mut Storage),
}

/// Matrix products.
pub trait Matmul {
    /// `a [batch, m, k] · b [batch, k, n]`, any strides (0 for a broadcast batch), ended as `end`
    /// says.
    fn matmul(
        &self,
        a: Operand<'_>,
        b: Operand<'_>,
        end: MatmulEnd<'_>,
        out: &mut Storage,
    ) -> Result<()>;

    /// `op(x, y) · b` for contiguous operands `[…, k]` of the operation and `b [k, n]` with any strides.
    /// `made` gets the results of the operation.
    fn matmul_of(
        &self,
        op: BinaryOp,
        operands: [Operand<'_>; 2],
        b: Operand<'_>,
        made: &mut Storage,
        out: &mut Storage,
    ) -> Result<()>;

    /// `Σ weights[r, e] · parts[e][r, :]` for contiguous parts `[rows, columns]` and weights
    /// `[rows, parts]`.
    fn mix(
        &self,
        columns: usize,
        weights: Operand<'_>,
        parts: &[Operand<'_>],
        out: &mut Storage,
    ) -> Result<()>;

    /// Gradients of [`Matmul::mix`] for part `index` of `parts`: of the part, and a column of the
    /// weights' `[rows, parts]`. Outputs that a caller does not want are `None`.
    fn mix_backward(
        &self,
        columns: usize,
        of: [usize; 2],
        weights: Operand<'_>,
        part: Operand<'_>,
        dy: Operand<'_>,
        out: [Option<&mut Storage>; 2],
    ) -> Result<()>;
}

/// Scaled dot-product attention over heads. Q is `[B, H, L, D]`, K `[B, H, S, D]`, V
/// `[B, H, S, Dv]` with any strides but adjacent elements in a row; a mask is `[B, H, L, S]`,
/// strides of 0 allowed: bool, true where a key is seen, or floats to add to the scores.
pub trait Attention {
    /// The output in the order `[B, L, H, Dv]`, and log Σ exp of each row of scores `[B, H, L]`.
    fn attention(
        &self,
        spec: &AttentionSpec,
        qkv: [Operand<'_>; 3],
        mask: Option<Operand<'_>>,
        out: &mut Storage,
        lse: &mut Storage,
    ) -> Result<()>;
    /// Gradients of the above; `out` is `[B, L, H, Dv]`, contiguous, `dout` `[B, H, L, Dv]`.
    fn attention_backward(
        &self,
        spec: &AttentionSpec,
        qkv: [Operand<'_>; 3],
        mask: Option<Operand<'_>>,
        out: Operand<'_>,
        lse: Operand<'_>,
        dout: Operand<'_>,
        grads: AttentionGrads<'_>,
    ) -> Result<()>;
    /// The factors by which dropout multiplied the weights, `[B, H, L, S]`.
    fn attention_dropout(
        &self,
        spec: &AttentionSpec,
        dtype: DType,
        out: &mut Storage,
    ) -> Result<()>;
}

/// Where the gradients of attention go.
pub enum AttentionGrads<'a> {
    /// dQ, dK, dV, each `[B, rows, H, width]`; what is not wanted costs nothing.
    Each([Option<&'a mut Storage>; 3]),
    /// All three as `[B, L, 3, H, D]`.
    Joint(&'a mut Storage),
}

/// Random numbers; element `i` depends on the key and `i` alone.
pub trait Random {
    /// `n` uniform floats in `[0, 1)`.
    fn uniform(&self, key: Key, dtype: DType, n: usize, out: &mut Storage) -> Result<()>;
    /// `n` standard normal floats.
    fn normal(&self, key: Key, dtype: DType, n: usize, out: &mut Storage) -> Result<()>;
    /// `n` integers in `low..high`, as i64.
    fn randint(&self, key: Key, low: i64, high: i64, n: usize, out: &mut Storage) -> Result<()>;
    /// The numbers `0..n` shuffled, as i64.
    fn randperm(&self, key: Key, n: usize, out: &mut Storage) -> Result<()>;
    /// `alive · x + shift` where an element (or a plane of `plane` elements) survives, `dead`
    /// elsewhere; with `x` contiguous. The same key gives the same mask again for the gradient.
    fn dropout(
        &self,
        key: Key,
        drop: DropSpec,
        x: Operand<'_>,
        plane: usize,
        y: &mut Storage,
    ) -> Result<()>;
}

/// What dropout does to an element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropSpec {
    /// Probability of being dropped.
    pub p: f64,
    /// Factor for survivors.
    pub scale: f64,
    /// Added to survivors.
    pub shift: f64,
    /// Value of what is dropped.
    pub dead: f64,
}

/// Optimizer steps in place.
pub trait Optim {
    /// One step for all these parameters, which are of one dtype, f32 or f64, as are gradients
    /// and states.
    fn optim_step(&self, dtype: DType, updates: Vec<OptimUpdate<'_>>) -> Result<()>;
}

/// One parameter in a step.
pub struct OptimUpdate<'a> {
    /// What to do to each element.
    pub rule: Rule,
    /// Factor on the gradient.
    pub grad_scale: f64,
    /// The parameter.
    pub param: Target<'a>,
    /// Its gradient, contiguous.
    pub grad: Operand<'a>,
    /// The states that the rule uses.
    pub state: [Option<Target<'a>>; 3],
}

/// A contiguous, unshared tensor that a kernel changes.
pub struct Target<'a> {
    /// Where the elements are.
    pub storage: &'a mut Storage,
    /// How they lie.
    pub layout: &'a Layout,
    /// What they are.
    pub dtype: DType,
}

/// Picking and placing by index. Operands are contiguous, indices are i64; an index outside its
/// dim is an error that names `op`.
pub trait Index {
    /// `out[o, j, i] = x[o, index[o, j, i], i]`; `index` has x's shape except along the dim.
    fn gather(
        &self,
        op: &'static str,
        x: Operand<'_>,
        dim: usize,
        index: Operand<'_>,
        out: &mut Storage,
    ) -> Result<()>;
    /// The reverse of `gather`, into `y`: written or added.
    fn scatter(
        &self,
        op: &'static str,
        add: bool,
        y: Target<'_>,
        dim: usize,
        index: Operand<'_>,
        src: Operand<'_>,
    ) -> Result<()>;
    /// Whole entries of a dim, by a 1-d index.
    fn index_select(
        &self,
        op: &'static str,
        x: Operand<'_>,
        dim: usize,
        index: Operand<'_>,
        out: &mut Storage,
    ) -> Result<()>;
    /// The reverse of `index_select`: adds the entries of `src` to those of `y`.
    fn index_add(
        &self,
        op: &'static str,
        y: Target<'_>,
        dim: usize,
        index: Operand<'_>,
        src: Operand<'_>,
    ) -> Result<()>;
}

/// Normalisation; operands are contiguous. Outputs that a caller does not want are `None`.
pub trait Norm {
    /// y, mean and 1/deviation of rows of `columns` elements; of the sum with `plus`, which goes
    /// to its second part.
    fn layer_norm(
        &self,
        x: Operand<'_>,
        plus: Option<(Operand<'_>, &mut Storage)>,
        columns: usize,
        affine: Affine<'_>,
        eps: f64,
        out: [&mut Storage; 3],
    ) -> Result<()>;
    /// Gradients of the above: dx, to which `plus` is added, dweight, dbias.
    fn layer_norm_backward(
        &self,
        x: Operand<'_>,
        columns: usize,
        weight: Option<Operand<'_>>,
        saved: Saved<'_>,
        dy: Operand<'_>,
        plus: Option<Operand<'_>>,
        out: [Option<&mut Storage>; 3],
    ) -> Result<()>;
    /// y and 1/root-mean-square of rows of `columns` elements, with `plus` as above.
    fn rms_norm(
        &self,
        x: Operand<'_>,
        plus: Option<(Operand<'_>, &mut Storage)>,
        columns: usize,
        weight: Option<Operand<'_>>,
        eps: f64,
        out: [&mut Storage; 2],
    ) -> Result<()>;
    /// Gradients of the above: dx, to which `plus` is added, dweight.
    fn rms_norm_backward(
        &self,
        x: Operand<'_>,
        columns: usize,
        weight: Option<Operand<'_>>,
        rstd: Operand<'_>,
        dy: Operand<'_>,
        plus: Option<Operand<'_>>,
        out: [Option<&mut Storage>; 2],
    ) -> Result<()>;
    /// y, mean, biased variance and 1/deviation of each channel of `[N, C, S]`; with `relu`, a
    /// negative y becomes 0.
    fn batch_norm(
        &self,
        x: Operand<'_>,
        dims: [usize; 3],
        affine: Affine<'_>,
        eps: f64,
        relu: bool,
        out: [&mut Storage; 4],
    ) -> Result<()>;
    /// `x · scale + shift` for each channel of `[N, C, S]`.
    fn channel_affine(
        &self,
        x: Operand<'_>,
        dims: [usize; 3],
        scale: Operand<'_>,
        shift: Operand<'_>,
        out: &mut Storage,
    ) -> Result<()>;
    /// Gradients of batch norm: dx, dweight, dbias.
    fn batch_norm_backward(
        &self,
        x: Operand<'_>,
        norm: BatchNorm<'_>,
        dy: Operand<'_>,
        out: [Option<&mut Storage>; 3],
    ) -> Result<()>;
    /// y, mean and 1/deviation of each group of channels of each image of `[N, C, S]`.
    fn group_norm(
        &self,
        x: Operand<'_>,
        dims: [usize; 3],
        groups: usize,
        affine: Affine<'_>,
        eps: f64,
        out: [&mut Storage; 3],
    ) -> Result<()>;
    /// Gradients of the above: dx, dweight, dbias.
    fn group_norm_backward(
        &self,
        x: Operand<'_>,
        dims: [usize; 3],
        groups: usize,
        weight: Option<Operand<'_>>,
        saved: Saved<'_>,
        dy: Operand<'_>,
        out: [Option<&mut Storage>; 3],
    ) -> Result<()>;
}

/// Weight and bias of a norm.
#[derive(Clone, Copy, Default)]
pub struct Affine<'a> {
    /// Factor for each channel or column.
    pub weight: Option<Operand<'a>>,
    /// Added to each channel or column.
    pub bias: Option<Operand<'a>>,
}

/// What the forward of a norm saved.
#[derive(Clone, Copy)]
pub struct Saved<'a> {
    /// Means.
    pub mean: Operand<'a>,
    /// 1 / sqrt(variance + eps).
    pub rstd: Operand<'a>,
}

/// A batch norm as its backward pass knows it.
#[derive(Clone, Copy)]
pub struct BatchNorm<'a> {
    /// The sizes [N, C, S].
    pub dims: [usize; 3],
    /// Whether the statistics were the batch's own; else they are constants.
    pub training: bool,
    /// Weight and bias; only outputs depend on the bias.
    pub affine: Affine<'a>,
    /// The statistics.
    pub saved: Saved<'a>,
    /// Whether a ReLU stood behind it.
    pub relu: bool,
}

/// Losses; operands are contiguous.
pub trait Loss {
    /// Cross-entropy of logits `[rows, classes]` with i64 targets: the loss, and each row's maximum
    /// and ln Σ exp(x - maximum), `[rows, 2]`. Returns the weight of the rows that count.
    fn cross_entropy(
        &self,
        options: &CrossEntropyOptions<'_>,
        logits: Operand<'_>,
        targets: Operand<'_>,
        out: [&mut Storage; 2],
    ) -> Result<f64>;
    /// Gradient of the above.
    fn cross_entropy_backward(
        &self,
        options: &CrossEntropyOptions<'_>,
        logits: Operand<'_>,
        targets: Operand<'_>,
        lse: Operand<'_>,
        weight_total: f64,
        dy: Operand<'_>,
        dx: &mut Storage,
    ) -> Result<()>;
    /// The sum or mean of squared differences.
    fn mse(&self, x: Operand<'_>, y: Operand<'_>, mean: bool, out: &mut Storage) -> Result<()>;
    /// Gradient of the above with respect to x.
    fn mse_backward(
        &self,
        x: Operand<'_>,
        y: Operand<'_>,
        mean: bool,
        dy: Operand<'_>,
        dx: &mut Storage,
    ) -> Result<()>;
}

/// CTC; operands are contiguous.
pub trait CtcLoss {
    /// The negative log-likelihood `[batch]`, and forward variables `[batch, time, states]`.
    fn ctc(&self, o: &Ctc<'_>, log_probs: Operand<'_>, out: [&mut Storage; 2]) -> Result<()>;
    /// Gradient of the above with respect to the log-probabilities.
    #[allow(clippy::too_many_arguments, reason = "a forward's operands and its results")]
    fn ctc_backward(
        &self,
        o: &Ctc<'_>,
        zero_infinity: bool,
        log_probs: Operand<'_>,
        nll: Operand<'_>,
        alpha: Operand<'_>,
        dy: Operand<'_>,
        dx: &mut Storage,
    ) -> Result<()>;
}

/// What cross-entropy is asked for.
#[derive(Clone, Copy)]
pub struct CrossEntropyOptions<'a> {
    /// A weight for each class.
    pub weight: Option<Operand<'a>>,
    /// Rows with this target do not count.
    pub ignore_index: i64,
    /// Share of the target that is spread over all classes.
    pub smoothing: f64,
    /// How rows are combined.
    pub reduction: Reduction,
}

/// Pooling over planes; operands are contiguous.
pub trait Pool {
    /// Largest value of each window, and its place in the plane as i32; windows are adaptive when
    /// `adaptive`, and then only planes and sizes of the geometry count.
    fn max_pool(
        &self,
        g: &PoolGeom,
        adaptive: bool,
        x: Operand<'_>,
        y: &mut Storage,
        index: &mut Storage,
    ) -> Result<()>;
    /// Adds each gradient at the place that `index` names.
    fn max_pool_backward(
        &self,
        g: &PoolGeom,
        dy: Operand<'_>,
        index: Operand<'_>,
        dx: &mut Storage,
    ) -> Result<()>;
    /// Mean of each window; no rule means adaptive windows.
    fn avg_pool(
        &self,
        g: &PoolGeom,
        rule: Option<AvgRule>,
        x: Operand<'_>,
        y: &mut Storage,
    ) -> Result<()>;
    /// Gradient of the above.
    fn avg_pool_backward(
        &self,
        g: &PoolGeom,
        rule: Option<AvgRule>,
        dy: Operand<'_>,
        dx: &mut Storage,
    ) -> Result<()>;
}

/// Convolutions; all operands contiguous.
pub trait Conv {
    /// y from x `[N, C_in, …]` and w `[C_out, C_in / groups, …]`.
    fn conv_forward(
        &self,
        g: &ConvGeom,
        x: Operand<'_>,
        w: Operand<'_>,
        bias: Option<Operand<'_>>,
        y: &mut Storage,
    ) -> Result<()>;
    /// dx from dy and w; with a bias per input channel it is the transposed convolution.
    fn conv_backward_data(
        &self,
        g: &ConvGeom,
        dy: Operand<'_>,
        w: Operand<'_>,
        bias: Option<Operand<'_>>,
        dx: &mut Storage,
    ) -> Result<()>;
    /// dw from x and dy.
    fn conv_backward_weight(
        &self,
        g: &ConvGeom,
        x: Operand<'_>,
        dy: Operand<'_>,
        dw: &mut Storage,
    ) -> Result<()>;
    /// Patches of images as columns `[batch, channels * kernel, patches]`.
    fn unfold(&self, g: &FoldGeom, images: Operand<'_>, columns: &mut Storage) -> Result<()>;
    /// The columns added back into images.
    fn fold(&self, g: &FoldGeom, columns: Operand<'_>, images: &mut Storage) -> Result<()>;
}

/// Sorting, selecting, and rearrangements that strides alone cannot express. Operands are
/// contiguous, unless a method says otherwise, and of any dtype.
pub trait Arrange {
    /// The first `k` elements along a dim in ascending or descending order, stable, and where they
    /// stood, as i64. With the dim's size as `k` this is sorting.
    fn sort(
        &self,
        x: Operand<'_>,
        dim: usize,
        k: usize,
        descending: bool,
        values: &mut Storage,
        indices: &mut Storage,
    ) -> Result<()>;
    /// The lower median along a dim, NaN where there is one, and where it stands, as i64.
    fn median(
        &self,
        x: Operand<'_>,
        dim: usize,
        values: &mut Storage,
        indices: &mut Storage,
    ) -> Result<()>;
    /// Distinct elements in ascending order, or the runs of equal ones; how many there are. Outputs
    /// have room for as many elements as `x` has.
    fn unique(
        &self,
        x: Operand<'_>,
        consecutive: bool,
        values: &mut Storage,
        inverse: &mut Storage,
        counts: &mut Storage,
    ) -> Result<usize>;
    /// The `n` places that are not 0, a row of indices each, as i64.
    fn nonzero(&self, x: Operand<'_>, n: usize, out: &mut Storage) -> Result<()>;
    /// The `n` elements of `x` where the bool mask of its shape is true.
    fn masked_select(
        &self,
        x: Operand<'_>,
        mask: Operand<'_>,
        n: usize,
        out: &mut Storage,
    ) -> Result<()>;
    /// Writes the elements of `src` in order to the places of `y` where the mask is true.
    fn masked_scatter(&self, y: Target<'_>, mask: Operand<'_>, src: Operand<'_>) -> Result<()>;
    /// Where each value belongs in its ascending row, as i64; one row may serve all values.
    fn searchsorted(
        &self,
        sorted: Operand<'_>,
        values: Operand<'_>,
        right: bool,
        out: &mut Storage,
    ) -> Result<()>;
    /// Rows of zeros with a 1 where the index says, as i64.
    fn one_hot(&self, index: Operand<'_>, classes: usize, out: &mut Storage) -> Result<()>;
    /// The upper or lower triangle of each matrix; zeros elsewhere.
    fn triangle(&self, x: Operand<'_>, upper: bool, diagonal: i64, out: &mut Storage)
    -> Result<()>;
    /// Reverses the marked dims.
    fn flip(&self, x: Operand<'_>, reverse: &[bool], out: &mut Storage) -> Result<()>;
    /// Moves elements on along a dim, those that fall off the end to its start.
    fn roll(&self, x: Operand<'_>, dim: usize, shift: i64, out: &mut Storage) -> Result<()>;
}

/// Padding of planes; operands are contiguous.
pub trait Pad {
    /// The input with a border, in any dtype.
    fn pad(&self, g: &PadGeom, mode: PadMode<f64>, x: Operand<'_>, y: &mut Storage) -> Result<()>;
    /// Gradient of the above: each element of dx gets the sum of dy over the places it stands at.
    fn pad_backward(
        &self,
        g: &PadGeom,
        mode: PadMode<f64>,
        dy: Operand<'_>,
        dx: &mut Storage,
    ) -> Result<()>;
}

/// Interpolation of planes to another size; operands are contiguous.
pub trait Resample {
    /// y from x.
    fn resample(&self, g: &ResampleGeom, x: Operand<'_>, y: &mut Storage) -> Result<()>;
    /// dx from dy.
    fn resample_backward(&self, g: &ResampleGeom, dy: Operand<'_>, dx: &mut Storage) -> Result<()>;
    /// y `[batch, channels, points]` from x at the points of `grid`.
    fn grid_sample(
        &self,
        g: &GridGeom,
        x: Operand<'_>,
        grid: Operand<'_>,
        y: &mut Storage,
    ) -> Result<()>;
    /// Gradients of x and of the points.
    fn grid_sample_backward(
        &self,
        g: &GridGeom,
        x: Operand<'_>,
        grid: Operand<'_>,
        dy: Operand<'_>,
        dx: &mut Storage,
        dgrid: &mut Storage,
    ) -> Result<()>;
}

/// Rows of a table `[V, width]` by index. Operands are contiguous, indices are i64; an index or
/// offset outside its range is an error that names `op`.
pub trait Embedding {
    /// The row of each index.
    fn embedding(
        &self,
        op: &'static str,
        table: Operand<'_>,
        index: Operand<'_>,
        out: &mut Storage,
    ) -> Result<()>;
    /// Gradient of the above for a table of `dims`; `padding_idx` gets nothing.
    fn embedding_backward(
        &self,
        dims: [usize; 2],
        index: Operand<'_>,
        padding_idx: Option<i64>,
        dy: Operand<'_>,
        dw: &mut Storage,
    ) -> Result<()>;
    /// One row for each bag; `arg` gets the row of each maximum as i64, or -1.
    fn embedding_bag(
        &self,
        op: &'static str,
        mode: Bag,
        table: Operand<'_>,
        bags: Bags<'_>,
        out: &mut Storage,
        arg: Option<&mut Storage>,
    ) -> Result<()>;
    /// Gradient of the above for a table of `dims`; `arg` is given when the mode is `Max`.
    fn embedding_bag_backward(
        &self,
        mode: Bag,
        dims: [usize; 2],
        bags: Bags<'_>,
        arg: Option<Operand<'_>>,
        dy: Operand<'_>,
        dw: &mut Storage,
    ) -> Result<()>;
}

/// Bags of indices.
#[derive(Clone, Copy)]
pub struct Bags<'a> {
    /// Rows of the table, bag after bag.
    pub index: Operand<'a>,
    /// Where each bag begins.
    pub offsets: Operand<'a>,
    /// An index that counts as absent.
    pub padding_idx: Option<i64>,
}
