//! Times of the random, pooling, indexing and resampling kernels, minimum and median in µs.

use std::time::Instant;

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
    time("randn 1M", &mut || random::normal(key, 0.0, 1.0, &mut y[..1 << 20]));
}
