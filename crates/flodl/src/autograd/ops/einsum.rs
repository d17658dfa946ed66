//! Einstein's sums: products of tensors whose dims have letters.

use std::collections::BTreeMap;

use crate::{Error, Result, Tensor, Variable, no_grad};

const OP: &str = "einsum";

/// A dim's name: a letter, or a number below all letters for a dim of an ellipsis, counted from the
/// last one.
type Label = u32;

fn wrong<T>(equation: &str, what: impl std::fmt::Display) -> Result<T> {
    Err(Error::invalid(OP, format!("{equation:?}: {what}")))
}

/// A sum of products of tensors, in Einstein's notation: each dim of each operand has a letter, and
/// letters that the result does not have are summed over. `...` stands for any more dims, which are
/// broadcast. Without `->` the result has the letters that appear once, in alphabetical order.
///
/// Operands are multiplied from the left to the right, each product as one matrix product.
///
/// ```
/// use flodl::*;
/// let a = Variable::new(Tensor::ones(&[2, 3], TensorOptions::default())?, true);
/// let b = Variable::new(Tensor::ones(&[4, 3], TensorOptions::default())?, true);
/// let y = einsum("ik,jk->ij", &[&a, &b])?;
/// assert_eq!(y.data().to_f32_vec()?, [3.0; 8]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// When the equation does not fit the operands, or sizes, dtypes or devices differ.
pub fn einsum(equation: &str, operands: &[&Variable]) -> Result<Variable> {
    let (inputs, output) = parse(equation, operands)?;
    let mut sizes: BTreeMap<Label, i64> = BTreeMap::new();
    for (labels, v) in inputs.iter().zip(operands) {
        for (&label, size) in labels.iter().zip(v.shape()) {
            let known = sizes.entry(label).or_insert(size);
            if *known == 1 {
                *known = size;
            } else if size != 1 && size != *known {
                let name = char::from_u32(label).filter(|c| c.is_alphabetic()).unwrap_or('.');
                return wrong(equation, format!("{name} has size {known} and size {size}"));
            }
        }
    }
    let mut terms = inputs
        .into_iter()
        .zip(operands)
        .map(|(labels, v)| Term::new((*v).clone(), labels, &sizes))
        .collect::<Result<Vec<_>>>()?
        .into_iter();
    let Some(mut product) = terms.next() else { return wrong(equation, "there are no operands") };
    let rest: Vec<Term> = terms.collect();
    for (i, term) in rest.iter().enumerate() {
        let later = rest[i + 1..].iter().flat_map(|t| t.labels.iter());
        let needed: Vec<Label> = later.chain(&output).copied().collect();
        product = product.times(term, &needed, &sizes)?;
    }
    product = product.without(|label| !output.contains(&label))?;
    let order: Option<Vec<i64>> = output
        .iter()
        .map(|label| product.labels.iter().position(|l| l == label).map(|at| at as i64))
        .collect();
    match order {
        Some(order) => product.value.permute(&order),
        None => wrong(equation, "a letter of the result is in no operand"),
    }
}

impl Tensor {
    /// [`einsum`](crate::einsum()) of tensors.
    ///
    /// # Errors
    /// When the equation does not fit the operands, or sizes, dtypes or devices differ.
    pub fn einsum(equation: &str, operands: &[&Tensor]) -> Result<Tensor> {
        let constants: Vec<Variable> =
            operands.iter().map(|t| Variable::constant((*t).clone())).collect();
        let refs: Vec<&Variable> = constants.iter().collect();
        no_grad(|| einsum(equation, &refs)).map(|v| v.data())
    }
}

/// Labels of the operands and of the result.
fn parse(equation: &str, operands: &[&Variable]) -> Result<(Vec<Vec<Label>>, Vec<Label>)> {
    let text: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match text.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (&text[..], None),
    };
    let terms: Vec<&str> = left.split(',').collect();
    if terms.len() != operands.len() {
        let (terms, given) = (terms.len(), operands.len());
        return wrong(equation, format!("{terms} terms for {given} operands"));
    }
    let letters = |term: &str| -> Result<Vec<Label>> {
        match term.chars().find(|c| !c.is_ascii_alphabetic()) {
            Some(c) => wrong(equation, format!("{c:?} is no letter")),
            None => Ok(term.chars().map(u32::from).collect()),
        }
    };
    let mut most = 0;
    let mut inputs = Vec::new();
    for (term, operand) in terms.iter().zip(operands) {
        let dims = operand.ndim();
        let (before, after) = match term.split_once("...") {
            Some((before, after)) => (letters(before)?, Some(letters(after)?)),
            None => (letters(term)?, None),
        };
        let named = before.len() + after.as_ref().map_or(0, Vec::len);
        if named > dims || (after.is_none() && named != dims) {
            return wrong(
                equation,
                format!("{term:?} does not name the {dims} dims of its operand"),
            );
        }
        let more = (dims - named) as Label;
        most = most.max(more);
        inputs.push(
            before.into_iter().chain((0..more).rev()).chain(after.unwrap_or_default()).collect(),
        );
    }
    let output = match right {
        Some(right) => {
            let (before, after) = match right.split_once("...") {
                Some((before, after)) => (letters(before)?, Some(letters(after)?)),
                None => (letters(right)?, None),
            };
            let more = if after.is_some() { most } else { 0 };
            before.into_iter().chain((0..more).rev()).chain(after.unwrap_or_default()).collect()
        }
        None => {
            let all: Vec<Label> = inputs.iter().flatten().copied().collect();
            let once = |l: &Label| *l >= most && all.iter().filter(|m| *m == l).count() == 1;
            let mut named: Vec<Label> = all.iter().copied().filter(once).collect();
            named.sort_unstable();
            (0..most).rev().chain(named).collect::<Vec<_>>()
        }
    };
    for (i, label) in output.iter().enumerate() {
        if output[..i].contains(label) {
            return wrong(equation, "a letter stands twice in the result");
        }
    }
    Ok((inputs, output))
}

/// A tensor whose dims have labels, each once.
struct Term {
    value: Variable,
    labels: Vec<Label>,
}

impl Term {
    /// Takes the diagonal of dims with one label, and takes off dims that are only broadcast.
    fn new(value: Variable, labels: Vec<Label>, sizes: &BTreeMap<Label, i64>) -> Result<Term> {
        let mut term = Term { value, labels };
        for at in (0..term.labels.len()).rev() {
            if term.value.shape()[at] == 1 && sizes[&term.labels[at]] != 1 {
                term.value = term.value.squeeze(at as i32)?;
                term.labels.remove(at);
            }
        }
        let mut first = 0;
        while first < term.labels.len() {
            let label = term.labels[first];
            match term.labels[first + 1..].iter().position(|&l| l == label) {
                Some(further) => {
                    let second = first + 1 + further;
                    term.value = term.value.diagonal(0, first as i32, second as i32)?;
                    term.labels.remove(second);
                    term.labels.remove(first);
                    term.labels.push(label);
                }
                None => first += 1,
            }
        }
        Ok(term)
    }

    /// The sum over the dims whose labels are not wanted.
    fn without(self, unwanted: impl Fn(Label) -> bool) -> Result<Term> {
        let dims: Vec<i32> = (0..self.labels.len())
            .filter(|&d| unwanted(self.labels[d]))
            .map(|d| d as i32)
            .collect();
        if dims.is_empty() {
            return Ok(self);
        }
        let value = self.value.sum_dims(&dims, false)?;
        let labels = self.labels.into_iter().filter(|&l| !unwanted(l)).collect();
        Ok(Term { value, labels })
    }

    /// With the dims in the order of three groups of labels, joined group by group.
    fn matrix(&self, groups: [&[Label]; 3], sizes: &BTreeMap<Label, i64>) -> Result<Variable> {
        let at = |label: &Label| self.labels.iter().position(|l| l == label);
        let order: Vec<i64> = groups.concat().iter().filter_map(at).map(|d| d as i64).collect();
        let size = |labels: &[Label]| labels.iter().map(|l| sizes[l]).product::<i64>();
        self.value.permute(&order)?.reshape(&groups.map(size))
    }

    /// The product, summed over the labels that nobody needs later.
    fn times(self, other: &Term, needed: &[Label], sizes: &BTreeMap<Label, i64>) -> Result<Term> {
        let a = self.without(|l| !needed.contains(&l) && !other.labels.contains(&l))?;
        let own = Term { value: other.value.clone(), labels: other.labels.clone() };
        let b = own.without(|l| !needed.contains(&l) && !a.labels.contains(&l))?;
        let (mut batch, mut inner, mut left) = (Vec::new(), Vec::new(), Vec::new());
        for &label in &a.labels {
            match (b.labels.contains(&label), needed.contains(&label)) {
                (true, true) => batch.push(label),
                (true, false) => inner.push(label),
                (false, _) => left.push(label),
            }
        }
        let right: Vec<Label> =
            b.labels.iter().copied().filter(|l| !a.labels.contains(l)).collect();
        let product = a
            .matrix([&batch, &left, &inner], sizes)?
            .matmul(&b.matrix([&batch, &inner, &right], sizes)?)?;
        let labels = [batch, left, right].concat();
        let shape: Vec<i64> = labels.iter().map(|l| sizes[l]).collect();
        Ok(Term { value: product.reshape(&shape)?, labels })
    }
}
