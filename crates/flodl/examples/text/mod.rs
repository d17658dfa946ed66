//! The text, its windows, what counting alone makes of it, and drawing from scores: what the two
//! models of characters share.

use std::collections::HashMap;

use flodl::*;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/moby-dick.txt");

/// The first chapters of Moby Dick as tokens; the last tenth is kept for testing.
pub struct Text {
    pub vocab: CharVocab,
    pub train: Vec<i64>,
    pub test: Vec<i64>,
}

impl Text {
    pub fn read() -> Result<Self> {
        let text = read_text(FILE)?;
        let vocab = CharVocab::from_text(&text);
        let mut train = vocab.encode(&text)?;
        let test = train.split_off(train.len() * 9 / 10);
        println!("{} characters to learn from, {} to test on", train.len(), test.len());
        for context in 1..=3 {
            let bits = counted(&train, &test, vocab.vocab_size(), context);
            println!("counting what follows each {context}: {bits:.3} bits per character");
        }
        Ok(Text { vocab, train, test })
    }

    /// Windows to learn from, and windows to test on.
    pub fn loaders(
        &self,
        window: usize,
        stride: usize,
        batch: usize,
    ) -> Result<(DataLoader, DataLoader)> {
        let train = TokenWindows::new(self.train.clone(), window, stride)?;
        let test = TokenWindows::new(self.test.clone(), window, window)?;
        Ok((DataLoader::new(train, batch).shuffle(1).workers(1), DataLoader::new(test, batch)))
    }
}

/// The mean cross-entropy over all positions of a batch.
pub fn loss(scores: &Variable, batch: &Batch) -> Result<Variable> {
    let target = Variable::new(batch.get(1).flatten(0, -1)?, false);
    cross_entropy_loss(&scores.flatten(0, 1)?, &target)
}

/// Draws a token from the scores `[vocab]`. A little sharper than what was learned reads better.
pub fn draw(scores: &Tensor, rng: &mut Rng) -> Result<i64> {
    let mut left = rng.f32();
    let chances = scores.div_scalar(0.7)?.softmax(-1)?.to_f32_vec()?;
    let chosen = chances.iter().position(|p| {
        left -= p;
        left < 0.0
    });
    Ok(chosen.unwrap_or(0) as i64)
}

/// Bits per character of unseen text for a model that counts which character follows each
/// `context` of them, and asks the shorter contexts where it has counted little.
fn counted(train: &[i64], test: &[i64], vocab: usize, context: usize) -> f64 {
    let mut counts: HashMap<&[i64], u32> = HashMap::new();
    for length in 0..=context + 1 {
        train.windows(length.max(1)).for_each(|w| *counts.entry(&w[..length]).or_default() += 1);
    }
    let count = |of: &[i64]| counts.get(of).copied().unwrap_or(0) as f64;
    let bits = |w: &[i64]| {
        let chance = (0..=context).fold(1.0 / vocab as f64, |shorter, length| {
            let seen = &w[context - length..];
            (count(seen) + 5.0 * shorter) / (count(&seen[..length]) + 5.0)
        });
        -chance.log2()
    };
    test.windows(context + 1).map(bits).sum::<f64>() / (test.len() - context) as f64
}
