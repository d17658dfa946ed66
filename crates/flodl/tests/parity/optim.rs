//! Optimizers: the parameters after each of 20 steps on given gradients, or on least squares.

use flodl::*;
use serde_json::{Value, json};

use super::case::{Case, File, Stop, Try, unsupported};
use super::check::{Outcome, compare, guarded};

/// Parameter groups with their learning rates, and the optimizer's settings as a constructor's.
type Build = fn(&Case, &[(Vec<Parameter>, f64)]) -> Try<Box<dyn Optimizer>>;

fn betas(c: &Case) -> Try<(f64, f64)> {
    let betas = c.ctor("betas").numbers()?;
    Ok((betas[0], betas[1]))
}

const TABLE: &[(&str, Build)] = &[
    ("SGD", |c, groups| {
        let mut builder =
            SGD::with_groups(c.ctor("momentum").f64()?).weight_decay(c.ctor("weight_decay").f64()?);
        for (params, lr) in groups {
            builder = builder.group(params, *lr);
        }
        let dampening = c.ctor("dampening").f64()?;
        let nesterov = c.ctor("nesterov").bool_or(false)?;
        Ok(Box::new(builder.build().dampening(dampening).nesterov(nesterov)))
    }),
    ("Adam", |c, groups| {
        c.ctor("decoupled_weight_decay").only(false)?;
        c.ctor("amsgrad").only(false)?;
        let (beta1, beta2) = betas(c)?;
        let mut builder = Adam::with_groups()
            .betas(beta1, beta2)
            .eps(c.ctor("eps").f64()?)
            .weight_decay(c.ctor("weight_decay").f64()?);
        for (params, lr) in groups {
            builder = builder.group(params, *lr);
        }
        Ok(Box::new(builder.build()))
    }),
    ("AdamW", |c, groups| {
        c.ctor("decoupled_weight_decay").only(true)?;
        c.ctor("amsgrad").only(false)?;
        let (beta1, beta2) = betas(c)?;
        let mut builder = AdamW::with_groups(c.ctor("weight_decay").f64()?)
            .betas(beta1, beta2)
            .eps(c.ctor("eps").f64()?);
        for (params, lr) in groups {
            builder = builder.group(params, *lr);
        }
        Ok(Box::new(builder.build()))
    }),
];

/// Runs a case of `optim/`.
pub fn run(meta: &Value, file: &File) -> (String, Outcome) {
    let name = meta["optimizer"].as_str().or(meta["fn"].as_str()).unwrap_or("unknown").to_owned();
    let result = guarded(|| match TABLE.iter().find(|(n, _)| *n == name) {
        Some((_, build)) => steps(meta, file, *build),
        None if meta["fn"].is_string() => clip(meta, file),
        None => unsupported("not mapped"),
    });
    let outcome = match result {
        Ok(()) => Outcome::Pass,
        Err(stop) => stop.into(),
    };
    (name, outcome)
}

fn tensor(meta: &Value, file: &File, key: &str) -> Try<Tensor> {
    match meta[key].as_str() {
        Some(name) => file.tensor(name),
        None => unsupported(format!("a case without {key}")),
    }
}

fn steps(meta: &Value, file: &File, build: Build) -> Try<()> {
    let settings = json!({"ctor": meta["defaults"]});
    let case = Case::new(&settings, file);
    // Maximising is minimising the negative.
    let sign = if case.ctor("maximize").bool_or(false)? { -1.0 } else { 1.0 };
    let lr = case.ctor("lr").f64()?;
    let (traj_w, traj_b) = (tensor(meta, file, "traj_W")?, tensor(meta, file, "traj_b")?);
    let w = Parameter::new(traj_w.select(0, 0)?.copy()?, "W");
    let b = Parameter::new(traj_b.select(0, 0)?.copy()?, "b");
    let mut groups = Vec::new();
    for group in meta["groups"].as_array().unwrap_or(&vec![json!({"params": ["W", "b"]})]) {
        let names = group["params"].as_array().cloned().unwrap_or_default();
        let params = names.iter().map(|n| if n == "W" { w.clone() } else { b.clone() }).collect();
        let decay = group["weight_decay"].as_f64();
        if decay.is_some() && decay != meta["defaults"]["weight_decay"].as_f64() {
            return unsupported("weight_decay of a group");
        }
        groups.push((params, group["lr"].as_f64().unwrap_or(lr)));
    }
    let mut optimizer = build(&case, &groups)?;
    if let Some(option) = case.unread().into_iter().next() {
        return unsupported(option);
    }
    let given = meta["grads_W"].is_string();
    for step in 0..meta["steps"].as_i64().unwrap_or(20) {
        optimizer.zero_grad();
        if given {
            w.variable.set_grad(tensor(meta, file, "grads_W")?.select(0, step)?.mul_scalar(sign)?);
            b.variable.set_grad(tensor(meta, file, "grads_b")?.select(0, step)?.mul_scalar(sign)?);
        } else {
            let x = Variable::new(tensor(meta, file, "X")?, false);
            let y = Variable::new(tensor(meta, file, "Y")?, false);
            let residual = linear(&x, &w.variable, Some(&b.variable))?.sub(&y)?;
            let loss = residual.square()?.mean()?.mul_scalar(0.5)?;
            let theirs = tensor(meta, file, "losses")?.select(0, step)?;
            compare(&format!("loss {step}"), &loss.data(), &theirs, 0.0)?;
            loss.mul_scalar(sign)?.backward()?;
        }
        optimizer.step()?;
        for (p, trajectory) in [(&w, &traj_w), (&b, &traj_b)] {
            let theirs = trajectory.select(0, step + 1)?;
            compare(&format!("{} after step {step}", p.name), &p.variable.data(), &theirs, 0.0)?;
        }
    }
    Ok(())
}

fn clip(meta: &Value, file: &File) -> Try<()> {
    let list = |key: &str| -> Try<Vec<Tensor>> {
        let names = meta[key].as_array().cloned().unwrap_or_default();
        names.iter().filter_map(Value::as_str).map(|n| file.tensor(n)).collect()
    };
    let params: Vec<Parameter> = list("grads")?
        .into_iter()
        .map(|g| {
            let p = Parameter::new(Tensor::zeros_like(&g)?, "p");
            p.variable.set_grad(g);
            Ok(p)
        })
        .collect::<Try<_>>()?;
    let limit = meta["args"][0].as_f64().unwrap_or(1.0);
    match meta["fn"].as_str() {
        Some("clip_grad_norm_") if meta["args"][1] != 2.0 => {
            return unsupported(format!("norm_type={}", meta["args"][1]));
        }
        Some("clip_grad_norm_") => {
            let norm = clip_grad_norm(&params, limit)?;
            let theirs = tensor(meta, file, "total_norm")?;
            let ours = Tensor::full(&[], norm, theirs.options())?;
            compare("total norm", &ours, &theirs, 0.0)?;
        }
        Some("clip_grad_value_") => drop(clip_grad_value(&params, limit)?),
        _ => return unsupported("not mapped"),
    }
    for (i, (p, theirs)) in params.iter().zip(list("clipped")?).enumerate() {
        let Some(g) = p.variable.grad() else {
            return Err(Stop::Error(format!("gradient {i} is gone")));
        };
        compare(&format!("gradient {i}"), &g, &theirs, 0.0)?;
    }
    Ok(())
}
