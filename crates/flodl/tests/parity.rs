//! Parity with PyTorch: outputs, gradients and buffers of its own test cases, read from
//! `goldens/` (or the folder that FLODL_GOLDENS names) and computed by this library.

#[path = "parity/attention.rs"]
mod attention;
#[path = "parity/case.rs"]
mod case;
#[path = "parity/check.rs"]
mod check;
#[path = "parity/functional.rs"]
mod functional;
#[path = "parity/layers.rs"]
mod layers;
#[path = "parity/loss.rs"]
mod loss;
#[path = "parity/losses.rs"]
mod losses;
#[path = "parity/models.rs"]
mod models;
#[path = "parity/modules.rs"]
mod modules;
#[path = "parity/more.rs"]
mod more;
#[path = "parity/onnx.rs"]
mod onnx;
#[path = "parity/onnx_more.rs"]
mod onnx_more;
#[path = "parity/ops.rs"]
mod ops;
#[path = "parity/optim.rs"]
mod optim;
#[path = "parity/report.rs"]
mod report;
#[path = "parity/rnn.rs"]
mod rnn;
#[path = "parity/sched.rs"]
mod sched;
#[path = "parity/shapes.rs"]
mod shapes;
#[path = "parity/spatial.rs"]
mod spatial;
#[path = "parity/traj.rs"]
mod traj;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use case::{Case, Entry, File, Run, one};
use check::Outcome;
use report::Report;
use serde_json::Value;

/// Folder of the reference cases.
fn goldens() -> PathBuf {
    std::env::var_os("FLODL_GOLDENS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens"), PathBuf::from)
}

/// The files below a folder, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(list) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = list.filter_map(|f| Some(f.ok()?.path())).collect();
    files.sort();
    files
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned())
}

type Table = HashMap<&'static str, fn(&Case) -> Run>;

fn table(entries: impl Iterator<Item = &'static Entry>) -> Table {
    entries.copied().collect()
}

/// Runs the cases of a folder of modules or functions.
fn run_folder(report: &mut Report, root: &Path, folder: &str) {
    let losses = || loss::LOSSES.iter().chain(losses::LOSSES);
    let layers = [spatial::LAYERS, layers::LAYERS, shapes::LAYERS, rnn::LAYERS, attention::LAYERS];
    let modules = table(modules::entries().chain(layers.into_iter().flatten()).chain(losses()));
    let functions = functional::entries().chain(spatial::FUNCTIONS).chain(loss::NORMS);
    let functions = functions.chain(attention::FUNCTIONS).chain(shapes::FUNCTIONS);
    let functions = table(functions.chain(losses()));
    let ops = table(ops::entries());
    each_file(report, root, folder, |report, file_name, file| {
        for meta in &file.cases {
            let id = meta["id"].as_str().unwrap_or("a case without id");
            let name = meta["op"].as_str().or(meta["module"].as_str()).unwrap_or(file_name);
            let short = name.trim_start_matches("nn.functional.").trim_start_matches("F.");
            let functional = folder == "functional" || short != name;
            let entry = match meta["op"].is_string() || functional {
                true if functional => functions.get(short),
                true => ops.get(short),
                false => modules.get(short),
            };
            let outcome = match entry {
                Some(entry) => check::run(meta, file, *entry),
                None => Outcome::Unsupported("not mapped".into()),
            };
            report.add(folder, short, id, outcome);
        }
    });
}

/// Visits the files of a folder. One that cannot be read, or holds no case, is a failure: damage
/// must not look like something that is not supported.
fn each_file(
    report: &mut Report,
    root: &Path,
    folder: &str,
    mut visit: impl FnMut(&mut Report, &str, &File),
) {
    for path in files(&root.join(folder)) {
        match File::read(&path) {
            Ok(file) if file.cases.is_empty() && folder != "traj" => {
                report.add(folder, &stem(&path), "file", Outcome::Fail("no cases".into()));
            }
            Ok(file) => visit(report, &stem(&path), &file),
            Err(e) => report.add(folder, &stem(&path), "file", Outcome::Fail(e)),
        }
    }
}

/// The schedulers' file has no tensors, so it is no .safetensors.
fn run_schedulers(report: &mut Report, root: &Path) {
    for path in files(&root.join("sched")) {
        let list = std::fs::read(&path).map_err(|e| e.to_string()).and_then(|text| {
            serde_json::from_slice::<Vec<Value>>(&text).map_err(|e| e.to_string())
        });
        match list {
            Ok(list) if !list.is_empty() => {
                for case in &list {
                    let name = case["scheduler"].as_str().unwrap_or("unknown");
                    report.add("sched", name, name, sched::run(name, case));
                }
            }
            Ok(_) => report.add("sched", &stem(&path), "file", Outcome::Fail("no cases".into())),
            Err(e) => report.add("sched", &stem(&path), "file", Outcome::Fail(e)),
        }
    }
}

/// Runs everything below a folder.
fn run_all(root: &Path) -> Report {
    let mut report = Report::default();
    for folder in ["modules", "functional", "ops", "own"] {
        run_folder(&mut report, root, folder);
    }
    each_file(&mut report, root, "optim", |report, _, file| {
        for meta in &file.cases {
            let (name, outcome) = optim::run(meta, file);
            report.add("optim", &name, meta["id"].as_str().unwrap_or("no id"), outcome);
        }
    });
    each_file(&mut report, root, "onnx", |report, operator, file| {
        for meta in &file.cases {
            let id = meta["name"].as_str().unwrap_or("no name");
            report.add("onnx", operator, id, onnx::run(operator, meta, file));
        }
    });
    each_file(&mut report, root, "traj", |report, name, file| {
        report.add("traj", name, name, traj::run(name, file));
    });
    run_schedulers(&mut report, root);
    report
}

/// Where cargo puts what it builds.
fn target() -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_default();
    exe.ancestors().nth(3).map_or_else(|| PathBuf::from("target"), Path::to_path_buf)
}

/// The front page, which says how many cases pass.
fn front_page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")
}

/// What stands around that count there.
const COUNT: [&str; 2] = ["<!-- parity -->", "<!-- /parity -->"];

/// The count as it stands there.
fn count(pass: usize, all: usize) -> String {
    format!("{pass} of {all}")
}

/// Splits the front page at the count.
fn around_the_count(page: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = page.split_once(COUNT[0])?;
    let (count, after) = rest.split_once(COUNT[1])?;
    Some((before, count, after))
}

#[test]
fn parity_with_pytorch() {
    let report = run_all(&goldens());
    println!("{}", report.markdown());
    std::fs::write(target().join("parity.json"), report.json()).expect("target is writable");
    let (pass, fail, unsupported) = report.total(None);
    println!("parity: {pass} pass, {fail} fail, {unsupported} not supported");
    assert!(pass + fail + unsupported > 0, "no cases in {}", goldens().display());
    assert!(report.failures.is_empty(), "{fail} cases fail:\n{}", report.failures.join("\n"));
    if std::env::var_os("FLODL_GOLDENS").is_none() {
        // What was supported stays so, and the front page says it.
        let page = std::fs::read_to_string(front_page()).expect("README.md is readable");
        let (_, claimed, _) = around_the_count(&page).expect("README.md has a count");
        assert_eq!(claimed, count(pass, pass + fail + unsupported), "README.md: write the tables");
    }
}

/// The harness sees a wrong value, a wrong gradient, a missing gradient and a panic.
#[test]
fn parity_fails_what_is_wrong() {
    let file = File::read(&goldens().join("ops/exp.safetensors")).unwrap();
    let meta = file.cases.iter().find(|m| m["dtype"] == "float64").unwrap();
    let fails = |entry: fn(&Case) -> Run| match check::run(meta, &file, entry) {
        Outcome::Fail(message) => message,
        other => panic!("{other:?}"),
    };
    assert_eq!(check::run(meta, &file, |c| one(c.arg(0, "x").var()?.exp())), Outcome::Pass);
    assert!(fails(|c| one(c.arg(0, "x").var()?.square())).starts_with("output 0"));
    let detached = |c: &Case| one(Ok(c.arg(0, "x").var()?.exp()?.detach()));
    assert!(fails(detached).starts_with("no gradient"));
    let twice = |c: &Case| {
        let x = c.arg(0, "x").var()?;
        let y = x.exp()?;
        one(y.add(&x)?.sub(&x.detach()))
    };
    assert!(fails(twice).starts_with("gradient of"));
    let shape = |c: &Case| one(c.arg(0, "x").var()?.exp()?.unsqueeze(0));
    assert!(fails(shape).contains("shape"));
    assert!(fails(|_| panic!("at the disco")).starts_with("panicked: at the disco"));
    let missing = |c: &Case| one(c.arg(0, "x").tensor()?.exp());
    assert!(matches!(check::run(meta, &file, missing), Outcome::Unsupported(_)));
}

/// Files that are cut off, empty or without cases are failures, whatever folder they lie in.
#[test]
fn parity_fails_what_is_damaged() {
    let root = std::env::temp_dir().join(format!("parity-damage-{}", std::process::id()));
    let whole = std::fs::read(goldens().join("ops/exp.safetensors")).unwrap();
    let nothing = flodl::serialize_tensors(&[], None).unwrap();
    // Cut in the header; cut in the values; empty; whole, but without a case.
    let damaged: [&[u8]; 4] = [&whole[..100], &whole[..whole.len() - 64], b"", &nothing];
    let folders = ["modules", "functional", "ops", "own", "optim", "onnx", "traj"];
    for folder in folders {
        std::fs::create_dir_all(root.join(folder)).unwrap();
        for (i, bytes) in damaged.iter().enumerate() {
            let file = root.join(folder).join(format!("exp{i}.safetensors"));
            std::fs::write(file, bytes).unwrap();
        }
    }
    std::fs::create_dir_all(root.join("sched")).unwrap();
    for (i, text) in ["", "[{", "[]", "{}"].iter().enumerate() {
        std::fs::write(root.join("sched").join(format!("{i}.json")), text).unwrap();
    }
    let report = run_all(&root);
    std::fs::remove_dir_all(&root).unwrap();
    for folder in folders.iter().chain(&["sched"]) {
        for ((_, name), row) in report.rows.iter().filter(|((f, _), _)| f == folder) {
            // A trajectory has no list of cases, so a strange one is only unknown.
            let strange = *folder == "traj" && name == "exp3";
            assert_eq!(row.fail > 0, !strange, "{folder}/{name}: {:?}", row.reasons);
        }
        let rows = report.rows.keys().filter(|(f, _)| f == folder).count();
        assert!(rows >= 4, "{folder}: {rows} rows");
    }
}

/// Writes docs/parity.md, and the count in README.md.
#[test]
#[ignore = "writes a file of the repository"]
fn parity_writes_its_table() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    std::fs::create_dir_all(&docs).expect("docs can be made");
    let report = run_all(&goldens());
    std::fs::write(docs.join("parity.md"), report.markdown()).expect("docs is writable");
    let (pass, fail, unsupported) = report.total(None);
    let page = std::fs::read_to_string(front_page()).expect("README.md is readable");
    let (before, _, after) = around_the_count(&page).expect("README.md has a count");
    let count = count(pass, pass + fail + unsupported);
    let page = [before, COUNT[0], &count, COUNT[1], after].concat();
    std::fs::write(front_page(), page).expect("README.md is writable");
}

#[test]
fn parity_reads_no_option_silently() {
    let meta: Value = serde_json::json!({
        "fwd": {"args": [1, null], "kwargs": {"a": 2, "b": null}}, "ctor": {"c": 3, "inplace": true}
    });
    let dir = std::env::temp_dir().join(format!("parity-{}.safetensors", std::process::id()));
    std::fs::write(&dir, flodl::serialize_tensors(&[], None).unwrap()).unwrap();
    let file = File::read(&dir).unwrap();
    std::fs::remove_file(&dir).unwrap();
    let case = Case::new(&meta, &file);
    assert_eq!(case.unread(), ["argument 0=1", "a=2", "c=3"]);
    assert_eq!((case.arg(0, "x").i64().unwrap(), case.arg(5, "a").f64().unwrap()), (1, 2.0));
    assert_eq!(case.unread(), ["c=3"]);
    assert!(case.ctor("c").only(4).is_err() && case.ctor("c").only(3).is_ok());
    assert!(case.unread().is_empty());
    assert!(case.arg(1, "y").is_none());
}
