//! Models by wiring: [`FlowBuilder`] describes, [`FlowBuilder::build`] checks and compiles into a
//! flat plan, [`Graph`] runs the plan and is a [`crate::Module`] itself, so graphs nest.

mod builder;
mod plan;
mod run;

pub use builder::FlowBuilder;
pub use run::Graph;
