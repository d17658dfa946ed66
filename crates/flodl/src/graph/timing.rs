//! Where a forward's time goes.

use std::time::Duration;

use super::describe::EdgeFrom;
use super::lookup::{TIMINGS, by_graph};
use super::observe::or_empty;
use super::{Graph, Trend, TrendGroup};
use crate::{Error, Result};

/// The times of one forward, node by node and module by module; those of a loop's body are sums.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    /// Empty before a timed forward.
    pub nodes: Vec<Duration>,
    /// For each node those of its modules.
    parts: Vec<Vec<Duration>>,
}

impl Times {
    /// No time yet, for nodes of so many modules.
    pub fn zero(parts: impl Iterator<Item = usize>) -> Self {
        let parts: Vec<_> = parts.map(|n| vec![Duration::ZERO; n]).collect();
        Times { nodes: vec![Duration::ZERO; parts.len()], parts }
    }

    pub fn add(&mut self, node: usize, took: Duration) {
        if let Some(sum) = self.nodes.get_mut(node) {
            *sum += took;
        }
    }

    pub fn add_part(&mut self, node: usize, part: usize, took: Duration) {
        if let Some(sum) = self.parts.get_mut(node).and_then(|parts| parts.get_mut(part)) {
            *sum += took;
        }
    }

    /// `None` for a module that did not run.
    pub fn part(&self, node: usize, part: usize) -> Option<Duration> {
        self.parts.get(node)?.get(part).copied().filter(|time| !time.is_zero())
    }
}

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
        self.times.borrow().nodes.get(node).copied()
    }

    /// Keeps the times of these tags' nodes in the last timed forward until the next
    /// [`Graph::flush_timings`]; a group stands for its members, no tags for all that have a time.
    ///
    /// # Errors
    /// When a name is neither a tag nor a group, with a list of both, or there was no timed
    /// forward; then nothing is kept.
    pub fn collect_timings(&self, tags: &[&str]) -> Result<()> {
        let mut kept = Vec::new();
        for tag in tags {
            for tag in self.tags_of("collect_timings", tag)? {
                let time = self.node_time(tag).ok_or_else(|| {
                    Error::Graph(format!(
                        "collect_timings: \"{tag}\" has no time before a forward under \
                         enable_profiling"
                    ))
                })?;
                kept.push((tag, time));
            }
        }
        if tags.is_empty() {
            let timed = self.tags.iter().filter_map(|t| Some((&*t.name, self.node_time(&t.name)?)));
            kept.extend(timed);
        }
        let mut journal = self.journal.borrow_mut();
        for (tag, time) in kept {
            journal.timings.add(tag, &[time.as_secs_f64()]);
        }
        Ok(())
    }

    /// Ends an epoch: the mean of the times that each tag has kept becomes one value of its trend.
    /// A group stands for its members, no tags for all of this graph; one may be a path.
    ///
    /// # Errors
    /// When a name is neither a tag nor a group; then nothing is flushed.
    pub fn flush_timings(&self, tags: &[&str]) -> Result<()> {
        if tags.is_empty() {
            self.journal.borrow_mut().timings.flush(&[]);
        }
        for (graph, names) in by_graph(&self.named("flush_timings", tags, TIMINGS)?) {
            graph.journal.borrow_mut().timings.flush(&names);
        }
        Ok(())
    }

    /// Seconds of a tag's node, one value for each flush; empty for an unknown tag.
    pub fn timing_trend(&self, tag: &str) -> Trend {
        Trend::new(self.series(tag, TIMINGS, |s| s.history.clone()))
    }

    /// [`Graph::try_timing_trends`], which is empty, and so without a verdict on anything, when a
    /// name is unknown; the log says so.
    pub fn timing_trends(&self, tags: &[&str]) -> TrendGroup {
        or_empty(self.try_timing_trends(tags))
    }

    /// The timing trends of several tags; a group stands for its members, no tags for all of this
    /// graph, and one may be a path.
    ///
    /// # Errors
    /// When a name is neither a tag nor a group, with a list of what there is.
    pub fn try_timing_trends(&self, tags: &[&str]) -> Result<TrendGroup> {
        self.trends_in("timing_trends", tags, TIMINGS)
    }

    /// Forgets the timing trends of these tags, groups and paths; of all of this graph when there
    /// are none.
    ///
    /// # Errors
    /// When a name is neither a tag nor a group; then nothing is forgotten.
    pub fn reset_timing_trend(&self, tags: &[&str]) -> Result<()> {
        if tags.is_empty() {
            self.journal.borrow_mut().timings.reset(&[]);
        }
        for (graph, names) in by_graph(&self.named("reset_timing_trend", tags, TIMINGS)?) {
            graph.journal.borrow_mut().timings.reset(&names);
        }
        Ok(())
    }
}
