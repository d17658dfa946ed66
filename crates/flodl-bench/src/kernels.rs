//! Kernels against PyTorch's for the same shapes.

use flodl::*;

use crate::Common;
use crate::rows::{self, Spec, Work};

/// Rows, columns and inner size of the matrix products: those of training steps, then skinny ones,
/// then long sums of few elements.
const PRODUCTS: [[i64; 3]; 19] = [
    [256, 2048, 1024],
    [256, 2048, 2048],
    [4096, 512, 512],
    [4096, 8192, 512],
    [128, 768, 256],
    [128, 2048, 512],
    [4096, 2048, 512],
    [256, 1024, 1024],
    [128, 512, 512],
    [64, 128, 784],
    [64, 10, 128],
    [1, 2048, 2048],
    [2048, 1, 2048],
    [4096, 16, 512],
    [16, 4096, 512],
    [16, 16, 1],
    [16, 16, 8192],
    [64, 64, 8192],
    [10, 784, 4096],
];

/// Batch, channels in, channels out, kernel, stride, padding and size of the convolutions: the
/// convnet's, then one of each other kind.
const CONVS: [[i64; 7]; 9] = [
    [128, 3, 64, 3, 1, 1, 64],
    [128, 64, 128, 3, 1, 1, 32],
    [128, 128, 256, 3, 1, 1, 16],
    [128, 256, 512, 3, 1, 1, 8],
    [128, 512, 512, 3, 1, 1, 4],
    [8, 64, 64, 3, 1, 1, 56],
    [32, 64, 64, 1, 1, 0, 32],
    [64, 64, 128, 4, 2, 1, 32],
    [32, 3, 64, 7, 2, 3, 64],
];

fn randn(shape: &[i64]) -> Result<Tensor> {
    Tensor::randn(shape, TensorOptions::default())
}

fn leaf(shape: &[i64]) -> Result<Variable> {
    Ok(Variable::new(randn(shape)?, true))
}

fn product(layout: &str, [m, n, k]: [i64; 3]) -> Result<Work> {
    let a = if layout == "TN" { randn(&[k, m])?.t()? } else { randn(&[m, k])? };
    let b = if layout == "NT" { randn(&[n, k])?.t()? } else { randn(&[k, n])? };
    Work::call(move || a.matmul(&b))
}

/// Whether a convolution takes Winograd's algorithm by itself.
fn has_winograd([_, c, _, k, stride, _, _]: [i64; 7]) -> bool {
    c >= 24 && [(3, 1), (4, 2)].contains(&(k, stride))
}

/// Forward and one gradient of a convolution: the other input is a constant.
fn convolution([n, c, o, k, stride, pad, size]: [i64; 7], gradient: &str) -> Result<Work> {
    let (x, w) = (leaf(&[n, c, size, size])?, leaf(&[o, c, k, k])?);
    let (x, w) = match gradient {
        "input" => (x, w.detach()),
        "weight" => (x.detach(), w),
        _ => (x, w),
    };
    let leaves = [&x, &w].into_iter().filter(|v| v.requires_grad()).cloned().collect();
    Work::passes(leaves, move |_| conv2d(&x, &w, None, [stride; 2], [pad; 2], [1, 1], 1))
}

type Op = fn(&[Variable]) -> Result<Variable>;

const BIG: &[i64] = &[4096, 512];
const IMAGES: &[i64] = &[32, 64, 32, 32];

/// Name, shapes of the inputs, and the function of them.
const OPS: &[(&str, &[&[i64]], Op)] = &[
    ("add 4096x512", &[BIG, BIG], |v| v[0].add(&v[1])),
    ("mul 4096x512", &[BIG, BIG], |v| v[0].mul(&v[1])),
    ("add row 4096x512", &[BIG, &[512]], |v| v[0].add(&v[1])),
    ("exp 4096x512", &[BIG], |v| v[0].exp()),
    ("tanh 4096x512", &[BIG], |v| v[0].tanh()),
    ("sigmoid 4096x512", &[BIG], |v| v[0].sigmoid()),
    ("gelu 4096x512", &[BIG], |v| v[0].gelu()),
    ("relu 4096x512", &[BIG], |v| v[0].relu()),
    ("gelu 256x1024", &[&[256, 1024]], |v| v[0].gelu()),
    ("softmax 4096x512", &[BIG], |v| v[0].softmax(-1)),
    ("softmax 1024x1024", &[&[1024, 1024]], |v| v[0].softmax(-1)),
    ("sum all 4096x512", &[BIG], |v| v[0].sum()),
    ("sum dim0 4096x512", &[BIG], |v| v[0].sum_dim(0, false)),
    ("sum dim1 4096x512", &[BIG], |v| v[0].sum_dim(1, false)),
    ("transpose+contig 4096x512", &[BIG], |v| v[0].transpose(0, 1)?.contiguous()),
    ("layer_norm 4096x512", &[BIG, &[512], &[512]], |v| layer_norm(&v[0], &v[1], &v[2], 512, 1e-5)),
    ("layer_norm 256x1024", &[&[256, 1024], &[1024], &[1024]], |v| {
        layer_norm(&v[0], &v[1], &v[2], 1024, 1e-5)
    }),
    ("max_pool2d k2 32x64x32x32", &[IMAGES], |v| {
        max_pool2d(&v[0], [2, 2], [2, 2], [0, 0], [1, 1], false)
    }),
    ("max_pool2d k3 s2 p1 32x64x32x32", &[IMAGES], |v| {
        max_pool2d(&v[0], [3, 3], [2, 2], [1, 1], [1, 1], false)
    }),
    ("avg_pool2d k2 32x64x32x32", &[IMAGES], |v| {
        avg_pool2d(&v[0], [2, 2], [2, 2], [0, 0], false, true)
    }),
];

fn batch_norm(shape: &[i64]) -> Result<Work> {
    let norm = BatchNorm2d::new(shape[1])?;
    let mut leaves = vec![leaf(shape)?];
    leaves.extend(norm.parameters().into_iter().map(|p| p.variable));
    Work::passes(leaves, move |v| norm.forward(&v[0]))
}

fn adam(numel: i64) -> Result<Work> {
    let params = (0..4)
        .map(|_| Ok(Parameter::new(randn(&[numel / 4])?, "p")))
        .collect::<Result<Vec<_>>>()?;
    for p in &params {
        p.variable.set_grad(randn(&[numel / 4])?);
    }
    let mut adam = Adam::new(&params, 1e-3);
    Work::call(move || adam.step())
}

fn conv_name([n, c, o, k, s, p, size]: [i64; 7], gradient: &str) -> String {
    format!("conv {c}->{o} k{k} s{s} p{p} {size}x{size} b{n} d{gradient}")
}

/// Every row: its name, as the twin has it too, and what to measure.
fn specs() -> Vec<Spec<'static>> {
    let mut specs: Vec<Spec> = Vec::new();
    let mut add = |name: String, build: Box<dyn Fn() -> Result<Work>>| {
        specs.push(Spec { name, build: Some(build), direct: false });
    };
    for shape @ [m, n, k] in PRODUCTS {
        for layout in ["NN", "NT", "TN"] {
            let name = format!("matmul {layout} {m}x{k}x{n}");
            add(name, Box::new(move || product(layout, shape)));
        }
    }
    for &(name, shapes, op) in OPS {
        let leaves = move || shapes.iter().map(|s| leaf(s)).collect::<Result<Vec<_>>>();
        add(name.into(), Box::new(move || Work::passes(leaves()?, op)));
    }
    for shape in [IMAGES, &[128, 64, 64, 64]] {
        let [n, c, h, w] = [shape[0], shape[1], shape[2], shape[3]];
        add(format!("batch_norm {n}x{c}x{h}x{w}"), Box::new(move || batch_norm(shape)));
    }
    for conv in CONVS {
        for gradient in ["input", "weight"] {
            add(conv_name(conv, gradient), Box::new(move || convolution(conv, gradient)));
        }
    }
    add("adam 16777216".into(), Box::new(|| adam(1 << 24)));
    for conv in CONVS.into_iter().filter(|&conv| has_winograd(conv)) {
        for gradient in ["input", "weight"] {
            let name = format!("{} direct", conv_name(conv, gradient));
            let build = Box::new(move || convolution(conv, gradient));
            specs.push(Spec { name, build: Some(build), direct: true });
        }
    }
    specs
}

/// The `kernels` command.
pub fn run(common: &Common) -> crate::Result<()> {
    rows::run(common, 0, "kernels.py", specs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_twin_has_every_shape_and_operation() {
        let (_, twin) = crate::twin::SOURCES.iter().find(|s| s.0 == "kernels.py").unwrap();
        for [m, n, k] in PRODUCTS {
            assert!(twin.contains(&format!("    ({m}, {n}, {k}),\n")), "{m} {n} {k}");
        }
        for [n, c, o, k, s, p, size] in CONVS {
            let line = format!("    ({n}, {c}, {o}, {k}, {s}, {p}, {size}),\n");
            assert!(twin.contains(&line), "{line}");
        }
        for (name, ..) in OPS {
            assert!(twin.contains(&format!("    \"{name}\": ")), "{name}");
        }
    }

    #[test]
    fn no_name_stands_twice() {
        let names: std::collections::HashSet<String> =
            specs().into_iter().map(|s| s.name).collect();
        assert_eq!(names.len(), specs().len());
    }
}
