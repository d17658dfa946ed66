//! The number types of tensors.

/// Type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum DType {
    /// IEEE half precision: stored in 16 bits, computed in `Float32`.
    Float16,
    /// Brain float: stored in 16 bits, computed in `Float32`.
    BFloat16,
    /// Single precision, the default.
    #[default]
    Float32,
    /// Double precision.
    Float64,
    /// 32-bit signed integer.
    Int32,
    /// 64-bit signed integer, the type of indices.
    Int64,
    /// 8-bit unsigned integer.
    UInt8,
    /// Truth value, one byte, the type of masks.
    Bool,
}

impl DType {
    /// Bytes of one element.
    pub fn element_size(self) -> usize {
        match self {
            DType::UInt8 | DType::Bool => 1,
            DType::Float16 | DType::BFloat16 => 2,
            DType::Float32 | DType::Int32 => 4,
            DType::Float64 | DType::Int64 => 8,
        }
    }

    /// Whether this is one of the four floating-point types.
    pub fn is_float(self) -> bool {
        matches!(self, DType::Float16 | DType::BFloat16 | DType::Float32 | DType::Float64)
    }

    /// Whether this is a 16-bit floating-point type, which computes through `Float32`.
    pub fn is_half(self) -> bool {
        matches!(self, DType::Float16 | DType::BFloat16)
    }

    /// PyTorch's name, as it stands in printed tensors.
    pub fn name(self) -> &'static str {
        match self {
            DType::Float16 => "float16",
            DType::BFloat16 => "bfloat16",
            DType::Float32 => "float32",
            DType::Float64 => "float64",
            DType::Int32 => "int32",
            DType::Int64 => "int64",
            DType::UInt8 => "uint8",
            DType::Bool => "bool",
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Runs a block with a type alias for a float dtype: `float_type!(op, dtype, T => { … })`.
/// Half types must have been cast to `Float32` before; other dtypes are an error.
macro_rules! float_type {
    ($op:expr, $dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::Float32 => {
                type $T = f32;
                $body
            }
            $crate::DType::Float64 => {
                type $T = f64;
                $body
            }
            got => {
                return Err($crate::Error::DType {
                    op: $op,
                    expected: "a float32 or float64 tensor".into(),
                    got,
                });
            }
        }
    };
}

/// Runs a block with a type alias for any dtype's storage type.
macro_rules! any_type {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::Float16 => {
                type $T = half::f16;
                $body
            }
            $crate::DType::BFloat16 => {
                type $T = half::bf16;
                $body
            }
            $crate::DType::Float32 => {
                type $T = f32;
                $body
            }
            $crate::DType::Float64 => {
                type $T = f64;
                $body
            }
            $crate::DType::Int32 => {
                type $T = i32;
                $body
            }
            $crate::DType::Int64 => {
                type $T = i64;
                $body
            }
            $crate::DType::UInt8 | $crate::DType::Bool => {
                type $T = u8;
                $body
            }
        }
    };
}

/// Runs a block with a type alias for an integer dtype's storage type (`Bool` counts as `u8`).
macro_rules! int_type {
    ($op:expr, $dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::Int32 => {
                type $T = i32;
                $body
            }
            $crate::DType::Int64 => {
                type $T = i64;
                $body
            }
            $crate::DType::UInt8 | $crate::DType::Bool => {
                type $T = u8;
                $body
            }
            got => {
                return Err($crate::Error::DType {
                    op: $op,
                    expected: "an integer tensor".into(),
                    got,
                });
            }
        }
    };
}

pub(crate) use {any_type, float_type, int_type};
