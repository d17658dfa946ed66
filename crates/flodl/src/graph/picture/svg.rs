//! A laid-out sketch as SVG text.

use std::fmt::Write;
use std::time::Duration;

use super::layout::{BOLD, CAPTION, LINE, Point, SMALL, TAG, TAG_GAP, TITLE, point, tag_width};
use super::sketch::{Flow, Item, Link, Shape, Tint};
use super::text;
use crate::graph::export::escape;
use crate::graph::timing::short;

const FONT: &str = "Helvetica, Arial, 'DejaVu Sans', sans-serif";
const INK: &str = "#1f2937";
const FAINT: &str = "#6b7280";
/// From the picture's border to what is drawn.
const MARGIN: f64 = 20.0;

struct Svg {
    text: String,
    /// The longest time, when nodes are coloured by theirs.
    longest: Option<Duration>,
}

pub(super) fn render(flow: &Flow, title: &str, longest: Option<Duration>) -> String {
    let notes = notes(flow, longest);
    let head = if title.is_empty() { 0.0 } else { 30.0 };
    let foot = 20.0 * notes.len() as f64 + if notes.is_empty() { 0.0 } else { 12.0 };
    let wide = notes.iter().map(|n| n.width()).fold(text::width(title, 15.0) * BOLD, f64::max);
    let inner = wide.max(flow.size.x);
    let size = point(inner + 2.0 * MARGIN, flow.size.y + head + foot + 2.0 * MARGIN);
    let mut svg = Svg { text: String::new(), longest };
    svg.open(size, title);
    if !title.is_empty() {
        svg.line(title, point(size.x / 2.0, MARGIN + 14.0), 15.0, INK, "bold");
    }
    let corner = point(MARGIN + (inner - flow.size.x) / 2.0, MARGIN + head);
    svg.flow(flow, corner);
    let mut y = MARGIN + head + flow.size.y + 24.0;
    for note in notes {
        svg.note(&note, point(MARGIN, y));
        y += 20.0;
    }
    svg.text.push_str("</svg>\n");
    svg.text
}

/// A line of the legend.
enum Note {
    Edge(Link, &'static str),
    Heat(Duration),
}

impl Note {
    fn width(&self) -> f64 {
        match self {
            Note::Edge(_, words) => 36.0 + text::width(words, SMALL),
            Note::Heat(longest) => 140.0 + text::width(&short(longest.as_secs_f64()), SMALL) + 60.0,
        }
    }
}

fn notes(flow: &Flow, longest: Option<Duration>) -> Vec<Note> {
    let mut notes = Vec::new();
    for (link, words) in [
        (Link::Reference, "named value, or a choice"),
        (Link::Carried, "carried to the next forward"),
        (Link::Repeat, "next iteration"),
    ] {
        if has(flow, link) {
            notes.push(Note::Edge(link, words));
        }
    }
    notes.extend(longest.map(Note::Heat));
    notes
}

fn has(flow: &Flow, link: Link) -> bool {
    flow.edges.iter().any(|e| e.link == link)
        || flow.items.iter().any(|i| matches!(&i.shape, Shape::Cluster(f) if has(f, link)))
}

/// Whether something in a flow has a time.
fn timed(flow: &Flow) -> bool {
    flow.items
        .iter()
        .any(|i| i.time.is_some() || matches!(&i.shape, Shape::Cluster(inner) if timed(inner)))
}

/// Colour and dashes of an edge.
fn stroke(link: Link) -> (&'static str, &'static str, &'static str) {
    match link {
        Link::Stream => ("stream", "#475569", ""),
        Link::Reference => ("reference", "#7c3aed", ""),
        Link::Carried => ("carried", "#c2410c", " stroke-dasharray=\"5 4\""),
        Link::Repeat => ("repeat", "#0f766e", " stroke-dasharray=\"2 3\""),
    }
}

const LINKS: [Link; 4] = [Link::Stream, Link::Reference, Link::Carried, Link::Repeat];

/// Inside and border of a box.
fn fill(tint: Tint) -> (&'static str, &'static str) {
    match tint {
        Tint::Plain => ("#f3f4f6", "#9ca3af"),
        Tint::Dense => ("#dbeafe", "#3b82f6"),
        Tint::Convolution => ("#dcfce7", "#22a355"),
        Tint::Norm => ("#fef9c3", "#ca8a04"),
        Tint::Recurrent => ("#f3e8ff", "#a855f7"),
        Tint::Attention => ("#fce7f3", "#db2777"),
        Tint::Route => ("#ffedd5", "#ea7317"),
        Tint::Port => ("#e2e8f0", "#64748b"),
    }
}

/// White to red by the share of the longest time.
fn heat(share: f64) -> String {
    let share = share.clamp(0.0, 1.0);
    let stops = [(255.0, 255.0, 255.0), (254.0, 215.0, 140.0), (248.0, 113.0, 93.0)];
    let (from, to, t) = if share < 0.5 {
        (stops[0], stops[1], 2.0 * share)
    } else {
        (stops[1], stops[2], 2.0 * share - 1.0)
    };
    let mix = |a: f64, b: f64| (a + (b - a) * t).round() as u8;
    format!("#{:02x}{:02x}{:02x}", mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2))
}

impl Svg {
    fn add(&mut self, args: std::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = self.text.write_fmt(args);
        self.text.push('\n');
    }

    fn open(&mut self, size: Point, title: &str) {
        let (w, h) = (size.x.ceil(), size.y.ceil());
        self.add(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 \
             {w} {h}\" font-family=\"{FONT}\" role=\"img\">"
        ));
        let title = if title.is_empty() { "graph" } else { title };
        self.add(format_args!("<title>{}</title>\n<defs>", escape(title)));
        for link in LINKS {
            let (name, colour, _) = stroke(link);
            self.add(format_args!(
                "<marker id=\"{name}\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" \
                 markerWidth=\"7\" markerHeight=\"7\" markerUnits=\"userSpaceOnUse\" \
                 orient=\"auto\"><path d=\"M0 0.5L8 4L0 7.5z\" fill=\"{colour}\"/></marker>"
            ));
        }
        self.add(format_args!("</defs>"));
        self.add(format_args!(
            "<rect class=\"paper\" width=\"{w}\" height=\"{h}\" rx=\"8\" fill=\"#ffffff\"/>"
        ));
    }

    fn line(&mut self, text: &str, at: Point, size: f64, colour: &str, weight: &str) {
        let weight = if weight == "bold" { " font-weight=\"bold\"" } else { "" };
        self.add(format_args!(
            "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"{size}\" fill=\"{colour}\" \
             text-anchor=\"middle\"{weight}>{}</text>",
            at.x,
            at.y,
            escape(text)
        ));
    }

    fn flow(&mut self, flow: &Flow, corner: Point) {
        for edge in &flow.edges {
            let path: Vec<Point> =
                edge.path.iter().map(|p| point(p.x + corner.x, p.y + corner.y)).collect();
            let d = if edge.link.is_back() { corners(&path) } else { curve(&path) };
            let (name, colour, dashes) = stroke(edge.link);
            let (from, to) = (&flow.items[edge.from].id, &flow.items[edge.to].id);
            self.add(format_args!(
                "<path class=\"edge {name}\" data-from=\"{}\" data-to=\"{}\" d=\"{d}\" \
                 fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.4\"{dashes} \
                 marker-end=\"url(#{name})\"/>",
                escape(from),
                escape(to)
            ));
        }
        for item in &flow.items {
            self.item(item, point(item.at.x + corner.x, item.at.y + corner.y));
        }
    }

    /// Fill, border and its width of a box.
    fn paint(&self, item: &Item) -> (String, &'static str) {
        let (inside, border) = fill(item.tint);
        match (self.longest, item.time) {
            (Some(longest), Some(time)) => {
                let share = time.as_secs_f64() / longest.as_secs_f64().max(1e-12);
                (heat(share), "#9a6b4f")
            }
            (Some(_), None) if matches!(item.shape, Shape::Leaf) => ("#f8fafc".into(), "#cbd5e1"),
            _ => (inside.into(), border),
        }
    }

    fn item(&mut self, item: &Item, top: Point) {
        let (inside, border) = self.paint(item);
        let kind = match item.shape {
            Shape::Leaf => "leaf",
            Shape::Pill => "pill",
            Shape::Circle => "circle",
            Shape::Dot => "dot",
            Shape::Cluster(_) => "cluster",
        };
        let (w, h) = (item.body.x, item.body.y);
        let x = top.x - w / 2.0;
        let radius = match item.shape {
            Shape::Leaf => 5.0,
            Shape::Cluster(_) => 10.0,
            _ => h / 2.0,
        };
        self.add(format_args!("<g class=\"node {kind}\" data-id=\"{}\">", escape(&item.id)));
        let inside = match &item.shape {
            // A box around others has a colour of its own when they have none.
            Shape::Cluster(flow)
                if self.longest.is_some() && item.time.is_some() && !timed(flow) =>
            {
                format!("{inside}\" fill-opacity=\"0.5")
            }
            Shape::Cluster(_) => "#94a3b8\" fill-opacity=\"0.09".to_owned(),
            Shape::Dot => border.to_owned(),
            _ => inside,
        };
        self.add(format_args!(
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" rx=\"{radius:.1}\" \
             fill=\"{inside}\" stroke=\"{border}\"/>",
            top.y
        ));
        match &item.shape {
            Shape::Dot => {}
            Shape::Circle => {
                self.line(&item.title, point(top.x, top.y + h / 2.0 + 5.5), 16.0, INK, "bold");
            }
            Shape::Pill => {
                self.line(&item.title, point(top.x, top.y + h / 2.0 + 4.0), SMALL, INK, "");
            }
            Shape::Leaf => self.words(item, point(top.x, top.y + 20.0)),
            Shape::Cluster(inner) => {
                self.words(item, point(top.x, top.y + 18.0));
                let above = CAPTION + LINE * item.lines.len() as f64;
                self.flow(inner, point(top.x - inner.size.x / 2.0, top.y + above));
            }
        }
        self.tags(item, point(top.x, top.y + h + TAG_GAP));
        self.text.push_str("</g>\n");
    }

    fn words(&mut self, item: &Item, mut at: Point) {
        self.line(&item.title, at, TITLE, INK, "bold");
        // Faint words do not show on warm colours.
        let hot = self.longest.is_some() && matches!(item.shape, Shape::Leaf);
        for line in &item.lines {
            at.y += LINE;
            self.line(line, at, SMALL, if hot { INK } else { FAINT }, "");
        }
    }

    fn tags(&mut self, item: &Item, top: Point) {
        let row = item.tags.iter().map(|t| tag_width(t) + TAG_GAP).sum::<f64>() - TAG_GAP;
        let mut x = top.x - row / 2.0;
        for tag in &item.tags {
            let w = tag_width(tag);
            self.add(format_args!(
                "<g class=\"tag\"><rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{w:.1}\" \
                 height=\"{TAG}\" rx=\"8\" fill=\"#ffffff\" stroke=\"#7c3aed\"/>",
                top.y
            ));
            self.line(tag, point(x + w / 2.0, top.y + 12.0), SMALL, "#6d28d9", "");
            self.text.push_str("</g>\n");
            x += w + TAG_GAP;
        }
    }

    fn note(&mut self, note: &Note, at: Point) {
        let words = |svg: &mut Svg, x: f64, text: &str| {
            svg.add(format_args!(
                "<text x=\"{x:.1}\" y=\"{:.1}\" font-size=\"{SMALL}\" fill=\"{FAINT}\">{}</text>",
                at.y + 4.0,
                escape(text)
            ));
        };
        match note {
            Note::Edge(link, text) => {
                let (name, colour, dashes) = stroke(*link);
                self.add(format_args!(
                    "<path d=\"M{:.1} {y:.1}H{:.1}\" stroke=\"{colour}\" stroke-width=\"1.4\"\
                     {dashes} marker-end=\"url(#{name})\"/>",
                    at.x,
                    at.x + 28.0,
                    y = at.y
                ));
                words(self, at.x + 36.0, text);
            }
            Note::Heat(longest) => {
                words(self, at.x, "time: 0");
                for i in 0..20 {
                    self.add(format_args!(
                        "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"5.2\" height=\"10\" fill=\"{}\"/>",
                        at.x + 52.0 + 5.0 * f64::from(i),
                        at.y - 5.0,
                        heat(f64::from(i) / 19.0)
                    ));
                }
                words(self, at.x + 160.0, &short(longest.as_secs_f64()));
            }
        }
    }
}

/// Straight past ranks, curved between them.
fn curve(path: &[Point]) -> String {
    let mut d = format!("M{:.1} {:.1}", path[0].x, path[0].y);
    for (i, p) in path.iter().enumerate().skip(1) {
        let last = path[i - 1];
        // A piece of no length has no direction for the arrowhead.
        if last == *p {
            continue;
        }
        // Straight pieces and curves take turns; a curve between equal x is straight as well.
        if i % 2 == 1 || (last.x - p.x).abs() < 0.05 {
            let _ = write!(d, "L{:.1} {:.1}", p.x, p.y);
        } else {
            let middle = (last.y + p.y) / 2.0;
            let _ = write!(
                d,
                "C{:.1} {middle:.1} {:.1} {middle:.1} {:.1} {:.1}",
                last.x, p.x, p.x, p.y
            );
        }
    }
    d
}

/// Straight with rounded corners.
fn corners(path: &[Point]) -> String {
    let mut d = format!("M{:.1} {:.1}", path[0].x, path[0].y);
    for w in path.windows(3) {
        let toward = |from: Point, to: Point| {
            let (dx, dy) = (to.x - from.x, to.y - from.y);
            let long = dx.hypot(dy).max(1e-9);
            let step = 5.0f64.min(long / 2.0);
            point(from.x + dx / long * step, from.y + dy / long * step)
        };
        let (enter, leave) = (toward(w[1], w[0]), toward(w[1], w[2]));
        let _ = write!(
            d,
            "L{:.1} {:.1}Q{:.1} {:.1} {:.1} {:.1}",
            enter.x, enter.y, w[1].x, w[1].y, leave.x, leave.y
        );
    }
    let end = path[path.len() - 1];
    let _ = write!(d, "L{:.1} {:.1}", end.x, end.y);
    d
}
