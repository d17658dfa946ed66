//! Where a forward's time goes.

use std::time::Duration;

use super::describe::EdgeFrom;
use super::observe::Book;
use super::{Graph, Trend, TrendGroup};

/// The time of one node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeTiming {
    /// Its id, as in [`crate::NodeInfo`].
    pub id: String,
    /// What kind of module it is.
    pub name: String,
    /// Its first tag.
    pub tag: Option<String>,
    /// Steps from the inputs, by the longest way.
    pub level: usize,
    /// Time that it took.
    pub duration: Duration,
}

/// The time of the nodes that are equally far from the inputs, and so do not wait for each other.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelTiming {
    /// Steps from the inputs.
    pub index: usize,
    /// Number of its nodes.
    pub num_nodes: usize,
    /// The sum of their times.
    pub sum_nodes: Duration,
    /// The longest of them.
    pub longest: Duration,
}

impl LevelTiming {
    /// How many times faster the level would be if its nodes ran side by side: their sum by the
    /// longest. They run one after the other here, each on all threads.
    pub fn parallelism(&self) -> f64 {
        let longest = self.longest.as_secs_f64();
        if longest > 0.0 { self.sum_nodes.as_secs_f64() / longest } else { 1.0 }
    }
}

/// The times of the last timed forward.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// The sum of all nodes.
    pub total: Duration,
    /// Each node, in the order in which they run.
    pub nodes: Vec<NodeTiming>,
    /// Each level, from the inputs on.
    pub levels: Vec<LevelTiming>,
    /// Tags and the numbers of their nodes.
    tags: Vec<(String, usize)>,
}

impl Profile {
    /// The time of the node with this tag; zero for an unknown tag.
    pub fn timing(&self, tag: &str) -> Duration {
        let node = self.tags.iter().find(|(name, _)| name == tag);
        node.map_or(Duration::ZERO, |&(_, i)| self.nodes[i].duration)
    }
}

/// A table of the nodes, the slowest first.
impl std::fmt::Display for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let total = self.total.as_secs_f64();
        writeln!(f, "forward {}", short(total))?;
        let mut nodes: Vec<&NodeTiming> = self.nodes.iter().collect();
        nodes.sort_by_key(|n| std::cmp::Reverse(n.duration));
        for n in nodes {
            let seconds = n.duration.as_secs_f64();
            let tag = n.tag.as_deref().unwrap_or_default();
            let share = if total > 0.0 { 100.0 * seconds / total } else { 0.0 };
            let row =
                format!("{:>10} {share:>5.1} %  {:<10} {:<16} {tag}", short(seconds), n.id, n.name);
            writeln!(f, "{}", row.trim_end())?;
        }
        Ok(())
    }
}

/// A time as a few characters: `12.3 µs`.
pub(super) fn short(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.1} µs", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

impl Graph {
    /// The times of the last forward under [`Graph::enable_profiling`]; `None` before there was
    /// one.
    ///
    /// ```
    /// use flodl::*;
    /// let model = FlowBuilder::from(Linear::new(8, 8)?).tag("first").through(ReLU).build()?;
    /// assert!(model.profile().is_none());
    /// model.enable_profiling();
    /// model.forward(&Variable::new(Tensor::ones(&[4, 8], TensorOptions::default())?, false))?;
    /// let profile = model.profile().unwrap();
    /// assert_eq!(profile.nodes.len(), 2);
    /// assert_eq!(profile.timing("first"), profile.nodes[0].duration);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn profile(&self) -> Option<Profile> {
        let times = self.node_times();
        if times.len() != self.nodes.len() {
            return None;
        }
        let info = self.describe();
        let mut depth = vec![0; times.len()];
        for edge in &info.edges {
            // Carried values come from later nodes, and from the forward before.
            if let (EdgeFrom::Node(from), false) = (edge.from, edge.is_carried()) {
                depth[edge.to] = depth[edge.to].max(depth[from] + 1);
            }
        }
        let nodes: Vec<NodeTiming> = info
            .nodes
            .iter()
            .zip(&times)
            .zip(&depth)
            .map(|((node, &duration), &level)| NodeTiming {
                id: node.id.clone(),
                name: node.parts.first().map_or("merge".into(), |p| p.name.clone()),
                tag: node.tags.first().cloned(),
                level,
                duration,
            })
            .collect();
        let levels = (0..=depth.iter().copied().max().unwrap_or(0))
            .map(|index| {
                let of = || nodes.iter().filter(|n| n.level == index).map(|n| n.duration);
                LevelTiming {
                    index,
                    num_nodes: of().count(),
                    sum_nodes: of().sum(),
                    longest: of().max().unwrap_or_default(),
                }
            })
            .collect();
        let tags = self.tags.iter().filter_map(|t| Some((t.name.clone(), t.node?))).collect();
        Some(Profile { total: times.iter().sum(), nodes, levels, tags })
    }

    /// The time of the node with this tag in the last timed forward; zero for an unknown tag and
    /// before there was one.
    pub fn timing(&self, tag: &str) -> Duration {
        self.node_time(tag).unwrap_or_default()
    }

    fn node_time(&self, tag: &str) -> Option<Duration> {
        let node = self.tags.iter().find(|t| t.name == tag)?.node?;
        self.times.borrow().get(node).copied()
    }

    /// Keeps the times of these tags' nodes in the last timed forward until the next
    /// [`Graph::flush_timings`]; of all tags when there are none. Unknown tags are passed over.
    pub fn collect_timings(&self, tags: &[&str]) {
        let all = self.tag_names();
        let names = if tags.is_empty() { all } else { self.expand(tags, &Book::default()) };
        for name in names {
            if let Some(time) = self.node_time(&name) {
                self.journal.borrow_mut().timings.add(&name, &[time.as_secs_f64()]);
            }
        }
    }

    /// Ends an epoch: the mean of the times that each tag has kept becomes one value of its trend.
    /// No tags mean all.
    pub fn flush_timings(&self, tags: &[&str]) {
        self.journal.borrow_mut().timings.flush(tags);
    }

    /// Seconds of a tag's node, one value for each flush; empty for an unknown tag.
    pub fn timing_trend(&self, tag: &str) -> Trend {
        let journal = self.journal.borrow();
        Trend::new(journal.timings.get(tag).map_or_else(Vec::new, |s| s.history.clone()))
    }

    /// The timing trends of several tags; a group stands for its members, no tags for all.
    pub fn timing_trends(&self, tags: &[&str]) -> TrendGroup {
        let names = self.expand(tags, &self.journal.borrow().timings);
        TrendGroup(names.iter().map(|name| self.timing_trend(name)).collect())
    }

    /// Forgets the timing trends of these tags; of all when there are none.
    pub fn reset_timing_trend(&self, tags: &[&str]) {
        self.journal.borrow_mut().timings.reset(tags);
    }
}
