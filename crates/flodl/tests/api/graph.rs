use super::*;

pub use flodl::{
    ActiveGraphEpochIterator, ArgmaxSelector, FixedSelector, FlowBuilder, Graph,
    GraphEpochIterator, GraphExt, LearnedHalt, LevelTiming, LoopBuilder, MapBuilder, MergeOp,
    ModelSnapshot, NodeTiming, PathKind, Profile, Reduce, Reshape, SigmoidRouter, SoftmaxRouter,
    StateAdd, ThresholdHalt, Trend, TrendGroup,
};

free! {
    fn format_duration(secs: f64) -> String;
}

methods! { flow_builder_: FlowBuilder;
    fn new() -> FlowBuilder;
    fn from(module: impl Module + 'static) -> FlowBuilder;
    fn label(self, name: &str) -> FlowBuilder;
    fn internal(self, tag: &str) -> FlowBuilder;
    fn verbose(self, enabled: bool) -> FlowBuilder;
    fn through(self, module: impl Module + 'static) -> FlowBuilder;
    fn fork(self, module: impl Module + 'static) -> FlowBuilder;
    fn also(self, module: impl Module + 'static) -> FlowBuilder;
    fn also_with(self, skip: impl Module + 'static, main: impl Module + 'static) -> FlowBuilder;
    fn tag(self, name: &str) -> FlowBuilder;
    fn tag_group(self, name: &str) -> FlowBuilder;
    fn input(self, names: &[&str]) -> FlowBuilder;
    fn using(self, refs: &[&str]) -> FlowBuilder;
    fn split(self, modules: Vec<Box<dyn Module>>) -> FlowBuilder;
    fn merge(self, op: MergeOp) -> FlowBuilder;
    fn loop_body(self, body: impl Module + 'static) -> LoopBuilder;
    fn switch(self, router: impl Module + 'static, branches: Vec<Box<dyn Module>>) -> FlowBuilder;
    fn gate(self, router: impl Module + 'static, experts: Vec<Box<dyn Module>>) -> FlowBuilder;
    fn map(self, body: impl Module + 'static) -> MapBuilder;
    fn build(self) -> Result<Graph>;
}

methods! { graph_: Graph;
    fn reset_state(&self);
    fn detach_state(&self);
    fn has_state(&self) -> bool;
    fn end_step(&self);
    fn end_sequence(&self);
    fn end_epoch(&self);
    fn step_count(&self) -> usize;
    fn epoch_count(&self) -> usize;
    fn tag_group(&self, name: &str) -> Option<&[String]>;
    fn forward_multi(&self, inputs: &[Variable]) -> Result<Variable>;
    fn set_device(&self, device: Device);
    fn named_parameters(&self) -> Vec<(String, Parameter)>;
    fn named_buffers(&self) -> Vec<(String, Buffer)>;
    fn label(&self) -> Option<&str>;
    fn structural_hash(&self) -> &str;
    fn short_hash(&self) -> &str;
    fn tree_children(&self) -> HashMap<&str, &Graph>;
    fn child_graph(&self, label: &str) -> Option<&Graph>;
    fn subgraph(&self, path: &str) -> Result<&Graph>;
    fn is_composed(&self) -> bool;
    fn internal_tags(&self) -> &HashSet<String>;
    fn validate_path(&self, path: &str) -> Result<PathKind>;
    fn parameters_at(&self, path: &str) -> Result<Vec<Parameter>>;
    fn named_parameters_at(&self, path: &str) -> Result<Vec<(String, Parameter)>>;
    fn named_buffers_at(&self, path: &str) -> Result<Vec<(String, Buffer)>>;
    fn freeze(&self, path: &str) -> Result<()>;
    fn thaw(&self, path: &str) -> Result<()>;
    fn is_frozen(&self, path: &str) -> Result<bool>;
    fn load_subgraph_checkpoint(&self, path: &str, file: &str) -> Result<LoadReport>;
    fn set_training_at(&self, path: &str, training: bool) -> Result<()>;
    fn tagged_at(&self, path: &str) -> Result<Option<Variable>>;
    fn collect_at(&self, paths: &[&str]) -> Result<()>;
    fn record_at(&self, path: &str, value: f64) -> Result<()>;
    fn trend_at(&self, path: &str) -> Result<Trend>;
    fn tagged(&self, tag: &str) -> Option<Variable>;
    fn tag_names(&self) -> Vec<String>;
    fn collect(&self, tags: &[&str]) -> Result<()>;
    fn collect_with(&self, tags: &[&str], reduce: Reduce) -> Result<()>;
    fn record(&self, tag: &str, values: &[f64]);
    fn record_scalar(&self, tag: &str, value: f64);
    fn latest_metrics(&self) -> Vec<(String, f64)>;
    fn latest_metrics_local(&self) -> Vec<(String, f64)>;
    fn collected(&self, tag: &str) -> Vec<f64>;
    fn flush(&self, tags: &[&str]);
    fn flush_local(&self, tags: &[&str]);
    fn flush_count(&self) -> usize;
    fn trend(&self, tag: &str) -> Trend;
    fn trends(&self, tags: &[&str]) -> TrendGroup;
    fn reset_trend(&self, tags: &[&str]);
    fn traces(&self, name: &str) -> Option<Vec<Variable>>;
    fn traces_by_node(&self, node_id: &str) -> Option<Vec<Variable>>;
    fn traces_named(&self, name: &str) -> Option<Vec<Variable>>;
    fn last_trace(&self, tag: &str) -> Option<Variable>;
    fn eta(&self, total_epochs: usize) -> f64;
    fn dot(&self) -> String;
    fn dot_with_profile(&self) -> String;
    fn svg(&self, path: Option<&str>) -> Result<Vec<u8>>;
    fn svg_with_profile(&self, path: Option<&str>) -> Result<Vec<u8>>;
    fn plot_html(&self, path: &str, tags: &[&str]) -> std::io::Result<()>;
    fn plot_timings_html(&self, path: &str, tags: &[&str]) -> std::io::Result<()>;
    fn export_trends(&self, path: &str, tags: &[&str]) -> std::io::Result<()>;
    fn export_timing_trends(&self, path: &str, tags: &[&str]) -> std::io::Result<()>;
    fn write_log(&self, path: &str, total_epochs: usize, tags: &[&str]) -> std::io::Result<()>;
    fn enable_profiling(&self);
    fn disable_profiling(&self);
    fn profiling(&self) -> bool;
    fn profile(&self) -> Option<Profile>;
    fn timing(&self, tag: &str) -> Duration;
    fn collect_timings(&self, tags: &[&str]);
    fn flush_timings(&self, tags: &[&str]);
    fn timing_trend(&self, tag: &str) -> Trend;
    fn timing_trends(&self, tags: &[&str]) -> TrendGroup;
    fn reset_timing_trend(&self, tags: &[&str]);
    fn save_checkpoint(&self, path: &str) -> Result<()>;
    fn set_source_config(&self, content: String);
    fn source_config(&self) -> Option<String>;
    fn clear_source_config(&self);
    fn load_checkpoint(&self, path: &str) -> Result<LoadReport>;
    fn snapshot_cpu(&self) -> Result<ModelSnapshot>;
    fn tree_summary(&self) -> String;
    fn param_summary(&self) -> String;
}

methods! { trend_: Trend;
    fn new(values: Vec<f64>) -> Trend;
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool;
    fn values(&self) -> &[f64];
    fn last(&self, n: usize) -> &[f64];
    fn latest(&self) -> f64;
    fn mean(&self) -> f64;
    fn min(&self) -> f64;
    fn max(&self) -> f64;
    fn slope(&self, window: usize) -> f64;
    fn stalled(&self, window: usize, tol: f64) -> bool;
    fn improving(&self, window: usize) -> bool;
    fn converged(&self, window: usize, tol: f64) -> bool;
}

methods! { trend_group_: TrendGroup;
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool;
    fn all_improving(&self, window: usize) -> bool;
    fn any_improving(&self, window: usize) -> bool;
    fn all_stalled(&self, window: usize, tol: f64) -> bool;
    fn any_stalled(&self, window: usize, tol: f64) -> bool;
    fn all_converged(&self, window: usize, tol: f64) -> bool;
    fn any_converged(&self, window: usize, tol: f64) -> bool;
    fn mean_slope(&self, window: usize) -> f64;
    fn slopes(&self, window: usize) -> Vec<f64>;
}

methods! { softmax_router_: SoftmaxRouter;
    fn new(input_dim: i64, num_experts: i64) -> Result<SoftmaxRouter>;
    fn on_device(input_dim: i64, num_experts: i64, device: Device) -> Result<SoftmaxRouter>;
}

methods! { sigmoid_router_: SigmoidRouter;
    fn new(input_dim: i64, num_experts: i64) -> Result<SigmoidRouter>;
    fn on_device(input_dim: i64, num_experts: i64, device: Device) -> Result<SigmoidRouter>;
}

methods! { fixed_selector_: FixedSelector;
    fn new(index: usize) -> FixedSelector;
}

methods! { argmax_selector_: ArgmaxSelector;
    fn new(input_dim: i64, num_branches: i64) -> Result<ArgmaxSelector>;
    fn on_device(input_dim: i64, num_branches: i64, device: Device) -> Result<ArgmaxSelector>;
}

methods! { threshold_halt_: ThresholdHalt;
    fn new(threshold: f32) -> ThresholdHalt;
}

methods! { learned_halt_: LearnedHalt;
    fn new(input_dim: i64) -> Result<LearnedHalt>;
    fn on_device(input_dim: i64, device: Device) -> Result<LearnedHalt>;
}

methods! { loop_builder_: LoopBuilder;
    fn for_n(self, n: usize) -> FlowBuilder;
    fn while_cond(self, cond: impl Module + 'static, max_iter: usize) -> FlowBuilder;
    fn until_cond(self, cond: impl Module + 'static, max_iter: usize) -> FlowBuilder;
}

methods! { map_builder_: MapBuilder;
    fn batched(self) -> MapBuilder;
    fn each(self) -> FlowBuilder;
    fn over(self, tag: &str) -> FlowBuilder;
    fn slices(self, n: i64) -> FlowBuilder;
}

methods! { reshape_: Reshape;
    fn new(shape: &[i64]) -> Reshape;
}

methods! { level_timing_: LevelTiming;
    fn parallelism(&self) -> f64;
}

methods! { profile_: Profile;
    fn timing(&self, tag: &str) -> Duration;
}

methods! { model_snapshot_: ModelSnapshot;
    fn save_file(&self, path: &str) -> Result<()>;
}

fn snapshots_go_anywhere<W: Write>(snapshot: &ModelSnapshot, w: &mut W) {
    let _: Result<()> = snapshot.save(w);
}

fn an_epoch_is_activated<'a>(epoch: GraphEpochIterator<'a>) -> ActiveGraphEpochIterator<'a> {
    match epoch {
        GraphEpochIterator::Single(graph, number) => {
            let _: (&'a Graph, usize) = (graph, number);
            GraphEpochIterator::Single(graph, number).activate()
        }
    }
}

#[test]
fn an_epoch_yields_the_batches_of_the_loader() {
    let range = |n: i64| Tensor::arange(0.0, n as f64, 1.0, TensorOptions::default());
    let loader = |names: &[&str]| {
        let x = range(10).unwrap().reshape(&[10, 1]).unwrap();
        let data = TensorDataset::new(vec![x.clone(), x.clone(), x]).unwrap();
        DataLoader::new(data, 4).shuffle(3).names(names)
    };
    let flow = FlowBuilder::from(StateAdd).input(&["more"]).using(&["more"]);
    let graph = flow.build().unwrap();
    let missing = |r: Result<()>| r.unwrap_err().to_string();

    let mut none = graph.epoch(0).activate();
    assert_eq!(none.len(), 1);
    let error = none.next().unwrap().unwrap_err().to_string();
    assert_eq!(error, "graph: epoch: no loader, give one to set_data_loader");
    assert!(none.next().is_none());
    assert_eq!(
        missing(graph.set_data_loader(loader(&["x", "more", "y"]), "image")),
        "graph: set_data_loader: the batches have no \"image\"; there are [\"x\", \"more\", \"y\"]"
    );
    assert_eq!(
        missing(graph.set_data_loader(loader(&["x", "z", "y"]), "x")),
        "graph: set_data_loader: the batches have no \"more\"; there are [\"x\", \"z\", \"y\"]"
    );

    graph.set_data_loader(loader(&["x", "more", "y"]), "x").unwrap();
    let mut expected = loader(&["x", "more", "y"]);
    for number in [0, 1, 0] {
        let epoch = an_epoch_is_activated(graph.epoch(number));
        assert_eq!(epoch.len(), 3);
        let mut theirs = expected.epoch(number).unwrap();
        for batch in epoch {
            let (batch, same) = (batch.unwrap(), theirs.next().unwrap().unwrap());
            let values = batch.get(0).to_f64_vec().unwrap();
            assert_eq!(values, same.get(0).to_f64_vec().unwrap());
            let sum = graph.forward_batch(&batch).unwrap().data().to_f64_vec().unwrap();
            assert_eq!(sum, values.iter().map(|v| 2.0 * v).collect::<Vec<_>>());
        }
        assert!(theirs.next().is_none());
    }
    // `for` begins an epoch by itself, and two may run at once.
    for (a, b) in graph.epoch(2).into_iter().zip(graph.epoch(2)) {
        assert_eq!(
            a.unwrap().get(0).to_f64_vec().unwrap(),
            b.unwrap().get(0).to_f64_vec().unwrap()
        );
    }
}
