//! What holds for every module that the tutorial names.

use super::*;

/// One of each, with an input.
fn all() -> Result<Vec<(Box<dyn Module>, Variable)>> {
    fn case(m: impl Module + 'static, shape: &[i64]) -> (Box<dyn Module>, Variable) {
        (Box::new(m), randn(shape))
    }
    let line = [2, 4, 9];
    let image = [2, 4, 6, 8];
    let volume = [2, 4, 5, 6, 7];
    let graph = FlowBuilder::from(Linear::new(4, 4)?).through(ReLU).build()?;
    let mut all = vec![
        case(Linear::new(4, 3)?, &[5, 4]),
        case(Linear::no_bias(4, 3)?, &[5, 4]),
        case(Conv1d::new(4, 3, 3)?, &line),
        case(Conv2d::new(4, 3, 3)?, &image),
        case(Conv3d::new(4, 3, [3, 3, 3])?, &volume),
        case(ConvTranspose1d::new(4, 3, 3)?, &line),
        case(ConvTranspose2d::new(4, 3, 4)?, &image),
        case(ConvTranspose3d::new(4, 3, [3, 3, 3])?, &volume),
        case(MaxPool1d::new(2), &line),
        case(AvgPool1d::new(2), &line),
        case(MaxPool2d::new(2), &image),
        case(AvgPool2d::new(2), &image),
        case(AdaptiveAvgPool2d::new([1, 1]), &image),
        case(AdaptiveMaxPool2d::new(7, 7), &image),
        case(PixelShuffle::new(2), &image),
        case(PixelUnshuffle::new(2), &image),
        case(Upsample::new(&[9, 9], 1), &image),
        case(Unfold::new([3, 3], [1, 1], [0, 0], [1, 1]), &image),
        case(Fold::new([4, 4], [3, 3], [1, 1], [0, 0], [1, 1]), &[2, 9, 4]),
        case(LayerNorm::new(8)?, &image),
        case(RMSNorm::new(8)?, &image),
        case(BatchNorm::new(4)?, &[5, 4]),
        case(BatchNorm2d::new(4)?, &image),
        case(GroupNorm::new(2, 4)?, &image),
        case(InstanceNorm::new(4, true)?, &image),
        case(InstanceNorm::new(4, false)?, &image),
        case(Dropout::new(0.3), &image),
        case(Dropout2d::new(0.3), &[2, 30, 3, 3]),
        case(AlphaDropout::new(0.3), &image),
        case(ZeroPad2d::new(1), &image),
        case(ReflectionPad2d::new(1), &image),
        case(GRUCell::new(4, 3)?, &[5, 4]),
        case(LSTMCell::new(4, 3)?, &[5, 4]),
        case(GRU::new(4, 3, 2)?, &[6, 5, 4]),
        case(LSTM::new(4, 3, 2)?, &[6, 5, 4]),
        case(MultiheadAttention::new(8, 2)?, &[2, 3, 8]),
        case(PReLU::new(1, Device::CPU)?, &image),
        case(ReLU, &image),
        case(Sigmoid, &image),
        case(Tanh, &image),
        case(GELU, &image),
        case(SiLU, &image),
        case(SELU, &image),
        case(Mish, &image),
        case(Hardswish, &image),
        case(Hardsigmoid, &image),
        case(Identity, &image),
        case(LeakyReLU::new(0.01), &image),
        case(ELU::new(1.0), &image),
        case(Softplus::new(1.0, 20.0), &image),
        case(Softmax::new(-1), &image),
        case(LogSoftmax::new(-1), &image),
        case(Flatten::new(1, -1), &image),
        case(graph, &[5, 4]),
    ];
    let indices = ints(&[0, 3, 1, 1, 2, 0], &[2, 3]);
    all.push((Box::new(Embedding::new(4, 5)?), indices.clone()));
    all.push((Box::new(EmbeddingBag::new(4, 5)?), indices));
    Ok(all)
}

#[test]
fn every_layer_is_a_module() {
    fn is_module<M: Module>() {}
    macro_rules! modules {
        ($($name:ty),* $(,)?) => { $(is_module::<$name>();)* };
    }
    modules!(
        Linear,
        Conv1d,
        Conv2d,
        Conv3d,
        ConvTranspose1d,
        ConvTranspose2d,
        ConvTranspose3d,
        MaxPool1d,
        MaxPool2d,
        AvgPool1d,
        AvgPool2d,
        AdaptiveAvgPool2d,
        AdaptiveMaxPool2d,
        PixelShuffle,
        PixelUnshuffle,
        Upsample,
        Unfold,
        Fold,
        LayerNorm,
        RMSNorm,
        BatchNorm,
        BatchNorm2d,
        GroupNorm,
        InstanceNorm,
        Dropout,
        Dropout2d,
        AlphaDropout,
        ZeroPad2d,
        ReflectionPad2d,
        Embedding,
        EmbeddingBag,
        GRUCell,
        LSTMCell,
        GRU,
        LSTM,
        MultiheadAttention,
        Bilinear,
        ReLU,
        Sigmoid,
        Tanh,
        GELU,
        SiLU,
        SELU,
        Mish,
        Hardswish,
        Hardsigmoid,
        Identity,
        LeakyReLU,
        ELU,
        Softplus,
        Softmax,
        LogSoftmax,
        Flatten,
        PReLU,
        Graph,
        Box<dyn Module>,
        Rc<dyn Module>,
    );
    // The module `nn` has them as well as the root.
    is_module::<flodl::nn::Linear>();
    is_module::<flodl::nn::ReLU>();
    fn exact<M: Module>(_: fn(&M, &Variable) -> Result<Variable>) {}
    exact(<Linear as flodl::nn::Module>::forward);
}

#[test]
fn counts_of_parameters() -> Checked {
    let counts: Vec<usize> = all()?.iter().map(|(m, _)| m.parameters().len()).collect();
    #[rustfmt::skip]
    let want = [
        2, 1, 2, 2, 2, 2, 2, 2, // linear layers and convolutions
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // pools, shuffles, upsampling, blocks
        2, 1, 2, 2, 2, 2, 0, // norms
        0, 0, 0, 0, 0, // dropout, padding
        4, 4, 8, 8, 4, 1, // recurrent layers, attention, PReLU
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // activations
        2, 1, 1, // a graph, tables
    ];
    assert_eq!(counts, want);
    assert_eq!(Bilinear::new(3, 4, 5, true)?.parameters().len(), 2);
    assert_eq!(Bilinear::new(3, 4, 5, false)?.parameters().len(), 1);
    Ok(())
}

#[test]
fn forward_leaves_its_input_and_reaches_every_weight() -> Checked {
    manual_seed(1);
    for (m, x) in all()? {
        let before = (x.shape(), x.data().to_blob()?);
        let y = m.forward(&x)?;
        assert_eq!((x.shape(), x.data().to_blob()?), before, "{}", m.name());
        if m.parameters().is_empty() {
            continue;
        }
        assert!(m.parameters().iter().all(|p| p.variable.requires_grad()), "{}", m.name());
        y.mul(&randn(&y.shape()))?.sum()?.backward()?;
        for p in m.parameters() {
            assert!(p.variable.grad().is_some(), "{}.{} has no gradient", m.name(), p.name);
        }
    }
    Ok(())
}

/// Only dropout and batch norm know the mode, and it goes back and forth.
#[test]
fn modes() -> Checked {
    manual_seed(2);
    for (m, x) in all()? {
        let run = || -> Result<Vec<f64>> {
            manual_seed(3);
            Ok(values(&m.forward(&x)?))
        };
        let trained = run()?;
        m.eval();
        let inferred = run()?;
        let moded = ["Dropout", "Dropout2d", "AlphaDropout", "BatchNorm", "BatchNorm2d"];
        assert_eq!(trained != inferred, moded.contains(&m.name()), "{}", m.name());
        m.set_training(true);
        assert_eq!(run()?, trained, "{}", m.name());
        m.set_training(false);
        let settled = run()?;
        m.train();
        m.eval();
        assert_eq!(run()?, settled, "{}", m.name());
    }
    // On an object, a box, a graph: without another import.
    let boxed: Box<dyn Module> = Box::new(Dropout::new(0.5));
    boxed.eval();
    (&*boxed as &dyn Module).train();
    Rc::new(Dropout::new(0.5)).eval();
    let x = randn(&[6, 4]);
    let graph = FlowBuilder::from(Dropout::new(0.5)).through(BatchNorm::new(4)?).build()?;
    graph.train();
    assert_ne!(values(&graph.forward(&x)?), values(&graph.forward(&x)?));
    graph.eval();
    assert_eq!(values(&graph.forward(&x)?), values(&graph.forward(&x)?));
    Ok(())
}

#[test]
fn a_seed_governs_every_fresh_module() -> Checked {
    let weights = |seed| -> Result<Vec<Vec<f64>>> {
        manual_seed(seed);
        let all = all()?;
        Ok(all.iter().flat_map(|(m, _)| m.parameters()).map(|p| values(&p.variable)).collect())
    };
    assert_eq!(weights(4)?, weights(4)?);
    assert_ne!(weights(4)?, weights(5)?);
    Ok(())
}
