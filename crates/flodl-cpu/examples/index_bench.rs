//! Times of the random, pooling, indexing and resampling kernels, minimum and median in µs.

use std::time::Instant;

use flodl_cpu::index::{self, Around, Bag, BagInput};
use flodl_cpu::pad::{self, PadGeom, PadMode};
use flodl_cpu::pool::{self, AvgRule, PoolGeom};
use flodl_cpu::random::{self, Drop, Key};
use flodl_cpu::resample::{self, Interpolation, ResampleGeom};
use flodl_cpu::{scan, sort};

/// Prints the minimum and median time of `f`.
fn time(name: &str, mut f: impl FnMut()) {
    for _ in 0..3 {
        f();
    }
    let mut t: Vec<f64> = (0..30)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    t.sort_by(f64::total_cmp);
    println!("{name:40} min {:9.1}  median {:9.1}", t[0], t[t.len() / 2]);
}

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let time = |name: &str, f: &mut dyn FnMut()| {
        if name.contains(&filter) {
            time(name, f);
        }
    };
    let key = Key { seed: 1, offset: 0 };
    let n = 4096 * 512;
    let x = vec![1.0f32; n];
    let mut y = vec![0.0f32; n];
    let mut m = vec![0u8; n];
    time("dropout 4096x512", &mut || random::dropout(key, Drop::plain(0.5), &x, &mut y, None));
    time("dropout+mask 4096x512", &mut || {
        random::dropout(key, Drop::plain(0.5), &x, &mut y, Some(&mut m));
    });
    time("dropout 1x16", &mut || {
        for _ in 0..1000 {
            random::dropout(key, Drop::plain(0.5), &x[..16], &mut y[..16], None);
        }
    });
    time("rand 1M", &mut || random::uniform(key, &mut y[..1 << 20]));
    pools(&time);
    tables(&time);
    orders(&time);
    resizes(&time);
    time("randn 1M", &mut || random::normal(key, 0.0, 1.0, &mut y[..1 << 20]));
}

fn pools(time: &dyn Fn(&str, &mut dyn FnMut())) {
    let key = Key { seed: 1, offset: 0 };
    let n = 32 * 64 * 32 * 32;
    let mut x = vec![0.0f32; n];
    random::normal(key, 0.0, 1.0, &mut x);
    let mut dx = vec![0.0f32; n];
    let (mut y, mut i) = (vec![0.0f32; n], vec![0i32; n]);
    for (name, g) in [
        ("pool1d k2", PoolGeom::new(2048, &[512], &[256], &[2], &[2], &[0], &[1])),
        (
            "pool2d k2",
            PoolGeom::new(2048, &[32, 32], &[16, 16], &[2, 2], &[2, 2], &[0, 0], &[1, 1]),
        ),
        (
            "pool2d k3 s2 p1",
            PoolGeom::new(2048, &[32, 32], &[16, 16], &[3, 3], &[2, 2], &[1, 1], &[1, 1]),
        ),
        ("pool2d k2 tiny", PoolGeom::new(4, &[8, 8], &[4, 4], &[2, 2], &[2, 2], &[0, 0], &[1, 1])),
    ] {
        let (large, small): (usize, usize) = (
            g.input.iter().product::<usize>() * g.planes,
            g.output.iter().product::<usize>() * g.planes,
        );
        let rule = AvgRule { count_include_pad: true, divisor_override: None };
        let (x, dx, y, i) = (&x[..large], &mut dx[..large], &mut y[..small], &mut i[..small]);
        time(&format!("max{name} fwd"), &mut || pool::max_pool(&g, x, y, Some(i)));
        time(&format!("max{name} bwd"), &mut || pool::max_pool_backward(g.planes, y, i, dx));
        time(&format!("avg{name} fwd"), &mut || pool::avg_pool(&g, rule, x, y));
        time(&format!("avg{name} bwd"), &mut || pool::avg_pool_backward(&g, rule, y, dx));
    }
    for o in [1, 7] {
        let (input, output) = ([1, 32, 32], [1, o, o]);
        let small = 2048 * o * o;
        let (y, i) = (&mut y[..small], &mut i[..small]);
        time(&format!("adaptive avg {o} fwd"), &mut || {
            pool::adaptive_avg_pool(2048, input, output, &x, y);
        });
        time(&format!("adaptive avg {o} bwd"), &mut || {
            pool::adaptive_avg_pool_backward(2048, input, output, y, &mut dx);
        });
        time(&format!("adaptive max {o} fwd"), &mut || {
            pool::adaptive_max_pool(2048, input, output, &x, y, Some(i));
        });
        time(&format!("adaptive max {o} bwd"), &mut || {
            pool::max_pool_backward(2048, y, i, &mut dx);
        });
    }
}

fn tables(time: &dyn Fn(&str, &mut dyn FnMut())) {
    let key = Key { seed: 1, offset: 0 };
    let (v, d, n) = (10_000, 64, 8192);
    let mut table = vec![0.0f32; v * d];
    random::normal(key, 0.0, 1.0, &mut table);
    let mut idx = vec![0; n];
    random::randint(key, 0, v as i64, &mut idx);
    let (mut out, mut dw) = (vec![0.0f32; n * d], vec![0.0f32; v * d]);
    time("embedding fwd", &mut || index::embedding(&table, d, &idx, &mut out));
    time("embedding bwd", &mut || {
        index::embedding_backward(d, &idx, None, false, &out, &mut dw);
    });
    let offsets: Vec<i64> = (0..256).map(|i| 32 * i).collect();
    let bags = BagInput { idx: &idx, offsets: &offsets, weights: None, padding_idx: None };
    let out = &mut out[..256 * d];
    let mut arg = vec![0; 256 * d];
    for mode in [Bag::Sum, Bag::Mean, Bag::Max] {
        time(&format!("embedding_bag {mode:?} fwd"), &mut || {
            let arg = (mode == Bag::Max).then_some(&mut arg[..]);
            index::embedding_bag(mode, &table, d, bags, out, arg);
        });
        time(&format!("embedding_bag {mode:?} bwd"), &mut || {
            index::embedding_bag_backward(mode, d, bags, out, &arg, &mut dw);
        });
    }
}

fn orders(time: &dyn Fn(&str, &mut dyn FnMut())) {
    let n = 1 << 20;
    let mut x = vec![0.0f32; n];
    random::normal(Key { seed: 1, offset: 0 }, 0.0, 1.0, &mut x);
    let (mut y, mut i) = (vec![0.0f32; n], vec![0; n]);
    let rows = Around { outer: 1024, len: 1024, inner: 1 };
    let cols = Around { outer: 1, len: 1024, inner: 1024 };
    time("sort 1024x1024 dim1", &mut || sort::sort(rows, false, &x, &mut y, &mut i));
    time("sort 1024x1024 dim0", &mut || sort::sort(cols, false, &x, &mut y, &mut i));
    time("topk 1024x1024 k10", &mut || {
        sort::topk(rows, 10, true, &x, &mut y[..10_240], &mut i[..10_240]);
    });
    time("median 1024x1024", &mut || sort::median(rows, &x, &mut y[..1024], &mut i[..1024]));
    let ints: Vec<i64> = x.iter().map(|v| (v * 100.0) as i64).collect();
    time("unique 1M", &mut || {
        std::hint::black_box(sort::unique(&ints));
    });
    time("cumsum dim1", &mut || scan::cumsum(rows, false, &x, &mut y));
    time("cumsum dim0", &mut || scan::cumsum(cols, false, &x, &mut y));
}

fn resizes(time: &dyn Fn(&str, &mut dyn FnMut())) {
    let n = 2048 * 32 * 32;
    let mut x = vec![0.0f32; n];
    random::normal(Key { seed: 1, offset: 0 }, 0.0, 1.0, &mut x);
    let mut y = vec![0.0f32; 4 * n];
    let g = PadGeom { planes: 2048, input: [1, 32, 32], before: [0, 1, 1], after: [0, 1, 1] };
    let m = 2048 * 34 * 34;
    for (name, mode) in [("reflection", PadMode::Reflect), ("zero", PadMode::Constant(0.0))] {
        time(&format!("{name} pad fwd"), &mut || pad::pad(&g, mode, &x, &mut y[..m]));
        time(&format!("{name} pad bwd"), &mut || pad::pad_backward(&g, mode, &y[..m], &mut x));
    }
    for mode in [Interpolation::Nearest, Interpolation::Linear, Interpolation::Cubic] {
        let g = ResampleGeom {
            planes: 2048,
            input: [1, 32, 32],
            output: [1, 64, 64],
            scale: [None; 3],
            align_corners: false,
            mode,
        };
        time(&format!("upsample {mode:?} x2 fwd"), &mut || resample::resample(&g, &x, &mut y));
        time(&format!("upsample {mode:?} x2 bwd"), &mut || {
            resample::resample_backward(&g, &y, &mut x);
        });
        let tiny = ResampleGeom { planes: 4, input: [1, 8, 8], output: [1, 16, 16], ..g };
        time(&format!("upsample {mode:?} tiny"), &mut || {
            resample::resample(&tiny, &x[..256], &mut y[..1024]);
        });
    }
}
