//! Whole training steps: forward, loss, `zero_grad`, backward, Adam.

mod build;

use std::process::Command;
use std::time::Duration;

use build::Build;
use flodl::{manual_seed, set_num_threads};

use crate::report::{self, Peer, Row};
use crate::twin::{self, Twin};
use crate::{Common, Result, timing};

/// A model: its name, how it is timed, and how it is built; `None` when its layers do not exist
/// yet.
type Entry = (&'static str, Timing, Option<Build>);

#[derive(Clone, Copy)]
enum Timing {
    /// Step by step.
    Steps,
    /// Steps of microseconds, which show the cost of the framework itself, in batches.
    Batches,
}
use Timing::{Batches, Steps};

const MODELS: [Entry; 13] = [
    ("mlp", Steps, Some(build::mlp)),
    ("convnet", Steps, Some(build::convnet)),
    ("gru_seq", Steps, Some(build::gru_seq)),
    ("lstm_seq", Steps, Some(build::lstm_seq)),
    ("transformer", Steps, Some(build::transformer)),
    ("conv_autoenc", Steps, Some(build::conv_autoenc)),
    ("residual_tower", Steps, Some(build::residual_tower)),
    ("gated_routing", Steps, Some(build::gated_routing)),
    ("iterative_refine", Steps, Some(build::iterative_refine)),
    ("feedback_fixed", Steps, Some(build::feedback_fixed)),
    ("tiny_step", Batches, Some(build::tiny_step)),
    ("tiny_forward", Batches, Some(build::tiny_forward)),
    ("op_chain", Batches, Some(build::op_chain)),
];

/// The model of this name, with how it is built.
fn find(name: &str) -> Result<(Timing, Build)> {
    match MODELS.iter().find(|m| m.0 == name) {
        Some(&(_, timing, Some(build))) => Ok((timing, build)),
        Some(_) => Err(format!("{name} is not yet built: its layers do not exist").into()),
        None => {
            let names: Vec<&str> = MODELS.iter().map(|m| m.0).collect();
            Err(format!("no model is called {name}; there are {}", names.join(", ")).into())
        }
    }
}

/// Measures one model in this process and prints the result as JSON.
pub fn child(name: &str, steps: usize, threads: usize) -> Result<()> {
    let (timing, build) = find(name)?;
    set_num_threads(threads);
    manual_seed(0);
    let step = build()?;
    let times = match timing {
        Steps => timing::steps(steps, step)?,
        Batches => timing::calls(Duration::from_secs(1), step)?,
    };
    let row = Row { peak_rss_mb: timing::peak_rss_mb(), ..Row::new(name, times, threads) };
    println!("{}", serde_json::to_string(&row)?);
    Ok(())
}

/// The `models` command.
pub fn run(common: &Common, steps: usize) -> Result<()> {
    if let Some(only) = &common.only {
        find(only)?;
    }
    let program = std::env::current_exe()?;
    let twin = Twin::new(common)?;
    let mut rows: Vec<Row> = Vec::new();
    let mut missing = Vec::new();
    for (name, _, build) in MODELS {
        if common.only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        if build.is_none() {
            missing.push(name);
            continue;
        }
        let (mut ours, mut theirs): (Vec<Row>, Vec<Peer>) = (Vec::new(), Vec::new());
        for run in 1..=common.runs() {
            eprintln!("{name} ({run}/{})", common.runs());
            let args = ["child", name, &steps.to_string(), &common.threads().to_string()];
            ours.push(twin::finish(Command::new(&program).args(args), name)?);
            if let Some(twin) = &twin {
                theirs.push(twin.model(name, steps)?);
            }
        }
        rows.push(report::join(common, &ours, &theirs));
        report::progress(common, &rows, rows.len() - 1)?;
    }
    if !missing.is_empty() {
        eprintln!("not yet built: {}", missing.join(", "));
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
    }

    #[test]
    fn small_models_train() {
        for name in ["tiny_step", "tiny_forward", "op_chain"] {
            let mut step = find(name).unwrap().1().unwrap();
            step().unwrap();
            step().unwrap();
        }
    }
}
