//! A mixture of experts on handwritten digits: a router weighs four experts, and learns by itself
//! which digits go where.
//!
//!     cargo run --release --example experts

#[allow(dead_code)]
#[path = "digits/data.rs"]
mod data;

use flodl::*;

const EXPERTS: usize = 4;

fn expert() -> Result<Graph> {
    FlowBuilder::from(Linear::new(64, 32)?).through(ReLU).through(Linear::new(32, 10)?).build()
}

fn model() -> Result<Graph> {
    let router = SoftmaxRouter::new(64, EXPERTS as i64)?;
    FlowBuilder::from(Flatten::new(1, -1))
        .through(Linear::new(28 * 28, 64)?)
        .through(ReLU)
        .fork(router.clone()) // shares its weights with the gate's: a look at what it decides
        .tag("weights")
        .gate(router, modules![expert()?, expert()?, expert()?, expert()?])
        .build()
}

fn main() -> Result<()> {
    manual_seed(0);
    let digits = data::Digits::read(data::SHIPPED)?;
    let model = model()?;
    let mut optimizer = Adam::new(&model.parameters(), 1e-3);
    let mut loader = DataLoader::new(digits.train()?, 64).shuffle(0);
    for epoch in 0..10 {
        for batch in loader.epoch(epoch)? {
            let batch = batch?;
            let logits = model.forward(&data::input(&batch))?;
            let loss = cross_entropy_loss(&logits, &data::target(&batch))?;
            // Without a price on uneven use, a router tends to starve some experts.
            let use_of =
                model.tagged("weights").ok_or(Error::new("no weights"))?.mean_dim(0, false)?;
            let uneven = use_of.mul(&use_of)?.sum()?.mul_scalar(EXPERTS as f64 * 0.1)?;
            optimizer.zero_grad();
            loss.add(&uneven)?.backward()?;
            optimizer.step()?;
        }
    }
    let (mut right, mut count) = (0, 0);
    let mut share = [[0.0; EXPERTS]; 10];
    let mut seen = [0.0; 10];
    for batch in DataLoader::new(digits.test()?, 250).epoch(0)? {
        let batch = batch?;
        let logits = no_grad(|| model.forward(&data::input(&batch)))?.data();
        let guesses = logits.argmax(1, false)?.to_i64_vec()?;
        let labels = batch.get(1).to_i64_vec()?;
        let weights = model.tagged("weights").ok_or(Error::new("no weights"))?.data();
        let weights = weights.to_f64_vec()?;
        for ((guess, &label), row) in guesses.iter().zip(&labels).zip(weights.chunks(EXPERTS)) {
            right += usize::from(*guess == label);
            count += 1;
            seen[label as usize] += 1.0;
            share[label as usize].iter_mut().zip(row).for_each(|(sum, w)| *sum += w);
        }
    }
    println!("{right} of {count} unseen digits read right; the share of each expert by digit:");
    for (digit, row) in share.iter().enumerate() {
        let row: Vec<String> =
            row.iter().map(|s| format!("{:3.0} %", 100.0 * s / seen[digit])).collect();
        println!("  {digit}: {}", row.join("  "));
    }
    Ok(())
}
