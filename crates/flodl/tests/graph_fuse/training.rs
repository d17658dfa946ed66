//! Nodes that run as one while they are recorded.

use super::*;

/// Output, and gradients of the input and of every parameter.
fn gradients(model: &Graph, x: &Variable) -> Vec<Vec<f64>> {
    x.zero_grad();
    model.parameters().iter().for_each(|p| p.variable.zero_grad());
    let y = model.forward(x).unwrap();
    y.mul(&y).unwrap().sum().unwrap().backward().unwrap();
    let of = |v: &Variable| v.grad().map_or(vec![], |g| g.to_f64_vec().unwrap());
    let mut all = vec![y.data().to_f64_vec().unwrap(), of(x)];
    all.extend(model.parameters().iter().map(|p| of(&p.variable)));
    all
}

/// The gradient of the gradient's square.
fn second(model: &Graph, x: &Variable) -> Vec<Vec<f64>> {
    let y = model.forward(x).unwrap();
    let y = y.mul(&y).unwrap().sum().unwrap();
    let parameters = model.parameters();
    let wanted: Vec<&Variable> =
        std::iter::once(x).chain(parameters.iter().map(|p| &p.variable)).collect();
    let options = BackwardOptions::default().create_graph();
    let first = grad(&[&y], &wanted, &[None], options).unwrap();
    let squares = first.iter().flatten().map(|g| g.mul(g).unwrap().sum().unwrap());
    let sum = squares.reduce(|a, b| a.add(&b).unwrap()).unwrap();
    let options = BackwardOptions::default();
    let second = grad(&[&sum], &wanted, &[None], options).unwrap();
    second.iter().flatten().map(|g| g.data().to_f64_vec().unwrap()).collect()
}

/// In training, with and without fusion: the steps, and the same values and gradients.
#[track_caller]
fn trains_alike(flow: FlowBuilder, x: &Variable, plain: usize, fused: usize) {
    let model = flow.build().unwrap();
    cast_parameters(&model.parameters(), DType::Float64).unwrap();
    for p in model.parameters() {
        let noise = Tensor::rand(&p.variable.shape(), TensorOptions::default()).unwrap();
        p.variable.set_data(noise.add_scalar(0.3).unwrap().to_dtype(DType::Float64).unwrap());
    }
    let run = |fusion: bool| {
        model.set_fusion(fusion);
        let first = gradients(&model, x);
        assert_eq!(model.steps_run(), if fusion { fused } else { plain });
        (first, second(&model, x))
    };
    let ((a, a2), (b, b2)) = (run(true), run(false));
    assert!(a.len() == b.len() && a2.len() == b2.len());
    for (i, (a, b)) in a.iter().chain(&a2).zip(b.iter().chain(&b2)).enumerate() {
        assert_eq!(a.len(), b.len());
        let near = a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-10 * (1.0 + b.abs()));
        assert!(near, "{i}:\n{a:?}\n{b:?}");
    }
    // And in evaluation.
    model.set_fusion(true);
    let eval = values(&model, x);
    assert_eq!(model.steps_run(), fused);
    assert!(eval.iter().zip(&a[0]).all(|(a, b)| (a - b).abs() <= 1e-12 * (1.0 + b.abs())));
}

#[test]
fn activations_run_behind_the_product_in_training_too() {
    manual_seed(13);
    let linear = || Linear::new(5, 4).unwrap();
    let plain = || Linear::no_bias(5, 4).unwrap();
    for shape in [&[6, 5][..], &[2, 3, 5], &[5]] {
        let x = wide(shape);
        trains_alike(FlowBuilder::from(linear()).through(ReLU), &x, 2, 1);
        trains_alike(FlowBuilder::from(plain()).through(ReLU), &x, 2, 1);
        trains_alike(FlowBuilder::from(linear()).through(GELU), &x, 2, 1);
        trains_alike(FlowBuilder::from(linear()).through(GELUTanh), &x, 2, 1);
        trains_alike(FlowBuilder::from(plain()).through(SiLU), &x, 2, 1);
        trains_alike(FlowBuilder::from(linear()).through(Tanh), &x, 2, 1);
        trains_alike(FlowBuilder::from(linear()).through(Sigmoid), &x, 2, 1);
        let chain = FlowBuilder::from(linear()).through(GELU).through(Linear::new(4, 3).unwrap());
        trains_alike(chain.through(Tanh).through(ReLU), &x, 5, 3);
        // Others stand by themselves, and so does a product that somebody reads.
        trains_alike(FlowBuilder::from(linear()).through(Softplus::new(1.0, 20.0)), &x, 2, 2);
        trains_alike(FlowBuilder::from(linear()).tag("h").through(GELU), &x, 2, 2);
    }
    // The 16 bits of autocast, and half weights, are rounded where they are rounded unfused.
    let model = FlowBuilder::from(linear()).through(GELU).build().unwrap();
    let x = input(&[6, 5]);
    autocast(DType::BFloat16, || does_not_fuse(&model, &x));
    cast_parameters(&model.parameters(), DType::BFloat16).unwrap();
    let half = Variable::new(x.data().to_dtype(DType::BFloat16).unwrap(), false);
    does_not_fuse(&model, &half);
}

#[test]
fn activations_of_large_layers_too() {
    manual_seed(15);
    for (rows, outputs) in [(130, 200), (130, 40), (600, 50)] {
        let linear = || FlowBuilder::from(Linear::new(150, outputs).unwrap());
        for model in [linear().through(GELU), linear().through(ReLU), linear().through(Tanh)] {
            let (model, x) = (model.build().unwrap(), wide(&[rows, 150]));
            cast_parameters(&model.parameters(), DType::Float64).unwrap();
            let run = |fusion: bool| {
                model.set_fusion(fusion);
                let all = gradients(&model, &x);
                assert_eq!(model.steps_run(), if fusion { 1 } else { 2 });
                all
            };
            let plain = run(false);
            // The weights are packed from the second time on that they are used.
            for fused in [run(true), run(true)] {
                for (i, (a, b)) in fused.iter().zip(&plain).enumerate() {
                    assert!(a.len() == b.len() && !a.is_empty());
                    // Sums of terms that cancel are as exact as their terms are.
                    let size = b.iter().fold(0.0, |m: f64, b| m.max(b.abs()));
                    let far = a.iter().zip(b).find(|(a, b)| (*a - *b).abs() > 1e-13 * size);
                    assert_eq!(far, None, "{rows} {outputs} {i}");
                }
            }
        }
    }
}

#[test]
fn sums_are_normalised_in_one_pass() {
    manual_seed(14);
    let linear = || Linear::new(6, 6).unwrap();
    let ln = || LayerNorm::new(6).unwrap();
    for shape in [&[4, 6][..], &[2, 3, 6], &[6], &[40, 6]] {
        let x = wide(shape);
        trains_alike(FlowBuilder::new().also(linear()).through(ln()), &x, 2, 1);
        trains_alike(FlowBuilder::new().also(linear()).through(ln().affine(false)), &x, 2, 1);
        trains_alike(FlowBuilder::new().also(linear()).through(ln().without_bias()), &x, 2, 1);
        let rms = || RMSNorm::new(6).unwrap();
        trains_alike(FlowBuilder::new().also(linear()).through(rms()), &x, 2, 1);
        trains_alike(FlowBuilder::new().also(Tanh).through(rms().affine(false)), &x, 2, 1);
        trains_alike(FlowBuilder::new().also_with(Tanh, linear()).through(ln()), &x, 2, 1);
        let merged = || FlowBuilder::new().split(modules![Tanh, linear()]);
        trains_alike(merged().merge(MergeOp::Add).through(ln()), &x, 4, 3);
        trains_alike(merged().merge(MergeOp::Mean).through(ln()), &x, 4, 4);
        // Others read the sum: a tag, a reference, the next residual.
        let read = FlowBuilder::new().also(linear()).tag("sum").through(ln());
        trains_alike(read.through(StateAdd).using(&["sum"]), &x, 3, 2);
        let beside = FlowBuilder::new().also(linear()).fork(ln()).tag("side").through(Tanh);
        trains_alike(beside.through(StateAdd).using(&["side"]), &x, 4, 3);
        let twice = FlowBuilder::new().also(Tanh).through(ln()).also(linear()).through(ln());
        trains_alike(twice, &x, 4, 2);
    }
    let over = LayerNorm::over(&[3, 6]).unwrap();
    trains_alike(FlowBuilder::new().also(linear()).through(over), &wide(&[2, 3, 6]), 2, 1);
    // Terms of other shapes are broadcast by the sum itself.
    let broad = FlowBuilder::new().also(Does(|x| x.mean_dim(0, true))).through(ln());
    trains_alike(broad, &wide(&[4, 6]), 2, 2);
}

#[test]
fn only_the_sum_or_only_the_norm_may_have_a_gradient() {
    manual_seed(15);
    let ln = LayerNorm::new(6).unwrap();
    let flow = FlowBuilder::new().also(Linear::new(6, 6).unwrap()).tag("sum").through(ln.clone());
    let model = flow.tag("norm").build().unwrap();
    let x = Variable::new(input(&[4, 6]).data(), true);
    for name in ["sum", "norm"] {
        let run = |fusion: bool| {
            model.set_fusion(fusion);
            x.zero_grad();
            ln.parameters().iter().for_each(|p| p.variable.zero_grad());
            model.forward(&x).unwrap();
            let value = model.tagged(name).unwrap();
            value.mul(&value).unwrap().sum().unwrap().backward().unwrap();
            let norm = ln.parameters()[0].variable.grad().map(|g| g.to_f64_vec().unwrap());
            (x.grad().unwrap().to_f64_vec().unwrap(), norm)
        };
        let (fused, plain) = (run(true), run(false));
        assert!(close(&fused.0, &plain.0), "{name}");
        assert_eq!(fused.1.is_some(), plain.1.is_some(), "{name}");
        assert!(close(&fused.1.unwrap_or_default(), &plain.1.unwrap_or_default()));
    }
}

#[test]
fn what_does_not_fit_fails_as_it_does_by_itself() {
    let flow = || FlowBuilder::new().also(Does(|x| x.tanh())).through(LayerNorm::new(5).unwrap());
    let (model, off) = (flow().build().unwrap(), flow().fuse(false).build().unwrap());
    for x in [input(&[4, 6]), input(&[])] {
        let text = |model: &Graph| model.forward(&x).unwrap_err().to_string();
        assert_eq!(text(&model), text(&off));
        assert!(text(&model).starts_with("node 1 (LayerNorm): LayerNorm: expected an input"));
    }
    let bad =
        FlowBuilder::new().also(Linear::new(3, 3).unwrap()).through(LayerNorm::new(6).unwrap());
    let error = bad.build().unwrap().forward(&input(&[4, 6])).unwrap_err().to_string();
    assert!(error.starts_with("node 0 (also Linear): Linear: expected"), "{error}");
    // Weights of another dtype are an error, fused or not.
    let x = Variable::new(input(&[4, 5]).data().to_dtype(DType::Float64).unwrap(), false);
    let text = |model: &Graph| model.forward(&x).unwrap_err().to_string();
    assert_eq!(text(&model), text(&off));
    assert!(text(&model).starts_with("node 1 (LayerNorm): "));
}

#[test]
fn a_relu_runs_in_the_batch_norm_before_it() {
    manual_seed(16);
    let conv = || Conv2d::configure(3, 4, 3).with_padding(1).done().unwrap();
    let image = || wide(&[2, 4, 6, 5]);
    let cases: Vec<(FlowBuilder, Variable, usize, usize)> = vec![
        (FlowBuilder::from(norm::<2>(4)).through(ReLU), image(), 2, 1),
        (FlowBuilder::from(norm::<2>(4)).through(ReLU), wide(&[3, 4, 2, 2]), 2, 1),
        (FlowBuilder::from(norm::<1>(4)).through(ReLU), wide(&[70, 4]), 2, 1),
        (FlowBuilder::from(norm::<3>(4)).through(ReLU), wide(&[2, 4, 3, 2, 3]), 2, 1),
        (FlowBuilder::from(norm::<2>(4).affine(false)).through(ReLU), image(), 2, 1),
        (FlowBuilder::from(norm::<2>(4).track_running_stats(false)).through(ReLU), image(), 2, 1),
        // Behind a layer that it is folded into when nothing is learned; and twice.
        (FlowBuilder::from(conv()).through(norm::<2>(4)).through(ReLU), wide(&[2, 3, 6, 5]), 3, 2),
        (
            FlowBuilder::from(conv())
                .through(norm::<2>(4))
                .through(ReLU)
                .through(norm::<2>(4))
                .through(ReLU)
                .through(norm::<2>(4)),
            wide(&[2, 3, 6, 5]),
            6,
            4,
        ),
        // Others stand by themselves, and so does a norm that somebody reads.
        (FlowBuilder::from(norm::<2>(4)).through(Tanh), image(), 2, 2),
        (FlowBuilder::from(norm::<2>(4)).tag("y").through(ReLU), image(), 2, 2),
        (FlowBuilder::from(norm::<2>(4)).also(ReLU), image(), 2, 2),
    ];
    for (n, (flow, x, plain, fused)) in cases.into_iter().enumerate() {
        let model = flow.build().unwrap();
        cast_parameters(&model.parameters(), DType::Float64).unwrap();
        let buffers: Vec<(Buffer, Tensor)> =
            model.buffers().into_iter().map(|b| (b.clone(), b.get())).collect();
        let run = |fusion: bool| {
            model.set_fusion(fusion);
            buffers.iter().for_each(|(b, at_first)| b.set(at_first.clone()));
            let mut all = gradients(&model, &x);
            assert_eq!(model.steps_run(), if fusion { fused } else { plain }, "{n}");
            all.extend(second(&model, &x));
            all.extend(buffers.iter().map(|(b, _)| b.get().to_f64_vec().unwrap()));
            all
        };
        let (a, b) = (run(true), run(false));
        assert_eq!(a.len(), b.len());
        assert!(!matches!(n, 0..8) || a[0].contains(&0.0) == (n != 7), "{n}");
        for (i, (a, b)) in a.iter().zip(&b).enumerate() {
            assert_eq!(a.len(), b.len());
            let near = a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-9 * (1.0 + b.abs()));
            assert!(near, "{n} {i}:\n{a:?}\n{b:?}");
        }
    }
    // What does not fit is the norm's error; a lone value per channel, too.
    let flow = || FlowBuilder::from(norm::<2>(4)).through(ReLU);
    let (model, off) = (flow().build().unwrap(), flow().fuse(false).build().unwrap());
    for x in [input(&[2, 5, 3, 3]), input(&[1, 4, 1, 1]), input(&[4])] {
        let text = |model: &Graph| model.forward(&x).unwrap_err().to_string();
        assert_eq!(text(&model), text(&off));
        assert!(text(&model).starts_with("node 0 (BatchNorm2d): BatchNorm2d: expected"));
    }
    // Half inputs and autocast are rounded where they are rounded unfused.
    let half = Variable::new(input(&[2, 4, 3, 3]).data().to_dtype(DType::BFloat16).unwrap(), false);
    model.forward(&half).unwrap();
    assert_eq!(model.steps_run(), 2);
    // In evaluation the norm stands by itself.
    model.eval();
    model.forward(&input(&[2, 4, 3, 3])).unwrap();
    assert_eq!(model.steps_run(), 2);
}
