//! The training loop in one builder, its progress bar, and a clean end on Ctrl-C.

mod progress;
mod run;
mod source;
mod stop;
mod trainer;

pub use progress::Progress;
pub use source::BatchSource;
pub use stop::StopFlag;
pub use trainer::{StopReason, TrainReport, Trainer};
