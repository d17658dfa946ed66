//! Runs one case and compares what comes out.

use std::panic::{AssertUnwindSafe, catch_unwind};

use flodl::{DType, Tensor, Variable};
use serde_json::Value;

use super::case::{Case, File, Out, Run, Stop};

/// Below this a result is rounding: a gradient that is 0 in truth.
const SMALLEST_SCALE: f64 = 1e-3;

/// Where PyTorch's own f64 result is not exact: names of cases begin so, and agree to this
/// tolerance only.
const INEXACT: &[(&str, f64)] = &[
    // PyTorch's gradient multiplies by 1/6 rounded to f32.
    ("nn.Hardsigmoid/", 1e-7),
    ("Hardsigmoid/", 1e-7),
    ("F.hardsigmoid/", 1e-7),
    // PyTorch's gradient divides by an alpha rounded to f32.
    ("CELU/", 1e-7),
    // PyTorch divides by how often a row was looked up as a factor 1/n rounded to f32.
    ("Embedding/Embedding by frequency/", 1e-7),
    ("EmbeddingBag/EmbeddingBag sum by frequency/", 1e-7),
    ("EmbeddingBag/EmbeddingBag mean by frequency/", 1e-7),
];

/// What became of a case.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    Pass,
    Fail(String),
    Unsupported(String),
}

impl From<Stop> for Outcome {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Unsupported(reason) => Outcome::Unsupported(reason),
            Stop::Error(message) => Outcome::Fail(message),
        }
    }
}

/// Calls `f`; a panic in it becomes an error.
pub fn guarded<T>(f: impl FnOnce() -> Result<T, Stop>) -> Result<T, Stop> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(Stop::Error(format!("panicked: {text}")))
    })
}

/// Share of a result's scale that an f64 result of one layer or operation may be off by.
const F64: f64 = 1e-10;

/// What a number may be off by in f64 after many steps of training, and always.
fn trained(x: f64) -> f64 {
    1e-9 + 1e-9 * x.abs()
}

/// What a number may be off by in f32. `err` is what PyTorch's own result is off by.
fn single(x: f64, err: f64) -> f64 {
    (4.0 * err).max(2e-6 + 1e-5 * x.abs())
}

/// Compares what many steps of training made of a tensor with PyTorch's. `err` is PyTorch's own
/// error for it.
pub fn compare(what: &str, ours: &Tensor, theirs: &Tensor, err: f64) -> Result<(), Stop> {
    compare_by(what, ours, theirs, |x, _| match theirs.dtype() {
        DType::Float64 => trained(x).max(err),
        DType::Float32 => single(x, err),
        _ => 0.0,
    })
}

/// Compares what a layer or an operation computes with PyTorch's tensor. `err` is what PyTorch's own
/// result is off by.
fn compare_within(what: &str, ours: &Tensor, theirs: &Tensor, err: f64) -> Result<(), Stop> {
    compare_by(what, ours, theirs, |x, scale| match theirs.dtype() {
        DType::Float64 => trained(x).min(F64 * scale).max(err),
        DType::Float32 => single(x, err),
        _ => 0.0,
    })
}

/// Compares within a tolerance for a number of a tensor of a scale, its largest number.
fn compare_by(
    what: &str,
    ours: &Tensor,
    theirs: &Tensor,
    tolerance: impl Fn(f64, f64) -> f64,
) -> Result<(), Stop> {
    let fail = |message: String| Err(Stop::Error(format!("{what}: {message}")));
    if ours.shape() != theirs.shape() {
        return fail(format!("shape {:?}, PyTorch has {:?}", ours.shape(), theirs.shape()));
    }
    if ours.dtype() != theirs.dtype() {
        return fail(format!("dtype {}, PyTorch has {}", ours.dtype(), theirs.dtype()));
    }
    let (ours, theirs) = (ours.to_f64_vec()?, theirs.to_f64_vec()?);
    let finite = theirs.iter().map(|x| x.abs()).filter(|x| x.is_finite());
    let scale = finite.fold(SMALLEST_SCALE, f64::max);
    let same = |a: f64, b: f64| {
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance(b, scale)
    };
    let wrong: Vec<usize> = (0..ours.len()).filter(|&i| !same(ours[i], theirs[i])).collect();
    match wrong.first() {
        None => Ok(()),
        Some(&i) => fail(format!(
            "{} of {} elements differ, the first at {i}: {:e}, PyTorch has {:e}",
            wrong.len(),
            ours.len(),
            ours[i],
            theirs[i]
        )),
    }
}

/// The tensor names in a nested list of outputs, in order.
fn flatten<'a>(out: &'a Value, names: &mut Vec<&'a str>) {
    match out {
        Value::Array(list) => list.iter().for_each(|v| flatten(v, names)),
        Value::Object(o) => names.extend(o.get("$t").and_then(Value::as_str)),
        _ => {}
    }
}

/// Runs a case through its entry: outputs, then gradients, then buffers.
pub fn run(meta: &Value, file: &File, entry: fn(&Case) -> Run) -> Outcome {
    match guarded(|| try_run(meta, file, entry)) {
        Ok(()) => Outcome::Pass,
        Err(stop) => stop.into(),
    }
}

fn try_run(meta: &Value, file: &File, entry: fn(&Case) -> Run) -> Result<(), Stop> {
    let case = Case::new(meta, file);
    let outs = entry(&case)?;
    if let Some(option) = case.unread().into_iter().next() {
        return Err(Stop::Unsupported(option));
    }
    let mut expected = Vec::new();
    flatten(&meta["out"], &mut expected);
    if outs.len() != expected.len() {
        let message = format!("{} outputs, PyTorch has {}", outs.len(), expected.len());
        return Err(Stop::Error(message));
    }
    let id = meta["id"].as_str().unwrap_or_default();
    let own = INEXACT.iter().find(|(prefix, _)| id.starts_with(prefix)).map_or(0.0, |k| k.1);
    let err = |key: &str, theirs: &Tensor| match theirs.dtype() {
        DType::Float32 => meta["f32_err"][key].as_f64().unwrap_or(0.0).max(own),
        _ => own,
    };
    let mut loss: Option<Variable> = None;
    let mut forward_only = false;
    for (i, (out, name)) in outs.iter().zip(&expected).enumerate() {
        let theirs = file.tensor(name)?;
        let data = match out {
            Out::Var(v) => v.data(),
            Out::Tensor(t) => t.clone(),
        };
        compare_within(&format!("output {i}"), &data, &theirs, err(&format!("out{i}"), &theirs))?;
        let Some(cot) = meta["cot"][i].as_str() else { continue };
        match out {
            Out::Tensor(_) => forward_only = true,
            Out::Var(v) if v.requires_grad() => {
                let cot = Variable::new(case.given(cot)?, false);
                let term = v.mul(&cot)?.sum()?;
                loss = Some(match loss {
                    Some(loss) => loss.add(&term)?,
                    None => term,
                });
            }
            Out::Var(_) => {}
        }
    }
    let wanted = |key: &str| meta[key].as_object().into_iter().flatten();
    if forward_only && wanted("grad_in").next().is_some() {
        return Err(Stop::Unsupported("gradient (the forward matches)".into()));
    }
    if let Some(loss) = &loss {
        loss.backward()?;
    }
    let check_grad = |what: &str, v: &Variable, name: &str| {
        let theirs = file.tensor(name)?;
        match v.grad() {
            Some(g) => {
                compare_within(&format!("gradient of {what}"), &g, &theirs, err(name, &theirs))
            }
            None => Err(Stop::Error(format!("no gradient of {what}"))),
        }
    };
    for (input, name) in wanted("grad_in") {
        let Some(name) = name.as_str() else { continue };
        let inputs = case.inputs.borrow();
        let Some(v) = inputs.get(input) else {
            return Err(Stop::Error(format!("input {input} was not used")));
        };
        check_grad(input, v, name)?;
    }
    for (param, name) in wanted("grad_param") {
        let Some(name) = name.as_str() else { continue };
        let params = case.params.borrow();
        let Some((_, p)) = params.iter().find(|(n, _)| n == param) else {
            return Err(Stop::Error(format!("parameter {param} was not loaded")));
        };
        check_grad(param, &p.variable, name)?;
    }
    for (buffer, name) in wanted("buffers_after") {
        let Some(name) = name.as_str() else { continue };
        let buffers = case.buffers.borrow();
        let Some((_, b)) = buffers.iter().find(|(n, _)| n == buffer) else {
            return Err(Stop::Error(format!("buffer {buffer} was not loaded")));
        };
        compare_within(&format!("buffer {buffer} after"), &b.get(), &file.tensor(name)?, 0.0)?;
    }
    Ok(())
}
