//! Stacks of layers.

use std::rc::Rc;

use super::{
    TransformerDecoderLayer, TransformerEncoderLayer, TransformerMasks, named_memory, needs_memory,
};
use crate::{Error, LayerNorm, Module, NamedInputModule, Result, Variable};

/// Layers one after another, and a norm at the end if there is one.
macro_rules! stack {
    ($(#[$doc:meta])* $name:ident of $layer:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            layers: Rc<Vec<$layer>>,
            norm: Option<LayerNorm>,
        }

        impl $name {
            /// Copies of a layer, with equal weights at first, as PyTorch makes them, and a norm
            /// after the last one.
            ///
            /// # Errors
            /// When the number is negative or there is no memory.
            pub fn new(layer: &$layer, num_layers: i64, norm: Option<LayerNorm>) -> Result<Self> {
                if num_layers < 0 {
                    let what = format!("num_layers {num_layers} must not be negative");
                    return Err(Error::invalid(stringify!($name), what));
                }
                let layers = (0..num_layers).map(|_| layer.duplicate()).collect::<Result<_>>()?;
                Ok(Self::of(layers, norm))
            }

            /// These layers as they are, and a norm after the last one.
            pub fn of(layers: Vec<$layer>, norm: Option<LayerNorm>) -> Self {
                $name { layers: Rc::new(layers), norm }
            }

            /// The layers.
            pub fn layers(&self) -> &[$layer] {
                &self.layers
            }

            fn finish(&self, x: Variable) -> Result<Variable> {
                self.norm.as_ref().map_or(Ok(x.clone()), |norm| norm.forward(&x))
            }

            fn children(&self) -> Vec<Rc<dyn Module>> {
                let layers = self.layers.iter().map(|l| Rc::new(l.clone()) as Rc<dyn Module>);
                let norm = self.norm.iter().map(|n| Rc::new(n.clone()) as Rc<dyn Module>);
                layers.chain(norm).collect()
            }

            fn child_names(&self) -> Vec<String> {
                let layers = (0..self.layers.len()).map(|i| format!("layers.{i}"));
                layers.chain(self.norm.iter().map(|_| "norm".to_owned())).collect()
            }
        }
    };
}

stack! {
    /// A stack of encoder layers, PyTorch's `nn.TransformerEncoder`: `[B, L, d_model]` to
    /// `[B, L, d_model]`.
    ///
    /// ```
    /// use flodl::*;
    /// let layer = TransformerEncoderLayer::configured(
    ///     &TransformerConfig::new(16, 2).dim_feedforward(32),
    /// )?;
    /// let encoder = TransformerEncoder::new(&layer, 3, Some(LayerNorm::new(16)?))?;
    /// let x = Variable::new(Tensor::randn(&[2, 5, 16], TensorOptions::default())?, false);
    /// assert_eq!(encoder.forward(&x)?.shape(), [2, 5, 16]);
    /// # Ok::<(), Error>(())
    /// ```
    TransformerEncoder of TransformerEncoderLayer
}

stack! {
    /// A stack of decoder layers, PyTorch's `nn.TransformerDecoder`.
    ///
    /// As a named-input module it takes the memory as `memory`.
    TransformerDecoder of TransformerDecoderLayer
}

impl TransformerEncoder {
    /// With the masks of the source.
    ///
    /// # Errors
    /// When shapes do not fit, or dtypes or devices differ.
    pub fn forward_with(&self, src: &Variable, masks: &TransformerMasks) -> Result<Variable> {
        let mut x = src.clone();
        for layer in self.layers.iter() {
            x = layer.forward_with(&x, masks)?;
        }
        self.finish(x)
    }
}

impl TransformerDecoder {
    /// The target with what it finds in the memory.
    ///
    /// # Errors
    /// When shapes do not fit, or dtypes or devices differ.
    pub fn forward_ext(&self, tgt: &Variable, memory: &Variable) -> Result<Variable> {
        self.forward_with(tgt, memory, &TransformerMasks::default())
    }

    /// With the masks of target and memory.
    ///
    /// # Errors
    /// When shapes do not fit, or dtypes or devices differ.
    pub fn forward_with(
        &self,
        tgt: &Variable,
        memory: &Variable,
        masks: &TransformerMasks,
    ) -> Result<Variable> {
        let mut x = tgt.clone();
        for layer in self.layers.iter() {
            x = layer.forward_with(&x, memory, masks)?;
        }
        self.finish(x)
    }
}

impl Module for TransformerEncoder {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        self.forward_with(input, &TransformerMasks::default())
    }

    fn name(&self) -> &str {
        "TransformerEncoder"
    }

    fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
        self.children()
    }

    fn sub_module_names(&self) -> Vec<String> {
        self.child_names()
    }

    fn identity(&self) -> Option<usize> {
        Some(Rc::as_ptr(&self.layers) as usize)
    }
}

impl Module for TransformerDecoder {
    /// An error: a decoder needs a memory besides its input.
    fn forward(&self, _input: &Variable) -> Result<Variable> {
        Err(needs_memory("TransformerDecoder"))
    }

    fn name(&self) -> &str {
        "TransformerDecoder"
    }

    fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
        self.children()
    }

    fn sub_module_names(&self) -> Vec<String> {
        self.child_names()
    }

    fn as_named_input(&self) -> Option<&dyn NamedInputModule> {
        Some(self)
    }

    fn identity(&self) -> Option<usize> {
        Some(Rc::as_ptr(&self.layers) as usize)
    }
}

named_memory!(TransformerDecoder);
