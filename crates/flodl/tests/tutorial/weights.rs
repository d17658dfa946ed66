//! PyTorch's weights in our layers and ours in PyTorch's, and what fresh layers start with.

use super::*;

/// A layer under the name of its case in the file, and how it is called.
struct Case {
    name: &'static str,
    layer: Box<dyn Module>,
    forward: Box<Forward>,
}

type Forward = dyn Fn(&[Variable]) -> Result<Variable>;

fn case<M: Module + Clone + 'static>(
    name: &'static str,
    layer: M,
    forward: fn(&M, &[Variable]) -> Result<Variable>,
) -> Case {
    // The clone shares all state.
    let same = layer.clone();
    Case { name, layer: Box::new(layer), forward: Box::new(move |x| forward(&same, x)) }
}

/// A layer of one input.
fn one<M: Module + Clone + 'static>(name: &'static str, layer: M) -> Case {
    case(name, layer, |m, x| m.forward(&x[0]))
}

fn cases() -> Result<Vec<Case>> {
    let config = TransformerConfig::new(8, 2).dim_feedforward(12).dropout(0.0);
    let encoder = TransformerEncoderLayer::configured(&config)?;
    let decoder = TransformerDecoderLayer::configured(&config)?;
    let decoders = TransformerDecoder::new(&decoder, 2, Some(LayerNorm::new(8)?))?;
    let tracking = InstanceNorm2d::new(4, true)?.track_running_stats(true)?;
    let line = InstanceNorm1d::new(4, true)?.track_running_stats(true)?;
    let volume = InstanceNorm3d::new(4, true)?.track_running_stats(true)?;
    let widths = MultiheadAttention::new(8, 2)?.key_value_dims(5, 5)?.add_bias_kv()?;
    let strided =
        ConvTranspose2d::configure(4, 6, 3).with_stride(2).with_padding(1).with_output_padding(1);
    let sequential = FlowBuilder::from(Conv2d::new(3, 4, 3)?)
        .through(BatchNorm2d::new(4)?)
        .through(ReLU)
        .through(Flatten::new(1, -1))
        .through(Linear::new(36, 2)?)
        .build()?;
    Ok(vec![
        one("Linear", Linear::new(5, 3)?),
        one("Linear_no_bias", Linear::no_bias(5, 3)?),
        one("Conv1d", Conv1d::configure(4, 6, 3).with_stride(2).with_padding(1).done()?),
        one("Conv2d", Conv2d::configure(4, 6, 3).with_padding(1).with_groups(2).done()?),
        one("Conv3d", Conv3d::no_bias(4, 2, 2)?),
        one("ConvTranspose1d", ConvTranspose1d::new(4, 2, 3)?),
        one("ConvTranspose2d", strided.with_groups(2).done()?),
        one("ConvTranspose3d", ConvTranspose3d::new(4, 2, 2)?),
        one("BatchNorm", BatchNorm::new(5)?),
        one("BatchNorm2d", BatchNorm2d::new(4)?),
        one("BatchNorm3d", BatchNorm3d::new(4)?),
        one("LayerNorm", LayerNorm::new(5)?),
        one("RMSNorm", RMSNorm::new(5)?),
        one("GroupNorm", GroupNorm::new(2, 4)?),
        one("InstanceNorm", InstanceNorm::new(4, true)?),
        one("InstanceNorm_tracking", tracking),
        one("Embedding", Embedding::new(5, 3)?),
        one("EmbeddingBag", EmbeddingBag::new(5, 3)?),
        one("RNNCell", RNNCell::new(3, 4)?),
        one("GRUCell", GRUCell::new(3, 4)?),
        one("LSTMCell", LSTMCell::new(3, 4)?),
        one("RNN", RNN::new(3, 4, 2)?),
        one("GRU", GRU::new(3, 4, 2)?.batch_first(true)),
        one("LSTM", LSTM::configure(3, 4).with_layers(2).with_bidirectional(true).done()?),
        one("MultiheadAttention", MultiheadAttention::new(8, 2)?),
        one("TransformerEncoder", TransformerEncoder::new(&encoder, 2, None)?),
        one("TransformerEncoderLayer", encoder),
        case("TransformerDecoderLayer", decoder, |m, x| m.forward_ext(&x[0], &x[1])),
        case("Bilinear", Bilinear::new(3, 4, 2, true)?, |m, x| m.forward_bilinear(&x[0], &x[1])),
        one("PReLU", PReLU::new(4, Device::CPU)?),
        one("Sequential", Rc::new(sequential)),
        one("InstanceNorm1d", line),
        one("InstanceNorm3d", volume),
        case("MultiheadAttention_of_widths", widths, |m, x| {
            m.forward_ext(&x[0], &x[1], &x[1], None)
        }),
        case("TransformerDecoder", decoders, |m, x| m.forward_ext(&x[0], &x[1])),
        case("Transformer", Transformer::configured(&config, 1, 2)?, |m, x| {
            m.forward_ext(&x[0], &x[1])
        }),
    ])
}

type Named = (Vec<(String, Parameter)>, Vec<(String, Buffer)>);

fn named(Case { name, layer, .. }: &Case) -> Named {
    (
        layer.named_parameters().into_iter().map(|(k, p)| (format!("{name}.{k}"), p)).collect(),
        layer.named_buffers().into_iter().map(|(k, b)| (format!("{name}.{k}"), b)).collect(),
    )
}

fn inputs(name: &str, tensors: &HashMap<String, Tensor>) -> Vec<Variable> {
    let given = |i: usize| tensors.get(&format!("in.{name}.{i}"));
    (0..).map_while(given).map(|t| Variable::new(t.clone(), false)).collect()
}

/// Written by scripts/state_dict_references.py.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/state_dicts.safetensors");

/// Every layer of PyTorch's with state loads by name into ours, which then gives its output.
#[test]
fn state_dicts_of_pytorch_load_by_name() -> Checked {
    let tensors: HashMap<String, Tensor> = load_tensors(FILE)?.into_iter().collect();
    let mut seen = 0;
    for case in cases()? {
        let (name, (params, buffers)) = (case.name, named(&case));
        let report = load_checkpoint_file(FILE, &params, &buffers, None)?;
        assert!(report.missing.is_empty(), "{name}: {:?}", report.missing);
        let start = format!("{name}.");
        let left: Vec<_> = report.unexpected.iter().filter(|n| n.starts_with(&start)).collect();
        assert!(left.is_empty(), "{name} leaves {left:?}");
        case.layer.eval();
        let y = (case.forward)(&inputs(name, &tensors))?;
        let want = &tensors[&format!("out.{name}")];
        assert_eq!(y.shape(), want.shape(), "{name}");
        for (got, want) in values(&y).iter().zip(want.to_f64_vec()?) {
            assert!((got - want).abs() < 1e-5, "{name}: {got} is not {want}");
        }
        seen += 1;
    }
    let outputs = tensors.keys().filter(|k| k.starts_with("out.")).count();
    assert_eq!(seen, outputs, "a case of the file has no layer here");
    Ok(())
}

/// Writes the state of our layers, their inputs and outputs, as PyTorch's script reads them.
fn write(path: &str) -> Result<()> {
    manual_seed(5);
    let theirs: HashMap<String, Tensor> = load_tensors(FILE)?.into_iter().collect();
    let mut file = Vec::new();
    for case in cases()? {
        let (name, x) = (case.name, inputs(case.name, &theirs));
        // A forward in training, so that running statistics are not those of the start.
        (case.forward)(&x)?;
        case.layer.eval();
        let (params, buffers) = named(&case);
        file.extend(params.into_iter().map(|(k, p)| (k, p.variable.data())));
        file.extend(buffers.into_iter().map(|(k, b)| (k, b.get())));
        file.push((format!("out.{name}"), (case.forward)(&x)?.data()));
    }
    for (key, t) in theirs.iter().filter(|(k, _)| k.starts_with("in.")) {
        file.push((key.clone(), t.clone()));
    }
    save_tensors(path, &file)
}

/// What we write has PyTorch's names and shapes, and comes back.
#[test]
fn our_state_dicts_have_pytorchs_names() -> Checked {
    let theirs: HashMap<String, Tensor> = load_tensors(FILE)?.into_iter().collect();
    let path = concat!(env!("CARGO_TARGET_TMPDIR"), "/state_dicts_of_flodl.safetensors");
    write(path)?;
    let ours: HashMap<String, Tensor> = load_tensors(path)?.into_iter().collect();
    let keys = |m: &HashMap<String, Tensor>| m.keys().cloned().collect::<HashSet<_>>();
    assert_eq!(keys(&ours), keys(&theirs));
    for (key, t) in &ours {
        assert_eq!((t.shape(), t.dtype()), (theirs[key].shape(), theirs[key].dtype()), "{key}");
    }
    for case in cases()? {
        let (name, (params, buffers)) = (case.name, named(&case));
        load_checkpoint_file(path, &params, &buffers, None)?;
        case.layer.eval();
        let y = (case.forward)(&inputs(name, &ours))?;
        assert_eq!(values(&y), ours[&format!("out.{name}")].to_f64_vec()?, "{name}");
    }
    Ok(())
}

/// PyTorch itself loads what we write, strictly, and computes the same. It runs where the variable
/// FLODL_PYTHON names a Python that has torch.
#[test]
fn pytorch_loads_our_state_dicts_if_flodl_python_names_one() -> Checked {
    let Some(python) = std::env::var_os("FLODL_PYTHON") else {
        eprintln!("skipped: FLODL_PYTHON is not set");
        return Ok(());
    };
    let path = concat!(env!("CARGO_TARGET_TMPDIR"), "/state_dicts_for_pytorch.safetensors");
    write(path)?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/state_dict_references.py");
    let run = std::process::Command::new(python).args([script, path]).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{out}{err}");
    assert!(out.contains("PyTorch loads every state dict and computes the same"), "{out}{err}");
    Ok(())
}

/// How a fresh parameter is distributed.
enum Fresh {
    /// Uniform in ± this.
    Uniform(f64),
    Normal(f64),
    All(f64),
}

/// PyTorch's own layers start so: bounds from its reset_parameters, checked for each layer.
#[test]
fn fresh_weights_have_pytorchs_distribution() -> Checked {
    use Fresh::*;
    manual_seed(3);
    let over = |fan_in: f64| Uniform(1.0 / fan_in.sqrt());
    let glorot = |fan_in: f64, fan_out: f64| Uniform((6.0 / (fan_in + fan_out)).sqrt());
    type Layer = Box<dyn Module>;
    let recurrent = |m: Layer| {
        let all = m.parameters().into_iter().map(|p| (p.name, Uniform(1.0 / 8.0))).collect();
        (m, all)
    };
    fn layer(
        m: impl Module + 'static,
        w: Fresh,
        b: Option<Fresh>,
    ) -> (Layer, Vec<(String, Fresh)>) {
        let mut all = vec![("weight".to_owned(), w)];
        all.extend(b.map(|b| ("bias".to_owned(), b)));
        (Box::new(m), all)
    }
    let named = |all: Vec<(&str, Fresh)>| -> Vec<(String, Fresh)> {
        all.into_iter().map(|(n, f)| (n.to_owned(), f)).collect()
    };
    // A transposed convolution's fan-in is its weight's dim 1, the outputs of a group, times the
    // kernel: PyTorch reads the layout [in, out / groups, k…] as if it were a convolution's.
    let grouped = ConvTranspose2d::configure(64, 32, 3).with_groups(2).done()?;
    let own = MultiheadAttention::new(64, 8)?.key_value_dims(32, 128)?.add_bias_kv()?;
    // Every matrix of a transformer is Xavier uniform; the vectors start as those of its layers.
    let config = TransformerConfig::new(64, 4).dim_feedforward(96);
    let transformer = Transformer::configured(&config, 1, 1)?;
    let start = |(name, p): (String, Parameter)| {
        let fresh = match p.variable.shape()[..] {
            [out, inputs] => glorot(inputs as f64, out as f64),
            _ if name.contains("norm") => All(if name.ends_with("weight") { 1.0 } else { 0.0 }),
            _ if name.contains("linear1") => over(64.0),
            _ if name.contains("linear2") => over(96.0),
            _ => All(0.0),
        };
        (name, fresh)
    };
    let transformer_starts = transformer.named_parameters().into_iter().map(start).collect();
    let table: Vec<(Layer, Vec<(String, Fresh)>)> = vec![
        (Box::new(transformer), transformer_starts),
        layer(Linear::new(784, 128)?, Uniform(0.035714), Some(over(784.0))),
        layer(Linear::no_bias(100, 80)?, over(100.0), None),
        layer(Conv1d::new(32, 64, 5)?, over(160.0), Some(over(160.0))),
        layer(Conv2d::new(16, 64, 3)?, over(144.0), Some(over(144.0))),
        layer(Conv2d::configure(64, 64, 3).with_groups(4).done()?, over(144.0), Some(over(144.0))),
        layer(Conv3d::new(8, 64, 3)?, over(216.0), Some(over(216.0))),
        layer(ConvTranspose1d::new(64, 16, 5)?, over(80.0), Some(over(80.0))),
        layer(ConvTranspose2d::new(64, 16, 3)?, over(144.0), Some(over(144.0))),
        layer(grouped, over(144.0), Some(over(144.0))),
        layer(ConvTranspose3d::new(64, 4, 3)?, over(108.0), Some(over(108.0))),
        layer(Bilinear::new(30, 20, 64, true)?, over(30.0), Some(over(30.0))),
        layer(Embedding::new(200, 50)?, Normal(1.0), None),
        layer(EmbeddingBag::new(200, 50)?, Normal(1.0), None),
        layer(PReLU::new(7, Device::CPU)?, All(0.25), None),
        layer(LayerNorm::new(9)?, All(1.0), Some(All(0.0))),
        layer(RMSNorm::new(9)?, All(1.0), None),
        layer(BatchNorm::new(9)?, All(1.0), Some(All(0.0))),
        layer(BatchNorm2d::new(9)?, All(1.0), Some(All(0.0))),
        layer(BatchNorm3d::new(9)?, All(1.0), Some(All(0.0))),
        layer(GroupNorm::new(3, 9)?, All(1.0), Some(All(0.0))),
        layer(InstanceNorm::new(9, true)?, All(1.0), Some(All(0.0))),
        recurrent(Box::new(RNNCell::new(20, 64)?)),
        recurrent(Box::new(GRUCell::new(20, 64)?)),
        recurrent(Box::new(LSTMCell::new(20, 64)?)),
        recurrent(Box::new(RNN::new(20, 64, 2)?)),
        recurrent(Box::new(GRU::new(20, 64, 2)?)),
        recurrent(Box::new(LSTM::configure(20, 64).with_bidirectional(true).done()?)),
        (
            Box::new(MultiheadAttention::new(64, 8)?),
            named(vec![
                ("in_proj_weight", glorot(64.0, 192.0)),
                ("in_proj_bias", All(0.0)),
                ("out_proj.weight", over(64.0)),
                ("out_proj.bias", All(0.0)),
            ]),
        ),
        (
            Box::new(own),
            named(vec![
                ("q_proj_weight", glorot(64.0, 64.0)),
                ("k_proj_weight", glorot(32.0, 64.0)),
                ("v_proj_weight", glorot(128.0, 64.0)),
                ("in_proj_bias", All(0.0)),
                ("bias_k", Normal((1.0f64 / 64.0).sqrt())),
                ("bias_v", Normal((1.0f64 / 64.0).sqrt())),
                ("out_proj.weight", over(64.0)),
                ("out_proj.bias", All(0.0)),
            ]),
        ),
    ];
    for (m, want) in table {
        let got: HashMap<String, Parameter> = m.named_parameters().into_iter().collect();
        assert_eq!(got.len(), want.len(), "{}", m.name());
        for (name, fresh) in want {
            let what = format!("{}'s {name}", m.name());
            let v = values(&got[&name].variable);
            let n = v.len() as f64;
            let (mean, var) = mean_and_variance(&v);
            let largest = v.iter().fold(0.0f64, |a, x| a.max(x.abs()));
            // Five standard errors; the seed is fixed.
            let std = match fresh {
                All(c) => {
                    assert!(v.iter().all(|&x| x == c), "{what} {v:?}");
                    continue;
                }
                Uniform(bound) => {
                    assert!(largest <= bound * 1.00001, "{what}: {largest} over {bound}");
                    // The largest of n is this near to the bound but once in a million.
                    assert!(largest > bound * (1.0 - 14.0 / n), "{what}: {largest} of {bound}");
                    bound / 3f64.sqrt()
                }
                Normal(std) => std,
            };
            let spread = if matches!(fresh, Normal(_)) { 2.0 } else { 0.8 };
            assert!(mean.abs() < 5.0 * std / n.sqrt(), "{what}: mean {mean}");
            let ratio = var / (std * std);
            assert!((ratio - 1.0).abs() < 5.0 * (spread / n).sqrt(), "{what}: variance {ratio}");
        }
    }
    let padded = values(&Embedding::with_padding_idx(5, 4, Some(2))?.weight().variable);
    assert!(padded[8..12].iter().all(|&v| v == 0.0), "the padding row is zero");
    assert!(padded[..8].iter().chain(&padded[12..]).all(|&v| v != 0.0));
    let he = kaiming_uniform(&[128, 784], 784, 0.0, Device::CPU)?.abs()?.max()?.item()?;
    assert!(he <= 0.087482 && he > 0.0873, "the form for ReLU is there as well: {he}");
    Ok(())
}

#[test]
fn two_layers_differ_and_a_seed_repeats_them() -> Checked {
    let draw = || -> Result<Vec<f64>> { Ok(values(&Linear::new(9, 7)?.weight().variable)) };
    manual_seed(1);
    let (a, b) = (draw()?, draw()?);
    assert_ne!(a, b);
    manual_seed(1);
    assert_eq!(draw()?, a);
    Ok(())
}
