use super::*;

pub use flodl::{
    AdaptiveAvgPool2d, AdaptiveMaxPool2d, AlphaDropout, AvgPool1d, AvgPool2d, BatchNorm,
    BatchNorm2d, Bilinear, Buffer, Conv1d, Conv1dBuilder, Conv2d, Conv2dBuilder, Conv3d,
    Conv3dBuilder, ConvTranspose1d, ConvTranspose1dBuilder, ConvTranspose2d,
    ConvTranspose2dBuilder, ConvTranspose3d, ConvTranspose3dBuilder, Dropout, Dropout2d, ELU,
    Embedding, EmbeddingBag, Flatten, Fold, GELU, GRU, GRUCell, GaussianBlur, GeluApprox,
    GroupNorm, Hardsigmoid, Hardswish, Identity, InstanceNorm, LSTM, LSTMCell, LayerNorm,
    LeakyReLU, Linear, LogSoftmax, LoopBody, MaxPool1d, MaxPool2d, Mish, Module,
    MultiheadAttention, NamedInputModule, PReLU, Parameter, PixelShuffle, PixelUnshuffle, RMSNorm,
    ReLU, ReflectionPad2d, RotaryEmbedding, SELU, SiLU, Sigmoid, Softmax, Softplus, SwiGLU, Tanh,
    TraceEmit, Unfold, Upsample, ZeroPad2d,
};

free! {
    fn walk_modules(module: &dyn Module, f: &mut dyn FnMut(&dyn Module));
    fn walk_modules_visited(module: &dyn Module, visited: &mut HashSet<usize>, f: &mut dyn FnMut(&dyn Module));
    fn collect_parameters(modules: &[&dyn Module]) -> Vec<Parameter>;
    fn gaussian_blur_2d(input: &Variable, sigma: f64) -> Result<Variable>;
}

methods! { trace_emit_: TraceEmit<'_>;
    fn discard() -> TraceEmit<'_>;
    fn publish(&mut self, name: &str, v: Variable);
}

methods! { parameter_: Parameter;
    fn new(data: Tensor, name: &str) -> Parameter;
    fn to_device(&self, device: Device) -> Result<Parameter>;
    fn freeze(&self) -> Result<()>;
    fn unfreeze(&self) -> Result<()>;
    fn is_frozen(&self) -> bool;
}

methods! { buffer_: Buffer;
    fn new(tensor: Tensor, name: &str) -> Buffer;
    fn get(&self) -> Tensor;
    fn id(&self) -> usize;
    fn set(&self, tensor: Tensor);
    fn shape(&self) -> Vec<i64>;
    fn device(&self) -> Device;
    fn to_device(&self, device: Device) -> Result<()>;
}

methods! { linear_: Linear;
    fn new(in_features: i64, out_features: i64) -> Result<Linear>;
    fn on_device(in_features: i64, out_features: i64, device: Device) -> Result<Linear>;
    fn no_bias(in_features: i64, out_features: i64) -> Result<Linear>;
    fn no_bias_on_device(in_features: i64, out_features: i64, device: Device) -> Result<Linear>;
    fn from_shared_weight(weight: Parameter, bias: Option<Parameter>) -> Linear;
}

methods! { conv1d_builder_: Conv1dBuilder;
    fn with_stride(self, stride: i64) -> Conv1dBuilder;
    fn with_padding(self, padding: i64) -> Conv1dBuilder;
    fn with_dilation(self, dilation: i64) -> Conv1dBuilder;
    fn with_groups(self, groups: i64) -> Conv1dBuilder;
    fn without_bias(self) -> Conv1dBuilder;
    fn on_device(self, device: Device) -> Conv1dBuilder;
    fn done(self) -> Result<Conv1d>;
}

methods! { conv1d_: Conv1d;
    fn new(in_channels: i64, out_channels: i64, kernel_size: i64) -> Result<Conv1d>;
    fn no_bias(in_channels: i64, out_channels: i64, kernel_size: i64) -> Result<Conv1d>;
    fn on_device(in_channels: i64, out_channels: i64, kernel_size: i64, device: Device) -> Result<Conv1d>;
    fn configure(in_channels: i64, out_channels: i64, kernel_size: i64) -> Conv1dBuilder;
    fn build(in_channels: i64, out_channels: i64, kernel_size: i64, with_bias: bool, stride: i64, padding: i64, dilation: i64, groups: i64, device: Device) -> Result<Conv1d>;
}

methods! { conv2d_builder_: Conv2dBuilder;
    fn with_stride(self, stride: i64) -> Conv2dBuilder;
    fn with_padding(self, padding: i64) -> Conv2dBuilder;
    fn with_dilation(self, dilation: i64) -> Conv2dBuilder;
    fn with_groups(self, groups: i64) -> Conv2dBuilder;
    fn without_bias(self) -> Conv2dBuilder;
    fn on_device(self, device: Device) -> Conv2dBuilder;
    fn done(self) -> Result<Conv2d>;
}

methods! { conv2d_: Conv2d;
    fn new(in_channels: i64, out_channels: i64, kernel_size: i64) -> Result<Conv2d>;
    fn no_bias(in_channels: i64, out_channels: i64, kernel_size: i64) -> Result<Conv2d>;
    fn on_device(in_channels: i64, out_channels: i64, kernel_size: i64, device: Device) -> Result<Conv2d>;
    fn configure(in_channels: i64, out_channels: i64, kernel_size: i64) -> Conv2dBuilder;
    fn build(in_channels: i64, out_channels: i64, kernel_size: i64, with_bias: bool, stride: [i64; 2], padding: [i64; 2], dilation: [i64; 2], groups: i64, device: Device) -> Result<Conv2d>;
}

methods! { conv3d_builder_: Conv3dBuilder;
    fn with_stride(self, stride: [i64; 3]) -> Conv3dBuilder;
    fn with_padding(self, padding: [i64; 3]) -> Conv3dBuilder;
    fn with_dilation(self, dilation: [i64; 3]) -> Conv3dBuilder;
    fn with_groups(self, groups: i64) -> Conv3dBuilder;
    fn without_bias(self) -> Conv3dBuilder;
    fn on_device(self, device: Device) -> Conv3dBuilder;
    fn done(self) -> Result<Conv3d>;
}

methods! { conv3d_: Conv3d;
    fn new(in_channels: i64, out_channels: i64, kernel_size: [i64; 3]) -> Result<Conv3d>;
    fn on_device(in_channels: i64, out_channels: i64, kernel_size: [i64; 3], device: Device) -> Result<Conv3d>;
    fn configure(in_channels: i64, out_channels: i64, kernel_size: [i64; 3]) -> Conv3dBuilder;
    fn build(in_channels: i64, out_channels: i64, kernel_size: [i64; 3], with_bias: bool, stride: [i64; 3], padding: [i64; 3], dilation: [i64; 3], groups: i64, device: Device) -> Result<Conv3d>;
}

methods! { conv_transpose1d_builder_: ConvTranspose1dBuilder;
    fn with_stride(self, stride: i64) -> ConvTranspose1dBuilder;
    fn with_padding(self, padding: i64) -> ConvTranspose1dBuilder;
    fn with_output_padding(self, output_padding: i64) -> ConvTranspose1dBuilder;
    fn with_dilation(self, dilation: i64) -> ConvTranspose1dBuilder;
    fn with_groups(self, groups: i64) -> ConvTranspose1dBuilder;
    fn without_bias(self) -> ConvTranspose1dBuilder;
    fn on_device(self, device: Device) -> ConvTranspose1dBuilder;
    fn done(self) -> Result<ConvTranspose1d>;
}

methods! { conv_transpose1d_: ConvTranspose1d;
    fn new(in_channels: i64, out_channels: i64, kernel_size: i64) -> Result<ConvTranspose1d>;
    fn on_device(in_channels: i64, out_channels: i64, kernel_size: i64, device: Device) -> Result<ConvTranspose1d>;
    fn configure(in_channels: i64, out_channels: i64, kernel_size: i64) -> ConvTranspose1dBuilder;
    fn build(in_channels: i64, out_channels: i64, kernel_size: i64, with_bias: bool, stride: i64, padding: i64, output_padding: i64, dilation: i64, groups: i64, device: Device) -> Result<ConvTranspose1d>;
}

methods! { conv_transpose2d_builder_: ConvTranspose2dBuilder;
    fn with_stride(self, stride: i64) -> ConvTranspose2dBuilder;
    fn with_padding(self, padding: i64) -> ConvTranspose2dBuilder;
    fn with_output_padding(self, output_padding: i64) -> ConvTranspose2dBuilder;
    fn with_dilation(self, dilation: i64) -> ConvTranspose2dBuilder;
    fn with_groups(self, groups: i64) -> ConvTranspose2dBuilder;
    fn without_bias(self) -> ConvTranspose2dBuilder;
    fn on_device(self, device: Device) -> ConvTranspose2dBuilder;
    fn done(self) -> Result<ConvTranspose2d>;
}

methods! { conv_transpose2d_: ConvTranspose2d;
    fn new(in_channels: i64, out_channels: i64, kernel_size: i64) -> Result<ConvTranspose2d>;
    fn on_device(in_channels: i64, out_channels: i64, kernel_size: i64, device: Device) -> Result<ConvTranspose2d>;
    fn configure(in_channels: i64, out_channels: i64, kernel_size: i64) -> ConvTranspose2dBuilder;
    fn build(in_channels: i64, out_channels: i64, kernel_size: i64, with_bias: bool, stride: [i64; 2], padding: [i64; 2], output_padding: [i64; 2], dilation: [i64; 2], groups: i64, device: Device) -> Result<ConvTranspose2d>;
}

methods! { conv_transpose3d_builder_: ConvTranspose3dBuilder;
    fn with_stride(self, stride: [i64; 3]) -> ConvTranspose3dBuilder;
    fn with_padding(self, padding: [i64; 3]) -> ConvTranspose3dBuilder;
    fn with_output_padding(self, output_padding: [i64; 3]) -> ConvTranspose3dBuilder;
    fn with_dilation(self, dilation: [i64; 3]) -> ConvTranspose3dBuilder;
    fn with_groups(self, groups: i64) -> ConvTranspose3dBuilder;
    fn without_bias(self) -> ConvTranspose3dBuilder;
    fn on_device(self, device: Device) -> ConvTranspose3dBuilder;
    fn done(self) -> Result<ConvTranspose3d>;
}

methods! { conv_transpose3d_: ConvTranspose3d;
    fn new(in_channels: i64, out_channels: i64, kernel_size: [i64; 3]) -> Result<ConvTranspose3d>;
    fn on_device(in_channels: i64, out_channels: i64, kernel_size: [i64; 3], device: Device) -> Result<ConvTranspose3d>;
    fn configure(in_channels: i64, out_channels: i64, kernel_size: [i64; 3]) -> ConvTranspose3dBuilder;
    fn build(in_channels: i64, out_channels: i64, kernel_size: [i64; 3], with_bias: bool, stride: [i64; 3], padding: [i64; 3], output_padding: [i64; 3], dilation: [i64; 3], groups: i64, device: Device) -> Result<ConvTranspose3d>;
}

methods! { max_pool2d_: MaxPool2d;
    fn new(kernel_size: i64) -> MaxPool2d;
    fn with_stride(kernel_size: i64, stride: i64) -> MaxPool2d;
    fn padding(self, padding: i64) -> MaxPool2d;
    fn dilation(self, dilation: i64) -> MaxPool2d;
    fn ceil_mode(self, ceil_mode: bool) -> MaxPool2d;
}

methods! { avg_pool2d_: AvgPool2d;
    fn new(kernel_size: i64) -> AvgPool2d;
    fn with_stride(kernel_size: i64, stride: i64) -> AvgPool2d;
    fn padding(self, padding: i64) -> AvgPool2d;
    fn ceil_mode(self, ceil_mode: bool) -> AvgPool2d;
    fn count_include_pad(self, count_include_pad: bool) -> AvgPool2d;
}

methods! { max_pool1d_: MaxPool1d;
    fn new(kernel_size: i64) -> MaxPool1d;
    fn with_stride(kernel_size: i64, stride: i64) -> MaxPool1d;
    fn padding(self, padding: i64) -> MaxPool1d;
}

methods! { avg_pool1d_: AvgPool1d;
    fn new(kernel_size: i64) -> AvgPool1d;
    fn with_stride(kernel_size: i64, stride: i64) -> AvgPool1d;
    fn padding(self, padding: i64) -> AvgPool1d;
}

methods! { adaptive_max_pool2d_: AdaptiveMaxPool2d;
    fn new(output_h: i64, output_w: i64) -> AdaptiveMaxPool2d;
}

methods! { adaptive_avg_pool2d_: AdaptiveAvgPool2d;
    fn new(output_size: [i64; 2]) -> AdaptiveAvgPool2d;
}

methods! { pixel_shuffle_: PixelShuffle;
    fn new(upscale_factor: i64) -> PixelShuffle;
}

methods! { pixel_unshuffle_: PixelUnshuffle;
    fn new(downscale_factor: i64) -> PixelUnshuffle;
}

methods! { upsample_: Upsample;
    fn new(output_size: &[i64], mode: i32) -> Upsample;
    fn align_corners(self, align: bool) -> Upsample;
}

methods! { unfold_: Unfold;
    fn new(kernel: [i64; 2], dilation: [i64; 2], padding: [i64; 2], stride: [i64; 2]) -> Unfold;
    fn with_kernel(kernel_size: [i64; 2]) -> Unfold;
    fn dilation(self, dilation: [i64; 2]) -> Unfold;
    fn padding(self, padding: [i64; 2]) -> Unfold;
    fn stride(self, stride: [i64; 2]) -> Unfold;
}

methods! { fold_: Fold;
    fn new(size: [i64; 2], kernel: [i64; 2], dilation: [i64; 2], padding: [i64; 2], stride: [i64; 2]) -> Fold;
    fn with_kernel(output_size: [i64; 2], kernel_size: [i64; 2]) -> Fold;
    fn dilation(self, dilation: [i64; 2]) -> Fold;
    fn padding(self, padding: [i64; 2]) -> Fold;
    fn stride(self, stride: [i64; 2]) -> Fold;
}

methods! { layer_norm_: LayerNorm;
    fn new(size: i64) -> Result<LayerNorm>;
    fn with_eps(size: i64, eps: f64) -> Result<LayerNorm>;
    fn on_device(size: i64, device: Device) -> Result<LayerNorm>;
    fn on_device_with_eps(size: i64, eps: f64, device: Device) -> Result<LayerNorm>;
}

methods! { rmsnorm_: RMSNorm;
    fn new(size: i64) -> Result<RMSNorm>;
    fn on_device(size: i64, device: Device) -> Result<RMSNorm>;
    fn eps(self, eps: f64) -> RMSNorm;
}

methods! { batch_norm_: BatchNorm;
    fn new(num_features: i64) -> Result<BatchNorm>;
    fn on_device(num_features: i64, device: Device) -> Result<BatchNorm>;
}

methods! { batch_norm2d_: BatchNorm2d;
    fn new(num_channels: i64) -> Result<BatchNorm2d>;
    fn on_device(num_channels: i64, device: Device) -> Result<BatchNorm2d>;
}

methods! { group_norm_: GroupNorm;
    fn new(num_groups: i64, num_channels: i64) -> Result<GroupNorm>;
    fn on_device(num_groups: i64, num_channels: i64, device: Device) -> Result<GroupNorm>;
}

methods! { dropout_: Dropout;
    fn new(p: f64) -> Dropout;
}

methods! { dropout2d_: Dropout2d;
    fn new(p: f64) -> Dropout2d;
}

methods! { alpha_dropout_: AlphaDropout;
    fn new(p: f64) -> AlphaDropout;
}

methods! { zero_pad2d_: ZeroPad2d;
    fn new(padding: i64) -> ZeroPad2d;
    fn asymmetric(left: i64, right: i64, top: i64, bottom: i64) -> ZeroPad2d;
}

methods! { reflection_pad2d_: ReflectionPad2d;
    fn new(padding: i64) -> ReflectionPad2d;
    fn asymmetric(left: i64, right: i64, top: i64, bottom: i64) -> ReflectionPad2d;
}

methods! { embedding_: Embedding;
    fn new(num_embeddings: i64, embedding_dim: i64) -> Result<Embedding>;
    fn on_device(num_embeddings: i64, embedding_dim: i64, device: Device) -> Result<Embedding>;
    fn with_padding_idx(num_embeddings: i64, embedding_dim: i64, padding_idx: Option<i64>) -> Result<Embedding>;
    fn on_device_with_padding_idx(num_embeddings: i64, embedding_dim: i64, padding_idx: Option<i64>, device: Device) -> Result<Embedding>;
}

methods! { embedding_bag_: EmbeddingBag;
    fn new(num_embeddings: i64, embedding_dim: i64) -> Result<EmbeddingBag>;
    fn on_device(num_embeddings: i64, embedding_dim: i64, device: Device) -> Result<EmbeddingBag>;
    fn forward_bag(&self, indices: &Tensor, offsets: &Tensor, mode: i64) -> Result<Variable>;
}

methods! { grucell_: GRUCell;
    fn new(input_size: i64, hidden_size: i64) -> Result<GRUCell>;
    fn on_device(input_size: i64, hidden_size: i64, device: Device) -> Result<GRUCell>;
    fn forward_step(&self, x: &Variable, h: Option<&Variable>) -> Result<Variable>;
}

methods! { lstmcell_: LSTMCell;
    fn new(input_size: i64, hidden_size: i64) -> Result<LSTMCell>;
    fn on_device(input_size: i64, hidden_size: i64, device: Device) -> Result<LSTMCell>;
    fn forward_step(&self, x: &Variable, state: Option<&Variable>) -> Result<Variable>;
}

methods! { gru_: GRU;
    fn new(input_size: i64, hidden_size: i64, num_layers: usize) -> Result<GRU>;
    fn on_device(input_size: i64, hidden_size: i64, num_layers: usize, batch_first: bool, device: Device) -> Result<GRU>;
    fn batch_first(self, batch_first: bool) -> GRU;
    fn forward_seq(&self, input: &Variable, h_0: Option<&Variable>) -> Result<(Variable, Variable)>;
}

methods! { lstm_: LSTM;
    fn new(input_size: i64, hidden_size: i64, num_layers: usize) -> Result<LSTM>;
    fn on_device(input_size: i64, hidden_size: i64, num_layers: usize, batch_first: bool, device: Device) -> Result<LSTM>;
    fn batch_first(self, batch_first: bool) -> LSTM;
    fn forward_seq(&self, input: &Variable, state_0: Option<(&Variable, &Variable)>) -> Result<(Variable, (Variable, Variable))>;
}

methods! { multihead_attention_: MultiheadAttention;
    fn new(embed_dim: i64, num_heads: i64) -> Result<MultiheadAttention>;
    fn on_device(embed_dim: i64, num_heads: i64, device: Device) -> Result<MultiheadAttention>;
    fn rotary(self, rope: RotaryEmbedding) -> Result<MultiheadAttention>;
    fn forward_ext(&self, query: &Variable, key: &Variable, value: &Variable, mask: Option<&Tensor>) -> Result<Variable>;
}

methods! { rotary_embedding_: RotaryEmbedding;
    fn new(head_dim: i64, max_seq_len: i64) -> Result<RotaryEmbedding>;
    fn on_device(head_dim: i64, max_seq_len: i64, device: Device) -> Result<RotaryEmbedding>;
    fn on_device_theta(head_dim: i64, max_seq_len: i64, theta: f64, device: Device) -> Result<RotaryEmbedding>;
    fn head_dim(&self) -> i64;
    fn max_seq_len(&self) -> i64;
    fn apply(&self, query: &Variable, key: &Variable) -> Result<(Variable, Variable)>;
    fn apply_one(&self, x: &Variable) -> Result<Variable>;
}

methods! { bilinear_: Bilinear;
    fn new(in1_features: i64, in2_features: i64, out_features: i64, with_bias: bool) -> Result<Bilinear>;
    fn on_device(in1_features: i64, in2_features: i64, out_features: i64, device: Device) -> Result<Bilinear>;
    fn forward_bilinear(&self, input1: &Variable, input2: &Variable) -> Result<Variable>;
}

methods! { identity_: Identity;
    fn new() -> Identity;
}

methods! { re_lu_: ReLU;
    fn new() -> ReLU;
}

methods! { sigmoid_: Sigmoid;
    fn new() -> Sigmoid;
}

methods! { tanh_: Tanh;
    fn new() -> Tanh;
}

methods! { si_lu_: SiLU;
    fn new() -> SiLU;
}

methods! { swi_glu_: SwiGLU;
    fn new() -> SwiGLU;
}

methods! { leaky_re_lu_: LeakyReLU;
    fn new(negative_slope: f64) -> LeakyReLU;
}

methods! { elu_: ELU;
    fn new(alpha: f64) -> ELU;
}

methods! { softplus_: Softplus;
    fn new(beta: f64, threshold: f64) -> Softplus;
}

methods! { mish_: Mish;
    fn new() -> Mish;
}

methods! { softmax_: Softmax;
    fn new(dim: i32) -> Softmax;
}

methods! { log_softmax_: LogSoftmax;
    fn new(dim: i32) -> LogSoftmax;
}

methods! { flatten_: Flatten;
    fn new(start_dim: i32, end_dim: i32) -> Flatten;
}

methods! { selu_: SELU;
    fn new() -> SELU;
}

methods! { hardswish_: Hardswish;
    fn new() -> Hardswish;
}

methods! { hardsigmoid_: Hardsigmoid;
    fn new() -> Hardsigmoid;
}

methods! { pre_lu_: PReLU;
    fn new(num_parameters: i64, device: Device) -> Result<PReLU>;
    fn on_device(num_parameters: i64, device: Device) -> Result<PReLU>;
}

methods! { gaussian_blur_: GaussianBlur;
    fn new(sigma: f64) -> GaussianBlur;
}

fn loop_bodies_run_as_modules<B: LoopBody + ?Sized>(body: &B, input: &Variable) {
    let _: Result<Variable> = forward_via_step(body, input);
}

/// Every method of a module can be written by hand.
struct Whole;

impl Module for Whole {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        Ok(input.clone())
    }
    fn parameters(&self) -> Vec<Parameter> {
        Vec::new()
    }
    fn buffers(&self) -> Vec<Buffer> {
        Vec::new()
    }
    fn name(&self) -> &str {
        "whole"
    }
    fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
        Vec::new()
    }
    fn move_to_device(&self, _device: Device) {}
    fn set_training(&self, _training: bool) {}
    fn train(&self) {}
    fn eval(&self) {}
    fn trace(&self) -> Option<Variable> {
        None
    }
    fn as_named_input(&self) -> Option<&dyn NamedInputModule> {
        Some(self)
    }
    fn as_loop_body(&self) -> Option<&dyn LoopBody> {
        Some(self)
    }
    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
    fn structural_hash(&self) -> Option<String> {
        None
    }
    fn reset(&self) {}
    fn detach_state(&self) {}
}

impl NamedInputModule for Whole {
    fn forward_named(
        &self,
        input: &Variable,
        _refs: &HashMap<String, Variable>,
    ) -> Result<Variable> {
        Ok(input.clone())
    }
}

impl LoopBody for Whole {
    fn step(
        &self,
        input: &Variable,
        _refs: &HashMap<String, Variable>,
        emit: &mut TraceEmit<'_>,
    ) -> Result<Variable> {
        emit.publish("seen", input.clone());
        Ok(input.clone())
    }
}
