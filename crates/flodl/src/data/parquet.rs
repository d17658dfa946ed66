//! Parquet files as tables.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use super::{Column, ColumnValues, Table};
use crate::{Error, Result};

/// Reads a Parquet file of plain columns, uncompressed or compressed with Snappy: numbers, whole
/// numbers, booleans as 0 and 1, strings as categories. A blank is NaN among numbers, a level of
/// its own (the empty word) among strings, an error among whole numbers.
///
/// # Errors
/// When the file cannot be read or is damaged, or a column is nested.
pub fn read_parquet(path: impl AsRef<Path>) -> Result<Table> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    // The decoder panics at some damage.
    let read = std::panic::AssertUnwindSafe(|| read(path, file));
    std::panic::catch_unwind(read).unwrap_or_else(|_| {
        Err(Error::format(path, "is damaged: the decoder gave up in the middle of it"))
    })
}

fn read(path: &Path, file: File) -> Result<Table> {
    let bad = |e: parquet::errors::ParquetError| Error::format(path, e.to_string());
    let reader = SerializedFileReader::new(file).map_err(bad)?;
    let schema = reader.metadata().file_metadata().schema();
    let names: Vec<String> = schema.get_fields().iter().map(|f| f.name().to_owned()).collect();
    let mut cells: Vec<Vec<Field>> = vec![Vec::new(); names.len()];
    for (i, row) in reader.get_row_iter(None).map_err(bad)?.enumerate() {
        let row = row.map_err(|e| Error::format(path, format!("row {}: {e}", i + 1)))?;
        for (column, (_, field)) in cells.iter_mut().zip(row.into_columns()) {
            column.push(field);
        }
    }
    let rows = cells.first().map_or(0, Vec::len);
    let columns = names
        .into_iter()
        .zip(cells)
        .map(|(name, cells)| {
            let values = values(&cells).map_err(|(row, what)| {
                Error::format(path, format!("row {}, column {name:?}: {what}", row + 1))
            })?;
            Ok(Column { name, values })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Table::from_columns(path, rows, columns))
}

fn values(cells: &[Field]) -> std::result::Result<ColumnValues, (usize, String)> {
    let integer = |f: &Field| -> Option<i64> {
        Some(match *f {
            Field::Bool(v) => v.into(),
            Field::Byte(v) => v.into(),
            Field::Short(v) => v.into(),
            Field::Int(v) | Field::Date(v) => v.into(),
            Field::Long(v) | Field::TimestampMillis(v) | Field::TimestampMicros(v) => v,
            Field::UByte(v) => v.into(),
            Field::UShort(v) => v.into(),
            Field::UInt(v) => v.into(),
            Field::ULong(v) => i64::try_from(v).ok()?,
            _ => return None,
        })
    };
    let float = |f: &Field| match *f {
        Field::Float(v) => Some(v.into()),
        Field::Double(v) => Some(v),
        Field::Null => Some(f64::NAN),
        _ => None,
    };
    let word = |f: &Field| match f {
        Field::Str(v) => Some(v.clone()),
        Field::Null => Some(String::new()),
        _ => None,
    };
    /// Every cell by one reading, or the first that it does not fit.
    fn all<T>(
        cells: &[Field],
        read: impl Fn(&Field) -> Option<T>,
    ) -> std::result::Result<Vec<T>, (usize, String)> {
        let fault = |i: usize, f: &Field| (i, format!("cannot be read: {f}"));
        cells.iter().enumerate().map(|(i, f)| read(f).ok_or_else(|| fault(i, f))).collect()
    }
    match cells.iter().find(|f| !matches!(f, Field::Null)) {
        Some(Field::Str(_)) => {
            let words = all(cells, word)?;
            let levels: Vec<String> =
                words.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect();
            let code = |w: &String| levels.binary_search(w).map_or(-1, |i| i as i64);
            Ok(ColumnValues::Category { codes: words.iter().map(code).collect(), levels })
        }
        Some(Field::Float(_) | Field::Double(_)) | None => {
            all(cells, float).map(ColumnValues::Float)
        }
        _ => all(cells, integer).map(ColumnValues::Integer),
    }
}
