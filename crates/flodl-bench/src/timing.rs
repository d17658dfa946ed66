//! Measuring.

use std::time::{Duration, Instant};

/// Median and minimum of repeated runs, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub median: f64,
    pub min: f64,
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

fn times(samples: &[f64]) -> Times {
    let min = samples.iter().copied().fold(f64::INFINITY, f64::min);
    Times { median: median(samples), min }
}

/// Times a step that takes long: two warm-up runs, then `steps` runs, or with 0 as many as two
/// seconds hold, at least 5.
pub fn steps(steps: usize, mut step: impl FnMut() -> crate::Result<()>) -> crate::Result<Times> {
    step()?;
    step()?;
    let start = Instant::now();
    let mut samples = Vec::new();
    while match steps {
        0 => samples.len() < 5 || start.elapsed() < Duration::from_secs(2),
        n => samples.len() < n,
    } {
        let start = Instant::now();
        step()?;
        samples.push(start.elapsed().as_secs_f64());
    }
    Ok(times(&samples))
}

/// Times a call that may be short: it runs in batches of at least 20 µs for about `budget`.
pub fn calls(
    budget: Duration,
    mut call: impl FnMut() -> crate::Result<()>,
) -> crate::Result<Times> {
    let start = Instant::now();
    call()?;
    let once = start.elapsed().as_secs_f64().max(1e-9);
    let batch = (20e-6 / once).ceil().clamp(1.0, 10_000.0) as usize;
    let start = Instant::now();
    let mut samples = Vec::new();
    while samples.len() < 5 || (start.elapsed() < budget && samples.len() < 10_000) {
        let start = Instant::now();
        for _ in 0..batch {
            call()?;
        }
        samples.push(start.elapsed().as_secs_f64() / batch as f64);
    }
    Ok(times(&samples))
}

/// The most memory this process ever had resident, in MiB; 0 where the system does not say.
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
    fn as_many_steps_as_asked_for() {
        let mut n = 0;
        steps(7, || {
            n += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(n, 9);
    }
}
