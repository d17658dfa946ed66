//! What a training is like: values per batch, their means per epoch, and trends of those.

use std::time::Instant;

use super::lookup::{METRICS, Which, by_graph};
use super::tree::as_graph;
use super::{Graph, Trend, TrendGroup};
use crate::{Error, Result, Variable};

/// How a tensor becomes one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reduce {
    /// The mean of its elements.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// The square root of the sum of their squares.
    Norm,
}

impl Reduce {
    fn of(self, value: &Variable) -> Result<f64> {
        let values = value.data().to_f64_vec()?;
        if values.is_empty() && !matches!(self, Reduce::Sum | Reduce::Norm) {
            return Err(Error::Graph(format!("nothing to take the {self:?} of: it is empty")));
        }
        // A NaN must be seen, and `f64::max` would hide it.
        let pick = |better: fn(f64, f64) -> bool| {
            let choose = |a: f64, &b: &f64| if a.is_nan() || better(a, b) { a } else { b };
            values[1..].iter().fold(values[0], choose)
        };
        Ok(match self {
            Reduce::Mean => values.iter().sum::<f64>() / values.len() as f64,
            Reduce::Sum => values.iter().sum(),
            Reduce::Max => pick(|a, b| a >= b),
            Reduce::Min => pick(|a, b| a <= b),
            Reduce::Norm => values.iter().map(|v| v * v).sum::<f64>().sqrt(),
        })
    }
}

/// One observed value.
#[derive(Default)]
pub(super) struct Series {
    pub name: String,
    /// Values since the last flush.
    pub pending: Vec<f64>,
    /// One mean for each flush that found something.
    pub history: Vec<f64>,
}

/// Observed values in the order in which they were first seen.
#[derive(Default)]
pub(super) struct Book {
    pub series: Vec<Series>,
}

impl Book {
    pub fn get(&self, name: &str) -> Option<&Series> {
        self.series.iter().find(|s| s.name == name)
    }

    pub fn add(&mut self, name: &str, values: &[f64]) {
        let at = self.series.iter().position(|s| s.name == name).unwrap_or_else(|| {
            self.series.push(Series { name: name.to_owned(), ..Series::default() });
            self.series.len() - 1
        });
        self.series[at].pending.extend_from_slice(values);
    }

    fn named(&mut self, names: &[&str]) -> impl Iterator<Item = &mut Series> {
        let all = names.is_empty();
        self.series.iter_mut().filter(move |s| all || names.contains(&s.name.as_str()))
    }

    /// Means of what is pending go to the histories; all when no names are given.
    pub fn flush(&mut self, names: &[&str]) {
        for series in self.named(names).filter(|s| !s.pending.is_empty()) {
            let sum: f64 = series.pending.iter().sum();
            series.history.push(sum / series.pending.len() as f64);
            series.pending.clear();
        }
    }

    pub fn reset(&mut self, names: &[&str]) {
        self.named(names).for_each(|s| s.history.clear());
    }

    pub fn names(&self) -> Vec<String> {
        self.series.iter().map(|s| s.name.clone()).collect()
    }
}

/// All that is observed of a graph.
#[derive(Default)]
pub(super) struct Journal {
    pub metrics: Book,
    pub timings: Book,
    pub start: Option<Instant>,
    /// Seconds from the start to the end of each flush.
    pub ends: Vec<f64>,
}

impl Journal {
    fn record(&mut self, name: &str, values: &[f64]) {
        self.start.get_or_insert_with(Instant::now);
        self.metrics.add(name, values);
    }

    fn flush(&mut self, names: &[&str]) {
        let start = *self.start.get_or_insert_with(Instant::now);
        self.metrics.flush(names);
        self.ends.push(start.elapsed().as_secs_f64());
    }
}

impl Graph {
    /// Keeps the mean of each tag's value in the last forward until the next flush; a group stands
    /// for its members.
    ///
    /// ```
    /// use flodl::*;
    /// let model = FlowBuilder::from(Linear::new(2, 1)?).tag("out").build()?;
    /// for epoch in 0..3 {
    ///     model.forward(&Variable::new(Tensor::ones(&[4, 2], TensorOptions::default())?, false))?;
    ///     model.collect(&["out"])?;
    ///     model.record_scalar("loss", 1.0 / (epoch + 1) as f64);
    ///     model.flush(&[])?;
    /// }
    /// assert!(model.trend("loss").improving(3) && model.trend("out").stalled(3, 1e-9));
    /// assert!(model.collect(&["typo"]).is_err());
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// When a name is neither a tag nor a group, with a list of both, or a tag has no value yet; then
    /// nothing is kept.
    pub fn collect(&self, tags: &[&str]) -> Result<()> {
        self.collect_with(tags, Reduce::Mean)
    }

    /// [`Graph::collect`] with another reduction than the mean.
    ///
    /// # Errors
    /// As for [`Graph::collect`], and for the largest of an empty tensor.
    pub fn collect_with(&self, tags: &[&str], reduce: Reduce) -> Result<()> {
        let mut kept = Vec::with_capacity(tags.len());
        for tag in tags {
            for tag in self.tags_of("collect", tag)? {
                kept.push((tag, self.reduced(tag, reduce)?));
            }
        }
        for (tag, value) in kept {
            self.record_scalar(tag, value);
        }
        Ok(())
    }

    fn reduced(&self, tag: &str, reduce: Reduce) -> Result<f64> {
        let value = self.tagged(tag).ok_or_else(|| {
            Error::Graph(format!("collect: \"{tag}\" has no value before a forward"))
        })?;
        reduce.of(&value).map_err(|e| Error::Graph(format!("collect \"{tag}\": {e}")))
    }

    /// Keeps values under any name until the next flush.
    pub fn record(&self, tag: &str, values: &[f64]) {
        self.journal.borrow_mut().record(tag, values);
    }

    /// Keeps a value under any name until the next flush.
    pub fn record_scalar(&self, tag: &str, value: f64) {
        self.record(tag, &[value]);
    }

    /// What was kept under a name, or the path of one, since the last flush; empty for an unknown
    /// name and for a group, which is several.
    pub fn collected(&self, tag: &str) -> Vec<f64> {
        self.series(tag, METRICS, |s| s.pending.clone())
    }

    /// Something of the one series that a name stands for; the default when it is not one.
    pub(super) fn series<R: Default>(
        &self,
        name: &str,
        book: Which,
        f: impl Fn(&Series) -> R,
    ) -> R {
        let found = self.named("", &[name], book).unwrap_or_default();
        let [one] = &found[..] else { return R::default() };
        let journal = one.graph.journal.borrow();
        book(&journal).get(one.name).map_or_else(R::default, f)
    }

    /// Ends an epoch of observation: the mean of what each name has kept becomes one value of its
    /// trend. No names mean all, those of labelled sub-graphs included; one may be a group or a
    /// path such as `encoder.loss`. Names that have kept nothing are passed over.
    ///
    /// # Errors
    /// When a name is neither a tag or group nor was ever recorded; the message lists the known
    /// ones, and nothing is flushed or counted.
    pub fn flush(&self, tags: &[&str]) -> Result<()> {
        if tags.is_empty() {
            let mut done: Vec<&Graph> = Vec::new();
            self.flush_below(&mut done);
            return Ok(());
        }
        for (graph, names) in by_graph(&self.named("flush", tags, METRICS)?) {
            graph.journal.borrow_mut().flush(&names);
        }
        Ok(())
    }

    /// Each graph once, wherever it stands.
    fn flush_below<'a>(&'a self, done: &mut Vec<&'a Graph>) {
        if done.iter().any(|g| g.is(self)) {
            return;
        }
        done.push(self);
        self.journal.borrow_mut().flush(&[]);
        self.labelled().for_each(|(_, graph)| graph.flush_below(done));
    }

    /// [`Graph::flush`] of this graph alone.
    ///
    /// # Errors
    /// As for [`Graph::flush`], and when a path leads into a sub-graph.
    pub fn flush_local(&self, tags: &[&str]) -> Result<()> {
        let found = by_graph(&self.named("flush_local", tags, METRICS)?);
        if let Some((_, names)) = found.iter().find(|(graph, _)| !graph.is(self)) {
            return Err(Error::Graph(format!("flush_local: {names:?} is kept by a sub-graph")));
        }
        let names = found.into_iter().next().map_or_else(Vec::new, |(_, names)| names);
        self.journal.borrow_mut().flush(&names);
        Ok(())
    }

    fn labelled(&self) -> impl Iterator<Item = (&str, &Graph)> {
        let graphs = self.modules.iter().filter_map(|m| as_graph(&**m));
        graphs.filter_map(|g| Some((g.label()?, g)))
    }

    /// How often this graph was flushed.
    pub fn flush_count(&self) -> usize {
        self.journal.borrow().ends.len()
    }

    /// The newest value of every trend; those of labelled sub-graphs under their paths.
    pub fn latest_metrics(&self) -> Vec<(String, f64)> {
        let mut metrics = self.latest_metrics_local();
        for (label, graph) in self.labelled() {
            let below = graph.latest_metrics().into_iter();
            metrics.extend(below.map(|(name, value)| (format!("{label}.{name}"), value)));
        }
        metrics
    }

    /// The newest value of every trend of this graph alone.
    pub fn latest_metrics_local(&self) -> Vec<(String, f64)> {
        let journal = self.journal.borrow();
        let latest = journal.metrics.series.iter();
        latest.filter_map(|s| Some((s.name.clone(), *s.history.last()?))).collect()
    }

    /// The values of a name, or of the path of one, one for each flush. Empty, and so without a
    /// verdict on anything, for a name that was never recorded; [`Graph::trend_at`] is the one that
    /// says so.
    pub fn trend(&self, tag: &str) -> Trend {
        Trend::new(self.series(tag, METRICS, |s| s.history.clone()))
    }

    /// [`Graph::try_trends`], which is empty, and so without a verdict on anything, when a name is
    /// unknown; the log says so.
    pub fn trends(&self, tags: &[&str]) -> TrendGroup {
        or_empty(self.try_trends(tags))
    }

    /// The trends of several names; a group of tags stands for its members, no names for all of
    /// this graph, and one may be a path such as `encoder.loss`.
    ///
    /// # Errors
    /// When a name is neither a tag or group nor was ever recorded; the message lists the known
    /// ones.
    pub fn try_trends(&self, tags: &[&str]) -> Result<TrendGroup> {
        self.trends_in("trends", tags, METRICS)
    }

    pub(super) fn trends_in(&self, word: &str, tags: &[&str], book: Which) -> Result<TrendGroup> {
        let histories = self.histories_in(word, tags, book)?.into_iter();
        Ok(TrendGroup(histories.map(|(_, values)| Trend::new(values)).collect()))
    }

    /// Histories by path; all of this graph when no names are given.
    pub(super) fn histories_in(
        &self,
        word: &str,
        tags: &[&str],
        book: Which,
    ) -> Result<Vec<(String, Vec<f64>)>> {
        let of = |journal: &Journal, name: &str| {
            book(journal).get(name).map_or_else(Vec::new, |s| s.history.clone())
        };
        if tags.is_empty() {
            let journal = self.journal.borrow();
            let names = book(&journal).names().into_iter();
            return Ok(names.map(|name| (name.clone(), of(&journal, &name))).collect());
        }
        let found = self.named(word, tags, book)?.into_iter();
        Ok(found.map(|n| (n.path, of(&n.graph.journal.borrow(), n.name))).collect())
    }

    /// Forgets the trends of these names, groups and paths; of all of this graph when there are
    /// none.
    ///
    /// # Errors
    /// When a name is neither a tag or group nor was ever recorded; then nothing is forgotten.
    pub fn reset_trend(&self, tags: &[&str]) -> Result<()> {
        if tags.is_empty() {
            self.journal.borrow_mut().metrics.reset(&[]);
        }
        for (graph, names) in by_graph(&self.named("reset_trend", tags, METRICS)?) {
            graph.journal.borrow_mut().metrics.reset(&names);
        }
        Ok(())
    }

    /// Seconds that are left of `total_epochs`, going by the flushes so far; NaN before the first.
    pub fn eta(&self, total_epochs: usize) -> f64 {
        let journal = self.journal.borrow();
        let done = journal.ends.len();
        let spent = journal.ends.last().copied().unwrap_or(f64::NAN);
        spent / done as f64 * total_epochs.saturating_sub(done) as f64
    }

    /// The graph that a path leads into, and the name there.
    fn owner<'a>(&'a self, path: &'a str) -> Result<(&'a Graph, &'a str)> {
        match path.rsplit_once('.') {
            Some((graph, name)) => Ok((self.subgraph(graph)?, name)),
            None => Ok((self, path)),
        }
    }

    /// [`Graph::collect`] for tags and groups of sub-graphs: `encoder.hidden`. Each value is kept by the
    /// sub-graph.
    ///
    /// # Errors
    /// When a path does not lead to a tag, or that has no value yet; then nothing is kept.
    pub fn collect_at(&self, paths: &[&str]) -> Result<()> {
        let mut found = Vec::with_capacity(paths.len());
        for path in paths {
            let (graph, name) = self.owner(path)?;
            let mut names = vec![name];
            match graph.tag_group(name) {
                Some(group) => names = group.iter().map(String::as_str).collect(),
                None if self.validate_path(path)? == super::PathKind::Subgraph => {
                    let text = format!("collect: \"{path}\" is a sub-graph, not a tag");
                    return Err(Error::Graph(text));
                }
                None => {}
            }
            for name in names {
                found.push((graph, name, graph.reduced(name, Reduce::Mean)?));
            }
        }
        for (graph, name, value) in found {
            graph.record_scalar(name, value);
        }
        Ok(())
    }

    /// [`Graph::record_scalar`] in a sub-graph: `encoder.loss`.
    ///
    /// # Errors
    /// When the path does not lead into a sub-graph.
    pub fn record_at(&self, path: &str, value: f64) -> Result<()> {
        let (graph, name) = self.owner(path)?;
        graph.record_scalar(name, value);
        Ok(())
    }

    /// The trend of a name, here or in a sub-graph.
    ///
    /// # Errors
    /// When the path does not lead into a sub-graph, or nothing was ever recorded under the name;
    /// the message lists the known names.
    pub fn trend_at(&self, path: &str) -> Result<Trend> {
        let here = self.journal.borrow().metrics.get(path).is_some();
        let (graph, name) = if here { (self, path) } else { self.owner(path)? };
        let journal = graph.journal.borrow();
        let series = journal.metrics.get(name).ok_or_else(|| {
            let known = journal.metrics.names();
            Error::Graph(format!("no observations of \"{path}\"; there are {known:?}"))
        })?;
        Ok(Trend::new(series.history.clone()))
    }

    /// The histories of metrics by name, for files; all, with those of sub-graphs, when no names
    /// are given.
    pub(super) fn histories(&self, tags: &[&str]) -> Result<Vec<(String, Vec<f64>)>> {
        if !tags.is_empty() {
            return self.histories_in("trends", tags, METRICS);
        }
        let names = self.latest_metrics().into_iter().map(|(name, _)| name);
        let of = |name: String| {
            let trend = self.trend_at(&name)?;
            Ok((name, trend.values().to_vec()))
        };
        names.map(of).collect()
    }
}

/// No trends, and a line in the log, for unknown names.
pub(super) fn or_empty(trends: Result<TrendGroup>) -> TrendGroup {
    trends.unwrap_or_else(|error| {
        crate::log_message(crate::Verbosity::Quiet, error);
        TrendGroup::default()
    })
}
