//! Times of convolution passes: `cargo run --release -p flodl-cpu --example conv_bench [filter]`.

use std::time::Instant;

use flodl_cpu::conv::{
    ConvGeom, conv_backward_data, conv_backward_weight, conv_forward, conv_output_size,
};
use flodl_cpu::random::{Key, uniform};

fn time(mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    f();
    let once = start.elapsed().as_secs_f64();
    let reps = (0.3 / once).clamp(2.0, 2000.0) as usize;
    (0..reps)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64()
        })
        .fold(once, f64::min)
}

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    // name, batch, groups, c_in, c_out, input, kernel, stride, padding, dilation
    type Row = (&'static str, [usize; 4], [usize; 3], [usize; 3], usize, usize, usize);
    let rows: [Row; 19] = [
        ("3->64@64 b128", [128, 1, 3, 64], [1, 64, 64], [1, 3, 3], 1, 1, 1),
        ("64->128@32 b128", [128, 1, 64, 128], [1, 32, 32], [1, 3, 3], 1, 1, 1),
        ("128->256@16 b128", [128, 1, 128, 256], [1, 16, 16], [1, 3, 3], 1, 1, 1),
        ("256->512@8 b128", [128, 1, 256, 512], [1, 8, 8], [1, 3, 3], 1, 1, 1),
        ("512->512@4 b128", [128, 1, 512, 512], [1, 4, 4], [1, 3, 3], 1, 1, 1),
        ("64->64 k3 32x32 b32", [32, 1, 64, 64], [1, 32, 32], [1, 3, 3], 1, 1, 1),
        ("64->128 k3 s2 b32", [32, 1, 64, 128], [1, 32, 32], [1, 3, 3], 2, 1, 1),
        ("64->64 k1 b32", [32, 1, 64, 64], [1, 32, 32], [1, 1, 1], 1, 0, 1),
        ("depthwise 64 b32", [32, 64, 64, 64], [1, 32, 32], [1, 3, 3], 1, 1, 1),
        ("dilated 64->64 b32", [32, 1, 64, 64], [1, 32, 32], [1, 3, 3], 1, 2, 2),
        ("conv1d 64->128 k5 L512 b32", [32, 1, 64, 128], [1, 1, 512], [1, 1, 5], 1, 2, 1),
        ("conv3d 16->32 16^3 b8", [8, 1, 16, 32], [16, 16, 16], [3, 3, 3], 1, 1, 1),
        ("4x4 s2 3->64 64x64 b64", [64, 1, 3, 64], [1, 64, 64], [1, 4, 4], 2, 1, 1),
        ("4x4 s2 64->128 32x32 b64", [64, 1, 64, 128], [1, 32, 32], [1, 4, 4], 2, 1, 1),
        ("4x4 s2 128->256 16x16 b64", [64, 1, 128, 256], [1, 16, 16], [1, 4, 4], 2, 1, 1),
        ("4x4 s2 256->512 8x8 b64", [64, 1, 256, 512], [1, 8, 8], [1, 4, 4], 2, 1, 1),
        ("tiny 3->8 8x8 b1", [1, 1, 3, 8], [1, 8, 8], [1, 3, 3], 1, 0, 1),
        ("digits 1->16 28x28 b64", [64, 1, 1, 16], [1, 28, 28], [1, 3, 3], 1, 1, 1),
        ("digits 16->32 14x14 b64", [64, 1, 16, 32], [1, 14, 14], [1, 3, 3], 1, 1, 1),
    ];
    println!("{:28} {:>12} {:>12} {:>12}   µs (GFLOP/s)", "", "forward", "by data", "by weight");
    for (name, [batch, groups, c_in, c_out], input, kernel, s, p, d) in rows {
        if !name.contains(&filter) {
            continue;
        }
        // The settings apply to the dims that have a kernel.
        let used =
            |v: usize, one: usize| std::array::from_fn(|i| if input[i] > 1 { v } else { one });
        let (stride, padding, dilation) = (used(s, 1), used(p, 0), used(d, 1));
        let output = std::array::from_fn(|i| {
            conv_output_size(input[i], kernel[i], stride[i], padding[i], dilation[i]).unwrap_or(0)
        });
        let g = ConvGeom {
            batch,
            groups,
            c_in,
            c_out,
            input,
            output,
            kernel,
            stride,
            padding,
            dilation,
        };
        let volume = |d: [usize; 3]| d.iter().product::<usize>();
        let make = |n: usize| {
            let mut v = vec![0f32; n];
            uniform(Key { seed: 1, offset: 0 }, &mut v);
            v
        };
        let mut x = make(batch * c_in * volume(input));
        let mut w = make(c_out * c_in / groups * volume(kernel));
        let mut y = make(batch * c_out * volume(output));
        let work = 2.0 * (y.len() * c_in / groups * volume(kernel)) as f64;
        let forward = time(|| conv_forward(&g, &x, &w, None, &mut y).unwrap_or_default());
        let data = time(|| conv_backward_data(&g, &y, &w, None, &mut x).unwrap_or_default());
        let weight = time(|| conv_backward_weight(&g, &x, &y, &mut w).unwrap_or_default());
        print!("{name:28}");
        for t in [forward, data, weight] {
            print!(" {:>7.0} ({:>3.0})", t * 1e6, work / t / 1e9);
        }
        println!();
    }
}
