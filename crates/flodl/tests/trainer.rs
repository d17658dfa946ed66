//! The trainer against a loop by hand; early ends; the monitor, the log and the worker.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flodl::*;

fn folder(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("flodl-train-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn set() -> TensorDataset {
    manual_seed(11);
    let x = Tensor::randn(&[50, 2], TensorOptions::default()).unwrap();
    let y = x.sum_dim(1, false).unwrap().gt_scalar(0.0).unwrap().to_dtype(DType::Int64).unwrap();
    TensorDataset::new(vec![x, y]).unwrap()
}

fn model() -> Graph {
    manual_seed(5);
    FlowBuilder::from(Linear::new(2, 6).unwrap())
        .through(ReLU)
        .through(Dropout::new(0.2))
        .through(Linear::new(6, 2).unwrap())
        .build()
        .unwrap()
}

fn loss(out: &Variable, batch: &Batch) -> Result<Variable> {
    cross_entropy_loss(out, &batch.variable(1))
}

fn weights(m: &Graph) -> Vec<Vec<f32>> {
    m.parameters().iter().map(|p| p.variable.data().to_f32_vec().unwrap()).collect()
}

#[test]
fn is_the_loop_one_writes_by_hand() {
    let schedule = || CosineScheduler::new(0.05, 0.01, 21);
    let set = set();
    let by_trainer = model();
    let mut optimizer = AdamW::new(&by_trainer.parameters(), 0.05, 0.01);
    let report = Trainer::new(&by_trainer, &mut optimizer, loss)
        .epochs(3)
        .train(DataLoader::new(set.clone(), 8).shuffle(4))
        .schedule(schedule())
        .clip_norm(0.5)
        .quiet()
        .run()
        .unwrap();
    assert_eq!((report.steps, report.stopped.clone()), (21, None));

    let by_hand = model();
    let mut optimizer = AdamW::new(&by_hand.parameters(), 0.05, 0.01);
    let mut loader = DataLoader::new(set, 8).shuffle(4);
    let (mut step, mut means) = (0, Vec::new());
    for epoch in 0..3 {
        let mut sum = 0.0;
        for batch in loader.epoch(epoch).unwrap() {
            let batch = batch.unwrap();
            let out = by_hand.forward(&Variable::new(batch.get(0).clone(), false)).unwrap();
            let loss = loss(&out, &batch).unwrap();
            optimizer.zero_grad();
            loss.backward().unwrap();
            clip_grad_norm(&by_hand.parameters(), 0.5).unwrap();
            optimizer.set_lr(schedule().lr(step));
            optimizer.step().unwrap();
            step += 1;
            sum += loss.item().unwrap() * batch.samples() as f64;
        }
        means.push(sum / 50.0);
    }
    assert_eq!(weights(&by_trainer), weights(&by_hand));
    let recorded: Vec<f64> = report.history.iter().map(|r| r.get("loss").unwrap()).collect();
    assert_eq!(recorded, means);
}

#[test]
fn accumulation_is_a_larger_batch() {
    let set = set();
    let train = |batch: usize, accumulate: usize| {
        manual_seed(5);
        let net = Linear::new(2, 2).unwrap();
        let mut optimizer = SGD::new(&net.parameters(), 0.1, 0.0);
        let report = Trainer::new(&net, &mut optimizer, loss)
            .train(DataLoader::new(set.clone(), batch))
            .accumulate(accumulate)
            .quiet()
            .run()
            .unwrap();
        (net.parameters()[0].variable.data().to_f32_vec().unwrap(), report.steps)
    };
    let (whole, steps) = train(10, 1);
    let (parts, other) = train(5, 2);
    assert_eq!((steps, other), (5, 5));
    assert!(whole.iter().zip(&parts).all(|(a, b)| (a - b).abs() < 1e-6));
    // The last group is smaller: 50 in fives, three at a time.
    assert_eq!(train(5, 3).1, 4);
}

#[test]
fn ends_early_for_each_reason() {
    let set = set();
    let trainer = |epochs| (model(), epochs);
    let (net, epochs) = trainer(50);
    let mut optimizer = SGD::new(&net.parameters(), 0.0, 0.0);
    let report = Trainer::new(&net, &mut optimizer, loss)
        .epochs(epochs)
        .train(DataLoader::new(set.clone(), 50))
        .validate(DataLoader::new(set.clone(), 50))
        .early_stop("val loss", PlateauMode::Min, 2)
        .quiet()
        .run()
        .unwrap();
    assert_eq!(report.stopped, Some(StopReason::NoImprovement("val loss".into())));
    assert_eq!(report.history.len(), 4, "the best, two to wait, one too many");

    let mut optimizer = SGD::new(&net.parameters(), 0.0, 0.0);
    let report = Trainer::new(&net, &mut optimizer, loss)
        .epochs(9)
        .train(DataLoader::new(set.clone(), 50))
        .on_epoch(|record, _| Ok(record.epoch < 1))
        .quiet()
        .run()
        .unwrap();
    assert_eq!((report.stopped, report.history.len()), (Some(StopReason::Callback), 2));

    // Asked in the middle of an epoch, saved there, and gone on from there.
    let dir = folder("asked");
    let whole = {
        let net = model();
        let mut optimizer = Adam::new(&net.parameters(), 0.01);
        Trainer::new(&net, &mut optimizer, loss)
            .epochs(3)
            .train(DataLoader::new(set.clone(), 8).shuffle(1))
            .quiet()
            .run()
            .unwrap();
        weights(&net)
    };
    let flag = StopFlag::new();
    let net = model();
    let mut optimizer = Adam::new(&net.parameters(), 0.01);
    let mut seen = 0;
    let raise = flag.clone();
    let report = Trainer::new(&net, &mut optimizer, |out: &Variable, b: &Batch| {
        seen += 1;
        if seen == 10 {
            raise.stop();
        }
        loss(out, b)
    })
    .epochs(3)
    .train(DataLoader::new(set.clone(), 8).shuffle(1))
    .checkpoints(RunCheckpoints::new(&dir).unwrap())
    .stop_flag(&flag)
    .quiet()
    .run()
    .unwrap();
    assert_eq!((report.stopped, report.steps), (Some(StopReason::Asked), 10));
    let net = model();
    let mut optimizer = Adam::new(&net.parameters(), 0.01);
    let report = Trainer::new(&net, &mut optimizer, loss)
        .epochs(3)
        .train(DataLoader::new(set, 8).shuffle(1))
        .checkpoints(RunCheckpoints::new(&dir).unwrap())
        .quiet()
        .run()
        .unwrap();
    assert_eq!((report.resumed_at, report.steps, report.history.len()), (Some(10), 21, 3));
    assert_eq!(weights(&net), whole);
}

#[test]
fn plateau_and_its_resume() {
    let dir = folder("plateau");
    let run = |epochs: usize| {
        let net = model();
        let mut optimizer = SGD::new(&net.parameters(), 0.0, 0.0);
        Trainer::new(&net, &mut optimizer, loss)
            .epochs(epochs)
            .train(DataLoader::new(set(), 50))
            .validate(DataLoader::new(set(), 50))
            .plateau(PlateauScheduler::new(0.0, 1, 0.5, 0.0), "val loss")
            .checkpoints(RunCheckpoints::new(&dir).unwrap())
            .quiet()
            .run()
            .unwrap()
    };
    assert_eq!(run(2).history.len(), 2);
    let report = run(4);
    assert_eq!((report.history.len(), report.resumed_at), (4, Some(2)));
}

#[test]
fn wrong_use_is_an_error() {
    let net = model();
    let mut optimizer = SGD::new(&net.parameters(), 0.1, 0.0);
    let error = Trainer::new(&net, &mut optimizer, loss).run().unwrap_err().to_string();
    assert_eq!(error, "Trainer: no training data: call train(loader)");
    let error = Trainer::new(&net, &mut optimizer, loss)
        .train(DataLoader::new(set(), 8))
        .early_stop("val loss", PlateauMode::Min, 1)
        .quiet()
        .run()
        .unwrap_err()
        .to_string();
    assert_eq!(error, "Trainer: \"val loss\" is not recorded; there are [\"loss\", \"lr\"]");
    let nan = |out: &Variable, b: &Batch| loss(out, b)?.mul_scalar(f64::NAN);
    let error = Trainer::new(&net, &mut optimizer, nan)
        .train(DataLoader::new(set(), 8))
        .quiet()
        .run()
        .unwrap_err()
        .to_string();
    assert_eq!(error, "Trainer: the loss is NaN in epoch 0, batch 0");
}

/// What the interrupted process runs; nothing on its own.
#[test]
fn interrupted_child() {
    let Ok(dir) = std::env::var("FLODL_TEST_INTERRUPT_DIR") else { return };
    let net = model();
    let mut optimizer = Adam::new(&net.parameters(), 0.01);
    let slow = |out: &Variable, b: &Batch| {
        std::thread::sleep(Duration::from_millis(5));
        loss(out, b)
    };
    let ready = PathBuf::from(&dir).join("ready");
    let trainer = Trainer::new(&net, &mut optimizer, slow)
        .epochs(10_000)
        .train(DataLoader::new(set(), 8).shuffle(1))
        .checkpoints(RunCheckpoints::new(&dir).unwrap())
        .on_epoch(move |_, _| Ok(std::fs::write(&ready, "").is_ok()))
        .quiet();
    #[cfg(feature = "terminal")]
    let trainer = trainer.stop_on_ctrl_c();
    let report = trainer.run().unwrap();
    assert_eq!(report.stopped, Some(StopReason::Asked));
    std::fs::write(PathBuf::from(dir).join("steps"), report.steps.to_string()).unwrap();
}

#[cfg(all(unix, feature = "terminal"))]
#[test]
fn ctrl_c_saves_and_ends() {
    interrupt("");
    // As a script's background job has it.
    interrupt("trap '' INT;");
}

/// Starts a run, sends it SIGINT, and looks at what it leaves.
#[cfg(all(unix, feature = "terminal"))]
fn interrupt(before: &str) {
    use std::process::{Command, Stdio};
    let dir = folder("interrupt");
    let mut child = Command::new("sh")
        .args(["-c", &format!("{before} exec \"$0\" --exact interrupted_child")])
        .arg(std::env::current_exe().unwrap())
        .env("FLODL_TEST_INTERRUPT_DIR", &dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..600 {
        if dir.join("ready").exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success()
    );
    assert!(child.wait().unwrap().success());
    let steps = std::fs::read_to_string(dir.join("steps")).unwrap();
    let saved = RunCheckpoints::new(&dir).unwrap().saved().unwrap().pop().unwrap();
    let step: usize = steps.parse().unwrap();
    assert!(saved.ends_with(format!("run-{step:012}.safetensors")), "{saved:?}");
}

#[test]
fn monitor_keeps_and_shows() {
    let dir = folder("monitor");
    let path = |n: &str| dir.join(n).display().to_string();
    let mut m = Monitor::new(3);
    assert!(m.is_primary());
    m.silent_summary().set_archive_theme("dark");
    m.save_html(&path("run.html"));
    m.set_identity(Some("<b>net</b>"), Some("abc123"));
    m.set_metadata(serde_json::json!({"lr": 0.1}));
    m.set_hardware("two cores");
    m.set_svg("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>");
    m.log(0, Duration::from_secs(61), [("loss", 0.5)]);
    m.log(1, Duration::from_millis(1500), vec![("loss", f64::NAN), ("a,b", 1e-9)]);
    m.log_epoch_record(EpochRecord { epoch: 2, ..EpochRecord::default() });
    m.serve(0).unwrap();
    let get = |what: &str| {
        let mut s = std::net::TcpStream::connect(("127.0.0.1", m.port().unwrap())).unwrap();
        write!(s, "GET {what} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut out = String::new();
        let _ = s.read_to_string(&mut out);
        out
    };
    let live = get("/");
    assert!(live.starts_with("HTTP/1.1 200") && live.contains("http-equiv='refresh'"), "{live}");
    assert!(get("/etc/passwd").starts_with("HTTP/1.1 404"));
    m.finish();
    let page = std::fs::read_to_string(path("run.html")).unwrap();
    assert!(page.contains("&lt;b&gt;net&lt;/b&gt;") && !page.contains("<b>net"));
    assert!(page.contains("abc123") && page.contains("two cores") && page.contains("finished"));
    assert!(page.contains("<polyline") && !page.contains("<script") && !page.contains("refresh"));
    m.write_log(&path("run.log")).unwrap();
    let log = std::fs::read_to_string(path("run.log")).unwrap();
    assert!(log.starts_with("epoch 1/3  loss 0.5000  1 min 01 s\nepoch 2/3  loss NaN"), "{log}");
    m.export_csv(&path("run.csv")).unwrap();
    let csv = std::fs::read_to_string(path("run.csv")).unwrap();
    assert_eq!(csv, "epoch,seconds,loss,\"a,b\"\n0,61,0.5,\n1,1.5,NaN,0.000000001\n2,0,,\n");
    assert_eq!(m.history().len(), 3);
}

#[test]
fn a_monitor_shows_its_graph() {
    let path = folder("watch").join("run.html");
    let net = model();
    let mut m = Monitor::new(1);
    m.silent_summary().save_html(path.to_str().unwrap());
    net.enable_profiling();
    m.watch(&net);
    net.forward(&Variable::new(Tensor::zeros(&[1, 2], DType::Float32.into()).unwrap(), false))
        .unwrap();
    m.watch_profiled(&net);
    m.finish_with(&net);
    let page = std::fs::read_to_string(path).unwrap();
    assert!(page.contains(net.structural_hash()) && page.contains("<img"), "{page}");
}

#[test]
fn worker_does_all_in_order() {
    let count = Arc::new(AtomicUsize::new(0));
    let mut worker = CpuWorker::new();
    assert!(worker.is_idle());
    for i in 0..20 {
        let count = count.clone();
        worker.submit(move || {
            assert_ne!(i, 3, "a panic stops nobody");
            std::thread::sleep(Duration::from_millis(1));
            count.fetch_add(1, Ordering::SeqCst);
        });
    }
    assert!(!worker.is_idle());
    worker.finish();
    assert!(worker.is_idle());
    assert_eq!(count.load(Ordering::SeqCst), 19);
    let more = count.clone();
    worker.submit(move || {
        more.fetch_add(1, Ordering::SeqCst);
    });
    drop(worker);
    assert_eq!(count.load(Ordering::SeqCst), 20, "what was submitted is done before the end");
}

#[test]
fn verbosity_is_ordered() {
    assert_eq!("verbose".parse::<Verbosity>().unwrap(), Verbosity::Verbose);
    assert_eq!("4".parse::<Verbosity>().unwrap(), Verbosity::Trace);
    assert!("loud".parse::<Verbosity>().unwrap_err().to_string().contains("none of quiet"));
    set_verbosity(Verbosity::Verbose);
    assert!(enabled(Verbosity::Normal) && enabled(Verbosity::Verbose));
    assert!(!enabled(Verbosity::Debug));
    assert_eq!(ENV_VAR, "FLODL_VERBOSITY");
}

#[test]
fn groups_keep_their_ratio_under_a_schedule() {
    let (set, net) = (set(), model());
    let params = net.parameters();
    let run = |plateau: bool, schedule: bool| {
        let mut optimizer =
            SGD::with_groups(0.0).group(&params[..2], 0.1).group(&params[2..], 0.01).build();
        let mut trainer = Trainer::new(&net, &mut optimizer, loss)
            .epochs(3)
            .train(DataLoader::new(set.clone(), 25))
            .quiet();
        if schedule {
            trainer = trainer.schedule(LambdaLR::new(0.1, |step| 1.0 / (1 + step) as f64));
        }
        if plateau {
            // Nothing is ever good enough: half from the second epoch on, each time.
            let never = PlateauScheduler::new(0.1, 0, 0.5, 0.0);
            trainer = trainer.plateau(never.threshold(PlateauThreshold::Abs(1e9)), "loss");
        }
        let report = trainer.run().unwrap();
        let first: Vec<f64> = report.history.iter().map(|r| r.get("lr").unwrap()).collect();
        (first, optimizer.group_lrs())
    };
    let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
    let (first, last) = run(false, true);
    assert!(near(&first, &[0.1 / 2.0, 0.1 / 4.0, 0.1 / 6.0]), "{first:?}");
    assert!(near(&last, &[0.1 / 6.0, 0.01 / 6.0]), "{last:?}");
    let (first, last) = run(true, false);
    assert!(near(&first, &[0.1, 0.1, 0.05]), "{first:?}");
    assert!(near(&last, &[0.025, 0.0025]), "{last:?}");
    // Both: the plateau's share of the schedule's learning rate.
    let (first, last) = run(true, true);
    assert!(near(&first, &[0.1 / 2.0, 0.1 / 4.0, 0.05 / 6.0]), "{first:?}");
    assert!(near(&last, &[0.05 / 6.0, 0.005 / 6.0]), "{last:?}");
}

#[test]
fn a_schedule_moves_the_momentum() {
    let set = set();
    let schedule = OneCycleLR::new(0.2, 6);
    let by_trainer = |schedule: OneCycleLR| {
        let net = model();
        let mut optimizer = SGD::new(&net.parameters(), 0.2, 0.9);
        let trainer = Trainer::new(&net, &mut optimizer, loss).epochs(3).quiet();
        trainer.train(DataLoader::new(set.clone(), 25)).schedule(schedule).run().unwrap();
        weights(&net)
    };
    let by_hand = |moves: bool| {
        let net = model();
        let mut optimizer = SGD::new(&net.parameters(), 0.2, 0.9);
        let mut loader = DataLoader::new(set.clone(), 25);
        let batches: Vec<Batch> = loader.epoch(0).unwrap().map(|b| b.unwrap()).collect();
        for (step, batch) in batches.iter().cycle().take(6).enumerate() {
            optimizer.set_lr(schedule.lr(step));
            if moves {
                optimizer.set_momentum(schedule.momentum(step)).unwrap();
            }
            optimizer.zero_grad();
            let out = net.forward(&batch.variable(0)).unwrap();
            loss(&out, batch).unwrap().backward().unwrap();
            optimizer.step().unwrap();
        }
        weights(&net)
    };
    assert_eq!(by_trainer(schedule.clone()), by_hand(true));
    assert_eq!(by_trainer(schedule.clone().cycle_momentum(false)), by_hand(false));
    assert_ne!(by_hand(true), by_hand(false));

    let net = model();
    let mut optimizer = Adagrad::new(&net.parameters(), 0.2);
    let trainer = Trainer::new(&net, &mut optimizer, loss).epochs(1).quiet();
    let error = trainer.train(DataLoader::new(set, 25)).schedule(schedule).run().unwrap_err();
    assert!(error.to_string().contains("Adagrad has no momentum"), "{error}");
}

#[test]
fn the_average_is_what_is_tested_and_kept() {
    let set = set();
    let by_trainer = model();
    let mut optimizer = SGD::new(&by_trainer.parameters(), 0.2, 0.0);
    let mut seen = Vec::new();
    Trainer::new(&by_trainer, &mut optimizer, loss)
        .epochs(2)
        .train(DataLoader::new(set.clone(), 10).shuffle(3))
        .validate(DataLoader::new(set.clone(), 50))
        .average(0.8)
        .on_epoch(|record, net| {
            seen.push((record.get("val loss").unwrap(), weights(net)));
            Ok(true)
        })
        .quiet()
        .run()
        .unwrap();

    let by_hand = model();
    let mut optimizer = SGD::new(&by_hand.parameters(), 0.2, 0.0);
    let mut ema = ExponentialMovingAverage::new(&by_hand.parameters(), 0.8).unwrap();
    let mut loader = DataLoader::new(set.clone(), 10).shuffle(3);
    let all = DataLoader::new(set, 50).epoch(0).unwrap().next().unwrap().unwrap();
    for (epoch, (tested, kept)) in seen.iter().enumerate() {
        by_hand.train();
        for batch in loader.epoch(epoch).unwrap() {
            let batch = batch.unwrap();
            optimizer.zero_grad();
            let out = by_hand.forward(&batch.variable(0)).unwrap();
            loss(&out, &batch).unwrap().backward().unwrap();
            optimizer.step().unwrap();
            ema.update().unwrap();
        }
        ema.swap().unwrap();
        by_hand.eval();
        let out = by_hand.forward(&all.variable(0)).unwrap();
        assert_eq!(loss(&out, &all).unwrap().item().unwrap(), *tested);
        assert_eq!(&weights(&by_hand), kept);
        ema.swap().unwrap();
    }
    assert_eq!(weights(&by_trainer), seen[1].1);
    assert_ne!(weights(&by_hand), seen[1].1);
}

#[test]
fn f16_with_a_scaler_leaves_out_what_overflows() {
    let set = set();
    let net = model();
    let mut optimizer = Adam::new(&net.parameters(), 0.02);
    // Far too large a scale: the first steps overflow, and are left out.
    let report = Trainer::new(&net, &mut optimizer, loss)
        .epochs(20)
        .train(DataLoader::new(set.clone(), 10).shuffle(3))
        .validate(DataLoader::new(set, 25))
        .metric(Accuracy::new())
        .autocast(DType::Float16)
        .grad_scaler(GradScaler::new().init_scale(2f64.powi(40)))
        .clip_norm(1.0)
        .quiet()
        .run()
        .unwrap();
    let last = report.history.last().unwrap();
    assert!(last.get("val accuracy").unwrap() > 0.9, "{last:?}");
    assert!(weights(&net).iter().flatten().all(|w| w.is_finite()));
    assert!(!is_autocast_enabled());
}

/// A stream gives what a loader with the same batches gives, accumulated and resumed too.
#[test]
fn streams_train_as_loaders_do() {
    let set = set();
    let run = |source: BatchSource, dir: Option<&PathBuf>, stop_after: usize| {
        let net = model();
        let mut optimizer = Adam::new(&net.parameters(), 0.02);
        let flag = StopFlag::new();
        let mut steps = 0;
        let counted = |out: &Variable, batch: &Batch| {
            steps += 1;
            if steps == stop_after {
                flag.stop();
            }
            loss(out, batch)
        };
        let mut trainer = Trainer::new(&net, &mut optimizer, counted)
            .epochs(2)
            .train(source)
            .accumulate(3)
            .stop_flag(&flag)
            .quiet();
        if let Some(dir) = dir {
            trainer = trainer.checkpoints(RunCheckpoints::new(dir).unwrap());
        }
        let report = trainer.run().unwrap();
        (weights(&net), report)
    };
    let tensors: Vec<Tensor> = set.tensors().to_vec();
    let stream = move |_| -> Result<SampleIter> {
        let tensors = tensors.clone();
        let row = move |i| tensors.iter().map(|t| t.select(0, i)).collect::<Result<Vec<_>>>();
        Ok(Box::new((0..50).map(row)))
    };
    let never = usize::MAX;
    let (want, loaded) = run(DataLoader::new(set.clone(), 5).into(), None, never);
    let (got, streamed) = run(StreamLoader::new(stream.clone(), 5).prefetch(2).into(), None, never);
    assert_eq!((got, streamed.steps), (want.clone(), 8));
    assert_eq!(loaded.steps, 8);
    // Stopped in the middle of an epoch, then resumed.
    let dir = folder("stream");
    let (_, first) = run(StreamLoader::new(stream.clone(), 5).into(), Some(&dir), 4);
    assert_eq!((first.stopped, first.steps), (Some(StopReason::Asked), 2));
    let (got, second) = run(StreamLoader::new(stream, 5).into(), Some(&dir), never);
    assert_eq!((second.resumed_at, second.steps), (Some(2), 8));
    assert_eq!(got, want);
}
