//! Every differentiable operation against finite differences, in f64: the first derivative, and the
//! second as the derivative of a projection of the first. A function of variables without a row in the
//! tables fails the suite; adding one is one line.

#[path = "gradients/functions.rs"]
mod functions;
#[path = "gradients/losses.rs"]
mod losses;
#[path = "gradients/search.rs"]
mod search;

use flodl::*;

/// Where an input's values lie; they are distinct and away from 0.
#[derive(Clone, Copy)]
enum Values {
    /// Magnitudes in 0.2..1.5, both signs.
    Any,
    /// 0.3..2.
    Positive,
    /// Magnitudes in 0.1..0.8, both signs.
    Inside,
    /// 1..9 away from every corner of an activation: magnitudes 1.1..1.4 and 3.2..5, both signs.
    Far,
}
use Values::{Any, Far, Inside, Positive};

/// A name (the method's, with a remark after a space), the inputs, and the operation on them.
type Row = (&'static str, &'static [(&'static [i64], Values)], fn(&[Variable]) -> Result<Variable>);

const V: &[(&[i64], Values)] = &[(&[5], Any)];
const M: &[(&[i64], Values)] = &[(&[2, 3], Any)];
const P: &[(&[i64], Values)] = &[(&[2, 3], Positive)];
const U: &[(&[i64], Values)] = &[(&[2, 3], Inside)];
const F: &[(&[i64], Values)] = &[(&[2, 4], Far)];
const T: &[(&[i64], Values)] = &[(&[2, 3, 4], Any)];
const MM: &[(&[i64], Values)] = &[(&[2, 3], Any), (&[2, 3], Any)];
/// Shapes that broadcast both ways.
const B: &[(&[i64], Values)] = &[(&[2, 1, 3], Any), (&[4, 1], Any)];
const BP: &[(&[i64], Values)] = &[(&[2, 1, 3], Positive), (&[4, 1], Positive)];

fn index(values: &[i64], shape: &[i64]) -> Tensor {
    Tensor::from_i64(values, shape, Device::CPU).unwrap()
}

fn mask(values: &[i64], shape: &[i64]) -> Tensor {
    index(values, shape).to_dtype(DType::Bool).unwrap()
}

/// Several results as one.
fn join(parts: Vec<Variable>) -> Result<Variable> {
    let flat = parts.iter().map(|v| v.reshape(&[-1])).collect::<Result<Vec<_>>>()?;
    Variable::cat_many(&flat.iter().collect::<Vec<_>>(), 0)
}

const ROWS: &[Row] = &[
    // Activations.
    ("relu", M, |v| v[0].relu()),
    ("sigmoid", M, |v| v[0].sigmoid()),
    ("tanh", M, |v| v[0].tanh()),
    ("gelu", M, |v| v[0].gelu()),
    ("gelu_tanh", M, |v| v[0].gelu_tanh()),
    ("silu", M, |v| v[0].silu()),
    ("mish", M, |v| v[0].mish()),
    ("selu", M, |v| v[0].selu()),
    ("elu", M, |v| v[0].elu(0.7)),
    ("celu", M, |v| v[0].celu(0.7)),
    ("leaky_relu", M, |v| v[0].leaky_relu(0.1)),
    ("softplus", M, |v| v[0].softplus(1.3, 20.0)),
    ("softplus beyond the threshold", M, |v| v[0].softplus(2.0, 0.1)),
    ("hardswish", F, |v| v[0].hardswish()),
    ("hardsigmoid", F, |v| v[0].hardsigmoid()),
    ("log_sigmoid", M, |v| v[0].log_sigmoid()),
    ("softsign", M, |v| v[0].softsign()),
    ("tanhshrink", M, |v| v[0].tanhshrink()),
    ("relu6", F, |v| v[0].mul_scalar(1.7)?.relu6()),
    ("hardtanh", F, |v| v[0].hardtanh(-2.0, 1.0)),
    ("softshrink", F, |v| v[0].softshrink(2.0)),
    ("hardshrink", F, |v| v[0].hardshrink(2.0)),
    ("threshold", F, |v| v[0].threshold(2.0, 7.0)),
    ("softmin", T, |v| v[0].softmin(1)),
    ("prelu", &[(&[2, 3], Any), (&[3], Any)], |v| v[0].prelu(&v[1])),
    ("prelu one weight", &[(&[2, 3], Any), (&[1], Any)], |v| v[0].prelu(&v[1])),
    ("glu", T, |v| v[0].glu(-1)),
    // Order, masks, rearrangements.
    ("sort", T, |v| Ok(v[0].sort(1, true)?.0)),
    ("topk", T, |v| Ok(v[0].topk(2, -1, false, true)?.0)),
    ("median", M, |v| v[0].median()),
    ("median_dim", T, |v| Ok(v[0].median_dim(1, false)?.0)),
    ("triu", T, |v| v[0].triu(1)),
    ("tril", T, |v| v[0].tril(-1)),
    ("kthvalue", T, |v| Ok(v[0].kthvalue(2, 1, false)?.0)),
    ("flip", T, |v| v[0].flip(&[0, -1])),
    ("roll", T, |v| v[0].roll(-5, 1)),
    ("pad", T, |v| v[0].pad(&[1, 2, -1, 1], 3.0)),
    ("pad_mode reflect", T, |v| v[0].pad_mode(&[3, 1, 1, 2], 1, 0.0)),
    ("pad_mode replicate", T, |v| v[0].pad_mode(&[3, 1, 1, 2], 2, 0.0)),
    ("pad_mode circular", T, |v| v[0].pad_mode(&[3, 4, 1, 2], 3, 0.0)),
    ("masked_select", M, |v| v[0].masked_select(&mask(&[1, 0, 1, 0, 1, 1], &[2, 3]))),
    ("masked_select broadcast", M, |v| v[0].masked_select(&mask(&[1, 0, 1, 1], &[4, 1, 1]))),
    ("masked_scatter", &[(&[2, 3], Any), (&[5], Any)], |v| {
        v[0].masked_scatter(&mask(&[1, 0, 1], &[3]), &v[1])
    }),
    // Arithmetic.
    ("add", B, |v| v[0].add(&v[1])),
    ("sub", B, |v| v[0].sub(&v[1])),
    ("mul", B, |v| v[0].mul(&v[1])),
    ("mul itself", M, |v| v[0].mul(&v[0])),
    ("div", B, |v| v[0].div(&v[1])),
    ("pow", BP, |v| v[0].pow(&v[1])),
    ("atan2", B, |v| v[0].atan2(&v[1])),
    ("logaddexp", B, |v| v[0].logaddexp(&v[1])),
    ("logaddexp itself", M, |v| v[0].logaddexp(&v[0])),
    ("xlogy", BP, |v| v[0].xlogy(&v[1])),
    ("hypot", B, |v| v[0].hypot(&v[1])),
    ("fmod_tensor", B, |v| v[0].mul_scalar(2.3)?.fmod_tensor(&v[1])),
    ("remainder_tensor", B, |v| v[0].mul_scalar(2.3)?.remainder_tensor(&v[1])),
    ("fmax", MM, |v| v[0].fmax(&v[1].mul_scalar(1.1)?)),
    ("fmin", MM, |v| v[0].fmin(&v[1].mul_scalar(1.1)?)),
    ("maximum", MM, |v| v[0].maximum(&v[1].mul_scalar(1.1)?)),
    ("minimum", MM, |v| v[0].minimum(&v[1].mul_scalar(1.1)?)),
    ("mul_scalar", M, |v| v[0].mul_scalar(1.7)),
    ("div_scalar", M, |v| v[0].div_scalar(1.7)),
    ("add_scalar", M, |v| v[0].add_scalar(1.7)),
    ("sub_scalar", M, |v| v[0].sub_scalar(1.7)),
    ("neg", M, |v| v[0].neg()),
    ("pow_scalar", P, |v| v[0].pow_scalar(2.6)),
    ("pow_scalar whole", M, |v| v[0].pow_scalar(3.0)),
    ("pow_scalar negative", M, |v| v[0].pow_scalar(-2.0)),
    ("pow_scalar 0", M, |v| v[0].pow_scalar(0.0)),
    ("pow_scalar 1", M, |v| v[0].pow_scalar(1.0)),
    ("clamp", F, |v| v[0].clamp(-2.0, 1.0)),
    ("clamp_min", F, |v| v[0].clamp_min(1.0)),
    ("clamp_max", F, |v| v[0].clamp_max(1.0)),
    ("masked_fill", M, |v| v[0].masked_fill(&mask(&[1, 0, 1], &[3]), 2.0)),
    ("masked_fill grows", V, |v| v[0].masked_fill(&mask(&[1, 0], &[2, 1]), 2.0)),
    ("masked_fill_tensor", &[(&[2, 3], Any), (&[], Any)], |v| {
        v[0].masked_fill_tensor(&v[1], &mask(&[1, 0, 1], &[3]))
    }),
    ("addcmul", &[(&[2, 3], Any), (&[3], Any), (&[2, 1], Any)], |v| {
        v[0].addcmul(&v[1], &v[2], 0.7)
    }),
    ("addcdiv", &[(&[2, 3], Any), (&[3], Any), (&[2, 1], Any)], |v| {
        v[0].addcdiv(&v[1], &v[2], 0.7)
    }),
    ("lerp", MM, |v| v[0].lerp(&v[1], 0.3)),
    ("lerp_tensor", &[(&[2, 3], Any), (&[3], Any), (&[2, 1], Any)], |v| {
        v[0].lerp_tensor(&v[1], &v[2])
    }),
    ("fmod", M, |v| v[0].fmod(0.73)),
    ("remainder", M, |v| v[0].remainder(0.73)),
    ("to_dtype", M, |v| v[0].to_dtype(DType::Float64)),
    ("where_cond", B, |v| {
        Variable::where_cond(&mask(&[1, 0, 0, 1, 1, 0, 1, 0, 1, 1, 0, 0], &[4, 3]), &v[0], &v[1])
    }),
    // Functions of one number.
    ("exp", M, |v| v[0].exp()),
    ("log", P, |v| v[0].log()),
    ("sqrt", P, |v| v[0].sqrt()),
    ("rsqrt", P, |v| v[0].rsqrt()),
    ("abs", M, |v| v[0].abs()),
    ("square", M, |v| v[0].square()),
    ("log1p", U, |v| v[0].log1p()),
    ("expm1", M, |v| v[0].expm1()),
    ("log2", P, |v| v[0].log2()),
    ("log10", P, |v| v[0].log10()),
    ("sin", M, |v| v[0].sin()),
    ("cos", M, |v| v[0].cos()),
    ("tan", U, |v| v[0].tan()),
    ("asin", U, |v| v[0].asin()),
    ("acos", U, |v| v[0].acos()),
    ("atan", M, |v| v[0].atan()),
    ("sinh", M, |v| v[0].sinh()),
    ("cosh", M, |v| v[0].cosh()),
    ("reciprocal", M, |v| v[0].reciprocal()),
    ("erf", M, |v| v[0].erf()),
    ("erfc", M, |v| v[0].erfc()),
    ("sinc", M, |v| v[0].sinc()),
    ("logit", &[(&[5], Positive)], |v| v[0].mul_scalar(0.4)?.logit(None)),
    ("logit clamped", M, |v| v[0].logit(Some(0.3))),
    ("nan_to_num", M, |v| v[0].nan_to_num(0.0, None, None)),
    ("round_decimals", M, |v| v[0].mul_scalar(0.31)?.round_decimals(1)),
    ("sign", M, |v| v[0].sign()),
    ("floor", U, |v| v[0].floor()),
    ("ceil", U, |v| v[0].ceil()),
    ("round", M, |v| v[0].mul_scalar(0.31)?.round()),
    ("trunc", U, |v| v[0].trunc()),
    ("frac", U, |v| v[0].frac()),
    // By index.
    ("gather", M, |v| v[0].gather(1, &index(&[2, 0, 0, 1, 1, 1, 2, 2], &[2, 4]))),
    ("gather corner", T, |v| v[0].gather(1, &index(&[2, 0, 2, 1], &[1, 2, 2]))),
    ("scatter_add", &[(&[3, 3], Any), (&[2, 3], Any)], |v| {
        v[0].scatter_add(0, &index(&[2, 0, 0, 2, 1, 1], &[2, 3]), &v[1])
    }),
    ("scatter_add corner", &[(&[3, 3], Any), (&[2, 3], Any)], |v| {
        v[0].scatter_add(0, &index(&[2, 0], &[1, 2]), &v[1])
    }),
    ("scatter", &[(&[3, 3], Any), (&[2, 3], Any)], |v| {
        v[0].scatter(0, &index(&[2, 0, 0, 1, 1, 2], &[2, 3]), &v[1])
    }),
    ("scatter corner", &[(&[3, 3], Any), (&[2, 3], Any)], |v| {
        v[0].scatter(1, &index(&[2, 0], &[1, 2]), &v[1])
    }),
    ("scatter_value", M, |v| v[0].scatter_value(1, &index(&[2, 0], &[2, 1]), 7.0)),
    ("index_put", &[(&[3, 4], Any), (&[2, 1, 4], Any)], |v| {
        v[0].index_put(&[&index(&[2, -3], &[2, 1])], &v[1], false)
    }),
    ("index_put accumulate", &[(&[3, 4, 2], Any), (&[3, 2], Any)], |v| {
        v[0].index_put(&[&index(&[2, 0, 2], &[3]), &index(&[1, -1, 1], &[3])], &v[1], true)
    }),
    ("index_put mask", &[(&[3, 2], Any), (&[2], Any)], |v| {
        v[0].index_put(&[&mask(&[1, 0, 1], &[3])], &v[1], true)
    }),
    ("narrow_scatter", &[(&[3, 4], Any), (&[3, 2], Any)], |v| v[0].narrow_scatter(&v[1], 1, -3)),
    ("select_scatter", &[(&[3, 4], Any), (&[3], Any)], |v| v[0].select_scatter(&v[1], -1, -2)),
    ("take", M, |v| v[0].take(&index(&[5, 0, 0, 3], &[2, 2]))),
    ("index_select", T, |v| v[0].index_select(1, &index(&[2, 0, 2, 1], &[4]))),
    ("index_add", &[(&[2, 3], Any), (&[2, 4], Any)], |v| {
        v[0].index_add(1, &index(&[2, 0, 2, 1], &[4]), &v[1])
    }),
    // Products.
    ("matmul", &[(&[2, 3], Any), (&[3, 4], Any)], |v| v[0].matmul(&v[1])),
    ("matmul batch", &[(&[2, 1, 2, 3], Any), (&[2, 3, 2], Any)], |v| v[0].matmul(&v[1])),
    ("matmul one matrix", &[(&[2, 2, 3], Any), (&[3, 2], Any)], |v| v[0].matmul(&v[1])),
    ("matmul vectors", &[(&[3], Any), (&[3], Any)], |v| v[0].matmul(&v[1])),
    ("matmul row", &[(&[3], Any), (&[2, 3, 2], Any)], |v| v[0].matmul(&v[1])),
    ("matmul column", &[(&[2, 2, 3], Any), (&[3], Any)], |v| v[0].matmul(&v[1])),
    ("addmm", &[(&[4], Any), (&[2, 3], Any), (&[3, 4], Any)], |v| {
        v[0].addmm(&v[1], &v[2], 0.6, 1.4)
    }),
    ("bmm", &[(&[2, 2, 3], Any), (&[2, 3, 2], Any)], |v| v[0].bmm(&v[1])),
    ("tensordot", &[(&[2, 3, 4], Any), (&[4, 5, 2], Any)], |v| {
        v[0].tensordot(&v[1], &[0, -1], &[2, 0])
    }),
    ("tensordot outer", &[(&[2], Any), (&[3], Any)], |v| v[0].tensordot(&v[1], &[], &[])),
    ("cdist", &[(&[2, 3], Any), (&[4, 3], Positive)], |v| v[0].cdist(&v[1])),
    ("cdist_p", &[(&[2, 3], Any), (&[4, 3], Positive)], |v| v[0].cdist_p(&v[1], 3.0)),
    ("linear", &[(&[2, 2, 3], Any), (&[4, 3], Any), (&[4], Any)], |v| {
        linear(&v[0], &v[1], Some(&v[2]))
    }),
    ("linear row", &[(&[3], Any), (&[4, 3], Any)], |v| linear(&v[0], &v[1], None)),
    // Reductions.
    ("sum", M, |v| v[0].sum()),
    ("sum_dim", T, |v| v[0].sum_dim(1, true)),
    ("sum_dims", T, |v| v[0].sum_dims(&[0, -1], false)),
    ("mean", M, |v| v[0].mean()),
    ("mean_dim", T, |v| v[0].mean_dim(-2, false)),
    ("mean_dims", T, |v| v[0].mean_dims(&[0, 1], true)),
    ("prod", M, |v| v[0].prod()),
    ("prod_dim", T, |v| v[0].prod_dim(1, false)),
    ("cumprod", T, |v| v[0].cumprod(1)),
    ("cumsum", T, |v| v[0].cumsum(-1)),
    ("logsumexp", T, |v| v[0].logsumexp(1, true)),
    ("min", M, |v| v[0].min()),
    ("max", M, |v| v[0].max()),
    ("amin", T, |v| v[0].amin(&[0, -1], false)),
    ("amax", T, |v| v[0].amax(&[1], true)),
    ("amax all", M, |v| v[0].amax(&[], false)),
    ("trapezoid", T, |v| v[0].trapezoid(0.7, 1)),
    ("trapezoid_x", &[(&[2, 3], Any), (&[2, 3], Any)], |v| v[0].trapezoid_x(&v[1], -1)),
    ("cumulative_trapezoid", T, |v| v[0].cumulative_trapezoid(0.7, 1)),
    ("cumulative_trapezoid_x", &[(&[2, 3, 4], Any), (&[3], Any)], |v| {
        v[0].cumulative_trapezoid_x(&v[1], 1)
    }),
    ("min_dim", T, |v| v[0].min_dim(1, false)),
    ("max_dim", T, |v| v[0].max_dim(1, true)),
    ("var", M, |v| v[0].var()),
    ("std", M, |v| v[0].std()),
    ("var_dim", T, |v| v[0].var_dim(1, false)),
    ("std_dim", T, |v| v[0].std_dim(1, true)),
    ("var_dims", T, |v| v[0].var_dims(&[0, 2], 0.0, false)),
    ("norm", M, |v| v[0].norm()),
    ("norm_p", T, |v| v[0].norm_p(2.0, 1, false)),
    ("norm_p 3", T, |v| v[0].norm_p(3.0, 1, true)),
    ("norm_p 1", T, |v| v[0].norm_p(1.0, 1, true)),
    ("norm_p infinity", T, |v| v[0].norm_p(f64::INFINITY, 1, true)),
    ("norm_dims", T, |v| v[0].norm_dims(1.5, &[0, 2], false)),
    ("normalize", T, |v| v[0].normalize(2.0, 1)),
    ("cosine_similarity", &[(&[2, 3], Any), (&[3], Any)], |v| {
        v[0].cosine_similarity(&v[1], 1, 1e-8)
    }),
    ("softmax", T, |v| v[0].softmax(1)),
    ("log_softmax", T, |v| v[0].log_softmax(-1)),
    // Views.
    ("reshape", T, |v| v[0].reshape(&[4, -1])),
    ("transpose", T, |v| v[0].transpose(0, -1)),
    ("permute", T, |v| v[0].permute(&[2, 0, 1])),
    ("squeeze", &[(&[2, 1, 3], Any)], |v| v[0].squeeze(1)),
    ("squeeze_many", &[(&[1, 2, 1], Any)], |v| v[0].squeeze_many(&[0, -1])),
    ("squeeze_all", &[(&[1, 2, 1], Any)], |v| v[0].squeeze_all()),
    ("diag", V, |v| v[0].diag(-2)),
    ("diag of a matrix", M, |v| v[0].diag(1)),
    ("rot90", T, |v| v[0].rot90(1, [0, 2])),
    ("rot90 backward", T, |v| v[0].rot90(-1, [2, 1])),
    ("unfold", T, |v| v[0].unfold(2, 3, 1)),
    ("diff", &[(&[2, 4], Any), (&[2, 1], Any), (&[2, 2], Any)], |v| {
        v[0].diff(2, 1, Some(&v[1]), Some(&v[2]))
    }),
    ("repeat_interleave", T, |v| v[0].repeat_interleave(2, Some(1))),
    ("repeat_interleave flat", M, |v| v[0].repeat_interleave(2, None)),
    ("repeat_interleave_tensor", T, |v| {
        v[0].repeat_interleave_tensor(&index(&[2, 0, 1], &[3]), Some(1))
    }),
    ("unsqueeze", M, |v| v[0].unsqueeze(-1)),
    ("unsqueeze_many", M, |v| v[0].unsqueeze_many(&[0, 2])),
    ("flatten", T, |v| v[0].flatten(1, -1)),
    ("expand", &[(&[2, 1], Any)], |v| v[0].expand(&[3, -1, 4])),
    ("narrow", T, |v| v[0].narrow(2, -3, 2)),
    ("select", T, |v| v[0].select(1, -1)),
    ("slice", T, |v| v[0].slice(2, 1, 4, 2)),
    ("diagonal", T, |v| v[0].diagonal(1, 0, 2)),
    ("movedim", T, |v| v[0].movedim(0, -1)),
    ("t", M, |v| v[0].t()),
    ("contiguous", T, |v| v[0].transpose(0, 2)?.contiguous()),
    ("cat", &[(&[2, 3], Any), (&[2, 1], Any)], |v| v[0].cat(&v[1], 1)),
    ("cat_many", &[(&[2, 3], Any), (&[0, 3], Any), (&[1, 3], Any)], |v| {
        Variable::cat_many(&[&v[0], &v[1], &v[2], &v[0]], 0)
    }),
    ("stack", MM, |v| Variable::stack(v, -1)),
    ("chunk", T, |v| join(v[0].chunk(3, 2)?)),
    ("split", T, |v| join(v[0].split(2, 1)?)),
    ("split_sizes", T, |v| join(v[0].split_sizes(&[1, 0, 3], 2)?)),
    ("split one piece used", T, |v| Ok(v[0].split(2, 1)?.remove(1))),
    ("unbind", T, |v| join(v[0].unbind(1)?)),
    ("batches", T, |v| join(v[0].batches(1)?)),
    ("repeat", M, |v| v[0].repeat(&[2, 1, 3])),
    ("tile", M, |v| v[0].tile(&[2])),
];

/// Every row.
fn rows() -> impl Iterator<Item = &'static Row> {
    ROWS.iter().chain(functions::FUNCTIONS).chain(losses::LOSSES)
}

/// Numbers in random order from a seed: `n` distinct ones, evenly spread.
fn draw(rng: &mut Rng, n: usize, values: Values) -> Vec<f64> {
    let mut steps: Vec<usize> = (0..n).collect();
    rng.shuffle(&mut steps);
    steps
        .into_iter()
        .map(|s| {
            let at = (s as f64 + 0.5) / n as f64;
            let sign = if rng.bernoulli(0.5) { 1.0 } else { -1.0 };
            match values {
                Any => sign * (0.2 + 1.3 * at),
                Positive => 0.3 + 1.7 * at,
                Inside => sign * (0.1 + 0.7 * at),
                Far if at < 0.5 => sign * (1.1 + 0.6 * at),
                Far => sign * (3.2 + 1.8 * (at - 0.5) * 2.0),
            }
        })
        .collect()
}

struct Check {
    op: fn(&[Variable]) -> Result<Variable>,
    shapes: Vec<Vec<i64>>,
    /// Weights of the outputs, so that the result is one number.
    weights: Tensor,
}

impl Check {
    fn variables(&self, x: &[Vec<f64>]) -> Vec<Variable> {
        let leaf = |(v, s): (&Vec<f64>, &Vec<i64>)| {
            Variable::new(Tensor::from_f64(v, s, Device::CPU).unwrap(), true)
        };
        x.iter().zip(&self.shapes).map(leaf).collect()
    }

    fn loss(&self, vars: &[Variable]) -> Result<Variable> {
        (self.op)(vars)?.mul(&Variable::new(self.weights.clone(), false))?.sum()
    }

    fn value(&self, x: &[Vec<f64>]) -> f64 {
        no_grad(|| self.loss(&self.variables(x)).unwrap().item().unwrap())
    }

    fn gradient(&self, x: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let vars = self.variables(x);
        let loss = self.loss(&vars).unwrap();
        let wanted: Vec<&Variable> = vars.iter().collect();
        let found = grad(&[&loss], &wanted, &[None], BackwardOptions::default()).unwrap();
        found.iter().zip(x).map(|(g, x)| values(g, x.len())).collect()
    }

    /// That a gradient which cannot be differentiated again says so, and names the operation.
    fn refuses_second(&self, name: &str, x: &[Vec<f64>]) -> String {
        let vars = self.variables(x);
        let loss = self.loss(&vars).unwrap();
        let wanted: Vec<&Variable> = vars.iter().collect();
        let options = BackwardOptions::default().create_graph();
        // A loss and its form with options are one operation.
        let operation = name.split(' ').next().unwrap_or(name).trim_end_matches("_with");
        match grad(&[&loss], &wanted, &[None], options) {
            Err(e) if e.to_string().starts_with(operation) => String::new(),
            Err(e) => format!("{name}: create_graph gives {e}\n"),
            Ok(_) => format!("{name}: create_graph gives a gradient\n"),
        }
    }

    /// The gradient of Σ gradient · v, by the tape.
    fn second(&self, x: &[Vec<f64>], v: &[Vec<f64>]) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
        let vars = self.variables(x);
        let loss = self.loss(&vars).unwrap();
        let wanted: Vec<&Variable> = vars.iter().collect();
        let options = BackwardOptions::default().create_graph();
        let first = grad(&[&loss], &wanted, &[None], options).unwrap();
        let mut sum: Option<Variable> = None;
        for ((g, v), shape) in first.iter().zip(v).zip(&self.shapes) {
            let Some(g) = g else { continue };
            let v = Variable::new(Tensor::from_f64(v, shape, Device::CPU).unwrap(), false);
            let part = g.mul(&v).unwrap().sum().unwrap();
            sum = Some(match sum {
                Some(s) => s.add(&part).unwrap(),
                None => part,
            });
        }
        let second = match sum {
            Some(s) if s.requires_grad() => {
                grad(&[&s], &wanted, &[None], BackwardOptions::default()).unwrap()
            }
            // Linear: the gradient does not depend on the inputs.
            _ => vec![None; wanted.len()],
        };
        let plain = |found: &[Option<Variable>]| {
            found.iter().zip(x).map(|(g, x)| values(g, x.len())).collect::<Vec<_>>()
        };
        (plain(&first), plain(&second))
    }
}

fn values(g: &Option<Variable>, n: usize) -> Vec<f64> {
    g.as_ref().map_or_else(|| vec![0.0; n], |g| g.data().to_f64_vec().unwrap())
}

/// Central differences of `f` at `x` with respect to every element.
fn differences(x: &[Vec<f64>], f: impl Fn(&[Vec<f64>]) -> f64) -> Vec<Vec<f64>> {
    const H: f64 = 2e-5;
    let mut x = x.to_vec();
    let mut all: Vec<Vec<f64>> = x.iter().map(|v| vec![0.0; v.len()]).collect();
    for i in 0..x.len() {
        for j in 0..x[i].len() {
            let home = x[i][j];
            x[i][j] = home + H;
            let up = f(&x);
            x[i][j] = home - H;
            all[i][j] = (up - f(&x)) / (2.0 * H);
            x[i][j] = home;
        }
    }
    all
}

fn compare(what: &str, name: &str, got: &[Vec<f64>], want: &[Vec<f64>], tolerance: f64) -> String {
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert_eq!(g.len(), w.len(), "{name}: the {what} of input {i} has another size");
        for (j, (g, w)) in g.iter().zip(w).enumerate() {
            if (g - w).abs() > tolerance * w.abs().max(1.0) || g.is_nan() {
                return format!("{name}: {what} of input {i} at {j}: {g}, expected {w}\n");
            }
        }
    }
    String::new()
}

fn dot(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| a * b).sum()
}

fn check(&(name, inputs, op): &Row) -> String {
    let mut rng = Rng::seed(name.bytes().map(u64::from).sum());
    let shapes: Vec<Vec<i64>> = inputs.iter().map(|(s, _)| s.to_vec()).collect();
    let mut numbers = |shape: &[i64], v| draw(&mut rng, shape.iter().product::<i64>() as usize, v);
    let x: Vec<Vec<f64>> = inputs.iter().map(|&(s, v)| numbers(s, v)).collect();
    let v: Vec<Vec<f64>> = inputs.iter().map(|&(s, _)| numbers(s, Any)).collect();
    let mut c = Check { op, shapes, weights: index(&[0], &[1]) };
    let shape = match op(&c.variables(&x)) {
        Ok(y) => y.shape(),
        Err(e) => return format!("{name}: {e}\n"),
    };
    c.weights = Tensor::from_f64(&numbers(&shape, Any), &shape, Device::CPU).unwrap();

    let first = c.gradient(&x);
    let mut faults = compare("gradient", name, &first, &differences(&x, |x| c.value(x)), 1e-7);
    if functions::ONCE.contains(&name.split(' ').next().unwrap_or(name)) {
        return faults + &c.refuses_second(name, &x);
    }
    let (recorded, second) = c.second(&x, &v);
    faults += &compare("gradient that is recorded", name, &recorded, &first, 1e-11);
    let want = differences(&x, |x| dot(&c.gradient(x), &v));
    faults + &compare("second derivative", name, &second, &want, 1e-6)
}

#[test]
fn derivatives_are_those_of_finite_differences() {
    let faults: String = rows().map(check).collect();
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn a_wrong_gradient_is_found() {
    assert!(
        check(&("half", M, |v| v[0].mul(&v[0].detach()))).contains("half: gradient of input 0")
    );
    assert!(check(&("none", M, |v| v[0].detach().add(&v[0]))).contains("none: gradient"));
}
