//! Models by wiring: [`FlowBuilder`] describes, [`FlowBuilder::build`] checks and compiles into a
//! flat plan, [`Graph`] runs the plan and is a [`crate::Module`] itself, so graphs nest.
//!
//! `builder` collects nodes without judging them; `compile` finds every mistake at once and turns
//! each node into one `plan::Step`; `run` executes the steps over numbered slots. `loops`, `route`
//! and `map` are the nodes that call modules in their own way, `refs` hands named values over,
//! `state` is what outlives a forward, `tree`, `names` and `store` are paths, names and files,
//! `epochs` brings the batches, `watch` sees shapes and work, `describe` is the graph as plain data, `observe` and `timing` keep
//! what was seen of it under the names that `lookup` makes out, which `export`, `picture` and
//! `summary` write down.

mod builder;
mod compile;
mod describe;
mod epochs;
mod export;
mod fuse;
mod hash;
mod lookup;
mod loops;
mod map;
mod observe;
mod outline;
mod picture;
mod pieces;
mod plan;
mod refs;
mod route;
mod run;
mod state;
mod store;
mod summary;
mod timing;
mod tree;
mod trend;
mod watch;

pub use builder::FlowBuilder;
pub use describe::{
    EdgeFrom, EdgeInfo, EdgeKind, GraphInfo, NodeInfo, NodeKind, PartInfo, PartRole,
};
pub use epochs::{ActiveGraphEpochIterator, GraphEpochIterator};
pub use export::format_duration;
pub(crate) use hash::module_hash;
pub use loops::{LoopBuilder, LoopEnd};
pub use map::{MapBuilder, MapOver};
pub use observe::Reduce;
pub use pieces::{
    ArgmaxSelector, FixedSelector, LearnedHalt, SigmoidRouter, SoftmaxRouter, StateAdd,
    ThresholdHalt,
};
pub use plan::MergeOp;
pub use run::Graph;
pub use store::ModelSnapshot;
pub use timing::{LevelTiming, NodeTiming, Profile};
pub use tree::{GraphExt, PathKind};
pub use trend::{Trend, TrendGroup};
