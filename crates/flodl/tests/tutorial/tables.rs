//! Embeddings, recurrent layers, attention and the bilinear layer.

use super::*;

#[test]
fn an_embedding_gives_rows_of_its_table() -> Checked {
    let emb = Embedding::new(10_000, 64)?;
    assert_eq!(emb.weight().variable.shape(), [10_000, 64]);
    let rows = emb.weight().variable.data();
    let indices = ints(&[0, 9999, 5, 5, 7, 1], &[2, 3]);
    assert!(!indices.requires_grad());
    let y = emb.forward(&indices)?;
    assert_eq!(y.shape(), [2, 3, 64]);
    for (got, &i) in values(&y).chunks(64).zip(&[0, 9999, 5, 5, 7, 1]) {
        assert_eq!(got, rows.select(0, i)?.to_f64_vec()?);
    }
    assert_eq!(emb.forward(&ints(&[3], &[]))?.shape(), [64]);
    assert_eq!(emb.forward(&ints(&[3, 4], &[1, 2, 1]))?.shape(), [1, 2, 1, 64]);
    for bad in [10_000, -1] {
        fails(emb.forward(&ints(&[0, bad], &[2])), &bad.to_string());
    }
    let small = Embedding::new(4, 2)?;
    small.forward(&ints(&[1, 3, 1], &[3]))?.sum()?.backward()?;
    assert_eq!(gradient(&small.weight().variable), [0.0, 0.0, 2.0, 2.0, 0.0, 0.0, 1.0, 1.0]);
    Ok(())
}

#[test]
fn bags_sum_average_and_take_the_largest() -> Checked {
    let bag = EmbeddingBag::new(5, 1)?;
    set(&bag.parameters()[0], &[1.0, 2.0, 4.0, 8.0, 16.0]);
    let (indices, offsets) = (ints(&[0, 1, 2, 3, 4], &[5]), ints(&[0, 3], &[2]));
    let wants = [
        (0, [7.0, 24.0], [1.0; 5]),
        (1, [7.0 / 3.0, 12.0], [1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 0.5, 0.5]),
        (2, [4.0, 16.0], [0.0, 0.0, 1.0, 0.0, 1.0]),
    ];
    for (mode, want, slopes) in wants {
        let y = bag.forward_bag(&indices, &offsets, mode)?;
        assert_eq!(y.shape(), [2, 1]);
        close(&y, &want, 1e-6);
        let weight = &bag.parameters()[0].variable;
        weight.zero_grad();
        y.sum()?.backward()?;
        near(&gradient(weight), &slopes, 1e-6);
        // Tensors do as well as variables.
        let y = bag.forward_bag(&indices.data(), &offsets.data(), mode)?;
        close(&y, &want, 1e-6);
    }
    for (number, mode) in [(0, Bag::Sum), (1, Bag::Mean), (2, Bag::Max)] {
        let y = bag.forward_bag(&indices, &offsets, mode)?;
        assert_eq!(values(&y), values(&bag.forward_bag(&indices, &offsets, number)?));
        // As a layer of rows of indices, with the mode as a setting.
        let rows = ints(&[0, 1, 2, 3], &[2, 2]);
        let y = bag.clone().mode(mode).forward(&rows)?;
        let want = bag.forward_bag(&rows.flatten(0, 1)?, &ints(&[0, 2], &[2]), mode)?;
        assert_eq!(values(&y), values(&want));
    }
    let empty = bag.forward_bag(&ints(&[0, 1], &[2]), &ints(&[0, 0, 2], &[3]), 1)?;
    close(&empty, &[0.0, 1.5, 0.0], 1e-6);
    fails(bag.forward_bag(&indices, &offsets, 3), "mode");
    fails(bag.forward_bag(&indices, &ints(&[1, 3], &[2]), 0), "offset");
    fails(bag.forward_bag(&indices, &ints(&[0, 6], &[2]), 0), "offset");
    fails(bag.forward_bag(&ints(&[5], &[1]), &ints(&[0], &[1]), 0), "5");
    Ok(())
}

#[test]
fn cells_have_pytorchs_values() -> Checked {
    let one = var(&[1.0], &[1, 1]);
    let gru = GRUCell::new(1, 1)?;
    fill(&gru, 0.5);
    let h = gru.forward_step(&one, None)?;
    close(&h, &[0.161855], 1e-6);
    close(&gru.forward_step(&one, Some(&zeros(&[1, 1])))?, &values(&h), 1e-6);
    close(&gru.forward_step(&one, Some(&h))?, &[0.288137], 1e-6);
    let lstm = LSTMCell::new(1, 1)?;
    fill(&lstm, 0.5);
    let state = lstm.forward_step(&one, None)?;
    // h and c side by side.
    close(&state, &[0.514386, 0.740026], 1e-6);
    let none = lstm.join_state(&zeros(&[1, 1]), &zeros(&[1, 1]))?;
    close(&lstm.forward_step(&one, Some(&none))?, &values(&state), 1e-6);
    let state = lstm.forward_step(&one, Some(&state))?;
    close(&state, &[0.761281, 1.434690], 1e-6);
    let (h, c) = lstm.split_state(&state)?;
    close(&h, &[0.761281], 1e-6);
    close(&c, &[1.434690], 1e-6);
    let h = GRUCell::new(128, 256)?.forward_step(&randn(&[3, 128]), None)?;
    assert_eq!(h.shape(), [3, 256]);
    Ok(())
}

/// What made a value: a single operation, if what it is made of are leaves.
fn recorded(v: &Variable) -> Option<&'static str> {
    v.grad_fn_name()
}

#[test]
fn a_step_and_a_sequence_are_one_operation() -> Checked {
    let x = leaf(&randn(&[3, 4]));
    assert_eq!(recorded(&GRUCell::new(4, 5)?.forward_step(&x, None)?), Some("GRUCell"));
    assert_eq!(recorded(&LSTMCell::new(4, 5)?.forward_step(&x, None)?), Some("LSTMCell"));
    let (gru, lstm) = (GRU::new(4, 5, 2)?, LSTM::new(4, 5, 2)?);
    for steps in [5, 50] {
        let x = leaf(&randn(&[steps, 3, 4]));
        let (out, h) = gru.forward_seq(&x, None)?;
        assert_eq!((recorded(&out), recorded(&h)), (Some("GRU"), Some("GRU")));
        let (out, (h, c)) = lstm.forward_seq(&x, None)?;
        assert_eq!([&out, &h, &c].map(recorded), [Some("LSTM"); 3]);
    }
    Ok(())
}

fn copy_layer(from: &dyn Module, layer: usize, to: &dyn Module) {
    for p in to.parameters() {
        let source = parameter(from, &format!("{}_l{layer}", p.name));
        p.variable.set_data(source.variable.data());
    }
}

#[test]
fn sequences_are_cells_stepped_layer_on_layer() -> Checked {
    manual_seed(1);
    let x = randn(&[5, 3, 4]);
    let gru = GRU::new(4, 6, 2)?;
    let cells = [GRUCell::new(4, 6)?, GRUCell::new(6, 6)?];
    (0..2).for_each(|l| copy_layer(&gru, l, &cells[l]));
    let (out, h_n) = gru.forward_seq(&x, None)?;
    assert_eq!((out.shape(), h_n.shape()), (vec![5, 3, 6], vec![2, 3, 6]));
    let mut h: [Option<Variable>; 2] = [None, None];
    for t in 0..5 {
        let mut y = x.select(0, t)?;
        for (cell, h) in cells.iter().zip(&mut h) {
            y = cell.forward_step(&y, h.as_ref())?;
            *h = Some(y.clone());
        }
        close(&out.select(0, t)?, &values(&y), 1e-5);
    }
    for (l, h) in h.iter().enumerate() {
        close(&h_n.select(0, l as i64)?, &values(h.as_ref().unwrap()), 1e-5);
    }
    assert_eq!(values(&h_n.select(0, 1)?), values(&out.select(0, 4)?));
    // Going on from a state is going on.
    let (_, half) = gru.forward_seq(&x.narrow(0, 0, 3)?, None)?;
    let (rest, _) = gru.forward_seq(&x.narrow(0, 3, 2)?, Some(&half))?;
    close(&rest, &values(&out.narrow(0, 3, 2)?), 1e-5);

    let lstm = LSTM::new(4, 6, 2)?;
    let cells = [LSTMCell::new(4, 6)?, LSTMCell::new(6, 6)?];
    (0..2).for_each(|l| copy_layer(&lstm, l, &cells[l]));
    let (out, (h_n, c_n)) = lstm.forward_seq(&x, None)?;
    let mut states: [Option<Variable>; 2] = [None, None];
    for t in 0..5 {
        let mut y = x.select(0, t)?;
        for (cell, state) in cells.iter().zip(&mut states) {
            let next = cell.forward_step(&y, state.as_ref())?;
            y = cell.split_state(&next)?.0;
            *state = Some(next);
        }
        close(&out.select(0, t)?, &values(&y), 1e-5);
    }
    for (l, (cell, state)) in cells.iter().zip(&states).enumerate() {
        let (h, c) = cell.split_state(state.as_ref().unwrap())?;
        close(&h_n.select(0, l as i64)?, &values(&h), 1e-5);
        close(&c_n.select(0, l as i64)?, &values(&c), 1e-5);
    }
    let (again, _) = lstm.forward_seq(&x, Some((&zeros(&[2, 3, 6]), &zeros(&[2, 3, 6]))))?;
    close(&again, &values(&out), 1e-6);
    Ok(())
}

#[test]
fn batch_first_swaps_the_dims_of_the_sequence_only() -> Checked {
    let x = randn(&[5, 3, 4]);
    let gru = GRU::on_device(4, 6, 2, true, Device::CPU)?;
    let plain = GRU::on_device(4, 6, 2, false, Device::CPU)?;
    for (p, q) in plain.parameters().iter().zip(gru.parameters()) {
        p.variable.set_data(q.variable.data());
    }
    let (out, h_n) = gru.forward_seq(&x.transpose(0, 1)?, None)?;
    assert_eq!((out.shape(), h_n.shape()), (vec![3, 5, 6], vec![2, 3, 6]));
    let (want, want_h) = plain.forward_seq(&x, None)?;
    close(&out.transpose(0, 1)?.contiguous()?, &values(&want), 1e-6);
    close(&h_n, &values(&want_h), 1e-6);
    let lstm = LSTM::on_device(4, 6, 2, true, Device::CPU)?;
    let (out, (h_n, _)) = lstm.forward_seq(&x.transpose(0, 1)?, None)?;
    assert_eq!((out.shape(), h_n.shape()), (vec![3, 5, 6], vec![2, 3, 6]));
    Ok(())
}

#[test]
fn gradients_go_back_through_time_to_everything() -> Checked {
    let (gru, lstm) = (GRU::new(4, 6, 2)?, LSTM::new(4, 6, 2)?);
    for name in ["GRU", "LSTM"] {
        let x = leaf(&randn(&[5, 3, 4]));
        let (out, m): (_, &dyn Module) = match name {
            "GRU" => (gru.forward_seq(&x, None)?.0, &gru),
            _ => (lstm.forward_seq(&x, None)?.0, &lstm),
        };
        // Of the last step only: the gradient of the first input came through time.
        out.select(0, 4)?.sum()?.backward()?;
        assert!(gradient(&x)[..12].iter().all(|&g| g != 0.0), "{name}");
        assert_eq!(m.parameters().len(), 8);
        for p in m.parameters() {
            assert!(gradient(&p.variable).iter().any(|&g| g != 0.0), "{name}.{}", p.name);
        }
    }
    Ok(())
}

/// Attention from its parts: projections, scaled scores, softmax, projection.
fn attend(m: &MultiheadAttention, q: &Variable, k: &Variable, v: &Variable) -> Result<Variable> {
    let heads = m.num_heads();
    let (e, d) = (m.embed_dim(), m.embed_dim() / heads);
    let (w, b) = (parameter(m, "in_proj_weight").variable, parameter(m, "in_proj_bias").variable);
    let project = |x: &Variable, i: i64| -> Result<Variable> {
        let y = linear(x, &w.narrow(0, i * e, e)?, Some(&b.narrow(0, i * e, e)?))?;
        let shape = x.shape();
        y.reshape(&[shape[0], shape[1], heads, d])?.transpose(1, 2)
    };
    let (q, k, v) = (project(q, 0)?, project(k, 1)?, project(v, 2)?);
    let scores = q.matmul(&k.transpose(2, 3)?)?.div_scalar((d as f64).sqrt())?;
    let y = scores.softmax(-1)?.matmul(&v)?.transpose(1, 2)?;
    let shape = y.shape();
    let y = y.reshape(&[shape[0], shape[1], e])?;
    let (w, b) = (parameter(m, "out_proj.weight"), parameter(m, "out_proj.bias"));
    linear(&y, &w.variable, Some(&b.variable))
}

#[test]
fn attention_is_the_formula_and_takes_masks() -> Checked {
    manual_seed(3);
    let mha = MultiheadAttention::new(16, 4)?;
    for p in mha.parameters() {
        p.variable.set_data(randn(&p.variable.shape()).mul_scalar(0.3)?.data());
    }
    let x = randn(&[2, 5, 16]);
    let y = mha.forward(&x)?;
    assert_eq!(y.shape(), [2, 5, 16]);
    close(&y, &values(&attend(&mha, &x, &x, &x)?), 1e-5);
    let none = None;
    assert_eq!(values(&mha.forward_ext(&x, &x, &x, none)?), values(&y));
    let (q, k, v) = (randn(&[2, 3, 16]), randn(&[2, 5, 16]), randn(&[2, 5, 16]));
    let crossed = mha.forward_ext(&q, &k, &v, none)?;
    assert_eq!(crossed.shape(), [2, 3, 16]);
    close(&crossed, &values(&attend(&mha, &q, &k, &v)?), 1e-5);
    // A mask that masks nothing, as booleans, as numbers that are added, as a variable.
    let nothing = Tensor::from_bool(&[false; 15], &[3, 5], Device::CPU)?;
    close(&mha.forward_ext(&q, &k, &v, Some(&nothing))?, &values(&crossed), 1e-6);
    close(&mha.forward_ext(&q, &k, &v, &zeros(&[3, 5]))?, &values(&crossed), 1e-6);
    // True is masked out: what stands there has no influence.
    let last: Vec<bool> = (0..15).map(|i| i % 5 == 4).collect();
    let last = Tensor::from_bool(&last, &[3, 5], Device::CPU)?;
    let masked = mha.forward_ext(&q, &k, &v, Some(&last))?;
    let cut = |x: &Variable| x.narrow(1, 0, 4);
    close(&masked, &values(&mha.forward_ext(&q, &cut(&k)?, &cut(&v)?, none)?), 1e-5);
    let floats: Vec<f64> =
        (0..15).map(|i| if i % 5 == 4 { f64::NEG_INFINITY } else { 0.0 }).collect();
    let y = mha.forward_ext(&q, &k, &v, &var(&floats, &[3, 5]))?;
    close(&y, &values(&masked), 1e-6);
    // Causal: the first outputs do not see the later inputs.
    let causal: Vec<bool> = (0..25).map(|i| i % 5 > i / 5).collect();
    let causal = Tensor::from_bool(&causal, &[5, 5], Device::CPU)?;
    let y = mha.forward_ext(&x, &x, &x, Some(&causal))?;
    let changed = x.narrow(1, 0, 3)?.cat(&randn(&[2, 2, 16]), 1)?;
    let z = mha.forward_ext(&changed, &changed, &changed, Some(&causal))?;
    close(&y.narrow(1, 0, 3)?.contiguous()?, &values(&z.narrow(1, 0, 3)?.contiguous()?), 1e-6);
    fails(MultiheadAttention::new(16, 3), "16");
    // The gradients are those of the formula.
    let w = randn(&[2, 3, 16]);
    let mut both = Vec::new();
    for fused in [true, false] {
        let [q, k, v] = [&q, &k, &v].map(leaf);
        let y = if fused { mha.forward_ext(&q, &k, &v, none)? } else { attend(&mha, &q, &k, &v)? };
        y.mul(&w)?.sum()?.backward()?;
        let mut all: Vec<f64> = [&q, &k, &v].iter().flat_map(|v| gradient(v)).collect();
        for p in mha.parameters() {
            all.extend(gradient(&p.variable));
            p.variable.zero_grad();
        }
        both.push(all);
    }
    near(&both[0], &both[1], 1e-4);
    Ok(())
}

#[test]
fn bilinear_is_a_form_of_two_inputs() -> Checked {
    let bi = Bilinear::new(2, 2, 1, true)?;
    set(bi.weight(), &[1.0, 2.0, 3.0, 4.0]);
    set(bi.bias().unwrap(), &[0.5]);
    let (x1, x2) = (leaf(&var(&[1.0, 2.0], &[1, 2])), leaf(&var(&[3.0, -1.0], &[1, 2])));
    let y = bi.forward_bilinear(&x1, &x2)?;
    close(&y, &[11.5], 1e-6);
    y.sum()?.backward()?;
    // A x2, Aᵀ x1, x1 x2ᵀ and 1.
    assert_eq!(gradient(&x1), [1.0, 5.0]);
    assert_eq!(gradient(&x2), [7.0, 10.0]);
    assert_eq!(gradient(&bi.weight().variable), [3.0, -1.0, 6.0, -2.0]);
    assert_eq!(gradient(&bi.bias().unwrap().variable), [1.0]);
    assert!(Bilinear::new(128, 64, 32, false)?.bias().is_none());
    fails(bi.forward(&x1), "forward_bilinear");
    Ok(())
}
