//! Paths, names, hashes, files, and the graph as data.

use super::*;

fn nested() -> Graph {
    let scan = FlowBuilder::from(linear_of(2)).tag("hidden").through(Tanh).label("scan");
    let encoder = FlowBuilder::from(linear_of(2))
        .tag("secret")
        .internal("secret")
        .through(build(scan))
        .label("encoder");
    build(
        FlowBuilder::from(build(encoder))
            .tag("code")
            .through(BatchNorm::new(2).unwrap())
            .through(linear_of(2))
            .tag("out")
            .label("model"),
    )
}

fn names(named: Vec<(String, Parameter)>) -> Vec<String> {
    named.into_iter().map(|(name, _)| name).collect()
}

#[test]
fn labels_give_dotted_names() {
    let graph = nested();
    let want = [
        "encoder.0.weight",
        "encoder.0.bias",
        "encoder.scan.0.weight",
        "encoder.scan.0.bias",
        "1.weight",
        "1.bias",
        "2.weight",
        "2.bias",
    ];
    assert_eq!(names(graph.named_parameters()), want);
    assert_eq!(names(nested().named_parameters()), want);
    let buffers: Vec<String> = graph.named_buffers().into_iter().map(|b| b.0).collect();
    assert_eq!(buffers, ["1.running_mean", "1.running_var", "1.num_batches_tracked"]);
    // Without labels: the modules in the order of the words, as in a Sequential.
    let plain = build(
        FlowBuilder::from(linear_of(2))
            .also_with(linear_of(2), linear_of(2))
            .split(modules![linear_of(2), ReLU])
            .merge(MergeOp::Add)
            .gate(SoftmaxRouter::new(2, 2).unwrap(), modules![linear_of(2), linear_of(2)])
            .loop_body(linear_of(2))
            .until_cond(LearnedHalt::new(2).unwrap(), 2)
            .through(build(FlowBuilder::from(ReLU).through(linear_of(2)))),
    );
    let weights: Vec<String> =
        names(plain.named_parameters()).into_iter().filter(|n| n.ends_with("weight")).collect();
    assert_eq!(
        weights,
        ["0", "1", "2", "3", "5", "6", "7", "8", "9", "10.1"].map(|n| format!("{n}.weight"))
    );
}

#[test]
fn paths_lead_to_graphs_and_tags() {
    let graph = nested();
    assert!(graph.is_composed() && !graph.subgraph("encoder.scan").unwrap().is_composed());
    assert_eq!(graph.tree_children().into_keys().collect::<Vec<_>>(), ["encoder"]);
    assert_eq!(graph.child_graph("encoder").unwrap().label(), Some("encoder"));
    assert!(graph.child_graph("scan").is_none());
    assert_eq!(graph.validate_path("encoder.scan").unwrap(), PathKind::Subgraph);
    assert_eq!(graph.validate_path("encoder.scan.hidden").unwrap(), PathKind::Tag);
    assert_eq!(graph.validate_path("code").unwrap(), PathKind::Tag);
    assert!(graph.child_graph("encoder").unwrap().internal_tags().contains("secret"));
    assert_eq!(graph.subgraph("encoder").unwrap().validate_path("secret").unwrap(), PathKind::Tag);
    for (path, text) in [
        ("encoder.secret", "path \"encoder.secret\": the tag \"secret\" is internal to its graph"),
        (
            "encoder.none",
            "path \"encoder.none\": \"encoder\" has no \"none\"; its sub-graphs are [\"scan\"], \
             its tags [\"secret\"]",
        ),
        (
            "code.hidden",
            "path \"code.hidden\": the graph has no \"code\"; its sub-graphs are [\"encoder\"], \
             its tags [\"code\", \"out\"]",
        ),
        (
            "",
            "path \"\": the graph has no \"\"; its sub-graphs are [\"encoder\"], its tags \
             [\"code\", \"out\"]",
        ),
    ] {
        assert_eq!(graph.validate_path(path).unwrap_err().to_string(), format!("graph: {text}"));
    }
    assert_eq!(
        graph.subgraph("code").err().unwrap().to_string(),
        "graph: \"code\" is a tag, not a sub-graph"
    );
    assert_eq!(
        graph.tagged_at("encoder").unwrap_err().to_string(),
        "graph: \"encoder\" is a sub-graph, not a tag"
    );
    assert!(graph.tagged_at("encoder.scan.hidden").unwrap().is_none());
    graph.forward(&randn(&[3, 2])).unwrap();
    assert_eq!(graph.tagged_at("encoder.scan.hidden").unwrap().unwrap().shape(), [3, 2]);
    assert_eq!(
        names(graph.named_parameters_at("encoder").unwrap()),
        ["0.weight", "0.bias", "scan.0.weight", "scan.0.bias"]
    );
    assert_eq!(names(graph.named_parameters_at("out").unwrap()), ["2.weight", "2.bias"]);
    assert_eq!(graph.parameters_at("encoder.scan.hidden").unwrap().len(), 2);
    assert!(graph.named_buffers_at("encoder").unwrap().is_empty());
}

#[test]
fn parts_freeze_and_thaw() {
    let graph = nested();
    let mut optimizer = SGD::new(&graph.parameters(), 0.1, 0.0);
    let weights = |graph: &Graph| -> Vec<Vec<f64>> {
        graph.parameters().iter().map(|p| values(&p.variable)).collect()
    };
    graph.freeze("encoder").unwrap();
    assert!(graph.is_frozen("encoder").unwrap() && graph.is_frozen("encoder.scan").unwrap());
    assert!(!graph.is_frozen("out").unwrap());
    let before = weights(&graph);
    let y = graph.forward(&randn(&[3, 2])).unwrap();
    y.mul(&y).unwrap().sum().unwrap().backward().unwrap();
    optimizer.step().unwrap();
    let after = weights(&graph);
    assert_eq!(before[..4], after[..4]);
    assert_ne!(before[6], after[6]);
    graph.thaw("encoder.scan").unwrap();
    assert!(!graph.is_frozen("encoder").unwrap() && !graph.is_frozen("encoder.scan").unwrap());
    graph.freeze("out").unwrap();
    assert!(graph.is_frozen("out").unwrap());
    assert!(graph.freeze("nowhere").is_err() && graph.thaw("nowhere").is_err());
}

#[test]
fn modes_are_set_at_a_path() {
    let (a, b) = (Counter::default(), Counter::default());
    let inner = build(FlowBuilder::from(a.clone()).label("inner"));
    let graph = build(FlowBuilder::from(inner).through(b.clone()).tag("b"));
    graph.set_training_at("inner", false).unwrap();
    assert_eq!((a.training.get(), b.training.get()), (Some(false), None));
    graph.set_training_at("b", true).unwrap();
    assert_eq!((a.training.get(), b.training.get()), (Some(false), Some(true)));
    assert!(graph.set_training_at("c", true).is_err());
}

fn file(name: &str) -> String {
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("graph");
    std::fs::create_dir_all(&dir).unwrap();
    dir.join(name).to_str().unwrap().to_owned()
}

#[test]
fn a_sub_graph_takes_its_own_checkpoint() {
    let (a, b) = (nested(), nested());
    let path = file("encoder.safetensors");
    a.subgraph("encoder").unwrap().save_checkpoint(&path).unwrap();
    let out = values(&b.parameters_at("out").unwrap()[0].variable);
    let report = b.load_subgraph_checkpoint("encoder", &path).unwrap();
    assert_eq!(report.loaded.len(), 4);
    let weights = |g: &Graph| -> Vec<Vec<f64>> {
        g.parameters_at("encoder").unwrap().iter().map(|p| values(&p.variable)).collect()
    };
    assert_eq!(weights(&a), weights(&b));
    assert_eq!(values(&b.parameters_at("out").unwrap()[0].variable), out);
    assert!(b.load_subgraph_checkpoint("out", &path).is_err());
    let wrong = b.load_subgraph_checkpoint("encoder.scan", &path).unwrap_err().to_string();
    assert!(wrong.contains("another structure"), "{wrong}");
}

#[test]
fn a_snapshot_is_a_copy() {
    let graph = nested();
    let before: Vec<Vec<f64>> = graph.parameters().iter().map(|p| values(&p.variable)).collect();
    let snapshot = graph.snapshot_cpu().unwrap();
    let mut optimizer = SGD::new(&graph.parameters(), 0.5, 0.0);
    let y = graph.forward(&randn(&[3, 2])).unwrap();
    y.sum().unwrap().backward().unwrap();
    optimizer.step().unwrap();
    for (i, p) in graph.parameters().iter().enumerate() {
        assert_eq!(snapshot.tensors()[i].1.to_f64_vec().unwrap(), before[i]);
        assert!(!snapshot.tensors()[i].1.shares_storage(&p.variable.data()));
    }
    // Written from another thread, read as a checkpoint.
    let path = file("snapshot.safetensors");
    let to = path.clone();
    std::thread::spawn(move || snapshot.save_file(&to).unwrap()).join().unwrap();
    graph.load_checkpoint(&path).unwrap();
    let now: Vec<Vec<f64>> = graph.parameters().iter().map(|p| values(&p.variable)).collect();
    assert_eq!(now, before);
    let mut bytes = Vec::new();
    graph.snapshot_cpu().unwrap().save(&mut bytes).unwrap();
    assert!(!bytes.is_empty());
}

#[test]
fn the_source_travels_with_checkpoints() {
    let graph = build(FlowBuilder::from(linear_of(2)));
    assert!(graph.source_config().is_none());
    graph.set_source_config("width = 2".into());
    assert_eq!(graph.source_config().as_deref(), Some("width = 2"));
    let path = file("config.safetensors");
    graph.save_checkpoint(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let (_, metadata) = deserialize_tensors(&bytes, &path).unwrap();
    assert_eq!(metadata["flodl.source_config"], "width = 2");
    graph.clear_source_config();
    assert!(graph.source_config().is_none());
    graph.load_checkpoint(&path).unwrap();
}

#[test]
fn the_hash_tells_wirings_apart() {
    let l = || Linear::new(2, 2).unwrap();
    let start = || FlowBuilder::from(l()).tag("a");
    let shared = l();
    let flows = vec![
        FlowBuilder::from(l()).through(l()),
        FlowBuilder::from(shared.clone()).through(shared),
        FlowBuilder::from(l()).also(l()),
        FlowBuilder::from(l()).fork(l()).tag("f"),
        FlowBuilder::new().also_with(l(), l()),
        FlowBuilder::new().split(modules![l(), l()]).merge(MergeOp::Add),
        FlowBuilder::new().split(modules![l(), l()]).merge(MergeOp::Mean),
        FlowBuilder::new().split(modules![l(), l()]).merge(MergeOp::Cat(0)),
        FlowBuilder::new().split(modules![l(), l()]).merge(MergeOp::Cat(1)),
        FlowBuilder::new().loop_body(l()).for_n(2),
        FlowBuilder::new().loop_body(l()).for_n(3),
        FlowBuilder::new().loop_body(l()).while_cond(ThresholdHalt::new(1.0), 3),
        FlowBuilder::new().loop_body(l()).until_cond(ThresholdHalt::new(1.0), 3),
        FlowBuilder::new().loop_body(l()).until_cond(ThresholdHalt::new(2.0), 3),
        FlowBuilder::new().switch(FixedSelector::new(0), modules![l(), l()]),
        FlowBuilder::new().switch(FixedSelector::new(1), modules![l(), l()]),
        FlowBuilder::new().gate(SoftmaxRouter::new(2, 2).unwrap(), modules![l(), l()]),
        FlowBuilder::new().gate(SigmoidRouter::new(2, 2).unwrap(), modules![l(), l()]),
        FlowBuilder::new().map(l()).each(),
        FlowBuilder::new().map(l()).batched().each(),
        FlowBuilder::new().map(l()).slices(2),
        FlowBuilder::new().map(l()).slices(1),
        start().through(StateAdd).using(&["a"]),
        start().through(StateAdd).using(&["b"]).tag("b"),
        start().through(StateAdd),
        start().tag("b").through(Sum::default()).using(&["a"]),
        start().tag("b").through(Sum::default()).using(&["b"]),
        start().input(&["m"]).through(ReLU),
    ];
    let hashes: Vec<String> =
        flows.into_iter().map(|f| build(f).structural_hash().to_owned()).collect();
    let distinct: std::collections::HashSet<&String> = hashes.iter().collect();
    assert_eq!(distinct.len(), hashes.len());
    let again = build(FlowBuilder::from(l()).through(l()));
    assert_eq!(again.structural_hash(), hashes[0]);
    assert_eq!((again.short_hash().len(), again.structural_hash().len()), (8, 16));
    // Names and labels change nothing of the results.
    let named = build(FlowBuilder::from(l()).tag("x").through(l()).label("y"));
    assert_eq!(named.structural_hash(), hashes[0]);
}

#[test]
fn a_graph_as_data() {
    let graph = build(
        FlowBuilder::new()
            .input(&["extra"])
            .through(nested())
            .tag("a")
            .fork(linear_of(2))
            .tag("side")
            .split(modules![ReLU, Tanh])
            .merge(MergeOp::Add)
            .through(Sum::default())
            .using(&["side", "extra", "end"])
            .loop_body(linear_of(2))
            .until_cond(ThresholdHalt::new(1.0), 4)
            .tag("end"),
    );
    let info = graph.describe();
    let ids: Vec<&str> = info.nodes.iter().map(|n| n.id.as_str()).collect();
    assert_eq!(ids, ["model", "1", "2", "3", "merge_4", "4", "5"]);
    let inner = info.nodes[0].parts[0].graph.as_ref().unwrap();
    assert_eq!(inner.label.as_deref(), Some("model"));
    assert_eq!(inner.nodes[2].parts[0].parameters, 6);
    assert_eq!(info.nodes[6].parts[1].role, PartRole::Condition);
    assert_eq!(info.nodes[6].kind, NodeKind::Loop(LoopEnd::Until(4)));
    assert_eq!(info.nodes[1].tags, ["side"]);
    assert_eq!(
        (info.inputs.as_slice(), info.output),
        (&["extra".to_owned()][..], EdgeFrom::Node(6))
    );
    let to_sum: Vec<(EdgeFrom, EdgeKind)> =
        info.edges.iter().filter(|e| e.to == 5).map(|e| (e.from, e.kind.clone())).collect();
    assert_eq!(
        to_sum,
        [
            (EdgeFrom::Node(4), EdgeKind::Stream),
            (EdgeFrom::Node(1), EdgeKind::Reference("side".into())),
            (EdgeFrom::Input(1), EdgeKind::Reference("extra".into())),
            (EdgeFrom::Node(6), EdgeKind::Carried("end".into())),
        ]
    );
    let merged: Vec<EdgeFrom> = info.edges.iter().filter(|e| e.to == 4).map(|e| e.from).collect();
    assert_eq!(merged, [EdgeFrom::Node(2), EdgeFrom::Node(3)]);
}

#[test]
fn nodes_are_timed_when_asked() {
    let graph = build(FlowBuilder::from(linear_of(2)).through(ReLU));
    let x = randn(&[1, 2]);
    graph.forward(&x).unwrap();
    assert!(graph.node_times().is_empty() && !graph.profiling());
    graph.enable_profiling();
    graph.forward(&x).unwrap();
    assert_eq!(graph.node_times().len(), 2);
    assert!(graph.profiling() && graph.describe().nodes[1].time.is_some());
    graph.disable_profiling();
    graph.forward(&x).unwrap();
    assert!(!graph.profiling());
}
