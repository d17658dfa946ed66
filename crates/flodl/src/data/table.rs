//! Tables in CSV files, with typed columns.

use std::path::{Path, PathBuf};

use crate::{Device, Error, Result, Tensor};

/// The values of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Every field is a whole number.
    Int(Vec<i64>),
    /// Every field is a number, or blank, which is NaN.
    Float(Vec<f64>),
    /// Anything else.
    Text(Vec<String>),
}

impl Column {
    /// The narrowest type that holds all fields.
    fn of(fields: Vec<String>) -> Self {
        if let Ok(values) = fields.iter().map(|f| f.parse()).collect() {
            return Column::Int(values);
        }
        let number = |f: &String| if f.is_empty() { Ok(f64::NAN) } else { f.parse() };
        if let Ok(values) = fields.iter().map(number).collect()
            && fields.iter().any(|f| !f.is_empty())
        {
            return Column::Float(values);
        }
        Column::Text(fields)
    }

    /// The name of the type.
    pub fn kind(&self) -> &'static str {
        match self {
            Column::Int(_) => "int",
            Column::Float(_) => "float",
            Column::Text(_) => "text",
        }
    }
}

/// A CSV file whose columns have found their types.
///
/// ```
/// use flodl::*;
/// let table = CsvTable::parse("size,kind\n1.5,cat\n,dog\n", "pets", true)?;
/// assert_eq!(table.names(), ["size", "kind"]);
/// assert_eq!(table.floats(&["size"])?.shape(), [2, 1]);
/// let (ids, classes) = table.labels("kind")?;
/// assert_eq!((ids.to_i64_vec()?, classes), (vec![0, 1], vec!["cat".into(), "dog".into()]));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CsvTable {
    path: PathBuf,
    names: Vec<String>,
    columns: Vec<Column>,
    rows: usize,
}

impl CsvTable {
    /// Reads a file; without a header the columns are named `0`, `1`, ….
    ///
    /// # Errors
    /// When it cannot be read, is not UTF-8, a name occurs twice, or rows have different numbers of
    /// fields; the message names the line.
    pub fn read(path: impl AsRef<Path>, header: bool) -> Result<Self> {
        let path = path.as_ref();
        let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
        Self::from_reader(std::io::BufReader::new(file), path, header)
    }

    /// Reads text; `source` names it in errors.
    ///
    /// # Errors
    /// As for [`CsvTable::read`].
    pub fn parse(text: &str, source: &str, header: bool) -> Result<Self> {
        Self::from_reader(text.as_bytes(), source.as_ref(), header)
    }

    fn from_reader(reader: impl std::io::Read, path: &Path, header: bool) -> Result<Self> {
        let bad = |e: csv::Error| Error::format(path, e.to_string());
        let mut reader =
            csv::ReaderBuilder::new().has_headers(header).trim(csv::Trim::All).from_reader(reader);
        let mut names: Vec<String> = Vec::new();
        if header {
            names = reader.headers().map_err(bad)?.iter().map(str::to_owned).collect();
        }
        let mut fields: Vec<Vec<String>> = vec![Vec::new(); names.len()];
        let mut rows = 0;
        for record in reader.records() {
            let record = record.map_err(bad)?;
            if rows == 0 && !header {
                names = (0..record.len()).map(|i| i.to_string()).collect();
                fields = vec![Vec::new(); names.len()];
            }
            fields.iter_mut().zip(&record).for_each(|(column, f)| column.push(f.to_owned()));
            rows += 1;
        }
        if let Some(i) = (1..names.len()).find(|&i| names[..i].contains(&names[i])) {
            let what = format!("line 1: two columns are named {:?}", names[i]);
            return Err(Error::format(path, what));
        }
        let columns = fields.into_iter().map(Column::of).collect();
        Ok(CsvTable { path: path.to_owned(), names, columns, rows })
    }

    /// Names of the columns.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// A column.
    ///
    /// # Errors
    /// When there is none of this name; the message lists the names.
    pub fn column(&self, name: &str) -> Result<&Column> {
        let at = self.names.iter().position(|n| n == name);
        at.map(|i| &self.columns[i]).ok_or_else(|| {
            Error::format(&self.path, format!("has no column {name:?}, only {:?}", self.names))
        })
    }

    /// Columns of numbers as an `f32` tensor `[rows, columns]`; blank fields are NaN.
    ///
    /// # Errors
    /// When a column does not exist, or is text; the message names its first field that is no
    /// number.
    pub fn floats(&self, names: &[&str]) -> Result<Tensor> {
        let mut values = vec![0.0; self.rows * names.len()];
        for (c, name) in names.iter().enumerate() {
            let mut put = |row: usize, v: f32| values[row * names.len() + c] = v;
            match self.column(name)? {
                Column::Int(v) => v.iter().enumerate().for_each(|(row, &v)| put(row, v as f32)),
                Column::Float(v) => v.iter().enumerate().for_each(|(row, &v)| put(row, v as f32)),
                Column::Text(v) => {
                    let row = v.iter().position(|f| f.parse::<f64>().is_err()).unwrap_or(0);
                    let field = v.get(row).map_or("", String::as_str);
                    let what =
                        format!("column {name:?}, row {}: {field:?} is not a number", row + 1);
                    return Err(Error::format(&self.path, what));
                }
            }
        }
        Tensor::from_f32(&values, &[self.rows as i64, names.len() as i64], Device::CPU)
    }

    /// A column of classes: ids `[rows]` from 0, and what each id means, sorted.
    ///
    /// # Errors
    /// When the column does not exist, or holds fractions.
    pub fn labels(&self, name: &str) -> Result<(Tensor, Vec<String>)> {
        let (ids, classes) = match self.column(name)? {
            Column::Int(values) => number(values, |v| v.to_string()),
            Column::Text(values) => number(values, String::clone),
            Column::Float(_) => {
                let what = format!("column {name:?} holds fractions or blanks, not classes");
                return Err(Error::format(&self.path, what));
            }
        };
        Ok((Tensor::from_i64(&ids, &[self.rows as i64], Device::CPU)?, classes))
    }
}

/// Ids of values by their rank among the distinct ones.
fn number<T: Ord>(values: &[T], show: impl Fn(&T) -> String) -> (Vec<i64>, Vec<String>) {
    let distinct: std::collections::BTreeSet<&T> = values.iter().collect();
    let sorted: Vec<&T> = distinct.into_iter().collect();
    let id = |v: &T| sorted.partition_point(|s| *s < v) as i64;
    (values.iter().map(id).collect(), sorted.iter().map(|s| show(s)).collect())
}
