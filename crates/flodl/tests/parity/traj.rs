//! Thirty training steps of small nets on real data in f64: first gradients, every loss, and the
//! weights at the end.

use std::collections::BTreeMap;

use flodl::*;

use super::case::{File, Stop, Try, unsupported};
use super::check::{Outcome, compare, guarded};

/// The net's parameters by PyTorch's names.
struct Net(BTreeMap<String, Parameter>);

impl Net {
    fn var(&self, name: &str) -> &Variable {
        &self.0[name].variable
    }

    fn linear(&self, name: &str, x: &Variable) -> Result<Variable> {
        let bias = self.var(&format!("{name}.bias"));
        linear(x, self.var(&format!("{name}.weight")), Some(bias))
    }

    fn batch_norm(&self, name: &str, x: &Variable) -> Result<Variable> {
        let (w, b) = (self.var(&format!("{name}.weight")), self.var(&format!("{name}.bias")));
        batch_norm_train(x, Some(w), Some(b), 1e-5).map(|(y, _)| y)
    }

    fn conv(&self, name: &str, x: &Variable, stride: i64, padding: i64) -> Result<Variable> {
        let (w, b) = (self.var(&format!("{name}.weight")), self.var(&format!("{name}.bias")));
        conv2d(x, w, Some(b), [stride; 2], [padding; 2], [1; 2], 1)
    }

    /// Self-attention of `[B, T, E]` with four heads.
    fn attention(&self, name: &str, x: &Variable) -> Result<Variable> {
        let shape = x.shape();
        let (b, t, e) = (shape[0], shape[1], shape[2]);
        let heads = 4;
        let weight = self.var(&format!("{name}.in_proj_weight"));
        let qkv = linear(x, weight, Some(self.var(&format!("{name}.in_proj_bias"))))?;
        let part = |i: i64| -> Result<Variable> {
            let part = qkv.narrow(2, i * e, e)?.reshape(&[b, t, heads, e / heads])?;
            part.permute(&[0, 2, 1, 3])
        };
        let (q, k, v) = (part(0)?, part(1)?, part(2)?);
        let scores =
            q.matmul(&k.transpose(-2, -1)?)?.mul_scalar(((e / heads) as f64).powf(-0.5))?;
        let mixed = scores.softmax(-1)?.matmul(&v)?.permute(&[0, 2, 1, 3])?;
        self.linear(&format!("{name}.out_proj"), &mixed.reshape(&[b, t, e])?)
    }
}

/// What a net is made of: its loss on a batch, its optimizer, its batch size, and the learning
/// rate of a step if it changes.
struct Recipe {
    loss: fn(&Net, &Variable, &Variable) -> Result<Variable>,
    optimizer: fn(&[Parameter]) -> Box<dyn Optimizer>,
    batch: i64,
    lr: Option<fn(f64) -> f64>,
}

fn recipe(name: &str) -> Option<Recipe> {
    Some(match name {
        "mlp_bn_breast_cancer.f64" => Recipe {
            loss: |net, x, y| {
                let x = net.batch_norm("1", &net.linear("0", x)?)?.relu()?;
                cross_entropy_loss(&net.linear("5", &net.linear("3", &x)?.gelu()?)?, y)
            },
            optimizer: |p| Box::new(AdamW::new(p, 1e-2, 0.01)),
            batch: 32,
            lr: None,
        },
        "cnn_mnist.f64" => Recipe {
            loss: |net, x, y| {
                let x = net.batch_norm("1", &net.conv("0", x, 2, 2)?)?.relu()?;
                let x = max_pool2d(&x, [2; 2], [2; 2], [0; 2], [1; 2], false)?;
                let x = adaptive_avg_pool2d(&net.conv("4", &x, 1, 1)?.silu()?, [3, 3])?;
                let options = CrossEntropy { label_smoothing: 0.05, ..CrossEntropy::default() };
                cross_entropy_with(&net.linear("8", &x.flatten(1, -1)?)?, y, &options)
            },
            optimizer: |p| Box::new(SGD::new(p, 0.05, 0.9).nesterov(true).weight_decay(1e-4)),
            batch: 24,
            lr: None,
        },
        "attention_digits.f64" => Recipe {
            loss: |net, x, y| {
                let x = net.linear("proj", x)?;
                let n = layer_norm(&x, net.var("n1.weight"), net.var("n1.bias"), 16, 1e-5)?;
                let x = x.add(&net.attention("att", &n)?)?;
                let n = rms_norm(&x, Some(net.var("n2.weight")), 16, 1e-6)?;
                let x = x.add(&net.linear("f2", &net.linear("f1", &n)?.gelu()?)?)?;
                cross_entropy_loss(&net.linear("head", &x.mean_dim(1, false)?)?, y)
            },
            optimizer: |p| Box::new(AdamW::new(p, 1e-2, 0.05)),
            batch: 32,
            lr: Some(|step| 0.5 * 1e-2 * (1.0 + (std::f64::consts::PI * step / 30.0).cos())),
        },
        _ => return None,
    })
}

/// Runs the training of one file.
pub fn run(name: &str, file: &File) -> Outcome {
    match guarded(|| train(name, file)) {
        Ok(()) => Outcome::Pass,
        Err(stop) => stop.into(),
    }
}

fn train(name: &str, file: &File) -> Try<()> {
    let Some(recipe) = recipe(name) else { return unsupported("not mapped") };
    let is_buffer = |n: &str| n.contains("running_") || n.contains("num_batches");
    let mut net = Net(BTreeMap::new());
    for n in file.names("init.").into_iter().filter(|n| !is_buffer(n)) {
        let p = Parameter::new(file.tensor(&format!("init.{n}"))?, &n);
        net.0.insert(n, p);
    }
    let params: Vec<Parameter> = net.0.values().cloned().collect();
    let mut optimizer = (recipe.optimizer)(&params);
    let (x, y) = (file.tensor("data.x")?, file.tensor("data.y")?);
    let losses = file.tensor("losses")?;
    for step in 0..losses.numel() {
        if let Some(lr) = recipe.lr {
            optimizer.set_lr(lr(step as f64));
        }
        let start = step * recipe.batch % x.shape()[0];
        let rows = |t: &Tensor| t.narrow(0, start, recipe.batch).map(|t| Variable::new(t, false));
        let loss = (recipe.loss)(&net, &rows(&x)?, &rows(&y)?)?;
        compare(&format!("loss {step}"), &loss.data(), &losses.select(0, step)?, 0.0)?;
        optimizer.zero_grad();
        loss.backward()?;
        for (n, p) in net.0.iter().filter(|_| step == 0) {
            let Some(g) = p.variable.grad() else {
                return Err(Stop::Error(format!("no gradient of {n}")));
            };
            compare(
                &format!("first gradient of {n}"),
                &g,
                &file.tensor(&format!("grad0.{n}"))?,
                0.0,
            )?;
        }
        optimizer.step()?;
    }
    for (n, p) in &net.0 {
        let theirs = file.tensor(&format!("final.{n}"))?;
        compare(&format!("{n} at the end"), &p.variable.data(), &theirs, 0.0)?;
    }
    Ok(())
}
