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
│  ├─ 5 router SoftmaxRouter                        18              -
│  ├─ 6 Linear                [2, 2]                18             32
│  └─ 7 Linear                [2, 2]                18             32
└─ 8 Dropout                  [2, 2]                 -              -
─────────────────────────────────────────────────────────────────────
parameters      1,334
  frozen        40
multiply-adds   5,344 in the layers where they are known
weights         5.2 KiB
input           512 B
outputs         3.9 KiB
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
