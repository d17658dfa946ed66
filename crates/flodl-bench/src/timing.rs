//! Measuring.

use std::time::{Duration, Instant};

/// Median and minimum of repeated runs, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub median_ms: f64,
    pub min_ms: f64,
    /// Processor time of all threads for one run, the mean; 0 where the system does not say.
    pub cpu_ms: f64,
    /// Pages that the system had to fetch or clear for one run, the mean.
    pub page_faults: f64,
}

/// Median of a list; NaN of an empty one.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// The least of a list; infinity of an empty one.
pub fn least(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(f64::INFINITY, f64::min)
}

/// Geometric mean of a list; NaN of an empty one.
pub fn geometric_mean(values: &[f64]) -> f64 {
    (values.iter().map(|v| v.ln()).sum::<f64>() / values.len() as f64).exp()
}

/// What the process had used when the timed runs began.
struct Used {
    start: Instant,
    cpu_seconds: f64,
    page_faults: f64,
}

impl Used {
    fn now() -> Self {
        let (cpu_seconds, page_faults) = (cpu_seconds(), page_faults());
        Used { start: Instant::now(), cpu_seconds, page_faults }
    }

    /// The times of `runs` runs since then.
    fn since(&self, seconds: &[f64], runs: usize) -> Times {
        let runs = runs as f64;
        Times {
            median_ms: median(seconds) * 1e3,
            min_ms: least(seconds.iter().copied()) * 1e3,
            cpu_ms: (cpu_seconds() - self.cpu_seconds) * 1e3 / runs,
            page_faults: (page_faults() - self.page_faults) / runs,
        }
    }
}

/// Page faults of this process so far; 0 where the system does not say.
fn page_faults() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program stands in brackets and may hold anything; minflt is the tenth field.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().nth(7).and_then(|v| v.parse().ok()).unwrap_or_default()
}

/// Processor time that the threads of this process have used.
fn cpu_seconds() -> f64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0.0 };
    let nanoseconds: f64 = tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<f64>().ok())
        .sum();
    nanoseconds * 1e-9
}

/// Times a step that takes long: three warm-up runs, since the third may still find that it needs a
/// buffer more, then `steps` runs, or with 0 as many as two seconds hold, at least 5.
pub fn steps<E>(
    steps: usize,
    mut step: impl FnMut() -> std::result::Result<(), E>,
) -> std::result::Result<Times, E> {
    for _ in 0..3 {
        step()?;
    }
    let used = Used::now();
    let mut samples = Vec::new();
    while match steps {
        0 => samples.len() < 5 || used.start.elapsed() < Duration::from_secs(2),
        n => samples.len() < n,
    } {
        let start = Instant::now();
        step()?;
        samples.push(start.elapsed().as_secs_f64());
    }
    Ok(used.since(&samples, samples.len()))
}

/// Times a call that may be short, for about `budget` after a warm-up of a quarter of that. Short
/// calls are timed in batches of at least 20 µs, so that reading the clock costs nothing. With
/// `steps` other than 0 so many calls or batches are timed instead.
pub fn calls<E>(
    budget: Duration,
    steps: usize,
    mut call: impl FnMut() -> std::result::Result<(), E>,
) -> std::result::Result<Times, E> {
    let warm_up = Instant::now();
    let mut once = f64::INFINITY;
    let mut warm = 0;
    while warm < 2 || (warm_up.elapsed() < budget / 4 && warm < 10_000) {
        let start = Instant::now();
        call()?;
        once = once.min(start.elapsed().as_secs_f64());
        warm += 1;
    }
    let batch = (20e-6 / once.max(1e-9)).ceil().clamp(1.0, 10_000.0) as usize;
    let used = Used::now();
    let mut samples = Vec::new();
    while match steps {
        0 => samples.len() < 5 || (used.start.elapsed() < budget && samples.len() < 10_000),
        n => samples.len() < n,
    } {
        let start = Instant::now();
        for _ in 0..batch {
            call()?;
        }
        samples.push(start.elapsed().as_secs_f64() / batch as f64);
    }
    Ok(used.since(&samples, samples.len() * batch))
}

/// Lets [`peak_rss_mb`] count from now on, where the system can.
pub fn forget_peak() {
    flodl::empty_cache();
    // Where it fails, the peak is that of the whole process.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The most memory this process had resident since its start or [`forget_peak`], in MiB; 0 where
/// the system does not say.
pub fn peak_rss_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap_or_default();
    let kib: f64 = line.split_whitespace().nth(1).and_then(|v| v.parse().ok()).unwrap_or_default();
    kib / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_two() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn the_geometric_mean_of_a_ratio_and_its_inverse_is_one() {
        assert!((geometric_mean(&[4.0, 0.25]) - 1.0).abs() < 1e-12);
        assert!(geometric_mean(&[]).is_nan());
    }

    #[test]
    fn fresh_pages_are_faults() {
        let before = page_faults();
        std::hint::black_box(vec![1u8; 8 << 20]);
        if cfg!(target_os = "linux") {
            assert!(page_faults() > before, "{before}");
        }
    }

    #[test]
    fn as_many_steps_as_asked_for() {
        let mut n = 0;
        steps(7, || {
            n += 1;
            Ok::<(), ()>(())
        })
        .unwrap();
        assert_eq!(n, 3 + 7, "three to warm up, and those asked for");
    }

    #[test]
    fn as_many_batches_as_asked_for() {
        let mut n = 0;
        let times = calls(Duration::ZERO, 3, || {
            n += 1;
            std::thread::sleep(Duration::from_millis(1));
            Ok::<(), ()>(())
        });
        assert!(times.unwrap().min_ms >= 1.0);
        assert_eq!(n, 2 + 3, "two to warm up, and three batches of one");
    }

    #[test]
    fn a_peak_that_is_forgotten_counts_anew() {
        let big = std::hint::black_box(vec![1u8; 256 << 20]);
        let with = peak_rss_mb();
        drop(big);
        forget_peak();
        if cfg!(target_os = "linux") && std::fs::write("/proc/self/clear_refs", "5").is_ok() {
            assert!(with > 256.0 && peak_rss_mb() < with - 200.0, "{with}, {}", peak_rss_mb());
        }
    }

    #[test]
    fn an_error_ends_the_measuring() {
        let mut n = 0;
        let result = calls(Duration::from_secs(100), 0, || {
            n += 1;
            if n == 4 { Err("four") } else { Ok(()) }
        });
        assert_eq!((result.err(), n), (Some("four"), 4));
    }
}
