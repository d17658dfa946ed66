//! Trends as files: CSV, a log, a page with charts.

use std::fmt::Write;
use std::io;

use super::Graph;
use super::lookup::TIMINGS;
use super::timing::short;
use crate::{Error, Result, write_atomic};

/// A number of seconds for people: `850ms`, `12.3s`, `4m 05s`, `2h 03m`, `3d 04h`; `?` when it is
/// not a finite number.
///
/// ```
/// assert_eq!(flodl::format_duration(245.0), "4m 05s");
/// assert_eq!(flodl::format_duration(f64::NAN), "?");
/// ```
pub fn format_duration(secs: f64) -> String {
    if !secs.is_finite() {
        return "?".into();
    }
    if secs < 0.0 {
        return format!("-{}", format_duration(-secs));
    }
    if secs < 0.9995 {
        return format!("{:.0}ms", secs * 1e3);
    }
    if secs < 59.95 {
        return format!("{secs:.1}s");
    }
    let s = secs.round() as u64;
    match s {
        0..3600 => format!("{}m {:02}s", s / 60, s % 60),
        3600..86400 => format!("{}h {:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d {:02}h", s / 86400, s % 86400 / 3600),
    }
}

type Histories = Vec<(String, Vec<f64>)>;

impl Graph {
    /// Writes trends as CSV: a column for each name, a row for each epoch; all trends, those of
    /// labelled sub-graphs under their paths, when no names are given.
    ///
    /// # Errors
    /// When a name is unknown or the file cannot be written.
    pub fn export_trends(&self, path: &str, tags: &[&str]) -> io::Result<()> {
        save(path, &csv(&self.histories(tags).map_err(invalid)?))
    }

    /// [`Graph::export_trends`] of [`Graph::timing_trend`]: seconds.
    ///
    /// # Errors
    /// As for [`Graph::export_trends`].
    pub fn export_timing_trends(&self, path: &str, tags: &[&str]) -> io::Result<()> {
        save(path, &csv(&self.timing_histories(tags).map_err(invalid)?))
    }

    /// Writes trends as text, one line for each epoch, and what remains of `total_epochs`.
    ///
    /// # Errors
    /// As for [`Graph::export_trends`].
    pub fn write_log(&self, path: &str, total_epochs: usize, tags: &[&str]) -> io::Result<()> {
        let histories = self.histories(tags).map_err(invalid)?;
        let journal = self.journal.borrow();
        let rows = rows(&histories);
        let width = total_epochs.max(rows).to_string().len();
        let mut text = String::new();
        for row in 0..rows {
            let _ = write!(text, "epoch {:>width$}/{total_epochs}", row + 1);
            // Names that are flushed one by one have no common end of an epoch.
            if journal.ends.len() == rows {
                let start = if row == 0 { 0.0 } else { journal.ends[row - 1] };
                let _ = write!(text, "  {:>7}", format_duration(journal.ends[row] - start));
            }
            for (name, values) in &histories {
                if let Some(value) = values.get(row) {
                    let _ = write!(text, "  {name} {}", number(*value));
                }
            }
            text.push('\n');
        }
        drop(journal);
        let _ = match self.eta(total_epochs) {
            eta if eta > 0.0 => writeln!(text, "about {} left", format_duration(eta)),
            _ => Ok(()),
        };
        save(path, &text)
    }

    /// Writes a page with one chart for each trend; it needs nothing but itself.
    ///
    /// # Errors
    /// As for [`Graph::export_trends`].
    pub fn plot_html(&self, path: &str, tags: &[&str]) -> io::Result<()> {
        let title = self.label().unwrap_or("training");
        save(path, &page(title, &self.histories(tags).map_err(invalid)?, number))
    }

    /// [`Graph::plot_html`] of [`Graph::timing_trend`].
    ///
    /// # Errors
    /// As for [`Graph::export_trends`].
    pub fn plot_timings_html(&self, path: &str, tags: &[&str]) -> io::Result<()> {
        let title = format!("{}: time of nodes", self.label().unwrap_or("training"));
        save(path, &page(&title, &self.timing_histories(tags).map_err(invalid)?, short))
    }

    fn timing_histories(&self, tags: &[&str]) -> Result<Histories> {
        self.histories_in("timing_trends", tags, TIMINGS)
    }
}

fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error.to_string())
}

pub(super) fn save(path: &str, text: &str) -> io::Result<()> {
    write_atomic(path, text.as_bytes()).map_err(|e| match e {
        Error::Io { source, .. } => source,
        other => io::Error::other(other.to_string()),
    })
}

fn rows(histories: &Histories) -> usize {
    histories.iter().map(|(_, values)| values.len()).max().unwrap_or(0)
}

fn csv(histories: &Histories) -> String {
    let mut text = String::from("epoch");
    for (name, _) in histories {
        if name.contains([',', '"', '\n', '\r']) {
            let _ = write!(text, ",\"{}\"", name.replace('"', "\"\""));
        } else {
            let _ = write!(text, ",{name}");
        }
    }
    text.push('\n');
    for row in 0..rows(histories) {
        let _ = write!(text, "{}", row + 1);
        for (_, values) in histories {
            let _ = match values.get(row) {
                Some(value) => write!(text, ",{value}"),
                None => write!(text, ","),
            };
        }
        text.push('\n');
    }
    text
}

/// A number in about five digits.
fn number(value: f64) -> String {
    if value == 0.0 || (1e-3..1e5).contains(&value.abs()) {
        let digits = 4 - value.abs().log10().floor().clamp(-3.0, 4.0) as i32;
        let text = format!("{value:.*}", if value == 0.0 { 0 } else { digits as usize });
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text,
        }
    } else {
        format!("{value:.3e}")
    }
}

/// Text as it stands in XML.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // Control characters have no place in XML 1.0.
            c if c < ' ' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

const STYLE: &str = "\
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1f2937; --faint: #6b7280;
  --grid: #e5e7eb; --line: #2563eb; }
@media (prefers-color-scheme: dark) { :root { --paper: #111827; --ink: #e5e7eb; --faint: #9ca3af;
  --grid: #374151; --line: #60a5fa; } }
body { background: var(--paper); color: var(--ink); font: 14px sans-serif; margin: 24px; }
h1 { font-size: 20px; } h2 { font-size: 15px; margin: 0 0 4px; }
main { display: flex; flex-wrap: wrap; gap: 24px; }
figure { margin: 0; } figcaption { color: var(--faint); }
svg text { fill: var(--faint); font: 11px sans-serif; }
.grid { stroke: var(--grid); } .line { stroke: var(--line); fill: none; stroke-width: 2; }
.dot { fill: var(--line); }
";

fn page(title: &str, histories: &Histories, number: fn(f64) -> String) -> String {
    let title = escape(title);
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         <main>\n"
    );
    if rows(histories) == 0 {
        html.push_str("<p>Nothing was flushed yet.</p>\n");
    }
    for (name, values) in histories.iter().filter(|(_, values)| !values.is_empty()) {
        chart(&mut html, &escape(name), values, number);
    }
    html.push_str("</main>\n</body>\n</html>\n");
    html
}

/// Values at the ends of a scale of round steps, and the step.
fn scale(low: f64, high: f64) -> (f64, f64, f64) {
    let span = if high > low { high - low } else { high.abs().max(1e-12) };
    let rough = span / 4.0;
    let power = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    let step = power * steps.into_iter().find(|s| s * power >= rough * 0.999).unwrap_or(10.0);
    let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
    (low, if high > low { high } else { low + step }, step)
}

fn chart(html: &mut String, name: &str, values: &[f64], number: fn(f64) -> String) {
    const W: f64 = 420.0;
    const H: f64 = 220.0;
    const LEFT: f64 = 64.0;
    const RIGHT: f64 = 12.0;
    const TOP: f64 = 10.0;
    const BOTTOM: f64 = 26.0;
    let finite = || values.iter().copied().filter(|v| v.is_finite());
    let low = finite().fold(f64::INFINITY, f64::min);
    let high = finite().fold(f64::NEG_INFINITY, f64::max);
    let (low, high, step) = if low <= high { scale(low, high) } else { scale(0.0, 1.0) };
    let last = (values.len() - 1).max(1) as f64;
    let x = |i: usize| LEFT + (W - LEFT - RIGHT) * i as f64 / last;
    let y = |v: f64| TOP + (H - TOP - BOTTOM) * (high - v) / (high - low);
    let latest = values[values.len() - 1];
    let _ = write!(
        html,
        "<figure>\n<h2>{name}</h2>\n<svg width=\"{W}\" height=\"{H}\" viewBox=\"0 0 {W} {H}\" \
         role=\"img\" aria-label=\"{name}\">\n"
    );
    let ticks = ((high - low) / step).round() as usize;
    for i in 0..=ticks {
        let at = low + step * i as f64;
        // What rounding leaves of zero would be written as 1e-17.
        let at = if at.abs() < step * 1e-6 { 0.0 } else { at };
        let _ = writeln!(
            html,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            W - RIGHT,
            LEFT - 6.0,
            y(at) + 4.0,
            number(at),
            y = y(at),
        );
    }
    let every = values.len().div_ceil(8).max(1);
    for i in (0..values.len()).step_by(every) {
        let _ = writeln!(
            html,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            x(i),
            H - 8.0,
            i + 1
        );
    }
    // A value that is not finite breaks the line.
    for run in values.iter().enumerate().collect::<Vec<_>>().split(|(_, v)| !v.is_finite()) {
        let points: Vec<String> =
            run.iter().map(|&(i, &v)| format!("{:.1},{:.1}", x(i), y(v))).collect();
        if !points.is_empty() {
            let _ = writeln!(html, "<polyline class=\"line\" points=\"{}\"/>", points.join(" "));
        }
    }
    for (i, &v) in values.iter().enumerate().filter(|(_, v)| v.is_finite()) {
        let _ = writeln!(
            html,
            "<circle class=\"dot\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\"><title>epoch {}: {}\
             </title></circle>",
            x(i),
            y(v),
            i + 1,
            number(v)
        );
    }
    let _ = write!(
        html,
        "</svg>\n<figcaption>epoch {}: {}</figcaption>\n</figure>\n",
        values.len(),
        number(latest)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_durations_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.25, "0.25"),
            (-3.0, "-3"),
            (0.123_456, "0.12346"),
            (12_345.6, "12346"),
            (100.0, "100"),
            (1e-5, "1.000e-5"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), text);
        }
        for (secs, text) in [
            (0.0, "0ms"),
            (0.85, "850ms"),
            (0.9999, "1.0s"),
            (59.97, "1m 00s"),
            (245.4, "4m 05s"),
            (7380.0, "2h 03m"),
            (274_000.0, "3d 04h"),
            (-1.0, "-1.0s"),
            (f64::INFINITY, "?"),
        ] {
            assert_eq!(format_duration(secs), text);
        }
        assert_eq!(scale(0.1, 0.9), (0.0, 1.0, 0.2));
        assert_eq!(escape("a<b>&\"c\"\u{1}"), "a&lt;b&gt;&amp;&quot;c&quot; ");
    }
}
