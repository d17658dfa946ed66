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

/// Where the results go, and the documents whose tables are written from them.
pub struct Target<'a> {
    pub folder: &'a str,
    pub documents: &'a [String],
}

/// Runs every part on so many threads, with so many pairs if that is said, keeps each part's
/// results as it ends, and writes the tables at the end.
pub fn run(
    target: &Target,
    threads: usize,
    vs_pytorch: Option<&str>,
    pairs: Option<u32>,
) -> Result<()> {
    // What is wrong with a document shows before an hour of measuring.
    for document in target.documents {
        documents::names(document)?;
    }
    std::fs::create_dir_all(target.folder)
        .map_err(|e| format!("{} cannot be made: {e}", target.folder))?;
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
        let path = documents::path(target.folder, part.name);
        eprintln!("== {}", path.display());
        (part.run)(&Common {
            only: None,
            threads,
            json: Some(path.to_string_lossy().into_owned()),
            vs_pytorch: vs_pytorch.map(str::to_owned),
            pairs: pairs.unwrap_or(part.pairs),
            pytorch_best: part.needs == PyTorchAtBest,
        })?;
    }
    if target.documents.is_empty() {
        return Ok(());
    }
    documents::run(target.folder, target.documents)
}
