//! That every operation has a row: the operations are looked up in the sources.

use flodl::*;

use super::{Row, index, rows};

/// Functions that give constants, so that there is nothing to differentiate.
const CONSTANT: &[&str] = &["zeros_like"];

/// Names of the functions in a source file that take variables and give variables: methods,
/// associated functions and free ones, those that macros make included.
fn operations(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in source.match_indices("pub fn ") {
        let text = &source[at + 7..];
        let head = &text[..text.find('{').unwrap_or(text.len())];
        let Some((name, rest)) = head.split_once('(') else { continue };
        let Some((arguments, result)) = rest.split_once("->") else { continue };
        let takes = arguments.trim_start().starts_with("&self") || arguments.contains("Variable");
        if takes && result.contains("Variable") {
            names.push(name.split('<').next().unwrap_or(name).to_owned());
        }
    }
    for line in source.lines() {
        let name = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        // Rows of the macro for functions of one number.
        if let Some((first, rest)) = line.trim_start().split_once(", from_")
            && rest.contains(", |g")
            && name(first)
        {
            names.push(first.to_owned());
        }
        // Rows of the macro for functions of a rank.
        if let Some(rest) = line.strip_prefix("named!(") {
            names.extend(rest.split(',').take(2).map(|n| n.trim().to_owned()));
        }
        // Rows of the macro for functions of variables and of tensors.
        if let Some((first, rest)) = line.trim_start().split_once(" [")
            && rest.contains("] (")
            && rest.ends_with("| {")
            && name(first)
        {
            names.push(first.to_owned());
        }
    }
    names.retain(|n| !n.starts_with('$'));
    names
}

/// The source files below a folder.
fn sources(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(sources(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn every_operation_has_a_row() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/autograd/ops");
    let first = |row: &'static Row| row.0.split(' ').next().unwrap_or(row.0);
    let (mut missing, mut found) = (Vec::new(), Vec::new());
    for path in sources(dir.as_ref()) {
        let source = std::fs::read_to_string(&path).expect("sources are readable");
        for name in operations(&source) {
            if !CONSTANT.contains(&&*name) && !rows().any(|row| first(row) == name) {
                missing.push(format!("{} in {}", name, path.display()));
            }
            found.push(name);
        }
    }
    assert!(found.len() > 280, "only {} operations: does the search still work?", found.len());
    assert!(missing.is_empty(), "no row for {missing:#?}");
    let unknown: Vec<&str> = rows().map(first).filter(|r| !found.iter().any(|f| f == r)).collect();
    assert!(unknown.is_empty(), "rows of operations that are not there: {unknown:?}");
    let x = Variable::new(index(&[1], &[1]).to_dtype(DType::Float64).unwrap(), true);
    assert!(!Variable::zeros_like(&x).unwrap().requires_grad());
}

#[test]
fn the_search_finds_operations() {
    let source = "
pub fn free(x: &Variable) -> Result<Variable> {}
pub fn generic<const D: usize>(
    x: &Variable,
) -> Result<(Variable, Tensor)> {}
pub(crate) fn hidden(x: &Variable) -> Result<Variable> {}
fn own(x: &Variable) -> Result<Variable> {}
pub fn other(x: &Tensor) -> Result<Tensor> {}
named!(one1d, two1d, 1, i64, |v| [v]);
impl Variable {
    pub fn method(&self) -> Result<Variable> {}
    pub fn plain(&self) -> Result<Tensor> {}
    pub fn associated(vars: &[&Variable], dim: i32) -> Result<Variable> {}
    pub fn fresh(n: usize) -> Variable {}
}
both! {
    twofold [other] (dim: i32) |x| {
        x.method()
    }
}
";
    let names = ["free", "generic", "method", "associated", "one1d", "two1d", "twofold"];
    assert_eq!(operations(source), names);
}
