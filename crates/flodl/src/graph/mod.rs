//! Models by wiring: [`FlowBuilder`] describes, [`FlowBuilder::build`] checks and compiles into a
//! flat plan, [`Graph`] runs the plan and is a [`crate::Module`] itself, so graphs nest.
//!
//! `builder` collects nodes without judging them; `compile` finds every mistake at once and turns
//! each node into one `plan::Step`; `run` executes the steps over numbered slots. `loops`, `route`
//! and `map` are the nodes that call modules in their own way, `refs` hands named values over,
//! `state` is what outlives a forward, `tree`, `names` and `store` are paths, names and files,
//! `describe` is the graph as plain data.

mod builder;
mod compile;
mod describe;
mod hash;
mod loops;
mod map;
mod names;
mod outline;
mod pieces;
mod plan;
mod refs;
mod route;
mod run;
mod state;
mod store;
mod tree;

pub use builder::FlowBuilder;
pub use describe::{
    EdgeFrom, EdgeInfo, EdgeKind, GraphInfo, NodeInfo, NodeKind, PartInfo, PartRole,
};
pub use loops::{LoopBuilder, LoopEnd};
pub use map::{MapBuilder, MapOver};
pub use pieces::{
    ArgmaxSelector, FixedSelector, LearnedHalt, SigmoidRouter, SoftmaxRouter, StateAdd,
    ThresholdHalt,
};
pub use plan::MergeOp;
pub use run::Graph;
pub use store::ModelSnapshot;
pub use tree::{GraphExt, PathKind};
