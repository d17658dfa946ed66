//! The tape: order, accumulation, second derivatives, memory.

use flodl::*;

fn var(values: &[f64]) -> Variable {
    let t = Tensor::from_f64(values, &[values.len() as i64], Device::CPU).unwrap();
    Variable::new(t, true)
}

fn values(t: &Tensor) -> Vec<f64> {
    t.to_f64_vec().unwrap()
}

#[test]
fn a_chain_of_100_000_operations_neither_overflows_forward_backward_nor_when_dropped() {
    let x = var(&[1.0]);
    let mut y = x.clone();
    for i in 0..100_000 {
        // Both kinds of link: through edges alone, and through saved variables.
        y = if i % 2 == 0 {
            y.add_scalar(1e-6).unwrap()
        } else {
            y.mul(&y).unwrap().sqrt().unwrap()
        };
    }
    y.backward().unwrap();
    assert!((values(&x.grad().unwrap())[0] - 1.0).abs() < 1e-6);
    let mut unused = x.clone();
    for _ in 0..100_000 {
        unused = unused.mul(&unused).unwrap();
    }
    drop(unused);
}

#[test]
fn a_gradient_shared_by_two_inputs_is_not_added_into_twice() {
    let (a, b) = (var(&[2.0, 3.0]), var(&[5.0, 7.0]));
    // add hands one gradient to both; a then receives another one.
    let y = a.add(&b).unwrap().add(&a).unwrap().add(&a).unwrap();
    y.sum().unwrap().backward().unwrap();
    assert_eq!(values(&a.grad().unwrap()), [3.0, 3.0]);
    assert_eq!(values(&b.grad().unwrap()), [1.0, 1.0]);
}

#[test]
fn gradients_accumulate_over_passes_until_cleared() {
    let x = var(&[2.0]);
    for _ in 0..3 {
        x.mul(&x).unwrap().backward().unwrap();
    }
    assert_eq!(values(&x.grad().unwrap()), [12.0]);
    x.zero_grad();
    assert!(x.grad().is_none());
}

#[test]
fn a_second_backward_needs_retain_graph() {
    let x = var(&[3.0]);
    let y = x.mul(&x).unwrap();
    y.backward_with(BackwardOptions::default().retain_graph()).unwrap();
    y.backward().unwrap();
    assert_eq!(values(&x.grad().unwrap()), [12.0]);
    let error = y.backward().unwrap_err().to_string();
    assert!(error.contains("retain_graph") && error.starts_with("mul:"), "{error}");
    // The failed pass leaves nothing behind.
    assert_eq!(values(&x.grad().unwrap()), [12.0]);
}

#[test]
fn second_and_third_derivatives() {
    let x = var(&[0.7]);
    let y = x.tanh().unwrap().mul(&x.exp().unwrap()).unwrap();
    let again = || BackwardOptions::default().create_graph();
    let d1 = grad(&[&y], &[&x], &[None], again()).unwrap().remove(0).unwrap();
    let d2 = grad(&[&d1], &[&x], &[None], again()).unwrap().remove(0).unwrap();
    let d3 = grad(&[&d2], &[&x], &[None], again()).unwrap().remove(0).unwrap();
    // By hand: f = t e, with t = tanh, t' = s = 1 - t², s' = -2 t s.
    let (t, e) = (0.7f64.tanh(), 0.7f64.exp());
    let s = 1.0 - t * t;
    let (s1, s2) = (-2.0 * t * s, -2.0 * s * s + 4.0 * t * t * s);
    let close = |a: &Variable, b: f64| (a.item().unwrap() - b).abs() < 1e-12;
    assert!(close(&d1, (t + s) * e));
    assert!(close(&d2, (t + 2.0 * s + s1) * e));
    assert!(close(&d3, (t + 3.0 * s + 3.0 * s1 + s2) * e));
}

#[test]
fn grad_stops_at_inner_variables_and_leaves_leaves_alone() {
    let x = var(&[2.0]);
    let h = x.mul(&x).unwrap();
    let y = h.mul(&h).unwrap();
    let found = grad(&[&y], &[&h, &x], &[None], BackwardOptions::default()).unwrap();
    assert_eq!(found[0].as_ref().unwrap().item().unwrap(), 8.0);
    assert_eq!(found[1].as_ref().unwrap().item().unwrap(), 32.0);
    assert!(x.grad().is_none());
    let other = var(&[1.0]);
    let y = x.mul(&x).unwrap();
    assert!(grad(&[&y], &[&other], &[None], BackwardOptions::default()).unwrap()[0].is_none());
}

#[test]
fn no_grad_nests_and_restores() {
    let x = var(&[1.0]);
    no_grad(|| {
        assert!(!is_grad_enabled());
        enable_grad(|| assert!(x.exp().unwrap().requires_grad()));
        no_grad(|| ());
        assert!(!x.exp().unwrap().requires_grad());
    });
    assert!(x.exp().unwrap().requires_grad());
    assert!(!x.detach().requires_grad());
}

#[test]
fn values_saved_for_backward_survive_a_later_change_of_the_variable() {
    let (x, w) = (var(&[3.0]), var(&[4.0]));
    let y = x.mul(&w).unwrap();
    w.set_data(Tensor::from_f64(&[100.0], &[1], Device::CPU).unwrap());
    y.backward().unwrap();
    assert_eq!(values(&x.grad().unwrap()), [4.0]);
}

#[test]
fn broadcast_gradients_come_back_in_the_operands_shapes() {
    let a = Variable::new(Tensor::ones(&[2, 1, 3], DType::Float64.into()).unwrap(), true);
    let b = Variable::new(Tensor::full(&[4, 1], 2.0, DType::Float64.into()).unwrap(), true);
    a.mul(&b).unwrap().sum().unwrap().backward().unwrap();
    let (da, db) = (a.grad().unwrap(), b.grad().unwrap());
    assert_eq!((da.shape(), db.shape()), (vec![2, 1, 3], vec![4, 1]));
    assert_eq!(values(&da), [8.0; 6]);
    assert_eq!(values(&db), [6.0; 4]);
}

#[test]
fn integers_never_require_gradients() {
    let i = Variable::new(Tensor::from_i64(&[1, 2], &[2], Device::CPU).unwrap(), true);
    assert!(!i.requires_grad());
    assert!(i.set_requires_grad(true).is_err());
}

/// A gradient function may run a pass of its own; that must not touch gradients of the pass that
/// it is part of, which wait behind its inputs.
#[test]
fn a_pass_inside_a_pass_leaves_the_outer_one_alone() {
    let leaf =
        |n: i64| Variable::new(Tensor::ones(&[2, n], TensorOptions::default()).unwrap(), true);
    let (a, b) = (leaf(3), leaf(3));
    // Both inputs are results of operations; layer norm and attention compose in such a pass.
    let (x, y) = (a.mul_scalar(1.5).unwrap(), b.mul_scalar(0.5).unwrap());
    let out = scaled_dot_product_attention(&x, &y, &y, None, 0.0, false, None).unwrap();
    let w = Variable::new(Tensor::rand(&[2, 3], TensorOptions::default()).unwrap(), false);
    let loss = out.mul(&w).unwrap().sum().unwrap();
    let options = BackwardOptions::default().create_graph();
    let recorded = grad(&[&loss], &[&a, &b], &[None], options).unwrap();
    let plain =
        grad(&[&loss], &[&a, &b], &[None], BackwardOptions::default().retain_graph()).unwrap();
    for (r, p) in recorded.iter().zip(&plain) {
        let values = |v: &Option<Variable>| v.as_ref().unwrap().data().to_f32_vec().unwrap();
        for (r, p) in values(r).iter().zip(values(p)) {
            assert!((r - p).abs() < 1e-5, "{r} {p}");
        }
    }
}

/// A weight that is used several times has the sum of the gradients, whether they are added by the
/// products themselves (backward) or one by one (grad); a handle on an earlier sum keeps its values.
#[test]
fn gradients_of_a_weight_used_again_add_up() {
    manual_seed(11);
    let x = Tensor::randn(&[20, 48], TensorOptions::default()).unwrap();
    let x = Variable::new(x, false);
    let layer = Linear::new(48, 48).unwrap();
    let (w, b) = (layer.parameters()[0].variable.clone(), layer.parameters()[1].variable.clone());
    let loss = |x: &Variable| {
        let mut y = x.clone();
        for _ in 0..3 {
            y = layer.forward(&y).unwrap().tanh().unwrap();
        }
        y.pow_scalar(2.0).unwrap().sum().unwrap()
    };
    let value = loss(&x);
    let one_by_one = grad(&[&value], &[&w, &b], &[None], BackwardOptions::default()).unwrap();
    loss(&x).backward().unwrap();
    let close = |a: &Tensor, b: &Tensor, times: f64| {
        let (a, b) = (a.to_f64_vec().unwrap(), b.to_f64_vec().unwrap());
        let largest = b.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        for (a, b) in a.iter().zip(&b) {
            assert!((a - times * b).abs() <= 1e-5 * times * largest, "{a} is not {times} x {b}");
        }
    };
    for (v, want) in [&w, &b].into_iter().zip(&one_by_one) {
        close(&v.grad().unwrap(), &want.as_ref().unwrap().data(), 1.0);
    }
    let held = w.grad().unwrap();
    let values = held.to_f32_vec().unwrap();
    loss(&x).backward().unwrap();
    assert_eq!(held.to_f32_vec().unwrap(), values, "a handle on the gradient has changed");
    drop(held);
    loss(&x).backward().unwrap();
    close(&w.grad().unwrap(), &one_by_one[0].as_ref().unwrap().data(), 3.0);
}

#[test]
fn a_gradient_that_cannot_be_added_leaves_the_one_before() {
    let x = var(&[1.0, 1.0]);
    x.set_grad(var(&[4.0; 3]).data());
    assert!(x.mul(&x).unwrap().sum().unwrap().backward().is_err());
    assert_eq!(values(&x.grad().unwrap()), [4.0; 3]);
    x.zero_grad();
    x.mul(&x).unwrap().sum().unwrap().backward().unwrap();
    assert_eq!(values(&x.grad().unwrap()), [2.0; 2]);
}
