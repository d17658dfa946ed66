//! The dtype of every operation and layer under autocast, as PyTorch's on the CPU has it.

use flodl::*;

/// PyTorch's answers: `scripts/autocast_references.py` writes them.
const REFERENCE: &str = include_str!("data/autocast.json");

/// Where ours differs, with the dtype from float32 and from bfloat16 inputs: PyTorch refuses the
/// bilinear form of bfloat16, and leaves two losses in bfloat16 only because they are made of
/// several operations there.
const OWN: &[(&str, [DType; 2])] = &[
    ("bilinear", [DType::Float32; 2]),
    ("gaussian_nll_loss", [DType::Float32; 2]),
    ("multilabel_soft_margin_loss", [DType::Float32; 2]),
];

type Operation = fn(&Variable) -> Result<Variable>;

fn like(x: &Variable, shape: &[i64]) -> Result<Variable> {
    let t = Tensor::rand(shape, TensorOptions::default())?;
    Ok(Variable::new(t.to_dtype(x.dtype())?, false))
}

fn rows(x: &Variable) -> Result<Variable> {
    like(x, &[3, 4])
}

fn ones(x: &Variable) -> Result<Variable> {
    Ok(Variable::new(Tensor::ones_like(&x.data())?, false))
}

fn classes() -> Result<Variable> {
    Ok(Variable::new(Tensor::from_i64(&[0, 1, 2], &[3], Device::CPU)?, false))
}

fn wide() -> Result<Variable> {
    Ok(Variable::new(Tensor::rand(&[3, 4], TensorOptions::default())?, false))
}

/// Windows of two elements in each dim, one beside the other.
fn two<const D: usize>() -> Windows<D> {
    let (kernel, zero) = ([2; D], [0; D]);
    Windows { kernel, stride: kernel, padding: zero, dilation: [1; D], ceil_mode: false }
}

/// The operations by PyTorch's names, with the shape of their input.
const TABLE: &[(&str, &[i64], Operation)] = &[
    ("matmul", &[3, 4], |x| x.matmul(&x.t()?)),
    ("bmm", &[2, 3, 4], |x| x.bmm(&x.transpose(1, 2)?)),
    ("linear", &[3, 4], |x| Linear::new(4, 5)?.forward(x)),
    ("bilinear", &[3, 4], |x| Bilinear::new(4, 4, 2, true)?.forward_bilinear(x, x)),
    ("conv1d", &[1, 2, 6], |x| Conv1d::new(2, 3, 3)?.forward(x)),
    ("conv2d", &[1, 2, 6, 6], |x| Conv2d::new(2, 3, 3)?.forward(x)),
    ("conv3d", &[1, 2, 4, 4, 4], |x| Conv3d::new(2, 3, 3)?.forward(x)),
    ("conv_transpose1d", &[1, 2, 6], |x| ConvTranspose1d::new(2, 3, 3)?.forward(x)),
    ("conv_transpose2d", &[1, 2, 6, 6], |x| ConvTranspose2d::new(2, 3, 3)?.forward(x)),
    ("conv_transpose3d", &[1, 2, 4, 4, 4], |x| ConvTranspose3d::new(2, 3, 3)?.forward(x)),
    ("scaled_dot_product_attention", &[1, 2, 3, 4], |x| {
        scaled_dot_product_attention(x, x, x, None, 0.0, false, None)
    }),
    ("prelu", &[3, 4], |x| PReLU::new(1, Device::CPU)?.forward(x)),
    ("rnn", &[5, 2, 4], |x| RNN::new(4, 3, 1)?.forward(x)),
    ("gru", &[5, 2, 4], |x| GRU::new(4, 3, 1)?.forward(x)),
    ("lstm", &[5, 2, 4], |x| LSTM::new(4, 3, 1)?.forward(x)),
    ("rnn_cell", &[2, 4], |x| RNNCell::new(4, 3)?.forward(x)),
    ("gru_cell", &[2, 4], |x| GRUCell::new(4, 3)?.forward(x)),
    ("lstm_cell", &[2, 4], |x| LSTMCell::new(4, 3)?.forward(x)),
    ("multihead_attention", &[2, 3, 4], |x| MultiheadAttention::new(4, 2)?.forward(x)),
    ("transformer_encoder_layer", &[2, 3, 4], |x| TransformerEncoderLayer::new(4, 2)?.forward(x)),
    ("transformer_decoder_layer", &[2, 3, 4], |x| {
        TransformerDecoderLayer::new(4, 2)?.forward_ext(x, x)
    }),
    ("layer_norm", &[3, 4], |x| LayerNorm::new(4)?.forward(x)),
    ("rms_norm", &[3, 4], |x| RMSNorm::new(4)?.forward(x)),
    ("group_norm", &[2, 4, 3], |x| GroupNorm::new(2, 4)?.forward(x)),
    ("batch_norm", &[3, 4], |x| BatchNorm1d::new(4)?.forward(x)),
    ("batch_norm_eval", &[3, 4], |x| {
        let norm = BatchNorm1d::new(4)?;
        // There are statistics once a batch was seen.
        norm.forward(&wide()?)?;
        norm.eval();
        norm.forward(x)
    }),
    ("instance_norm", &[2, 4, 5], |x| InstanceNorm::new(4, true)?.forward(x)),
    ("local_response_norm", &[2, 4, 5], |x| LocalResponseNorm::new(2).forward(x)),
    ("normalize", &[3, 4], |x| x.normalize(2.0, 1)),
    ("softmax", &[3, 4], |x| x.softmax(-1)),
    ("log_softmax", &[3, 4], |x| x.log_softmax(-1)),
    ("logsumexp", &[3, 4], |x| x.logsumexp(-1, false)),
    ("relu", &[3, 4], |x| x.relu()),
    ("gelu", &[3, 4], |x| x.gelu()),
    ("silu", &[3, 4], |x| x.silu()),
    ("mish", &[3, 4], |x| x.mish()),
    ("elu", &[3, 4], |x| x.elu(1.0)),
    ("selu", &[3, 4], |x| x.selu()),
    ("softplus", &[3, 4], |x| x.softplus(1.0, 20.0)),
    ("logsigmoid", &[3, 4], |x| x.log_sigmoid()),
    ("sigmoid", &[3, 4], |x| x.sigmoid()),
    ("tanh", &[3, 4], |x| x.tanh()),
    ("leaky_relu", &[3, 4], |x| x.leaky_relu(0.01)),
    ("hardswish", &[3, 4], |x| x.hardswish()),
    ("glu", &[3, 4], |x| x.glu(-1)),
    ("dropout", &[3, 4], |x| dropout(x, 0.5, true)),
    ("max_pool1d", &[1, 2, 4], |x| max_pool::<1>(x, &two::<1>())),
    ("max_pool2d", &[1, 2, 4, 4], |x| max_pool::<2>(x, &two::<2>())),
    ("max_pool3d", &[1, 2, 4, 4, 4], |x| max_pool::<3>(x, &two::<3>())),
    ("avg_pool1d", &[1, 2, 4], |x| avg_pool::<1>(x, &two::<1>(), true, None)),
    ("avg_pool2d", &[1, 2, 4, 4], |x| avg_pool::<2>(x, &two::<2>(), true, None)),
    ("avg_pool3d", &[1, 2, 4, 4, 4], |x| avg_pool::<3>(x, &two::<3>(), true, None)),
    ("adaptive_avg_pool1d", &[1, 2, 4], |x| adaptive_avg_pool::<1>(x, [2])),
    ("adaptive_avg_pool2d", &[1, 2, 4, 4], |x| adaptive_avg_pool::<2>(x, [2; 2])),
    ("adaptive_avg_pool3d", &[1, 2, 4, 4, 4], |x| adaptive_avg_pool::<3>(x, [2; 3])),
    ("adaptive_max_pool1d", &[1, 2, 4], |x| adaptive_max_pool::<1>(x, [2])),
    ("adaptive_max_pool2d", &[1, 2, 4, 4], |x| adaptive_max_pool::<2>(x, [2; 2])),
    ("adaptive_max_pool3d", &[1, 2, 4, 4, 4], |x| adaptive_max_pool::<3>(x, [2; 3])),
    ("lp_pool2d", &[1, 2, 4, 4], |x| LPPool2d::new(2.0, 2).forward(x)),
    ("interpolate_nearest", &[1, 2, 4, 4], |x| interpolate(x, &[8, 8], 0, false)),
    ("interpolate_bilinear", &[1, 2, 4, 4], |x| interpolate(x, &[8, 8], 1, false)),
    ("interpolate_bicubic", &[1, 2, 4, 4], |x| interpolate(x, &[8, 8], 2, false)),
    ("grid_sample", &[1, 2, 4, 4], |x| {
        grid_sample(x, &like(x, &[1, 3, 3, 2])?, GridMode::Bilinear, GridPadding::Zeros, false)
    }),
    ("pad_constant", &[1, 2, 4, 4], |x| pad(x, &[1; 4], PadMode::Constant(0.0))),
    ("pad_reflect", &[1, 2, 4, 4], |x| pad(x, &[1; 4], PadMode::Reflect)),
    ("pad_replicate", &[1, 2, 4, 4], |x| pad(x, &[1; 4], PadMode::Replicate)),
    ("pad_circular", &[1, 2, 4, 4], |x| pad(x, &[1; 4], PadMode::Circular)),
    ("pixel_shuffle", &[1, 4, 3, 3], |x| pixel_shuffle(x, 2)),
    ("unfold", &[1, 2, 4, 4], |x| Unfold::with_kernel(2).forward(x)),
    ("fold", &[1, 8, 4], |x| Fold::with_kernel(3, 2).forward(x)),
    ("cosine_similarity", &[3, 4], |x| x.cosine_similarity(x, 1, 1e-8)),
    ("cdist", &[3, 4], |x| x.cdist(x)),
    ("pairwise_distance", &[3, 4], |x| pairwise_distance(x, x, 2.0, 1e-6, false)),
    ("exp", &[3, 4], |x| x.exp()),
    ("log", &[3, 4], |x| x.log()),
    ("sqrt", &[3, 4], |x| x.sqrt()),
    ("pow", &[3, 4], |x| x.pow_scalar(2.0)),
    ("reciprocal", &[3, 4], |x| x.reciprocal()),
    ("sum", &[3, 4], |x| x.sum()),
    ("mean", &[3, 4], |x| x.mean()),
    ("prod", &[3, 4], |x| x.prod()),
    ("var", &[3, 4], |x| x.var()),
    ("norm", &[3, 4], |x| x.norm()),
    ("cumsum", &[3, 4], |x| x.cumsum(0)),
    ("cumprod", &[3, 4], |x| x.cumprod(0)),
    ("add_float32", &[3, 4], |x| x.add(&wide()?)),
    ("sub_float32", &[3, 4], |x| x.sub(&wide()?)),
    ("mul_float32", &[3, 4], |x| x.mul(&wide()?)),
    ("div_float32", &[3, 4], |x| x.div(&wide()?)),
    ("cat_float32", &[3, 4], |x| x.cat(&wide()?, 0)),
    ("stack_float32", &[3, 4], |x| Variable::stack(&[x.clone(), wide()?], 0)),
    ("mse_loss", &[3, 4], |x| mse_loss(x, &rows(x)?)),
    ("l1_loss", &[3, 4], |x| l1_loss(x, &rows(x)?)),
    ("smooth_l1_loss", &[3, 4], |x| smooth_l1_loss(x, &rows(x)?, 1.0)),
    ("huber_loss", &[3, 4], |x| huber_loss(x, &rows(x)?, 1.0)),
    ("cross_entropy", &[3, 4], |x| cross_entropy_loss(x, &classes()?)),
    ("nll_loss", &[3, 4], |x| nll_loss(x, &classes()?)),
    ("binary_cross_entropy", &[3, 4], |x| bce_loss(x, &rows(x)?)),
    ("binary_cross_entropy_with_logits", &[3, 4], |x| bce_with_logits_loss(x, &rows(x)?)),
    ("kl_div", &[3, 4], |x| kl_div_loss(x, &rows(x)?)),
    ("poisson_nll_loss", &[3, 4], |x| poisson_nll_loss(x, &rows(x)?, true)),
    ("gaussian_nll_loss", &[3, 4], |x| gaussian_nll_loss(x, &rows(x)?, &rows(x)?)),
    ("hinge_embedding_loss", &[3, 4], |x| hinge_embedding_loss(x, &ones(x)?, 1.0)),
    ("soft_margin_loss", &[3, 4], |x| soft_margin_loss(x, &ones(x)?)),
    ("margin_ranking_loss", &[3], |x| margin_ranking_loss(x, x, &ones(x)?, 0.0)),
    ("cosine_embedding_loss", &[3, 4], |x| {
        cosine_embedding_loss(x, x, &ones(&x.select(1, 0)?)?, 0.0)
    }),
    ("triplet_margin_loss", &[3, 4], |x| triplet_margin_loss(x, x, x, 1.0)),
    ("multi_margin_loss", &[3, 4], |x| multi_margin_loss(x, &classes()?)),
    ("multilabel_margin_loss", &[3, 4], |x| {
        let labels = Tensor::from_i64(&[0, 1, -1, -1].repeat(3), &[3, 4], Device::CPU)?;
        multilabel_margin_loss(x, &Variable::new(labels, false))
    }),
    ("multilabel_soft_margin_loss", &[3, 4], |x| multilabel_soft_margin_loss(x, &ones(x)?)),
    ("ctc_loss", &[5, 1, 4], |x| {
        let ints = |values: &[i64]| Tensor::from_i64(values, &[values.len() as i64], Device::CPU);
        let [labels, long, short] =
            [&[1, 2][..], &[5], &[2]].map(|v| ints(v).map(|t| Variable::new(t, false)));
        ctc_loss(&x.log_softmax(-1)?, &labels?.unsqueeze(0)?, &long?, &short?, 0)
    }),
];

#[test]
fn dtypes_are_those_of_pytorch() {
    let reference: serde_json::Value = serde_json::from_str(REFERENCE).unwrap();
    let reference = reference.as_object().unwrap();
    let names: Vec<&str> = TABLE.iter().map(|t| t.0).collect();
    assert!(reference.keys().all(|k| names.contains(&k.as_str())), "a name without an operation");
    let mut faults = Vec::new();
    for (name, shape, run) in TABLE {
        let known = &reference[*name];
        let own = OWN.iter().find(|o| o.0 == *name).map(|o| o.1);
        for low in [DType::BFloat16, DType::Float16] {
            for (i, given) in [DType::Float32, low].into_iter().enumerate() {
                let want = match (own, known[i].as_str()) {
                    (Some(own), _) => own[i],
                    (_, Some("float32")) => DType::Float32,
                    (_, Some("bfloat16")) => low,
                    (_, other) => panic!("{name}: {other:?}"),
                };
                let x = Tensor::rand(shape, TensorOptions::default()).unwrap();
                let x = Variable::new(x.to_dtype(given).unwrap(), true);
                match autocast(low, || run(&x)) {
                    Ok(y) if y.dtype() != want => {
                        faults.push(format!(
                            "{name} of {given:?} gives {:?}, not {want:?}",
                            y.dtype()
                        ));
                    }
                    Ok(y) => {
                        // The gradient has the input's dtype.
                        let g = y.sum().and_then(|s| s.backward()).map(|()| x.grad());
                        if !matches!(&g, Ok(Some(g)) if g.dtype() == given) {
                            faults.push(format!("{name} of {given:?}: gradient {g:?}"));
                        }
                    }
                    Err(e) => faults.push(format!("{name} of {given:?} under {low:?}: {e}")),
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
