//! Attention and transformers: PyTorch's values, finite differences, masks, modes, wrong input.

use std::collections::HashMap;

use flodl::*;

type Checked = std::result::Result<(), Box<dyn std::error::Error>>;

/// Irregular values in (-1, 1).
fn mixed(shape: &[i64]) -> Tensor {
    let n: i64 = shape.iter().product();
    let values: Vec<f64> =
        (0..n).map(|i| ((i + 1) as f64 * 0.754_877_666).fract() * 2.0 - 1.0).collect();
    Tensor::from_f64(&values, shape, Device::CPU).unwrap()
}

fn v(t: &Tensor) -> Variable {
    Variable::new(t.clone(), true)
}

fn single(shape: &[i64]) -> Variable {
    v(&mixed(shape).to_dtype(DType::Float32).unwrap())
}

fn bools(shape: &[i64], f: impl Fn(i64) -> bool) -> Tensor {
    let n: i64 = shape.iter().product();
    let values: Vec<i64> = (0..n).map(|i| i64::from(f(i))).collect();
    let t = Tensor::from_i64(&values, shape, Device::CPU).unwrap();
    t.to_dtype(DType::Bool).unwrap()
}

fn triangle(n: i64) -> Tensor {
    bools(&[n, n], |i| i % n > i / n)
}

#[track_caller]
fn close(what: &str, got: &Tensor, want: &Tensor, tolerance: f64) {
    assert_eq!(got.shape(), want.shape(), "{what}");
    let (got, want) = (got.to_f64_vec().unwrap(), want.to_f64_vec().unwrap());
    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
        assert!((g - w).abs() <= tolerance * (1.0 + w.abs()), "{what}[{i}]: {g} is not {w}");
    }
}

/// The layer's parameters as float64.
fn double<M: Module>(m: M) -> M {
    for p in m.parameters() {
        p.variable.set_data(p.variable.data().to_dtype(DType::Float64).unwrap());
    }
    m
}

fn plain(q: &Variable, k: &Variable, x: &Variable) -> Result<Variable> {
    scaled_dot_product_attention(q, k, x, None, 0.0, false, None)
}

// PyTorch's values.

/// What PyTorch computed, by name.
struct Reference(HashMap<String, Tensor>);

impl Reference {
    fn case(name: &str) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/attention.safetensors");
        let prefix = format!("{name}/");
        let all = load_tensors(path).unwrap().into_iter();
        let own: HashMap<String, Tensor> =
            all.filter_map(|(n, t)| Some((n.strip_prefix(&prefix)?.to_owned(), t))).collect();
        assert!(!own.is_empty(), "no case {name}");
        Reference(own)
    }

    fn get(&self, name: &str) -> &Tensor {
        &self.0[name]
    }

    fn input(&self, name: &str) -> Variable {
        v(self.get(&format!("in.{name}")))
    }

    /// Gives a layer PyTorch's weights; every name must be there, and no other.
    fn load(&self, layer: &dyn Module) {
        let params = layer.named_parameters();
        let theirs = self.0.keys().filter(|n| n.starts_with("p.")).count();
        assert_eq!(params.len(), theirs);
        for (name, p) in params {
            p.variable.set_data(self.get(&format!("p.{name}")).clone());
        }
    }

    fn check(&self, y: &Variable, inputs: &[(&str, &Variable)], layer: Option<&dyn Module>) {
        close("out", &y.data(), self.get("out"), 1e-10);
        y.mul(&v(self.get("cot"))).unwrap().sum().unwrap().backward().unwrap();
        for (name, x) in inputs {
            close(name, &x.grad().unwrap(), self.get(&format!("g.{name}")), 1e-10);
        }
        for (name, p) in layer.map(|l| l.named_parameters()).unwrap_or_default() {
            let want = self.get(&format!("gp.{name}"));
            close(&name, &p.variable.grad().unwrap(), want, 1e-10);
        }
    }
}

#[test]
fn scaled_dot_product_attention_is_pytorchs() -> Checked {
    for (name, causal, scale) in [
        ("keep", false, None),
        ("bias", false, None),
        ("causal", true, None),
        ("scale", false, Some(0.3)),
    ] {
        let r = Reference::case(name);
        let (q, k, x) = (r.input("q"), r.input("k"), r.input("v"));
        let mask = r.0.get("c.mask");
        let y = scaled_dot_product_attention(&q, &k, &x, mask, 0.0, causal, scale)?;
        r.check(&y, &[("q", &q), ("k", &k), ("v", &x)], None);
        let t = Tensor::scaled_dot_product_attention(
            &q.data(),
            &k.data(),
            &x.data(),
            mask,
            0.0,
            causal,
            scale,
        )?;
        assert_eq!(t.to_f64_vec()?, y.data().to_f64_vec()?);
    }
    Ok(())
}

#[test]
fn transformers_are_pytorchs() -> Checked {
    let base = TransformerConfig::new(8, 2).dim_feedforward(12).dropout(0.0);
    for (name, config) in [
        ("decoder", base),
        ("decoder_pre", base.norm_first(true).activation(TransformerActivation::Gelu)),
    ] {
        let r = Reference::case(name);
        let layer = TransformerDecoderLayer::configured(&config)?;
        r.load(&layer);
        let (tgt, memory) = (r.input("tgt"), r.input("memory"));
        let masks = TransformerMasks {
            tgt_mask: Some(r.get("c.tgt_mask").clone()),
            memory_key_padding_mask: Some(r.get("c.padding").clone()),
            ..TransformerMasks::default()
        };
        let y = layer.forward_with(&tgt, &memory, &masks)?;
        r.check(&y, &[("tgt", &tgt), ("memory", &memory)], Some(&layer));
    }

    let r = Reference::case("encoder");
    let layer = TransformerEncoderLayer::configured(&base.layer_norm_eps(1e-3))?;
    let encoder = TransformerEncoder::new(&layer, 2, Some(LayerNorm::new(8)?))?;
    r.load(&encoder);
    let src = r.input("src");
    let masks = TransformerMasks { src_is_causal: true, ..TransformerMasks::default() };
    r.check(&encoder.forward_with(&src, &masks)?, &[("src", &src)], Some(&encoder));

    let r = Reference::case("transformer");
    let model = Transformer::configured(&base, 1, 1)?;
    r.load(&model);
    let (src, tgt) = (r.input("src"), r.input("tgt"));
    let padding = Some(r.get("c.padding").clone());
    let masks = TransformerMasks {
        tgt_mask: Some(Transformer::generate_square_subsequent_mask(4)?),
        src_key_padding_mask: padding.clone(),
        memory_key_padding_mask: padding,
        ..TransformerMasks::default()
    };
    let y = model.forward_with(&src, &tgt, &masks)?;
    r.check(&y, &[("src", &src), ("tgt", &tgt)], Some(&model));
    Ok(())
}

// Finite differences.

/// Σ y · w for irregular weights.
fn project(y: &Variable) -> Result<Variable> {
    y.mul(&Variable::new(mixed(&y.shape()), false))?.sum()
}

/// First and second derivatives of Σ f · w against differences, in f64.
fn derivatives(what: &str, shapes: &[&[i64]], f: impl Fn(&[Variable]) -> Result<Variable>) {
    let at: Vec<Tensor> = shapes
        .iter()
        .enumerate()
        .map(|(i, s)| mixed(s).add_scalar(0.01 * i as f64).unwrap())
        .collect();
    let first = |x: &[Tensor]| -> Vec<Tensor> {
        let x: Vec<Variable> = x.iter().map(v).collect();
        project(&f(&x).unwrap()).unwrap().backward().unwrap();
        x.iter().map(|x| x.grad().unwrap()).collect()
    };
    let value = |x: &[Tensor]| {
        let x: Vec<Variable> = x.iter().map(v).collect();
        no_grad(|| project(&f(&x).unwrap()).unwrap().item().unwrap())
    };
    // A projection of the first derivative, and its own derivative through the tape.
    let slope = |x: &[Tensor]| -> f64 {
        let parts = first(x).into_iter();
        parts.map(|g| g.mul(&mixed(&g.shape())).unwrap().sum().unwrap().item().unwrap()).sum()
    };
    let inputs: Vec<Variable> = at.iter().map(v).collect();
    let refs: Vec<&Variable> = inputs.iter().collect();
    let y = project(&f(&inputs).unwrap()).unwrap();
    let options = BackwardOptions::default().create_graph();
    let recorded: Vec<Variable> =
        grad(&[&y], &refs, &[None], options).unwrap().into_iter().map(Option::unwrap).collect();
    let parts: Vec<Variable> = recorded.iter().map(|g| project(g).unwrap()).collect();
    let total = parts.iter().skip(1).fold(parts[0].clone(), |a, b| a.add(b).unwrap());
    // A linear function has no second derivative.
    let second = match total.requires_grad() {
        true => grad(&[&total], &refs, &[None], BackwardOptions::default()).unwrap(),
        false => vec![None; refs.len()],
    };
    let gradients = first(&at);
    let step = 1e-5;
    for (i, t) in at.iter().enumerate() {
        close(what, &recorded[i].data(), &gradients[i], 1e-10);
        let flat = t.to_f64_vec().unwrap();
        let differ = |of: &dyn Fn(&[Tensor]) -> f64| {
            let each = (0..flat.len()).map(|j| {
                let moved = |by: f64| {
                    let (mut x, mut values) = (at.clone(), flat.clone());
                    values[j] += by;
                    x[i] = Tensor::from_f64(&values, &t.shape(), Device::CPU).unwrap();
                    of(&x)
                };
                (moved(step) - moved(-step)) / (2.0 * step)
            });
            Tensor::from_f64(&each.collect::<Vec<_>>(), &t.shape(), Device::CPU).unwrap()
        };
        close(&format!("{what}: first"), &gradients[i], &differ(&value), 1e-7);
        let zeros = Tensor::zeros_like(t).unwrap();
        let second = second[i].as_ref().map_or(zeros, Variable::data);
        close(&format!("{what}: second"), &second, &differ(&slope), 1e-6);
    }
}

#[test]
fn derivatives_are_those_of_finite_differences() {
    let keep = bools(&[2, 1, 3, 4], |i| i % 3 != 1 && i / 4 != 4);
    let bias = mixed(&[3, 4]);
    type Form<'a> = (&'a str, Option<&'a Tensor>, f64, bool, Option<f64>);
    let forms: [Form; 5] = [
        ("plain", None, 0.0, false, None),
        ("keep", Some(&keep), 0.0, false, None),
        ("bias", Some(&bias), 0.0, false, Some(0.7)),
        ("causal", None, 0.0, true, None),
        ("dropout", None, 0.4, true, None),
    ];
    for (name, mask, p, causal, scale) in forms {
        derivatives(name, &[&[2, 2, 3, 2], &[2, 2, 4, 2], &[2, 2, 4, 3]], |x| {
            manual_seed(11);
            scaled_dot_product_attention(&x[0], &x[1], &x[2], mask, p, causal, scale)
        });
    }
    derivatives("a bias", &[&[2, 2, 3, 2], &[2, 2, 4, 2], &[2, 1, 3, 4]], |x| {
        manual_seed(11);
        scaled_dot_product_attention_bias(&x[0], &x[1], &x[1], &x[2], 0.2, true, None)
    });
    derivatives("broadcast and strided", &[&[2, 3, 2], &[4, 2], &[2, 1, 4, 2]], |x| {
        plain(&x[0].transpose(0, 1)?.transpose(0, 1)?, &x[1], &x[2])
    });
    let mha = double(MultiheadAttention::new(4, 2).unwrap());
    derivatives("joint projection", &[&[2, 3, 4]], |x| mha.forward(&x[0]));
    let mask = triangle(3);
    derivatives("masked", &[&[2, 3, 4]], |x| mha.forward_ext(&x[0], &x[0], &x[0], Some(&mask)));
    derivatives("weights", &[&[1, 3, 4], &[1, 2, 4]], |x| {
        let options = AttentionOptions { need_weights: true, ..AttentionOptions::default() };
        let (y, w) = mha.forward_with(&x[0], &x[1], &x[1], &options)?;
        y.sum()?.add(&w.expect("asked for").mul(&v(&mixed(&[1, 3, 2])))?.sum()?)
    });
    let rope = RotaryEmbedding::new(4, 8).unwrap();
    derivatives("rotary", &[&[2, 3, 4]], |x| rope.apply_one(&x[0]));
    derivatives("swiglu", &[&[2, 6]], |x| SwiGLU.forward(&x[0]));
    derivatives("geglu", &[&[2, 6]], |x| GeGLU.forward(&x[0]));
    derivatives("reglu", &[&[2, 6]], |x| ReGLU.forward(&x[0]));
    derivatives("glu", &[&[4, 3]], |x| GLU::new(0).forward(&x[0]));
}

// Properties.

#[test]
fn long_sequences_go_through_several_blocks() -> Checked {
    // The tiles, against the same of plain operations.
    for (l, s, causal) in [(140, 300, false), (300, 140, true), (260, 260, true)] {
        let (q, k, x) =
            (v(&mixed(&[1, 2, l, 6])), v(&mixed(&[1, 2, s, 6])), v(&mixed(&[1, 2, s, 5])));
        let y = scaled_dot_product_attention(&q, &k, &x, None, 0.0, causal, None)?;
        project(&y)?.backward()?;
        let all = [&q, &k, &x].map(|x| x.grad().expect("a gradient"));
        let scores = q.matmul(&k.transpose(-2, -1)?)?.div_scalar(6f64.sqrt())?;
        let hidden = bools(&[l, s], |i| causal && i % s > i / s);
        let w = scores.masked_fill(&hidden, f64::NEG_INFINITY)?.softmax(-1)?;
        let want = w.matmul(&x)?;
        close("out", &y.data(), &want.data(), 1e-12);
        for x in [&q, &k, &x] {
            x.zero_grad();
        }
        project(&want)?.backward()?;
        for (got, x) in all.iter().zip([&q, &k, &x]) {
            close("gradient", got, &x.grad().expect("a gradient"), 1e-10);
        }
    }
    Ok(())
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Checked {
    let run = |threads| -> Result<Vec<Vec<f32>>> {
        set_num_threads(threads);
        manual_seed(3);
        let (q, k) = (single(&[1, 1, 400, 32]), single(&[1, 1, 700, 32]));
        let y = scaled_dot_product_attention(&q, &k, &k, None, 0.2, false, None)?;
        y.mul(&single(&[1, 1, 400, 32]))?.sum()?.backward()?;
        let grads = [&q, &k].map(|x| x.grad().expect("a gradient"));
        [y.data(), grads[0].clone(), grads[1].clone()].iter().map(Tensor::to_f32_vec).collect()
    };
    let (one, two) = (run(1)?, run(2)?);
    set_num_threads(0);
    assert!(one == two);
    Ok(())
}

#[test]
fn a_bias_counts_as_a_float_mask() -> Checked {
    let (q, k, bias) = (v(&mixed(&[2, 3, 4])), v(&mixed(&[2, 5, 4])), v(&mixed(&[3, 5])));
    let y = scaled_dot_product_attention_bias(&q, &k, &k, &bias, 0.0, false, None)?;
    let mask = bias.data();
    let want = scaled_dot_product_attention(&q, &k, &k, Some(&mask), 0.0, false, None)?;
    close("out", &y.data(), &want.data(), 1e-13);
    y.sum()?.backward()?;
    assert_eq!(bias.grad().unwrap().shape(), [3, 5]);
    Ok(())
}

#[test]
fn strided_inputs_are_read_as_they_lie() -> Checked {
    let q = v(&mixed(&[2, 5, 3, 4]));
    let turned = q.transpose(1, 2)?;
    let y = plain(&turned, &turned, &turned)?;
    let dense = v(&turned.data().contiguous()?);
    let want = plain(&dense, &dense, &dense)?;
    assert_eq!(y.data().to_f64_vec()?, want.data().to_f64_vec()?);
    project(&y)?.backward()?;
    project(&want)?.backward()?;
    let got = q.grad().unwrap().transpose(1, 2)?;
    close("gradient", &got, &dense.grad().unwrap(), 1e-14);
    // A last dim that is not adjacent, and gradients that are broadcast.
    let flipped = v(&mixed(&[2, 4, 5]));
    let y = plain(&flipped.transpose(1, 2)?, &flipped.transpose(1, 2)?, &flipped.transpose(1, 2)?)?;
    y.sum()?.backward()?;
    assert_eq!(flipped.grad().unwrap().shape(), [2, 4, 5]);
    Ok(())
}

#[test]
fn empty_batches_and_sequences() -> Checked {
    let mha = MultiheadAttention::new(8, 2)?;
    for shape in [[0, 3, 8], [2, 0, 8]] {
        let x = single(&shape);
        let y = mha.forward(&x)?;
        assert_eq!(y.shape(), shape);
        y.sum()?.backward()?;
        assert_eq!(x.grad().unwrap().shape(), shape);
    }
    let (q, none) = (single(&[2, 3, 8]), single(&[2, 0, 8]));
    assert_eq!(plain(&q, &none, &none)?.data().to_f32_vec()?, [0.0; 48]);
    assert_eq!(mha.forward_ext(&q, &none, &none, None)?.shape(), [2, 3, 8]);
    let layer = TransformerEncoderLayer::new(8, 2)?;
    assert_eq!(layer.forward(&single(&[0, 3, 8]))?.shape(), [0, 3, 8]);
    assert_eq!(SwiGLU.forward(&single(&[0, 8]))?.shape(), [0, 4]);
    Ok(())
}

#[test]
fn halves_go_through_single_precision() -> Checked {
    for dtype in [DType::Float16, DType::BFloat16] {
        let x = v(&mixed(&[2, 3, 4]).to_dtype(dtype)?);
        let y = plain(&x, &x, &x)?;
        assert_eq!(y.dtype(), dtype);
        let wide = x.to_dtype(DType::Float32)?;
        close("out", &y.data(), &plain(&wide, &wide, &wide)?.data(), 0.01);
        y.sum()?.backward()?;
        assert_eq!(x.grad().unwrap().dtype(), dtype);
    }
    Ok(())
}

#[test]
fn dropout_drops_its_share_and_follows_the_seed() -> Checked {
    let (q, eye) =
        (single(&[1, 64, 8]), v(&Tensor::eye(64, TensorOptions::default())?.unsqueeze(0)?));
    let weights = |p| {
        manual_seed(5);
        scaled_dot_product_attention(&q, &q, &eye, None, p, false, None)
    };
    let (full, dropped) = (weights(0.0)?.data().to_f32_vec()?, weights(0.5)?.data().to_f32_vec()?);
    assert_eq!(dropped, weights(0.5)?.data().to_f32_vec()?);
    let zeros = dropped.iter().filter(|&&x| x == 0.0).count();
    assert!((1850..2250).contains(&zeros), "{zeros} of 4096");
    for (d, f) in dropped.iter().zip(&full).filter(|(d, _)| **d != 0.0) {
        assert!((d - 2.0 * f).abs() < 1e-6);
    }
    assert!(weights(1.0)?.data().to_f32_vec()?.iter().all(|&x| x == 0.0));
    // Dropout is for training.
    let mha = MultiheadAttention::new(8, 2)?.dropout(0.5)?;
    let y = |mha: &MultiheadAttention| mha.forward(&q).unwrap().data().to_f32_vec().unwrap();
    assert_ne!(y(&mha), y(&mha));
    mha.clone().eval();
    assert_eq!(y(&mha), y(&mha));
    let layer = TransformerEncoderLayer::new(8, 2)?;
    let z = || layer.forward(&q).unwrap().data().to_f32_vec().unwrap();
    assert_ne!(z(), z());
    layer.eval();
    assert_eq!(z(), z());
    Ok(())
}

// The layer.

#[test]
fn self_attention_is_attention_of_one_input() -> Checked {
    let mha = double(MultiheadAttention::new(8, 2)?);
    let x = v(&mixed(&[2, 5, 8]));
    let joint = mha.forward(&x)?;
    assert_eq!(joint.shape(), [2, 5, 8]);
    assert_eq!(mha.forward_ext(&x, &x, &x, None)?.data().to_f64_vec()?, joint.data().to_f64_vec()?);
    // Copies take the way of three inputs.
    let (k, u) = (v(&x.data()), v(&x.data()));
    close("apart", &mha.forward_ext(&x, &k, &u, None)?.data(), &joint.data(), 1e-13);
    close("key is value", &mha.forward_ext(&x, &k, &k, None)?.data(), &joint.data(), 1e-13);
    // An all-false or all-zero mask is none; whole numbers count as bool.
    for mask in [
        bools(&[5, 5], |_| false),
        Tensor::zeros(&[5, 5], DType::Float64.into())?,
        Tensor::zeros(&[4, 5, 5], DType::Int64.into())?,
    ] {
        let y = mha.forward_ext(&x, &x, &x, Some(&mask))?;
        close("no mask", &y.data(), &joint.data(), 1e-13);
    }
    // Without a batch, and with the batch second.
    let row = mha.forward(&v(&x.data().select(0, 1)?))?;
    close("unbatched", &row.data(), &joint.data().select(0, 1)?, 1e-13);
    let second = mha.clone().batch_first(false);
    let y = second.forward(&v(&x.data().transpose(0, 1)?))?;
    close("batch second", &y.data().transpose(0, 1)?, &joint.data(), 1e-13);
    Ok(())
}

#[test]
fn masked_keys_have_no_influence() -> Checked {
    let mha = MultiheadAttention::new(8, 2)?;
    let (q, k) = (single(&[2, 3, 8]), mixed(&[2, 4, 8]).to_dtype(DType::Float32)?);
    let changed = k.narrow_scatter(&k.narrow(1, 2, 1)?.mul_scalar(-3.0)?, 1, 2)?;
    let (k, changed) = (v(&k), v(&changed));
    let third = bools(&[3, 4], |i| i % 4 == 2);
    let infinite = Tensor::zeros(&[3, 4], DType::Float32.into())?;
    let infinite = infinite.masked_fill(&third, f64::NEG_INFINITY)?;
    let padding = bools(&[2, 4], |i| i % 4 == 2);
    let third_variable = Variable::new(third.clone(), false);
    let all = [&third, &infinite, &third.expand(&[4, 3, 4])?, &third.expand(&[2, 2, 3, 4])?];
    let with = |k: &Variable, mask: Option<&Tensor>| mha.forward_ext(&q, k, k, mask);
    let want = with(&k, Some(&third))?.data();
    assert_ne!(with(&k, None)?.data().to_f32_vec()?, with(&changed, None)?.data().to_f32_vec()?);
    for mask in all {
        close("same", &with(&k, Some(mask))?.data(), &want, 1e-6);
        close("changed", &with(&changed, Some(mask))?.data(), &want, 1e-6);
    }
    close("variable", &mha.forward_ext(&q, &k, &k, &third_variable)?.data(), &want, 1e-6);
    // Padding alone, and masks of both kinds together.
    let rest = [None, Some(bools(&[3, 4], |i| i % 4 == 0)), Some(mixed(&[3, 4]))];
    for attn_mask in rest {
        let key_padding_mask = Some(padding.clone());
        let options =
            AttentionOptions { attn_mask, key_padding_mask, ..AttentionOptions::default() };
        let y = |k: &Variable| mha.forward_with(&q, k, k, &options).unwrap().0.data();
        close("padding", &y(&changed), &y(&k), 1e-6);
    }
    Ok(())
}

#[test]
fn causal_attention_sees_no_future() -> Checked {
    let x = mixed(&[1, 6, 8]).to_dtype(DType::Float32)?;
    let changed = x.narrow_scatter(&x.narrow(1, 4, 2)?.mul_scalar(5.0)?, 1, 4)?;
    let options = AttentionOptions { is_causal: true, ..AttentionOptions::default() };
    for mha in [
        MultiheadAttention::new(8, 2)?,
        MultiheadAttention::new(8, 2)?.rotary(RotaryEmbedding::new(4, 6)?)?,
        MultiheadAttention::new(8, 2)?.add_bias_kv()?.add_zero_attn(),
    ] {
        let run = |x: &Tensor| {
            let x = v(x);
            mha.forward_with(&x, &x, &x, &options).unwrap().0.data().narrow(1, 0, 4).unwrap()
        };
        close("past", &run(&changed), &run(&x), 1e-6);
        let x = v(&x);
        let mask = mha.forward_ext(&x, &x, &x, Some(&triangle(6)))?;
        close("as a mask", &run(&x.data()), &mask.data().narrow(1, 0, 4)?, 1e-6);
    }
    Ok(())
}

#[test]
fn a_query_that_sees_nothing_gets_nothing() -> Checked {
    let mha = double(MultiheadAttention::new(4, 2)?);
    let x = v(&mixed(&[1, 3, 4]));
    let mask = bools(&[3, 3], |i| i / 3 == 1);
    for need_weights in [false, true] {
        let attn_mask = Some(mask.clone());
        let options = AttentionOptions { attn_mask, need_weights, ..AttentionOptions::default() };
        let (y, w) = mha.forward_with(&x, &x, &x, &options)?;
        // The output bias starts at 0.
        assert_eq!(y.data().select(1, 1)?.to_f64_vec()?, [0.0; 4]);
        if let Some(w) = w {
            assert_eq!(w.data().select(1, 1)?.to_f64_vec()?, [0.0; 3]);
        }
        y.sum()?.backward()?;
        assert!(x.grad().unwrap().all_finite()?);
    }
    Ok(())
}

#[test]
fn weights_are_those_of_the_output() -> Checked {
    let mha = MultiheadAttention::new(8, 4)?;
    let (q, k) = (single(&[2, 3, 8]), single(&[2, 5, 8]));
    for average_attn_weights in [true, false] {
        let options = AttentionOptions {
            need_weights: true,
            average_attn_weights,
            ..AttentionOptions::default()
        };
        let (y, w) = mha.forward_with(&q, &k, &k, &options)?;
        let w = w.unwrap();
        let want: &[i64] = if average_attn_weights { &[2, 3, 5] } else { &[2, 4, 3, 5] };
        assert_eq!(w.shape(), want);
        for total in w.sum_dim(-1, false)?.data().to_f32_vec()? {
            assert!((total - 1.0).abs() < 1e-5);
        }
        close("out", &y.data(), &mha.forward_ext(&q, &k, &k, None)?.data(), 1e-5);
    }
    Ok(())
}

#[test]
fn weights_start_as_pytorchs() -> Checked {
    manual_seed(1);
    let mha = MultiheadAttention::new(64, 8)?;
    let names: Vec<String> = mha.parameters().into_iter().map(|p| p.name).collect();
    assert_eq!(names, ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"]);
    let largest = |i: usize| -> f64 {
        mha.parameters()[i].variable.data().abs().unwrap().max().unwrap().item().unwrap()
    };
    let bound = (6.0f64 / (64.0 + 3.0 * 64.0)).sqrt();
    assert!(largest(0) <= bound && largest(0) > 0.99 * bound, "{} {bound}", largest(0));
    assert_eq!((largest(1), largest(3)), (0.0, 0.0));
    assert!(largest(2) <= 0.125 && largest(2) > 0.12);
    let own = MultiheadAttention::new(64, 8)?.key_value_dims(16, 32)?.add_bias_kv()?;
    let shapes: Vec<(String, Vec<i64>)> =
        own.parameters().into_iter().map(|p| (p.name, p.variable.shape())).collect();
    assert_eq!(shapes[1], ("k_proj_weight".into(), vec![64, 16]));
    assert_eq!(shapes[2], ("v_proj_weight".into(), vec![64, 32]));
    assert_eq!((&shapes[4].0[..], &shapes[5].1[..]), ("bias_k", &[1, 1, 64][..]));
    assert_eq!(MultiheadAttention::new(8, 2)?.without_bias().parameters().len(), 2);
    // A stack starts with equal layers that are then their own.
    let stack = TransformerEncoder::new(&TransformerEncoderLayer::new(8, 2)?, 2, None)?;
    let [a, b] = stack.layers() else { panic!("two layers") };
    let (a, b) = (a.parameters(), b.parameters());
    assert_eq!(a[0].variable.data().to_f32_vec()?, b[0].variable.data().to_f32_vec()?);
    assert_ne!(a[0].variable.id(), b[0].variable.id());
    assert_eq!(stack.named_parameters()[12].0, "layers.1.self_attn.in_proj_weight");
    Ok(())
}

#[test]
fn every_layer_is_a_good_module() -> Checked {
    let small = TransformerConfig::new(8, 2).dim_feedforward(16);
    let mha = MultiheadAttention::new(8, 2)?;
    let layer = TransformerEncoderLayer::configured(&small)?;
    let stack = TransformerEncoder::new(&layer, 2, Some(LayerNorm::new(8)?))?;
    let model = Transformer::configured(&small, 1, 1)?;
    let all: [(&dyn Module, usize); 4] =
        [(&mha, 4), (&layer, 12), (&stack, 26), (&model, 12 + 18 + 4)];
    for (module, count) in all {
        assert_eq!(module.parameters().len(), count, "{}", module.name());
        let below: std::collections::HashSet<usize> = module
            .sub_modules()
            .iter()
            .flat_map(|m| m.parameters())
            .map(|p| p.variable.id())
            .collect();
        assert!(module.sub_modules().is_empty() || below.len() == count, "{}", module.name());
        let mut seen = Vec::new();
        walk_modules(module, &mut |m| seen.extend(m.identity()));
        let unique: std::collections::HashSet<_> = seen.iter().collect();
        assert_eq!(seen.len(), unique.len(), "{}", module.name());
    }
    assert_eq!(mha.identity(), mha.clone().identity());
    assert_eq!(layer.identity(), layer.clone().identity());
    let hash = |m: &dyn Module| m.structural_hash();
    for other in [
        MultiheadAttention::new(8, 4)?,
        MultiheadAttention::new(8, 2)?.dropout(0.1)?,
        MultiheadAttention::new(8, 2)?.batch_first(false),
        MultiheadAttention::new(8, 2)?.add_zero_attn(),
        MultiheadAttention::new(8, 2)?.rotary(RotaryEmbedding::new(4, 9)?)?,
    ] {
        assert_ne!(hash(&mha), hash(&other));
    }
    assert_eq!(hash(&mha), hash(&MultiheadAttention::new(8, 2)?));
    for other in [
        small.norm_first(true),
        small.activation(TransformerActivation::Gelu),
        small.dropout(0.2),
        small.layer_norm_eps(1e-6),
        small.batch_first(false),
    ] {
        assert_ne!(hash(&layer), hash(&TransformerEncoderLayer::configured(&other)?));
    }
    assert_eq!(size_of::<SwiGLU>() + size_of::<GeGLU>() + size_of::<ReGLU>(), 0);
    Ok(())
}

#[test]
fn layers_work_in_double_precision_and_in_graphs() -> Checked {
    let config = TransformerConfig::new(8, 2).dim_feedforward(16);
    let model = double(Transformer::configured(&config, 1, 1)?);
    let (src, tgt) = (v(&mixed(&[2, 4, 8])), v(&mixed(&[2, 3, 8])));
    let masks = TransformerMasks {
        // A float32 mask beside float64 inputs.
        tgt_mask: Some(Transformer::generate_square_subsequent_mask(3)?),
        ..TransformerMasks::default()
    };
    let y = model.forward_with(&src, &tgt, &masks)?;
    y.sum()?.backward()?;
    assert_eq!(y.dtype(), DType::Float64);
    assert!(model.parameters().iter().all(|p| p.variable.grad().is_some()));
    let rotary = MultiheadAttention::new(8, 2)?.rotary(RotaryEmbedding::new(4, 16)?)?;
    assert_eq!(double(rotary).forward(&src)?.dtype(), DType::Float64);

    let graph = FlowBuilder::from(Linear::new(8, 8)?)
        .also(MultiheadAttention::new(8, 2)?)
        .through(LayerNorm::new(8)?)
        .through(TransformerEncoderLayer::configured(&config)?)
        .through(SwiGLU)
        .build()?;
    let x = single(&[2, 5, 8]);
    let y = graph.forward(&x)?;
    assert_eq!(y.shape(), [2, 5, 4]);
    y.sum()?.backward()?;
    assert!(graph.parameters().iter().all(|p| p.variable.grad().is_some()));
    let refs = HashMap::from([("memory".to_owned(), x.clone())]);
    let decoder = TransformerDecoderLayer::configured(&config)?;
    let named = decoder.as_named_input().unwrap();
    assert_eq!(named.forward_named(&single(&[2, 3, 8]), &refs)?.shape(), [2, 3, 8]);
    Ok(())
}

#[test]
fn rotary_products_depend_on_the_distance() -> Checked {
    let rope = RotaryEmbedding::on_device_theta(6, 32, 100.0, Device::CPU)?;
    assert_eq!((rope.head_dim(), rope.max_seq_len()), (6, 32));
    // One vector at every position, rotated.
    let x = v(&mixed(&[6]).expand(&[20, 6])?);
    let (q, k) = rope.apply(&x, &x)?;
    let scores = q.matmul(&k.transpose(0, 1)?)?.data();
    let at = |i, j| scores.select(0, i).unwrap().select(0, j).unwrap().item().unwrap();
    for (i, j) in [(0, 0), (3, 1), (7, 12)] {
        assert!((at(i, j) - at(i + 5, j + 5)).abs() < 1e-12);
    }
    // Halves turn together: element 1 with element 4, by position · 100^(-2/6).
    let row = mixed(&[6]).to_f64_vec()?;
    let angle = 7.0 * 100f64.powf(-2.0 / 6.0);
    let want = row[1] * angle.cos() - row[4] * angle.sin();
    assert!((q.data().select(0, 7)?.to_f64_vec()?[1] - want).abs() < 1e-12);
    assert_eq!(rope.apply_one(&single(&[2, 3, 5, 6]))?.dtype(), DType::Float32);
    Ok(())
}

#[test]
fn gates_have_their_values() -> Checked {
    let x = v(&Tensor::from_f64(&[1.0, -2.0, 3.0, 0.5], &[1, 4], Device::CPU)?);
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let want = |a: f64, b: f64| Tensor::from_f64(&[a, b], &[1, 2], Device::CPU).unwrap();
    let silu = |x: f64| x * sigmoid(x);
    close("swiglu", &SwiGLU.forward(&x)?.data(), &want(3.0 * silu(1.0), 0.5 * silu(-2.0)), 1e-12);
    close("reglu", &ReGLU::new().forward(&x)?.data(), &want(3.0, 0.0), 1e-12);
    let geglu = want(3.0 * 0.841_344_746, 0.5 * -0.045_500_264);
    close("geglu", &GeGLU.forward(&x)?.data(), &geglu, 1e-8);
    let glu = want(sigmoid(3.0), -2.0 * sigmoid(0.5));
    close("glu", &GLU::default().forward(&x)?.data(), &glu, 1e-12);
    Ok(())
}
