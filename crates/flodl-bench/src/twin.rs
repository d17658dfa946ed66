//! The other side: the same rows in PyTorch, in a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::de::DeserializeOwned;

use crate::report::Peer;
use crate::{Common, Result};

/// The programs that PyTorch runs; they travel inside this one.
pub const SOURCES: [(&str, &str); 4] = [
    ("common.py", include_str!("../pytorch/common.py")),
    ("models.py", include_str!("../pytorch/models.py")),
    ("layers.py", include_str!("../pytorch/layers.py")),
    ("kernels.py", include_str!("../pytorch/kernels.py")),
];

/// The programs as files, for as long as this value lives.
pub struct Twin {
    folder: PathBuf,
    python: String,
    threads: usize,
    best: bool,
}

impl Twin {
    /// `None` when PyTorch is not wanted.
    pub fn new(common: &Common) -> Result<Option<Self>> {
        let Some(python) = &common.vs_pytorch else { return Ok(None) };
        let folder = std::env::temp_dir().join(format!("flodl-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)
            .map_err(|e| format!("{} cannot be made: {e}", folder.display()))?;
        let (python, threads, best) = (python.clone(), common.threads(), common.pytorch_best);
        let twin = Twin { folder, python, threads, best };
        for (name, source) in SOURCES {
            let path = twin.folder.join(name);
            std::fs::write(&path, source).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        Ok(Some(twin))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(&self.python);
        let threads = self.threads.to_string();
        command.arg(Path::new(&self.folder).join(program)).env("FLODL_BENCH_THREADS", &threads);
        command.env("OMP_NUM_THREADS", &threads).env("MKL_NUM_THREADS", &threads);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        if self.best {
            // Freed memory stays in the process, so that no step pays for fresh pages. glibc caps
            // the threshold for mmap at 32 MiB, hence no mmap at all.
            let keep = "4294967296";
            command.env("MALLOC_TRIM_THRESHOLD_", keep).env("MALLOC_TOP_PAD_", "268435456");
            command.env("MALLOC_MMAP_MAX_", "0").env("FLODL_BENCH_FUSED", "1");
        }
        command
    }

    /// One model in a process of its own.
    pub fn model(&self, name: &str, steps: usize) -> Result<Peer> {
        let mut command = self.command("models.py");
        finish(command.args([name, &steps.to_string()]), &self.python)
    }

    /// A process that measures rows one by one, when asked. It has started: what PyTorch does until
    /// then would disturb our first row.
    pub fn serve(&self, program: &str, steps: usize) -> Result<Server> {
        let mut command = self.command(program);
        command.env("FLODL_BENCH_STEPS", steps.to_string());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{} cannot be started: {e}", self.python))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("PyTorch's process has no pipes".into());
        };
        let output = BufReader::new(output);
        let mut server = Server { child, input: Some(input), output, python: self.python.clone() };
        let mut line = String::new();
        server.output.read_line(&mut line)?;
        match line.trim() {
            "ready" => Ok(server),
            "" => {
                // Its own message went to stderr.
                let status = server.child.wait()?;
                Err(format!("{} failed before its first row ({status})", self.python).into())
            }
            other => Err(format!("{} is not ready but says {other:?}", self.python).into()),
        }
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        // Nothing depends on whether the folder goes.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A running twin.
pub struct Server {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    python: String,
}

impl Server {
    /// PyTorch's figures for a row, one for each of its passes.
    pub fn row(&mut self, name: &str) -> Result<Vec<Peer>> {
        let mut line = String::new();
        let asked = self.input.as_mut().map(|i| writeln!(i, "{name}").and_then(|()| i.flush()));
        if matches!(asked, Some(Ok(()))) {
            self.output.read_line(&mut line)?;
        }
        if line.is_empty() {
            // Its own message went to stderr.
            let status = self.child.wait()?;
            return Err(format!("{} failed at {name:?} ({status})", self.python).into());
        }
        serde_json::from_str(&line)
            .map_err(|e| format!("{} printed no result: {e}", self.python).into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.input = None;
        let _ = self.child.wait();
    }
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
