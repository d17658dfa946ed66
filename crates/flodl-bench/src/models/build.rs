//! How each model is built, and what one step of it is.

use std::rc::Rc;

use flodl::*;

/// A step that can be repeated.
pub type Step = Box<dyn FnMut() -> Result<()>>;

/// Makes a model and its batch.
pub type Build = fn() -> Result<Step>;

pub fn random(shape: &[i64]) -> Result<Variable> {
    Ok(Variable::new(Tensor::randn(shape, TensorOptions::default())?, false))
}

/// Training steps of a model on one fixed batch, with the mean squared error.
pub fn training(model: Graph, x: Variable, y: Variable) -> Result<Step> {
    let mut optimizer = Adam::new(&model.parameters(), 1e-3);
    Ok(Box::new(move || {
        let loss = mse_loss(&model.forward(&x)?, &y)?;
        optimizer.zero_grad();
        loss.backward()?;
        optimizer.step()
    }))
}

pub fn mlp() -> Result<Step> {
    let mut flow = FlowBuilder::new();
    for (i, o) in [(1024, 2048), (2048, 2048), (2048, 2048), (2048, 2048)] {
        flow = flow.through(Linear::new(i, o)?).through(GELU).through(LayerNorm::new(o)?);
    }
    let model = flow.through(Linear::new(2048, 1024)?).build()?;
    training(model, random(&[256, 1024])?, random(&[256, 1024])?)
}

pub fn convnet() -> Result<Step> {
    let mut flow = FlowBuilder::new();
    for (n, (i, o)) in
        [(3, 64), (64, 128), (128, 256), (256, 512), (512, 512)].into_iter().enumerate()
    {
        flow = flow
            .through(Conv2d::configure(i, o, 3).with_padding(1).done()?)
            .through(BatchNorm2d::new(o)?)
            .through(ReLU);
        if n < 4 {
            flow = flow.through(MaxPool2d::new(2));
        }
    }
    let model = flow
        .through(AdaptiveAvgPool2d::new([1, 1]))
        .through(Flatten::new(1, -1))
        .through(Linear::new(512, 100)?)
        .build()?;
    training(model, random(&[128, 3, 64, 64])?, random(&[128, 100])?)
}

/// A cell stepped over `[batch, steps, features]` from a state of zeros, and a head on its last
/// state.
struct Stepped {
    cell: GRUCell,
    head: Linear,
}

impl Module for Stepped {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        let mut state = None;
        for t in 0..input.shape()[1] {
            state = Some(self.cell.forward_step(&input.select(1, t)?, state.as_ref())?);
        }
        self.head.forward(&state.ok_or_else(|| Error::new("a sequence without steps"))?)
    }

    fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
        vec![Rc::new(self.cell.clone()), Rc::new(self.head.clone())]
    }
}

/// A sequence `[batch, steps, features]`, and a head on the last step's output.
struct LastStep {
    lstm: LSTM,
    head: Linear,
}

impl Module for LastStep {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        let output = self.lstm.forward(input)?;
        self.head.forward(&output.select(1, -1)?)
    }

    fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
        vec![Rc::new(self.lstm.clone()), Rc::new(self.head.clone())]
    }
}

pub fn gru_seq() -> Result<Step> {
    let model = Stepped { cell: GRUCell::new(256, 512)?, head: Linear::new(512, 256)? };
    let model = FlowBuilder::from(model).build()?;
    training(model, random(&[128, 50, 256])?, random(&[128, 256])?)
}

pub fn lstm_seq() -> Result<Step> {
    let lstm = LSTM::new(256, 512, 2)?.batch_first(true);
    let model = LastStep { lstm, head: Linear::new(512, 256)? };
    let model = FlowBuilder::from(model).build()?;
    training(model, random(&[128, 50, 256])?, random(&[128, 256])?)
}

/// x plus a learned vector for each position.
struct Positions(Parameter);

impl Module for Positions {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        input.add(&self.0.variable)
    }

    fn parameters(&self) -> Vec<Parameter> {
        vec![self.0.clone()]
    }
}

pub fn transformer() -> Result<Step> {
    let positions = init::normal(&[1, 128, 512], 0.0, 0.02, Device::CPU)?;
    let mut flow = FlowBuilder::from(Embedding::new(8192, 512)?)
        .through(Positions(Parameter::new(positions, "positions")));
    for _ in 0..4 {
        let feed_forward = FlowBuilder::from(Linear::new(512, 2048)?)
            .through(GELU)
            .through(Linear::new(2048, 512)?)
            .build()?;
        flow = flow
            .also(MultiheadAttention::new(512, 8)?)
            .through(LayerNorm::new(512)?)
            .also(feed_forward)
            .through(LayerNorm::new(512)?);
    }
    let model = flow.through(Linear::new(512, 8192)?).through(Flatten::new(0, 1)).build()?;
    let tokens = |shape: &[i64]| -> Result<Variable> {
        Ok(Variable::new(Tensor::randint(0, 8192, shape, DType::Int64.into())?, false))
    };
    let (x, y) = (tokens(&[32, 128])?, tokens(&[32 * 128])?);
    let mut optimizer = Adam::new(&model.parameters(), 1e-4);
    Ok(Box::new(move || {
        let loss = cross_entropy_loss(&model.forward(&x)?, &y)?;
        optimizer.zero_grad();
        loss.backward()?;
        optimizer.step()
    }))
}

pub fn conv_autoenc() -> Result<Step> {
    let sizes = [3, 64, 128, 256, 512];
    let mut flow = FlowBuilder::new();
    for pair in sizes.windows(2) {
        flow = flow
            .through(Conv2d::configure(pair[0], pair[1], 4).with_stride(2).with_padding(1).done()?)
            .through(BatchNorm2d::new(pair[1])?)
            .through(ReLU);
    }
    for pair in sizes.windows(2).rev() {
        let up = ConvTranspose2d::configure(pair[1], pair[0], 4).with_stride(2).with_padding(1);
        flow = flow.through(up.done()?);
        flow = match pair[0] {
            3 => flow.through(Tanh),
            c => flow.through(BatchNorm2d::new(c)?).through(ReLU),
        };
    }
    let x = random(&[64, 3, 64, 64])?;
    training(flow.build()?, x.clone(), x)
}

/// LayerNorm(GELU(Linear(x))), which residual models add to x.
fn block(width: i64) -> Result<Graph> {
    FlowBuilder::from(Linear::new(width, width)?)
        .through(GELU)
        .through(LayerNorm::new(width)?)
        .build()
}

pub fn residual_tower() -> Result<Step> {
    let mut flow = FlowBuilder::from(Linear::new(1024, 1024)?);
    for _ in 0..12 {
        flow = flow.also(block(1024)?);
    }
    let model = flow.through(Linear::new(1024, 1024)?).build()?;
    training(model, random(&[256, 1024])?, random(&[256, 1024])?)
}

/// One block applied several times: the loop written out, with shared weights.
fn repeated(width: i64, batch: i64, times: usize) -> Result<Step> {
    let shared = Rc::new(block(width)?);
    let mut flow =
        FlowBuilder::from(Linear::new(width, width)?).through(GELU).through(LayerNorm::new(width)?);
    for _ in 0..times {
        flow = flow.also(shared.clone());
    }
    let model = flow.through(Linear::new(width, width)?).build()?;
    training(model, random(&[batch, width])?, random(&[batch, width])?)
}

pub fn iterative_refine() -> Result<Step> {
    repeated(1024, 256, 8)
}

pub fn feedback_fixed() -> Result<Step> {
    repeated(512, 128, 10)
}

pub fn gated_routing() -> Result<Step> {
    let expert = || Ok(Box::new(block(512)?) as Box<dyn Module>);
    let experts = (0..8).map(|_| expert()).collect::<Result<Vec<_>>>()?;
    let model = FlowBuilder::from(Linear::new(512, 512)?)
        .through(GELU)
        .gate(SoftmaxRouter::new(512, 8)?, experts)
        .through(Linear::new(512, 512)?)
        .build()?;
    training(model, random(&[256, 512])?, random(&[256, 512])?)
}

fn tiny() -> Result<Graph> {
    FlowBuilder::from(Linear::new(2, 16)?)
        .through(GELU)
        .through(LayerNorm::new(16)?)
        .also(Linear::new(16, 16)?)
        .through(Linear::new(16, 2)?)
        .build()
}

pub fn tiny_step() -> Result<Step> {
    training(tiny()?, random(&[16, 2])?, random(&[16, 2])?)
}

pub fn tiny_forward() -> Result<Step> {
    let (model, x) = (tiny()?, random(&[1, 2])?);
    model.eval();
    Ok(Box::new(move || no_grad(|| model.forward(&x)).map(|_| ())))
}

pub fn op_chain() -> Result<Step> {
    let x = Variable::new(Tensor::ones(&[1], TensorOptions::default())?, true);
    let one = Variable::new(Tensor::ones(&[1], TensorOptions::default())?, false);
    Ok(Box::new(move || {
        let mut y = x.clone();
        for _ in 0..1000 {
            y = y.add(&one)?;
        }
        y.backward()?;
        x.zero_grad();
        Ok(())
    }))
}
