//! Pooling.

use flodl_cpu::pool as kernels;

use super::{Cpu, slice, slice_mut};
use crate::Result;
use crate::backend::{AvgRule, Operand, Pool, PoolGeom, Storage};
use crate::dtype::float_type;

/// Elements of all output planes, and of all input planes.
fn sizes(g: &PoolGeom) -> (usize, usize) {
    let volume = |d: [usize; 3]| g.planes * d.iter().product::<usize>();
    (volume(g.output), volume(g.input))
}

impl Pool for Cpu {
    fn max_pool(
        &self,
        g: &PoolGeom,
        adaptive: bool,
        x: Operand<'_>,
        y: &mut Storage,
        index: &mut Storage,
    ) -> Result<()> {
        let n = sizes(g).0;
        float_type!("max_pool", x.dtype, T => {
            let (x, y, index) = (slice::<T>(x), slice_mut(y, n), slice_mut::<i32>(index, n));
            if adaptive {
                kernels::adaptive_max_pool(g.planes, g.input, g.output, x, y, Some(index));
            } else {
                kernels::max_pool(g, x, y, Some(index));
            }
        });
        Ok(())
    }

    fn max_pool_backward(
        &self,
        g: &PoolGeom,
        dy: Operand<'_>,
        index: Operand<'_>,
        dx: &mut Storage,
    ) -> Result<()> {
        let n = sizes(g).1;
        float_type!("max_pool", dy.dtype, T => {
            kernels::max_pool_backward(g.planes, slice::<T>(dy), slice::<i32>(index), slice_mut(dx, n));
        });
        Ok(())
    }

    fn avg_pool(
        &self,
        g: &PoolGeom,
        rule: Option<AvgRule>,
        x: Operand<'_>,
        y: &mut Storage,
    ) -> Result<()> {
        let n = sizes(g).0;
        float_type!("avg_pool", x.dtype, T => {
            let (x, y) = (slice::<T>(x), slice_mut(y, n));
            match rule {
                Some(rule) => kernels::avg_pool(g, rule, x, y),
                None => kernels::adaptive_avg_pool(g.planes, g.input, g.output, x, y),
            }
        });
        Ok(())
    }

    fn avg_pool_backward(
        &self,
        g: &PoolGeom,
        rule: Option<AvgRule>,
        dy: Operand<'_>,
        dx: &mut Storage,
    ) -> Result<()> {
        let n = sizes(g).1;
        float_type!("avg_pool", dy.dtype, T => {
            let (dy, dx) = (slice::<T>(dy), slice_mut(dx, n));
            match rule {
                Some(rule) => kernels::avg_pool_backward(g, rule, dy, dx),
                None => kernels::adaptive_avg_pool_backward(g.planes, g.input, g.output, dy, dx),
            }
        });
        Ok(())
    }
}
