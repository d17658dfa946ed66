//! Rearrangements and sums of products that do not fit.

use flodl::*;

use super::{Call, f, i, t, unit, v};

pub const CALLS: &[(&str, Call, &str)] = &[
    (
        "diag of three dims",
        || unit(t(&[2, 2, 2]).diag(0)),
        "diag: expected 1 or 2 dims, got shape [2, 2, 2]",
    ),
    (
        "rot90 in one dim",
        || unit(v(&[2, 3]).rot90(1, [1, -1])),
        "rot90: the dims [1, -1] must be two different ones",
    ),
    (
        "rot90 dim",
        || unit(t(&[2, 3]).rot90(1, [0, 2])),
        "rot90: dim 2 is out of range for a tensor of 2 dims",
    ),
    (
        "squeeze a dim twice",
        || unit(t(&[1, 3]).squeeze_many(&[0, -2])),
        "squeeze_many: a dim appears twice in [0, -2]",
    ),
    (
        "unfold beyond the end",
        || unit(t(&[4]).unfold(0, 5, 1)),
        "unfold: size 5 must be in 0..=4, the size of dim 0, and step 1 at least 1",
    ),
    (
        "unfold without a step",
        || unit(v(&[4]).unfold(0, 2, 0)),
        "unfold: size 2 must be in 0..=4, the size of dim 0, and step 0 at least 1",
    ),
    (
        "repeat_interleave less than never",
        || unit(t(&[2]).repeat_interleave(-1, Some(0))),
        "repeat_interleave: repeats -1 must not be negative",
    ),
    (
        "repeat_interleave of others",
        || unit(t(&[2]).repeat_interleave_tensor(&i(&[1, 2, 3]), Some(0))),
        "repeat_interleave: repeats must be 1 or 2 integers, not [3] of int64",
    ),
    (
        "repeat_interleave by fractions",
        || unit(t(&[2]).repeat_interleave_tensor(&f(&[1.0, 2.0]), None)),
        "repeat_interleave: repeats must be 1 or 2 integers, not [2] of float32",
    ),
    ("diff back", || unit(t(&[2]).diff(-1, 0, None, None)), "diff: n -1 must not be negative"),
    (
        "diff joined",
        || unit(v(&[2, 3]).diff(1, 0, Some(&v(&[1, 4])), None)),
        "cat: shapes [1, 4] and [2, 3] do not fit: sizes must agree in every dim but 0",
    ),
    (
        "tensordot sizes",
        || unit(t(&[2, 3]).tensordot(&t(&[2, 3]), &[1], &[0])),
        "tensordot: shapes [2, 3] and [2, 3] do not fit: the sizes of dims [1] and [0] must be the same",
    ),
    (
        "tensordot a dim twice",
        || unit(t(&[2, 2]).tensordot(&t(&[2, 2]), &[0, 0], &[0, 1])),
        "tensordot: a dim appears twice in [0, 0]",
    ),
    (
        "kthvalue 0",
        || unit(t(&[3]).kthvalue(0, 0, false)),
        "kthvalue: k = 0 must be in 1..=3, the size of dim 0",
    ),
    (
        "kthvalue beyond",
        || unit(v(&[3]).kthvalue(4, 0, false)),
        "kthvalue: k = 4 must be in 1..=3, the size of dim 0",
    ),
    (
        "bucketize by a matrix",
        || unit(t(&[3]).bucketize(&t(&[2, 2]), false)),
        "bucketize: expected boundaries of 1 dim, got shape [2, 2]",
    ),
    (
        "masked_fill with a vector",
        || unit(v(&[2]).masked_fill_tensor(&v(&[2]), &t(&[2]).gt_scalar(0.0)?)),
        "masked_fill_tensor: expected a value of no dims, got shape [2]",
    ),
    (
        "index_put outside",
        || unit(t(&[3]).index_put(&[&i(&[3])], &t(&[1]), false)),
        "index_put: index 3 is out of range for size 3",
    ),
    (
        "index_put far before",
        || unit(t(&[3]).index_put(&[&i(&[-4])], &t(&[1]), true)),
        "index_put: index -4 is out of range for size 3",
    ),
    (
        "index_put mask",
        || unit(t(&[3]).index_put(&[&t(&[2]).gt_scalar(0.0)?], &t(&[1]), true)),
        "index_put: shapes [3] and [2] do not fit: a mask must have the sizes of the dims it stands for",
    ),
    (
        "index_put fractions",
        || unit(t(&[3]).index_put(&[&f(&[1.0])], &t(&[1]), true)),
        "index_put: expected integer or bool indices, got dtype float32",
    ),
    (
        "index_put nowhere",
        || unit(t(&[3]).index_put(&[], &t(&[1]), true)),
        "index_put: 0 indices for a tensor of 1 dims",
    ),
    (
        "einsum operands",
        || unit(Tensor::einsum("ij,jk->ik", &[&t(&[2, 2])])),
        "einsum: \"ij,jk->ik\": 2 terms for 1 operands",
    ),
    (
        "einsum dims",
        || unit(einsum("ijk->k", &[&v(&[2, 2])])),
        "einsum: \"ijk->k\": \"ijk\" does not name the 2 dims of its operand",
    ),
    (
        "einsum sizes",
        || unit(einsum("ij,jk->ik", &[&v(&[2, 3]), &v(&[4, 2])])),
        "einsum: \"ij,jk->ik\": j has size 3 and size 4",
    ),
    (
        "einsum sign",
        || unit(einsum("i1->i", &[&v(&[2, 3])])),
        "einsum: \"i1->i\": '1' is no letter",
    ),
    (
        "einsum result twice",
        || unit(einsum("ij->ii", &[&v(&[2, 2])])),
        "einsum: \"ij->ii\": a letter stands twice in the result",
    ),
    (
        "einsum unknown result",
        || unit(einsum("ij->k", &[&v(&[2, 2])])),
        "einsum: \"ij->k\": a letter of the result is in no operand",
    ),
    (
        "affine_grid size",
        || unit(affine_grid(&v(&[1, 2, 3]), &[1, 1, 4], false)),
        "affine_grid: size [1, 1, 4] must be [N, C, H, W] or [N, C, D, H, W]",
    ),
    (
        "affine_grid maps",
        || unit(affine_grid(&v(&[1, 3, 4]), &[1, 1, 4, 4], false)),
        "affine_grid: expected maps [1, 2, 3], got shape [1, 3, 4]",
    ),
    (
        "affine_grid of nothing",
        || unit(affine_grid(&v(&[1, 2, 3]), &[1, 1, 0, 4], false)),
        "affine_grid: the spatial sizes of [1, 1, 0, 4] must be positive",
    ),
    (
        "xlogy of integers",
        || unit(i(&[1]).xlogy(&i(&[1]))),
        "xlogy: expected a floating-point tensor, got dtype int64",
    ),
    (
        "logaddexp of integers",
        || unit(i(&[1]).logaddexp(&i(&[1]))),
        "logaddexp: expected a floating-point tensor, got dtype int64",
    ),
    (
        "logit of integers",
        || unit(i(&[1]).logit(None)),
        "logit: expected a floating-point tensor, got dtype int64",
    ),
    (
        "any dim",
        || unit(t(&[2]).any_dim(1, false)),
        "sum: dim 1 is out of range for a tensor of 1 dims",
    ),
];
