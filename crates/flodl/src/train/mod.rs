//! The training loop in one builder, its progress bar, a clean end on Ctrl-C, and whole runs on disk.

mod parts;
mod progress;
mod run;
mod saved;
mod source;
mod stop;
mod trainer;

pub use parts::*;
pub use progress::Progress;
pub use saved::*;
pub use source::BatchSource;
pub use stop::StopFlag;
pub use trainer::{StopReason, TrainReport, Trainer};
