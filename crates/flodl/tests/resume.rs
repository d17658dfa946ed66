//! Runs that are killed and go on, and what a checkpoint refuses.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use flodl::*;

const FOLDER: &str = "FLODL_TEST_RESUME_FOLDER";
const EPOCHS: usize = 4;

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("flodl-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn model(hidden: i64) -> Result<Graph> {
    FlowBuilder::from(Linear::new(3, hidden)?)
        .through(BatchNorm1d::new(hidden)?)
        .through(ReLU)
        .through(Dropout::new(0.3))
        .through(Linear::new(hidden, 1)?)
        .build()
}

fn data() -> Result<DataLoader> {
    let x = Tensor::linspace(-1.0, 1.0, 180, TensorOptions::default())?.reshape(&[60, 3])?;
    let y = x.sin()?.sum_dim(1, true)?;
    // The noise is drawn by the workers, and must be the same again.
    let noise = TransformFn::new(|mut tensors, keys| {
        let add: Vec<f32> = keys.iter().map(|k| 0.1 * k.rng().f32()).collect();
        tensors[0] =
            tensors[0].add(&Tensor::from_f32(&add, &[add.len() as i64, 1], Device::CPU)?)?;
        Ok(tensors)
    });
    let set = TensorDataset::new(vec![x, y])?;
    Ok(DataLoader::new(set, 7).shuffle(11).transform(noise).workers(2))
}

/// Trains to the end, from the last checkpoint of the folder if there is one.
fn train(dir: &Path, pause: Duration) -> Result<()> {
    manual_seed(5);
    let model = model(8)?;
    let mut loader = data()?;
    let mut optimizer = AdamW::new(&model.parameters(), 1e-2, 0.01);
    let mut scheduler = PlateauScheduler::new(1e-2, 1, 0.5, 1e-4);
    let mut own = Rng::seed(3);
    let mut keeper = CheckpointKeeper::new(dir, 2)?;
    let mut at = RunProgress::default();
    macro_rules! state {
        () => {
            RunState::graph(&model)
                .part("optimizer", &mut optimizer)
                .part("scheduler", &mut scheduler)
                .part("rng", &mut own)
                .data(&mut loader)
        };
    }
    if let Some(latest) = keeper.latest()? {
        at = state!().load(&latest)?;
    }
    println!("from step {}", at.step);
    while at.epoch < EPOCHS {
        for batch in loader.epoch_from(at.epoch, at.batch)? {
            let batch = batch?;
            let x = Variable::new(batch.get(0).clone(), false);
            let y = Variable::new(batch.get(1).clone(), false);
            let loss = mse_loss(&model.forward(&x)?, &y)?.mul_scalar(0.9 + 0.2 * own.f64())?;
            optimizer.zero_grad();
            loss.backward()?;
            optimizer.step()?;
            *at.values.entry("loss".into()).or_default() += loss.item()?;
            at.step += 1;
            at.batch += 1;
            if at.step.is_multiple_of(3) {
                let score = at.values["loss"] / at.batch as f64;
                keeper.save(&mut state!(), &at, Some(score))?;
            }
            std::thread::sleep(pause);
        }
        let loss = at.values.insert("loss".into(), 0.0).unwrap_or(0.0);
        at.values.insert(format!("epoch{}", at.epoch), loss);
        optimizer.set_lr(scheduler.observe(loss));
        at = RunProgress { epoch: at.epoch + 1, batch: 0, ..at };
        keeper.save(&mut state!(), &at, None)?;
    }
    state!().save(dir.join("final"), &at)
}

/// Not a test of its own: what the killed processes run.
#[test]
fn child() {
    if let Ok(dir) = std::env::var(FOLDER) {
        train(Path::new(&dir), Duration::from_millis(4)).unwrap();
    }
}

#[test]
fn killed_runs_end_in_the_same_bits() {
    let whole = Folder::new("whole");
    train(&whole.0, Duration::ZERO).unwrap();
    let want = std::fs::read(whole.file("final")).unwrap();
    assert_eq!(std::fs::read_dir(&whole.0).unwrap().count(), 4, "two, the best and the final one");

    let killed = Folder::new("killed");
    let mut random = Rng::from_entropy();
    let (mut kills, mut later) = (0, 0);
    while !killed.file("final").exists() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture", "--test-threads=1"])
            .env(FOLDER, &killed.0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        if kills < 8 {
            std::thread::sleep(Duration::from_millis(random.range(20, 90) as u64));
            child.kill().unwrap();
            kills += 1;
        }
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!said.contains("FAILED"), "{said}{}", String::from_utf8_lossy(&output.stderr));
        later += usize::from(said.contains("from step ") && !said.contains("from step 0\n"));
    }
    let got = std::fs::read(killed.file("final")).unwrap();
    assert!(later > 0, "{kills} kills, none of them after a checkpoint");
    assert!(got == want, "after {kills} kills and {later} resumed runs");
    let mut left: Vec<_> =
        std::fs::read_dir(&killed.0).unwrap().map(|e| e.unwrap().path()).collect();
    // The last file is none of the keeper's.
    left.retain(|p| !p.to_string_lossy().contains(".final."));
    assert_eq!(left.len(), 4, "nothing half written stays: {left:?}");
}

#[test]
fn the_weights_of_a_run_load_as_a_checkpoint() {
    let dir = Folder::new("weights");
    let (a, b) = (model(4).unwrap(), model(4).unwrap());
    let mut optimizer = Adam::new(&a.parameters(), 1e-3);
    let path = dir.file("run");
    let mut state = RunState::graph(&a).part("optimizer", &mut optimizer);
    state.save(&path, &RunProgress::default()).unwrap();
    let report = b.load_checkpoint(path.to_str().unwrap()).unwrap();
    assert!(report.missing.is_empty() && report.loaded.len() == 9, "{report:?}");
    let value = |m: &Graph| m.parameters()[0].variable.data().to_f32_vec().unwrap();
    assert_eq!(value(&a), value(&b));
}

#[test]
fn a_failed_load_changes_nothing() {
    let dir = Folder::new("failed");
    let path = dir.file("run");
    let step = |model: &Graph, optimizer: &mut dyn Optimizer| {
        let x = Variable::new(Tensor::randn(&[5, 3], TensorOptions::default()).unwrap(), false);
        model.forward(&x).unwrap().sum().unwrap().backward().unwrap();
        optimizer.step().unwrap();
    };
    let saved = model(4).unwrap();
    let mut adam = Adam::new(&saved.parameters(), 1e-3);
    step(&saved, &mut adam);
    let mut plateau = PlateauScheduler::new(0.1, 1, 0.5, 0.0);
    plateau.observe(4.0);
    RunState::graph(&saved)
        .part("optimizer", &mut adam)
        .part("scheduler", &mut plateau)
        .data(&mut data().unwrap())
        .save(&path, &RunProgress::default())
        .unwrap();

    let other = model(4).unwrap();
    let mut own_adam = Adam::new(&other.parameters(), 5e-2);
    step(&other, &mut own_adam);
    let mut sgd = SGD::new(&other.parameters(), 0.1, 0.9);
    let mut own_plateau = PlateauScheduler::new(0.3, 1, 0.5, 0.0);
    let mut rng = Rng::seed(1);
    let mut other_data = data().unwrap().shuffle(12);
    let weights = |m: &Graph| -> Vec<Vec<f32>> {
        let params = m.named_parameters().into_iter().map(|p| p.1.variable.data());
        let buffers = m.named_buffers().into_iter().map(|b| b.1.get().to_dtype(DType::Float32));
        params.chain(buffers.map(Result::unwrap)).map(|t| t.to_f32_vec().unwrap()).collect()
    };
    let larger = model(6).unwrap();
    let before = (weights(&other), own_adam.part_bytes().unwrap(), rng_state());
    let plain = dir.file("plain");
    other.save_checkpoint(plain.to_str().unwrap()).unwrap();
    let mut cut = std::fs::read(&path).unwrap();
    cut.truncate(cut.len() - 1);
    let cut_path = dir.file("cut");
    std::fs::write(&cut_path, cut).unwrap();
    let mut two = RunState::graph(&other).part("x", &mut rng);
    let mut second = Rng::seed(2);
    two = two.part("x", &mut second);
    assert_eq!(
        two.save(&path, &RunProgress::default()).unwrap_err().to_string(),
        "RunState: two parts are named \"x\""
    );
    let said = |state: RunState, path: &Path, want: &str| {
        let mut state = state;
        let error = state.load(path).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    };
    macro_rules! state {
        ($model:expr, $optimizer:expr, $scheduler:expr, $data:expr) => {
            RunState::graph(&$model)
                .part("optimizer", &mut $optimizer)
                .part("scheduler", &mut $scheduler)
                .data(&mut $data)
        };
    }
    let mut loader = data().unwrap();
    let same = || Rng::seed(1);
    said(
        state!(larger, own_adam, own_plateau, loader),
        &path,
        "was written by a model of another structure",
    );
    said(state!(other, sgd, own_plateau, loader), &path, "holds the state of Adam, not of SGD");
    // The optimizer fits and is restored first; the second part refuses.
    said(state!(other, own_adam, same(), loader), &path, "Rng: 32 bytes are not its state");
    said(
        state!(other, own_adam, own_plateau, other_data),
        &path,
        "was written with other data: samples, batch size, seed or order differ",
    );
    said(
        state!(other, own_adam, own_plateau, loader).part("ema", &mut rng),
        &path,
        "lacks flodl.run.part.ema",
    );
    said(
        RunState::graph(&other).part("optimizer", &mut own_adam),
        &path,
        "has flodl.run.part.scheduler, which is not asked for",
    );
    said(RunState::graph(&other), &plain, "is no run's checkpoint");
    said(state!(other, own_adam, own_plateau, loader), &cut_path, "cut: ");
    said(RunState::graph(&other), &dir.file("nowhere"), "nowhere: No such file");
    let after = (weights(&other), own_adam.part_bytes().unwrap(), rng_state());
    assert!(before == after);
    assert_eq!(own_plateau.lr(), 0.3);
    state!(other, own_adam, own_plateau, loader).load(&path).unwrap();
    assert!(weights(&other) == weights(&saved));
    assert_eq!(own_plateau.lr(), plateau.lr());
    assert_eq!(own_adam.part_bytes().unwrap(), adam.part_bytes().unwrap());
}

#[test]
fn the_best_survives_a_restart() {
    let dir = Folder::new("best");
    let model = model(4).unwrap();
    let save = |keeper: &mut CheckpointKeeper, step, score| {
        let progress = RunProgress { step, ..RunProgress::default() };
        keeper.save(&mut RunState::graph(&model), &progress, Some(score)).unwrap();
    };
    let best = |keeper: &CheckpointKeeper| {
        RunState::graph(&model).load(keeper.best().unwrap()).unwrap().step
    };
    let mut keeper = CheckpointKeeper::new(&dir.0, 1).unwrap().higher_is_better();
    assert_eq!((keeper.latest().unwrap(), keeper.best()), (None, None));
    for (step, score) in [(1, f64::NAN), (2, 0.25), (3, 0.75), (4, f64::NAN), (5, 0.5)] {
        save(&mut keeper, step, score);
    }
    assert_eq!((best(&keeper), keeper.best_score()), (3, Some(0.75)));
    std::fs::write(dir.file(".step-000000000006.safetensors.77.tmp"), "half").unwrap();
    let mut again = CheckpointKeeper::new(&dir.0, 1).unwrap().higher_is_better();
    assert!(!dir.file(".step-000000000006.safetensors.77.tmp").exists());
    save(&mut again, 6, 0.7);
    assert_eq!((best(&again), again.all().unwrap().len()), (3, 1));
    save(&mut again, 7, 0.8);
    assert_eq!(best(&again), 7);
}

fn names(graph: &Graph) -> Vec<String> {
    graph.named_parameters().into_iter().map(|p| p.0).collect()
}

#[test]
fn renamed_and_partial_loads() {
    let dir = Folder::new("renamed");
    let path = dir.file("a");
    let path = path.to_str().unwrap();
    let (a, b) = (model(4).unwrap(), model(4).unwrap());
    a.save_checkpoint(path).unwrap();
    assert_eq!(checkpoint_version(path).unwrap(), 1);
    // As another program would name them.
    let foreign: Vec<(String, Tensor)> =
        load_tensors(path).unwrap().into_iter().map(|(n, t)| (format!("module.{n}"), t)).collect();
    let other = dir.file("b");
    let other = other.to_str().unwrap();
    save_tensors(other, &foreign).unwrap();
    assert_eq!(checkpoint_version(other).unwrap(), 0);
    let error = b.load_weights(other, &LoadOptions::new()).unwrap_err().to_string();
    assert!(error.contains("holds none of the model's names"), "{error}");
    let report = b.load_weights(other, &LoadOptions::new().strip_prefix("module.").strict());
    assert!(report.unwrap().is_complete());
    let data = |g: &Graph, i: usize| g.parameters()[i].variable.data().to_f32_vec().unwrap();
    assert!((0..a.parameters().len()).all(|i| data(&a, i) == data(&b, i)));

    // A new head on the old body.
    let wide = FlowBuilder::from(Linear::new(3, 4).unwrap())
        .through(BatchNorm1d::new(4).unwrap())
        .through(ReLU)
        .through(Dropout::new(0.3))
        .through(Linear::new(4, 7).unwrap())
        .build()
        .unwrap();
    let head = data(&wide, 4);
    let error = wide.load_weights(path, &LoadOptions::new()).unwrap_err().to_string();
    assert!(error.contains("has shape [1, 4], the model wants [7, 4]"), "{error}");
    let report = wide.load_weights(path, &LoadOptions::new().skip_mismatched()).unwrap();
    assert_eq!((report.mismatched.len(), report.loaded.len()), (2, 7));
    assert_eq!((data(&wide, 0), data(&wide, 4)), (data(&a, 0), head));

    let all = names(&a);
    let twice = LoadOptions::new().rename(&all[0], &all[1]);
    let error = b.load_weights(path, &twice).unwrap_err().to_string();
    assert!(error.contains("both become"), "{error}");
    let away = LoadOptions::new().rename(&all[0], "elsewhere").strict();
    let error = b.load_weights(path, &away).unwrap_err().to_string();
    assert!(error.contains(&format!("lacks [{:?}] and has [\"elsewhere\"]", all[0])), "{error}");
}

#[test]
fn migration_matches_what_is_certain() {
    let dir = Folder::new("migrate");
    let (old, new) = (dir.file("old"), dir.file("new"));
    let (old, new) = (old.to_str().unwrap(), new.to_str().unwrap());
    let target = FlowBuilder::from(Linear::new(2, 3).unwrap())
        .through(Linear::new(3, 3).unwrap())
        .through(Linear::new(3, 3).unwrap())
        .through(Linear::new(3, 5).unwrap())
        .build()
        .unwrap();
    let t = |shape: &[i64], v: f64| Tensor::full(shape, v, TensorOptions::default()).unwrap();
    let own = names(&target);
    let file = vec![
        (own[0].clone(), t(&[3, 2], 1.0)),
        ("net/9/weight".to_owned(), t(&[3, 3], 2.0)),
        ("net/10/weight".to_owned(), t(&[3, 3], 3.0)),
        ("net/11/weight".to_owned(), t(&[5, 3], 4.0)),
        ("net/11/bias".to_owned(), t(&[5], 5.0)),
        // One for three places: not guessed.
        ("net/9/bias".to_owned(), t(&[3], 6.0)),
        ("step".to_owned(), t(&[], 7.0)),
    ];
    save_tensors(old, &file).unwrap();
    let (params, buffers) = (target.named_parameters(), target.named_buffers());
    let report = migrate_checkpoint_file(old, new, &params, &buffers).unwrap();
    assert_eq!(report.unchanged, own[..1]);
    assert_eq!(report.dropped, ["net/9/bias", "step"]);
    assert_eq!(report.missing, [own[1].clone(), own[3].clone(), own[5].clone()]);
    assert!(!report.is_complete());
    let map = |from: &str| report.remapped.iter().find(|r| r.0 == from).unwrap().1.clone();
    assert_eq!(map("net/9/weight"), own[2]);
    assert_eq!(map("net/10/weight"), own[4]);
    assert_eq!(map("net/11/weight"), own[6]);
    assert_eq!(checkpoint_version(new).unwrap(), 1);
    target.load_checkpoint(new).unwrap();
    let value = |i: usize| target.parameters()[i].variable.data().to_f32_vec().unwrap()[0];
    assert_eq!((value(0), value(2), value(4), value(6), value(7)), (1.0, 2.0, 3.0, 4.0, 5.0));

    save_tensors(old, &[("x".to_owned(), t(&[99], 0.0))]).unwrap();
    let error = migrate_checkpoint_file(old, new, &params, &buffers).unwrap_err().to_string();
    assert!(error.contains("nothing matches: it has [\"x\"]"), "{error}");
}
