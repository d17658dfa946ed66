//! Tables in documents, written from result files.
//!
//! A table stands between the lines `<!-- bench NAME -->` and `<!-- /bench -->`; `NAME.json` is its
//! result file. `brief` after the name asks for a short table, `only=PART` for the rows whose names
//! begin so.

use std::path::Path;

use crate::report::{self, Row};
use crate::{Result, compare};

const OPEN: &str = "<!-- bench ";
const SHUT: &str = " -->";
const END: &str = "<!-- /bench -->";

/// What a mark asks for.
#[derive(Clone, Debug, Default, PartialEq)]
struct Mark {
    name: String,
    brief: bool,
    only: String,
}

impl Mark {
    fn parse(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace();
        let Some(name) = words.next() else { return Err("a mark has no name".into()) };
        let mut mark = Mark { name: name.into(), ..Mark::default() };
        for word in words {
            match (word, word.strip_prefix("only=")) {
                ("brief", _) => mark.brief = true,
                (_, Some(part)) => mark.only = part.into(),
                _ => return Err(format!("mark {name}: {word} is neither brief nor only=…").into()),
            }
        }
        Ok(mark)
    }
}

/// The text with what stands behind each mark replaced, where there is something new.
fn fill(text: &str, mut table: impl FnMut(&Mark) -> Result<Option<String>>) -> Result<String> {
    let (mut made, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once(OPEN) {
        let (mark, after) = after.split_once(SHUT).ok_or("a mark has no end")?;
        let (old, after) =
            after.split_once(END).ok_or_else(|| format!("mark {mark}: no {END} follows"))?;
        let new = table(&Mark::parse(mark)?)?;
        let new = new.as_deref().unwrap_or(old.strip_prefix('\n').unwrap_or(old));
        made += &format!("{before}{OPEN}{mark}{SHUT}\n{new}{END}");
        rest = after;
    }
    Ok(made + rest)
}

/// A document, and the names of the result files that it has tables of.
pub fn read(document: &str) -> Result<(String, Vec<String>)> {
    let mut names = Vec::new();
    let text = std::fs::read_to_string(document).map_err(|e| format!("{document}: {e}"))?;
    fill(&text, |mark| {
        names.push(mark.name.clone());
        Ok(None)
    })
    .map_err(|e| format!("{document}: {e}"))?;
    if names.is_empty() {
        return Err(format!("{document} has no line {OPEN}NAME{SHUT}").into());
    }
    Ok((text, names))
}

/// Writes all tables of the documents whose result files are in the folder; others stay.
pub fn run(folder: &str, documents: &[String]) -> Result<()> {
    for document in documents {
        let (text, names) = read(document)?;
        let there = |name: &String| path(folder, name).exists();
        if !names.iter().any(there) {
            return Err(
                format!("{folder} has no results for {document}: {}", names.join(", ")).into()
            );
        }
        let new = fill(&text, |mark| section(folder, mark));
        let new = new.map_err(|e| format!("{document}: {e}"))?;
        flodl::write_atomic(document, new.as_bytes())?;
    }
    Ok(())
}

/// Where a folder keeps the results of this name.
pub fn path(folder: &str, name: &str) -> std::path::PathBuf {
    Path::new(folder).join(format!("{name}.json"))
}

/// The table that a mark asks for, if there is its result file.
fn section(folder: &str, mark: &Mark) -> Result<Option<String>> {
    let path = path(folder, &mark.name);
    if !path.exists() {
        eprintln!("{}: not there, the table stays as it is", path.display());
        return Ok(None);
    }
    let mut rows: Vec<Row> = compare::read(&path.to_string_lossy())?;
    rows.retain(|row| row.model.starts_with(&mark.only));
    if rows.is_empty() {
        return Err(format!("{}: no row begins with {:?}", path.display(), mark.only).into());
    }
    Ok(Some(report::section(&rows, mark.brief)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_gets_its_table() {
        let text = "a\n<!-- bench x -->\nold\n<!-- /bench -->\nb\n<!-- bench y only=z brief -->\n\
                    kept\n<!-- /bench -->\n";
        let mut marks = Vec::new();
        let new = fill(text, |mark| {
            marks.push(mark.clone());
            Ok((mark.name == "x").then(|| "new\n".into()))
        })
        .unwrap();
        assert_eq!(new, text.replace("old", "new"));
        let y = Mark { name: "y".into(), brief: true, only: "z".into() };
        assert_eq!(marks, [Mark { name: "x".into(), ..Mark::default() }, y]);
    }

    #[test]
    fn a_mark_that_is_wrong_is_an_error() {
        for (text, words) in [
            ("<!-- bench x -->\n", "mark x: no"),
            ("<!-- bench x", "no end"),
            ("<!-- bench  -->\n<!-- /bench -->", "no name"),
            ("<!-- bench x short -->\n<!-- /bench -->", "short is neither"),
        ] {
            let error = fill(text, |_| Ok(None)).unwrap_err().to_string();
            assert!(error.contains(words), "{text:?}: {error}");
        }
    }
}
