//! Where things stand: ranks from top to bottom, few crossings within them, then coordinates.

use super::sketch::{Flow, Item, Shape};
use super::text;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Point {
    pub x: f64,
    pub y: f64,
}

pub(super) fn point(x: f64, y: f64) -> Point {
    Point { x, y }
}

pub(super) const TITLE: f64 = 13.0;
pub(super) const SMALL: f64 = 11.0;
/// Height of the caption of a cluster without a second line.
pub(super) const CAPTION: f64 = 26.0;
pub(super) const LINE: f64 = 14.0;
pub(super) const TAG: f64 = 16.0;
/// From a box to the tags below it, and between tags.
pub(super) const TAG_GAP: f64 = 5.0;
/// From a cluster's border to what is inside.
const PADDING: f64 = 16.0;
/// Between boxes of a rank, and between ranks.
const GAP: Point = Point { x: 22.0, y: 34.0 };
/// Width of a long edge's way past the boxes of a rank.
const WAY: f64 = 4.0;
/// Between the lanes of edges that lead backwards.
const LANE: f64 = 12.0;

pub(super) fn tag_width(tag: &str) -> f64 {
    text::width(tag, SMALL) + 12.0
}

/// Sizes of the inside first, then this flow.
pub(super) fn layout(flow: &mut Flow) {
    flow.items.iter_mut().for_each(measure);
    let rank = ranks(flow);
    let mut net = Net::new(flow, &rank);
    net.order();
    net.place();
    finish(flow, &rank, &net);
}

fn measure(item: &mut Item) {
    let widest = |lines: &[String]| lines.iter().map(|l| text::width(l, SMALL)).fold(0.0, f64::max);
    let lines = item.lines.len() as f64;
    item.body = match &mut item.shape {
        Shape::Dot => point(8.0, 8.0),
        Shape::Circle => point(26.0, 26.0),
        Shape::Pill => point(text::width(&item.title, SMALL) + 22.0, 22.0),
        Shape::Leaf => {
            let w = (text::width(&item.title, TITLE) * BOLD).max(widest(&item.lines));
            point((w + 22.0).max(64.0), 30.0 + LINE * lines)
        }
        Shape::Cluster(inner) => {
            layout(inner);
            let w = (text::width(&item.title, TITLE) * BOLD).max(widest(&item.lines));
            let w = (w + 20.0).max(inner.size.x + 2.0 * PADDING);
            point(w, CAPTION + LINE * lines + inner.size.y + PADDING)
        }
    };
    item.size = item.body;
    if !item.tags.is_empty() {
        let row = item.tags.iter().map(|t| tag_width(t) + TAG_GAP).sum::<f64>() - TAG_GAP;
        item.size = point(item.body.x.max(row), item.body.y + TAG_GAP + TAG);
    }
}

/// Bold text is wider.
pub(super) const BOLD: f64 = 1.08;

/// Longest way from the inputs. Forward edges lead from earlier to later items.
fn ranks(flow: &Flow) -> Vec<usize> {
    let forward = || flow.edges.iter().filter(|e| !e.link.is_back());
    let mut into = vec![Vec::new(); flow.items.len()];
    forward().for_each(|e| into[e.to].push(e.from));
    let mut rank = vec![0; flow.items.len()];
    for to in 0..rank.len() {
        rank[to] = into[to].iter().map(|&from| rank[from] + 1).max().unwrap_or(0);
    }
    // What nothing leads to stands next to what reads it.
    for i in (0..rank.len()).filter(|&i| into[i].is_empty()) {
        let readers = forward().filter(|e| e.from == i).map(|e| rank[e.to]);
        rank[i] = readers.min().map_or(0, |r| r - 1);
    }
    rank
}

/// A box, or the way of a long edge past a rank.
struct Vertex {
    rank: usize,
    width: f64,
    x: f64,
    up: Vec<usize>,
    down: Vec<usize>,
    is_way: bool,
}

/// The items of a flow with long edges cut into pieces of one rank each.
struct Net {
    /// Items first, under their own numbers.
    vertices: Vec<Vertex>,
    /// Vertices from left to right.
    ranks: Vec<Vec<usize>>,
    /// For each edge, what it passes.
    ways: Vec<Vec<usize>>,
}

impl Net {
    fn new(flow: &Flow, rank: &[usize]) -> Self {
        let vertex = |rank, width, is_way| Vertex {
            rank,
            width,
            x: 0.0,
            up: Vec::new(),
            down: Vec::new(),
            is_way,
        };
        let items = flow.items.iter().zip(rank);
        let mut vertices: Vec<Vertex> =
            items.map(|(item, &rank)| vertex(rank, item.size.x, false)).collect();
        let mut ways = Vec::with_capacity(flow.edges.len());
        for edge in &flow.edges {
            let mut way = Vec::new();
            if !edge.link.is_back() {
                let mut last = edge.from;
                for r in rank[edge.from] + 1..rank[edge.to] {
                    vertices.push(vertex(r, WAY, true));
                    let new = vertices.len() - 1;
                    connect(&mut vertices, last, new);
                    way.push(new);
                    last = new;
                }
                connect(&mut vertices, last, edge.to);
            }
            ways.push(way);
        }
        let height = rank.iter().max().map_or(0, |r| r + 1);
        let mut ranks = vec![Vec::new(); height];
        for (i, v) in vertices.iter().enumerate() {
            ranks[v.rank].push(i);
        }
        Net { vertices, ranks, ways }
    }

    /// Sorts each rank by the mean place of what its vertices hang on, down and up in turn, and
    /// keeps the order with the fewest crossings.
    fn order(&mut self) {
        let mut best = self.ranks.clone();
        let mut fewest = self.crossings();
        for sweep in 0..8 {
            if fewest == 0 {
                break;
            }
            let mut place = vec![0.0; self.vertices.len()];
            for rank in &self.ranks {
                rank.iter().enumerate().for_each(|(i, &v)| place[v] = i as f64);
            }
            let down = sweep % 2 == 0;
            let height = self.ranks.len();
            for step in 0..height {
                let r = if down { step } else { height - 1 - step };
                let mean = |v: usize| {
                    let near = if down { &self.vertices[v].up } else { &self.vertices[v].down };
                    if near.is_empty() {
                        return place[v];
                    }
                    near.iter().map(|&n| place[n]).sum::<f64>() / near.len() as f64
                };
                let mut keyed: Vec<(f64, usize)> =
                    self.ranks[r].iter().map(|&v| (mean(v), v)).collect();
                keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
                self.ranks[r] = keyed.into_iter().map(|(_, v)| v).collect();
                self.ranks[r].iter().enumerate().for_each(|(i, &v)| place[v] = i as f64);
            }
            let crossings = self.crossings();
            if crossings < fewest {
                fewest = crossings;
                best.clone_from(&self.ranks);
            }
        }
        self.ranks = best;
    }

    fn crossings(&self) -> usize {
        let mut place = vec![0; self.vertices.len()];
        for rank in &self.ranks {
            rank.iter().enumerate().for_each(|(i, &v)| place[v] = i);
        }
        let mut count = 0;
        for rank in &self.ranks {
            // Ends of the edges below this rank by their starts: crossings are inversions.
            let mut seen: Vec<usize> = Vec::new();
            for &v in rank {
                let mut ends: Vec<usize> =
                    self.vertices[v].down.iter().map(|&d| place[d]).collect();
                ends.sort_unstable();
                for &end in &ends {
                    count += seen.len() - seen.partition_point(|&s| s <= end);
                }
                for end in ends {
                    seen.insert(seen.partition_point(|&s| s <= end), end);
                }
            }
        }
        count
    }

    /// Moves each vertex to the mean of its neighbours as far as the others of its rank let it.
    fn place(&mut self) {
        for r in 0..self.ranks.len() {
            let wish = vec![(0.0, 1.0); self.ranks[r].len()];
            self.spread(r, &wish);
        }
        let height = self.ranks.len();
        for sweep in 0..24 {
            for step in 0..height {
                let down = sweep % 2 == 0;
                let r = if down { step } else { height - 1 - step };
                let wish: Vec<(f64, f64)> = self.ranks[r]
                    .iter()
                    // The last rounds look both ways, for symmetry.
                    .map(|&v| self.wish(v, down || sweep > 15, !down || sweep > 15))
                    .collect();
                self.spread(r, &wish);
            }
        }
        self.straighten();
    }

    /// Takes out small bends: long edges become straight where there is room, and boxes stand
    /// exactly under what they almost stand under.
    fn straighten(&mut self) {
        let mut index = vec![0; self.vertices.len()];
        for rank in &self.ranks {
            rank.iter().enumerate().for_each(|(i, &v)| index[v] = i);
        }
        for _ in 0..2 {
            for r in 1..self.ranks.len() {
                for i in 0..self.ranks[r].len() {
                    let v = self.ranks[r][i];
                    let vertex = &self.vertices[v];
                    let near = vertex.up.iter().filter(|&&u| !self.vertices[u].is_way);
                    let Some(x) = near
                        .map(|&u| self.vertices[u].x)
                        .min_by(|a, b| (a - vertex.x).abs().total_cmp(&(b - vertex.x).abs()))
                    else {
                        continue;
                    };
                    let (low, high) = self.room(v, index[v]);
                    if !vertex.is_way && (x - vertex.x).abs() < 16.0 && low <= x && x <= high {
                        self.vertices[v].x = x;
                    }
                }
            }
            for way in 0..self.ways.len() {
                let way = self.ways[way].clone();
                let mut run = 0;
                let mut room = (f64::NEG_INFINITY, f64::INFINITY);
                for end in 0..=way.len() {
                    let next = way.get(end).map(|&v| self.room(v, index[v]));
                    let both = next.map(|n| (room.0.max(n.0), room.1.min(n.1)));
                    if let Some(both) = both.filter(|b| b.0 <= b.1) {
                        room = both;
                        continue;
                    }
                    let members = &way[run..end];
                    if !members.is_empty() {
                        let xs = members.iter().map(|&v| self.vertices[v].x);
                        let x = xs.sum::<f64>() / members.len() as f64;
                        let x = x.clamp(room.0, room.1);
                        members.iter().for_each(|&v| self.vertices[v].x = x);
                    }
                    run = end;
                    room = next.unwrap_or_default();
                }
            }
        }
    }

    /// How far a vertex can move without its neighbours.
    fn room(&self, v: usize, index: usize) -> (f64, f64) {
        let vertex = &self.vertices[v];
        let rank = &self.ranks[vertex.rank];
        let apart = |o: &Vertex| (o.width + vertex.width) / 2.0 + GAP.x;
        let left = index.checked_sub(1).map(|i| &self.vertices[rank[i]]);
        let right = rank.get(index + 1).map(|&o| &self.vertices[o]);
        // Rounding must not make the present place one that it cannot have.
        let low = left.map_or(f64::NEG_INFINITY, |o| (o.x + apart(o)).min(vertex.x));
        (low, right.map_or(f64::INFINITY, |o| (o.x - apart(o)).max(vertex.x)))
    }

    /// Where a vertex would stand, and how much it matters.
    fn wish(&self, v: usize, up: bool, down: bool) -> (f64, f64) {
        let vertex = &self.vertices[v];
        let near = vertex.up.iter().filter(|_| up).chain(vertex.down.iter().filter(|_| down));
        let (mut sum, mut weight) = (0.0, 0.0);
        for &n in near {
            let other = &self.vertices[n];
            // Long edges are to be straight above all.
            let w = match (vertex.is_way, other.is_way) {
                (true, true) => 8.0,
                (false, false) => 2.0,
                _ => 1.0,
            };
            sum += w * other.x;
            weight += w;
        }
        if weight == 0.0 { (vertex.x, 0.1) } else { (sum / weight, weight) }
    }

    /// The places nearest to the wished ones, by weighted least squares, that keep the order and
    /// the gaps: neighbours that get too near become a block.
    fn spread(&mut self, r: usize, wish: &[(f64, f64)]) {
        let rank = &self.ranks[r];
        let mut offsets = Vec::with_capacity(rank.len());
        let mut offset = 0.0;
        for (i, &v) in rank.iter().enumerate() {
            if i > 0 {
                let left = &self.vertices[rank[i - 1]];
                offset += (left.width + self.vertices[v].width) / 2.0 + GAP.x;
            }
            offsets.push(offset);
        }
        // Blocks: mean of wishes less offsets, weight, members.
        let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
        for (&(x, weight), offset) in wish.iter().zip(&offsets) {
            let mut block = (x - offset, weight, 1);
            while let Some(&last) = blocks.last().filter(|last| last.0 > block.0) {
                let weight = last.1 + block.1;
                let mean = (last.0 * last.1 + block.0 * block.1) / weight;
                block = (mean, weight, last.2 + block.2);
                blocks.pop();
            }
            blocks.push(block);
        }
        let places = blocks.iter().flat_map(|&(mean, _, n)| std::iter::repeat_n(mean, n));
        for ((&v, offset), mean) in rank.iter().zip(&offsets).zip(places) {
            self.vertices[v].x = mean + offset;
        }
    }
}

fn connect(vertices: &mut [Vertex], upper: usize, lower: usize) {
    vertices[upper].down.push(lower);
    vertices[lower].up.push(upper);
}

/// Writes places into the flow and lays the edges.
fn finish(flow: &mut Flow, rank: &[usize], net: &Net) {
    let sides = |v: &Vertex| (v.x - v.width / 2.0, v.x + v.width / 2.0);
    let left = net.vertices.iter().map(|v| sides(v).0).fold(f64::INFINITY, f64::min);
    let right = net.vertices.iter().map(|v| sides(v).1).fold(f64::NEG_INFINITY, f64::max);
    let backs: Vec<usize> =
        (0..flow.edges.len()).filter(|&e| flow.edges[e].link.is_back()).collect();
    // As much room at the left as lanes take at the right: the stream stays in the middle.
    let margin = if backs.is_empty() { 0.0 } else { LANE * (backs.len() as f64 + 1.0) };
    let shift = margin - left;

    // Gap `r` is above rank `r`; lanes turn into those where their edges begin and end.
    let height = net.ranks.len();
    let mut turns = vec![0usize; height + 1];
    let mut turn = vec![[0usize; 2]; flow.edges.len()];
    for &e in &backs {
        let edge = &flow.edges[e];
        for (which, gap) in [rank[edge.from] + 1, rank[edge.to]].into_iter().enumerate() {
            turn[e][which] = turns[gap];
            turns[gap] += 1;
        }
    }
    let mut tops = Vec::with_capacity(height);
    let mut bottoms = Vec::with_capacity(height);
    let mut y = 0.0;
    for (r, &turns) in turns[..height].iter().enumerate() {
        y += if r > 0 { GAP.y } else { 0.0 };
        y += match turns {
            0 => 0.0,
            n => 8.0 * n as f64 + 4.0,
        };
        let items = net.ranks[r].iter().filter_map(|&v| flow.items.get(v));
        let tall = items.map(|i| i.size.y).fold(0.0, f64::max);
        tops.push(y);
        y += tall;
        bottoms.push(y);
    }
    y += 12.0 * turns[height] as f64;
    flow.size = point(right - left + 2.0 * margin, y);

    for (i, item) in flow.items.iter_mut().enumerate() {
        let r = rank[i];
        let spare = bottoms[r] - tops[r] - item.size.y;
        item.at = point(net.vertices[i].x + shift, tops[r] + spare / 2.0);
    }
    let mut lane = right + shift;
    for (e, edge) in flow.edges.iter_mut().enumerate() {
        let (from, to) = (&flow.items[edge.from], &flow.items[edge.to]);
        let start = point(from.at.x, from.at.y + from.body.y);
        let (upper, lower) = (rank[edge.from], rank[edge.to]);
        if edge.link.is_back() {
            lane += LANE;
            let aside = if to.body.x > 40.0 { to.body.x / 4.0 } else { 0.0 };
            let end = point(to.at.x + aside, to.at.y);
            let out = bottoms[upper] + 8.0 * (turn[e][0] as f64 + 1.0);
            let back = tops[lower] - 4.0 - 8.0 * (turn[e][1] as f64 + 1.0);
            let corners =
                [point(start.x, out), point(lane, out), point(lane, back), point(end.x, back)];
            edge.path = [&[start], &corners[..], &[end]].concat();
            continue;
        }
        let mut path = vec![start, point(start.x, bottoms[upper])];
        for &w in &net.ways[e] {
            let v = &net.vertices[w];
            path.push(point(v.x + shift, tops[v.rank]));
            path.push(point(v.x + shift, bottoms[v.rank]));
        }
        path.push(point(to.at.x, tops[lower]));
        path.push(to.at);
        edge.path = path;
    }
}
