//! The digits example as its user runs it: a process with arguments, files, an exit code and lines
//! of text. `cargo test` builds the example beside this test.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use flodl::*;

/// The example that was built with this test.
fn example() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let folder = test.ancestors().nth(2).expect("tests lie in target/PROFILE/deps");
    let path = folder.join("examples").join(format!("digits{}", std::env::consts::EXE_SUFFIX));
    assert!(
        path.exists(),
        "{} is not built: cargo build -p flodl --example digits",
        path.display()
    );
    path
}

fn digits(args: &[&str]) -> Output {
    Command::new(example()).args(args).output().expect("the example starts")
}

/// A folder of this run's own.
fn scratch(name: &str) -> String {
    let path = std::env::temp_dir().join(format!("flodl-digits-{}-{name}", std::process::id()));
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// Ends with exit code 1 and one line that says all of these words, and prints nothing else.
fn refuses(args: &[&str], words: &[&str]) {
    let output = digits(args);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{args:?}: {err}");
    assert!(err.starts_with("error: ") && err.lines().count() == 1, "{args:?}: {err}");
    for word in words {
        assert!(err.contains(word), "{args:?}: {word} is not in {err}");
    }
    assert_eq!(out, "", "{args:?}");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// The word after a text.
fn after<'a>(output: &'a str, what: &str) -> &'a str {
    let rest = output.split_once(what).unwrap_or_else(|| panic!("no {what:?} in {output}")).1;
    rest.split_whitespace().next().expect("a word")
}

/// A short training, whose files several tests read.
struct Training {
    out: String,
    folder: String,
}

const SHORT: [&str; 6] = ["--epochs", "2", "--seed", "7", "--threads", "2"];

fn train(name: &str) -> Training {
    let folder = scratch(name);
    let output = digits(&[&SHORT[..], &["--out", &folder]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "a bar has no place in a file");
    Training { out: text(&output.stdout), folder }
}

static TRAINING: LazyLock<Training> = LazyLock::new(|| train("shared"));

#[test]
fn a_training_learns_shows_and_writes() {
    let Training { out, folder } = &*TRAINING;
    assert!(out.contains("4000 digits to train on, 1000 to test on"), "{out}");
    let accuracy: f64 = after(out, "test accuracy").parse().expect("a number");
    assert!(accuracy > 92.0, "{accuracy} % after two epochs");
    // A line for each epoch, with everything that the bar would show, and no terminal codes.
    let epochs: Vec<&str> = out.lines().filter(|l| l.contains("samples/s")).collect();
    assert_eq!(epochs.len(), 2, "{out}");
    for (line, words) in epochs.iter().zip([["1/2", "loss"], ["2/2", "test %"]]) {
        assert!(words.iter().all(|w| line.contains(w)) && line.contains("ETA"), "{line}");
    }
    assert!(!out.contains('\u{1b}') && !out.contains('\r'), "{out:?}");
    assert!(out.contains("confusion matrix") && out.contains(" said "), "{out}");
    let read = |name: &str| std::fs::read(Path::new(folder).join(name)).expect(name);
    let curves = text(&read("curves.svg"));
    assert!(curves.starts_with("<svg") && curves.contains("Accuracy"), "{curves:.200}");
    assert!(text(&read("model.svg")).contains("<svg"));
    let (weights, _) = deserialize_tensors(&read("model.safetensors"), "weights").expect("weights");
    assert!(weights.iter().any(|(name, _)| name.ends_with("running_mean")));
}

#[test]
fn the_same_seed_gives_the_same_bits_twice() {
    let first = after(&TRAINING.out, "final loss");
    let again = train("again");
    assert_eq!(after(&again.out, "final loss"), first);
    let weights = |t: &Training| std::fs::read(format!("{}/model.safetensors", t.folder)).unwrap();
    assert!(weights(&again) == weights(&TRAINING), "the same weights to the last bit");
    std::fs::remove_dir_all(&again.folder).expect("it can be removed");
}

#[test]
fn loaded_weights_have_the_accuracy_that_was_saved() {
    let weights = format!("{}/model.safetensors", TRAINING.folder);
    // Neither the seed nor the number of threads changes a test.
    let output = digits(&["--load", &weights, "--seed", "99", "--threads", "1"]);
    let out = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let from_accuracy = |out: &str| out.split_once("test accuracy").expect("it").1.to_owned();
    let trained = from_accuracy(&TRAINING.out);
    let trained = trained.split_once("\nweights:").expect("what follows the training").0;
    assert_eq!(from_accuracy(&out).trim_end(), trained.trim_end());
}

#[test]
fn missing_and_damaged_weights_are_errors() {
    let good = format!("{}/model.safetensors", TRAINING.folder);
    let path = format!("{}/other.safetensors", scratch("weights"));
    std::fs::create_dir_all(scratch("weights")).expect("made");
    refuses(&["--load", &path], &[&path, "No such file"]);
    let bytes = std::fs::read(&good).expect("weights");
    std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("written");
    refuses(&["--load", &path], &[&path]);
    std::fs::write(&path, b"not weights").expect("written");
    refuses(&["--load", &path], &[&path]);
    // Whole, but without one weight, and with one too many.
    let (mut tensors, _) = deserialize_tensors(&bytes, "weights").expect("weights");
    let (name, tensor) = tensors.pop().expect("several");
    std::fs::write(&path, serialize_tensors(&tensors, None).expect("bytes")).expect("written");
    refuses(&["--load", &path], &[&path, "lacks", &name]);
    tensors.extend([(name, tensor.clone()), ("stranger".to_owned(), tensor)]);
    std::fs::write(&path, serialize_tensors(&tensors, None).expect("bytes")).expect("written");
    refuses(&["--load", &path], &[&path, "stranger"]);
    std::fs::remove_dir_all(scratch("weights")).expect("removed");
}

/// Rows of the data file, gzipped.
fn data(rows: &[(&str, &str)]) -> Vec<u8> {
    use std::io::Write;
    let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for (pixel, label) in rows {
        let pixels = format!("{pixel}{}", ",0".repeat(783));
        writeln!(zip, "{pixels},{label}").expect("into memory");
    }
    zip.finish().expect("into memory")
}

#[test]
fn missing_and_damaged_data_are_errors() {
    let path = format!("{}.csv.gz", scratch("data"));
    refuses(&["--data", &path], &[&path, "No such file"]);
    let try_data = |bytes: &[u8], words: &[&str]| {
        std::fs::write(&path, bytes).expect("written");
        refuses(&["--data", &path], &[&[path.as_str()], words].concat());
    };
    let good = [("0", "3"); 6];
    let bytes = data(&good);
    try_data(&bytes[..bytes.len() - 9], &["is not whole gzipped text"]);
    try_data(b"0,1,2", &["is not whole gzipped text"]);
    try_data(&data(&good[..3]), &["3 rows", "too few"]);
    let with = |row| [&good[..], &[row]].concat();
    try_data(&data(&with(("0", "2.5"))), &["row 7, column 785", "2.5", "not a digit from 0 to 9"]);
    try_data(&data(&with(("0", "10"))), &["row 7, column 785", "not a digit from 0 to 9"]);
    try_data(&data(&with(("256", "1"))), &["row 7, column 1", "not a number from 0 to 255"]);
    try_data(&data(&with(("0,0", "1"))), &["786 fields"]);
    try_data(&data(&[("0,0", "1"); 6]), &["row 1 has 786 fields, not 785"]);
    std::fs::remove_file(&path).expect("removed");
}

#[test]
fn a_folder_that_takes_no_files_is_found_before_the_training() {
    let path = scratch("file");
    std::fs::write(&path, b"").expect("written");
    refuses(&["--out", &path], &[&path]);
    refuses(&["--out", &format!("{path}/below")], &[&path]);
    std::fs::remove_file(&path).expect("removed");
}

#[test]
fn options_are_explained_and_wrong_ones_refused() {
    let help = digits(&["--help"]);
    assert!(help.status.success());
    let help = text(&help.stdout);
    for option in ["--epochs", "--seed", "--threads", "--batch-size", "--load", "--data", "--out"] {
        assert!(help.contains(option), "{help}");
    }
    for wrong in [["--epochs", "two"], ["--epochs", "0"], ["--batch-size", "0"], ["--seed", "-1"]] {
        assert_eq!(digits(&wrong).status.code(), Some(2), "{wrong:?}");
    }
}
