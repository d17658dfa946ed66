//! The tutorial's snippets in its order and wording; what they make is looked at in between.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use flodl::*;

use super::{fails, ints, randn};

const NO_CUDA: &str = "this build of flodl has no CUDA engine";

#[test]
#[rustfmt::skip]
fn linear() -> Result<()> {
let linear = Linear::new(784, 128)?;
let input = randn(&[7, 784]);
let output = linear.forward(&input)?; // [batch, 784] -> [batch, 128]
assert_eq!(output.shape(), [7, 128]);
// Without bias
let linear = Linear::no_bias(784, 128)?;
assert_eq!(linear.parameters().len(), 1);
fn on_a_specific_device() -> Result<Linear> {
// On a specific device
let linear = Linear::on_device(784, 128, Device::CUDA(0))?;
Ok(linear)
}
fails(on_a_specific_device(), NO_CUDA);
Ok(())
}

#[test]
#[rustfmt::skip]
fn conv1d() -> Result<()> {
let conv = Conv1d::new(1, 16, 3)?; // in=1, out=16, kernel=3
assert_eq!(conv.forward(&randn(&[2, 1, 10]))?.shape(), [2, 16, 8]);
fn fluent() -> Result<Conv1d> {
// Fluent builder for full control
let conv = Conv1d::configure(3, 16, 5)
.with_stride(2)
.with_padding(2)
.on_device(Device::CUDA(0))
.done()?;
Ok(conv)
}
fails(fluent(), NO_CUDA);
Ok(())
}

#[test]
#[rustfmt::skip]
fn conv2d() -> Result<()> {
let input = randn(&[2, 3, 32, 32]);
let conv = Conv2d::new(3, 64, 3)?; // in=3, out=64, kernel=3 (stride=1, padding=0)
assert_eq!(conv.forward(&input)?.shape(), [2, 64, 30, 30]);
// Fluent builder
let conv = Conv2d::configure(3, 64, 3)
.with_padding(1)
.with_stride(2)
.done()?;
assert_eq!(conv.forward(&input)?.shape(), [2, 64, 16, 16]);
// Full control
let conv = Conv2d::build(3, 64, 3, true, [1,1], [1,1], [1,1], 1, Device::CPU)?;
assert_eq!(conv.forward(&input)?.shape(), [2, 64, 32, 32]);
Ok(())
}

#[test]
#[rustfmt::skip]
fn conv3d_and_transposed() -> Result<()> {
let conv = Conv3d::new(1, 32, [3, 3, 3])?;
let input = randn(&[1, 1, 8, 16, 16]);
assert_eq!(conv.forward(&input)?.shape(), [1, 32, 6, 14, 14]);
let conv = Conv3d::configure(1, 32, [3, 3, 3])
.with_padding([1, 1, 1])
.done()?;
assert_eq!(conv.forward(&input)?.shape(), [1, 32, 8, 16, 16]);
let deconv1d = ConvTranspose1d::new(16, 1, 3)?;
let deconv2d = ConvTranspose2d::new(64, 3, 4)?;
let deconv3d = ConvTranspose3d::new(32, 1, [3, 3, 3])?;
assert_eq!(deconv1d.forward(&randn(&[2, 16, 9]))?.shape(), [2, 1, 11]);
assert_eq!(deconv2d.forward(&randn(&[2, 64, 8, 8]))?.shape(), [2, 3, 11, 11]);
assert_eq!(deconv3d.forward(&randn(&[1, 32, 2, 3, 4]))?.shape(), [1, 1, 4, 5, 6]);
Ok(())
}

#[test]
#[rustfmt::skip]
fn pooling() -> Result<()> {
let input = randn(&[2, 3, 8, 8]);
let pool = MaxPool2d::new(2); // kernel=2, stride=2
assert_eq!(pool.forward(&input)?.shape(), [2, 3, 4, 4]);
let pool = MaxPool2d::with_stride(3, 2).padding(1); // kernel=3, stride=2, padding=1
let output = pool.forward(&input)?; // [B, C, H, W] -> [B, C, H/2, W/2]
assert_eq!(output.shape(), [2, 3, 4, 4]);
let pool = AvgPool2d::new(2); // average pooling
assert_eq!(pool.forward(&input)?.shape(), [2, 3, 4, 4]);
let pool = AvgPool2d::with_stride(3, 2).padding(1).count_include_pad(false);
assert_eq!(pool.forward(&input)?.shape(), [2, 3, 4, 4]);
let model = FlowBuilder::from(Conv2d::new(3, 64, 3)?)
.through(BatchNorm2d::new(64)?)
.through(ReLU)
.through(MaxPool2d::new(2))
.build()?;
let output = model.forward(&randn(&[2, 3, 34, 34]))?;
assert_eq!(output.shape(), [2, 64, 16, 16]);
assert!(output.data().min()?.item()? >= 0.0);
assert_eq!(model.parameters().len(), 4);
let pool = MaxPool1d::new(2);
assert_eq!(pool.forward(&randn(&[2, 3, 8]))?.shape(), [2, 3, 4]);
let pool = AvgPool1d::with_stride(3, 2).padding(1);
assert_eq!(pool.forward(&randn(&[2, 3, 8]))?.shape(), [2, 3, 4]);
// As a free function
let pooled = adaptive_avg_pool2d(&input, [1, 1])?; // [B, C, H, W] -> [B, C, 1, 1]
assert_eq!(pooled.shape(), [2, 3, 1, 1]);
// As a module
let pool = AdaptiveMaxPool2d::new(7, 7); // fixed 7x7 output
assert_eq!(pool.forward(&input)?.shape(), [2, 3, 7, 7]);
let pool = AdaptiveAvgPool2d::new([1, 1]); // global avg (ResNet head)
let output = pool.forward(&input)?;
assert_eq!(output.shape(), [2, 3, 1, 1]);
Ok(())
}

#[test]
#[rustfmt::skip]
fn rearranging_and_resizing() -> Result<()> {
let shuffle = PixelShuffle::new(2); // [B, C*4, H, W] -> [B, C, H*2, W*2]
let unshuffle = PixelUnshuffle::new(2); // inverse
let there = shuffle.forward(&randn(&[2, 8, 3, 5]))?;
assert_eq!(there.shape(), [2, 2, 6, 10]);
assert_eq!(unshuffle.forward(&there)?.shape(), [2, 8, 3, 5]);
let model = FlowBuilder::from(Conv2d::new(3, 48, 3)?) // 48 = 3 * 4 (upscale=2)
.through(PixelShuffle::new(2)) // -> [B, 3, H*2, W*2]
.build()?;
// 48 channels and an upscale of 2 give 12 channels; three of them need an upscale of 4.
assert_eq!(model.forward(&randn(&[2, 3, 10, 8]))?.shape(), [2, 12, 16, 12]);
let up = Upsample::new(&[64, 64], 1); // output_size, mode (0=nearest, 1=bilinear, 2=bicubic)
assert_eq!(up.forward(&randn(&[1, 3, 5, 9]))?.shape(), [1, 3, 64, 64]);
let unfold = Unfold::new([3, 3], [1, 1], [0, 0], [1, 1]); // kernel, dilation, padding, stride
let fold = Fold::new([28, 28], [3, 3], [1, 1], [0, 0], [1, 1]); // output_size, kernel, ...
let columns = unfold.forward(&randn(&[2, 3, 28, 28]))?;
assert_eq!(columns.shape(), [2, 27, 676]);
assert_eq!(fold.forward(&columns)?.shape(), [2, 3, 28, 28]);
Ok(())
}

#[test]
#[rustfmt::skip]
fn normalization() -> Result<()> {
let input = randn(&[3, 512]);
let ln = LayerNorm::new(512)?;
let output = ln.forward(&input)?; // [batch, 512] -> [batch, 512]
assert_eq!(output.shape(), [3, 512]);
let rn = RMSNorm::new(512)?;
assert_eq!(rn.forward(&input)?.shape(), [3, 512]);
let rn = RMSNorm::new(512)?.eps(1e-6); // custom epsilon
let output = rn.forward(&input)?;
assert_eq!(output.shape(), [3, 512]);
// For fully-connected layers: input [batch, features]
let input = randn(&[9, 128]);
let bn = BatchNorm::new(128)?;
let output = bn.forward(&input)?; // [batch, 128] -> [batch, 128]
assert_eq!(output.shape(), [9, 128]);
// For conv layers: input [batch, channels, height, width]
let input = randn(&[2, 64, 5, 6]);
let bn2d = BatchNorm2d::new(64)?;
let output = bn2d.forward(&input)?; // [B, 64, H, W] -> [B, 64, H, W]
assert_eq!(output.shape(), [2, 64, 5, 6]);
let input = randn(&[2, 16, 5, 6]);
let gn = GroupNorm::new(4, 16)?; // 4 groups, 16 channels
let output = gn.forward(&input)?; // [B, 16, H, W] -> [B, 16, H, W]
assert_eq!(output.shape(), [2, 16, 5, 6]);
let input = randn(&[2, 64, 5, 6]);
let inn = InstanceNorm::new(64, true)?; // 64 features, affine=true
let output = inn.forward(&input)?;
assert_eq!(output.shape(), [2, 64, 5, 6]);
Ok(())
}

#[test]
#[rustfmt::skip]
fn dropout_and_padding() -> Result<()> {
let input = randn(&[2, 3, 5, 6]);
let drop = Dropout::new(0.1); // 10% drop probability — zeroes individual elements
let drop2d = Dropout2d::new(0.1); // drops entire channels (for conv features)
let adrop = AlphaDropout::new(0.1); // maintains self-normalizing property (for SELU networks)
let output = drop.forward(&input)?;
assert_eq!(output.shape(), [2, 3, 5, 6]);
assert_eq!(drop2d.forward(&input)?.shape(), [2, 3, 5, 6]);
assert_eq!(adrop.forward(&input)?.shape(), [2, 3, 5, 6]);
let pad = ZeroPad2d::new(1); // 1 pixel on all sides
assert_eq!(pad.forward(&input)?.shape(), [2, 3, 7, 8]);
let pad = ZeroPad2d::asymmetric(1, 1, 2, 2); // left, right, top, bottom
assert_eq!(pad.forward(&input)?.shape(), [2, 3, 9, 8]);
let pad = ReflectionPad2d::new(1); // reflect at boundaries
assert_eq!(pad.forward(&input)?.shape(), [2, 3, 7, 8]);
let pad = ReflectionPad2d::asymmetric(1, 1, 2, 2);
assert_eq!(pad.forward(&input)?.shape(), [2, 3, 9, 8]);
Ok(())
}

#[test]
#[rustfmt::skip]
fn embeddings() -> Result<()> {
let emb = Embedding::new(10000, 64)?; // vocab=10000, dim=64
let indices = ints(&[0, 9999, 5, 5, 7, 1], &[2, 3]);
// [batch, seq_len] -> [batch, seq_len, 64]
let output = emb.forward(&indices)?;
assert_eq!(output.shape(), [2, 3, 64]);
let bag = EmbeddingBag::new(10000, 64)?; // vocab=10000, dim=64
let indices = ints(&[0, 9999, 5, 5, 7, 1], &[6]);
let offsets = ints(&[0, 4], &[2]);
// indices: [total_indices], offsets: [num_bags] (start positions)
// mode: 0=sum, 1=mean, 2=max
let output = bag.forward_bag(&indices, &offsets, 1)?; // [num_bags, 64]
assert_eq!(output.shape(), [2, 64]);
Ok(())
}

#[test]
#[rustfmt::skip]
fn recurrent_cells() -> Result<()> {
let (x, x2) = (randn(&[3, 128]), randn(&[3, 128]));
let gru = GRUCell::new(128, 256)?;
let h = gru.forward_step(&x, None)?; // first step: h initialized to zeros
let h = gru.forward_step(&x2, Some(&h))?; // subsequent steps
assert_eq!(h.shape(), [3, 256]);
let lstm = LSTMCell::new(128, 256)?;
let state = lstm.forward_step(&x, None)?; // first step
let state = lstm.forward_step(&x2, Some(&state))?; // subsequent steps
let (h, c) = lstm.split_state(&state)?;
assert_eq!((h.shape(), c.shape()), (vec![3, 256], vec![3, 256]));
Ok(())
}

#[test]
#[rustfmt::skip]
fn recurrent_sequences() -> Result<()> {
let x = randn(&[4, 3, 128]);
let gru = GRU::new(128, 256, 2)?; // input=128, hidden=256, 2 layers
// Input: [seq_len, batch, input_size] (default) or [batch, seq_len, input_size] (batch_first)
let (output, h_n) = gru.forward_seq(&x, None)?;
// output: [seq_len, batch, hidden_size], h_n: [num_layers, batch, hidden_size]
assert_eq!((output.shape(), h_n.shape()), (vec![4, 3, 256], vec![2, 3, 256]));
let lstm = LSTM::new(128, 256, 2)?;
let (output, (h_n, c_n)) = lstm.forward_seq(&x, None)?;
// output: [seq_len, batch, hidden_size]
// h_n, c_n: [num_layers, batch, hidden_size]
assert_eq!((output.shape(), h_n.shape()), (vec![4, 3, 256], vec![2, 3, 256]));
assert_eq!(c_n.shape(), [2, 3, 256]);
fn gru_on_cuda() -> Result<GRU> {
// Batch-first ordering:
let gru = GRU::on_device(128, 256, 2, true, Device::CUDA(0))?;
Ok(gru)
}
fn lstm_on_cuda() -> Result<LSTM> {
let lstm = LSTM::on_device(128, 256, 2, true, Device::CUDA(0))?;
Ok(lstm)
}
fails(gru_on_cuda(), NO_CUDA);
fails(lstm_on_cuda(), NO_CUDA);
Ok(())
}

#[test]
#[rustfmt::skip]
fn attention_and_bilinear() -> Result<()> {
let x = randn(&[2, 3, 512]);
let mha = MultiheadAttention::new(512, 8)?; // embed_dim=512, 8 heads
// Self-attention (query = key = value)
let y = mha.forward(&x)?; // [B, seq, 512] -> [B, seq, 512]
assert_eq!(y.shape(), [2, 3, 512]);
let (query, key, value) = (x.clone(), randn(&[2, 5, 512]), randn(&[2, 5, 512]));
let mask = Tensor::from_bool(&[false; 15], &[3, 5], Device::CPU)?;
// Cross-attention or masked attention
let y = mha.forward_ext(&query, &key, &value, Some(&mask))?;
assert_eq!(y.shape(), [2, 3, 512]);
let mask = Variable::new(Tensor::zeros(&[3, 5], TensorOptions::default())?, false);
let y = mha.forward_ext(&query, &key, &value, &mask)?;
assert_eq!(y.shape(), [2, 3, 512]);
let (x1, x2) = (randn(&[5, 128]), randn(&[5, 64]));
let bi = Bilinear::new(128, 64, 32, true)?; // in1=128, in2=64, out=32, bias=true
let y = bi.forward_bilinear(&x1, &x2)?; // [B, 128] x [B, 64] -> [B, 32]
assert_eq!(y.shape(), [5, 32]);
Ok(())
}

#[test]
#[rustfmt::skip]
fn activations() -> Result<()> {
let prelude = FlowBuilder::from(Identity);
let model = prelude
.through(
// Zero-sized types — no parameters, no allocation
ReLU // max(0, x)
).through(
Sigmoid // 1 / (1 + exp(-x))
).through(
Tanh // hyperbolic tangent
).through(
GELU // Gaussian Error Linear Unit
).through(
SiLU // x * sigmoid(x), also called Swish
).through(
SELU // scaled ELU — self-normalizing (pair with AlphaDropout)
).through(
Mish // x * tanh(softplus(x))
).through(
Hardswish // efficient Swish approximation
).through(
Hardsigmoid // piecewise-linear sigmoid approximation
).through(
Identity // pass-through
).through(
// Parameterized — take a config value at construction
LeakyReLU::new(0.01) // max(x, slope * x)
).through(
ELU::new(1.0) // alpha * (exp(x) - 1) for x < 0
).through(
Softplus::new(1.0, 20.0) // smooth approximation of ReLU (beta, threshold)
).through(
Softmax::new(-1) // softmax along dim
).through(
LogSoftmax::new(-1) // log(softmax(x)) — numerically stable
).through(
Flatten::new(1, -1) // flatten spatial dims (start_dim, end_dim)
);
// Learnable
let prelu = PReLU::new(1, Device::CPU)?; // parametric ReLU (num_parameters, device)
let model = model.through(prelu).build()?;
assert_eq!(model.forward(&randn(&[2, 3, 4]))?.shape(), [2, 12]);
model.eval(); // eval mode — same as set_training(false)
model.train(); // training mode — same as set_training(true)
Ok(())
}

/// The trait as the tutorial writes it: what it names can be called and overridden so.
#[allow(dead_code)]
#[rustfmt::skip]
mod as_written {
use super::*;
pub trait Module {
fn forward(&self, input: &Variable) -> Result<Variable>;
fn parameters(&self) -> Vec<Parameter> { vec![] }
fn name(&self) -> &str { "module" }
fn sub_modules(&self) -> Vec<Rc<dyn Module>> { vec![] }
fn move_to_device(&self, _device: Device) {}
fn set_training(&self, _training: bool) {}
fn as_named_input(&self) -> Option<&dyn NamedInputModule> { None }
}
pub trait NamedInputModule: Module {
fn forward_named(
&self,
input: &Variable,
refs: &HashMap<String, Variable>,
) -> Result<Variable>;
}
}

/// Adds the named values; all methods of the tutorial's traits overridden with its signatures.
struct Named;

#[rustfmt::skip]
impl Module for Named {
fn forward(&self, input: &Variable) -> Result<Variable> { Ok(input.clone()) }
fn parameters(&self) -> Vec<Parameter> { vec![] }
fn name(&self) -> &str { "named" }
fn sub_modules(&self) -> Vec<Rc<dyn Module>> { vec![] }
fn move_to_device(&self, _device: Device) {}
fn set_training(&self, _training: bool) {}
fn as_named_input(&self) -> Option<&dyn NamedInputModule> { Some(self) }
}

#[rustfmt::skip]
impl NamedInputModule for Named {
fn forward_named(
&self,
input: &Variable,
refs: &HashMap<String, Variable>,
) -> Result<Variable> {
refs.values().try_fold(input.clone(), |sum, v| sum.add(v))
}
}

struct AttentionStep {
    location: Cell<Option<f64>>,
}

#[rustfmt::skip]
impl Module for AttentionStep {
fn reset(&self) {
self.location.set(None); // clear stale state
}
// ...
fn forward(&self, input: &Variable) -> Result<Variable> {
    let location = self.location.get().unwrap_or(0.0) + 1.0;
    self.location.set(Some(location));
    input.mul_scalar(location)
}
}

struct RecurrentModule {
    hidden: Cell<Option<Variable>>,
}

#[rustfmt::skip]
impl Module for RecurrentModule {
fn detach_state(&self) {
// break gradient chain on retained hidden state
    self.hidden.set(self.hidden.take().map(|h| h.detach()));
}
// ...
fn forward(&self, input: &Variable) -> Result<Variable> {
    let y = match self.hidden.take() {
        Some(h) => input.add(&h)?,
        None => input.clone(),
    };
    self.hidden.set(Some(y.clone()));
    Ok(y)
}
}

#[test]
fn optional_traits() -> Result<()> {
    let ones = Variable::new(Tensor::ones(&[2], TensorOptions::default())?, false);
    let graph =
        FlowBuilder::from(Identity).tag("a").through(Named).using(&["a"]).through(Named).build()?;
    assert_eq!(graph.forward(&ones)?.data().to_f32_vec()?, [2.0; 2]);
    let step = AttentionStep { location: Cell::new(Some(7.0)) };
    let graph = FlowBuilder::from(Identity).loop_body(step).for_n(3).build()?;
    for _ in 0..2 {
        assert_eq!(graph.forward(&ones)?.data().to_f32_vec()?, [6.0; 2], "1 · 2 · 3");
    }
    let graph = FlowBuilder::from(RecurrentModule { hidden: Cell::new(None) }).build()?;
    let x = Variable::new(ones.data(), true);
    for k in 1..4 {
        let y = graph.forward(&x)?;
        assert_eq!(y.data().to_f32_vec()?, [k as f32; 2], "detaching keeps the values");
        x.zero_grad();
        y.sum()?.backward()?;
        assert_eq!(x.grad().unwrap().to_f32_vec()?, [1.0; 2]);
        graph.detach_state();
    }
    Ok(())
}

// The name is the tutorial's.
#[allow(clippy::upper_case_acronyms)]
#[rustfmt::skip]
pub mod mlp {
use flodl::*;
use std::rc::Rc;
pub
struct MLP {
fc1: Linear,
fc2: Linear,
}
impl MLP {
pub
fn new() -> Result<Self> {
Ok(MLP {
fc1: Linear::new(784, 128)?,
fc2: Linear::new(128, 10)?,
})
}
}
impl Module for MLP {
fn forward(&self, input: &Variable) -> Result<Variable> {
let x = self.fc1.forward(input)?;
let x = x.relu()?;
self.fc2.forward(&x)
}
fn parameters(&self) -> Vec<Parameter> {
let mut params = self.fc1.parameters();
params.extend(self.fc2.parameters());
params
}
fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
vec![Rc::new(self.fc1.clone()), Rc::new(self.fc2.clone())]
}
}
}

#[test]
fn composing_by_hand() -> Result<()> {
    let mlp = mlp::MLP::new()?;
    assert_eq!(mlp.forward(&randn(&[5, 784]))?.shape(), [5, 10]);
    let shapes: Vec<Vec<i64>> = mlp.parameters().iter().map(|p| p.variable.shape()).collect();
    assert_eq!(shapes, [vec![128, 784], vec![128], vec![10, 128], vec![10]]);
    Ok(())
}
