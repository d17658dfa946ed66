//! Scaled dot-product attention.

use flodl_cpu::attention::{self as kernels, Grads, Mask, Rows};
use flodl_cpu::element::Element;
use flodl_cpu::gemm::Gemm;
use flodl_cpu::math::FloatMath;

use super::{Cpu, slice, slice_mut, view};
use crate::backend::{Attention, AttentionGrads, AttentionSpec, Operand, Storage};
use crate::dtype::float_type;
use crate::{DType, Result};

/// Rows `[B, H, L, D]` whose elements are adjacent.
fn rows<'a, T: Element>(x: Operand<'a>) -> Rows<'a, T> {
    let x = view::<T>(x);
    Rows { data: x.data, strides: [x.strides[0], x.strides[1], x.strides[2]] }
}

/// A mask `[B, H, L, S]`, bool or of the operands' type.
fn mask<'a, T: Element>(mask: Option<Operand<'a>>) -> Mask<'a, T> {
    let Some(mask) = mask else { return Mask::None };
    let strides = std::array::from_fn(|d| mask.layout.strides[d]);
    match mask.dtype {
        DType::Bool => Mask::Keep(view::<u8>(mask).data, strides),
        _ => Mask::Add(view::<T>(mask).data, strides),
    }
}

impl Attention for Cpu {
    fn attention(
        &self,
        spec: &AttentionSpec,
        [q, k, v]: [Operand<'_>; 3],
        bias: Option<Operand<'_>>,
        out: &mut Storage,
        lse: &mut Storage,
    ) -> Result<()> {
        let rows_of_all = spec.batch * spec.heads * spec.queries;
        float_type!("scaled_dot_product_attention", q.dtype, T => kernels::forward::<T>(
            spec,
            rows(q),
            rows(k),
            rows(v),
            mask(bias),
            slice_mut(out, rows_of_all * spec.value_width),
            slice_mut(lse, rows_of_all),
        )?);
        Ok(())
    }

    fn attention_backward(
        &self,
        spec: &AttentionSpec,
        qkv: [Operand<'_>; 3],
        bias: Option<Operand<'_>>,
        out: Operand<'_>,
        lse: Operand<'_>,
        dout: Operand<'_>,
        grads: AttentionGrads<'_>,
    ) -> Result<()> {
        float_type!("scaled_dot_product_attention", out.dtype, T => {
            backward::<T>(spec, qkv, bias, out, lse, dout, grads)
        })
    }

    fn attention_dropout(
        &self,
        spec: &AttentionSpec,
        dtype: DType,
        out: &mut Storage,
    ) -> Result<()> {
        let n = spec.batch * spec.heads * spec.queries * spec.keys;
        float_type!("scaled_dot_product_attention", dtype, T => {
            spec.dropout_factors::<T>(slice_mut(out, n));
        });
        Ok(())
    }
}

fn backward<T: FloatMath + Gemm>(
    spec: &AttentionSpec,
    [q, k, v]: [Operand<'_>; 3],
    bias: Option<Operand<'_>>,
    out: Operand<'_>,
    lse: Operand<'_>,
    dout: Operand<'_>,
    grads: AttentionGrads<'_>,
) -> Result<()> {
    let heads = spec.batch * spec.heads;
    let lens = [
        heads * spec.queries * spec.width,
        heads * spec.keys * spec.width,
        heads * spec.keys * spec.value_width,
    ];
    let grads = match grads {
        AttentionGrads::Each(each) => {
            let mut lens = lens.into_iter();
            Grads::Each(each.map(|storage| {
                let len = lens.next().unwrap_or(0);
                storage.map(|s| slice_mut::<T>(s, len))
            }))
        }
        AttentionGrads::Joint(storage) => Grads::Joint(slice_mut::<T>(storage, 3 * lens[0])),
    };
    let (out, lse) = (slice::<T>(out), slice::<T>(lse));
    kernels::backward(spec, rows(q), rows(k), rows(v), mask(bias), out, lse, rows(dout), grads)?;
    Ok(())
}
