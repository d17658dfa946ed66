//! What layers are made of, on tensors: no gradients.
/// Weights of a recurrent layer, in the order of its state dict.
#[derive(Clone, Debug)]
pub struct RnnParams;
