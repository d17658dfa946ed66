//! Rewriting a checkpoint under the names of another version of the model.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};

use super::{checkpoint_metadata, deserialize_tensors, serialize_tensors, write_atomic};
use crate::{Buffer, DType, Error, Parameter, Result, Tensor};

/// What became of the tensors of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MigrateReport {
    /// Names that fit as they were.
    pub unchanged: Vec<String>,
    /// Names that changed: old, new.
    pub remapped: Vec<(String, String)>,
    /// Names of the file that the model has no place for.
    pub dropped: Vec<String>,
    /// Names of the model that the file has nothing for.
    pub missing: Vec<String>,
}

impl MigrateReport {
    /// Whether every tensor of the file found its place and every place its tensor.
    pub fn is_complete(&self) -> bool {
        self.dropped.is_empty() && self.missing.is_empty()
    }
}

/// Rewrites a checkpoint whose names have changed. A name and shape that the model still has stay.
/// Of the rest, tensors are matched whose names end alike (`weight`, `running_mean`) and whose
/// shapes are equal, in order, and only if there are as many on both sides: what could be one of
/// several is dropped, not guessed.
///
/// # Errors
/// When the data is damaged, nothing matches, or the writer fails.
pub fn migrate_checkpoint<R: Read, W: Write>(
    r: &mut R,
    w: &mut W,
    params: &[(String, Parameter)],
    buffers: &[(String, Buffer)],
) -> Result<MigrateReport> {
    let mut bytes = Vec::new();
    r.read_to_end(&mut bytes).map_err(|e| Error::io("checkpoint", e))?;
    let (bytes, report) = migrate(&bytes, "checkpoint", params, buffers)?;
    w.write_all(&bytes).map_err(|e| Error::io("checkpoint", e))?;
    Ok(report)
}

/// [`migrate_checkpoint`] from file to file; `dst` is written atomically and may be `src`.
///
/// # Errors
/// As for [`migrate_checkpoint`].
pub fn migrate_checkpoint_file(
    src: &str,
    dst: &str,
    params: &[(String, Parameter)],
    buffers: &[(String, Buffer)],
) -> Result<MigrateReport> {
    let bytes = std::fs::read(src).map_err(|e| Error::io(src, e))?;
    let (bytes, report) = migrate(&bytes, src, params, buffers)?;
    write_atomic(dst, &bytes)?;
    Ok(report)
}

/// The last word of a name, and a shape.
type Kind = (String, Vec<i64>);

/// What must be equal for one tensor to stand for another: the last word of the name, the shape.
fn kind(name: &str, shape: Vec<i64>) -> Kind {
    let last = name.rsplit(['.', '/']).next().unwrap_or(name);
    (last.to_owned(), shape)
}

/// Numbers in names by value: `layer.10` comes after `layer.9`.
fn natural(name: &str) -> Vec<(u64, String)> {
    let chunks = name.as_bytes().chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit());
    let word = |c: &[u8]| {
        let text = String::from_utf8_lossy(c).into_owned();
        // Words before numbers, numbers by value; one too long for u64 falls back on its digits.
        let number = text.parse::<u64>().map_or(0, |n| n.saturating_add(1));
        (number, text)
    };
    chunks.map(word).collect()
}

fn migrate(
    bytes: &[u8],
    source: &str,
    params: &[(String, Parameter)],
    buffers: &[(String, Buffer)],
) -> Result<(Vec<u8>, MigrateReport)> {
    let mut old: HashMap<String, Tensor> =
        deserialize_tensors(bytes, source)?.0.into_iter().collect();
    let params = params.iter().map(|(n, p)| (n, p.variable.shape(), p.variable.dtype()));
    let buffers = buffers.iter().map(|(n, b)| (n, b.shape(), b.get().dtype()));
    let mut report = MigrateReport::default();
    let mut out: Vec<(String, Tensor)> = Vec::new();
    let mut wanted: BTreeMap<Kind, Vec<(String, DType)>> = BTreeMap::new();
    for (name, shape, dtype) in params.chain(buffers) {
        if old.get(name).is_some_and(|t| t.shape() == shape)
            && let Some(t) = old.remove(name)
        {
            out.push((name.clone(), t.to_dtype(dtype)?));
            report.unchanged.push(name.clone());
        } else {
            wanted.entry(kind(name, shape)).or_default().push((name.clone(), dtype));
        }
    }
    let mut names: Vec<String> = old.keys().cloned().collect();
    names.sort_by_key(|n| natural(n));
    let mut left: BTreeMap<Kind, Vec<String>> = BTreeMap::new();
    for name in names {
        left.entry(kind(&name, old[&name].shape())).or_default().push(name);
    }
    for (key, places) in wanted {
        match left.get(&key) {
            Some(names) if names.len() == places.len() => {
                for (from, (to, dtype)) in names.iter().zip(places) {
                    out.push((to.clone(), old[from].to_dtype(dtype)?));
                    report.remapped.push((from.clone(), to));
                }
                left.remove(&key);
            }
            _ => report.missing.extend(places.into_iter().map(|p| p.0)),
        }
    }
    report.dropped = left.into_values().flatten().collect();
    report.dropped.sort_by_key(|n| natural(n));
    if out.is_empty() {
        let (has, wants) = (&report.dropped, &report.missing);
        let what = format!("nothing matches: it has {has:?}, the model wants {wants:?}");
        return Err(Error::format(source, what));
    }
    Ok((serialize_tensors(&out, Some(checkpoint_metadata(None)))?, report))
}
