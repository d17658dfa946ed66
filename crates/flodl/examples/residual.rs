//! Why residuals: the same deep network on handwritten digits with `also` (x + f(x)) and with
//! `through` (f(x)). Both have the same layers, start, data and training.
//!
//!     cargo run --release --example residual

#[allow(dead_code)]
#[path = "digits/data.rs"]
mod data;

use flodl::*;

const BLOCKS: usize = 24;
const WIDTH: i64 = 48;

fn block() -> Result<Graph> {
    FlowBuilder::from(LayerNorm::new(WIDTH)?)
        .through(Linear::new(WIDTH, WIDTH)?)
        .through(ReLU)
        .through(Linear::new(WIDTH, WIDTH)?)
        .build()
}

fn model(skips: bool) -> Result<Graph> {
    manual_seed(0);
    let mut flow =
        FlowBuilder::from(Flatten::new(1, -1)).through(Linear::new(28 * 28, WIDTH)?).tag("first");
    for _ in 0..BLOCKS {
        flow = if skips { flow.also(block()?) } else { flow.through(block()?) };
    }
    flow.through(LayerNorm::new(WIDTH)?).through(Linear::new(WIDTH, 10)?).build()
}

/// Share of the unseen digits that are read right.
fn test(model: &Graph, digits: &data::Digits) -> Result<f64> {
    let mut right = 0.0;
    for batch in DataLoader::new(digits.test()?, 250).epoch(0)? {
        let batch = batch?;
        let guesses = no_grad(|| model.forward(&data::input(&batch)))?.data().argmax(1, false)?;
        let hits = guesses.to_i64_vec()?.into_iter().zip(batch.get(1).to_i64_vec()?);
        right += hits.filter(|(guess, label)| guess == label).count() as f64;
    }
    Ok(right / digits.test_len() as f64)
}

fn main() -> Result<()> {
    let digits = data::Digits::read(data::SHIPPED)?;
    println!("{BLOCKS} blocks of two layers, learning rate 1e-3");
    for skips in [false, true] {
        let model = model(skips)?;
        let mut optimizer = Adam::new(&model.parameters(), 1e-3);
        let mut loader = DataLoader::new(digits.train()?, 64).shuffle(0);
        println!("{}", if skips { "with also:" } else { "with through:" });
        for epoch in 0..6 {
            let (mut loss_sum, mut batches) = (0.0, 0.0);
            for batch in loader.epoch(epoch)? {
                let batch = batch?;
                let logits = model.forward(&data::input(&batch))?;
                let loss = cross_entropy_loss(&logits, &data::target(&batch))?;
                optimizer.zero_grad();
                loss.backward()?;
                optimizer.step()?;
                loss_sum += loss.item()?;
                batches += 1.0;
            }
            let share = 100.0 * test(&model, &digits)?;
            let loss = loss_sum / batches;
            println!("  epoch {epoch}: loss {loss:.3}, {share:4.1} % of unseen digits right");
        }
    }
    Ok(())
}
