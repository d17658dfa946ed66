//! A memory by a forward reference: the CO2 at Mauna Loa, four weeks at a time.
//!
//! The model sees the latest change and predicts the next. A tag that appears after its use is
//! carried from one forward to the next, so the model remembers where in the season it is;
//! `end_step` cuts the gradient between chunks, `end_sequence` forgets. Both models have the same
//! layers and training; one is made to forget after every step.
//!
//!     cargo run --release --example forward_reference

use flodl::*;

const SERIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/co2.csv");
const CHUNK: usize = 13;

/// Changes from one four weeks' mean to the next, in standard deviations; blank weeks are left out.
fn changes() -> Result<Vec<f64>> {
    let text = std::fs::read_to_string(SERIES)
        .map_err(|source| Error::Io { path: SERIES.into(), source })?;
    let fields = text.lines().skip(1).filter_map(|line| line.split(',').nth(1));
    let weeks: Vec<f64> = fields.filter_map(|v| v.parse().ok()).collect();
    let level: Vec<f64> = weeks.chunks_exact(4).map(|w| w.iter().sum::<f64>() / 4.0).collect();
    let change: Vec<f64> = level.windows(2).map(|w| w[1] - w[0]).collect();
    let n = change.len() as f64;
    let mean = change.iter().sum::<f64>() / n;
    let deviation = (change.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / n).sqrt();
    Ok(change.iter().map(|d| (d - mean) / deviation).collect())
}

fn value(change: f64) -> Result<Variable> {
    Ok(Variable::new(Tensor::from_f32(&[change as f32], &[1, 1], Device::CPU)?, false))
}

fn model() -> Result<Graph> {
    FlowBuilder::from(Linear::new(1, 24)?)
        .through(StateAdd)
        .using(&["feedback"]) // appears later: the last step's
        .through(Tanh)
        .fork(Linear::new(24, 24)?)
        .tag("feedback")
        .through(Linear::new(24, 1)?)
        .build()
}

/// Error of the predictions from `from` on; without memory, each step stands alone.
fn test(model: &Graph, series: &[f64], from: usize, memory: bool) -> Result<f64> {
    model.reset_state();
    let mut sum = 0.0;
    for (t, pair) in series.windows(2).enumerate() {
        let guess = no_grad(|| model.forward(&value(pair[0])?))?.item()?;
        if t >= from {
            sum += (guess - pair[1]).powi(2);
        }
        if !memory {
            model.reset_state();
        }
    }
    Ok((sum / (series.len() - 1 - from) as f64).sqrt())
}

fn main() -> Result<()> {
    manual_seed(0);
    let series = changes()?;
    let split = series.len() * 4 / 5;
    for memory in [false, true] {
        let model = model()?;
        let mut optimizer = Adam::new(&model.parameters(), 2e-3);
        for _ in 0..150 {
            for chunk in series[..split].windows(2).collect::<Vec<_>>().chunks(CHUNK) {
                let mut losses = Vec::new();
                for pair in chunk {
                    losses.push(mse_loss(&model.forward(&value(pair[0])?)?, &value(pair[1])?)?);
                    if !memory {
                        model.reset_state();
                    }
                }
                optimizer.zero_grad();
                Variable::stack(&losses, 0)?.mean()?.backward()?;
                optimizer.step()?;
                model.end_step();
            }
            model.end_sequence();
        }
        let name = if memory { "with memory" } else { "without memory" };
        let error = test(&model, &series, split, memory)?;
        println!("{name:15} error {error:.3} standard deviations over the last years");
    }
    Ok(())
}
