//! Modes, by their enums or by PyTorch's numbers for them.

use super::{Bag, GridPadding, Interpolation};

/// A mode, by its enum or by its number.
pub trait IntoMode<M> {
    /// The mode, or the number when it stands for none.
    fn into_mode(self) -> std::result::Result<M, i64>;
}

/// How [`grid_sample`](crate::grid_sample) finds values between elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GridMode {
    /// Linear along both dims.
    Bilinear,
    /// The nearest element.
    Nearest,
    /// Cubic convolution along both dims.
    Bicubic,
}

impl IntoMode<GridMode> for GridMode {
    fn into_mode(self) -> std::result::Result<GridMode, i64> {
        Ok(self)
    }
}

impl IntoMode<GridMode> for i64 {
    /// 0 bilinear, 1 nearest, 2 bicubic.
    fn into_mode(self) -> std::result::Result<GridMode, i64> {
        match self {
            0 => Ok(GridMode::Bilinear),
            1 => Ok(GridMode::Nearest),
            2 => Ok(GridMode::Bicubic),
            n => Err(n),
        }
    }
}

impl IntoMode<GridPadding> for GridPadding {
    fn into_mode(self) -> std::result::Result<GridPadding, i64> {
        Ok(self)
    }
}

impl IntoMode<GridPadding> for i64 {
    /// 0 zeros, 1 border, 2 reflection.
    fn into_mode(self) -> std::result::Result<GridPadding, i64> {
        match self {
            0 => Ok(GridPadding::Zeros),
            1 => Ok(GridPadding::Border),
            2 => Ok(GridPadding::Reflection),
            n => Err(n),
        }
    }
}

impl IntoMode<Interpolation> for Interpolation {
    fn into_mode(self) -> std::result::Result<Interpolation, i64> {
        Ok(self)
    }
}

impl IntoMode<Interpolation> for i64 {
    /// 0 nearest, 1 linear, 2 cubic.
    fn into_mode(self) -> std::result::Result<Interpolation, i64> {
        match self {
            0 => Ok(Interpolation::Nearest),
            1 => Ok(Interpolation::Linear),
            2 => Ok(Interpolation::Cubic),
            n => Err(n),
        }
    }
}

impl<M> IntoMode<M> for i32
where
    i64: IntoMode<M>,
{
    fn into_mode(self) -> std::result::Result<M, i64> {
        i64::from(self).into_mode()
    }
}

impl<M> IntoMode<M> for std::result::Result<M, i64> {
    fn into_mode(self) -> std::result::Result<M, i64> {
        self
    }
}

impl IntoMode<Bag> for Bag {
    fn into_mode(self) -> std::result::Result<Bag, i64> {
        Ok(self)
    }
}

impl IntoMode<Bag> for i64 {
    /// 0 sum, 1 mean, 2 max.
    fn into_mode(self) -> std::result::Result<Bag, i64> {
        match self {
            0 => Ok(Bag::Sum),
            1 => Ok(Bag::Mean),
            2 => Ok(Bag::Max),
            n => Err(n),
        }
    }
}
