//! Every module passes gradients: to its inputs and to all of its parameters. The modules are those
//! that `nn/mod.rs` exports, so that a new one cannot be left out.

use std::collections::BTreeSet;

use flodl::*;

/// What a module computed, and from what.
struct Walk {
    inputs: Vec<Variable>,
    parameters: Vec<(String, Parameter)>,
    output: Variable,
}

fn input(shape: &[i64]) -> Variable {
    Variable::new(Tensor::randn(shape, TensorOptions::default()).unwrap(), true)
}

fn indices() -> Variable {
    let t = Tensor::from_i64(&[0, 3, 2, 1, 0, 4], &[2, 3], Device::CPU).unwrap();
    Variable::new(t, false)
}

/// Runs a module on these inputs; there are none where it takes integers.
fn walk<M: Module>(
    module: M,
    inputs: Vec<Variable>,
    forward: impl FnOnce(&M, &[Variable]) -> Result<Variable>,
) -> Result<Walk> {
    let parameters = module.named_parameters();
    // Zeros, such as biases in the beginning, hide gradients of others.
    for (_, p) in &parameters {
        p.variable.set_data(Tensor::randn(&p.variable.shape(), TensorOptions::default())?);
    }
    let output = forward(&module, &inputs)?;
    Ok(Walk { inputs, parameters, output })
}

/// A module of one input.
fn one(module: impl Module, shape: &[i64]) -> Result<Walk> {
    walk(module, vec![input(shape)], |m, x| m.forward(&x[0]))
}

type Run = fn() -> Result<Walk>;

const MODULES: &[(&str, Run)] = &[
    ("GELU", || one(GELU, &[2, 3])),
    ("GELUTanh", || one(GELUTanh, &[2, 3])),
    ("Hardsigmoid", || one(Hardsigmoid, &[2, 3])),
    ("Hardswish", || one(Hardswish, &[2, 3])),
    ("LogSigmoid", || one(LogSigmoid, &[2, 3])),
    ("Mish", || one(Mish, &[2, 3])),
    ("ReLU", || one(ReLU, &[2, 3])),
    ("ReLU6", || one(ReLU6, &[2, 3])),
    ("SELU", || one(SELU, &[2, 3])),
    ("SiLU", || one(SiLU, &[2, 3])),
    ("Sigmoid", || one(Sigmoid, &[2, 3])),
    ("Softsign", || one(Softsign, &[2, 3])),
    ("Tanh", || one(Tanh, &[2, 3])),
    ("Tanhshrink", || one(Tanhshrink, &[2, 3])),
    ("Identity", || one(Identity, &[2, 3])),
    ("GeluApprox", || one(GELU::with_approximate(GeluApprox::Tanh), &[2, 3])),
    ("CELU", || one(CELU::new(1.0), &[2, 3])),
    ("ELU", || one(ELU::new(1.0), &[2, 3])),
    ("LeakyReLU", || one(LeakyReLU::new(0.1), &[2, 3])),
    ("Hardshrink", || one(Hardshrink::new(0.5), &[2, 3])),
    ("Softshrink", || one(Softshrink::new(0.5), &[2, 3])),
    ("Softplus", || one(Softplus::new(1.0, 20.0), &[2, 3])),
    ("Hardtanh", || one(Hardtanh::new(-1.0, 1.0), &[2, 3])),
    ("Threshold", || one(Threshold::new(0.1, 0.0), &[2, 3])),
    ("Softmax", || one(Softmax::new(1), &[2, 3])),
    ("LogSoftmax", || one(LogSoftmax::new(1), &[2, 3])),
    ("Softmin", || one(Softmin::new(1), &[2, 3])),
    ("RReLU", || one(RReLU::new(0.1, 0.3), &[2, 3])),
    ("Softmax2d", || one(Softmax2d, &[1, 3, 2, 2])),
    ("PReLU", || one(PReLU::new(3, Device::CPU)?, &[2, 3])),
    ("MultiheadAttention", || one(MultiheadAttention::new(8, 2)?, &[2, 3, 8])),
    ("BatchNorm", || one(BatchNorm::new(2)?, &[4, 2])),
    ("BatchNorm1d", || one(BatchNorm1d::new(2)?, &[2, 2, 4])),
    ("BatchNorm2d", || one(BatchNorm2d::new(2)?, &[2, 2, 4, 4])),
    ("BatchNorm3d", || one(BatchNorm3d::new(2)?, &[1, 2, 4, 4, 4])),
    ("InstanceNorm", || one(InstanceNorm::new(2, true)?, &[2, 2, 4])),
    ("InstanceNorm1d", || one(InstanceNorm1d::new(2, true)?, &[2, 2, 4])),
    ("InstanceNorm2d", || one(InstanceNorm2d::new(2, true)?, &[2, 2, 4, 4])),
    ("InstanceNorm3d", || one(InstanceNorm3d::new(2, true)?, &[1, 2, 4, 4, 4])),
    ("GaussianBlur", || one(GaussianBlur::new(1.0), &[2, 2, 4, 4])),
    ("Conv1d", || one(Conv1d::new(2, 3, 2)?, &[2, 2, 4])),
    ("ConvTranspose1d", || one(ConvTranspose1d::new(2, 3, 2)?, &[2, 2, 4])),
    ("AvgPool1d", || one(AvgPool1d::new(2), &[2, 2, 4])),
    ("MaxPool1d", || one(MaxPool1d::new(2), &[2, 2, 4])),
    ("LPPool1d", || one(LPPool1d::new(2.0, 2), &[2, 2, 4])),
    ("AdaptiveAvgPool1d", || one(AdaptiveAvgPool1d::new(2), &[2, 2, 4])),
    ("AdaptiveMaxPool1d", || one(AdaptiveMaxPool1d::with_size(2), &[2, 2, 4])),
    ("FractionalMaxPool1d", || one(FractionalMaxPool1d::new(2, 2), &[2, 2, 4])),
    ("MaxUnpool1d", || {
        let x = input(&[2, 2, 4]);
        let (_, places) = MaxPool1d::new(2).forward_with_indices(&x)?;
        let x = input(&[2, 2, 2]);
        walk(MaxUnpool1d::new(2), vec![x], |m, x| m.forward_unpool(&x[0], &places))
    }),
    ("CircularPad1d", || one(CircularPad1d::new(1), &[2, 2, 4])),
    ("ConstantPad1d", || one(ConstantPad1d::new(1, 1.0), &[2, 2, 4])),
    ("ReflectionPad1d", || one(ReflectionPad1d::new(1), &[2, 2, 4])),
    ("ReplicationPad1d", || one(ReplicationPad1d::new(1), &[2, 2, 4])),
    ("ZeroPad1d", || one(ZeroPad1d::new(1), &[2, 2, 4])),
    ("Conv2d", || one(Conv2d::new(2, 3, 2)?, &[2, 2, 4, 4])),
    ("ConvTranspose2d", || one(ConvTranspose2d::new(2, 3, 2)?, &[2, 2, 4, 4])),
    ("AvgPool2d", || one(AvgPool2d::new(2), &[2, 2, 4, 4])),
    ("MaxPool2d", || one(MaxPool2d::new(2), &[2, 2, 4, 4])),
    ("LPPool2d", || one(LPPool2d::new(2.0, 2), &[2, 2, 4, 4])),
    ("AdaptiveAvgPool2d", || one(AdaptiveAvgPool2d::new(2), &[2, 2, 4, 4])),
    ("AdaptiveMaxPool2d", || one(AdaptiveMaxPool2d::with_size(2), &[2, 2, 4, 4])),
    ("FractionalMaxPool2d", || one(FractionalMaxPool2d::new(2, 2), &[2, 2, 4, 4])),
    ("MaxUnpool2d", || {
        let x = input(&[2, 2, 4, 4]);
        let (_, places) = MaxPool2d::new(2).forward_with_indices(&x)?;
        let x = input(&[2, 2, 2, 2]);
        walk(MaxUnpool2d::new(2), vec![x], |m, x| m.forward_unpool(&x[0], &places))
    }),
    ("CircularPad2d", || one(CircularPad2d::new(1), &[2, 2, 4, 4])),
    ("ConstantPad2d", || one(ConstantPad2d::new(1, 1.0), &[2, 2, 4, 4])),
    ("ReflectionPad2d", || one(ReflectionPad2d::new(1), &[2, 2, 4, 4])),
    ("ReplicationPad2d", || one(ReplicationPad2d::new(1), &[2, 2, 4, 4])),
    ("ZeroPad2d", || one(ZeroPad2d::new(1), &[2, 2, 4, 4])),
    ("Conv3d", || one(Conv3d::new(2, 3, [2; 3])?, &[1, 2, 4, 4, 4])),
    ("ConvTranspose3d", || one(ConvTranspose3d::new(2, 3, [2; 3])?, &[1, 2, 4, 4, 4])),
    ("AvgPool3d", || one(AvgPool3d::new(2), &[1, 2, 4, 4, 4])),
    ("MaxPool3d", || one(MaxPool3d::new(2), &[1, 2, 4, 4, 4])),
    ("LPPool3d", || one(LPPool3d::new(2.0, 2), &[1, 2, 4, 4, 4])),
    ("AdaptiveAvgPool3d", || one(AdaptiveAvgPool3d::new(2), &[1, 2, 4, 4, 4])),
    ("AdaptiveMaxPool3d", || one(AdaptiveMaxPool3d::with_size(2), &[1, 2, 4, 4, 4])),
    ("FractionalMaxPool3d", || one(FractionalMaxPool3d::new(2, 2), &[1, 2, 4, 4, 4])),
    ("MaxUnpool3d", || {
        let x = input(&[1, 2, 4, 4, 4]);
        let (_, places) = MaxPool3d::new(2).forward_with_indices(&x)?;
        let x = input(&[1, 2, 2, 2, 2]);
        walk(MaxUnpool3d::new(2), vec![x], |m, x| m.forward_unpool(&x[0], &places))
    }),
    ("CircularPad3d", || one(CircularPad3d::new(1), &[1, 2, 4, 4, 4])),
    ("ConstantPad3d", || one(ConstantPad3d::new(1, 1.0), &[1, 2, 4, 4, 4])),
    ("ReflectionPad3d", || one(ReflectionPad3d::new(1), &[1, 2, 4, 4, 4])),
    ("ReplicationPad3d", || one(ReplicationPad3d::new(1), &[1, 2, 4, 4, 4])),
    ("ZeroPad3d", || one(ZeroPad3d::new(1), &[1, 2, 4, 4, 4])),
    ("Dropout", || one(Dropout::new(0.3), &[4, 5])),
    ("AlphaDropout", || one(AlphaDropout::new(0.3), &[4, 5])),
    ("Dropout1d", || one(Dropout1d::new(0.3), &[4, 5, 2])),
    ("Dropout2d", || one(Dropout2d::new(0.3), &[4, 5, 2, 2])),
    ("Dropout3d", || one(Dropout3d::new(0.3), &[4, 5, 2, 2, 2])),
    ("FeatureAlphaDropout", || one(FeatureAlphaDropout::new(0.3), &[4, 5, 2])),
    ("Embedding", || walk(Embedding::new(5, 3)?, vec![], |m, _| m.forward(&indices()))),
    ("EmbeddingBag", || walk(EmbeddingBag::new(5, 3)?, vec![], |m, _| m.forward(&indices()))),
    ("Unfold", || one(Unfold::with_kernel(2), &[2, 2, 4, 4])),
    ("Fold", || one(Fold::with_kernel([4, 5], 2), &[1, 8, 12])),
    ("GLU", || one(GLU::new(1), &[2, 4])),
    ("GeGLU", || one(GeGLU, &[2, 4])),
    ("ReGLU", || one(ReGLU, &[2, 4])),
    ("SwiGLU", || one(SwiGLU, &[2, 4])),
    ("Linear", || one(Linear::new(3, 4)?, &[2, 3])),
    ("GroupNorm", || one(GroupNorm::new(2, 4)?, &[2, 4, 3])),
    ("LayerNorm", || one(LayerNorm::new(4)?, &[2, 4])),
    ("RMSNorm", || one(RMSNorm::new(4)?, &[2, 4])),
    ("LocalResponseNorm", || one(LocalResponseNorm::new(2), &[2, 4, 3])),
    ("Bilinear", || {
        walk(Bilinear::new(3, 4, 2, true)?, vec![input(&[2, 3]), input(&[2, 4])], |m, x| {
            m.forward_bilinear(&x[0], &x[1])
        })
    }),
    ("CosineSimilarity", || {
        walk(CosineSimilarity::new(1, 1e-8), vec![input(&[2, 3]), input(&[2, 3])], |m, x| {
            m.forward_pair(&x[0], &x[1])
        })
    }),
    ("PairwiseDistance", || {
        walk(PairwiseDistance::new(2.0), vec![input(&[2, 3]), input(&[2, 3])], |m, x| {
            m.forward_pair(&x[0], &x[1])
        })
    }),
    ("ChannelShuffle", || one(ChannelShuffle::new(2), &[2, 4, 3])),
    ("PixelShuffle", || one(PixelShuffle::new(2), &[1, 4, 2, 3])),
    ("PixelUnshuffle", || one(PixelUnshuffle::new(2), &[1, 1, 4, 2])),
    ("Upsample", || one(Upsample::new(&[5, 6], 1), &[2, 2, 4, 4])),
    ("GRUCell", || {
        walk(GRUCell::new(3, 4)?, vec![input(&[2, 3]), input(&[2, 4])], |m, x| {
            m.forward_step(&x[0], Some(&x[1]))
        })
    }),
    ("RNNCell", || {
        walk(RNNCell::new(3, 4)?, vec![input(&[2, 3]), input(&[2, 4])], |m, x| {
            m.forward_step(&x[0], Some(&x[1]))
        })
    }),
    ("LSTMCell", || {
        walk(LSTMCell::new(3, 4)?, vec![input(&[2, 3]), input(&[2, 8])], |m, x| {
            m.forward_step(&x[0], Some(&x[1]))
        })
    }),
    ("GRU", || {
        walk(GRU::new(3, 4, 2)?, vec![input(&[5, 2, 3]), input(&[2, 2, 4])], |m, x| {
            Ok(m.forward_seq(&x[0], Some(&x[1]))?.0)
        })
    }),
    ("RNN", || {
        walk(RNN::new(3, 4, 2)?, vec![input(&[5, 2, 3]), input(&[2, 2, 4])], |m, x| {
            Ok(m.forward_seq(&x[0], Some(&x[1]))?.0)
        })
    }),
    ("LSTM", || {
        walk(
            LSTM::new(3, 4, 2)?,
            vec![input(&[5, 2, 3]), input(&[2, 2, 4]), input(&[2, 2, 4])],
            |m, x| Ok(m.forward_seq(&x[0], Some((&x[1], &x[2])))?.0),
        )
    }),
    ("Flatten", || one(Flatten::new(1, -1), &[2, 3, 4])),
    ("Reshape", || one(Reshape::new(&[3, 2]), &[2, 3])),
    ("Unflatten", || one(Unflatten::new(1, &[2, 3]), &[2, 6])),
    ("TransformerEncoderLayer", || one(TransformerEncoderLayer::new(8, 2)?, &[2, 3, 8])),
    ("TransformerEncoder", || {
        one(TransformerEncoder::new(&TransformerEncoderLayer::new(8, 2)?, 2, None)?, &[2, 3, 8])
    }),
    ("TransformerDecoderLayer", || {
        walk(
            TransformerDecoderLayer::new(8, 2)?,
            vec![input(&[2, 3, 8]), input(&[2, 4, 8])],
            |m, x| m.forward_ext(&x[0], &x[1]),
        )
    }),
    ("TransformerDecoder", || {
        walk(
            TransformerDecoder::new(&TransformerDecoderLayer::new(8, 2)?, 2, None)?,
            vec![input(&[2, 3, 8]), input(&[2, 4, 8])],
            |m, x| m.forward_ext(&x[0], &x[1]),
        )
    }),
    ("Transformer", || {
        walk(
            Transformer::configured(&TransformerConfig::new(8, 2), 1, 1)?,
            vec![input(&[2, 3, 8]), input(&[2, 4, 8])],
            |m, x| m.forward_ext(&x[0], &x[1]),
        )
    }),
];

/// What else is exported: generic forms of the above, builders, options, traits, handles.
const OTHERS: &[&str] = &[
    "AdaptiveAvgPool",
    "AdaptiveMaxPool",
    "AttentionMask",
    "AttentionOptions",
    "AvgPool",
    "BatchNormNd",
    "Buffer",
    "CircularPad",
    "ConstantPad",
    "Conv",
    "Conv1dBuilder",
    "Conv2dBuilder",
    "Conv3dBuilder",
    "ConvBuilder",
    "ConvTranspose",
    "ConvTranspose1dBuilder",
    "ConvTranspose2dBuilder",
    "ConvTranspose3dBuilder",
    "ConvTransposeBuilder",
    "FractionalMaxPool",
    "InstanceNormNd",
    "IntoOutputSize",
    "IntoSizes",
    "LPPool",
    "MaxPool",
    "MaxUnpool",
    "PaddingMode",
    "Parameter",
    "ReflectionPad",
    "ReplicationPad",
    "RnnBuilder",
    "RotaryEmbedding",
    "TransformerActivation",
    "TransformerConfig",
    "TransformerMasks",
    "ZeroPad",
];

/// The names that a file exports one by one; whole files are exported only where they have no layers.
fn exported() -> BTreeSet<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/nn/mod.rs");
    let text = std::fs::read_to_string(path).unwrap();
    let mut names = BTreeSet::new();
    for item in text.split("pub use ").skip(1) {
        let (from, what) = item.split(';').next().unwrap().split_once("::").unwrap();
        if what == "*" {
            assert!(["init", "loss", "module"].contains(&from), "{from} is exported as a whole");
            continue;
        }
        let words = what.split(|c: char| !c.is_alphanumeric() && c != '_');
        // Types begin with a capital letter; the rest are functions.
        let list = words.filter(|name| name.starts_with(char::is_uppercase));
        names.extend(list.map(str::to_owned));
    }
    names
}

#[test]
fn every_exported_module_is_walked() {
    let walked: BTreeSet<String> = MODULES.iter().map(|m| m.0.to_owned()).collect();
    assert_eq!(walked.len(), MODULES.len(), "a module stands twice");
    let others: BTreeSet<String> = OTHERS.iter().map(|&name| name.to_owned()).collect();
    let known: BTreeSet<String> = walked.union(&others).cloned().collect();
    let exported = exported();
    let missing: Vec<&String> = exported.difference(&known).collect();
    let gone: Vec<&String> = known.difference(&exported).collect();
    assert!(missing.is_empty() && gone.is_empty(), "not walked {missing:?}, not there {gone:?}");
}

#[test]
fn every_module_passes_gradients_to_its_inputs_and_parameters() {
    manual_seed(11);
    let flows = |v: &Variable| {
        let values = v.grad().map(|g| g.to_f64_vec().unwrap()).unwrap_or_default();
        values.iter().all(|x| x.is_finite()) && values.iter().any(|&x| x != 0.0)
    };
    for (name, run) in MODULES {
        let Walk { inputs, parameters, output } = run().unwrap_or_else(|e| panic!("{name}: {e}"));
        // Weights that differ: the sum of a softmax has no gradient.
        let shape = output.shape();
        let weights = Variable::new(Tensor::rand(&shape, TensorOptions::default()).unwrap(), false);
        output.mul(&weights).unwrap().sum().unwrap().backward().unwrap();
        let integers = ["Embedding", "EmbeddingBag"].contains(name);
        assert_eq!(inputs.is_empty(), integers, "{name}");
        for (i, x) in inputs.iter().enumerate() {
            assert!(flows(x), "{name}: no gradient reaches input {i}");
        }
        for (p, parameter) in &parameters {
            assert!(flows(&parameter.variable), "{name}: no gradient reaches {p}");
        }
    }
}
