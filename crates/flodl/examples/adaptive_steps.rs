//! How long to look: a loop reads a handwritten digit four rows at a time, and a `LearnedHalt`
//! decides after each band whether it has seen enough.
//!
//! In training all bands are read, and the loss weighs each reading by the probability of stopping
//! there, plus a price for each band (PonderNet; Banino et al., 2021). Afterwards the same weights
//! run in a loop that does stop.
//!
//!     cargo run --release --example adaptive_steps

#[allow(dead_code)]
#[path = "digits/data.rs"]
mod data;

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use flodl::*;

const BANDS: usize = 7;
const MEMORY: i64 = 96;
const PRICE: f64 = 0.03;

/// Takes one band of the image into the memory.
struct Look {
    cell: GRUCell,
    band: Cell<i64>,
}

impl Module for Look {
    fn forward(&self, memory: &Variable) -> Result<Variable> {
        forward_via_step(self, memory)
    }
    fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
        vec![Rc::new(self.cell.clone())]
    }
    fn reset(&self) {
        self.band.set(0); // the loop calls this before its first step
    }
    fn as_loop_body(&self) -> Option<&dyn LoopBody> {
        Some(self)
    }
}

impl LoopBody for Look {
    fn step(
        &self,
        memory: &Variable,
        refs: &HashMap<String, Variable>,
        emit: &mut TraceEmit<'_>,
    ) -> Result<Variable> {
        let rows = refs["image"].narrow(2, 4 * self.band.get(), 4)?.reshape(&[-1, 4 * 28])?;
        self.band.set(self.band.get() + 1);
        let memory = self.cell.forward_step(&rows, Some(memory))?;
        emit.publish("memory", memory.clone());
        Ok(memory)
    }
}

/// An empty memory for each image.
struct Empty;

impl Module for Empty {
    fn forward(&self, image: &Variable) -> Result<Variable> {
        let shape = [image.shape()[0], MEMORY];
        Ok(Variable::new(Tensor::zeros(&shape, TensorOptions::default())?, false))
    }
}

fn main() -> Result<()> {
    manual_seed(0);
    let digits = data::Digits::read(data::SHIPPED)?;
    let look = Rc::new(Look { cell: GRUCell::new(4 * 28, MEMORY)?, band: Cell::new(0) });
    let (halt, head) = (LearnedHalt::new(MEMORY)?, Linear::new(MEMORY, 10)?);
    let start = || FlowBuilder::new().tag("image").through(Empty).loop_body(look.clone());
    let all = start().for_n(BANDS).using(&["image"]).through(head.clone()).build()?;
    let adaptive = start().until_cond(halt.clone(), BANDS).using(&["image"]);
    let adaptive = adaptive.through(head.clone()).build()?;

    let mut optimizer = Adam::new(&adaptive.parameters(), 2e-3);
    let mut loader = DataLoader::new(digits.train()?, 64).shuffle(0);
    for epoch in 0..15 {
        for batch in loader.epoch(epoch)? {
            let batch = batch?;
            all.forward(&data::input(&batch))?;
            let label = batch.get(1).unsqueeze(1)?;
            let ones = Tensor::ones(&label.shape(), TensorOptions::default())?;
            let mut going = Variable::new(ones, false); // the share that is still reading
            let mut parts = Vec::new();
            for (i, memory) in all.try_traces("memory")?.iter().enumerate() {
                let scores = head.forward(memory)?.log_softmax(-1)?;
                let cost = scores.gather(1, &label)?.neg()?.add_scalar(PRICE * (i + 1) as f64)?;
                let stops = match i + 1 == BANDS {
                    true => going.clone(), // whoever has come to the last band
                    false => going.mul(&halt.probe().forward(memory)?.sigmoid()?)?,
                };
                going = going.sub(&stops)?;
                parts.push(stops.mul(&cost)?.mean()?);
            }
            let loss = Variable::stack(&parts, 0)?.sum()?;
            optimizer.zero_grad();
            loss.backward()?;
            optimizer.step()?;
        }
    }

    let (mut seen, mut steps) = ([0.0; 10], [0.0; 10]);
    let (mut right, mut right_of_all) = (0, 0);
    for batch in DataLoader::new(digits.test()?, 1).epoch(0)? {
        let (batch, _guard) = (batch?, NoGradGuard::new());
        let (image, label) = (data::input(&batch), batch.get(1).item()? as i64);
        let guess = |logits: Variable| logits.data().argmax(1, false)?.item();
        right += usize::from(guess(adaptive.forward(&image)?)? as i64 == label);
        right_of_all += usize::from(guess(all.forward(&image)?)? as i64 == label);
        seen[label as usize] += 1.0;
        steps[label as usize] += adaptive.try_traces("halt")?.len() as f64;
    }
    let n = digits.test_len();
    let mean = steps.iter().sum::<f64>() / n as f64;
    println!(
        "{right} of {n} unseen digits read right, from {mean:.1} of {BANDS} bands on average;"
    );
    println!("{right_of_all} if it must read on to the end, which the price taught it not to.");
    println!("bands by digit:");
    for (digit, (steps, seen)) in steps.iter().zip(seen).enumerate() {
        println!("  {digit}: {:.1}", steps / seen);
    }
    Ok(())
}
