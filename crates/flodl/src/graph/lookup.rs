//! What the names given to observation stand for.

use super::Graph;
use super::observe::{Book, Journal};
use crate::{Error, Result};

/// One observed name: the graph that keeps it, its name there, and its path from where it was asked
/// for.
pub(super) struct Named<'a> {
    pub graph: &'a Graph,
    pub name: &'a str,
    pub path: String,
}

/// One of a journal's books.
pub(super) type Which = fn(&Journal) -> &Book;

pub(super) const METRICS: Which = |journal| &journal.metrics;
pub(super) const TIMINGS: Which = |journal| &journal.timings;

impl Graph {
    /// What names stand for, in their order: what was observed under a name, else a group's
    /// members, else a tag, else all of these in the labelled sub-graph that a path leads into.
    ///
    /// # Errors
    /// When one is none of these, with a list of what there is; `word` is who asks.
    pub(super) fn named<'a>(
        &'a self,
        word: &str,
        names: &[&'a str],
        book: Which,
    ) -> Result<Vec<Named<'a>>> {
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            self.find(name, "", book, &mut found).map_err(|known| unknown(word, name, &known))?;
        }
        Ok(found)
    }

    /// [`Graph::named`] for one name; else the names that there are.
    fn find<'a>(
        &'a self,
        name: &'a str,
        above: &str,
        book: Which,
        found: &mut Vec<Named<'a>>,
    ) -> std::result::Result<(), Vec<String>> {
        let mut add = |name: &'a str| {
            found.push(Named { graph: self, name, path: format!("{above}{name}") });
        };
        let hidden = !above.is_empty() && self.internal.contains(name);
        if book(&self.journal.borrow()).get(name).is_some() {
            add(name);
        } else if let Some(group) = self.tag_group(name) {
            group.iter().for_each(|member| add(member));
        } else if !hidden && self.tags.iter().any(|t| t.name == name) {
            add(name);
        } else {
            let path = name.split_once('.');
            let Some((label, rest)) = path.filter(|(label, _)| self.child_graph(label).is_some())
            else {
                return Err(self.known(above, book));
            };
            if let Some(graph) = self.child_graph(label) {
                return graph.find(rest, &format!("{above}{label}."), book, found);
            }
        }
        Ok(())
    }

    fn known(&self, above: &str, book: Which) -> Vec<String> {
        let mut known = book(&self.journal.borrow()).names();
        let tags = self.tags.iter().map(|t| &t.name);
        let tags = tags.filter(|t| above.is_empty() || !self.internal.contains(*t));
        for name in tags.chain(self.groups.iter().map(|(name, _)| name)) {
            if !known.contains(name) {
                known.push(name.clone());
            }
        }
        known.iter().map(|name| format!("{above}{name}")).collect()
    }

    /// The tags that a name stands for: its own, or those of a group.
    ///
    /// # Errors
    /// When it is neither, with a list of both.
    pub(super) fn tags_of<'a>(&'a self, word: &str, name: &'a str) -> Result<Vec<&'a str>> {
        if let Some(group) = self.tag_group(name) {
            return Ok(group.iter().map(String::as_str).collect());
        }
        if self.tags.iter().any(|t| t.name == name) {
            return Ok(vec![name]);
        }
        let mut known = self.tag_names();
        known.extend(self.groups.iter().map(|(name, _)| name.clone()));
        Err(Error::Graph(format!("{word}: no tag \"{name}\"; there are {known:?}")))
    }
}

fn unknown(word: &str, name: &str, known: &[String]) -> Error {
    Error::Graph(format!("{word}: nothing is known of \"{name}\"; there are {known:?}"))
}

/// Names by the graph that keeps them.
pub(super) fn by_graph<'a>(found: &[Named<'a>]) -> Vec<(&'a Graph, Vec<&'a str>)> {
    let mut graphs: Vec<(&Graph, Vec<&str>)> = Vec::new();
    for named in found {
        match graphs.iter_mut().find(|(graph, _)| graph.is(named.graph)) {
            Some((_, names)) => names.push(named.name),
            None => graphs.push((named.graph, vec![named.name])),
        }
    }
    graphs
}
