//! The command line: what it refuses, and the shape of what it writes.

use std::process::{Command, Output};

fn bench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_flodl-bench")).args(args).output().expect("it starts")
}

/// Fails with this exit status and says all of these words.
fn refuses(args: &[&str], code: i32, words: &[&str]) {
    let output = bench(args);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{args:?}: {text}");
    }
}

fn scratch(name: &str) -> String {
    let path = std::env::temp_dir().join(format!("flodl-bench-test-{}-{name}", std::process::id()));
    path.to_str().expect("a path in UTF-8").to_owned()
}

#[test]
fn unknown_names_are_refused_with_those_there_are() {
    refuses(&["models", "--only", "perceptron"], 1, &["no model is called perceptron", "mlp"]);
    refuses(&["layers", "--only", "no such layer"], 1, &["no row's name contains"]);
    refuses(&["profile", "--only", "perceptron"], 1, &["no such model", "mlp"]);
    refuses(&["kernels", "--only", "no such kernel"], 1, &["no row's name contains"]);
    refuses(&["child", "perceptron", "1", "1"], 1, &["no model is called perceptron"]);
}

#[test]
fn a_python_that_is_missing_or_has_no_torch_is_an_error() {
    let missing = "/nonexistent/python";
    for command in ["models", "layers", "kernels"] {
        let row = match command {
            "models" => "op_chain",
            "layers" => "tiny ReLU",
            _ => "matmul NN 16x1x16",
        };
        let start = [command, "--only", row, "--threads", "1", "--vs-pytorch"];
        refuses(&[&start[..], &[missing]].concat(), 1, &[missing, "cannot be started"]);
        refuses(&[&start[..], &["false"]].concat(), 1, &["false failed"]);
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    refuses(&["models", "--pairs", "0"], 2, &["--pairs"]);
    refuses(&["models", "--pytorch-best"], 2, &["--vs-pytorch"]);
    refuses(&["models", "--threads", "two"], 2, &["--threads"]);
    refuses(&["dance"], 2, &["dance"]);
}

#[test]
fn results_are_a_list_of_objects() {
    let path = scratch("results.json");
    let output = bench(&["models", "--only", "tiny_step", "--threads", "1", "--json", &path]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("| tiny_step |"));
    let text = std::fs::read_to_string(&path).expect("the file is written");
    std::fs::remove_file(&path).expect("it can be removed");
    let rows: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let row = &rows.as_array().expect("a list")[0];
    assert_eq!(row["model"], "tiny_step");
    assert_eq!(row["threads"], 1);
    assert_eq!(row["versions"]["flodl"], env!("CARGO_PKG_VERSION"));
    assert!(row["machine"].as_str().is_some_and(|m| m.contains("core")));
    let number = |key: &str| row[key].as_f64().expect(key);
    assert!(number("min_ms") > 0.0 && number("median_ms") >= number("min_ms"));
    assert!(!cfg!(target_os = "linux") || number("peak_rss_mb") > 1.0);
    assert!(row.get("pytorch").is_none());
}

#[test]
fn layers_have_a_row_for_each_pass() {
    let path = scratch("layers.json");
    let arguments = ["layers", "--only", "tiny ReLU", "--steps", "3", "--threads", "1"];
    let output = bench(&[&arguments[..], &["--json", &path]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&path).expect("the file is written");
    std::fs::remove_file(&path).expect("it can be removed");
    let rows: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let names: Vec<&str> =
        rows.as_array().expect("a list").iter().filter_map(|r| r["model"].as_str()).collect();
    assert_eq!(names, ["tiny ReLU 1x16 forward", "tiny ReLU 1x16 forward+backward"]);
    for row in rows.as_array().expect("a list") {
        let number = |key: &str| row[key].as_f64().expect(key);
        assert!(number("min_ms") > 0.0 && number("median_ms") >= number("min_ms"));
        assert!(!cfg!(target_os = "linux") || number("peak_rss_mb") > 1.0);
    }
}

#[test]
fn two_files_are_compared_row_by_row() {
    let row = |name: &str, ms: f64| format!(r#"{{"model":"{name}","median_ms":{ms},"min_ms":1}}"#);
    let (a, b) = (scratch("a.json"), scratch("b.json"));
    std::fs::write(&a, format!("[{},{}]", row("x", 2.0), row("y", 1.0))).expect("written");
    std::fs::write(&b, format!("[{},{},{}]", row("x", 8.0), row("y", 1.0), row("z", 1.0)))
        .expect("written");
    let output = bench(&["compare", &a, &b]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success());
    assert!(text.contains("| x | 2.00 ms | 8.00 ms | 4.000 |"), "{text}");
    assert!(text.contains("2.000\n") && text.contains("only in") && text.contains("z"), "{text}");

    std::fs::write(&b, "[]").expect("written");
    refuses(&["compare", &a, &b], 1, &["no row in common"]);
    std::fs::write(&b, "{").expect("written");
    refuses(&["compare", &a, &b], 1, &[&b]);
    std::fs::remove_file(&b).expect("removed");
    refuses(&["compare", &a, &b], 1, &[&b]);
    std::fs::remove_file(&a).expect("removed");
}

#[test]
fn documents_get_their_tables_and_keep_the_rest() {
    let folder = scratch("results");
    std::fs::create_dir_all(&folder).expect("made");
    let results =
        r#"[{"model":"a x","median_ms":2,"min_ms":1},{"model":"b","median_ms":3,"min_ms":1}]"#;
    std::fs::write(format!("{folder}/some.json"), results).expect("written");
    let document = format!("{folder}/document.md");
    let text = "before\n<!-- bench some only=a brief -->\nold\n<!-- /bench -->\nbetween\n\
                <!-- bench other -->\nkept\n<!-- /bench -->\nafter\n";
    std::fs::write(&document, text).expect("written");
    let output = bench(&["document", &folder, &document]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("other.json"), "{said}");
    let new = std::fs::read_to_string(&document).expect("still there");
    assert!(new.starts_with("before\n<!-- bench some only=a brief -->\n"), "{new}");
    assert!(new.contains("| a x | 2.00 ms |") && !new.contains("old") && !new.contains("| b |"));
    assert!(new.ends_with("-->\nbetween\n<!-- bench other -->\nkept\n<!-- /bench -->\nafter\n"));

    let refused = [
        ("no marks\n", "has no line"),
        ("<!-- bench some -->\n", "mark some"),
        ("<!-- bench some only=c -->\n<!-- /bench -->\n", "no row begins with \"c\""),
        ("<!-- bench other -->\n<!-- /bench -->\n", "no results"),
    ];
    for (text, words) in refused {
        std::fs::write(&document, text).expect("written");
        refuses(&["document", &folder, &document], 1, &[words]);
        assert_eq!(std::fs::read_to_string(&document).expect("still there"), text);
    }
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn a_run_of_everything_looks_at_its_documents_and_folder_first() {
    let file = scratch("file");
    std::fs::write(&file, "no marks\n").expect("written");
    refuses(&["all", &file], 1, &[&file, "has no line"]);
    refuses(&["all", "/nonexistent.md"], 1, &["/nonexistent.md"]);
    refuses(&["all", "--folder", &file], 1, &[&file, "cannot be made"]);
    std::fs::remove_file(&file).expect("removed");
    refuses(&["all", "--pairs", "0"], 2, &["--pairs"]);
}
