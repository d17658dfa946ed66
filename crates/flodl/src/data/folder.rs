//! Folders of images, one folder a class.

use std::path::{Path, PathBuf};

use super::DataSet;
use crate::{DType, Device, Error, Result, Tensor};

/// An image file as uint8 `[3, height, width]`: PNG or JPEG, grey ones with three equal channels.
///
/// # Errors
/// When it cannot be read or is damaged; the message names the file.
pub fn read_image(path: impl AsRef<Path>) -> Result<Tensor> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    if is_cut_jpeg(&bytes) {
        let what = "is no image that can be read: the JPEG data ends before the picture does";
        return Err(Error::format(path, what));
    }
    let image = image::load_from_memory(&bytes)
        .map_err(|e| Error::format(path, format!("is no image that can be read: {e}")))?
        .to_rgb8();
    let (w, h) = (i64::from(image.width()), i64::from(image.height()));
    let pixels = Tensor::from_blob(image.as_raw(), &[h, w, 3], DType::UInt8, Device::CPU)?;
    pixels.permute(&[2, 0, 1])?.contiguous()
}

/// Whether a JPEG file lacks its end. The decoder fills what is missing with grey, and training would
/// go on with half a picture.
fn is_cut_jpeg(bytes: &[u8]) -> bool {
    const END: u8 = 0xd9;
    if !bytes.starts_with(&[0xff, 0xd8]) {
        return false;
    }
    let mut at = 2;
    loop {
        // A marker is 0xff and a byte that is neither 0 (a 0xff in the data) nor one of the restarts
        // that stand within the data; more 0xff before it are fill.
        let Some(step) = bytes[at..]
            .windows(2)
            .position(|w| w[0] == 0xff && !matches!(w[1], 0 | 0x01 | 0xd0..=0xd8 | 0xff))
        else {
            return true;
        };
        at += step + 2;
        if bytes[at - 1] == END {
            return false;
        }
        // All others say how long they are; a scan's data follows its header.
        let Some(length) = bytes.get(at..at + 2) else { return true };
        at += usize::from(u16::from_be_bytes([length[0], length[1]]));
        if at >= bytes.len() {
            return true;
        }
    }
}

/// The images in the folders of a folder. A folder is a class, classes are numbered in the order of
/// their names; a sample is an image, uint8 `[3, height, width]`, and its class.
///
/// Images of different sizes need a transform before they can be stacked: see
/// [`ImageFolder::transform`].
pub struct ImageFolder {
    classes: Vec<String>,
    files: Vec<(PathBuf, i64)>,
    transform: Option<Box<dyn super::Transform>>,
}

impl ImageFolder {
    /// The images below a folder; files of other kinds are passed over.
    ///
    /// # Errors
    /// When the folder cannot be read, or has no folders with images.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let mut classes = Vec::new();
        let mut files = Vec::new();
        for folder in sorted(dir)?.into_iter().filter(|p| p.is_dir()) {
            let label = classes.len() as i64;
            let is_image = |p: &PathBuf| {
                let end = p.extension().map(|e| e.to_string_lossy().to_lowercase());
                p.is_file() && matches!(end.as_deref(), Some("png" | "jpg" | "jpeg"))
            };
            let images: Vec<_> = sorted(&folder)?.into_iter().filter(is_image).collect();
            if images.is_empty() {
                return Err(Error::format(folder, "has no .png or .jpg files"));
            }
            files.extend(images.into_iter().map(|p| (p, label)));
            classes
                .push(folder.file_name().map_or_else(String::new, |n| n.to_string_lossy().into()));
        }
        if classes.is_empty() {
            return Err(Error::format(dir, "has no folders with images"));
        }
        Ok(ImageFolder { classes, files, transform: None })
    }

    /// A change to each image before it is stacked: a resize, say. Random transforms belong in the
    /// loader, which knows the epoch; here they would draw the same numbers each time.
    pub fn transform(mut self, transform: impl super::Transform + 'static) -> Self {
        self.transform = Some(Box::new(transform));
        self
    }

    /// Names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Files and their classes.
    pub fn files(&self) -> &[(PathBuf, i64)] {
        &self.files
    }
}

fn sorted(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).map_err(|e| Error::io(dir, e))?;
    let mut paths = entries
        .map(|e| e.map(|e| e.path()).map_err(|e| Error::io(dir, e)))
        .collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

impl DataSet for ImageFolder {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn get(&self, index: usize) -> Result<Vec<Tensor>> {
        super::sets::check_indices("ImageFolder", &[index], self.files.len())?;
        let (path, label) = &self.files[index];
        let mut image = read_image(path)?;
        if let Some(transform) = &self.transform {
            image = transform.apply(image, &mut crate::Rng::seed(index as u64))?;
        }
        Ok(vec![image, Tensor::from_i64(&[*label], &[], Device::CPU)?])
    }
}
