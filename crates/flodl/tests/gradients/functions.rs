//! The free functions of autograd/ops, a row for each.

use flodl::*;

use super::Values::{Any, Inside, Positive};
use super::{Row, index, join};

/// Functions whose gradient cannot be differentiated again, which they say.
pub const ONCE: &[&str] = &["grid_sample", "ctc_loss", "ctc_loss_with"];

const IMAGE: &[(&[i64], super::Values)] = &[(&[2, 2, 4, 5], Any)];
const SIGNAL: &[(&[i64], super::Values)] = &[(&[2, 2, 7], Any)];
const VOLUME: &[(&[i64], super::Values)] = &[(&[1, 2, 3, 4, 3], Any)];
/// An input, a weight and a bias.
const AFFINE: &[(&[i64], super::Values)] = &[(&[3, 4, 3], Any), (&[4], Any), (&[4], Any)];

/// Input, state, two weights and two biases of a cell; the same of a sequence of one layer.
const CELL: &[(&[i64], super::Values)] =
    &[(&[2, 3], Any), (&[2, 4], Any), (&[4, 3], Any), (&[4, 4], Any), (&[4], Any), (&[4], Any)];
/// The same with the three gates of a GRU, and the four of an LSTM, which has a second state.
const GRU_CELL: &[(&[i64], super::Values)] =
    &[(&[2, 3], Any), (&[2, 2], Any), (&[6, 3], Any), (&[6, 2], Any), (&[6], Any), (&[6], Any)];
const LSTM_CELL: &[(&[i64], super::Values)] = &[
    (&[2, 3], Any),
    (&[2, 2], Any),
    (&[2, 2], Any),
    (&[8, 3], Any),
    (&[8, 2], Any),
    (&[8], Any),
    (&[8], Any),
];
/// Query, key and value of two batches.
const QKV: &[(&[i64], super::Values)] = &[(&[2, 3, 4], Any), (&[2, 5, 4], Any), (&[2, 5, 2], Any)];
const SEQUENCE: &[(&[i64], super::Values)] = &[
    (&[3, 2, 3], Any),
    (&[1, 2, 4], Any),
    (&[4, 3], Any),
    (&[4, 4], Any),
    (&[4], Any),
    (&[4], Any),
];

fn constant(values: &[f64], shape: &[i64]) -> Variable {
    Variable::new(Tensor::from_f64(values, shape, Device::CPU).unwrap(), false)
}

/// The same dropout at every call.
fn seeded(f: impl FnOnce() -> Result<Variable>) -> Result<Variable> {
    let state = rng_state();
    manual_seed(3);
    let y = f();
    set_rng_state(state);
    y
}

fn windows<const D: usize>(
    kernel: [i64; D],
    stride: [i64; D],
    padding: [i64; D],
    dilation: [i64; D],
    ceil_mode: bool,
) -> Windows<D> {
    Windows { kernel, stride, padding, dilation, ceil_mode }
}

fn means() -> Tensor {
    Tensor::from_f64(&[0.1, -0.2, 0.3, 0.0], &[4], Device::CPU).unwrap()
}

fn variances() -> Tensor {
    Tensor::from_f64(&[0.5, 1.5, 0.9, 1.1], &[4], Device::CPU).unwrap()
}

/// Points away from the middles between elements, where nearest sampling jumps.
fn points(g: &Variable, factor: f64) -> Result<Variable> {
    g.mul_scalar(factor)?.add_scalar(0.013)
}

const LINEAR: &[(&[i64], super::Values)] = &[(&[3, 4], Any), (&[2, 4], Any), (&[2], Any)];

fn behind_linear(v: &[Variable], module: impl Module + 'static) -> Result<Variable> {
    let parameter =
        |i: usize, name: &str| Parameter { variable: v[i].clone(), name: name.to_owned() };
    let linear = Linear::from_shared_weight(parameter(1, "weight"), Some(parameter(2, "bias")));
    let graph = FlowBuilder::from(linear).through(module).build()?;
    let y = graph.forward(&v[0])?;
    assert_eq!(graph.steps_run(), 1);
    Ok(y)
}

pub const FUNCTIONS: &[Row] = &[
    // Convolutions.
    ("conv", &[(&[2, 4, 5], Any), (&[6, 2, 2], Any), (&[6], Any)], |v| {
        let options = ConvOptions { stride: [2], padding: [1], dilation: [2], groups: 2 };
        conv(&v[0], &v[1], Some(&v[2]), &options)
    }),
    ("conv_transpose", &[(&[2, 4, 3], Any), (&[4, 3, 2], Any), (&[6], Any)], |v| {
        let options = ConvOptions { stride: [2], padding: [1], dilation: [2], groups: 2 };
        conv_transpose(&v[0], &v[1], Some(&v[2]), &options, [1])
    }),
    ("conv1d", &[(&[2, 2, 5], Any), (&[3, 2, 3], Any)], |v| conv1d(&v[0], &v[1], None, 1, 1, 1, 1)),
    ("conv_transpose1d", &[(&[2, 2, 3], Any), (&[2, 3, 3], Any)], |v| {
        conv_transpose1d(&v[0], &v[1], None, 2, 1, 1, 1, 1)
    }),
    ("conv2d", &[(&[1, 2, 4, 4], Any), (&[2, 2, 3, 2], Any), (&[2], Any)], |v| {
        conv2d(&v[0], &v[1], Some(&v[2]), [1, 2], [1, 0], [1, 2], 1)
    }),
    ("conv_transpose2d", &[(&[1, 2, 3, 2], Any), (&[2, 2, 2, 3], Any), (&[2], Any)], |v| {
        conv_transpose2d(&v[0], &v[1], Some(&v[2]), [2, 1], [1, 0], [1, 0], [1, 2], 1)
    }),
    ("conv3d", &[(&[1, 2, 3, 3, 2], Any), (&[2, 1, 2, 2, 1], Any)], |v| {
        conv3d(&v[0], &v[1], None, [1; 3], [0, 1, 0], [1; 3], 2)
    }),
    ("conv_transpose3d", &[(&[1, 2, 2, 2, 2], Any), (&[2, 1, 2, 1, 2], Any)], |v| {
        conv_transpose3d(&v[0], &v[1], None, [1, 2, 1], [0; 3], [0, 1, 0], [1; 3], 1)
    }),
    // Pools.
    ("max_pool", IMAGE, |v| max_pool(&v[0], &windows([2, 3], [2, 1], [1, 1], [1, 1], true))),
    ("max_pool_with_indices", IMAGE, |v| {
        Ok(max_pool_with_indices(&v[0], &windows([2, 2], [1, 2], [0, 1], [2, 1], false))?.0)
    }),
    ("max_pool1d", SIGNAL, |v| max_pool1d(&v[0], 3, 2, 1, 2, false)),
    ("max_pool2d", IMAGE, |v| max_pool2d(&v[0], [2, 2], [2, 2], [0, 0], [1, 1], false)),
    ("avg_pool", VOLUME, |v| {
        let w = windows([2, 2, 1], [1, 2, 1], [1, 0, 0], [1; 3], true);
        avg_pool(&v[0], &w, false, None)
    }),
    ("avg_pool divisor", IMAGE, |v| {
        avg_pool(&v[0], &windows([2, 3], [1, 1], [1, 1], [1, 1], false), true, Some(5))
    }),
    ("avg_pool1d", SIGNAL, |v| avg_pool1d(&v[0], 3, 2, 1, true, false)),
    ("avg_pool2d", IMAGE, |v| avg_pool2d(&v[0], [2, 2], [1, 2], [1, 0], false, true)),
    ("adaptive_avg_pool", SIGNAL, |v| adaptive_avg_pool(&v[0], [3])),
    ("adaptive_avg_pool2d", IMAGE, |v| adaptive_avg_pool2d(&v[0], [3, 2])),
    ("adaptive_max_pool", SIGNAL, |v| adaptive_max_pool(&v[0], [3])),
    ("adaptive_max_pool_with_indices", VOLUME, |v| {
        Ok(adaptive_max_pool_with_indices(&v[0], [2, 2, 2])?.0)
    }),
    ("adaptive_max_pool2d", IMAGE, |v| adaptive_max_pool2d(&v[0], [3, 2])),
    ("max_unpool", &[(&[1, 2, 2], Any)], |v| {
        max_unpool(&v[0], &index(&[1, 3, 0, 4], &[1, 2, 2]), [5])
    }),
    ("fractional_max_pool", &[(&[2, 5, 6], Any)], |v| {
        let samples = constant(&[0.3, 0.7, 0.1, 0.9], &[1, 2, 2]);
        fractional_max_pool(&v[0], [2, 2], [3, 4], &samples)
    }),
    // Norms.
    ("layer_norm", &[(&[3, 4], Any), (&[4], Any), (&[4], Any)], |v| {
        layer_norm(&v[0], &v[1], &v[2], 4, 1e-3)
    }),
    ("layer_norm_opt", &[(&[2, 3, 2], Any), (&[3, 2], Any)], |v| {
        layer_norm_opt(&v[0], Some(&v[1]), None, 6, 1e-3)
    }),
    ("rms_norm", &[(&[3, 4], Any), (&[4], Any)], |v| rms_norm(&v[0], Some(&v[1]), 4, 1e-3)),
    (
        "batch_norm_train",
        AFFINE,
        |v| Ok(batch_norm_train(&v[0], Some(&v[1]), Some(&v[2]), 1e-3)?.0),
    ),
    ("batch_norm_eval", AFFINE, |v| {
        batch_norm_eval(&v[0], Some(&v[1]), Some(&v[2]), &means(), &variances(), 1e-3)
    }),
    ("group_norm", AFFINE, |v| group_norm(&v[0], 2, &v[1], &v[2], 1e-3)),
    ("group_norm_opt", &[(&[2, 4, 3], Any), (&[4], Any)], |v| {
        group_norm_opt(&v[0], 2, None, Some(&v[1]), 1e-3)
    }),
    ("instance_norm", AFFINE, |v| {
        instance_norm(&v[0], Some(&v[1]), Some(&v[2]), None, None, true, 0.1, 1e-3)
    }),
    ("instance_norm given", AFFINE, |v| {
        let (mean, var) = (means(), variances());
        instance_norm(&v[0], Some(&v[1]), None, Some(&mean), Some(&var), false, 0.1, 1e-3)
    }),
    // Chance, from a seed.
    ("dropout", IMAGE, |v| seeded(|| dropout(&v[0], 0.4, true))),
    ("feature_dropout", IMAGE, |v| seeded(|| feature_dropout(&v[0], 0.4, true))),
    ("alpha_dropout", IMAGE, |v| seeded(|| alpha_dropout(&v[0], 0.4, true))),
    ("feature_alpha_dropout", IMAGE, |v| seeded(|| feature_alpha_dropout(&v[0], 0.4, true))),
    ("rrelu", IMAGE, |v| seeded(|| rrelu(&v[0], 0.1, 0.4, true))),
    ("rrelu in inference", IMAGE, |v| rrelu(&v[0], 0.1, 0.4, false)),
    // Tables.
    ("embedding", &[(&[4, 3], Any)], |v| embedding(&v[0], &index(&[2, 0, 2, 1], &[2, 2]), -1)),
    ("embedding_opt", &[(&[4, 3], Any)], |v| {
        embedding_opt(&v[0], &index(&[2, 0, 3, 1], &[2, 2]), -1, true)
    }),
    ("embedding_bag", &[(&[4, 3], Any)], |v| {
        let (indices, offsets) = (index(&[2, 0, 2, 1, 3], &[5]), index(&[0, 2, 2], &[3]));
        let bags =
            [Bag::Sum, Bag::Mean, Bag::Max].map(|m| embedding_bag(&v[0], &indices, &offsets, m));
        join(bags.into_iter().collect::<Result<Vec<_>>>()?)
    }),
    ("embedding_bag_opt", &[(&[4, 3], Any), (&[5], Any)], |v| {
        let options =
            BagOptions { per_sample_weights: Some(v[1].clone()), ..BagOptions::default() };
        let (indices, offsets) = (index(&[2, 0, 2, 1, 3], &[5]), index(&[0, 2, 2], &[3]));
        embedding_bag_opt(&v[0], &indices, &offsets, Bag::Sum, &options)
    }),
    // Patches, resizing, rearranging.
    ("im2col", IMAGE, |v| im2col(&v[0], [2, 3], [2, 1], [1, 1], [1, 2])),
    ("col2im", &[(&[1, 8, 9], Any)], |v| col2im(&v[0], [4, 5], [2, 2], [1, 2], [1, 0], [2, 1])),
    ("interpolate", IMAGE, |v| interpolate(&v[0], &[3, 7], Interpolation::Linear, true)),
    ("interpolate cubic", IMAGE, |v| interpolate(&v[0], &[6, 3], Interpolation::Cubic, false)),
    ("interpolate nearest", SIGNAL, |v| interpolate(&v[0], &[4], Interpolation::Nearest, false)),
    ("interpolate_by", VOLUME, |v| {
        interpolate_by(&v[0], &[1.5, 0.7, 2.0], Interpolation::Linear, false)
    }),
    ("grid_sample", &[(&[2, 2, 4, 5], Any), (&[2, 3, 2, 2], Inside)], |v| {
        grid_sample(&v[0], &points(&v[1], 1.1)?, 0, 0, false)
    }),
    ("grid_sample border", &[(&[1, 2, 4, 5], Any), (&[1, 3, 2, 2], Any)], |v| {
        grid_sample(&v[0], &points(&v[1], 0.9)?, 0, 1, true)
    }),
    ("grid_sample nearest", &[(&[1, 2, 4, 5], Any), (&[1, 3, 2, 2], Inside)], |v| {
        grid_sample(&v[0], &points(&v[1], 1.1)?, 1, 2, false)
    }),
    ("grid_sample cubic", &[(&[1, 2, 4, 5], Any), (&[1, 3, 2, 2], Inside)], |v| {
        grid_sample(&v[0], &points(&v[1], 1.1)?, 2, 2, true)
    }),
    ("affine_grid", &[(&[2, 2, 3], Any)], |v| affine_grid(&v[0], &[2, 1, 2, 3], false)),
    ("affine_grid volume", &[(&[1, 3, 4], Any)], |v| affine_grid(&v[0], &[1, 1, 2, 1, 2], true)),
    ("grid_sample volume", &[(&[1, 2, 3, 4, 3], Any), (&[1, 2, 1, 2, 3], Inside)], |v| {
        grid_sample(&v[0], &points(&v[1], 1.1)?, 0, 2, false)
    }),
    ("pixel_shuffle", &[(&[1, 8, 2, 3], Any)], |v| pixel_shuffle(&v[0], 2)),
    ("pixel_unshuffle", &[(&[1, 2, 4, 6], Any)], |v| pixel_unshuffle(&v[0], 2)),
    ("channel_shuffle", &[(&[2, 6, 2], Any)], |v| channel_shuffle(&v[0], 3)),
    ("gaussian_blur_2d", IMAGE, |v| gaussian_blur_2d(&v[0], 0.8)),
    ("pad", VOLUME, |v| pad(&v[0], &[1, 2, 2, 0], PadMode::Reflect)),
    ("pad cut", VOLUME, |v| pad(&v[0], &[-1, 2, 1, -2], PadMode::Replicate)),
    ("pad many dims", VOLUME, |v| pad(&v[0], &[0, 1, 1, 0, 0, 0, 1, 1], PadMode::Circular)),
    // Two inputs and more.
    ("einsum", &[(&[2, 3, 4], Any), (&[4, 5, 2], Any)], |v| einsum("aij,jka->ik", &[&v[0], &v[1]])),
    ("einsum chain", &[(&[2, 3], Any), (&[3, 4], Any), (&[2, 4], Any)], |v| {
        einsum("ij,jk,ik->i", &[&v[0], &v[1], &v[2]])
    }),
    ("einsum diagonal", &[(&[3, 3, 2], Any)], |v| einsum("iij->ji", &[&v[0]])),
    ("einsum ellipsis", &[(&[2, 1, 3], Any), (&[4, 3], Any)], |v| {
        einsum("...i,...i->...", &[&v[0], &v[1]])
    }),
    ("bilinear", &[(&[3, 2], Any), (&[3, 4], Any), (&[2, 2, 4], Any), (&[2], Any)], |v| {
        bilinear(&v[0], &v[1], &v[2], Some(&v[3]))
    }),
    ("pairwise_distance", &[(&[3, 4], Any), (&[4], Positive)], |v| {
        pairwise_distance(&v[0], &v[1], 3.0, 1e-6, true)
    }),
    ("scaled_dot_product_attention", QKV, |v| {
        scaled_dot_product_attention(&v[0], &v[1], &v[2], None, 0.0, true, None)
    }),
    ("scaled_dot_product_attention_bias", &[QKV[0], QKV[1], QKV[2], (&[3, 5], Any)], |v| {
        scaled_dot_product_attention_bias(&v[0], &v[1], &v[2], &v[3], 0.0, false, Some(0.7))
    }),
    // Recurrent layers.
    ("gru_cell", GRU_CELL, |v| gru_cell(&v[0], &v[1], &v[2], &v[3], &v[4], &v[5])),
    ("lstm_cell", LSTM_CELL, |v| {
        let (h, c) = lstm_cell(&v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6])?;
        join(vec![h, c])
    }),
    (
        "gru_seq",
        &[
            (&[3, 2, 3], Any),
            (&[1, 2, 2], Any),
            (&[6, 3], Any),
            (&[6, 2], Any),
            (&[6], Any),
            (&[6], Any),
        ],
        |v| {
            let (y, h) = gru_seq(&v[0], Some(&v[1]), &v[2..], &RnnOptions::default())?;
            join(vec![y, h])
        },
    ),
    (
        "lstm_seq",
        &[
            (&[3, 2, 3], Any),
            (&[1, 2, 2], Any),
            (&[1, 2, 2], Any),
            (&[8, 3], Any),
            (&[8, 2], Any),
            (&[8], Any),
            (&[8], Any),
        ],
        |v| {
            let state = Some((&v[1], &v[2]));
            let (y, (h, c)) = lstm_seq(&v[0], state, &v[3..], &RnnOptions::default())?;
            join(vec![y, h, c])
        },
    ),
    ("rnn_tanh_cell", CELL, |v| rnn_tanh_cell(&v[0], &v[1], &v[2], &v[3], &v[4], &v[5])),
    ("rnn_relu_cell", CELL, |v| rnn_relu_cell(&v[0], &v[1], &v[2], &v[3], &v[4], &v[5])),
    ("rnn_tanh_seq", SEQUENCE, |v| {
        Ok(rnn_tanh_seq(&v[0], Some(&v[1]), &v[2..], &RnnOptions::default())?.0)
    }),
    ("rnn_relu_seq", SEQUENCE, |v| {
        Ok(rnn_relu_seq(&v[0], Some(&v[1]), &v[2..], &RnnOptions::default())?.0)
    }),
    // Nodes of a graph that run as one.
    ("linear relu", LINEAR, |v| behind_linear(v, ReLU)),
    ("linear gelu", LINEAR, |v| behind_linear(v, GELU)),
    ("linear gelu_tanh", LINEAR, |v| behind_linear(v, GELUTanh)),
    ("linear silu", LINEAR, |v| behind_linear(v, SiLU)),
    ("linear tanh", LINEAR, |v| behind_linear(v, Tanh)),
    ("linear sigmoid", LINEAR, |v| behind_linear(v, Sigmoid)),
    ("layer_norm of a sum", &[(&[3, 4], Any)], |v| {
        let norm = LayerNorm::new(4)?.affine(false);
        FlowBuilder::new().also(Tanh).through(norm).build()?.forward(&v[0])
    }),
    ("rms_norm of a sum", &[(&[3, 4], Any)], |v| {
        let norm = RMSNorm::new(4)?.eps(1e-3).affine(false);
        FlowBuilder::new().also(Tanh).through(norm).build()?.forward(&v[0])
    }),
];
