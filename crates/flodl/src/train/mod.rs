//! The training loop in one builder, its progress bar, a clean end on Ctrl-C, and whole runs on disk.

mod progress;
mod run;
mod stop;
mod trainer;

pub use progress::Progress;
pub use run::*;
pub use stop::StopFlag;
pub use trainer::{StopReason, TrainReport, Trainer};
