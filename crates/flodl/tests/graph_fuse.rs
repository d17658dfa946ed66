//! Nodes that run as one when nothing is recorded compute what they compute one by one.

#[path = "graph_fuse/training.rs"]
mod training;

use std::rc::Rc;

use flodl::*;

fn input(shape: &[i64]) -> Variable {
    Variable::new(Tensor::randn(shape, TensorOptions::default()).unwrap(), false)
}

/// A norm that has something to do: weights and statistics of its own.
fn norm<const D: usize>(features: i64) -> BatchNormNd<D> {
    let norm = BatchNormNd::<D>::new(features).unwrap();
    for p in norm.parameters() {
        let noise = Tensor::rand(&[features], TensorOptions::default()).unwrap();
        p.variable.set_data(noise.add_scalar(0.3).unwrap());
    }
    for b in &norm.buffers()[..2] {
        b.set(Tensor::rand(&[features], TensorOptions::default()).unwrap());
    }
    norm
}

fn values(model: &Graph, x: &Variable) -> Vec<f64> {
    no_grad(|| model.forward(x)).unwrap().data().to_f64_vec().unwrap()
}

fn close(a: &[f64], b: &[f64]) -> bool {
    let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-5 + 1e-5 * b.abs();
    a.len() == b.len() && a.iter().zip(b).all(near)
}

/// Fused and unfused results, which must be near but, where rounding shows, not the same.
fn both(model: &Graph, x: &Variable) -> (Vec<f64>, Vec<f64>) {
    model.set_fusion(true);
    let fused = values(model, x);
    model.set_fusion(false);
    let plain = values(model, x);
    model.set_fusion(true);
    (fused, plain)
}

#[track_caller]
fn fuses(model: &Graph, x: &Variable) {
    let (fused, plain) = both(model, x);
    assert!(close(&fused, &plain), "{fused:?}\n{plain:?}");
    assert_ne!(fused, plain, "nothing was fused");
}

/// The steps that a forward takes without and with fusion.
#[track_caller]
fn takes(model: &Graph, x: &Variable, plain: usize, fused: usize) {
    let steps = |fusion| {
        model.set_fusion(fusion);
        values(model, x);
        model.steps_run()
    };
    assert_eq!([steps(false), steps(true)], [plain, fused]);
}

#[track_caller]
fn does_not_fuse(model: &Graph, x: &Variable) {
    let (fused, plain) = both(model, x);
    assert_eq!(fused, plain, "something was fused");
}

fn tower() -> Graph {
    let model = FlowBuilder::from(Conv2d::configure(3, 8, 3).with_padding(1).done().unwrap())
        .through(norm::<2>(8))
        .through(ReLU)
        .through(Conv2d::configure(8, 6, 3).with_stride(2).without_bias().done().unwrap())
        .through(norm::<2>(6))
        .through(Flatten::new(1, -1))
        .build()
        .unwrap();
    model.eval();
    model
}

#[test]
fn a_batch_norm_disappears_in_the_layer_before_it() {
    manual_seed(1);
    let (model, x) = (tower(), input(&[4, 3, 9, 9]));
    fuses(&model, &x);
    takes(&model, &x, 6, 3);
    // Recorded, timed and watched forwards run it step by step.
    model.forward(&x).unwrap();
    assert_eq!(model.steps_run(), 6);
    values(&model, &x);
    model.summary(&[4, 3, 9, 9]).unwrap();
    assert_eq!(model.steps_run(), 6);
    let seq = FlowBuilder::from(Conv1d::new(4, 8, 3).unwrap()).through(norm::<1>(8));
    let seq = seq.through(ReLU).build().unwrap();
    seq.eval();
    fuses(&seq, &input(&[3, 4, 11]));
    let grouped = Conv3d::configure(4, 8, 2).with_groups(2).done().unwrap();
    let volume = FlowBuilder::from(grouped).through(norm::<3>(8)).build().unwrap();
    volume.eval();
    fuses(&volume, &input(&[2, 4, 4, 5, 3]));
    let mirrored =
        Conv2d::configure(2, 4, 3).with_padding(1).with_padding_mode(PaddingMode::Reflect);
    let mirrored = FlowBuilder::from(mirrored.done().unwrap()).through(norm::<2>(4));
    let mirrored = mirrored.build().unwrap();
    mirrored.eval();
    fuses(&mirrored, &input(&[1, 2, 5, 5]));
    let rows = FlowBuilder::from(Linear::new(5, 7).unwrap()).through(norm::<1>(7));
    let rows = rows.through(ReLU).build().unwrap();
    rows.eval();
    fuses(&rows, &input(&[6, 5]));
}

#[test]
fn a_norm_without_weights_and_float64_fold_too() {
    manual_seed(2);
    let bare = BatchNorm2d::new(4).unwrap().affine(false);
    bare.buffers()[0].set(Tensor::rand(&[4], TensorOptions::default()).unwrap());
    let conv = Conv2d::new(2, 4, 3).unwrap();
    let model = FlowBuilder::from(conv).through(bare).build().unwrap();
    model.eval();
    fuses(&model, &input(&[2, 2, 6, 6]));
    let model = tower();
    cast_parameters(&model.parameters(), DType::Float64).unwrap();
    let x = Variable::new(input(&[2, 3, 9, 9]).data().to_dtype(DType::Float64).unwrap(), false);
    let (fused, plain) = both(&model, &x);
    assert!(fused.iter().zip(&plain).all(|(a, b)| (a - b).abs() < 1e-12));
}

#[test]
fn a_relu_runs_behind_the_product() {
    manual_seed(3);
    let mlp = FlowBuilder::from(Linear::new(5, 40).unwrap())
        .through(ReLU)
        .through(Linear::no_bias(40, 3).unwrap())
        .through(ReLU)
        .build()
        .unwrap();
    for shape in [&[7, 5][..], &[2, 3, 5], &[5], &[0, 5]] {
        let x = input(shape);
        takes(&mlp, &x, 4, 2);
        let (fused, plain) = both(&mlp, &x);
        assert!(close(&fused, &plain) && fused.iter().all(|&v| v >= 0.0), "{shape:?}");
    }
    let nan = input(&[2, 5]).mul_scalar(f64::NAN).unwrap();
    assert!(values(&mlp, &nan).iter().all(|v| v.is_nan()));
    let conv = FlowBuilder::from(Conv2d::new(2, 4, 3).unwrap()).through(ReLU).build().unwrap();
    for shape in [&[2, 2, 6, 6][..], &[2, 6, 6]] {
        takes(&conv, &input(shape), 2, 1);
        let (fused, plain) = both(&conv, &input(shape));
        assert!(close(&fused, &plain) && fused.iter().all(|&v| v >= 0.0), "{shape:?}");
    }
}

#[test]
fn a_change_is_seen_by_the_next_forward() {
    manual_seed(4);
    let (model, x) = (tower(), input(&[4, 3, 9, 9]));
    fuses(&model, &x);

    // A step of training: weights, and statistics.
    let mut optimizer = SGD::new(&model.parameters(), 0.5, 0.0);
    model.train();
    model.forward(&x).unwrap().mean().unwrap().backward().unwrap();
    optimizer.step().unwrap();
    let training = values(&model, &x);
    model.eval();
    let before = values(&model, &x);
    assert_ne!(training, before);
    fuses(&model, &x);

    // A step whose gradients were taken in evaluation mode, and no forward in between.
    model.forward(&x).unwrap().mean().unwrap().backward().unwrap();
    values(&model, &x);
    optimizer.step().unwrap();
    assert!(!close(&values(&model, &x), &before));
    fuses(&model, &x);

    // Every parameter and every statistic by itself.
    for p in model.parameters() {
        let before = values(&model, &x);
        let other = p.variable.data().mul_scalar(1.5).unwrap().add_scalar(0.1).unwrap();
        p.variable.set_data(other);
        assert!(!close(&values(&model, &x), &before), "{}", p.name);
        fuses(&model, &x);
    }
    for b in model.buffers().iter().filter(|b| b.name.starts_with("running")) {
        let before = values(&model, &x);
        b.set(b.get().mul_scalar(1.5).unwrap().add_scalar(0.1).unwrap());
        assert!(!close(&values(&model, &x), &before), "{}", b.name);
        fuses(&model, &x);
    }
}

#[test]
fn a_loaded_checkpoint_is_used() {
    manual_seed(5);
    let (model, x) = (tower(), input(&[2, 3, 9, 9]));
    let path = std::env::temp_dir().join(format!("flodl_fuse_{}.safetensors", std::process::id()));
    let path = path.to_str().unwrap();
    let saved = values(&model, &x);
    model.save_checkpoint(path).unwrap();
    let other = tower();
    assert!(!close(&values(&other, &x), &saved));
    other.load_checkpoint(path).unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!(values(&other, &x), saved);
}

#[test]
fn modes_are_heeded() {
    manual_seed(6);
    let (model, x) = (tower(), input(&[4, 3, 9, 9]));
    let eval = values(&model, &x);
    model.train();
    let train = values(&model, &x);
    assert!(!close(&train, &eval));
    assert_ne!(values(&model, &x), eval);
    model.eval();
    assert!(!close(&values(&model, &x), &eval), "the statistics have moved");
    // An untrained norm says so, fused or not.
    let fresh = FlowBuilder::from(Conv2d::new(3, 4, 3).unwrap());
    let fresh = fresh.through(BatchNorm2d::new(4).unwrap()).build().unwrap();
    fresh.eval();
    let error = no_grad(|| fresh.forward(&x)).unwrap_err().to_string();
    assert!(error.contains("no running statistics"), "{error}");
    // So does one that is emptied later.
    let (trained, kept) = (norm::<2>(4), norm::<2>(4));
    let flow = FlowBuilder::from(Conv2d::new(3, 4, 3).unwrap()).through(trained.clone());
    let model = flow.build().unwrap();
    model.eval();
    fuses(&model, &x);
    let blank = BatchNorm2d::new(4).unwrap().buffers();
    trained.buffers().iter().zip(&blank).for_each(|(b, blank)| b.set(blank.get()));
    assert!(no_grad(|| model.forward(&x)).is_err());
    trained.buffers().iter().zip(kept.buffers()).for_each(|(b, kept)| b.set(kept.get()));
    fuses(&model, &x);
}

#[test]
fn what_is_recorded_is_not_fused() {
    manual_seed(7);
    let (model, x) = (tower(), input(&[2, 3, 9, 9]));
    let (fused, plain) = both(&model, &x);
    let recorded = model.forward(&x).unwrap();
    assert_eq!(recorded.data().to_f64_vec().unwrap(), plain);
    recorded.sum().unwrap().backward().unwrap();
    assert!(model.parameters().iter().all(|p| p.variable.grad().is_some()));
    // Frozen weights record nothing; an input that wants a gradient does.
    model.parameters().iter().for_each(|p| p.freeze().unwrap());
    assert_eq!(model.forward(&x).unwrap().data().to_f64_vec().unwrap(), fused);
    let wants = Variable::new(x.data(), true);
    let y = model.forward(&wants).unwrap();
    assert_eq!(y.data().to_f64_vec().unwrap(), plain);
    y.sum().unwrap().backward().unwrap();
    assert!(wants.grad().is_some());
}

#[test]
fn values_that_others_read_stay() {
    manual_seed(8);
    let x = input(&[2, 3, 6, 6]);
    let conv = || Conv2d::new(3, 4, 3).unwrap();
    let build = |flow: FlowBuilder| {
        let model = flow.build().unwrap();
        model.eval();
        model
    };
    let tagged = build(FlowBuilder::from(conv()).tag("raw").through(norm::<2>(4)));
    does_not_fuse(&tagged, &x);
    assert_eq!(tagged.tagged("raw").unwrap().shape(), [2, 4, 4, 4]);
    let relu = build(FlowBuilder::from(conv()).tag("raw").through(ReLU));
    values(&relu, &x);
    assert!(relu.tagged("raw").unwrap().data().to_f64_vec().unwrap().iter().any(|&v| v < 0.0));
    let forked = FlowBuilder::from(conv()).fork(norm::<2>(4)).tag("side").through(Tanh);
    does_not_fuse(&build(forked), &x);
    let split = FlowBuilder::from(conv()).split(modules![norm::<2>(4), ReLU]).merge(MergeOp::Add);
    does_not_fuse(&build(split), &x);
    let residual = FlowBuilder::from(conv()).also(norm::<2>(4));
    does_not_fuse(&build(residual), &x);
    // The end of the chain may have any reader.
    let after = build(FlowBuilder::from(conv()).through(norm::<2>(4)).tag("y").also(ReLU));
    fuses(&after, &x);
    assert_eq!(after.tagged("y").unwrap().shape(), [2, 4, 4, 4]);
    // A wrong number of channels is the norm's error, as ever.
    let wrong = build(FlowBuilder::from(conv()).through(norm::<2>(5)));
    let error = no_grad(|| wrong.forward(&x)).unwrap_err().to_string();
    assert!(error.contains("BatchNorm2d: expected an input [N, 5, H, W]"), "{error}");
    // So is an input without a batch dim.
    let single = build(FlowBuilder::from(conv()).through(norm::<2>(4)));
    assert!(no_grad(|| single.forward(&input(&[3, 6, 6]))).is_err());
    // A norm over dim 1 is not one over the features of 3-d rows.
    let rows = build(FlowBuilder::from(Linear::new(3, 4).unwrap()).through(norm::<1>(4)));
    does_not_fuse(&rows, &input(&[2, 4, 3]));
}

#[test]
fn the_switch_reaches_graphs_inside() {
    manual_seed(9);
    let inner = tower();
    let model = FlowBuilder::from(Identity).through(inner).build().unwrap();
    model.eval();
    let x = input(&[2, 3, 9, 9]);
    fuses(&model, &x);
    let off = FlowBuilder::from(Conv2d::new(3, 4, 3).unwrap()).through(norm::<2>(4)).fuse(false);
    let off = off.build().unwrap();
    off.eval();
    assert!(!off.fusion());
    let plain = values(&off, &x);
    off.set_fusion(true);
    assert!(off.fusion() && plain != values(&off, &x));
    // The builder's word reaches graphs that were built before, and only to turn it off.
    for (enabled, steps) in [(false, 6), (true, 3)] {
        let inner = tower();
        let model = FlowBuilder::from(Identity).through(inner).label("outer").fuse(enabled);
        let inner = model.build().unwrap();
        values(&inner, &x);
        let graph = inner.sub_modules()[1].clone();
        assert_eq!(graph.as_graph().unwrap().steps_run(), steps);
    }
    let plain_inside = FlowBuilder::from(tower()).build().unwrap();
    plain_inside.set_fusion(false);
    let kept = FlowBuilder::from(plain_inside).fuse(true).build().unwrap();
    values(&kept, &x);
    assert_eq!(
        kept.sub_modules()[0].as_graph().unwrap().sub_modules()[0].as_graph().unwrap().steps_run(),
        6
    );
    // Nodes that are timed run one by one.
    off.enable_profiling();
    assert_eq!(values(&off, &x), plain);
    assert_eq!(off.node_times().len(), 2);
}

#[test]
fn shared_layers_and_autocast() {
    manual_seed(10);
    let x = input(&[2, 4, 6, 6]);
    let conv = Rc::new(Conv2d::configure(4, 4, 3).with_padding(1).done().unwrap());
    let flow = FlowBuilder::from(conv.clone()).through(norm::<2>(4)).through(ReLU);
    let model = flow.through(conv).through(norm::<2>(4)).build().unwrap();
    model.eval();
    fuses(&model, &x);
    autocast(DType::BFloat16, || does_not_fuse(&model, &x));
    let half = Variable::new(x.data().to_dtype(DType::BFloat16).unwrap(), false);
    cast_parameters(&model.parameters(), DType::BFloat16).unwrap();
    does_not_fuse(&model, &half);
}

#[test]
fn errors_name_the_node() {
    let inner = FlowBuilder::from(Linear::new(4, 4).unwrap()).label("inner").build().unwrap();
    let model = FlowBuilder::from(Linear::new(3, 5).unwrap())
        .through(ReLU)
        .also(inner)
        .tag("refined")
        .build()
        .unwrap();
    let cause = "Linear: expected an input [..., 4], got shape [2, 5]";
    let want = format!("node 2 (also inner), tag \"refined\": node 0 (Linear): {cause}");
    for profiling in [false, true] {
        if profiling {
            model.enable_profiling();
        }
        for error in [
            model.forward(&input(&[2, 3])).unwrap_err(),
            no_grad(|| model.forward(&input(&[2, 3]))).unwrap_err(),
        ] {
            assert_eq!(error.to_string(), want);
            assert_eq!(error.root().to_string(), cause);
            assert!(matches!(error.root(), Error::Shape { op: "Linear", .. }));
        }
    }
    // The first node of a chain that runs as one.
    let error = no_grad(|| model.forward(&input(&[2, 9]))).unwrap_err().to_string();
    assert_eq!(error, "node 0 (Linear): Linear: expected an input [..., 3], got shape [2, 9]");
}

/// What a gate must give: the experts' outputs, each by its column of weights.
fn written_out(weights: &Variable, outputs: &[Variable]) -> Variable {
    let mut sum = None::<Variable>;
    for (i, output) in outputs.iter().enumerate() {
        let mut weight = weights.narrow(-1, i as i64, 1).unwrap();
        while weight.ndim() < output.ndim() {
            weight = weight.unsqueeze(-1).unwrap();
        }
        let part = output.mul(&weight).unwrap();
        sum = Some(sum.map_or(part.clone(), |sum| sum.add(&part).unwrap()));
    }
    sum.unwrap()
}

/// A module that computes what it is told.
struct Does(fn(&Variable) -> Result<Variable>);

impl Module for Does {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        self.0(input)
    }
}

fn wide(shape: &[i64]) -> Variable {
    let data = Tensor::randn(shape, TensorOptions::default()).unwrap();
    Variable::new(data.to_dtype(DType::Float64).unwrap(), true)
}

#[test]
fn a_gate_weighs_in_one_pass() {
    manual_seed(11);
    type Expert = fn(&Variable) -> Result<Variable>;
    let experts: [Expert; 3] = [|x| x.tanh(), |x| x.mul(x), |x| x.transpose(0, 1)?.transpose(0, 1)];
    let router: Expert = |x| {
        let mut w = x.clone();
        while w.ndim() > 2 {
            w = w.mean_dim(-1, false)?;
        }
        w.narrow(1, 0, 3)?.sigmoid()
    };
    for shape in [&[5, 4][..], &[2, 3, 6], &[3, 3, 2, 2], &[1, 3], &[0, 4]] {
        let parts = modules![Does(experts[0]), Does(experts[1]), Does(experts[2])];
        let model = FlowBuilder::new().gate(Does(router), parts).build().unwrap();
        let (x, pick) = (wide(shape), wide(shape));
        let run = |f: &dyn Fn(&Variable) -> Result<Variable>| {
            let y = f(&x).unwrap();
            let sum = y.mul(&y).unwrap().mul(&pick).unwrap().sum().unwrap();
            let options = BackwardOptions::default().create_graph();
            let first = grad(&[&sum], &[&x], &[None], options).unwrap()[0].clone().unwrap();
            let again = first.mul(&first).unwrap().sum().unwrap();
            let options = BackwardOptions::default();
            let second = grad(&[&again], &[&x], &[None], options).unwrap()[0].clone().unwrap();
            x.zero_grad();
            f(&x).unwrap().mul(&pick).unwrap().sum().unwrap().backward().unwrap();
            let plain = x.grad().unwrap();
            [y.data(), first.data(), second.data(), plain].map(|t| t.to_f64_vec().unwrap())
        };
        let got = run(&|x| model.forward(x));
        let want = run(&|x| {
            let outputs = experts.iter().map(|e| e(x)).collect::<Result<Vec<_>>>()?;
            Ok(written_out(&router(x)?, &outputs))
        });
        for (got, want) in got.iter().zip(&want) {
            assert_eq!(got.len(), want.len());
            let near = got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-10 * (1.0 + b.abs()));
            assert!(near, "{shape:?}\n{got:?}\n{want:?}");
        }
    }
}

#[test]
fn experts_of_other_shapes_are_broadcast() {
    manual_seed(12);
    let x = wide(&[4, 6]);
    let experts = modules![Does(|x| x.tanh()), Does(|x| x.mean_dim(-1, true))];
    let router = Does(|x| x.narrow(1, 0, 2)?.sigmoid());
    let model = FlowBuilder::new().gate(router, experts).build().unwrap();
    let outputs = [x.tanh().unwrap(), x.mean_dim(-1, true).unwrap()];
    let want = written_out(&x.narrow(1, 0, 2).unwrap().sigmoid().unwrap(), &outputs);
    let got = model.forward(&x).unwrap();
    let got = got.data().sub(&want.data()).unwrap().abs().unwrap().max().unwrap();
    assert!(got.item().unwrap() < 1e-12);
}

#[test]
fn the_source_comes_back_with_a_checkpoint() {
    let model = || FlowBuilder::from(Linear::new(2, 2).unwrap()).build().unwrap();
    let path =
        std::env::temp_dir().join(format!("flodl_source_{}.safetensors", std::process::id()));
    let path = path.to_str().unwrap();
    let (saved, loaded) = (model(), model());
    saved.set_source_config("width = 2".into());
    saved.save_checkpoint(path).unwrap();
    loaded.load_checkpoint(path).unwrap();
    assert_eq!(loaded.source_config().as_deref(), Some("width = 2"));
    // A file without one leaves what there is.
    model().save_checkpoint(path).unwrap();
    loaded.load_checkpoint(path).unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!(loaded.source_config().as_deref(), Some("width = 2"));
}
