//! Making tensors, devices, shapes, dtypes and dims.

use flodl::*;

use super::*;

pub const CALLS: &[Row] = &[
    // Making tensors.
    (
        "negative size",
        || unit(Tensor::zeros(&[2, -1], Default::default())),
        "zeros: expected sizes of at least 0, got shape [2, -1]",
    ),
    (
        "too many elements",
        || unit(Tensor::zeros(&[1 << 40, 1 << 40], Default::default())),
        "zeros: expected fewer elements than memory can address, got shape [1099511627776, 1099511627776]",
    ),
    (
        "values and shape",
        || unit(Tensor::from_f32(&[1.0, 2.0], &[3], Device::CPU)),
        "from_blob: expected a shape of 2 elements for the 8 bytes of float32 given, got shape [3]",
    ),
    (
        "bytes and shape",
        || unit(Tensor::from_blob(&[0; 6], &[2], DType::Int32, Device::CPU)),
        "from_blob: expected a shape of 1 elements for the 6 bytes of int32 given, got shape [2]",
    ),
    (
        "arange away",
        || unit(Tensor::arange(0.0, 5.0, -1.0, Default::default())),
        "arange: no finite way from 0 to 5 in steps of -1",
    ),
    (
        "arange step 0",
        || unit(Tensor::arange(0.0, 5.0, 0.0, Default::default())),
        "arange: no finite way from 0 to 5 in steps of 0",
    ),
    (
        "arange endless",
        || unit(Tensor::arange(0.0, f64::INFINITY, 1.0, Default::default())),
        "arange: no finite way from 0 to inf in steps of 1",
    ),
    (
        "arange NaN",
        || unit(Tensor::arange(f64::NAN, 1.0, 1.0, Default::default())),
        "arange: no finite way from NaN to 1 in steps of 1",
    ),
    (
        "linspace negative",
        || unit(Tensor::linspace(0.0, 1.0, -2, Default::default())),
        "linspace: expected sizes of at least 0, got shape [-2]",
    ),
    (
        "eye negative",
        || unit(Tensor::eye(-1, Default::default())),
        "eye: expected sizes of at least 0, got shape [-1, -1]",
    ),
    (
        "rand of integers",
        || unit(Tensor::rand(&[2], DType::Int64.into())),
        "rand: expected a floating-point dtype, got dtype int64",
    ),
    (
        "randint empty",
        || unit(Tensor::randint(3, 3, &[2], Default::default())),
        "randint: the range 3..3 is empty",
    ),
    (
        "randperm negative",
        || unit(Tensor::randperm(-3, Default::default())),
        "randperm: expected sizes of at least 0, got shape [-3]",
    ),
    // Devices.
    (
        "zeros on CUDA",
        || unit(Tensor::zeros(&[2], cuda())),
        "cuda:0 is not available: this build of flodl has no CUDA engine; use Device::CPU",
    ),
    (
        "values on CUDA",
        || unit(Tensor::from_f32(&[1.0], &[1], Device::CUDA(0))),
        "cuda:0 is not available: this build of flodl has no CUDA engine; use Device::CPU",
    ),
    (
        "to CUDA",
        || unit(t(&[2]).to_device(Device::CUDA(1))),
        "cuda:1 is not available: this build of flodl has no CUDA engine; use Device::CPU",
    ),
    (
        "variable to CUDA",
        || unit(v(&[2]).to_device(Device::CUDA(0))),
        "cuda:0 is not available: this build of flodl has no CUDA engine; use Device::CPU",
    ),
    // Shapes of operands.
    (
        "add",
        || unit(t(&[2, 3]).add(&t(&[2]))),
        "add: shapes [2, 3] and [2] do not fit: sizes 3 and 2 at dim 1 cannot be broadcast",
    ),
    (
        "variable add",
        || unit(v(&[2, 3]).add(&v(&[4, 3]))),
        "add: shapes [2, 3] and [4, 3] do not fit: sizes 2 and 4 at dim 0 cannot be broadcast",
    ),
    (
        "add in place",
        || t(&[3]).add_(&t(&[2, 3])),
        "add_: shapes [3] and [2, 3] do not fit: the second operand must broadcast to the first",
    ),
    (
        "copy in place",
        || t(&[3]).copy_(&t(&[2]), false),
        "copy_: shapes [3] and [2] do not fit: the source must broadcast to the target",
    ),
    (
        "matmul",
        || unit(t(&[2, 3]).matmul(&t(&[2, 3]))),
        "matmul: shapes [2, 3] and [2, 3] do not fit: inner sizes 3 and 2 differ",
    ),
    (
        "matmul batch",
        || unit(t(&[2, 2, 3]).matmul(&t(&[3, 3, 2]))),
        "matmul: shapes [2] and [3] do not fit: sizes 2 and 3 at dim 0 cannot be broadcast",
    ),
    (
        "matmul scalar",
        || unit(t(&[]).matmul(&t(&[2]))),
        "matmul: shapes [] and [2] do not fit: both need at least 1 dim",
    ),
    (
        "bmm",
        || unit(v(&[2, 2, 3]).bmm(&v(&[3, 3, 2]))),
        "bmm: shapes [2, 2, 3] and [3, 3, 2] do not fit: both need 3 dims and one batch size",
    ),
    (
        "linear",
        || unit(linear(&v(&[4, 3]), &v(&[5, 4]), None)),
        "linear: shapes [4, 3] and [5, 4] do not fit: the last dim of the input must be in_features of the weight [out_features, in_features]",
    ),
    (
        "linear bias",
        || unit(linear(&v(&[4, 3]), &v(&[5, 3]), Some(&v(&[4])))),
        "linear: expected a bias of [5], got shape [4]",
    ),
    (
        "cdist",
        || unit(v(&[2, 3]).cdist(&v(&[2, 2]))),
        "cdist: shapes [2, 3] and [2, 2] do not fit: both need at least 2 dims and rows of one length",
    ),
    (
        "where",
        || unit(Tensor::where_cond(&t(&[2]), &t(&[2]), &t(&[2]))),
        "where_cond: expected a bool condition, got dtype float32",
    ),
    (
        "mask dtype",
        || unit(t(&[2]).masked_fill(&i(&[0, 1]), 0.0)),
        "masked_fill: expected a bool mask, got dtype int64",
    ),
    (
        "masked_select dtype",
        || unit(t(&[2]).masked_select(&i(&[0, 1]))),
        "masked_select: expected a bool mask, got dtype int64",
    ),
    (
        "masked_scatter too few",
        || {
            let mask = t(&[3]).gt_scalar(0.0)?;
            unit(t(&[3]).masked_scatter(&mask, &t(&[2])))
        },
        "masked_scatter: shapes [3] and [2] do not fit: the mask must broadcast to [3], and its 3 true entries need as many source elements",
    ),
    (
        "prelu",
        || unit(v(&[2, 3]).prelu(&v(&[2]))),
        "prelu: shapes [2, 3] and [2] do not fit: the weight needs 1 element or one per entry of dim 1",
    ),
    (
        "cat nothing",
        || unit(Tensor::cat_many(&[], 0)),
        "cat: expected at least one tensor, got none",
    ),
    (
        "cat scalars",
        || unit(t(&[]).cat(&t(&[]), 0)),
        "cat: expected tensors of at least 1 dim (stack joins scalars), got shape []",
    ),
    (
        "cat",
        || unit(t(&[2, 3]).cat(&t(&[2, 4]), 0)),
        "cat: shapes [2, 3] and [2, 4] do not fit: sizes must agree in every dim but 0",
    ),
    (
        "cat dtypes",
        || unit(t(&[2]).cat(&i(&[1]), 0)),
        "cat: dtypes float32 and int64 do not mix; cast one with to_dtype",
    ),
    (
        "cat dims",
        || unit(Variable::cat_many(&[&v(&[2]), &v(&[2, 1])], 0)),
        "cat: shapes [2] and [2, 1] do not fit: sizes must agree in every dim but 0",
    ),
    (
        "stack",
        || unit(Tensor::stack(&[&t(&[2]), &t(&[3])], 0)),
        "stack: shapes [2] and [3] do not fit: all shapes must be equal",
    ),
    (
        "stack nothing",
        || unit(Variable::stack(&[], 0)),
        "stack: expected at least one variable, got none",
    ),
    (
        "stack place",
        || unit(Tensor::stack(&[&t(&[2])], 3)),
        "stack: dim 3 is out of range for a tensor of 1 dims",
    ),
    (
        "meshgrid",
        || unit(Tensor::meshgrid(&[&t(&[2, 2])])),
        "meshgrid: expected 1-d tensors, got shape [2, 2]",
    ),
    // Dtypes.
    (
        "add dtypes",
        || unit(t(&[2]).add(&double(&[2]))),
        "add: dtypes float32 and float64 do not mix; cast one with to_dtype",
    ),
    (
        "matmul dtypes",
        || unit(t(&[2, 2]).matmul(&double(&[2, 2]))),
        "matmul: dtypes float32 and float64 do not mix; cast one with to_dtype",
    ),
    (
        "integer division",
        || unit(i(&[1]).div(&i(&[2]))),
        "div: expected a floating-point tensor, got dtype int64",
    ),
    (
        "exp of integers",
        || unit(i(&[1]).exp()),
        "exp: expected a floating-point tensor, got dtype int64",
    ),
    (
        "mean of integers",
        || unit(i(&[1]).mean()),
        "mean: expected a floating-point tensor, got dtype int64",
    ),
    (
        "softmax of integers",
        || unit(i(&[1]).softmax(0)),
        "softmax: expected a floating-point tensor, got dtype int64",
    ),
    (
        "two masks added",
        || {
            let mask = t(&[2]).gt_scalar(0.0)?;
            unit(mask.add(&mask))
        },
        "add: expected at least one numeric tensor (logical_and and its kin take two masks), got dtype bool",
    ),
    (
        "negated mask",
        || unit(t(&[2]).gt_scalar(0.0)?.neg()),
        "neg: expected a numeric tensor, got dtype bool",
    ),
    (
        "float index",
        || unit(t(&[2]).index_select(0, &t(&[1]))),
        "index_select: expected an integer index, got dtype float32",
    ),
    (
        "searchsorted dtypes",
        || unit(t(&[2]).searchsorted(&i(&[1]))),
        "searchsorted: dtypes float32 and int64 do not mix; cast one with to_dtype",
    ),
    (
        "one_hot of floats",
        || unit(t(&[2]).one_hot(3)),
        "one_hot: expected an integer index, got dtype float32",
    ),
    // Dims.
    (
        "sum dim",
        || unit(t(&[2, 3]).sum_dim(2, false)),
        "sum: dim 2 is out of range for a tensor of 2 dims",
    ),
    (
        "sum dim negative",
        || unit(v(&[2, 3]).sum_dim(-3, false)),
        "sum: dim -3 is out of range for a tensor of 2 dims",
    ),
    (
        "sum dims twice",
        || unit(t(&[2, 3]).sum_dims(&[0, -2], false)),
        "sum: dim 0 appears more than once",
    ),
    (
        "softmax dim",
        || unit(v(&[2, 3]).softmax(5)),
        "softmax: dim 5 is out of range for a tensor of 2 dims",
    ),
    (
        "transpose",
        || unit(t(&[2, 3]).transpose(0, 2)),
        "transpose: dim 2 is out of range for a tensor of 2 dims",
    ),
    (
        "transpose extreme",
        || unit(t(&[2, 3]).transpose(i32::MIN, i32::MAX)),
        "transpose: dim -2147483648 is out of range for a tensor of 2 dims",
    ),
    (
        "permute short",
        || unit(t(&[2, 3]).permute(&[0])),
        "permute: expected dims [0] to name each dim once, got shape [2, 3]",
    ),
    (
        "permute twice",
        || unit(v(&[2, 3]).permute(&[0, 0])),
        "permute: expected dims [0, 0] to name each dim once, got shape [2, 3]",
    ),
    (
        "permute wide",
        || unit(t(&[2, 3]).permute(&[0, 1 << 40])),
        "permute: expected dims [0, 1099511627776] to name each dim once, got shape [2, 3]",
    ),
    (
        "movedim wide",
        || unit(t(&[2, 3]).movedim(1 << 32, 0)),
        "movedim: dim 4294967296 is out of range for a tensor of 2 dims",
    ),
    (
        "unsqueeze",
        || unit(t(&[2]).unsqueeze(3)),
        "unsqueeze: dim 3 is out of range for a tensor of 1 dims",
    ),
    (
        "squeeze",
        || unit(t(&[2]).squeeze(1)),
        "squeeze: dim 1 is out of range for a tensor of 1 dims",
    ),
    ("flatten", || unit(t(&[2, 3]).flatten(1, 0)), "flatten: start_dim 1 comes after end_dim 0"),
    ("flip twice", || unit(t(&[2, 3]).flip(&[1, -1])), "flip: dim 1 appears more than once"),
    (
        "flip wide",
        || unit(t(&[2, 3]).flip(&[i64::MAX])),
        "flip: dim 9223372036854775807 is out of range for a tensor of 2 dims",
    ),
    ("roll", || unit(v(&[2, 3]).roll(1, 2)), "roll: dim 2 is out of range for a tensor of 2 dims"),
    (
        "sort",
        || unit(t(&[2, 3]).sort(2, false)),
        "sort: dim 2 is out of range for a tensor of 2 dims",
    ),
    (
        "diagonal",
        || unit(t(&[2, 3]).diagonal(0, 1, -1)),
        "diagonal: expected two different dims (not 1 and -1), got shape [2, 3]",
    ),
    ("triu", || unit(t(&[3]).triu(0)), "triu: expected at least 2 dims, got shape [3]"),
    ("t of three", || unit(t(&[2, 3, 4]).t()), "t: expected at most 2 dims, got shape [2, 3, 4]"),
    ("size", || unit(t(&[2]).size(1)), "size: dim 1 is out of range for a tensor of 1 dims"),
    (
        "channels last",
        || unit(t(&[2]).to_channels_last()),
        "to_channels_last: expected 4 dims, [N, C, H, W], got shape [2]",
    ),
];
