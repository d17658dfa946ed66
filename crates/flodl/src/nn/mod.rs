//! Layers, activations, losses and initialisation. A family of layers is one file.

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

pub use activation::*;
pub use attention::{AttentionOptions, MultiheadAttention};
pub use batch_norm::{BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d, BatchNormNd};
pub use blur::GaussianBlur;
pub use conv::*;
pub use dropout::{AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d, FeatureAlphaDropout};
pub use embedding::{Embedding, EmbeddingBag};
pub use fold::{Fold, Unfold};
pub use glu::{GLU, GeGLU, ReGLU, SwiGLU};
pub use init::*;
pub use linear::Linear;
pub use loss::*;
pub use module::*;
pub(crate) use module::{carried, load_carried, unique};
pub(crate) use names::State;
pub use norm::{
    GroupNorm, InstanceNorm, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d, InstanceNormNd,
    LayerNorm, LocalResponseNorm, RMSNorm,
};
pub use pad::*;
pub use pair::{Bilinear, CosineSimilarity, PairwiseDistance};
pub use parameter::{Buffer, Parameter};
pub use pool::*;
pub use resample::{ChannelShuffle, PixelShuffle, PixelUnshuffle, Upsample};
pub use rnn::*;
pub use rotary::RotaryEmbedding;
pub use shape::{Flatten, Identity, Reshape, Unflatten};
pub use transformer::{
    Transformer, TransformerActivation, TransformerConfig, TransformerDecoder,
    TransformerDecoderLayer, TransformerEncoder, TransformerEncoderLayer, TransformerMasks,
};
