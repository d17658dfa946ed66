//! What a run has reached: a line an epoch, a CSV, a page.

mod page;
mod serve;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::{Error, Graph, Result, Verbosity, enabled, write_atomic};

/// The numbers of an epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EpochRecord {
    /// The epoch, counted from 0.
    pub epoch: usize,
    /// How long it took.
    pub duration: Duration,
    /// Its numbers by name, in the order they were given.
    pub metrics: Vec<(String, f64)>,
}

impl EpochRecord {
    /// A number by name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.metrics.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
    }
}

/// Numbers with names.
pub trait Metrics {
    /// The numbers in order.
    fn into_metrics(self) -> Vec<(String, f64)>;
}

impl<S: Into<String>> Metrics for Vec<(S, f64)> {
    fn into_metrics(self) -> Vec<(String, f64)> {
        self.into_iter().map(|(n, v)| (n.into(), v)).collect()
    }
}

impl<S: AsRef<str>> Metrics for &[(S, f64)] {
    fn into_metrics(self) -> Vec<(String, f64)> {
        self.iter().map(|(n, v)| (n.as_ref().to_owned(), *v)).collect()
    }
}

impl<S: AsRef<str>, const N: usize> Metrics for &[(S, f64); N] {
    fn into_metrics(self) -> Vec<(String, f64)> {
        self[..].into_metrics()
    }
}

impl<S: Into<String>, const N: usize> Metrics for [(S, f64); N] {
    fn into_metrics(self) -> Vec<(String, f64)> {
        self.into_iter().map(|(n, v)| (n.into(), v)).collect()
    }
}

/// All that the page shows.
#[derive(Clone, Debug, Default)]
struct State {
    total: usize,
    history: Vec<EpochRecord>,
    title: Option<String>,
    hash: Option<String>,
    hardware: Option<String>,
    metadata: Option<serde_json::Value>,
    svg: Option<String>,
    theme: String,
    finished: bool,
}

/// Follows a run: prints a line an epoch, and shows the curves as a page, on disk or at a local
/// port.
///
/// ```
/// use flodl::*;
/// use std::time::Duration;
/// let mut monitor = Monitor::new(2);
/// monitor.log(0, Duration::from_secs(3), [("loss", 0.5), ("accuracy", 0.81)]);
/// monitor.log(1, Duration::from_secs(3), [("loss", 0.4), ("accuracy", 0.84)]);
/// monitor.finish();
/// assert_eq!(monitor.history()[1].get("loss"), Some(0.4));
/// ```
pub struct Monitor {
    state: Arc<Mutex<State>>,
    history: Vec<EpochRecord>,
    start: Instant,
    silent: bool,
    html: Option<String>,
    server: Option<serve::Server>,
}

impl Monitor {
    /// For a run of this many epochs.
    pub fn new(total_epochs: usize) -> Self {
        let state = State { total: total_epochs, theme: "light".to_owned(), ..State::default() };
        Monitor {
            state: Arc::new(Mutex::new(state)),
            history: Vec::new(),
            start: Instant::now(),
            silent: false,
            html: None,
            server: None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves out the summary at the end.
    pub fn silent_summary(&mut self) -> &mut Self {
        self.silent = true;
        self
    }

    /// Whether this process speaks for the run; always, while a run is one process.
    pub fn is_primary(&self) -> bool {
        true
    }

    /// Shows the page at `http://127.0.0.1:port`; port 0 takes a free one, see
    /// [`Monitor::port`]. Reached from this machine only.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn serve(&mut self, port: u16) -> std::io::Result<()> {
        let state = self.state.clone();
        let server = serve::Server::start(port, move || {
            page::render(&state.lock().unwrap_or_else(PoisonError::into_inner), true)
        })?;
        if enabled(Verbosity::Normal) {
            println!("monitor: http://127.0.0.1:{}", server.port());
        }
        self.server = Some(server);
        Ok(())
    }

    /// The port of [`Monitor::serve`].
    pub fn port(&self) -> Option<u16> {
        self.server.as_ref().map(serve::Server::port)
    }

    /// Writes the page to a file at the end.
    pub fn save_html(&mut self, path: &str) {
        self.html = Some(path.to_owned());
    }

    /// The colours of the page: `light` or `dark`.
    pub fn set_archive_theme(&mut self, theme: &str) {
        self.state().theme = theme.to_owned();
    }

    /// Settings of the run, shown on the page.
    pub fn set_metadata(&mut self, meta: serde_json::Value) {
        self.state().metadata = Some(meta);
    }

    /// A picture of the model for the page. It is shown as an image, so scripts in it do not run.
    pub fn set_svg(&mut self, svg: &str) {
        self.state().svg = Some(svg.to_owned());
    }

    /// What the run runs on.
    pub fn set_hardware(&mut self, hardware: impl Into<String>) {
        self.state().hardware = Some(hardware.into());
    }

    /// The model's label and structural hash.
    pub fn set_identity(&mut self, label: Option<&str>, hash: Option<&str>) {
        let mut state = self.state();
        state.title = label.map(str::to_owned);
        state.hash = hash.map(str::to_owned);
    }

    /// Shows a graph: its picture, its label and its hash.
    pub fn watch(&mut self, graph: &Graph) {
        self.show(graph, graph.svg(None));
    }

    /// [`Monitor::watch`] with the nodes coloured by the times of the last forward, for a graph with
    /// [`Graph::enable_profiling`].
    pub fn watch_profiled(&mut self, graph: &Graph) {
        self.show(graph, graph.svg_with_profile(None));
    }

    fn show(&mut self, graph: &Graph, svg: Result<Vec<u8>>) {
        self.set_identity(graph.label(), Some(graph.structural_hash()));
        match svg {
            Ok(svg) => self.set_svg(&String::from_utf8_lossy(&svg)),
            Err(e) => crate::log_message(Verbosity::Quiet, format_args!("monitor: {e}")),
        }
    }

    /// Takes the numbers of an epoch and prints them.
    pub fn log(&mut self, epoch: usize, duration: Duration, metrics: impl Metrics) {
        self.log_epoch_record(EpochRecord { epoch, duration, metrics: metrics.into_metrics() });
    }

    /// [`Monitor::log`] of a record.
    pub fn log_epoch_record(&mut self, record: EpochRecord) {
        let total = self.state().total;
        if enabled(Verbosity::Normal) {
            let spent: Duration =
                self.history.iter().map(|r| r.duration).sum::<Duration>() + record.duration;
            let left = total.saturating_sub(record.epoch + 1) as u32;
            let eta = spent / (self.history.len() as u32 + 1) * left;
            println!("{}  ETA {}", line(&record, total), human(eta));
        }
        self.history.push(record.clone());
        self.state().history.push(record);
    }

    /// The epochs so far.
    pub fn history(&self) -> &[EpochRecord] {
        &self.history
    }

    /// Ends the run: a summary, and the page if it was asked for.
    pub fn finish(&mut self) {
        self.state().finished = true;
        let took = human(self.start.elapsed());
        if !self.silent && enabled(Verbosity::Normal) {
            println!("{} epochs in {took}", self.history.len());
        }
        if let Some(path) = self.html.clone() {
            let page = page::render(&self.state(), false);
            match write_atomic(&path, page.as_bytes()) {
                Ok(()) => crate::log_message(Verbosity::Normal, format_args!("page: {path}")),
                Err(e) => crate::log_message(Verbosity::Quiet, format_args!("monitor: {e}")),
            }
        }
    }

    /// [`Monitor::finish`] with the graph as it is at the end, coloured by time if it was profiled.
    pub fn finish_with(&mut self, graph: &Graph) {
        match graph.profiling() {
            true => self.watch_profiled(graph),
            false => self.watch(graph),
        }
        self.finish();
    }

    /// Writes the lines of all epochs to a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_log(&self, path: &str) -> std::io::Result<()> {
        let total = self.state().total;
        let lines: String = self.history.iter().map(|r| line(r, total) + "\n").collect();
        std::fs::write(path, lines)
    }

    /// Writes all epochs as CSV: epoch, seconds, and a column for each number.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn export_csv(&self, path: &str) -> std::io::Result<()> {
        write_csv(path.as_ref(), &self.history).map_err(|e| match e {
            Error::Io { source, .. } => source,
            e => std::io::Error::other(e.to_string()),
        })
    }
}

/// The names of all numbers in their first order.
fn names(history: &[EpochRecord]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in history.iter().flat_map(|r| &r.metrics) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names
}

fn write_csv(path: &Path, history: &[EpochRecord]) -> Result<()> {
    let bad = |e: csv::Error| Error::format(path, e.to_string());
    let names = names(history);
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(["epoch", "seconds"].iter().chain(&names)).map_err(bad)?;
    for r in history {
        let mut row = vec![r.epoch.to_string(), r.duration.as_secs_f64().to_string()];
        row.extend(names.iter().map(|n| r.get(n).map_or(String::new(), |v| v.to_string())));
        out.write_record(&row).map_err(bad)?;
    }
    let bytes = out.into_inner().map_err(|e| Error::format(path, e.to_string()))?;
    write_atomic(path, &bytes)
}

/// An epoch in a line.
pub(crate) fn line(record: &EpochRecord, total: usize) -> String {
    let numbers: String =
        record.metrics.iter().map(|(n, v)| format!("  {n} {}", number(*v))).collect();
    format!("epoch {}/{total}{numbers}  {}", record.epoch + 1, human(record.duration))
}

/// A number with four decimals, or as many digits as show something.
pub(crate) fn number(v: f64) -> String {
    let size = v.abs();
    if v == 0.0 || (1e-3..1e5).contains(&size) { format!("{v:.4}") } else { format!("{v:.3e}") }
}

/// A duration as people say it.
pub(crate) fn human(d: Duration) -> String {
    let s = d.as_secs_f64();
    match s {
        _ if s < 1.0 => format!("{:.0} ms", s * 1e3),
        _ if s < 60.0 => format!("{s:.1} s"),
        _ if s < 3600.0 => format!("{} min {:02} s", d.as_secs() / 60, d.as_secs() % 60),
        _ => format!("{} h {:02} min", d.as_secs() / 3600, d.as_secs() / 60 % 60),
    }
}
