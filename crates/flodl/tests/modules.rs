//! Modules, graphs and checkpoints.

use std::cell::Cell;
use std::collections::HashSet;
use std::rc::Rc;

use flodl::*;

fn normal(shape: &[i64]) -> Variable {
    Variable::new(Tensor::randn(shape, TensorOptions::default()).unwrap(), false)
}

fn values(v: &Variable) -> Vec<f32> {
    v.data().to_f32_vec().unwrap()
}

struct Plain;
impl Module for Plain {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        Ok(input.clone())
    }
}

/// Declares children and nothing else, handing out clones in fresh `Rc`s.
struct Composite {
    fc1: Linear,
    drop: Dropout,
    fc2: Linear,
}

impl Composite {
    fn new() -> Result<Self> {
        Ok(Composite { fc1: Linear::new(6, 8)?, drop: Dropout::new(0.5), fc2: Linear::new(8, 3)? })
    }
}

impl Module for Composite {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        self.fc2.forward(&self.drop.forward(&self.fc1.forward(input)?.relu()?)?)
    }
    fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
        vec![Rc::new(self.fc1.clone()), Rc::new(self.drop.clone()), Rc::new(self.fc2.clone())]
    }
}

#[test]
fn the_defaults_of_a_leaf() {
    let m: Box<dyn Module> = Box::new(Plain);
    assert!(m.parameters().is_empty() && m.buffers().is_empty() && m.sub_modules().is_empty());
    assert_eq!(m.name(), "module");
    assert!(m.as_named_input().is_none());
    m.set_training(false);
    m.move_to_device(Device::CPU);
    m.train();
    m.eval();
}

#[test]
fn a_composite_that_only_declares_children_has_their_parameters_and_modes() {
    manual_seed(1);
    let m = Composite::new().unwrap();
    let names: Vec<String> = m.parameters().iter().map(|p| p.name.clone()).collect();
    assert_eq!(names, ["weight", "bias", "weight", "bias"]);
    // Rows of both signs, so that some hidden values are above 0 and dropout shows.
    let x = normal(&[32, 6]);
    m.eval();
    assert_eq!(values(&m.forward(&x).unwrap()), values(&m.forward(&x).unwrap()));
    m.train();
    assert_ne!(values(&m.forward(&x).unwrap()), values(&m.forward(&x).unwrap()));
    // Through a graph, and through a graph in a graph.
    let inner = FlowBuilder::from(Composite::new().unwrap()).build().unwrap();
    let outer = FlowBuilder::from(inner).through(ReLU).build().unwrap();
    outer.eval();
    assert_eq!(values(&outer.forward(&x).unwrap()), values(&outer.forward(&x).unwrap()));
    assert_eq!(outer.parameters().len(), 4);
}

#[test]
fn a_clone_shares_its_weights() {
    let a = Linear::new(2, 2).unwrap();
    let b = a.clone();
    a.weight().variable.set_data(Tensor::zeros(&[2, 2], TensorOptions::default()).unwrap());
    assert_eq!(values(&b.weight().variable), [0.0; 4]);
}

#[test]
fn walks_see_each_child_once_by_its_state_and_not_by_an_address() {
    struct Twice(Linear, Vec<Composite>);
    impl Module for Twice {
        fn forward(&self, input: &Variable) -> Result<Variable> {
            Ok(input.clone())
        }
        fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
            // Temporaries: their addresses are reused at once.
            let mut all: Vec<Rc<dyn Module>> =
                vec![Rc::new(self.0.clone()), Rc::new(self.0.clone())];
            all.extend(self.1.iter().flat_map(|c| c.sub_modules()));
            all
        }
    }
    let m = Twice(Linear::new(2, 2).unwrap(), (0..3).map(|_| Composite::new().unwrap()).collect());
    let mut seen = Vec::new();
    walk_modules(&m, &mut |m| seen.push(m.name().to_owned()));
    let count = |name: &str| seen.iter().filter(|n| *n == name).count();
    assert_eq!((count("Linear"), count("Dropout"), count("module")), (7, 3, 1));
}

#[test]
fn also_adds_and_graphs_equal_hand_written_modules() {
    manual_seed(1);
    let (a, b, c) =
        (Linear::new(5, 5).unwrap(), Linear::new(5, 5).unwrap(), Linear::new(5, 5).unwrap());
    let graph = FlowBuilder::from(a.clone())
        .also(b.clone())
        .also_with(a.clone(), c.clone())
        .build()
        .unwrap();
    let x = Variable::new(Tensor::randn(&[3, 5], TensorOptions::default()).unwrap(), true);
    let run = |f: &dyn Fn() -> Result<Variable>| {
        let y = f().unwrap();
        y.mul(&y).unwrap().sum().unwrap().backward().unwrap();
        let mut out = vec![values(&y), x.grad().unwrap().to_f32_vec().unwrap()];
        for p in graph.parameters() {
            out.push(p.variable.grad().unwrap().to_f32_vec().unwrap());
            p.variable.zero_grad();
        }
        x.zero_grad();
        out
    };
    let by_hand = run(&|| {
        let h = a.forward(&x)?;
        let h = h.add(&b.forward(&h)?)?;
        a.forward(&h)?.add(&c.forward(&h)?)
    });
    assert_eq!(run(&|| graph.forward(&x)), by_hand);
    assert_eq!(graph.parameters().len(), 6);
}

#[test]
fn an_empty_graph_is_an_error() {
    let error = FlowBuilder::new().build().err().unwrap().to_string();
    assert_eq!(error, "graph: nothing to build: the graph has no modules");
}

#[test]
fn names_are_those_of_a_sequential_and_the_same_every_time() {
    let build = || {
        FlowBuilder::from(Linear::new(2, 3).unwrap())
            .through(ReLU)
            .through(Composite { ..Composite::new().unwrap() })
            .build()
            .unwrap()
    };
    let names = |g: &Graph| g.named_parameters().into_iter().map(|p| p.0).collect::<Vec<_>>();
    let first = names(&build());
    assert_eq!(first, ["0.weight", "0.bias", "2.0.weight", "2.0.bias", "2.2.weight", "2.2.bias"]);
    assert_eq!(first, names(&build()));
    assert_eq!(first.iter().collect::<HashSet<_>>().len(), first.len());
}

#[test]
fn the_structural_hash_covers_settings() {
    let hash = |m: FlowBuilder| m.build().unwrap().structural_hash().to_owned();
    let all = [
        hash(FlowBuilder::from(LeakyReLU::new(0.1))),
        hash(FlowBuilder::from(LeakyReLU::new(0.2))),
        hash(FlowBuilder::from(Dropout::new(0.1))),
        hash(FlowBuilder::from(Dropout::new(0.2))),
        hash(FlowBuilder::from(Conv2d::new(2, 2, 3).unwrap())),
        hash(FlowBuilder::from(Conv2d::configure(2, 2, 3).with_stride(2).done().unwrap())),
        hash(FlowBuilder::from(Conv2d::configure(2, 2, 3).with_padding(1).done().unwrap())),
    ];
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    assert_eq!(hash(FlowBuilder::from(LeakyReLU::new(0.1))), all[0]);
}

fn folder(name: &str) -> std::path::PathBuf {
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

#[test]
fn a_checkpoint_comes_back_to_the_bit() {
    let path = folder("roundtrip").join("model.safetensors");
    let path = path.to_str().unwrap();
    let build = || FlowBuilder::from(Composite::new().unwrap()).build().unwrap();
    let (a, b) = (build(), build());
    a.save_checkpoint(path).unwrap();
    let report = b.load_checkpoint(path).unwrap();
    assert_eq!(report.loaded.len(), 4);
    assert!(report.missing.is_empty() && report.unexpected.is_empty());
    for (p, q) in a.parameters().iter().zip(b.parameters()) {
        assert_eq!(values(&p.variable), values(&q.variable));
    }
    assert_eq!(checkpoint_keys(path).unwrap().len(), 4);
    // No temporary file stays behind.
    assert_eq!(std::fs::read_dir(folder("roundtrip")).unwrap().count(), 1);
}

#[test]
fn a_load_that_fails_changes_nothing() {
    let dir = folder("bad");
    let file = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let model = FlowBuilder::from(Linear::new(3, 2).unwrap()).build().unwrap();
    let before: Vec<Vec<f32>> = model.parameters().iter().map(|p| values(&p.variable)).collect();
    let named = |v: &[(&str, &[i64])]| -> Vec<(String, Tensor)> {
        v.iter()
            .map(|(n, s)| ((*n).to_owned(), Tensor::ones(s, TensorOptions::default()).unwrap()))
            .collect()
    };
    // The first tensor fits, the second does not.
    save_tensors(file("shape"), &named(&[("0.weight", &[2, 3]), ("0.bias", &[7])])).unwrap();
    save_tensors(file("names"), &named(&[("other.weight", &[2, 3])])).unwrap();
    std::fs::write(file("damaged"), b"\x40\x00\x00\x00\x00\x00\x00\x00 no header").unwrap();
    let other = FlowBuilder::from(Linear::new(3, 2).unwrap()).through(ReLU).build().unwrap();
    other.save_checkpoint(&file("structure")).unwrap();
    let cases = [
        ("shape", "0.bias has shape [7], the model wants [2]"),
        ("names", "holds none of the model's names"),
        ("damaged", "damaged: "),
        ("structure", "was written by a model of another structure"),
        ("absent", "No such file"),
    ];
    for (name, want) in cases {
        let error = model.load_checkpoint(&file(name)).unwrap_err().to_string();
        assert!(error.contains(want) && error.contains(&file(name)), "{name}: {error}");
        let now: Vec<Vec<f32>> = model.parameters().iter().map(|p| values(&p.variable)).collect();
        assert_eq!(now, before, "{name}");
    }
}

#[test]
fn a_failed_write_leaves_the_old_file() {
    let dir = folder("atomic");
    let path = dir.join("file");
    write_atomic(&path, b"old").unwrap();
    // The target of the rename is a directory with something in it: the write fails.
    let blocked = dir.join("blocked");
    std::fs::create_dir_all(blocked.join("x")).unwrap();
    assert!(write_atomic(&blocked, b"new").is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    let names: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(names.iter().all(|n| !n.to_string_lossy().ends_with(".tmp")), "{names:?}");
}

#[test]
fn cuda_is_an_error_that_says_so() {
    assert!(!cuda_available());
    let error = Linear::on_device(4, 2, Device::CUDA(0)).unwrap_err().to_string();
    assert_eq!(
        error,
        "cuda:0 is not available: this build of flodl has no CUDA engine; use Device::CPU"
    );
    let m = Linear::new(2, 2).unwrap();
    assert!(move_module(m.parameters(), m.buffers(), Device::CUDA(0)).is_err());
    assert_eq!(m.weight().variable.device(), Device::CPU);
}

#[test]
fn user_state_is_reset_through_every_level() {
    struct Counter(Rc<Cell<u32>>);
    impl Module for Counter {
        fn forward(&self, input: &Variable) -> Result<Variable> {
            Ok(input.clone())
        }
        fn reset(&self) {
            self.0.set(self.0.get() + 1);
        }
        fn detach_state(&self) {
            self.0.set(self.0.get() + 10);
        }
    }
    let count = Rc::new(Cell::new(0));
    let inner = FlowBuilder::from(Counter(count.clone())).build().unwrap();
    let outer = FlowBuilder::from(ReLU).through(inner).build().unwrap();
    outer.reset();
    outer.detach_state();
    assert_eq!(count.get(), 11);
}

#[test]
fn loaders_give_every_sample_once_and_say_when_there_is_none() {
    let data = |n: i64| {
        let t = Tensor::arange(0.0, n as f64, 1.0, DType::Int64.into()).unwrap();
        TensorDataset::new(vec![t]).unwrap()
    };
    let epoch = |loader: &mut DataLoader, e: usize| -> Vec<Vec<i64>> {
        loader.epoch(e).unwrap().map(|b| b.unwrap().get(0).to_i64_vec().unwrap()).collect()
    };
    let mut loader = DataLoader::new(data(10), 4).shuffle(5);
    let (first, again, second) =
        (epoch(&mut loader, 0), epoch(&mut loader, 0), epoch(&mut loader, 1));
    assert_eq!(first, again);
    assert_ne!(first, second);
    let mut all: Vec<i64> = first.concat();
    all.sort_unstable();
    assert_eq!(all, (0..10).collect::<Vec<_>>());
    assert_eq!(epoch(&mut DataLoader::new(data(3), 4), 0), [[0, 1, 2]]);
    let error = DataLoader::new(data(3), 4).drop_last(true).epoch(0).err().unwrap().to_string();
    assert_eq!(
        error,
        "DataLoader: an epoch without batches: 3 samples in batches of 4 with drop_last"
    );
    assert!(DataLoader::new(data(3), 0).epoch(0).is_err());
}

#[test]
fn small_problems_are_learned() {
    manual_seed(11);
    let model = FlowBuilder::from(Linear::new(2, 16).unwrap())
        .through(Tanh)
        .through(Linear::new(16, 2).unwrap())
        .build()
        .unwrap();
    let x = Tensor::from_f32(&[0., 0., 0., 1., 1., 0., 1., 1.], &[4, 2], Device::CPU).unwrap();
    let y = Tensor::from_i64(&[0, 1, 1, 0], &[4], Device::CPU).unwrap();
    let (x, y) = (Variable::new(x, false), Variable::new(y, false));
    let train = |optimizer: &mut dyn Optimizer, steps: usize| {
        let mut last = 0.0;
        for _ in 0..steps {
            let loss = cross_entropy_loss(&model.forward(&x).unwrap(), &y).unwrap();
            optimizer.zero_grad();
            loss.backward().unwrap();
            optimizer.step().unwrap();
            last = loss.item().unwrap();
        }
        last
    };
    assert!(train(&mut Adam::new(&model.parameters(), 0.05), 200) < 0.01);
    for p in model.parameters() {
        p.variable.set_data(Tensor::randn_like(&p.variable.data()).unwrap());
    }
    assert!(train(&mut SGD::new(&model.parameters(), 0.3, 0.9), 400) < 0.05);
}

#[test]
fn clipping_scales_to_the_norm_and_keeps_small_gradients() {
    let p = Parameter::new(Tensor::zeros(&[2], TensorOptions::default()).unwrap(), "p");
    let set = |v: &[f32]| p.variable.set_grad(Tensor::from_f32(v, &[2], Device::CPU).unwrap());
    let grad = || p.variable.grad().unwrap().to_f32_vec().unwrap();
    set(&[3.0, 4.0]);
    assert_eq!(clip_grad_norm(std::slice::from_ref(&p), 1.0).unwrap(), 5.0);
    let g = grad();
    assert!((g[0] - 0.6).abs() < 1e-6 && (g[1] - 0.8).abs() < 1e-6, "{g:?}");
    assert!((clip_grad_norm(std::slice::from_ref(&p), 2.0).unwrap() - 1.0).abs() < 1e-6);
    assert!((grad()[0] - 0.6).abs() < 1e-6);
    set(&[3.0, -4.0]);
    assert_eq!(clip_grad_value(std::slice::from_ref(&p), 3.5).unwrap(), 4.0);
    assert_eq!(grad(), [3.0, -3.5]);
    assert!(clip_grad_norm(std::slice::from_ref(&p), -1.0).is_err());
}

struct Block {
    first: Linear,
    norm: BatchNorm,
}

impl Module for Block {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        self.norm.forward(&self.first.forward(input)?)
    }
    children!(fc: first, norm);
}

struct Net {
    body: Block,
    head: Rc<Graph>,
    tied: Linear,
}

impl Module for Net {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        self.tied.forward(&self.head.forward(&self.body.forward(input)?)?)
    }
    fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
        let body = Block { first: self.body.first.clone(), norm: self.body.norm.clone() };
        vec![Rc::new(body), self.head.clone(), Rc::new(self.tied.clone())]
    }
    fn sub_module_names(&self) -> Vec<String> {
        ["body", "head", "tied"].map(String::from).to_vec()
    }
}

/// Modules by hand have the names of PyTorch's `state_dict`, alone and within graphs, and weights
/// travel by them.
#[test]
fn names_of_children_are_names_of_weights() -> Result<()> {
    let net = || -> Result<Net> {
        let body = Block { first: Linear::new(3, 4)?, norm: BatchNorm::new(4)? };
        let head = FlowBuilder::from(Linear::new(4, 3)?).through(ReLU).build()?;
        let tied = body.first.clone();
        Ok(Net { body, head: Rc::new(head), tied })
    };
    let names = |module: &dyn Module| -> Vec<String> {
        let (parameters, buffers) = (module.named_parameters(), module.named_buffers());
        let buffers = buffers.into_iter().map(|(name, _)| name);
        parameters.into_iter().map(|(name, _)| name).chain(buffers).collect()
    };
    let want = [
        "body.fc.weight",
        "body.fc.bias",
        "body.norm.weight",
        "body.norm.bias",
        "head.0.weight",
        "head.0.bias",
        "body.norm.running_mean",
        "body.norm.running_var",
        "body.norm.num_batches_tracked",
    ];
    let (a, b) = (net()?, net()?);
    assert_eq!(names(&a), want);
    let x = normal(&[5, 3]);
    a.forward(&x)?;
    let file = std::env::temp_dir().join(format!("flodl-names-{}", std::process::id()));
    let file = file.display().to_string();
    save_checkpoint_file(&file, &a.named_parameters(), &a.named_buffers(), None)?;
    let report = load_checkpoint_file(&file, &b.named_parameters(), &b.named_buffers(), None);
    std::fs::remove_file(&file).ok();
    assert!(report?.is_complete());
    a.eval();
    b.eval();
    assert_eq!(a.forward(&x)?.data().to_f32_vec()?, b.forward(&x)?.data().to_f32_vec()?);

    let graph = FlowBuilder::from(Linear::new(3, 3)?).through(a).build()?;
    assert_eq!(graph.named_parameters()[2].0, "1.body.fc.weight");
    assert_eq!(Module::named_parameters(&graph)[2].0, "1.body.fc.weight");
    let layer = TransformerEncoderLayer::new(8, 2)?;
    let stack = TransformerEncoder::new(&layer, 1, Some(LayerNorm::new(8)?))?;
    let graph = FlowBuilder::from(stack).build()?;
    assert_eq!(graph.named_parameters()[0].0, "0.layers.0.self_attn.in_proj_weight");
    assert_eq!(graph.named_parameters()[13].0, "0.norm.bias");
    Ok(())
}
