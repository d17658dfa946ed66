//! A forward of a compiled graph takes nothing from the heap by itself. The counting allocator is
//! the process's, so the tests of this file take turns.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Mutex;

use flodl::*;

static TURN: Mutex<()> = Mutex::new(());

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|c| c.set(c.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread during one forward after a few to warm up.
fn allocations(model: &Graph, inputs: &[Variable]) -> usize {
    if inputs.len() == 1 {
        return count(|| model.forward(&inputs[0]));
    }
    count(|| model.forward_multi(inputs))
}

/// Allocations of this thread during one call after a few to warm up.
fn count(run: impl Fn() -> Result<Variable>) -> usize {
    let _guard = NoGradGuard::new();
    for _ in 0..3 {
        run().unwrap();
    }
    let before = COUNT.get();
    let output = run().unwrap();
    let count = COUNT.get() - before;
    drop(output);
    count
}

/// Passes on one of its references.
struct Look;

impl Module for Look {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        Ok(input.clone())
    }
    fn as_named_input(&self) -> Option<&dyn NamedInputModule> {
        Some(self)
    }
}

impl NamedInputModule for Look {
    fn forward_named(
        &self,
        input: &Variable,
        refs: &HashMap<String, Variable>,
    ) -> Result<Variable> {
        Ok(refs.get("a").unwrap_or(input).clone())
    }
}

#[test]
fn a_forward_takes_nothing_from_the_heap() {
    let _turn = TURN.lock().unwrap_or_else(|p| p.into_inner());
    let x = Variable::new(Tensor::ones(&[4], TensorOptions::default()).unwrap(), false);

    let chain = (0..99).fold(FlowBuilder::from(Identity), |flow, _| flow.through(Identity));
    let chain = chain.build().unwrap();
    assert_eq!(allocations(&chain, std::slice::from_ref(&x)), 0);
    assert_eq!(chain.steps_run(), 100);

    // Tags, forks, references within the pass and to the last one, more inputs, loops, nesting.
    let inner = FlowBuilder::from(Identity).tag("inner").build().unwrap();
    let rich = FlowBuilder::from(Identity)
        .input(&["extra"])
        .tag("a")
        .fork(Identity)
        .tag("side")
        .through(Look)
        .using(&["a", "side", "extra", "later"])
        .through(inner)
        .loop_body(Identity)
        .for_n(5)
        .loop_body(Look)
        .for_n(2)
        .using(&["a"])
        .through(Identity)
        .tag("later")
        .build()
        .unwrap();
    assert_eq!(allocations(&rich, &[x.clone(), x.clone()]), 0);

    // The counter counts.
    let relu = FlowBuilder::from(ReLU).build().unwrap();
    assert!(allocations(&relu, std::slice::from_ref(&x)) > 0);
}

#[test]
fn a_long_run_with_carried_state_holds_on_to_nothing() {
    let _turn = TURN.lock().unwrap_or_else(|p| p.into_inner());
    let model = FlowBuilder::from(StateAdd)
        .using(&["memory"])
        .through(Linear::new(8, 8).unwrap())
        .through(Tanh)
        .tag("memory")
        .loop_body(Linear::new(8, 8).unwrap())
        .until_cond(LearnedHalt::new(8).unwrap(), 3)
        .tag("loop")
        .build()
        .unwrap();
    let x = Variable::new(Tensor::ones(&[4, 8], TensorOptions::default()).unwrap(), false);
    let mut used = Vec::new();
    for _ in 0..300 {
        model.forward(&x).unwrap().sum().unwrap().backward().unwrap();
        model.end_step();
        used.push(memory_stats().current);
    }
    assert_eq!(used[250..].iter().max(), used[50..250].iter().max());
}

/// A graph and the same by hand take as much from the heap, which is what the modules take.
#[track_caller]
fn takes_no_more(flow: FlowBuilder, x: &Variable, by_hand: impl Fn(&Variable) -> Result<Variable>) {
    let model = flow.build().unwrap();
    let (ours, theirs) = (count(|| model.forward(x)), count(|| by_hand(x)));
    assert!(theirs > 0, "nothing to compare");
    assert_eq!(ours, theirs, "the graph, and by hand");
    let (ours, theirs) = (model.forward(x).unwrap(), by_hand(x).unwrap());
    assert_eq!(ours.data().to_f64_vec().unwrap(), theirs.data().to_f64_vec().unwrap());
}

/// Doubles its input and publishes the result.
struct Publishes;

impl Module for Publishes {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        forward_via_step(self, input)
    }
    fn as_loop_body(&self) -> Option<&dyn LoopBody> {
        Some(self)
    }
}

impl LoopBody for Publishes {
    fn step(
        &self,
        input: &Variable,
        _: &HashMap<String, Variable>,
        emit: &mut TraceEmit<'_>,
    ) -> Result<Variable> {
        let doubled = input.add(input)?;
        emit.publish("doubled", doubled.clone());
        Ok(doubled)
    }
}

#[test]
fn every_word_takes_what_its_modules_take() {
    let _turn = TURN.lock().unwrap_or_else(|p| p.into_inner());
    let x = Tensor::randn(&[3, 4], TensorOptions::default()).unwrap();
    let x = Variable::new(x, false);
    let start = FlowBuilder::new;

    takes_no_more(start().through(ReLU).tag("a").fork(Tanh).tag("b"), &x, |x| {
        let y = x.relu()?;
        y.tanh()?;
        Ok(y)
    });
    takes_no_more(start().also(ReLU), &x, |x| x.add(&x.relu()?));
    takes_no_more(start().also_with(ReLU, Tanh), &x, |x| x.relu()?.add(&x.tanh()?));
    let split = || start().split(modules![ReLU, Tanh, Sigmoid]);
    let sum = |x: &Variable| x.relu()?.add(&x.tanh()?)?.add(&x.sigmoid()?);
    takes_no_more(split().merge(MergeOp::Add), &x, sum);
    takes_no_more(split().merge(MergeOp::Mean), &x, |x| sum(x)?.div_scalar(3.0));
    takes_no_more(split().tag_group("g").merge(MergeOp::Cat(1)), &x, |x| {
        Variable::cat_many(&[&x.relu()?, &x.tanh()?, &x.sigmoid()?], 1)
    });
    takes_no_more(start().switch(FixedSelector::new(1), modules![ReLU, Tanh]), &x, |x| {
        FixedSelector::new(1).forward(x)?.item()?;
        x.tanh()
    });

    takes_no_more(start().map(ReLU).each(), &x, |x| {
        let parts = x.split(1, 0)?;
        let [a, b, c] = [parts[0].relu()?, parts[1].relu()?, parts[2].relu()?];
        Variable::cat_many(&[&a, &b, &c], 0)
    });
    takes_no_more(start().tag("x").through(Tanh).map(ReLU).over("x"), &x, |x| {
        x.tanh()?;
        let parts = x.split(1, 0)?;
        let [a, b, c] = [parts[0].relu()?, parts[1].relu()?, parts[2].relu()?];
        Variable::cat_many(&[&a, &b, &c], 0)
    });
    takes_no_more(start().map(ReLU).slices(2), &x, |x| {
        let parts = x.split(2, -1)?;
        Variable::cat_many(&[&parts[0].relu()?, &parts[1].relu()?], -1)
    });
    takes_no_more(start().map(ReLU).batched().slices(2), &x, |x| {
        let rows = x.reshape(&[3, 2, 2])?.movedim(1, 1)?.reshape(&[6, 2])?.relu()?;
        rows.reshape(&[3, 2, 2])?.movedim(1, 1)?.reshape(&[3, 4])
    });

    takes_no_more(start().loop_body(Tanh).for_n(3), &x, |x| x.tanh()?.tanh()?.tanh());
    let halt = ThresholdHalt::new(1e9);
    takes_no_more(start().loop_body(Tanh).while_cond(halt, 2), &x, |x| {
        halt.forward(x)?.item()?;
        let y = x.tanh()?;
        halt.forward(&y)?.item()?;
        y.tanh()
    });
    takes_no_more(start().loop_body(Tanh).until_cond(halt, 2), &x, |x| {
        let y = x.tanh()?;
        halt.forward(&y)?.item()?;
        let y = y.tanh()?;
        halt.forward(&y)?.item()?;
        Ok(y)
    });
    takes_no_more(start().loop_body(Publishes).for_n(2).tag("loop"), &x, |x| {
        let y = x.add(x)?;
        y.add(&y)
    });

    // References: one and several, into a graph by its inputs, into a router.
    takes_no_more(start().through(Tanh).tag("a").through(StateAdd).using(&["a"]), &x, |x| {
        let y = x.tanh()?;
        y.add(&y)
    });
    let two = start().tag("x").through(Tanh).tag("a").through(StateAdd).using(&["a", "x"]);
    takes_no_more(two, &x, |x| {
        let y = x.tanh()?;
        y.add(&y)?.add(x)
    });
    let inner = || FlowBuilder::from(StateAdd).input(&["more"]).using(&["more"]).build().unwrap();
    takes_no_more(start().tag("more").through(Tanh).through(inner()).using(&["more"]), &x, |x| {
        x.tanh()?.add(x)
    });
    let looped = start().tag("more").through(Tanh).loop_body(inner()).for_n(2).using(&["more"]);
    takes_no_more(looped, &x, |x| x.tanh()?.add(x)?.add(x));
    let switched = start().tag("x").switch(Chooses, modules![Tanh, ReLU]).using(&["x"]);
    takes_no_more(switched, &x, |x| {
        Chooses.forward(x)?.item()?;
        x.tanh()
    });
}

/// The first branch, whatever it is told.
struct Chooses;

impl Module for Chooses {
    fn forward(&self, _: &Variable) -> Result<Variable> {
        Ok(Variable::new(Tensor::zeros(&[1], TensorOptions::default())?, false))
    }
    fn as_named_input(&self) -> Option<&dyn NamedInputModule> {
        Some(self)
    }
}

impl NamedInputModule for Chooses {
    fn forward_named(&self, input: &Variable, _: &HashMap<String, Variable>) -> Result<Variable> {
        self.forward(input)
    }
}

#[test]
fn carried_state_takes_nothing() {
    let _turn = TURN.lock().unwrap_or_else(|p| p.into_inner());
    let x = Variable::new(Tensor::ones(&[4], TensorOptions::default()).unwrap(), false);
    let model = FlowBuilder::from(StateAdd).using(&["memory"]).through(Identity).tag("memory");
    let model = model.build().unwrap();
    assert_eq!(count(|| model.forward(&x)), count(|| x.add(&x)));
    // The first after a reset, which has nothing to add yet.
    model.reset_state();
    let before = COUNT.get();
    no_grad(|| model.forward(&x)).unwrap();
    assert_eq!(COUNT.get() - before, 0);
}

/// Experts that take nothing, so that what is left is the weighted sum.
#[test]
fn a_gate_takes_what_its_sum_takes() {
    struct Weights(Variable);
    impl Module for Weights {
        fn forward(&self, _: &Variable) -> Result<Variable> {
            Ok(self.0.clone())
        }
    }
    let _turn = TURN.lock().unwrap_or_else(|p| p.into_inner());
    let take = |experts: usize| {
        let ones = |shape: &[i64]| {
            Variable::new(Tensor::ones(shape, TensorOptions::default()).unwrap(), false)
        };
        let parts = (0..experts).map(|_| Box::new(Identity) as Box<dyn Module>).collect();
        let router = Weights(ones(&[3, experts as i64]));
        let model = FlowBuilder::new().gate(router, parts).build().unwrap();
        let x = ones(&[3, 4]);
        count(|| model.forward(&x))
    };
    // The sum's lists of parts, operands, inputs and saved values, and its result's two.
    assert_eq!([take(2), take(4)], [6, 6]);
}

#[test]
fn a_chain_that_runs_as_one_takes_what_its_layer_takes() {
    let _turn = TURN.lock().unwrap_or_else(|p| p.into_inner());
    manual_seed(1);
    let input = |shape: &[i64]| {
        Variable::new(Tensor::randn(shape, TensorOptions::default()).unwrap(), false)
    };
    let (x, linear) = (input(&[3, 4]), Linear::new(4, 5).unwrap());
    let model = FlowBuilder::from(linear.clone()).through(ReLU).build().unwrap();
    let own = count(|| linear.forward(&x));
    assert!(allocations(&model, std::slice::from_ref(&x)) <= own);
    assert_eq!(model.steps_run(), 1);
    model.set_fusion(false);
    assert!(allocations(&model, std::slice::from_ref(&x)) > own);

    let norm = LayerNorm::new(4).unwrap();
    let model = FlowBuilder::new().also(Tanh).through(norm.clone()).build().unwrap();
    let by_hand = count(|| norm.forward(&x.add(&x.tanh()?)?));
    let fused = allocations(&model, std::slice::from_ref(&x));
    // No lists: two for each value, of tanh, the sum and the norm, and the norm's two statistics.
    assert_eq!([fused, by_hand], [8, 8]);
    assert_eq!(model.steps_run(), 1);

    // The weights with a norm in them are made once, and again when something has changed.
    let (x, conv, norm) =
        (input(&[2, 3, 6, 6]), Conv2d::new(3, 4, 3).unwrap(), BatchNorm2d::new(4).unwrap());
    norm.forward(&input(&[2, 4, 3, 3])).unwrap();
    let model = FlowBuilder::from(conv.clone()).through(norm.clone()).through(ReLU);
    let model = model.build().unwrap();
    model.eval();
    let own = count(|| conv.forward(&x));
    let steady = allocations(&model, std::slice::from_ref(&x));
    assert!(steady <= own, "{steady} {own}");
    assert_eq!(model.steps_run(), 1);
    let once = || {
        let before = COUNT.get();
        no_grad(|| model.forward(&x)).unwrap();
        COUNT.get() - before
    };
    for parameter in model.parameters() {
        let other = parameter.variable.data().mul_scalar(1.5).unwrap();
        parameter.variable.set_data(other);
        assert!(once() > own, "{}: the fold is made again", parameter.name);
        assert_eq!(once(), steady, "{}: and kept", parameter.name);
    }
}

#[test]
fn a_chain_that_is_recorded_keeps_no_more_for_its_gradient() {
    let _turn = TURN.lock().unwrap_or_else(|p| p.into_inner());
    let linear = || Linear::new(32, 32).unwrap();
    let flows = [
        FlowBuilder::new().also(linear()).through(LayerNorm::new(32).unwrap()),
        FlowBuilder::new().also(linear()).through(RMSNorm::new(32).unwrap()),
        FlowBuilder::from(linear()).through(ReLU).through(linear()),
        FlowBuilder::from(linear()).through(GELU).through(linear()),
        FlowBuilder::from(linear()).through(Tanh).through(linear()),
    ];
    let x = Tensor::randn(&[64, 32], TensorOptions::default()).unwrap();
    let x = Variable::new(x, true);
    for flow in flows {
        let model = flow.build().unwrap();
        let kept = |fusion: bool| {
            model.set_fusion(fusion);
            drop(model.forward(&x).unwrap());
            let before = memory_stats().current;
            let y = model.forward(&x).unwrap();
            let kept = memory_stats().current - before;
            drop(y);
            kept
        };
        let (plain, fused) = (kept(false), kept(true));
        assert!(fused <= plain && fused > 0, "{fused} {plain}");
    }
}
