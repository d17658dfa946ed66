//! Connectionist temporal classification.

use super::in_f32;
use crate::autograd::is_grad_enabled;
use crate::autograd::tape::{grads, record};
use crate::backend::{Ctc, Reduction};
use crate::{DType, Error, Result, Tensor, Variable};

/// Mean negative log-likelihood of label sequences over all their alignments (Graves et al.,
/// 2006), each divided by its number of labels.
///
/// Log-probabilities `[T, N, C]` (or `[T, C]`) come from a log-softmax. Targets are `[N, S]`,
/// padded, or all labels one after another; lengths are `[N]`, integers.
///
/// # Errors
/// When shapes or lengths do not fit, or a label is the blank or not a class.
pub fn ctc_loss(
    log_probs: &Variable,
    targets: &Variable,
    input_lengths: &Variable,
    target_lengths: &Variable,
    blank: i64,
) -> Result<Variable> {
    let all = (targets, input_lengths, target_lengths);
    ctc_loss_with(log_probs, all, blank, false, Reduction::Mean)
}

/// What a batch asks of the kernel, owned.
struct Batch {
    time: usize,
    batch: usize,
    classes: usize,
    blank: usize,
    targets: Vec<i64>,
    starts: Vec<usize>,
    target_lengths: Vec<usize>,
    input_lengths: Vec<usize>,
}

impl Batch {
    fn raw(&self) -> Ctc<'_> {
        Ctc {
            time: self.time,
            batch: self.batch,
            classes: self.classes,
            blank: self.blank,
            targets: &self.targets,
            starts: &self.starts,
            target_lengths: &self.target_lengths,
            input_lengths: &self.input_lengths,
        }
    }
}

const OP: &str = "ctc_loss";

/// Lengths of the sequences, each at most `most`.
fn lengths(name: &str, v: &Variable, n: usize, most: Option<usize>) -> Result<Vec<usize>> {
    if v.dtype().is_float() {
        return Err(Error::DType {
            op: OP,
            expected: format!("{name} as integers"),
            got: v.dtype(),
        });
    }
    let values = v.data().to_i64_vec()?;
    if values.len() != n {
        return Err(Error::Shape {
            op: OP,
            expected: format!("{name} for each of {n} sequences"),
            got: v.shape(),
        });
    }
    values
        .iter()
        .enumerate()
        .map(|(i, &len)| match usize::try_from(len) {
            Ok(len) if most.is_none_or(|m| len <= m) => Ok(len),
            _ => {
                let most = most.map_or("any".into(), |m| m.to_string());
                let what = format!("{name}: {len} at place {i} is not in 0..={most}");
                Err(Error::invalid(OP, what))
            }
        })
        .collect()
}

/// [`ctc_loss`] with targets and both lengths together, infinite losses as 0 (`zero_infinity`), and
/// a reduction.
///
/// # Errors
/// As for [`ctc_loss`].
pub fn ctc_loss_with(
    log_probs: &Variable,
    (targets, input_lengths, target_lengths): (&Variable, &Variable, &Variable),
    blank: i64,
    zero_infinity: bool,
    reduction: Reduction,
) -> Result<Variable> {
    in_f32([log_probs], |[log_probs]| {
        log_probs.with_data(|t| t.check_float(OP))?;
        let single = log_probs.ndim() == 2;
        let x = if single { log_probs.unsqueeze(1)? } else { log_probs.clone() };
        let &[time, n, classes] = &x.shape()[..] else {
            let got = log_probs.shape();
            return Err(Error::Shape { op: OP, expected: "[T, N, C] or [T, C]".into(), got });
        };
        if !(0..classes).contains(&blank) {
            let what = format!("blank {blank} is none of {classes} classes");
            return Err(Error::invalid(OP, what));
        }
        let (time, n) = (time as usize, n as usize);
        let input_lengths = lengths("input lengths", input_lengths, n, Some(time))?;
        let shape = targets.shape();
        let padded = shape.len() == 2;
        let width = if padded { Some(shape[1] as usize) } else { None };
        let target_lengths = lengths("target lengths", target_lengths, n, width)?;
        let labels = targets.data().to_dtype(DType::Int64)?.to_i64_vec()?;
        if padded && shape[0] as usize != n {
            let expected = format!("targets of {n} sequences");
            return Err(Error::Shape { op: OP, expected, got: shape });
        }
        let total: usize = target_lengths.iter().sum();
        if !padded && labels.len() != total {
            let expected = format!("{total} labels in all, as the target lengths say");
            return Err(Error::Shape { op: OP, expected, got: shape });
        }
        // One after another, without the padding.
        let (mut packed, mut starts, mut at) = (Vec::with_capacity(total), Vec::new(), 0);
        for (i, &len) in target_lengths.iter().enumerate() {
            starts.push(packed.len());
            let from = width.map_or(at, |w| i * w);
            packed.extend_from_slice(&labels[from..from + len]);
            at += len;
        }
        if let Some(i) = packed.iter().position(|&t| t == blank || !(0..classes).contains(&t)) {
            let t = packed[i];
            let what = format!(
                "label {t} at place {i} is none of {classes} classes, or the blank {blank}"
            );
            return Err(Error::invalid(OP, what));
        }
        let divisors: Vec<f64> = target_lengths.iter().map(|&l| l.max(1) as f64).collect();
        let batch = Batch {
            time,
            batch: n,
            classes: classes as usize,
            blank: blank as usize,
            targets: packed,
            starts,
            target_lengths,
            input_lengths,
        };
        let losses = ctc(&x, batch, zero_infinity)?;
        match reduction {
            Reduction::None if single => losses.squeeze(0),
            Reduction::None => Ok(losses),
            Reduction::Sum => losses.sum(),
            Reduction::Mean => {
                let d = Tensor::from_f64(&divisors, &[n as i64], x.device())?;
                losses.div(&Variable::constant(d.to_dtype(x.dtype())?))?.mean()
            }
        }
    })
}

/// The losses `[N]`.
fn ctc(log_probs: &Variable, batch: Batch, zero_infinity: bool) -> Result<Variable> {
    let x = log_probs.data().contiguous()?;
    let (n, states) = (batch.batch, batch.raw().states());
    let mut nll = Tensor::fresh(&[n], x.dtype(), x.device())?;
    let mut alpha = Tensor::fresh(&[n, batch.time, states], x.dtype(), x.device())?;
    x.backend()?.ctc(&batch.raw(), x.operand(), [nll.fresh_storage(), alpha.fresh_storage()])?;
    let mut result = nll.clone();
    if zero_infinity {
        result = nll.masked_fill(&nll.isinf()?, 0.0)?;
    }
    Ok(record(OP, result, &[log_probs], move |ctx| {
        if is_grad_enabled() {
            return Err(Error::Autograd {
                op: OP,
                what: "its gradient has no gradient of its own; use it without create_graph".into(),
            });
        }
        let dy = ctx.grad().with_data(Tensor::contiguous)?;
        let dx = Tensor::build(x.dims(), x.dtype(), x.device(), |b, out| {
            b.ctc_backward(
                &batch.raw(),
                zero_infinity,
                x.operand(),
                nll.operand(),
                alpha.operand(),
                dy.operand(),
                out,
            )
        })?;
        Ok(grads![Variable::constant(dx)])
    }))
}
