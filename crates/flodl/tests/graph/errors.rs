//! Every mistake of a description, with its whole message.

use super::*;

#[test]
fn every_mistake_has_a_message_that_names_the_place() {
    let start = || FlowBuilder::from(Times(1.0));
    let labelled = |l: &str| build(FlowBuilder::from(ReLU).label(l));
    let cases: Vec<(FlowBuilder, &str)> = vec![
        (FlowBuilder::new(), "nothing to build: the graph has no modules"),
        (
            start().tag("a").through(ReLU).tag("a"),
            "tag \"a\" is given twice: to node 0 (Times) and to node 1 (ReLU)",
        ),
        (
            start().input(&["a"]).tag("a"),
            "tag \"a\" is given twice: to an input and to node 0 (Times)",
        ),
        (
            start().tag("a.b"),
            "tag \"a.b\" of node 0 (Times): a name must not be empty or hold a dot, which \
             separates the parts of a path",
        ),
        (
            start().tag("a").through(Sum::default()).using(&["b"]),
            "using(\"b\") of node 1 (Sum): no such tag; there are \"a\"",
        ),
        (
            start().through(Sum::default()).using(&["b"]),
            "using(\"b\") of node 1 (Sum): no such tag; there are none",
        ),
        (
            start().tag("a").through(ReLU).using(&["a"]),
            "using(\"a\") of node 1 (ReLU): ReLU takes no named inputs (as_named_input)",
        ),
        (
            start().tag("a").through(Sum::default()).using(&["a", "a"]),
            "using(\"a\") of node 1 (Sum): named twice",
        ),
        (
            FlowBuilder::new().tag("a").using(&["a"]).through(ReLU),
            "using(\"a\") stands before any module",
        ),
        (
            start().tag("a").split(modules![ReLU, ReLU]).using(&["a"]).merge(MergeOp::Add),
            "using(\"a\") stands after a split: a graph with `using` inside may be a branch",
        ),
        (
            start().tag("a").split(modules![ReLU]).merge(MergeOp::Add).using(&["a"]),
            "using(\"a\") of merge: it has no module",
        ),
        (
            start().tag("a").gate(Times(1.0), modules![ReLU]).using(&["a"]),
            "using(\"a\") of node 1 (gate Times): Times takes no named inputs (as_named_input)",
        ),
        (
            start().tag("a").loop_body(ReLU).for_n(2).using(&["a"]),
            "using(\"a\") of node 1 (loop ReLU): ReLU takes no named inputs (as_named_input)",
        ),
        (start().merge(MergeOp::Add), "merge after node 0 (Times) has no split before it"),
        (
            start().split(modules![ReLU, Tanh]),
            "split with the branches from node 1 (split ReLU) on is never merged",
        ),
        (
            start().split(modules![ReLU, Tanh]).through(GELU),
            "split with the branches from node 1 (split ReLU) on is not merged before through: \
             through needs one stream",
        ),
        (
            start().split(modules![ReLU]).split(modules![ReLU]).merge(MergeOp::Add),
            "split with the branches from node 1 (split ReLU) on is not merged before split: \
             split needs one stream",
        ),
        (start().split(modules![]), "split after node 0 (Times) has no branches"),
        (
            start().split(modules![ReLU]).tag("a").merge(MergeOp::Add),
            "tag(\"a\") stands in an open split of several values: use tag_group, or merge first",
        ),
        (
            start().tag_group("g"),
            "tag_group(\"g\") does not stand right after a split: use tag for one value",
        ),
        (
            start().split(modules![ReLU]).tag_group("g").tag_group("g").merge(MergeOp::Add),
            "tag_group(\"g\") appears twice",
        ),
        (
            start().tag(""),
            "tag \"\" of node 0 (Times): a name must not be empty or hold a dot, which separates \
             the parts of a path",
        ),
        (
            start().input(&["a.b"]),
            "tag \"a.b\" of an input: a name must not be empty or hold a dot, which separates the \
             parts of a path",
        ),
        (
            start().split(modules![ReLU]).tag_group("g.h").merge(MergeOp::Add),
            "tag \"g.h_0\" of node 1 (split ReLU): a name must not be empty or hold a dot, which \
             separates the parts of a path",
        ),
        (
            start().fork(ReLU).through(Tanh),
            "node 1 (fork ReLU) is a fork without a tag: nothing can reach it",
        ),
        (start().gate(Times(1.0), modules![]), "node 1 (gate Times) has no experts"),
        (
            start().switch(FixedSelector::new(0), modules![]),
            "node 1 (switch FixedSelector) has no branches",
        ),
        (
            start().gate(SoftmaxRouter::new(2, 3).unwrap(), modules![ReLU, ReLU]),
            "node 1 (gate SoftmaxRouter) weighs 3 experts, there are 2",
        ),
        (
            start().gate(SigmoidRouter::new(2, 1).unwrap(), modules![ReLU, ReLU]),
            "node 1 (gate SigmoidRouter) weighs 1 experts, there are 2",
        ),
        (
            start().switch(ArgmaxSelector::new(2, 3).unwrap(), modules![ReLU, ReLU]),
            "node 1 (switch ArgmaxSelector) chooses from 3 branches, there are 2",
        ),
        (
            start().switch(FixedSelector::new(2), modules![ReLU, ReLU]),
            "node 1 (switch FixedSelector) chooses branch 2, there are branches 0 to 1",
        ),
        (
            start().loop_body(ReLU).until_cond(ThresholdHalt::new(0.0), 0),
            "node 1 (loop ReLU): until_cond runs at least once, so max_iter must be at least 1",
        ),
        (start().map(ReLU).slices(0), "node 1 (map ReLU): slices(0) must be at least 1"),
        (
            start().map(ReLU).over("a").tag("a"),
            "over(\"a\") of node 1 (map ReLU): no such tag before it; there are none",
        ),
        (start().tag("a").internal("b"), "internal(\"b\") names no tag; there are \"a\""),
        (
            start().label("7"),
            "\"7\": label \"7\" must not be empty, a number, or hold a dot: it is a part of paths",
        ),
        (
            start().label(""),
            "\"\": label \"\" must not be empty, a number, or hold a dot: it is a part of paths",
        ),
        (
            start().label("a.b"),
            "\"a.b\": label \"a.b\" must not be empty, a number, or hold a dot: it is a part of \
             paths",
        ),
        (
            FlowBuilder::from(labelled("x")).through(labelled("x")),
            "node 1 and node 0 are different graphs with the label \"x\"",
        ),
        (
            start().through(build(FlowBuilder::from(ReLU).input(&["m"]))),
            "node 1 (Graph): module 1 is a graph with 1 more inputs; hand them over with using",
        ),
        (
            start().tag("a").through(build(FlowBuilder::from(ReLU).input(&["m"]))).using(&["a"]),
            "node 1 (Graph): its input \"m\" is not among those of using",
        ),
    ];
    for (flow, text) in cases {
        assert_eq!(error(flow), format!("graph: {text}"));
    }
}

#[test]
fn all_mistakes_come_at_once() {
    let flow = FlowBuilder::from(ReLU)
        .label("model")
        .merge(MergeOp::Add)
        .through(Sum::default())
        .using(&["nowhere"])
        .fork(Tanh)
        .gate(Times(1.0), modules![]);
    assert_eq!(
        error(flow),
        "graph: \"model\": 4 mistakes:\n\
         - merge after node 0 (ReLU) has no split before it\n\
         - using(\"nowhere\") of node 1 (Sum): no such tag; there are none\n\
         - node 2 (fork Tanh) is a fork without a tag: nothing can reach it\n\
         - node 3 (gate Times) has no experts"
    );
}

#[test]
fn a_mistake_brings_no_others_with_it() {
    let start = || FlowBuilder::from(Times(1.0));
    let open = || start().split(modules![ReLU, Tanh]);
    let refused = |name: &str| {
        format!(
            "tag(\"{name}\") stands in an open split of several values: use tag_group, or merge \
             first"
        )
    };
    let empty = "split after node 0 (Times) has no branches";
    let cases = vec![
        (open().tag("a").merge(MergeOp::Add).through(Sum::default()).using(&["a"]), refused("a")),
        (open().tag("a").merge(MergeOp::Add).map(ReLU).over("a"), refused("a")),
        (open().tag("a").merge(MergeOp::Add).internal("a"), refused("a")),
        (start().split(modules![]).merge(MergeOp::Add).through(ReLU), empty.into()),
        (start().split(modules![]).through(ReLU), empty.into()),
        (start().split(modules![]), empty.into()),
        (
            start().split(modules![]).tag_group("g").merge(MergeOp::Mean).through(Sum::default()),
            empty.into(),
        ),
        (
            start()
                .split(modules![])
                .tag_group("g")
                .merge(MergeOp::Mean)
                .through(Sum::default())
                .using(&["g_0", "g_11"]),
            empty.into(),
        ),
        (
            start().tag_group("g").through(Sum::default()).using(&["g_0"]),
            "tag_group(\"g\") does not stand right after a split: use tag for one value".into(),
        ),
        (
            open()
                .tag_group("g")
                .merge(MergeOp::Add)
                .split(modules![ReLU, Tanh, GELU])
                .tag_group("g")
                .merge(MergeOp::Add)
                .through(Sum::default())
                .using(&["g_2"]),
            "tag_group(\"g\") appears twice".into(),
        ),
        (
            start().tag("a").merge(MergeOp::Add).tag("b").through(Sum::default()).using(&["b"]),
            "merge after node 0 (Times) has no split before it".into(),
        ),
    ];
    for (flow, text) in cases {
        assert_eq!(error(flow), format!("graph: {text}"));
    }
    // What was not refused is still missed.
    let flow = open().tag("a").merge(MergeOp::Add).through(Sum::default()).using(&["a_0", "b"]);
    let text = error(flow);
    assert!(text.contains("3 mistakes") && text.contains("using(\"a_0\")"), "{text}");
}

/// One of each kind, in one description.
#[test]
fn every_kind_of_mistake_at_once() {
    let labelled = || build(FlowBuilder::from(ReLU).label("twin"));
    let needy = || build(FlowBuilder::from(ReLU).input(&["m"]));
    let flow = FlowBuilder::new()
        .using(&["early"])
        .label("a.b")
        .through(Times(1.0))
        .tag("x")
        .tag("x")
        .tag("d.t")
        .internal("nobody")
        .merge(MergeOp::Add)
        .tag_group("alone")
        .through(Sum::default())
        .using(&["nowhere"])
        .through(Sum::default())
        .using(&["x", "x"])
        .through(ReLU)
        .using(&["x"])
        .through(needy())
        .through(needy())
        .using(&["x"])
        .split(modules![])
        .merge(MergeOp::Add)
        .split(modules![ReLU, Tanh])
        .tag("refused")
        .using(&["x"])
        .tag_group("g")
        .tag_group("g")
        .fork(GELU)
        .gate(Times(1.0), modules![])
        .gate(SoftmaxRouter::new(2, 3).unwrap(), modules![ReLU])
        .switch(FixedSelector::new(0), modules![])
        .switch(ArgmaxSelector::new(2, 3).unwrap(), modules![ReLU])
        .switch(FixedSelector::new(4), modules![ReLU])
        .loop_body(ReLU)
        .until_cond(ThresholdHalt::new(0.0), 0)
        .map(ReLU)
        .slices(0)
        .map(ReLU)
        .over("later")
        .through(labelled())
        .through(labelled())
        .split(modules![ReLU]);
    let text = error(flow);
    let lines: Vec<&str> = text.lines().map(|l| l.trim_start_matches("- ")).collect();
    let want = [
        "graph: \"a.b\": 28 mistakes:",
        "using(\"early\") stands before any module",
        "merge after node 0 (Times) has no split before it",
        "tag_group(\"alone\") does not stand right after a split: use tag for one value",
        "split after node 5 (Graph) has no branches",
        "tag(\"refused\") stands in an open split of several values: use tag_group, or merge first",
        "using(\"x\") stands after a split: a graph with `using` inside may be a branch",
        "tag_group(\"g\") appears twice",
        "split with the branches from node 6 (split ReLU) on is not merged before fork: fork needs one stream",
        "split with the branches from node 23 (split ReLU) on is never merged",
        "tag \"x\" is given twice: to node 0 (Times) and to node 0 (Times)",
        "tag \"d.t\" of node 0 (Times): a name must not be empty or hold a dot, which separates the parts of a path",
        "internal(\"nobody\") names no tag; there are \"d.t\", \"g_0\", \"g_1\", \"x\"",
        "label \"a.b\" must not be empty, a number, or hold a dot: it is a part of paths",
        "node 22 and node 21 are different graphs with the label \"twin\"",
        "using(\"nowhere\") of node 1 (Sum): no such tag; there are \"d.t\", \"g_0\", \"g_1\", \"x\"",
        "using(\"x\") of node 2 (Sum): named twice",
        "using(\"x\") of node 3 (ReLU): ReLU takes no named inputs (as_named_input)",
        "node 4 (Graph): module 4 is a graph with 1 more inputs; hand them over with using",
        "node 5 (Graph): its input \"m\" is not among those of using",
        "node 8 (fork GELU) is a fork without a tag: nothing can reach it",
        "node 9 (gate Times) has no experts",
        "node 10 (gate SoftmaxRouter) weighs 3 experts, there are 1",
        "node 12 (switch FixedSelector) has no branches",
        "node 13 (switch ArgmaxSelector) chooses from 3 branches, there are 1",
        "node 15 (switch FixedSelector) chooses branch 4, there are branches 0 to 0",
        "node 17 (loop ReLU): until_cond runs at least once, so max_iter must be at least 1",
        "node 19 (map ReLU): slices(0) must be at least 1",
        "over(\"later\") of node 20 (map ReLU): no such tag before it; there are \"d.t\", \"g_0\", \"g_1\", \"x\"",
    ];
    assert_eq!(lines, want);
}

#[test]
fn conditions_must_say_one_number() {
    let graph = build(FlowBuilder::new().loop_body(ReLU).while_cond(Times(1.0), 3));
    assert_eq!(
        graph.forward(&var(&[1.0, 2.0], &[2])).unwrap_err().to_string(),
        "node 0 (loop ReLU): graph: the loop's condition Times must return one number, it returned shape [2]"
    );
}

#[test]
fn one_graph_may_stand_in_two_places() {
    let shared = Rc::new(build(FlowBuilder::from(linear_of(2)).label("cell")));
    let graph = build(FlowBuilder::from(shared.clone()).through(shared));
    let names: Vec<String> = graph.named_parameters().into_iter().map(|p| p.0).collect();
    assert_eq!(names, ["cell.0.weight", "cell.0.bias"]);
}
