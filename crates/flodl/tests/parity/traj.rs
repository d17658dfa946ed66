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

    /// The weights of a recurrent net of two layers.
    fn recurrent(&self, name: &str) -> Vec<Variable> {
        let kinds = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"];
        let names = (0..2).flat_map(|l| kinds.map(|k| format!("{name}.{k}_l{l}")));
        names.map(|n| self.var(&n).clone()).collect()
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

const TWO_LAYERS: RnnOptions = RnnOptions {
    num_layers: 2,
    bidirectional: false,
    batch_first: true,
    dropout: 0.0,
    training: true,
};

/// What a net is made of: its loss on a batch, its optimizer, its batches, the learning rate of a
/// step if it changes, and the bound of the gradients' norm if there is one.
struct Recipe {
    loss: fn(&Net, &Variable, &Variable) -> Result<Variable>,
    optimizer: fn(&[Parameter]) -> Box<dyn Optimizer>,
    batch: Batches,
    lr: Option<fn(f64) -> f64>,
    clip: Option<f64>,
}

/// Where the batch of a step comes from.
#[derive(Clone, Copy)]
enum Batches {
    /// So many rows of `data.x` and `data.y`, one batch after the other.
    Rows(i64),
    /// So many windows of `length` values of one line, `apart` from each other; the target is the
    /// same window from `ahead` on, and as long as `target` says.
    Windows { line: &'static str, count: i64, length: i64, apart: i64, ahead: i64, target: i64 },
}

impl Batches {
    /// Inputs and targets of a step.
    fn get(self, file: &File, step: i64) -> Try<(Variable, Variable)> {
        match self {
            Batches::Rows(n) => {
                let part = |name: &str| -> Try<Variable> {
                    let all = file.tensor(name)?;
                    Ok(Variable::new(all.narrow(0, step * n % all.shape()[0], n)?, false))
                };
                Ok((part("data.x")?, part("data.y")?))
            }
            Batches::Windows { line, count, length, apart, ahead, target } => {
                let line = file.tensor(line)?;
                let windows = |shift: i64, length: i64| -> Try<Variable> {
                    let starts = (0..count).map(|j| (count * step + j) * apart + shift);
                    let windows = starts
                        .map(|s| line.narrow(0, s, length))
                        .collect::<Result<Vec<Tensor>>>()?;
                    let refs: Vec<&Tensor> = windows.iter().collect();
                    Ok(Variable::new(Tensor::stack(&refs, 0)?, false))
                };
                Ok((windows(0, length)?, windows(ahead, target)?))
            }
        }
    }
}

fn recipe(name: &str) -> Option<Recipe> {
    Some(match name {
        "mlp_bn_breast_cancer.f64" => Recipe {
            loss: |net, x, y| {
                let x = net.batch_norm("1", &net.linear("0", x)?)?.relu()?;
                cross_entropy_loss(&net.linear("5", &net.linear("3", &x)?.gelu()?)?, y)
            },
            optimizer: |p| Box::new(AdamW::new(p, 1e-2, 0.01)),
            batch: Batches::Rows(32),
            lr: None,
            clip: None,
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
            batch: Batches::Rows(24),
            lr: None,
            clip: None,
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
            batch: Batches::Rows(32),
            lr: Some(|step| 0.5 * 1e-2 * (1.0 + (std::f64::consts::PI * step / 30.0).cos())),
            clip: None,
        },
        "gru_charlm_moby.f64" => Recipe {
            loss: |net, x, y| {
                let x = embedding(net.var("emb.weight"), x, -1)?;
                let (x, _) = gru_seq(&x, None, &net.recurrent("gru"), &TWO_LAYERS)?;
                let x = layer_norm(&x, net.var("ln.weight"), net.var("ln.bias"), 24, 1e-5)?;
                let logits = net.linear("out", &x.reshape(&[-1, 24])?)?;
                cross_entropy_loss(&logits, &y.reshape(&[-1])?)
            },
            optimizer: |p| Box::new(Adam::new(p, 5e-3)),
            batch: Batches::Windows {
                line: "data.ids",
                count: 8,
                length: 24,
                apart: 7,
                ahead: 1,
                target: 24,
            },
            lr: None,
            clip: Some(0.25),
        },
        "lstm_co2.f64" => Recipe {
            loss: |net, x, y| {
                let x = x.unsqueeze(-1)?;
                let (x, _) = lstm_seq(&x, None, &net.recurrent("lstm"), &TWO_LAYERS)?;
                smooth_l1_loss(&net.linear("fc", &x.select(1, -1)?)?, y, 1.0)
            },
            optimizer: |p| Box::new(RMSprop::new(p, 3e-3)),
            batch: Batches::Windows {
                line: "data.series",
                count: 16,
                length: 26,
                apart: 4,
                ahead: 30,
                target: 1,
            },
            lr: None,
            clip: None,
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
    let losses = file.tensor("losses")?;
    for step in 0..losses.numel() {
        if let Some(lr) = recipe.lr {
            optimizer.set_lr(lr(step as f64));
        }
        let (x, y) = recipe.batch.get(file, step)?;
        let loss = (recipe.loss)(&net, &x, &y)?;
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
        if let Some(bound) = recipe.clip {
            clip_grad_norm(&params, bound)?;
        }
        optimizer.step()?;
    }
    for (n, p) in &net.0 {
        let theirs = file.tensor(&format!("final.{n}"))?;
        compare(&format!("{n} at the end"), &p.variable.data(), &theirs, 0.0)?;
    }
    Ok(())
}
