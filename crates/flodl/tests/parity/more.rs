//! More tensor operations: order, masks, indices, rearrangements, sums of products.

use flodl::{DType, Tensor, Variable, einsum};

use super::case::{Case, Entry, Out, Run, Try, many, one, unsupported};

/// Values with a gradient, then indices.
fn chosen(result: flodl::Result<(Variable, Tensor)>) -> Run {
    let (values, indices) = result?;
    Ok(vec![values.into(), indices.into()])
}

/// Indices in the integer type that was asked for.
fn narrow(c: &Case, indices: Tensor) -> Run {
    let small = c.arg(9, "out_int32").bool_or(false)?;
    one(indices.to_dtype(if small { DType::Int32 } else { DType::Int64 }))
}

/// Whether a search goes behind equal elements.
fn behind(c: &Case) -> Try<bool> {
    let side = c.arg(9, "side").str_or("left")? == "right";
    Ok(c.arg(9, "right").bool_or(false)? || side)
}

pub const OPS: &[Entry] = &[
    ("flip", |c| one(c.arg(0, "input").var()?.flip(&c.arg(1, "dims").ints()?))),
    ("roll", |c| {
        let (x, shifts, dims) = (c.arg(0, "input").var()?, c.arg(1, "shifts"), c.arg(2, "dims"));
        match (&*shifts.ints()?, dims.is_none()) {
            // Without a dim the tensor is one line.
            ([shift], true) => one(x.reshape(&[-1])?.roll(*shift, 0)?.reshape(&x.shape())),
            ([shift], false) => one(x.roll(*shift, dims.i32()?)),
            _ => unsupported("several dims"),
        }
    }),
    ("tril", |c| one(c.arg(0, "input").var()?.tril(c.arg(1, "diagonal").i64_or(0)?))),
    ("triu", |c| one(c.arg(0, "input").var()?.triu(c.arg(1, "diagonal").i64_or(0)?))),
    ("rot90", |c| {
        let k = c.arg(1, "k").i64_or(1)?;
        one(c.arg(0, "input").var()?.rot90(k, c.arg(2, "dims").array_or([0, 1])?.map(|d| d as i32)))
    }),
    ("diag", |c| one(c.arg(0, "input").var()?.diag(c.arg(1, "diagonal").i64_or(0)?))),
    ("diff", |c| {
        let (n, dim) = (c.arg(1, "n").i64_or(1)?, c.arg(2, "dim").i32_or(-1)?);
        let (before, after) = (c.arg(3, "prepend").opt_var()?, c.arg(4, "append").opt_var()?);
        one(c.arg(0, "input").var()?.diff(n, dim, before.as_ref(), after.as_ref()))
    }),
    ("unfold", |c| {
        let (dim, size) = (c.arg(1, "dimension").i32()?, c.arg(2, "size").i64()?);
        one(c.arg(0, "input").var()?.unfold(dim, size, c.arg(3, "step").i64()?))
    }),
    ("repeat_interleave", |c| {
        let (repeats, dim) = (c.arg(1, "repeats").i64()?, c.arg(2, "dim"));
        let dim = if dim.is_none() { None } else { Some(dim.i32()?) };
        one(c.arg(0, "input").var()?.repeat_interleave(repeats, dim))
    }),
    ("sort", |c| {
        c.arg(9, "stable");
        let (dim, down) = (c.arg(1, "dim").i32_or(-1)?, c.arg(2, "descending").bool_or(false)?);
        chosen(c.arg(0, "input").var()?.sort(dim, down))
    }),
    ("topk", |c| {
        let (k, dim) = (c.arg(1, "k").i64()?, c.arg(2, "dim").i32_or(-1)?);
        let (largest, sorted) =
            (c.arg(3, "largest").bool_or(true)?, c.arg(4, "sorted").bool_or(true)?);
        chosen(c.arg(0, "input").var()?.topk(k, dim, largest, sorted))
    }),
    ("kthvalue", |c| {
        let (k, dim) = (c.arg(1, "k").i64()?, c.arg(2, "dim").i32_or(-1)?);
        chosen(c.arg(0, "input").var()?.kthvalue(k, dim, c.arg(3, "keepdim").bool_or(false)?))
    }),
    ("median", |c| {
        let (x, dim) = (c.arg(0, "input").var()?, c.arg(1, "dim"));
        if dim.is_none() {
            return one(x.median());
        }
        chosen(x.median_dim(dim.i32()?, c.arg(2, "keepdim").bool_or(false)?))
    }),
    ("nonzero", |c| {
        let found = c.arg(0, "input").tensor()?.nonzero()?;
        if c.arg(9, "as_tuple").bool_or(false)? { many(found.unbind(1)) } else { one(Ok(found)) }
    }),
    ("unique", |c| {
        c.arg(9, "sorted");
        let (x, dim) = (c.arg(0, "input").tensor()?, c.arg(9, "dim"));
        let (values, inverse, counts) = if dim.is_none() {
            let (values, inverse) = x.unique(true, true)?;
            (values, inverse, x.unique_counts()?.1)
        } else {
            x.unique_dim(dim.i32()?)?
        };
        let mut outs: Vec<Out> = vec![values.into()];
        if c.arg(9, "return_inverse").bool_or(false)? {
            outs.push(inverse.into());
        }
        if c.arg(9, "return_counts").bool_or(false)? {
            outs.push(counts.into());
        }
        Ok(outs)
    }),
    ("searchsorted", |c| {
        let (mut sorted, sorter) = (c.arg(0, "input").tensor()?, c.arg(9, "sorter"));
        if !sorter.is_none() {
            sorted = sorted.gather(-1, &sorter.tensor()?)?;
        }
        let values = c.arg(1, "values").tensor()?;
        let found = if behind(c)? {
            sorted.searchsorted_right(&values)?
        } else {
            sorted.searchsorted(&values)?
        };
        narrow(c, found)
    }),
    ("bucketize", |c| {
        let boundaries = c.arg(1, "boundaries").tensor()?;
        narrow(c, c.arg(0, "input").tensor()?.bucketize(&boundaries, behind(c)?)?)
    }),
    ("masked_select", |c| one(c.arg(0, "input").var()?.masked_select(&c.arg(1, "mask").tensor()?))),
    ("index_put", |c| {
        let indices: Vec<Tensor> = c.arg(1, "indices").vars()?.iter().map(Variable::data).collect();
        let refs: Vec<&Tensor> = indices.iter().collect();
        let add = c.arg(3, "accumulate").bool_or(false)?;
        one(c.arg(0, "input").var()?.index_put(&refs, &c.arg(2, "values").var()?, add))
    }),
    ("nan_to_num", |c| {
        let optional = |i, name| -> Try<Option<f64>> {
            let value = c.arg(i, name);
            if value.is_none() { Ok(None) } else { value.f64().map(Some) }
        };
        let nan = c.arg(1, "nan").f64_or(0.0)?;
        one(c.arg(0, "input").var()?.nan_to_num(
            nan,
            optional(2, "posinf")?,
            optional(3, "neginf")?,
        ))
    }),
    ("logit", |c| {
        let eps = c.arg(1, "eps");
        let eps = if eps.is_none() { None } else { Some(eps.f64()?) };
        one(c.arg(0, "input").var()?.logit(eps))
    }),
    ("cumulative_trapezoid", |c| {
        let (y, x) = (c.arg(0, "y").var()?, c.arg(1, "x").opt_var()?);
        let dim = c.arg(9, "dim").i32_or(-1)?;
        one(match x {
            Some(x) => y.cumulative_trapezoid_x(&x, dim),
            None => y.cumulative_trapezoid(c.arg(9, "dx").f64_or(1.0)?, dim),
        })
    }),
    ("tensordot", |c| {
        let (a, b) = (c.arg(0, "a").var()?, c.arg(1, "b").var()?);
        let lists = c.meta["fwd"]["kwargs"]["dims"].as_array().cloned().unwrap_or_default();
        c.arg(2, "dims");
        let list = |i: usize| -> Vec<i32> {
            let dims = lists.get(i).and_then(|l| l.as_array()).into_iter().flatten();
            dims.filter_map(|d| Some(d.as_i64()? as i32)).collect()
        };
        one(a.tensordot(&b, &list(0), &list(1)))
    }),
    // The sample holds the operands before the equation.
    ("einsum", |c| {
        let operands = c.arg(0, "operands").vars()?;
        let refs: Vec<&Variable> = operands.iter().collect();
        one(einsum(c.arg(1, "equation").str_or("")?, &refs))
    }),
];
