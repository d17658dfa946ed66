//! Single layers in training mode: forward alone, and forward + backward.

use std::collections::HashMap;
use std::time::Duration;

use flodl::*;

use crate::report::{self, Peer, Row};
use crate::{Common, timing, twin};

/// A layer with an input of its shape.
type Case = (Box<dyn Module>, Variable);

fn input(shape: &[i64]) -> Result<Variable> {
    Ok(Variable::new(Tensor::randn(shape, TensorOptions::default())?, true))
}

/// A layer that is a function.
struct Call<F>(F);

impl<F: Fn(&Variable) -> Result<Variable>> Module for Call<F> {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        (self.0)(input)
    }
}

fn case(layer: impl Module + 'static, shape: &[i64]) -> Result<Case> {
    Ok((Box::new(layer), input(shape)?))
}

/// Size class, layer, shape text (the twin has the same rows), and how to make it.
type Spec = (&'static str, &'static str, &'static str, fn() -> Result<Case>);

#[rustfmt::skip]
const LAYERS: [Spec; 50] = [
    ("typ", "Linear", "1024->1024 b256", || case(Linear::new(1024, 1024)?, &[256, 1024])),
    ("typ", "Linear", "784->128 b64", || case(Linear::new(784, 128)?, &[64, 784])),
    ("typ", "Linear", "128->10 b64", || case(Linear::new(128, 10)?, &[64, 128])),
    ("typ", "Conv1d", "64->128 k5 p2 L512 b32", || case(Conv1d::configure(64, 128, 5).with_padding(2).done()?, &[32, 64, 512])),
    ("typ", "Conv2d", "64->64 k3 p1 32x32 b32", || case(Conv2d::configure(64, 64, 3).with_padding(1).done()?, &[32, 64, 32, 32])),
    ("typ", "Conv2d", "64->128 k3 s2 p1 32x32 b32", || case(Conv2d::configure(64, 128, 3).with_stride(2).with_padding(1).done()?, &[32, 64, 32, 32])),
    ("typ", "Conv2d", "64->64 k1 32x32 b32", || case(Conv2d::new(64, 64, 1)?, &[32, 64, 32, 32])),
    ("typ", "Conv2d depthwise", "64 g64 k3 p1 32x32 b32", || case(Conv2d::configure(64, 64, 3).with_padding(1).with_groups(64).done()?, &[32, 64, 32, 32])),
    ("typ", "Conv2d dilated", "64->64 k3 d2 p2 32x32 b32", || case(Conv2d::configure(64, 64, 3).with_padding(2).with_dilation(2).done()?, &[32, 64, 32, 32])),
    ("typ", "Conv3d", "16->32 k3 p1 16^3 b8", || case(Conv3d::configure(16, 32, [3, 3, 3]).with_padding([1, 1, 1]).done()?, &[8, 16, 16, 16, 16])),
    ("typ", "ConvTranspose2d", "128->64 k4 s2 p1 16x16 b32", || case(ConvTranspose2d::configure(128, 64, 4).with_stride(2).with_padding(1).done()?, &[32, 128, 16, 16])),
    ("typ", "MaxPool2d", "k2 32x64x32x32", || case(MaxPool2d::new(2), &[32, 64, 32, 32])),
    ("typ", "MaxPool2d", "k3 s2 p1 32x64x32x32", || case(MaxPool2d::with_stride(3, 2).padding(1), &[32, 64, 32, 32])),
    ("typ", "AvgPool2d", "k2 32x64x32x32", || case(AvgPool2d::new(2), &[32, 64, 32, 32])),
    ("typ", "AdaptiveAvgPool2d", "1x1 32x64x32x32", || case(AdaptiveAvgPool2d::new([1, 1]), &[32, 64, 32, 32])),
    ("typ", "LayerNorm", "4096x512", || case(LayerNorm::new(512)?, &[4096, 512])),
    ("typ", "RMSNorm", "4096x512", || case(RMSNorm::new(512)?, &[4096, 512])),
    ("typ", "BatchNorm1d", "256x1024", || case(BatchNorm::new(1024)?, &[256, 1024])),
    ("typ", "BatchNorm2d", "32x64x32x32", || case(BatchNorm2d::new(64)?, &[32, 64, 32, 32])),
    ("typ", "GroupNorm", "g4 32x64x32x32", || case(GroupNorm::new(4, 64)?, &[32, 64, 32, 32])),
    ("typ", "Dropout", "4096x512", || case(Dropout::new(0.5), &[4096, 512])),
    ("typ", "Dropout2d", "32x64x32x32", || case(Dropout2d::new(0.5), &[32, 64, 32, 32])),
    ("typ", "ReLU", "4096x512", || case(ReLU, &[4096, 512])),
    ("typ", "Sigmoid", "4096x512", || case(Sigmoid, &[4096, 512])),
    ("typ", "Tanh", "4096x512", || case(Tanh, &[4096, 512])),
    ("typ", "GELU", "4096x512", || case(GELU, &[4096, 512])),
    ("typ", "GELU tanh", "4096x512", || case(GELUTanh, &[4096, 512])),
    ("typ", "SiLU", "4096x512", || case(SiLU, &[4096, 512])),
    ("typ", "SELU", "4096x512", || case(SELU, &[4096, 512])),
    ("typ", "Mish", "4096x512", || case(Mish, &[4096, 512])),
    ("typ", "Hardswish", "4096x512", || case(Hardswish, &[4096, 512])),
    ("typ", "Hardsigmoid", "4096x512", || case(Hardsigmoid, &[4096, 512])),
    ("typ", "LeakyReLU", "4096x512", || case(LeakyReLU::new(0.01), &[4096, 512])),
    ("typ", "ELU", "4096x512", || case(ELU::new(1.0), &[4096, 512])),
    ("typ", "Softplus", "4096x512", || case(Softplus::new(1.0, 20.0), &[4096, 512])),
    ("typ", "PReLU", "4096x512", || case(PReLU::new(1, Device::CPU)?, &[4096, 512])),
    ("typ", "Softmax", "4096x512", || case(Softmax::new(-1), &[4096, 512])),
    ("typ", "LogSoftmax", "4096x512", || case(LogSoftmax::new(-1), &[4096, 512])),
    ("typ", "Softmax dim0", "4096x512", || case(Softmax::new(0), &[4096, 512])),
    ("typ", "cross_entropy", "4096x8192", || {
        let target = Variable::new(Tensor::randint(0, 8192, &[4096], DType::Int64.into())?, false);
        case(Call(move |x: &Variable| cross_entropy_loss(x, &target)), &[4096, 8192])
    }),
    ("typ", "mse_loss", "4096x512", || {
        let target = Variable::new(Tensor::randn(&[4096, 512], TensorOptions::default())?, false);
        case(Call(move |x: &Variable| mse_loss(x, &target)), &[4096, 512])
    }),
    ("tiny", "Linear", "16->16 b1", || case(Linear::new(16, 16)?, &[1, 16])),
    ("tiny", "Conv2d", "3->8 k3 8x8 b1", || case(Conv2d::new(3, 8, 3)?, &[1, 3, 8, 8])),
    ("tiny", "MaxPool2d", "k2 1x4x8x8", || case(MaxPool2d::new(2), &[1, 4, 8, 8])),
    ("tiny", "LayerNorm", "1x16", || case(LayerNorm::new(16)?, &[1, 16])),
    ("tiny", "BatchNorm2d", "1x4x8x8", || case(BatchNorm2d::new(4)?, &[1, 4, 8, 8])),
    ("tiny", "Dropout", "1x16", || case(Dropout::new(0.5), &[1, 16])),
    ("tiny", "ReLU", "1x16", || case(ReLU, &[1, 16])),
    ("tiny", "GELU", "1x16", || case(GELU, &[1, 16])),
    ("tiny", "Softmax", "1x16", || case(Softmax::new(-1), &[1, 16])),
];

fn name(spec: &Spec, pass: &str) -> String {
    format!("{} {} {} {pass}", spec.0, spec.1, spec.2)
}

/// Forward, and forward + backward, of one layer.
fn measure(spec: &Spec, threads: usize) -> crate::Result<[Row; 2]> {
    let (layer, x) = (spec.3)()?;
    let parameters = layer.parameters();
    let budget = Duration::from_millis(150);
    let forward = timing::calls(budget, || Ok(layer.forward(&x).map(|_| ())?))?;
    // The incoming gradient is a tensor of ones, as the twin has it.
    let y = layer.forward(&x)?;
    let ones = Variable::new(Tensor::ones_like(&y.data())?, false);
    let both = timing::calls(budget, || {
        let y = layer.forward(&x)?;
        y.backward_with(BackwardOptions::default().gradient(ones.clone()))?;
        x.zero_grad();
        parameters.iter().for_each(|p| p.variable.zero_grad());
        Ok(())
    })?;
    let row = |pass: &str, t: timing::Times| Row {
        model: name(spec, pass),
        median_ms: t.median * 1e3,
        min_ms: t.min * 1e3,
        threads,
        ..Row::default()
    };
    Ok([row("forward", forward), row("forward+backward", both)])
}

/// The `layers` command.
pub fn run(common: &Common) -> crate::Result<()> {
    set_num_threads(common.threads);
    let threads = twin::threads(common);
    let only = common.only.clone().unwrap_or_default();
    let chosen: Vec<&Spec> = LAYERS.iter().filter(|s| name(s, "").contains(&only)).collect();
    if chosen.is_empty() {
        return Err(format!("no layer's name contains {only:?}").into());
    }
    let pairs = if common.vs_pytorch.is_some() { common.pairs.max(1) } else { 1 };
    let mut ours: Vec<Vec<Row>> = vec![Vec::new(); 2 * chosen.len()];
    let mut theirs: Vec<Vec<Peer>> = vec![Vec::new(); 2 * chosen.len()];
    for pair in 0..pairs {
        eprintln!("pair {}/{pairs}", pair + 1);
        for (i, spec) in chosen.iter().enumerate() {
            let [forward, both] = measure(spec, threads)?;
            ours[2 * i].push(forward);
            ours[2 * i + 1].push(both);
        }
        if let Some(python) = &common.vs_pytorch {
            let args = ["layers", &only, &threads.to_string()];
            let found: HashMap<String, Peer> = twin::run(common, python, &args)?;
            for (i, spec) in chosen.iter().enumerate() {
                for (k, pass) in ["forward", "forward+backward"].into_iter().enumerate() {
                    let name = name(spec, pass);
                    let peer =
                        found.get(&name).ok_or_else(|| format!("PyTorch has no row {name}"))?;
                    theirs[2 * i + k].push(peer.clone());
                }
            }
        }
    }
    let rows: Vec<Row> = ours.iter().zip(&theirs).map(|(a, b)| report::join(a, b)).collect();
    report::print(&rows);
    report::save(&common.json, &rows)
}
