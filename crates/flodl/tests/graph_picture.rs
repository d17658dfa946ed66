//! Pictures of graphs: well-formed, nothing overlaps, text fits, arrows touch.

use std::collections::HashMap;

use flodl::*;

fn linear(n: i64) -> Linear {
    Linear::new(n, n).unwrap()
}

fn build(flow: FlowBuilder) -> Graph {
    flow.build().unwrap()
}

/// Adds what it is handed to its stream.
struct Sum;

impl Module for Sum {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        Ok(input.clone())
    }
    fn name(&self) -> &str {
        "Sum"
    }
    fn as_named_input(&self) -> Option<&dyn NamedInputModule> {
        Some(self)
    }
}

impl NamedInputModule for Sum {
    fn forward_named(&self, x: &Variable, refs: &HashMap<String, Variable>) -> Result<Variable> {
        refs.values().try_fold(x.clone(), |sum, r| sum.add(r))
    }
}

/// One of each kind, and a large one of all.
fn graphs() -> Vec<(&'static str, Graph)> {
    let block = |label: &str| {
        build(FlowBuilder::from(linear(4)).tag("hidden").through(GELU).also(linear(4)).label(label))
    };
    let chain = FlowBuilder::from(linear(4)).through(ReLU).tag("h").through(linear(4));
    let residual = FlowBuilder::from(linear(4)).also(linear(4)).also_with(linear(4), linear(4));
    let split = FlowBuilder::from(linear(4))
        .split(modules![ReLU, linear(4), block("inner"), Tanh])
        .tag_group("head")
        .merge(MergeOp::Mean)
        .split(modules![ReLU, GELU])
        .merge(MergeOp::Cat(1));
    let nested = FlowBuilder::from(block("encoder"))
        .through(build(FlowBuilder::from(block("deep")).through(linear(4)).label("decoder")))
        .tag("out");
    let loops = FlowBuilder::from(linear(4))
        .loop_body(block("step"))
        .for_n(5)
        .loop_body(linear(4))
        .while_cond(ThresholdHalt::new(3.0), 10)
        .loop_body(block("refine"))
        .until_cond(LearnedHalt::new(4).unwrap(), 7)
        .tag("end");
    let routes = FlowBuilder::from(linear(4))
        .tag("x")
        .gate(SoftmaxRouter::new(4, 3).unwrap(), modules![linear(4), block("expert"), ReLU])
        .using(&["x"])
        .switch(ArgmaxSelector::new(4, 2).unwrap(), modules![linear(4), GELU])
        .map(linear(2))
        .slices(2);
    let forward_reference = FlowBuilder::from(linear(4))
        .through(StateAdd)
        .using(&["memory"])
        .through(linear(4))
        .tag("early")
        .through(ReLU)
        .through(Sum)
        .using(&["early", "later"])
        .tag("memory")
        .through(linear(4))
        .tag("later");
    let all = FlowBuilder::from(linear(4))
        .input(&["context"])
        .through(Sum)
        .using(&["context"])
        .tag("first")
        .fork(linear(4))
        .tag("aside")
        .through(StateAdd)
        .using(&["state"])
        .loop_body(block("step"))
        .for_n(3)
        .gate(SigmoidRouter::new(4, 2).unwrap(), modules![block("a"), linear(4)])
        .split(modules![linear(4), block("b"), ReLU])
        .merge(MergeOp::Add)
        .also_with(linear(4), block("c"))
        .through(Sum)
        .using(&["first", "aside"])
        .tag("state")
        .through(LayerNorm::new(4).unwrap())
        .label("everything <&> \"all\"");
    vec![
        ("chain", build(chain)),
        ("residual", build(residual)),
        ("split", build(split)),
        ("nested", build(nested)),
        ("loops", build(loops)),
        ("routes", build(routes)),
        ("forward_reference", build(forward_reference)),
        ("all", build(all)),
    ]
}

/// A piece of XML: name, attributes, text, children.
#[derive(Debug, Default)]
struct Xml {
    name: String,
    attributes: HashMap<String, String>,
    text: String,
    children: Vec<Xml>,
}

impl Xml {
    fn number(&self, name: &str) -> f64 {
        self.attributes[name].parse().unwrap()
    }

    fn class(&self) -> &str {
        self.attributes.get("class").map_or("", |s| s)
    }

    fn all<'a>(&'a self, f: &mut dyn FnMut(&'a Xml)) {
        f(self);
        self.children.iter().for_each(|c| c.all(f));
    }
}

fn unescape(text: &str) -> String {
    for part in text.split('&').skip(1) {
        let known = ["amp;", "lt;", "gt;", "quot;"].iter().any(|e| part.starts_with(e));
        assert!(known, "a bare & in {text:?}");
    }
    assert!(!text.contains('<'));
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

/// Reads XML of elements, attributes in double quotes and text; panics on anything else.
fn parse(xml: &str) -> Xml {
    let mut stack = vec![Xml::default()];
    let mut rest = xml.trim();
    while !rest.is_empty() {
        let (text, after) = rest.split_once('<').expect("text after the end");
        stack.last_mut().unwrap().text.push_str(unescape(text).trim());
        let (tag, after) = after.split_once('>').expect("an open tag");
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            let done = stack.pop().unwrap();
            assert_eq!(done.name, name, "closed in the wrong order");
            stack.last_mut().expect("closed too often").children.push(done);
            continue;
        }
        let (tag, empty) = tag.strip_suffix('/').map_or((tag, false), |t| (t, true));
        let (name, mut list) = tag.split_once(' ').unwrap_or((tag, ""));
        let mut element = Xml { name: name.into(), ..Xml::default() };
        while let Some((key, value)) = list.split_once("=\"") {
            let (value, after) = value.split_once('"').expect("an open quote");
            let old = element.attributes.insert(key.trim().into(), unescape(value));
            assert!(old.is_none(), "{key} twice");
            list = after;
        }
        assert!(list.trim().is_empty(), "left over: {list:?}");
        stack.push(element);
        if empty {
            let done = stack.pop().unwrap();
            stack.last_mut().unwrap().children.push(done);
        }
    }
    let mut root = stack.pop().unwrap();
    assert!(stack.is_empty() && root.children.len() == 1, "not one element");
    root.children.pop().unwrap()
}

#[derive(Clone, Copy, Debug)]
struct Rect {
    x: f64,
    y: f64,
    w: f64,
    h: f64,
}

impl Rect {
    fn of(xml: &Xml) -> Rect {
        let [x, y, w, h] = ["x", "y", "width", "height"].map(|n| xml.number(n));
        Rect { x, y, w, h }
    }

    fn overlaps(&self, other: &Rect) -> bool {
        let apart = |a: f64, n: f64, b: f64, m: f64| a + n <= b + 0.11 || b + m <= a + 0.11;
        !apart(self.x, self.w, other.x, other.w) && !apart(self.y, self.h, other.y, other.h)
    }

    fn contains(&self, other: &Rect) -> bool {
        let inside = |a: f64, n: f64, b: f64, m: f64| a - 0.11 <= b && b + m <= a + n + 0.11;
        inside(self.x, self.w, other.x, other.w) && inside(self.y, self.h, other.y, other.h)
    }

    /// Whether a point is on the upper or lower edge.
    fn touches(&self, x: f64, y: f64) -> bool {
        let level = (y - self.y).abs() < 0.11 || (y - self.y - self.h).abs() < 0.11;
        level && self.x - 0.11 <= x && x <= self.x + self.w + 0.11
    }
}

/// What a text takes up when drawn in the middle of its place, going by Helvetica.
fn extent(text: &Xml) -> Rect {
    let (x, y, size) = (text.number("x"), text.number("y"), text.number("font-size"));
    let em = |c: char| match c {
        'i' | 'l' | 'j' | ' ' | '.' | ',' => 0.28,
        'm' | 'w' | 'M' | 'W' => 0.9,
        'A'..='Z' => 0.7,
        _ => 0.56,
    };
    let w = text.text.chars().map(em).sum::<f64>() * size;
    Rect { x: x - w / 2.0, y: y - 0.8 * size, w, h: size }
}

fn ends(path: &str) -> [(f64, f64); 2] {
    let numbers: Vec<f64> = path
        .split(|c: char| c.is_ascii_alphabetic() || c == ' ')
        .filter(|s| !s.is_empty())
        .map(|s| s.parse().unwrap())
        .collect();
    [(numbers[0], numbers[1]), (numbers[numbers.len() - 2], numbers[numbers.len() - 1])]
}

/// Checks a picture and returns its boxes with their kinds, by id.
fn check(name: &str, svg: &str) -> HashMap<String, (String, Rect)> {
    let xml = parse(svg);
    let paper = Rect { x: 0.0, y: 0.0, w: xml.number("width"), h: xml.number("height") };
    let mut boxes: HashMap<String, (String, Rect)> = HashMap::new();
    let mut solid: Vec<Rect> = Vec::new();
    xml.all(&mut |e| {
        if e.class().starts_with("node") {
            let rect = Rect::of(&e.children[0]);
            let kind = e.class().trim_start_matches("node ").to_owned();
            let id = e.attributes["data-id"].clone();
            if kind != "cluster" {
                solid.push(rect);
            }
            assert!(paper.contains(&rect), "{name}: {id} is off the paper");
            let inside = |c: &Xml| {
                let place = match c.name.as_str() {
                    "text" => extent(c),
                    "g" if !c.class().is_empty() && c.class() != "tag" => Rect::of(&c.children[0]),
                    _ => return,
                };
                assert!(rect.contains(&place), "{name}: {:?} leaves {id}", c.text);
            };
            e.children.iter().for_each(inside);
            assert!(
                boxes.insert(id.clone(), (kind, rect)).is_none(),
                "{name}: {id} is there twice"
            );
        }
        if e.class() == "tag" {
            let rect = Rect::of(&e.children[0]);
            assert!(rect.contains(&extent(&e.children[1])), "{name}: {:?}", e.children[1].text);
            assert!(paper.contains(&rect));
            solid.push(rect);
        }
    });
    for (i, a) in solid.iter().enumerate() {
        for b in &solid[i + 1..] {
            assert!(!a.overlaps(b), "{name}: {a:?} overlaps {b:?}");
        }
    }
    let mut edges = 0;
    xml.all(&mut |e| {
        if e.class().starts_with("edge") {
            let [start, end] = ends(&e.attributes["d"]);
            for (at, id) in [(start, "data-from"), (end, "data-to")] {
                let id = &e.attributes[id];
                let (_, rect) = boxes.get(id).unwrap_or_else(|| panic!("{name}: no box {id}"));
                assert!(rect.touches(at.0, at.1), "{name}: {at:?} does not touch {id} {rect:?}");
            }
            edges += 1;
        }
    });
    assert!(edges > 0, "{name}: no arrows");
    boxes
}

fn leaves(info: &GraphInfo) -> usize {
    let parts = info.nodes.iter().flat_map(|n| &n.parts);
    parts.map(|p| p.graph.as_ref().map_or(1, leaves)).sum()
}

#[test]
fn pictures_are_sound() {
    for (name, graph) in graphs() {
        let path = format!("{}/{name}.svg", env!("CARGO_TARGET_TMPDIR"));
        let svg = String::from_utf8(graph.svg(Some(&path)).unwrap()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), svg);
        assert_eq!(
            svg,
            String::from_utf8(graph.svg(None).unwrap()).unwrap(),
            "{name}: not the same twice"
        );
        let boxes = check(name, &svg);
        let drawn = boxes.values().filter(|(kind, _)| kind == "leaf").count();
        assert_eq!(drawn, leaves(&graph.describe()), "{name}: one box for each module");
        for tag in graph.tag_names().iter().filter(|t| *t != "context") {
            assert!(svg.contains(&format!(">{tag}</text>")), "{name}: no {tag}");
        }
    }
}

#[test]
fn times_are_shown() {
    for (name, graph) in graphs() {
        graph.enable_profiling();
        let x = Variable::new(Tensor::ones(&[2, 4], TensorOptions::default()).unwrap(), false);
        let inputs = if name == "all" { vec![x.clone(), x] } else { vec![x] };
        graph.forward_multi(&inputs).unwrap();
        let path = format!("{}/{name}_times.svg", env!("CARGO_TARGET_TMPDIR"));
        let svg = String::from_utf8(graph.svg_with_profile(Some(&path)).unwrap()).unwrap();
        check(name, &svg);
        assert!(svg.contains("time: 0") && svg.contains("µs</text>"), "{name}");
        assert!(graph.dot_with_profile().contains("µs"), "{name}");
    }
}

#[test]
fn a_picture_needs_no_forward_and_says_what_fails() {
    let graph = build(FlowBuilder::from(ReLU));
    check("one", std::str::from_utf8(&graph.svg(None).unwrap()).unwrap());
    check("no times", std::str::from_utf8(&graph.svg_with_profile(None).unwrap()).unwrap());
    let error = graph.svg(Some("/no/such/dir/x.svg")).unwrap_err().to_string();
    assert!(error.contains("/no/such/dir/x.svg"), "{error}");
}

#[test]
fn large_graphs_are_quick() {
    let mut flow = FlowBuilder::from(linear(2));
    for i in 0..40 {
        flow = flow
            .split(modules![ReLU, linear(2), Tanh])
            .merge(MergeOp::Add)
            .tag(&format!("t{i}"))
            .through(Sum);
        if i > 2 {
            flow = flow.using(&[&format!("t{}", i - 3)]);
        }
    }
    let wide: Vec<Box<dyn Module>> = (0..60).map(|_| Box::new(ReLU) as Box<dyn Module>).collect();
    let graph = build(flow.split(wide).merge(MergeOp::Mean));
    assert!(graph.describe().nodes.len() > 250);
    let start = std::time::Instant::now();
    let svg = graph.svg(None).unwrap();
    let took = start.elapsed();
    check("large", std::str::from_utf8(&svg).unwrap());
    assert!(took.as_millis() < 800, "{took:?}");
}

#[test]
fn text_for_graphviz() {
    for (name, graph) in graphs() {
        let dot = graph.dot();
        assert!(dot.starts_with("digraph \"") && dot.ends_with("}\n"), "{name}");
        assert_eq!(dot.matches('{').count(), dot.matches('}').count(), "{name}");
        assert_eq!(dot.replace("\\\"", "").matches('"').count() % 2, 0, "{name}");
        let xml = String::from_utf8(graph.svg(None).unwrap()).unwrap();
        assert_eq!(dot.matches(" -> ").count(), xml.matches("class=\"edge").count(), "{name}");
    }
    let dot = build(FlowBuilder::from(linear(4)).tag("h").through(ReLU)).dot();
    let wanted = "  \"0\" -> \"1\" [label=\"h\"];\n";
    assert!(dot.contains(wanted) && dot.contains("label=\"Linear\\n20 parameters\""), "{dot}");
}
