//! Whole runs that are killed, resumed, and refused.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use flodl::*;

fn folder(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("flodl-resume-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Dropout and batch norm.
fn plain() -> Graph {
    FlowBuilder::from(Linear::new(3, 8).unwrap())
        .through(BatchNorm1d::new(8).unwrap())
        .through(ReLU)
        .through(Dropout::new(0.3))
        .through(Linear::new(8, 2).unwrap())
        .build()
        .unwrap()
}

/// A tag that is used before it appears: its value is carried to the next batch.
fn carrying() -> Graph {
    FlowBuilder::from(Linear::new(3, 8).unwrap())
        .through(StateAdd)
        .using(&["memory"])
        .through(Tanh)
        .fork(Linear::new(8, 8).unwrap())
        .tag("memory")
        .through(Linear::new(8, 2).unwrap())
        .build()
        .unwrap()
}

/// A small run with everything that has state: Adam, a schedule, a shuffle, augmentation,
/// accumulation and worker threads; on the other model also a scaler, averages, and a plateau.
fn run(dir: &Path, carries: bool) -> Vec<u8> {
    manual_seed(3);
    let x = Tensor::randn(&[60, 3], TensorOptions::default()).unwrap();
    let y = x.select(1, 0).unwrap().gt_scalar(0.0).unwrap().to_dtype(DType::Int64).unwrap();
    let set = TensorDataset::new(vec![x, y]).unwrap();
    let noise = TransformFn::new(|mut t, keys| {
        let n: Vec<f32> = keys.iter().map(|k| k.rng().normal(0.0, 0.1) as f32).collect();
        t[0] = t[0].add(&Tensor::from_f32(&n, &[keys.len() as i64, 1], Device::CPU)?)?;
        Ok(t)
    });
    let net = if carries { carrying() } else { plain() };
    let mut optimizer = Adam::new(&net.parameters(), 0.01);
    let loss = |out: &Variable, b: &Batch| cross_entropy_loss(out, &b.variable(1));
    let saves = RunCheckpoints::new(dir).unwrap().keep_last(2).best("val loss", PlateauMode::Min);
    let best = saves.best_path();
    let mut trainer = Trainer::new(&net, &mut optimizer, loss)
        .epochs(12)
        .train(DataLoader::new(set.clone(), 4).shuffle(7).transform(noise).workers(2))
        .validate(DataLoader::new(set, 30))
        .metric(Accuracy::new())
        .accumulate(2)
        .clip_norm(1.0)
        .schedule(CosineScheduler::new(0.01, 0.001, 96))
        .checkpoints(saves)
        .checkpoint_every(1)
        .quiet();
    if carries {
        trainer = trainer
            .autocast(DType::BFloat16)
            .grad_scaler(GradScaler::new().growth_interval(7))
            .plateau(PlateauScheduler::new(0.01, 0, 0.9, 1e-4), "val loss")
            .average(0.9);
    }
    let report = trainer.run().unwrap();
    assert_eq!((report.steps, report.history.len()), (96, 12));
    let mut all: Vec<u8> = Vec::new();
    let params = net.parameters().into_iter().map(|p| p.variable.data());
    let buffers = net.buffers().into_iter().map(|b| b.get());
    params.chain(buffers).for_each(|t| all.extend(t.to_blob().unwrap()));
    let numbers = report.history.iter().flat_map(|r| &r.metrics);
    numbers.for_each(|m| all.extend(m.1.to_bits().to_le_bytes()));
    // The best run is as it would have been too.
    for (name, tensor) in load_tensors(best).unwrap() {
        all.extend(name.bytes());
        all.extend(tensor.to_blob().unwrap());
    }
    all
}

const CHILD_DIR: &str = "FLODL_TEST_RUN_DIR";

const CHILD_MODEL: &str = "FLODL_TEST_RUN_CARRIES";

/// What the killed processes run; nothing on its own.
#[test]
fn killed_child() {
    if let Ok(dir) = std::env::var(CHILD_DIR) {
        let out = run(Path::new(&dir), std::env::var(CHILD_MODEL).is_ok());
        write_atomic(Path::new(&dir).join("result"), &out).unwrap();
    }
}

fn kill_often(carries: bool) {
    let name = if carries { "carries" } else { "plain" };
    let child = |dir: &Path| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        if carries {
            command.env(CHILD_MODEL, "1");
        }
        command
            .args(["--exact", "killed_child"])
            .env(CHILD_DIR, dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let (whole, killed) = (folder(&format!("{name}-whole")), folder(&format!("{name}-killed")));
    assert!(child(&whole).wait().unwrap().success());
    let mut rng = Rng::from_entropy();
    let (mut kills, mut steps) = (0, Vec::new());
    loop {
        let mut process = child(&killed);
        // Moments from before the first save to after several; in the end it may run through.
        if kills < 25 {
            std::thread::sleep(Duration::from_micros(rng.range(1_000, 40_000) as u64));
            process.kill().unwrap();
        }
        if process.wait().unwrap().success() {
            break;
        }
        kills += 1;
        assert!(kills <= 25, "the run fails");
        let last = RunCheckpoints::new(&killed).unwrap().saved().unwrap().pop();
        steps.extend(last.map(|p| p.file_name().unwrap().to_string_lossy().into_owned()));
    }
    steps.dedup();
    assert!(steps.len() >= 2, "killed {kills} times, but never between saves: {steps:?}");
    let read = |dir: &Path| std::fs::read(dir.join("result")).unwrap();
    assert!(read(&whole) == read(&killed), "other bits after kills at {steps:?}");
}

#[test]
fn a_run_killed_at_any_moment_ends_in_the_same_bits() {
    kill_often(false);
}

#[test]
fn so_does_one_that_carries_values_from_batch_to_batch() {
    kill_often(true);
}

fn data(n: i64) -> TensorDataset {
    let x = Tensor::full(&[n, 2], 0.5, TensorOptions::default()).unwrap();
    TensorDataset::new(vec![x]).unwrap()
}

/// Two epochs in a folder, or what keeps it from resuming.
fn resume(dir: &Path, model: Graph, loader: impl Into<BatchSource>) -> Result<TrainReport> {
    let mut optimizer = SGD::new(&model.parameters(), 0.1, 0.9);
    Trainer::new(&model, &mut optimizer, |out, _| out.square()?.mean())
        .epochs(1)
        .train(loader)
        .checkpoints(RunCheckpoints::new(dir)?)
        .quiet()
        .run()
}

#[test]
fn another_setup_is_refused() {
    let dir = folder("setup");
    let model = |slope| {
        FlowBuilder::from(Linear::new(2, 2).unwrap())
            .through(LeakyReLU::new(slope))
            .build()
            .unwrap()
    };
    let loader = || DataLoader::new(data(12), 4).shuffle(1);
    resume(&dir, model(0.1), loader()).unwrap();
    resume(&dir, model(0.1), loader().workers(2)).unwrap();
    let mut refused: Vec<(Graph, BatchSource, &str)> = vec![
        (model(0.2), loader().into(), "model was "),
        (model(0.1), DataLoader::new(data(16), 4).shuffle(1).into(), "samples was 12, is 16"),
        (model(0.1), DataLoader::new(data(12), 6).shuffle(1).into(), "batch size was 4, is 6"),
        (model(0.1), loader().shuffle(2).into(), "seed was 1, is 2; order was "),
        (model(0.1), loader().drop_last(true).into(), "drop_last was false, is true"),
        (
            model(0.1),
            DataLoader::new(data(12), 4).seed(1).into(),
            "sampler was RandomSampler, is SequentialSampler; order was ",
        ),
    ];
    let stream = |_| -> Result<SampleIter> { Ok(Box::new(std::iter::empty())) };
    refused.push((model(0.1), StreamLoader::new(stream, 4).into(), "samples was 12, is a stream"));
    for (model, loader, want) in refused {
        let error = resume(&dir, model, loader).unwrap_err().to_string();
        assert!(error.contains("state \"setup\": ") && error.contains(want), "{error}");
        assert!(error.contains("give this run a folder of its own"), "{error}");
    }
}

#[test]
fn carried_values_are_forgotten_where_data_begins_anew() {
    let net = carrying();
    let mut optimizer = SGD::new(&net.parameters(), 0.0, 0.0);
    let x = Tensor::randn(&[10, 3], TensorOptions::default()).unwrap();
    let set = TensorDataset::new(vec![x]).unwrap();
    // The last batch of training has 2 rows, the first of the next epoch and of validation 4 and 5.
    let report = Trainer::new(&net, &mut optimizer, |out, _| out.square()?.mean())
        .epochs(2)
        .train(DataLoader::new(set.clone(), 4).drop_last(true))
        .validate(DataLoader::new(set, 5))
        .quiet()
        .run()
        .unwrap();
    let numbers = |i: usize| report.history[i].metrics.clone();
    // Nothing learned, nothing carried: both epochs see the same.
    assert_eq!(numbers(0), numbers(1));
    assert!(net.carried_state().iter().all(|(_, value)| value.is_none()));
}
