//! Layers, activations, losses and initialisation. A family of layers is one file.
//!
//! Layers are exported by name: a test walks this list, so that none goes without.

mod activation;
pub(crate) mod affine;
mod attention;
mod batch_norm;
mod blur;
mod conv;
mod dropout;
mod embedding;
mod fold;
mod glu;
pub mod init;
mod linear;
mod loss;
mod module;
mod names;
mod norm;
mod pad;
mod pair;
mod parameter;
mod pool;
mod resample;
mod rnn;
mod rotary;
mod shape;
mod transformer;

pub use activation::{
    CELU, ELU, GELU, GELUTanh, GeluApprox, Hardshrink, Hardsigmoid, Hardswish, Hardtanh, LeakyReLU,
    LogSigmoid, LogSoftmax, Mish, PReLU, RReLU, ReLU, ReLU6, SELU, SiLU, Sigmoid, Softmax,
    Softmax2d, Softmin, Softplus, Softshrink, Softsign, Tanh, Tanhshrink, Threshold,
};
pub use attention::{AttentionMask, AttentionOptions, MultiheadAttention};
pub use batch_norm::{BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d, BatchNormNd};
pub use blur::GaussianBlur;
pub use conv::{
    Conv, Conv1d, Conv1dBuilder, Conv2d, Conv2dBuilder, Conv3d, Conv3dBuilder, ConvBuilder,
    ConvTranspose, ConvTranspose1d, ConvTranspose1dBuilder, ConvTranspose2d,
    ConvTranspose2dBuilder, ConvTranspose3d, ConvTranspose3dBuilder, ConvTransposeBuilder,
    IntoSizes, PaddingMode,
};
pub use dropout::{AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d, FeatureAlphaDropout};
pub use embedding::{Embedding, EmbeddingBag};
pub use fold::{Fold, Unfold};
pub use glu::{GLU, GeGLU, ReGLU, SwiGLU};
pub use init::*;
pub use linear::Linear;
pub use loss::*;
pub(crate) use module::unique;
pub use module::*;
pub(crate) use names::State;
pub use norm::{
    GroupNorm, InstanceNorm, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d, InstanceNormNd,
    LayerNorm, LocalResponseNorm, RMSNorm,
};
pub use pad::{
    CircularPad, CircularPad1d, CircularPad2d, CircularPad3d, ConstantPad, ConstantPad1d,
    ConstantPad2d, ConstantPad3d, ReflectionPad, ReflectionPad1d, ReflectionPad2d, ReflectionPad3d,
    ReplicationPad, ReplicationPad1d, ReplicationPad2d, ReplicationPad3d, ZeroPad, ZeroPad1d,
    ZeroPad2d, ZeroPad3d,
};
pub use pair::{Bilinear, CosineSimilarity, PairwiseDistance};
pub use parameter::{Buffer, Parameter};
pub use pool::{
    AdaptiveAvgPool, AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d, AdaptiveMaxPool,
    AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d, AvgPool, AvgPool1d, AvgPool2d,
    AvgPool3d, FractionalMaxPool, FractionalMaxPool1d, FractionalMaxPool2d, FractionalMaxPool3d,
    IntoOutputSize, LPPool, LPPool1d, LPPool2d, LPPool3d, MaxPool, MaxPool1d, MaxPool2d, MaxPool3d,
    MaxUnpool, MaxUnpool1d, MaxUnpool2d, MaxUnpool3d,
};
pub use resample::{ChannelShuffle, PixelShuffle, PixelUnshuffle, Upsample};
pub use rnn::{GRU, GRUCell, LSTM, LSTMCell, RNN, RNNCell, RnnBuilder};
pub use rotary::RotaryEmbedding;
pub use shape::{Flatten, Identity, Reshape, Unflatten};
pub use transformer::{
    Transformer, TransformerActivation, TransformerConfig, TransformerDecoder,
    TransformerDecoderLayer, TransformerEncoder, TransformerEncoderLayer, TransformerMasks,
};
