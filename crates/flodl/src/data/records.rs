//! Records of one size in a file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::{Error, Result};

/// A file of records that all have the same number of bytes, read one by one: for sets that do not
/// fit in memory.
///
/// ```
/// use flodl::*;
/// let path = std::env::temp_dir().join(format!("flodl-records-{}", std::process::id()));
/// std::fs::write(&path, [1, 2, 3, 4, 5, 6]).unwrap();
/// let records = FixedStrideRecords::open(&path, 3)?;
/// assert_eq!(records.count(), 2);
/// assert_eq!(records.record(1)?, [4, 5, 6]);
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct FixedStrideRecords {
    file: Mutex<File>,
    path: PathBuf,
    stride: usize,
    header: u64,
    count: usize,
}

impl FixedStrideRecords {
    /// Records of `stride` bytes from the start of a file.
    ///
    /// # Errors
    /// When the file cannot be opened, `stride` is 0, or the last record is cut off.
    pub fn open(path: impl AsRef<Path>, stride: usize) -> Result<Self> {
        Self::with_header(path, stride, 0)
    }

    /// Records of `stride` bytes after `header` others.
    ///
    /// # Errors
    /// As for [`FixedStrideRecords::open`], and when the header is cut off.
    pub fn with_header(path: impl AsRef<Path>, stride: usize, header: u64) -> Result<Self> {
        let path = path.as_ref();
        if stride == 0 {
            return Err(Error::invalid("FixedStrideRecords", "stride must be at least 1, not 0"));
        }
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let size = file.metadata().map_err(|e| Error::io(path, e))?.len();
        let Some(body) = size.checked_sub(header) else {
            let what = format!("has {size} bytes, less than the header of {header}");
            return Err(Error::format(path, what));
        };
        let (count, rest) = (body / stride as u64, body % stride as u64);
        if rest != 0 {
            let at = header + count * stride as u64;
            let what = format!("record {count} at byte {at} has {rest} bytes, not {stride}");
            return Err(Error::format(path, what));
        }
        let file = Mutex::new(file);
        Ok(FixedStrideRecords {
            file,
            path: path.to_owned(),
            stride,
            header,
            count: count as usize,
        })
    }

    /// Number of records.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes in a record.
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
    /// When there is no such record, or the file cannot be read any more.
    pub fn record(&self, index: usize) -> Result<Vec<u8>> {
        if index >= self.count {
            let (index, size) = (index as i64, self.count as i64);
            return Err(Error::IndexOutOfRange { op: "FixedStrideRecords", index, size });
        }
        let mut bytes = vec![0; self.stride];
        let at = self.header + index as u64 * self.stride as u64;
        // The file has no state that a panic elsewhere could have spoilt: each read seeks first.
        let mut file = self.file.lock().unwrap_or_else(|e| e.into_inner());
        file.seek(SeekFrom::Start(at))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|e| Error::io(&self.path, e))?;
        Ok(bytes)
    }
}
