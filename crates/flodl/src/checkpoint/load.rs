//! Loading by name: checked whole, then applied.

use std::collections::HashMap;

use super::{HASH_KEY, NamedTensors, VERSION, deserialize_tensors, version};
use crate::{Buffer, Error, Parameter, Result, Tensor};

/// What a load found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Names that were loaded.
    pub loaded: Vec<String>,
    /// Names that the model has and the file has not.
    pub missing: Vec<String>,
    /// Names that the file has and the model has not.
    pub unexpected: Vec<String>,
    /// Names that were left as they are because the shapes differ, where the options allow it.
    pub mismatched: Vec<String>,
}

impl LoadReport {
    /// Whether every name of the model was loaded and every name of the file was used.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.mismatched.is_empty()
    }
}

/// How the names of a file become those of a model, and what may be left out.
///
/// ```
/// use flodl::*;
/// // A file written as `backbone.0.weight`, for a model that has `0.weight` and a new head.
/// let options = LoadOptions::new().strip_prefix("backbone.").rename("fc.weight", "2.weight");
/// assert_eq!(options.name("backbone.0.weight"), "0.weight");
/// assert_eq!(options.name("fc.weight"), "2.weight");
/// ```
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    prefixes: Vec<(String, String)>,
    names: HashMap<String, String>,
    skip_mismatched: bool,
    strict: bool,
}

impl LoadOptions {
    /// Names as they are; missing and unexpected names are reported, other shapes are errors.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the file calls `from` is `to` in the model. Whole names come before prefixes.
    pub fn rename(mut self, from: &str, to: &str) -> Self {
        self.names.insert(from.to_owned(), to.to_owned());
        self
    }

    /// Names that start with `from` in the file start with `to` in the model. Of several that fit
    /// the first counts.
    pub fn rename_prefix(mut self, from: &str, to: &str) -> Self {
        self.prefixes.push((from.to_owned(), to.to_owned()));
        self
    }

    /// Names lose a prefix that they have in the file.
    pub fn strip_prefix(self, prefix: &str) -> Self {
        self.rename_prefix(prefix, "")
    }

    /// Leaves weights of another shape as they are, and reports them: for a new head on an old
    /// body.
    pub fn skip_mismatched(mut self) -> Self {
        self.skip_mismatched = true;
        self
    }

    /// Makes missing and unexpected names an error.
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// What a name of the file is in the model.
    pub fn name(&self, name: &str) -> String {
        if let Some(to) = self.names.get(name) {
            return to.clone();
        }
        let renamed = self.prefixes.iter().find_map(|(from, to)| {
            name.strip_prefix(from.as_str()).map(|rest| format!("{to}{rest}"))
        });
        renamed.unwrap_or_else(|| name.to_owned())
    }
}

/// Reads parameters and buffers by name, with names changed and gaps allowed as `options` say.
/// Everything is checked first: on an error nothing has changed.
///
/// # Errors
/// When the file cannot be read or is damaged, two of its names become one, shapes or structural
/// hashes differ, no name matches, or names are left over where `options` are strict.
pub fn load_checkpoint_with(
    path: &str,
    params: &[(String, Parameter)],
    buffers: &[(String, Buffer)],
    structural_hash: Option<&str>,
    options: &LoadOptions,
) -> Result<LoadReport> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    Ok(Plan::new(&bytes, path, params, buffers, structural_hash, options)?.apply())
}

/// A load that can no longer fail.
pub(crate) struct Plan {
    params: Vec<(Parameter, Tensor)>,
    buffers: Vec<(Buffer, Tensor)>,
    report: LoadReport,
}

impl Plan {
    pub fn new(
        bytes: &[u8],
        source: &str,
        params: &[(String, Parameter)],
        buffers: &[(String, Buffer)],
        structural_hash: Option<&str>,
        options: &LoadOptions,
    ) -> Result<Plan> {
        let (tensors, metadata) = deserialize_tensors(bytes, source)?;
        let theirs = version(&metadata, source)?;
        if theirs > VERSION {
            let what = format!("has version {theirs}, this program knows up to {VERSION}");
            return Err(Error::format(source, what));
        }
        if let (Some(own), Some(theirs)) = (structural_hash, metadata.get(HASH_KEY))
            && own != theirs
        {
            return Err(Error::format(
                source,
                format!(
                    "was written by a model of another structure ({theirs}, this one is {own})"
                ),
            ));
        }
        Self::of(tensors, source, params, buffers, options)
    }

    pub fn of(
        tensors: NamedTensors,
        source: &str,
        params: &[(String, Parameter)],
        buffers: &[(String, Buffer)],
        options: &LoadOptions,
    ) -> Result<Plan> {
        let mut found: HashMap<String, Tensor> = HashMap::with_capacity(tensors.len());
        for (name, t) in tensors {
            let renamed = options.name(&name);
            if found.insert(renamed.clone(), t).is_some() {
                let what = format!("{name} and another name both become {renamed}");
                return Err(Error::format(source, what));
            }
        }
        let mut report = LoadReport::default();
        let mut take = |name: &str, now: &Tensor| -> Result<Option<Tensor>> {
            let Some(t) = found.remove(name) else {
                report.missing.push(name.to_owned());
                return Ok(None);
            };
            if t.shape() != now.shape() {
                if options.skip_mismatched {
                    report.mismatched.push(name.to_owned());
                    return Ok(None);
                }
                return Err(Error::format(
                    source,
                    format!("{name} has shape {:?}, the model wants {:?}", t.shape(), now.shape()),
                ));
            }
            report.loaded.push(name.to_owned());
            t.to_dtype(now.dtype())?.to_device(now.device()).map(Some)
        };
        let mut new_params = Vec::new();
        for (name, p) in params {
            if let Some(t) = take(name, &p.variable.data())? {
                new_params.push((p.clone(), t));
            }
        }
        let mut new_buffers = Vec::new();
        for (name, b) in buffers {
            if let Some(t) = take(name, &b.get())? {
                new_buffers.push((b.clone(), t));
            }
        }
        report.unexpected = found.into_keys().collect();
        report.unexpected.sort_unstable();
        if report.loaded.is_empty() && !(params.is_empty() && buffers.is_empty()) {
            let what = if report.mismatched.is_empty() {
                format!(
                    "holds none of the model's names: it has {}, the model wants {}",
                    some(&report.unexpected),
                    some(&report.missing)
                )
            } else {
                format!("nothing fits: {} have other shapes", some(&report.mismatched))
            };
            return Err(Error::format(source, what));
        }
        if options.strict && !(report.missing.is_empty() && report.unexpected.is_empty()) {
            let (missing, unexpected) = (some(&report.missing), some(&report.unexpected));
            let what = format!("lacks {missing} and has {unexpected} besides");
            return Err(Error::format(source, what));
        }
        Ok(Plan { params: new_params, buffers: new_buffers, report })
    }

    pub fn apply(self) -> LoadReport {
        for (p, t) in self.params {
            p.variable.set_data(t);
        }
        for (b, t) in self.buffers {
            b.set(t);
        }
        self.report
    }
}

/// The first names of a list that may be long, and how many more there are.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let first = &names[..names.len().min(SHOWN)];
    match names.len() - first.len() {
        0 => format!("{first:?}"),
        more => format!("{first:?} and {more} more"),
    }
}
