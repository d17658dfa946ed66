//! The one error type: every message says which operation, what it wanted and what came.

use crate::{DType, Device};

/// What can go wrong, with the data of the fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A shape does not fit the operation or layer.
    #[error("{op}: expected {expected}, got shape {got:?}")]
    Shape {
        /// The operation or layer.
        op: &'static str,
        /// What it wanted.
        expected: String,
        /// The shape that came.
        got: Vec<i64>,
    },
    /// Two shapes do not fit together.
    #[error("{op}: shapes {lhs:?} and {rhs:?} do not fit: {why}")]
    ShapeMismatch {
        /// The operation.
        op: &'static str,
        /// Shape of the first operand.
        lhs: Vec<i64>,
        /// Shape of the second operand.
        rhs: Vec<i64>,
        /// The rule that is broken.
        why: String,
    },
    /// A dtype that the operation does not take.
    #[error("{op}: expected {expected}, got dtype {got}")]
    DType {
        /// The operation.
        op: &'static str,
        /// What it wanted.
        expected: String,
        /// What came.
        got: DType,
    },
    /// Two dtypes that do not mix.
    #[error("{op}: dtypes {lhs} and {rhs} do not mix; cast one with to_dtype")]
    DTypeMismatch {
        /// The operation.
        op: &'static str,
        /// Dtype of the first operand.
        lhs: DType,
        /// Dtype of the second operand.
        rhs: DType,
    },
    /// Two devices that do not mix.
    #[error("{op}: tensors on {lhs} and {rhs}; move one with to_device")]
    DeviceMismatch {
        /// The operation.
        op: &'static str,
        /// Device of the first operand.
        lhs: Device,
        /// Device of the second operand.
        rhs: Device,
    },
    /// A device that cannot be used here.
    #[error("{device} is not available: {why}")]
    DeviceUnavailable {
        /// The device.
        device: Device,
        /// What is missing.
        why: String,
    },
    /// A dim outside the tensor's.
    #[error("{op}: dim {dim} is out of range for a tensor of {ndim} dims")]
    DimOutOfRange {
        /// The operation.
        op: &'static str,
        /// The dim asked for.
        dim: i64,
        /// Number of dims of the tensor.
        ndim: usize,
    },
    /// An index outside a dim.
    #[error("{op}: index {index} is out of range for size {size}")]
    IndexOutOfRange {
        /// The operation or layer.
        op: &'static str,
        /// The first bad index.
        index: i64,
        /// Size of the dim it indexes.
        size: i64,
    },
    /// An argument outside its domain.
    #[error("{op}: {what}")]
    InvalidArgument {
        /// The operation or layer.
        op: &'static str,
        /// What is wrong with it, and what would be right.
        what: String,
    },
    /// A gradient that cannot be computed.
    #[error("{op}: {what}")]
    Autograd {
        /// The operation.
        op: &'static str,
        /// Why, and what to do.
        what: String,
    },
    /// The device has no memory left.
    #[error("out of memory on {device}: asked for {requested} bytes with {in_use} in use")]
    OutOfMemory {
        /// The device.
        device: Device,
        /// Bytes asked for.
        requested: usize,
        /// Bytes in use.
        in_use: usize,
    },
    /// A graph that cannot be built or run.
    #[error("graph: {0}")]
    Graph(String),
    /// A node of a graph failed; [`Error::root`] is why.
    #[error("{node}: {source}")]
    Node {
        /// Its number in the paths of parameters, its module, and its tags.
        node: String,
        /// What its module said.
        source: Box<Error>,
    },
    /// A file that cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file whose contents are not what they should be.
    #[error("{path}: {what}")]
    Format {
        /// The file.
        path: String,
        /// What is wrong, and where.
        what: String,
    },
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

/// The name that programs for earlier floDl crates know.
pub type TensorError = Error;

/// A result whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error in words.
    pub fn new(msg: &str) -> Self {
        Error::Other(msg.to_owned())
    }

    /// The error itself, without the nodes of graphs in which it happened.
    pub fn root(&self) -> &Error {
        match self {
            Error::Node { source, .. } => source.root(),
            other => other,
        }
    }

    pub(crate) fn invalid(op: &'static str, what: impl Into<String>) -> Self {
        Error::InvalidArgument { op, what: what.into() }
    }

    pub(crate) fn io(path: impl AsRef<std::path::Path>, source: std::io::Error) -> Self {
        Error::Io { path: path.as_ref().display().to_string(), source }
    }

    pub(crate) fn format(path: impl AsRef<std::path::Path>, what: impl Into<String>) -> Self {
        Error::Format { path: path.as_ref().display().to_string(), what: what.into() }
    }
}

impl From<flodl_cpu::alloc::OutOfMemory> for Error {
    fn from(e: flodl_cpu::alloc::OutOfMemory) -> Self {
        Error::OutOfMemory { device: Device::CPU, requested: e.requested, in_use: e.in_use }
    }
}
