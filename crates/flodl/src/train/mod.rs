//! The training loop in one builder, its progress bar, and a clean end on Ctrl-C.

mod progress;
mod stop;
mod trainer;

pub use progress::Progress;
pub use stop::StopFlag;
pub use trainer::{StopReason, TrainReport, Trainer};
