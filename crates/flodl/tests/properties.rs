//! Properties that hold for any shape, stride and value: against naive references and round trips.

use flodl::*;
use proptest::prelude::{
    ProptestConfig, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};

fn tensor(values: &[f64], shape: &[i64]) -> Tensor {
    Tensor::from_f64(values, shape, Device::CPU).unwrap()
}

fn vec(t: &Tensor) -> Vec<f64> {
    t.to_f64_vec().unwrap()
}

fn count(shape: &[i64]) -> usize {
    shape.iter().product::<i64>() as usize
}

/// Distinct whole numbers, so that every place can be told from every other.
fn numbered(shape: &[i64]) -> Tensor {
    tensor(&(0..count(shape)).map(|i| i as f64).collect::<Vec<_>>(), shape)
}

/// The multi-index of a flat one.
fn place(shape: &[i64], mut flat: usize) -> Vec<usize> {
    let mut at = vec![0; shape.len()];
    for d in (0..shape.len()).rev() {
        at[d] = flat % shape[d] as usize;
        flat /= shape[d] as usize;
    }
    at
}

fn flat(shape: &[i64], at: &[usize]) -> usize {
    shape.iter().zip(at).fold(0, |f, (&n, &i)| f * n as usize + i)
}

fn same(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan())
}

/// Sizes of 0 to 4 dims, some of them 0 or 1.
fn shape() -> impl Strategy<Value = Vec<i64>> {
    prop::collection::vec(0i64..5, 0..5)
}

fn nonempty() -> impl Strategy<Value = Vec<i64>> {
    prop::collection::vec(1i64..5, 1..5)
}

/// Ordinary numbers, and those that are not.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => -100.0..100.0f64,
        1 => prop::sample::select(vec![
            0.0, -0.0, 1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e-300, 5e-324,
        ]),
    ]
}

/// A tensor of the shape with odd strides: part of a larger one, transposed, every second entry.
fn strided(shape: &[i64], values: &[f64], seed: u64) -> Tensor {
    let mut rng = Rng::seed(seed);
    let n = shape.len();
    let mut order: Vec<i64> = (0..n as i64).collect();
    rng.shuffle(&mut order);
    let mut back = vec![0; n];
    order.iter().enumerate().for_each(|(to, &from)| back[from as usize] = to as i64);
    // From the plain tensor to its place in a larger one, and back by views alone.
    let mut t = tensor(values, shape).permute(&order).unwrap();
    for d in 0..n as i32 {
        let (before, after) = (rng.usize(3) as i64, rng.usize(3) as i64);
        let size = t.size(d).unwrap();
        if rng.bernoulli(0.5) {
            let gaps = Tensor::full_like(&t, -777.0).unwrap();
            let wide = Tensor::stack(&[&t, &gaps], d + 1).unwrap();
            let mut merged = t.shape();
            merged[d as usize] *= 2;
            t = wide.reshape(&merged).unwrap();
            t = t.slice(d, 0, 2 * size, 2).unwrap();
        } else {
            let mut pads = vec![0; 2 * n];
            pads[2 * (n - 1 - d as usize)] = before;
            pads[2 * (n - 1 - d as usize) + 1] = after;
            t = t.contiguous().unwrap().pad(&pads, -777.0).unwrap();
            t = t.narrow(d, before, size).unwrap();
        }
    }
    t.permute(&back).unwrap()
}

/// A shape that broadcasts to the given one: dims in front missing, others 1.
fn smaller(shape: &[i64], seed: u64) -> Vec<i64> {
    let mut rng = Rng::seed(seed);
    let lead = rng.usize(shape.len() + 1);
    shape[lead..].iter().map(|&n| if rng.bernoulli(0.3) { 1 } else { n }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn odd_strides_hold_the_same_elements(
        shape in shape(), seed in any::<u64>(), values in prop::collection::vec(number(), 256),
    ) {
        let values = &values[..count(&shape)];
        let t = strided(&shape, values, seed);
        prop_assert_eq!(t.shape(), shape.clone());
        prop_assert!(vec(&t).iter().zip(values).all(|(a, b)| same(*a, *b)));
        let plain = tensor(values, &shape);
        // Kernels that take strides give what they give on contiguous memory.
        let pairs = [
            (t.abs().unwrap(), plain.abs().unwrap()),
            (t.mul(&t).unwrap(), plain.mul(&plain).unwrap()),
            (t.to_dtype(DType::Float32).unwrap(), plain.to_dtype(DType::Float32).unwrap()),
            (t.flip(&(0..shape.len() as i64).collect::<Vec<_>>()).unwrap(),
             plain.flip(&(0..shape.len() as i64).collect::<Vec<_>>()).unwrap()),
            (t.reshape(&[-1, 1]).unwrap_or(t.clone()),
             plain.reshape(&[-1, 1]).unwrap_or(plain.clone())),
            (t.isnan().unwrap(), plain.isnan().unwrap()),
        ];
        for (a, b) in &pairs {
            prop_assert_eq!(a.shape(), b.shape());
            prop_assert!(vec(a).iter().zip(vec(b)).all(|(a, b)| same(*a, b)));
        }
    }

    #[test]
    fn arithmetic_broadcasts_like_the_naive_loop(
        shape in shape(), seed in any::<u64>(), values in prop::collection::vec(number(), 512),
    ) {
        let (a, b) = (smaller(&shape, seed), smaller(&shape, seed ^ 1));
        let full: Vec<i64> = {
            let n = a.len().max(b.len());
            let at = |s: &[i64], d: usize| if d + s.len() >= n { s[d + s.len() - n] } else { 1 };
            (0..n).map(|d| if at(&a, d) == 1 { at(&b, d) } else { at(&a, d) }).collect()
        };
        let x = strided(&a, &values[..count(&a)], seed);
        let y = strided(&b, &values[256..256 + count(&b)], seed ^ 2);
        let pick = |t: &Tensor, at: &[usize]| {
            let s = t.shape();
            let own: Vec<usize> = at[at.len() - s.len()..]
                .iter().zip(&s).map(|(&i, &n)| if n == 1 { 0 } else { i }).collect();
            vec(t)[flat(&s, &own)]
        };
        let results = [
            x.add(&y).unwrap(), x.sub(&y).unwrap(), x.mul(&y).unwrap(), x.div(&y).unwrap(),
            x.maximum(&y).unwrap(), x.lt(&y).unwrap(),
        ];
        for r in &results {
            prop_assert_eq!(r.shape(), full.clone());
        }
        for i in 0..count(&full) {
            let at = place(&full, i);
            let (p, q) = (pick(&x, &at), pick(&y, &at));
            let larger = if p.is_nan() || q.is_nan() { f64::NAN } else { p.max(q) };
            let want = [p + q, p - q, p * q, p / q, larger, f64::from(u8::from(p < q))];
            for (r, w) in results.iter().zip(want) {
                prop_assert!(same(vec(r)[i], w), "{} {} gave {} not {}", p, q, vec(r)[i], w);
            }
        }
    }

    #[test]
    fn reductions_over_any_dims_are_the_naive_ones(
        shape in shape(), seed in any::<u64>(), keepdim in any::<bool>(),
        values in prop::collection::vec(-4.0..4.0f64, 256),
    ) {
        let x = strided(&shape, &values[..count(&shape)], seed);
        let mut rng = Rng::seed(seed);
        let dims: Vec<i32> = (0..shape.len() as i32).filter(|_| rng.bernoulli(0.5)).collect();
        let reduced = |d: usize| dims.is_empty() || dims.contains(&(d as i32));
        let kept: Vec<i64> = shape.iter().enumerate()
            .map(|(d, &n)| if reduced(d) { 1 } else { n }).collect();
        let mut groups = vec![Vec::new(); count(&kept)];
        for (i, &v) in vec(&x).iter().enumerate() {
            let at: Vec<usize> = place(&shape, i).iter().enumerate()
                .map(|(d, &i)| if reduced(d) { 0 } else { i }).collect();
            groups[flat(&kept, &at)].push(v);
        }
        let out: Vec<i64> = shape.iter().enumerate().filter(|&(d, _)| keepdim || !reduced(d))
            .map(|(d, &n)| if reduced(d) { 1 } else { n }).collect();
        let check = |t: Tensor, f: &dyn Fn(&[f64]) -> f64| {
            prop_assert_eq!(t.shape(), out.clone());
            for (got, g) in vec(&t).iter().zip(&groups) {
                let want = f(g);
                prop_assert!(
                    same(*got, want) || (got - want).abs() <= 1e-12 * want.abs().max(1.0),
                    "{} is not {}", got, want
                );
            }
            Ok(())
        };
        let mean = |g: &[f64]| g.iter().sum::<f64>() / g.len() as f64;
        check(x.sum_dims(&dims, keepdim).unwrap(), &|g| g.iter().sum())?;
        check(x.mean_dims(&dims, keepdim).unwrap(), &mean)?;
        check(x.var_dims(&dims, 0.0, keepdim).unwrap(), &|g| {
            g.iter().map(|v| (v - mean(g)).powi(2)).sum::<f64>() / g.len() as f64
        })?;
        check(x.norm_dims(2.0, &dims, keepdim).unwrap(), &|g| {
            g.iter().map(|v| v * v).sum::<f64>().sqrt()
        })?;
        if groups.iter().all(|g| !g.is_empty()) && !groups.is_empty() {
            check(x.amax(&dims, keepdim).unwrap(), &|g| g.iter().copied().fold(f64::MIN, f64::max))?;
            check(x.amin(&dims, keepdim).unwrap(), &|g| g.iter().copied().fold(f64::MAX, f64::min))?;
        }
    }

    #[test]
    fn nan_and_infinities_travel_as_in_plain_numbers(values in prop::collection::vec(number(), 1..40)) {
        let t = tensor(&values, &[values.len() as i64]);
        let nan = values.iter().any(|v| v.is_nan());
        let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let largest = if nan { f64::NAN } else { max };
        prop_assert!(same(t.max().unwrap().item().unwrap(), largest));
        prop_assert_eq!(t.all_finite().unwrap(), values.iter().all(|v| v.is_finite()));
        let first = values.iter().position(|v| v.is_nan())
            .or_else(|| values.iter().position(|&v| v == max)).unwrap();
        prop_assert_eq!(t.argmax(0, false).unwrap().item().unwrap(), first as f64);
        let (sorted, order) = t.sort(0, false).unwrap();
        let sorted = vec(&sorted);
        // NaN stands at the end, and the order says where each value was.
        let numbers = values.iter().filter(|v| !v.is_nan()).count();
        prop_assert!(sorted[..numbers].windows(2).all(|w| w[0] <= w[1]));
        prop_assert!(sorted[numbers..].iter().all(|v| v.is_nan()));
        let order = order.to_i64_vec().unwrap();
        prop_assert!(order.iter().zip(&sorted).all(|(&i, &v)| same(values[i as usize], v)));
        for (got, v) in vec(&t.clamp(-1.0, 1.0).unwrap()).iter().zip(&values) {
            let want = if v.is_nan() { *v } else { v.clamp(-1.0, 1.0) };
            prop_assert!(same(*got, want));
        }
    }

    #[test]
    fn reshape_and_permute_come_back(shape in shape(), seed in any::<u64>()) {
        let t = numbered(&shape);
        let mut order: Vec<i64> = (0..shape.len() as i64).collect();
        Rng::seed(seed).shuffle(&mut order);
        let p = t.permute(&order).unwrap();
        let mut back = vec![0; order.len()];
        order.iter().enumerate().for_each(|(to, &from)| back[from as usize] = to as i64);
        prop_assert_eq!(vec(&p.permute(&back).unwrap()), vec(&t));
        let line = p.reshape(&[count(&shape) as i64]).unwrap();
        prop_assert_eq!(vec(&line.reshape(&p.shape()).unwrap().permute(&back).unwrap()), vec(&t));
        for (i, v) in vec(&p).iter().enumerate() {
            let at = place(&p.shape(), i);
            let mut home = vec![0; at.len()];
            order.iter().enumerate().for_each(|(to, &from)| home[from as usize] = at[to]);
            prop_assert_eq!(*v, flat(&shape, &home) as f64);
        }
    }

    #[test]
    fn split_pieces_join_to_the_whole(shape in nonempty(), size in 1i64..6, seed in any::<u64>()) {
        let t = strided(&shape, &vec(&numbered(&shape)), seed);
        let d = Rng::seed(seed).usize(shape.len()) as i32;
        for pieces in [t.split(size, d).unwrap(), t.chunk(size as i32, d).unwrap()] {
            let joined = Tensor::cat_many(&pieces.iter().collect::<Vec<_>>(), d).unwrap();
            prop_assert_eq!(joined.shape(), shape.clone());
            prop_assert_eq!(vec(&joined), vec(&t));
        }
        let entries = t.unbind(d).unwrap();
        let stacked = Tensor::stack(&entries.iter().collect::<Vec<_>>(), d).unwrap();
        prop_assert_eq!(vec(&stacked), vec(&t));
    }

    #[test]
    fn gather_and_scatter_add_are_adjoint(shape in nonempty(), seed in any::<u64>(), n in 1i64..7) {
        // <gather(x), y> = <x, scatter_add(0, y)> for every x and y.
        let mut rng = Rng::seed(seed);
        let d = rng.usize(shape.len());
        let mut to = shape.clone();
        to[d] = n;
        let mut random = |shape: &[i64]| {
            tensor(&(0..count(shape)).map(|_| rng.normal(0.0, 1.0)).collect::<Vec<_>>(), shape)
        };
        let (x, y) = (random(&shape), random(&to));
        let index: Vec<i64> = (0..count(&to)).map(|_| rng.range(0, shape[d])).collect();
        let index = Tensor::from_i64(&index, &to, Device::CPU).unwrap();
        let dot = |a: &Tensor, b: &Tensor| a.mul(b).unwrap().sum().unwrap().item().unwrap();
        let left = dot(&x.gather(d as i32, &index).unwrap(), &y);
        let zeros = Tensor::zeros_like(&x).unwrap();
        let right = dot(&x, &zeros.scatter_add(d as i32, &index, &y).unwrap());
        prop_assert!((left - right).abs() < 1e-9, "{} and {}", left, right);
    }

    #[test]
    fn padding_and_cropping_undo_each_other(shape in nonempty(), seed in any::<u64>()) {
        let mut rng = Rng::seed(seed);
        let padding: Vec<i64> = (0..2 * shape.len()).map(|_| rng.range(0, 3)).collect();
        let t = numbered(&shape);
        let wide = t.pad(&padding, -5.0).unwrap();
        let back: Vec<i64> = padding.iter().map(|n| -n).collect();
        prop_assert_eq!(vec(&wide.pad(&back, 0.0).unwrap()), vec(&t));
        let border = (wide.numel() - t.numel()) as f64;
        prop_assert_eq!(
            wide.sum().unwrap().item().unwrap(), t.sum().unwrap().item().unwrap() - 5.0 * border
        );
    }

    #[test]
    fn roll_flip_and_triangles_are_what_they_say(rows in 1i64..6, cols in 1i64..6, k in -7i64..7) {
        let t = numbered(&[2, rows, cols]);
        let rolled = t.roll(k, 2).unwrap();
        prop_assert_eq!(vec(&rolled.roll(-k, 2).unwrap()), vec(&t));
        let flipped = vec(&t.flip(&[0, 2]).unwrap());
        let both = t.triu(k).unwrap().add(&t.tril(k - 1).unwrap()).unwrap();
        prop_assert_eq!(vec(&both), vec(&t));
        for (i, v) in vec(&t).iter().enumerate() {
            let at = place(&t.shape(), i);
            let to = (at[2] as i64 + k).rem_euclid(cols) as usize;
            prop_assert_eq!(vec(&rolled)[flat(&t.shape(), &[at[0], at[1], to])], *v);
            let mirror = [1 - at[0], at[1], cols as usize - 1 - at[2]];
            prop_assert_eq!(flipped[flat(&t.shape(), &mirror)], *v);
        }
    }
}
