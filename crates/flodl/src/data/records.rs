//! Files of records that are all of one size.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::{Error, Result};

/// A file of records of `stride` bytes each, behind a header that is skipped. Records are read when
/// asked for, so the file may be larger than memory.
///
/// ```
/// use flodl::*;
/// let path = std::env::temp_dir().join(format!("flodl-records-{}", std::process::id()));
/// std::fs::write(&path, b"HDabcdef").unwrap();
/// let records = FixedStrideRecords::with_header(&path, 3, 2)?;
/// assert_eq!((records.count(), records.record(1)?), (2, b"def".to_vec()));
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct FixedStrideRecords {
    path: PathBuf,
    file: Mutex<File>,
    stride: usize,
    header: u64,
    count: usize,
}

impl FixedStrideRecords {
    /// A file without a header.
    ///
    /// # Errors
    /// As for [`FixedStrideRecords::with_header`].
    pub fn open(path: impl AsRef<Path>, stride: usize) -> Result<Self> {
        Self::with_header(path, stride, 0)
    }

    /// A file whose first `header` bytes are no records.
    ///
    /// # Errors
    /// When the stride is 0, the file cannot be read, or does not hold a whole number of records.
    pub fn with_header(path: impl AsRef<Path>, stride: usize, header: u64) -> Result<Self> {
        let path = path.as_ref();
        if stride == 0 {
            return Err(Error::invalid("FixedStrideRecords", "stride must be at least 1, not 0"));
        }
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let size = file.metadata().map_err(|e| Error::io(path, e))?.len();
        let Some(body) = size.checked_sub(header) else {
            let what = format!("has {size} bytes, fewer than its header of {header}");
            return Err(Error::format(path, what));
        };
        if body % stride as u64 != 0 {
            let (whole, rest) = (body / stride as u64, body % stride as u64);
            return Err(Error::format(
                path,
                format!(
                    "ends within a record: after {whole} records of {stride} bytes there are {rest} \
                     bytes more, at byte {}",
                    size - rest
                ),
            ));
        }
        Ok(FixedStrideRecords {
            path: path.to_owned(),
            file: Mutex::new(file),
            stride,
            header,
            count: (body / stride as u64) as usize,
        })
    }

    /// Number of records.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes of a record.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes of a record.
    ///
    /// # Errors
    /// When there is no such record, or the file has changed and ends before it.
    pub fn record(&self, index: usize) -> Result<Vec<u8>> {
        super::sets::check_indices("FixedStrideRecords", &[index], self.count)?;
        let start = self.header + index as u64 * self.stride as u64;
        let mut bytes = vec![0; self.stride];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(start)).map_err(|e| Error::io(&self.path, e))?;
        file.read_exact(&mut bytes)
            .map_err(|e| Error::format(&self.path, format!("record {index}, byte {start}: {e}")))?;
        Ok(bytes)
    }
}
