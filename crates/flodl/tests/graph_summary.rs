//! Tables of graphs.

use flodl::*;

fn model() -> Graph {
    let block = FlowBuilder::from(Linear::new(8, 8).unwrap()).also(GELU).label("block").build();
    FlowBuilder::from(Conv2d::new(1, 4, 3).unwrap())
        .through(BatchNorm2d::new(4).unwrap())
        .tag("features")
        .through(Flatten::default())
        .through(Linear::new(144, 8).unwrap())
        .loop_body(block.unwrap())
        .for_n(3)
        .gate(
            SoftmaxRouter::new(8, 2).unwrap(),
            modules![Linear::new(8, 2).unwrap(), Linear::new(8, 2).unwrap()],
        )
        .through(Dropout::new(0.5))
        .label("net")
        .build()
        .unwrap()
}

const TABLE: &str = "\
layer                         output shape  parameters  multiply-adds
─────────────────────────────────────────────────────────────────────
net
├─ 0 Conv2d                   [2, 4, 6, 6]          40          2,592
├─ 1 BatchNorm2d #features    [2, 4, 6, 6]           8              -
├─ 2 Flatten                  [2, 144]               -              -
├─ 3 Linear                   [2, 8]             1,160          2,304
├─ block loop × 3 Graph       [2, 8]                72              -
│  ├─ 0 Linear                [2, 8]                72            384
│  └─ 1 also GELU             [2, 8]                 -              -
├─ gate                       [2, 2]                 -              -
│  ├─ 5 router SoftmaxRouter  [2, 2]                18             32
│  ├─ 6 Linear                [2, 2]                18             32
│  └─ 7 Linear                [2, 2]                18             32
└─ 8 Dropout                  [2, 2]                 -              -
─────────────────────────────────────────────────────────────────────
parameters      1,334
  frozen        40
multiply-adds   5,376
weights         5.2 KiB
input           512 B
outputs         3.8 KiB
";

#[test]
fn a_table_of_layers() {
    let model = model();
    for p in &model.parameters()[..2] {
        p.freeze().unwrap();
    }
    assert_eq!(model.summary(&[2, 1, 8, 8]).unwrap(), TABLE);
    assert!(model.summary(&[2, 3]).unwrap_err().to_string().contains("conv2d"));
    assert_eq!(model.summary(&[2, 1, 8, 8]).unwrap(), TABLE, "an error leaves nothing behind");
}

#[test]
fn a_summary_changes_nothing() {
    let model = FlowBuilder::from(BatchNorm1d::new(3).unwrap())
        .through(Dropout::new(0.5))
        .through(StateAdd)
        .using(&["out"])
        .through(Linear::new(3, 3).unwrap())
        .tag("out")
        .build()
        .unwrap();
    let x = || Variable::new(Tensor::ones(&[4, 3], TensorOptions::default()).unwrap(), false);
    let numbers = |v: &Tensor| v.to_f64_vec().unwrap();
    let next = |watch: bool| {
        manual_seed(3);
        model.reset_state();
        model.forward(&x()).unwrap();
        let before: Vec<_> = model.buffers().iter().map(|b| numbers(&b.get())).collect();
        if watch {
            model.summary(&[8, 3]).unwrap();
            let after: Vec<_> = model.buffers().iter().map(|b| numbers(&b.get())).collect();
            assert_eq!(before, after);
            assert!(model.tagged("out").is_none());
        }
        numbers(&model.forward(&x()).unwrap().data())
    };
    assert_eq!(next(false), next(true));
}

#[test]
fn several_inputs() {
    let model = FlowBuilder::from(Linear::new(2, 2).unwrap())
        .through(StateAdd)
        .input(&["other"])
        .using(&["other"])
        .build()
        .unwrap();
    let error = model.summary(&[1, 2]).unwrap_err().to_string();
    assert!(error.contains("takes 2 inputs"), "{error}");
    let x = Variable::new(Tensor::ones(&[1, 2], TensorOptions::default()).unwrap(), false);
    assert!(model.summary_with(&[x.clone(), x]).unwrap().contains("StateAdd"));
}

#[test]
fn trees_and_parameters() {
    let model = model();
    let tree = "\
net (1,334 parameters)
├─ 0 Conv2d (40)
├─ 1 BatchNorm2d (8) #features
├─ 2 Flatten
├─ 3 Linear (1,160)
├─ block loop × 3 Graph (72)
│  ├─ 0 Linear (72)
│  └─ 1 also GELU
├─ gate
│  ├─ 5 router SoftmaxRouter (18)
│  ├─ 6 Linear (18)
│  └─ 7 Linear (18)
└─ 8 Dropout
";
    assert_eq!(model.tree_summary(), tree);
    model.freeze("block").unwrap();
    let table = model.param_summary();
    assert!(table.starts_with("name "), "{table}");
    assert!(table.contains("block.0.weight") && table.contains("[8, 8]"), "{table}");
    assert!(table.ends_with("1,334 parameters, 1,262 trainable, 72 frozen\n"), "{table}");
}

/// Output shape, parameters and multiply-adds of the row with this name.
#[track_caller]
fn row(table: &str, name: &str) -> [String; 3] {
    let line =
        table.lines().find(|l| l.trim_start_matches(['│', ' ', '├', '└', '─']).starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no {name} in\n{table}"));
    let (head, rest) = match line.find('[') {
        Some(at) => (at, line[at..].find(']').map_or("", |end| &line[at..=at + end])),
        None => (0, ""),
    };
    let numbers: Vec<&str> = line[head + rest.len()..].split_whitespace().rev().take(2).collect();
    [rest.to_owned(), numbers[1].to_owned(), numbers[0].to_owned()]
}

/// The last line of totals, and that the rows add up to it.
#[track_caller]
fn total(table: &str) -> i64 {
    let number = |text: &str| text.replace(',', "").parse::<i64>().unwrap_or(0);
    let line = table.lines().find(|l| l.starts_with("multiply-adds ")).unwrap();
    let all = number(line.split_whitespace().nth(1).unwrap());
    let rows = table.lines().skip(2).take_while(|l| !l.starts_with('─'));
    let sum: i64 = rows.filter_map(|l| l.split_whitespace().last()).map(number).sum();
    assert_eq!(sum, all, "{table}");
    all
}

#[test]
fn only_what_ran_is_counted() {
    let linear = |a, b| Linear::new(a, b).unwrap();
    let switch = FlowBuilder::new()
        .switch(ArgmaxSelector::new(8, 2).unwrap(), modules![linear(8, 4), linear(8, 4)])
        .build()
        .unwrap();
    let table = switch.summary(&[5, 8]).unwrap();
    assert_eq!(row(&table, "0 router ArgmaxSelector"), ["[]", "18", "80"]);
    let branches = [row(&table, "1 Linear"), row(&table, "2 Linear")];
    assert!(branches.contains(&["[5, 4]".into(), "36".into(), "160".into()]), "{table}");
    assert!(branches.contains(&["".into(), "36".into(), "-".into()]), "{table}");
    assert_eq!(total(&table), 240);

    // Zeros never exceed the threshold, so the loops run to their ends.
    let loops = FlowBuilder::new()
        .loop_body(Linear::no_bias(8, 8).unwrap())
        .while_cond(ThresholdHalt::new(1.0), 3)
        .loop_body(Linear::no_bias(8, 8).unwrap())
        .until_cond(LearnedHalt::new(8).unwrap(), 2)
        .loop_body(Linear::no_bias(8, 8).unwrap())
        .while_cond(ThresholdHalt::new(-1.0), 3);
    let table = loops.build().unwrap().summary(&[5, 8]).unwrap();
    assert_eq!(row(&table, "0 Linear"), ["[5, 8]", "64", "960"]);
    let body: i64 = row(&table, "2 Linear")[2].parse().unwrap();
    let iterations = body / 320;
    assert!([320, 640].contains(&body), "{table}");
    assert_eq!(row(&table, "3 condition LearnedHalt")[2], (40 * iterations).to_string());
    assert_eq!(row(&table, "4 Linear"), ["", "64", "-"], "it stops before the first iteration");
    assert_eq!(total(&table), 960 + 360 * iterations);

    let skip = FlowBuilder::new().also_with(linear(8, 4), linear(8, 4)).build().unwrap();
    assert_eq!(total(&skip.summary(&[5, 8]).unwrap()), 320);
    let map = FlowBuilder::new().map(linear(4, 3)).slices(2).build().unwrap();
    assert_eq!(total(&map.summary(&[5, 8]).unwrap()), 120);
}

#[test]
fn a_graph_in_two_places_has_its_own_numbers_in_each() {
    let cell = FlowBuilder::from(Linear::new(8, 8).unwrap()).label("cell").build().unwrap();
    let cell = std::rc::Rc::new(cell);
    let model = FlowBuilder::from(cell.clone()).loop_body(cell).for_n(3).build().unwrap();
    let table = model.summary(&[5, 8]).unwrap();
    let works: Vec<&str> = table
        .lines()
        .filter(|l| l.contains("0 Linear"))
        .map(|l| l.split_whitespace().last().unwrap())
        .collect();
    assert_eq!(works, ["320", "960"]);
    assert_eq!(total(&table), 1280);
    assert!(table.contains("parameters      72\n"), "shared weights count once");
}

/// Two layers and a graph inside, by hand.
struct Mine {
    first: Linear,
    act: GELU,
    inside: std::rc::Rc<Graph>,
    last: Linear,
}

impl Module for Mine {
    fn forward(&self, x: &Variable) -> Result<Variable> {
        let y = self.inside.forward(&self.act.forward(&self.first.forward(x)?)?)?;
        // A product of nobody's weights.
        let scores = y.matmul(&y.transpose(-2, -1)?)?;
        self.last.forward(&scores.matmul(&y)?)
    }
    fn name(&self) -> &str {
        "Mine"
    }
    children!(first, act, inside, last);
}

#[test]
fn modules_by_hand_show_what_is_inside() {
    let inside = FlowBuilder::from(Linear::new(16, 16).unwrap()).also(Linear::new(16, 16).unwrap());
    let mine = Mine {
        first: Linear::new(8, 16).unwrap(),
        act: GELU,
        inside: std::rc::Rc::new(inside.build().unwrap()),
        last: Linear::new(16, 4).unwrap(),
    };
    let model = FlowBuilder::from(mine).tag("mine").label("net").build().unwrap();
    let got = model.summary(&[5, 8]).unwrap();
    assert_eq!(row(&got, "0 Mine"), ["[5, 4]", "756", "800"], "two products of 5 · 5 · 16");
    assert_eq!(row(&got, "first Linear"), ["[5, 16]", "144", "640"]);
    assert_eq!(row(&got, "act GELU"), ["", "-", "-"]);
    assert_eq!(row(&got, "inside Graph"), ["", "544", "-"]);
    assert_eq!(row(&got, "0 Linear"), ["[5, 16]", "272", "1,280"]);
    assert_eq!(row(&got, "1 also Linear"), ["[5, 16]", "272", "1,280"]);
    assert_eq!(row(&got, "last Linear"), ["[5, 4]", "68", "320"]);
    assert_eq!(total(&got), 800 + 640 + 2560 + 320);
    assert!(model.tree_summary().contains("├─ inside Graph (544)\n   │  ├─ 0 Linear (272)\n"));
}

#[test]
fn recurrent_layers_and_attention_are_counted() {
    let gru = GRU::configure(6, 6).with_layers(2).with_batch_first(true).with_bidirectional(true);
    let gru = gru.done().unwrap();
    let flow = FlowBuilder::from(LSTM::new(8, 6, 1).unwrap().batch_first(true))
        .through(gru)
        .through(Linear::new(12, 8).unwrap())
        .through(MultiheadAttention::new(8, 2).unwrap())
        .through(TransformerEncoderLayer::new(8, 2).unwrap());
    let table = flow.build().unwrap().summary(&[5, 7, 8]).unwrap();
    // 35 rows, each with every element of the matrices once.
    assert_eq!(row(&table, "0 LSTM")[2], "11,760", "35 · 4 · 6 · (8 + 6)\n{table}");
    assert_eq!(row(&table, "1 GRU")[2], "37,800", "35 · 3 · 6 · 2 · (6 + 6 + 12 + 6)\n{table}");
    // Projections 35 · 4 · 8 · 8, scores and sums 2 · 5 · 7 · 7 · 8.
    assert_eq!(row(&table, "3 MultiheadAttention")[2], "12,880");
    assert_eq!(row(&table, "4 TransformerEncoderLayer")[2], "-");
    assert_eq!(row(&table, "self_attn MultiheadAttention")[2], "12,880");
    assert_eq!(row(&table, "linear1 Linear"), ["[5, 7, 2048]", "18,432", "573,440"]);
    assert_eq!(row(&table, "linear2 Linear"), ["[5, 7, 8]", "16,392", "573,440"]);
    assert_eq!(total(&table), 11_760 + 37_800 + 35 * 12 * 8 + 2 * 12_880 + 2 * 573_440);

    /// A cell that starts from nothing, and a product of its state with the input.
    struct Steps {
        cell: GRUCell,
        pair: Bilinear,
    }
    impl Module for Steps {
        fn forward(&self, x: &Variable) -> Result<Variable> {
            let h = self.cell.forward_step(x, None)?;
            self.pair.forward_bilinear(&h, x)
        }
        children!(cell, pair);
    }
    let steps =
        Steps { cell: GRUCell::new(8, 6).unwrap(), pair: Bilinear::new(6, 8, 4, true).unwrap() };
    let table = FlowBuilder::from(steps).build().unwrap().summary(&[5, 8]).unwrap();
    assert_eq!(row(&table, "cell GRUCell"), ["[5, 6]", "288", "1,260"]);
    assert_eq!(row(&table, "pair Bilinear")[1..], ["196", "1,080"], "5 · 4 · 6 · (8 + 1)");
    assert_eq!(total(&table), 2340);
}
