//! Pictures of graphs: SVG without other programs, and text for Graphviz.
//!
//! `sketch` turns a graph's plain data into boxes and arrows, `layout` gives them places, `svg`
//! and `dot` write them.

mod dot;
mod layout;
mod sketch;
mod svg;
mod text;

use super::Graph;
use crate::{Result, write_atomic};

impl Graph {
    /// The graph as text for Graphviz.
    ///
    /// ```
    /// use flodl::*;
    /// let model = FlowBuilder::from(Linear::new(2, 3)?).tag("hidden").also(ReLU).build()?;
    /// let dot = model.dot();
    /// assert!(dot.starts_with("digraph") && dot.contains("Linear") && dot.contains("hidden"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn dot(&self) -> String {
        dot::render(&sketch::sketch(&self.describe(), ""), self.label().unwrap_or("graph"), None)
    }

    /// [`Graph::dot`] with the times of the last timed forward.
    pub fn dot_with_profile(&self) -> String {
        let mut flow = sketch::sketch(&self.describe(), "");
        let longest = sketch::show_times(&mut flow);
        dot::render(&flow, self.label().unwrap_or("graph"), Some(longest))
    }

    /// Draws the graph: boxes for modules, with their numbers of parameters and the shapes of their
    /// outputs ([`Graph::watch`] sees these; until then the sizes of the layers), coloured by what
    /// they are; boxes around graphs, loops, gates, switches and maps inside; arrows for values, with
    /// their tags. Returns the SVG file's bytes, and writes them to `path` if there is one.
    ///
    /// ```
    /// use flodl::*;
    /// let model = FlowBuilder::from(Linear::new(2, 3)?).tag("hidden").also(ReLU).build()?;
    /// let svg = String::from_utf8(model.svg(None)?).unwrap();
    /// assert!(svg.starts_with("<svg") && svg.contains("Linear") && svg.contains("hidden"));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// When the file cannot be written; an older one is then untouched.
    pub fn svg(&self, path: Option<&str>) -> Result<Vec<u8>> {
        self.draw(path, false)
    }

    /// [`Graph::svg`] with modules coloured by the time that they took in the last timed forward.
    ///
    /// # Errors
    /// As for [`Graph::svg`].
    pub fn svg_with_profile(&self, path: Option<&str>) -> Result<Vec<u8>> {
        self.draw(path, true)
    }

    fn draw(&self, path: Option<&str>, times: bool) -> Result<Vec<u8>> {
        let mut flow = sketch::sketch(&self.describe(), "");
        let longest = times.then(|| sketch::show_times(&mut flow));
        layout::layout(&mut flow);
        let svg = svg::render(&flow, self.label().unwrap_or(""), longest).into_bytes();
        if let Some(path) = path {
            write_atomic(path, &svg)?;
        }
        Ok(svg)
    }
}
