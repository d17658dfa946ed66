//! Learns to write like Melville, character by character: an LSTM on the first chapters of Moby
//! Dick, measured in bits per character on text it has not seen, beside a model that only counts
//! pairs of characters.
//!
//!     cargo run --release --example char_lm

use std::time::Instant;

use flodl::*;

const TEXT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/moby-dick.txt");
const WINDOW: usize = 64;
const EPOCHS: usize = 4;

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

    fn parameters(&self) -> Vec<Parameter> {
        collect_parameters(&[&self.embedding, &self.lstm, &self.head])
    }

    /// Scores `[N, T, vocab]` of tokens `[N, T]`, and the state after the last.
    fn forward(
        &self,
        tokens: &Tensor,
        state: Option<&(Variable, Variable)>,
    ) -> Result<(Variable, (Variable, Variable))> {
        let x = self.embedding.forward(&Variable::new(tokens.clone(), false))?;
        let (y, state) = self.lstm.forward_seq(&x, state.map(|(h, c)| (h, c)))?;
        Ok((self.head.forward(&y)?, state))
    }

    /// Continues a text.
    fn write(
        &self,
        vocab: &CharVocab,
        start: &str,
        length: usize,
        rng: &mut Rng,
    ) -> Result<String> {
        let mut text = vocab.encode(start)?;
        let (mut next, mut state) = (text.clone(), None);
        for _ in 0..length {
            let tokens = Tensor::from_i64(&next, &[1, next.len() as i64], Device::CPU)?;
            let (scores, after) = no_grad(|| self.forward(&tokens, state.as_ref()))?;
            state = Some(after);
            // A little sharper than what was learned reads better.
            let last = scores.data().select(1, -1)?.div_scalar(0.7)?.softmax(-1)?.to_f32_vec()?;
            let mut left = rng.f32();
            let chosen = last.iter().position(|p| {
                left -= p;
                left < 0.0
            });
            next = vec![chosen.unwrap_or(0) as i64];
            text.extend(&next);
        }
        vocab.decode(&text)
    }
}

/// Bits per character of a model that knows how often each character follows each other.
fn bigram(train: &[i64], test: &[i64], vocab: usize) -> f64 {
    let mut counts = vec![0.1; vocab * vocab];
    train.windows(2).for_each(|w| counts[w[0] as usize * vocab + w[1] as usize] += 1.0);
    let total: Vec<f64> = counts.chunks(vocab).map(|row| row.iter().sum()).collect();
    let bits = |w: &[i64]| {
        let (a, b) = (w[0] as usize, w[1] as usize);
        (total[a] / counts[a * vocab + b]).log2()
    };
    test.windows(2).map(bits).sum::<f64>() / (test.len() - 1) as f64
}

fn main() -> Result<()> {
    manual_seed(1);
    let text = read_text(TEXT)?;
    let vocab = CharVocab::from_text(&text);
    let tokens = vocab.encode(&text)?;
    let (train, test) = tokens.split_at(tokens.len() * 9 / 10);
    println!("{} characters to learn from, {} to test on", train.len(), test.len());
    println!("bigram model: {:.3} bits per character", bigram(train, test, vocab.vocab_size()));

    let model = Writer::new(vocab.vocab_size() as i64)?;
    let params = model.parameters();
    let mut optimizer = Adam::new(&params, 4e-3);
    let windows = TokenWindows::new(train.to_vec(), WINDOW, WINDOW)?;
    let mut loader = DataLoader::new(windows, 32).shuffle(1).workers(1);
    let schedule = OneCycleLR::with_warmup_frac(6e-3, EPOCHS * loader.len(), 0.1);
    let test_windows = TokenWindows::new(test.to_vec(), 256, 256)?;
    let (start, mut step) = (Instant::now(), 0);
    for epoch in 0..EPOCHS {
        let mut learned = Perplexity::new();
        for batch in loader.epoch(epoch)? {
            let batch = batch?;
            optimizer.set_lr(schedule.lr(step));
            let (scores, _) = model.forward(batch.get(0), None)?;
            let target = Variable::new(batch.get(1).flatten(0, -1)?, false);
            let loss = cross_entropy_loss(&scores.flatten(0, 1)?, &target)?;
            optimizer.zero_grad();
            loss.backward()?;
            clip_grad_norm(&params, 1.0)?;
            optimizer.step()?;
            learned.update(&scores.data(), batch.get(1))?;
            step += 1;
        }
        let mut tested = Perplexity::new();
        for batch in DataLoader::new(test_windows.clone(), 32).epoch(0)? {
            let batch = batch?;
            let (scores, _) = no_grad(|| model.forward(batch.get(0), None))?;
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
    println!("\n{}", model.write(&vocab, "The whale ", 400, &mut Rng::seed(7))?);
    Ok(())
}
