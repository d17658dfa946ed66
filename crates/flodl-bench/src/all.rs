//! Everything that the documents show, measured anew.

use crate::{Common, Result, documents, kernels, layers, models, profile};

/// A run of a command.
struct Part {
    /// The name of its result file.
    name: &'static str,
    needs: Needs,
    /// Pairs of runs if nothing else is said.
    pairs: u32,
    run: fn(&Common) -> Result<()>,
}

/// What a part cannot do without.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    Perf,
    /// PyTorch, which is then at its best.
    PyTorchAtBest,
}
use Needs::{Nothing, Perf, PyTorchAtBest};

const fn part(
    name: &'static str,
    needs: Needs,
    pairs: u32,
    run: fn(&Common) -> Result<()>,
) -> Part {
    Part { name, needs, pairs, run }
}

/// Short ones first, so that what is missing shows soon.
const PARTS: [Part; 6] = [
    part("profile", Perf, 1, |c| profile::run(c, 0, None)),
    part("kernels", Nothing, 3, kernels::run),
    part("layers", Nothing, 3, |c| layers::run(c, 0)),
    part("scaling", Nothing, 3, |c| models::scaling(c, 0)),
    part("models", Nothing, 5, |c| models::run(c, 0)),
    part("models-best", PyTorchAtBest, 5, |c| models::run(c, 0)),
];

/// What the `all` command takes.
#[derive(clap::Args)]
pub struct Options {
    /// Documents whose tables are written, as `document` does
    documents: Vec<String>,
    /// The folder for the result files
    #[arg(long, value_name = "FOLDER", default_value = "bench-results")]
    folder: String,
    /// Threads on both sides; 0 means all cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Compare with the PyTorch that this Python has
    #[arg(long, value_name = "PYTHON")]
    vs_pytorch: Option<String>,
    /// Pairs of runs when comparing; by default five for the models and three for the rest
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: Option<u32>,
}

/// Runs every part, keeps its results as it ends, and writes the tables at the end.
pub fn run(options: &Options) -> Result<()> {
    let Options { documents, folder, threads, vs_pytorch, pairs } = options;
    // What is wrong with a document shows before an hour of measuring.
    for document in documents {
        documents::read(document)?;
    }
    std::fs::create_dir_all(folder).map_err(|e| format!("{folder} cannot be made: {e}"))?;
    for part in &PARTS {
        let missing = match part.needs {
            Nothing => None,
            Perf => (!profile::possible()).then_some("perf"),
            PyTorchAtBest => vs_pytorch.is_none().then_some("--vs-pytorch"),
        };
        if let Some(missing) = missing {
            eprintln!("== {} is left out: there is no {missing}", part.name);
            continue;
        }
        let path = documents::path(folder, part.name);
        eprintln!("== {}", path.display());
        (part.run)(&Common {
            only: None,
            threads: *threads,
            json: Some(path.to_string_lossy().into_owned()),
            vs_pytorch: vs_pytorch.clone(),
            pairs: pairs.unwrap_or(part.pairs),
            pytorch_best: part.needs == PyTorchAtBest,
        })?;
    }
    documents::run(folder, documents)
}
