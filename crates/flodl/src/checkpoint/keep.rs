//! Which checkpoints of a run are kept.

use std::path::{Path, PathBuf};

use super::{Metadata, RunProgress, RunState, deserialize_tensors, write_atomic};
use crate::{Error, Result};

/// A folder of a run's checkpoints: the last few, and the best.
///
/// ```
/// use flodl::*;
/// let dir = std::env::temp_dir().join(format!("flodl-keep-{}", std::process::id()));
/// let model = FlowBuilder::from(Linear::new(2, 1)?).build()?;
/// let mut keeper = CheckpointKeeper::new(&dir, 2)?;
/// for (step, loss) in [(10, 0.5), (20, 0.2), (30, 0.4)] {
///     let progress = RunProgress { step, ..RunProgress::default() };
///     keeper.save(&mut RunState::graph(&model), &progress, Some(loss))?;
/// }
/// assert_eq!(keeper.all()?.len(), 2);
/// assert_eq!(RunState::graph(&model).load(keeper.latest()?.unwrap())?.step, 30);
/// assert_eq!(RunState::graph(&model).load(keeper.best().unwrap())?.step, 20);
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CheckpointKeeper {
    dir: PathBuf,
    keep: usize,
    higher: bool,
    best: Option<f64>,
}

const SCORE_KEY: &str = "flodl.run.score";
const BEST: &str = "best.safetensors";

impl CheckpointKeeper {
    /// Keeps the last `keep` checkpoints (at least one) in a folder, which is made if need be, and
    /// the one with the lowest score. What is there already counts.
    ///
    /// # Errors
    /// When the folder cannot be made or read, or its best checkpoint is damaged.
    pub fn new(dir: impl AsRef<Path>, keep: usize) -> Result<Self> {
        let dir = dir.as_ref().to_owned();
        std::fs::create_dir_all(&dir).map_err(|e| Error::io(&dir, e))?;
        let mut keeper = CheckpointKeeper { dir, keep: keep.max(1), higher: false, best: None };
        if let Some(best) = keeper.best() {
            let bytes = std::fs::read(&best).map_err(|e| Error::io(&best, e))?;
            let (_, metadata) = deserialize_tensors(&bytes, &best.display().to_string())?;
            keeper.best = metadata.get(SCORE_KEY).and_then(|s| s.parse().ok());
        }
        keeper.sweep()?;
        Ok(keeper)
    }

    /// The highest score is the best one.
    pub fn higher_is_better(mut self) -> Self {
        self.higher = true;
        self
    }

    /// Writes a checkpoint, and says where; old ones beyond the number to keep go. With a score
    /// that is better than all before (NaN never is) it becomes the best one as well.
    ///
    /// # Errors
    /// When a file cannot be written or removed.
    pub fn save(
        &mut self,
        state: &mut RunState,
        progress: &RunProgress,
        score: Option<f64>,
    ) -> Result<PathBuf> {
        let scored = score.map(|s| (SCORE_KEY.to_owned(), s.to_string()));
        let bytes = state.bytes(progress, scored.into_iter().collect::<Metadata>())?;
        let path = self.dir.join(format!("step-{:012}.safetensors", progress.step));
        write_atomic(&path, &bytes)?;
        if let Some(score) = score {
            let better = |best: f64| if self.higher { score > best } else { score < best };
            if self.best.map_or(!score.is_nan(), better) {
                write_atomic(self.dir.join(BEST), &bytes)?;
                self.best = Some(score);
            }
        }
        let all = self.all()?;
        for old in &all[..all.len().saturating_sub(self.keep)] {
            std::fs::remove_file(old).map_err(|e| Error::io(old, e))?;
        }
        Ok(path)
    }

    /// The checkpoints that are there, oldest first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn all(&self) -> Result<Vec<PathBuf>> {
        let mut found: Vec<(u64, PathBuf)> = Vec::new();
        for path in self.files()? {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
            let step = name.as_deref().and_then(|n| n.strip_prefix("step-"));
            let step = step.and_then(|n| n.strip_suffix(".safetensors")).map(str::parse);
            if let Some(Ok(step)) = step {
                found.push((step, path));
            }
        }
        found.sort();
        Ok(found.into_iter().map(|f| f.1).collect())
    }

    /// The newest checkpoint: where to go on; `None` at the beginning.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn latest(&self) -> Result<Option<PathBuf>> {
        Ok(self.all()?.pop())
    }

    /// The best checkpoint, if one was saved with a score.
    pub fn best(&self) -> Option<PathBuf> {
        Some(self.dir.join(BEST)).filter(|p| p.is_file())
    }

    /// The best score.
    pub fn best_score(&self) -> Option<f64> {
        self.best
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        let io = |e| Error::io(&self.dir, e);
        let entries = std::fs::read_dir(&self.dir).map_err(io)?;
        entries.map(|e| e.map(|e| e.path()).map_err(io)).collect()
    }

    /// Removes what a killed run left half written.
    fn sweep(&self) -> Result<()> {
        for path in self.files()? {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
            let name = name.as_deref().unwrap_or_default();
            let ours = name.starts_with(".step-") || name.starts_with(&format!(".{BEST}"));
            if ours && name.ends_with(".tmp") {
                std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
            }
        }
        Ok(())
    }
}
