//! Optional traits, modules written by hand, and the same in a graph.

use std::cell::{Cell, RefCell};

use super::snippets::mlp::MLP;
use super::*;

/// Only the one method that a module must have.
struct Leaf;

impl Module for Leaf {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        Ok(input.clone())
    }
}

#[test]
fn defaults_of_a_module() {
    let m = Leaf;
    assert!(m.parameters().is_empty() && m.buffers().is_empty());
    assert_eq!(m.name(), "module");
    let children: Vec<Rc<dyn Module>> = m.sub_modules();
    assert!(children.is_empty());
    m.move_to_device(Device::CPU);
    let unit: () = m.set_training(true);
    assert_eq!(unit, ());
    let named: Option<&dyn NamedInputModule> = m.as_named_input();
    assert!(named.is_none() && m.structural_hash().is_none() && m.identity().is_none());
    m.reset();
    m.detach_state();
    let _: [Rc<dyn Module>; 2] = [Rc::new(m), Rc::new(ReLU)];
}

/// Children in fresh `Rc`s at each call, nothing else.
#[derive(Clone)]
struct Block {
    first: Linear,
    norm: BatchNorm,
    drop: Dropout,
    second: Linear,
}

impl Block {
    fn new() -> Result<Self> {
        Ok(Block {
            first: Linear::new(6, 6)?,
            norm: BatchNorm::new(6)?,
            drop: Dropout::new(0.5),
            second: Linear::new(6, 6)?,
        })
    }
}

impl Module for Block {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        let h = self.norm.forward(&self.first.forward(input)?)?.relu()?;
        self.second.forward(&self.drop.forward(&h)?)
    }
    fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
        vec![
            Rc::new(self.first.clone()),
            Rc::new(self.norm.clone()),
            Rc::new(self.drop.clone()),
            Rc::new(self.second.clone()),
        ]
    }
}

/// Two blocks and a layer that one of them has as well.
struct Nest(Block, Block, Linear);

impl Module for Nest {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        self.2.forward(&self.1.forward(&self.0.forward(input)?)?)
    }
    fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
        vec![Rc::new(self.0.clone()), Rc::new(self.1.clone()), Rc::new(self.2.clone())]
    }
}

/// A third level.
struct Outer(Rc<Nest>);

impl Module for Outer {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        self.0.forward(input)
    }
    fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
        vec![self.0.clone()]
    }
}

fn nested() -> Result<Outer> {
    let first = Block::new()?;
    let shared = first.second.clone();
    Ok(Outer(Rc::new(Nest(first, Block::new()?, shared))))
}

#[test]
fn children_that_are_declared_are_looked_after() -> Checked {
    let m = nested()?;
    // Twice six, the shared layer once.
    assert_eq!(m.parameters().len(), 12);
    assert_eq!(m.buffers().len(), 6);
    let mut names = Vec::new();
    walk_modules(&m, &mut |m| names.push(m.name().to_owned()));
    let block = ["module", "Linear", "BatchNorm", "Dropout", "Linear"];
    assert_eq!(names, [&["module", "module"][..], &block, &block].concat());
    let x = randn(&[8, 6]);
    let once = || -> Result<Vec<f64>> { Ok(values(&m.forward(&x)?)) };
    assert_ne!(once()?, once()?);
    m.eval();
    assert_eq!(once()?, once()?);
    assert_eq!(m.buffers()[2].get().item()?, 2.0, "running statistics rest in inference");
    m.train();
    assert_ne!(once()?, once()?);
    m.move_to_device(Device::CPU);
    m.move_to_device(Device::CUDA(0));
    assert!(m.parameters().iter().all(|p| p.variable.device() == Device::CPU));
    fails(move_module(m.parameters(), m.buffers(), Device::CUDA(0)), "no CUDA engine");
    Ok(())
}

#[test]
fn a_clone_is_the_same_layer() -> Checked {
    let original = Linear::new(3, 3)?;
    let clone = original.clone();
    assert_eq!(clone.identity(), original.identity());
    for (p, q) in original.parameters().iter().zip(clone.parameters()) {
        assert_eq!(p.variable.id(), q.variable.id());
        assert!(p.variable.data().shares_storage(&q.variable.data()));
    }
    let (x, y) = (randn(&[5, 3]), randn(&[5, 3]));
    for (trained, other) in [(&original, &clone), (&clone, &original)] {
        let before = values(&other.forward(&x)?);
        let mut optimizer = SGD::new(&trained.parameters(), 0.1, 0.0);
        mse_loss(&trained.forward(&x)?, &y)?.backward()?;
        optimizer.step()?;
        assert_ne!(values(&other.forward(&x)?), before);
        assert_eq!(values(&other.forward(&x)?), values(&trained.forward(&x)?));
        optimizer.zero_grad();
    }
    // Mode and statistics are shared too.
    let (bn, drop) = (BatchNorm::new(3)?, Dropout::new(0.5));
    let (bn_clone, drop_clone) = (bn.clone(), drop.clone());
    bn_clone.forward(&x)?;
    bn.eval();
    drop.eval();
    assert_eq!(values(&bn_clone.forward(&x)?), values(&bn.forward(&x)?));
    assert_eq!(values(&drop_clone.forward(&x)?), values(&x));
    Ok(())
}

#[test]
fn an_mlp_by_hand_learns_and_fits_into_a_graph() -> Checked {
    manual_seed(1);
    let x = randn(&[32, 784]);
    let labels: Vec<i64> = (0..32).map(|i| i % 10).collect();
    let labels = ints(&labels, &[32]);
    let mlp = MLP::new()?;
    let graph = FlowBuilder::from(MLP::new()?).through(Dropout::new(0.5)).build()?;
    assert_eq!(graph.parameters().len(), 4);
    graph.eval();
    assert_eq!(graph.forward(&x)?.shape(), [32, 10]);
    for (p, q) in mlp.parameters().iter().zip(graph.parameters()) {
        p.variable.set_data(q.variable.data().copy()?);
    }
    assert_eq!(values(&graph.forward(&x)?), values(&mlp.forward(&x)?));
    for m in [&mlp as &dyn Module, &graph] {
        let mut optimizer = Adam::new(&m.parameters(), 1e-3);
        let mut losses = Vec::new();
        for _ in 0..40 {
            let loss = cross_entropy_loss(&m.forward(&x)?, &labels)?;
            optimizer.zero_grad();
            loss.backward()?;
            optimizer.step()?;
            losses.push(loss.item()?);
        }
        assert!(losses[39] < 0.1 * losses[0], "{} {}", losses[0], losses[39]);
    }
    Ok(())
}

/// The stream plus what the names hold, and which names came.
#[derive(Clone, Default)]
struct Refs(Rc<RefCell<Vec<String>>>);

impl Module for Refs {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        Ok(input.clone())
    }
    fn as_named_input(&self) -> Option<&dyn NamedInputModule> {
        Some(self)
    }
}

impl NamedInputModule for Refs {
    fn forward_named(
        &self,
        input: &Variable,
        refs: &HashMap<String, Variable>,
    ) -> Result<Variable> {
        let mut names: Vec<String> = refs.keys().cloned().collect();
        names.sort();
        *self.0.borrow_mut() = names;
        input.add(&refs["a"])?.add(&refs["b"].mul_scalar(2.0)?)
    }
}

#[test]
fn named_inputs_arrive_as_a_map() -> Checked {
    let (a, b, seen) = (Linear::new(3, 3)?, Linear::new(3, 3)?, Refs::default());
    let x = randn(&[2, 3]);
    let mut outputs = Vec::new();
    for order in [["a", "b"], ["b", "a"]] {
        let graph = FlowBuilder::from(a.clone())
            .tag("a")
            .through(b.clone())
            .tag("b")
            .through(Tanh)
            .through(seen.clone())
            .using(&order)
            .build()?;
        let y = graph.forward(&x)?;
        assert_eq!(*seen.0.borrow(), ["a", "b"]);
        let ha = a.forward(&x)?;
        let hb = b.forward(&ha)?;
        close(&y, &values(&hb.tanh()?.add(&ha)?.add(&hb.mul_scalar(2.0)?)?), 1e-6);
        y.sum()?.backward()?;
        outputs.push((values(&y), gradient(&a.weight().variable)));
        a.weight().variable.zero_grad();
    }
    assert_eq!(outputs[0], outputs[1]);
    assert!(outputs[0].1.iter().any(|&g| g != 0.0));
    let wrong = FlowBuilder::from(ReLU).tag("a").through(Sigmoid).using(&["a"]).build();
    fails(wrong, "Sigmoid");
    Ok(())
}

/// Multiplies by how often it has run since the last reset, and counts resets and detaches.
#[derive(Clone, Default)]
struct Step {
    runs: Rc<Cell<usize>>,
    resets: Rc<Cell<usize>>,
    detaches: Rc<Cell<usize>>,
}

impl Module for Step {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        self.runs.set(self.runs.get() + 1);
        input.add_scalar(self.runs.get() as f64)
    }
    fn reset(&self) {
        self.runs.set(0);
        self.resets.set(self.resets.get() + 1);
    }
    fn detach_state(&self) {
        self.detaches.set(self.detaches.get() + 1);
    }
}

/// A module around another.
struct Around(Rc<dyn Module>);

impl Module for Around {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        self.0.forward(input)
    }
    fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
        vec![self.0.clone()]
    }
}

#[test]
fn loops_reset_their_body_once() -> Checked {
    let x = zeros(&[1, 1]);
    type Loop = fn(LoopBuilder) -> FlowBuilder;
    let loops: [Loop; 3] = [
        |b| b.for_n(3),
        |b| b.while_cond(ThresholdHalt::new(5.0), 10),
        |b| b.until_cond(ThresholdHalt::new(5.0), 10),
    ];
    for (i, end) in loops.into_iter().enumerate() {
        let step = Step::default();
        let inner = FlowBuilder::from(Around(Rc::new(step.clone()))).build()?;
        let graph = end(FlowBuilder::from(Identity).loop_body(inner)).build()?;
        let first = values(&graph.forward(&x)?);
        assert_eq!(step.resets.get(), 1, "loop {i}");
        assert!(i == 1 || step.runs.get() == 3, "loop {i}: 1 + 2 + 3 is past the threshold");
        assert_eq!(values(&graph.forward(&x)?), first, "loop {i}");
        assert_eq!(step.resets.get(), 2, "loop {i}");
    }
    Ok(())
}

#[test]
fn modes_and_detaching_reach_every_place_of_a_graph() -> Checked {
    let steps: Vec<Step> = (0..8).map(|_| Step::default()).collect();
    let drops: Vec<Dropout> = (0..8).map(|_| Dropout::new(0.5)).collect();
    let place = |i: usize| -> Result<Around> {
        let both = FlowBuilder::from(steps[i].clone()).through(drops[i].clone()).build()?;
        Ok(Around(Rc::new(FlowBuilder::from(both).build()?)))
    };
    let graph = FlowBuilder::from(place(0)?)
        .loop_body(place(1)?)
        .for_n(2)
        .gate(SoftmaxRouter::new(4, 2)?, modules![place(2)?, place(3)?])
        .switch(FixedSelector::new(0), modules![place(4)?, place(5)?])
        .split(modules![place(6)?, ReLU])
        .merge(MergeOp::Add)
        .map(place(7)?)
        .each()
        .build()?;
    graph.detach_state();
    let detached: Vec<usize> = steps.iter().map(|s| s.detaches.get()).collect();
    assert_eq!(detached, [1; 8]);
    let ones = var(&[1.0; 100], &[100]);
    for training in [true, false, true, false] {
        graph.set_training(training);
        for (i, drop) in drops.iter().enumerate() {
            let kept = values(&drop.forward(&ones)?) == [1.0; 100];
            assert_eq!(kept, !training, "place {i}");
        }
    }
    graph.train();
    assert_ne!(values(&drops[7].forward(&ones)?), [1.0; 100]);
    graph.eval();
    assert_eq!(values(&drops[7].forward(&ones)?), [1.0; 100]);
    Ok(())
}

/// Truncated backpropagation: the state of forward references keeps its values and loses its past.
#[test]
fn detached_graphs_go_on() -> Checked {
    let cell = Linear::no_bias(3, 3)?;
    let inner = FlowBuilder::from(cell.clone())
        .through(Memory)
        .using(&["memory"])
        .through(Tanh)
        .tag("memory")
        .build()?;
    let graph = FlowBuilder::from(Around(Rc::new(inner))).build()?;
    let x = randn(&[2, 3]);
    let mut last: Option<Variable> = None;
    for _ in 0..3 {
        let y = graph.forward(&x)?;
        let h = cell.forward(&x)?;
        let want = match &last {
            Some(last) => h.add(last)?.tanh()?,
            None => h.tanh()?,
        };
        close(&y, &values(&want), 1e-6);
        y.sum()?.backward()?;
        let got = gradient(&cell.weight().variable);
        cell.weight().variable.zero_grad();
        want.sum()?.backward()?;
        near(&got, &gradient(&cell.weight().variable), 1e-5);
        cell.weight().variable.zero_grad();
        last = Some(want.detach());
        graph.detach_state();
    }
    // Without it the second pass would go back into the first.
    graph.forward(&x)?.sum()?.backward()?;
    fails(graph.forward(&x)?.sum()?.backward(), "retain_graph");
    Ok(())
}

struct Memory;

impl Module for Memory {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        Ok(input.clone())
    }
    fn as_named_input(&self) -> Option<&dyn NamedInputModule> {
        Some(self)
    }
}

impl NamedInputModule for Memory {
    fn forward_named(
        &self,
        input: &Variable,
        refs: &HashMap<String, Variable>,
    ) -> Result<Variable> {
        input.add(&refs["memory"])
    }
}

/// Residuals, branches, loops and conditions say in the builder what they say by hand.
#[test]
fn graphs_equal_modules_written_by_hand() -> Checked {
    manual_seed(6);
    let layer = || Linear::new(4, 4);
    let (a, b, c, d, e, f) = (layer()?, layer()?, layer()?, layer()?, layer()?, layer()?);
    let router = SoftmaxRouter::new(4, 2)?;
    let graph = FlowBuilder::from(a.clone())
        .also(b.clone())
        .split(modules![c.clone(), d.clone()])
        .merge(MergeOp::Mean)
        .loop_body(e.clone())
        .for_n(3)
        .gate(router.clone(), modules![f.clone(), a.clone()])
        .switch(FixedSelector::new(1), modules![b.clone(), c.clone()])
        .build()?;
    let by_hand = |x: &Variable| -> Result<Variable> {
        let h = a.forward(x)?;
        let h = h.add(&b.forward(&h)?)?;
        let mut h = c.forward(&h)?.add(&d.forward(&h)?)?.mul_scalar(0.5)?;
        for _ in 0..3 {
            h = e.forward(&h)?;
        }
        let w = router.forward(&h)?;
        let first = f.forward(&h)?.mul(&w.narrow(1, 0, 1)?)?;
        c.forward(&first.add(&a.forward(&h)?.mul(&w.narrow(1, 1, 1)?)?)?)
    };
    assert_eq!(graph.parameters().len(), 14);
    let x = randn(&[5, 4]);
    let run = |forward: &dyn Fn(&Variable) -> Result<Variable>| -> Result<Vec<Vec<f64>>> {
        let x = leaf(&x);
        let y = forward(&x)?;
        y.mul(&y)?.sum()?.backward()?;
        let mut all = vec![values(&y), gradient(&x)];
        for p in graph.parameters() {
            all.push(gradient(&p.variable));
            p.variable.zero_grad();
        }
        Ok(all)
    };
    for (got, want) in run(&|x| graph.forward(x))?.iter().zip(&run(&by_hand)?) {
        near(got, want, 1e-5);
    }
    Ok(())
}

/// A replica for another thread is built there from the state, which moves.
#[test]
fn state_moves_between_threads() -> Checked {
    let model = Linear::new(4, 2)?;
    let x = randn(&[3, 4]);
    let want = values(&model.forward(&x)?);
    let state: Vec<Tensor> = model.parameters().iter().map(|p| p.variable.data()).collect();
    let input = x.data();
    let got = std::thread::spawn(move || -> Result<Vec<f64>> {
        let replica = Linear::new(4, 2)?;
        for (p, t) in replica.parameters().iter().zip(state) {
            p.variable.set_data(t);
        }
        replica.forward(&Variable::new(input, false))?.data().to_f64_vec()
    });
    assert_eq!(got.join().unwrap()?, want);
    Ok(())
}
