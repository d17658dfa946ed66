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

fn random(shape: &[i64]) -> Variable {
    Variable::new(Tensor::randn(shape, TensorOptions::default()).unwrap(), false)
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
        Self::of(model, &[batch, features], batch)
    }

    /// A convolutional network on two threads.
    fn convnet(size: i64, batch: i64) -> Self {
        manual_seed(3);
        set_num_threads(2);
        let model = FlowBuilder::from(Conv2d::configure(3, 16, 3).with_padding(1).done().unwrap())
            .through(BatchNorm2d::new(16).unwrap())
            .through(ReLU)
            .through(MaxPool2d::new(2))
            .through(Conv2d::configure(16, 32, 3).with_padding(1).done().unwrap())
            .through(BatchNorm2d::new(32).unwrap())
            .through(ReLU)
            .through(Dropout::new(0.2))
            .through(AdaptiveAvgPool2d::new([2, 2]))
            .through(Flatten::new(1, -1))
            .through(Linear::new(128, 4).unwrap())
            .build()
            .unwrap();
        Self::of(model, &[batch, 3, size, size], batch)
    }

    fn of(model: Graph, input: &[i64], batch: i64) -> Self {
        let optimizer = Adam::new(&model.parameters(), 1e-3);
        Run { model, optimizer, x: random(input), y: random(&[batch, 4]) }
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
    assert_eq!(after.returned, before.returned);
    assert!(after.allocs > before.allocs + 20 * 10, "the steps did use tensors");
}

/// What a convolutional step takes from the system and gives back to it.
fn exchange(run: &mut Run) -> (usize, usize) {
    let before = memory_stats();
    run.step();
    let after = memory_stats();
    (after.system_allocs - before.system_allocs, after.returned - before.returned)
}

#[test]
fn a_convnet_on_two_threads_comes_to_rest_and_keeps_its_pages() {
    let _turn = TURN.lock().unwrap_or_else(|p| p.into_inner());
    let mut run = Run::convnet(64, 64);
    reset_peak();
    run.step();
    // 16 MiB an activation: the blocks of the arena, which are cut, joined and trimmed.
    assert!(memory_stats().peak > 16 << 20, "{:?}", memory_stats());
    // How many scratch blocks two threads hold at once is chance, but there is a most.
    let mut calm = 0;
    for step in 0..300 {
        calm = if exchange(&mut run) == (0, 0) { calm + 1 } else { 0 };
        if calm == 30 {
            break;
        }
        assert!(step < 299, "no rest in 300 steps: {:?}", memory_stats());
    }
    // The counter sees pages that go and come again at every step.
    set_cache_limit(8 << 20);
    let returned: Vec<usize> = (0..3).map(|_| exchange(&mut run).1).collect();
    set_cache_limit(usize::MAX);
    assert!(returned.iter().all(|&r| r > 8 << 20), "{returned:?}");
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
    let before = memory_stats();
    empty_cache();
    let after = memory_stats();
    assert_eq!(after.cached, 0);
    assert_eq!(after.returned - before.returned, before.cached);
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let _turn = TURN.lock().unwrap_or_else(|p| p.into_inner());
    let losses = |make: fn() -> Run| {
        let mut run = make();
        (0..30).map(|_| run.step().to_bits()).collect::<Vec<_>>()
    };
    let makes: [fn() -> Run; 2] = [|| Run::new(64, 32), || Run::convnet(14, 24)];
    for make in makes {
        assert_eq!(losses(make), losses(make));
    }
}

/// Products with one matrix pack it once for them all; what was packed goes with the values.
#[test]
fn packed_weights_follow_their_values() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let options = TensorOptions::default();
    manual_seed(5);
    for dtype in [DType::Float32, DType::Float64] {
        let options = TensorOptions { dtype, ..options };
        let x = Tensor::randn(&[40, 256], options).unwrap();
        let mut w = Tensor::randn(&[192, 256], options).unwrap();
        // The same values in memory of their own, which no product has met.
        let fresh = |w: &Tensor| w.add_scalar(0.0).unwrap();
        let product = |w: &Tensor| x.linear(w, None).unwrap().to_f64_vec().unwrap();
        let back =
            |w: &Tensor| x.narrow(1, 0, 192).unwrap().matmul(w).unwrap().to_f64_vec().unwrap();
        let before = memory_stats().current;
        for round in 0..3 {
            let (forward, backward) = (product(&fresh(&w)), back(&fresh(&w)));
            for _ in 0..4 {
                assert_eq!(product(&w), forward, "round {round}");
                assert_eq!(back(&w), backward, "round {round}");
            }
            // Both ways round the weights are kept packed.
            let packed = memory_stats().current - before;
            assert!(packed >= 2 * w.nbytes(), "{packed} bytes");
            w.add_(&Tensor::ones(&[192, 256], options).unwrap()).unwrap();
            assert_eq!(memory_stats().current, before, "what was packed is let go");
        }
        product(&w);
        product(&w);
        let (kept, bytes) = (memory_stats().current, w.nbytes());
        drop(w);
        assert!(memory_stats().current + 2 * bytes <= kept, "freed with the weights");
    }
}

/// What is packed has a bound, however many weights there are.
#[test]
fn packed_weights_are_bounded() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let x = Tensor::randn(&[8, 1024], TensorOptions::default()).unwrap();
    let before = memory_stats().current;
    let weights: Vec<Tensor> =
        (0..40).map(|_| Tensor::randn(&[1024, 1024], TensorOptions::default()).unwrap()).collect();
    let own = memory_stats().current - before;
    for w in &weights {
        for _ in 0..3 {
            x.linear(w, None).unwrap();
        }
    }
    let packed = memory_stats().current - before - own;
    assert!((32 << 20..=65 << 20).contains(&packed), "{} MiB", packed >> 20);
}

/// Products with ever new parts of one tensor, as with the batches of a data set, keep none of them.
#[test]
fn parts_of_a_data_set_are_not_packed() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let data = Tensor::randn(&[64 * 20, 784], TensorOptions::default()).unwrap();
    let dy = Tensor::randn(&[128, 64], TensorOptions::default()).unwrap();
    let before = memory_stats().current;
    for i in (0..20).cycle().take(60) {
        dy.matmul(&data.narrow(0, 64 * i, 64).unwrap()).unwrap();
    }
    assert_eq!(memory_stats().current, before);
}
