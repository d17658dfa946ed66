//! A graph as tables of text.

use std::collections::HashSet;
use std::fmt::Write;

use super::describe::{NodeInfo, NodeKind, PartInfo, PartRole};
use super::watch::{self, Call, Path, Seen};
use super::{Graph, LoopEnd};
use crate::{
    GraphInfo, Module, Parameter, Result, Tensor, TensorOptions, Variable, no_grad, rng_state,
    set_rng_state,
};

/// A line of the table.
#[derive(Default)]
struct Row {
    name: String,
    shape: Option<Vec<i64>>,
    parameters: Option<i64>,
    /// Multiply-adds that no row below shows.
    work: Option<i64>,
}

struct Table<'a> {
    rows: Vec<Row>,
    seen: &'a Seen,
    /// The place of the next row.
    path: Path,
    bytes: i64,
}

impl Graph {
    /// The layers as a table: their output shapes for an input of zeros of this shape, batch
    /// included, parameters, multiply-adds, and the memory that weights and outputs take. State,
    /// buffers and the random generator are afterwards as before; the values of tags are gone.
    ///
    /// Layers inside a module of your own have rows below it, as it lists them in `sub_modules`.
    /// Multiply-adds are those of all matrix products, convolutions, recurrences and attention that
    /// ran: a switch counts the branch that it chose, a loop its iterations. A row shows those that
    /// no row below it shows, so the column adds up to the total.
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
        self.watch(inputs)?;
        let seen = self.seen.borrow();
        let mut table = Table { rows: Vec::new(), seen: &seen, path: Path::new(), bytes: 0 };
        table.graph(self, &self.describe(), "");
        let name = self.label().unwrap_or("graph");
        table.rows.insert(0, Row { name: name.to_owned(), ..Row::default() });
        let input = inputs.iter().map(|v| bytes_of(&v.data())).sum();
        Ok(table.text(self, input))
    }

    /// Runs the graph once to see the shapes of all values, which [`Graph::describe`] and pictures
    /// then show. State, buffers and the random generator are afterwards as before; the values of
    /// tags are gone.
    ///
    /// ```
    /// use flodl::*;
    /// let model = FlowBuilder::from(Linear::new(8, 16)?).build()?;
    /// model.watch(&[Variable::new(Tensor::zeros(&[32, 8], TensorOptions::default())?, false)])?;
    /// assert_eq!(model.describe().nodes[0].shape, Some(vec![32, 16]));
    /// assert!(String::from_utf8(model.svg(None)?).unwrap().contains("[32, 16]"));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// When the number of inputs is wrong or a layer fails on them; what was seen before stays.
    pub fn watch(&self, inputs: &[Variable]) -> Result<()> {
        let buffers: Vec<_> = self.buffers().into_iter().map(|b| (b.get(), b)).collect();
        let random = rng_state();
        let mut states = Vec::new();
        self.each_graph(&mut |g| states.push(g.states.replace(vec![None; g.carried.len()])));
        let (result, seen) = watch::during(|| no_grad(|| self.forward_multi(inputs)));
        let mut states = states.into_iter();
        self.each_graph(&mut |g| _ = g.states.replace(states.next().unwrap_or_default()));
        set_rng_state(random);
        for (value, buffer) in buffers {
            buffer.set(value);
        }
        self.clear_tagged();
        result?;
        self.seen.replace(seen);
        Ok(())
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
        let seen = Seen::default();
        let mut table = Table { rows: Vec::new(), seen: &seen, path: Path::new(), bytes: 0 };
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

/// Pads of a row and of those below it.
fn pads(pad: &str, last: bool) -> (String, String) {
    let (branch, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
    (format!("{pad}{branch}"), format!("{pad}{below}"))
}

impl Table<'_> {
    fn graph(&mut self, graph: &Graph, info: &GraphInfo, pad: &str) {
        self.path.push(watch::name(graph));
        for (i, node) in info.nodes.iter().enumerate() {
            let (head, pad) = pads(pad, i + 1 == info.nodes.len());
            self.path.push(i);
            self.node(graph, i, node, &head, &pad);
            self.path.pop();
        }
        self.path.pop();
    }

    fn node(&mut self, graph: &Graph, index: usize, node: &NodeInfo, head: &str, pad: &str) {
        let seen = self.seen.at(&self.path);
        // The output of a graph inside is counted there.
        if node.parts.iter().all(|p| p.graph.is_none()) {
            self.bytes += seen.map_or(0, |call| call.bytes);
        }
        let shape = seen.map(|call| call.shape.clone());
        let word = match node.kind {
            NodeKind::Module | NodeKind::Branch => String::new(),
            NodeKind::Merge(op) => format!("{op:?} ").to_lowercase(),
            NodeKind::Loop(LoopEnd::Times(n)) => format!("loop × {n} "),
            NodeKind::Loop(LoopEnd::While(n)) => format!("while, at most {n} "),
            NodeKind::Loop(LoopEnd::Until(n)) => format!("until, at most {n} "),
            kind => format!("{} ", kind.word()),
        };
        let tags: String = node.tags.iter().map(|t| format!(" #{t}")).collect();
        let alone = node.parts.len() == 1;
        if !alone {
            let name = format!("{head}{}{tags}", word.trim_end());
            self.rows.push(Row { name, shape: shape.clone(), ..Row::default() });
        }
        for (i, part) in node.parts.iter().enumerate() {
            let (head, pad) = match alone {
                true => (head.to_owned(), pad.to_owned()),
                false => pads(pad, i + 1 == node.parts.len()),
            };
            let role = match part.role {
                PartRole::Main | PartRole::Body | PartRole::Branch => "",
                PartRole::Skip => "skip ",
                PartRole::Condition => "condition ",
                PartRole::Router => "router ",
            };
            let (word, tags) = if alone { (&*word, &*tags) } else { (role, "") };
            self.path.push(i);
            let shape = if alone { shape.clone() } else { self.seen.shape(&self.path) };
            self.rows.push(Row {
                name: format!("{head}{} {word}{}{tags}", part.path, kind(part)),
                shape,
                parameters: (part.parameters > 0).then_some(part.parameters),
                work: None,
            });
            let module = &*graph.modules[graph.nodes[index].modules[i]];
            match (super::tree::as_graph(module), &part.graph) {
                (Some(inner), Some(info)) => self.graph(inner, info, &pad),
                _ => {
                    let row = self.rows.len() - 1;
                    let call = self.seen.at(&self.path);
                    let below = self.below(module, call, &pad, &mut HashSet::new());
                    self.rows[row].work = call.map(|c| c.work - below).filter(|&n| n > 0);
                }
            }
            self.path.pop();
        }
    }

    /// Rows of what a module lists as its children; returns their multiply-adds.
    fn below(
        &mut self,
        module: &dyn Module,
        call: Option<&Call>,
        pad: &str,
        done: &mut HashSet<usize>,
    ) -> i64 {
        let children = module.sub_modules();
        let names = module.sub_module_names();
        let mut sum = 0;
        for (i, child) in children.iter().enumerate() {
            let (head, pad) = pads(pad, i + 1 == children.len());
            let parameters = child.parameters();
            let graph = super::tree::as_graph(&**child);
            // A layer that is listed twice has its work in the first row.
            let fresh = |p: &&Parameter| !done.contains(&p.variable.id());
            let fresh: Vec<Parameter> = parameters.iter().filter(fresh).cloned().collect();
            let (mut work, shape) =
                call.and_then(|c| c.of(&fresh)).map_or((0, None), |(n, s)| (n, Some(s)));
            let name = names.get(i).map_or("", String::as_str);
            let leaf = child.sub_modules().is_empty();
            self.rows.push(Row {
                name: format!("{head}{name} {}", graph.map_or(child.name(), |_| "Graph")),
                shape: shape.filter(|_| leaf),
                parameters: Some(total(&parameters)).filter(|&n| n > 0),
                work: None,
            });
            let row = self.rows.len() - 1;
            if let Some(graph) = graph {
                let before = self.work();
                self.graph(graph, &graph.describe(), &pad);
                work = self.work() - before;
            } else {
                let below = self.below(&**child, call, &pad, done);
                self.rows[row].work = Some(work - below).filter(|&n| n > 0);
            }
            done.extend(parameters.iter().map(|p| p.variable.id()));
            sum += work;
        }
        sum
    }

    fn work(&self) -> i64 {
        self.rows.iter().filter_map(|row| row.work).sum()
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
            rows.push([row.name.clone(), shape, number(row.parameters), number(row.work)]);
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
        let lines = [
            ("parameters", grouped(total(&parameters))),
            ("  frozen", grouped(frozen)),
            ("multiply-adds", grouped(self.work())),
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
