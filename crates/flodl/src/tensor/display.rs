//! Printing, in PyTorch's form.

use std::fmt;

use super::Tensor;
use crate::DType;

/// More elements than this and only the edges are shown.
const THRESHOLD: usize = 1000;
/// How many entries are shown at each edge of a summarised dim.
const EDGE: usize = 3;
/// Digits after the point.
const PRECISION: usize = 4;

impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tensor(")?;
        if self.len() == 0 {
            f.write_str("[]")?;
            if self.ndim() != 1 {
                let sizes: Vec<String> = self.dims().iter().map(usize::to_string).collect();
                write!(f, ", size=({})", sizes.join(", "))?;
            }
        } else {
            let format = NumberFormat::of(self).map_err(|_| fmt::Error)?;
            write_dims(f, self, &format, 7)?;
        }
        // Digits tell integers from floats; without any, only the default goes without saying.
        let default = match self.dtype() {
            DType::Float32 => true,
            DType::Int64 | DType::Bool => self.len() > 0,
            _ => false,
        };
        if !default {
            write!(f, ", dtype={}", self.dtype())?;
        }
        if self.device().is_cuda() {
            write!(f, ", device={}", self.device())?;
        }
        f.write_str(")")
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How all numbers of a tensor are written, so that columns align.
struct NumberFormat {
    kind: Kind,
    width: usize,
}

enum Kind {
    Bool,
    Int,
    /// Floats that are all whole: `1.`
    Whole,
    Fixed,
    Scientific,
}

impl NumberFormat {
    fn of(t: &Tensor) -> crate::Result<Self> {
        let shown = shown(t)?;
        let finite: Vec<f64> = shown.iter().copied().filter(|v| v.is_finite()).collect();
        let kind = if t.dtype() == DType::Bool {
            Kind::Bool
        } else if !t.dtype().is_float() {
            Kind::Int
        } else {
            let magnitudes = finite.iter().map(|v| v.abs()).filter(|&v| v > 0.0);
            let (lo, hi) =
                magnitudes.fold((f64::INFINITY, 0.0f64), |(l, h), v| (l.min(v), h.max(v)));
            let wide = hi > 0.0 && (hi / lo > 1000.0 || hi > 1e8 || lo < 1e-4);
            match finite.iter().all(|v| v.fract() == 0.0) {
                true if hi / lo <= 1000.0 && hi <= 1e8 || hi == 0.0 => Kind::Whole,
                _ if wide => Kind::Scientific,
                _ => Kind::Fixed,
            }
        };
        let mut format = NumberFormat { kind, width: 0 };
        format.width = shown.iter().map(|&v| format.number(v).len()).max().unwrap_or(0);
        Ok(format)
    }

    fn number(&self, v: f64) -> String {
        if !v.is_finite() {
            return if v.is_nan() { "nan".into() } else { format!("{v}") };
        }
        match self.kind {
            Kind::Bool => if v != 0.0 { "True" } else { "False" }.to_owned(),
            Kind::Int => format!("{v:.0}"),
            Kind::Whole => format!("{v:.0}."),
            Kind::Fixed => format!("{v:.PRECISION$}"),
            Kind::Scientific => {
                let text = format!("{v:.PRECISION$e}");
                match text.split_once('e') {
                    Some((digits, exponent)) => {
                        let e: i32 = exponent.parse().unwrap_or(0);
                        format!("{digits}e{}{:02}", if e < 0 { '-' } else { '+' }, e.abs())
                    }
                    None => text,
                }
            }
        }
    }
}

/// The entries of a dim that are shown.
fn visible(size: usize, summarise: bool) -> Vec<Option<i64>> {
    if !summarise || size <= 2 * EDGE {
        return (0..size as i64).map(Some).collect();
    }
    let head = (0..EDGE as i64).map(Some);
    let tail = (size as i64 - EDGE as i64..size as i64).map(Some);
    head.chain([None]).chain(tail).collect()
}

/// The values that are shown.
fn shown(t: &Tensor) -> crate::Result<Vec<f64>> {
    if t.len() <= THRESHOLD || t.ndim() == 0 {
        return t.to_f64_vec();
    }
    let mut all = Vec::new();
    for i in visible(t.dims()[0], true).into_iter().flatten() {
        all.extend(edges(&t.select(0, i)?)?);
    }
    Ok(all)
}

fn edges(t: &Tensor) -> crate::Result<Vec<f64>> {
    if t.ndim() == 0 {
        return t.to_f64_vec();
    }
    let mut all = Vec::new();
    for i in visible(t.dims()[0], true).into_iter().flatten() {
        all.extend(edges(&t.select(0, i)?)?);
    }
    Ok(all)
}

fn write_dims(
    f: &mut fmt::Formatter<'_>,
    t: &Tensor,
    format: &NumberFormat,
    indent: usize,
) -> fmt::Result {
    write_level(f, t, format, indent, t.len() > THRESHOLD)
}

fn write_level(
    f: &mut fmt::Formatter<'_>,
    t: &Tensor,
    format: &NumberFormat,
    indent: usize,
    summarise: bool,
) -> fmt::Result {
    if t.ndim() == 0 {
        let value = t.item().map_err(|_| fmt::Error)?;
        return f.write_str(&format.number(value));
    }
    f.write_str("[")?;
    let last = t.ndim() == 1;
    let per_line = ((80 - indent.min(60)) / (format.width + 2)).max(1);
    for (n, index) in visible(t.dims()[0], summarise).into_iter().enumerate() {
        if n > 0 {
            f.write_str(",")?;
            if last && n % per_line != 0 {
                f.write_str(" ")?;
            } else {
                f.write_str(&"\n".repeat(if last { 1 } else { t.ndim() - 1 }))?;
                f.write_str(&" ".repeat(indent + 1))?;
            }
        }
        match index {
            None if last => f.write_str(" ...")?,
            None => f.write_str("...")?,
            Some(i) => {
                let entry = t.select(0, i).map_err(|_| fmt::Error)?;
                if last {
                    let value = entry.item().map_err(|_| fmt::Error)?;
                    write!(f, "{:>width$}", format.number(value), width = format.width)?;
                } else {
                    write_level(f, &entry, format, indent + 1, summarise)?;
                }
            }
        }
    }
    f.write_str("]")
}
