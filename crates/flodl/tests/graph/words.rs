//! What each word of the builder does.

use super::*;

fn run(flow: FlowBuilder, x: &[f64]) -> Vec<f64> {
    let x = var(x, &[1, x.len() as i64]);
    values(&build(flow).forward(&x).unwrap())
}

#[test]
fn through_also_and_fork() {
    assert_eq!(run(FlowBuilder::from(Times(2.0)).through(Times(3.0)), &[1.0]), [6.0]);
    assert_eq!(run(FlowBuilder::new().also(Times(2.0)), &[1.0]), [3.0]);
    assert_eq!(run(FlowBuilder::new().also_with(Times(2.0), Times(5.0)), &[1.0]), [7.0]);
    let graph = build(
        FlowBuilder::from(Times(2.0)).fork(Times(100.0)).tag("side").through(Times(3.0)).tag("end"),
    );
    assert_eq!(values(&graph.forward(&var(&[1.0], &[1])).unwrap()), [6.0]);
    assert_eq!(values(&graph.tagged("side").unwrap()), [200.0]);
    assert_eq!(values(&graph.tagged("end").unwrap()), [6.0]);
}

#[test]
fn splits_merge_in_every_way() {
    let flow =
        |op| FlowBuilder::new().split(modules![Times(1.0), Times(2.0), Times(6.0)]).merge(op);
    assert_eq!(run(flow(MergeOp::Add), &[1.0, 2.0]), [9.0, 18.0]);
    assert_eq!(run(flow(MergeOp::Mean), &[1.0, 2.0]), [3.0, 6.0]);
    assert_eq!(run(flow(MergeOp::Cat(-1)), &[1.0, 2.0]), [1.0, 2.0, 2.0, 4.0, 6.0, 12.0]);
    let one = FlowBuilder::new().split(modules![Times(3.0)]).merge(MergeOp::Mean);
    assert_eq!(run(one, &[1.0]), [3.0]);
}

#[test]
fn tags_name_values_and_groups_name_branches() {
    let graph = build(
        FlowBuilder::new()
            .tag("start")
            .split(modules![Times(2.0), Times(3.0)])
            .tag_group("head")
            .merge(MergeOp::Add)
            .tag("sum")
            .tag("again"),
    );
    assert_eq!(graph.tag_names(), ["start", "head_0", "head_1", "sum", "again"]);
    assert_eq!(graph.tag_group("head").unwrap(), ["head_0", "head_1"]);
    assert!(graph.tag_group("other").is_none());
    assert!(graph.tagged("sum").is_none(), "nothing before a forward");
    graph.forward(&var(&[1.0], &[1])).unwrap();
    let value = |tag: &str| values(&graph.tagged(tag).unwrap());
    assert_eq!(
        [value("start"), value("head_0"), value("head_1"), value("sum"), value("again")].concat(),
        [1.0, 2.0, 3.0, 5.0, 5.0]
    );
    assert!(graph.tagged("unknown").is_none());
    graph.clear_tagged();
    assert!(graph.tagged("sum").is_none());
}

#[test]
fn references_arrive_as_a_map_of_exactly_the_names() {
    let sum = Sum::default();
    let graph = build(
        FlowBuilder::from(Times(1.0))
            .tag("a")
            .through(Times(2.0))
            .tag("b")
            .through(Times(2.0))
            .through(sum.clone())
            .using(&["b", "a"]),
    );
    assert_eq!(values(&graph.forward(&var(&[1.0], &[1])).unwrap()), [34.0]);
    assert_eq!(sum.seen.take(), ["a", "b"]);
    // The order and the number of `using` do not matter.
    let graph = build(
        FlowBuilder::from(Times(1.0))
            .tag("a")
            .through(Times(2.0))
            .tag("b")
            .also(sum.clone())
            .using(&["a"])
            .using(&["b"]),
    );
    assert_eq!(values(&graph.forward(&var(&[1.0], &[1])).unwrap()), [34.0]);
    let both = FlowBuilder::new().tag("a").also_with(Times(1.0), Sum::default()).using(&["a"]);
    assert_eq!(run(both, &[1.0]), [12.0]);
    let fork = FlowBuilder::new().tag("a").fork(Sum::default()).using(&["a"]).tag("f");
    assert_eq!(run(fork.through(Sum::default()).using(&["f"]), &[1.0]), [111.0]);
}

#[test]
fn more_inputs_come_in_the_order_of_their_declaration() {
    let flow = || {
        FlowBuilder::new()
            .input(&["a", "b"])
            .through(Sum::default())
            .using(&["b"])
            .through(Times(1.0))
    };
    let graph = build(flow());
    let [x, a, b] = [1.0, 2.0, 3.0].map(|v| var(&[v], &[1]));
    let inputs = [x.clone(), a.clone(), b.clone()];
    assert_eq!(values(&graph.forward_multi(&inputs).unwrap()), [31.0]);
    assert_eq!(values(&graph.tagged("a").unwrap()), [2.0]);
    for error in [graph.forward(&x), graph.forward_multi(&inputs[..2])] {
        let error = error.err().unwrap().to_string();
        assert!(error.starts_with("graph: takes 3 inputs (the main one, a, b), got "), "{error}");
    }
    // A parent hands them over by name.
    let parent = build(
        FlowBuilder::new()
            .tag("a")
            .through(Times(5.0))
            .tag("b")
            .through(build(flow()))
            .using(&["a", "b"]),
    );
    assert_eq!(values(&parent.forward(&x).unwrap()), [55.0]);
}

#[test]
fn loops_run_as_often_as_said() {
    let body = Counter::default();
    assert_eq!(run(FlowBuilder::new().loop_body(body.clone()).for_n(4), &[0.0]), [4.0]);
    assert_eq!((body.forwards.get(), body.resets.get()), (4, 1));
    assert_eq!(run(FlowBuilder::new().loop_body(body.clone()).for_n(0), &[7.0]), [7.0]);
    let until = |max, v: f32| {
        let flow = FlowBuilder::new().loop_body(Counter::default());
        run(flow.until_cond(ThresholdHalt::new(v), max), &[0.0, -1.0])[0]
    };
    let asked_before = |max, v: f32| {
        let flow = FlowBuilder::new().loop_body(Counter::default());
        run(flow.while_cond(ThresholdHalt::new(v), max), &[0.0, -1.0])[0]
    };
    // "Exceeds" is strict.
    assert_eq!([until(9, 2.0), until(9, -5.0), until(2, 100.0)], [3.0, 1.0, 2.0]);
    assert_eq!(
        [asked_before(9, 2.0), asked_before(9, -0.5), asked_before(2, 100.0), asked_before(0, 5.0)],
        [3.0, 0.0, 2.0, 0.0]
    );
}

#[test]
fn learned_halts_are_traced_and_can_be_trained() {
    let halt = LearnedHalt::new(3).unwrap();
    let set = |p: &Parameter, v: f64| {
        p.variable.set_data(Tensor::full_like(&p.variable.data(), v).unwrap());
    };
    set(halt.probe().weight(), 1.0);
    set(halt.probe().bias().unwrap(), -10.0);
    let flow = FlowBuilder::new().loop_body(Counter::default()).until_cond(halt.clone(), 50);
    let graph = build(flow);
    let x = Variable::new(Tensor::zeros(&[2, 3], TensorOptions::default()).unwrap(), false);
    // Mean over rows of Σ x - 10: above 0 from 4 on.
    assert_eq!(values(&graph.forward(&x).unwrap()), [4.0; 6]);
    let halts = graph.traces("halt").unwrap();
    assert_eq!(halts.iter().map(|h| h.item().unwrap()).collect::<Vec<_>>(), [-7., -4., -1., 2.]);
    halts[0].sigmoid().unwrap().backward().unwrap();
    assert!(halt.probe().weight().variable.grad().is_some());
    assert_eq!(
        graph.named_parameters().iter().map(|p| p.0.clone()).collect::<Vec<_>>(),
        ["1.weight", "1.bias"]
    );
}

#[test]
fn loop_bodies_take_references_and_publish() {
    struct Body;
    impl Module for Body {
        fn forward(&self, input: &Variable) -> Result<Variable> {
            forward_via_step(self, input)
        }
        fn as_loop_body(&self) -> Option<&dyn LoopBody> {
            Some(self)
        }
    }
    impl LoopBody for Body {
        fn step(
            &self,
            input: &Variable,
            refs: &HashMap<String, Variable>,
            emit: &mut TraceEmit<'_>,
        ) -> Result<Variable> {
            let y = match refs.get("start") {
                Some(start) => input.mul(start)?,
                None => input.mul_scalar(3.0)?,
            };
            emit.publish("value", y.clone());
            Ok(y)
        }
    }
    let x = var(&[2.0], &[1]);
    let graph =
        build(FlowBuilder::new().tag("start").loop_body(Body).for_n(3).using(&["start"]).tag("l"));
    assert_eq!(values(&graph.forward(&x).unwrap()), [16.0]);
    let published = graph.traces("value").unwrap();
    assert_eq!(published.iter().map(|v| v.item().unwrap()).collect::<Vec<_>>(), [4., 8., 16.]);
    // d x³/dx = 3x²: through a published value as through any other.
    published[1].sum().unwrap().backward().unwrap();
    assert_eq!(x.grad().unwrap().to_f64_vec().unwrap(), [12.0]);
    assert_eq!(graph.traces_named("value").unwrap().len(), 3);
    assert_eq!(graph.last_trace("value").unwrap().item().unwrap(), 16.0);
    assert!(graph.traces("l").is_none(), "the body has no trace()");
    let error = graph.try_traces("nothing").unwrap_err().to_string();
    assert_eq!(error, "graph: no traces \"nothing\" from the last forward; there are [\"value\"]");
    // A second forward starts afresh.
    graph.forward(&x).unwrap();
    assert_eq!(graph.traces("value").unwrap().len(), 3);
    let plain = build(FlowBuilder::new().loop_body(Body).for_n(2));
    assert_eq!(values(&plain.forward(&x).unwrap()), [18.0]);
}

#[test]
fn the_trace_of_a_body_is_kept_for_each_iteration() {
    #[derive(Default)]
    struct Traced(std::cell::RefCell<Option<Variable>>);
    impl Module for Traced {
        fn forward(&self, input: &Variable) -> Result<Variable> {
            let y = input.mul_scalar(2.0)?;
            self.0.replace(Some(y.add_scalar(0.5)?));
            Ok(y)
        }
        fn trace(&self) -> Option<Variable> {
            self.0.borrow().clone()
        }
    }
    let graph = build(
        FlowBuilder::from(Times(1.0))
            .loop_body(Traced::default())
            .for_n(3)
            .tag("l")
            .through(Traced::default())
            .tag("m"),
    );
    graph.forward(&var(&[1.0], &[1])).unwrap();
    for traces in [graph.traces("l"), graph.traces_by_node("1")] {
        let all: Vec<f64> = traces.unwrap().iter().map(|v| v.item().unwrap()).collect();
        assert_eq!(all, [2.5, 4.5, 8.5]);
    }
    assert_eq!(graph.last_trace("l").unwrap().item().unwrap(), 8.5);
    assert_eq!(graph.last_trace("m").unwrap().item().unwrap(), 16.5);
    assert!(graph.traces_by_node("0").is_none() && graph.last_trace("x").is_none());
}

#[test]
fn switches_run_one_branch() {
    let counters = [Counter::default(), Counter::default()];
    let [a, b] = counters.clone();
    let flow = FlowBuilder::new().switch(FixedSelector::new(1), modules![a, b]);
    assert_eq!(run(flow, &[1.0]), [2.0]);
    assert_eq!(counters.each_ref().map(|c| c.forwards.get()), [0, 1]);
    // The largest score of the whole batch chooses.
    let selector = ArgmaxSelector::new(2, 3).unwrap();
    let weight = [1.0, 0.0, 0.0, 1.0, -1.0, -1.0];
    let projection = selector.projection();
    projection.weight().variable.set_data(Tensor::from_f64(&weight, &[3, 2], Device::CPU).unwrap());
    let bias = projection.bias().unwrap();
    bias.variable.set_data(Tensor::from_f64(&[0.0; 3], &[3], Device::CPU).unwrap());
    let graph = build(
        FlowBuilder::new().tag("x").switch(selector, modules![Times(1.), Times(2.), Times(3.)]),
    );
    for (x, factor) in [([5., 0., 0., 1.], 1.), ([0., 5., 1., 0.], 2.), ([-1.; 4], 3.)] {
        let y = graph.forward(&var(&x, &[2, 2])).unwrap();
        assert_eq!(values(&y), x.map(|v| v * factor));
    }
    struct Wrong(Vec<f64>);
    impl Module for Wrong {
        fn forward(&self, _: &Variable) -> Result<Variable> {
            Ok(var(&self.0, &[self.0.len() as i64]))
        }
    }
    for (choice, text) in [
        (
            vec![2.0],
            "node 0 (switch module): graph: switch: the selector chose branch 2, there are branches 0 to 1",
        ),
        (
            vec![-1.0],
            "node 0 (switch module): graph: switch: the selector chose branch -1, there are branches 0 to 1",
        ),
        (
            vec![0.5],
            "node 0 (switch module): graph: switch: the selector chose branch 0.5, there are branches 0 to 1",
        ),
        (
            vec![f64::NAN],
            "node 0 (switch module): graph: switch: the selector chose branch NaN, there are branches 0 to 1",
        ),
        (
            vec![0.0, 1.0],
            "node 0 (switch module): switch: expected one number from the selector, a branch for the whole batch, got \
             shape [2]",
        ),
    ] {
        let graph = build(FlowBuilder::new().switch(Wrong(choice), modules![ReLU, ReLU]));
        assert_eq!(graph.forward(&var(&[1.0], &[1])).unwrap_err().to_string(), text);
    }
}

#[test]
fn gates_weigh_all_experts() {
    struct Half;
    impl Module for Half {
        fn forward(&self, input: &Variable) -> Result<Variable> {
            let rows = input.shape()[0];
            let row = [0.25, 0.75].repeat(rows as usize);
            Ok(Variable::new(Tensor::from_f64(&row, &[rows, 2], Device::CPU)?, false))
        }
    }
    let graph = build(FlowBuilder::new().gate(Half, modules![Times(4.0), Times(8.0)]));
    let y = graph.forward(&var(&[1.0, 2.0], &[2, 1])).unwrap();
    assert_eq!(values(&y), [7.0, 14.0]);
    // Outputs with more dims than the router's.
    let y = graph.forward(&var(&[1.0, 2.0], &[1, 1, 2, 1])).unwrap();
    assert_eq!((values(&y), y.shape()), (vec![7.0, 14.0], vec![1, 1, 2, 1]));
    let three = build(FlowBuilder::new().gate(Half, modules![ReLU, ReLU, ReLU]));
    assert_eq!(
        three.forward(&var(&[1.0], &[1, 1])).unwrap_err().to_string(),
        "node 0 (gate module): gate: expected a router output [..., 3], one weight for each expert, got shape [1, 2]"
    );
    // `using` goes to the router, which adds it before it projects.
    let router = SoftmaxRouter::new(1, 2).unwrap();
    let set = |p: &Parameter, v: &[f64]| {
        let shape = p.variable.shape();
        p.variable.set_data(Tensor::from_f64(v, &shape, Device::CPU).unwrap());
    };
    set(router.projection().weight(), &[1.0, -1.0]);
    set(router.projection().bias().unwrap(), &[0.0, 0.0]);
    let graph = build(
        FlowBuilder::new().tag("x").gate(router, modules![Times(0.0), Times(1.0)]).using(&["x"]),
    );
    let y = graph.forward(&var(&[0.5], &[1, 1])).unwrap().item().unwrap();
    assert!((y - 0.5 / (1.0 + 2f64.exp())).abs() < 1e-12, "{y}");
    let sigmoid = SigmoidRouter::new(1, 1).unwrap();
    set(sigmoid.projection().weight(), &[2.0]);
    set(sigmoid.projection().bias().unwrap(), &[0.0]);
    let graph = build(FlowBuilder::new().gate(sigmoid, modules![Times(1.0)]));
    let y = graph.forward(&var(&[0.5], &[1, 1])).unwrap().item().unwrap();
    assert!((y - 0.5 / (1.0 + (-1f64).exp())).abs() < 1e-12, "{y}");
}

#[test]
fn maps_go_over_entries_tags_and_slices() {
    let x = var(&[1., 2., 3., 4., 5., 6., 7., 8.], &[2, 4]);
    let counter = Counter::default();
    let graph = build(FlowBuilder::new().map(counter.clone()).each());
    assert_eq!(values(&graph.forward(&x).unwrap()), [2., 3., 4., 5., 6., 7., 8., 9.]);
    assert_eq!(counter.forwards.get(), 2);
    let batched = Counter::default();
    let graph = build(FlowBuilder::new().map(batched.clone()).batched().each());
    assert_eq!(graph.forward(&x).unwrap().shape(), [2, 4]);
    assert_eq!(batched.forwards.get(), 1);
    let over = FlowBuilder::new().tag("x").through(Times(0.0)).map(Times(2.0)).over("x");
    assert_eq!(values(&build(over).forward(&x).unwrap()), [2., 4., 6., 8., 10., 12., 14., 16.]);
    // Slices: the body sees [2, 2] parts, and results of another width are joined.
    let body = Linear::new(2, 3).unwrap();
    for p in body.parameters() {
        let t = p.variable.data().to_dtype(DType::Float64).unwrap();
        p.variable.set_data(t);
    }
    let slow = build(FlowBuilder::new().map(body.clone()).slices(2));
    let fast = build(FlowBuilder::new().map(body.clone()).batched().slices(2));
    for x in [
        x.clone(),
        x.reshape(&[2, 1, 4]).unwrap(),
        x.reshape(&[8]).unwrap().narrow(0, 0, 4).unwrap(),
    ] {
        let (a, b) = (slow.forward(&x).unwrap(), fast.forward(&x).unwrap());
        assert_eq!(a.shape(), b.shape());
        close(&values(&a), &values(&b), 1e-12);
        if x.ndim() > 1 {
            let mut shape = x.shape();
            *shape.last_mut().unwrap() = 6;
            assert_eq!(a.shape(), shape);
            let first = body.forward(&x.narrow(-1, 0, 2).unwrap()).unwrap();
            let ours = a.narrow(-1, 0, 3).unwrap();
            close(&values(&ours), &values(&first), 1e-12);
        }
    }
    let uneven = build(FlowBuilder::new().map(ReLU).slices(3)).forward(&x).unwrap_err();
    assert_eq!(
        uneven.to_string(),
        "node 0 (map ReLU): map: expected a last dim that 3 slices divide, got shape [2, 4]"
    );
    let scalar = build(FlowBuilder::new().map(ReLU).each()).forward(&var(&[1.0], &[]));
    assert_eq!(
        scalar.unwrap_err().to_string(),
        "node 0 (map ReLU): map: expected at least one dim to map over, got shape []"
    );
    let empty = Variable::new(Tensor::zeros(&[0, 4], TensorOptions::default()).unwrap(), false);
    let graph = build(FlowBuilder::new().map(Linear::new(4, 2).unwrap()).each());
    assert_eq!(graph.forward(&empty).unwrap().shape(), [0, 2]);
}

#[test]
fn a_map_over_many_entries_takes_linear_time() {
    // Forward and backward of n and 16n entries: quadratic would be 256 times as long.
    let graph = build(FlowBuilder::new().map(Times(2.0)).each());
    let time = |n: i64| {
        let x = randn(&[n, 64]);
        (0..3)
            .map(|_| {
                let start = std::time::Instant::now();
                graph.forward(&x).unwrap().sum().unwrap().backward().unwrap();
                start.elapsed()
            })
            .min()
            .unwrap()
    };
    time(100);
    let (small, large) = (time(500), time(8000));
    assert!(large < small * 120, "{small:?} and {large:?}");
}

#[test]
fn reshape_and_user_modules_stand_anywhere() {
    let graph = build(
        FlowBuilder::from(Reshape::new(&[2, -1]))
            .through(Box::new(Times(2.0)) as Box<dyn Module>)
            .through(Rc::new(Times(2.0))),
    );
    let y = graph.forward(&var(&[1., 2., 3., 4.], &[4])).unwrap();
    assert_eq!((y.shape(), values(&y)), (vec![2, 2], vec![4., 8., 12., 16.]));
}

#[test]
fn errors_of_modules_pass_and_leave_the_graph_usable() {
    let graph = build(
        FlowBuilder::from(linear_of(3))
            .tag("h")
            .through(StateAdd)
            .using(&["later"])
            .through(Identity)
            .tag("later"),
    );
    let good = randn(&[2, 3]);
    let first = values(&graph.forward(&good).unwrap());
    assert!(graph.forward(&randn(&[2, 4])).unwrap_err().to_string().contains("Linear"));
    assert!(graph.tagged("h").is_none());
    // The state is that of the last forward that came through.
    let second = values(&graph.forward(&good).unwrap());
    close(&second, &first.iter().map(|v| v * 2.0).collect::<Vec<_>>(), 1e-6);
}
