use super::*;

fn adam<T: FloatMath>(o: &Adam, p: &mut [T], g: &[T], m: &mut [T], v: &mut [T]) {
    let state = [m, v, &mut []];
    step(&[Update::new(Rule::Adam(*o), 1.0, p, g, state)]);
}

fn sgd<T: FloatMath>(o: &Sgd, p: &mut [T], g: &[T], buffer: &mut [T]) {
    let state = [buffer, &mut [], &mut []];
    step(&[Update::new(Rule::Sgd(*o), 1.0, p, g, state)]);
}

fn values(n: usize, k: usize) -> Vec<f64> {
    (0..n).map(|i| ((i * k + 5) % 97) as f64 * 0.02 - 1.0).collect()
}

#[test]
fn adam_follows_pytorch() {
    for (decoupled, maximize) in [(false, false), (true, false), (false, true)] {
        let mut p = values(70_003, 31);
        let (mut m, mut v) = (vec![0.0; p.len()], vec![0.0; p.len()]);
        let mut want: Vec<[f64; 3]> = p.iter().map(|&p| [p, 0.0, 0.0]).collect();
        for step in 1..4 {
            let g = values(p.len(), 17 + step as usize);
            let o = Adam {
                lr: 0.01,
                weight_decay: 0.1,
                decoupled,
                maximize,
                step,
                grad_scale: 0.5,
                ..Default::default()
            };
            adam(&o, &mut p, &g, &mut m, &mut v);
            for ([p, m, v], &g) in want.iter_mut().zip(&g) {
                let mut g = if maximize { -g * 0.5 } else { g * 0.5 };
                if decoupled {
                    *p *= 1.0 - o.lr * o.weight_decay;
                } else {
                    g += o.weight_decay * *p;
                }
                *m = o.beta1 * *m + (1.0 - o.beta1) * g;
                *v = o.beta2 * *v + (1.0 - o.beta2) * g * g;
                let (c1, c2) = (1.0 - o.beta1.powi(step as i32), 1.0 - o.beta2.powi(step as i32));
                *p -= o.lr / c1 * *m / (v.sqrt() / c2.sqrt() + o.eps);
            }
            for (got, [want, ..]) in p.iter().zip(&want) {
                assert!((got - want).abs() < 1e-12, "{got} {want}");
            }
        }
    }
}

#[test]
fn sgd_follows_pytorch() {
    for (momentum, dampening, nesterov) in
        [(0.0, 0.0, false), (0.9, 0.0, false), (0.9, 0.3, false), (0.9, 0.0, true)]
    {
        let mut p = values(70_003, 31);
        let mut buffer = vec![0.5; p.len()];
        let mut want: Vec<[f64; 2]> = p.iter().map(|&p| [p, 0.0]).collect();
        for step in 0..3 {
            let g = values(p.len(), 17 + step);
            let o = Sgd {
                lr: 0.1,
                momentum,
                dampening,
                nesterov,
                weight_decay: 0.01,
                first: step == 0,
                ..Default::default()
            };
            sgd(&o, &mut p, &g, &mut buffer);
            for ([p, b], &g) in want.iter_mut().zip(&g) {
                let mut g = g + 0.01 * *p;
                if momentum != 0.0 {
                    *b = if step == 0 { g } else { momentum * *b + (1.0 - dampening) * g };
                    g = if nesterov { g + momentum * *b } else { *b };
                }
                *p -= 0.1 * g;
            }
            for (got, [want, _]) in p.iter().zip(&want) {
                assert!((got - want).abs() < 1e-12, "{got} {want}");
            }
        }
    }
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let run = || {
        let mut p: Vec<f32> = values(200_001, 31).iter().map(|&v| v as f32).collect();
        let g = p.clone();
        let (mut m, mut v) = (vec![0.0; p.len()], vec![0.0; p.len()]);
        adam(&Adam::default(), &mut p, &g, &mut m, &mut v);
        p
    };
    let before = crate::threads::num_threads();
    crate::threads::set_num_threads(1);
    let alone = run();
    crate::threads::set_num_threads(3);
    assert_eq!(run(), alone);
    crate::threads::set_num_threads(before);
}

#[test]
fn many_parameters_are_as_one() {
    let all = values(150_000, 31);
    let grad = values(all.len(), 17);
    let rule = Rule::Adagrad { lr: 0.1, eps: 1e-10, weight_decay: 0.01 };
    let mut whole = all.clone();
    let mut sum = vec![0.0; all.len()];
    step(&[Update::new(rule, 1.0, &mut whole, &grad, [&mut sum, &mut [], &mut []])]);
    let mut parts = all;
    let mut sums = vec![0.0; parts.len()];
    let (mut p, mut g, mut s) = (&mut parts[..], &grad[..], &mut sums[..]);
    let mut updates = Vec::new();
    for n in [1, 0, 63, 70_000, 5, 79_931] {
        let (head, rest) = p.split_at_mut(n);
        let (sum, left) = s.split_at_mut(n);
        let state = [sum, &mut [][..], &mut [][..]];
        updates.push(Update::new(rule, 1.0, head, &g[..n], state));
        (p, g, s) = (rest, &g[n..], left);
    }
    step(&updates);
    assert_eq!(parts, whole);
    assert_eq!(sums, sum);
}
