//! Learns to write like Melville, character by character: a small GPT (causal attention over what
//! was written so far) on the first chapters of Moby Dick.
//!
//! ```text
//! cargo run --release --example gpt
//! ```
//!
//! It prints its score, in bits per character of unseen text, beside those of models that only count
//! which character follows the last one, two or three: 3.615, 3.040 and 2.655 bits. It comes below 2.5
//! in two minutes: attention looks further back than any table of counts could.

mod text;

use std::time::Instant;

use flodl::*;
use text::Text;

const WINDOW: usize = 64;
const WIDTH: i64 = 96;
const HEADS: i64 = 4;
const LAYERS: usize = 3;
const EPOCHS: usize = 8;
const BATCH: usize = 16;
const DROPOUT: f64 = 0.05;

/// Attention of every position to itself and those before it.
#[derive(Clone)]
struct CausalAttention {
    attention: MultiheadAttention,
}

impl CausalAttention {
    fn new() -> Result<Self> {
        let positions = RotaryEmbedding::new(WIDTH / HEADS, WINDOW as i64)?;
        Ok(CausalAttention { attention: MultiheadAttention::new(WIDTH, HEADS)?.rotary(positions)? })
    }
}

impl Module for CausalAttention {
    fn forward(&self, x: &Variable) -> Result<Variable> {
        let causal = AttentionOptions { is_causal: true, ..AttentionOptions::default() };
        Ok(self.attention.forward_with(x, x, x, &causal)?.0)
    }
    children!(attention);
}

/// Tokens `[N, T]` to scores of the next token `[N, T, vocab]`.
fn gpt(vocab: i64) -> Result<Graph> {
    let mut flow = FlowBuilder::from(Embedding::new(vocab, WIDTH)?).through(Dropout::new(DROPOUT));
    for _ in 0..LAYERS {
        let attend = FlowBuilder::from(LayerNorm::new(WIDTH)?)
            .through(CausalAttention::new()?)
            .through(Dropout::new(DROPOUT));
        let think = FlowBuilder::from(LayerNorm::new(WIDTH)?)
            .through(Linear::new(WIDTH, 4 * WIDTH)?)
            .through(GELU)
            .through(Linear::new(4 * WIDTH, WIDTH)?)
            .through(Dropout::new(DROPOUT));
        flow = flow.also(attend.build()?).also(think.build()?);
    }
    flow.through(LayerNorm::new(WIDTH)?).through(Linear::new(WIDTH, vocab)?).build()
}

/// Continues a text.
fn write(model: &Graph, vocab: &CharVocab, start: &str, length: usize) -> Result<String> {
    let (mut text, mut rng) = (vocab.encode(start)?, Rng::seed(7));
    for _ in 0..length {
        let seen = &text[text.len().saturating_sub(WINDOW)..];
        let seen = Tensor::from_i64(seen, &[1, seen.len() as i64], Device::CPU)?;
        let scores = no_grad(|| model.forward(&Variable::new(seen, false)))?.data();
        text.push(text::draw(&scores.select(1, -1)?.flatten(0, -1)?, &mut rng)?);
    }
    vocab.decode(&text)
}

fn main() -> Result<()> {
    manual_seed(1);
    let text = Text::read()?;
    let model = gpt(text.vocab.vocab_size() as i64)?;
    let (train, test) = text.loaders(WINDOW, WINDOW, BATCH)?;
    let steps = EPOCHS * train.len();
    let mut optimizer = AdamW::new(&model.parameters(), 3e-3, 0.1);
    let start = Instant::now();
    let report = Trainer::new(&model, &mut optimizer, text::loss)
        .epochs(EPOCHS)
        .train(train)
        .validate(test)
        .metric(Perplexity::new())
        .schedule(OneCycleLR::with_warmup_frac(3e-3, steps, 0.1))
        .clip_norm(1.0)
        .run()?;
    let score = report.history.last().and_then(|epoch| epoch.get("val perplexity"));
    if let Some(perplexity) = score {
        let (bits, seconds) = (perplexity.log2(), start.elapsed().as_secs_f64());
        println!("{bits:.3} bits per character of unseen text after {seconds:.0} s");
    }
    model.eval();
    println!("\n{}", write(&model, &text.vocab, "The whale ", 400)?);
    Ok(())
}
