//! Graphs against hand-written modules: output and all gradients.

use super::*;

#[test]
fn residuals_splits_and_references() {
    manual_seed(1);
    let [a, b, c] = [(); 3].map(|_| linear_of(4));
    let x = randn(&[3, 4]);
    let graph = build(FlowBuilder::from(a.clone()).also(b.clone()).also_with(c.clone(), a.clone()));
    agree(&graph, &x, |x| {
        let x = a.forward(x)?;
        let x = x.add(&b.forward(&x)?)?;
        c.forward(&x)?.add(&a.forward(&x)?)
    });
    let graph = build(
        FlowBuilder::from(a.clone())
            .split(modules![b.clone(), c.clone()])
            .tag_group("g")
            .merge(MergeOp::Mean)
            .through(Sum::default())
            .using(&["g_0"]),
    );
    agree(&graph, &x, |x| {
        let x = a.forward(x)?;
        let (p, q) = (b.forward(&x)?, c.forward(&x)?);
        p.add(&q)?.mul_scalar(0.5)?.add(&p.mul_scalar(10.0)?)
    });
    let graph =
        build(FlowBuilder::new().split(modules![b.clone(), c.clone()]).merge(MergeOp::Cat(1)));
    agree(&graph, &x, |x| b.forward(x)?.cat(&c.forward(x)?, 1));
}

#[test]
fn loops() {
    manual_seed(2);
    let a = linear_of(4);
    let cell = || build(FlowBuilder::from(a.clone()).through(Tanh));
    let x = randn(&[3, 4]);
    let by_hand = |n: usize| {
        let a = a.clone();
        move |x: &Variable| (0..n).try_fold(x.clone(), |x, _| a.forward(&x)?.tanh())
    };
    agree(&build(FlowBuilder::new().loop_body(cell()).for_n(5)), &x, by_hand(5));
    let until = FlowBuilder::new().loop_body(cell()).until_cond(ThresholdHalt::new(-9.0), 5);
    agree(&build(until), &x, by_hand(1));
    let never = FlowBuilder::new().loop_body(cell()).while_cond(ThresholdHalt::new(1e9), 3);
    agree(&build(never), &x, by_hand(3));
}

#[test]
fn gates_and_switches() {
    manual_seed(3);
    let [a, b, r] = [linear_of(4), linear_of(4), Linear::new(4, 2).unwrap()];
    let router = SoftmaxRouter::new(4, 2).unwrap();
    for (p, q) in r.parameters().iter().zip(router.parameters()) {
        p.variable.set_data(q.variable.data());
    }
    let x = randn(&[3, 4]);
    let graph = build(FlowBuilder::new().gate(router.clone(), modules![a.clone(), b.clone()]));
    agree(&graph, &x, |x| {
        let w = router.projection().forward(x)?.softmax(-1)?;
        let first = a.forward(x)?.mul(&w.narrow(1, 0, 1)?)?;
        first.add(&b.forward(x)?.mul(&w.narrow(1, 1, 1)?)?)
    });
    let graph = build(
        FlowBuilder::from(a.clone())
            .switch(FixedSelector::new(1), modules![linear_of(4), b.clone()]),
    );
    agree(&graph, &x, |x| b.forward(&a.forward(x)?));
}

#[test]
fn maps() {
    manual_seed(4);
    let a = linear_of(2);
    let x = randn(&[5, 6]);
    for batched in [false, true] {
        let map = FlowBuilder::new().map(a.clone());
        let map = if batched { map.batched() } else { map };
        agree(&build(map.slices(3)), &x, |x| {
            let parts = x.split(2, 1)?.iter().map(|p| a.forward(p)).collect::<Result<Vec<_>>>()?;
            Variable::cat_many(&parts.iter().collect::<Vec<_>>(), 1)
        });
        let b = linear_of(6);
        let map = FlowBuilder::new().map(b.clone());
        let map = if batched { map.batched() } else { map };
        agree(&build(map.each()), &x, |x| b.forward(x));
    }
}

#[test]
fn forward_references_through_time() {
    manual_seed(5);
    let [a, b] = [linear_of(3), linear_of(3)];
    let xs: Vec<Variable> = (0..4).map(|_| randn(&[2, 3])).collect();
    // h = tanh(a(x) + b(h)) over four forwards, then the gradient of the sum.
    let back = build(FlowBuilder::from(b.clone()));
    let graph = build(
        FlowBuilder::from(a.clone())
            .through(StateAdd)
            .using(&["feedback"])
            .through(Tanh)
            .tag("h")
            .fork(back)
            .tag("feedback"),
    );
    assert!(graph.has_state());
    let run = |f: &mut dyn FnMut(&Variable) -> Result<Variable>| {
        graph.parameters().iter().for_each(|p| p.variable.zero_grad());
        let outputs = xs.iter().map(f).collect::<Result<Vec<_>>>().unwrap();
        outputs.last().unwrap().sum().unwrap().backward().unwrap();
        let grads = graph.parameters().into_iter().map(|p| p.variable.grad().unwrap());
        let mut all = vec![values(outputs.last().unwrap())];
        all.extend(grads.map(|g| g.to_f64_vec().unwrap()));
        all
    };
    let ours = run(&mut |x| graph.forward(x));
    let mut h: Option<Variable> = None;
    let theirs = run(&mut |x| {
        let mut y = a.forward(x)?;
        if let Some(h) = &h {
            y = y.add(&b.forward(h)?)?;
        }
        let y = y.tanh()?;
        h = Some(y.clone());
        Ok(y)
    });
    for (x, y) in ours.iter().zip(&theirs) {
        close(x, y, 1e-5);
    }
}

#[test]
fn hand_written_modules_inside_keep_everything_true() {
    struct Mlp(Linear, Linear);
    impl Module for Mlp {
        fn forward(&self, input: &Variable) -> Result<Variable> {
            self.1.forward(&self.0.forward(input)?.relu()?)
        }
        fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
            vec![Rc::new(self.0.clone()), Rc::new(self.1.clone())]
        }
    }
    manual_seed(6);
    let (a, b) = (linear_of(4), linear_of(4));
    let graph = build(FlowBuilder::new().also(Mlp(a.clone(), b.clone())).through(GELU));
    agree(&graph, &randn(&[3, 4]), |x| x.add(&b.forward(&a.forward(x)?.relu()?)?)?.gelu());
    assert_eq!(graph.named_parameters()[2].0, "0.1.weight");
}
