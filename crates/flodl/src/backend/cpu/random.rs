//! Random numbers.

use flodl_cpu::element::Element;
use flodl_cpu::random::{self as kernels, Drop};

use super::{Cpu, slice, slice_mut};
use crate::backend::{DropSpec, Key, Operand, Random, Storage};
use crate::dtype::float_type;
use crate::{DType, Result};

impl Random for Cpu {
    fn uniform(&self, key: Key, dtype: DType, n: usize, out: &mut Storage) -> Result<()> {
        float_type!("rand", dtype, T => kernels::uniform::<T>(key, slice_mut(out, n)));
        Ok(())
    }

    fn normal(&self, key: Key, dtype: DType, n: usize, out: &mut Storage) -> Result<()> {
        float_type!("randn", dtype, T => kernels::normal::<T>(key, 0.0, 1.0, slice_mut(out, n)));
        Ok(())
    }

    fn randint(&self, key: Key, low: i64, high: i64, n: usize, out: &mut Storage) -> Result<()> {
        kernels::randint(key, low, high, slice_mut(out, n));
        Ok(())
    }

    fn randperm(&self, key: Key, n: usize, out: &mut Storage) -> Result<()> {
        kernels::randperm(key, slice_mut(out, n));
        Ok(())
    }

    fn dropout(
        &self,
        key: Key,
        drop: DropSpec,
        x: Operand<'_>,
        plane: usize,
        y: &mut Storage,
    ) -> Result<()> {
        float_type!("dropout", x.dtype, T => {
            let spec = Drop {
                p: drop.p,
                mul: T::from_f64(drop.scale),
                add: T::from_f64(drop.shift),
                dropped: T::from_f64(drop.dead),
            };
            let (x, y) = (slice::<T>(x), slice_mut(y, x.layout.numel()));
            if plane == 1 {
                kernels::dropout(key, spec, x, y, None);
            } else {
                kernels::dropout_planes(key, spec, plane, x, y);
            }
        });
        Ok(())
    }
}
