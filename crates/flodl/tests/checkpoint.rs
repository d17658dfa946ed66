//! Checkpoints: names, parts, migration, whole runs that are killed, PyTorch's files.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flodl::*;

fn folder(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("flodl-ckpt-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn data(name: &str) -> String {
    format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn model(width: i64) -> Graph {
    FlowBuilder::from(Linear::new(3, width).unwrap())
        .through(BatchNorm1d::new(width).unwrap())
        .through(Linear::new(width, 2).unwrap())
        .build()
        .unwrap()
}

fn weights(m: &dyn Module) -> Vec<Vec<f32>> {
    let buffers = m.buffers().into_iter().map(|b| b.get().to_dtype(DType::Float32).unwrap());
    let params = m.parameters().into_iter().map(|p| p.variable.data());
    params.chain(buffers).map(|t| t.to_f32_vec().unwrap()).collect()
}

#[test]
fn damaged_weights_are_errors_and_change_nothing() {
    let dir = folder("damage");
    let path = dir.join("w.safetensors");
    let m = model(4);
    m.save_checkpoint(path.to_str().unwrap()).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let before = weights(&m);
    let target = model(4);
    let untouched = weights(&target);
    for n in (0..whole.len()).step_by(7) {
        std::fs::write(&path, &whole[..n]).unwrap();
        let error = target.load_checkpoint(path.to_str().unwrap()).unwrap_err().to_string();
        assert!(error.contains("w.safetensors: "), "{n}: {error}");
        assert_eq!(weights(&target), untouched, "{n}");
    }
    std::fs::write(&path, &whole).unwrap();
    target.load_checkpoint(path.to_str().unwrap()).unwrap();
    assert_eq!(weights(&target), before);
}

#[test]
fn a_run_that_does_not_fit_changes_nothing() {
    let dir = folder("runs");
    let (a, b) = (model(4), model(5));
    let path = dir.join("run.safetensors");
    let mut opt = Adam::new(&a.parameters(), 0.1);
    let mut sgd = SGD::new(&a.parameters(), 0.1, 0.9);
    let (params, buffers) = (a.named_parameters(), a.named_buffers());
    let state = RunState {
        epoch: 3,
        batch: 7,
        step: usize::MAX >> 1,
        metrics: BTreeMap::from([("loss".to_owned(), f64::INFINITY), ("x".to_owned(), 0.1)]),
        history: vec![EpochRecord {
            epoch: 2,
            duration: Duration::from_millis(1500),
            metrics: vec![("z".into(), -0.0), ("a".into(), f64::NAN)],
        }],
    };
    let mut states: [(&str, &mut dyn SaveState); 2] = [("adam", &mut opt), ("sgd", &mut sgd)];
    let mut parts = RunParts { params: &params, buffers: &buffers, states: &mut states };
    manual_seed(99);
    let _ = Tensor::rand(&[5], TensorOptions::default()).unwrap();
    let rng = rng_state();
    save_run(&path, &state, &parts).unwrap();
    manual_seed(1);
    let back = load_run(&path, &mut parts).unwrap();
    assert_eq!(rng_state(), rng);
    assert_eq!((&back.metrics, back.step, back.batch), (&state.metrics, state.step, 7));
    assert_eq!(back.history[0].duration, state.history[0].duration);
    assert!(back.history[0].get("a").unwrap().is_nan());
    assert_eq!(back.history[0].metrics[0].1.to_bits(), (-0.0f64).to_bits());

    let before = weights(&b);
    manual_seed(5);
    let (params_b, buffers_b) = (b.named_parameters(), b.named_buffers());
    let mut wrong = RunParts { params: &params_b, buffers: &buffers_b, states: &mut [] };
    let error = load_run(&path, &mut wrong).unwrap_err().to_string();
    assert!(error.contains("has shape [4, 3], the model wants [5, 3]"), "{error}");
    // The first state fits, the second is another optimizer's: the first is put back.
    let mut first = Adam::new(&a.parameters(), 0.7);
    let mut second = RMSprop::new(&a.parameters(), 0.1);
    let mut states: [(&str, &mut dyn SaveState); 2] = [("adam", &mut first), ("sgd", &mut second)];
    let mut wrong = RunParts { params: &params, buffers: &buffers, states: &mut states };
    let error = load_run(&path, &mut wrong).unwrap_err().to_string();
    assert!(error.contains("state \"sgd\": ") && error.contains("SGD, not of RMSprop"), "{error}");
    assert_eq!(first.lr(), 0.7);
    let mut states: [(&str, &mut dyn SaveState); 1] = [("other", &mut first)];
    let mut wrong = RunParts { params: &params, buffers: &buffers, states: &mut states };
    let error = load_run(&path, &mut wrong).unwrap_err().to_string();
    assert!(error.contains("has no state \"other\"; it has [\"adam\", \"sgd\"]"), "{error}");
    a.save_checkpoint(path.to_str().unwrap()).unwrap();
    let mut none = RunParts { params: &params, buffers: &buffers, states: &mut [] };
    let error = load_run(&path, &mut none).unwrap_err().to_string();
    assert!(error.ends_with("is no saved run"), "{error}");
    assert_eq!(weights(&b), before);
    assert_eq!(rng_state(), (5, 0));
}

#[test]
fn the_best_is_saved_before_the_run() {
    let dir = folder("order");
    let mut parts = RunParts { params: &[], buffers: &[], states: &mut [] };
    let saves = RunCheckpoints::new(&dir).unwrap().best("loss", PlateauMode::Min);
    // Where the best cannot be written the run is not saved either: it would go on without it.
    std::fs::create_dir_all(saves.best_path().join("in the way")).unwrap();
    let metrics = BTreeMap::from([("loss".to_owned(), 0.5)]);
    let state = RunState { step: 3, metrics, ..RunState::default() };
    let error = saves.save(&state, &parts).unwrap_err().to_string();
    assert!(error.contains("best.safetensors"), "{error}");
    assert_eq!(saves.resume(&mut parts).unwrap(), None);
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "a temporary file stayed");
}

#[test]
fn threads_may_save_beside_each_other() {
    let dir = folder("threads");
    let path = dir.join("one");
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let (dir, path) = (&dir, &path);
            scope.spawn(move || {
                let parts = RunParts { params: &[], buffers: &[], states: &mut [] };
                let saves = RunCheckpoints::new(dir).unwrap().keep_last(2);
                for i in 0..60 {
                    // One path for all, and a path for each in a folder that all tidy up.
                    write_atomic(path, &vec![thread; 40_000]).unwrap();
                    let seen = std::fs::read(path).unwrap();
                    assert!(seen.len() == 40_000 && seen.iter().all(|b| *b == seen[0]));
                    let step = 4 * i + usize::from(thread);
                    saves.save(&RunState { step, ..RunState::default() }, &parts).unwrap();
                }
            });
        }
    });
    let left: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|n| !n.to_string_lossy().ends_with(".tmp")), "{left:?}");
}

#[test]
fn keeps_the_last_and_the_best() {
    let dir = folder("keep");
    let layer = Linear::new(2, 1).unwrap();
    let (params, buffers) = (layer.named_parameters(), layer.named_buffers());
    let mut parts = RunParts { params: &params, buffers: &buffers, states: &mut [] };
    let saves = RunCheckpoints::new(&dir).unwrap().keep_last(2).best("accuracy", PlateauMode::Max);
    assert_eq!(saves.resume(&mut parts).unwrap(), None);
    // What a killed process left.
    std::fs::write(dir.join(".run-000000000001.safetensors.1-0.tmp"), "torn").unwrap();
    for (step, accuracy) in [(9, 0.5), (10, 0.9), (11, 0.7), (100, f64::NAN)] {
        let metrics = BTreeMap::from([("accuracy".to_owned(), accuracy)]);
        saves.save(&RunState { step, metrics, ..RunState::default() }, &parts).unwrap();
    }
    let names: Vec<String> = saves
        .saved()
        .unwrap()
        .iter()
        .map(|p| p.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names, ["run-000000000011.safetensors", "run-000000000100.safetensors"]);
    assert_eq!(load_run(saves.best_path(), &mut parts).unwrap().step, 10);
    assert_eq!(saves.resume(&mut parts).unwrap().unwrap().step, 100);
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 3);
    // A torn newest file is said, not passed over.
    std::fs::write(dir.join("run-000000000200.safetensors"), "torn").unwrap();
    let error = saves.resume(&mut parts).unwrap_err().to_string();
    assert!(error.contains("run-000000000200.safetensors"), "{error}");
}

#[test]
fn reads_what_torch_saves() {
    let dict = load_pt(data("everything.pt")).unwrap();
    let tensor = |name: &str| match dict.get(name) {
        Some(PtValue::Tensor(t)) => t.clone(),
        other => panic!("{name}: {other:?}"),
    };
    let f = |name: &str| tensor(name).to_f64_vec().unwrap();
    assert_eq!(f("parameter"), [1.5, -2.5]);
    assert_eq!(tensor("transposed").shape(), [6, 4]);
    assert_eq!(f("transposed")[..5], [0.0, 6.0, 12.0, 18.0, 1.0]);
    assert_eq!(f("slice"), [8.0, 9.0, 10.0, 14.0, 15.0, 16.0]);
    assert_eq!(f("step2")[..4], [0.0, 2.0, 4.0, 6.0]);
    assert_eq!(f("expanded"), [7.0; 3]);
    assert_eq!((tensor("scalar").shape(), f("scalar")), (vec![], vec![2.5]));
    assert_eq!(tensor("empty").shape(), [0, 3]);
    for (name, dtype, values) in [
        ("half", DType::Float16, [0.5, -1.0]),
        ("bfloat", DType::BFloat16, [0.5, -1.0]),
        ("long", DType::Int64, [1.0, -(2f64.powi(40))]),
        ("int", DType::Int32, [3.0, -4.0]),
        ("short", DType::Int32, [300.0, -4.0]),
        ("char", DType::Int32, [5.0, -6.0]),
        ("byte", DType::UInt8, [7.0, 255.0]),
        ("bool", DType::Bool, [1.0, 0.0]),
    ] {
        assert_eq!((tensor(name).dtype(), &f(name)[..]), (dtype, &values[..]), "{name}");
    }
    assert!(matches!(dict.get("epoch"), Some(PtValue::Int(3))));
    assert!(matches!(dict.get("big"), Some(PtValue::Int(n)) if *n == 1 << 40));
    assert!(matches!(dict.get("minus"), Some(PtValue::Int(-5))));
    assert!(matches!(dict.get("lr"), Some(PtValue::Float(v)) if *v == 1e-3));
    assert!(matches!(dict.get("name"), Some(PtValue::Str(s)) if s == "naïve"));
    assert!(matches!(dict.get("flag"), Some(PtValue::Bool(true))));
    assert!(matches!(dict.get("none"), Some(PtValue::None)));
    let by_number = dict.get("by number").and_then(|d| d.get("0"));
    assert!(matches!(by_number, Some(PtValue::Float(v)) if *v == 1.0));
    let Some(PtValue::List(list)) = dict.get("list") else { panic!() };
    assert!(matches!(&list[1], PtValue::List(inner) if inner.len() == 2));
    let names = |v: &PtValue| v.tensors().into_iter().map(|t| t.0).collect::<Vec<_>>();
    assert_eq!(names(&dict)[..2], ["model.0.weight", "model.0.bias"]);
    assert_eq!(names(&load_pt(data("everything_p4.pt")).unwrap()), names(&dict));

    // A state_dict goes into a model by its names.
    let model = FlowBuilder::from(Linear::new(3, 4).unwrap())
        .through(ReLU)
        .through(Linear::new(4, 2).unwrap())
        .build()
        .unwrap();
    assert!(model.load_checkpoint(&data("linear.pt")).unwrap().is_complete());
    assert_eq!(weights(&model)[0][..3], [0.0, 0.125, 0.25]);
    assert_eq!(weights(&model)[3], [3.0, 3.125]);
    assert_eq!(checkpoint_version(&data("linear.pt")).unwrap(), 0);
    let keys = checkpoint_keys(&data("linear.pt")).unwrap();
    assert_eq!(keys, ["0.bias", "0.weight", "2.bias", "2.weight"]);
    let fresh = FlowBuilder::from(Linear::new(3, 4).unwrap()).build().unwrap();
    let options = LoadOptions::new().strip_prefix("model.");
    let params = fresh.named_parameters();
    let report = load_checkpoint_with(&data("everything.pt"), &params, &[], None, &options);
    let report = report.unwrap();
    assert_eq!(report.loaded, ["0.weight", "0.bias"]);
}

fn archive(program: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file("x/data.pkl", options).unwrap();
    zip.write_all(program).unwrap();
    for (name, bytes) in storages {
        zip.start_file(format!("x/data/{name}"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn hostile_and_damaged_pickles_are_refused() {
    let dir = folder("pt");
    let error = |path: &str| load_pt(path).unwrap_err().to_string();
    let refused = "which is refused: only tensors and plain values are read";
    for (name, global) in [
        ("hostile_system.pt", "posix.system"),
        ("hostile_eval.pt", "__builtin__.eval"),
        ("hostile_getattr.pt", "builtins.getattr"),
    ] {
        let got = error(&data(name));
        let want = format!("asks for the Python object {global:?}, {refused}");
        assert!(got.contains(name) && got.ends_with(&want), "{got}");
    }
    assert!(!Path::new("/tmp/flodl-was-here").exists());
    let legacy = error(&data("legacy.pt"));
    assert!(legacy.contains("is in PyTorch's format from before 1.6"), "{legacy}");

    let path = dir.join("x.pt").display().to_string();
    let put = |bytes: &[u8]| std::fs::write(&path, bytes).unwrap();
    // Nested 200,000 deep, a list in itself, one value named 2^60 times: no overflow, no hang.
    let deep = [b"\x80\x02)".as_slice(), &vec![0x85; 200_000], b"."].concat();
    let cyclic = b"\x80\x02]q\x00h\x00a.".to_vec();
    let mut laughs = b"\x80\x02]q\x00".to_vec();
    for i in 1..60u8 {
        laughs.extend([b']', b'q', i, b'(', b'h', i - 1, b'h', i - 1, b'e']);
    }
    laughs.push(b'.');
    for program in [deep, cyclic, laughs] {
        put(&archive(&program, &[]));
        assert!(error(&path).ends_with("has values nested too deep or too often"));
    }
    // Tensors that reach outside their storage, or claim more than memory.
    let tensor = |offset: i32, size: i32, stride: i32, count: i32| -> Vec<u8> {
        let int = |n: i32| [b"J".as_slice(), &n.to_le_bytes()].concat();
        [
            b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu".as_slice(),
            &int(count), b"tQ", &int(offset), &int(size), b"\x85", &int(stride), b"\x85\x89)tR.",
        ]
        .concat()
    };
    let storage: &[(&str, &[u8])] = &[("0", &[0; 16])];
    put(&archive(&tensor(1, 3, 1, 4), storage));
    assert!(matches!(load_pt(&path).unwrap(), PtValue::Tensor(t) if t.shape() == [3]));
    for (t, want) in [
        (tensor(2, 3, 1, 4), "element 4 of 4"),
        (tensor(0, 2, i32::MAX, 4), "element 2147483647 of 4"),
        (tensor(0, 4, 1, 5), "it has 4 elements, not 5"),
        (tensor(0, i32::MAX, 0, 4), "more elements than are in the file; make it contiguous"),
        (tensor(-1, 1, 1, 4), "has a tensor that is not described as PyTorch does"),
        (tensor(0, -1, 1, 4), "has a tensor that is not described as PyTorch does"),
    ] {
        put(&archive(&t, storage));
        assert!(error(&path).ends_with(want), "{}", error(&path));
    }
    put(&archive(&tensor(0, 1, 1, 1), &[]));
    assert!(error(&path).contains("entry data/0"));
    // One storage named very often, each time as another view: what is made of it is bounded.
    let mut often = b"\x80\x02(".to_vec();
    for i in 0..2000 {
        let one = tensor(i, (1 << 20) - 2000, 1, 1 << 20);
        often.extend(&one[2..one.len() - 1]);
    }
    often.extend(b"l.");
    put(&archive(&often, &[("0", &vec![0; 4 << 20])]));
    let overlap = error(&path);
    assert!(
        overlap.ends_with("the file's tensors overlap so much that they outgrow it"),
        "{overlap}"
    );
    // The same view twice is one tensor, as tied weights are; so are a million names for it.
    let mut tied = b"\x80\x02(".to_vec();
    for _ in 0..2000 {
        let one = tensor(0, 1 << 20, 1, 1 << 20);
        tied.extend(&one[2..one.len() - 1]);
    }
    tied.extend(b"l.");
    put(&archive(&tied, &[("0", &vec![0; 4 << 20])]));
    assert_eq!(load_pt(&path).unwrap().tensors().len(), 2000);
    // Long text named very often.
    let mut text = [b"\x80\x02X".as_slice(), &(1u32 << 20).to_le_bytes()].concat();
    text.extend(vec![b'a'; 1 << 20]);
    text.extend(b"q\x000(");
    text.extend(b"h\x00".repeat(4000));
    text.extend(b"l.");
    put(&archive(&text, &[]));
    assert!(
        error(&path).contains("names its values so often that they outgrow its"),
        "{}",
        error(&path)
    );
    // Any program cut short or with a byte changed: an error or a value, never a panic.
    let whole = std::fs::read(data("everything.pt")).unwrap();
    for n in (0..whole.len()).step_by(13) {
        put(&whole[..n]);
        assert!(load_pt(&path).is_err(), "{n}");
    }
    let program = {
        let mut zip = zip::ZipArchive::new(std::io::Cursor::new(&whole[..])).unwrap();
        let mut out = Vec::new();
        std::io::copy(&mut zip.by_name("everything/data.pkl").unwrap(), &mut out).unwrap();
        out
    };
    for i in 0..program.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut changed = program.clone();
            changed[i] ^= flip;
            put(&archive(&changed, &[("0", &[0; 64]), ("1", &[0; 64])]));
            let _ = load_pt(&path);
        }
    }
    // A flipped byte in the weights themselves breaks the entry's checksum.
    let mut changed = std::fs::read(data("linear.pt")).unwrap();
    let at = changed.windows(4).position(|w| w == 0.125f32.to_le_bytes()).unwrap();
    changed[at] ^= 1;
    put(&changed);
    assert!(error(&path).to_lowercase().contains("checksum"), "{}", error(&path));
}

/// Tensors of every dtype that both formats have, and of odd shapes.
fn many_tensors() -> Vec<(String, Tensor)> {
    let opts = |dtype| TensorOptions { dtype, ..TensorOptions::default() };
    vec![
        ("z.weight".into(), Tensor::randn(&[3, 4], TensorOptions::default()).unwrap()),
        ("a".into(), Tensor::arange(0.0, 5.0, 1.0, opts(DType::Int64)).unwrap()),
        ("t".into(), Tensor::randn(&[3, 4], opts(DType::Float64)).unwrap().t().unwrap()),
        ("h".into(), Tensor::ones(&[2], opts(DType::BFloat16)).unwrap()),
        ("b".into(), Tensor::from_bool(&[true, false], &[2], Device::CPU).unwrap()),
        ("e".into(), Tensor::zeros(&[2, 0], TensorOptions::default()).unwrap()),
        ("s".into(), Tensor::full(&[], 3.0, TensorOptions::default()).unwrap()),
    ]
}

/// Runs only where a Python with torch and safetensors is named: FLODL_PYTHON=python cargo test …
#[test]
fn torch_loads_what_is_written() {
    let Ok(python) = std::env::var("FLODL_PYTHON") else {
        eprintln!("torch_loads_what_is_written: skipped, FLODL_PYTHON names no Python with torch");
        return;
    };
    let dir = folder("torch");
    let (pt, safe) = (dir.join("w.pt"), dir.join("w.safetensors"));
    let tensors = many_tensors();
    save_pt(&pt, &tensors).unwrap();
    save_tensors(&safe, &tensors).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/torch_load.py");
    let run = std::process::Command::new(python).arg(script).args([&pt, &safe]).output().unwrap();
    let said = [run.stdout, run.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(run.status.success() && said.contains("tensors are the same"), "{said}");
    println!("{said}");
}

#[test]
fn writes_what_it_reads() {
    let dir = folder("write");
    let path = dir.join("w.pt");
    let tensors = many_tensors();
    save_pt(&path, &tensors).unwrap();
    let back = load_pt(&path).unwrap().tensors();
    assert_eq!(back.len(), tensors.len());
    for ((n, t), (m, u)) in tensors.iter().zip(&back) {
        assert_eq!((n, t.shape(), t.dtype()), (m, u.shape(), u.dtype()));
        assert_eq!(t.to_blob().unwrap(), u.to_blob().unwrap(), "{n}");
    }
    let twice = vec![tensors[0].clone(), tensors[0].clone()];
    let error = save_pt(&path, &twice).unwrap_err().to_string();
    assert_eq!(error, "save_pt: two tensors named \"z.weight\"");
}

fn names(graph: &Graph) -> Vec<String> {
    graph.named_parameters().into_iter().map(|p| p.0).collect()
}

#[test]
fn renamed_and_partial_loads() {
    let dir = folder("renamed");
    let path = dir.join("a");
    let path = path.to_str().unwrap();
    let (a, b) = (model(4), model(4));
    a.save_checkpoint(path).unwrap();
    assert_eq!(checkpoint_version(path).unwrap(), 1);
    // As another program would name them.
    let foreign: Vec<(String, Tensor)> =
        load_tensors(path).unwrap().into_iter().map(|(n, t)| (format!("module.{n}"), t)).collect();
    let other = dir.join("b");
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
        .through(Linear::new(4, 7).unwrap())
        .build()
        .unwrap();
    let head = data(&wide, 4);
    let error = wide.load_weights(path, &LoadOptions::new()).unwrap_err().to_string();
    assert!(error.contains("has shape [2, 4], the model wants [7, 4]"), "{error}");
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
    let dir = folder("migrate");
    let (old, new) = (dir.join("old"), dir.join("new"));
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

#[test]
fn a_generator_goes_on_where_it_was() {
    let mut rng = Rng::seed(3);
    let _ = (rng.f32(), rng.normal(0.0, 1.0), rng.usize(7));
    let state = rng.state_bytes().unwrap();
    let next: Vec<f64> = (0..9).map(|_| rng.f64()).collect();
    let mut other = Rng::seed(8);
    other.load_state_bytes(&state).unwrap();
    assert_eq!((0..9).map(|_| other.f64()).collect::<Vec<_>>(), next);
    let error = other.load_state_bytes(&state[..32]).unwrap_err().to_string();
    assert_eq!(error, "Rng: its state has 40 bytes, not 32");
}
