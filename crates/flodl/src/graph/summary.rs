//! A graph as tables of text.

use std::fmt::Write;

use super::describe::{NodeInfo, NodeKind, PartInfo, PartRole};
use super::{Graph, LoopEnd};
use crate::{
    GraphInfo, Module, Parameter, Result, Tensor, TensorOptions, Variable, no_grad, rng_state,
    set_rng_state,
};

/// What a watched graph saw of its values.
#[derive(Default)]
pub(super) struct Seen {
    /// How often it ran.
    pub runs: i64,
    /// Shape of each node's input and output in the last run, and the output's bytes.
    pub nodes: Vec<(Vec<i64>, Vec<i64>, i64)>,
}

/// A line of the table.
#[derive(Default)]
struct Row {
    name: String,
    shape: Option<Vec<i64>>,
    parameters: Option<i64>,
    multiplications: Option<i64>,
}

#[derive(Default)]
struct Table {
    rows: Vec<Row>,
    multiplications: i64,
    /// Whether a layer with weights has an unknown number of multiplications.
    unknown: bool,
    bytes: i64,
}

impl Graph {
    /// The layers as a table: their output shapes for an input of zeros of this shape, batch
    /// included, parameters, multiply-adds of linear and convolution layers, and the memory that
    /// weights and outputs take. State, buffers and the random generator are afterwards as before;
    /// the values of tags are gone.
    ///
    /// ```
    /// use flodl::*;
    /// let model = FlowBuilder::from(Linear::new(8, 16)?).through(ReLU).through(Linear::new(16, 4)?).build()?;
    /// let table = model.summary(&[32, 8])?;
    /// assert!(table.contains("[32, 16]") && table.contains("parameters      212"));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// When the graph has several inputs ([`Graph::summary_with`] takes them), or a layer fails on
    /// the input.
    pub fn summary(&self, input_shape: &[i64]) -> Result<String> {
        let first = self.parameters().first().map(|p| p.variable.data());
        let options = first.map_or_else(TensorOptions::default, |t| TensorOptions {
            dtype: t.dtype(),
            device: t.device(),
        });
        let zeros = Tensor::zeros(input_shape, options)?;
        self.summary_with(&[Variable::new(zeros, false)])
    }

    /// [`Graph::summary`] for inputs of any number and dtype.
    ///
    /// # Errors
    /// When the number of inputs is wrong or a layer fails on them.
    pub fn summary_with(&self, inputs: &[Variable]) -> Result<String> {
        let buffers: Vec<_> = self.buffers().into_iter().map(|b| (b.get(), b)).collect();
        let random = rng_state();
        let mut states = Vec::new();
        self.each_graph(&mut |g| {
            states.push(g.states.replace(vec![None; g.carried.len()]));
            g.seen.replace(Seen::default());
            g.watched.set(true);
        });
        let result = no_grad(|| self.forward_multi(inputs));
        let mut states = states.into_iter();
        self.each_graph(&mut |g| {
            g.states.replace(states.next().unwrap_or_default());
            g.watched.set(false);
        });
        set_rng_state(random);
        for (value, buffer) in buffers {
            buffer.set(value);
        }
        self.clear_tagged();
        result?;
        let mut table = Table::default();
        table.graph(self, &self.describe(), "");
        let name = self.label().unwrap_or("graph");
        table.rows.insert(0, Row { name: name.to_owned(), ..Row::default() });
        let input = inputs.iter().map(|v| bytes_of(&v.data())).sum();
        Ok(table.text(self, input))
    }

    /// The layers as a tree, graphs inside included, with tags and numbers of parameters.
    ///
    /// ```
    /// use flodl::*;
    /// let model = FlowBuilder::from(Linear::new(2, 3)?).tag("h").also(ReLU).label("net").build()?;
    /// assert_eq!(model.tree_summary(), "net (9 parameters)\n├─ 0 Linear (9) #h\n└─ 1 also ReLU\n");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn tree_summary(&self) -> String {
        let total = total(&self.parameters());
        let mut text =
            format!("{} ({} parameters)\n", self.label().unwrap_or("graph"), grouped(total));
        let mut table = Table::default();
        table.graph(self, &self.describe(), "");
        for row in table.rows {
            text.push_str(&row.name);
            if let Some(n) = row.parameters {
                let (head, tags) = text_and_tags(&row.name);
                text.truncate(text.len() - row.name.len());
                let _ = write!(text, "{head} ({}){tags}", grouped(n));
            }
            text.push('\n');
        }
        text
    }

    /// The parameters as a table: names, shapes, sizes, and which are frozen.
    ///
    /// ```
    /// use flodl::*;
    /// let model = FlowBuilder::from(Linear::new(2, 3)?).build()?;
    /// let summary = model.param_summary();
    /// let row = summary.lines().find(|line| line.starts_with("0.weight")).expect("a row");
    /// assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["0.weight", "[3,", "2]", "6"]);
    /// assert!(summary.ends_with("9 parameters, 9 trainable, 0 frozen\n"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn param_summary(&self) -> String {
        let parameters = self.named_parameters();
        let mut rows: Vec<[String; 4]> =
            vec![["name".into(), "shape".into(), "size".into(), String::new()]];
        for (name, p) in &parameters {
            let frozen = if p.is_frozen() { "frozen" } else { "" };
            let shape = format!("{:?}", p.variable.shape());
            rows.push([name.clone(), shape, grouped(p.variable.numel()), frozen.into()]);
        }
        let all: Vec<Parameter> = parameters.into_iter().map(|(_, p)| p).collect();
        let mut text = columns(&rows);
        let frozen: i64 = all.iter().filter(|p| p.is_frozen()).map(|p| p.variable.numel()).sum();
        let total = total(&all);
        let _ = writeln!(
            text,
            "{} parameters, {} trainable, {} frozen",
            grouped(total),
            grouped(total - frozen),
            grouped(frozen)
        );
        text
    }
}

/// Tags stand behind numbers of parameters.
fn text_and_tags(name: &str) -> (&str, &str) {
    name.find(" #").map_or((name, ""), |at| name.split_at(at))
}

fn total(parameters: &[Parameter]) -> i64 {
    parameters.iter().map(|p| p.variable.numel()).sum()
}

fn bytes_of(t: &Tensor) -> i64 {
    t.numel() * t.dtype().element_size() as i64
}

impl Table {
    fn graph(&mut self, graph: &Graph, info: &GraphInfo, pad: &str) {
        for (i, node) in info.nodes.iter().enumerate() {
            let last = i + 1 == info.nodes.len();
            let (branch, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.node(graph, i, node, &format!("{pad}{branch}"), &format!("{pad}{below}"));
        }
    }

    fn node(&mut self, graph: &Graph, index: usize, node: &NodeInfo, head: &str, pad: &str) {
        let (runs, seen) = {
            let seen = graph.seen.borrow();
            (seen.runs, seen.nodes.get(index).cloned())
        };
        let times = match node.kind {
            NodeKind::Loop(LoopEnd::Times(n)) => n as i64,
            _ => 1,
        };
        // The output of a graph inside is counted there.
        if node.parts.iter().all(|p| p.graph.is_none()) {
            self.bytes += runs * seen.as_ref().map_or(0, |s| s.2);
        }
        let word = match node.kind {
            NodeKind::Module | NodeKind::Branch => String::new(),
            NodeKind::Merge(op) => format!("{op:?} ").to_lowercase(),
            NodeKind::Loop(LoopEnd::Times(n)) => format!("loop × {n} "),
            NodeKind::Loop(LoopEnd::While(n)) => format!("while, at most {n} "),
            NodeKind::Loop(LoopEnd::Until(n)) => format!("until, at most {n} "),
            kind => format!("{} ", kind.word()),
        };
        let tags: String = node.tags.iter().map(|t| format!(" #{t}")).collect();
        let shape = seen.as_ref().map(|s| s.1.clone());
        let modules = &graph.nodes[index].modules;
        let alone = node.parts.len() == 1;
        if !alone {
            let name = format!("{head}{}{tags}", word.trim_end());
            self.rows.push(Row { name, shape: shape.clone(), ..Row::default() });
        }
        for (i, (part, &number)) in node.parts.iter().zip(modules).enumerate() {
            let (head, pad) = match (alone, i + 1 == node.parts.len()) {
                (true, _) => (head.to_owned(), pad.to_owned()),
                (false, true) => (format!("{pad}└─ "), format!("{pad}   ")),
                (false, false) => (format!("{pad}├─ "), format!("{pad}│  ")),
            };
            let role = match part.role {
                PartRole::Main | PartRole::Body | PartRole::Branch => "",
                PartRole::Skip => "skip ",
                PartRole::Condition => "condition ",
                PartRole::Router => "router ",
            };
            let (word, tags) = if alone { (&*word, &*tags) } else { (role, "") };
            // Routers and conditions have an output of their own, which no slot holds.
            let known = !matches!(part.role, PartRole::Condition | PartRole::Router);
            let seen = seen.as_ref().filter(|_| known);
            let mut row = Row {
                name: format!("{head}{} {word}{}{tags}", part.path, kind(part)),
                shape: if known { shape.clone() } else { None },
                parameters: (part.parameters > 0).then_some(part.parameters),
                multiplications: None,
            };
            let module = &*graph.modules[number];
            match (super::tree::as_graph(module), &part.graph) {
                (Some(inner), Some(info)) => {
                    self.rows.push(row);
                    self.graph(inner, info, &pad);
                    continue;
                }
                _ => {
                    let each = seen.and_then(|s| multiplications(module, &part.name, &s.0, &s.1));
                    row.multiplications = each.map(|n| n * runs * times);
                    self.multiplications += row.multiplications.unwrap_or(0);
                    self.unknown |= part.parameters > 0
                        && row.multiplications.is_none()
                        && !part.name.contains("Norm");
                }
            }
            self.rows.push(row);
        }
    }

    fn text(self, graph: &Graph, input: i64) -> String {
        let dash = || "-".to_owned();
        let titles = ["layer", "output shape", "parameters", "multiply-adds"].map(str::to_owned);
        let mut rows = vec![titles];
        for row in &self.rows {
            let shape = row.shape.as_ref().map_or_else(String::new, |s| format!("{s:?}"));
            let first = rows.len() == 1;
            let number =
                |n: Option<i64>| if first { String::new() } else { n.map_or_else(dash, grouped) };
            rows.push([
                row.name.clone(),
                shape,
                number(row.parameters),
                number(row.multiplications),
            ]);
        }
        let mut text = columns(&rows);
        let width = text.lines().map(|l| l.chars().count()).max().unwrap_or(0);
        let rule = "─".repeat(width);
        let at = text.find('\n').map_or(0, |i| i + 1);
        text.insert_str(at, &format!("{rule}\n"));

        let parameters = graph.parameters();
        let weights: i64 = parameters.iter().map(|p| bytes_of(&p.variable.data())).sum();
        let buffers: i64 = graph.buffers().iter().map(|b| bytes_of(&b.get())).sum();
        let frozen: i64 =
            parameters.iter().filter(|p| p.is_frozen()).map(|p| p.variable.numel()).sum();
        let note = if self.unknown { " in the layers where they are known" } else { "" };
        let lines = [
            ("parameters", grouped(total(&parameters))),
            ("  frozen", grouped(frozen)),
            ("multiply-adds", format!("{}{note}", grouped(self.multiplications))),
            ("weights", size(weights + buffers)),
            ("input", size(input)),
            ("outputs", size(self.bytes)),
        ];
        let _ = writeln!(text, "{rule}");
        for (name, value) in lines {
            let _ = writeln!(text, "{name:<15} {value}");
        }
        text
    }
}

fn kind(part: &PartInfo) -> &str {
    // A labelled graph's path is its name.
    if part.name == part.path { "Graph" } else { &part.name }
}

/// Multiplications of one call, for the layers that are a matrix product.
fn multiplications(module: &dyn Module, name: &str, input: &[i64], output: &[i64]) -> Option<i64> {
    let parameters = module.parameters();
    if parameters.is_empty() {
        return None;
    }
    let weight = parameters.iter().find(|p| p.name == "weight")?.variable.shape();
    let each = numel(&weight) / weight.first().filter(|&&n| n > 0)?;
    match name {
        "Linear" | "Bilinear" | "Conv1d" | "Conv2d" | "Conv3d" => Some(numel(output) * each),
        "ConvTranspose1d" | "ConvTranspose2d" | "ConvTranspose3d" => Some(numel(input) * each),
        _ => None,
    }
}

/// Rows with aligned columns: the first two to the left, the others to the right.
fn columns(rows: &[[String; 4]]) -> String {
    let mut widths = [0; 4];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for [a, b, c, d] in rows {
        let [aw, bw, cw, dw] = widths;
        let line = format!("{a:<aw$}  {b:<bw$}  {c:>cw$}  {d:>dw$}");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `1234567` as `1,234,567`.
fn grouped(n: i64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(c);
    }
    text
}

fn size(bytes: i64) -> String {
    match bytes as f64 {
        b if b < 1024.0 => format!("{bytes} B"),
        b if b < 1048576.0 => format!("{:.1} KiB", b / 1024.0),
        b if b < 1073741824.0 => format!("{:.1} MiB", b / 1048576.0),
        b => format!("{:.2} GiB", b / 1073741824.0),
    }
}

fn numel(shape: &[i64]) -> i64 {
    shape.iter().product()
}
