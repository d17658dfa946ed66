//! The house: each floor uses only what lies below it. The search reads `crate::` paths, so it sees
//! names that come through the root of the crate too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Modules of the crate from the ground up. Those of one line may use each other.
const FLOORS: &[&[&str]] = &[
    &["error", "dtype", "device", "shape", "hash"],
    &["rng", "log"],
    &["backend", "worker"],
    &["tensor"],
    &["autograd", "metrics"],
    &["data", "nn"],
    &["checkpoint"],
    &["graph", "optim"],
    &["monitor"],
    &["train"],
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Source files with the module of the crate that each belongs to.
fn files(folder: &Path, found: &mut Vec<(String, PathBuf)>) {
    for entry in std::fs::read_dir(folder).expect("sources are readable") {
        let path = entry.expect("sources are readable").path();
        if path.is_dir() {
            files(&path, found);
        } else if path != source().join("lib.rs") {
            let inside = path.strip_prefix(source()).expect("it lies in the sources");
            let first = inside.iter().next().expect("a file has a name").to_string_lossy();
            found.push((first.trim_end_matches(".rs").to_owned(), path.clone()));
        }
    }
}

/// The code of a file: without comments, and without the tests at its end.
fn code(text: &str) -> String {
    let lines = text.lines().take_while(|l| *l != "#[cfg(test)]");
    lines.filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Names that a file makes at its top level for others.
fn made(code: &str) -> Vec<String> {
    let kinds = ["fn", "struct", "enum", "trait", "type", "const", "static"];
    let mut names = Vec::new();
    for line in code.lines() {
        let Some(rest) = line.strip_prefix("pub ").or(line.strip_prefix("pub(crate) ")) else {
            continue;
        };
        if let Some((kind, name)) = rest.split_once(' ')
            && kinds.contains(&kind)
        {
            let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
            names.push(name[..end].to_owned());
        }
    }
    names
}

/// The first names of the paths that start at `crate::`.
fn used(code: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue; // `some_crate::`
        }
        let rest = &code[at + "crate::".len()..];
        let Some(list) = rest.strip_prefix('{') else {
            names.insert(word(rest));
            continue;
        };
        let (mut depth, mut start) = (0usize, 0);
        for (i, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => {
                    names.insert(word(&list[start..i]));
                    break;
                }
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    names.insert(word(&list[start..i]));
                    start = i + 1;
                }
                _ => {}
            }
        }
    }
    names.remove("");
    names
}

fn floor(module: &str) -> usize {
    let at = FLOORS.iter().position(|floor| floor.contains(&module));
    at.unwrap_or_else(|| panic!("no floor for the module {module}; give it one"))
}

#[test]
fn no_floor_looks_up() {
    let mut sources = Vec::new();
    files(&source(), &mut sources);
    let texts: Vec<(String, PathBuf, String)> = sources
        .into_iter()
        .map(|(module, path)| {
            let text = std::fs::read_to_string(&path).expect("sources are readable");
            (module, path, code(&text))
        })
        .collect();
    let mut homes: BTreeMap<String, usize> = BTreeMap::new();
    for (module, ..) in &texts {
        homes.insert(module.clone(), floor(module));
    }
    for (module, _, code) in &texts {
        for name in made(code) {
            // A name that two floors make may be the lower one's.
            let home = homes.entry(name).or_insert(usize::MAX);
            *home = (*home).min(floor(module));
        }
    }
    let (mut faults, mut count) = (Vec::new(), 0);
    for (module, path, code) in &texts {
        for name in used(code) {
            let Some(&home) = homes.get(&name) else { continue };
            count += 1;
            if home > floor(module) {
                let home = FLOORS[home].join(" or ");
                faults.push(format!("{} uses {name} of {home}", path.display()));
            }
        }
    }
    assert!(count > 500, "only {count} uses were found: does the search still work?");
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_search_finds_names() {
    let text = "
// use crate::comment;
use crate::{Error, nn::{self, Linear}, autograd::tape};
let x = crate::clip_grad_norm(&[]) + $crate::tape::x() + other_crate::y();
pub fn free<T>() {}
pub(crate) struct Hidden;
    pub fn method() {}
#[cfg(test)]
use crate::tests_only;
";
    let names: Vec<String> = used(&code(text)).into_iter().collect();
    assert_eq!(names, ["Error", "autograd", "clip_grad_norm", "nn", "tape"]);
    assert_eq!(made(&code(text)), ["free", "Hidden"]);
}
