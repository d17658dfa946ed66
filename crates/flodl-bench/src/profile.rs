//! Where the time of a training step goes, by the samples of Linux's `perf`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::report::{self, Row};
use crate::{Common, Result, models, twin};

/// Samples a second: a prime, so that no rhythm of a step hides.
const RATE: &str = "997";

/// The kinds of work that samples are counted by, as the table's columns name them.
pub const KINDS: [&str; 6] = ["products", "packing", "passes", "threads", "framework", "system"];

/// What a function does. `passes` are kernels that go over memory: elementwise work, norms, losses,
/// optimizers, copies, the transforms of convolutions; `threads` is dealing out tasks, and waiting.
fn kind(address: u64, symbol: &str) -> Option<&'static str> {
    let kernel = address >> 63 == 1;
    let has = |part: &str| symbol.contains(part);
    let memory = ["memmove", "memcpy", "memset"].into_iter().any(has);
    Some(match symbol {
        _ if kernel => "system",
        // What the table itself needs.
        _ if has("flodl_bench::") => return None,
        _ if has("flodl_cpu::threads") || has("gemm::blocked::Gate") => "threads",
        _ if has("flodl_cpu::gemm") && has("::pack") => "packing",
        _ if has("flodl_cpu::gemm") => "products",
        _ if has("flodl_cpu::alloc") => "framework",
        _ if has("flodl_cpu::") || memory => "passes",
        _ => "framework",
    })
}

/// A line of `perf script`: the second, the address and the symbol.
fn sample(line: &str) -> Option<(f64, u64, &str)> {
    let (time, rest) = line.trim().split_once(':')?;
    let (address, symbol) = rest.trim().split_once(' ')?;
    Some((time.parse().ok()?, u64::from_str_radix(address, 16).ok()?, symbol))
}

/// The share of each kind, in per cent, in the last `seconds` of `perf script`'s lines: a process
/// makes its model first, and ends with the steps.
fn shares(script: &str, seconds: f64) -> BTreeMap<String, f64> {
    let mut counts: BTreeMap<String, f64> = KINDS.iter().map(|k| ((*k).into(), 0.0)).collect();
    let samples: Vec<_> = script.lines().filter_map(sample).collect();
    let start = samples.iter().map(|s| s.0).fold(0.0, f64::max) - seconds;
    for (_, address, symbol) in samples.into_iter().filter(|s| s.0 >= start) {
        if let Some(count) = kind(address, symbol).and_then(|kind| counts.get_mut(kind)) {
            *count += 1.0;
        }
    }
    let all: f64 = counts.values().sum();
    counts.values_mut().for_each(|count| *count *= 100.0 / all.max(1.0));
    counts
}

/// Whether there is a `perf` to start.
pub fn possible() -> bool {
    Command::new("perf").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Samples of one run, deleted with this value.
struct Samples(PathBuf);

impl Drop for Samples {
    fn drop(&mut self) {
        // Nothing depends on whether the file goes.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Runs a model of a build of this program under `perf`.
fn profile(program: &Path, model: &str, steps: usize, threads: usize) -> Result<Row> {
    let name = format!("flodl-profile-{}.data", std::process::id());
    let samples = Samples(std::env::temp_dir().join(name));
    let mut record = Command::new("perf");
    record.args(["record", "--quiet", "--freq", RATE, "--output"]).arg(&samples.0).arg("--");
    record.arg(program).args(["child", model, &steps.to_string(), &threads.to_string()]);
    let row: Row = twin::finish(&mut record, "perf")?;
    let mut script = Command::new("perf");
    script.args(["script", "--fields", "time,ip,sym", "--input"]).arg(&samples.0);
    let output = script.stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(format!("perf script failed ({})", output.status).into());
    }
    // As many steps as `steps` says, or as two seconds hold, but five at least.
    let timed = if steps == 0 { (5.0 * row.median_ms).max(2e3) } else { steps as f64 * row.min_ms };
    let shares = shares(&String::from_utf8_lossy(&output.stdout), timed / 1e3);
    if shares.values().all(|share| *share == 0.0) {
        return Err(format!("perf took no samples of {model}").into());
    }
    // Under `perf` the times are not those of the other tables, and the peak even less.
    Ok(Row { shares, gflop: 0.0, ..row })
}

/// The `profile` command: all large models, or one; of this build or of another.
pub fn run(common: &Common, steps: usize, program: Option<&str>) -> Result<()> {
    let program = program.map_or_else(std::env::current_exe, |path| Ok(path.into()))?;
    let only = common.only.as_deref();
    let chosen: Vec<&str> =
        models::large().filter(|name| only.is_none_or(|only| only == *name)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = models::large().collect();
        return Err(format!("no such model; there are {}", names.join(", ")).into());
    }
    let mut rows: Vec<Row> = Vec::new();
    for name in chosen {
        rows.push(profile(&program, name, steps, common.threads())?);
        report::progress(common, &rows, rows.len() - 1)?;
    }
    report::finish(common, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_counted_by_what_the_function_does() {
        let script = "
            11.250: 55d0 flodl_cpu::gemm::x86::f32_avx2::tile
            13.000: 55d0 flodl_cpu::gemm::x86::f32_avx2::tile
            13.001: 55d0 flodl_cpu::gemm::blocked::blocked::{{closure}}
            13.002: 55d1 flodl_cpu::gemm::x86::pack_f32_avx2
            13.002: 55d1 flodl_cpu::gemm::split::pack::{{closure}}
            13.002: 55d1 flodl_cpu::gemm::pack::pack_raw
            13.002: 55d1 flodl_cpu::gemm::amx::run
            13.003: 55d2 flodl_cpu::simd::run_avx2
            13.004: 7f00 __memmove_avx_unaligned_erms
            13.005: 55d3 flodl_cpu::gemm::blocked::Gates::wait
            13.006: 55d4 flodl::autograd::engine::walk
            13.007: 55d5 flodl_cpu::alloc::Pool::take
            13.008: 55d6 flodl_bench::peak::fma_gflops
            14.250: ffffffff81000c82 asm_exc_page_fault
            a line without an address";
        let shares = shares(script, 2.0);
        let of = |kind: &str| (shares[kind] * 12.0 / 100.0).round();
        assert_eq!(KINDS.map(of), [3.0, 3.0, 2.0, 1.0, 2.0, 1.0]);
        assert!((shares.values().sum::<f64>() - 100.0).abs() < 1e-9);
    }
}
