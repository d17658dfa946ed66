//! New shapes, choices, indices, probabilities, gradients, steps.

use flodl::*;

use super::*;

pub const CALLS: &[Row] = &[
    // New shapes.
    (
        "reshape",
        || unit(t(&[2, 3]).reshape(&[4])),
        "reshape: shapes [2, 3] and [4] do not fit: 6 elements do not fill the new shape",
    ),
    (
        "reshape unknown twice",
        || unit(t(&[2, 3]).reshape(&[-1, -1])),
        "reshape: expected at most one size of -1, got shape [-1, -1]",
    ),
    (
        "reshape unknown",
        || unit(t(&[2, 3]).reshape(&[4, -1])),
        "reshape: shapes [2, 3] and [4, -1] do not fit: 6 elements do not fill the new shape",
    ),
    (
        "reshape negative",
        || unit(v(&[2, 3]).reshape(&[-2, 3])),
        "reshape: expected sizes of at least 0, got shape [-2, 3]",
    ),
    (
        "reshape empty",
        || unit(t(&[0, 3]).reshape(&[0, -1])),
        "reshape: shapes [0, 3] and [0, -1] do not fit: 0 elements do not fill the new shape",
    ),
    (
        "view",
        || unit(t(&[2, 3]).transpose(0, 1)?.view(&[6])),
        "view: shape [3, 2] with strides [1, 3] cannot be viewed as [6]; use reshape",
    ),
    (
        "expand",
        || unit(t(&[2, 3]).expand(&[4, 3])),
        "expand: shapes [2, 3] and [4, 3] do not fit: only dims of size 1 can grow, and -1 stands for an existing dim",
    ),
    (
        "expand fewer",
        || unit(t(&[2, 3]).expand(&[3])),
        "expand: shapes [2, 3] and [3] do not fit: only dims of size 1 can grow, and -1 stands for an existing dim",
    ),
    (
        "expand too far",
        || unit(t(&[1, 1]).expand(&[1 << 40, 1 << 40])),
        "expand: expected fewer elements than memory can address, got shape [1099511627776, 1099511627776]",
    ),
    (
        "narrow",
        || unit(t(&[4]).narrow(0, 2, 3)),
        "narrow: start 2 and length 3 are not inside dim 0 of size 4",
    ),
    (
        "narrow extreme",
        || unit(t(&[4]).narrow(0, i64::MIN, i64::MAX)),
        "narrow: start -9223372036854775808 and length 9223372036854775807 are not inside dim 0 of size 4",
    ),
    (
        "narrow negative",
        || unit(v(&[4]).narrow(0, 1, -1)),
        "narrow: start 1 and length -1 are not inside dim 0 of size 4",
    ),
    (
        "narrow scalar",
        || unit(t(&[]).narrow(0, 0, 1)),
        "narrow: dim 0 is out of range for a tensor of 0 dims",
    ),
    ("slice step", || unit(t(&[4]).slice(0, 0, 4, 0)), "slice: step 0 must be positive"),
    (
        "slice extreme",
        || unit(t(&[4]).slice(0, i64::MIN, i64::MAX, 1)),
        "slice: -9223372036854775808..9223372036854775807 is no range",
    ),
    ("select", || unit(t(&[4]).select(0, 4)), "select: index 4 is out of range for size 4"),
    (
        "select extreme",
        || unit(v(&[4]).select(0, i64::MIN)),
        "select: index -9223372036854775808 is out of range for size 4",
    ),
    ("split", || unit(t(&[4]).split(0, 0)), "split: size 0 must be positive"),
    (
        "split sizes",
        || unit(v(&[4]).split_sizes(&[1, 2], 0)),
        "split: sizes [1, 2] do not add up to 4",
    ),
    (
        "split sizes extreme",
        || unit(v(&[4]).split_sizes(&[i64::MAX, i64::MAX], 0)),
        "split: sizes [9223372036854775807, 9223372036854775807] do not add up to 4",
    ),
    ("chunk", || unit(t(&[4]).chunk(0, 0)), "chunk: 0 chunks: must be positive"),
    (
        "repeat fewer",
        || unit(v(&[2, 3]).repeat(&[2])),
        "repeat: expected at most 1 dims for repeats [2], got shape [2, 3]",
    ),
    (
        "repeat negative",
        || unit(t(&[2]).repeat(&[-1])),
        "repeat: expected sizes of at least 0, got shape [-1]",
    ),
    (
        "repeat too often",
        || unit(t(&[1 << 10]).repeat(&[1 << 55])),
        "repeat: expected fewer repeats than [36028797018963968], for memory to address them, got shape [1024]",
    ),
    (
        "tile negative",
        || unit(v(&[2]).tile(&[-1])),
        "repeat: expected sizes of at least 0, got shape [-1]",
    ),
    (
        "pad odd",
        || unit(t(&[2]).pad(&[1], 0.0)),
        "pad: expected a tensor that padding [1] fits (a pair for each dim, the last dim's first), got shape [2]",
    ),
    (
        "pad too many",
        || unit(v(&[2]).pad(&[1, 1, 1, 1], 0.0)),
        "pad: expected a tensor that padding [1, 1, 1, 1] fits (a pair for each dim, the last dim's first), got shape [2]",
    ),
    (
        "pad away",
        || unit(t(&[2]).pad(&[-2, -1], 0.0)),
        "pad: expected a dim 0 that constant padding [-2, -1] fits, got shape [2]",
    ),
    (
        "pad extreme",
        || unit(t(&[2]).pad(&[i64::MIN, i64::MIN], 0.0)),
        "pad: expected a dim 0 that constant padding [-9223372036854775808, -9223372036854775808] fits, got shape [2]",
    ),
    (
        "pad far",
        || unit(t(&[2]).pad(&[i64::MAX, i64::MAX], 0.0)),
        "pad: expected fewer elements than memory can address, got shape [9223372036854775807]",
    ),
    (
        "pad reflect",
        || unit(t(&[1, 2]).pad_mode(&[2, 0], 1, 0.0)),
        "pad: expected a dim 1 that reflection padding [2, 0] fits, got shape [1, 2]",
    ),
    (
        "pad circular",
        || unit(v(&[1, 2]).pad_mode(&[3, 0], 3, 0.0)),
        "pad: expected a dim 1 that circular padding [3, 0] fits, got shape [1, 2]",
    ),
    (
        "pad replicate nothing",
        || unit(t(&[1, 0]).pad_mode(&[3, 0], 2, 0.0)),
        "pad: expected a dim 1 that replication padding [3, 0] fits, got shape [1, 0]",
    ),
    (
        "pad mode",
        || unit(t(&[1, 2]).pad_mode(&[1, 0], 4, 0.0)),
        "pad: mode 4 is none of 0 (constant), 1 (reflect), 2 (replicate), 3 (circular)",
    ),
    // Nothing to choose from.
    (
        "max of nothing",
        || unit(t(&[0]).max()),
        "max: expected at least one element to choose from, got shape [0]",
    ),
    (
        "max dim of nothing",
        || unit(v(&[2, 0]).max_dim(1, false)),
        "max_dim: expected at least one element to choose from, got shape [2, 0]",
    ),
    (
        "argmin of nothing",
        || unit(t(&[0, 2]).argmin(0, false)),
        "argmin: expected at least one element to choose from, got shape [0, 2]",
    ),
    (
        "median of nothing",
        || unit(t(&[0]).median()),
        "median: expected at least one element to choose from, got shape [0]",
    ),
    (
        "amax of nothing",
        || unit(t(&[0, 2]).amax(&[], false)),
        "amax: expected at least one element to choose from, got shape [0, 2]",
    ),
    (
        "topk",
        || unit(t(&[3]).topk(4, 0, true, true)),
        "topk: k = 4 must be in 0..=3, the size of dim 0",
    ),
    (
        "topk negative",
        || unit(v(&[3]).topk(-1, 0, true, true)),
        "topk: k = -1 must be in 0..=3, the size of dim 0",
    ),
    // Indices.
    (
        "gather index",
        || unit(t(&[3]).gather(0, &i(&[0, 3]))),
        "gather: index 3 is out of range for size 3",
    ),
    (
        "gather negative",
        || unit(v(&[3]).gather(0, &i(&[-1]))),
        "gather: index -1 is out of range for size 3",
    ),
    (
        "gather shape",
        || unit(t(&[3]).gather(0, &i(&[0]).reshape(&[1, 1])?)),
        "gather: shapes [3] and [1, 1] do not fit: the index may not be larger in any dim but 0",
    ),
    (
        "scatter index",
        || unit(t(&[3]).scatter(0, &i(&[5]), &t(&[1]))),
        "scatter: index 5 is out of range for size 3",
    ),
    (
        "scatter shape",
        || unit(t(&[3]).scatter_add(0, &i(&[0, 1]), &t(&[1]))),
        "scatter_add: shapes [2] and [1] do not fit: the source must be at least as large as the index",
    ),
    (
        "scatter dtypes",
        || unit(t(&[3]).scatter_add(0, &i(&[0]), &double(&[1]))),
        "scatter_add: dtypes float32 and float64 do not mix; cast one with to_dtype",
    ),
    (
        "index_select",
        || unit(t(&[3]).index_select(0, &i(&[3]))),
        "index_select: index 3 is out of range for size 3",
    ),
    (
        "index_select 2-d",
        || unit(t(&[3]).index_select(0, &i(&[0]).reshape(&[1, 1])?)),
        "index_select: expected a 1-d index, got shape [1, 1]",
    ),
    (
        "index_add",
        || unit(t(&[3]).index_add(0, &i(&[7]), &t(&[1]))),
        "index_add: index 7 is out of range for size 3",
    ),
    (
        "index_add shape",
        || unit(t(&[3]).index_add(0, &i(&[1, 2]), &t(&[1]))),
        "index_add: shapes [3] and [1] do not fit: the source must have this shape with dim 0 as long as the 1-d index (2)",
    ),
    ("take", || unit(v(&[2, 2]).take(&i(&[4]))), "gather: index 4 is out of range for size 4"),
    (
        "narrow_scatter",
        || unit(t(&[3]).narrow_scatter(&t(&[2]), 0, 2)),
        "narrow: start 2 and length 2 are not inside dim 0 of size 3",
    ),
    (
        "select_scatter",
        || unit(v(&[3, 2]).select_scatter(&v(&[3]), 0, 1)),
        "select_scatter: shapes [2] and [3] do not fit: the source must have the shape of the entry it replaces",
    ),
    (
        "one_hot index",
        || unit(i(&[0, 3]).one_hot(3)),
        "one_hot: index 3 is out of range for size 3",
    ),
    (
        "one_hot negative",
        || unit(i(&[-1]).one_hot(3)),
        "one_hot: index -1 is out of range for size 3",
    ),
    (
        "one_hot no classes",
        || unit(i(&[0]).one_hot(0)),
        "one_hot: index 0 is out of range for size 0",
    ),
    (
        "one_hot of nothing",
        || unit(i(&[]).one_hot(-1)),
        "one_hot: num_classes -1 must be positive, or -1 where there are indices",
    ),
    (
        "searchsorted",
        || unit(t(&[2, 3]).searchsorted(&t(&[3]))),
        "searchsorted: shapes [2, 3] and [3] do not fit: the sequence must have 1 dim, or the values' dims up to the last",
    ),
    // Probabilities.
    (
        "bernoulli NaN",
        || unit(f(&[0.5, f32::NAN]).bernoulli()),
        "bernoulli: probabilities must lie in [0, 1], not NaN",
    ),
    (
        "bernoulli above 1",
        || unit(f(&[1.5]).bernoulli()),
        "bernoulli: probabilities must lie in [0, 1], not NaN",
    ),
    (
        "multinomial NaN",
        || unit(f(&[f32::NAN, 1.0]).multinomial(1, true)),
        "multinomial: weights must be finite and not negative, and never NaN",
    ),
    (
        "multinomial negative",
        || unit(f(&[-1.0, 1.0]).multinomial(1, true)),
        "multinomial: weights must be finite and not negative, and never NaN",
    ),
    (
        "multinomial zeros",
        || unit(f(&[0.0, 0.0]).multinomial(1, true)),
        "multinomial: 1 samples from a row with 0 positive weights",
    ),
    (
        "multinomial too many",
        || unit(f(&[0.0, 1.0]).multinomial(2, false)),
        "multinomial: 2 samples from a row with 1 positive weights",
    ),
    (
        "multinomial none",
        || unit(f(&[1.0]).multinomial(0, true)),
        "multinomial: expected 1 or 2 dims of weights and at least 1 sample (0), got shape [1]",
    ),
    (
        "dropout",
        || unit(dropout(&v(&[2]), 1.5, true)),
        "dropout: probability 1.5 must be in [0, 1]",
    ),
    (
        "dropout NaN",
        || unit(dropout(&v(&[2]), f64::NAN, true)),
        "dropout: probability NaN must be in [0, 1]",
    ),
    // Reading.
    ("item of many", || unit(t(&[2]).item()), "item: expected exactly one element, got shape [2]"),
    (
        "item of nothing",
        || unit(v(&[0]).item()),
        "item: expected exactly one element, got shape [0]",
    ),
    // Gradients.
    (
        "backward of many",
        || v(&[2]).mul_scalar(2.0)?.backward(),
        "backward: expected a one-element variable, got shape [2]; reduce it with sum() or mean(), or pass a gradient",
    ),
    (
        "backward of a constant",
        || Variable::new(t(&[1]), false).backward(),
        "backward: this variable does not require a gradient: nothing it was computed from does, or it was computed under no_grad",
    ),
    (
        "backward under no_grad",
        || no_grad(|| v(&[1]).exp())?.backward(),
        "backward: this variable does not require a gradient: nothing it was computed from does, or it was computed under no_grad",
    ),
    (
        "backward twice",
        || {
            let y = v(&[1]).exp()?;
            y.backward()?;
            y.backward()
        },
        "exp: what backward needs was freed by an earlier backward; pass retain_graph to the first one",
    ),
    (
        "backward gradient",
        || {
            let options = BackwardOptions::default().gradient(v(&[3]));
            v(&[2]).exp()?.backward_with(options)
        },
        "backward: shapes [2] and [3] do not fit: the gradient must have the variable's shape",
    ),
    (
        "grad lists",
        || unit(grad(&[&v(&[1])], &[], &[], BackwardOptions::default())),
        "grad: 1 outputs but 0 grad_outputs",
    ),
    (
        "integers require",
        || Variable::new(i(&[1]), true).set_requires_grad(true),
        "set_requires_grad: expected a floating-point tensor, got dtype int64",
    ),
    (
        "results require",
        || v(&[1]).exp()?.set_requires_grad(false),
        "set_requires_grad: only leaves can change it; use detach() for the result of an operation",
    ),
    (
        "tensor requires",
        || unit(t(&[1]).set_requires_grad(true)),
        "set_requires_grad: a Tensor records nothing; wrap it with Variable::new(tensor, true)",
    ),
    (
        "tensor backward",
        || t(&[1]).backward(),
        "backward: a Tensor records nothing; wrap it with Variable::new(tensor, true)",
    ),
    (
        "tensor set_grad",
        || t(&[1]).set_grad(&t(&[1])),
        "set_grad: a Tensor records nothing; wrap it with Variable::new(tensor, true)",
    ),
    // Optimizer steps on tensors.
    (
        "adam shapes",
        || t(&[2]).adam_step(&t(&[3]), &mut t(&[2]), &mut t(&[2]), 0.1, 0.9, 0.99, 1e-8, 0.0, 1),
        "adam_step: shapes [2] and [3] do not fit: gradient and moments must have the parameter's shape",
    ),
    (
        "adam step 0",
        || t(&[2]).adam_step(&t(&[2]), &mut t(&[2]), &mut t(&[2]), 0.1, 0.9, 0.99, 1e-8, 0.0, 0),
        "adam_step: step 0 must be at least 1",
    ),
    (
        "adam lists",
        || {
            let (mut p, mut m, mut v) = ([t(&[2])], [t(&[2])], [t(&[2])]);
            Tensor::fused_adam_(
                &mut p,
                &[],
                &mut m,
                &mut v,
                0.1,
                0.9,
                0.99,
                1e-8,
                0.0,
                &[1],
                None,
                None,
            )
        },
        "fused_adam_: lists of 1 and 0 tensors",
    ),
    (
        "clip",
        || unit(Tensor::clip_grad_norm_fused(&[], -1.0)),
        "clip_grad_norm: max_norm -1 must not be negative",
    ),
    // Too large for memory.
    (
        "huge broadcast",
        || {
            let (a, b) = (huge().unsqueeze(0)?, huge().unsqueeze(1)?);
            unit(a.add(&b))
        },
        "add: expected fewer elements than memory can address, got shape [576460752303423488, 576460752303423488]",
    ),
    (
        "huge product",
        || {
            let (a, b) = (huge().unsqueeze(1)?, huge().unsqueeze(0)?);
            unit(a.matmul(&b))
        },
        "matmul: expected fewer elements than memory can address, got shape [576460752303423488, 576460752303423488]",
    ),
];
