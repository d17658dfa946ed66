//! Times of the elementwise, reduction, normalisation, loss and optimizer kernels, to compare with
//! another library's on the same shapes. Prints the fastest and the median time of each.

use std::time::Instant;

use flodl_cpu::alloc::Scratch;
use flodl_cpu::elementwise::{BinaryOp, UnaryOp, binary, binary_in_place, copy, unary};
use flodl_cpu::loss::{CrossEntropy, cross_entropy_backward, cross_entropy_forward};
use flodl_cpu::norm::{
    BatchNorm, batch_norm_backward, batch_norm_forward, group_norm_backward, group_norm_forward,
    layer_norm_backward, layer_norm_forward, rms_norm_backward, rms_norm_forward,
};
use flodl_cpu::pool::{PoolGeom, max_pool};
use flodl_cpu::reduce::{ArgOp, ReduceOp, arg_reduce, reduce, var};
use flodl_cpu::softmax::{log_softmax, softmax, softmax_backward};
use flodl_cpu::strided::View;

/// Runs `f` until half a second has passed and prints the times in microseconds.
fn time(name: &str, mut f: impl FnMut()) {
    let only = std::env::args().nth(1).unwrap_or_default();
    if !name.contains(&only) {
        return;
    }
    f();
    let begin = Instant::now();
    let mut times = Vec::new();
    while times.len() < 5 || begin.elapsed().as_secs_f64() < 0.4 {
        let start = Instant::now();
        f();
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    println!("{name:32} min {:10.1} us  median {:10.1} us", times[0], times[times.len() / 2]);
}

/// Memory as tensors have it: aligned to cache lines, which a `Vec` is not.
fn buffer(n: usize) -> Scratch<f32> {
    let mut buffer = Scratch::new(n).expect("memory");
    buffer.fill(0.0);
    buffer
}

fn ramp(n: usize) -> Scratch<f32> {
    let mut buffer = buffer(n);
    for (i, x) in buffer.iter_mut().enumerate() {
        *x = ((i * 7919) % 1000) as f32 * 0.008 - 4.0;
    }
    buffer
}

fn main() {
    elementwise();
    reductions();
    rows();
    images();
    large();
}

fn elementwise() {
    let (rows, columns) = (4096, 512);
    let n = rows * columns;
    let (x, y, mut out) = (ramp(n), ramp(n), buffer(n));
    let dims = [rows, columns];
    let view = |x| View { data: x, dims: &dims, strides: &[512, 1] };
    for (name, op) in [
        ("exp", UnaryOp::Exp),
        ("log", UnaryOp::Log),
        ("tanh", UnaryOp::Tanh),
        ("sigmoid", UnaryOp::Sigmoid),
        ("erf", UnaryOp::Erf),
        ("gelu", UnaryOp::Gelu),
        ("gelu_tanh", UnaryOp::GeluTanh),
        ("silu", UnaryOp::Silu),
        ("mish", UnaryOp::Mish),
        ("sin", UnaryOp::Sin),
        ("relu", UnaryOp::Relu),
        ("neg", UnaryOp::Neg),
    ] {
        time(&format!("{name} 4096x512"), || unary(op, view(&x), &mut out));
    }
    for (name, op) in [
        ("add", BinaryOp::Add),
        ("mul", BinaryOp::Mul),
        ("gelu_grad", BinaryOp::GeluGrad),
        ("tanh_grad", BinaryOp::TanhGrad),
    ] {
        time(&format!("{name} 4096x512"), || binary(op, view(&x), view(&y), &mut out));
    }
    let bias = View { data: &y[..512], dims: &dims, strides: &[0, 1] };
    time("add bias 4096x512", || binary(BinaryOp::Add, view(&x), bias, &mut out));
    let column = View { data: &y[..4096], dims: &dims, strides: &[1, 0] };
    time("mul column 4096x512", || binary(BinaryOp::Mul, view(&x), column, &mut out));
    time("add in place 4096x512", || binary_in_place(BinaryOp::Add, &mut out, view(&x)));
    let t = View { data: &x, dims: &[512, 4096], strides: &[1, 512] };
    time("transpose 4096x512", || copy(t, &mut out));
    let heads = View { data: &x, dims: &[8, 8, 512, 64], strides: &[262144, 64, 512, 1] };
    time("heads permute 8x512x8x64", || copy(heads, &mut out));
    let small = View { data: &x[..16], dims: &[1, 16], strides: &[16, 1] };
    time("1000 x relu 1x16", || {
        (0..1000).for_each(|_| unary(UnaryOp::Relu, std::hint::black_box(small), &mut out[..16]));
    });
    time("1000 x add 1x16", || {
        (0..1000).for_each(|_| {
            binary(BinaryOp::Add, std::hint::black_box(small), small, &mut out[..16])
        });
    });
    let wide = View { data: &x[..16], dims: &[4, 16], strides: &[0, 1] };
    let four = View { data: &x[..64], dims: &[4, 16], strides: &[16, 1] };
    time("1000 x add bias 4x16", || {
        (0..1000)
            .for_each(|_| binary(BinaryOp::Add, std::hint::black_box(four), wide, &mut out[..64]));
    });
}

fn reductions() {
    let x = ramp(4096 * 512);
    let mut out = vec![0.0f32; 4096];
    let mut places = vec![0i64; 4096];
    let view = View { data: &x, dims: &[4096, 512], strides: &[512, 1] };
    let images = View { data: &x, dims: &[32, 64, 1024], strides: &[65536, 1024, 1] };
    let mut run = |name: &str, op, view, flags: &[bool], n: usize| {
        time(name, || reduce(op, view, flags, &mut out[..n]).expect("scratch memory"));
    };
    run("sum all 4096x512", ReduceOp::Sum, view, &[true, true], 1);
    run("sum dim0 4096x512", ReduceOp::Sum, view, &[true, false], 512);
    run("sum dim1 4096x512", ReduceOp::Sum, view, &[false, true], 4096);
    let mut sums = buffer(32 * 1024);
    time("sum middle 32x64x1024", || {
        reduce(ReduceOp::Sum, images, &[false, true, false], &mut sums).expect("scratch memory");
    });
    run("sum channels 32x64x1024", ReduceOp::Sum, images, &[true, false, true], 64);
    run("max dim1 4096x512", ReduceOp::Max, view, &[false, true], 4096);
    time("argmax dim1 4096x512", || {
        arg_reduce(ArgOp::Max, view, 1, &mut places).expect("scratch memory");
    });
    time("var dim1 4096x512", || {
        var(view, &[false, true], 1.0, &mut out).expect("scratch memory");
    });
}

fn rows() {
    let n = 1 << 20;
    let (x, g, mut out) = (ramp(n), ramp(n), buffer(n));
    let dims = [1024, 1024, 1];
    time("softmax 1024x1024", || softmax(&x, dims, &mut out));
    time("log_softmax 1024x1024", || log_softmax(&x, dims, &mut out));
    time("softmax_grad 1024x1024", || softmax_backward(&g, &x, dims, &mut out));
    time("softmax dim0 1024x1024", || softmax(&x, [1, 1024, 1024], &mut out));

    let n = 4096 * 512;
    let (x, g, w) = (ramp(n), ramp(n), ramp(512));
    let (mut out, mut mean, mut rstd) = (buffer(n), vec![0.0; 4096], vec![0.0; 4096]);
    let (mut dw, mut db) = (vec![0.0f32; 512], vec![0.0f32; 512]);
    time("layer_norm 4096x512", || {
        layer_norm_forward(&x, None, 512, Some(&w), Some(&w), 1e-5, &mut out, &mut mean, &mut rstd);
    });
    time("layer_norm_grad 4096x512", || {
        let (dx, dw, db) = (Some(&mut out[..]), Some(&mut dw[..]), Some(&mut db[..]));
        layer_norm_backward(&g, &x, 512, Some(&w), &mean, &rstd, None, dx, dw, db)
            .expect("scratch");
    });
    time("rms_norm 4096x512", || {
        rms_norm_forward(&x, None, 512, Some(&w), 1e-5, &mut out, &mut rstd);
    });
    time("rms_norm_grad 4096x512", || {
        let (dx, dw) = (Some(&mut out[..]), Some(&mut dw[..]));
        rms_norm_backward(&g, &x, 512, Some(&w), &rstd, None, dx, dw).expect("scratch");
    });
}

fn images() {
    let n = 32 * 64 * 1024;
    let (x, g, w) = (ramp(n), ramp(n), ramp(64));
    let mut out = buffer(n);
    let mut v = vec![vec![0.0f32; 64]; 5];
    let [mean, var, rstd, dw, db] = &mut v[..] else { return };
    let affine = Some(&w[..]);
    for (dims, relu) in [([32, 64, 1024], false), ([32, 64, 1024], true), ([32768, 64, 1], false)] {
        let relu_name = if relu { " relu" } else { "" };
        time(&format!("batch_norm{relu_name} {dims:?}"), || {
            batch_norm_forward(&x, dims, affine, affine, 1e-5, relu, &mut out, mean, var, rstd)
                .expect("scratch");
        });
        let norm =
            BatchNorm { dims, training: true, weight: affine, bias: affine, mean, rstd, relu };
        time(&format!("batch_norm_grad{relu_name} {dims:?}"), || {
            let (dx, dw, db) = (Some(&mut out[..]), Some(&mut dw[..]), Some(&mut db[..]));
            batch_norm_backward(&norm, &g, &x, dx, dw, db).expect("scratch");
        });
    }
    let dims = [32, 64, 1024];
    let mut places = vec![0i32; n];
    for (name, k, s, p) in
        [("max_pool k2 32x64x32x32", 2, 2, 0), ("max_pool k3 s2 p1 32x64x32x32", 3, 2, 1)]
    {
        let g = PoolGeom::new(32 * 64, &[32, 32], &[16, 16], &[k; 2], &[s; 2], &[p; 2], &[1; 2]);
        let len = 32 * 64 * 256;
        time(name, || max_pool(&g, &x, &mut out[..len], Some(&mut places[..len])));
    }
    let (mut mean, mut rstd) = (vec![0.0; 32 * 8], vec![0.0; 32 * 8]);
    time("group_norm 32x64x32x32 8", || {
        let (m, r) = (&mut mean, &mut rstd);
        group_norm_forward(&x, dims, 8, Some(&w), Some(&w), 1e-5, &mut out, m, r);
    });
    time("group_norm_grad 32x64x32x32 8", || {
        let (dx, dw, db) = (Some(&mut out[..]), Some(&mut dw[..]), Some(&mut db[..]));
        group_norm_backward(&g, &x, dims, 8, Some(&w), &mean, &rstd, dx, dw, db).expect("scratch");
    });
}

fn large() {
    let (rows, classes) = (4096, 8192);
    let (x, mut dx) = (ramp(rows * classes), buffer(rows * classes));
    let targets: Vec<i64> = (0..rows).map(|i| (i * 7919 % classes) as i64).collect();
    let (mut lse, mut loss) = (vec![0.0; rows], [0.0]);
    let o = CrossEntropy::default();
    time("cross_entropy 4096x8192", || {
        cross_entropy_forward(&o, &x, classes, &targets, &mut lse, &mut loss).expect("scratch");
    });
    time("cross_entropy+grad 4096x8192", || {
        let w = cross_entropy_forward(&o, &x, classes, &targets, &mut lse, &mut loss);
        let w = w.expect("scratch");
        cross_entropy_backward(&o, &[1.0], &x, classes, &targets, &lse, w, &mut dx);
    });
}
