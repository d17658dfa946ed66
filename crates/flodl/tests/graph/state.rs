//! State and modes reach every module that a graph holds, however deep.

use super::*;

/// Every place of a graph with a counter in it, most of them inside a graph inside a composite.
fn everywhere() -> (Graph, Vec<Counter>) {
    let counters: Vec<Counter> = (0..14).map(|_| Counter::default()).collect();
    let deep = |i: usize| {
        let inner = build(FlowBuilder::from(counters[i].clone()));
        Around(Rc::new(build(FlowBuilder::from(Around(Rc::new(inner))))))
    };
    let flow = FlowBuilder::from(deep(0))
        .also(deep(1))
        .also_with(deep(2), deep(3))
        .fork(deep(4))
        .tag("side")
        .split(modules![deep(5), counters[6].clone()])
        .merge(MergeOp::Mean)
        .loop_body(deep(7))
        .for_n(2)
        .gate(Weights, modules![deep(8), deep(9)])
        .switch(FixedSelector::new(1), modules![deep(10), deep(11)])
        .map(deep(12))
        .each()
        .loop_body(ReLU)
        .while_cond(Both(counters[13].clone()), 1);
    (build(flow), counters)
}

struct Weights;
impl Module for Weights {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        Ok(Variable::new(Tensor::ones(&[input.shape()[0], 2], DType::Float64.into())?, false))
    }
}

struct Both(Counter);
impl Module for Both {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        self.0.forward(input)?.max()
    }
    fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
        vec![Rc::new(self.0.clone())]
    }
}

#[test]
fn training_mode_reaches_every_place() {
    let (graph, counters) = everywhere();
    for training in [false, true] {
        graph.set_training(training);
        assert!(counters.iter().all(|c| c.training.get() == Some(training)));
    }
    graph.eval();
    assert!(counters.iter().all(|c| c.training.get() == Some(false)));
    graph.train();
    assert!(counters.iter().all(|c| c.training.get() == Some(true)));
}

#[test]
fn reset_and_detach_reach_every_place_once() {
    let (graph, counters) = everywhere();
    graph.reset_state();
    assert_eq!(counters.iter().map(|c| c.resets.get()).collect::<Vec<_>>(), [1; 14]);
    graph.detach_state();
    assert_eq!(counters.iter().map(|c| c.detaches.get()).collect::<Vec<_>>(), [1; 14]);
}

#[test]
fn a_loop_resets_its_body_once_before_it_iterates() {
    let (graph, counters) = everywhere();
    graph.forward(&var(&[1.0, 2.0], &[2, 1])).unwrap();
    let resets: Vec<usize> = counters.iter().map(|c| c.resets.get()).collect();
    // The body of the loop, and the condition of the other one.
    assert_eq!(resets, [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    assert_eq!(counters[7].forwards.get(), 2);
    assert_eq!((counters[10].forwards.get(), counters[11].forwards.get()), (0, 1));
}

fn accumulator() -> FlowBuilder {
    FlowBuilder::from(StateAdd).using(&["memory"]).through(Identity).tag("memory")
}

#[test]
fn state_is_carried_reset_and_detached() {
    let graph = build(accumulator());
    let x = var(&[1.0], &[1]);
    let step = || graph.forward(&x).unwrap();
    assert_eq!([step(), step(), step()].map(|y| y.item().unwrap()), [1.0, 2.0, 3.0]);
    graph.reset_state();
    let (first, second) = (step(), step());
    assert_eq!((first.item().unwrap(), second.item().unwrap()), (1.0, 2.0));
    second.backward().unwrap();
    assert_eq!(x.grad().unwrap().to_f64_vec().unwrap(), [2.0]);
    // Without it the next backward would meet the tape that the last one freed.
    graph.detach_state();
    x.zero_grad();
    let third = step();
    assert_eq!(third.item().unwrap(), 3.0);
    third.backward().unwrap();
    assert_eq!(x.grad().unwrap().to_f64_vec().unwrap(), [1.0]);
}

#[test]
fn zeros_stand_for_what_was_not_yet_there() {
    let sum = Sum::default();
    let graph =
        build(FlowBuilder::from(sum.clone()).using(&["out"]).through(Times(1.0)).tag("out"));
    let x = var(&[1.0, 2.0], &[2]);
    assert_eq!(values(&graph.forward(&x).unwrap()), [1.0, 2.0]);
    assert_eq!(sum.seen.take(), ["out"]);
    assert_eq!(values(&graph.forward(&x).unwrap()), [11.0, 22.0]);
    // A node may refer to its own output.
    let own = build(FlowBuilder::from(StateAdd).using(&["own"]).tag("own"));
    own.forward(&x).unwrap();
    assert_eq!(values(&own.forward(&x).unwrap()), [2.0, 4.0]);
}

#[test]
fn carried_state_in_graphs_in_graphs_is_reached_whatever_stands_between() {
    /// Overrides `detach_state` and forgets what is inside.
    struct Forgetful(Rc<dyn Module>);
    impl Module for Forgetful {
        fn forward(&self, input: &Variable) -> Result<Variable> {
            self.0.forward(input)
        }
        fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
            vec![self.0.clone()]
        }
        fn detach_state(&self) {}
        fn reset(&self) {}
    }
    let x = var(&[1.0], &[1, 1]);
    type Wrap = fn(Graph) -> FlowBuilder;
    let wrappers: [(&str, Wrap); 7] = [
        ("graph", |g| FlowBuilder::from(g)),
        ("composite", |g| FlowBuilder::from(Around(Rc::new(g)))),
        ("override", |g| FlowBuilder::from(Forgetful(Rc::new(g)))),
        ("split", |g| FlowBuilder::new().split(modules![g]).merge(MergeOp::Add)),
        ("switch", |g| FlowBuilder::new().switch(FixedSelector::new(0), modules![g])),
        ("gate", |g| FlowBuilder::new().gate(Weights, modules![g, Times(0.0)])),
        ("map", |g| FlowBuilder::new().map(g).each()),
    ];
    for (name, wrap) in wrappers {
        let graph = build(wrap(build(accumulator())));
        assert!(graph.has_state(), "{name}");
        for n in 1..4 {
            let y = graph.forward(&x).unwrap();
            assert_eq!(y.item().unwrap(), f64::from(n), "{name}");
            y.sum().unwrap().backward().unwrap();
            graph.end_step();
        }
        assert_eq!(graph.step_count(), 3);
        graph.end_sequence();
        assert_eq!(graph.forward(&x).unwrap().item().unwrap(), 1.0, "{name}");
        graph.end_epoch();
        assert_eq!(graph.forward(&x).unwrap().item().unwrap(), 1.0, "{name}");
        assert_eq!(graph.epoch_count(), 1);
    }
    assert!(!build(FlowBuilder::from(ReLU)).has_state());
    // A loop starts its body afresh: each forward counts from one.
    let graph = build(FlowBuilder::new().loop_body(build(accumulator())).for_n(3));
    for _ in 0..2 {
        // 1, then 1 + 1, then 2 + 2.
        assert_eq!(graph.forward(&x).unwrap().item().unwrap(), 4.0);
    }
}

/// Keeps its calls to itself, though there are modules inside.
struct Selfish(Counter, Rc<dyn Module>);
impl Module for Selfish {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        self.1.forward(input)
    }
    fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
        vec![self.1.clone()]
    }
    fn reset(&self) {
        self.0.reset();
    }
    fn detach_state(&self) {
        self.0.detach_state();
    }
}

/// Passes every call on and lists nothing.
struct Front(Rc<dyn Module>);
impl Module for Front {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        self.0.forward(input)
    }
    fn reset(&self) {
        self.0.reset();
    }
    fn detach_state(&self) {
        self.0.detach_state();
    }
}

/// Has the identity of what it holds.
struct Mask(Rc<dyn Module>);
impl Module for Mask {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        self.0.forward(input)
    }
    fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
        vec![self.0.clone()]
    }
    fn identity(&self) -> Option<usize> {
        self.0.identity()
    }
}

#[test]
fn resets_and_detaches_go_below_modules_that_override_them() {
    let x = var(&[1.0], &[1, 1]);
    type Wrap = fn(Counter, Rc<dyn Module>) -> Rc<dyn Module>;
    let wrappers: [(&str, usize, Wrap); 6] = [
        ("plain", 0, |_, inner| Rc::new(Around(inner))),
        ("selfish", 1, |own, inner| Rc::new(Selfish(own, inner))),
        ("selfish twice", 2, |own, inner| {
            Rc::new(Selfish(own.clone(), Rc::new(Selfish(own, Rc::new(Around(inner))))))
        }),
        ("behind pointers", 1, |own, inner| {
            Rc::new(Rc::new(Box::new(Selfish(own, Rc::new(Rc::new(Around(inner)))))))
        }),
        ("front", 0, |_, inner| Rc::new(Front(Rc::new(Around(inner))))),
        ("mask", 0, |_, inner| Rc::new(Mask(inner))),
    ];
    for (name, own_calls, wrap) in wrappers {
        let (own, inner) = (Counter::default(), Counter::default());
        let memory = FlowBuilder::from(StateAdd).using(&["memory"]).through(Identity).tag("memory");
        let memory = Rc::new(build(memory.through(inner.clone())));
        let module = wrap(own.clone(), memory.clone());
        let graph = build(FlowBuilder::from(module.clone()));
        let counts = || [own.resets.get(), inner.resets.get()];
        graph.forward(&x).unwrap();
        graph.reset_state();
        assert_eq!(counts(), [own_calls, 1], "{name}");
        assert_eq!(graph.forward(&x).unwrap().item().unwrap(), 2.0, "{name}: 1 + 1");
        graph.detach_state();
        assert_eq!([own.detaches.get(), inner.detaches.get()], [own_calls, 1], "{name}");
        x.zero_grad();
        graph.forward(&x).unwrap().backward().unwrap();
        assert_eq!(x.grad().unwrap().to_f64_vec().unwrap(), [1.0], "{name}: cut");
        // A loop resets its body likewise, by a list that it has made.
        let looped = build(FlowBuilder::new().loop_body(module).for_n(1));
        for n in 2..4 {
            assert_eq!(looped.forward(&x).unwrap().item().unwrap(), 2.0, "{name}");
            assert_eq!(counts(), [own_calls * n, n], "{name}");
        }
    }
}
