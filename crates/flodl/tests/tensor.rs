//! Tensors: views, strides, dtypes, printing, in-place methods, random numbers, memory.

use std::sync::Mutex;

use flodl::*;

/// Tests that read or set what belongs to the process (seed, threads, counters) take turns.
static TURN: Mutex<()> = Mutex::new(());

fn f(values: &[f32], shape: &[i64]) -> Tensor {
    Tensor::from_f32(values, shape, Device::CPU).unwrap()
}

fn i(values: &[i64], shape: &[i64]) -> Tensor {
    Tensor::from_i64(values, shape, Device::CPU).unwrap()
}

fn range(n: i64, shape: &[i64]) -> Tensor {
    let t = Tensor::arange(0.0, n as f64, 1.0, TensorOptions::default()).unwrap();
    t.reshape(shape).unwrap()
}

fn vec(t: &Tensor) -> Vec<f64> {
    t.to_f64_vec().unwrap()
}

#[test]
fn views_share_memory_and_copies_do_not() {
    let t = range(24, &[2, 3, 4]);
    let views = [
        t.transpose(0, 2).unwrap(),
        t.permute(&[1, 2, 0]).unwrap(),
        t.narrow(1, 1, 2).unwrap(),
        t.select(2, -1).unwrap(),
        t.slice(2, 0, 4, 3).unwrap(),
        t.unsqueeze(0).unwrap(),
        t.reshape(&[6, 4]).unwrap(),
        t.narrow(2, 0, 1).unwrap().expand(&[2, 3, 9]).unwrap(),
        t.diagonal(0, 1, 2).unwrap(),
        t.movedim(0, -1).unwrap(),
        t.split(2, 2).unwrap().remove(1),
        t.unbind(0).unwrap().remove(1),
    ];
    assert!(views.iter().all(|v| v.shares_storage(&t)));
    assert_eq!(vec(&views[3]), [3., 7., 11., 15., 19., 23.]);
    assert_eq!(vec(&views[8]), [0., 5., 10., 12., 17., 22.]);
    assert_eq!(views[7].shape(), [2, 3, 9]);
    let copies = [t.copy().unwrap(), views[0].contiguous().unwrap(), t.flip(&[0]).unwrap()];
    assert!(copies.iter().all(|c| !c.shares_storage(&t) && c.is_contiguous()));
    assert!(!views[0].is_contiguous());
}

#[test]
fn in_place_methods_change_this_handle_alone() {
    type Change = fn(&mut Tensor) -> Result<()>;
    let changes: &[(Change, [f64; 4])] = &[
        (|t| t.add_(&f(&[10., 20.], &[2])), [11., 22., 13., 24.]),
        (|t| t.sub_(&f(&[1.], &[1])), [0., 1., 2., 3.]),
        (|t| t.mul_(&t.clone()), [1., 4., 9., 16.]),
        (|t| t.div_(&f(&[2.], &[1])), [0.5, 1., 1.5, 2.]),
        (|t| t.add_scaled_(&f(&[1.], &[1]), 3.0), [4., 5., 6., 7.]),
        (|t| t.add_scalar_(1.0), [2., 3., 4., 5.]),
        (|t| t.mul_scalar_(2.0), [2., 4., 6., 8.]),
        (|t| t.div_scalar_(2.0), [0.5, 1., 1.5, 2.]),
        (|t| t.fill_(7.0), [7.; 4]),
        (|t| t.zero_(), [0.; 4]),
        (|t| t.copy_(&f(&[5., 6.], &[2]), false), [5., 6., 5., 6.]),
    ];
    for (n, (change, want)) in changes.iter().enumerate() {
        let original = f(&[1., 2., 3., 4.], &[2, 2]);
        let (mut handle, other) = (original.clone(), original.transpose(0, 1).unwrap());
        change(&mut handle).unwrap();
        assert_eq!(vec(&handle), want, "change {n}");
        assert_eq!(vec(&original), [1., 2., 3., 4.], "change {n} was seen by another handle");
        assert_eq!(vec(&other), [1., 3., 2., 4.]);
        // On memory of its own the handle keeps it.
        let mut own = original.copy().unwrap();
        let before = own.storage_nbytes();
        change(&mut own).unwrap();
        assert_eq!((vec(&own).as_slice(), own.storage_nbytes()), (want.as_slice(), before));
        // A strided handle that nobody shares.
        let mut strided = f(&[1., 3., 2., 4.], &[2, 2]).transpose(0, 1).unwrap();
        change(&mut strided).unwrap();
        assert_eq!(vec(&strided), want, "change {n} of a transpose");
    }
    let mut part = range(6, &[2, 3]).narrow(1, 1, 2).unwrap();
    part.add_scalar_(10.0).unwrap();
    assert_eq!(vec(&part), [11., 12., 14., 15.]);
}

#[test]
fn every_dtype_converts_to_every_other() {
    use DType::*;
    let all = [Float16, BFloat16, Float32, Float64, Int32, Int64, UInt8, Bool];
    let source = f(&[0., 1., 2.5, 100.], &[4]);
    for a in all {
        let t = source.to_dtype(a).unwrap();
        assert_eq!((t.dtype(), t.nbytes()), (a, 4 * a.element_size()));
        let want: [f64; 4] = match a {
            Bool => [0., 1., 1., 1.],
            a if a.is_float() => [0., 1., 2.5, 100.],
            _ => [0., 1., 2., 100.],
        };
        assert_eq!(vec(&t), want, "{a}");
        for b in all {
            let again = t.to_dtype(b).unwrap().to_dtype(a).unwrap();
            let lossy = (b == Bool && a != Bool) || (a.is_float() && !b.is_float());
            assert!(lossy || vec(&again) == want, "{a} through {b}: {again}");
        }
        // Views, order, choice and joining work in all of them.
        let m = t.reshape(&[2, 2]).unwrap();
        assert_eq!(vec(&m.transpose(0, 1).unwrap()), [want[0], want[2], want[1], want[3]]);
        assert_eq!(vec(&t.flip(&[0]).unwrap())[0], want[3]);
        assert_eq!(vec(&t.sort(0, true).unwrap().0)[0], want[3]);
        assert_eq!(vec(&t.cat(&t, 0).unwrap()).len(), 8);
        assert_eq!(vec(&t.index_select(0, &i(&[3, 1], &[2])).unwrap()), [want[3], want[1]]);
        assert_eq!(vec(&m.pad(&[1, 0], 1.0).unwrap())[..3], [1., want[0], want[1]]);
        assert_eq!(vec(&m.tril(0).unwrap()), [want[0], 0., want[2], want[3]]);
        let blob = Tensor::from_blob(&t.to_blob().unwrap(), &[4], a, Device::CPU).unwrap();
        assert_eq!(vec(&blob), want);
    }
    let half = source.to_dtype(Float16).unwrap();
    assert_eq!(half.add(&half).unwrap().dtype(), Float16);
    assert_eq!(vec(&half.exp().unwrap())[1], 2.71875, "rounded once");
}

#[test]
fn printing_is_pytorchs() {
    let nan = f32::NAN;
    let inf = f32::INFINITY;
    let mask = i(&[1, 0, 0, 0], &[2, 2]).to_dtype(DType::Bool).unwrap();
    let cases = [
        (f(&[3.5], &[]), "tensor(3.5000)"),
        (i(&[1, -20, 300], &[3]), "tensor([  1, -20, 300])"),
        (mask, "tensor([[ True, False],\n        [False, False]])"),
        (f(&[1., 2., -3.], &[3]), "tensor([ 1.,  2., -3.])"),
        (
            f(&[1.5, -2.25, 0.125, 100.], &[2, 2]),
            "tensor([[  1.5000,  -2.2500],\n        [  0.1250, 100.0000]])",
        ),
        (f(&[1e-5, 1., 20000.], &[3]), "tensor([1.0000e-05, 1.0000e+00, 2.0000e+04])"),
        (f(&[nan, inf, -inf, 1.5], &[4]), "tensor([   nan,    inf,   -inf, 1.5000])"),
        (f(&[nan, 1., -2.], &[3]), "tensor([nan,  1., -2.])"),
        (
            Tensor::from_f64(&[0.1, 0.2], &[2], Device::CPU).unwrap(),
            "tensor([0.1000, 0.2000], dtype=float64)",
        ),
        (i(&[7], &[1]).to_dtype(DType::Int32).unwrap(), "tensor([7], dtype=int32)"),
        (f(&[], &[0]), "tensor([])"),
        (f(&[], &[2, 0]), "tensor([], size=(2, 0))"),
        (i(&[], &[0]), "tensor([], dtype=int64)"),
        (
            range(12, &[2, 3, 2]),
            "tensor([[[ 0.,  1.],\n         [ 2.,  3.],\n         [ 4.,  5.]],\n\n        \
             [[ 6.,  7.],\n         [ 8.,  9.],\n         [10., 11.]]])",
        ),
        (range(4, &[2, 1, 1, 2]), "tensor([[[[0., 1.]]],\n\n\n        [[[2., 3.]]]])"),
        (
            range(2000, &[2000]).to_dtype(DType::Int64).unwrap(),
            "tensor([   0,    1,    2,  ..., 1997, 1998, 1999])",
        ),
        (
            range(10000, &[100, 100]),
            "tensor([[0.0000e+00, 1.0000e+00, 2.0000e+00,  ..., 9.7000e+01, 9.8000e+01,\n         \
             9.9000e+01],\n        [1.0000e+02, 1.0100e+02, 1.0200e+02,  ..., 1.9700e+02, \
             1.9800e+02,\n         1.9900e+02],\n        [2.0000e+02, 2.0100e+02, 2.0200e+02,  \
             ..., 2.9700e+02, 2.9800e+02,\n         2.9900e+02],\n        ...,\n        \
             [9.7000e+03, 9.7010e+03, 9.7020e+03,  ..., 9.7970e+03, 9.7980e+03,\n         \
             9.7990e+03],\n        [9.8000e+03, 9.8010e+03, 9.8020e+03,  ..., 9.8970e+03, \
             9.8980e+03,\n         9.8990e+03],\n        [9.9000e+03, 9.9010e+03, 9.9020e+03,  \
             ..., 9.9970e+03, 9.9980e+03,\n         9.9990e+03]])",
        ),
        (
            range(40, &[40]).to_dtype(DType::Int64).unwrap(),
            "tensor([ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16, 17,\n        \
             18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35,\n        \
             36, 37, 38, 39])",
        ),
        (f(&[1., 123456., 1e9], &[3]), "tensor([1.0000e+00, 1.2346e+05, 1.0000e+09])"),
        (f(&[0.; 4], &[2, 2]), "tensor([[0., 0.],\n        [0., 0.]])"),
    ];
    for (t, want) in cases {
        assert_eq!(t.to_string(), want);
    }
}

#[test]
fn tensors_of_no_elements() {
    let e = Tensor::zeros(&[0, 3], TensorOptions::default()).unwrap();
    assert_eq!((e.numel(), e.nbytes()), (0, 0));
    assert_eq!(e.exp().unwrap().shape(), [0, 3]);
    assert_eq!(e.add(&f(&[1., 2., 3.], &[3])).unwrap().shape(), [0, 3]);
    assert_eq!(e.sum().unwrap().item().unwrap(), 0.0);
    assert_eq!(e.prod().unwrap().item().unwrap(), 1.0);
    assert!(e.mean().unwrap().item().unwrap().is_nan());
    assert_eq!(vec(&e.sum_dim(0, false).unwrap()), [0.; 3]);
    assert_eq!(e.sum_dim(1, false).unwrap().shape(), [0]);
    assert_eq!(e.max_dim(1, false).unwrap().shape(), [0]);
    assert_eq!(e.sort(0, false).unwrap().0.shape(), [0, 3]);
    assert_eq!(e.topk(0, 1, true, true).unwrap().0.shape(), [0, 0]);
    assert_eq!(e.transpose(0, 1).unwrap().reshape(&[0]).unwrap().shape(), [0]);
    assert_eq!(e.cat(&f(&[1., 2., 3.], &[1, 3]), 0).unwrap().shape(), [1, 3]);
    assert_eq!(e.flip(&[0]).unwrap().shape(), [0, 3]);
    assert_eq!(e.roll(2, 0).unwrap().shape(), [0, 3]);
    assert_eq!(e.triu(0).unwrap().shape(), [0, 3]);
    assert_eq!(e.nonzero().unwrap().shape(), [0, 2]);
    assert_eq!(e.unique(true, true).unwrap().0.shape(), [0]);
    assert_eq!(e.unique(true, true).unwrap().1.shape(), [0, 3]);
    assert_eq!(e.median_dim(1, true).unwrap().0.shape(), [0, 1]);
    assert_eq!(vec(&e.pad(&[0, 0, 1, 0], 4.0).unwrap()), [4.; 3]);
    assert_eq!(e.matmul(&f(&[1.; 6], &[3, 2])).unwrap().shape(), [0, 2]);
    let inner = f(&[], &[2, 0]).matmul(&f(&[], &[0, 2])).unwrap();
    assert_eq!(vec(&inner), [0.; 4]);
    assert_eq!(e.softmax(1).unwrap().shape(), [0, 3]);
    assert_eq!(e.masked_select(&e.gt_scalar(0.0).unwrap()).unwrap().shape(), [0]);
    assert_eq!(e.split(2, 0).unwrap().len(), 1);
    assert!(e.all().unwrap().item().unwrap() == 1.0 && e.any().unwrap().item().unwrap() == 0.0);
    let scalar = f(&[3.], &[]);
    assert_eq!(scalar.sort(0, false).unwrap().0.item().unwrap(), 3.0);
    assert_eq!(scalar.nonzero().unwrap().shape(), [1, 0]);
    assert_eq!(scalar.flip(&[0]).unwrap().item().unwrap(), 3.0);
    assert_eq!(scalar.roll(1, 0).unwrap().item().unwrap(), 3.0);
    assert_eq!(scalar.median_dim(-1, false).unwrap().1.item().unwrap(), 0.0);
    assert_eq!(scalar.one_hot(2).unwrap_err().to_string().split(':').next(), Some("one_hot"));
}

#[test]
fn order_and_choice() {
    let t = f(&[3., 1., 2., 3., 0., 2.], &[2, 3]);
    let (values, indices) = t.topk(2, -1, true, true).unwrap();
    assert_eq!((vec(&values), vec(&indices)), (vec![3., 2., 3., 2.], vec![0., 2., 0., 2.]));
    assert_eq!(vec(&t.argsort(0, false).unwrap()), [0., 1., 0., 1., 0., 1.]);
    assert_eq!(t.median().unwrap().item().unwrap(), 2.0);
    let (median, at) = t.median_dim(1, false).unwrap();
    assert_eq!((vec(&median), vec(&at)), (vec![2., 2.], vec![2., 2.]));
    assert_eq!(vec(&t.nonzero().unwrap()), [0., 0., 0., 1., 0., 2., 1., 0., 1., 2.]);
    let (values, inverse) = t.unique(true, true).unwrap();
    assert_eq!(vec(&values), [0., 1., 2., 3.]);
    assert_eq!((inverse.shape(), vec(&inverse)), (vec![2, 3], vec![3., 1., 2., 3., 0., 2.]));
    assert_eq!(vec(&t.unique_counts().unwrap().1), [1., 1., 2., 2.]);
    let runs = i(&[1, 1, 2, 1], &[4]).unique_consecutive(true).unwrap();
    assert_eq!((vec(&runs.0), vec(&runs.1)), (vec![1., 2., 1.], vec![0., 0., 1., 2.]));
    assert_eq!(t.unique(true, false).unwrap().1.numel(), 0);
    let steps = f(&[1., 3., 5.], &[3]);
    let values = f(&[3., 6., 0.], &[3, 1]);
    assert_eq!(vec(&steps.searchsorted(&values).unwrap()), [1., 3., 0.]);
    assert_eq!(vec(&steps.searchsorted_right(&values).unwrap()), [2., 3., 0.]);
    assert_eq!(vec(&i(&[1, 0], &[2]).one_hot(-1).unwrap()), [0., 1., 1., 0.]);
    let mask = t.gt_scalar(1.5).unwrap();
    assert_eq!(vec(&t.masked_select(&mask).unwrap()), [3., 2., 3., 2.]);
    let filled = t.masked_scatter(&mask, &f(&[9., 8., 7., 6., 5.], &[5])).unwrap();
    assert_eq!(vec(&filled), [9., 1., 8., 7., 0., 6.]);
    assert_eq!(vec(&t.take(&i(&[5, 0], &[2])).unwrap()), [2., 3.]);
    assert_eq!(vec(&t.select_scatter(&f(&[7., 8.], &[2]), 1, -1).unwrap())[2], 7.);
    let x = f(&[1., 2., 3.], &[1, 3]);
    assert_eq!(vec(&x.pad_mode(&[2, 1], 1, 0.0).unwrap()), [3., 2., 1., 2., 3., 2.]);
    assert_eq!(vec(&x.pad_mode(&[2, 1], 2, 0.0).unwrap()), [1., 1., 1., 2., 3., 3.]);
    assert_eq!(vec(&x.pad_mode(&[2, 1], 3, 0.0).unwrap()), [2., 3., 1., 2., 3., 1.]);
    // More dims than a kernel pads at once.
    let deep = f(&[1.], &[1, 1, 1, 1, 1]).pad(&[1, 0, 0, 1, 1, 0, 0, 1, 1, 0], 0.0).unwrap();
    assert_eq!(deep.shape(), [2, 2, 2, 2, 2]);
    assert_eq!(vec(&deep.nonzero().unwrap()), [1., 0., 1., 0., 1.]);
}

#[test]
fn a_tensor_is_a_leaf_without_gradient() {
    let t = f(&[1.; 16], &[1, 2, 2, 4]);
    assert!(t.is_leaf() && !t.requires_grad() && t.grad().is_none());
    t.zero_grad().unwrap();
    t.zero_grad_set_to_none();
    let last = range(16, &[1, 2, 2, 4]).to_channels_last().unwrap();
    assert!(last.is_channels_last() && !last.is_contiguous() && !t.is_channels_last());
    assert_eq!(vec(&last), (0..16).map(f64::from).collect::<Vec<_>>());
}

#[test]
fn adam_on_tensors_is_the_optimizers_step() {
    let start = f(&[1., -2., 3.], &[3]);
    let grad = f(&[0.5, 0.25, -1.], &[3]);
    let parameter = Parameter::new(start.clone(), "p");
    let mut optimizer = AdamW::new(std::slice::from_ref(&parameter), 0.1, 0.01);
    let zeros = || Tensor::zeros_like(&start).unwrap();
    let (mut p, mut m, mut v) = (start.clone(), zeros(), zeros());
    let (mut ps, mut ms, mut vs) = ([start.clone()], [zeros()], [zeros()]);
    let scaled = [grad.mul_scalar(4.0).unwrap()];
    let four = f(&[4.], &[]);
    for step in 1..4 {
        parameter.variable.set_grad(grad.clone());
        optimizer.step().unwrap();
        p.adam_step(&grad, &mut m, &mut v, 0.1, 0.9, 0.999, 1e-8, 0.01, step).unwrap();
        let scale = Some(&four);
        let steps = [step];
        let mut fused = |inf: Option<&Tensor>| {
            let (p, m, v) = (&mut ps, &mut ms, &mut vs);
            Tensor::fused_adamw_(p, &scaled, m, v, 0.1, 0.9, 0.999, 1e-8, 0.01, &steps, scale, inf)
        };
        fused(None).unwrap();
        // An overflow skips the step.
        fused(Some(&four)).unwrap();
    }
    let want = vec(&parameter.variable.data());
    assert_eq!(vec(&p), want);
    assert!(vec(&ps[0]).iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-6));
    assert_eq!(vec(&start), [1., -2., 3.]);
}

#[test]
fn a_seed_gives_the_same_numbers_on_any_number_of_threads() {
    let _turn = TURN.lock().unwrap_or_else(|p| p.into_inner());
    let draw = |threads: usize| {
        set_num_threads(threads);
        manual_seed(11);
        let opts = TensorOptions::default();
        let n = 300_001;
        let weights = Tensor::rand(&[50], opts).unwrap();
        let v = Variable::new(Tensor::ones(&[n], opts).unwrap(), false);
        [
            Tensor::rand(&[n], opts).unwrap(),
            Tensor::randn(&[n], opts).unwrap(),
            Tensor::randint(0, 1000, &[n], DType::Int64.into()).unwrap(),
            Tensor::randperm(n, DType::Int64.into()).unwrap(),
            Tensor::full(&[n], 0.3, opts).unwrap().bernoulli().unwrap(),
            weights.multinomial(1000, true).unwrap(),
            weights.multinomial(20, false).unwrap(),
            dropout(&v, 0.4, true).unwrap().data(),
        ]
        .map(|t| t.to_blob().unwrap())
    };
    let before = num_threads();
    let (one, two) = (draw(1), draw(2));
    set_num_threads(before);
    for (n, (a, b)) in one.iter().zip(&two).enumerate() {
        assert!(a == b, "draw {n} depends on the number of threads");
    }
}

#[test]
fn counters_follow_tensors() {
    let _turn = TURN.lock().unwrap_or_else(|p| p.into_inner());
    // Other tests of this process make tensors meanwhile, so only large ones can be seen.
    const SIZE: usize = 512 << 20;
    let before = memory_stats().current;
    let t = Tensor::empty(&[SIZE as i64], DType::UInt8.into()).unwrap();
    assert!(t.storage_nbytes() >= SIZE);
    assert!(memory_stats().current >= before + SIZE / 2);
    let view = t.narrow(0, 0, 1).unwrap();
    assert_eq!(view.storage_nbytes(), t.storage_nbytes());
    drop(t);
    assert!(memory_stats().current >= before + SIZE / 2, "the view keeps the storage");
    drop(view);
    assert!(memory_stats().current < before + SIZE / 2);
    assert!(memory_stats().peak >= before.min(SIZE));
    empty_cache();
}

#[test]
fn integers_stay_integers_with_whole_numbers_in_any_number_of_dims() {
    let deep =
        |n: &[i64]| Tensor::from_i64(n, &[&[1; 20], &[3][..]].concat(), Device::CPU).unwrap();
    let x = deep(&[-4, 0, 7]);
    let read = |t: Result<Tensor>| t.unwrap().to_i64_vec().unwrap();
    assert_eq!(read(x.add_scalar(2.0)), [-2, 2, 9]);
    assert_eq!(read(x.sub_scalar(2.0)), [-6, -2, 5]);
    assert_eq!(read(x.mul_scalar(-3.0)), [12, 0, -21]);
    assert_eq!(read(x.clamp(-1.0, 5.0)), [-1, 0, 5]);
    assert_eq!(read(x.clamp_min(1.0)), [1, 1, 7]);
    assert_eq!(read(x.clamp_max(1.0)), [-4, 0, 1]);
    // PyTorch: the upper bound wins.
    assert_eq!(read(x.clamp(5.0, -1.0)), [-1, -1, -1]);
    assert_eq!(read(x.relu()), [0, 0, 7]);
    assert_eq!(read(x.fmod(3.0)), [-1, 0, 1]);
    assert_eq!(read(x.remainder(3.0)), [2, 0, 1]);
    // Nothing is divided where there is nothing.
    let none = Tensor::zeros(&[0], DType::Int64.into()).unwrap();
    assert_eq!(read(none.fmod(0.0)), [0i64; 0]);
    // The relative tolerance is a fraction of integers too.
    let near = deep(&[100, 100, 100]).isclose(&deep(&[101, 102, 100]), 0.01, 0.0).unwrap();
    assert_eq!(near.to_i64_vec().unwrap(), [1, 0, 1]);
}
