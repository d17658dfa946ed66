//! Results: JSON for programs, a table for people.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::timing::median;

/// One measured row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the model, layer or kernel.
    pub model: String,
    /// Median time in milliseconds.
    pub median_ms: f64,
    /// Minimum time in milliseconds.
    pub min_ms: f64,
    /// Peak resident memory of the process in MiB; 0 where it was not measured.
    #[serde(default)]
    pub peak_rss_mb: f64,
    /// Threads used.
    #[serde(default)]
    pub threads: usize,
    /// PyTorch's side, if it was compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pytorch: Option<Peer>,
}

/// PyTorch's figures for a row, and the comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// Median time in milliseconds.
    pub median_ms: f64,
    /// Minimum time in milliseconds.
    pub min_ms: f64,
    /// Peak resident memory in MiB.
    #[serde(default)]
    pub peak_rss_mb: f64,
    /// PyTorch's time divided by ours, for each pair of runs.
    #[serde(default)]
    pub ratios: Vec<f64>,
}

/// Joins the runs of one row on both sides.
pub fn join(ours: &[Row], theirs: &[Peer]) -> Row {
    let pick = |f: fn(&Row) -> f64| ours.iter().map(f).collect::<Vec<_>>();
    let least = |v: Vec<f64>| v.into_iter().fold(f64::INFINITY, f64::min);
    let most = |v: Vec<f64>| v.into_iter().fold(0.0, f64::max);
    let mut row = Row {
        median_ms: median(&pick(|r| r.median_ms)),
        min_ms: least(pick(|r| r.min_ms)),
        peak_rss_mb: most(pick(|r| r.peak_rss_mb)),
        ..ours[0].clone()
    };
    if let Some(first) = theirs.first() {
        let pick = |f: fn(&Peer) -> f64| theirs.iter().map(f).collect::<Vec<_>>();
        row.pytorch = Some(Peer {
            version: first.version.clone(),
            median_ms: median(&pick(|r| r.median_ms)),
            min_ms: least(pick(|r| r.min_ms)),
            peak_rss_mb: most(pick(|r| r.peak_rss_mb)),
            ratios: ours.iter().zip(theirs).map(|(a, b)| b.median_ms / a.median_ms).collect(),
        });
    }
    row
}

/// Milliseconds in a unit that suits them.
fn human(ms: f64) -> String {
    match ms {
        ms if ms >= 100.0 => format!("{ms:.0} ms"),
        ms if ms >= 1.0 => format!("{ms:.2} ms"),
        ms if ms >= 0.01 => format!("{:.1} µs", ms * 1e3),
        ms => format!("{:.2} µs", ms * 1e3),
    }
}

/// Prints the table, as Markdown.
pub fn print(rows: &[Row]) {
    let compared = rows.iter().any(|r| r.pytorch.is_some());
    let memory = rows.iter().any(|r| r.peak_rss_mb > 0.0);
    let mut head = "| row | median | min |".to_owned();
    let mut rule = "| --- | ---: | ---: |".to_owned();
    if memory {
        head += " peak MiB |";
        rule += " ---: |";
    }
    if compared {
        head += " PyTorch median | min |";
        rule += " ---: | ---: |";
        if memory {
            head += " peak MiB |";
            rule += " ---: |";
        }
        head += " ratio, median of pairs | range |";
        rule += " ---: | ---: |";
    }
    println!("{head}\n{rule}");
    let mut all = Vec::new();
    for row in rows {
        let mut line =
            format!("| {} | {} | {} |", row.model, human(row.median_ms), human(row.min_ms));
        if memory {
            line += &format!(" {:.0} |", row.peak_rss_mb);
        }
        if let Some(p) = &row.pytorch {
            line += &format!(" {} | {} |", human(p.median_ms), human(p.min_ms));
            if memory {
                line += &format!(" {:.0} |", p.peak_rss_mb);
            }
            let low = p.ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let high = p.ratios.iter().copied().fold(0.0, f64::max);
            line += &format!(" **{:.2}** | {low:.2}–{high:.2} |", median(&p.ratios));
            all.push(median(&p.ratios));
        }
        println!("{line}");
    }
    if !all.is_empty() {
        let mean = (all.iter().map(|r| r.ln()).sum::<f64>() / all.len() as f64).exp();
        println!("\ngeometric mean of {} ratios (PyTorch ÷ ours): {mean:.2}", all.len());
    }
}

/// Writes the rows as JSON, through a temporary file.
pub fn save(path: &Option<String>, rows: &[Row]) -> Result<()> {
    if let Some(path) = path {
        flodl::write_atomic(path, serde_json::to_string_pretty(rows)?.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(median_ms: f64) -> Row {
        Row { model: "m".into(), median_ms, min_ms: median_ms, ..Row::default() }
    }

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        let theirs = [4.0, 9.0].map(|t| Peer { median_ms: t, min_ms: t, ..Peer::default() });
        let joined = join(&[row(2.0), row(3.0)], &theirs);
        assert_eq!(joined.pytorch.unwrap().ratios, [2.0, 3.0]);
        assert_eq!((joined.median_ms, joined.min_ms), (2.5, 2.0));
    }

    #[test]
    fn rows_survive_json() {
        let rows = vec![row(1.5)];
        let text = serde_json::to_string(&rows).unwrap();
        assert!(text.contains("\"median_ms\":1.5") && text.contains("peak_rss_mb"));
        assert_eq!(serde_json::from_str::<Vec<Row>>(&text).unwrap(), rows);
    }
}
