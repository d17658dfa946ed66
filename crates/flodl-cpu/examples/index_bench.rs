//! Times of the random, pooling, indexing and resampling kernels, minimum and median in µs.

use std::time::Instant;

use flodl_cpu::pool::{self, AvgRule, PoolGeom};
use flodl_cpu::random::{self, Drop, Key};

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
