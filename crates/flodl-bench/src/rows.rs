//! Rows that are measured in this process: layers and kernels.

use std::time::Duration;

use flodl::{BackwardOptions, Result, Tensor, Variable};

use crate::report::{self, Peer, Row};
use crate::twin::Twin;
use crate::{Common, timing};

/// Time for one pass of one row.
const BUDGET: Duration = Duration::from_millis(100);

/// What a row measures.
pub enum Work {
    /// One call.
    Call(Box<dyn FnMut() -> Result<()>>),
    /// A forward, alone and with its backward, whose gradients go to the leaves.
    Passes { forward: Box<dyn Fn() -> Result<Variable>>, leaves: Vec<Variable> },
}

impl Work {
    /// A call whose result is thrown away.
    pub fn call<T>(mut call: impl FnMut() -> Result<T> + 'static) -> Result<Work> {
        Ok(Work::Call(Box::new(move || {
            std::hint::black_box(call()?);
            Ok(())
        })))
    }

    /// A differentiable function of the leaves.
    pub fn passes(
        leaves: Vec<Variable>,
        forward: impl Fn(&[Variable]) -> Result<Variable> + 'static,
    ) -> Result<Work> {
        let inputs = leaves.clone();
        Ok(Work::Passes { forward: Box::new(move || forward(&inputs)), leaves })
    }

    /// What follows the row's name for each of its passes.
    fn names(&self) -> &'static [&'static str] {
        match self {
            Work::Call(_) => &[""],
            Work::Passes { .. } => &[" forward", " forward+backward"],
        }
    }

    fn measure(&mut self, steps: usize) -> Result<Vec<timing::Times>> {
        match self {
            Work::Call(call) => Ok(vec![timing::calls(BUDGET, steps, call)?]),
            Work::Passes { forward, leaves } => {
                let alone = timing::calls(BUDGET, steps, || {
                    std::hint::black_box(forward()?);
                    Ok::<(), flodl::Error>(())
                })?;
                // The incoming gradient is a tensor of ones, as the twin has it.
                let ones = Variable::new(Tensor::ones_like(&forward()?.data())?, false);
                let both = timing::calls(BUDGET, steps, || {
                    let gradient = BackwardOptions::default().gradient(ones.clone());
                    forward()?.backward_with(gradient)?;
                    leaves.iter().for_each(Variable::zero_grad);
                    Ok::<(), flodl::Error>(())
                })?;
                Ok(vec![alone, both])
            }
        }
    }
}

/// A row: its name, as the twin has it too, and how to make it.
pub struct Spec<'a> {
    pub name: String,
    /// `None` when the library lacks it as yet.
    pub build: Option<Box<dyn Fn() -> Result<Work> + 'a>>,
    /// Without Winograd's algorithm, which the twin does not have: only ours is measured.
    pub direct: bool,
}

/// Measures the rows whose name contains what `--only` says, ours and PyTorch's in turn, with so
/// many steps each, or with 0 as many as [`BUDGET`] holds.
pub fn run(common: &Common, steps: usize, program: &str, specs: Vec<Spec>) -> crate::Result<()> {
    flodl::set_num_threads(common.threads());
    flodl::manual_seed(0);
    let winograd = flodl::winograd();
    let only = common.only.as_deref().unwrap_or_default();
    let chosen: Vec<&Spec> = specs.iter().filter(|s| s.name.contains(only)).collect();
    let missing: Vec<&str> =
        chosen.iter().filter(|s| s.build.is_none()).map(|s| s.name.as_str()).collect();
    if chosen.is_empty() {
        return Err(format!("no row's name contains {only:?}").into());
    }
    if missing.len() == chosen.len() {
        return Err(format!("not yet built: {}", missing.join(", ")).into());
    }
    let twin = Twin::new(common)?;
    let mut server = twin.as_ref().map(|t| t.serve(program, steps)).transpose()?;
    let mut results = Vec::new();
    for spec in &chosen {
        let Some(build) = &spec.build else { continue };
        let in_row = |e: flodl::Error| format!("{}: {e}", spec.name);
        timing::forget_peak();
        flodl::set_winograd(winograd && !spec.direct);
        let mut work = build().map_err(in_row)?;
        let names = work.names();
        let mut ours: Vec<Vec<Row>> = vec![Vec::new(); names.len()];
        let mut theirs: Vec<Vec<Peer>> = vec![Vec::new(); names.len()];
        for _ in 0..common.runs() {
            for ((times, pass), ours) in
                work.measure(steps).map_err(in_row)?.into_iter().zip(names).zip(&mut ours)
            {
                let row = Row::new(&format!("{}{pass}", spec.name), times, common.threads());
                ours.push(Row { peak_rss_mb: timing::peak_rss_mb(), ..row });
            }
            if let Some(server) = server.as_mut().filter(|_| !spec.direct) {
                let peers = server.row(&spec.name)?;
                if peers.len() != names.len() {
                    return Err(format!("PyTorch's row {} has other passes", spec.name).into());
                }
                theirs.iter_mut().zip(peers).for_each(|(all, one)| all.push(one));
            }
        }
        let done = results.len();
        results.extend(ours.iter().zip(&theirs).map(|(a, b)| report::join(common, a, b)));
        report::progress(common, &results, done)?;
    }
    if !missing.is_empty() {
        eprintln!("not yet built: {}", missing.join(", "));
    }
    report::finish(common, &results)
}
