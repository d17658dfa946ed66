//! Graphs inside graphs, by dotted paths of labels that may end in a tag.

use std::collections::{HashMap, HashSet};

use super::Graph;
use super::builder::Tag;
use crate::nn::State;
use crate::{Buffer, Error, LoadReport, Module, Parameter, Result, Variable, load_checkpoint_file};

/// Modules that may be graphs.
pub trait GraphExt {
    /// The graph that this module is.
    fn as_graph(&self) -> Option<&Graph>;
}

impl<M: Module + ?Sized> GraphExt for M {
    fn as_graph(&self) -> Option<&Graph> {
        self.as_any().and_then(|any| any.downcast_ref::<Graph>())
    }
}

pub(super) fn as_graph(module: &dyn Module) -> Option<&Graph> {
    module.as_graph()
}

/// Visits every graph in a tree of modules once, parents first.
pub(super) fn visit_graphs(module: &dyn Module, f: &mut dyn FnMut(&Graph)) {
    crate::walk_modules(module, &mut |m| {
        if let Some(graph) = as_graph(m) {
            f(graph);
        }
    });
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// A labelled graph.
    Subgraph,
    /// A tag, here or in a sub-graph.
    Tag,
}

enum Target<'a> {
    Graph(&'a Graph),
    Tag(&'a Graph, &'a Tag),
}

impl Graph {
    /// The labelled graphs directly inside, by label.
    pub fn tree_children(&self) -> HashMap<&str, &Graph> {
        let graphs = self.modules.iter().filter_map(|m| as_graph(&**m));
        graphs.filter_map(|g| Some((g.label()?, g))).collect()
    }

    /// The graph with this label directly inside.
    pub fn child_graph(&self, label: &str) -> Option<&Graph> {
        let mut graphs = self.modules.iter().filter_map(|m| as_graph(&**m));
        graphs.find(|g| g.label() == Some(label))
    }

    /// The graph at a path of labels: `encoder.scan`.
    ///
    /// # Errors
    /// When the path does not lead to a graph; the message lists what there is.
    pub fn subgraph(&self, path: &str) -> Result<&Graph> {
        match self.resolve(path)? {
            Target::Graph(graph) => Ok(graph),
            Target::Tag(..) => Err(Error::Graph(format!("\"{path}\" is a tag, not a sub-graph"))),
        }
    }

    /// Whether there are labelled graphs inside.
    pub fn is_composed(&self) -> bool {
        self.modules.iter().any(|m| as_graph(&**m).is_some_and(|g| g.label().is_some()))
    }

    /// The tags that parents cannot reach.
    pub fn internal_tags(&self) -> &HashSet<String> {
        &self.internal
    }

    /// Says what a path leads to. Where a sub-graph and a tag have one name it is the sub-graph.
    ///
    /// # Errors
    /// When it leads nowhere; the message lists what there is.
    pub fn validate_path(&self, path: &str) -> Result<PathKind> {
        Ok(match self.resolve(path)? {
            Target::Graph(_) => PathKind::Subgraph,
            Target::Tag(..) => PathKind::Tag,
        })
    }

    fn resolve<'a>(&'a self, path: &str) -> Result<Target<'a>> {
        let mut graph = self;
        let mut parts = path.split('.').peekable();
        while let Some(part) = parts.next() {
            let child = graph.child_graph(part);
            if let (Some(child), true) = (child, parts.peek().is_some()) {
                graph = child;
                continue;
            }
            if let Some(child) = child {
                return Ok(Target::Graph(child));
            }
            let tag = graph.tags.iter().find(|t| t.name == part);
            let Some(tag) = tag.filter(|_| parts.peek().is_none()) else {
                return Err(self.lost(path, part, graph));
            };
            if graph.internal.contains(part) && !graph.is(self) {
                return Err(Error::Graph(format!(
                    "path \"{path}\": the tag \"{part}\" is internal to its graph"
                )));
            }
            return Ok(Target::Tag(graph, tag));
        }
        Err(self.lost(path, "", graph))
    }

    fn lost(&self, path: &str, part: &str, graph: &Graph) -> Error {
        let whose = match graph.label() {
            Some(label) if !graph.is(self) => format!("\"{label}\""),
            _ => "the graph".into(),
        };
        let mut labels: Vec<&str> = graph.tree_children().into_keys().collect();
        labels.sort_unstable();
        let tags: Vec<&str> = graph.tags.iter().map(|t| t.name.as_str()).collect();
        Error::Graph(format!(
            "path \"{path}\": {whose} has no \"{part}\"; its sub-graphs are {labels:?}, its tags \
             {tags:?}"
        ))
    }

    fn state_at<S: State>(&self, path: &str) -> Result<Vec<(String, S)>> {
        Ok(match self.resolve(path)? {
            Target::Graph(graph) => S::named(graph),
            Target::Tag(graph, tag) => match tag.node {
                Some(node) => named_in(graph, &graph.nodes[node].modules),
                None => Vec::new(),
            },
        })
    }

    /// The parameters of a sub-graph, or of the node that has a tag.
    ///
    /// # Errors
    /// When the path leads nowhere.
    pub fn parameters_at(&self, path: &str) -> Result<Vec<Parameter>> {
        Ok(self.named_parameters_at(path)?.into_iter().map(|(_, p)| p).collect())
    }

    /// [`Graph::parameters_at`] with their names within the sub-graph, or within the graph that
    /// has the tag.
    ///
    /// # Errors
    /// When the path leads nowhere.
    pub fn named_parameters_at(&self, path: &str) -> Result<Vec<(String, Parameter)>> {
        self.state_at(path)
    }

    /// The buffers of a sub-graph, or of the node that has a tag, with names as for
    /// [`Graph::named_parameters_at`].
    ///
    /// # Errors
    /// When the path leads nowhere.
    pub fn named_buffers_at(&self, path: &str) -> Result<Vec<(String, Buffer)>> {
        self.state_at(path)
    }

    /// Stops the gradients of what is at a path: optimizers leave it as it is.
    ///
    /// # Errors
    /// When the path leads nowhere.
    pub fn freeze(&self, path: &str) -> Result<()> {
        self.parameters_at(path)?.iter().try_for_each(Parameter::freeze)
    }

    /// Lets the gradients of what is at a path through again.
    ///
    /// # Errors
    /// When the path leads nowhere.
    pub fn thaw(&self, path: &str) -> Result<()> {
        self.parameters_at(path)?.iter().try_for_each(Parameter::unfreeze)
    }

    /// Whether there are parameters at a path and all are frozen.
    ///
    /// # Errors
    /// When the path leads nowhere.
    pub fn is_frozen(&self, path: &str) -> Result<bool> {
        let parameters = self.parameters_at(path)?;
        Ok(!parameters.is_empty() && parameters.iter().all(Parameter::is_frozen))
    }

    /// Reads a checkpoint that the sub-graph at a path wrote by itself.
    ///
    /// # Errors
    /// When the path is not that of a sub-graph, or as for [`Graph::load_checkpoint`].
    pub fn load_subgraph_checkpoint(&self, path: &str, file: &str) -> Result<LoadReport> {
        let graph = self.subgraph(path)?;
        let (params, buffers) = (graph.named_parameters(), graph.named_buffers());
        load_checkpoint_file(file, &params, &buffers, Some(&graph.hash))
    }

    /// Switches what is at a path between training and inference.
    ///
    /// # Errors
    /// When the path leads nowhere.
    pub fn set_training_at(&self, path: &str, training: bool) -> Result<()> {
        match self.resolve(path)? {
            Target::Graph(graph) => graph.set_training(training),
            Target::Tag(graph, tag) => {
                for &m in tag.node.map_or(&[][..], |n| &graph.nodes[n].modules) {
                    graph.modules[m].set_training(training);
                }
            }
        }
        Ok(())
    }

    /// The value of the tag at a path in the last forward; `None` before any.
    ///
    /// # Errors
    /// When the path does not lead to a tag.
    pub fn tagged_at(&self, path: &str) -> Result<Option<Variable>> {
        match self.resolve(path)? {
            Target::Tag(graph, tag) => Ok(graph.tagged(&tag.name)),
            Target::Graph(_) => Err(Error::Graph(format!("\"{path}\" is a sub-graph, not a tag"))),
        }
    }

    /// Every parameter with its path: the number of its module in the order of the builder's
    /// words, or the label of a sub-graph, then the names below it (`0.weight`,
    /// `encoder.3.bias`); for a plain chain those of PyTorch's `nn.Sequential`. Tags leave names
    /// as they are, so that looking at a value does not part a model from its checkpoints. Shared
    /// parameters appear once.
    pub fn named_parameters(&self) -> Vec<(String, Parameter)> {
        State::named(self)
    }

    /// Every buffer with its path, as for [`Graph::named_parameters`].
    pub fn named_buffers(&self) -> Vec<(String, Buffer)> {
        State::named(self)
    }
}

/// What a node's modules hold, with the path that it has in the graph.
fn named_in<S: State>(graph: &Graph, numbers: &[usize]) -> Vec<(String, S)> {
    let of = |&n: &usize| S::of(&*graph.modules[n]).into_iter().map(|s| s.id()).collect::<Vec<_>>();
    let ids: HashSet<usize> = numbers.iter().flat_map(of).collect();
    S::named(graph).into_iter().filter(|(_, s)| ids.contains(&s.id())).collect()
}
