//! Whole training steps: forward, loss, `zero_grad`, backward, Adam.

mod build;
mod sweeps;

use std::process::Command;
use std::time::Duration;

use build::Build;
use flodl::{manual_seed, set_num_threads};

use crate::report::{self, Peer, Row};
use crate::twin::{self, Twin};
use crate::{Common, Result, peak, timing};

/// A model: its name, how it is timed, the arithmetic of a training step, and how it is built.
///
/// The arithmetic is in 10^9 operations: two for each multiplication of the products and convolutions,
/// forward and both gradients, none for a gradient by what needs none; 0 where only overhead
/// counts.
type Entry = (&'static str, Timing, f64, Build);

/// Makes a model or a point of a sweep.
type Maker = Box<dyn Fn() -> flodl::Result<build::Step>>;

#[derive(Clone, Copy)]
enum Timing {
    /// Step by step.
    Steps,
    /// Steps of microseconds, which show the cost of the framework itself, in batches.
    Batches,
}
use Timing::{Batches, Steps};

const MODELS: [Entry; 13] = [
    ("mlp", Steps, 24.7, build::mlp),
    ("convnet", Steps, 207.0, build::convnet),
    ("gru_seq", Steps, 40.0, build::gru_seq),
    ("lstm_seq", Steps, 134.0, build::lstm_seq),
    ("transformer", Steps, 425.0, build::transformer),
    ("conv_autoenc", Steps, 79.0, build::conv_autoenc),
    ("residual_tower", Steps, 22.0, build::residual_tower),
    ("gated_routing", Steps, 3.9, build::gated_routing),
    ("iterative_refine", Steps, 15.6, build::iterative_refine),
    ("feedback_fixed", Steps, 2.3, build::feedback_fixed),
    ("tiny_step", Batches, 0.0, build::tiny_step),
    ("tiny_forward", Batches, 0.0, build::tiny_forward),
    ("op_chain", Batches, 0.0, build::op_chain),
];

/// How the model of this name is timed, its arithmetic, and how it is built; also a point of a sweep.
fn find(name: &str) -> Result<(Timing, f64, Maker)> {
    if let Some((sweep, value)) = sweeps::find(name) {
        return Ok((Steps, 0.0, Box::new(move || (sweep.build)(value))));
    }
    let Some(&(_, timing, gflop, build)) = MODELS.iter().find(|m| m.0 == name) else {
        let names: Vec<&str> = MODELS.iter().map(|m| m.0).collect();
        return Err(format!("no model is called {name}; there are {}", names.join(", ")).into());
    };
    Ok((timing, gflop, Box::new(build)))
}

/// Measures one model in this process and prints the result as JSON.
pub fn child(name: &str, steps: usize, threads: usize) -> Result<()> {
    let (timing, gflop, build) = find(name)?;
    set_num_threads(threads);
    manual_seed(0);
    let step = build()?;
    let peak_gflops = if gflop > 0.0 { peak::fma_gflops(threads) } else { 0.0 };
    let times = match timing {
        Steps => timing::steps(steps, step)?,
        Batches => timing::calls(Duration::from_secs(1), steps, step)?,
    };
    let peak_rss_mb = timing::peak_rss_mb();
    let row = Row { peak_rss_mb, gflop, peak_gflops, ..Row::new(name, times, threads) };
    println!("{}", serde_json::to_string(&row)?);
    Ok(())
}

/// The names of the models whose arithmetic counts.
pub fn large() -> impl Iterator<Item = &'static str> {
    MODELS.iter().filter(|m| m.2 > 0.0).map(|m| m.0)
}

/// The `models` command.
pub fn run(common: &Common, steps: usize) -> Result<()> {
    if let Some(only) = &common.only {
        find(only).map(drop)?;
    }
    let names = MODELS.iter().map(|m| m.0.to_owned());
    measure(common, steps, names.filter(|name| common.only.as_ref().is_none_or(|o| o == name)))
}

/// The `scaling` command.
pub fn scaling(common: &Common, steps: usize) -> Result<()> {
    let only = common.only.as_deref().unwrap_or_default();
    let names: Vec<String> = sweeps::names().filter(|name| name.contains(only)).collect();
    if names.is_empty() {
        return Err(format!("no row's name contains {only}").into());
    }
    measure(common, steps, names.into_iter())
}

fn measure(common: &Common, steps: usize, names: impl Iterator<Item = String>) -> Result<()> {
    let program = std::env::current_exe()?;
    let twin = Twin::new(common)?;
    let mut rows: Vec<Row> = Vec::new();
    for name in names {
        let (mut ours, mut theirs): (Vec<Row>, Vec<Peer>) = (Vec::new(), Vec::new());
        for run in 1..=common.runs() {
            eprintln!("{name} ({run}/{})", common.runs());
            let args = ["child", &name, &steps.to_string(), &common.threads().to_string()];
            ours.push(twin::finish(Command::new(&program).args(args), &name)?);
            if let Some(twin) = &twin {
                theirs.push(twin.model(&name, steps)?);
            }
        }
        rows.push(report::join(common, &ours, &theirs));
        report::progress(common, &rows, rows.len() - 1)?;
    }
    report::finish(common, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_twin_has_every_model() {
        let (_, twin) = twin::SOURCES.iter().find(|s| s.0 == "models.py").unwrap();
        for (name, ..) in MODELS {
            assert!(twin.contains(&format!("\ndef {name}():\n")), "{name}");
        }
        for name in sweeps::names() {
            let (sweep, _) = name.split_once('=').unwrap();
            assert!(twin.contains(&format!("    \"{sweep}\": lambda n: ")), "{name}");
        }
    }

    #[test]
    fn small_models_train() {
        for name in ["tiny_step", "tiny_forward", "op_chain"] {
            let mut step = find(name).unwrap().2().unwrap();
            step().unwrap();
            step().unwrap();
        }
    }
}
