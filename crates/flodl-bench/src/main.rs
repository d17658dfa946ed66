//! The benchmark: training steps, single layers and kernels, ours beside PyTorch's in the same run.
//!
//! Each model runs in a process of its own, so that peak memory is its own. With `--vs-pytorch`
//! the two sides run in turn, and the figure is the ratio pair by pair.
#![forbid(unsafe_code)]

mod all;
mod compare;
mod documents;
mod kernels;
mod layers;
mod models;
mod peak;
mod profile;
mod report;
mod rows;
mod timing;
mod twin;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Benchmarks of floDl.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What all measuring commands take.
#[derive(clap::Args, Clone, Default)]
struct Common {
    /// Only this row: a model's whole name, or a part of the name of a layer or kernel
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Threads on both sides; 0 means all cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Also write the results to this file
    #[arg(long, value_name = "FILE")]
    json: Option<String>,
    /// Compare with the PyTorch that this Python has
    #[arg(long, value_name = "PYTHON")]
    vs_pytorch: Option<String>,
    /// Pairs of runs when comparing
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Compare with PyTorch at its best: malloc that keeps pages, fused optimizers
    #[arg(long, requires = "vs_pytorch")]
    pytorch_best: bool,
}

impl Common {
    /// The number of threads both sides use.
    fn threads(&self) -> usize {
        if self.threads == 0 { flodl::num_threads() } else { self.threads }
    }

    /// Runs of each side: one alone, pairs when comparing.
    fn runs(&self) -> u32 {
        if self.vs_pytorch.is_some() { self.pairs.max(1) } else { 1 }
    }
}

#[derive(Subcommand)]
enum Command {
    /// Whole training steps of the benchmark's models
    Models {
        #[command(flatten)]
        common: Common,
        /// Timed steps; 0 means as many as two seconds hold, at least 5
        #[arg(long, default_value_t = 0)]
        steps: usize,
    },
    /// How a training step's cost grows with batch, width, image, sequence length
    Scaling {
        #[command(flatten)]
        common: Common,
        /// Timed steps; 0 means as many as two seconds hold, at least 5
        #[arg(long, default_value_t = 0)]
        steps: usize,
    },
    /// Single layers, forward and forward + backward
    Layers {
        #[command(flatten)]
        common: Common,
        /// Timed calls of each pass; 0 means as many as a tenth of a second holds, at least 5
        #[arg(long, default_value_t = 0)]
        steps: usize,
    },
    /// Kernels: matrix products in all layouts, elementwise work, norms, convolutions, Adam
    Kernels {
        #[command(flatten)]
        common: Common,
    },
    /// Where the time of the large models' steps goes, by the samples of Linux's perf
    Profile {
        #[command(flatten)]
        common: Common,
        /// Timed steps; 0 means as many as two seconds hold, at least 5
        #[arg(long, default_value_t = 0)]
        steps: usize,
        /// Another build of this program, whose steps are profiled instead
        #[arg(long, value_name = "FILE")]
        program: Option<String>,
    },
    /// All of these, beside PyTorch as it is and at its best, and the documents' tables from them
    All(all::Options),
    /// Two result files side by side
    Compare {
        /// The one to judge
        a: String,
        /// The one to judge it by
        b: String,
    },
    /// Writes the tables of result files into documents, between their marks
    Document {
        /// The folder of the result files
        folder: String,
        /// Documents with tables between the lines `<!-- bench NAME -->` and `<!-- /bench -->`, for
        /// each NAME.json; `brief` after the name leaves the main columns, `only=PART` the rows
        /// whose names begin so
        #[arg(required = true)]
        documents: Vec<String>,
    },
    /// One model in this process (what `models` starts)
    #[command(hide = true)]
    Child { model: String, steps: usize, threads: usize },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Models { common, steps } => models::run(&common, steps),
        Command::Scaling { common, steps } => models::scaling(&common, steps),
        Command::Layers { common, steps } => layers::run(&common, steps),
        Command::Kernels { common } => kernels::run(&common),
        Command::Profile { common, steps, program } => {
            profile::run(&common, steps, program.as_deref())
        }
        Command::All(options) => all::run(&options),
        Command::Compare { a, b } => compare::run(&a, &b),
        Command::Document { folder, documents } => documents::run(&folder, &documents),
        Command::Child { model, steps, threads } => models::child(&model, steps, threads),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What ends a command early, in words.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
