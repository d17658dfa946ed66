//! Trains a small convolutional network on real handwritten digits, and shows what it learned.
//!
//! ```text
//! cargo run --release --example digits
//! cargo run --release --example digits -- --load runs/digits/model.safetensors
//! ```

mod data;
mod report;

use clap::Parser;
use clap::builder::RangedU64ValueParser;
use flodl::*;
use report::{Epoch, Progress};

/// Trains a convolutional network on 4,000 handwritten digits and tests it on 1,000 others.
#[derive(Parser)]
struct Args {
    /// Passes over the training digits
    #[arg(long, default_value_t = 20, value_parser = at_least_one())]
    epochs: usize,
    /// Seed of weights, order and dropout
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads for the kernels; 0 means all cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Samples in a training step
    #[arg(long, default_value_t = 50, value_parser = at_least_one())]
    batch_size: usize,
    /// Only test the weights in this file
    #[arg(long, value_name = "FILE")]
    load: Option<String>,
    /// The digits, as gzipped CSV: 784 pixels and a label in each row
    #[arg(long, value_name = "FILE", default_value = data::SHIPPED)]
    data: String,
    /// Where weights and picture go
    #[arg(long, value_name = "DIR", default_value = "runs/digits")]
    out: String,
}

fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

fn model() -> Result<Graph> {
    FlowBuilder::from(Conv2d::configure(1, 16, 3).with_padding(1).done()?)
        .through(BatchNorm2d::new(16)?)
        .through(ReLU)
        .through(MaxPool2d::new(2)) // [N, 16, 14, 14]
        .through(Conv2d::configure(16, 32, 3).with_padding(1).done()?)
        .through(BatchNorm2d::new(32)?)
        .through(ReLU)
        .through(MaxPool2d::new(2)) // [N, 32, 7, 7]
        .through(Flatten::new(1, -1))
        .through(Dropout::new(0.4))
        .through(Linear::new(32 * 7 * 7, 128)?)
        .through(ReLU)
        .through(Dropout::new(0.4))
        .through(Linear::new(128, 10)?)
        .build()
}

fn train(model: &Graph, digits: &data::Digits, args: &Args) -> Result<Vec<Epoch>> {
    let mut loader = DataLoader::new(digits.train()?, args.batch_size).shuffle(args.seed);
    let mut optimizer = Adam::new(&model.parameters(), 1e-3);
    let mut progress = Progress::new(args.epochs, loader.samples());
    for epoch in 0..args.epochs {
        // The step shrinks along half a cosine, so that the last epochs settle.
        let turn = std::f64::consts::PI * epoch as f64 / args.epochs as f64;
        optimizer.set_lr(2e-3 * 0.5 * (1.0 + turn.cos()));
        model.train();
        for batch in loader.epoch(epoch)? {
            let batch = batch?;
            let (x, y) = (data::input(&batch), data::target(&batch));
            let logits = model.forward(&x)?;
            let loss = cross_entropy_loss(&logits, &y)?;
            optimizer.zero_grad();
            loss.backward()?;
            optimizer.step()?;
            progress.step(&loss, &logits, &y)?;
        }
        progress.epoch(test(model, digits)?.accuracy()?)?;
    }
    Ok(progress.finish())
}

fn test(model: &Graph, digits: &data::Digits) -> Result<report::Test> {
    model.eval();
    let mut result = report::Test::new()?;
    for batch in DataLoader::new(digits.test()?, 250).epoch(0)? {
        let batch = batch?;
        let logits = no_grad(|| model.forward(&data::input(&batch)))?;
        result.add(&batch, &logits)?;
    }
    Ok(result)
}

fn run(args: &Args) -> Result<()> {
    set_num_threads(args.threads);
    manual_seed(args.seed);
    let digits = data::Digits::read(&args.data)?;
    let model = model()?;
    if let Some(file) = &args.load {
        // Strictly: a weight that the file lacks would stay as chance made it.
        let (params, buffers) = (model.named_parameters(), model.named_buffers());
        let options = LoadOptions::new().strict();
        load_checkpoint_with(file, &params, &buffers, Some(model.structural_hash()), &options)?;
        test(&model, &digits)?.print()?;
        return Ok(());
    }
    report::prepare(&args.out)?;
    report::describe(&model, &digits);
    let history = train(&model, &digits, args)?;
    test(&model, &digits)?.print()?;
    report::save(&model, &history, &args.out)
}

fn main() -> std::process::ExitCode {
    match run(&Args::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
