//! Automatic mixed precision: while autocast is on, products run in 16 bits, and what needs range
//! or many digits in f32.

use std::cell::Cell;
use std::marker::PhantomData;

use crate::{DType, Result, Variable};

thread_local! {
    /// The dtype of products on the CPU and on CUDA, if autocast is on there.
    static CAST: Cell<[Option<DType>; 2]> = const { Cell::new([None; 2]) };
}

/// Turns autocast on until it is dropped; guards nest. Per thread, as in PyTorch:
///
/// - matrix products, linear layers, convolutions, attention, PReLU and the recurrent layers LSTM
///   and RNN cast f32 operands to the guard's dtype;
/// - losses, products along a dim, 3-D pooling, mirrored and replicated padding and `grid_sample`
///   cast 16-bit operands to f32;
/// - elementwise arithmetic, joining, GRU and the recurrent cells run in f32 if an operand is f32;
///   everything else runs in the dtype it is given, inside in f32 where digits matter, as in softmax
///   and norms.
///
/// This is PyTorch's list for the CPU, but for four losses that need the digits: see
/// `tests/amp.rs`. Parameters stay f32, and so do their gradients.
///
/// ```
/// use flodl::*;
/// let layer = Linear::new(8, 4)?;
/// let x = Variable::new(Tensor::randn(&[2, 8], TensorOptions::default())?, false);
/// let loss = {
///     let _guard = AutocastGuard::new(DType::BFloat16);
///     let y = layer.forward(&x)?;
///     assert_eq!(y.dtype(), DType::BFloat16);
///     mse_loss(&y, &Variable::new(Tensor::zeros_like(&y.data())?, false))?
/// };
/// assert_eq!(loss.dtype(), DType::Float32);
/// loss.backward()?;
/// assert_eq!(layer.parameters()[0].variable.grad().unwrap().dtype(), DType::Float32);
/// # Ok::<(), Error>(())
/// ```
pub struct AutocastGuard {
    before: [Option<DType>; 2],
    /// The setting belongs to this thread.
    not_send: PhantomData<*const ()>,
}

impl AutocastGuard {
    /// On for all devices. Dtypes other than f16 and bf16 turn it off.
    #[must_use = "autocast is on only while the guard lives"]
    pub fn new(dtype: DType) -> Self {
        let dtype = Some(dtype).filter(|d| d.is_half());
        AutocastGuard { before: CAST.replace([dtype; 2]), not_send: PhantomData }
    }

    /// On for one kind of device: 0 the CPU, 1 CUDA; others have no effect.
    #[must_use = "autocast is on only while the guard lives"]
    pub fn for_device(device_type: i32, dtype: DType) -> Self {
        let before = CAST.get();
        let mut now = before;
        if let Some(slot) = usize::try_from(device_type).ok().and_then(|i| now.get_mut(i)) {
            *slot = Some(dtype).filter(|d| d.is_half());
        }
        CAST.set(now);
        AutocastGuard { before, not_send: PhantomData }
    }
}

impl Drop for AutocastGuard {
    fn drop(&mut self) {
        CAST.set(self.before);
    }
}

/// Runs `f` under an [`AutocastGuard`].
pub fn autocast<F, R>(dtype: DType, f: F) -> R
where
    F: FnOnce() -> R,
{
    let _guard = AutocastGuard::new(dtype);
    f()
}

/// Whether autocast is on for some device, on this thread.
pub fn is_autocast_enabled() -> bool {
    CAST.get().iter().any(Option::is_some)
}

/// Whether autocast is on for a kind of device: 0 the CPU, 1 CUDA.
pub fn is_autocast_enabled_for(device_type: i32) -> bool {
    usize::try_from(device_type).ok().and_then(|i| CAST.get().get(i).copied()?).is_some()
}

/// Whether autocast changes what operations on the CPU do.
pub(crate) fn is_active() -> bool {
    CAST.get()[0].is_some()
}

/// Casts operands; `None` if all are as they should be.
#[cold]
fn cast<const N: usize>(
    inputs: [&Variable; N],
    to: impl Fn(DType) -> DType,
) -> Result<Option<[Variable; N]>> {
    if inputs.iter().all(|v| to(v.dtype()) == v.dtype()) {
        return Ok(None);
    }
    let mut cast = inputs.map(Variable::clone);
    for v in &mut cast {
        *v = v.to_dtype(to(v.dtype()))?;
    }
    Ok(Some(cast))
}

/// The operands of a product in the dtype of autocast, if it is on and they are not yet.
#[inline]
pub(crate) fn low<const N: usize>(inputs: [&Variable; N]) -> Result<Option<[Variable; N]>> {
    match CAST.get()[0] {
        None => Ok(None),
        Some(dtype) => {
            cast(inputs, |from| if from.is_half() || from == DType::Float32 { dtype } else { from })
        }
    }
}

/// Operands in f32 instead of 16 bits, if autocast is on and they are not yet.
#[inline]
pub(crate) fn high<const N: usize>(inputs: [&Variable; N]) -> Result<Option<[Variable; N]>> {
    if !is_active() {
        return Ok(None);
    }
    cast(inputs, |from| if from.is_half() { DType::Float32 } else { from })
}

/// Operands in f32 if autocast is on and one of them is f32 and the other has 16 bits.
#[inline]
pub(crate) fn same(inputs: [&Variable; 2]) -> Result<Option<[Variable; 2]>> {
    if !is_active() || inputs[0].dtype() == inputs[1].dtype() {
        return Ok(None);
    }
    high(inputs)
}

/// [`same`] for any number of operands.
pub(crate) fn same_all(inputs: &[&Variable]) -> Result<Option<Vec<Variable>>> {
    let is = |dtype| inputs.iter().any(|v| v.dtype() == dtype);
    let halves = inputs.iter().any(|v| v.dtype().is_half());
    if !is_active() || !halves || !is(DType::Float32) {
        return Ok(None);
    }
    to(inputs, DType::Float32).map(Some)
}

/// The operands of a recurrent network, `data` of input and states before the weights: all in
/// autocast's dtype, or without `low` in f32 if input or a state is f32.
pub(crate) fn recurrent(
    low: bool,
    data: usize,
    inputs: &[&Variable],
) -> Result<Option<Vec<Variable>>> {
    let Some(dtype) = CAST.get()[0] else { return Ok(None) };
    let ours = |v: &&Variable| v.dtype().is_half() || v.dtype() == DType::Float32;
    if !inputs.iter().all(ours) {
        return Ok(None);
    }
    let wide = inputs[..data].iter().any(|v| v.dtype() == DType::Float32);
    let home = if wide && !low { DType::Float32 } else { dtype };
    if inputs.iter().all(|v| v.dtype() == home) {
        return Ok(None);
    }
    to(inputs, home).map(Some)
}

/// All 16-bit and f32 operands in one dtype.
fn to(inputs: &[&Variable], dtype: DType) -> Result<Vec<Variable>> {
    let ours = |v: &Variable| v.dtype().is_half() || v.dtype() == DType::Float32;
    let cast = |v: &&Variable| if ours(v) { v.to_dtype(dtype) } else { Ok((*v).clone()) };
    inputs.iter().map(cast).collect()
}

/// Runs `f` without autocast.
pub(crate) fn without<R>(f: impl FnOnce() -> R) -> R {
    autocast(DType::Float32, f)
}
