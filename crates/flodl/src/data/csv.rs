//! Tables: CSV files with typed columns, and what models need of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::read_maybe_gz;
use crate::{Device, Error, Result, Tensor};

/// What the fields of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Numbers.
    Float,
    /// Whole numbers.
    Integer,
    /// Words, numbered in their alphabetical order.
    Category,
    /// Not read.
    Skip,
}

/// What a blank field is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Missing {
    /// An error.
    #[default]
    Error,
    /// NaN in columns of numbers, a level of its own in categories, an error in whole numbers.
    Nan,
    /// Its row is left out.
    DropRow,
}

/// Reads CSV files.
///
/// ```
/// use flodl::*;
/// let text = "height,kind,n\n1.5,oak,3\n0.5,ash,4\n";
/// let table = CsvOptions::new().parse("trees", text.as_bytes())?;
/// assert_eq!(table.floats(&["height", "n"])?.to_f32_vec()?, [1.5, 3.0, 0.5, 4.0]);
/// assert_eq!(table.integers("kind")?.to_i64_vec()?, [1, 0]);
/// assert_eq!(table.levels("kind")?, ["ash", "oak"]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CsvOptions {
    header: bool,
    delimiter: u8,
    missing: Missing,
    columns: Vec<(String, ColumnKind)>,
}

impl Default for CsvOptions {
    fn default() -> Self {
        CsvOptions { header: true, delimiter: b',', missing: Missing::Error, columns: Vec::new() }
    }
}

impl CsvOptions {
    /// Comma-separated, with a header row, kinds found from the fields, blanks an error.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the first row has the columns' names; without one they are `0`, `1`, …
    pub fn header(mut self, header: bool) -> Self {
        self.header = header;
        self
    }

    /// What separates fields.
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.delimiter = delimiter;
        self
    }

    /// What blank fields are.
    pub fn missing(mut self, missing: Missing) -> Self {
        self.missing = missing;
        self
    }

    /// Says what a column is. The others are whole numbers if all their fields are, else numbers if
    /// all are, else categories.
    pub fn column(mut self, name: &str, kind: ColumnKind) -> Self {
        self.columns.push((name.to_owned(), kind));
        self
    }

    /// Reads a file, plain or gzipped.
    ///
    /// # Errors
    /// When it cannot be read or a field is not what its column is; the message names row and
    /// column, both counted from 1, the header row included.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Table> {
        let path = path.as_ref();
        self.parse(path, &read_maybe_gz(path)?)
    }

    /// Reads CSV text. `source` names it in errors.
    ///
    /// # Errors
    /// As for [`CsvOptions::read`].
    pub fn parse(&self, source: impl AsRef<Path>, text: &[u8]) -> Result<Table> {
        let source = source.as_ref();
        let bad = |what: String| Error::format(source, what);
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(self.delimiter)
            .from_reader(text);
        let mut names: Vec<String> = Vec::new();
        let mut fields: Vec<Vec<String>> = Vec::new();
        let mut lines: Vec<u64> = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|e| bad(e.to_string()))?;
            let line = record.position().map_or(0, csv::Position::line);
            if names.is_empty() {
                names = if self.header {
                    record
                        .iter()
                        .map(|f| f.trim().trim_start_matches('\u{feff}').to_owned())
                        .collect()
                } else {
                    (0..record.len()).map(|i| i.to_string()).collect()
                };
                fields = vec![Vec::new(); names.len()];
                if self.header {
                    continue;
                }
            }
            if record.len() != names.len() {
                return Err(bad(format!(
                    "line {line} has {} fields, not {}",
                    record.len(),
                    names.len()
                )));
            }
            let blank = |(i, f): (usize, &str)| {
                f.trim().is_empty() && self.kind(&names[i]) != Some(ColumnKind::Skip)
            };
            if self.missing == Missing::DropRow && record.iter().enumerate().any(blank) {
                continue;
            }
            for (column, field) in fields.iter_mut().zip(record.iter()) {
                column.push(field.trim().to_owned());
            }
            lines.push(line);
        }
        if names.is_empty() {
            return Err(bad("is empty".into()));
        }
        for (i, name) in names.iter().enumerate() {
            if names[..i].contains(name) {
                return Err(bad(format!("has two columns named {name:?}")));
            }
        }
        if let Some((name, _)) = self.columns.iter().find(|(n, _)| !names.contains(n)) {
            return Err(bad(format!("has no column {name:?}; its columns are {names:?}")));
        }
        let mut columns = Vec::new();
        for (c, (name, fields)) in names.into_iter().zip(fields).enumerate() {
            let kind = self.kind(&name).unwrap_or_else(|| guess(&fields));
            if kind != ColumnKind::Skip {
                let place =
                    |row: usize| format!("line {}, column {} ({name:?})", lines[row], c + 1);
                let values = self.values(kind, fields, place).map_err(bad)?;
                columns.push(Column { name, values });
            }
        }
        Ok(Table { source: source.to_owned(), rows: lines.len(), columns })
    }

    fn kind(&self, name: &str) -> Option<ColumnKind> {
        self.columns.iter().find(|(n, _)| n == name).map(|c| c.1)
    }

    fn values(
        &self,
        kind: ColumnKind,
        fields: Vec<String>,
        place: impl Fn(usize) -> String,
    ) -> std::result::Result<ColumnValues, String> {
        let fault = |row: usize, field: &str, what: &str| match field {
            "" => format!("{}: the field is blank", place(row)),
            field => format!("{}: {field:?} is not {what}", place(row)),
        };
        let nan = self.missing == Missing::Nan;
        Ok(match kind {
            ColumnKind::Integer => {
                let parse =
                    |(r, f): (usize, &String)| f.parse().map_err(|_| fault(r, f, "a whole number"));
                ColumnValues::Integer(
                    fields.iter().enumerate().map(parse).collect::<std::result::Result<_, _>>()?,
                )
            }
            ColumnKind::Float => {
                let parse = |(r, f): (usize, &String)| match f.as_str() {
                    "" if nan => Ok(f64::NAN),
                    text => text.parse().map_err(|_| fault(r, f, "a number")),
                };
                ColumnValues::Float(
                    fields.iter().enumerate().map(parse).collect::<std::result::Result<_, _>>()?,
                )
            }
            ColumnKind::Category | ColumnKind::Skip => {
                if let Some(row) = fields.iter().position(String::is_empty).filter(|_| !nan) {
                    return Err(fault(row, "", ""));
                }
                let levels: BTreeSet<&String> = fields.iter().collect();
                let levels: Vec<String> = levels.into_iter().cloned().collect();
                let code = |f: &String| levels.binary_search(f).map_or(-1, |i| i as i64);
                ColumnValues::Category { codes: fields.iter().map(code).collect(), levels }
            }
        })
    }
}

fn guess(fields: &[String]) -> ColumnKind {
    let blank = fields.iter().any(String::is_empty);
    let mut filled = fields.iter().filter(|f| !f.is_empty()).peekable();
    if filled.peek().is_none() {
        return ColumnKind::Float;
    }
    let (mut integer, mut float) = (!blank, true);
    for f in filled {
        integer = integer && f.parse::<i64>().is_ok();
        float = float && f.parse::<f64>().is_ok();
    }
    match (integer, float) {
        (true, _) => ColumnKind::Integer,
        (false, true) => ColumnKind::Float,
        _ => ColumnKind::Category,
    }
}

/// The fields of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum ColumnValues {
    /// Numbers.
    Float(Vec<f64>),
    /// Whole numbers.
    Integer(Vec<i64>),
    /// Words.
    Category {
        /// Each field's place in `levels`.
        codes: Vec<i64>,
        /// The words in alphabetical order.
        levels: Vec<String>,
    },
}

/// A column with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its fields.
    pub values: ColumnValues,
}

/// Columns of equal length.
#[derive(Clone, Debug)]
pub struct Table {
    source: PathBuf,
    rows: usize,
    columns: Vec<Column>,
}

impl Table {
    #[cfg(feature = "parquet")]
    pub(super) fn from_columns(source: &Path, rows: usize, columns: Vec<Column>) -> Self {
        Table { source: source.to_owned(), rows, columns }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The columns in the file's order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The columns' names in the file's order.
    pub fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|c| c.name.as_str()).collect()
    }

    /// A column.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn column(&self, name: &str) -> Result<&Column> {
        self.columns.iter().find(|c| c.name == name).ok_or_else(|| {
            let what = format!("has no column {name:?}; its columns are {:?}", self.names());
            Error::format(&self.source, what)
        })
    }

    /// Columns of numbers side by side, float32 `[rows, columns]`.
    ///
    /// # Errors
    /// When a column is missing or holds words.
    pub fn floats(&self, names: &[&str]) -> Result<Tensor> {
        let mut data = vec![0f32; self.rows * names.len()];
        for (c, name) in names.iter().enumerate() {
            let mut put = |row: usize, v: f32| data[row * names.len() + c] = v;
            match &self.column(name)?.values {
                ColumnValues::Float(v) => v.iter().enumerate().for_each(|(r, &v)| put(r, v as f32)),
                ColumnValues::Integer(v) => {
                    v.iter().enumerate().for_each(|(r, &v)| put(r, v as f32))
                }
                ColumnValues::Category { .. } => {
                    return Err(Error::format(
                        &self.source,
                        format!("column {name:?} holds words"),
                    ));
                }
            }
        }
        Tensor::from_f32(&data, &[self.rows as i64, names.len() as i64], Device::CPU)
    }

    /// Whole numbers, or the codes of a category, int64 `[rows]`.
    ///
    /// # Errors
    /// When the column is missing or holds other numbers.
    pub fn integers(&self, name: &str) -> Result<Tensor> {
        match &self.column(name)?.values {
            ColumnValues::Integer(v) | ColumnValues::Category { codes: v, .. } => {
                Tensor::from_i64(v, &[self.rows as i64], Device::CPU)
            }
            ColumnValues::Float(_) => {
                let what = format!("column {name:?} holds numbers that are not whole");
                Err(Error::format(&self.source, what))
            }
        }
    }

    /// The words of a category; a code is a place in this list.
    ///
    /// # Errors
    /// When the column is missing or is no category.
    pub fn levels(&self, name: &str) -> Result<&[String]> {
        match &self.column(name)?.values {
            ColumnValues::Category { levels, .. } => Ok(levels),
            _ => Err(Error::format(&self.source, format!("column {name:?} is no category"))),
        }
    }
}

/// Takes each column's mean off and divides by its deviation, both of the rows that it was fitted
/// on: the training rows, so that nothing of the test rows leaks into training.
///
/// ```
/// use flodl::*;
/// let train = Tensor::from_f32(&[1.0, 10.0, 3.0, 30.0], &[2, 2], Device::CPU)?;
/// let scaler = StandardScaler::fit(&train)?;
/// assert_eq!(scaler.apply(&train)?.to_f32_vec()?, [-1.0, -1.0, 1.0, 1.0]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct StandardScaler {
    /// Each column's mean, `[columns]`.
    pub mean: Tensor,
    /// Each column's deviation, `[columns]`; 1 where all rows are equal.
    pub std: Tensor,
}

impl StandardScaler {
    /// Means and deviations of the columns of `[rows, columns]`.
    ///
    /// # Errors
    /// When there are no rows or the tensor is no matrix.
    pub fn fit(rows: &Tensor) -> Result<Self> {
        if rows.ndim() != 2 || rows.shape()[0] == 0 {
            return Err(Error::Shape {
                op: "StandardScaler",
                expected: "[rows, columns] with at least one row".into(),
                got: rows.shape(),
            });
        }
        let std = rows.var_dims(&[0], 0.0, false)?.sqrt()?;
        let std = std.masked_fill(&std.eq_scalar(0.0)?, 1.0)?;
        Ok(StandardScaler { mean: rows.mean_dim(0, false)?, std })
    }

    /// Rows on the scale of those that were fitted on.
    ///
    /// # Errors
    /// When the number of columns differs.
    pub fn apply(&self, rows: &Tensor) -> Result<Tensor> {
        rows.sub(&self.mean)?.div(&self.std)
    }
}
