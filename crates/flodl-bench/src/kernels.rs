//! Kernels against PyTorch's for the same shapes.

use std::time::Duration;

use flodl::*;

use crate::report::{self, Peer, Row};
use crate::{Common, timing, twin};

/// Rows, columns and inner size of the matrix products.
const SHAPES: [[i64; 3]; 13] = [
    [256, 2048, 1024],
    [256, 2048, 2048],
    [4096, 512, 512],
    [4096, 8192, 512],
    [128, 768, 256],
    [128, 2048, 512],
    [4096, 2048, 512],
    [256, 1024, 1024],
    [128, 512, 512],
    [64, 128, 784],
    [64, 10, 128],
    [1, 2048, 2048],
    [16, 16, 1],
];

type Call = Box<dyn FnMut() -> Result<()>>;

fn randn(shape: &[i64]) -> Result<Tensor> {
    Tensor::randn(shape, TensorOptions::default())
}

/// Every row: its name, as the twin knows it too, and what to call.
fn rows(wanted: impl Fn(&str) -> bool) -> Result<Vec<(String, Call)>> {
    let mut rows: Vec<(String, Call)> = Vec::new();
    for [m, n, k] in SHAPES {
        for layout in ["NN", "NT", "TN"] {
            let name = format!("matmul {layout} {m}x{k}x{n}");
            if !wanted(&name) {
                continue;
            }
            let a = if layout == "TN" { randn(&[k, m])?.t()? } else { randn(&[m, k])? };
            let b = if layout == "NT" { randn(&[n, k])?.t()? } else { randn(&[k, n])? };
            rows.push((name, Box::new(move || a.matmul(&b).map(|_| ()))));
        }
    }
    type Op = fn(&Tensor, &Tensor) -> Result<Tensor>;
    let ops: [(&str, Op); 10] = [
        ("add", |a, b| a.add(b)),
        ("mul", |a, b| a.mul(b)),
        ("exp", |a, _| a.exp()),
        ("tanh", |a, _| a.tanh()),
        ("sigmoid", |a, _| a.sigmoid()),
        ("gelu", |a, _| a.gelu()),
        ("softmax", |a, _| a.softmax(-1)),
        ("sum all", |a, _| a.sum()),
        ("sum dim0", |a, _| a.sum_dim(0, false)),
        ("transpose+contig", |a, _| a.transpose(0, 1)?.contiguous()),
    ];
    for (op, run) in ops {
        let name = format!("{op} 4096x512");
        if wanted(&name) {
            let (a, b) = (randn(&[4096, 512])?, randn(&[4096, 512])?);
            rows.push((name, Box::new(move || run(&a, &b).map(|_| ()))));
        }
    }
    let name = "adam 16777216";
    if wanted(name) {
        let params = (0..4)
            .map(|_| Ok(Parameter::new(randn(&[1 << 22])?, "p")))
            .collect::<Result<Vec<_>>>()?;
        for p in &params {
            p.variable.set_grad(randn(&[1 << 22])?);
        }
        let mut adam = Adam::new(&params, 1e-3);
        rows.push((name.into(), Box::new(move || adam.step())));
    }
    Ok(rows)
}

/// The `kernels` command.
pub fn run(common: &Common) -> crate::Result<()> {
    set_num_threads(common.threads);
    let threads = twin::threads(common);
    let only = common.only.clone().unwrap_or_default();
    let mut rows = rows(|name| name.contains(&only))?;
    if rows.is_empty() {
        return Err(format!("no kernel's name contains {only:?}").into());
    }
    let mut results = Vec::new();
    let pairs = if common.vs_pytorch.is_some() { common.pairs.max(1) } else { 1 };
    let mut ours: Vec<Vec<Row>> = vec![Vec::new(); rows.len()];
    let mut theirs: Vec<Vec<Peer>> = vec![Vec::new(); rows.len()];
    for pair in 0..pairs {
        eprintln!("pair {}/{pairs}", pair + 1);
        for ((name, call), ours) in rows.iter_mut().zip(&mut ours) {
            let times = timing::calls(Duration::from_millis(200), || Ok(call()?))?;
            let (median_ms, min_ms) = (times.median * 1e3, times.min * 1e3);
            ours.push(Row { model: name.clone(), median_ms, min_ms, threads, ..Row::default() });
        }
        if let Some(python) = &common.vs_pytorch {
            let args = ["kernels", &only, &threads.to_string()];
            let found: std::collections::HashMap<String, Peer> = twin::run(common, python, &args)?;
            for ((name, _), theirs) in rows.iter().zip(&mut theirs) {
                let peer = found.get(name).ok_or_else(|| format!("PyTorch has no row {name}"))?;
                theirs.push(peer.clone());
            }
        }
    }
    for (ours, theirs) in ours.iter().zip(&theirs) {
        results.push(report::join(ours, theirs));
    }
    report::print(&results);
    report::save(&common.json, &results)
}
