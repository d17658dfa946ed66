//! Times convolutions: `conv_bench [part of a name]`. Prints for each shape the least and the
//! median time in ms of the forward pass and of the gradients by data and by weight, and the speed
//! of the fastest calls in GFLOP/s.

use std::time::Instant;

use flodl_cpu::conv::{ConvGeom, conv_backward_data, conv_backward_weight, conv_forward};

/// Name; batch, groups, c_in, c_out; input, kernel; stride, padding, dilation (the same for all
/// axes that are not 1).
type Shape = (&'static str, [usize; 4], [usize; 3], [usize; 3], [usize; 3]);

const SHAPES: &[Shape] = &[
    ("convnet 3->64@64", [128, 1, 3, 64], [1, 64, 64], [1, 3, 3], [1, 1, 1]),
    ("convnet 64->128@32", [128, 1, 64, 128], [1, 32, 32], [1, 3, 3], [1, 1, 1]),
    ("convnet 128->256@16", [128, 1, 128, 256], [1, 16, 16], [1, 3, 3], [1, 1, 1]),
    ("convnet 256->512@8", [128, 1, 256, 512], [1, 8, 8], [1, 3, 3], [1, 1, 1]),
    ("convnet 512->512@4", [128, 1, 512, 512], [1, 4, 4], [1, 3, 3], [1, 1, 1]),
    ("k3 64->64@32", [32, 1, 64, 64], [1, 32, 32], [1, 3, 3], [1, 1, 1]),
    ("k3 64->64@56", [8, 1, 64, 64], [1, 56, 56], [1, 3, 3], [1, 1, 1]),
    ("k3 128->128@28 b2", [2, 1, 128, 128], [1, 28, 28], [1, 3, 3], [1, 1, 1]),
    ("stride2 64->128@32", [32, 1, 64, 128], [1, 32, 32], [1, 3, 3], [2, 1, 1]),
    ("stem k7 3->64@64", [32, 1, 3, 64], [1, 64, 64], [1, 7, 7], [2, 3, 1]),
    ("stem k7 3->64@224", [4, 1, 3, 64], [1, 224, 224], [1, 7, 7], [2, 3, 1]),
    ("stride2 32->64@112", [4, 1, 32, 64], [1, 112, 112], [1, 3, 3], [2, 1, 1]),
    ("stride2 k5 32->64@32", [32, 1, 32, 64], [1, 32, 32], [1, 5, 5], [2, 2, 1]),
    ("1x1 64->64@32", [32, 1, 64, 64], [1, 32, 32], [1, 1, 1], [1, 0, 1]),
    ("1x1 64->256@32", [32, 1, 64, 256], [1, 32, 32], [1, 1, 1], [1, 0, 1]),
    ("1x1 512->512@7", [32, 1, 512, 512], [1, 7, 7], [1, 1, 1], [1, 0, 1]),
    ("depthwise 64@32", [32, 64, 64, 64], [1, 32, 32], [1, 3, 3], [1, 1, 1]),
    ("depthwise 256@14", [32, 256, 256, 256], [1, 14, 14], [1, 3, 3], [1, 1, 1]),
    ("dilated 64->64@32", [32, 1, 64, 64], [1, 32, 32], [1, 3, 3], [1, 2, 2]),
    ("conv1d 64->128 k5", [32, 1, 64, 128], [1, 1, 512], [1, 1, 5], [1, 2, 1]),
    ("conv3d 16->32@16", [8, 1, 16, 32], [16, 16, 16], [3, 3, 3], [1, 1, 1]),
    ("conv3d k4s2 16->32@16", [8, 1, 16, 32], [16, 16, 16], [4, 4, 4], [2, 1, 1]),
    ("k4s2 3->64@64", [64, 1, 3, 64], [1, 64, 64], [1, 4, 4], [2, 1, 1]),
    ("k4s2 64->128@32", [64, 1, 64, 128], [1, 32, 32], [1, 4, 4], [2, 1, 1]),
    ("k4s2 128->256@16", [64, 1, 128, 256], [1, 16, 16], [1, 4, 4], [2, 1, 1]),
    ("k4s2 256->512@8", [64, 1, 256, 512], [1, 8, 8], [1, 4, 4], [2, 1, 1]),
    ("digits 1->16@28", [64, 1, 1, 16], [1, 28, 28], [1, 3, 3], [1, 1, 1]),
    ("digits 16->32@14", [64, 1, 16, 32], [1, 14, 14], [1, 3, 3], [1, 1, 1]),
    ("tiny 3->8@8", [1, 1, 3, 8], [1, 8, 8], [1, 3, 3], [1, 1, 1]),
];

fn geom(
    &(_, [batch, groups, c_in, c_out], input, kernel, [stride, padding, dilation]): &Shape,
) -> ConvGeom {
    let on = |i: usize, value: usize, other: usize| if input[i] == 1 { other } else { value };
    let all = |value, other| [0, 1, 2].map(|i| on(i, value, other));
    let (stride, padding, dilation) = (all(stride, 1), all(padding, 0), all(dilation, 1));
    let output = [0, 1, 2]
        .map(|i| (input[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) / stride[i] + 1);
    ConvGeom { batch, groups, c_in, c_out, input, output, kernel, stride, padding, dilation }
}

/// Least and median seconds per call, over some 0.3 s.
fn time(mut f: impl FnMut()) -> (f64, f64) {
    f();
    let start = Instant::now();
    f();
    let once = start.elapsed().as_secs_f64().max(1e-8);
    let calls = (2e-4 / once).clamp(1.0, 10_000.0) as usize;
    let rounds = (0.3 / (once * calls as f64)).clamp(5.0, 300.0) as usize;
    let mut times: Vec<f64> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..calls {
                f();
            }
            start.elapsed().as_secs_f64() / calls as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[0], times[rounds / 2])
}

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    for shape in SHAPES.iter().filter(|s| s.0.contains(&wanted)) {
        let g = geom(shape);
        let numbers = |len: usize| -> Vec<f32> {
            (0..len).map(|i| (i * 7919 % 31) as f32 / 31.0 - 0.5).collect()
        };
        let (x, w, dy) = (numbers(g.x_len()), numbers(g.w_len()), numbers(g.y_len()));
        let (mut dx, mut dw, mut y) = (x.clone(), w.clone(), dy.clone());
        let forward = time(|| conv_forward(&g, &x, &w, None, &mut y).expect("memory"));
        let data = time(|| conv_backward_data(&g, &dy, &w, None, &mut dx).expect("memory"));
        let weight = time(|| conv_backward_weight(&g, &x, &dy, &mut dw).expect("memory"));
        let flop = 2e-9 * (g.y_len() * g.w_len() / g.c_out) as f64;
        print!("{:20}", shape.0);
        for (least, median) in [forward, data, weight] {
            print!(" {:8.3} {:8.3} {:5.0}", least * 1e3, median * 1e3, flop / least);
        }
        println!();
    }
}
