//! Two result files side by side.

use crate::Result;
use crate::report::Row;

fn read(path: &str) -> Result<Vec<Row>> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    serde_json::from_str(&text).map_err(|e| format!("{path}: {e}").into())
}

/// For every name that both have: the time of `b` divided by that of `a`.
fn ratios(a: &[Row], b: &[Row]) -> Vec<(String, f64)> {
    a.iter()
        .filter_map(|x| {
            let y = b.iter().find(|y| y.model == x.model)?;
            Some((x.model.clone(), y.median_ms / x.median_ms))
        })
        .collect()
}

/// Prints the comparison.
pub fn run(a: &str, b: &str) -> Result<()> {
    let found = ratios(&read(a)?, &read(b)?);
    if found.is_empty() {
        return Err(format!("{a} and {b} have no row in common").into());
    }
    println!("| row | {b} ÷ {a} |\n| --- | ---: |");
    for (name, ratio) in &found {
        println!("| {name} | {ratio:.3} |");
    }
    let mean = (found.iter().map(|r| r.1.ln()).sum::<f64>() / found.len() as f64).exp();
    println!("\ngeometric mean of {} ratios: {mean:.3}", found.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_common_rows_are_compared() {
        let row = |model: &str, median_ms| Row { model: model.into(), median_ms, ..Row::default() };
        let (a, b) = ([row("x", 2.0), row("y", 1.0)], [row("x", 3.0), row("z", 1.0)]);
        assert_eq!(ratios(&a, &b), [("x".to_owned(), 1.5)]);
    }
}
