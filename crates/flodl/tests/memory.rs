//! Memory through the allocator's counters. The counters are the process's, so the tests of this
//! file take turns.

use std::sync::Mutex;

use flodl::*;

static TURN: Mutex<()> = Mutex::new(());

struct Run {
    model: Graph,
    optimizer: Adam,
    x: Variable,
    y: Variable,
}

impl Run {
    fn new(features: i64, batch: i64) -> Self {
        manual_seed(3);
        // With a team, how many scratch blocks are in use at once depends on who wakes up when.
        set_num_threads(1);
        let model = FlowBuilder::from(Linear::new(features, features).unwrap())
            .through(GELU)
            .also(Linear::new(features, features).unwrap())
            .through(Dropout::new(0.1))
            .through(Linear::new(features, 4).unwrap())
            .build()
            .unwrap();
        let optimizer = Adam::new(&model.parameters(), 1e-3);
        let random = |shape: &[i64]| {
            Variable::new(Tensor::randn(shape, TensorOptions::default()).unwrap(), false)
        };
        Run { model, optimizer, x: random(&[batch, features]), y: random(&[batch, 4]) }
    }

    fn step(&mut self) -> f64 {
        let loss = mse_loss(&self.model.forward(&self.x).unwrap(), &self.y).unwrap();
        self.optimizer.zero_grad();
        loss.backward().unwrap();
        self.optimizer.step().unwrap();
        loss.item().unwrap()
    }
}

#[test]
fn a_training_step_in_steady_state_takes_nothing_from_the_system() {
    let _turn = TURN.lock().unwrap_or_else(|p| p.into_inner());
    let mut run = Run::new(256, 64);
    for _ in 0..5 {
        run.step();
    }
    let before = memory_stats();
    for _ in 0..20 {
        run.step();
    }
    let after = memory_stats();
    assert_eq!(after.system_allocs, before.system_allocs);
    assert!(after.allocs > before.allocs + 20 * 10, "the steps did use tensors");
}

#[test]
fn memory_is_flat_over_10_000_steps() {
    let _turn = TURN.lock().unwrap_or_else(|p| p.into_inner());
    let mut run = Run::new(8, 4);
    for _ in 0..10 {
        run.step();
    }
    let before = memory_stats();
    for _ in 0..10_000 {
        run.step();
    }
    let after = memory_stats();
    assert_eq!(after.current, before.current);
    assert_eq!(after.system_allocs, before.system_allocs);
}

#[test]
fn backward_frees_what_forward_saved() {
    let _turn = TURN.lock().unwrap_or_else(|p| p.into_inner());
    let x = Variable::new(Tensor::randn(&[1 << 16], TensorOptions::default()).unwrap(), true);
    let before = memory_stats().current;
    let mut y = x.clone();
    for _ in 0..20 {
        y = y.sin().unwrap();
    }
    y = y.sum().unwrap();
    // Each sine keeps its input: x itself and 19 results.
    assert!(memory_stats().current - before >= 19 << 18);
    y.backward().unwrap();
    x.zero_grad();
    // The scalar itself is alive, and nothing else.
    assert!(memory_stats().current - before <= 4096);
    drop(y);
    assert_eq!(memory_stats().current, before);
}

#[test]
fn the_cache_has_a_bound_and_can_be_emptied() {
    let _turn = TURN.lock().unwrap_or_else(|p| p.into_inner());
    drop(Tensor::zeros(&[1 << 20], TensorOptions::default()).unwrap());
    assert!(memory_stats().cached >= 1 << 22);
    empty_cache();
    assert_eq!(memory_stats().cached, 0);
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let _turn = TURN.lock().unwrap_or_else(|p| p.into_inner());
    let losses = || {
        let mut run = Run::new(64, 32);
        (0..30).map(|_| run.step().to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(losses(), losses());
}
