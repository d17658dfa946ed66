//! How the cost of a step grows with one size of a model.

use flodl::*;

use super::build::{Step, random, training};

/// A model with one size left open.
pub struct Sweep {
    /// The model and its open size.
    name: &'static str,
    values: &'static [i64],
    pub build: fn(i64) -> Result<Step>,
}

const SWEEPS: [Sweep; 5] = [
    Sweep { name: "mlp batch", values: &[1, 16, 128, 1024], build: |n| mlp(n, 512) },
    Sweep { name: "mlp width", values: &[64, 256, 1024, 4096], build: |n| mlp(64, n) },
    Sweep { name: "convnet image", values: &[8, 16, 32, 64], build: convnet },
    Sweep { name: "lstm steps", values: &[8, 32, 128, 512], build: lstm },
    Sweep { name: "encoder tokens", values: &[32, 128, 512, 2048], build: encoder },
];

/// The names of all points: a sweep's name, an equals sign, the value.
pub fn names() -> impl Iterator<Item = String> {
    SWEEPS.iter().flat_map(|s| s.values.iter().map(|value| format!("{}={value}", s.name)))
}

/// The sweep and the value of a point.
pub fn find(name: &str) -> Option<(&'static Sweep, i64)> {
    let (name, value) = name.split_once('=')?;
    let sweep = SWEEPS.iter().find(|s| s.name == name)?;
    let value = value.parse().ok().filter(|value| sweep.values.contains(value))?;
    Some((sweep, value))
}

fn mlp(batch: i64, width: i64) -> Result<Step> {
    let mut flow = FlowBuilder::new();
    for _ in 0..3 {
        flow =
            flow.through(Linear::new(width, width)?).through(GELU).through(LayerNorm::new(width)?);
    }
    training(flow.build()?, random(&[batch, width])?, random(&[batch, width])?)
}

fn convnet(image: i64) -> Result<Step> {
    let mut flow = FlowBuilder::new();
    for (i, o) in [(3, 32), (32, 64), (64, 128)] {
        flow = flow
            .through(Conv2d::configure(i, o, 3).with_padding(1).done()?)
            .through(BatchNorm2d::new(o)?)
            .through(ReLU)
            .through(MaxPool2d::new(2));
    }
    let model = flow
        .through(AdaptiveAvgPool2d::new([1, 1]))
        .through(Flatten::new(1, -1))
        .through(Linear::new(128, 10)?)
        .build()?;
    training(model, random(&[32, 3, image, image])?, random(&[32, 10])?)
}

fn lstm(steps: i64) -> Result<Step> {
    let model = FlowBuilder::from(LSTM::new(128, 256, 1)?.batch_first(true)).build()?;
    training(model, random(&[32, steps, 128])?, random(&[32, steps, 256])?)
}

fn encoder(tokens: i64) -> Result<Step> {
    let config = TransformerConfig::new(256, 4).dim_feedforward(1024).dropout(0.0);
    let model = FlowBuilder::from(TransformerEncoderLayer::configured(&config)?).build()?;
    training(model, random(&[2, tokens, 256])?, random(&[2, tokens, 256])?)
}
