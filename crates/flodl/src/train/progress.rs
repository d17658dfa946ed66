//! Progress of a run: a bar on a terminal, a line for each epoch elsewhere.

use std::time::Instant;

use crate::EpochRecord;
use crate::monitor::{line, number};

/// Shows how far a run is: a bar with speed and time left on a terminal, a line for each epoch
/// everywhere.
///
/// ```
/// use flodl::*;
/// let mut progress = Progress::new(2, 100);
/// progress.step(50, &[("loss", 0.7)]);
/// progress.step(50, &[("loss", 0.6)]);
/// progress.epoch(&EpochRecord { metrics: vec![("loss".into(), 0.65)], ..Default::default() });
/// progress.finish();
/// ```
pub struct Progress {
    #[cfg(feature = "terminal")]
    bar: Option<indicatif::ProgressBar>,
    epochs: usize,
    epoch: usize,
    samples: usize,
    seen: usize,
    start: Instant,
}

impl Progress {
    /// For a run of `epochs` epochs of `samples` samples, or 0 if nobody knows how many.
    pub fn new(epochs: usize, samples: usize) -> Self {
        Self::from_epoch(0, epochs, samples)
    }

    /// For a run that begins with a later epoch.
    pub fn from_epoch(epoch: usize, epochs: usize, samples: usize) -> Self {
        Progress {
            #[cfg(feature = "terminal")]
            bar: bar((epochs.saturating_sub(epoch) * samples) as u64),
            epochs,
            epoch,
            samples,
            seen: 0,
            start: Instant::now(),
        }
    }

    /// Counts samples, and shows the numbers as they are now.
    pub fn step(&mut self, samples: usize, numbers: &[(&str, f64)]) {
        self.seen += samples;
        #[cfg(feature = "terminal")]
        if let Some(bar) = &self.bar {
            let text: Vec<String> =
                numbers.iter().map(|(n, v)| format!("{n} {}", number(*v))).collect();
            bar.set_prefix(format!("epoch {}/{}", self.epoch + 1, self.epochs));
            bar.set_message(text.join("  "));
            bar.inc(samples as u64);
        }
        #[cfg(not(feature = "terminal"))]
        let _ = (numbers, number);
    }

    /// Ends an epoch with a line of its numbers.
    pub fn epoch(&mut self, record: &EpochRecord) {
        self.epoch = record.epoch + 1;
        let seconds = self.start.elapsed().as_secs_f64().max(1e-9);
        let speed = self.seen as f64 / seconds;
        let left = (self.epochs.saturating_sub(self.epoch) * self.samples) as f64;
        let eta = std::time::Duration::from_secs_f64((left / speed.max(1e-9)).min(1e9));
        // Of a stream nobody knows how long it is.
        let eta = match self.samples {
            0 => String::new(),
            _ => format!("  ETA {}", crate::monitor::human(eta)),
        };
        self.print(&format!("{}  {speed:.0} samples/s{eta}", line(record, self.epochs)));
    }

    /// Prints a line above the bar.
    pub fn print(&self, text: &str) {
        #[cfg(feature = "terminal")]
        if let Some(bar) = &self.bar {
            bar.println(text);
            return;
        }
        println!("{text}");
    }

    /// Takes the bar away.
    pub fn finish(self) {
        #[cfg(feature = "terminal")]
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(feature = "terminal")]
fn bar(samples: u64) -> Option<indicatif::ProgressBar> {
    use std::io::IsTerminal;
    if !std::io::stderr().is_terminal() {
        return None;
    }
    let style = "{prefix} [{bar:30}] {msg}  {per_sec}  ETA {eta}";
    let style = indicatif::ProgressStyle::with_template(style)
        .unwrap_or_else(|_| indicatif::ProgressStyle::default_bar());
    let speed = |s: &indicatif::ProgressState, w: &mut dyn std::fmt::Write| {
        let _ = write!(w, "{:.0} samples/s", s.per_sec());
    };
    let style = style.with_key("per_sec", speed).progress_chars("=> ");
    Some(indicatif::ProgressBar::new(samples).with_style(style))
}
