//! Padding layers, generic over the number of spatial dims; the named types are aliases of their
//! ranks. Every input is `[N, C, …]` or `[C, …]`; each spatial dim grows by the padding on its two
//! sides.

use super::{IntoSizes, Module};
use crate::autograd::ops::pad_named;
use crate::{Error, PadMode, Result, Variable};

/// What one padding layer adds to another: its border.
macro_rules! pads {
    ($(
        $(#[$doc:meta])*
        $layer:ident $one:ident $two:ident $three:ident ($($arg:ident)?) => $mode:expr;
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct $layer<const D: usize> {
            /// Before and after each dim, the last dim first.
            sides: [[i64; 2]; D],
            $($arg: f64,)?
        }

        #[doc = concat!("[`", stringify!($layer), "`] over `[N, C, L]`.")]
        pub type $one = $layer<1>;
        #[doc = concat!("[`", stringify!($layer), "`] over `[N, C, H, W]`.")]
        pub type $two = $layer<2>;
        #[doc = concat!("[`", stringify!($layer), "`] over `[N, C, D, H, W]`.")]
        pub type $three = $layer<3>;

        impl<const D: usize> $layer<D> {
            /// As much on both sides of a dim; one number for all dims or one for each.
            pub fn new(padding: impl IntoSizes<D> $(, $arg: f64)?) -> Self {
                let mut sizes = padding.into_sizes();
                sizes.reverse();
                $layer { sides: sizes.map(|p| [p, p]) $(, $arg)? }
            }
        }

        impl $layer<1> {
            /// Each side its own.
            pub fn asymmetric(left: i64, right: i64 $(, $arg: f64)?) -> Self {
                $layer { sides: [[left, right]] $(, $arg)? }
            }
        }

        impl $layer<2> {
            /// Each side its own.
            pub fn asymmetric(
                left: i64,
                right: i64,
                top: i64,
                bottom: i64
                $(, $arg: f64)?
            ) -> Self {
                $layer { sides: [[left, right], [top, bottom]] $(, $arg)? }
            }
        }

        impl $layer<3> {
            /// Each side its own.
            pub fn asymmetric(
                left: i64,
                right: i64,
                top: i64,
                bottom: i64,
                front: i64,
                back: i64
                $(, $arg: f64)?
            ) -> Self {
                $layer { sides: [[left, right], [top, bottom], [front, back]] $(, $arg)? }
            }
        }

        impl<const D: usize> Module for $layer<D> {
            fn forward(&self, input: &Variable) -> Result<Variable> {
                let name = [stringify!($one), stringify!($two), stringify!($three)][D - 1];
                $(let $arg = self.$arg;)?
                padded(name, input, &self.sides, $mode)
            }

            fn name(&self) -> &str {
                [stringify!($one), stringify!($two), stringify!($three)][D - 1]
            }

            fn structural_hash(&self) -> Option<String> {
                Some(format!("{self:?}"))
            }
        }
    )*};
}

fn padded<const D: usize>(
    name: &'static str,
    input: &Variable,
    sides: &[[i64; 2]; D],
    mode: PadMode<f64>,
) -> Result<Variable> {
    if input.ndim() != D + 1 && input.ndim() != D + 2 {
        return Err(Error::Shape {
            op: name,
            expected: format!("an input [N, C, {}] or without N", ["L", "H, W", "D, H, W"][D - 1]),
            got: input.shape(),
        });
    }
    pad_named(name, input, sides.as_flattened(), mode)
}

pads! {
    /// Surrounds the input with zeros.
    ///
    /// ```
    /// use flodl::*;
    /// let pad = ZeroPad2d::asymmetric(1, 1, 2, 2); // left, right, top, bottom
    /// let x = Variable::new(Tensor::randn(&[1, 3, 8, 8], TensorOptions::default())?, false);
    /// assert_eq!(pad.forward(&x)?.shape(), [1, 3, 12, 10]);
    /// # Ok::<(), Error>(())
    /// ```
    ZeroPad ZeroPad1d ZeroPad2d ZeroPad3d () => PadMode::Constant(0.0);
    /// Surrounds the input with a value.
    ConstantPad ConstantPad1d ConstantPad2d ConstantPad3d (value) => PadMode::Constant(value);
    /// Surrounds the input with its mirror image; the edge itself is not repeated, so the padding
    /// must be smaller than the dim.
    ReflectionPad ReflectionPad1d ReflectionPad2d ReflectionPad3d () => PadMode::Reflect;
    /// Surrounds the input with its nearest element.
    ReplicationPad ReplicationPad1d ReplicationPad2d ReplicationPad3d () => PadMode::Replicate;
    /// Surrounds the input with its other end; the padding may not exceed the dim.
    CircularPad CircularPad1d CircularPad2d CircularPad3d () => PadMode::Circular;
}
