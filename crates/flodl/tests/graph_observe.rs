//! Observation of graphs: metrics, trends, timings, and the files they are written to.

use flodl::*;

fn model() -> Graph {
    let inner =
        FlowBuilder::from(Linear::new(3, 3).unwrap()).tag("hidden").label("encoder").build();
    FlowBuilder::from(inner.unwrap())
        .split(modules![ReLU, Tanh])
        .tag_group("head")
        .merge(MergeOp::Add)
        .tag("out")
        .build()
        .unwrap()
}

fn run(model: &Graph, value: f64) {
    let x = Tensor::full(&[2, 3], value, TensorOptions::default()).unwrap();
    model.forward(&Variable::new(x, false)).unwrap();
}

fn fails<T>(result: Result<T>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

#[test]
fn verdicts_want_enough_values() {
    let t = |v: &[f64]| Trend::new(v.to_vec());
    let falling = t(&[5.0, 4.0, 3.0, 2.0]);
    assert_eq!(falling.slope(4), -1.0);
    assert_eq!(falling.slope(0), -1.0);
    assert_eq!(t(&[9.0, 1.0, 4.0, 5.0]).slope(3), 2.0);
    assert!(falling.improving(4) && falling.improving(2) && !falling.stalled(4, 0.5));
    assert!(!t(&[1.0, 2.0]).improving(2));
    assert!(t(&[1.0, 1.0, 1.0]).stalled(3, 1e-9) && t(&[1.0, 1.0, 1.0]).converged(3, 1e-9));
    // It goes up and down: stalled, yet not converged. Variance 1.
    let waves = t(&[1.0, -1.0, -1.0, 1.0]);
    assert!(waves.stalled(4, 1e-9) && !waves.converged(4, 0.9) && waves.converged(4, 1.1));
    for short in [t(&[]), t(&[1.0]), t(&[f64::NAN, 1.0, f64::NAN])] {
        for window in [0, 1, 2, 3] {
            assert!(!short.stalled(window, 1.0), "{short:?} {window}");
            assert!(!short.improving(window) && !short.converged(window, 1.0));
        }
    }
    assert!(!t(&[1.0, 1.0]).stalled(3, 1.0), "two values say nothing of three");
    let none = t(&[]);
    assert!(none.latest().is_nan() && none.mean().is_nan() && none.slope(3).is_nan());
    assert!(none.min().is_nan() && none.max().is_nan() && none.last(3).is_empty());
    assert_eq!((falling.min(), falling.max(), falling.mean()), (2.0, 5.0, 3.5));
    assert_eq!(falling.last(2), [3.0, 2.0]);

    let group = TrendGroup(vec![falling.clone(), t(&[1.0, 1.0, 1.0, 1.0])]);
    assert!(group.any_improving(4) && !group.all_improving(4));
    assert!(group.any_stalled(4, 1e-3) && !group.all_stalled(4, 1e-3));
    assert!(group.any_converged(4, 1e-3) && !group.all_converged(4, 1e-3));
    assert_eq!((group.slopes(4), group.mean_slope(4)), (vec![-1.0, 0.0], -0.5));
    let empty = TrendGroup::default();
    assert!(!empty.all_improving(2) && !empty.all_stalled(2, 1.0) && !empty.all_converged(2, 1.0));
}

#[test]
fn batches_become_epochs() {
    let model = model();
    for epoch in 0..3 {
        for batch in 0..2 {
            model.record_scalar("loss", f64::from(10 * epoch + batch));
        }
        model.record("acc", &[0.0, 0.5, 1.0]);
        assert_eq!(model.collected("acc"), [0.0, 0.5, 1.0]);
        model.flush(&[]).unwrap();
        assert!(model.collected("acc").is_empty());
    }
    assert_eq!(model.trend("loss").values(), [0.5, 10.5, 20.5]);
    assert_eq!(model.trend("acc").values(), [0.5, 0.5, 0.5]);
    assert_eq!(model.flush_count(), 3);
    assert_eq!(model.latest_metrics_local(), [("loss".into(), 20.5), ("acc".into(), 0.5)]);
    model.record_scalar("loss", 1.0);
    model.record_scalar("acc", 1.0);
    model.flush(&["acc"]).unwrap();
    assert_eq!((model.trend("loss").len(), model.trend("acc").len()), (3, 4));
    assert_eq!(model.collected("loss"), [1.0]);
    model.reset_trend(&["acc"]).unwrap();
    assert_eq!((model.trend("loss").len(), model.trend("acc").len()), (3, 0));
    assert_eq!(model.trends(&[]).len(), 2);
    model.flush(&[]).unwrap();
    model.flush(&[]).unwrap();
    assert_eq!(model.trend("loss").len(), 4, "a flush without values adds none");
    assert!(model.trend("typo").is_empty() && !model.trend("typo").stalled(1, 1.0));
    assert_eq!(
        fails(model.trend_at("typo")),
        "graph: no observations of \"typo\"; there are [\"loss\", \"acc\"]"
    );
}

#[test]
fn tags_are_collected_and_unknown_ones_refused() {
    let model = model();
    assert_eq!(
        fails(model.collect(&["out"])),
        "graph: collect: \"out\" has no value before a forward"
    );
    run(&model, 1.0);
    assert_eq!(
        fails(model.collect(&["out", "typo"])),
        "graph: collect: no tag \"typo\"; there are [\"head_0\", \"head_1\", \"out\", \"head\"]"
    );
    assert!(model.collected("out").is_empty(), "nothing is kept when one is unknown");
    let values = model.tagged("out").unwrap().data().to_f64_vec().unwrap();
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
    let of = |reduce| {
        model.collect_with(&["out"], reduce).unwrap();
        *model.collected("out").last().unwrap()
    };
    close(of(Reduce::Mean), values.iter().sum::<f64>() / 6.0);
    close(of(Reduce::Sum), values.iter().sum());
    close(of(Reduce::Max), values.iter().copied().fold(f64::MIN, f64::max));
    close(of(Reduce::Min), values.iter().copied().fold(f64::MAX, f64::min));
    close(of(Reduce::Norm), values.iter().map(|v| v * v).sum::<f64>().sqrt());
    run(&model, f64::NAN);
    assert!(of(Reduce::Max).is_nan() && of(Reduce::Min).is_nan());

    let empty = Tensor::zeros(&[0, 3], TensorOptions::default()).unwrap();
    model.forward(&Variable::new(empty, false)).unwrap();
    assert_eq!(
        fails(model.collect(&["out"])),
        "graph: collect \"out\": graph: nothing to take the Mean of: it is empty"
    );
    model.collect_with(&["out"], Reduce::Sum).unwrap();

    run(&model, 1.0);
    for _ in 0..2 {
        model.collect(&["head"]).unwrap();
        assert_eq!([model.collected("head_0").len(), model.collected("head_1").len()], [1, 1]);
        model.flush(&[]).unwrap();
    }
    assert_eq!(model.trends(&["head"]).len(), 2);
    assert!(model.trends(&["head"]).all_stalled(2, 1e-9));
}

#[test]
fn sub_graphs_keep_their_own() {
    let model = model();
    run(&model, 1.0);
    model.collect_at(&["encoder.hidden", "out"]).unwrap();
    model.record_at("encoder.loss", 4.0).unwrap();
    model.record_scalar("loss", 1.0);
    let encoder = model.child_graph("encoder").unwrap();
    assert_eq!(encoder.collected("loss"), [4.0]);
    model.flush(&["encoder.loss"]).unwrap();
    assert_eq!(model.trend_at("encoder.loss").unwrap().values(), [4.0]);
    assert!(model.trend_at("encoder.hidden").unwrap().is_empty());
    model.flush_local(&[]).unwrap();
    assert!(encoder.trend("hidden").is_empty());
    model.flush(&[]).unwrap();
    assert_eq!(encoder.trend("hidden").len(), 1);
    let names: Vec<String> = model.latest_metrics().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["out", "loss", "encoder.hidden", "encoder.loss"]);
    assert!(fails(model.record_at("decoder.loss", 1.0)).contains("[\"encoder\"]"));
    assert!(fails(model.collect_at(&["encoder.typo"])).contains("[\"hidden\"]"));
    assert!(fails(model.collect_at(&["encoder"])).ends_with("is a sub-graph, not a tag"));
    assert!(fails(model.trend_at("encoder.typo")).contains("[\"hidden\", \"loss\"]"));
}

#[test]
fn times_of_nodes() {
    let model = model();
    run(&model, 1.0);
    assert!(model.profile().is_none());
    assert!(model.timing("out").is_zero());
    model.enable_profiling();
    for _ in 0..2 {
        run(&model, 1.0);
        model.collect_timings(&["out", "head"]).unwrap();
        model.flush_timings(&[]).unwrap();
    }
    let profile = model.profile().unwrap();
    assert_eq!(profile.nodes.iter().map(|n| n.level).collect::<Vec<_>>(), [0, 1, 1, 2]);
    assert_eq!(profile.levels.iter().map(|l| l.num_nodes).collect::<Vec<_>>(), [1, 2, 1]);
    assert_eq!(profile.total, profile.nodes.iter().map(|n| n.duration).sum());
    assert_eq!(profile.timing("head_1"), profile.nodes[2].duration);
    assert_eq!(model.timing("head_1"), profile.nodes[2].duration);
    assert!(profile.timing("typo").is_zero());
    assert!((1.0..=2.0).contains(&profile.levels[1].parallelism()));
    assert_eq!(profile.to_string().lines().count(), 5);
    assert_eq!(model.timing_trend("out").len(), 2);
    assert_eq!(model.timing_trends(&["head"]).len(), 2);
    assert!(model.timing_trend("typo").is_empty());
    model.reset_timing_trend(&["out"]).unwrap();
    assert_eq!(model.timing_trends(&[]).0.iter().map(Trend::len).sum::<usize>(), 4);
    model.disable_profiling();
    assert!(!model.profiling());
}

#[test]
fn eta_goes_by_the_flushes() {
    let model = model();
    assert!(model.eta(10).is_nan());
    model.record_scalar("loss", 1.0);
    std::thread::sleep(std::time::Duration::from_millis(20));
    model.flush(&[]).unwrap();
    let eta = model.eta(3);
    assert!((0.04..4.0).contains(&eta), "{eta}");
    assert_eq!(model.eta(1), 0.0);
    assert_eq!(model.eta(0), 0.0);
}

#[test]
fn files() {
    let dir = std::env::temp_dir().join(format!("flodl-observe-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let model = model();
    model.enable_profiling();
    for epoch in 0..3 {
        run(&model, 1.0);
        model.record_scalar("loss", 1.0 / f64::from(epoch + 1));
        if epoch < 2 {
            model.record_scalar("a,\"b\" <i>", 7.0);
        }
        model.record_at("encoder.norm", 2.0).unwrap();
        model.collect_timings(&["out"]).unwrap();
        model.flush(&[]).unwrap();
        model.flush_timings(&[]).unwrap();
    }
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    model.export_trends(&path("all.csv"), &[]).unwrap();
    let lines = "epoch,loss,\"a,\"\"b\"\" <i>\",encoder.norm\n1,1,7,2\n2,0.5,7,2\n3,0.3333333333333333,,2\n";
    assert_eq!(read("all.csv"), lines);
    model.export_trends(&path("one.csv"), &["loss"]).unwrap();
    assert_eq!(read("one.csv").lines().nth(1), Some("1,1"));
    let error = model.export_trends(&path("no.csv"), &["typo"]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("\"loss\""), "{error}");
    assert!(!dir.join("no.csv").exists());
    assert!(model.export_trends(&path("no/such/dir.csv"), &[]).is_err());
    model.export_timing_trends(&path("t.csv"), &["out"]).unwrap();
    assert_eq!(read("t.csv").lines().count(), 4);
    assert!(model.plot_timings_html(&path("t.html"), &["typo"]).is_err());
    model.plot_timings_html(&path("t.html"), &[]).unwrap();

    model.write_log(&path("log.txt"), 5, &["loss"]).unwrap();
    let log = read("log.txt");
    assert!(log.starts_with("epoch 1/5 ") && log.contains("loss 0.33333\nabout "), "{log}");

    model.plot_html(&path("p.html"), &[]).unwrap();
    let html = read("p.html");
    assert_eq!(html.matches("<svg ").count(), 3);
    assert_eq!(html.matches("<circle ").count(), 8);
    assert!(html.contains("a,&quot;b&quot; &lt;i&gt;") && !html.contains("<i>"));
    assert!(!html.contains("http"), "a page that needs nothing from elsewhere");
    let empty = FlowBuilder::from(ReLU).build().unwrap();
    empty.plot_html(&path("e.html"), &[]).unwrap();
    assert!(read("e.html").contains("Nothing was flushed yet."));
    std::fs::remove_dir_all(&dir).unwrap();
}

/// A group, a path and a mistake for each question that takes names.
#[test]
fn names_are_groups_and_paths_and_no_mistakes() {
    let model = model();
    run(&model, 1.0);
    let known = "[\"loss\", \"head_0\", \"head_1\", \"out\", \"head\"]";
    let inside = "[\"encoder.loss\", \"encoder.hidden\"]";
    for _ in 0..2 {
        model.record_scalar("loss", 1.0);
        model.record_at("encoder.loss", 2.0).unwrap();
        model.collect(&["head"]).unwrap();
        // Nothing is flushed and no epoch is counted by a mistake.
        for name in ["typo", "loss.typo", "encoder", "hidden"] {
            let count = model.flush_count();
            let want = format!("graph: flush: nothing is known of \"{name}\"; there are {known}");
            assert_eq!(fails(model.flush(&["loss", name])), want);
            assert_eq!((model.flush_count(), model.collected("loss").len()), (count, 1));
        }
        let want =
            format!("graph: flush: nothing is known of \"encoder.typo\"; there are {inside}");
        assert_eq!(fails(model.flush(&["encoder.typo"])), want);
        model.flush(&["loss", "head", "encoder.loss"]).unwrap();
        assert!(model.collected("head_1").is_empty() && model.collected("encoder.loss").is_empty());
    }
    assert_eq!((model.flush_count(), model.child_graph("encoder").unwrap().flush_count()), (2, 2));
    assert_eq!(model.trends(&["head"]).0.iter().map(Trend::len).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(model.trends(&["encoder.loss", "loss"]).0[0].values(), [2.0, 2.0]);
    assert_eq!(model.trend("encoder.loss").len(), 2);
    assert!(model.trends(&["encoder.loss"]).all_stalled(2, 1e-9));
    let want = format!("graph: trends: nothing is known of \"typo\"; there are {known}");
    assert_eq!(fails(model.try_trends(&["loss", "typo"])), want);
    assert!(model.trends(&["loss", "typo"]).is_empty());
    assert!(fails(model.flush_local(&["encoder.loss"])).ends_with("is kept by a sub-graph"));
    assert!(fails(model.flush_local(&["typo"])).contains(known));

    assert!(fails(model.reset_trend(&["loss", "typo"])).contains(known));
    assert_eq!(model.trend("loss").len(), 2, "nothing is forgotten when one is unknown");
    model.reset_trend(&["head", "encoder.loss"]).unwrap();
    let lengths = ["head_0", "head_1", "encoder.loss", "loss"].map(|n| model.trend(n).len());
    assert_eq!(lengths, [0, 0, 0, 2]);

    let early = fails(model.collect_timings(&["out"]));
    assert!(
        early.ends_with("\"out\" has no time before a forward under enable_profiling"),
        "{early}"
    );
    model.enable_profiling();
    run(&model, 1.0);
    let unknown = |r: Result<()>| {
        let text = fails(r);
        assert!(text.contains("\"typo\"") && text.contains("\"head\""), "{text}");
    };
    unknown(model.collect_timings(&["out", "typo"]));
    model.collect_timings(&["head"]).unwrap();
    model.child_graph("encoder").unwrap().collect_timings(&[]).unwrap();
    unknown(model.flush_timings(&["head", "typo"]));
    assert!(model.timing_trend("head_0").is_empty());
    model.flush_timings(&["head", "encoder.hidden"]).unwrap();
    assert_eq!(model.timing_trends(&["head", "encoder.hidden"]).len(), 3);
    assert!(model.timing_trends(&["typo"]).is_empty());
    unknown(model.try_timing_trends(&["typo"]).map(|_| ()));
    unknown(model.reset_timing_trend(&["head", "typo"]));
    model.reset_timing_trend(&["head"]).unwrap();
    let lengths = ["head_0", "head_1", "encoder.hidden"].map(|n| model.timing_trend(n).len());
    assert_eq!(lengths, [0, 0, 1]);
}

#[test]
fn groups_and_hidden_tags_of_sub_graphs() {
    let inner = FlowBuilder::from(Linear::new(3, 3).unwrap())
        .tag("secret")
        .internal("secret")
        .split(modules![ReLU, Tanh])
        .tag_group("arm")
        .merge(MergeOp::Add)
        .label("inner")
        .build()
        .unwrap();
    let model = FlowBuilder::from(inner).build().unwrap();
    run(&model, 1.0);
    model.collect_at(&["inner.arm"]).unwrap();
    let inner = model.child_graph("inner").unwrap();
    assert_eq!(inner.collected("arm_1").len(), 1);
    model.flush(&["inner.arm"]).unwrap();
    assert_eq!(model.trends(&["inner.arm"]).len(), 2);
    let error = fails(model.flush(&["inner.secret"]));
    assert_eq!(
        error,
        "graph: flush: nothing is known of \"inner.secret\"; there are [\"inner.arm_0\", \
         \"inner.arm_1\", \"inner.arm\"]"
    );
    assert!(fails(model.collect_at(&["inner.secret"])).contains("internal"));
}

#[test]
fn a_graph_in_two_places_is_flushed_once() {
    let shared = FlowBuilder::from(Linear::new(3, 3).unwrap()).label("cell").build().unwrap();
    let shared = std::rc::Rc::new(shared);
    let model = FlowBuilder::from(shared.clone()).through(shared.clone()).build().unwrap();
    shared.record_scalar("loss", 1.0);
    model.flush(&[]).unwrap();
    assert_eq!((shared.flush_count(), shared.trend("loss").len()), (1, 1));
}

#[test]
fn profiling_reaches_graphs_inside() {
    /// Takes a while.
    struct Slow;
    impl Module for Slow {
        fn forward(&self, input: &Variable) -> Result<Variable> {
            std::thread::sleep(std::time::Duration::from_millis(2));
            Ok(input.clone())
        }
    }
    let inner = FlowBuilder::from(Slow).tag("slow").through(ReLU).label("inner").build().unwrap();
    let model = FlowBuilder::new().loop_body(inner).for_n(4).tag("loop").build().unwrap();
    model.enable_profiling();
    let inner = model.subgraph("inner").unwrap();
    assert!(inner.profiling());
    for _ in 0..2 {
        run(&model, 1.0);
        // The sum of the four iterations, of this forward alone.
        let (inside, outside) = (inner.timing("slow"), model.timing("loop"));
        assert!(inside.as_millis() >= 8 && inside <= outside, "{inside:?} {outside:?}");
        assert_eq!(inner.profile().unwrap().nodes.len(), 2);
    }
    // By itself it starts anew.
    run(inner, 1.0);
    assert!(inner.timing("slow") < model.timing("loop"));
    model.disable_profiling();
    assert!(!inner.profiling());
}
