//! Learns to write like Melville, character by character: an LSTM on the first chapters of Moby
//! Dick, measured in bits per character on text it has not seen, beside models that only count.
//!
//! ```text
//! cargo run --release --example char_lm
//! ```
//!
//! It prints its score, in bits per character of unseen text, beside those of models that only count
//! which character follows the last one, two or three: 3.615, 3.040 and 2.655 bits. It comes to
//! 2.51 in a minute: it has learned more than three letters back.

mod text;

use std::time::Instant;

use flodl::*;
use text::Text;

const WINDOW: usize = 64;
const EPOCHS: usize = 14;

/// Characters to scores of the next character.
struct Writer {
    embedding: Embedding,
    lstm: LSTM,
    head: Linear,
}

impl Writer {
    fn new(vocab: i64) -> Result<Self> {
        let lstm = LSTM::configure(32, 160).with_batch_first(true).done()?;
        Ok(Writer { embedding: Embedding::new(vocab, 32)?, lstm, head: Linear::new(160, vocab)? })
    }

    /// Scores `[N, T, vocab]` of tokens `[N, T]`, and the state after the last.
    fn run(
        &self,
        tokens: &Variable,
        state: Option<&(Variable, Variable)>,
    ) -> Result<(Variable, (Variable, Variable))> {
        let x = self.embedding.forward(tokens)?;
        let (y, state) = self.lstm.forward_seq(&x, state.map(|(h, c)| (h, c)))?;
        Ok((self.head.forward(&y)?, state))
    }

    /// Continues a text, one character at a time from the state so far.
    fn write(&self, vocab: &CharVocab, start: &str, length: usize) -> Result<String> {
        let (mut text, mut rng) = (vocab.encode(start)?, Rng::seed(7));
        let (mut next, mut state) = (text.clone(), None);
        for _ in 0..length {
            let tokens = Tensor::from_i64(&next, &[1, next.len() as i64], Device::CPU)?;
            let tokens = Variable::new(tokens, false);
            let (scores, after) = no_grad(|| self.run(&tokens, state.as_ref()))?;
            state = Some(after);
            let last = scores.data().select(1, -1)?.flatten(0, -1)?;
            next = vec![text::draw(&last, &mut rng)?];
            text.extend(&next);
        }
        vocab.decode(&text)
    }
}

impl Module for Writer {
    fn forward(&self, tokens: &Variable) -> Result<Variable> {
        Ok(self.run(tokens, None)?.0)
    }
    children!(embedding, lstm, head);
}

fn main() -> Result<()> {
    manual_seed(1);
    let text = Text::read()?;
    let model = Writer::new(text.vocab.vocab_size() as i64)?;
    let params = model.parameters();
    let mut optimizer = Adam::new(&params, 4e-3);
    let (mut train, mut test) = text.loaders(WINDOW, WINDOW, 32)?;
    let schedule = OneCycleLR::with_warmup_frac(6e-3, EPOCHS * train.len(), 0.1);
    let (start, mut step) = (Instant::now(), 0);
    // The loop that `Trainer` runs, written by hand.
    for epoch in 0..EPOCHS {
        let mut learned = Perplexity::new();
        for batch in train.epoch(epoch)? {
            let batch = batch?;
            optimizer.set_lr(schedule.lr(step));
            let scores = model.forward(&batch.variable(0))?;
            let loss = text::loss(&scores, &batch)?;
            optimizer.zero_grad();
            loss.backward()?;
            clip_grad_norm(&params, 1.0)?;
            optimizer.step()?;
            learned.update(&scores.data(), batch.get(1))?;
            step += 1;
        }
        let mut tested = Perplexity::new();
        for batch in test.epoch(0)? {
            let batch = batch?;
            let scores = no_grad(|| model.forward(&batch.variable(0)))?;
            tested.update(&scores.data(), batch.get(1))?;
        }
        println!(
            "epoch {}: {:.3} bits per character while learning, {:.3} on unseen text, {:.0} s",
            epoch + 1,
            learned.bits()?,
            tested.bits()?,
            start.elapsed().as_secs_f64()
        );
    }
    println!("\n{}", model.write(&text.vocab, "The whale ", 400)?);
    Ok(())
}
