//! Learning rates of schedulers, step by step, for two base learning rates.

use flodl::*;
use serde_json::Value;

use super::case::{Stop, Try, unsupported};
use super::check::{Outcome, guarded};

type Of = Box<dyn Scheduler>;

/// The scheduler of a case for one base learning rate.
fn build(name: &str, k: &Value, base: f64) -> Try<Of> {
    let f = |key: &str, default: f64| k[key].as_f64().unwrap_or(default);
    let n = |key: &str, default: usize| k[key].as_u64().map_or(default, |n| n as usize);
    Ok(match name {
        "StepLR" => Box::new(StepDecay::new(base, n("step_size", 1), f("gamma", 0.1))),
        "MultiStepLR" => {
            let list = k["milestones"].as_array().cloned().unwrap_or_default();
            let milestones: Vec<usize> =
                list.iter().filter_map(Value::as_u64).map(|m| m as usize).collect();
            Box::new(MultiStepLR::new(base, &milestones, f("gamma", 0.1)))
        }
        "ConstantLR" => {
            Box::new(ConstantLR::new(base, f("factor", 1.0 / 3.0), n("total_iters", 5)))
        }
        "LinearLR" => {
            let (start, end) = (f("start_factor", 1.0 / 3.0), f("end_factor", 1.0));
            Box::new(LinearLR::new(base, start, end, n("total_iters", 5)))
        }
        "ExponentialLR" => Box::new(ExponentialLR::new(base, f("gamma", 0.1))),
        "CosineAnnealingLR" => {
            Box::new(CosineAnnealingLR::new(base, n("T_max", 1), f("eta_min", 0.0)))
        }
        "CosineAnnealingWarmRestarts" => {
            let (t_0, t_mult) = (n("T_0", 1), n("T_mult", 1));
            Box::new(CosineAnnealingWarmRestarts::new(base, t_0, t_mult, f("eta_min", 0.0)))
        }
        "PolynomialLR" => Box::new(PolynomialLR::new(base, n("total_iters", 5), f("power", 1.0))),
        "CyclicLR" => {
            let up = n("step_size_up", 2000);
            let down = n("step_size_down", up);
            let cycle = CyclicLR::asymmetric(f("base_lr", 0.0), f("max_lr", 0.0), up, down);
            Box::new(cycle.mode(match k["mode"].as_str() {
                Some("exp_range") => CyclicMode::ExpRange { gamma: f("gamma", 1.0) },
                Some("triangular2") => CyclicMode::Triangular2,
                _ => CyclicMode::Triangular,
            }))
        }
        "OneCycleLR" => {
            let total = n("total_steps", n("epochs", 0) * n("steps_per_epoch", 0));
            Box::new(
                OneCycleLR::with_warmup_frac(f("max_lr", 0.0), total, f("pct_start", 0.3))
                    .div_factor(f("div_factor", 25.0))
                    .final_div_factor(f("final_div_factor", 1e4))
                    .three_phase(k["three_phase"].as_bool().unwrap_or(false)),
            )
        }
        "SequentialLR[ConstantLR(0.1,total_iters=2), ExponentialLR(0.9), StepLR(4)] milestones=[3,12]" =>
        {
            let parts: Vec<Of> = vec![
                Box::new(ConstantLR::new(base, 0.1, 2)),
                Box::new(ExponentialLR::new(base, 0.9)),
                Box::new(StepDecay::new(base, 4, 0.1)),
            ];
            Box::new(SequentialLR::new(parts, &[3, 12])?)
        }
        "LambdaLR(lambda e: min(1,(e+1)/6)*0.95**e)" => Box::new(LambdaLR::new(base, |e| {
            ((e + 1) as f64 / 6.0).min(1.0) * 0.95f64.powi(e as i32)
        })),
        _ => return unsupported("not mapped"),
    })
}

fn plateau(k: &Value, base: f64) -> PlateauScheduler {
    let f = |key: &str, default: f64| k[key].as_f64().unwrap_or(default);
    let n = |key: &str, default: u64| k[key].as_u64().unwrap_or(default) as usize;
    let threshold = f("threshold", 1e-4);
    PlateauScheduler::new(base, n("patience", 10), f("factor", 0.1), f("min_lr", 0.0))
        .mode(if k["mode"] == "max" { PlateauMode::Max } else { PlateauMode::Min })
        .threshold(match k["threshold_mode"].as_str() {
            Some("abs") => PlateauThreshold::Abs(threshold),
            _ => PlateauThreshold::Rel(threshold),
        })
        .cooldown(n("cooldown", 0))
        .eps(f("eps", 1e-8))
}

fn check(step: usize, ours: f64, theirs: f64) -> Try<()> {
    // Theirs are products of many factors, one rounding each.
    if (ours - theirs).abs() <= 1e-12 + 1e-10 * theirs.abs() {
        return Ok(());
    }
    Err(Stop::Error(format!("step {step}: {ours} instead of {theirs}")))
}

/// Runs a case of `sched/`.
pub fn run(name: &str, meta: &Value) -> Outcome {
    let number = |v: &Value| v.as_f64().unwrap_or(f64::NAN);
    let result = guarded(|| {
        for (i, base) in meta["base_lrs"].as_array().into_iter().flatten().map(number).enumerate() {
            let theirs = meta["lrs"].as_array().into_iter().flatten().map(|lrs| number(&lrs[i]));
            if let Some(metrics) = meta["metrics"].as_array() {
                let mut ours = plateau(&meta["kwargs"], base);
                for ((step, theirs), metric) in theirs.enumerate().zip(metrics) {
                    check(step, ours.lr(), theirs)?;
                    ours.observe(number(metric));
                }
                check(metrics.len(), ours.lr(), number(&meta["lr_after"][i]))?;
                continue;
            }
            let ours = build(name, &meta["kwargs"], base)?;
            for (step, theirs) in theirs.enumerate() {
                check(step, ours.lr(step), theirs)?;
            }
            for (step, theirs) in meta["momenta"].as_array().into_iter().flatten().enumerate() {
                check(step, ours.momentum(step).unwrap_or(f64::NAN), number(theirs))?;
            }
        }
        Ok(())
    });
    match result {
        Ok(()) => Outcome::Pass,
        Err(stop) => stop.into(),
    }
}
