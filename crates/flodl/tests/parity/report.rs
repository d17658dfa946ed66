//! Counts per layer and operation, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::json;

use super::check::Outcome;

/// Counts of one layer or operation.
#[derive(Default)]
pub struct Row {
    pub pass: usize,
    pub fail: usize,
    pub unsupported: usize,
    /// Reasons of unsupported cases, with how many.
    pub reasons: BTreeMap<String, usize>,
}

/// Counts by folder and name, and what failed.
#[derive(Default)]
pub struct Report {
    pub rows: BTreeMap<(String, String), Row>,
    pub failures: Vec<String>,
}

impl Report {
    pub fn add(&mut self, folder: &str, name: &str, id: &str, outcome: Outcome) {
        let row = self.rows.entry((folder.to_owned(), name.to_owned())).or_default();
        match outcome {
            Outcome::Pass => row.pass += 1,
            Outcome::Fail(message) => {
                row.fail += 1;
                self.failures.push(format!("{folder}: {id}: {message}"));
            }
            Outcome::Unsupported(reason) => {
                row.unsupported += 1;
                *row.reasons.entry(reason).or_default() += 1;
            }
        }
    }

    /// Pass, fail and unsupported, of one folder or of all.
    pub fn total(&self, folder: Option<&str>) -> (usize, usize, usize) {
        let rows = self.rows.iter().filter(|((f, _), _)| folder.is_none_or(|g| f == g));
        rows.fold((0, 0, 0), |(p, f, u), (_, r)| (p + r.pass, f + r.fail, u + r.unsupported))
    }

    pub fn folders(&self) -> Vec<String> {
        let mut folders: Vec<String> = self.rows.keys().map(|k| k.0.clone()).collect();
        folders.dedup();
        folders
    }

    pub fn markdown(&self) -> String {
        let mut text = String::from(
            "# Parity with PyTorch\n\nWritten by `cargo test -p flodl --test parity -- --ignored \
             parity_writes_its_table`; the cases are described in \
             [their folder](../crates/flodl/tests/goldens/README.md). A case passes when outputs, \
             gradients of inputs and parameters, and buffers all agree with PyTorch's.\n\n\
             | folder | pass | fail | not supported |\n| --- | ---: | ---: | ---: |\n",
        );
        for folder in self.folders() {
            let (p, f, u) = self.total(Some(&folder));
            let _ = writeln!(text, "| {folder} | {p} | {f} | {u} |");
        }
        let (p, f, u) = self.total(None);
        let _ = writeln!(text, "| **all** | **{p}** | **{f}** | **{u}** |");
        for folder in self.folders() {
            let _ = writeln!(
                text,
                "\n## {folder}\n\n| name | pass | fail | not supported | why |\n\
                 | --- | ---: | ---: | ---: | --- |"
            );
            for ((_, name), row) in self.rows.iter().filter(|((f, _), _)| *f == folder) {
                let reasons: Vec<String> =
                    row.reasons.iter().map(|(r, n)| format!("{r} ({n})")).collect();
                let reasons = reasons.join("; ").replace('|', "\\|");
                let _ = writeln!(
                    text,
                    "| {name} | {} | {} | {} | {reasons} |",
                    row.pass, row.fail, row.unsupported
                );
            }
        }
        text
    }

    pub fn json(&self) -> String {
        let count = |(pass, fail, unsupported): (usize, usize, usize)| json!({"pass": pass, "fail": fail, "unsupported": unsupported});
        let folders: serde_json::Map<String, serde_json::Value> =
            self.folders().into_iter().map(|f| (f.clone(), count(self.total(Some(&f))))).collect();
        let rows: Vec<serde_json::Value> = self
            .rows
            .iter()
            .map(|((folder, name), r)| {
                json!({"folder": folder, "name": name, "pass": r.pass, "fail": r.fail,
                       "unsupported": r.unsupported, "reasons": r.reasons})
            })
            .collect();
        let all = json!({"total": count(self.total(None)), "folders": folders, "rows": rows});
        format!("{all:#}\n")
    }
}
