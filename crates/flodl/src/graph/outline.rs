//! A graph as indented lines of text.

use std::fmt::Write;

use super::Graph;
use super::describe::{EdgeKind, GraphInfo};

impl Graph {
    /// The nodes as indented lines, graphs inside included; what `verbose` prints.
    pub(super) fn outline(&self) -> String {
        let mut text = String::new();
        write(&self.describe(), 0, &mut text);
        text
    }
}

fn write(info: &GraphInfo, depth: usize, text: &mut String) {
    let pad = "  ".repeat(depth);
    let name = info.label.as_deref().unwrap_or("graph");
    // Writing to a String does not fail.
    let _ = writeln!(text, "{pad}{name}");
    for (i, node) in info.nodes.iter().enumerate() {
        let parts: Vec<String> =
            node.parts.iter().map(|p| format!("{} [{}]", p.name, p.parameters)).collect();
        let _ = write!(text, "{pad}  {} {} {}", node.id, node.kind.word(), parts.join(", "));
        for edge in info.edges.iter().filter(|e| e.to == i) {
            let _ = match &edge.kind {
                EdgeKind::Stream => Ok(()),
                EdgeKind::Reference(tag) => write!(text, " <- {tag}"),
                EdgeKind::Carried(tag) => write!(text, " <~ {tag}"),
            };
        }
        if !node.tags.is_empty() {
            let _ = write!(text, " as {}", node.tags.join(", "));
        }
        text.push('\n');
        for graph in node.parts.iter().filter_map(|p| p.graph.as_ref()) {
            write(graph, depth + 2, text);
        }
    }
}
