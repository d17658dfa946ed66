//! Everything that the documents show, measured anew.

use crate::{Common, Result, documents, kernels, layers, models};

/// A run of a command: the name of its result file, pairs of runs if nothing else is said, whether
/// PyTorch is at its best.
struct Part {
    name: &'static str,
    pairs: u32,
    best: bool,
    run: fn(&Common) -> Result<()>,
}

const PARTS: [Part; 5] = [
    Part { name: "models", pairs: 5, best: false, run: |c| models::run(c, 0) },
    Part { name: "models-best", pairs: 5, best: true, run: |c| models::run(c, 0) },
    Part { name: "scaling", pairs: 3, best: false, run: |c| models::scaling(c, 0) },
    Part { name: "layers", pairs: 3, best: false, run: |c| layers::run(c, 0) },
    Part { name: "kernels", pairs: 3, best: false, run: kernels::run },
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
    for part in PARTS.iter().filter(|part| vs_pytorch.is_some() || !part.best) {
        let path = documents::path(target.folder, part.name);
        eprintln!("== {}", path.display());
        (part.run)(&Common {
            only: None,
            threads,
            json: Some(path.to_string_lossy().into_owned()),
            vs_pytorch: vs_pytorch.map(str::to_owned),
            pairs: pairs.unwrap_or(part.pairs),
            pytorch_best: part.best,
        })?;
    }
    if target.documents.is_empty() {
        return Ok(());
    }
    documents::run(target.folder, target.documents)
}
