//! A forward of a compiled graph takes nothing from the heap by itself. The counting allocator is
//! the process's, so the tests of
//! this file take turns.

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
    let _guard = NoGradGuard::new();
    let run =
        || if inputs.len() == 1 { model.forward(&inputs[0]) } else { model.forward_multi(inputs) };
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
    assert_eq!(allocations(&chain.build().unwrap(), std::slice::from_ref(&x)), 0);

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
