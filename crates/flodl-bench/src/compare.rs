//! Two result files side by side.

use crate::Result;
use crate::report::{Row, human};
use crate::timing::geometric_mean;

/// The rows of a result file.
pub fn read(path: &str) -> Result<Vec<Row>> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    serde_json::from_str(&text).map_err(|e| format!("{path}: {e}").into())
}

/// For every row that both have: both medians and the time of `b` divided by that of `a`.
fn common<'a>(a: &'a [Row], b: &[Row]) -> Vec<(&'a str, [f64; 3])> {
    a.iter()
        .filter_map(|x| {
            let y = b.iter().find(|y| y.model == x.model)?;
            Some((x.model.as_str(), [x.median_ms, y.median_ms, y.median_ms / x.median_ms]))
        })
        .collect()
}

/// Names that `a` has and `b` lacks.
fn alone<'a>(a: &'a [Row], b: &[Row]) -> Vec<&'a str> {
    let lacks = |x: &&Row| b.iter().all(|y| y.model != x.model);
    a.iter().filter(lacks).map(|x| x.model.as_str()).collect()
}

/// Prints the comparison.
pub fn run(a_path: &str, b_path: &str) -> Result<()> {
    let (a, b) = (read(a_path)?, read(b_path)?);
    let found = common(&a, &b);
    if found.is_empty() {
        return Err(format!("{a_path} and {b_path} have no row in common").into());
    }
    println!("| row | A: {a_path} | B: {b_path} | B ÷ A |\n| --- | ---: | ---: | ---: |");
    for (name, [a, b, ratio]) in &found {
        println!("| {name} | {} | {} | {ratio:.3} |", human(*a), human(*b));
    }
    let ratios: Vec<f64> = found.iter().map(|r| r.1[2]).collect();
    println!(
        "\ngeometric mean of {} ratios B ÷ A (above 1: A is faster): {:.3}",
        ratios.len(),
        geometric_mean(&ratios)
    );
    for (path, names) in [(a_path, alone(&a, &b)), (b_path, alone(&b, &a))] {
        if !names.is_empty() {
            println!("only in {path}: {}", names.join(", "));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_common_rows_are_compared() {
        let row = |model: &str, median_ms| Row { model: model.into(), median_ms, ..Row::default() };
        let (a, b) = ([row("x", 2.0), row("y", 1.0)], [row("x", 3.0), row("z", 1.0)]);
        assert_eq!(common(&a, &b), [("x", [2.0, 3.0, 1.5])]);
        assert_eq!((alone(&a, &b), alone(&b, &a)), (vec!["y"], vec!["z"]));
    }
}
