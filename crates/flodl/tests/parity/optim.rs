//! Optimizers: the parameters after each of 20 steps on given gradients, or on least squares.

use flodl::*;
use serde_json::{Value, json};

use super::case::{Case, File, Stop, Try, unsupported};
use super::check::{Outcome, compare, guarded};

/// Parameters with their learning rate and, where it is the group's own, weight decay.
type Groups = [(Vec<Parameter>, f64, Option<f64>)];

/// An optimizer from its settings in the case and the groups.
type Build = fn(&Case, &Groups) -> Try<Box<dyn Optimizer>>;

/// Reads the settings that the case has and gives them to the builder.
macro_rules! build {
    ($case:ident, $groups:ident, $builder:expr, [$($float:ident),*], [$($flag:ident),*]) => {
        build!($case, $groups, $builder, [$($float),*], [$($flag),*], |s, decay| {
            s.weight_decay(decay)
        })
    };
    ($case:ident, $groups:ident, $builder:expr, [$($float:ident),*], [$($flag:ident),*],
     |$s:ident, $decay:ident| $own:expr) => {{
        let mut builder = $builder;
        $(builder = builder.$float($case.ctor(stringify!($float)).f64()?);)*
        $(builder = builder.$flag($case.ctor(stringify!($flag)).bool_or(false)?);)*
        for (params, lr, decay) in $groups {
            builder = match *decay {
                Some($decay) => builder.group_with(params, *lr, move |$s| $own),
                None => builder.group(params, *lr),
            };
        }
        Ok(Box::new(builder.build()))
    }};
}

fn betas(c: &Case) -> Try<(f64, f64)> {
    pair(c, "betas")
}

fn pair(c: &Case, name: &str) -> Try<(f64, f64)> {
    let pair = c.ctor(name).numbers()?;
    Ok((pair[0], pair[1]))
}

const TABLE: &[(&str, Build)] = &[
    ("SGD", |c, groups| {
        let builder = SGD::with_groups(c.ctor("momentum").f64()?);
        build!(c, groups, builder, [weight_decay, dampening], [nesterov, maximize])
    }),
    ("Adam", |c, groups| {
        c.ctor("decoupled_weight_decay").only(false)?;
        let (b1, b2) = betas(c)?;
        let builder = Adam::with_groups().betas(b1, b2);
        build!(c, groups, builder, [eps, weight_decay], [amsgrad, maximize])
    }),
    ("AdamW", |c, groups| {
        c.ctor("decoupled_weight_decay").only(true)?;
        let (b1, b2) = betas(c)?;
        let builder = AdamW::with_groups(0.0).betas(b1, b2);
        build!(c, groups, builder, [eps, weight_decay], [amsgrad, maximize])
    }),
    ("NAdam", |c, groups| {
        let (b1, b2) = betas(c)?;
        let builder = NAdam::with_groups().betas(b1, b2);
        build!(
            c,
            groups,
            builder,
            [eps, weight_decay, momentum_decay],
            [decoupled_weight_decay, maximize]
        )
    }),
    ("RAdam", |c, groups| {
        let (b1, b2) = betas(c)?;
        let builder = RAdam::with_groups().betas(b1, b2);
        build!(c, groups, builder, [eps, weight_decay], [decoupled_weight_decay, maximize])
    }),
    ("Adamax", |c, groups| {
        let (b1, b2) = betas(c)?;
        build!(c, groups, Adamax::with_groups().betas(b1, b2), [eps, weight_decay], [maximize])
    }),
    ("RMSprop", |c, groups| {
        let builder = RMSprop::with_groups();
        build!(c, groups, builder, [alpha, eps, weight_decay, momentum], [centered, maximize])
    }),
    ("Adagrad", |c, groups| {
        let start = c.ctor("initial_accumulator_value").f64()?;
        let builder = Adagrad::with_groups().initial_accumulator_value(start);
        build!(c, groups, builder, [eps, weight_decay, lr_decay], [maximize])
    }),
    ("Adadelta", |c, groups| {
        build!(c, groups, Adadelta::with_groups(), [rho, eps, weight_decay], [maximize])
    }),
    ("ASGD", |c, groups| {
        build!(c, groups, ASGD::with_groups(), [lambd, alpha, t0, weight_decay], [maximize])
    }),
    ("Rprop", |c, groups| {
        let builder = Rprop::with_groups().etas(pair(c, "etas")?);
        let builder = builder.step_sizes(pair(c, "step_sizes")?);
        build!(c, groups, builder, [], [maximize], |s, _decay| s)
    }),
    ("Adafactor", |c, groups| {
        // The first is left to the dtype in all cases.
        c.ctor("eps");
        build!(c, groups, Adafactor::with_groups(), [beta2_decay, d, weight_decay], [maximize])
    }),
    ("Muon", |c, groups| {
        let n = c.ctor("ns_coefficients").numbers()?;
        c.ctor("adjust_lr_fn");
        let builder = Muon::with_groups()
            .ns_coefficients((n[0], n[1], n[2]))
            .ns_steps(c.ctor("ns_steps").i64_or(5)? as usize);
        build!(c, groups, builder, [momentum, weight_decay, eps], [nesterov])
    }),
];

/// Runs a case of `optim/`.
pub fn run(meta: &Value, file: &File) -> (String, Outcome) {
    let name = meta["optimizer"].as_str().or(meta["fn"].as_str()).unwrap_or("unknown").to_owned();
    let result = guarded(|| match TABLE.iter().find(|(n, _)| *n == name) {
        Some((_, build)) => steps(meta, file, *build),
        None if name == "LBFGS" => lbfgs(meta, file),
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
    let lr = case.ctor("lr").f64()?;
    let (traj_w, traj_b) = (tensor(meta, file, "traj_W")?, tensor(meta, file, "traj_b")?);
    let w = Parameter::new(traj_w.select(0, 0)?.copy()?, "W");
    let b = Parameter::new(traj_b.select(0, 0)?.copy()?, "b");
    let mut groups = Vec::new();
    for group in meta["groups"].as_array().unwrap_or(&vec![json!({"params": ["W", "b"]})]) {
        let names = group["params"].as_array().cloned().unwrap_or_default();
        let params = names.iter().map(|n| if n == "W" { w.clone() } else { b.clone() }).collect();
        let own = group["weight_decay"].as_f64();
        groups.push((params, group["lr"].as_f64().unwrap_or(lr), own));
    }
    let mut optimizer = build(&case, &groups)?;
    if let Some(option) = case.unread().into_iter().next() {
        return unsupported(option);
    }
    let given = meta["grads_W"].is_string();
    for step in 0..meta["steps"].as_i64().unwrap_or(20) {
        optimizer.zero_grad();
        if given {
            w.variable.set_grad(tensor(meta, file, "grads_W")?.select(0, step)?);
            b.variable.set_grad(tensor(meta, file, "grads_b")?.select(0, step)?);
        } else {
            let x = Variable::new(tensor(meta, file, "X")?, false);
            let y = Variable::new(tensor(meta, file, "Y")?, false);
            let residual = linear(&x, &w.variable, Some(&b.variable))?.sub(&y)?;
            let loss = residual.square()?.mean()?.mul_scalar(0.5)?;
            let theirs = tensor(meta, file, "losses")?.select(0, step)?;
            compare(&format!("loss {step}"), &loss.data(), &theirs, 0.0)?;
            loss.backward()?;
        }
        optimizer.step()?;
        for (p, trajectory) in [(&w, &traj_w), (&b, &traj_b)] {
            let theirs = trajectory.select(0, step + 1)?;
            compare(&format!("{} after step {step}", p.name), &p.variable.data(), &theirs, 0.0)?;
        }
    }
    Ok(())
}

/// LBFGS evaluates the loss itself, so its case has a loop of its own.
fn lbfgs(meta: &Value, file: &File) -> Try<()> {
    let settings = json!({"ctor": meta["defaults"]});
    let case = Case::new(&settings, file);
    let (traj_w, traj_b) = (tensor(meta, file, "traj_W")?, tensor(meta, file, "traj_b")?);
    let w = Parameter::new(traj_w.select(0, 0)?.copy()?, "W");
    let b = Parameter::new(traj_b.select(0, 0)?.copy()?, "b");
    let mut optimizer = LBFGS::new(&[w.clone(), b.clone()], case.ctor("lr").f64()?)
        .max_iter(case.ctor("max_iter").i64()? as usize)
        .max_eval(case.ctor("max_eval").i64()? as usize)
        .tolerance_grad(case.ctor("tolerance_grad").f64()?)
        .tolerance_change(case.ctor("tolerance_change").f64()?)
        .history_size(case.ctor("history_size").i64()? as usize);
    if let Some(option) = case.unread().into_iter().next() {
        return unsupported(option);
    }
    let x = Variable::new(tensor(meta, file, "X")?, false);
    let y = Variable::new(tensor(meta, file, "Y")?, false);
    for step in 0..meta["steps"].as_i64().unwrap_or(20) {
        let loss = optimizer.step(&mut || {
            w.variable.zero_grad();
            b.variable.zero_grad();
            let residual = linear(&x, &w.variable, Some(&b.variable))?.sub(&y)?;
            let loss = residual.square()?.mean()?.mul_scalar(0.5)?;
            loss.backward()?;
            Ok(loss)
        })?;
        let theirs = tensor(meta, file, "losses")?.select(0, step)?;
        let ours = Tensor::full(&[], loss, theirs.options())?;
        compare(&format!("loss {step}"), &ours, &theirs, 0.0)?;
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
        Some("clip_grad_norm_") => {
            let order = meta["args"][1].as_f64().unwrap_or(f64::INFINITY);
            let norm = clip_grad_norm_with(&params, limit, order, false)?;
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
