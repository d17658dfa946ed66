//! Results: JSON for programs, a table for people.

use std::collections::BTreeMap;

use flodl_cpu::simd::Isa;
use serde::{Deserialize, Serialize};

use crate::profile::KINDS;
use crate::timing::{Times, geometric_mean, least, median};
use crate::{Common, Result};

/// One measured row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the model, layer or kernel.
    pub model: String,
    /// Median time in milliseconds: of the runs' medians when there were several runs.
    pub median_ms: f64,
    /// Minimum time in milliseconds.
    pub min_ms: f64,
    /// Processor time of all threads in milliseconds; 0 where the system does not say.
    #[serde(default)]
    pub cpu_ms: f64,
    /// Peak resident memory of the process in MiB while the row ran; 0 where the system does not
    /// say.
    #[serde(default)]
    pub peak_rss_mb: f64,
    /// Page faults in one run; 0 where the system does not say.
    #[serde(default)]
    pub page_faults: f64,
    /// Arithmetic of one run in 10^9 operations, a multiplication and its addition being two; 0 where
    /// it is not counted.
    #[serde(default)]
    pub gflop: f64,
    /// What these threads reached in registers just before, in 10^9 operations a second.
    #[serde(default)]
    pub peak_gflops: f64,
    /// The share of each kind of work in the samples of a profile, in per cent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shares: BTreeMap<String, f64>,
    /// Threads used.
    #[serde(default)]
    pub threads: usize,
    /// What it ran on.
    #[serde(default)]
    pub machine: String,
    /// Versions of what was measured, by name.
    #[serde(default)]
    pub versions: BTreeMap<String, String>,
    /// PyTorch's side, if it was compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pytorch: Option<Peer>,
}

impl Row {
    /// A row of this process.
    pub fn new(model: &str, times: Times, threads: usize) -> Self {
        let versions = [("flodl".into(), env!("CARGO_PKG_VERSION").into())].into();
        let Times { median_ms, min_ms, cpu_ms, page_faults } = times;
        let (model, machine) = (model.into(), machine());
        Row {
            model,
            median_ms,
            min_ms,
            cpu_ms,
            peak_rss_mb: 0.0,
            page_faults,
            gflop: 0.0,
            peak_gflops: 0.0,
            shares: BTreeMap::new(),
            threads,
            machine,
            versions,
            pytorch: None,
        }
    }
}

/// PyTorch's figures for a row, and the comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Its version.
    pub version: String,
    /// Median time in milliseconds.
    pub median_ms: f64,
    /// Minimum time in milliseconds.
    pub min_ms: f64,
    /// Processor time of all threads in milliseconds.
    #[serde(default)]
    pub cpu_ms: f64,
    /// Peak resident memory in MiB; 0 where it was not measured.
    #[serde(default)]
    pub peak_rss_mb: f64,
    /// Page faults in one run.
    #[serde(default)]
    pub page_faults: f64,
    /// Whether it ran with malloc that keeps pages and fused optimizers.
    #[serde(default)]
    pub best: bool,
    /// Its median time divided by ours, for each pair of runs.
    #[serde(default)]
    pub ratios: Vec<f64>,
    /// The median of the ratios.
    #[serde(default)]
    pub ratio_median: f64,
    /// The least of the ratios.
    #[serde(default)]
    pub ratio_min: f64,
    /// Its minimum divided by ours: what a quiet machine would show.
    #[serde(default)]
    pub ratio_of_minimums: f64,
    /// Its processor time divided by ours: with one thread, what a busy machine cannot distort.
    #[serde(default)]
    pub ratio_of_cpu: f64,
}

/// The processor's name, by which generations may go alike, the instruction set, and the cores.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |key: &str| {
        let mut fields = info.lines().filter_map(|l| l.split_once(':'));
        fields.find(|(k, _)| k.trim() == key).map(|(_, value)| value.trim())
    };
    let name = field("model name").unwrap_or(std::env::consts::ARCH);
    let kind = match (field("cpu family"), field("model")) {
        (Some(family), Some(model)) => format!(" (family {family} model {model})"),
        _ => String::new(),
    };
    let isa = match flodl_cpu::simd::isa() {
        Isa::Avx512 if flodl_cpu::simd::amx() => "AVX-512 and AMX",
        Isa::Avx512 => "AVX-512",
        Isa::Avx2 => "AVX2",
        Isa::Baseline => "baseline",
    };
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    format!("{name}{kind}, {isa}, {cores} cores, {}", std::env::consts::OS)
}

/// Joins the runs of one row on both sides; `ours` has at least one.
pub fn join(common: &Common, ours: &[Row], theirs: &[Peer]) -> Row {
    let mut row = ours[0].clone();
    row.median_ms = median(&ours.iter().map(|r| r.median_ms).collect::<Vec<_>>());
    row.min_ms = least(ours.iter().map(|r| r.min_ms));
    row.cpu_ms = least(ours.iter().map(|r| r.cpu_ms));
    row.peak_rss_mb = ours.iter().map(|r| r.peak_rss_mb).fold(0.0, f64::max);
    row.page_faults = least(ours.iter().map(|r| r.page_faults));
    row.peak_gflops = ours.iter().map(|r| r.peak_gflops).fold(0.0, f64::max);
    if let Some(first) = theirs.first() {
        let ratios: Vec<f64> =
            ours.iter().zip(theirs).map(|(a, b)| b.median_ms / a.median_ms).collect();
        let min_ms = least(theirs.iter().map(|r| r.min_ms));
        let cpu_ms = least(theirs.iter().map(|r| r.cpu_ms));
        row.versions.insert("torch".into(), first.version.clone());
        row.pytorch = Some(Peer {
            version: first.version.clone(),
            median_ms: median(&theirs.iter().map(|r| r.median_ms).collect::<Vec<_>>()),
            min_ms,
            cpu_ms,
            peak_rss_mb: theirs.iter().map(|r| r.peak_rss_mb).fold(0.0, f64::max),
            page_faults: least(theirs.iter().map(|r| r.page_faults)),
            best: common.pytorch_best,
            ratio_median: median(&ratios),
            ratio_min: least(ratios.iter().copied()),
            ratio_of_minimums: min_ms / row.min_ms,
            ratio_of_cpu: if row.cpu_ms > 0.0 { cpu_ms / row.cpu_ms } else { 0.0 },
            ratios,
        });
    }
    row
}

/// Milliseconds in a unit that suits them.
pub fn human(ms: f64) -> String {
    match ms {
        ms if ms >= 100.0 => format!("{ms:.0} ms"),
        ms if ms >= 1.0 => format!("{ms:.2} ms"),
        ms if ms >= 0.01 => format!("{:.1} µs", ms * 1e3),
        ms => format!("{:.2} µs", ms * 1e3),
    }
}

/// A column of the table.
struct Column {
    head: &'static str,
    /// Whether a short table has it too.
    brief: bool,
    /// Which tables have it.
    needs: Needs,
    cell: fn(&Row, &Peer) -> String,
}

/// What some row must have for a column to be shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    Memory,
    Arithmetic,
    Shares,
    Peer,
    /// Memory on both sides.
    PeerMemory,
}

impl Needs {
    fn met(self, rows: &[Row]) -> bool {
        let peer = rows.iter().any(|r| r.pytorch.is_some());
        let memory = rows.iter().any(|r| r.peak_rss_mb > 0.0);
        match self {
            Needs::Nothing => true,
            Needs::Memory => memory,
            Needs::Shares => rows.iter().any(|r| !r.shares.is_empty()),
            Needs::Arithmetic => rows.iter().any(|r| share(r).is_some()),
            Needs::Peer => peer,
            Needs::PeerMemory => peer && memory,
        }
    }

    /// Whether a row without PyTorch's side has nothing to show.
    fn compares(self) -> bool {
        matches!(self, Needs::Peer | Needs::PeerMemory)
    }
}

/// The share of the arithmetic peak that the least time reaches, in per cent. It exceeds 100 where
/// an algorithm needs fewer operations than the definition.
fn share(row: &Row) -> Option<f64> {
    let known = row.gflop > 0.0 && row.peak_gflops > 0.0;
    known.then(|| 100.0 * row.gflop / (row.min_ms * 1e-3) / row.peak_gflops)
}

/// A kind's share in a profile.
fn of_kind<const KIND: usize>(row: &Row, _: &Peer) -> String {
    row.shares.get(KINDS[KIND]).map_or_else(|| "–".into(), |share| format!("{share:.0} %"))
}

/// All columns but the name's.
const COLUMNS: [Column; 19] = {
    const fn column(
        head: &'static str,
        brief: bool,
        needs: Needs,
        cell: fn(&Row, &Peer) -> String,
    ) -> Column {
        Column { head, brief, needs, cell }
    }
    use Needs::{Arithmetic, Memory, Nothing, PeerMemory, Shares};
    [
        column("median", true, Nothing, |r, _| human(r.median_ms)),
        column("min", false, Nothing, |r, _| human(r.min_ms)),
        column("% of FMA peak", false, Arithmetic, |r, _| {
            share(r).map_or_else(|| "–".into(), |s| format!("{s:.0}"))
        }),
        column("peak MiB", true, Memory, |r, _| format!("{:.0}", r.peak_rss_mb)),
        column("page faults", false, Memory, |r, _| format!("{:.0}", r.page_faults)),
        column(KINDS[0], true, Shares, of_kind::<0>),
        column(KINDS[1], true, Shares, of_kind::<1>),
        column(KINDS[2], true, Shares, of_kind::<2>),
        column(KINDS[3], true, Shares, of_kind::<3>),
        column(KINDS[4], true, Shares, of_kind::<4>),
        column(KINDS[5], true, Shares, of_kind::<5>),
        column("PyTorch median", true, Needs::Peer, |_, p| human(p.median_ms)),
        column("min", false, Needs::Peer, |_, p| human(p.min_ms)),
        column("peak MiB", true, PeerMemory, |_, p| format!("{:.0}", p.peak_rss_mb)),
        column("page faults", false, PeerMemory, |_, p| format!("{:.0}", p.page_faults)),
        column("ratio of medians", true, Needs::Peer, |_, p| format!("{:.2}", p.ratio_median)),
        column("least", false, Needs::Peer, |_, p| format!("{:.2}", p.ratio_min)),
        column("of minimums", false, Needs::Peer, |_, p| format!("{:.2}", p.ratio_of_minimums)),
        column("of CPU time", false, Needs::Peer, |_, p| format!("{:.2}", p.ratio_of_cpu)),
    ]
};

/// The table, as Markdown, with the geometric mean of the ratios below.
fn table(rows: &[Row], brief: bool) -> String {
    let wanted = |c: &&Column| (c.brief || !brief) && c.needs.met(rows);
    let columns: Vec<&Column> = COLUMNS.iter().filter(wanted).collect();
    let head: Vec<&str> = columns.iter().map(|c| c.head).collect();
    let mut text =
        format!("| row | {} |\n| --- |{}\n", head.join(" | "), " ---: |".repeat(head.len()));
    for row in rows {
        let cell = |c: &&Column| match &row.pytorch {
            None if c.needs.compares() => "–".to_owned(),
            peer => (c.cell)(row, peer.as_ref().unwrap_or(&Peer::default())),
        };
        let cells: Vec<String> = columns.iter().map(cell).collect();
        text += &format!("| {} | {} |\n", row.model, cells.join(" | "));
    }
    let ratios: Vec<f64> =
        rows.iter().filter_map(|r| Some(r.pytorch.as_ref()?.ratio_median)).collect();
    if !ratios.is_empty() {
        let (n, mean) = (ratios.len(), geometric_mean(&ratios));
        text += &format!("\ngeometric mean of {n} ratios (PyTorch ÷ ours): {mean:.2}\n");
    }
    let peak = rows.iter().map(|r| r.peak_gflops).fold(0.0, f64::max);
    if Needs::Arithmetic.met(rows) && !brief {
        text += &format!("\nFMA peak, measured before each run: up to {peak:.0} GFLOP/s\n");
    }
    text
}

/// A row in one line, to read while others are still measured.
fn line(row: &Row) -> String {
    let mut text = format!("{}: {}", row.model, human(row.median_ms));
    if let Some(p) = &row.pytorch {
        text += &format!(", PyTorch {}, ratio {:.2}", human(p.median_ms), p.ratio_median);
    }
    text
}

/// Reports the rows from `done` on, and writes all to the file, if one is wanted: what was
/// measured is kept when a later row fails.
pub fn progress(common: &Common, rows: &[Row], done: usize) -> Result<()> {
    rows[done..].iter().for_each(|row| eprintln!("{}", line(row)));
    save(common, rows)
}

/// Prints the table and writes the file, if one is wanted.
pub fn finish(common: &Common, rows: &[Row]) -> Result<()> {
    print!("{}", table(rows, false));
    save(common, rows)
}

fn save(common: &Common, rows: &[Row]) -> Result<()> {
    if let Some(path) = &common.json {
        flodl::write_atomic(path, serde_json::to_string_pretty(rows)?.as_bytes())?;
    }
    Ok(())
}

/// The table, and what it was measured on.
pub fn section(rows: &[Row], brief: bool) -> String {
    let Some(first) = rows.first() else { return "No rows.\n".into() };
    let versions: Vec<String> = first.versions.iter().map(|(k, v)| format!("{k} {v}")).collect();
    let best = rows.iter().filter_map(|r| r.pytorch.as_ref()).any(|p| p.best);
    let best =
        if best { "; PyTorch with malloc that keeps pages and fused optimizers" } else { "" };
    let Row { machine, threads, .. } = first;
    format!(
        "{machine}; {threads} threads; {}{best}.\n\n{}",
        versions.join(", "),
        table(rows, brief)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ms: f64) -> Row {
        Row::new("m", Times { median_ms: ms, min_ms: ms / 2.0, cpu_ms: ms, page_faults: 0.0 }, 2)
    }

    fn peer(ms: f64) -> Peer {
        Peer { version: "2".into(), median_ms: ms, min_ms: ms, ..Peer::default() }
    }

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        let joined = join(&Common::default(), &[row(2.0), row(3.0)], &[peer(4.0), peer(9.0)]);
        assert_eq!((joined.median_ms, joined.min_ms), (2.5, 1.0));
        assert_eq!(joined.versions["torch"], "2");
        let pytorch = joined.pytorch.unwrap();
        assert_eq!(pytorch.ratios, [2.0, 3.0]);
        let (median, min, of_minimums) =
            (pytorch.ratio_median, pytorch.ratio_min, pytorch.ratio_of_minimums);
        assert_eq!((median, min, of_minimums), (2.5, 2.0, 4.0));
    }

    #[test]
    fn a_section_says_what_it_was_measured_on() {
        let text = section(&[row(1.0)], false);
        assert!(text.contains("| m | 1.00 ms |") && text.contains("2 threads"), "{text}");
        assert!(text.contains(&machine()) && text.contains("flodl"), "{text}");
    }

    #[test]
    fn rows_survive_json() {
        let rows = vec![row(1.5), join(&Common::default(), &[row(1.0)], &[peer(2.0)])];
        let text = serde_json::to_string(&rows).unwrap();
        assert!(text.starts_with('[') && text.contains("\"median_ms\":1.5"));
        for key in ["model", "min_ms", "peak_rss_mb", "threads", "machine", "versions", "ratios"] {
            assert!(text.contains(&format!("\"{key}\":")), "{key}");
        }
        assert_eq!(serde_json::from_str::<Vec<Row>>(&text).unwrap(), rows);
    }

    #[test]
    fn a_table_has_as_many_cells_in_every_line() {
        let alone = [row(1.0), Row { peak_rss_mb: 3.0, ..row(2.0) }];
        let compared = [join(&Common::default(), &[row(1.0)], &[peer(2.0)]), row(3.0)];
        assert!(table(&compared, true).contains("| m | 1.00 ms | 2.00 ms | 2.00 |"));
        let counted = [Row { gflop: 0.1, peak_gflops: 400.0, ..row(1.0) }, row(2.0)];
        let text = table(&counted, false);
        assert!(text.contains("| m | 1.00 ms | 500.0 µs | 50 |"), "{text}");
        assert!(text.contains("| m | 2.00 ms | 1.00 ms | – |") && text.contains("400 GFLOP/s"));
        let shares = [("products".to_owned(), 83.7)].into();
        let profiled = table(&[Row { shares, ..row(1.0) }, row(2.0)], true);
        assert!(profiled.contains("| m | 1.00 ms | 84 % | – |"), "{profiled}");
        let tables =
            [text, profiled, table(&alone, false), table(&compared, false), table(&compared, true)];
        for text in tables {
            let bars = |l: &str| l.matches('|').count();
            let lines: Vec<&str> = text.lines().filter(|l| l.starts_with('|')).collect();
            assert!(lines.len() >= 3 && lines.iter().all(|l| bars(l) == bars(lines[0])), "{text}");
        }
    }
}
