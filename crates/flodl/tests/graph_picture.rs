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
fn merges_are_coloured_by_their_time() {
    let graph =
        build(FlowBuilder::from(linear(4)).split(modules![linear(4), Tanh]).merge(MergeOp::Add));
    let fill = |picture: &[u8]| {
        let mut fills = Vec::new();
        parse(std::str::from_utf8(picture).unwrap()).all(&mut |e| {
            if e.class() == "node circle" {
                fills.push(e.children[0].attributes["fill"].clone());
            }
        });
        assert_eq!(fills.len(), 1);
        fills.remove(0)
    };
    graph.enable_profiling();
    let x = Tensor::ones(&[2, 4], TensorOptions::default()).unwrap();
    graph.forward(&Variable::new(x, false)).unwrap();
    let [plain, timed] = [graph.svg(None), graph.svg_with_profile(None)].map(|p| fill(&p.unwrap()));
    assert_ne!(plain, timed);
}

/// Every module that ran has a time of its own: router and experts of a gate, both ways of a shortcut.
#[test]
fn parts_have_times() {
    let graph = build(
        FlowBuilder::from(linear(4))
            .gate(
                SoftmaxRouter::new(4, 2).unwrap(),
                modules![linear(4), build(FlowBuilder::from(linear(4)).through(Tanh))],
            )
            .also_with(linear(4), linear(4))
            .switch(FixedSelector::new(1), modules![linear(4), Tanh]),
    );
    let timed = |graph: &Graph| {
        let parts = graph.describe().nodes.into_iter().flat_map(|n| n.parts);
        parts.map(|p| p.time.is_some()).collect::<Vec<_>>()
    };
    assert!(!timed(&graph).contains(&true), "times before a forward");
    graph.enable_profiling();
    let x = Tensor::ones(&[2, 4], TensorOptions::default()).unwrap();
    graph.forward(&Variable::new(x, false)).unwrap();
    let [start, gate, shortcut, switch] =
        [vec![true], vec![true; 3], vec![true; 2], vec![true, false, true]];
    assert_eq!(timed(&graph), [start, gate, shortcut, switch].concat());
    for node in graph.describe().nodes {
        let parts: std::time::Duration = node.parts.iter().filter_map(|p| p.time).sum();
        assert!(parts <= node.time.unwrap(), "{}: parts take longer than the node", node.id);
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
    assert!(
        dot.contains(wanted) && dot.contains("label=\"Linear\\n20 parameters\\n4 → 4\""),
        "{dot}"
    );
}

/// Texts of a picture's node, tags left out.
fn texts(svg: &str, id: &str) -> Vec<String> {
    let xml = parse(svg);
    let mut found = None;
    xml.all(&mut |e| {
        if e.class().starts_with("node") && e.attributes["data-id"] == id {
            let texts = e.children.iter().filter(|c| c.name == "text");
            found = Some(texts.map(|c| c.text.clone()).collect());
        }
    });
    found.unwrap_or_else(|| panic!("no node {id}"))
}

fn svg(graph: &Graph) -> String {
    String::from_utf8(graph.svg(None).unwrap()).unwrap()
}

/// Number of arrows of each kind: stream, reference, carried, repeat.
fn arrows(svg: &str) -> [usize; 4] {
    ["stream", "reference", "carried", "repeat"]
        .map(|kind| svg.matches(&format!("class=\"edge {kind}\"")).count())
}

fn graph(name: &str) -> Graph {
    graphs().into_iter().find(|(n, _)| *n == name).unwrap().1
}

#[test]
fn graphs_inside_are_boxes_around_their_nodes() {
    let nested = graph("nested");
    let picture = svg(&nested);
    let boxes = check("nested", &picture);
    for (outer, inner) in [
        ("encoder", &["encoder.0", "encoder.1", "encoder.2"][..]),
        ("decoder", &["decoder.deep", "decoder.1"]),
        ("decoder.deep", &["decoder.deep.0", "decoder.deep.2"]),
    ] {
        let (kind, rect) = &boxes[outer];
        assert_eq!(kind, "cluster", "{outer}");
        for id in inner {
            assert!(rect.contains(&boxes[*id].1), "{id} is not inside {outer}");
        }
    }
    assert!(!boxes["encoder"].1.overlaps(&boxes["decoder"].1));
    assert_eq!(texts(&picture, "encoder"), ["encoder", "40 parameters"]);
    assert_eq!(texts(&picture, "decoder.deep.1"), ["GELU"]);
    let dot = nested.dot();
    for cluster in ["encoder", "decoder", "decoder.deep"] {
        assert!(dot.contains(&format!("subgraph \"cluster_{cluster}\" {{")), "{dot}");
    }
    assert!(dot.contains("ltail=\"cluster_encoder\"") && dot.contains("lhead=\"cluster_decoder\""));
    // The inner one's text stands inside the outer one's.
    let inside = dot.split("subgraph \"cluster_decoder\" {").nth(1).unwrap();
    assert!(inside.split("\n  }").next().unwrap().contains("cluster_decoder.deep"));
}

#[test]
fn loops_branches_and_carried_values_are_recognisable() {
    let loops = svg(&graph("loops"));
    assert_eq!(arrows(&loops)[3], 3, "one way back for each loop");
    for word in ["loop × 5", "loop while, at most 10", "loop until, at most 7", "next iteration"] {
        assert!(loops.contains(word), "{word}");
    }
    assert_eq!(texts(&loops, "3"), ["ThresholdHalt", "condition"]);
    let dot = graph("loops").dot();
    assert_eq!(dot.matches("style=dotted").count(), 3);

    let routes = svg(&graph("routes"));
    for word in ["weighted sum", "the selected", "map: 2 slices", "named value, or a choice"] {
        assert!(routes.contains(word), "{word}");
    }
    assert_eq!(texts(&routes, "1")[..2], ["SoftmaxRouter", "router"]);
    assert_eq!(texts(&routes, "5")[..2], ["ArgmaxSelector", "selector"]);
    let boxes = check("routes", &routes);
    for (cluster, inside) in [("1.gate", ["1", "2", "4"]), ("5.switch", ["5", "6", "7"])] {
        let (kind, rect) = &boxes[cluster];
        assert_eq!(kind, "cluster");
        assert!(inside.iter().all(|id| rect.contains(&boxes[*id].1)), "{cluster}");
    }
    // One from the tag to the router, and one from each router to where the choice is made.
    assert_eq!(arrows(&routes)[1..], [3, 0, 0]);

    let carried = svg(&graph("forward_reference"));
    assert_eq!(arrows(&carried)[1..], [1, 2, 0]);
    assert!(carried.contains("carried to the next forward"));
    assert!(graph("forward_reference").dot().matches("style=dashed").count() == 2);
    assert_eq!(arrows(&svg(&graph("chain")))[1..], [0, 0, 0]);
}

#[test]
fn nodes_show_parameters_and_shapes() {
    let conv = Conv2d::configure(3, 8, [3, 5]).done().unwrap();
    let flow = FlowBuilder::from(conv)
        .through(ConvTranspose2d::configure(8, 4, 2).done().unwrap())
        .through(Flatten::new(1, -1))
        .through(Linear::no_bias(4 * 25, 6).unwrap())
        .gate(SoftmaxRouter::new(6, 2).unwrap(), modules![Linear::new(6, 6).unwrap(), ReLU])
        .loop_body(build(FlowBuilder::from(linear(6)).tag("h").label("step")))
        .for_n(2);
    let model = build(flow);
    model.freeze("step").unwrap();
    // Sizes of layers until shapes were seen.
    let before = svg(&model);
    check("sizes", &before);
    assert_eq!(texts(&before, "0"), ["Conv2d", "368 parameters", "3 → 8, 3×5"]);
    assert_eq!(texts(&before, "1"), ["ConvTranspose2d", "132 parameters", "8 → 4, 2×2"]);
    assert_eq!(texts(&before, "2"), ["Flatten"]);
    assert_eq!(texts(&before, "3"), ["Linear", "600 parameters", "100 → 6"]);
    assert_eq!(texts(&before, "step.0"), ["Linear", "42 parameters, frozen", "6 → 6"]);
    let x = Tensor::zeros(&[7, 3, 6, 8], TensorOptions::default()).unwrap();
    model.watch(&[Variable::new(x, false)]).unwrap();
    let after = svg(&model);
    check("shapes", &after);
    assert_eq!(texts(&after, "0"), ["Conv2d", "368 parameters", "[7, 8, 4, 4]"]);
    assert_eq!(texts(&after, "2"), ["Flatten", "[7, 100]"]);
    assert_eq!(texts(&after, "4"), ["SoftmaxRouter", "router", "14 parameters", "[7, 2]"]);
    assert_eq!(texts(&after, "5"), ["Linear", "42 parameters", "[7, 6]"]);
    assert_eq!(texts(&after, "step.0"), ["Linear", "42 parameters, frozen", "[7, 6]"]);
    assert!(model.dot().contains("label=\"Conv2d\\n368 parameters\\n[7, 8, 4, 4]\""));
    let info = model.describe();
    assert_eq!(info.nodes[0].shape, Some(vec![7, 8, 4, 4]));
    let step = info.nodes[5].parts[0].graph.as_ref().unwrap();
    assert_eq!(step.nodes[0].shape, Some(vec![7, 6]));
    // A failure leaves what was seen.
    assert!(model.watch(&[]).is_err());
    assert_eq!(model.describe().nodes[0].shape, Some(vec![7, 8, 4, 4]));
}

#[test]
fn slow_nodes_have_another_colour_than_fast_ones() {
    /// Takes so many milliseconds.
    struct Takes(u64);
    impl Module for Takes {
        fn forward(&self, input: &Variable) -> Result<Variable> {
            std::thread::sleep(std::time::Duration::from_millis(self.0));
            Ok(input.clone())
        }
    }
    let inner = build(FlowBuilder::from(Takes(12)).through(Identity).label("inner"));
    let model = build(FlowBuilder::from(Takes(25)).through(Identity).through(inner));
    model.enable_profiling();
    let x = Variable::new(Tensor::ones(&[1], TensorOptions::default()).unwrap(), false);
    model.forward(&x).unwrap();
    let picture = String::from_utf8(model.svg_with_profile(None).unwrap()).unwrap();
    check("times", &picture);
    let xml = parse(&picture);
    let mut fills = HashMap::new();
    xml.all(&mut |e| {
        if e.class() == "node leaf" {
            let fill = e.children[0].attributes["fill"].clone();
            fills.insert(e.attributes["data-id"].clone(), fill);
        }
    });
    // The longest is red, half of it in between, none white.
    assert_eq!(fills["0"], "#f8715d");
    assert_eq!(&fills["1"][..4], "#fff");
    let middle = &fills["inner.0"];
    assert!(*middle != fills["0"] && *middle != fills["1"] && fills["inner.1"].starts_with("#fff"));
    // Without times there are no such colours.
    assert!(!svg(&model).contains("#f8715d"));
    let dot = model.dot_with_profile();
    let saturation = |id: &str| -> f64 {
        let line =
            dot.lines().find(|l| l.trim_start().starts_with(&format!("\"{id}\" ["))).unwrap();
        let fill = line.split("fillcolor=\"0.05 ").nth(1).unwrap();
        fill.split(' ').next().unwrap().parse().unwrap()
    };
    assert_eq!(saturation("0"), 0.7);
    assert!(saturation("1") < 0.05 && saturation("inner.1") < 0.05);
    assert!((0.2..0.6).contains(&saturation("inner.0")));
    assert!(!model.dot().contains("0.05 "));
}
