//! [`Parameter`] and [`Buffer`]: the state of layers.

use std::cell::RefCell;
use std::rc::Rc;

use crate::{DType, Device, Result, Tensor, Variable};

/// A learnable weight. A clone is another handle on the same one.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// The values and their gradient.
    pub variable: Variable,
    /// Its name within its layer, PyTorch's where PyTorch has the layer.
    pub name: String,
}

impl Parameter {
    /// A parameter that requires a gradient.
    pub fn new(data: Tensor, name: &str) -> Self {
        Parameter { variable: Variable::new(data, true), name: name.to_owned() }
    }

    /// A copy of the parameter on another device.
    ///
    /// # Errors
    /// When the device cannot be used.
    pub fn to_device(&self, device: Device) -> Result<Parameter> {
        let data = self.variable.data().to_device(device)?.copy()?;
        let moved = Variable::new(data, self.variable.requires_grad());
        Ok(Parameter { variable: moved, name: self.name.clone() })
    }

    /// Stops gradients: the optimizer leaves the parameter as it is.
    ///
    /// # Errors
    /// None for a parameter, which is always a leaf.
    pub fn freeze(&self) -> Result<()> {
        self.variable.zero_grad();
        self.variable.set_requires_grad(false)
    }

    /// Lets gradients through again.
    ///
    /// # Errors
    /// None for a parameter, which is always a leaf.
    pub fn unfreeze(&self) -> Result<()> {
        self.variable.set_requires_grad(true)
    }

    /// Whether gradients are stopped.
    pub fn is_frozen(&self) -> bool {
        !self.variable.requires_grad()
    }
}

/// Casts floating-point parameters; their gradients are cleared.
///
/// # Errors
/// When there is no memory for it.
pub fn cast_parameters(params: &[Parameter], dtype: DType) -> Result<()> {
    for p in params {
        if p.variable.dtype().is_float() && p.variable.dtype() != dtype {
            p.variable.set_data(p.variable.data().to_dtype(dtype)?);
            p.variable.zero_grad();
        }
    }
    Ok(())
}

/// State that is saved with a model but not learned, such as running statistics. A clone is
/// another handle on the same one.
#[derive(Clone, Debug)]
pub struct Buffer {
    inner: Rc<RefCell<Tensor>>,
    /// Its name within its layer.
    pub name: String,
}

impl Buffer {
    /// A buffer with these values.
    pub fn new(tensor: Tensor, name: &str) -> Self {
        Buffer { inner: Rc::new(RefCell::new(tensor)), name: name.to_owned() }
    }

    /// The values now.
    pub fn get(&self) -> Tensor {
        self.inner.borrow().clone()
    }

    /// Identity: equal for clones, different for all others alive.
    pub fn id(&self) -> usize {
        Rc::as_ptr(&self.inner) as *const () as usize
    }

    /// Replaces the values.
    pub fn set(&self, tensor: Tensor) {
        *self.inner.borrow_mut() = tensor;
    }

    /// Runs `f` on the values without cloning the handle.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&Tensor) -> R) -> R {
        f(&self.inner.borrow())
    }

    /// Changes the values in place.
    pub(crate) fn update<R>(&self, f: impl FnOnce(&mut Tensor) -> R) -> R {
        f(&mut self.inner.borrow_mut())
    }

    /// Size of each dim.
    pub fn shape(&self) -> Vec<i64> {
        self.inner.borrow().shape()
    }

    /// Where the values live.
    pub fn device(&self) -> Device {
        self.inner.borrow().device()
    }

    /// Moves the values.
    ///
    /// # Errors
    /// When the device cannot be used.
    pub fn to_device(&self, device: Device) -> Result<()> {
        let moved = self.get().to_device(device)?;
        self.set(moved);
        Ok(())
    }
}
