//! [`Variable`]: a tensor that remembers where it came from.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::tape::{Edge, NodeRef};
use super::{BackwardOptions, engine};
use crate::{DType, Device, Error, Result, Tensor};

/// Which output of which operation a variable is.
#[derive(Clone)]
pub(crate) struct GradFn {
    pub node: NodeRef,
    pub output: u32,
}

struct Inner {
    data: RefCell<Tensor>,
    grad: RefCell<Option<Variable>>,
    requires_grad: Cell<bool>,
    grad_fn: Option<GradFn>,
}

/// A tensor in a differentiable computation. A clone is another handle on the same variable.
///
/// ```
/// use flodl::*;
/// let x = Variable::new(Tensor::from_f32(&[1.0, 2.0], &[2], Device::CPU)?, true);
/// x.mul(&x)?.sum()?.backward()?;
/// assert_eq!(x.grad().unwrap().to_f32_vec()?, [2.0, 4.0]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct Variable {
    inner: Rc<Inner>,
}

/// Keeps the place alive where a leaf collects its gradient, see [`Variable::grad_accumulator`].
#[derive(Clone)]
pub struct GradAccumulatorHandle {
    leaf: Variable,
}

impl GradAccumulatorHandle {
    /// What has been collected so far.
    pub fn grad(&self) -> Option<Tensor> {
        self.leaf.grad()
    }
}

impl Variable {
    /// A leaf. With `requires_grad` it collects gradients in [`Variable::grad`]; only floating-point
    /// tensors can, so the flag is ignored for integers and booleans.
    pub fn new(data: Tensor, requires_grad: bool) -> Self {
        let requires_grad = requires_grad && data.dtype().is_float();
        Self::make(data, requires_grad, None)
    }

    /// A leaf that needs no gradient.
    #[inline]
    pub(crate) fn constant(data: Tensor) -> Self {
        Self::make(data, false, None)
    }

    #[inline]
    pub(crate) fn from_op(data: Tensor, grad_fn: GradFn) -> Self {
        Self::make(data, true, Some(grad_fn))
    }

    #[inline]
    fn make(data: Tensor, requires_grad: bool, grad_fn: Option<GradFn>) -> Self {
        Variable {
            inner: Rc::new(Inner {
                data: RefCell::new(data),
                grad: RefCell::new(None),
                requires_grad: Cell::new(requires_grad),
                grad_fn,
            }),
        }
    }

    /// The tensor. A handle, not a copy of the values.
    pub fn data(&self) -> Tensor {
        self.inner.data.borrow().clone()
    }

    /// Runs `f` on the tensor without cloning the handle.
    pub(crate) fn with_data<R>(&self, f: impl FnOnce(&Tensor) -> R) -> R {
        f(&self.inner.data.borrow())
    }

    /// Runs `f` on the tensor to change it in place.
    pub(crate) fn with_data_mut<R>(&self, f: impl FnOnce(&mut Tensor) -> R) -> R {
        f(&mut self.inner.data.borrow_mut())
    }

    /// The tensor, to change in place; nothing else may touch it meanwhile.
    pub(crate) fn data_mut(&self) -> std::cell::RefMut<'_, Tensor> {
        self.inner.data.borrow_mut()
    }

    /// Identity of the variable: equal for clones, different for all others alive.
    pub fn id(&self) -> usize {
        Rc::as_ptr(&self.inner) as usize
    }

    /// The gradient collected so far.
    pub fn grad(&self) -> Option<Tensor> {
        self.inner.grad.borrow().as_ref().map(Variable::data)
    }

    /// The place where this leaf collects its gradient; `None` for the result of an operation and
    /// for what needs no gradient.
    ///
    /// ```
    /// use flodl::*;
    /// let x = Variable::new(Tensor::ones(&[2], TensorOptions::default())?, true);
    /// let place = x.grad_accumulator().unwrap();
    /// x.sum()?.backward()?;
    /// drop(x);
    /// assert_eq!(place.grad().unwrap().to_f32_vec()?, [1.0, 1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn grad_accumulator(&self) -> Option<GradAccumulatorHandle> {
        let collects = self.is_leaf() && self.requires_grad();
        collects.then(|| GradAccumulatorHandle { leaf: self.clone() })
    }

    /// The gradient as a variable: differentiable when it was computed with `create_graph`.
    pub fn grad_variable(&self) -> Option<Variable> {
        self.inner.grad.borrow().clone()
    }

    /// Replaces the gradient.
    pub fn set_grad(&self, grad: Tensor) {
        self.put_grad(Some(Variable::constant(grad)));
    }

    pub(crate) fn put_grad(&self, grad: Option<Variable>) {
        *self.inner.grad.borrow_mut() = grad;
    }

    pub(crate) fn take_grad(&self) -> Option<Variable> {
        self.inner.grad.borrow_mut().take()
    }

    /// Whether this handle is the only one on the variable.
    pub(crate) fn is_unshared(&self) -> bool {
        Rc::strong_count(&self.inner) == 1
    }

    /// Whether gradients reach this variable.
    pub fn requires_grad(&self) -> bool {
        self.inner.requires_grad.get()
    }

    /// Turns gradient collection of a leaf on or off.
    ///
    /// # Errors
    /// For the result of an operation, and for integer and boolean tensors.
    pub fn set_requires_grad(&self, requires_grad: bool) -> Result<()> {
        if !self.is_leaf() {
            return Err(Error::Autograd {
                op: "set_requires_grad",
                what: "only leaves can change it; use detach() for the result of an operation"
                    .into(),
            });
        }
        if requires_grad && !self.dtype().is_float() {
            return Err(Error::DType {
                op: "set_requires_grad",
                expected: "a floating-point tensor".into(),
                got: self.dtype(),
            });
        }
        self.inner.requires_grad.set(requires_grad);
        Ok(())
    }

    /// Whether this was made by the user and not by a recorded operation.
    pub fn is_leaf(&self) -> bool {
        self.inner.grad_fn.is_none()
    }

    /// Name of the operation that made this variable, `None` for a leaf.
    pub fn grad_fn_name(&self) -> Option<&'static str> {
        self.inner.grad_fn.as_ref().map(|f| f.node.name)
    }

    pub(crate) fn grad_fn(&self) -> Option<&GradFn> {
        self.inner.grad_fn.as_ref()
    }

    /// Where a gradient for this variable goes.
    pub(crate) fn edge(&self) -> Edge {
        match &self.inner.grad_fn {
            _ if !self.requires_grad() => Edge::None,
            Some(f) => Edge::Node(f.node.clone(), f.output),
            None => Edge::Leaf(self.clone()),
        }
    }

    /// Size of each dim.
    pub fn shape(&self) -> Vec<i64> {
        self.with_data(Tensor::shape)
    }

    /// Number of dims.
    pub fn ndim(&self) -> usize {
        self.with_data(Tensor::ndim)
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.with_data(Tensor::dtype)
    }

    /// Where the elements live.
    pub fn device(&self) -> Device {
        self.with_data(Tensor::device)
    }

    /// Number of elements.
    pub fn numel(&self) -> i64 {
        self.with_data(Tensor::numel)
    }

    /// The value of a one-element variable.
    ///
    /// # Errors
    /// When there is more or less than one element.
    pub fn item(&self) -> Result<f64> {
        self.with_data(Tensor::item)
    }

    /// Clears the gradient.
    pub fn zero_grad(&self) {
        self.put_grad(None);
    }

    /// Clears the gradient; the same as [`Variable::zero_grad`].
    pub fn zero_grad_set_to_none(&self) {
        self.put_grad(None);
    }

    /// The same values, cut off from the tape.
    pub fn detach(&self) -> Variable {
        Variable::constant(self.data())
    }

    /// The variable on another device; differentiable.
    ///
    /// # Errors
    /// When the device cannot be used.
    pub fn to_device(&self, device: Device) -> Result<Variable> {
        if self.device() == device {
            return Ok(self.clone());
        }
        let home = self.device();
        let data = self.with_data(|t| t.to_device(device))?;
        Ok(super::tape::record("to_device", data, &[self], move |ctx| {
            Ok(super::tape::grads![ctx.grad().to_device(home)?])
        }))
    }

    /// Replaces the tensor; gradients recorded so far keep the values they saved.
    pub fn set_data(&self, data: Tensor) {
        *self.inner.data.borrow_mut() = data;
    }

    /// Adds d self / d leaf to the gradient of every leaf that this scalar was computed from, and
    /// frees what the tape had saved.
    ///
    /// # Errors
    /// When this has more than one element, does not require a gradient, or its tape was already
    /// freed by an earlier call.
    pub fn backward(&self) -> Result<()> {
        self.backward_with(BackwardOptions::default())
    }

    /// [`Variable::backward`] with a gradient to start from, a tape that stays, or gradients that
    /// can be differentiated again.
    ///
    /// # Errors
    /// As for [`Variable::backward`], and when the given gradient's shape is not this variable's.
    pub fn backward_with(&self, options: BackwardOptions) -> Result<()> {
        engine::backward(self, options)
    }
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.with_data(|t| std::fmt::Display::fmt(t, f))?;
        match self.grad_fn_name() {
            Some(name) => write!(f, " (grad_fn {name})"),
            None if self.requires_grad() => f.write_str(" (requires_grad)"),
            None => Ok(()),
        }
    }
}
