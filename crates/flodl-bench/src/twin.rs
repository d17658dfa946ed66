//! The other side: the same rows in PyTorch, in a process of its own.

use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;

use crate::{Common, Result};

/// The program that PyTorch runs; it travels inside this one.
const SOURCE: &str = include_str!("../pytorch/twin.py");

/// Runs the twin with these arguments and reads the JSON it prints.
pub fn run<T: DeserializeOwned>(common: &Common, python: &str, args: &[&str]) -> Result<T> {
    let mut command = Command::new(python);
    command.arg("-c").arg(SOURCE).args(args);
    let threads = threads(common).to_string();
    command.env("OMP_NUM_THREADS", &threads).env("MKL_NUM_THREADS", &threads);
    if common.pytorch_best {
        // Freed memory stays in the process, so that no step pays for fresh pages.
        let keep = "4294967296";
        command.env("MALLOC_TRIM_THRESHOLD_", keep).env("MALLOC_TOP_PAD_", "268435456");
        command.env("MALLOC_MMAP_MAX_", "0").env("FLODL_BENCH_FUSED_ADAM", "1");
    }
    finish(&mut command, python)
}

/// Runs a command to its end and reads the JSON that it prints last.
pub fn finish<T: DeserializeOwned>(command: &mut Command, name: &str) -> Result<T> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|e| format!("{name} cannot be started: {e}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("no message");
        return Err(format!("{name} failed ({}): {last}", output.status).into());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).map_err(|e| format!("{name} printed no result: {e}").into())
}

/// The number of threads both sides use.
pub fn threads(common: &Common) -> usize {
    if common.threads == 0 { flodl::num_threads() } else { common.threads }
}
