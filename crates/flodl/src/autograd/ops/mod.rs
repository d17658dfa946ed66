//! The operations on variables, a file for each family.
//!
//! An operation checks and computes through [`crate::Tensor`], then records its gradient beside
//! it. A gradient is written in variables, so that it can be differentiated again; where a fused
//! kernel gives the gradient faster, it is used unless the pass records.

/// Operations made of others, each said once: as a method of variables, and as one of tensors, which
/// run it as constants. A row is a name, `[other operands]`, `(other arguments)`, `|self|` and the
/// body.
macro_rules! both {
    ($(
        $(#[$doc:meta])*
        $name:ident [$($v:ident),*] ($($arg:ident: $ty:ty),*) |$x:ident| $body:block
    )*) => {
        impl $crate::Variable {$(
            $(#[$doc])*
            pub fn $name(
                &self
                $(, $v: &$crate::Variable)*
                $(, $arg: $ty)*
            ) -> $crate::Result<$crate::Variable> {
                let $x = self;
                $body
            }
        )*}

        impl $crate::Tensor {$(
            $(#[$doc])*
            pub fn $name(
                &self
                $(, $v: &$crate::Tensor)*
                $(, $arg: $ty)*
            ) -> $crate::Result<$crate::Tensor> {
                let constant = |t: &$crate::Tensor| $crate::Variable::constant(t.clone());
                let run = || constant(self).$name($(&constant($v),)* $($arg),*);
                $crate::no_grad(run).map(|v| v.data())
            }
        )*}
    };
}

mod activation;
mod add_norm;
mod arrange;
mod attention;
mod bilinear;
mod blur;
mod compose;
mod conv;
mod dropout;
mod einsum;
mod elementwise;
mod embedding;
mod fold;
mod gate;
mod index;
mod linear;
mod loss;
mod mix;
mod norm;
mod pad;
mod pool;
mod reduce;
mod resample;
pub(crate) mod rnn;
pub(crate) mod rnn_sums;
mod shape;
mod special;

pub use activation::rrelu;
pub(crate) use add_norm::{RowNorm, add_norm};
pub(crate) use attention::{attention, attention_weights, joint_attention};
pub use attention::{scaled_dot_product_attention, scaled_dot_product_attention_bias};
pub use bilinear::{bilinear, pairwise_distance};
pub use blur::gaussian_blur_2d;
pub use conv::*;
pub use dropout::{alpha_dropout, dropout, feature_alpha_dropout, feature_dropout};
pub use einsum::einsum;
pub use embedding::*;
pub use fold::*;
pub(crate) use gate::halves;
pub use linear::linear;
pub(crate) use linear::{Act, linear_act};
pub use loss::*;
pub(crate) use mix::mix;
pub use norm::*;
pub use pad::*;
pub use pool::*;
pub use resample::*;
pub use rnn::*;

use super::tape::{Saved, grads, record};
use super::{BackwardOptions, Variable, grad, is_grad_enabled};
use crate::{Result, Tensor};

/// Records an operation of one input whose gradient reads that input.
pub(crate) fn from_input(
    name: &'static str,
    x: &Variable,
    data: Tensor,
    gradient: impl Fn(Variable, &Variable) -> Result<Variable> + 'static,
) -> Variable {
    let saved = Saved::new(x);
    record(name, data, &[x], move |ctx| Ok(grads![gradient(ctx.grad(), &saved.get()?)?]))
}

/// Records an operation of one input whose gradient reads the output.
pub(crate) fn from_output(
    name: &'static str,
    x: &Variable,
    data: Tensor,
    gradient: impl Fn(Variable, &Variable) -> Result<Variable> + 'static,
) -> Variable {
    let saved = data.clone();
    record(name, data, &[x], move |ctx| {
        let y = ctx.output(&saved);
        Ok(grads![gradient(ctx.grad(), &y)?])
    })
}

/// Records an operation of one input whose gradient reads neither input nor output.
pub(crate) fn from_nothing(
    name: &'static str,
    x: &Variable,
    data: Tensor,
    gradient: impl Fn(Variable) -> Result<Variable> + 'static,
) -> Variable {
    record(name, data, &[x], move |ctx| Ok(grads![gradient(ctx.grad())?]))
}

/// Gradients of a fused operation in a pass that records: through the same operation made of
/// plain ones. The inputs enter as fresh variables on the tape, so that only this operation is
/// differentiated and the results still depend on the original inputs.
pub(crate) fn grad_by_composition(
    inputs: &[&Variable],
    compose: impl FnOnce(&[Variable]) -> Result<Variable>,
    gradient: Variable,
) -> Result<super::tape::Grads> {
    debug_assert!(is_grad_enabled());
    let aliases = inputs.iter().map(|x| x.alias()).collect::<Vec<_>>();
    let y = compose(&aliases)?;
    let wanted: Vec<&Variable> = aliases.iter().filter(|a| a.requires_grad()).collect();
    let options = BackwardOptions::default().create_graph();
    let mut found = grad(&[&y], &wanted, &[Some(gradient)], options)?.into_iter();
    Ok(aliases
        .iter()
        .map(|a| if a.requires_grad() { found.next().flatten() } else { None })
        .collect())
}
