//! A sketch as text for Graphviz.

use std::fmt::Write;
use std::time::Duration;

use super::sketch::{Flow, Item, Link, Shape};

pub(super) fn render(flow: &Flow, name: &str, longest: Option<Duration>) -> String {
    let mut text = format!("digraph {} {{\n", quoted(name));
    text.push_str(
        "  compound=true;\n  node [shape=box, style=\"rounded,filled\", fillcolor=\"#f3f4f6\", \
         fontname=\"Helvetica\"];\n  edge [fontname=\"Helvetica\", fontsize=10];\n",
    );
    write_flow(&mut text, flow, longest, 1);
    text.push_str("}\n");
    text
}

/// Text in quotes; `\n` stays a line break.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn write_flow(text: &mut String, flow: &Flow, longest: Option<Duration>, depth: usize) {
    let pad = "  ".repeat(depth);
    for item in &flow.items {
        let lines = [std::slice::from_ref(&item.title), &item.lines].concat().join("\n");
        // Writing to a String does not fail.
        let _ = match &item.shape {
            Shape::Cluster(inner) => {
                let name = quoted(&format!("cluster_{}", item.id));
                let _ = writeln!(text, "{pad}subgraph {name} {{");
                let _ = writeln!(text, "{pad}  label={}; style=rounded;", quoted(&lines));
                write_flow(text, inner, longest, depth + 1);
                writeln!(text, "{pad}}}")
            }
            shape => {
                let look = match shape {
                    Shape::Dot => ", shape=point".to_owned(),
                    Shape::Circle => ", shape=circle".to_owned(),
                    _ => heat(item, longest),
                };
                writeln!(text, "{pad}{} [label={}{look}];", quoted(&item.id), quoted(&lines))
            }
        };
    }
    for edge in &flow.edges {
        let (from, to) = (&flow.items[edge.from], &flow.items[edge.to]);
        let mut look = Vec::new();
        if !from.tags.is_empty() {
            look.push(format!("label={}", quoted(&from.tags.join(", "))));
        }
        match edge.link {
            Link::Stream => {}
            Link::Reference => look.push("color=\"#7c3aed\"".into()),
            Link::Carried => look.push("color=\"#c2410c\", style=dashed, constraint=false".into()),
            Link::Repeat => look.push("color=\"#0f766e\", style=dotted, constraint=false".into()),
        }
        // Edges of Graphviz lead to nodes and are cut at the border of the box around them.
        let (tail, cut) = end(from, false);
        look.extend(cut.map(|c| format!("ltail={c}")));
        let (head, cut) = end(to, true);
        look.extend(cut.map(|c| format!("lhead={c}")));
        let look = if look.is_empty() { String::new() } else { format!(" [{}]", look.join(", ")) };
        let _ = writeln!(text, "{pad}{} -> {}{look};", quoted(tail), quoted(head));
    }
}

/// The node that stands for an item, and its cluster when it is one.
fn end(item: &Item, first: bool) -> (&str, Option<String>) {
    let mut node = item;
    while let Shape::Cluster(flow) = &node.shape {
        let next = if first { flow.items.first() } else { flow.items.last() };
        match next {
            Some(next) => node = next,
            None => break,
        }
    }
    let is_cluster = matches!(item.shape, Shape::Cluster(_));
    (&node.id, is_cluster.then(|| quoted(&format!("cluster_{}", item.id))))
}

fn heat(item: &Item, longest: Option<Duration>) -> String {
    match (longest, item.time) {
        (Some(longest), Some(time)) if !longest.is_zero() => {
            let share = time.as_secs_f64() / longest.as_secs_f64();
            format!(", fillcolor=\"0.05 {:.3} 1.0\"", share.clamp(0.0, 1.0) * 0.7)
        }
        _ => String::new(),
    }
}
